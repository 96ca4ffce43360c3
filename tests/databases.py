"""Tables into real databases, and queries straight at them: what the tests do without the product."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeAlias

import psycopg

from world import Table, Value

__all__ = ["Answer", "PostgresModel", "SqliteModel", "fill_postgres", "fill_sqlite", "libpq", "load_sqlite"]

_SQLITE: Final[Mapping[str, str]] = {
    "integer": "INTEGER",
    "decimal": "NUMERIC",
    "numeric": "NUMERIC",
    "float": "REAL",
    "text": "TEXT",
    "boolean": "BOOLEAN",
    "date": "TEXT",
    "date_time": "TEXT",
}
_POSTGRES: Final[Mapping[str, str]] = {
    "integer": "bigint",
    "decimal": "numeric(12,2)",
    "numeric": "numeric",
    "float": "double precision",
    "text": "text",
    "boolean": "boolean",
    "date": "date",
    "date_time": "timestamp",
}


Answer: TypeAlias = "tuple[tuple[str, ...], list[tuple[Any, ...]]]"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _definition(table: Table, types: Mapping[str, str], *, keyed: bool) -> str:
    columns = [f"{_quoted(column.name)} {types[column.kind]}" for column in table.columns]
    if keyed:
        columns[0] += " PRIMARY KEY"
    return f"CREATE TABLE {_quoted(table.name)} ({', '.join(columns)})"


def _indexes(table: Table) -> Iterable[str]:
    # Every column: a planner that can use an index runs the bearer's expression on rows that the filter has not seen yet.
    for number, column in enumerate(table.columns[1:]):
        yield f"CREATE INDEX {_quoted(f'{table.name} {number}')} ON {_quoted(table.name)} ({_quoted(column.name)})"


def _stored_in_sqlite(value: Value) -> Any:
    match value:
        case bool():
            return int(value)
        case Decimal():
            return int(value) if value == value.to_integral_value() and abs(value) < 2**63 else float(value)
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S")
        case date():
            return value.isoformat()
        case _:
            return value


def load_sqlite(connection: sqlite3.Connection, tables: Sequence[Table], views: Mapping[str, str], *, keyed: bool) -> None:
    """Make the tables, with these rows; `keyed` adds a key and indexes."""
    for table in tables:
        connection.execute(_definition(table, _SQLITE, keyed=keyed))
        _insert_sqlite(connection, table)
        if keyed:
            for statement in _indexes(table):
                connection.execute(statement)
    for name, body in views.items():
        connection.execute(f"CREATE VIEW {_quoted(name)} AS {body}")


def _insert_sqlite(connection: sqlite3.Connection, table: Table) -> None:
    marks = ", ".join("?" * len(table.columns))
    connection.executemany(f"INSERT INTO {_quoted(table.name)} VALUES ({marks})", [[_stored_in_sqlite(value) for value in row] for row in table.rows])


def fill_sqlite(path: Path, tables: Sequence[Table], views: Mapping[str, str]) -> None:
    """Make the file's tables hold exactly these rows, with a key and an index on every other column. Tables once made stay."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = MEMORY")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN IMMEDIATE")
        present = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if views.keys() <= present and all(table.name in present for table in tables):
            for table in tables:
                connection.execute(f"DELETE FROM {_quoted(table.name)}")
                _insert_sqlite(connection, table)
        else:
            load_sqlite(connection, tables, views, keyed=True)
        connection.execute("COMMIT")


def fill_postgres(url: str, tables: Sequence[Table], views: Mapping[str, str], *, analyze: bool) -> None:
    """Make the tables of schema public hold exactly these rows, with a key and an index on every other column. Tables once made stay.

    With `analyze` the planner knows how small they are and reads them whole; without, it prefers an index.
    """
    with psycopg.connect(libpq(url)) as connection:
        present = _present(connection)
        if all(table.name in present for table in tables):
            names = ", ".join(_quoted(table.name) for table in tables)
            connection.execute(f"TRUNCATE {names}".encode())
            for table in tables:
                _copy_postgres(connection, table)
        else:
            _load_postgres(connection, tables, keyed=True)
            for name, body in views.items():
                connection.execute(f"CREATE VIEW {_quoted(name)} AS {body}".encode())
        if analyze:
            connection.execute("ANALYZE")


def libpq(url: str) -> str:
    """A SQLAlchemy URL as libpq reads it."""
    return url.replace("+psycopg", "", 1)


def _present(connection: psycopg.Connection[Any]) -> set[str]:
    return {name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


def _load_postgres(connection: psycopg.Connection[Any], tables: Sequence[Table], *, keyed: bool) -> None:
    for table in tables:
        connection.execute(_definition(table, _POSTGRES, keyed=keyed).encode())
        _copy_postgres(connection, table)
        if keyed:
            for statement in _indexes(table):
                connection.execute(statement.encode())


def _copy_postgres(connection: psycopg.Connection[Any], table: Table) -> None:
    with connection.cursor().copy(f"COPY {_quoted(table.name)} FROM STDIN".encode()) as copy:
        for row in table.rows:
            copy.write_row(row)


class SqliteModel:
    """V in a private SQLite database, to ask it the bearer's query as written."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.create_function("spy", 1, lambda value: value)
        load_sqlite(self._connection, tables, {}, keyed=False)

    def ask(self, sql: str, params: Mapping[str, Any]) -> Answer:
        """Columns and rows. Raises sqlite3.Error."""
        cursor = self._connection.execute(sql, dict(params))
        return tuple(each[0] for each in cursor.description or ()), cursor.fetchall()

    def close(self) -> None:
        self._connection.close()


class PostgresModel:
    """V in a PostgreSQL database of its own, to ask it the bearer's query as written."""

    def __init__(self, url: str, tables: Sequence[Table]) -> None:
        with psycopg.connect(libpq(url)) as connection:
            for name in _present(connection):
                connection.execute(f"DROP TABLE {_quoted(name)}".encode())
            _load_postgres(connection, tables, keyed=False)
        self._connection = psycopg.connect(libpq(url), autocommit=True, options="-c statement_timeout=10s -c timezone=UTC")

    def ask(self, sql: str, params: Mapping[str, Any]) -> Answer:
        """Columns and rows. Raises psycopg.Error. Parameters stand in the SQL as `:name`, as the product has them."""
        text, values = _numbered(sql, params)
        cursor = self._connection.execute(text.encode(), values)
        if cursor.description is None:
            return (), []
        return tuple(each.name for each in cursor.description), cursor.fetchall()

    def close(self) -> None:
        self._connection.close()


def _numbered(sql: str, params: Mapping[str, Any]) -> tuple[str, list[Any] | None]:
    if not params:
        return sql, None
    values: list[Any] = []

    def bind(found: re.Match[str]) -> str:
        values.append(params[found[1]])
        return "%s"

    return re.sub(r"(?<![:\w']):(" + "|".join(map(re.escape, params)) + r")\b", bind, sql.replace("%", "%%")), values
