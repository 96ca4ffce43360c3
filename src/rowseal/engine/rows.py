"""The rows of a query that still runs, a batch at a time: nobody holds more of them than one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any, Final

from rowseal.engine.result import weigh
from rowseal.errors import BudgetExceeded, TimedOut

__all__ = ["Rows"]

# A batch ends with whichever of these it reaches first.
_BATCH_ROWS: Final = 1_000
_BATCH_BYTES: Final = 262_144
_BATCH_SECONDS: Final = 0.05  # after its first row


class Rows:
    """What `Database.open` gives, and good only while that lasts. Not for two threads at once.

    `declared` are the types of the columns, names of `TYPES`, and `exact` those of Arrow; both empty where the database has none to say.
    `done` and `truncated` hold from the last batch on. `deadline` is the end of its time (`time.monotonic`, seconds).
    """

    __slots__ = ("_bytes", "_fetched", "_limit", "columns", "deadline", "declared", "done", "exact", "truncated")

    def __init__(
        self,
        fetched: Iterable[tuple[Any, ...]],
        *,
        most_rows: int,
        most_bytes: int,
        deadline: float,
        columns: tuple[str, ...],
        declared: tuple[str, ...] = (),
        exact: tuple[str, ...] = (),
    ) -> None:
        """`most_rows` and `most_bytes` are how much of what is `fetched` may go out."""
        self._fetched: Iterator[tuple[Any, ...]] = iter(fetched)
        self._limit = most_rows
        self._bytes = most_bytes
        self.columns, self.declared, self.exact = columns, declared, exact
        self.deadline = deadline
        self.done = self.truncated = False

    def take(self, clock: Callable[[], float] = monotonic) -> list[tuple[Any, ...]]:
        """The next rows; none where the last ones were taken. Raises TimedOut, BudgetExceeded, and whatever the driver raises."""
        batch: list[tuple[Any, ...]] = []
        weight, ends = _BATCH_BYTES, self.deadline
        for row in self._fetched:
            now = clock()
            # INVARIANT: who reads slowly has no more time than a query that runs slowly: the connection is theirs for as long
            if now > self.deadline:
                raise TimedOut("timed_out")
            if not self._limit:
                self.truncated = True
                break
            self._limit -= 1
            weighs = weigh(row)
            self._bytes -= weighs
            if self._bytes < 0:
                raise BudgetExceeded("result_too_large")
            batch.append(row)
            weight -= weighs
            if len(batch) == 1:
                ends = now + _BATCH_SECONDS
            if len(batch) == _BATCH_ROWS or weight < 0 or now > ends:
                return batch
        self.done = True
        return batch
