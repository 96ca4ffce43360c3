"""Conditions of a guard as SQLite says them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from rowseal.catalog import Field, Storage
from rowseal.filters import Operator
from rowseal.policy import Condition
from rowseal.sql.guards.comparisons import COMPARISONS

__all__ = ["conditions", "equal"]

_DIGITS: Final = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2, "f": 6}
# What equals a typed value is of its type.
_EXACT_ANYWAY: Final = frozenset({Operator.EQ, Operator.IS_ONE_OF})
_TEXTS: Final = frozenset({Storage.TEXT, Storage.ENUM, Storage.TEXT_DATE, Storage.TEXT_TIMESTAMP})


def equal(theirs: Field, parent: str, own: Field, child: str) -> str:
    """Parent and child are the same by their bytes, as everywhere; two collations in one comparison would raise."""
    return f"{parent} COLLATE BINARY = {child}" if _TEXTS & {own.storage, theirs.storage} else f"{parent} = {child}"


def conditions(condition: Condition, column: str, bind: Callable[[], str]) -> Iterator[str]:
    """What a filter asks of the column, ANDed."""
    exact = column if condition.field.storage not in _TEXTS else f"{column} COLLATE BINARY"
    if condition.op not in _EXACT_ANYWAY:
        yield from _of_its_type(condition.field, column)
    match condition.op:
        case Operator.EQ:
            value = bind()
            yield f"{column} = {value}"
            if exact != column:
                yield f"{exact} = {value}"  # the first keeps an index of any collation usable, this one decides
        case Operator.IS_ONE_OF | Operator.IS_NOT_ONE_OF:
            value = bind()
            negated = "NOT " if condition.op is Operator.IS_NOT_ONE_OF else ""
            yield f"{negated}{exact} IN (SELECT value FROM JSON_EACH({value}))"
        case Operator.BETWEEN:
            yield f"{exact} >= {bind()}"
            yield f"{exact} <= {bind()}"
        case Operator.STARTS_WITH:
            yield f"INSTR({column}, {bind()}) = 1"
        case Operator.ENDS_WITH:
            value = bind()
            yield f"SUBSTRING(CAST({column} AS BLOB), -LENGTH(CAST({value} AS BLOB))) = CAST({value} AS BLOB)"  # text may hold NUL
        case Operator.CONTAINS:
            yield f"INSTR({column}, {bind()}) > 0"
        case Operator.NOT_CONTAINS:
            yield f"INSTR({column}, {bind()}) = 0"
        case _:
            yield f"{exact} {COMPARISONS[condition.op]} {bind()}"


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
