"""Which tables a database has, and how they hang together: for a first datasets.yaml. Reads the system catalogs, no data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import URL, Connection, inspect, text

from rowseal.catalog.reflection import Relation, Unreachable, connected, reflect

__all__ = ["ForeignKey", "Surveyed", "survey"]

_AT_ONCE: Final = 25  # tables between two words of progress


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
class _Listed:
    schema: str
    name: str
    part_of: str


def survey(url: URL, dialect: str, wanted: Callable[[str, str], bool], told: Callable[[int, int], None]) -> list[Surveyed]:
    """Every relation for which `wanted(schema, name)` holds, by schema and name; the default schema comes first.

    `told` hears how many of how many were read. Raises Unreachable.
    """
    with connected(url, dialect) as connection:
        default, listed = (_sqlite if dialect == "sqlite" else _postgres)(connection)
        listed = [each for each in listed if wanted(each.schema, each.name)]
        primary: dict[tuple[str, str], tuple[str, ...]] = {}
        foreign: dict[tuple[str, str], tuple[ForeignKey, ...]] = {}
        asked = inspect(connection)
        for schema in dict.fromkeys(each.schema for each in listed):
            keys = asked.get_multi_pk_constraint(schema)
            primary |= {(schema, name): tuple(key["constrained_columns"]) for (_, name), key in keys.items() if key}
            references = asked.get_multi_foreign_keys(schema)
            foreign |= {(schema, name): tuple(_key(each, schema) for each in those) for (_, name), those in references.items()}
    found: list[Surveyed] = []
    for chunk in _chunks(sorted(listed, key=lambda each: (each.schema != default, each.schema, each.name))):
        for each, relation, part_of in _reflected(url, dialect, chunk):
            at = (each.schema, each.name)
            found.append(Surveyed(relation, each.schema == default, primary.get(at, ()), foreign.get(at, ()), part_of))
        told(len(found), len(listed))
    return found


def _chunks(listed: Sequence[_Listed]) -> Iterator[Sequence[_Listed]]:
    for start in range(0, len(listed), _AT_ONCE):
        yield listed[start : start + _AT_ONCE]


def _reflected(url: URL, dialect: str, chunk: Sequence[_Listed]) -> Iterator[tuple[_Listed, Relation, str]]:
    try:
        relations = reflect(url, dialect, [(each.schema, each.name) for each in chunk]).relations
    except Unreachable:
        if len(chunk) > 1:  # a view over a table that is gone fails for itself alone
            for each in chunk:
                yield from _reflected(url, dialect, [each])
        else:
            yield chunk[0], Relation(chunk[0].schema, chunk[0].name, "view", {}), "something that the database itself cannot read"
        return
    for each in chunk:
        if relation := relations.get((each.schema, each.name)):  # a table may go while others are read
            yield each, relation, each.part_of


def _key(key: Any, schema: str) -> ForeignKey:
    return ForeignKey(tuple(key["constrained_columns"]), key["referred_schema"] or schema, key["referred_table"], tuple(key["referred_columns"]))


_SQLITE_RELATIONS: Final = text("SELECT name, rootpage, type FROM main.sqlite_master WHERE type IN ('table', 'view') AND name NOT GLOB 'sqlite_*'")


def _sqlite(connection: Connection) -> tuple[str, list[_Listed]]:
    relations = connection.execute(_SQLITE_RELATIONS).all()
    virtual = [row.name for row in relations if row.type == "table" and not row.rootpage]
    listed = []
    for row in relations:
        owner = next((name for name in virtual if row.name.startswith(f"{name}_")), None)
        part_of = "a virtual table, which reads tables of its own accord" if row.name in virtual else f"a part of the virtual table {owner}" if owner else ""
        listed.append(_Listed("main", row.name, part_of))
    return "main", listed


_POSTGRES_RELATIONS: Final = text("""
SELECT n.nspname AS schema, c.relname AS name,
       CASE WHEN c.relispartition THEN 'a partition of another table'
            WHEN e.extname IS NOT NULL THEN 'a part of the extension ' || e.extname ELSE '' END AS part_of
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
LEFT JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
""")


def _postgres(connection: Connection) -> tuple[str, list[_Listed]]:
    default = connection.execute(text("SELECT pg_catalog.current_schema()")).scalar()
    return str(default or ""), [_Listed(row.schema, row.name, row.part_of) for row in connection.execute(_POSTGRES_RELATIONS)]
