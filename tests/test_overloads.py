"""What somebody makes in the database under an admitted name is never what a bearer's query calls."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Pool, event

import mariadb_server
import servers
from rowseal.engine.postgres import PostgresDriver
from rowseal.gate import Gate
from world import Bearer, configuration_file, token

# A column's own type: PostgreSQL prefers a function of `varchar` to its own of `text`, wherever it may look for one.
ORDERS = (
    "CREATE TABLE orders (id bigint PRIMARY KEY, tenant int, region varchar(40), amount int)",
    "INSERT INTO orders VALUES (1, 1, 'North', -5), (2, 1, 'South', 7), (3, 2, 'North', 9)",
)
FIELDS = {"id": "number", "tenant": "number", "region": "string", "amount": "number"}


def _gate(url: str, folder: Path, table: str = "orders", **more: Any) -> Gate:
    datasets = [{"id": "orders", "table": table, "fields": [{"id": each, "type": kind} for each, kind in FIELDS.items()]}]
    return Gate.from_yaml(configuration_file(folder, url, {"version": 1, "datasets": datasets, **more}))


def _rows(gate: Gate, query: str) -> list[tuple[Any, ...]]:
    return (
        gate.verify(token(Bearer(("orders",), {"orders": [[{"field": "tenant", "op": "=", "value": 1}, {"field": "region", "op": "!=", "value": "x"}]]})))
        .execute(query)
        .rows
    )


# --- PostgreSQL ------------------------------------------------------------------------------------------------------------------------------

# What is made, a query that calls the database's own, and its answer. {0} is the schema.
MADE = {
    "a function of the same arguments": (
        ["CREATE FUNCTION {0}.upper(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$SELECT 'STOLEN'$$"],
        "SELECT UPPER(region) FROM orders ORDER BY id",
        ["NORTH", "SOUTH"],
    ),
    "a function of arguments that fit better": (
        ["CREATE FUNCTION {0}.upper(varchar) RETURNS text IMMUTABLE LANGUAGE sql AS $$SELECT 'STOLEN'$$"],
        "SELECT UPPER(region) FROM orders ORDER BY id",
        ["NORTH", "SOUTH"],
    ),
    "an aggregate": (
        [
            "CREATE FUNCTION {0}.stolen(bigint, int) RETURNS bigint IMMUTABLE LANGUAGE sql AS $$SELECT 666::bigint$$",
            "CREATE AGGREGATE {0}.sum(int) (SFUNC = {0}.stolen, STYPE = bigint, INITCOND = '666')",
        ],
        "SELECT SUM(amount) FROM orders",
        [2],
    ),
    "an operator that fits better": (
        [
            "CREATE FUNCTION {0}.joined(varchar, varchar) RETURNS text IMMUTABLE LANGUAGE sql AS $$SELECT 'STOLEN'$$",
            "CREATE OPERATOR {0}.|| (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = {0}.joined)",
        ],
        "SELECT region || region FROM orders ORDER BY id",
        ["NorthNorth", "SouthSouth"],
    ),
    "an operator of the guard": (
        [
            "CREATE FUNCTION {0}.always(int, int) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$SELECT true$$",
            "CREATE FUNCTION {0}.always(int, bigint) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$SELECT true$$",
            "CREATE FUNCTION {0}.always(varchar, text) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$SELECT true$$",
            "CREATE OPERATOR {0}.= (LEFTARG = int, RIGHTARG = int, FUNCTION = {0}.always)",
            "CREATE OPERATOR {0}.= (LEFTARG = int, RIGHTARG = bigint, FUNCTION = {0}.always)",
            "CREATE OPERATOR {0}.<> (LEFTARG = varchar, RIGHTARG = text, FUNCTION = {0}.always)",
        ],
        "SELECT id FROM orders ORDER BY id",
        [1, 2],
    ),
    "a type": (
        ["CREATE DOMAIN {0}.date AS text", "CREATE DOMAIN {0}.text AS varchar(2)", "CREATE DOMAIN {0}.uuid AS text"],
        "SELECT CAST(region AS TEXT) FROM orders ORDER BY id",
        ["North", "South"],
    ),
    "a cast of a type of that name": (
        [
            "CREATE TYPE {0}.text AS (a int)",
            "CREATE FUNCTION {0}.stolen(varchar) RETURNS {0}.text IMMUTABLE LANGUAGE sql AS $$SELECT ROW(666)::{0}.text$$",
            "CREATE CAST (varchar AS {0}.text) WITH FUNCTION {0}.stolen(varchar) AS IMPLICIT",
        ],
        "SELECT CAST(region AS TEXT) FROM orders ORDER BY id",
        ["North", "South"],
    ),
}


def _superuser(database: servers.Database, *statements: str) -> None:
    database.server.run(*statements, database=database.name)


def _naively(database: servers.Database, query: str) -> list[Any]:
    """What the role is told that asks with its own search_path, and with the filters written into the query."""
    with psycopg.connect(database.reader_url.replace("+psycopg", "", 1)) as connection:
        asked = query.replace("FROM orders", "FROM public.orders WHERE tenant = 1 AND region <> 'x'::pg_catalog.text")
        return [row[0] for row in connection.execute(asked.encode()).fetchall()]


@pytest.fixture
def postgres_of_its_own(postgres_server: servers.Server) -> Iterator[servers.Database]:
    database = postgres_server.new_database()
    database.run(*ORDERS)
    yield database
    database.drop()


@pytest.mark.postgres
@pytest.mark.parametrize("schema", ["public", servers.READER])
@pytest.mark.parametrize("made", MADE)
def test_what_is_made_in_postgresql_under_an_admitted_name_is_not_called(made: str, schema: str, postgres_of_its_own: servers.Database, tmp_path: Path) -> None:
    """In the schema that everybody searches and in the one that the role searches first, though the role is set to search both."""
    statements, query, expected = MADE[made]
    database = postgres_of_its_own
    _superuser(
        database,
        f"CREATE SCHEMA IF NOT EXISTS {schema}",
        f"GRANT USAGE ON SCHEMA {schema} TO PUBLIC",
        f"ALTER ROLE {servers.READER} IN DATABASE {database.name} SET search_path = {schema}, pg_catalog, public",
        *(each.format(schema) for each in statements),
    )
    assert _naively(database, query) != expected  # what it would be without the locks
    with closing(_gate(database.reader_url, tmp_path, "public.orders")) as gate:
        assert [row[0] for row in _rows(gate, query)] == expected


@pytest.mark.postgres
@pytest.mark.parametrize("made", MADE)
def test_what_is_made_in_a_temporary_schema_is_not_called(
    made: str, postgres_of_its_own: servers.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the very session that the engine uses, as a pooler might hand it on. Where nothing is said PostgreSQL looks for types there first."""
    statements, query, expected = MADE[made]
    database = postgres_of_its_own
    _superuser(database, f"GRANT TEMPORARY ON DATABASE {database.name} TO {servers.READER}")
    connect = PostgresDriver._connect
    made_on = []

    def with_leftovers(*arguments: Any) -> psycopg.Connection[Any]:
        connection = connect(*arguments)
        connection.read_only = False  # as it was for whoever had the session before
        for statement in statements:
            connection.execute(statement.format("pg_temp").encode())
        connection.commit()
        made_on.append(connection)
        return connection

    monkeypatch.setattr(PostgresDriver, "_connect", with_leftovers)
    with closing(_gate(database.reader_url, tmp_path, "public.orders")) as gate:
        assert [row[0] for row in _rows(gate, query)] == expected
    assert made_on


