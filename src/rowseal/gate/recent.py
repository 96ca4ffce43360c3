"""A bounded memory of what was used last, for caches of a state: when the state goes, so do they."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Recent"]

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Recent(Generic[_Key, _Value]):
    """What was put in last or asked for last, within two bounds: so many entries, and so much weight of all of them together.

    Safe to share between threads. What weighs more than a sixteenth of the whole is not kept: one entry must not empty the memory.
    """

    __slots__ = ("_entries", "_entry_weight", "_held", "_lock", "_weight")

    def __init__(self, *, entries: int, weight: int) -> None:
        self._held: OrderedDict[_Key, tuple[_Value, int]] = OrderedDict()
        self._lock = threading.Lock()
        self._entries = entries  # how many more fit, and how much more weight
        self._weight = weight
        self._entry_weight = weight // 16

    def get(self, key: _Key) -> _Value | None:
        """The value, which now was used last; None where there is none."""
        with self._lock:
            found = self._held.get(key)
            if found is None:
                return None
            self._held.move_to_end(key)
            return found[0]

    def put(self, key: _Key, value: _Value, weight: int) -> None:
        """Keep the value in place of any other of this key, and let go what was used longest ago until both bounds hold."""
        with self._lock:
            self._drop(key)
            if weight > self._entry_weight:
                return
            self._held[key] = value, weight
            self._weight -= weight
            self._entries -= 1
            while self._weight < 0 or self._entries < 0:
                self._drop(next(iter(self._held)))

    def __len__(self) -> int:
        return len(self._held)

    def _drop(self, key: _Key) -> None:
        found = self._held.pop(key, None)
        if found is not None:
            self._weight += found[1]
            self._entries += 1
