"""The two oracles. A query goes through the gate on two databases that differ in forbidden rows only, and as written to V.

G1: the rows are those that V gives. G2: rows or refusal, word for word, are the same on both databases.
G6: a refusal ran no SQL. G10: no refusal says anything that stands in a forbidden row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Engine

import servers
from databases import DIALECTS, Answer, Model
from databases.spies import spying
from model import permission, plant, twin, visible
from rowseal import errors
from rowseal.gate import Gate
from world import CONFIGURATION, TABLES, VIEWS, Bearer, configuration_file, token

__all__ = ["Judgement", "Outcome", "Stage", "outcome_of", "watched"]

# Refusals that can only come after the database has begun to work.
AFTER_SQL: Final = frozenset({"result_too_large", "query_failed", "database_unavailable", "timed_out"})
# Marks text that stands in forbidden rows only.
CANARY: Final = "LEAK"


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

    def seen(self, *, ordered: bool) -> tuple[Any, ...]:
        """What may be compared: rows as a multiset unless `ordered`."""
        return self.columns, None if self.rows is None else bag(self.rows, ordered=ordered), self.truncated, self.refusal


def bag(rows: Sequence[Sequence[Any]], *, ordered: bool) -> list[str]:
    """Rows in a form that tells 1 from True, 1.0 and '1'; sorted unless their order means something.

    Floats to twelve digits: a sum of them depends on the order of the rows.
    """
    shown = [repr(tuple(float(f"{value:.12g}") if isinstance(value, float) else value for value in row)) for row in rows]
    return shown if ordered else sorted(shown)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Every statement that any SQLAlchemy engine sends meanwhile."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def outcome_of(gate: Gate, signed: str, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None) -> Outcome:
    """Ask the gate. Only a refusal is caught: any other exception is a fault of the product and fails the test."""
    with watched() as sent, spying() as heard:
        try:
            result = gate.verify(signed).execute(sql, params, dataset)
        except errors.Refused as refused:
            told = (type(refused).__name__, refused.status, refused.code, refused.detail, refused.hint, refused.line, refused.column)
            return Outcome(refusal=told, statements=len(sent), spied=frozenset(heard))
    return Outcome(
        columns=tuple(result.columns), rows=tuple(tuple(row) for row in result.rows), truncated=result.truncated, statements=len(sent), spied=frozenset(heard)
    )


@dataclass(frozen=True, slots=True)
class Judgement:
    """One query, judged. `problems` is empty where every guarantee held; `model` is V's answer, None where V's database could not give one."""

    full: Outcome
    model: Answer | None
    problems: tuple[str, ...]


class Stage:
    """Databases `full` and `twin` with their gates, and V, on one kind of database, set for one bearer at a time."""

    def __init__(self, dialect: str, folder: Path, run: servers.Run) -> None:
        """Raises `servers.UnavailableError` where that kind of database cannot be had."""
        self.dialect = dialect
        self._folder = folder
        self._gates: dict[tuple[str, str], Gate] = {}
        self._set: tuple[Any, ...] | None = None
        self._exit = ExitStack()
        self._model: Model | None = None
        self._databases = {}
        for variant in ("full", "twin", "model"):
            self._databases[variant] = DIALECTS[dialect].new(run, folder / variant)
            self._exit.callback(self._databases[variant].drop)

    def set(self, bearer: Bearer, planted: Sequence[int | Decimal | str], configuration: Mapping[str, Any] = CONFIGURATION, *, analyze: bool = False) -> None:
        """Fill the databases for `bearer`: a forbidden row for every member of `planted`, and the twin's other forbidden rows.

        `analyze` gives the planner statistics, and with them other plans.
        """
        wanted = (repr(bearer), repr(configuration), tuple(planted), analyze)
        if wanted == self._set:
            return
        self._set = None
        allowed = permission(configuration, TABLES, bearer)
        full = plant(configuration, TABLES, allowed, planted)
        # The twin lacks the table that is no dataset: whether it exists is nobody's business either.
        other = tuple(table for table in twin(configuration, full, allowed) if table.name != "salaries")
        relations = visible(configuration, full, allowed)
        if [relation.rows for relation in relations] != [relation.rows for relation in visible(configuration, other, permission(configuration, other, bearer))]:
            raise AssertionError("the twin differs in permitted rows: the oracle itself is wrong")
        self._databases["full"].fill(full, VIEWS, analyze=analyze)
        self._databases["twin"].fill(other, VIEWS, analyze=analyze)
        if self._model is not None:
            self._model.close()
        self._model = self._databases["model"].model(relations)
        self._bearer, self._configuration = bearer, configuration
        self._set = wanted

    def gate(self, variant: str) -> Gate:
        """The gate in front of `full` or `twin`, under the configuration that is set."""
        key = (variant, repr(self._configuration))
        if key not in self._gates:
            folder = self._folder / f"{variant}-{len(self._gates)}"
            folder.mkdir(parents=True)
            gate = Gate.from_yaml(configuration_file(folder, self._databases[variant].url, self._configuration))
            self._exit.callback(gate.close)
            self._gates[key] = gate
        return self._gates[key]

    def model(self, sql: str, params: Mapping[str, Any]) -> Answer | None:
        """V's answer to the query as written; None where the database refuses it there."""
        if self._model is None:
            raise AssertionError("set a bearer first")
        try:
            return self._model.ask(sql, params)
        except DIALECTS[self.dialect].errors:
            return None

    def judge(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None, *, ordered: bool = False) -> Judgement:
        """Ask `full`, `twin` and V, and say which guarantee did not hold."""
        signed = token(self._bearer)
        full, other = (outcome_of(self.gate(variant), signed, sql, params, dataset) for variant in ("full", "twin"))
        model = self.model(sql, params or {})
        problems = []
        if full.seen(ordered=ordered) != other.seen(ordered=ordered):
            problems.append(f"G2: the answer depends on forbidden rows: {full.seen(ordered=ordered)} against {other.seen(ordered=ordered)}")
        if full.rows is not None and model is not None and not full.truncated and bag(full.rows, ordered=ordered) != bag(model[1], ordered=ordered):
            problems.append(f"G1: {bag(full.rows, ordered=ordered)} instead of {bag(model[1], ordered=ordered)}")
        if full.spied != other.spied:
            problems.append(f"G2: a function of the bearer was called with values of forbidden rows: {full.spied ^ other.spied}")
        if full.code == "our_bug":
            problems.append("the product could not prove its own work")
        if full.refusal and full.code not in AFTER_SQL and full.statements:
            problems.append("G6: a refused query reached the database")
        if CANARY in repr(full.refusal) and CANARY not in sql:
            problems.append("G10: a refusal speaks of a forbidden row")
        return Judgement(full, model, tuple(problems))

    def close(self) -> None:
        if self._model is not None:
            self._model.close()
        self._exit.close()