# --- SQLite ----------------------------------------------------------------------------------------------------------------------------------


def test_nobody_s_function_stands_in_for_one_of_sqlite_s(tmp_path: Path) -> None:
    """A file holds no functions; a connection does, and the engine's takes none, from an application's listener either."""
    path = tmp_path / "data.db"
    with closing(sqlite3.connect(path)) as connection:
        for statement in ORDERS:
            connection.execute(statement)
        connection.commit()
        connection.create_function("upper", 1, lambda _: "STOLEN")
        assert connection.execute("SELECT UPPER(region) FROM orders").fetchone() == ("STOLEN",)  # so it would be
    told = []

    def add(connection: sqlite3.Connection, _record: object) -> None:
        connection.create_function("upper", 1, lambda _: "STOLEN")
        told.append(connection)

    event.listen(Pool, "connect", add)  # every pool of the process
    try:
        with closing(_gate(f"sqlite:///{path}", tmp_path)) as gate:
            assert _rows(gate, "SELECT UPPER(region) FROM orders ORDER BY id") == [("NORTH",), ("SOUTH",)]
    finally:
        event.remove(Pool, "connect", add)
    assert told


# --- MariaDB ---------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.mariadb
def test_a_stored_function_does_not_stand_in_for_one_of_mariadb_s(mariadb_run_server: mariadb_server.Server, tmp_path: Path) -> None:
    """MariaDB takes its own function wherever the name stands without a database before it."""
    database = mariadb_run_server.new_database()
    try:
        database.run(
            *ORDERS,
            *(f"CREATE FUNCTION `{name}`(a varchar(40)) RETURNS varchar(40) DETERMINISTIC RETURN 'STOLEN'" for name in ("upper", "coalesce", "char_length")),
            f"GRANT EXECUTE ON {database.name}.* TO {mariadb_server.READER}@localhost",
        )
        more = {"engine": {"experimental": True, "allow_privileged_role": True}}
        with closing(_gate(database.reader_url, tmp_path, **more)) as gate:
            assert _rows(gate, "SELECT UPPER(region), COALESCE(region, 'x'), CHAR_LENGTH(region) FROM orders ORDER BY id") == [
                ("NORTH", "North", 5),
                ("SOUTH", "South", 5),
            ]
    finally:
        database.run(f"REVOKE EXECUTE ON {database.name}.* FROM {mariadb_server.READER}@localhost")
        database.drop()
