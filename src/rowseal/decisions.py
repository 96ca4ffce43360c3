"""The audit record: one line of JSON for every yes and every no, on the logger `rowseal.decisions`.

A record says who asked (the digest of the token, never the token), by which key, for which datasets, what came of it and how long each
stage took. It never holds SQL, a filter, a parameter, a claim or the database's own words, so it may go wherever logs go.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Final
from uuid import uuid4
from weakref import WeakSet

__all__ = ["ALLOWED", "Decision", "KeyAct", "Trail", "emit", "follow", "trail"]

ALLOWED: Final = "allowed"

_log: Final = logging.getLogger("rowseal.decisions")


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision. `code` is `ALLOWED` or a key of `errors.CODES`; `status` the HTTP status that goes with it.

    `token` is the start of the token's digest (12 hex digits) and `key` the id of the key that verified it: both None when nothing was
    verified. `connection` is whose database was asked, or would have been; None where none of several took the query. `datasets` are ids of
    the catalog, never names that only the bearer wrote. `stages` are microseconds by stage name.
    `rows` and `truncated` speak of an answer that was sent; of one that was broken off, `rows` had gone out. `reason` says of a token that
    nothing proves why: its bearer is not told.
    """

    request_id: str
    code: str
    status: int
    token: str | None = None
    key: str | None = None
    connection: str | None = None
    datasets: tuple[str, ...] = ()
    stages: Mapping[str, int] = field(default_factory=dict)
    rows: int | None = None
    truncated: bool | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class KeyAct:
    """What an operator did to a key, or tried to. `code` and `status` are as in a Decision; `key` is None where there is none of this name."""

    request_id: str
    act: str
    code: str
    status: int
    key: str | None = None
    thumbprint: str | None = None
    datasets: tuple[str, ...] | None = None  # None: all that its directory may
    project_id: str | None = None
    state: str | None = None


class Trail:
    """One request's id, and the time that its stages took so far. Stages are named as in the design: verify, admit, secure, execute.

    `refused` is what the last thing that was asked in this request was refused with; None when it was answered, or nothing was asked.
    """

    __slots__ = ("_nanoseconds", "_told", "refused", "request_id")

    def __init__(self, request_id: str | None = None) -> None:
        self.request_id = request_id or uuid4().hex
        self.refused: Exception | None = None
        self._told: WeakSet[Exception] | None = None
        self._nanoseconds: dict[str, int] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside, also when it is refused. A stage that is entered twice counts both times."""
        start = perf_counter_ns()
        try:
            yield
        finally:
            self._nanoseconds[name] = self._nanoseconds.get(name, 0) + perf_counter_ns() - start

    def refuse(self, code: str, status: int, refusal: Exception) -> None:
        """Write the decision of whoever refuses an app that has been called already."""
        self.tell(refusal)
        emit(Decision(self.request_id, code, status, stages=self.stages, key=getattr(refusal, "key", None), reason=getattr(refusal, "reason", None)))

    def tell(self, refusal: Exception) -> None:
        """Note a refusal that has a decision of its own, so that it gets no second one on its way through the app."""
        self.refused = refusal
        if self._told is None:
            self._told = WeakSet()
        self._told.add(refusal)

    def told(self, refusal: Exception) -> bool:
        """Whether the refusal has its decision."""
        return self._told is not None and refusal in self._told

    @property
    def stages(self) -> dict[str, int]:
        """Microseconds by stage, in the order in which the stages began to end."""
        return {name: spent // 1_000 for name, spent in self._nanoseconds.items()}

    @property
    def server_timing(self) -> str:
        """The value of a `Server-Timing` header, in milliseconds (https://www.w3.org/TR/server-timing/)."""
        return ", ".join(f"{name};dur={spent / 1_000_000:.3f}" for name, spent in self._nanoseconds.items())


_current: ContextVar[Trail] = ContextVar("rowseal_trail")


@contextmanager
def follow(request_id: str | None = None) -> Iterator[Trail]:
    """Begin the trail of one request: inside, also in threads that anyio starts, `trail()` gives this one.

    `request_id`: that of a request of which this is a part.
    """
    begun = Trail(request_id)
    token = _current.set(begun)
    try:
        yield begun
    finally:
        _current.reset(token)


def trail() -> Trail:
    """The trail of the request that is being served; outside of any request (the library used alone) a fresh one."""
    return _current.get(None) or Trail()


@contextmanager
def current() -> Iterator[Trail]:
    """The trail of the request that is being served; outside of any request a fresh one, which lasts as long as this does."""
    known = _current.get(None)
    if known is not None:
        yield known
        return
    with follow() as begun:
        yield begun


def emit(decision: Decision | KeyAct) -> None:
    """Write one decision as one line of JSON at level INFO."""
    if _log.isEnabledFor(logging.INFO):
        _log.info(json.dumps({name: getattr(decision, name) for name in type(decision).__slots__}, separators=(",", ":")))
