"""What a guard costs inside the database, beside the same WHERE written by hand."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import psycopg

from benchmarks.measure import Section, interleaved, ratio
from benchmarks.stock import ORDERS, QUESTIONS, Question, Stock

__all__ = ["section"]

_FORMS = ("by hand", "NOT MATERIALIZED", "MATERIALIZED")


def section(stock: Stock, *, rounds: int = 60) -> Section:
    """The five questions, each by hand and with both kinds of guard."""
    if stock.dialect == "sqlite":
        title, clock, opened = "SQLite", "CPU time of the process", _sqlite
    else:
        title, clock, opened = "PostgreSQL", "CPU time of the server's process", _postgres
        if not Path("/proc/self/schedstat").exists():
            clock = "time on the wall"
    found = Section(
        f"{title}: the same rows, by hand and by guard",
        f"Microseconds ({clock}) of planning and running, values bound, {ORDERS:,} orders of 300 tenants. `NOT MATERIALIZED` is the guard that the planner "
        "may flatten, `MATERIALIZED` the fence; rowseal chooses. The plan of the flattenable guard is compared with the one by hand: "
        + ("the sequence of opcodes of the virtual machine." if stock.dialect == "sqlite" else "nodes, relations, indexes, joins and index conditions."),
        ("question", *_FORMS, "guard / by hand", "fence / by hand", "rowseal chooses", "plan of the guard"),
    )
    with opened(stock) as database:
        found.rows.extend(_row(stock, question, database, rounds) for question in QUESTIONS)
    return found


def _texts(stock: Stock, question: Question, style: Literal["named", "pyformat"]) -> tuple[dict[str, tuple[str, Mapping[str, Any]]], str]:
    """Text and binds of each form, and the kind of guard that rowseal chose."""
    access = stock.gate.verify(stock.token)
    text, binds = access.secure(question.asked).render(style)
    if not isinstance(binds, dict):
        raise TypeError("the style has named binds")
    flat = re.sub(r"AS (NOT )?MATERIALIZED \(", "AS NOT MATERIALIZED (", text)
    fenced = flat.replace("AS NOT MATERIALIZED (", "AS MATERIALIZED (")
    by_hand = question.by_hand
    if style == "pyformat":
        by_hand = re.sub(r":(tenant|deleted)", r"%(\1)s", by_hand)
    forms = zip(_FORMS, ((by_hand, stock.binds), (flat, binds), (fenced, binds)), strict=True)
    return dict(forms), "NOT MATERIALIZED" if text == flat else "MATERIALIZED"


@dataclass(frozen=True, slots=True)
class _Open:
    """An open connection: `ask` runs a text with its binds, `clock` gives nanoseconds of the work, `plan` something to compare."""

    style: Literal["named", "pyformat"]
    ask: Callable[[str, Mapping[str, Any]], list[Any]]
    clock: Callable[[], int]
    plan: Callable[[str, Mapping[str, Any]], object]


def _row(stock: Stock, question: Question, database: _Open, rounds: int) -> tuple[str | float, ...]:
    texts, chosen = _texts(stock, question, database.style)
    answers = [sorted(database.ask(*texts[form])) for form in _FORMS]
    if answers[0] != answers[1] or answers[0] != answers[2] or not answers[0]:
        raise AssertionError(f"the forms of {question.name} have different answers")
    spent = interleaved({form: partial(database.ask, *texts[form]) for form in _FORMS}, rounds=rounds, clock=database.clock, warm=3)
    same = database.plan(*texts["by hand"]) == database.plan(*texts["NOT MATERIALIZED"])
    by_hand, flat, fenced = spent.values()
    return question.name, by_hand, flat, fenced, ratio(flat, by_hand), ratio(fenced, by_hand), chosen, "identical" if same else "different"


@contextmanager
def _sqlite(stock: Stock) -> Iterator[_Open]:
    path = stock.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, cached_statements=0)) as database:

        def ask(text: str, binds: Mapping[str, Any]) -> list[Any]:
            return database.execute(text, binds).fetchall()

        def plan(text: str, binds: Mapping[str, Any]) -> object:
            return [row[1] for row in database.execute(f"EXPLAIN {text}", binds)]

        yield _Open("named", ask, time.thread_time_ns, plan)


@contextmanager
def _postgres(stock: Stock) -> Iterator[_Open]:
    with psycopg.connect(stock.url.replace("+psycopg", "", 1), autocommit=True, prepare_threshold=None) as connection:
        busy = Path(f"/proc/{connection.info.backend_pid}/schedstat")

        def clock() -> int:
            return int(busy.read_text().split()[0])

        def ask(text: str, binds: Mapping[str, Any]) -> list[Any]:
            return connection.execute(text.encode(), binds).fetchall()

        def plan(text: str, binds: Mapping[str, Any]) -> object:
            row = connection.execute(f"EXPLAIN (FORMAT JSON, COSTS OFF) {text}".encode(), binds).fetchone()
            return _shape(row[0][0]["Plan"] if row else None)

        yield _Open("pyformat", ask, clock if busy.exists() else time.perf_counter_ns, plan)


_STRUCTURE = ("Node Type", "Parent Relationship", "Strategy", "Join Type", "Relation Name", "Index Name", "Scan Direction", "Index Cond", "CTE Name")


def _shape(node: Mapping[str, Any] | None) -> object:
    """A plan without what only the spelling decides: the names of tables in the statement, and the integer type that a bind has."""
    if node is None:
        return None
    facts = {name: re.sub(r"\b\w+\.|'|::(smallint|integer|bigint)", "", node[name]) for name in _STRUCTURE if name in node}
    return json.dumps(facts, sort_keys=True), [_shape(child) for child in node.get("Plans", ())]
