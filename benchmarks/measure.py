"""Medians of CPU time, and tables to put them in."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["Cell", "Section", "interleaved", "ratio"]

Cell = str | float | None


@dataclass(frozen=True, slots=True)
class Section:
    """One table of the report. A row has one cell for each column; numbers are in the unit that the column or `about` names."""

    title: str
    about: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)


def interleaved(
    variants: Mapping[str, Callable[[], object]], *, rounds: int, clock: Callable[[], int] = time.thread_time_ns, warm: int = 10
) -> dict[str, float]:
    """The median of each variant, in microseconds by `clock` (which gives nanoseconds).

    Each round runs every variant once, in an order drawn anew: so whatever else the machine does meets them all alike, and none
    always follows the one that leaves the caches cold.
    """
    order = random.Random(1)
    spent: dict[str, list[int]] = {name: [] for name in variants}
    turns = list(variants.items())
    for round_ in range(warm + rounds):
        order.shuffle(turns)
        for name, run in turns:
            start = clock()
            run()
            taken = clock() - start
            if round_ >= warm:
                spent[name].append(taken)
    return {name: statistics.median(times) / 1_000 for name, times in spent.items()}


def ratio(value: float, base: float) -> str:
    """How many times as much, for a cell."""
    return f"{value / base:.2f}x"
