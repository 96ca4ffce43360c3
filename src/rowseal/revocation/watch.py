"""What is revoked, always at hand: a thread reads the store again and again, and whoever asks for it waits for nothing."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Final

from rowseal.errors import TokenRefused
from rowseal.revocation.revoked import NOTHING, Revoked
from rowseal.revocation.store import Store, StoreDamaged, StoreUnavailable

__all__ = ["UNWATCHED", "Unwatched", "Watch"]

_log: Final = logging.getLogger("rowseal")


class Unwatched:
    """For a configuration without `state:`: nothing is revoked, and nothing can fail."""

    ready: Final = True

    def current(self) -> Revoked:
        """Nothing."""
        return NOTHING

    def close(self) -> None:
        """Nothing is held open."""


UNWATCHED: Final = Unwatched()


class Watch:
    """What a store says is revoked, read anew every `poll` seconds.

    INVARIANT: nothing is answered by what is older than `max_stale` seconds, or by a store that is damaged: then every token is refused.
    `clock` counts seconds and never goes back. `beside` is done after each reading; it must not raise.
    """

    def __init__(
        self, store: Store, *, poll: float, max_stale: float, clock: Callable[[], float] = time.monotonic, beside: Callable[[], None] | None = None
    ) -> None:
        """Reads the store once. Raises StoreUnavailable, StoreDamaged."""
        self._store = store
        self._poll = poll
        self._max_stale = max_stale
        self._clock = clock
        self._beside = beside or (lambda: None)
        self._ended = threading.Event()
        self._damaged = False
        self._complained = ""
        began = clock()
        self._revoked = store.read() or NOTHING
        self._read_at = began

    def start(self) -> None:
        """Begin to read by itself, in a thread of its own; a process that is forked from this one begins anew."""
        _STARTED.add(self)
        self._begin()

    def current(self) -> Revoked:
        """What is revoked: the same object as long as nothing has changed. Raises TokenRefused `state_unavailable`."""
        # INVARIANT: the moment is read before the snapshot: `look` writes them in the other order
        if self._damaged or self._clock() - self._read_at > self._max_stale:
            raise TokenRefused("state_unavailable")
        return self._revoked

    @property
    def ready(self) -> bool:
        """Whether `current` would answer."""
        return not self._damaged and self._clock() - self._read_at <= self._max_stale

    def look(self) -> None:
        """Read the store now. What goes wrong is logged once, and told by `current` and `ready`."""
        began = self._clock()
        try:
            revoked = self._store.read()
        except StoreDamaged as problem:
            self._damaged = True
            self._complain(f"the store of revocations {problem}; every token is refused")
            return
        except StoreUnavailable as problem:
            self._complain(f"the store of revocations {problem}; after {self._max_stale:g} seconds of that every token is refused")
            return
        except Exception as error:  # noqa: BLE001 -- INVARIANT: the thread goes on whatever happens, and what it could not read grows old
            self._complain(f"the store of revocations could not be read: {type(error).__name__}")
            return
        if revoked is not None:
            self._revoked = revoked
        self._read_at = began
        self._damaged = False
        if self._complained:
            _log.warning("the store of revocations can be read again")
            self._complained = ""
        self._beside()

    def close(self) -> None:
        """Read no more."""
        self._ended.set()
        self._store.close()

    def _complain(self, text: str) -> None:
        if text != self._complained:
            _log.error("%s", text)
            self._complained = text

    def _begin(self) -> None:
        threading.Thread(target=_read_on, args=(weakref.ref(self), self._ended, self._poll), name="rowseal-revocations", daemon=True).start()

    def _begin_again(self) -> None:
        """After a fork only the thread that forked goes on, and connections belong to the parent."""
        forked = getattr(self._store, "forked", None)
        if forked is not None:
            forked()
        if not self._ended.is_set():
            self._begin()


def _read_on(watch: weakref.ref[Watch], ended: threading.Event, poll: float) -> None:
    """Until it is closed, or nobody has it any more."""
    while not ended.wait(poll):
        held = watch()
        if held is None:
            return
        held.look()
        del held


# One hook for all: none is ever taken back, and every reload makes another Watch.
_STARTED: Final[weakref.WeakSet[Watch]] = weakref.WeakSet()


def _after_fork() -> None:
    for watch in list(_STARTED):
        watch._begin_again()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
