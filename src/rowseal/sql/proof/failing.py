"""How every proof says that it does not hold."""

from __future__ import annotations

from typing import NoReturn

from rowseal.errors import OurBug

__all__ = ["fail"]


def fail(reason: str) -> NoReturn:
    """The proof does not hold."""
    raise OurBug(f"witness: {reason}")
