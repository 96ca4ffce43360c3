"""SQLite's catalogs."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from rowseal.catalog import FieldType, Storage
from rowseal.catalog.names import ascii_lower
from rowseal.catalog.reflection.found import Column, Reflection, Relation, undescribed

__all__ = ["STORED", "describe", "engine", "reflect"]

# "" is an expression in a view, or a column declared without a type: SQLite knows nothing about it, so the file's word stands.
STORED: Final[Mapping[FieldType, Mapping[str, Storage]]] = {
    FieldType.NUMBER: {"INTEGER": Storage.INTEGER, "NUMERIC": Storage.DECIMAL, "REAL": Storage.FLOAT, "": Storage.DECIMAL},
    FieldType.STRING: {"TEXT": Storage.TEXT, "": Storage.TEXT},
    FieldType.BOOLEAN: {"INTEGER": Storage.BOOLEAN, "NUMERIC": Storage.BOOLEAN, "": Storage.BOOLEAN},
    FieldType.DATE: {"TEXT": Storage.TEXT_DATE, "NUMERIC": Storage.TEXT_DATE, "": Storage.TEXT_DATE},
    FieldType.DATE_TIME: {"TEXT": Storage.TEXT_TIMESTAMP, "NUMERIC": Storage.TEXT_TIMESTAMP, "": Storage.TEXT_TIMESTAMP},
}


def engine(url: URL) -> Engine:
    """For reading catalogs."""
    # INVARIANT: looking at a file never makes or changes one; a path with `?` or `#` in it is no option of the URI.
    file = f"file:{quote(url.database or '')}?mode=ro"
    return create_engine(url, poolclass=NullPool, creator=lambda: sqlite3.connect(file, uri=True))


def reflect(connection: Connection, wanted: Collection[tuple[str | None, str]]) -> Reflection:
    """What the database says about the wanted (schema or None, table) pairs."""
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


def describe(connection: Connection, select: str) -> Mapping[str, Column]:
    """As for a view: a plain column of a table has its declared type, an expression has none."""
    try:
        connection.exec_driver_sql(f"CREATE TEMP VIEW __described AS {select}")  # in memory: the file is not touched
        columns = connection.exec_driver_sql("SELECT name, type FROM pragma_table_xinfo('__described', 'temp')").all()
    except SQLAlchemyError as error:
        raise undescribed(error) from None
    return {row.name: Column(row.name, row.type, _affinity(row.type)) for row in columns}


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
