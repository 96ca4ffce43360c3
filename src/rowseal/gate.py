"""The request, top to bottom: token -> access -> secured query -> rows.

verify:   tokens (401) -> grants (401) -> Access
secure:   admit (400) -> policy and names (403, 400) -> witness (500) -> SecuredQuery
execute:  engine (502, 504) -> Result
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from rowseal.catalog import Catalog
from rowseal.catalog.load import Configuration, load
from rowseal.engine import Database, Result
from rowseal.errors import OurBug, Refused, TokenRefused
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

Clock = Callable[[], float]
_SEAL: Final = object()


class Gate:
    """One configuration, loaded: verifies tokens and opens what they permit. Safe to share between threads."""

    def __init__(self, configuration: Configuration, *, clock: Clock = time.time) -> None:
        self.catalog: Catalog = configuration.catalog
        self.clock = clock
        self.dialect = DIALECTS[self.catalog.dialect]
        self.datasets = DatasetLookup(self.catalog.datasets, self.dialect)
        self.database = Database(self.catalog.database, dialect=self.catalog.dialect, limits=self.catalog.limits)
        self._verifier = Verifier(configuration.token_rules, token_bytes=self.catalog.limits.token_bytes)

    @classmethod
    def from_yaml(cls, path: str | Path, *, clock: Clock = time.time) -> Gate:
        """Load datasets.yaml and check it against the database. Raises Misconfigured with every problem found.

        `clock` gives the time in seconds since the epoch.
        """
        return cls(load(path), clock=clock)

    def verify(self, token: str) -> Access:
        """Prove who the bearer is. Raises TokenRefused, and nothing else."""
        claims = self._verifier.verify(token, now=self.clock())
        return Access._sealed(_SEAL, self, read_grant(claims, self._verifier.rules_of(claims)))

    def close(self) -> None:
        """Give every connection back."""
        self.database.close()


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

        `params` has a value for each `:name` in the SQL; `dataset` says that the query reads this dataset only.
        Raises TokenRefused (expired), QueryRefused, AccessRefused, or OurBug.
        """
        if self._gate.clock() >= self.grant.expires_at:
            raise TokenRefused("token_expired")
        gate, catalog = self._gate, self._gate.catalog
        try:
            parsed = admit(sql, params, gate.dialect, catalog.limits, catalog.functions)
            draft = secure(parsed, self._policy, gate.datasets, catalog.limits, only=dataset)
            return attest(draft, self._policy)
        except Refused:
            raise
        except Exception as error:
            # INVARIANT: whatever a dependency raises, nothing runs.
            raise OurBug(f"securing failed with {type(error).__name__}") from error

    def execute(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None) -> Result:
        """Secure the query and run it. Also raises EngineFailed, TimedOut, BudgetExceeded."""
        return self._gate.database.execute(self.secure(sql, params, dataset))

    async def aexecute(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None) -> Result:
        """`execute` in a worker thread, for handlers that run in an event loop."""
        return await anyio.to_thread.run_sync(self.execute, sql, params, dataset)
