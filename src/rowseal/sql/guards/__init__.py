"""Rows -> the text of a guard: one CTE that reads one dataset and hands on the permitted rows and the declared fields, nothing else.

A guard depends on the policy's *shape* only, so its text is rendered once for all bearers of that shape; values are bound.
The conditions in a guard cannot raise on any row: plain comparisons, no casts of the column that could fail, no patterns. How each
database says them stands in a module of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from rowseal.catalog import Bound, Field, FieldType, Source
from rowseal.catalog.values import typed
from rowseal.filters import Filter, Operator
from rowseal.policy import AllOf, AnyOf, Condition, Predicate, Rows, Shaped, Through
from rowseal.sql import BIND, NUMBER, OK, TRUSTED, Form
from rowseal.sql.dialects import Dialect
from rowseal.sql.guards import duckdb, mariadb, postgres, sqlite

__all__ = ["encoded", "example", "forget", "reads_plain_tables", "render"]


@dataclass(frozen=True, slots=True)
class _Spelling:
    """How one database says a condition: `conditions` those that together are one of a filter, `equal` that a parent's field is its child's.

    `conditions` gets the condition, its column as text, and what makes the next bind.
    """

    conditions: Callable[[Condition, str, Callable[[], str]], Iterator[str]]
    equal: Callable[[Field, str, Field, str], str]


_SPELLINGS: Final[Mapping[str, _Spelling]] = {
    "sqlite": _Spelling(sqlite.conditions, sqlite.equal),
    "postgres": _Spelling(postgres.conditions, postgres.equal),
    "mariadb": _Spelling(mariadb.conditions, mariadb.equal),
    "duckdb": _Spelling(duckdb.conditions, duckdb.equal),
}


def render(rows: Rows, dialect: Dialect, form: Form) -> str:
    """The text of the guard for these rows, with NUMBER where its number goes and BIND around the names of its binds.

    `fenced` keeps the planner from mixing the bearer's conditions with the guard's: they then run on permitted rows only.
    `case` adds a last column `__okN`, whether all of the guard's conditions hold.
    Rows that `reads_plain_tables` denies must be fenced.
    """
    return _render(Shaped(rows), dialect, form)


# INVARIANT: rows that compare equal under `Shaped` have the same text, because a guard's text holds no value.
@lru_cache(maxsize=4096)
def _render(shaped: Shaped, dialect: Dialect, form: Form) -> str:
    writer, rows = _Writer(dialect), shaped.take()
    dataset = rows.dataset
    columns = ", ".join(f"b.{dialect.quote(field.column)} AS {dialect.quote(field.sql_name)}" for field in dataset.visible)
    relation, condition = writer.relation(rows), writer.predicate(rows.predicate, "b")  # in the order of their binds
    opened, closed = dialect.fence if form == "fenced" else dialect.plain
    if form == "case":
        columns += f", ({condition}) IS TRUE AS {dialect.quote(f'{OK}{NUMBER}')}"
    text = f"{dialect.quote(f'__g{NUMBER}')} AS {opened}SELECT {columns} FROM {relation} AS b"
    return f"{text} WHERE {condition}{closed}" if condition else f"{text}{closed}"


def example(source: Source, dialect: Dialect) -> str:
    """The text of a source with a NULL of its type for each value of the token: for the question what its columns are."""
    spelling = _SPELLINGS[dialect.name]
    first, *rest = source.text.replace(NUMBER, "1").split(TRUSTED)
    written = first
    for each, piece in zip(source.trusted, rest, strict=True):
        written += next(iter(spelling.conditions(typed(_EXAMPLE[each.field.type], each.field, dialect.name), "", lambda: "NULL"))).partition(" = ")[2] + piece
    return written


_EXAMPLE: Final = {
    FieldType.NUMBER: Filter("", Operator.EQ, 1),
    FieldType.STRING: Filter("", Operator.EQ, ""),
    FieldType.BOOLEAN: Filter("", Operator.EQ, True),  # noqa: FBT003
}


def forget() -> None:
    """Let every text go, and with them the datasets that they were written for."""
    _render.cache_clear()


def reads_plain_tables(rows: Rows) -> bool:
    """Whether nothing is read, as a parent neither, but tables whose own columns cannot raise: no view, foreign table or SELECT of the operator."""
    parents = [part.parent for part in rows.predicate.parts if isinstance(part, Through)]  # only the configuration adds parents, never inside OR
    return rows.dataset.relation == "table" and all(map(reads_plain_tables, parents))


def encoded(rows: Rows, dialect: Dialect) -> tuple[Any, ...]:
    """The values of the guard's binds, in order, as the driver takes them: a list becomes one array, or one JSON text."""
    return tuple(_encoded(value, dialect) for value in rows.values)


def _encoded(value: Bound | tuple[Bound, ...], dialect: Dialect) -> Any:
    if not isinstance(value, tuple):
        return value
    return json.dumps(value, ensure_ascii=False) if dialect.lists_are_json else list(value)


class _Writer:
    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.spelling = _SPELLINGS[dialect.name]
        self.binds = 0
        self.parents = 0

    def relation(self, rows: Rows) -> str:
        dataset = rows.dataset
        if dataset.source is not None:
            first, *rest = dataset.source.text.split(TRUSTED)
            return f"({first}{''.join(f'{self.value(each)}{piece}' for each, piece in zip(rows.trusted, rest, strict=True))})"
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
        equal = [self.spelling.equal(theirs, self.column(theirs, parent), own, self.column(own, alias)) for own, theirs in through.on]
        condition = self.predicate(through.parent.predicate, parent)
        return f"EXISTS(SELECT 1 FROM {relation} AS {parent} WHERE {' AND '.join([*equal, condition] if condition else equal)})"

    def column(self, field: Field, alias: str) -> str:
        return f"{alias}.{self.dialect.quote(field.column)}"

    def condition(self, condition: Condition, alias: str) -> str:
        column = self.column(condition.field, alias)
        if condition.op is Operator.IS_NULL:
            return f"{column} IS NULL"
        if condition.op is Operator.IS_NOT_NULL:
            return f"NOT {column} IS NULL"
        return " AND ".join(self.spelling.conditions(condition, column, self.bind))

    def value(self, condition: Condition) -> str:
        """The right side of an equality: the bind in its cast."""
        return next(iter(self.spelling.conditions(condition, "", self.bind))).partition(" = ")[2]

    def bind(self) -> str:
        name = f"{BIND}g{NUMBER}_{self.binds}{BIND}"
        self.binds += 1
        return name
