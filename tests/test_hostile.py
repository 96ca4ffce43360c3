"""SQL that is meant to cost is refused or answered in bounded time, and the event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlglot.errors import SqlglotError

from hostile import FAMILIES, ORDINARY, Ruler, families, patterns, search, sizes
from place import Place
from policies import policy, secured
from rowseal.catalog import FunctionRules
from rowseal.errors import QueryRefused, Refused
from rowseal.sql import bounds
from rowseal.sql.admit import PARSED, _parse
from rowseal.sql.dialects import DIALECTS
from rowseal.sql.quiet import QUIET
from rowseal.sql.sieve import words

ROOT = Path(__file__).resolve().parents[1]
_NUMBERS = itertools.count()
UNHURRIED = [each for each in DIALECTS if each != "duckdb"]  # DuckDB's families are for `make hostile` alone: they take a minute of every run


def longest() -> str:
    """Of what is admitted, one of the dearest, and never the same: what was secured before is remembered."""
    return "SELECT " + ", ".join(["CASE WHEN order_id = 1 THEN 1 ELSE 2 END"] * 200) + f" FROM orders WHERE amount > {next(_NUMBERS)}"


def test_the_families_hold_what_is_known_to_be_exponential() -> None:
    for known in ("DECIMAL(", "VARCHAR(", "ENUM(", "STRUCT(", "ROW(", "LIST(", "ARRAY[", "LIST[", "(SELECT * FROM "):
        assert any(name.startswith(f"nested {known} ") for name in FAMILIES), known


@pytest.mark.slow
@pytest.mark.parametrize("dialect", UNHURRIED)
def test_every_family_costs_little_however_large(dialect: str) -> None:
    assert families(Ruler.of(dialect)) == []


@pytest.mark.slow
@pytest.mark.parametrize("dialect", DIALECTS)
def test_random_patterns_cost_little(dialect: str) -> None:
    seed = os.environ.get("ROWSEAL_SEED") or str(random.randrange(2**31))
    assert search(Ruler.of(dialect), 3, random.Random(f"{seed} {dialect}")) == [], f"seed {seed}"


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("dialect", UNHURRIED)
def test_in_pure_python_too(dialect: str) -> None:
    """The other form of the parser, in a process of its own; where the compiled one is not installed it is the one of all the other tests."""
    told = subprocess.run(
        [sys.executable, "-m", "tests.hostile", "2", "--pure", "--dialect", dialect], cwd=ROOT, capture_output=True, text=True, timeout=390, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_search_finds_what_no_bound_stops(dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that cannot find anything would prove nothing."""
    monkeypatch.setattr(bounds, "MAX_OPEN_JOINS", 99)
    monkeypatch.setattr("rowseal.sql.admit.PARSED", 10_000)
    ruler = Ruler.of(dialect)
    small, large = (min(ruler.cost(FAMILIES["joins without ON"](n)).milliseconds for _ in range(3)) for n in (9, 14))
    assert large > 8 * small  # five more joins, and the time of thirty-two


# --- what keeps the event loop waiting -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_single_step_of_the_parser_takes_long(dialect: str) -> None:
    """The compiled parser keeps Python's lock from the beginning of a step to its end: to split a text into words, and to parse them."""
    made, limits = DIALECTS[dialect], policy(dialect).catalog.limits

    def steps(sql: str) -> Iterator[tuple[str, Callable[[], object]]]:
        yield "words", lambda: made.grammar.tokenize(sql)
        tokens = words(sql, made, limits)
        yield "parse", lambda: _parse(sql, tokens, made, limits)

    def longest_step(sql: str) -> float:
        taken = 0.0
        try:
            bounds.refuse_length(sql, limits)
            for _, step in steps(sql):
                began = time.thread_time()
                try:
                    step()
                finally:
                    taken = max(taken, time.thread_time() - began)
        except (Refused, SqlglotError):
            pass
        return taken

    gc.disable()
    try:
        ordinary = sorted(longest_step(ORDINARY) for _ in range(50))[25]
        for at, (name, text) in enumerate(FAMILIES.items()):
            grown = list(sizes(text, limits.sql_bytes))
            for n, sql in {grown[-1], grown[at % len(grown)]}:  # the largest, and one of the others
                largest = longest_step(sql)
                largest = largest if largest < 100 * ordinary else min(longest_step(sql) for _ in range(3))
                assert largest < 250 * ordinary, f"{name} x {n}: {largest * 1_000:.0f} ms, an ordinary query {ordinary * 1_000:.2f} ms"
    finally:
        gc.enable()


