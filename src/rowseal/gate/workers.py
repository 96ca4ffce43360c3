"""Work that blocks, done in threads beside an event loop: bounded, and stopped when nobody waits for it any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread
from anyio import CancelScope, CapacityLimiter
from anyio.lowlevel import RunVar

from rowseal.engine.stop import Stop
from rowseal.errors import BudgetExceeded, Cancelled

__all__ = ["stoppable", "threads", "turn"]

_SPARE_THREADS: Final = 8
_ASK_AGAIN_SECONDS: Final = 0.02
_LONG: Final = 2_000  # characters; what is shorter takes milliseconds
_IN_TURN: Final = 32  # one that has its turn, and those that wait for theirs
_TURN: Final = threading.Lock()
_NO_TURN: Final = nullcontext()
_PLACES: Final = threading.BoundedSemaphore(_IN_TURN)
_LIMITERS: Final = RunVar[WeakKeyDictionary[object, CapacityLimiter]]("rowseal_threads")

_T = TypeVar("_T")


def threads(owner: object, concurrent: int) -> CapacityLimiter:
    """For the running event loop and this owner: a thread for each query that may run or wait for its turn, and a few that refuse the others at once.

    The loop's own limit, 40 threads for everybody, would let queries wait where no budget and no deadline sees them.
    """
    limiters = _LIMITERS.get(None)
    if limiters is None:
        limiters = WeakKeyDictionary()
        _LIMITERS.set(limiters)
    wanted = concurrent + _IN_TURN + _SPARE_THREADS
    limiter = limiters.get(owner)
    if limiter is None:
        limiter = limiters[owner] = CapacityLimiter(wanted)
    if limiter.total_tokens != wanted:  # a reload changed it
        limiter.total_tokens = wanted
    return limiter


def turn(sql: str) -> AbstractContextManager[None]:
    """To be held while a query is secured: long ones take turns. Raises BudgetExceeded where too many wait already.

    The compiled parser keeps Python's global lock until it is done. Where several threads wait for that lock with a long query each, an
    event loop waits for most of them; where only one does, it runs between any two.
    """
    return _in_turn() if len(sql) > _LONG else _NO_TURN


@contextmanager
def _in_turn() -> Iterator[None]:
    # INVARIANT: who waits here has a thread, so few may: else whoever sends long queries enough has every thread, and no short one begins
    if not _PLACES.acquire(blocking=False):
        raise BudgetExceeded("too_many_queries")
    try:
        with _TURN:
            yield
    finally:
        _PLACES.release()


async def stoppable(work: Callable[[Stop], _T], limiter: CapacityLimiter) -> _T:
    """The work in a thread. When the task is cancelled the work is told to stop, and the task ends when it has stopped."""
    stop, ended = Stop(), threading.Event()

    def in_thread() -> _T:
        if not stop.begin():
            raise Cancelled("query_cancelled")
        try:
            return work(stop)
        finally:
            ended.set()

    # INVARIANT: the limiter is held until the thread is done, also of a cancelled task; else whoever hangs up often enough has any number of threads
    async with limiter:
        try:
            return await anyio.to_thread.run_sync(in_thread, abandon_on_cancel=True, limiter=CapacityLimiter(1))
        except anyio.get_cancelled_exc_class():
            with CancelScope(shield=True):
                await anyio.to_thread.run_sync(_stop, stop, ended, limiter=CapacityLimiter(1))
            raise


def _stop(stop: Stop, ended: threading.Event) -> None:
    while stop.ask() and not ended.wait(_ASK_AGAIN_SECONDS):
        pass
