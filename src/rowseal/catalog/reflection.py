"""What the database really holds: relations, columns and how a column stores what a field declares. Reads the system catalogs, no data.

The engine's own catalogs are asked rather than SQLAlchemy's generic types: those do not tell a nondeterministic collation from a plain one,
a materialized view from a view, or SQLite's `FLOATING POINT` (an integer, by its rules) from a float.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from rowseal.catalog import FieldType, Storage
from rowseal.catalog.names import ascii_lower

__all__ = ["Column", "Reflection", "Relation", "Undescribed", "Unfitting", "Unreachable", "connected", "describe", "reflect", "store"]


class Unreachable(Exception):
    """The database could not be read. The message names the driver's class of error and nothing that the driver said."""


class Undescribed(Exception):
    """The database does not take a SELECT, or does not tell what its columns are. The message holds nothing that the database said."""


class Unfitting(Exception):
    """A column cannot hold what the field declares. The message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column as the database has it. `kind` is the type's name in PostgreSQL, the type affinity in SQLite ("" if none was declared)."""

    name: str
    declared: str
    kind: str
    bytewise: bool = False
    collation: str = ""
    computed: bool = False  # where it is read, not where it was written
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Relation:
    """One table or view. `kind` is "table", "view", "foreign table", or "virtual table" (SQLite's, which cannot be guarded)."""

    schema: str
    name: str
    kind: str
    columns: Mapping[str, Column]


@dataclass(frozen=True, slots=True)
class Reflection:
    """The relations that were asked for and found, by (schema or None, table) as asked; `nearby` names the others of those schemas."""

    relations: Mapping[tuple[str | None, str], Relation]
    nearby: Collection[str] = field(default_factory=tuple)


@contextmanager
def connected(url: URL, dialect: str) -> Iterator[Connection]:
    """A connection for reading catalogs. Raises Unreachable, also for what the database says while it lasts."""
    try:
        engine = _read_only_file(url) if dialect == "sqlite" else _server(url)
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()
    except ImportError:
        # INVARIANT: `from None`, because the driver's words may hold the URL.
        raise Unreachable("needs the driver psycopg; `pip install 'rowseal[postgres]'`") from None
    except (SQLAlchemyError, OSError, ValueError, TypeError) as error:
        cause = getattr(error, "orig", None) or error
        raise Unreachable(f"could not be read ({type(cause).__name__}); check address, credentials and rights") from None


def reflect(url: URL, dialect: str, wanted: Collection[tuple[str | None, str]]) -> Reflection:
    """Read what the database says about the wanted (schema or None, table) pairs. Raises Unreachable."""
    with connected(url, dialect) as connection:
        return (_sqlite if dialect == "sqlite" else _postgres)(connection, wanted)


def describe(url: URL, dialect: str, select: str) -> Mapping[str, Column]:
    """The columns of a SELECT of ours, by name, in its order. Reads no row. Raises Undescribed, or Unreachable."""
    with connected(url, dialect) as connection:
        return (_describe_sqlite if dialect == "sqlite" else _describe_postgres)(connection, select)


def _read_only_file(url: URL) -> Engine:
    # INVARIANT: looking at a file never makes or changes one; a path with `?` or `#` in it is no option of the URI.
    file = f"file:{quote(url.database or '')}?mode=ro"
    return create_engine(url, poolclass=NullPool, creator=lambda: sqlite3.connect(file, uri=True))


def _server(url: URL) -> Engine:
    return create_engine(url, poolclass=NullPool, connect_args={} if "connect_timeout" in url.query else {"connect_timeout": 10})


# --- SQLite ----------------------------------------------------------------------------------------------------------------------------


def _sqlite(connection: Connection, wanted: Collection[tuple[str | None, str]]) -> Reflection:
    known = {
        ascii_lower(row.name): row for row in connection.execute(text("SELECT name, type, rootpage FROM main.sqlite_master WHERE type IN ('table', 'view')"))
    }
    relations = {}
    for schema, table in wanted:
        found = known.get(ascii_lower(table))
        if found is None or schema not in {None, "main"}:
            continue
        kind = "view" if found.type == "view" else "table" if found.rootpage else "virtual table"
        # `hidden` is 1 for a virtual table's own arguments; 2 and 3 are generated columns, which read like any other.
        columns = connection.execute(text("SELECT name, type, hidden FROM pragma_table_xinfo(:name, 'main') WHERE hidden <> 1"), {"name": found.name})
        declared = {row.name: Column(row.name, row.type, _affinity(row.type), computed=row.hidden == 2) for row in columns}
        relations[schema, table] = Relation("main", found.name, kind, declared)
    return Reflection(relations, [row.name for row in known.values()])


