"""The request, top to bottom: token -> access -> secured query -> rows.

verify:   tokens (401) -> grants (401) -> Access
secure:   admit (400) -> policy and names (403, 400) -> witness (500) -> SecuredQuery
execute:  engine (502, 504) -> Result
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

import anyio.to_thread
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

from rowseal import decisions
from rowseal.catalog import Catalog
from rowseal.configuration import Configuration, load
from rowseal.dashboard import DashboardAccess, verify_dashboard
from rowseal.engine import Database, Result
from rowseal.errors import Misconfigured, OurBug, QueryRefused, Refused, TokenRefused
from rowseal.grants import Grant, read_grant
from rowseal.policy import Policy
from rowseal.sql import SecuredQuery
from rowseal.sql.admit import admit
from rowseal.sql.dialects import DIALECTS
from rowseal.sql.names import DatasetLookup
from rowseal.sql.secure import secure
from rowseal.sql.witness import attest
from rowseal.tokens import Verifier

__all__ = ["Access", "Gate"]

_log: Final = logging.getLogger("rowseal")
Clock: TypeAlias = Callable[[], float]
_SEAL: Final = object()
_SPARE_THREADS: Final = 8


class Gate:
    """One configuration, loaded: verifies tokens and opens what they permit. Safe to share between threads."""

    def __init__(self, configuration: Configuration, *, clock: Clock = time.time) -> None:
        self.catalog: Catalog = configuration.catalog
        self.clock = clock
        self.dialect = DIALECTS[self.catalog.dialect]
        self.datasets = DatasetLookup(self.catalog.datasets, self.dialect)
        limits = self.catalog.limits
        self.database = Database(self.catalog.database, dialect=self.catalog.dialect, limits=limits)
        self._verifier = Verifier(configuration.token_rules, token_bytes=limits.token_bytes)
        self._body_verifier = Verifier(configuration.token_rules, token_bytes=limits.body_token_bytes)
        tables = {(dataset.schema, dataset.table) for dataset in self.catalog.datasets.values()}
        try:
            self.database.check_role(tables, allow_privileged=self.catalog.allow_privileged_role, file=str(configuration.path))
        except Misconfigured:
            self.close()
            raise

    @classmethod
    def from_yaml(cls, path: str | Path, *, clock: Clock = time.time) -> Gate:
        """Load datasets.yaml and check it against the database. Raises Misconfigured with every problem found.

        `clock` gives the time in seconds since the epoch.
        """
        return cls(load(path), clock=clock)

    def verify(self, token: str, *, from_body: bool = False) -> Access:
        """Prove who the bearer is. Raises TokenRefused, and nothing else.

        `from_body`: the token came in a body, where it may have `limits.body_token_bytes` instead of `limits.token_bytes`.
        """
        verifier = self._body_verifier if from_body else self._verifier
        claims = verifier.verify(token, now=self.clock())
        return Access._sealed(_SEAL, self, read_grant(claims, verifier.rules_of(claims)))

    def verify_dashboard(self, token: str) -> DashboardAccess:
        """Prove whose dashboards a dashboard access token speaks of. It opens no rows. Raises TokenRefused, and nothing else."""
        return verify_dashboard(token, self._verifier, clock=self.clock)

    def close(self) -> None:
        """Give every connection back."""
        self.database.close()

    def _threads(self) -> CapacityLimiter:
        """For the running event loop: a thread for each query that may run, and a few that refuse the others at once.

        The loop's own limit, 40 threads for everybody, would let queries wait where no budget and no deadline sees them.
        """
        limiters = _LIMITERS.get(None)
        if limiters is None:
            limiters = WeakKeyDictionary()
            _LIMITERS.set(limiters)
        if self not in limiters:
            limiters[self] = CapacityLimiter(self.catalog.limits.concurrent + _SPARE_THREADS)
        return limiters[self]


_LIMITERS: Final = RunVar[WeakKeyDictionary[Gate, CapacityLimiter]]("rowseal_threads")


class Access:
    """What one verified token opens. Only `Gate.verify` makes one; it re-checks the token's expiry at every use."""

    __slots__ = ("_gate", "_policy", "grant")
    _gate: Gate
    _policy: Policy
    grant: Grant

    def __init__(self, *_: object, **__: object) -> None:
        raise TypeError("Access has no public constructor: ask Gate.verify for one")

    @classmethod
    def _sealed(cls, seal: object, gate: Gate, grant: Grant) -> Access:
        if seal is not _SEAL:
            raise TypeError("Access has no public constructor: ask Gate.verify for one")
        access = object.__new__(cls)
        access._gate = gate
        access.grant = grant
        access._policy = Policy(grant, gate.catalog)
        return access

    @property
    def expires_at(self) -> float:
        """When the token ends, in seconds since the epoch."""
        return self.grant.expires_at

    def secure(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None) -> SecuredQuery:
        """The query with this token's policy bound into every read.

        `params` has a value for each `:name` in the SQL; `dataset` is the id of the one dataset that the query reads.
        Raises TokenRefused (expired), QueryRefused, AccessRefused, or OurBug.
        """
        with self._recorded() as record:
            query = self._secure(sql, params, dataset, record.trail)
            record.datasets = query.datasets
            return query

    def execute(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None) -> Result:
        """Secure the query and run it. Also raises EngineFailed, TimedOut, BudgetExceeded."""
        with self._recorded() as record:
            query = self._secure(sql, params, dataset, record.trail)
            record.datasets = query.datasets
            with record.trail.stage("execute"):
                record.result = self._gate.database.execute(query)
            return record.result

    async def asecure(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None) -> SecuredQuery:
        """`secure` in a worker thread, for handlers that run in an event loop."""
        return await anyio.to_thread.run_sync(self.secure, sql, params, dataset, limiter=self._gate._threads())

    async def aexecute(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None) -> Result:
        """`execute` in a worker thread, for handlers that run in an event loop."""
        return await anyio.to_thread.run_sync(self.execute, sql, params, dataset, limiter=self._gate._threads())

    def _secure(self, sql: str, params: Mapping[str, Any] | None, dataset: str | None, trail: decisions.Trail) -> SecuredQuery:
        gate, limits = self._gate, self._gate.catalog.limits
        if gate.clock() >= self.grant.expires_at:
            raise TokenRefused("token_expired")
        try:
            with trail.stage("admit"):
                parsed = admit(sql, params, gate.dialect, limits, gate.catalog.functions)
            with trail.stage("secure"):
                draft = secure(parsed, self._policy, gate.datasets, limits, only=dataset)
            with trail.stage("witness"):
                return attest(draft, self._policy)
        except Refused:
            raise
        except RecursionError as error:
            raise QueryRefused("sql_too_complex", "the SQL nests too deeply") from error
        except Exception as error:
            # INVARIANT: whatever a dependency raises, nothing runs.
            raise OurBug(f"securing failed with {type(error).__name__}") from error

    @contextmanager
    def _recorded(self) -> Iterator[_Record]:
        """Write one decision, whatever comes of it."""
        record = _Record(decisions.trail())
        code, status = "our_bug", 500  # what is neither a Refused nor an answer: a cancellation, or a mistake of ours
        try:
            yield record
            code, status = decisions.ALLOWED, 200
        except Refused as refusal:
            code, status = refusal.code, refusal.status
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
                    token=self.grant.digest[:12],
                    key=self.grant.key.id,
                    datasets=record.datasets,
                    stages=record.trail.stages,
                    rows=None if result is None else len(result.rows),
                    truncated=None if result is None else result.truncated,
                )
            )


@dataclass(slots=True)
class _Record:
    """What is known of one query so far."""

    trail: decisions.Trail
    datasets: tuple[str, ...] = ()
    result: Result | None = None
