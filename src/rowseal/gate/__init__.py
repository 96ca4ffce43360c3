"""The front door: one configuration, loaded, which verifies tokens and can be loaded again. What a token opens is `access`."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

import anyio
import anyio.to_thread
from anyio import CapacityLimiter

from rowseal.catalog import Catalog, Limits
from rowseal.claims import Claims
from rowseal.configuration import Configuration, load
from rowseal.dashboard import DashboardAccess, verify_dashboard
from rowseal.dpop import Seen
from rowseal.errors import EngineFailed, TokenRefused
from rowseal.gate.access import _SEAL, Access, VisibleDataset
from rowseal.gate.judged import Judged, judged, standing
from rowseal.gate.key_report import KeyReport, Tally, report
from rowseal.gate.meters import KeyUse, Meters
from rowseal.gate.state import State
from rowseal.gate.workers import threads
from rowseal.holder import UNBOUND, Presented, require
from rowseal.keys import PublicKey
from rowseal.keys.store import Store
from rowseal.revocation import Uses

__all__ = ["Access", "Gate", "KeyUse", "VisibleDataset"]

_log: Final = logging.getLogger("rowseal")
Clock: TypeAlias = Callable[[], float]
_ASK_AGAIN_SECONDS: Final = 0.02
_REPORTED: Final = 2_000


@dataclass(frozen=True, slots=True)
class _Verified:
    """What became of a token at the moment `since`, in seconds since the epoch."""

    judged: Judged
    since: float
    tally: Tally


class Gate:
    """One configuration, loaded: verifies tokens and opens what they permit. Safe to share between threads."""

    def __init__(self, configuration: Configuration, *, clock: Clock = time.time, watch_keys: bool = True) -> None:
        """Raises Misconfigured where a database cannot be reached or its role may do too much.

        `watch_keys`: whether directories and URLs of keys are looked at by threads of the gate's own; else they are by `refresh_keys` alone.
        """
        self.clock = clock
        # What tokens of each key have used; a reload starts nothing anew.
        self._meters = Meters(clock)
        self._path: Path | None = None
        self._reloading = threading.Lock()
        self._swapping = threading.Lock()
        self._closed = False
        self._proofs_seen = Seen()  # the gate's and not the state's: a reload makes no proof fresh again
        # INVARIANT: all that a reload changes hangs on this one name, and changes in one assignment.
        self._state = State.open(configuration, epoch=1, clock=clock)
        self._watch_keys = watch_keys
        self._tallies: dict[str, Tally] = {}
        if watch_keys:
            self._state.keys.start()

    @classmethod
    def from_yaml(cls, path: str | Path, *, clock: Clock = time.time, watch_keys: bool = True) -> Gate:
        """Load datasets.yaml and check it against the database. Raises Misconfigured with every problem found.

        `clock` gives the time in seconds since the epoch; `watch_keys` is as for the constructor.
        """
        gate = cls(load(path), clock=clock, watch_keys=watch_keys)
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
    def limits(self) -> Limits:
        """The budgets, which are the same for every connection."""
        return self._state.limits

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        """The public keys whose tokens are taken."""
        return self._state.keys.ring.verifier.keys

    def reload(self) -> None:
        """Load the same file again, with its keys and databases, and swap everything at once. Blocks; call it in a thread.

        Raises Misconfigured, and whatever loading raises, and then everything is as before. Queries that have begun end on what they began
        with; its connections are closed after the last of them. An Access from before is judged anew at its next use
        (docs/explanation/reload.md). Raises RuntimeError for a gate that was made from a Configuration, not from a file, or is closed.
        """
        if self._path is None:
            raise RuntimeError("this gate was made from a Configuration, not from a file: make it with Gate.from_yaml to reload it")
        with self._reloading:
            fresh = State.open(load(self._path), epoch=self._state.epoch + 1, clock=self.clock, before=self._state.keys)
            if self._watch_keys:
                fresh.keys.start()
            with self._swapping:
                retired = fresh
                if not self._closed:
                    retired, self._state = self._state, fresh
            retired.retire()
            if retired is fresh:
                raise RuntimeError("the gate is closed")
        _log.info("the configuration was loaded again: epoch %d", fresh.epoch)

    def verify(self, token: str, *, from_body: bool = False, presented: Presented | None = None) -> Access:
        """Prove who the bearer is. Raises TokenRefused, and nothing else.

        `from_body`: the token came in a body, where it may have `limits.body_token_bytes` instead of `limits.token_bytes`.
        `presented`: how it came. A token that is bound to its holder (`allowedOrigins`, `cnf`) is refused without it.
        Blocks where the shared database must be asked about the token (`one_time`, `inactivity`). One call takes one use of a token.
        """
        access, asks = self._proven(token, from_body, presented)
        if asks is not None:
            asks()
        return access

    async def averify(self, token: str, *, from_body: bool = False, presented: Presented | None = None) -> Access:
        """`verify`, with whatever blocks in a worker thread. Waits for a key that nobody knows yet and its issuer may have published."""
        try:
            access, asks = self._proven(token, from_body, presented)  # inline: a signature takes less than handing it to a thread would
        except TokenRefused as refusal:
            if not (refusal.awaited and await self._keys_fetched()):
                raise
            access, asks = self._proven(token, from_body, presented)
        if asks is not None:
            await anyio.to_thread.run_sync(asks, limiter=self._threads())
        return access

    def _proven(self, token: str, from_body: bool, presented: Presented | None) -> tuple[Access, Callable[[], None] | None]:
        """The token, proven and not revoked; and what is to be asked of the shared database before its bearer gets it."""
        state, now = self._state, self.clock()
        ring = state.keys.ring
        verifier = ring.body_verifier if from_body else ring.verifier
        fits = isinstance(token, str) and len(token) <= verifier.token_bytes  # else it will be refused, and is not read to its end here
        # Every byte of the token is in its digest: an ECDSA signature can be altered and still be valid, and is then proven for itself.
        key = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest() if fits else b"", from_body
        known: _Verified | None = state.verified.get(key)
        # INVARIANT: a token that was valid at one moment is valid at every later one before its end: `nbf` and `iat` have passed, and the
        # life that is left only shrinks. So nothing else of it is to be judged again while configuration and keys are the same.
        if known is None or known.judged.epoch != ring.epoch or not known.since <= now < known.judged.claims.expires_at:
            try:
                claims = verifier.verify(token, now=now)
            except TokenRefused as refusal:
                refusal.awaited = state.keys.awaited(refusal)
                raise
            known = _Verified(judged(state, ring, claims), now, self._tally_of(claims))
            known.tally.tokens += 1
            state.verified.put(key, known, len(token))
        elif state.watch.current() is not known.judged.revoked:
            known = replace(known, judged=standing(state, known.judged))
            state.verified.put(key, known, len(token))
        known.tally.last = now
        mine = known.judged
        # INVARIANT: who presents the token is never remembered with it.
        if presented is not None or mine.holder is not UNBOUND:
            require(mine.holder, presented, token=token, now=now, seen=self._proofs_seen)
        return Access._sealed(_SEAL, self, mine), None if state.uses is None else _asking(mine, state.uses, now)

    def verify_dashboard(self, token: str, *, presented: Presented | None = None) -> DashboardAccess:
        """Prove whose dashboards a dashboard access token speaks of. It opens no rows. Raises TokenRefused, and nothing else.

        `presented`: as for `verify`.
        """
        return verify_dashboard(
            token, lambda: (self._state.keys.ring.verifier, self._state.watch.current().refuses), clock=self.clock, presented=presented, seen=self._proofs_seen
        )

    def key_use(self) -> Mapping[str, KeyUse]:
        """What the tokens of each key have used in the hour that runs, as this process has counted it, by the key's id."""
        return self._meters.used({key.facts.id: key.facts for key in self.keys}.values())

    async def _keys_fetched(self) -> bool:
        """Wait for the key set that is being fetched. Whether there are other keys now than there were."""
        keys = self._state.keys
        before, ends = keys.ring.epoch, anyio.current_time() + keys.longest_fetch
        while keys.fetching and anyio.current_time() < ends:  # noqa: ASYNC110 -- a thread ends it
            await anyio.sleep(_ASK_AGAIN_SECONDS)
        return self._state.keys.ring.epoch != before

    def refresh_keys(self, *, fetch: bool = True) -> None:
        """Look now for keys that came or went, in every directory and, with `fetch`, at every URL. Blocks; call it in a thread."""
        self._state.keys.refresh(fetch=fetch)

    def key_store(self, entry: str | None = None) -> Store:
        """The directory of keys of this entry of `keys:`; None means the only one there is. Raises LookupError where there is none."""
        keys, found = self._state.keys, [each.source for each in self._state.keys.watched if each.source.kind == "directory"]
        found = [each for each in found if entry in {None, each.facts.id}]
        if len(found) != 1:
            raise LookupError("there is no one entry of `keys:` with `directory:` that could be meant")
        mine = f"{found[0].facts.id}/"
        elsewhere = {key.thumbprint: key.facts.id for key in keys.ring.verifier.keys if not key.facts.id.startswith(mine) or key.source != "directory"}
        return Store(found[0], frozenset(dataset for catalog in self.catalogs.values() for dataset in catalog.datasets), elsewhere)

    def key_condition(self) -> str:
        """Whether the keys are `fresh`; `stale`, where some could not be fetched the last time; or `unavailable`, where good tokens may be refused."""
        return self._state.keys.condition()

    def key_report(self) -> tuple[KeyReport, ...]:
        """Each key whose tokens are taken, or were or will be, and how it was used since the gate was made."""
        return tuple(report(key, self._tallies.get(key.thumbprint)) for key in self.keys)

    def _tally_of(self, claims: Claims) -> Tally:
        thumbprint = "" if claims.proof is None else claims.proof.thumbprint
        if len(self._tallies) > _REPORTED:  # keys that are gone are forgotten, or whoever rotates often enough fills the memory
            present = {key.thumbprint for key in self.keys}
            self._tallies = {name: tally for name, tally in self._tallies.items() if name in present}
        return self._tallies.setdefault(thumbprint, Tally())

    def reachable(self) -> bool:
        """Whether every database answers now, and it is known what is revoked. Blocks, for as long as connecting may take."""
        with self._entered() as state:
            return state.watch.ready and all(connection.database.reachable() for connection in state.connections.values())

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
        return threads(self, len(self.catalogs) * self.limits.concurrent)


def _asking(mine: Judged, uses: Uses, now: float) -> Callable[[], None] | None:
    """What must be asked of the shared database about a token; None for nothing."""
    rules, claims = mine.rules, mine.claims
    if not (rules.one_time or rules.inactivity):
        return None
    if rules.inactivity and not rules.one_time and uses.at_hand(claims, rules.inactivity, now=now):
        return None

    def ask() -> None:
        if rules.inactivity:
            uses.check(claims, rules.inactivity, now=now)
        if rules.one_time:
            uses.once(claims)

    return ask
