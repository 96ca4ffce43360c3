"""What the database really holds: relations, columns and how a column stores what a field declares. Reads the system catalogs, no data.

The engine's own catalogs are asked rather than SQLAlchemy's generic types: those do not tell a nondeterministic collation from a plain one,
a materialized view from a view, or SQLite's `FLOATING POINT` (an integer, by its rules) from a float.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from rowseal.catalog import FieldType, Storage
from rowseal.catalog.reflection import duckdb, mariadb, postgres, sqlite
from rowseal.catalog.reflection.found import Column, Reflection, Relation, Undescribed, Unfitting, Unreachable

__all__ = ["Column", "Reflection", "Relation", "Undescribed", "Unfitting", "Unreachable", "connected", "describe", "reflect", "store"]


@dataclass(frozen=True, slots=True)
class _Reader:
    """How one database is asked. `stored` says which of its types hold a field of ours, and how; `driver` what to install for it."""

    engine: Callable[[URL], Engine]
    reflect: Callable[[Connection, Collection[tuple[str | None, str]]], Reflection]
    describe: Callable[[Connection, str], Mapping[str, Column]]
    stored: Mapping[FieldType, Mapping[str, Storage]]
    driver: str


_READERS: Final[Mapping[str, _Reader]] = {
    "sqlite": _Reader(sqlite.engine, sqlite.reflect, sqlite.describe, sqlite.STORED, "sqlite3, which is a part of Python"),
    "mariadb": _Reader(mariadb.engine, mariadb.reflect, mariadb.describe, mariadb.STORED, "pymysql; `pip install 'rowseal[mariadb]'`"),
    "postgres": _Reader(postgres.engine, postgres.reflect, postgres.describe, postgres.STORED, "psycopg; `pip install 'rowseal[postgres]'`"),
    "duckdb": _Reader(duckdb.engine, duckdb.reflect, duckdb.describe, duckdb.STORED, "duckdb; `pip install 'rowseal[duckdb]'`"),
}


_DOUBLES: Final = {"postgres": "double precision", "mariadb": "double", "duckdb": "double"}


@contextmanager
def connected(url: URL, dialect: str) -> Iterator[Connection]:
    """A connection for reading catalogs. Raises Unreachable, also for what the database says while it lasts."""
    try:
        engine = _READERS[dialect].engine(url)
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()
    except ImportError:
        # INVARIANT: `from None`, because the driver's words may hold the URL.
        raise Unreachable(f"needs the driver {_READERS[dialect].driver}") from None
    except (SQLAlchemyError, OSError, ValueError, TypeError) as error:
        cause = getattr(error, "orig", None) or error
        raise Unreachable(f"could not be read ({type(cause).__name__}); check address, credentials and rights") from None


def reflect(url: URL, dialect: str, wanted: Collection[tuple[str | None, str]]) -> Reflection:
    """Read what the database says about the wanted (schema or None, table) pairs. Raises Unreachable."""
    with connected(url, dialect) as connection:
        return _READERS[dialect].reflect(connection, wanted)


def describe(url: URL, dialect: str, select: str) -> Mapping[str, Column]:
    """The columns of a SELECT of ours, by name, in its order. Reads no row. Raises Undescribed, or Unreachable."""
    with connected(url, dialect) as connection:
        return _READERS[dialect].describe(connection, select)


def store(column: Column, type_: FieldType, dialect: str, text_format: str | None) -> Storage:
    """How the column stores values of the field's type. `text_format` is the field's strftime format, if any. Raises Unfitting."""
    stored = _READERS[dialect].stored
    kinds = stored[type_]
    declared = column.declared or "without a type"
    if not column.readable:
        raise Unfitting("is a column that the database role may not read; grant SELECT on it")
    if column.fails:
        raise Unfitting(column.fails)
    if column.kind not in kinds:
        if column.kind == "citext":
            raise Unfitting("is of type `citext`, whose own comparisons lie outside of pg_catalog; make a view that casts it to `text`")
        if column.kind in {"float4", "float", "FLOAT"}:
            raise Unfitting(
                f"is a column of type `{declared.lower()}`, whose values equal no decimal number; make a view that casts it to `{_DOUBLES[dialect]}`"
            )
        fits = [each.value for each in FieldType if column.kind in stored[each]]
        cure = f"declare `type: {'` or `'.join(fits)}`" if fits else "make a view that casts it, or leave the field out"
        raise Unfitting(f"is declared `{type_}` on a column of type `{declared}`; {cure}")
    storage = kinds[column.kind]
    if storage in {Storage.TEXT_DATE, Storage.TEXT_TIMESTAMP} and column.kind == "NUMERIC" and text_format and _reads_as_number(text_format):
        raise Unfitting(f"has a format that a column of type `{declared}` stores as a number; declare the column TEXT")
    return storage


def _reads_as_number(text_format: str) -> bool:
    try:
        float(datetime(2024, 11, 12, 10, 11, 12, tzinfo=UTC).strftime(text_format))
    except ValueError:
        return False
    return True
