"""One configuration, opened: all that a gate knows at one moment. A reload makes another and swaps the two in one assignment.

A use of the gate begins with `enter` and ends with `leave`; between the two the state's databases are open. A retired state lets nobody
in any more, and closes its databases when the last use of it ends.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from rowseal.catalog import Catalog, Limits
from rowseal.configuration import Configuration
from rowseal.engine import Database
from rowseal.errors import Misconfigured, Problem
from rowseal.gate.keyring import Keys
from rowseal.gate.plans import Plans
from rowseal.gate.recent import Recent
from rowseal.revocation import UNWATCHED, StateDatabase, StoreDamaged, StoreUnavailable, Unwatched, Uses, Watch, open_store
from rowseal.sql import guards, proof
from rowseal.sql.dialects import DIALECTS, Dialect
from rowseal.sql.names import DatasetLookup

__all__ = ["Connection", "State"]

_log: Final = logging.getLogger("rowseal")
_TOKENS: Final = 8_192
_TOKEN_BYTES: Final = 8_000_000  # of the tokens as they came; what is read from them takes several times as much


@dataclass(frozen=True, slots=True)
class Connection:
    """One database of the configuration with the datasets that are in it."""

    catalog: Catalog
    dialect: Dialect
    datasets: DatasetLookup
    database: Database
    plans: Plans


class _Visits:
    """How many have entered a state and not left it, and whether more may enter."""

    __slots__ = ("_lock", "_retired", "_running")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._retired = False

    def begin(self) -> bool:
        """Whether one more may enter."""
        with self._lock:
            if self._retired:
                return False
            self._running += 1
            return True

    def end(self) -> bool:
        """Whether this was the last one there will ever be."""
        with self._lock:
            self._running -= 1
            return self._retired and not self._running

    def retire(self) -> bool:
        """Let no more begin. Whether none is left that will end; only the first to ask is told so."""
        with self._lock:
            first, self._retired = not self._retired, True
            return first and not self._running


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class State:
    """What one configuration came to. Immutable, but for the count of who uses it. `epoch` counts a gate's states from 1."""

    epoch: int
    limits: Limits
    connections: Mapping[str, Connection]  # by name, in the order of the file
    catalogs: Mapping[str, Catalog]
    keys: Keys
    watch: Watch | Unwatched  # what is revoked
    uses: Uses | None  # what the shared database knows of tokens, where there is one
    # What the gate made of tokens. INVARIANT: it goes with the state, so no filter or dataset that a reload took away lives on in it; and what
    # another keyring than that of now has proven is not taken from it.
    verified: Recent[Any, Any] = field(default_factory=lambda: Recent(entries=_TOKENS, weight=_TOKEN_BYTES), init=False, repr=False)
    _visits: _Visits = field(default_factory=_Visits, init=False, repr=False)

    @classmethod
    def open(cls, configuration: Configuration, *, epoch: int, clock: Callable[[], float], before: Keys | None = None) -> State:
        """Open the databases and judge their roles, read what is revoked, and look for keys that come and go.

        `clock` gives the time in seconds since the epoch; `before` has the keys that were found until now. Raises Misconfigured; whatever is
        raised, nothing stays open.
        """
        limits = configuration.limits
        keys = Keys(configuration.token_rules, limits, clock=clock, before=before)
        opened: dict[str, Connection] = {}
        try:
            for name, catalog in configuration.catalogs.items():
                dialect = DIALECTS[catalog.dialect]
                database = Database(catalog.database, dialect=catalog.dialect, limits=limits, connection=name)
                opened[name] = Connection(catalog, dialect, DatasetLookup(catalog.datasets, dialect), database, Plans(dialect))
                database.check_testimony(allow_experimental=catalog.experimental, file=str(configuration.path))
                tables = {table for dataset in catalog.datasets.values() for table in dataset.tables}
                database.check_role(tables, allow_privileged=catalog.allow_privileged_role, file=str(configuration.path))
            watch, uses = _watched(configuration, clock)
        except BaseException:
            _close(opened.values())
            raise
        return cls(epoch, limits, MappingProxyType(opened), configuration.catalogs, keys, watch, uses)

    def enter(self) -> bool:
        """Begin a use; `leave` ends it. False where the state is retired: then there is a newer one, or the gate is closed."""
        return self._visits.begin()

    def leave(self) -> None:
        """End a use."""
        if self._visits.end():
            self._close()

    def retire(self) -> None:
        """Let nobody in any more, and close the databases as soon as nobody is in."""
        self.keys.close()
        if self._visits.retire():
            self._close()

    def _close(self) -> None:
        self.watch.close()
        _close(self.connections.values())
        # INVARIANT: of a state that is gone nothing is kept. Texts of guards are kept by dataset, so theirs would never be asked for again.
        guards.forget()
        proof.forget()


def _watched(configuration: Configuration, clock: Callable[[], float]) -> tuple[Watch | Unwatched, Uses | None]:
    address = configuration.state
    if address is None:
        return UNWATCHED, None
    store = open_store(address)
    uses = Uses(store, clock=clock) if isinstance(store, StateDatabase) else None
    try:
        watch = Watch(store, poll=address.poll, max_stale=address.max_stale, beside=None if uses is None else uses.sweep)
    except (StoreUnavailable, StoreDamaged) as problem:
        store.close()
        raise Misconfigured([Problem(str(configuration.path), 1, 1, "state", f"{problem}")]) from None
    watch.start()
    return watch, uses


def _close(connections: Iterable[Connection]) -> None:
    for connection in connections:
        try:
            connection.database.close()
        except Exception as error:  # noqa: BLE001 -- whoever ends the last use, or reports why there is no state, has an answer of its own
            _log.warning("a database's connections could not all be closed: %s", type(error).__name__)
