"""An answer that is taken batch by batch. Whatever becomes of who takes it, its connection and its place among the queries are given back."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeAlias, TypeVar
from weakref import finalize

import anyio.to_thread
from anyio import CancelScope, CapacityLimiter

from rowseal.engine import Rows, Stop
from rowseal.errors import Cancelled, OurBug, Refused
from rowseal.gate.workers import stoppable

__all__ = ["AsyncStream", "Row", "Stream"]

Row: TypeAlias = "tuple[Any, ...]"
_Part = TypeVar("_Part")
_Steps: TypeAlias = "Generator[Rows | _Part, None, None]"
_GONE: Final = "query_cancelled"


class Stream(Generic[_Part]):
    """The answer to a query that runs: iterate over it for its parts, which are lists of rows, or bytes of them. Not for two threads at once.

    It holds a connection and one of the `limits.concurrent` places until its last part, an exception, `close` or the end of its `with`; at the
    latest until nobody holds it any more. Only its `limits.seconds` bound how long that is, and these are looked at when a part is taken.
    """

    __slots__ = ("__weakref__", "_abandoned", "_context", "_rows", "_steps")

    def __init__(self, steps: _Steps[_Part]) -> None:
        """Begins the query. `steps` gives the Rows and then the parts. Raises what `Access.execute` does."""
        # INVARIANT: every step in one context, whatever thread takes it: the trail of the request is the same to the end
        self._context = copy_context()
        self._steps: _Steps[_Part] | None = steps
        self._abandoned: finalize[Any, Any] | None = None
        rows = self._step()
        if not isinstance(rows, Rows):
            raise OurBug("a stream began without its columns")
        self._rows = rows
        # INVARIANT: this, too, holds the steps, so Python's collector never ends them by itself: it would end parts of them in any order
        self._abandoned = finalize(self, _end_aside, steps, self._context)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self._rows.columns

    @property
    def types(self) -> tuple[str, ...]:
        """A name of `engine.result.TYPES` for each column, as the database declares it; empty on SQLite, which has none."""
        return self._rows.declared

    @property
    def deadline(self) -> float:
        """When its time is over, by `time.monotonic`, in seconds."""
        return self._rows.deadline

    @property
    def truncated(self) -> bool | None:
        """Whether there were more rows than the row limit; None before the last part."""
        return self._rows.truncated if self._rows.done else None

    @property
    def running(self) -> bool:
        """Whether there may be anything left to close."""
        return self._steps is not None

    def take(self) -> _Part | None:
        """The next part; None when there are no more. Raises what `Access.execute` does."""
        part = self._step()
        if self._rows.done:
            self._over()
        return None if isinstance(part, Rows) else part

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _Part:
        if (part := self.take()) is not None:
            return part
        raise StopIteration

    def close(self, why: Refused | None = None) -> None:
        """End the query, if it still runs, and give everything back. `why` is what the audit says."""
        steps = self._over()
        if steps is not None:
            _end(steps, self._context, why or Cancelled(_GONE))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _step(self) -> Rows | _Part | None:
        if self._steps is None:
            return None
        try:
            return self._context.run(next, self._steps)
        except StopIteration:
            self._over()
            return None
        except Refused as refusal:
            self._over()
            refused = refusal
        except BaseException:
            self._over()
            raise
        if refused.__cause__ is None:
            refused.__context__ = None  # the database's words (G10)
        raise refused

    def _over(self) -> _Steps[_Part] | None:
        """Let go of the steps."""
        steps, self._steps = self._steps, None
        if self._abandoned is not None:
            self._abandoned.detach()
        return steps


class AsyncStream(Generic[_Part]):
    """A Stream whose parts are taken in worker threads, one at a time: `async for batch in stream`. A task that is cancelled ends the query."""

    __slots__ = ("_stop", "_stream", "_threads")

    def __init__(self, stream: Stream[_Part], stop: Stop, threads: CapacityLimiter) -> None:
        self._stream, self._stop, self._threads = stream, stop, threads

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self._stream.columns

    @property
    def types(self) -> tuple[str, ...]:
        """As `Stream.types`."""
        return self._stream.types

    @property
    def truncated(self) -> bool | None:
        """As `Stream.truncated`."""
        return self._stream.truncated

    @property
    def deadline(self) -> float:
        """As `Stream.deadline`."""
        return self._stream.deadline

    async def take(self) -> _Part | None:
        """As `Stream.take`."""
        return await stoppable(lambda _: self._stream.take(), self._threads, self._stop)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _Part:
        if (part := await self.take()) is not None:
            return part
        raise StopAsyncIteration

    async def aclose(self, why: Refused | None = None) -> None:
        """`Stream.close` in a worker thread."""
        if self._stream.running:
            with CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._stream.close, why, limiter=CapacityLimiter(1))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()


def _end_aside(steps: _Steps[Any], context: Context) -> None:
    """Not in the thread that let go of the stream last: that may be one of an event loop, and ending a query may take a moment."""
    end = partial(_end, steps, context, Cancelled(_GONE))
    try:
        threading.Thread(target=end, daemon=True, name="rowseal-abandoned").start()
    except RuntimeError:  # the interpreter is ending
        end()


def _end(steps: _Steps[Any], context: Context, why: Refused) -> None:
    with suppress(Refused, StopIteration):
        context.run(steps.throw, why)
