"""What securing a query that was never seen before costs, stage by stage, beside parsing and writing it once.

`python -m benchmarks.pure` runs the same on the parser's pure Python form.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from benchmarks import tpch
from rowseal.catalog import FunctionRules, Limits
from rowseal.sql import SecuredQuery
from rowseal.sql.admit import admit
from rowseal.sql.dialects import DIALECTS
from rowseal.sql.names import DatasetLookup
from rowseal.sql.secure import secure
from rowseal.sql.witness import attest

__all__ = ["STAGES", "measured", "securer"]

STAGES = ("parse and write", "admit", "secure", "witness", "all three")


def securer(dialect_name: str) -> Callable[[str, list[int] | None], SecuredQuery]:
    """A function that secures SQL text for TPC-H's one bearer, and notes the nanoseconds at which each stage began and ended."""
    dialect, policy, limits, functions = DIALECTS[dialect_name], tpch.policy(dialect_name), Limits(), FunctionRules()
    datasets = DatasetLookup(policy.catalog.datasets, dialect)

    def secured(sql: str, moments: list[int] | None = None) -> SecuredQuery:
        clock = time.thread_time_ns
        first = clock()
        parsed = admit(sql, None, dialect, limits, functions)
        second = clock()
        draft = secure(parsed, policy, datasets, limits)
        third = clock()
        query = attest(draft, policy)
        if moments is not None:
            moments += (first, second, third, clock())
        return query

    return secured


def measured(*, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """dialect -> query -> stage -> median microseconds of CPU time. All checks are on; nothing is cached but the guards' own texts."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in tpch.DIALECTS:
        secured, grammar = securer(name), DIALECTS[name].grammar
        for query in tpch.QUERIES:
            sql = tpch.query(query, name)
            spent: list[tuple[int, ...]] = []
            for _ in range(rounds + 10):
                start = time.thread_time_ns()
                for tree in grammar.parse(sql):
                    if tree is not None:
                        grammar.generate(tree, copy=False)
                bare = time.thread_time_ns() - start
                moments: list[int] = []
                secured(sql, moments)
                first, second, third, last = moments
                spent.append((bare, second - first, third - second, last - third, last - first))
            medians = (statistics.median(column) / 1_000 for column in zip(*spent[10:], strict=True))
            found.setdefault(name, {})[query] = dict(zip(STAGES, medians, strict=True))
    return found
