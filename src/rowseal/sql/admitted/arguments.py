"""What a class or function of the closed world may have beside its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

__all__ = ["BINARY", "Arguments", "args", "words"]

Words: TypeAlias = frozenset[str]
# argument name -> the words it may be (upper case), or None where its value is checked as a node of its own
Arguments: TypeAlias = Mapping[str, Words | None]


def args(*names: str) -> Arguments:
    """These arguments, each with whatever nodes are admitted themselves."""
    return dict.fromkeys(names)


def words(text: str) -> Words:
    """An argument that is one of these words."""
    return frozenset(text.split(","))


BINARY: Final = args("this", "expression")
