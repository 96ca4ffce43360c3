"""What is looked for in a database, whichever it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from rowseal.catalog import Dataset

__all__ = ["Examined", "Look"]


@dataclass(frozen=True, slots=True)
class Examined:
    """One dataset's relation. `indexed` are the columns that lead a whole index, None where there can be none, as on a view.

    A SELECT of the file has no columns of its own here: the file declares which of them it wants.
    """

    kind: str
    columns: Mapping[str, str]  # name -> declared type
    indexed: Collection[str] | None
    folding: Collection[str]  # columns of text whose collation calls different texts equal
    reads: Collection[tuple[str, str]] | None  # of a view or SELECT: the tables below it; None where the role may not know
    writable: bool = False


class Look(Protocol):
    """One database, looked at. See Examined."""

    def indexed(self, dataset: Dataset) -> Collection[str]: ...
    def folding(self, dataset: Dataset) -> Collection[str]: ...
    def below(self, dataset: Dataset) -> Collection[tuple[str, str]] | None: ...
    def writable(self, dataset: Dataset) -> bool: ...
