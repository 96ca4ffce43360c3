"""What there is to find in a database, whichever it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection, inspect

from rowseal.catalog.reflection import Relation

__all__ = ["ForeignKey", "Keys", "Listed", "Surveyed", "inspected"]


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """`columns` of one table refer to `referred` of another."""

    columns: tuple[str, ...]
    schema: str
    table: str
    referred: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One table or view. `part_of` says to what it belongs that is no table of anybody's own, or nothing."""

    relation: Relation
    default_schema: bool
    primary: tuple[str, ...]
    foreign: tuple[ForeignKey, ...]
    part_of: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """One table or view, by name alone; `part_of` as in Surveyed."""

    schema: str
    name: str
    part_of: str


Keys: TypeAlias = tuple[Mapping[str, tuple[str, ...]], Mapping[str, tuple[ForeignKey, ...]]]
"""By table: the columns of the primary key, and the references."""


def inspected(connection: Connection, schema: str) -> Keys:
    """The keys of a schema's tables as SQLAlchemy reads them."""
    asked = inspect(connection)
    primary = asked.get_multi_pk_constraint(schema)
    references = asked.get_multi_foreign_keys(schema)
    return (
        {name: tuple(key["constrained_columns"]) for (_, name), key in primary.items() if key},
        {name: tuple(_key(each, schema) for each in those) for (_, name), those in references.items()},
    )


def _key(key: Any, schema: str) -> ForeignKey:
    return ForeignKey(tuple(key["constrained_columns"]), key["referred_schema"] or schema, key["referred_table"], tuple(key["referred_columns"]))
