"""Random queries against both oracles: `python -m tests.fuzz 2000 [--seed 7] [--database sqlite] [--processes 2] [--summary FILE]`; `make fuzz N=2000`.

The queries are asked in batches: each has rows of its own in the databases, a bearer, a configuration, and a seed that follows from the
run's, so that any batch can be asked again by itself. Prints what became of them by database, which syntax stood in which clause behind
which form of guard, and every finding shrunk to its smallest form, as a page of tests/cases has it. Ends with 1 if there is a finding.

With `--summary` all of that is written as JSON after every batch too, and a run that was stopped goes on where it was: same file, same
seed, same count.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":  # the modules of the tests import each other by their own names, as pytest has it
    sys.path.insert(0, str(Path(__file__).resolve().parent))


import servers
from bearers import BEARERS, CONFIGURATIONS, FUZZED_VIEWS, mixed
from covered import Place, gaps, places, summed, table
from databases import DIALECTS
from harness import as_case, shown
from model import literals
from oracle import AFTER_SQL, UNTIMELY, Judgement, Stage
from strategies import Query, shrunk, write
from world import TABLES
from writer import LITERALS, Choices

__all__ = ["Batch", "Finding", "Tally", "batches", "explore"]

EACH: Final = 250  # queries of a batch: filling the databases costs as much as a few dozen queries
NOTED: Final = 8  # one query in so many is read again to count what it covers
TWICE: Final = 50  # one query in so many is secured for either database by itself


@dataclass(frozen=True, slots=True)
class Batch:
    """Queries that are asked of the same rows. `number` tells apart batches that are alike otherwise; the rows of number 0 are the world's own."""

    dialect: str
    configuration: str
    bearer: str
    analyze: bool = False
    number: int = 0

    @property
    def name(self) -> str:
        return f"{self.dialect}{' with statistics' * self.analyze}, {self.configuration}, {self.bearer}, {self.number}"


