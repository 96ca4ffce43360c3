"""The request, top to bottom: token -> access -> secured query -> rows.

verify:   tokens (401) -> grants (401) -> Access
secure:   admit (400) -> policy and names (403, 400) -> witness (500) -> SecuredQuery
execute:  engine (502, 504) -> Result
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter

from rowseal import decisions
from rowseal.catalog import Catalog, Dataset, Limits
from rowseal.claims import Claims
from rowseal.configuration import Configuration, load
from rowseal.dashboard import DashboardAccess, verify_dashboard
from rowseal.engine import Result, Stop, to_json
from rowseal.errors import AccessRefused, EngineFailed, OurBug, QueryRefused, Refused, TokenRefused
from rowseal.explain import Explanation, explain
from rowseal.grants import Grant, read_grant
from rowseal.keys import PublicKey
from rowseal.policy import Policy
from rowseal.sql import SecuredQuery
from rowseal.sql.admit import admit
from rowseal.sql.dialects import Dialect
from rowseal.sql.secure import secure
from rowseal.sql.witness import attest
from rowseal.state import State
from rowseal.workers import stoppable, threads, turn

__all__ = ["Access", "Gate", "VisibleDataset"]

_log: Final = logging.getLogger("rowseal")
Clock: TypeAlias = Callable[[], float]
_SEAL: Final = object()
_T = TypeVar("_T")


class Gate:
    """One configuration, loaded: verifies tokens and opens what they permit. Safe to share between threads."""

    def __init__(self, configuration: Configuration, *, clock: Clock = time.time) -> None:
        """Raises Misconfigured where a database cannot be reached or its role may do too much."""
        self.clock = clock
        self._path: Path | None = None
        self._reloading = threading.Lock()
        self._swapping = threading.Lock()
        self._closed = False
        # INVARIANT: all that a reload changes hangs on this one name, and changes in one assignment.
        self._state = State.open(configuration, epoch=1)

    @classmethod
    def from_yaml(cls, path: str | Path, *, clock: Clock = time.time) -> Gate:
        """Load datasets.yaml and check it against the database. Raises Misconfigured with every problem found.

        `clock` gives the time in seconds since the epoch.
        """
        gate = cls(load(path), clock=clock)
        gate._path = Path(path).absolute()
        return gate

    @property
    def epoch(self) -> int:
        """1 for the configuration that was loaded first, one more with every reload that succeeded."""
        return self._state.epoch

    @property
    def catalogs(self) -> Mapping[str, Catalog]:
        """The datasets of each connection, by the connection's name."""
        return self._state.catalogs

    @property
    def catalog(self) -> Catalog:
        """The datasets of the one connection."""
        (catalog,) = self._state.catalogs.values()
        return catalog

    @property
    def limits(self) -> Limits:
        """The budgets, which are the same for every connection."""
        return self._state.limits

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        """The public keys whose tokens are taken."""
        return self._state.verifier.keys

    def reload(self) -> None:
        """Load the same file again, with its keys and databases, and swap everything at once. Blocks; call it in a thread.

        Raises Misconfigured, and whatever loading raises, and then everything is as before. Queries that have begun end on what they began
        with; its connections are closed after the last of them. An Access from before is judged anew at its next use
        (docs/explanation/reload.md). Raises RuntimeError for a gate that was made from a Configuration, not from a file, or is closed.
        """
        if self._path is None:
            raise RuntimeError("this gate was made from a Configuration, not from a file: make it with Gate.from_yaml to reload it")
        with self._reloading:
            fresh = State.open(load(self._path), epoch=self._state.epoch + 1)
            with self._swapping:
                retired = fresh
                if not self._closed:
                    retired, self._state = self._state, fresh
            retired.retire()
            if retired is fresh:
                raise RuntimeError("the gate is closed")
        _log.info("the configuration was loaded again: epoch %d", fresh.epoch)

    def verify(self, token: str, *, from_body: bool = False) -> Access:
        """Prove who the bearer is. Raises TokenRefused, and nothing else.

        `from_body`: the token came in a body, where it may have `limits.body_token_bytes` instead of `limits.token_bytes`.
        """
        state = self._state
        verifier = state.body_verifier if from_body else state.verifier
        claims = verifier.verify(token, now=self.clock())
        return Access._sealed(_SEAL, self, claims, _judged(state, claims))

    def verify_dashboard(self, token: str) -> DashboardAccess:
        """Prove whose dashboards a dashboard access token speaks of. It opens no rows. Raises TokenRefused, and nothing else."""
        return verify_dashboard(token, self._state.verifier, clock=self.clock)

    def reachable(self) -> bool:
        """Whether every database answers now. Blocks, for as long as connecting may take."""
        with self._entered() as state:
            return all(connection.database.reachable() for connection in state.connections.values())

    def close(self) -> None:
        """Give every connection back, those of running queries when these end. What is asked later is refused."""
        with self._swapping:
            self._closed = True
        self._state.retire()

    @contextmanager
    def _entered(self) -> Iterator[State]:
        """The state of this moment, open until the end. Raises EngineFailed where the gate is closed."""
        state = self._state
        while not state.enter():
            if state is self._state:
                raise EngineFailed("database_unavailable")
            state = self._state
        try:
            yield state
        finally:
            state.leave()

    def _threads(self) -> CapacityLimiter:
        return threads(self, self.limits.concurrent)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What the state of one epoch makes of a token."""

    epoch: int
    grant: Grant
    policies: Mapping[str, Policy]  # by connection


def _judged(state: State, claims: Claims) -> _Judged:
    grant = read_grant(claims, state.verifier.rules_of(claims))
    return _Judged(state.epoch, grant, {name: Policy(grant, catalog) for name, catalog in state.catalogs.items()})


class Access:
    """What one verified token opens. Only `Gate.verify` makes one; it re-checks the token at every use: its expiry, and all of it after a reload."""

    __slots__ = ("_claims", "_gate", "_judged")
    _gate: Gate
    _claims: Claims
    _judged: _Judged

    def __init__(self, *_: object, **__: object) -> None:
        raise TypeError("Access has no public constructor: ask Gate.verify for one")

    @classmethod
    def _sealed(cls, seal: object, gate: Gate, claims: Claims, judged: _Judged) -> Access:
        if seal is not _SEAL:
            raise TypeError("Access has no public constructor: ask Gate.verify for one")
        access = object.__new__(cls)
        access._gate = gate
        access._claims = claims
        access._judged = judged
        return access

    @property
    def grant(self) -> Grant:
        """What the token permits, as it was last judged."""
        return self._judged.grant

    @property
    def expires_at(self) -> float:
        """When the token ends, in seconds since the epoch."""
        return self._claims.expires_at

    def secure(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None) -> SecuredQuery:
        """The query with this token's policy bound into every read.

        `params` has a value for each `:name` in the SQL; `dataset` is the id of the one dataset that the query reads.
        Raises TokenRefused (expired), QueryRefused, AccessRefused, or OurBug.
        """
        with self._recorded() as record, self._gate._entered() as state:
            return self._secure(state, sql, params, dataset, record)

    def execute(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None) -> Result:
        """Secure the query and run it. Also raises EngineFailed, TimedOut, BudgetExceeded."""
        return self._execute(sql, params, dataset, Stop(), lambda result: result)

    def explain(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None) -> Explanation:
        """What `secure` makes of the query, and where each filter comes from. Nothing runs. For operators: it names what queries cannot see."""
        with self._recorded() as record, self._gate._entered() as state:
            query = self._secure(state, sql, params, dataset, record)
            return explain(query, self._policies(state)["default"])

    def datasets(self) -> tuple[VisibleDataset, ...]:
        """The datasets of the configuration that this token grants, in the order of the file. Raises TokenRefused."""
        with self._recorded() as record, self._gate._entered() as state, record.trail.stage("policy"):
            return tuple(
                VisibleDataset(dataset, policy.refusal(dataset), state.connections[name].dialect)
                for name, policy in self._policies(state).items()
                for dataset in policy.catalog.datasets.values()
                if policy.grant.grants(dataset.id)
            )

    async def asecure(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None) -> SecuredQuery:
        """`secure` in a worker thread, for handlers that run in an event loop."""
        return await anyio.to_thread.run_sync(self.secure, sql, params, dataset, limiter=self._gate._threads())

    async def aexplain(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None) -> Explanation:
        """`explain` in a worker thread."""
        return await anyio.to_thread.run_sync(self.explain, sql, params, dataset, limiter=self._gate._threads())

    async def adatasets(self) -> tuple[VisibleDataset, ...]:
        """`datasets` in a worker thread."""
        return await anyio.to_thread.run_sync(self.datasets, limiter=self._gate._threads())

    async def aexecute(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None) -> Result:
        """`execute` in a worker thread, for handlers that run in an event loop. Cancelled, it ends the query in the database too."""
        return await stoppable(lambda stop: self._execute(sql, params, dataset, stop, lambda result: result), self._gate._threads())

    async def ajson(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None) -> bytes:
        """`aexecute`, and its answer as JSON with the columns' types (`to_json`), made in the same thread."""
        return await stoppable(lambda stop: self._execute(sql, params, dataset, stop, partial(to_json, types=True)), self._gate._threads())

    def _execute(self, sql: str, params: Mapping[str, Any] | None, dataset: str | None, stop: Stop, finish: Callable[[Result], _T]) -> _T:
        with self._recorded() as record, self._gate._entered() as state:
            query = self._secure(state, sql, params, dataset, record)
            with record.trail.stage("execute"):
                result = state.connections["default"].database.execute(query, stop)
            finished = finish(result)
            record.result = result
            return finished

    def _policies(self, state: State) -> Mapping[str, Policy]:
        """The token's policies under this state. Raises TokenRefused where it does not take the token, or takes it no longer."""
        now = self._gate.clock()
        judged = self._judged
        if judged.epoch != state.epoch:
            # INVARIANT: what an earlier state made of the token has no part in this use.
            judged = self._judged = _judged(state, state.verifier.judge(self._claims, now=now))
        if now >= judged.grant.expires_at:
            raise TokenRefused("token_expired")
        return judged.policies

    def _secure(self, state: State, sql: str, params: Mapping[str, Any] | None, dataset: str | None, record: _Record) -> SecuredQuery:
        trail, limits, connection = record.trail, state.limits, state.connections["default"]
        try:
            policy = self._policies(state)["default"]
            with turn(sql):
                with trail.stage("admit"):
                    parsed = admit(sql, params, connection.dialect, limits, connection.catalog.functions)
                with trail.stage("secure"):
                    draft = secure(parsed, policy, connection.datasets, limits, only=dataset)
                with trail.stage("witness"):
                    query = attest(draft, policy)
        except Refused:
            raise
        except RecursionError as error:
            raise QueryRefused("sql_too_complex", "the SQL nests too deeply") from error
        except Exception as error:
            # INVARIANT: whatever a dependency raises, nothing runs.
            raise OurBug(f"securing failed with {type(error).__name__}") from error
        record.datasets = query.datasets
        return query

    @contextmanager
    def _recorded(self) -> Iterator[_Record]:
        """Write one decision, whatever comes of it."""
        record = _Record(decisions.trail())
        code, status = "our_bug", 500  # what is neither a Refused nor an answer: a cancellation, or a mistake of ours
        try:
            yield record
            code, status = decisions.ALLOWED, 200
            record.trail.refused = None
        except Refused as refusal:
            code, status = refusal.code, refusal.status
            record.trail.refused = refusal
            if isinstance(refusal, OurBug):
                _log.error("nothing ran: %s", refusal.internal)
            raise
        finally:
            result = record.result
            decisions.emit(
                decisions.Decision(
                    request_id=record.trail.request_id,
                    code=code,
                    status=status,
                    token=self._claims.digest[:12],
                    key=self._claims.key.id,
                    datasets=record.datasets,
                    stages=record.trail.stages,
                    rows=None if result is None else len(result.rows),
                    truncated=None if result is None else result.truncated,
                )
            )


class VisibleDataset(NamedTuple):
    """A dataset that a token grants, and the refusal that closes it all the same; None where queries may read it.

    `dialect` says how its names are quoted in SQL.
    """

    dataset: Dataset
    refusal: AccessRefused | None
    dialect: Dialect


@dataclass(slots=True)
class _Record:
    """What is known of one query so far."""

    trail: decisions.Trail
    datasets: tuple[str, ...] = ()
    result: Result | None = None
