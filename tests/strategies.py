"""Random queries over the world, biased to hurt: names that shadow, outer joins, correlated sub-queries, and expressions that fail.

Each query is well-typed and its answer is determined, so that whatever differs between two databases is a finding. Each is written from
a list of numbers, its choices, in which 0 is always the simplest: a failing query is made small by making its list small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from bearers import CONFIGURATIONS, MADE, relations
from databases import DIALECTS
from writer import Choices, Columns, Writer

__all__ = ["Query", "shrunk", "write"]


@dataclass(frozen=True, slots=True)
class Query:
    """One query. `failing` says in which places an expression stands that can fail on some row, permitted or not: see `writer.FAILING_PLACES`."""

    sql: str
    failing: frozenset[str]
    params: Mapping[str, Any]


@cache
def _relations(configuration: str) -> dict[str, Columns]:
    return relations(CONFIGURATIONS[configuration])


def write(choices: Choices, dialect: str, configuration: str = "tables") -> Query:
    """The query that these choices make, in this dialect, ready to be asked as written. `configuration` is one of `bearers.CONFIGURATIONS`."""
    writer = Writer(choices, DIALECTS[dialect].speech, _relations(configuration), MADE, calm=choices.below(2) == 1)
    sql, _ = writer.query(2, ())
    return Query(sql, frozenset(writer.failing_in), writer.params)


def shrunk(choices: Sequence[int], still: Callable[[Sequence[int]], Sequence[int] | None], *, tries: int = 2000) -> Sequence[int]:
    """The smallest list of choices found for which `still` gives a list (the choices really used) and not None."""
    best = list(choices)

    def better(candidate: list[int]) -> bool:
        nonlocal best, tries
        tries -= 1
        found = still(candidate) if tries > 0 else None
        if found is None or (len(found), list(found)) >= (len(best), best):
            return False
        best = list(found)
        return True

    before: list[int] | None = None
    while best != before and tries > 0:
        before = best
        for size in (64, 32, 16, 8, 4, 2, 1):
            start = 0
            while start < len(best):
                # Without the block, or with the simplest choices in its place; a start that helped is tried again.
                rest = best[start + size :]
                gone, plain = [*best[:start], *rest], [*best[:start], *[0] * len(best[start : start + size]), *rest]
                if not better(gone) and not better(plain):
                    start += max(1, size // 4)
        for position in range(len(before)):
            for less in (1, 2, 4):
                while (
                    position < len(best) and best[position] >= less and better([*best[:position], best[position] // less - (less == 1), *best[position + 1 :]])
                ):
                    pass
    return best
