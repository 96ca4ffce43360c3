"""What a database says about its tables, in words of our own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

__all__ = ["Column", "Reflection", "Relation", "Undescribed", "Unfitting", "Unreachable", "undescribed"]


class Unreachable(Exception):
    """The database could not be read. The message names the driver's class of error and nothing that the driver said."""


class Undescribed(Exception):
    """The database does not take a SELECT, or does not tell what its columns are. The message holds nothing that the database said."""


class Unfitting(Exception):
    """A column cannot hold what the field declares. The message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column as the database has it. `kind` is the type's name in PostgreSQL, the type affinity in SQLite ("" if none was declared).

    `fails` is why computing it may raise on rows that a filter drops, whatever stands around it; "" where it cannot, or the fence of a guard helps.
    """

    name: str
    declared: str
    kind: str
    bytewise: bool = False
    collation: str = ""
    computed: bool = False  # where it is read, not where it was written
    readable: bool = True
    fails: str = ""


@dataclass(frozen=True, slots=True)
class Relation:
    """One table or view. `kind` is "table", "view", "foreign table", or "virtual table" (SQLite's, which cannot be guarded).

    `fails` is said of all that a view computes, as of a column.
    """

    schema: str
    name: str
    kind: str
    columns: Mapping[str, Column]
    fails: str = ""


@dataclass(frozen=True, slots=True)
class Reflection:
    """The relations that were asked for and found, by (schema or None, table) as asked; `nearby` names the others of those schemas."""

    relations: Mapping[tuple[str | None, str], Relation]
    nearby: Collection[str] = field(default_factory=tuple)


def undescribed(error: SQLAlchemyError) -> Undescribed:
    """For what the database said about a SELECT."""
    cause = getattr(error, "orig", None) or error
    return Undescribed(f"is refused by the database ({type(cause).__name__}); run the SELECT there to see why")
