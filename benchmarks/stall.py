"""How long one step keeps Python's lock, and how long a live event loop waits: `python -m benchmarks.stall`.

Steps are CPU time, so a busy machine changes them little; waits are what a clock on the wall says, beside threads that do sums.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from sqlglot.errors import SqlglotError

from hostile import FAMILIES, sizes
from place import Place
from policies import policy, secured
from rowseal.errors import Refused
from rowseal.sql.admit import _parse
from rowseal.sql.bounds import refuse_length
from rowseal.sql.dialects import DIALECTS
from rowseal.sql.sieve import words
from test_hostile import _longest_wait, longest

__all__ = ["main"]

_T = TypeVar("_T")


def main() -> None:
    """Measure and print."""
    gc.disable()
    for dialect in DIALECTS:
        for label, (spent, name) in _longest(dialect).items():
            print(f"{dialect:10} {label:6} {spent:7.1f} ms  {name}", flush=True)
    gc.enable()
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        _waits(place)
        place.close()


def _longest(dialect: str) -> dict[str, tuple[float, str]]:
    """The longest step of each kind in CPU milliseconds, and for which text."""
    made, given = DIALECTS[dialect], policy(dialect)
    found, limits = dict.fromkeys(("words", "parse", "all"), (0.0, "")), given.catalog.limits

    def timed(name: str, label: str, step: Callable[[], _T]) -> _T:
        began = time.thread_time()
        try:
            return step()
        finally:
            found[label] = max(found[label], ((time.thread_time() - began) * 1_000, name))

    def steps(name: str, sql: str) -> None:
        refuse_length(sql, limits)
        timed(name, "words", lambda: made.grammar.tokenize(sql))
        tokens = words(sql, made, limits)
        timed(name, "parse", lambda: _parse(sql, tokens, made, limits))
        timed(name, "all", lambda: secured(sql, given))

    for family, text in FAMILIES.items():
        for n, sql in sizes(text, limits.sql_bytes):
            with suppress(Refused, SqlglotError, RecursionError):
                steps(f"{family} x {n}", sql)
        gc.collect()
    return found


def _waits(place: Place) -> None:
    access = place.gate().verify(place.token())

    def secure() -> None:
        for _ in range(4):
            for sql in (longest(), "SELECT 1" + " UNION SELECT 1" * 900):
                with suppress(Refused):
                    access.secure(sql)

    def calculate() -> None:
        until = time.thread_time() + 0.2
        while time.thread_time() < until:
            sum(range(100))

    secure()
    gc.collect()
    gc.freeze()
    for threads in (1, 4, 16):
        waits = [sorted(_longest_wait(work, threads) * 1_000 for _ in range(5))[2] for work in (secure, calculate)]
        print(f"{threads:3} threads: an event loop waits {waits[0]:.0f} ms at most while they secure, {waits[1]:.0f} ms while they do sums (median of 5)")


if __name__ == "__main__":
    main()
