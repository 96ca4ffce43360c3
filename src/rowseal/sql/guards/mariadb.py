"""Conditions of a guard as MariaDB says them. Every single value stands in a CAST; a list is a list of literals of its type, in brackets of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from rowseal.catalog import Field, Storage
from rowseal.filters import Operator
from rowseal.policy import Condition
from rowseal.sql.guards.comparisons import COMPARISONS

__all__ = ["conditions", "equal"]

_TYPES: Final[dict[type, str]] = {
    int: "SIGNED",
    Decimal: "DECIMAL(65, 30)",
    float: "DOUBLE",
    str: "CHAR CHARACTER SET utf8mb4",
    date: "DATE",
    datetime: "DATETIME(6)",
}
_TEXTS: Final = frozenset({Storage.TEXT, Storage.ENUM})
_UNICODE: Final = frozenset({"utf8mb4", "utf8mb3", "utf8"})
# What equals TRUE or FALSE is 1 or 0.
_EXACT_ANYWAY: Final = frozenset({Operator.EQ, Operator.IS_ONE_OF})


def _exact(column: str) -> str:
    """Text by its characters: no collation folds case or accents or forgets blanks, whatever the column's character set."""
    return f"CAST({column} AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_nopad_bin"


def equal(theirs: Field, parent: str, own: Field, child: str) -> str:
    """Parent and child are the same by their characters; by their collation too, where it is one, for the sake of an index."""
    if own.storage not in _TEXTS:
        return f"{parent} = {child}"
    exact = f"{_exact(parent)} = {_exact(child)}"
    return f"{parent} = {child} AND {exact}" if own.storage is Storage.TEXT and theirs.storage is Storage.TEXT and _one_collation(own, theirs) else exact


def _one_collation(own: Field, theirs: Field) -> bool:
    return own.collation == theirs.collation and "_" in own.collation  # a SELECT's column has none that is known


def conditions(condition: Condition, column: str, bind: Callable[[], str]) -> Iterator[str]:
    """What a filter asks of the column, ANDed."""
    field = condition.field
    text = field.storage in _TEXTS
    exact = column if not text or field.bytewise else _exact(column)
    character_set = field.collation.partition("_")[0]
    if field.storage is Storage.BOOLEAN and condition.op not in _EXACT_ANYWAY:
        yield f"{column} IN (0, 1)"  # TRUE is a 1, and the column may hold other numbers
    match condition.op:
        case Operator.EQ:
            value = bind()
            if exact != column and field.storage is Storage.TEXT:
                # the first keeps an index usable, and so speaks the column's character set; the next one decides
                yield f"{column} = CAST({value} AS CHAR CHARACTER SET {character_set})"
            yield f"{exact} = {_cast(value, condition)}"
        case Operator.IS_ONE_OF:
            value = bind()
            if exact != column and field.storage is Storage.TEXT and character_set in _UNICODE:
                yield f"{column} IN {value}"
            yield f"{exact} IN {value}"
        case Operator.IS_NOT_ONE_OF:
            yield f"NOT {exact} IN {bind()}"
        case Operator.BETWEEN:
            yield f"{exact} >= {_cast(bind(), condition)}"
            yield f"{exact} <= {_cast(bind(), condition)}"
        case Operator.STARTS_WITH:
            value = _cast(bind(), condition)
            yield f"LEFT({_exact(column)}, CHAR_LENGTH({value})) = {value}"
        case Operator.ENDS_WITH:
            value = _cast(bind(), condition)
            yield f"RIGHT({_exact(column)}, CHAR_LENGTH({value})) = {value}"
        case Operator.CONTAINS:
            yield f"LOCATE({_cast(bind(), condition)}, {_exact(column)}) > 0"
        case Operator.NOT_CONTAINS:
            yield f"LOCATE({_cast(bind(), condition)}, {_exact(column)}) = 0"
        case _:
            yield f"{exact} {COMPARISONS[condition.op]} {_cast(bind(), condition)}"


def _cast(value: str, condition: Condition) -> str:
    kind = type(condition.values[0])
    return value if kind is bool else f"CAST({value} AS {_TYPES[kind]})"
