"""Rows -> the text of a guard: one CTE that reads one dataset and hands on the permitted rows and the declared fields, nothing else.

A guard depends on the policy's *shape* only, so its text is rendered once for all bearers of that shape; values are bound.
The conditions in a guard cannot raise on any row: plain comparisons, no casts of the column that could fail, no patterns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from rowseal.catalog import Bound, Field, Storage
from rowseal.filters import Operator
from rowseal.policy import AllOf, AnyOf, Condition, Predicate, Rows, Shaped, Through
from rowseal.sql import BIND, NUMBER
from rowseal.sql.dialects import Dialect

__all__ = ["encoded", "forget", "render"]

_COMPARISONS: Final = {Operator.NE: "<>", Operator.GT: ">", Operator.GE: ">=", Operator.LT: "<", Operator.LE: "<="}
_DIGITS: Final = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2, "f": 6}
# What equals a typed value is of its type.
_EXACT_ANYWAY: Final = frozenset({Operator.EQ, Operator.IS_ONE_OF})
_TEXTS: Final = frozenset({Storage.TEXT, Storage.ENUM, Storage.TEXT_DATE, Storage.TEXT_TIMESTAMP})
_POSTGRES_TYPES: Final[dict[type, str]] = {
    bool: "BOOLEAN",
    int: "BIGINT",
    Decimal: "DECIMAL",
    float: "DOUBLE PRECISION",
    str: "TEXT",
    date: "DATE",
    UUID: "UUID",
}


def render(rows: Rows, dialect: Dialect, *, fenced: bool) -> str:
    """The text of the guard for these rows, with NUMBER where its number goes and BIND around the names of its binds.

    `fenced` keeps the planner from mixing the bearer's conditions with the guard's: they then run on permitted rows only.
    Where a view, a foreign table or a SELECT of the operator is read, as a parent too, the guard is always fenced: their own columns may raise.
    """
    return _render(Shaped(rows), dialect, fenced)


# INVARIANT: rows that compare equal under `Shaped` have the same text, because a guard's text holds no value.
@lru_cache(maxsize=4096)
def _render(shaped: Shaped, dialect: Dialect, fenced: bool) -> str:
    writer, rows = _Writer(dialect), shaped.take()
    dataset = rows.dataset
    columns = ", ".join(f"b.{dialect.quote(field.column)} AS {dialect.quote(field.sql_name)}" for field in dataset.visible)
    condition = writer.predicate(rows.predicate, "b")
    fence = "MATERIALIZED" if fenced or not _reads_plain_tables(rows) else "NOT MATERIALIZED"
    text = f'"__g{NUMBER}" AS {fence} (SELECT {columns} FROM {writer.relation(rows)} AS b'
    return f"{text} WHERE {condition})" if condition else f"{text})"


def forget() -> None:
    """Let every text go, and with them the datasets that they were written for."""
    _render.cache_clear()


def _reads_plain_tables(rows: Rows) -> bool:
    parents = [part.parent for part in rows.predicate.parts if isinstance(part, Through)]  # only the configuration adds parents, never inside OR
    return rows.dataset.relation == "table" and all(map(_reads_plain_tables, parents))


def encoded(rows: Rows, dialect: Dialect) -> tuple[Any, ...]:
    """The values of the guard's binds, in order, as the driver takes them: a list becomes one array, on SQLite one JSON text."""
    return tuple(_encoded(value, dialect) for value in rows.values)


def _encoded(value: Bound | tuple[Bound, ...], dialect: Dialect) -> Any:
    if not isinstance(value, tuple):
        return value
    return json.dumps(value, ensure_ascii=False) if dialect.name == "sqlite" else list(value)


