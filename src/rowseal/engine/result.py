"""The answer: rows as the driver gave them, what they weigh, and what type a column has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

__all__ = ["TYPES", "Result", "weigh"]

# What a column may be, for whoever reads the JSON.
TYPES: Final[dict[str, str]] = {
    "number": "a JSON number with all its digits",
    "string": "text; also whatever the database has no JSON type for, as text",
    "boolean": "`true` or `false`",
    "date": "text, ISO 8601: `2026-02-28`",
    "date_time": "text, ISO 8601, with an offset where the database has one",
    "time": "text, ISO 8601",
    "bytes": "text, Base64",
    "json": "an array, or any JSON",
    "mixed": "values of more than one of these types; SQLite only",
    "unknown": "no value that would tell: NULL alone, no row, or none yet; SQLite only",
}


@dataclass(frozen=True, slots=True)
class Result:
    """The rows of one query. `truncated` says that the database held more than the row limit lets out.

    Values keep their exact type: int, float, Decimal, str, bool, None, date, datetime, time, UUID, bytes, list, dict.
    `declared` are the columns' types (see `TYPES`) where the database says them; empty where it has none to say.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]] = field(repr=False)
    truncated: bool
    declared: tuple[str, ...] = ()

    @property
    def types(self) -> tuple[str, ...]:
        """A name of `TYPES` for each column: what the database declares, else what the values of this answer are."""
        # not by zip: an iterator for each row is what Python's collector of cycles counts, and then it looks at everything
        return self.declared or tuple(_type_of_values(set(map(type, map(itemgetter(at), self.rows)))) for at in range(len(self.columns)))


def weigh(row: tuple[Any, ...]) -> int:
    """About how many bytes the row takes, good to a small factor: what counts is that no value is free, however it nests."""
    total = 8 * len(row)
    for value in row:
        kind = type(value)
        if kind is str:
            total += len(value)
        elif kind not in _LIGHT:
            total += _WEIGH.get(kind, _by_repr)(value)
    return total


def _type_of_values(kinds: set[type]) -> str:
    known = {_TYPE_OF.get(kind, "string") for kind in kinds if kind is not type(None)}
    return known.pop() if len(known) == 1 else "mixed" if known else "unknown"


def _by_repr(value: object) -> int:
    return len(repr(value))


_LIGHT: Final = frozenset({int, float, bool, type(None), datetime, date, time, UUID})
_WEIGH: Final[dict[type, Callable[[Any], int]]] = {bytes: len, Decimal: Decimal.__sizeof__}  # a numeric may have 100,000 digits
_TYPE_OF: Final[dict[type, str]] = {
    **dict.fromkeys((int, float, Decimal), "number"),
    bool: "boolean",
    datetime: "date_time",
    date: "date",
    time: "time",
    bytes: "bytes",
    **dict.fromkeys((list, dict), "json"),
}
