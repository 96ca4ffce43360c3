"""A request's body on its way in: bounded while it is read, and read again by the app where we have read it first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from starlette.types import Message, Receive

from rowseal.errors import BudgetExceeded, QueryRefused
from rowseal.http.reply import Reply

__all__ = ["ClientGone", "announced", "bounded", "nothing", "read", "replay"]


class ClientGone(Exception):
    """The client went away before its body was whole."""


def announced(headers: Sequence[tuple[bytes, bytes]], limit: int) -> int | None:
    """The length that the headers announce. Raises QueryRefused, or BudgetExceeded before a byte is read when it is beyond the limit."""
    values = [value for name, value in headers if name.lower() == b"content-length"]
    if not values:
        return None
    if len(values) > 1 or not values[0].isdigit() or len(values[0]) > 18:
        raise QueryRefused("request_malformed", "the `Content-Length` header is not one number")
    length = int(values[0])
    if length > limit:
        raise BudgetExceeded("body_too_large")
    return length


def bounded(receive: Receive, length: int | None, limit: int, reply: Reply) -> Receive:
    """`receive`, until more bytes came than were announced or than the limit allows: the header may lie, or be absent.

    `length` is what was announced. The receiver raises BudgetExceeded, and notes it in `reply`.
    """
    allowed = limit if length is None else length
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > allowed:
            # Kept for the answer too: a framework may turn what is raised here into an answer of its own.
            reply.refusal = BudgetExceeded("body_too_large")
            raise reply.refusal
        return message

    return counted


async def read(receive: Receive) -> bytes:
    """All of it. Raises ClientGone."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


def replay(body: bytes, receive: Receive) -> Receive:
    """`receive` for the app when the body has been read already: all of it at once, then what follows (a disconnect)."""
    pending = [body]

    async def again() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return again


nothing: Final = partial(replay, b"")
"""`receive` for an app that shall see no body."""
