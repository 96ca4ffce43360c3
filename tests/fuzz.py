"""Random queries against both oracles: `python -m tests.fuzz 2000 [--seed 7] [--database sqlite]`, also `make fuzz N=2000`.

Prints a line for each bearer and database with how many queries were accepted, refused (by code) and equal to the model, and every
finding shrunk to its smallest form. Ends with 1 if there is a finding.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":  # the modules of the tests import each other by their own names, as pytest has it
    sys.path.insert(0, str(Path(__file__).resolve().parent))


import servers
from databases import DIALECTS
from oracle import AFTER_SQL, Stage
from strategies import BEARERS, LITERALS, Choices, Query, shrunk, write
from world import CONFIGURATION

__all__ = ["Tally", "explore"]

# Where the database runs in this process, a function of ours may be called by queries: it tells which values reached it.
SPIED = {**CONFIGURATION, "functions": {"allow": ["spy"]}}


@dataclass(slots=True)
class Tally:
    """What became of the queries. `answerable` counts those that V's own database answers; `accepted` those of them that the gate ran."""

    asked: int = 0
    answerable: int = 0
    accepted: int = 0
    equal: int = 0
    with_rows: int = 0
    failed: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def acceptance(self) -> float:
        """Accepted among answerable queries, from 0 to 1."""
        return self.accepted / self.answerable if self.answerable else 1.0

    def __str__(self) -> str:
        codes = ", ".join(f"{code} {count}" for code, count in self.refused.most_common(6)) or "none"
        return (
            f"{self.asked} asked, {self.answerable} answerable, accepted {self.acceptance:.0%}, {self.equal} equal to the model "
            f"({self.with_rows} with rows), failed where the model answers {self.failed}; refused: {codes}"
        )


class Finding(AssertionError):
    """A guarantee did not hold for this query, the smallest one found."""


def explore(stage: Stage, bearer: str, count: int, seed: int, *, analyze: bool = False, tick: Callable[[], None] = lambda: None) -> Tally:
    """Ask `count` random queries for `bearer`; `analyze` as for `Stage.set`. Raises `Finding` with the smallest query for which a guarantee did not hold."""
    configuration = SPIED if DIALECTS[stage.dialect].spied else CONFIGURATION
    stage.set(BEARERS[bearer], LITERALS, configuration, analyze=analyze)
    tally = Tally()

    source = random.Random(zlib.crc32(f"{seed} {stage.dialect} {bearer} {analyze}".encode()))
    for _ in range(count):
        tick()
        choices = Choices(source=source)
        if _problems(stage, write(choices, stage.dialect), tally):
            smallest = write(Choices(shrunk(choices.made, lambda given: _still(stage, given))), stage.dialect)
            raise Finding("\n".join([smallest.sql, repr(smallest.params), *_problems(stage, smallest, Tally())]))
    return tally


def _still(stage: Stage, given: Sequence[int]) -> Sequence[int] | None:
    choices = Choices(given)
    return choices.made if _problems(stage, write(choices, stage.dialect), Tally()) else None


def _problems(stage: Stage, query: Query, tally: Tally) -> list[str]:
    judgement = stage.judge(query.sql, query.params)
    full, model = judgement.full, judgement.model
    tally.asked += 1
    tally.answerable += model is not None
    if full.rows is not None:
        tally.accepted += model is not None
        tally.equal += model is not None and not judgement.problems
        tally.with_rows += bool(full.rows)
    elif full.code in AFTER_SQL:
        tally.accepted += model is not None
        tally.failed += model is not None
    else:
        tally.refused[f"{full.code} ({full.refusal[3]})"] += 1
    problems = list(judgement.problems)
    if model is not None and full.code in AFTER_SQL and not query.fallible:
        problems.append(f"the database failed ({full.code}) although no expression of the query can")
    return problems


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Ask random queries and compare with what the permitted rows give.")
    parser.add_argument("count", type=int, nargs="?", default=1000, help="queries in all (1000)")
    parser.add_argument("--seed", type=int, default=None, help="repeat a run")
    parser.add_argument("--database", choices=list(DIALECTS), action="append", help="one only; all unless given")
    options = parser.parse_args()
    seed = random.randrange(2**31) if options.seed is None else options.seed
    dialects = options.database or list(DIALECTS)
    rounds = [(dialect, analyze) for dialect in dialects for analyze in DIALECTS[dialect].plans]
    each = max(1, options.count // (len(BEARERS) * len(rounds)))
    print(f"seed {seed}, {each} queries for each of {len(BEARERS)} bearers on {' and '.join(dialects)}")
    logging.getLogger("rowseal").setLevel(logging.CRITICAL)  # a failing query is no news here
    run = servers.Run.begin()
    findings = 0
    try:
        with tempfile.TemporaryDirectory(prefix="rowseal-fuzz-") as folder:
            for dialect in dialects:
                stage = Stage(dialect, Path(folder) / dialect, run)
                for bearer in BEARERS:
                    for analyze in [analyze for each_dialect, analyze in rounds if each_dialect == dialect]:
                        findings += _report(stage, bearer, each, seed, analyze=analyze)
                stage.close()
    finally:
        run.end()
    print(f"{findings} findings" if findings else "no finding")
    return 1 if findings else 0


def _report(stage: Stage, bearer: str, count: int, seed: int, *, analyze: bool) -> int:
    name = f"{stage.dialect}, {bearer}{', with statistics' if analyze else ''}"
    done = 0
    started = time.monotonic()

    def tick() -> None:
        nonlocal done
        done += 1
        if done % 20 == 0 and sys.stderr.isatty():
            print(f"\r{name}: {done}/{count}, {done / (time.monotonic() - started):.0f}/s ", end="", file=sys.stderr)

    try:
        tally = explore(stage, bearer, count, seed, analyze=analyze, tick=tick)
    except Finding as finding:
        print(f"\n{name}: FINDING after {done} queries\n{finding}\n")
        return 1
    print(f"{name}: {tally}; {count / (time.monotonic() - started):.0f}/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
