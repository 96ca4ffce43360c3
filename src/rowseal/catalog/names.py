"""What a name is to both databases: how it folds, and which names are rowseal's own."""

from __future__ import annotations

from typing import Final

__all__ = ["RESERVED_PREFIXES", "ascii_lower"]

# Guards, binds and fences bear such names; neither a configuration nor a query may.
RESERVED_PREFIXES: Final = ("__g", "__u", "__ok")

_UPPER_TO_LOWER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def ascii_lower(name: str) -> str:
    """A-Z only: neither database folds other letters, and `str.lower` would (U+212A KELVIN SIGN becomes k)."""
    return name.lower() if name.isascii() else name.translate(_UPPER_TO_LOWER)
