"""The parser writes some of what it cannot read to its own log. What it cannot read is the bearer's, so here it does not (G10)."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Final

__all__ = ["QUIET"]


class _Quiet(threading.local):
    """While a thread is in here nothing that it does is in the parser's log. The log of everybody else, the host application too, stays as it is."""

    depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.depth -= 1


QUIET: Final = _Quiet()
logging.getLogger("sqlglot").addFilter(lambda _: not QUIET.depth)
