"""CSV (RFC 4180): a header, CRLF, UTF-8; and no text that a spreadsheet takes for a formula.

Text stands in quotes, always; numbers, booleans, dates and times never do. NULL is nothing at all, an empty text is `""`.

A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@`, in quotes or not (https://owasp.org/www-community/attacks/CSV_Injection). So text that
begins with one of these, with a blank that some skip, or with `'` itself, gets a `'` before it: whoever takes one `'` away from the beginning of
every text that has it has the text as it was. A number is a number also where it is negative.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from rowseal.engine.formats.json_text import encoded
from rowseal.engine.result import Result
from rowseal.errors import BudgetExceeded, EngineFailed

__all__ = ["CsvWriter", "to_csv"]

# The last four are the wide forms, which some spreadsheets take for the narrow ones.
_ACTIVE: Final = frozenset("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")


def to_csv(result: Result) -> bytes:
    """The answer as CSV. Raises EngineFailed for a value of another type than a Result's, BudgetExceeded for an answer that was cut: CSV cannot say so."""
    writer = CsvWriter()
    return writer.begin(result.columns, (), ()) + writer.rows(result.rows) + writer.end(truncated=result.truncated)


class CsvWriter:
    """CSV, as the rows come."""

    def __init__(self) -> None:
        self._empty = ""

    def begin(self, columns: Sequence[str], declared: Sequence[str], exact: Sequence[str]) -> bytes:  # noqa: ARG002 -- one interface for every format
        """The names of the columns."""
        # an empty line is no record to most readers
        self._empty = '""' if len(columns) == 1 else ""
        return _bytes(",".join(map(_text, columns)) + "\r\n")

    def rows(self, batch: Sequence[tuple[Any, ...]]) -> bytes:
        """A line for each row, or more where a text has line breaks."""
        cell, empty = _CELL, self._empty
        try:
            return _bytes("".join([f"{','.join([cell[type(value)](value) for value in row]) or empty}\r\n" for row in batch]))
        except KeyError:
            raise EngineFailed("query_failed", "a column of the answer has a type that CSV cannot carry", hint="cast the column to text") from None

    def end(self, *, truncated: bool) -> bytes:
        """Nothing."""
        if truncated:
            raise cut("CSV")
        return b""


def cut(form: str) -> BudgetExceeded:
    """For an answer longer than the row limit in a format that cannot say so. INVARIANT: nobody takes what was cut for the whole."""
    return BudgetExceeded(
        "result_too_large",
        f"the answer has more rows than this server hands out, and {form} cannot say that it was cut",
        hint="write LIMIT, aggregate, or ask for `application/x-ndjson`, which says where it was cut",
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _text(value: str) -> str:
    if value[:1] in _ACTIVE:
        value = f"'{value}"
    return '"' + value.replace('"', '""') + '"'


def _iso(value: date | time) -> str:
    text = value.isoformat()
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


# by exact type; a type that is not here refuses the answer
_CELL: Final[dict[type, Callable[[Any], str]]] = {
    str: _text,
    int: int.__repr__,
    float: lambda value: repr(value) if value - value == 0 else "",
    Decimal: lambda value: str(value) if value.is_finite() else "",
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "",
    datetime: _iso,
    date: _iso,
    time: _iso,
    UUID: lambda value: f'"{value}"',
    bytes: lambda value: _text(b64encode(value).decode()),  # Base64 may begin with `+`
    list: lambda value: _text(encoded(value).decode()),
    dict: lambda value: _text(encoded(value).decode()),
}
