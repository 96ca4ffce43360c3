"""The answer to a query over HTTP: in the form that the request accepts, and a part at a time where it is long.

    async def query(request: Request) -> Response:
        return await answer(request, access_of(request), (await request.json())["sql"])

A long answer has gone out in part when it fails. INVARIANT: what did not get to its end does not look as if it had. Lines of JSON end with the problem
in place of their last line; of the others the connection is broken off, so that HTTP itself says that the body is incomplete.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rowseal import decisions
from rowseal.errors import Refused, TimedOut
from rowseal.gate import Access
from rowseal.gate.streams import AsyncStream
from rowseal.http.accept import Format, accepted
from rowseal.http.transport import problem

__all__ = ["answer", "nobody", "while_connected"]

_VARIES: Final = {"vary": "accept"}
_T = TypeVar("_T")


async def answer(
    request: Request,
    access: Access,
    sql: str,
    params: Mapping[str, Any] | None = None,
    dataset: str | None = None,
    *,
    connection: str | None = None,
    check: Callable[[], None] | None = None,
) -> Response:
    """Run the query and answer as the request's `Accept` says: JSON, `application/x-ndjson`, `text/csv` or `application/vnd.apache.arrow.stream`.

    `check` is called when the query has begun, and may refuse what the access has become by then. When the client goes, the query ends in the database.
    Raises QueryRefused `format_refused`, and what `Access.execute` does.
    """
    form = accepted(request.headers.getlist("accept"))
    if form.writer is None:
        body = await while_connected(request, partial(access.ajson, sql, params, dataset, connection=connection))
        if check is not None:
            check()
        return nobody() if body is None else Response(body, 200, _VARIES, form.content_type)
    # INVARIANT: HTTP/1.0 ends a body by closing the connection, so there a body that is broken off looks whole, and nothing goes out before all is there
    whole = not form.says_its_end and request.scope.get("http_version") == "1.0"
    begun = await while_connected(
        request, partial(_begin, form, whole, check, partial(access.achunks, form.writer(), sql, params, dataset, connection=connection))
    )
    return nobody() if begun is None else begun


async def _begin(form: Format, whole: bool, check: Callable[[], None] | None, ask: Callable[[], Awaitable[AsyncStream[bytes]]]) -> Response:
    """The whole answer, where it is short; else one that goes on."""
    stream = await ask()
    try:
        if check is not None:
            check()
        parts = [await stream.take() or b""]
        while whole and (more := await stream.take()) is not None:
            parts.append(more)
    except BaseException:
        await stream.aclose()
        raise
    if stream.truncated is not None:
        return Response(b"".join(parts), 200, _VARIES, form.content_type)
    return _Streamed(stream, parts[0], form)


class _Streamed(Response):
    """An answer that goes out while its rows are read: no faster than the client takes it, and no longer than the query's time."""

    def __init__(self, stream: AsyncStream[bytes], first: bytes, form: Format) -> None:
        super().__init__(None, 200, _VARIES)
        del self.headers["content-length"]
        self.headers["content-type"] = form.content_type
        self._stream, self._first, self._form = stream, first, form

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all of it. Raises the Refused that ended it, where the form cannot carry that."""
        del scope
        failure: Exception | None = None
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_cancel_when_gone, receive, group.cancel_scope)
                try:
                    await self._send(send)
                except Exception as failed:  # noqa: BLE001 -- raised below: out of here it would be one of a group
                    failure = failed
                group.cancel_scope.cancel()
        finally:
            await self._stream.aclose()
        if failure is not None:
            failure.__context__ = None
            raise failure

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        part: bytes | None = self._first
        while part is not None:
            await self._send_in_time(send, part)
            try:
                part = await self._stream.take()
            except Refused as refusal:
                if not self._form.says_its_end:
                    raise
                _, _, body = problem(refusal, request_id=decisions.trail().request_id)
                await send({"type": "http.response.body", "body": body + b"\n", "more_body": True})
                part = None
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_in_time(self, send: Send, part: bytes) -> None:
        """INVARIANT: who takes the answer slowly holds a connection no longer than who asks a slow query."""
        if self._stream.truncated is not None:  # all is given back by now
            await send({"type": "http.response.body", "body": part, "more_body": True})
            return
        late = TimedOut("timed_out", "the client took the answer more slowly than this server allows")
        try:
            with anyio.fail_after(max(0.0, self._stream.deadline - time.monotonic())):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except TimeoutError:
            await self._stream.aclose(late)
            raise late from None


async def while_connected(request: Request, work: Callable[[], Awaitable[_T]]) -> _T | None:
    """The work's answer, or None where the client has gone before it came; the work is cancelled then."""
    outcome: _T | Exception | None = None

    async with anyio.create_task_group() as group:
        group.start_soon(_cancel_when_gone, request.receive, group.cancel_scope)
        try:
            outcome = await work()
        except Exception as failure:  # noqa: BLE001 -- raised below: out of here it would be one of a group
            outcome = failure
        group.cancel_scope.cancel()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def _cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def nobody() -> Response:
    """For a client that has gone: the server drops it."""
    return Response(status_code=499)
