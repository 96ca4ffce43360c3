"""Which tables a database has, and how they hang together: for a first datasets.yaml. Reads the system catalogs, no data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import URL, Connection

from rowseal.catalog.reflection import Relation, Unreachable, connected, reflect
from rowseal.catalog.survey import duckdb, mariadb, postgres, sqlite
from rowseal.catalog.survey.found import ForeignKey, Keys, Listed, Surveyed, inspected

__all__ = ["ForeignKey", "Surveyed", "survey"]

_AT_ONCE: Final = 25  # tables between two words of progress


@dataclass(frozen=True, slots=True)
class _Surveyor:
    """How one database is asked: its default schema with all relations, and the keys of a schema."""

    listed: Callable[[Connection], tuple[str, list[Listed]]]
    keys: Callable[[Connection, str], Keys] = inspected


_SURVEYORS: Final[Mapping[str, _Surveyor]] = {
    "sqlite": _Surveyor(sqlite.listed),
    "postgres": _Surveyor(postgres.listed),
    "mariadb": _Surveyor(mariadb.listed, mariadb.keys),
    "duckdb": _Surveyor(duckdb.listed),
}


def survey(url: URL, dialect: str, wanted: Callable[[str, str], bool], told: Callable[[int, int], None]) -> list[Surveyed]:
    """Every relation for which `wanted(schema, name)` holds, by schema and name; the default schema comes first.

    `told` hears how many of how many were read. Raises Unreachable.
    """
    with connected(url, dialect) as connection:
        default, listed = _SURVEYORS[dialect].listed(connection)
        listed = [each for each in listed if wanted(each.schema, each.name)]
        primary: dict[tuple[str, str], tuple[str, ...]] = {}
        foreign: dict[tuple[str, str], tuple[ForeignKey, ...]] = {}
        for schema in dict.fromkeys(each.schema for each in listed):
            keys, references = _SURVEYORS[dialect].keys(connection, schema)
            primary |= {(schema, name): key for name, key in keys.items()}
            foreign |= {(schema, name): those for name, those in references.items()}
    found: list[Surveyed] = []
    for chunk in _chunks(sorted(listed, key=lambda each: (each.schema != default, each.schema, each.name))):
        for each, relation, part_of in _reflected(url, dialect, chunk):
            at = (each.schema, each.name)
            found.append(Surveyed(relation, each.schema == default, primary.get(at, ()), foreign.get(at, ()), part_of))
        told(len(found), len(listed))
    return found


def _chunks(listed: Sequence[Listed]) -> Iterator[Sequence[Listed]]:
    for start in range(0, len(listed), _AT_ONCE):
        yield listed[start : start + _AT_ONCE]


def _reflected(url: URL, dialect: str, chunk: Sequence[Listed]) -> Iterator[tuple[Listed, Relation, str]]:
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
