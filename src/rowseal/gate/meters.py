"""What tokens of each key have read and named in the hour that runs: a key in wrong hands gets no further than its bounds.

An hour begins with the first use in it and ends 3600 seconds later. Each process counts for itself, and a reload starts nothing anew.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from rowseal.claims import KeyFacts
from rowseal.errors import BudgetExceeded
from rowseal.policy import Rows, chosen

__all__ = ["KeyUse", "Meters"]

_log: Final = logging.getLogger("rowseal")
_HOUR: Final = 3600.0
_COUNTED: Final = 10_000  # tokens and datasets whose values are known to be counted


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What the tokens of one key used since `since` (seconds since the epoch). `values` is None where these are not bounded, so not counted."""

    since: float
    rows: int
    values: int | None


@dataclass(slots=True)
class _Hour:
    began: float
    rows: int = 0
    values: set[bytes] = field(default_factory=set)  # INVARIANT: never more than the bound
    counted: set[tuple[str, str]] = field(default_factory=set)
    complained: bool = False


class Meters:
    """The uses of every key. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since the epoch."""
        self._clock = clock
        self._lock = threading.Lock()
        self._hours: dict[str, _Hour] = {}
        self._salt = os.urandom(16)  # so that what is kept says nothing about a value

    def name(self, key: KeyFacts, digest: str, guarded: Iterable[Rows]) -> None:
        """Count the values by which the token of this digest restricts the datasets that it reads. Raises BudgetExceeded `key_values_spent`."""
        if key.max_values is None:
            return
        for rows in guarded:
            known = digest, rows.dataset.id
            with self._lock:
                if known in self._hour(key).counted:
                    continue
            named = {self._mark(field_id, value) for field_id, value in chosen(rows)}
            with self._lock:
                hour = self._hour(key)
                if len(hour.values | named) > key.max_values:
                    raise BudgetExceeded("key_values_spent", retry_after=self._left(key, hour))
                hour.values |= named
                if len(hour.counted) >= _COUNTED:
                    hour.counted.clear()
                hour.counted.add(known)

    def ask(self, key: KeyFacts) -> None:
        """Whether one more row may be read. Raises BudgetExceeded `key_rows_spent`."""
        if key.max_rows is not None:
            self.read(key, 0, at_least=1)

    def read(self, key: KeyFacts, rows: int, *, at_least: int = 0) -> None:
        """Count rows before anybody gets them. Raises BudgetExceeded `key_rows_spent` where they are more than are left; then none is counted."""
        with self._lock:
            hour = self._hour(key)
            if key.max_rows is not None and hour.rows + max(rows, at_least) > key.max_rows:
                raise BudgetExceeded("key_rows_spent", retry_after=self._left(key, hour))
            hour.rows += rows

    def used(self, keys: Iterable[KeyFacts]) -> dict[str, KeyUse]:
        """By the id of the key. A key without a use in this hour is not there."""
        now = self._clock()
        with self._lock:
            running = [(key, self._hours[key.id]) for key in keys if key.id in self._hours and self._runs(self._hours[key.id], now)]
            return {key.id: KeyUse(hour.began, hour.rows, None if key.max_values is None else len(hour.values)) for key, hour in running}

    def _hour(self, key: KeyFacts) -> _Hour:
        now = self._clock()
        hour = self._hours.get(key.id)
        if hour is None or not self._runs(hour, now):
            hour = self._hours[key.id] = _Hour(now)
        return hour

    def _runs(self, hour: _Hour, now: float) -> bool:
        # INVARIANT: a clock that was set back begins no new hour
        return now < hour.began + _HOUR

    def _left(self, key: KeyFacts, hour: _Hour) -> int:
        """Seconds until the next hour begins; the log is told that this one is spent, once."""
        if not hour.complained:
            hour.complained = True
            _log.warning("tokens of the key `%s` have reached a bound of the hour: see `max_rows_per_hour` and `max_values_per_hour`", key.id)
        return max(1, math.ceil(min(hour.began + _HOUR - self._clock(), _HOUR)))

    def _mark(self, field_id: str, value: object) -> bytes:
        return hashlib.blake2b(repr((field_id, type(value).__name__, value)).encode("utf-8", "surrogatepass"), digest_size=16, key=self._salt).digest()
