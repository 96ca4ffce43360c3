"""The database's own word on what a query reads (G3), and which texts it has been given for. docs/decisions/0014-the-engine-testifies.md."""

from __future__ import annotations

import threading
from collections import OrderedDict
from enum import StrEnum
from typing import Final, TypeAlias

from rowseal.sql import SecuredQuery

__all__ = ["Heard", "Testimony"]

_BYTES: Final = 16_000_000
_OVERHEAD: Final = 500  # of an entry beside its text, in bytes

_Key: TypeAlias = tuple[object, ...]


class Testimony(StrEnum):
    """When a database says what a query reads."""

    ALWAYS = "always"  # of its own accord, whenever a statement is compiled
    AT_FIRST = "at_first"  # asked by `testify`, when a text is new
    NONE = "none"  # never: such a database is experimental


class Heard:
    """The texts of one database that it has testified about, those used last. Thread-safe; bounded in bytes.

    INVARIANT: kept by all that decides which tables are read and which may be: the text and its `reads`. Values of binds do not.
    """

    __slots__ = ("_bytes", "_kept", "_lock", "_most")

    def __init__(self, most: int = _BYTES) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, int] = OrderedDict()
        self._bytes = 0
        self._most = most

    def __contains__(self, query: SecuredQuery) -> bool:
        key = _key(query)
        with self._lock:
            if key not in self._kept:
                return False
            self._kept.move_to_end(key)
            return True

    def add(self, query: SecuredQuery) -> None:
        """The database has testified, and all was right."""
        key, size = _key(query), _OVERHEAD + sum(map(len, query.pieces)) * 4
        with self._lock:
            self._bytes += size - self._kept.pop(key, 0)
            self._kept[key] = size
            while self._bytes > self._most:
                self._bytes -= self._kept.popitem(last=False)[1]

    def __len__(self) -> int:
        return len(self._kept)


def _key(query: SecuredQuery) -> _Key:
    return query.pieces, query.names, tuple(query.reads.items())
