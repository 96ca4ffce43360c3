"""A function of ours that queries may call, on databases that run inside this process: it tells which values reached it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["spy", "spying"]

_HEARD: Final[set[Any]] = set()


def spy(value: Any) -> Any:
    """Gives back what it gets, and remembers it."""
    _HEARD.add(value)
    return value


@contextmanager
def spying() -> Iterator[set[Any]]:
    """Every value that is meanwhile handed to `spy`."""
    _HEARD.clear()
    yield _HEARD
