"""An answer as bytes: JSON, lines of JSON, CSV, Arrow.

Each is a function that takes a whole Result, and, but for JSON, a Writer that takes the rows as they come. docs/how-to/results.md says what a value
becomes in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from rowseal.engine.formats.arrow_stream import INSTALLED as ARROW
from rowseal.engine.formats.arrow_stream import ArrowWriter, to_arrow
from rowseal.engine.formats.csv_text import CsvWriter, to_csv
from rowseal.engine.formats.json_text import LinesWriter, encoded, to_json, to_ndjson

__all__ = ["ARROW", "ArrowWriter", "CsvWriter", "LinesWriter", "Writer", "encoded", "to_arrow", "to_csv", "to_json", "to_ndjson"]


class Writer(Protocol):
    """Writes one answer, part by part. A part may be empty: what it holds then comes with a later one.

    INVARIANT: without what `end` gives, no reader of the format, or of HTTP, takes the answer for a whole one.
    """

    def begin(self, columns: Sequence[str], declared: Sequence[str], exact: Sequence[str]) -> bytes:
        """What comes before the rows. `declared` and `exact` are those of `engine.Rows`."""

    def rows(self, batch: Sequence[tuple[Any, ...]]) -> bytes:
        """Some rows. Raises EngineFailed for a value that the format cannot carry."""

    def end(self, *, truncated: bool) -> bytes:
        """What comes after the rows. Raises BudgetExceeded where the answer was cut and the format cannot say so."""