def test_a_text_of_many_pieces_is_refused_before_it_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    given = policy("sqlite")
    most = given.catalog.limits.nodes * bounds.PIECES
    with pytest.raises(QueryRefused, match="words and signs"):
        secured("SELECT 1" + "+1" * (most // 2), given)
    assert secured(f"SELECT '{'x' * (most + 1)}'", given)  # one piece
    assert secured(f"SELECT 1 /* {'x ' * (most - 100)} */", given)


def test_what_waits_for_its_on_is_counted_where_it_stands() -> None:
    given = policy("postgres")
    joins = [f"JOIN orders AS o{i} ON o{i}.id = o.id" for i in range(20)]
    secured(f"SELECT o.id FROM orders AS o {' '.join(joins)}", given)
    secured("SELECT 1 FROM orders AS o" + "".join(f" CROSS JOIN orders AS o{i}" for i in range(8)), given)
    seven = "SELECT 1 FROM orders AS o" + "".join(f" JOIN orders AS o{i}" for i in range(7))
    for sql in (seven, seven + " ON 1 = 1" * 7, seven.replace("JOIN orders", "JOIN (SELECT DISTINCT ON (id) id FROM orders)")):
        with pytest.raises(QueryRefused, match="wait for their ON"):
            secured(sql, given)


def test_the_collector_rests_while_a_long_query_is_secured(tmp_path: Path) -> None:
    """It would stop every thread to go through all that the process holds."""
    place = Place(tmp_path)
    try:
        access = place.gate().verify(place.token())
        collected: list[int] = []

        def watch(phase: str, info: dict[str, int]) -> None:
            if phase == "start" and threading.get_ident() == me and inside:
                collected.append(info["generation"])

        me, inside = threading.get_ident(), True
        gc.callbacks.append(watch)
        try:
            access.secure(longest())
            with pytest.raises(Refused):
                access.secure(longest().replace("order_id", "nope", 1))
        finally:
            inside = False
            gc.callbacks.remove(watch)
        assert sum(generation == 2 for generation in collected) == 0
        assert gc.isenabled()
        gc.disable()  # as an application may have it
        try:
            access.secure(longest())
            assert not gc.isenabled()
        finally:
            gc.enable()
    finally:
        place.close()


@pytest.mark.parametrize("wrong", ["SELECT nope", "CASE WHEN random() = 1", "a b c d"])
def test_what_was_made_of_a_refused_query_is_gone_with_it(wrong: str, tmp_path: Path) -> None:
    """Its tree would wait for the collector, with those of all the others, and then stop every thread."""
    place = Place(tmp_path)
    try:
        access = place.gate().verify(place.token())

        def refused() -> None:
            with pytest.raises(Refused):
                access.secure(longest().replace("CASE WHEN order_id = 1", wrong, 1))

        refused()
        gc.collect()
        gc.disable()
        try:
            before = len(gc.get_objects())
            refused()
            assert len(gc.get_objects()) - before < 2_000  # the tree has more than four thousand parts
        finally:
            gc.enable()
    finally:
        place.close()


def _longest_wait(work: Callable[[], None], threads: int) -> float:
    """Seconds that an event loop waits at most for its turn while so many threads do this work."""

    async def main() -> float:
        worst, working = 0.0, [asyncio.ensure_future(asyncio.to_thread(work)) for _ in range(threads)]
        while not all(each.done() for each in working):
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            worst = max(worst, time.perf_counter() - began - 0.001)
        await asyncio.gather(*working)
        return worst

    return asyncio.run(main())


@pytest.mark.slow
def test_an_event_loop_goes_on_while_the_longest_are_secured(tmp_path: Path) -> None:
    """Compared with threads that do sums in Python, which let go of the lock every five milliseconds."""
    place = Place(tmp_path)
    try:
        access = place.gate().verify(place.token())

        def secure() -> None:
            for sql in (longest(), "SELECT 1" + " UNION SELECT 1" * 900, ORDINARY):
                with suppress(Refused):
                    access.secure(sql)

        def calculate() -> None:
            until = time.thread_time() + 0.15
            while time.thread_time() < until:
                sum(range(100))

        access.secure(longest())
        waits = [(_longest_wait(secure, 4), _longest_wait(calculate, 4)) for _ in range(2)]
        assert min(ours for ours, _ in waits) < 5 * max(control for _, control in waits) + 0.1, waits
    finally:
        place.close()


# --- what the parser would say of it -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_parser_logs_nothing_of_the_bearers(dialect: str, caplog: pytest.LogCaptureFixture) -> None:
    given = policy(dialect)
    texts = ["SELECT region -> 1.5 FROM orders", "SELECT region ->> '1 secret ->> ' FROM orders", *(text(2) for text in FAMILIES.values())]
    source = random.Random(3)
    texts += [text(2) for _, (_, text) in zip(range(1_000), patterns(dialect, source), strict=False)]
    with caplog.at_level(logging.DEBUG):
        for sql in texts:
            try:
                secured(sql, given)
            except (Refused, RecursionError):
                continue
    assert [record.getMessage() for record in caplog.records] == []


def test_the_log_of_others_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("sqlglot")
    with QUIET:
        log.warning("of the bearer")
        other = threading.Thread(target=log.warning, args=("of the application",))
        other.start()
        other.join()
    log.warning("afterwards")
    assert [record.getMessage() for record in caplog.records] == ["of the application", "afterwards"]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("sql", ["SELECT /* 1 */", "SELECT   ", "SELECT -- 1", "SELECT 1 JOIN orders", "SELECT 1 NATURAL JOIN orders", "SELECT FROM orders"])
def test_a_select_of_nothing_is_a_mistake_of_the_bearers(sql: str, dialect: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        secured(sql, policy(dialect, functions=FunctionRules()))
    assert refused.value.code == "sql_syntax"


def test_the_parser_may_make_more_parts_than_are_admitted() -> None:
    assert PARSED > 1
