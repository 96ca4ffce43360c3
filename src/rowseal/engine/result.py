"""The answer: rows as the driver gave them, what they weigh, what type a column has, and how they become JSON."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, Final
from uuid import UUID

from rowseal.errors import EngineFailed

__all__ = ["TYPES", "Result", "to_json", "weigh"]

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
    "unknown": "no value that would tell: NULL alone, or no row; SQLite only",
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
        return self.declared or tuple(_type_of_values({type(row[at]) for row in self.rows}) for at in range(len(self.columns)))


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


def to_json(result: Result, *, types: bool = False) -> bytes:
    """The answer as UTF-8 JSON: `{"columns": [name, ...], "rows": [[value, ...], ...], "truncated": bool}`.

    With `types` each column is `{"name": name, "type": type}`, where the type is one of `TYPES`.

    Numbers stay JSON numbers with all their digits, so a reader that needs more than a double must parse them as decimals. NaN and
    the infinities, which JSON lacks, become null. Dates, times and timestamps are ISO 8601 (with an offset where the database has one),
    UUIDs text, bytes Base64 (RFC 4648, section 4). Raises `EngineFailed` for a value of another type, or nested hundreds deep.
    """
    names = map(encode_basestring, result.columns)
    columns = ",".join(f'{{"name":{name},"type":"{kind}"}}' for name, kind in zip(names, result.types, strict=True)) if types else ",".join(names)
    encode = _ENCODE
    try:
        rows = ",".join([f"[{','.join([encode[type(value)](value) for value in row])}]" for row in result.rows])
    except (KeyError, RecursionError):
        raise EngineFailed("query_failed", "a column of the answer has a type or a depth that JSON cannot carry", hint="cast the column to text") from None
    text = f'{{"columns":[{columns}],"rows":[{rows}],"truncated":{"true" if result.truncated else "false"}}}'
    # a lone surrogate, which a `json` column may hold, has no UTF-8: it goes out as the \udXXX escape that it came in as
    return text.encode("utf-8", "backslashreplace")


def _type_of_values(kinds: set[type]) -> str:
    known = {_TYPE_OF.get(kind, "string") for kind in kinds if kind is not type(None)}
    return known.pop() if len(known) == 1 else "mixed" if known else "unknown"


def _float(value: float) -> str:
    return repr(value) if value - value == 0 else "null"


def _decimal(value: Decimal) -> str:
    return str(value) if value.is_finite() else "null"


def _iso(value: date | time) -> str:
    return f'"{value.isoformat()}"'


def _list(values: Iterable[Any]) -> str:
    return f"[{','.join([_ENCODE[type(value)](value) for value in values])}]"


def _dict(values: dict[str, Any]) -> str:
    return f"{{{','.join([f'{encode_basestring(name)}:{_ENCODE[type(value)](value)}' for name, value in values.items()])}}}"


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
# by exact type; a type that is not here refuses the answer
_ENCODE: Final[dict[type, Callable[[Any], str]]] = {
    str: encode_basestring,
    int: int.__repr__,
    float: _float,
    Decimal: _decimal,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
    datetime: _iso,
    date: _iso,
    time: _iso,
    UUID: lambda value: f'"{value}"',
    bytes: lambda value: f'"{b64encode(value).decode()}"',
    list: _list,
    dict: _dict,
}