class _Writer:
    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.binds = 0
        self.parents = 0

    def relation(self, rows: Rows) -> str:
        dataset = rows.dataset
        if dataset.source is not None:
            return f"({dataset.source.text})"
        return f"{self.dialect.quote(dataset.schema)}.{self.dialect.quote(dataset.table)}"

    def predicate(self, predicate: Predicate, alias: str) -> str:
        match predicate:
            case AllOf(parts):
                return " AND ".join(self.predicate(part, alias) for part in parts)
            case AnyOf(parts):
                return "(" + " OR ".join(f"({self.predicate(part, alias)})" for part in parts) + ")"
            case Through():
                return self.through(predicate, alias)
            case Condition():
                return self.condition(predicate, alias)

    def through(self, through: Through, alias: str) -> str:
        self.parents += 1
        parent = f"p{self.parents}"
        relation = self.relation(through.parent)
        equal = [self.equal(theirs, self.column(theirs, parent), own, self.column(own, alias)) for own, theirs in through.on]
        condition = self.predicate(through.parent.predicate, parent)
        return f"EXISTS(SELECT 1 FROM {relation} AS {parent} WHERE {' AND '.join([*equal, condition] if condition else equal)})"

    def equal(self, theirs: Field, parent: str, own: Field, child: str) -> str:
        """Parent and child are the same by their bytes, as everywhere; two collations in one comparison would raise."""
        if self.dialect.name == "sqlite":
            return f"{parent} COLLATE BINARY = {child}" if _TEXTS & {own.storage, theirs.storage} else f"{parent} = {child}"
        if own.storage is Storage.TEXT and not (own.bytewise and theirs.bytewise and not own.collation and not theirs.collation):
            return f'CAST({parent} AS TEXT) COLLATE "C" = CAST({child} AS TEXT) COLLATE "C"'
        return f"{parent} = {child}"

    def column(self, field: Field, alias: str) -> str:
        return f"{alias}.{self.dialect.quote(field.column)}"

    def condition(self, condition: Condition, alias: str) -> str:
        column = self.column(condition.field, alias)
        if condition.op is Operator.IS_NULL:
            return f"{column} IS NULL"
        if condition.op is Operator.IS_NOT_NULL:
            return f"NOT {column} IS NULL"
        write = self.sqlite if self.dialect.name == "sqlite" else self.postgres
        return " AND ".join(write(condition, column))

    def bind(self) -> str:
        name = f"{BIND}g{NUMBER}_{self.binds}{BIND}"
        self.binds += 1
        return name

    def sqlite(self, condition: Condition, column: str) -> Iterator[str]:
        exact = column if condition.field.storage not in _TEXTS else f"{column} COLLATE BINARY"
        if condition.op not in _EXACT_ANYWAY:
            yield from _of_its_type(condition.field, column)
        match condition.op:
            case Operator.EQ:
                value = self.bind()
                yield f"{column} = {value}"
                if exact != column:
                    yield f"{exact} = {value}"  # the first keeps an index of any collation usable, this one decides
            case Operator.IS_ONE_OF | Operator.IS_NOT_ONE_OF:
                value = self.bind()
                negated = "NOT " if condition.op is Operator.IS_NOT_ONE_OF else ""
                yield f"{negated}{exact} IN (SELECT value FROM JSON_EACH({value}))"
            case Operator.BETWEEN:
                yield f"{exact} >= {self.bind()}"
                yield f"{exact} <= {self.bind()}"
            case Operator.STARTS_WITH:
                yield f"INSTR({column}, {self.bind()}) = 1"
            case Operator.ENDS_WITH:
                value = self.bind()
                yield f"SUBSTRING(CAST({column} AS BLOB), -LENGTH(CAST({value} AS BLOB))) = CAST({value} AS BLOB)"  # text may hold NUL
            case Operator.CONTAINS:
                yield f"INSTR({column}, {self.bind()}) > 0"
            case Operator.NOT_CONTAINS:
                yield f"INSTR({column}, {self.bind()}) = 0"
            case _:
                yield f"{exact} {_COMPARISONS[condition.op]} {self.bind()}"

    def postgres(self, condition: Condition, column: str) -> Iterator[str]:
        field = condition.field
        text = f'CAST({column} AS TEXT) COLLATE "C"'
        exact = column if field.bytewise or field.storage is not Storage.TEXT else text
        if field.storage is Storage.ENUM:
            column = exact = text
        kind = _postgres_type(condition)

        def cast() -> str:
            return f"CAST({self.bind()} AS {kind})"

        match condition.op:
            case Operator.EQ:
                value = cast()
                yield f"{column} = {value}"
                if exact != column:
                    yield f"{exact} = {value}"
            case Operator.IS_ONE_OF:
                value = f"CAST({self.bind()} AS {kind}[])"
                yield f"{column} = ANY({value})"
                if exact != column:
                    yield f"{exact} = ANY({value})"
            case Operator.IS_NOT_ONE_OF:
                yield f"{exact} <> ALL(CAST({self.bind()} AS {kind}[]))"
            case Operator.BETWEEN:
                yield f"{column} >= {cast()}"
                yield f"{column} <= {cast()}"
            case Operator.STARTS_WITH:
                yield f"STARTS_WITH({text}, {cast()})"
            case Operator.ENDS_WITH:
                value = cast()
                yield f"RIGHT({text}, LENGTH({value})) = {value}"
            case Operator.CONTAINS:
                yield f"STRPOS({text}, {cast()}) > 0"
            case Operator.NOT_CONTAINS:
                yield f"STRPOS({text}, {cast()}) = 0"
            case _:
                yield f"{exact} {_COMPARISONS[condition.op]} {cast()}"


def _of_its_type(field: Field, column: str) -> Iterator[str]:
    """SQLite stores what it is given: text in an integer column, a blob in a text column, each greater than any number and unequal to all.

    Such a value is none of its field's, so it passes no filter.
    """
    if field.storage in (Storage.INTEGER, Storage.DECIMAL, Storage.FLOAT):
        yield f"TYPEOF({column}) IN ('integer', 'real')"
    elif field.storage is Storage.BOOLEAN:
        yield f"TYPEOF({column}) = 'integer'"
        yield f"{column} IN (0, 1)"
    else:
        yield f"TYPEOF({column}) = 'text'"
        if field.format is not None:
            yield f"{column} GLOB '{_glob(field.format)}'"


def _glob(text_format: str) -> str:
    """Texts of a strftime format, as a pattern in SQL: each part has its digits, all else is what it is."""
    pattern = re.sub("%(.)|([*?[])", lambda part: "[0-9]" * _DIGITS[part[1]] if part[1] else f"[{part[2]}]", text_format)
    return pattern.replace("'", "''")


def _postgres_type(condition: Condition) -> str:
    value = condition.values[0]
    if isinstance(value, datetime):
        return "TIMESTAMPTZ" if condition.field.storage is Storage.TIMESTAMPTZ else "TIMESTAMP"
    return _POSTGRES_TYPES[type(value)]
