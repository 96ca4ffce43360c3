"""Work that blocks, done in threads beside an event loop: bounded, and stopped when nobody waits for it any more."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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
_SHORT_TURN: Final = threading.Lock()
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


def turn(sql: object) -> AbstractContextManager[object]:
    """To be held while a query is secured: they take turns, the long ones and the short ones each among themselves.

    Raises BudgetExceeded where too many long ones wait already. The compiled parser keeps Python's global lock until it is done. Where
    several threads wait for that lock with a query each, an event loop waits for most of them; where two do, it runs between any two.
    Together they are no slower: it is one lock.
    """
    return _in_turn() if isinstance(sql, str) and len(sql) > _LONG else _SHORT_TURN


@contextmanager
def _in_turn() -> Iterator[None]:
    # INVARIANT: who waits here has a thread, so few may: else whoever sends long queries enough has every thread, and no short one begins
    if not _PLACES.acquire(blocking=False):
        raise BudgetExceeded("too_many_queries")
    try:
        with _TURN, _uncollected():
            yield
    finally:
        _PLACES.release()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's collector of cycles, which stops every thread to go through all that the process holds, and the more often the more is made.

    A long query makes tens of thousands of objects, and nearly all of them are gone when it is secured, without any collector.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:  # else the application has switched it off, and that is its own affair
            gc.enable()


async def stoppable(work: Callable[[Stop], _T], limiter: CapacityLimiter, stop: Stop | None = None) -> _T:
    """The work in a thread. When the task is cancelled the work is told to stop, and the task ends when it has stopped.

    `stop` is what it is told by, where the work is a part of one that has begun.
    """
    stop, ended = stop or Stop(), threading.Event()

    def in_thread() -> _T:
        if not stop.begin():
            raise Cancelled("query_cancelled")
        try:
            return work(stop)
        finally:
            stop.end()
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
