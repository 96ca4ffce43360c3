"""How one query is ended by somebody else: whoever asked it has gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Stop"]


class Stop:
    """Made for one query. Asked for before the query begins, it never begins; after its end nothing happens. Thread-safe."""

    __slots__ = ("_asked", "_begun", "_interrupt", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = False
        self._begun = False
        self._interrupt: Callable[[], None] | None = None

    @property
    def asked(self) -> bool:
        """Whether somebody has asked."""
        return self._asked

    def begin(self) -> bool:
        """Whether the work, or a part of it, may begin. Once this is true, somebody must wait for its end."""
        with self._lock:
            self._begun = not self._asked
            return self._begun

    def end(self) -> None:
        """The work, or a part of it, has ended."""
        with self._lock:
            self._begun = False

    def ask(self) -> bool:
        """Ask the work to end, and interrupt what it runs in the database now. May block for moments. False where none has begun and none ever will.

        A database takes no interruption between two statements, so ask again until the work has ended.
        """
        with self._lock:
            self._asked = True
            # INVARIANT: under the lock, so that it never reaches the query that has the connection next
            if self._interrupt is not None:
                self._interrupt()
            return self._begun

    @contextmanager
    def interrupts(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """While this lasts, `interrupt` ends what the work runs. It must not raise."""
        with self._lock:
            self._interrupt = interrupt
        try:
            yield
        finally:
            with self._lock:
                self._interrupt = None
