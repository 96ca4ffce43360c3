"""The two oracles. A query goes through the gate on two databases that differ in forbidden rows only, and as written to V.

G1: the rows are those that V gives. G2: rows or refusal, word for word, are the same on both databases.
G6: a refusal ran no SQL. G10: no refusal says anything that stands in a forbidden row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from pprint import pformat
from typing import Any, Final

from sqlalchemy import event, make_url
from sqlalchemy.engine import Engine

import servers
from databases import DIALECTS, Answer, Model
from databases.spies import spying
from derived import with_views
from model import permission, plant, twin, visible
from rowseal import decisions, errors
from rowseal.engine import Result
from rowseal.gate import Access, Gate
from rowseal.sql import SecuredQuery
from world import CONFIGURATION, TABLES, VIEWS, Bearer, Table, configuration_file, token

__all__ = ["Judgement", "Outcome", "Stage", "outcome_of", "watched"]

# Refusals that can only come after the database has begun to work.
AFTER_SQL: Final = frozenset({"result_too_large", "query_failed", "database_unavailable", "timed_out"})
# Of these, what a busy machine brings about, whatever is asked.
UNTIMELY: Final = frozenset({"database_unavailable", "timed_out"})
# Marks text that stands in forbidden rows only.
CANARY: Final = "LEAK"
_FRESH_SECONDS: Final = 300  # of the fifteen minutes that a token lives


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a bearer gets to see: columns and rows, or a refusal in every part that reaches them."""

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] | None = None
    truncated: bool = False
    refusal: tuple[Any, ...] = ()
    statements: int = 0
    spied: frozenset[Any] = frozenset()

    @property
    def code(self) -> str | None:
        return self.refusal[2] if self.refusal else None

    def seen(self, *, ordered: bool, loose: bool = False) -> tuple[Any, ...]:
        """What may be compared: rows as a multiset unless `ordered`; `loose` as for `bag`."""
        return self.columns, None if self.rows is None else bag(self.rows, ordered=ordered, loose=loose), self.truncated, self.refusal


def bag(rows: Sequence[Sequence[Any]], *, ordered: bool, loose: bool = False) -> list[str]:
    """Rows in a form that tells 1 from True, 1.0 and '1' (`loose`: 1 is 1.0); sorted unless their order means something.

    Floats to twelve digits: a sum of them depends on the order of the rows.
    """
    shown = [repr(tuple(_loose(_rounded(value)) if loose else _rounded(value) for value in row)) for row in rows]
    return shown if ordered else sorted(shown)


def _rounded(value: Any) -> Any:
    return float(f"{value:.12g}") if isinstance(value, float) else value


def _loose(value: Any) -> Any:
    """UNION, DISTINCT, MIN and the like keep one of several equal numbers, whichever comes first: its type and its zeros mean nothing."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(f"{value:.12g}")
    return int(value) if isinstance(value, float) and value.is_integer() else value


_WATCHING: Final[list[list[str]]] = []


@event.listens_for(Engine, "before_cursor_execute")
def _note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
    for sent in _WATCHING:
        sent.append(statement)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Every statement that any SQLAlchemy engine sends meanwhile."""
    sent: list[str] = []
    _WATCHING.append(sent)
    try:
        yield sent
    finally:
        _WATCHING.pop()


def outcome_of(gate: Gate, signed: str, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None) -> Outcome:
    """Ask the gate. Only a refusal is caught: any other exception is a fault of the product and fails the test."""
    return _outcome(lambda: gate.verify(signed).execute(sql, params, dataset))


def _outcome(ask: Callable[[], Result]) -> Outcome:
    with watched() as sent, spying() as heard:
        try:
            result = ask()
        except errors.Refused as refused:
            return Outcome(refusal=_told(refused), statements=len(sent), spied=frozenset(heard))
    return Outcome(
        columns=tuple(result.columns), rows=tuple(tuple(row) for row in result.rows), truncated=result.truncated, statements=len(sent), spied=frozenset(heard)
    )


