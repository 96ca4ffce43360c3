"""JSON (RFC 8259), and lines of it: what a value becomes, with all its digits.

Numbers stay JSON numbers, so a reader that needs more than a double must parse them as decimals. NaN and the infinities, which JSON lacks, become
null. Dates, times and timestamps are ISO 8601 (`Z` for UTC), UUIDs text, bytes Base64 (RFC 4648, section 4).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, Final
from uuid import UUID

import msgspec

from rowseal.engine.result import Result
from rowseal.errors import EngineFailed

__all__ = ["LinesWriter", "encoded", "to_json", "to_ndjson"]

_FAST: Final = msgspec.json.Encoder(decimal_format="number")


def to_json(result: Result, *, types: bool = False) -> bytes:
    """The answer as UTF-8 JSON: `{"columns": [name, ...], "rows": [[value, ...], ...], "truncated": bool}`.

    With `types` each column is `{"name": name, "type": type}`, where the type is one of `TYPES`.
    Raises EngineFailed for a value of another type than a Result's, or nested hundreds deep.
    """
    columns = _columns(result.columns, result.types) if types else result.columns
    return encoded({"columns": columns, "rows": result.rows, "truncated": result.truncated})


def to_ndjson(result: Result) -> bytes:
    """The answer as lines of JSON: `{"columns": [{"name": ..., "type": ...}, ...]}`, an array for each row, `{"truncated": bool}`. Raises as `to_json`."""
    writer = LinesWriter()
    return writer.begin(result.columns, result.types, ()) + writer.rows(result.rows) + writer.end(truncated=result.truncated)


class LinesWriter:
    """Lines of JSON, as they come."""

    def begin(self, columns: Sequence[str], declared: Sequence[str], exact: Sequence[str]) -> bytes:  # noqa: ARG002 -- one interface for every format
        """The columns. A database that has no types of columns has none to tell before the rows."""
        return encoded({"columns": _columns(columns, declared or ("unknown",) * len(columns))}) + b"\n"

    def rows(self, batch: Sequence[tuple[Any, ...]]) -> bytes:
        """An array for each row."""
        return b"".join([encoded(row) + b"\n" for row in batch]) if (lines := _lines(batch)) is None else lines

    def end(self, *, truncated: bool) -> bytes:
        """Whether the answer was cut."""
        return encoded({"truncated": truncated}) + b"\n"


def encoded(content: object) -> bytes:
    """The content as JSON. Raises EngineFailed for a value that JSON cannot carry."""
    try:
        text = _FAST.encode(content)
    except UnicodeEncodeError:
        text = b""
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise _uncarried() from None
    return _exactly(content) if not text or _not_finite(text) else text


def _lines(batch: Sequence[tuple[Any, ...]]) -> bytes | None:
    try:
        text = _FAST.encode_lines(batch)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    return None if _not_finite(text) else text


def _not_finite(text: bytes) -> bool:
    """Whether the text may hold a decimal that is no number, which the fast encoder writes as it is. INVARIANT: never false where it does."""
    return b"NaN" in text or b"Infinity" in text


def _columns(names: Sequence[str], types: Sequence[str]) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in zip(names, types, strict=True)]


def _exactly(content: object) -> bytes:
    try:
        text = _ENCODE[type(content)](content)
    except (KeyError, RecursionError):
        raise _uncarried() from None
    # a lone surrogate, which a `json` column may hold, has no UTF-8: it goes out as the \udXXX escape that it came in as
    return text.encode("utf-8", "backslashreplace")


def _uncarried() -> EngineFailed:
    return EngineFailed("query_failed", "a column of the answer has a type or a depth that JSON cannot carry", hint="cast the column to text")


def _float(value: float) -> str:
    return repr(value) if value - value == 0 else "null"


def _decimal(value: Decimal) -> str:
    return str(value) if value.is_finite() else "null"


def _iso(value: date | time) -> str:
    text = value.isoformat()
    return f'"{text[:-6]}Z"' if text.endswith("+00:00") else f'"{text}"'


def _list(values: Iterable[Any]) -> str:
    return f"[{','.join([_ENCODE[type(value)](value) for value in values])}]"


def _dict(values: dict[str, Any]) -> str:
    return f"{{{','.join([f'{encode_basestring(name)}:{_ENCODE[type(value)](value)}' for name, value in values.items()])}}}"


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
    tuple: _list,
    dict: _dict,
}