@dataclass(slots=True)
class Tally:
    """What became of the queries. `answerable` counts those that V's own database answers; `accepted` those of them that the gate ran."""

    asked: int = 0
    answerable: int = 0
    accepted: int = 0
    equal: int = 0
    with_rows: int = 0
    failed: int = 0
    failed_alike: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    covered: Counter[Place] = field(default_factory=Counter)

    @property
    def acceptance(self) -> float:
        """Accepted among answerable queries, from 0 to 1."""
        return self.accepted / self.answerable if self.answerable else 1.0

    def add(self, other: Tally) -> None:
        """Count the other's queries too."""
        for name in ("asked", "answerable", "accepted", "equal", "with_rows", "failed", "failed_alike"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.refused += other.refused
        self.covered += other.covered

    def __str__(self) -> str:
        codes = ", ".join(f"{code} {count}" for code, count in self.refused.most_common(6)) or "none"
        return (
            f"{self.asked} asked, {self.answerable} answerable, accepted {self.acceptance:.1%}, {self.equal} equal to the model "
            f"({self.with_rows} with rows), failed where the model answers {self.failed}, failed as the model does {self.failed_alike}; refused: {codes}"
        )


class Finding(AssertionError):
    """A guarantee did not hold for this query, the smallest one found."""


def explore(stage: Stage, batch: Batch, count: int, seed: int, found: Callable[[Finding], None] | None = None) -> Tally:
    """Ask `count` random queries. Each for which a guarantee did not hold is made small and given to `found`; without, the first is raised."""
    setting = _Setting(stage, batch, seed)
    setting.set()
    source = random.Random(zlib.crc32(f"{seed} {batch.name}".encode()))
    tally = Tally()
    for number in range(count):
        choices = Choices(source=source)
        query = write(choices, batch.dialect, batch.configuration)
        if setting.problems(query, tally, quickly=number % TWICE != 0):
            finding = setting.finding(choices.made)
            if found is None:
                raise finding
            found(finding)
    return tally


@dataclass(frozen=True, slots=True)
class _Setting:
    """A stage as one batch wants it."""

    stage: Stage
    batch: Batch
    seed: int

    @property
    def configuration(self) -> Mapping[str, Any]:
        # Where the database runs in this process, a function of ours may be called by queries: it tells which values reached it.
        spied = {"functions": {"allow": ["spy"]}} if DIALECTS[self.batch.dialect].spied else {}
        return {**CONFIGURATIONS[self.batch.configuration], **spied}

    def set(self, planted: Sequence[Any] = LITERALS, *, plain: bool = False) -> None:
        plain = plain or self.batch.number == 0
        tables = TABLES if plain else mixed(random.Random(zlib.crc32(f"rows {self.seed} {self.batch.number}".encode())))
        self.stage.set(BEARERS[self.batch.bearer], planted, self.configuration, analyze=self.batch.analyze, tables=tables, views=FUZZED_VIEWS)
        if not self.stage.alike():
            raise AssertionError("the catalogs of the two databases differ: the oracle itself is wrong")

    def problems(self, query: Query, tally: Tally, *, quickly: bool) -> list[str]:
        judgement = self.stage.judge_quickly(query.sql, query.params) if quickly else self.stage.judge(query.sql, query.params, loose=True)
        _count(query, judgement, tally, self.batch.dialect if tally.asked % NOTED == 0 else None)
        problems = list(judgement.problems)
        if judgement.model is not None and judgement.full.code in AFTER_SQL - UNTIMELY and not DIALECTS[self.batch.dialect].unread(query.sql):
            problems.append(f"the database failed ({judgement.full.code}) where the model answers: no expression of the query fails on a permitted row")
        return problems

    def finding(self, made: Sequence[int]) -> Finding:
        """The smallest query that still shows something, and how it does on the world's own rows, where a page of cases asks it."""

        def still(given: Sequence[int]) -> Sequence[int] | None:
            choices = Choices(given)
            return choices.made if self.problems(write(choices, self.batch.dialect, self.batch.configuration), Tally(), quickly=True) else None

        query = write(Choices(shrunk(made, still, tries=800)), self.batch.dialect, self.batch.configuration)
        here = self.problems(query, Tally(), quickly=True)
        secured = self.stage.judge_quickly(query.sql, query.params).secured
        self.set(literals(query.sql), plain=True)
        there = self.problems(query, Tally(), quickly=True)
        answer = self.stage.model(query.sql, query.params)
        self.set()
        case = as_case(
            f"Found at random ({DIALECTS[self.batch.dialect].title} only)",
            BEARERS[self.batch.bearer],
            query.sql,
            query.params,
            None if answer is None else shown(answer[1]),
        )
        where = "and on the world's own rows" if there else "not on the world's own rows: its rows are of another batch"
        return Finding("\n".join([f"{self.batch.name}, seed {self.seed}, {where}", *here, "", case, "", f"sent: {secured.sql if secured else None}"]))


def _count(query: Query, judgement: Judgement, tally: Tally, dialect: str | None) -> None:
    full, model = judgement.full, judgement.model
    tally.asked += 1
    tally.answerable += model is not None
    if full.rows is not None:
        tally.accepted += model is not None
        tally.equal += model is not None and not judgement.problems
        tally.with_rows += bool(full.rows)
    elif full.code in UNTIMELY:
        tally.refused[full.code] += 1
        tally.answerable -= model is not None
    elif full.code in AFTER_SQL:
        tally.accepted += model is not None
        tally.failed += model is not None
        tally.failed_alike += model is None
    elif model is not None:
        tally.refused[f"{full.code} ({full.refusal[3]})"] += 1
    if judgement.secured is not None and dialect is not None:
        tally.covered.update(places(query.sql, judgement.secured, DIALECTS[dialect].grammar))


# A run


def batches(count: int, dialects: Sequence[str]) -> Iterator[tuple[Batch, int]]:
    """As many batches as `count` queries take, and the size of each; every dialect gets as many queries as every other."""
    kinds = {
        dialect: [(dialect, configuration, bearer, analyze) for configuration in CONFIGURATIONS for analyze in DIALECTS[dialect].plans for bearer in BEARERS]
        for dialect in dialects
    }
    for alike in kinds.values():
        share = count // len(dialects)
        size = max(1, min(EACH, -(-share // len(alike))))
        for turn in range(-(-share // size)):
            yield Batch(*alike[turn % len(alike)], turn // len(alike)), min(size, share - turn * size)


@dataclass(slots=True)
class _Run:
    """What has been asked so far, and what came of it."""

    seed: int
    count: int
    dialects: tuple[str, ...]
    done: set[str] = field(default_factory=set)
    seconds: float = 0.0
    tallies: dict[str, Tally] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    @classmethod
    def resumed(cls, path: Path, seed: int | None, count: int, dialects: Sequence[str]) -> _Run:
        """The run that the file tells of, if it is the one that is asked for."""
        fresh = cls(random.randrange(2**31) if seed is None else seed, count, tuple(dialects))
        if not path.is_file():
            return fresh
        told = json.loads(path.read_text(encoding="utf-8"))
        if seed not in {None, told["seed"]} or (told["count"], tuple(told["databases"])) != (count, tuple(dialects)):
            raise SystemExit(f"{path} tells of another run: seed {told['seed']}, {told['count']} queries on {', '.join(told['databases'])}")
        tallies = {
            name: Tally(**{**each, "refused": Counter(each["refused"]), "covered": Counter({tuple(key): number for *key, number in each["covered"]})})
            for name, each in told["tallies"].items()
        }
        return cls(told["seed"], count, tuple(dialects), set(told["done"]), told["seconds"], tallies, told["findings"])

    def write(self, path: Path) -> None:
        """All of it as JSON, so that no reader ever sees half a file."""
        tallies = {
            name: {
                **{key: getattr(tally, key) for key in ("asked", "answerable", "accepted", "equal", "with_rows", "failed", "failed_alike")},
                "refused": dict(tally.refused.most_common()),
                "covered": [[*place, number] for place, number in sorted(tally.covered.items())],
            }
            for name, tally in self.tallies.items()
        }
        told = {"seed": self.seed, "count": self.count, "databases": self.dialects, "seconds": round(self.seconds, 1)}
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps({**told, "findings": self.findings, "tallies": tallies, "done": sorted(self.done)}), encoding="utf-8")
        draft.replace(path)

    def add(self, batch: Batch, tally: Tally, findings: Sequence[str]) -> None:
        self.done.add(batch.name)
        self.tallies.setdefault(batch.dialect, Tally()).add(tally)
        self.findings += findings

    @property
    def asked(self) -> int:
        return sum(tally.asked for tally in self.tallies.values())


_STAGES: dict[str, Stage] = {}
_FOLDER: list[Path] = []


def _begin(folder: str) -> None:
    logging.getLogger("rowseal").setLevel(logging.CRITICAL)  # a failing query is no news here
    _FOLDER[:] = [Path(folder)]


def _ask(work: tuple[Batch, int, int]) -> tuple[Batch, Tally, list[str]]:
    """One batch, in whichever process takes it; its databases are kept for the next."""
    batch, size, seed = work
    if batch.dialect not in _STAGES:
        home = Path(tempfile.mkdtemp(prefix=f"{batch.dialect}-", dir=_FOLDER[0]))
        _STAGES[batch.dialect] = Stage(batch.dialect, home, servers.Run(_FOLDER[0]))
    findings: list[str] = []
    tally = explore(_STAGES[batch.dialect], batch, size, seed, lambda finding: findings.append(str(finding)))
    return batch, tally, findings


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Ask random queries and compare with what the permitted rows give.")
    parser.add_argument("count", type=int, nargs="?", default=1000, help="queries in all (1000)")
    parser.add_argument("--seed", type=int, default=None, help="repeat a run")
    parser.add_argument("--database", choices=list(DIALECTS), action="append", help="one only; all unless given")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many ask at a time; as many as there are cores unless given")
    parser.add_argument("--summary", type=Path, default=None, help="write what came of it to this file, and go on from it")
    parser.add_argument("--table", action="store_true", help="tell every class of syntax, not every clause")
    options = parser.parse_args()
    dialects = options.database or list(DIALECTS)
    run = _Run.resumed(options.summary or Path("/nowhere"), options.seed, options.count, dialects)
    work = [(batch, size, run.seed) for batch, size in batches(options.count, dialects) if batch.name not in run.done]
    work.sort(key=lambda each: (each[0].number, zlib.crc32(each[0].name.encode())))  # whoever stops a run early has asked a bit of everything
    print(f"seed {run.seed}, {options.count} queries on {', '.join(dialects)}, {len(work)} batches to go")
    lived = servers.Run.begin()
    before, started, fresh, told = run.seconds, time.monotonic(), 0, len(run.findings)
    try:
        with multiprocessing.get_context("spawn").Pool(options.processes, _begin, (str(lived.folder),)) as pool:
            for batch, tally, findings in pool.imap_unordered(_ask, work):
                run.add(batch, tally, findings)
                fresh += tally.asked
                run.seconds = before + time.monotonic() - started
                for finding in findings:
                    print(f"\nFINDING: {finding}\n", flush=True)
                if options.summary:
                    run.write(options.summary)
                if sys.stderr.isatty() or run.asked % 10_000 < EACH:
                    rate = fresh / (time.monotonic() - started)
                    print(f"\r{run.asked}/{options.count}, {rate:.0f}/s, {len(run.findings)} findings ", end="\n" * (not sys.stderr.isatty()), file=sys.stderr)
    finally:
        lived.end()
    for dialect, tally in run.tallies.items():
        print(f"\n{dialect}: {tally}\n{table(tally.covered) if options.table else summed(tally.covered)}")
        print(f"admitted, and in none of these: {', '.join(gaps(dialect, tally.covered)) or 'nothing'}")
    found = f"{len(run.findings)} findings, {len(run.findings) - told} of them new" if run.findings else "no finding"
    print(f"{run.asked} queries in {run.seconds:.0f} s; {found}")
    return 1 if run.findings else 0


if __name__ == "__main__":
    sys.exit(main())
