"""Arrow's IPC stream (https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format), for who has the extra `arrow`.

A stream begins with the type of every column, so these must be known before the first row. PostgreSQL and MariaDB tell them. SQLite has none: there
all rows are read first, and the types are those of the values.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final
from uuid import UUID

from rowseal.engine.formats.csv_text import cut
from rowseal.engine.formats.json_text import encoded
from rowseal.engine.result import Result
from rowseal.errors import EngineFailed

__all__ = ["INSTALLED", "ArrowWriter", "to_arrow"]

INSTALLED: Final = find_spec("pyarrow") is not None
_DECIMAL: Final = re.compile(r"decimal\((\d+),(\d+)\)")
_EXACT_IN_A_DOUBLE: Final = 2**53
_ALL_AT_ONCE: Final = 10_000  # rows of one record batch, where all are there


def to_arrow(result: Result) -> bytes:
    """The answer as an Arrow IPC stream, its types those of its values.

    Raises ImportError without pyarrow, EngineFailed for a column of values of several types, BudgetExceeded for an answer that was cut: Arrow cannot say so.
    """
    writer = ArrowWriter()
    writer.begin(result.columns, result.declared, ())
    writer.rows(result.rows)
    return writer.end(truncated=result.truncated)


class ArrowWriter:
    """An Arrow IPC stream, as the rows come, or all at the end where the database tells no types."""

    def __init__(self) -> None:
        """Raises ImportError without pyarrow."""
        self._arrow: Any = import_module("pyarrow")  # here: it is large, and only who asks for Arrow pays for it
        self._sink = io.BytesIO()
        self._writer: Any = None
        self._columns: Sequence[str] = ()
        self._declared: Sequence[str] = ()
        self._makers: list[Callable[[Any], Any] | None] = []
        self._held: list[tuple[Any, ...]] = []

    def begin(self, columns: Sequence[str], declared: Sequence[str], exact: Sequence[str]) -> bytes:
        """The schema, where it is known by now."""
        self._columns, self._declared = columns, declared
        if not exact:
            return b""
        self._open(exact)
        return self._taken()

    def rows(self, batch: Sequence[tuple[Any, ...]]) -> bytes:
        """One record batch."""
        if self._writer is None:
            self._held += batch
            return b""
        self._write(batch)
        return self._taken()

    def end(self, *, truncated: bool) -> bytes:
        """The mark of the end, after the rows that were held back."""
        if truncated:
            raise cut("Arrow")
        if self._writer is None:
            declared = self._declared or ("",) * len(self._columns)
            values = list(zip(*self._held, strict=True)) or [()] * len(self._columns)
            self._open([_of_values(each, kind) for each, kind in zip(values, declared, strict=True)])
            for start in range(0, len(self._held), _ALL_AT_ONCE):
                self._write(self._held[start : start + _ALL_AT_ONCE])
            self._held = []
        self._writer.close()
        return self._taken()

    def _open(self, exact: Sequence[str]) -> None:
        types, self._makers = [self._type(each) for each in exact], [_makes(each) for each in exact]
        self._schema = self._arrow.schema([self._arrow.field(name, kind) for name, kind in zip(self._columns, types, strict=True)])
        self._writer = self._arrow.ipc.new_stream(self._sink, self._schema)

    def _write(self, batch: Sequence[tuple[Any, ...]]) -> None:
        if not batch:
            return
        try:
            columns = [
                self._arrow.array(values if make is None else [None if value is None else make(value) for value in values], type=field.type)
                for values, make, field in zip(zip(*batch, strict=True), self._makers, self._schema, strict=True)
            ]
            self._writer.write_batch(self._arrow.record_batch(columns, schema=self._schema))
        except (self._arrow.ArrowException, ArithmeticError, TypeError, ValueError):  # its words quote values
            raise _uncarried("a value that its Arrow type cannot hold") from None

    def _taken(self) -> bytes:
        written = self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()
        return written

    def _type(self, exact: str) -> Any:
        arrow = self._arrow
        if told := _DECIMAL.fullmatch(exact):
            precision, scale = int(told[1]), int(told[2])
            return arrow.decimal128(precision, scale) if precision <= 38 else arrow.decimal256(precision, scale)
        match exact:
            case "timestamp":
                return arrow.timestamp("us")
            case "timestamptz":
                return arrow.timestamp("us", tz="UTC")
            case "time":
                return arrow.time64("us")
            case "number" | "json":
                return arrow.string()
            case _:
                return getattr(arrow, exact)()


def _makes(exact: str) -> Callable[[Any], Any] | None:
    """What makes of a value one that Arrow takes for this type; None for nothing."""
    if exact.startswith("decimal"):
        return lambda value: value if not isinstance(value, Decimal) or value.is_finite() else None
    if exact == "number":
        return lambda value: str(value) if not isinstance(value, Decimal) or value.is_finite() else None
    if exact == "json":
        return lambda value: encoded(value).decode()
    return str if exact == "string" else None


def _of_values(values: Sequence[Any], declared: str) -> str:
    """The type of a column of which only the values are known, and perhaps what the database calls them."""
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return _EMPTY.get(declared, "null")
    if kinds == {int, float} and all(abs(value) <= _EXACT_IN_A_DOUBLE for value in values if type(value) is int):
        return "float64"
    if Decimal in kinds and kinds <= {int, Decimal}:
        return _of_decimals([Decimal(value) for value in values if value is not None])
    if len(kinds) == 1:
        kind = kinds.pop()
        if kind is int:
            return "int64" if all(value is None or -(2**63) <= value < 2**63 for value in values) else _of_decimals([Decimal(value or 0) for value in values])
        if kind is datetime:
            zoned = {value.tzinfo is not None for value in values if value is not None}
            if len(zoned) > 1:
                raise _uncarried("moments with and without a zone")
            return "timestamptz" if zoned == {True} else "timestamp"
        if kind in _OF_TYPE:
            return _OF_TYPE[kind]
    if declared == "json":
        return "json"
    raise _uncarried("values of several types, and a column of Arrow has one")


def _of_decimals(values: Sequence[Decimal]) -> str:
    finite = [value.as_tuple() for value in values if value.is_finite()]
    scale = max((max(0, -int(each.exponent)) for each in finite), default=0)
    whole = max((max(0, len(each.digits) + int(each.exponent)) for each in finite), default=1)
    if scale + whole > 76:
        return "number"
    return f"decimal({max(38 if scale + whole <= 38 else 76, 1)},{scale})"


def _uncarried(what: str) -> EngineFailed:
    return EngineFailed("query_failed", f"a column of the answer has {what}", hint="cast the column")


_OF_TYPE: Final[dict[type, str]] = {
    float: "float64",
    str: "string",
    bool: "bool_",
    date: "date32",
    time: "time",
    bytes: "binary",
    UUID: "string",
    list: "json",
    dict: "json",
}
_EMPTY: Final = {"string": "string", "boolean": "bool_", "date": "date32", "bytes": "binary", "json": "json"}