def _describe_sqlite(connection: Connection, select: str) -> Mapping[str, Column]:
    """As for a view: a plain column of a table has its declared type, an expression has none."""
    try:
        connection.exec_driver_sql(f"CREATE TEMP VIEW __described AS {select}")  # in memory: the file is not touched
        columns = connection.exec_driver_sql("SELECT name, type FROM pragma_table_xinfo('__described', 'temp')").all()
    except SQLAlchemyError as error:
        raise _undescribed(error) from None
    return {row.name: Column(row.name, row.type, _affinity(row.type)) for row in columns}


def _undescribed(error: SQLAlchemyError) -> Undescribed:
    cause = getattr(error, "orig", None) or error
    return Undescribed(f"is refused by the database ({type(cause).__name__}); run the SELECT there to see why")


def _affinity(declared: str) -> str:
    """The five rules in their order (https://www.sqlite.org/datatype3.html#determination_of_column_affinity); "" where nothing is declared."""
    name = declared.upper()
    if "INT" in name:
        return "INTEGER"
    if any(part in name for part in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if not name:
        return ""
    if "BLOB" in name:
        return "BLOB"
    return "REAL" if any(part in name for part in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


# "" is an expression in a view, or a column declared without a type: SQLite knows nothing about it, so the file's word stands.
_SQLITE: Final[Mapping[FieldType, Mapping[str, Storage]]] = {
    FieldType.NUMBER: {"INTEGER": Storage.INTEGER, "NUMERIC": Storage.DECIMAL, "REAL": Storage.FLOAT, "": Storage.DECIMAL},
    FieldType.STRING: {"TEXT": Storage.TEXT, "": Storage.TEXT},
    FieldType.BOOLEAN: {"INTEGER": Storage.BOOLEAN, "NUMERIC": Storage.BOOLEAN, "": Storage.BOOLEAN},
    FieldType.DATE: {"TEXT": Storage.TEXT_DATE, "NUMERIC": Storage.TEXT_DATE, "": Storage.TEXT_DATE},
    FieldType.DATE_TIME: {"TEXT": Storage.TEXT_TIMESTAMP, "NUMERIC": Storage.TEXT_TIMESTAMP, "": Storage.TEXT_TIMESTAMP},
}

# --- PostgreSQL ------------------------------------------------------------------------------------------------------------------------

_RELATIONS: Final = text(
    "SELECT c.oid, c.relname, c.relkind::text AS relkind FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = :schema AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
)
# A domain is taken as its base type. `kind` is the type's name only where the type is PostgreSQL's own, or an enum, or citext.
_COLUMNS: Final = text("""
SELECT a.attname AS name, pg_catalog.format_type(a.atttypid, a.atttypmod) AS declared, coalesce(l.collisdeterministic, false) AS deterministic,
       CASE WHEN l.collname <> 'default' THEN l.collnamespace::regnamespace::text || '.' || l.collname ELSE '' END AS collation,
       a.attgenerated = 'v' AS computed,
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT') AS readable,
       CASE WHEN b.typtype = 'e' THEN 'enum'
            WHEN b.typtype = 'b' AND (s.nspname = 'pg_catalog' OR b.typname = 'citext') THEN b.typname::text
            ELSE '' END AS kind
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
JOIN pg_catalog.pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
JOIN pg_catalog.pg_namespace s ON s.oid = b.typnamespace
LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
WHERE a.attrelid = :relation AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
""")
_TYPE: Final = text("""
SELECT pg_catalog.format_type(t.oid, NULL) AS declared, t.typcollation <> 0 AS collatable,
       CASE WHEN b.typtype = 'e' THEN 'enum'
            WHEN b.typtype = 'b' AND (s.nspname = 'pg_catalog' OR b.typname = 'citext') THEN b.typname::text
            ELSE '' END AS kind
FROM pg_catalog.pg_type t
JOIN pg_catalog.pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
JOIN pg_catalog.pg_namespace s ON s.oid = b.typnamespace
WHERE t.oid = :type
""")
_COLLATION: Final = (
    "SELECT l.collisdeterministic, CASE WHEN l.collname <> 'default' THEN l.collnamespace::regnamespace::text || '.' || l.collname ELSE '' END "
    "FROM pg_catalog.pg_collation l WHERE l.oid = pg_catalog.pg_collation_for((SELECT b.{column} FROM ({select}) AS b LIMIT 0))::regcollation"
)
_AS_IT_IS: Final = {"no_parameters": True}  # or a percent sign would be the driver's
_KINDS: Final = {"v": "view", "f": "foreign table"}  # a partitioned table and a materialized view read like a table


def _postgres(connection: Connection, wanted: Collection[tuple[str | None, str]]) -> Reflection:
    default = connection.execute(text("SELECT pg_catalog.current_schema()")).scalar()
    relations = {}
    nearby: list[str] = []
    for schema in {str(schema or default) for schema, _ in wanted if schema or default}:
        known = {row.relname: row for row in connection.execute(_RELATIONS, {"schema": schema})}
        nearby += known
        for asked in wanted:
            found = known.get(asked[1])
            if found is None or (asked[0] or default) != schema:
                continue
            columns = [_column(row) for row in connection.execute(_COLUMNS, {"relation": found.oid})]
            relations[asked] = Relation(schema, asked[1], _KINDS.get(found.relkind, "table"), {column.name: column for column in columns})
    return Reflection(relations, nearby)


def _column(row: Any) -> Column:
    # INVARIANT: bytewise only where equality is provably so: char(n) ignores trailing blanks, a nondeterministic collation anything.
    bytewise = row.kind in {"text", "varchar"} and row.deterministic
    return Column(row.name, row.declared, row.kind, bytewise=bytewise, collation=row.collation, computed=row.computed, readable=row.readable)


def _describe_postgres(connection: Connection, select: str) -> Mapping[str, Column]:
    """Under the settings that its queries will run with, so that every name means the same then."""
    for setting in ("TRANSACTION READ ONLY", "LOCAL search_path = pg_catalog", "LOCAL statement_timeout = '10s'", "LOCAL jit = off"):
        connection.exec_driver_sql(f"SET {setting}")
    try:
        result = connection.exec_driver_sql(f"SELECT * FROM ({select}) AS b LIMIT 0", execution_options=_AS_IT_IS)  # noqa: S608 -- admitted, and written by us
        described = [(str(each[0]), each[1]) for each in result.cursor.description]
        result.close()
        return {name: _described(connection, select, name, oid) for name, oid in described}
    except SQLAlchemyError as error:
        raise _undescribed(error) from None


def _described(connection: Connection, select: str, name: str, oid: Any) -> Column:
    kind = connection.execute(_TYPE, {"type": oid}).one()
    if not kind.collatable:
        return Column(name, kind.declared, kind.kind)
    quoted = '"' + name.replace('"', '""') + '"'
    # The sub-query has the column's collation and, cut to no row, computes nothing.
    collation = _COLLATION.format(column=quoted, select=select)
    found = connection.exec_driver_sql(collation, execution_options=_AS_IT_IS).one_or_none()
    if found is None:
        raise Undescribed(f"gives a column `{name}` made of texts of two collations, which cannot be compared; make a view that says COLLATE")
    return Column(name, kind.declared, kind.kind, bytewise=kind.kind in {"text", "varchar"} and found[0], collation=found[1])


_POSTGRES: Final[Mapping[FieldType, Mapping[str, Storage]]] = {
    FieldType.NUMBER: {"int2": Storage.INTEGER, "int4": Storage.INTEGER, "int8": Storage.INTEGER, "numeric": Storage.DECIMAL, "float8": Storage.FLOAT},
    FieldType.STRING: {
        "text": Storage.TEXT,
        "varchar": Storage.TEXT,
        "bpchar": Storage.TEXT,
        "uuid": Storage.UUID,
        "enum": Storage.ENUM,
    },
    FieldType.BOOLEAN: {"bool": Storage.BOOLEAN},
    FieldType.DATE: {"date": Storage.DATE},
    FieldType.DATE_TIME: {"timestamp": Storage.TIMESTAMP, "timestamptz": Storage.TIMESTAMPTZ},
}

# --- a field on a column ---------------------------------------------------------------------------------------------------------------


def store(column: Column, type_: FieldType, dialect: str, text_format: str | None) -> Storage:
    """How the column stores values of the field's type. `text_format` is the field's strftime format, if any. Raises Unfitting."""
    kinds = (_SQLITE if dialect == "sqlite" else _POSTGRES)[type_]
    declared = column.declared or "without a type"
    if not column.readable:
        raise Unfitting("is a column that the database role may not read; grant SELECT on it")
    if column.kind not in kinds:
        if column.kind == "citext":
            raise Unfitting("is of type `citext`, whose own comparisons lie outside of pg_catalog; make a view that casts it to `text`")
        if column.kind == "float4":
            raise Unfitting("is a column of type `real`, whose values equal no decimal number; make a view that casts it to `double precision`")
        fits = [each.value for each in FieldType if column.kind in (_SQLITE if dialect == "sqlite" else _POSTGRES)[each]]
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
