"""Conditions of a guard as DuckDB says them. Every bind stands in a CAST, so that no type is inferred."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from rowseal.catalog import Field, Storage
from rowseal.filters import Operator
from rowseal.policy import Condition
from rowseal.sql.guards.comparisons import COMPARISONS

__all__ = ["conditions", "equal"]

_TYPES: Final[dict[type, str]] = {
    bool: "BOOLEAN",
    int: "BIGINT",
    Decimal: "DECIMAL(38, 18)",  # which every number of a field fits into: see catalog.values
    float: "DOUBLE",
    str: "TEXT",
    date: "DATE",
    UUID: "UUID",
}


def equal(theirs: Field, parent: str, own: Field, child: str) -> str:
    """Parent and child are the same by their bytes, as everywhere; two collations in one comparison would raise."""
    return f"{_exact(theirs, parent)} = {_exact(own, child)}"


def _exact(field: Field, column: str) -> str:
    """The column, compared by its bytes whatever its collation or the database's default: on a column without one this costs nothing."""
    if field.storage is Storage.ENUM:
        return f"CAST({column} AS TEXT) COLLATE C"
    return f"{column} COLLATE C" if field.storage is Storage.TEXT else column


def conditions(condition: Condition, column: str, bind: Callable[[], str]) -> Iterator[str]:
    """What a filter asks of the column, ANDed."""
    exact, kind = _exact(condition.field, column), _type(condition)

    def cast() -> str:
        return f"CAST({bind()} AS {kind})"

    match condition.op:
        case Operator.EQ:
            yield f"{exact} = {cast()}"
        case Operator.IS_ONE_OF:
            yield f"{exact} = ANY(CAST({bind()} AS {kind}[]))"
        case Operator.IS_NOT_ONE_OF:
            yield f"{exact} <> ALL(CAST({bind()} AS {kind}[]))"
        case Operator.BETWEEN:
            yield f"{exact} >= {cast()}"
            yield f"{exact} <= {cast()}"
        case Operator.STARTS_WITH:
            yield f"STARTS_WITH({exact}, {cast()})"
        case Operator.ENDS_WITH:
            yield f"ENDS_WITH({exact}, {cast()})"
        case Operator.CONTAINS:
            yield f"STRPOS({exact}, {cast()}) > 0"
        case Operator.NOT_CONTAINS:
            yield f"STRPOS({exact}, {cast()}) = 0"
        case _:
            yield f"{exact} {COMPARISONS[condition.op]} {cast()}"


def _type(condition: Condition) -> str:
    if condition.field.storage is Storage.HUGE:
        return "HUGEINT"
    value = condition.values[0]
    if isinstance(value, datetime):
        return "TIMESTAMPTZ" if condition.field.storage is Storage.TIMESTAMPTZ else "TIMESTAMP"
    return _TYPES[type(value)]
