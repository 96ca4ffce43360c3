"""Conditions of a guard as PostgreSQL says them. Every bind stands in a CAST, so that no type is inferred."""

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
    Decimal: "DECIMAL",
    float: "DOUBLE PRECISION",
    str: "TEXT",
    date: "DATE",
    UUID: "UUID",
}


def equal(theirs: Field, parent: str, own: Field, child: str) -> str:
    """Parent and child are the same by their bytes, as everywhere; two collations in one comparison would raise."""
    if own.storage is Storage.TEXT and not (own.bytewise and theirs.bytewise and not own.collation and not theirs.collation):
        return f'CAST({parent} AS TEXT) COLLATE "C" = CAST({child} AS TEXT) COLLATE "C"'
    return f"{parent} = {child}"


def conditions(condition: Condition, column: str, bind: Callable[[], str]) -> Iterator[str]:
    """What a filter asks of the column, ANDed."""
    field = condition.field
    text = f'CAST({column} AS TEXT) COLLATE "C"'
    exact = column if field.bytewise or field.storage is not Storage.TEXT else text
    if field.storage is Storage.ENUM:
        column = exact = text
    kind = _type(condition)

    def cast() -> str:
        return f"CAST({bind()} AS {kind})"

    match condition.op:
        case Operator.EQ:
            value = cast()
            yield f"{column} = {value}"
            if exact != column:
                yield f"{exact} = {value}"
        case Operator.IS_ONE_OF:
            value = f"CAST({bind()} AS {kind}[])"
            yield f"{column} = ANY({value})"
            if exact != column:
                yield f"{exact} = ANY({value})"
        case Operator.IS_NOT_ONE_OF:
            yield f"{exact} <> ALL(CAST({bind()} AS {kind}[]))"
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
            yield f"{exact} {COMPARISONS[condition.op]} {cast()}"


def _type(condition: Condition) -> str:
    value = condition.values[0]
    if isinstance(value, datetime):
        return "TIMESTAMPTZ" if condition.field.storage is Storage.TIMESTAMPTZ else "TIMESTAMP"
    return _TYPES[type(value)]