def _told(refused: errors.Refused) -> tuple[Any, ...]:
    return type(refused).__name__, refused.status, refused.code, refused.detail, refused.hint, refused.line, refused.column


@dataclass(frozen=True, slots=True)
class Judgement:
    """One query, judged. `problems` is empty where every guarantee held; `model` is V's answer, None where V's database could not give one.

    `secured` is the query that was sent, where the judge has it.
    """

    full: Outcome
    model: Answer | None
    problems: tuple[str, ...]
    secured: SecuredQuery | None = None


class Stage:
    """Databases `full` and `twin` with their gates, and V, on one kind of database, set for one bearer at a time."""

    def __init__(self, dialect: str, folder: Path, run: servers.Run) -> None:
        """Raises `servers.UnavailableError` where that kind of database cannot be had."""
        self.dialect = dialect
        self._folder = folder
        self._gates: dict[tuple[str, str], Gate] = {}
        self._accesses: dict[str, tuple[float, Access]] = {}
        self._opened = 0
        self._set: tuple[Any, ...] | None = None
        self._exit = ExitStack()
        self._model: Model | None = None
        self._databases = {}
        for variant in ("full", "twin", "model"):
            self._databases[variant] = DIALECTS[dialect].new(run, folder / variant)
            self._exit.callback(self._databases[variant].drop)

    def set(
        self,
        bearer: Bearer,
        planted: Sequence[int | Decimal | str],
        configuration: Mapping[str, Any] = CONFIGURATION,
        *,
        analyze: bool = False,
        tables: Sequence[Table] = TABLES,
        views: Mapping[str, str] = VIEWS,
    ) -> None:
        """Fill the databases for `bearer` with `tables`: a forbidden row for every member of `planted`, and the twin's other forbidden rows.

        `analyze` gives the planner statistics, and with them other plans.
        """
        wanted = (repr(bearer), repr(configuration), tuple(planted), analyze, tables, views)
        if wanted == self._set:
            return
        self._set = None
        model = with_views(configuration, views)
        allowed = permission(model, tables, bearer)
        full = plant(model, tables, allowed, planted)
        # The twin lacks the table that is no dataset: whether it exists is nobody's business either.
        other = tuple(table for table in twin(model, full, allowed) if table.name != "salaries")
        relations = visible(model, full, allowed)
        if [relation.rows for relation in relations] != [relation.rows for relation in visible(model, other, permission(model, other, bearer))]:
            raise AssertionError("the twin differs in permitted rows: the oracle itself is wrong")
        if DIALECTS[self.dialect].exclusive:
            for gate in self._gates.values():
                with gate._entered() as state:
                    for connection in state.connections.values():
                        connection.database.close()  # which opens it again when it is next asked
        self._databases["full"].fill(full, views, analyze=analyze)
        self._databases["twin"].fill(other, views, analyze=analyze)
        if self._model is not None:
            self._model.close()
        self._model = self._databases["model"].model(relations)
        self._bearer, self._configuration = bearer, configuration
        self._accesses.clear()
        self._set = wanted

    def gate(self, variant: str) -> Gate:
        """The gate in front of `full` or `twin`, under the configuration that is set."""
        key = (variant, repr(self._configuration))
        if key not in self._gates:
            self._opened += 1
            folder = self._folder / f"{variant}-{self._opened}"
            folder.mkdir(parents=True)
            sourced = DIALECTS[self.dialect].sourced
            datasets = [{**each, "sql": sourced(each["sql"])} if "sql" in each else each for each in self._configuration["datasets"]]
            gate = Gate.from_yaml(configuration_file(folder, self._databases[variant].url, {**self._configuration, "datasets": datasets}))
            self._exit.callback(gate.close)
            self._gates[key] = gate
        return self._gates[key]

    @property
    def model_url(self) -> str:
        """V's own database, for a reader of it."""
        return self._databases["model"].url

    def model(self, sql: str, params: Mapping[str, Any]) -> Answer | None:
        """V's answer to the query as written; None where the database refuses it there."""
        if self._model is None:
            raise AssertionError("set a bearer first")
        try:
            return self._model.ask(sql, params)
        except DIALECTS[self.dialect].errors:
            return None

    def judge(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None, *, ordered: bool = False, loose: bool = False) -> Judgement:
        """Ask `full`, `twin` and V, and say which guarantee did not hold."""
        signed = token(self._bearer)
        full, other = (outcome_of(self.gate(variant), signed, sql, params, dataset) for variant in ("full", "twin"))
        return self._judged(sql, params or {}, full, other, None, ordered=ordered, loose=loose)

    def judge_quickly(self, sql: str, params: Mapping[str, Any] | None = None) -> Judgement:
        """As `judge`, but the query is secured once and what came of it is run on both databases.

        What `secure` makes of a query depends on the policy and the catalog, and these are the same for both; `alike` compares them.
        """
        access = self._access("full")
        with watched() as sent:
            try:
                query = access.secure(sql, params)
                there = query if DIALECTS[self.dialect].alike else self._access("twin").secure(sql, params)
            except errors.Refused as refused:
                outcome = Outcome(refusal=_told(refused), statements=len(sent))
                return self._judged(sql, params or {}, outcome, outcome, None, ordered=False, loose=True)
        full, other = (_outcome(lambda variant=variant, each=each: self._run(variant, each)) for variant, each in (("full", query), ("twin", there)))
        return self._judged(sql, params or {}, full, other, query, ordered=False, loose=True)

    def alike(self) -> bool:
        """Whether both gates know the same catalog, so that they secure every query to the same text; but for the name of the database."""
        named = {variant: make_url(self._databases[variant].url).database or "no name" for variant in ("full", "twin")}
        # As narrow as can be, for only then are the members of a set written in order.
        full, twin_ = (pformat(self.gate(variant).catalogs, width=1).replace(name, "…") for variant, name in named.items())
        return full == twin_

    def _access(self, variant: str) -> Access:
        """What a token opens that is not older than a few minutes."""
        now = time.monotonic()
        if variant not in self._accesses or now - self._accesses[variant][0] > _FRESH_SECONDS:
            self._accesses[variant] = now, self.gate(variant).verify(token(self._bearer))
        return self._accesses[variant][1]

    def _run(self, variant: str, query: SecuredQuery) -> Result:
        with decisions.current(), self.gate(variant)._entered() as state:
            return state.connections[query.connection].database.execute(query)

    def _judged(
        self, sql: str, params: Mapping[str, Any], full: Outcome, other: Outcome, secured: SecuredQuery | None, *, ordered: bool, loose: bool
    ) -> Judgement:
        model = self.model(sql, params)
        if loose and {full.code, other.code} & UNTIMELY:
            return Judgement(full, model, (), secured)
        problems = []
        seen, seen_there = full.seen(ordered=ordered, loose=loose), other.seen(ordered=ordered, loose=loose)
        if seen != seen_there:
            problems.append(f"G2: the answer depends on forbidden rows: {seen} against {seen_there}")
        if full.rows is not None and model is not None and not full.truncated:
            expected = bag(model[1], ordered=ordered, loose=loose)
            if seen[1] != expected:
                problems.append(f"G1: {seen[1]} instead of {expected}")
        if full.spied != other.spied:
            problems.append(f"G2: a function of the bearer was called with values of forbidden rows: {full.spied ^ other.spied}")
        if full.code == "our_bug":
            problems.append("the product could not prove its own work")
        if full.refusal and full.code not in AFTER_SQL and full.statements:
            problems.append("G6: a refused query reached the database")
        if CANARY in repr(full.refusal) and CANARY not in sql:
            problems.append("G10: a refusal speaks of a forbidden row")
        return Judgement(full, model, tuple(problems), secured)

    def close(self) -> None:
        if self._model is not None:
            self._model.close()
        self._exit.close()
