"""One answer on its way out, whoever wrote it: the app behind, an engine behind, or we.

`middleware` decides who may pass; what goes out for it passes here.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from typing import Final

from starlette.types import Message, Send

from rowseal import decisions
from rowseal.errors import BudgetExceeded, EngineFailed, OurBug, Refused, TokenRefused
from rowseal.http.rewrite import EngineReply
from rowseal.http.transport import problem

__all__ = ["Reply", "where"]

_log: Final = logging.getLogger("rowseal")
_EXPIRES_IN: Final = b"x-token-expires-in"


class Reply:
    """One answer on its way out. Everything that the app sends passes here.

    `bearer` are the digest of the token that was verified and the id of its key, for the audit. `guarded`: the app has been called with an
    Access, or with a query that one secured. `refusal` is what the answer must be, whatever the app makes of it:
    set when the body grows too large while the app reads it, or by what an engine behind answers. `engine`: that answer, on rewritten paths.
    `expires` tells how many seconds of its life the token has left that was verified.
    """

    __slots__ = ("_head", "_send", "_timing", "_trail", "answered", "bearer", "engine", "expires", "finished", "guarded", "refusal", "started")

    def __init__(self, send: Send, trail: decisions.Trail, *, head: bool, timing: bool) -> None:
        self._send, self._trail, self._head, self._timing = send, trail, head, timing
        self.refusal: Refused | None = None
        self.engine: EngineReply | None = None
        self.bearer: tuple[str | None, str | None] = (None, None)
        self.expires: Callable[[], int] | None = None
        self.guarded = False
        self.started = False
        self.finished = False
        self.answered = False  # by us, with a problem document

    async def send(self, message: Message) -> None:
        if self.finished:
            return
        if message["type"] == "http.response.start":
            if refusal := self.refusal or (self._behind() if message["status"] == 500 else None):
                await self.refuse(refusal)
                return
            self.started = True
            message = {**message, "headers": self._dressed(message["status"], list(message.get("headers", ())))}
        await self._send(message)

    def _behind(self) -> Refused | None:
        """The refusal that a framework made 500 of: what it is handling right now, or what was refused last in this request."""
        return next((each for each in (sys.exception(), self._trail.refused) if isinstance(each, Refused)), None)

    @property
    def request_id(self) -> str:
        return self._trail.request_id

    async def send_counted(self, message: Message) -> None:
        """For an engine that knows nothing of rowseal: its failures say nothing, its rows are counted."""
        if self.engine is None or self.finished:
            return
        try:
            passing = self.engine.take(message)
        except Refused as refusal:
            self.refusal = refusal
            if self.started:
                self.finished = True  # nothing more goes out, and `end` cuts the connection
            else:
                await self.refuse(refusal)
            if isinstance(refusal, BudgetExceeded):
                raise  # so that the engine stops
            return
        for each in passing:
            await self.send(each)

    async def end(self, engine: EngineReply) -> None:
        """The engine has returned or raised. INVARIANT: what it did not complete does not look complete."""
        if engine.complete or self.answered:
            return
        refusal = self.refusal = self.refusal or EngineFailed("query_failed")
        if self.started:
            self._record(refusal)
            refusal.__cause__ = refusal.__context__ = None  # what the engine made of it on its way
            raise refusal.with_traceback(None)
        await self.refuse(refusal)

    async def send_bare(self, message: Message) -> None:
        """Headers only: for the answer to a preflight."""
        if message["type"] == "http.response.start":
            headers = [(name, value) for name, value in message.get("headers", ()) if name.lower() != b"content-length"]
            message = {**message, "headers": [*headers, (b"content-length", b"0")]}
        elif message["type"] == "http.response.body":
            message = {**message, "body": b""}
        else:
            return
        await self.send(message)

    async def refuse(self, refusal: Refused) -> None:
        if isinstance(refusal, OurBug):
            _log.error("request %s: a promise of rowseal's own did not hold: %s", self._trail.request_id, where(refusal))
        if not self._trail.told(refusal):  # what an Access refuses it has recorded itself
            self._record(refusal)
        status, headers, body = problem(refusal, request_id=self._trail.request_id)
        headers += self._expiry()
        self.started = self.finished = self.answered = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": b"" if self._head else body})

    def _record(self, refusal: Refused) -> None:
        (token, key), reason = self.bearer, None
        if isinstance(refusal, TokenRefused):
            key, reason = key or refusal.key, refusal.reason
        decisions.emit(decisions.Decision(self._trail.request_id, refusal.code, refusal.status, token, key, stages=self._trail.stages, reason=reason))

    def _expiry(self) -> list[tuple[bytes, bytes]]:
        return [] if self.expires is None else [(_EXPIRES_IN, str(self.expires()).encode())]

    def _dressed(self, status: int, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        headers = [(name, value) for name, value in headers if name.lower() != b"x-request-id"]
        headers.append((b"x-request-id", self._trail.request_id.encode()))
        headers = [*(each for each in headers if each[0].lower() != _EXPIRES_IN), *self._expiry()]
        if self.guarded and not any(name.lower() == b"cache-control" for name, _ in headers):
            headers.append((b"cache-control", b"private" if status < 400 else b"no-store"))
        if self._timing and (timing := self._trail.server_timing):
            headers.append((b"server-timing", timing.encode()))
        return headers


def where(failure: BaseException) -> str:
    """Exception types and places, never their words: these may quote a token or a value."""
    places = []
    cause: BaseException | None = failure
    while cause is not None:
        frames = traceback.extract_tb(cause.__traceback__)
        places.append(f"{type(cause).__name__} at {frames[-1].filename}:{frames[-1].lineno}" if frames else type(cause).__name__)
        cause = cause.__cause__
    return " from ".join(places)
