"""Tokens that hold for one use, and tokens that end when nobody uses them: kept in the shared database, remembered here.

Both are named by digests, so nobody learns a token or its id from the database.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rowseal.claims import Claims
from rowseal.errors import TokenRefused
from rowseal.revocation.database import StateDatabase
from rowseal.revocation.store import StoreUnavailable

__all__ = ["Uses"]

_log: Final = logging.getLogger("rowseal")
_REMEMBERED: Final = 65_536
_ASKED_ANEW: Final = 4  # times in an interval
_SWEEP_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of a token, in seconds since the epoch: its last allowed request, the last that was written, and when the store was asked."""

    last: float
    written: float
    asked: float


class Uses:
    """The uses of tokens that one database keeps. Safe to share between threads; `clock` gives seconds since the epoch."""

    def __init__(self, database: StateDatabase, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._swept = clock()

    def once(self, claims: Claims) -> None:
        """Take the one use that the token has. Raises TokenRefused: `claim_invalid` where it has no `jti`, `token_replayed`, `state_unavailable`."""
        if claims.token_id is None:
            raise TokenRefused(
                "claim_invalid", "`jti` of the token is missing, and this key's tokens hold for one use", hint="sign a fresh `jti` into each token"
            )
        # The key is part of the name: two issuers may count their tokens alike. A shared secret is called otherwise in each process, but for its id.
        proof = claims.proof
        signer = "" if proof is None else f"secret {claims.key.id}" if proof.algorithm == "HS256" else proof.thumbprint
        name = hashlib.sha256(f"{signer}\n{claims.token_id}".encode("utf-8", "surrogatepass")).hexdigest()
        try:
            # INVARIANT: remembered for the token's own life. Its key may be confirmed anew, or retired later, and then it is taken for as long.
            fresh = self._database.use(name, until=claims.ends_at)
        except StoreUnavailable as problem:
            raise self._unavailable(problem) from None
        if not fresh:
            raise TokenRefused("token_replayed", key=claims.key.id)

    def at_hand(self, claims: Claims, interval: float, *, now: float) -> bool:
        """Whether `check` can tell without asking the database."""
        known = self._seen.get(claims.digest)
        return known is not None and 0 <= now - known.asked < interval / _ASKED_ANEW and now - known.last < interval

    def check(self, claims: Claims, interval: float, *, now: float) -> None:
        """Let pass a token that was used within the last `interval` seconds, by whichever gateway; one that is new begins now.

        Raises TokenRefused: `token_idle`, and then for good; `state_unavailable`.
        """
        if self.at_hand(claims, interval, now=now):
            return
        try:
            for _ in range(3):
                at, ended = self._database.seen(claims.digest, now=now, until=claims.ends_at)
                known = self._seen.get(claims.digest)
                last = max(at, known.last) if known is not None else at
                # INVARIANT: what ended stays ended: a row that says so is never written again, and lives longer than the token.
                if ended:
                    raise TokenRefused("token_idle", key=claims.key.id)
                if now - last < interval:
                    self._remember(claims.digest, _Seen(last, at, now))
                    return
                if self._database.end(claims.digest, at=at):
                    raise TokenRefused("token_idle", key=claims.key.id)
        except StoreUnavailable as problem:
            raise self._unavailable(problem) from None
        raise TokenRefused("state_unavailable")  # others use it again and again between two looks of ours

    def allowed(self, claims: Claims, interval: float, *, now: float) -> None:
        """Note that a request of the token was allowed. Written so seldom that a token may end a quarter of the interval early, never late."""
        known = self._seen.get(claims.digest)
        if known is None:
            return  # forgotten since `check`: the next one asks the database
        if now - known.written < interval / _ASKED_ANEW:
            self._remember(claims.digest, _Seen(max(known.last, now), known.written, known.asked))
            return
        try:
            noted = self._database.prolong(claims.digest, now=now)
        except StoreUnavailable as problem:
            self._unavailable(problem)  # the answer is made; the token ends as if this request had not been
            return
        self._remember(claims.digest, _Seen(max(known.last, now), now, now) if noted else _Seen(known.last, known.written, 0.0))

    def sweep(self) -> None:
        """Now and then, forget in the database what has ended by itself. Raises nothing."""
        now = self._clock()
        if 0 <= now - self._swept < _SWEEP_SECONDS:
            return
        self._swept = now
        try:
            self._database.sweep(now=now)
        except StoreUnavailable as problem:
            self._unavailable(problem)

    def _remember(self, digest: str, seen: _Seen) -> None:
        with self._lock:
            self._seen[digest] = seen
            self._seen.move_to_end(digest)
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)

    def _unavailable(self, problem: StoreUnavailable) -> TokenRefused:
        _log.error("the database of uses %s", problem)
        return TokenRefused("state_unavailable")
