"""The engine: only a SecuredQuery runs, on a locked connection, within its budgets, and no word of the database gets out.

What the SQL stages would never let through is forged here (`forge`), because the engine must hold also when they fail.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from types import NoneType
from typing import Any

import pytest
from sqlalchemy import URL, make_url
from sqlalchemy.exc import DatabaseError

import servers
from rowseal import decisions, sql
from rowseal.catalog import Limits
from rowseal.engine import Database, Result, Stop, to_json
from rowseal.engine.result import TYPES
from rowseal.engine.testimony import Heard
from rowseal.errors import CODES, BudgetExceeded, Cancelled, EngineFailed, Misconfigured, OurBug, Refused, TimedOut
from rowseal.sql import Reads, SecuredQuery

ORDERS: Reads = {"__g1": frozenset({("main", "orders")})}
SCRIPT = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, tenant INTEGER, region TEXT, payload TEXT);
CREATE TABLE items (id INTEGER PRIMARY KEY, order_id INTEGER, qty INTEGER);
INSERT INTO orders VALUES (1, 1, 'north', '{"a": 1}'), (2, 2, 'TOPSECRET', 'TOPSECRET'), (3, 1, NULL, NULL);
INSERT INTO items VALUES (10, 1, 5), (20, 2, 6), (30, 3, 7);
"""
BOTH = pytest.mark.parametrize("dialect", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])


def forge(dialect: str, *parts: str, params: dict[str, Any] | None = None, reads: Reads | None = None, row_limit: int = 100) -> SecuredQuery:
    """A SecuredQuery that nobody secured: `parts` alternate text and the name of a bind."""
    return SecuredQuery._sealed(
        sql._SEAL,
        dialect=dialect,
        pieces=parts[::2],
        names=parts[1::2],
        params=params or {},
        connection="default",
        datasets=(),
        guards=(),
        reads=reads if reads is not None else ORDERS,
        row_limit=row_limit,
    )


@pytest.fixture(autouse=True)
def _nothing_is_asked_to_testify(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows are the locks behind the database's testimony, which would stop most of it first (test_testimony.py)."""
    monkeypatch.setattr(Heard, "__contains__", lambda *_: True)


@dataclass(frozen=True)
class Ground:
    """A real database with the script's tables, and how to open it with other limits."""

    url: str
    dialect: str
    open: Callable[..., Database]

    def run(self, *parts: str, **options: Any) -> Result:
        return self.open().execute(forge(self.dialect, *parts, **options))

    def refused(self, *parts: str, **options: Any) -> Refused:
        with pytest.raises(Refused) as caught:
            self.run(*parts, **options)
        return caught.value

    @property
    def orders(self) -> str:
        """A guard that lets through tenant 1."""
        schema = "main" if self.dialect == "sqlite" else "public"
        columns = '"id", "tenant", "region", "payload"'
        return f'WITH "__g1"({columns}) AS NOT MATERIALIZED (SELECT {columns} FROM "{schema}"."orders" AS b WHERE b."tenant" = 1) '


@pytest.fixture(scope="module")
def stocked_postgres(postgres_server: servers.Server) -> Iterator[servers.Database]:
    """The script's tables, for every test of this file: no test may be able to change them."""
    database = postgres_server.new_database()
    database.run(*(statement for statement in SCRIPT.split(";") if statement.strip()))
    yield database
    database.drop()


@pytest.fixture
def ground(request: pytest.FixtureRequest, dialect: str) -> Iterator[Ground]:
    if dialect == "sqlite":
        url = request.getfixturevalue("sqlite_url")(SCRIPT)
    else:
        url = request.getfixturevalue("stocked_postgres").reader_url
    opened: dict[Limits, Database] = {}

    def open_with(**limits: Any) -> Database:
        wanted = Limits(**limits)
        if wanted not in opened:
            opened[wanted] = Database(url, dialect=dialect, limits=wanted)
        return opened[wanted]

    yield Ground(url, dialect, open_with)
    for database_ in opened.values():
        database_.close()


# --- what runs -------------------------------------------------------------------------------------------------------------------------------

AWKWARD = "100% :x ? %s %(a)s $1 \\: ::int {x} %% :y: @z"


@BOTH
def test_a_literal_arrives_as_written_whatever_drivers_see_in_it(ground: Ground) -> None:
    literal = AWKWARD.replace("'", "''")
    assert ground.run(f"SELECT '{literal}' AS a").rows == [(AWKWARD,)]
    cast = "::text" if ground.dialect == "postgres" else ""
    result = ground.run(f"SELECT '{literal}' AS a, ", "x", f"{cast} AS b, '%(x)s :x' AS c", params={"x": AWKWARD})
    assert result.rows == [(AWKWARD, AWKWARD, "%(x)s :x")]


@BOTH
def test_the_answer_has_its_columns_also_when_it_has_no_rows(ground: Ground) -> None:
    result = ground.run(f"{ground.orders} SELECT id, region AS r, id FROM __g1 WHERE id = ", "a", "", params={"a": 77})
    assert (result.columns, result.rows, result.truncated) == (("id", "r", "id"), [], False)
    assert ground.run(f"{ground.orders} SELECT id AS only FROM __g1 WHERE id = 77").columns == ("only",)


@BOTH
@pytest.mark.parametrize(("limit", "rows", "truncated"), [(1, 1, True), (2, 2, True), (3, 3, False), (4, 3, False)])
def test_an_answer_is_cut_at_the_row_limit_and_says_so(ground: Ground, limit: int, rows: int, truncated: bool) -> None:
    result = ground.run("SELECT 1 AS a UNION ALL SELECT 2 UNION ALL SELECT 3", row_limit=limit)
    assert (len(result.rows), result.truncated) == (rows, truncated)
    assert ground.run("SELECT 1").rows == [(1,)]  # what was not read does not stay on the connection


@BOTH
def test_threads_share_a_database_without_mixing_answers(ground: Ground) -> None:
    database = ground.open(concurrent=4)
    cast = "::int" if ground.dialect == "postgres" else ""

    def ask(number: int) -> bool:
        return database.execute(forge(ground.dialect, "SELECT ", "n", f"{cast} AS n", params={"n": number})).rows == [(number,)]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(80)))


def test_sqlite_values_keep_their_type(sqlite_url: Callable[..., str]) -> None:
    database = Database(sqlite_url(SCRIPT), dialect="sqlite", limits=Limits())
    row = database.execute(forge("sqlite", "SELECT 9223372036854775807, 0.1, 'å', x'00ff', NULL, floor(NULL), floor(-2.5)")).rows[0]
    assert row == (2**63 - 1, 0.1, "å", b"\x00\xff", None, None, -3.0)
    assert [type(value) for value in row[:4]] == [int, float, str, bytes]
    database.close()


@pytest.mark.postgres
@pytest.mark.parametrize("dialect", ["postgres"])
@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("9223372036854775807::bigint", 2**63 - 1),
        ("1234567890123456789012345678901234567890.10::numeric", Decimal("1234567890123456789012345678901234567890.10")),
        ("0.1::float8", 0.1),
        ("true", True),
        ("'å'::text", "å"),
        ("date '2026-02-28'", date(2026, 2, 28)),
        ("time '12:30:00.5'", time(12, 30, 0, 500000)),
        ("timestamp '2026-02-28 12:30'", datetime(2026, 2, 28, 12, 30)),  # noqa: DTZ001 -- the type has no zone
        ("timestamptz '2026-02-28 12:30+02'", datetime(2026, 2, 28, 10, 30, tzinfo=UTC)),
        ("'12345678-1234-5678-1234-567812345678'::uuid", uuid.UUID("12345678-1234-5678-1234-567812345678")),
        (r"'\x00ff'::bytea", b"\x00\xff"),
        ("""'{"a": [1.10, 12345678901234567890, null]}'::jsonb""", {"a": [Decimal("1.10"), 12345678901234567890, None]}),
        ("array[1, 2]", [1, 2]),
        ("null::int", None),
        ("interval '1 day 2 hours'", "P1DT2H"),
        ("int4range(1, 5)", "[1,5)"),
        ("inet '10.0.0.1'", "10.0.0.1"),
        ("ROW(1, 'a')", "(1,a)"),
        ("array[interval '1 day']", ["P1D"]),
    ],
)
def test_postgres_values_keep_their_type(ground: Ground, expression: str, value: object) -> None:
    found = ground.run(f"SELECT {expression}").rows[0][0]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.postgres
@pytest.mark.parametrize("dialect", ["postgres"])
def test_postgres_declares_the_type_of_each_column_and_the_json_is_of_it(ground: Ground) -> None:
    expressions = {
        "number": ("1::int2", "1::int8", "1.50::numeric", "'NaN'::numeric", "0.5::float4", "'Infinity'::float8", "1::oid", "count(*)"),
        "string": ("'a'", "'a'::char(3)", "'a'::name", "gen_random_uuid()", "interval '1 day'", "inet '10.0.0.1'", "ROW(1, 2)", "int4range(1, 5)", "b'10'"),
        "boolean": ("true", "1 = 2"),
        "date": ("date '2026-02-28'", "date 'infinity'"),
        "date_time": ("timestamp '2026-02-28 12:30'", "timestamptz '2026-02-28 12:30+02'"),
        "time": ("time '12:30'", "timetz '12:30+02'"),
        "bytes": (r"'\x00ff'::bytea",),
        "json": ("""'{"a": 1}'::jsonb""", "'[1]'::json", "array[1, 2]", "array['a']", "array[true]", "array[date '2026-02-28']", "array[[1], [2]]"),
    }
    in_json = {"number": (int, float, NoneType), "boolean": (bool,), "json": (list, dict)}
    for kind, each in expressions.items():
        result = ground.run("SELECT " + ", ".join(f"{expression} AS c{at}" for at, expression in enumerate(each)))
        assert result.types == (kind,) * len(each)
        content = json.loads(to_json(result, types=True))
        assert content["columns"] == [{"name": f"c{at}", "type": kind} for at in range(len(each))]
        assert [each for each, value in zip(each, content["rows"][0], strict=True) if type(value) not in in_json.get(kind, (str,))] == []
        empty = ground.run("SELECT * FROM (SELECT " + ", ".join(f"{expression} AS c{at}" for at, expression in enumerate(each)) + ") AS t WHERE false")
        assert (empty.rows, empty.types) == ([], result.types)


@pytest.mark.postgres
def test_a_type_of_the_postgres_database_s_own_is_text(fresh_postgres: servers.Database) -> None:
    fresh_postgres.run("CREATE TYPE public.mood AS ENUM ('good', 'bad')", "CREATE DOMAIN public.small AS int CHECK (VALUE < 10)")
    fresh_postgres.run("GRANT USAGE ON SCHEMA public TO public")
    database = Database(fresh_postgres.reader_url, dialect="postgres", limits=Limits())
    result = database.execute(forge("postgres", "SELECT 'good'::public.mood AS a, 3::public.small AS b, array['bad'::public.mood] AS c"))
    database.close()
    assert (result.rows, result.types) == ([("good", 3, "{bad}")], ("string", "number", "string"))


def test_sqlite_tells_types_by_the_values_of_the_answer(sqlite_url: Callable[..., str]) -> None:
    database = Database(sqlite_url(SCRIPT), dialect="sqlite", limits=Limits())
    columns = "1 AS a, 'x' AS b, x'00' AS c, NULL AS d, 1 AS e, NULL AS f"
    result = database.execute(forge("sqlite", f"SELECT {columns} UNION ALL SELECT 2.5, 'y', x'01', NULL, 'text', 7"))
    assert result.types == ("number", "string", "bytes", "unknown", "mixed", "number")
    assert json.loads(to_json(result, types=True))["columns"][4] == {"name": "e", "type": "mixed"}
    assert database.execute(forge("sqlite", f"SELECT {columns} WHERE 1 = 2")).types == ("unknown",) * 6
    database.close()


@pytest.mark.postgres
def test_postgres_answers_do_not_depend_on_the_role_s_own_settings(fresh_postgres: servers.Database) -> None:
    fresh_postgres.run("CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT 'stolen' $$")
    settings = {
        "timezone": "Asia/Kolkata",
        "datestyle": "German",
        "intervalstyle": "postgres_verbose",
        "bytea_output": "escape",
        "search_path": "public,pg_catalog",
        "transform_null_equals": "on",
        "default_transaction_read_only": "off",
        "statement_timeout": "0",
    }
    altered = (f"ALTER ROLE {servers.READER} IN DATABASE {fresh_postgres.name} SET {name} = {value}" for name, value in settings.items())
    fresh_postgres.server.run(*(line.replace("Asia/Kolkata", "'Asia/Kolkata'") for line in altered))
    database = Database(fresh_postgres.reader_url + "&options=-csearch_path%3Dpublic", dialect="postgres", limits=Limits(seconds=7))
    query = """SELECT lower('ABC'), timestamptz '2026-02-28 12:30+00'::text, date '2026-02-28'::text, interval '1 day'::text, '\\x00ff'::bytea::text, 1 = NULL,
        current_setting('transaction_read_only'), current_setting('statement_timeout'), current_setting('search_path')"""
    row = database.execute(forge("postgres", query)).rows[0]
    database.close()
    assert row == ("abc", "2026-02-28 12:30:00+00", "2026-02-28", "P1D", "\\x00ff", None, "on", "7s", "pg_catalog,pg_temp")


# --- what does not run -----------------------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("thing", ["SELECT 1", None, object(), ("SELECT 1", {})], ids=["text", "none", "object", "pair"])
def test_nothing_but_a_secured_query_is_executed(ground: Ground, thing: Any) -> None:
    with pytest.raises(OurBug):
        ground.open().execute(thing)


@BOTH
def test_a_query_secured_for_another_dialect_is_not_executed(ground: Ground) -> None:
    other = {"sqlite": "postgres", "postgres": "sqlite"}[ground.dialect]
    with pytest.raises(OurBug):
        ground.open().execute(forge(other, "SELECT 1"))


@BOTH
@pytest.mark.parametrize("binds", [False, True])
@pytest.mark.parametrize("second", ["SELECT 2", "COMMIT; DELETE FROM {orders}", "COMMIT; BEGIN READ WRITE; DELETE FROM {orders}; COMMIT"])
def test_a_second_statement_does_not_run(ground: Ground, second: str, binds: bool) -> None:
    tail = f"; {second.format(orders='public.orders' if ground.dialect == 'postgres' else 'orders')}"
    cast = "::int" if ground.dialect == "postgres" else ""
    refused = ground.refused("SELECT ", "a", f"{cast}{tail}", params={"a": 1}) if binds else ground.refused(f"SELECT 1{tail}")
    assert refused.code == "query_failed"
    assert ground.run(f"{ground.orders} SELECT id FROM __g1 ORDER BY id").rows == [(1,), (3,)]


@pytest.mark.postgres
@pytest.mark.parametrize("dialect", ["postgres"])
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM public.orders",
        "INSERT INTO public.orders VALUES (9)",
        "CREATE TABLE public.mine (id int)",
        "WITH d AS (DELETE FROM public.orders RETURNING id) SELECT id FROM d",
        "SELECT 1 AS a INTO public.mine",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "SET TRANSACTION READ WRITE",
        "COPY public.orders TO STDOUT",
        "ROLLBACK",
        "SELECT id FROM public.orders FOR UPDATE",
    ],
)
def test_postgres_writes_nothing_also_as_the_tables_owner(stocked_postgres: servers.Database, ground: Ground, statement: str) -> None:
    assert ground.refused(statement).status >= 500
    owner = Database(stocked_postgres.owner_url, dialect="postgres", limits=Limits())
    try:
        with pytest.raises(Refused):
            owner.execute(forge("postgres", statement))
        assert owner.execute(forge("postgres", "SELECT count(*) FROM public.orders")).rows == [(3,)]
    finally:
        owner.close()


@pytest.mark.postgres
@pytest.mark.parametrize("dialect", ["postgres"])
def test_a_setting_does_not_outlive_its_query(ground: Ground) -> None:
    setting = "current_setting('statement_timeout'), pg_backend_pid()"
    before = ground.run(f"SELECT {setting}").rows
    ground.run("SELECT set_config('statement_timeout', '0', false), set_config('search_path', 'public', false)")
    assert ground.run(f"SELECT {setting}").rows == before
    assert ground.run("SELECT current_setting('search_path')").rows == [("pg_catalog,pg_temp",)]


@pytest.mark.postgres
@pytest.mark.parametrize("dialect", ["postgres"])
def test_a_transaction_is_read_only_even_where_the_connection_s_own_default_is_not(ground: Ground) -> None:
    database = ground.open(concurrent=1)
    with database._engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        pid = driver.info.backend_pid
        driver.execute("SET default_transaction_read_only = off")
        driver.commit()
    assert database.execute(forge("postgres", "SELECT pg_backend_pid(), current_setting('transaction_read_only')")).rows == [(pid, "on")]


# --- SQLite's authorizer as a witness ----------------------------------------------------------------------------------------------------------

G1 = '"__g1"("id", "region") AS NOT MATERIALIZED (SELECT b."id", b."region" FROM "main"."orders" AS b WHERE b."tenant" = 1)'
# a `through` guard: its parent is read inside its own body, and is named in its reads
G2 = (
    '"__g2"("id", "qty") AS NOT MATERIALIZED (SELECT b."id", b."qty" FROM "main"."items" AS b WHERE EXISTS '
    '(SELECT 1 FROM "main"."orders" AS p WHERE p."id" = b."order_id" AND p."tenant" = 1))'
)
PUBLIC = '"__g1"("id", "region") AS NOT MATERIALIZED (SELECT b."id", b."region" FROM "main"."orders" AS b)'
BY_KEY = '"__g1"("id", "region") AS NOT MATERIALIZED (SELECT b."id", b."region" FROM "main"."orders" AS b WHERE b."id" = 1)'
LISTED = '"__g1"("id") AS MATERIALIZED (SELECT b."id" FROM "main"."orders" AS b WHERE b."tenant" IN (SELECT value FROM json_each(\'[1]\')))'
BOTH_READS: Reads = {**ORDERS, "__g2": frozenset({("main", "items"), ("main", "orders")})}


@pytest.mark.parametrize("dialect", ["sqlite"])
@pytest.mark.parametrize(
    ("query", "rows"),
    [
        (f"WITH {G1} SELECT id FROM __g1 ORDER BY id", [(1,), (3,)]),
        (f"WITH {G1.replace('NOT ', '')} SELECT id FROM __g1 ORDER BY id", [(1,), (3,)]),
        (f"WITH {G1} SELECT count(*) FROM __g1", [(2,)]),
        (f"WITH {G1} SELECT 1 FROM __g1 AS orders", [(1,), (1,)]),
        (f"WITH {PUBLIC} SELECT count(*) FROM __g1", [(3,)]),
        (f"WITH {PUBLIC.replace('NOT ', '')} SELECT count(*) FROM __g1", [(3,)]),
        (f"WITH {BY_KEY} SELECT count(*) FROM __g1", [(1,)]),
        (f"WITH {BY_KEY} SELECT EXISTS (SELECT 1 FROM __g1)", [(1,)]),
        (f"WITH {G1} SELECT (SELECT max(id) FROM __g1)", [(3,)]),
        (f"WITH {G1}, __u1 AS (SELECT id FROM __g1) SELECT a.id, b.id FROM __u1 AS a LEFT JOIN __u1 AS b ON a.id = b.id + 2", [(1, None), (3, 1)]),
        (f"WITH RECURSIVE {G1}, __u1(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM __u1 WHERE n < 3) SELECT count(*) FROM __u1, __g1", [(6,)]),
        (f"WITH {G2} SELECT id FROM __g2 ORDER BY id", [(10,), (30,)]),
        (f"WITH {G1}, {G2} SELECT id FROM __g1 UNION ALL SELECT sum(qty) OVER () FROM __g2 ORDER BY 1", [(1,), (3,), (12,), (12,)]),
        (f"WITH {G1}, {G2} SELECT o.id FROM __g1 AS o WHERE EXISTS (SELECT 1 FROM __g2 AS i WHERE i.qty > o.id + 2) ORDER BY 1", [(1,), (3,)]),
        (f"WITH {LISTED} SELECT id FROM __g1 ORDER BY id", [(1,), (3,)]),
        (f"WITH {LISTED} SELECT id IN (SELECT value FROM json_each('[3]')) FROM __g1 ORDER BY id", [(0,), (1,)]),
        (f"WITH {G1} SELECT count(*) FROM __g1, json_each('[1, 2]')", [(4,)]),
        (f"WITH {G1} SELECT lower(region) FROM __g1 WHERE region GLOB 'n*' AND region LIKE 'NOR%'", [("north",)]),
    ],
)
def test_sqlite_lets_a_guarded_read_through(ground: Ground, query: str, rows: list[tuple[object, ...]]) -> None:
    assert ground.run(query, reads=BOTH_READS).rows == rows


@pytest.mark.parametrize("dialect", ["sqlite"])
@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM orders",
        "SELECT id FROM main.orders",
        "SELECT rowid FROM orders",
        "SELECT count(*) FROM orders",
        "SELECT 1 FROM orders",
        "SELECT count(*) FROM main.items",
        f"WITH {G1} SELECT id FROM orders",
        f"WITH {G1} SELECT (SELECT count(*) FROM orders) FROM __g1",
        f"WITH {G1} SELECT id FROM __g1 WHERE EXISTS (SELECT * FROM orders)",
        f"WITH {G1} SELECT id FROM __g1 WHERE 2 IN orders",
        f"WITH {G1} SELECT id FROM (SELECT id FROM orders) AS __g1",
        f"WITH {G1} SELECT __g1.id FROM orders AS __g1",
        f"WITH {G1}, __u1 AS (SELECT id FROM orders) SELECT id FROM __u1",
        f"WITH {G1}, __u1 AS MATERIALIZED (SELECT id FROM main.orders) SELECT id FROM __u1",
        f"WITH {G1} SELECT id FROM __g1 UNION SELECT id FROM items",
        f"WITH {G1} SELECT id FROM __g1 ORDER BY (SELECT qty FROM items)",
        '"__g1"("id") AS (SELECT b."id" FROM "main"."items" AS b) SELECT id FROM __g1'.join(["WITH ", ""]),
        f"WITH {G2} SELECT id FROM __g2 WHERE id = (SELECT tenant FROM main.orders)",
        "WITH __g9(id) AS (SELECT id FROM main.orders) SELECT id FROM __g9",
        "SELECT name FROM sqlite_master",
        "SELECT name FROM sqlite_schema",
        "SELECT * FROM pragma_table_info('orders')",
        "SELECT * FROM json_tree('[1]')",
        "SELECT * FROM dbstat",
        "SELECT fts3_tokenizer('simple')",
        "SELECT load_extension('x')",
        "PRAGMA query_only = OFF",
        "PRAGMA table_info(orders)",
        "ATTACH 'other.db' AS other",
        "CREATE TEMP TABLE mine (id)",
        "CREATE VIEW mine AS SELECT 1",
        "INSERT INTO orders VALUES (9, 9, '', '')",
        "DELETE FROM orders",
        "DROP TABLE orders",
        "BEGIN",
        "VACUUM INTO 'copy.db'",
        "ANALYZE",
    ],
)
def test_sqlite_denies_what_no_guard_reads(ground: Ground, query: str, caplog: pytest.LogCaptureFixture) -> None:
    reads = {**ORDERS, "__g2": frozenset({("main", "items")})} if "__g2" in query else ORDERS
    refused = ground.refused(query, reads=reads)
    assert isinstance(refused, OurBug)
    assert refused.__context__ is None  # where SQLite's own words would stand
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "orders" not in caplog.text.replace("test_", "")
    assert ground.run(f"WITH {G1} SELECT count(*) FROM __g1").rows == [(2,)]


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_sqlite_does_not_run_a_statement_under_the_permissions_of_an_earlier_query(ground: Ground) -> None:
    query = f"WITH {G1} SELECT count(*) FROM __g1"
    for _ in range(2):
        assert ground.run(query).rows == [(2,)]
        assert isinstance(ground.refused(query, reads={"__g1": frozenset({("main", "items")})}), OurBug)


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_sqlite_permits_nothing_on_a_connection_that_no_query_has(ground: Ground) -> None:
    query = f"WITH {G1} SELECT count(*) FROM __g1"
    assert ground.run(query).rows == [(2,)]
    with ground.open()._engine.connect() as connection:
        for statement in (query, "SELECT 1"):
            with pytest.raises(DatabaseError, match="not authorized"):
                connection.exec_driver_sql(statement)


def test_sqlite_reads_a_declared_view_through_its_guard_only(sqlite_url: Callable[..., str]) -> None:
    url = sqlite_url(SCRIPT + "CREATE VIEW inner_view AS SELECT id, tenant FROM orders; CREATE VIEW outer_view AS SELECT id, tenant FROM inner_view;")
    database = Database(url, dialect="sqlite", limits=Limits())
    reads = {"__g1": frozenset({("main", "outer_view")})}
    guard = 'WITH "__g1"("id") AS NOT MATERIALIZED (SELECT b."id" FROM "main"."outer_view" AS b WHERE b."tenant" = 1)'
    for body, rows in (("SELECT id FROM __g1 ORDER BY id", [(1,), (3,)]), ("SELECT count(*) FROM __g1", [(2,)])):
        assert database.execute(forge("sqlite", f"{guard} {body}", reads=reads)).rows == rows
    for body in ("SELECT id FROM outer_view", "SELECT id FROM inner_view", "SELECT id FROM orders", "SELECT name FROM sqlite_master"):
        with pytest.raises(OurBug):
            database.execute(forge("sqlite", f"{guard} {body}", reads=reads))
    with pytest.raises(OurBug):
        database.execute(forge("sqlite", "SELECT count(*) FROM outer_view"))
    database.close()


def test_sqlite_does_not_take_a_table_for_the_table_function_of_its_name(sqlite_url: Callable[..., str]) -> None:
    database = Database(sqlite_url(SCRIPT + "CREATE TABLE json_each (value); INSERT INTO json_each VALUES ('TOPSECRET');"), dialect="sqlite", limits=Limits())
    with pytest.raises(OurBug):
        database.execute(forge("sqlite", "SELECT value FROM json_each"))
    database.close()


def test_sqlite_cannot_write_even_where_the_authorizer_would_let_it(sqlite_url: Callable[..., str]) -> None:
    database = Database(sqlite_url(SCRIPT), dialect="sqlite", limits=Limits())
    with database._engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.set_authorizer(None)
        with pytest.raises(Exception, match="readonly"):
            driver.execute("DELETE FROM orders")
        assert driver.execute("PRAGMA query_only").fetchall() == [(1,)]
        assert driver.execute("PRAGMA trusted_schema").fetchall() == [(0,)]
        with pytest.raises(Exception, match="pattern too complex"):
            driver.execute("SELECT 'x' LIKE ?", ("x" * 1_001,))
        driver.execute("PRAGMA query_only = OFF")
        with pytest.raises(Exception, match="readonly"):
            driver.execute("DELETE FROM orders")
        with pytest.raises(Exception, match="too many attached"):
            driver.execute("ATTACH ':memory:' AS other")
        with pytest.raises(Exception, match="not authorized"):
            driver.execute("SELECT load_extension('x')")
        connection.invalidate()
    database.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x.db?uri=true", "sqlite:///x.db?mode=rw", "postgresql://h/d"])
def test_sqlite_opens_plain_files_only(url: str) -> None:
    with pytest.raises(ValueError, match="must name a file"):
        Database(url, dialect="sqlite", limits=Limits())


@pytest.mark.parametrize("url", ["postgresql+psycopg2://h/d", "postgresql+asyncpg://h/d", "mysql://h/d", "sqlite:///x.db"])
def test_postgres_is_reached_through_psycopg_only(url: str) -> None:
    with pytest.raises(ValueError, match="must begin with"):
        Database(url, dialect="postgres", limits=Limits())


def test_a_file_whose_name_looks_like_options_is_still_found_and_read_only(sqlite_url: Callable[..., str]) -> None:
    path = sqlite_url(SCRIPT, name="a?mode=rw#b %41.db").removeprefix("sqlite:///")
    database = Database(URL.create("sqlite", database=path), dialect="sqlite", limits=Limits())
    assert database.execute(forge("sqlite", f"WITH {G1} SELECT count(*) FROM __g1")).rows == [(2,)]
    database.close()


# --- budgets -----------------------------------------------------------------------------------------------------------------------------------

ENDLESS = "WITH RECURSIVE __u1(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM __u1 WHERE n < 100000000000) SELECT sum(n) FROM __u1"
LARGE = {"sqlite": "SELECT hex(zeroblob(500000))", "postgres": "SELECT repeat('x', 1000000)"}


def endless(ground: Ground) -> str:
    return ENDLESS.replace("SELECT 1 UNION", "SELECT 1::bigint UNION") if ground.dialect == "postgres" else ENDLESS


@BOTH
def test_a_query_ends_at_its_deadline(ground: Ground) -> None:
    database = ground.open(seconds=0.3)
    with pytest.raises(TimedOut):
        database.execute(forge(ground.dialect, endless(ground)))
    assert database.execute(forge(ground.dialect, "SELECT 1")).rows == [(1,)]


@BOTH
def test_ctrl_c_while_a_query_runs_is_no_timeout(ground: Ground) -> None:
    """`sqlite3` swallows what a signal raises while it looks at the clock, and reports an interrupted statement."""
    database = ground.open(seconds=60)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    hand = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    try:
        hand.start()
        with pytest.raises(KeyboardInterrupt):
            database.execute(forge(ground.dialect, endless(ground)))
    finally:
        hand.join()
        signal.signal(signal.SIGINT, before)
    assert database.execute(forge(ground.dialect, "SELECT 1")).rows == [(1,)]


@BOTH
def test_an_answer_beyond_the_byte_limit_is_refused(ground: Ground) -> None:
    database = ground.open(result_bytes=2_500_000)
    one = LARGE[ground.dialect]
    assert len(database.execute(forge(ground.dialect, f"{one} AS a UNION ALL {one}")).rows) == 2
    for _ in range(2):  # also on the connection that was stopped in the middle
        with pytest.raises(BudgetExceeded) as caught:
            database.execute(forge(ground.dialect, " UNION ALL ".join([one] * 60)))
        assert caught.value.code == "result_too_large"
    assert database.execute(forge(ground.dialect, "SELECT 1")).rows == [(1,)]


@pytest.mark.postgres
@pytest.mark.parametrize("dialect", ["postgres"])
@pytest.mark.parametrize(
    "value",
    [
        "repeat('x', 100000)",
        "ROW(repeat('x', 100000))",
        "array[array[repeat('x', 100000)]]",
        "json_build_object('a', repeat('x', 100000))",
        "repeat('9', 100000)::numeric",
        "decode(repeat('00', 100000), 'hex')",
    ],
    ids=["text", "row", "array", "json", "numeric", "bytes"],
)
def test_no_value_is_too_nested_to_be_weighed(ground: Ground, value: str) -> None:
    with pytest.raises(BudgetExceeded):
        ground.open(result_bytes=1_000_000).execute(forge("postgres", f"SELECT {value} FROM pg_catalog.generate_series(1, 40)"))


@BOTH
def test_more_queries_at_once_than_allowed_are_refused(ground: Ground) -> None:
    database = ground.open(concurrent=1, seconds=1.5)
    slow = forge(ground.dialect, endless(ground))
    began = threading.Event()

    def run() -> str:
        began.set()
        with pytest.raises(TimedOut) as caught:
            database.execute(slow)
        return caught.value.code

    codes = set()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        began.wait()
        while not running.done():
            try:
                database.execute(forge(ground.dialect, "SELECT 1"))
            except BudgetExceeded as refused:
                codes.add(refused.code)
                break
        assert running.result() == "timed_out"
    assert codes == {"too_many_queries"}
    assert database.execute(forge(ground.dialect, "SELECT 1")).rows == [(1,)]


# --- failures ----------------------------------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("spoken", ["value", "bind", "name", "syntax"])
def test_no_word_of_the_database_gets_out(ground: Ground, spoken: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    postgres = ground.dialect == "postgres"
    table = "public.orders" if postgres else "main.orders"
    everything = f'WITH "__g1"("region", "payload") AS NOT MATERIALIZED (SELECT region, payload FROM {table})'
    if spoken == "value":  # the error quotes a row, where the database does that
        call = "CAST(region AS integer)" if postgres else "json_extract(payload, '$.a')"
        refused = ground.refused(f"{everything} SELECT {call} FROM __g1")
    elif spoken == "bind":
        refused = ground.refused("SELECT nofunction(", "a", ")", params={"a": "TOPSECRET"})
    elif spoken == "name":
        refused = ground.refused("SELECT TOPSECRET FROM (SELECT 1 AS a) AS t")
    else:
        refused = ground.refused("SELECT 'TOPSECRET' FROM WHERE")
    assert (type(refused), refused.code) == (EngineFailed, "query_failed")
    assert refused.__cause__ is None
    assert refused.__context__ is None
    assert "".join(traceback.format_exception(refused)).count("TOPSECRET") == 0
    assert "TOPSECRET" not in caplog.text.replace("test_", "")
    assert [record.name for record in caplog.records if record.levelno >= logging.WARNING] == ["rowseal.engine"]
    assert ground.run("SELECT 1").rows == [(1,)]


@BOTH
def test_the_log_of_a_failure_names_the_request(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    """So that whoever got the answer and whoever reads the log can speak of the same thing."""
    with decisions.follow() as trail, caplog.at_level(logging.WARNING):
        ground.refused("SELECT nofunction(1)")
    (told,) = caplog.messages
    assert told.startswith(f"request {trail.request_id}: query_failed: ")


@pytest.mark.parametrize("dialect", [pytest.param("postgres", marks=pytest.mark.postgres)])
@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("SELECT upper(1)", "write the type"),
        ("SELECT 1 WHERE 'a'::text = 1", "write the type"),
        ("SELECT CASE WHEN true THEN 1 ELSE 'a'::text END", "write the type"),
        ("SELECT a, count(*) FROM (SELECT 1 AS a) AS t", "aggregate it"),
    ],
)
def test_postgresql_says_of_a_mistake_that_no_row_has_a_part_in_what_it_is(ground: Ground, sql: str, hint: str) -> None:
    refused = ground.refused(sql)
    assert refused.code == "query_failed"
    assert re.search(hint, refused.hint)
    # what a row brings about is told of no more than that it failed
    assert ground.refused("SELECT 1 / (SELECT 0)").hint == CODES["query_failed"].hint


def test_a_database_that_is_not_there_is_unavailable(tmp_path: Any) -> None:
    for dialect, url in (("sqlite", f"sqlite:///{tmp_path}/none.db"), ("postgres", f"postgresql://u:TOPSECRET@/d?host={tmp_path}")):
        database = Database(url, dialect=dialect, limits=Limits())
        with pytest.raises(EngineFailed) as caught:
            database.execute(forge(dialect, "SELECT 1"))
        assert caught.value.code == "database_unavailable"
        assert not (tmp_path / "none.db").exists()
        with pytest.raises(Misconfigured) as found:
            database.check_role([("public", "orders")], allow_privileged=False, file="datasets.yaml")
        assert "TOPSECRET" not in str(found.value)


@pytest.mark.postgres
@pytest.mark.parametrize("dialect", ["postgres"])
def test_a_connection_that_was_cut_is_replaced(stocked_postgres: servers.Database, ground: Ground) -> None:
    ground.run("SELECT 1")
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{stocked_postgres.name}' AND pid <> pg_backend_pid()"
    stocked_postgres.server.run(cut)
    assert ground.refused("SELECT 1").code == "database_unavailable"
    assert ground.run("SELECT 1").rows == [(1,)]


def test_a_value_that_no_column_can_hold_is_a_refusal(sqlite_url: Callable[..., str]) -> None:
    database = Database(sqlite_url(SCRIPT), dialect="sqlite", limits=Limits())
    for value in (2**70, object(), "\ud800"):
        with pytest.raises(EngineFailed):
            database.execute(forge("sqlite", "SELECT ", "a", "", params={"a": value}))
    database.close()


# --- the role ----------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def role(stocked_postgres: servers.Database) -> Iterator[str]:
    """A role of this test alone that may read `orders`."""
    name = f"r_{uuid.uuid4().hex[:8]}"
    stocked_postgres.server.run(f"CREATE ROLE {name} LOGIN", f"GRANT CONNECT ON DATABASE {stocked_postgres.name} TO {name}")
    stocked_postgres.run(f"GRANT SELECT ON orders TO {name}")
    yield name
    stocked_postgres.server.run(f"REASSIGN OWNED BY {name} TO {servers.OWNER}", f"DROP OWNED BY {name}", f"DROP ROLE {name}", database=stocked_postgres.name)


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", ""),
        ("ALTER ROLE {role} SUPERUSER", "is a superuser"),
        ("ALTER ROLE {role} BYPASSRLS", "has BYPASSRLS"),
        ("ALTER ROLE {role} CREATEROLE", "has CREATEROLE"),
        ("GRANT pg_read_all_data TO {role}", "predefined role"),
        ("GRANT pg_execute_server_program TO {role}", "predefined role"),
        ("GRANT rowseal_owner TO {role}", "owns `public.orders`"),
        ("ALTER TABLE orders OWNER TO {role}", "owns `public.orders`"),
        ("GRANT CREATE ON DATABASE {database} TO {role}", "may CREATE in the database"),
        ("GRANT CREATE ON SCHEMA public TO {role}", "may CREATE in the schema `public`"),
        ("ALTER ROLE {role} NOINHERIT; GRANT rowseal_owner TO {role}", "owns `public.orders`"),
        ("ALTER ROLE {role} CREATEDB", "has CREATEDB"),
        ("ALTER ROLE {role} REPLICATION", "has REPLICATION"),
        ("GRANT pg_monitor TO {role}", "predefined role"),
        ("GRANT pg_signal_backend TO {role}", "predefined role"),
        ("GRANT EXECUTE ON FUNCTION pg_read_file(text) TO {role}", "may call `pg_read_file`"),
        ("GRANT EXECUTE ON FUNCTION lo_import(text) TO {role}", "may call `lo_import`"),
        ("GRANT SET ON PARAMETER session_replication_role TO {role}", "may set the server's parameter `session_replication_role`"),
    ],
)
def test_a_role_that_may_do_more_than_read_is_refused_at_start(stocked_postgres: servers.Database, role: str, given: str, reason: str) -> None:
    for statement in filter(None, given.split(";")):
        stocked_postgres.server.run(statement.format(role=role, database=stocked_postgres.name), database=stocked_postgres.name)
    database = Database(stocked_postgres.server.url(role, stocked_postgres.name), dialect="postgres", limits=Limits())
    try:
        if not reason:
            database.check_role([("public", "orders")], allow_privileged=False, file="datasets.yaml")
            return
        with pytest.raises(Misconfigured, match=reason) as caught:
            database.check_role([("public", "orders")], allow_privileged=False, file="datasets.yaml")
        assert all(problem.file == "datasets.yaml" for problem in caught.value.problems)
        database.check_role([("public", "orders")], allow_privileged=True, file="datasets.yaml")
    finally:
        database.close()


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("given", "noted"),
    [
        ("", None),
        ("GRANT TEMPORARY ON DATABASE {database} TO {role}", "may make temporary tables"),
        ("GRANT INSERT ON orders TO {role}", "may write to `public.orders`"),
        ("GRANT UPDATE (region) ON orders TO {role}", "may write to `public.orders`"),
        ("GRANT TRUNCATE ON orders TO {role}", "may write to `public.orders`"),
        ("GRANT SELECT (id) ON items TO {role}", "may read `public.items`, which no dataset names"),
        (
            "CREATE FUNCTION public.lent() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; ALTER FUNCTION lent() OWNER TO rowseal_owner",
            "may call `lent`, which acts as somebody else",
        ),
    ],
)
def test_what_a_role_may_do_beyond_its_work_is_in_the_log_at_start(
    fresh_postgres: servers.Database, caplog: pytest.LogCaptureFixture, given: str, noted: str | None
) -> None:
    name = f"r_{uuid.uuid4().hex[:8]}"
    fresh_postgres.run(*(statement for statement in SCRIPT.split(";") if statement.strip()))
    fresh_postgres.server.run(
        f"CREATE ROLE {name} LOGIN",
        f"GRANT CONNECT ON DATABASE {fresh_postgres.name} TO {name}",
        f"GRANT SELECT ON orders TO {name}",
        *(statement.format(role=name, database=fresh_postgres.name) for statement in filter(None, given.split(";"))),
        database=fresh_postgres.name,
    )
    database = Database(fresh_postgres.server.url(name, fresh_postgres.name), dialect="postgres", limits=Limits())
    try:
        database.check_role([("public", "orders")], allow_privileged=False, file="datasets.yaml")
        assert [noted in each for each in caplog.messages] == ([True] if noted else [])
    finally:
        database.close()
        fresh_postgres.server.run(f"DROP OWNED BY {name}", f"DROP ROLE {name}", database=fresh_postgres.name)


@pytest.mark.postgres
def test_a_view_that_reads_past_row_security_is_in_the_log_at_start(fresh_postgres: servers.Database, caplog: pytest.LogCaptureFixture) -> None:
    fresh_postgres.run("CREATE TABLE orders (id int)", "ALTER TABLE orders ENABLE ROW LEVEL SECURITY", "CREATE VIEW seen AS SELECT id FROM orders")
    database = Database(fresh_postgres.reader_url, dialect="postgres", limits=Limits())
    database.check_role([("public", "seen"), ("public", "orders")], allow_privileged=False, file="datasets.yaml")
    assert "reads past row security in the view `public.seen`" in caplog.text
    caplog.clear()
    fresh_postgres.run("ALTER VIEW seen SET (security_invoker = true)")
    database.check_role([("public", "seen"), ("public", "orders")], allow_privileged=False, file="datasets.yaml")
    assert caplog.messages == []
    database.close()


# --- what is ended from outside ----------------------------------------------------------------------------------------------------------------


@BOTH
def test_a_query_that_nobody_waits_for_is_ended_and_harms_no_other(ground: Ground) -> None:
    database, stop = ground.open(seconds=60, concurrent=1), Stop()
    assert stop.begin()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(database.execute, forge(ground.dialect, endless(ground)), stop)
        assert not running.done()
        while not running.done():
            assert stop.ask()
            wait([running], timeout=0.02)
        with pytest.raises(Cancelled) as caught:
            running.result()
    assert (caught.value.code, caught.value.__context__) == ("query_cancelled", None)
    for number in range(20):  # its connection is not left with an interruption on its way
        assert database.execute(forge(ground.dialect, f"SELECT {number}")).rows == [(number,)]


@BOTH
def test_an_interruption_ends_what_runs_on_its_connection_and_on_no_other(ground: Ground) -> None:
    database = ground.open(seconds=60, concurrent=2)
    slow, done = forge(ground.dialect, endless(ground)), []
    driver = database._driver
    with database._engine.connect() as mine, database._engine.connect() as other:
        interrupt, miss = driver.interrupter(mine), driver.interrupter(other)

        def run() -> None:
            with driver.running(mine, slow), pytest.raises(DatabaseError) as caught:
                mine.exec_driver_sql(driver.render(slow)[0], execution_options={"no_parameters": True}).fetchall()
            done.append(driver.refusal(caught.value.orig)[0].code)  # type: ignore[arg-type]

        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(run)
            miss()
            with pytest.raises(TimeoutError):
                running.result(timeout=0.3)
            while not running.done():  # one that comes before the query has begun ends nothing
                interrupt()
                wait([running], timeout=0.05)
            running.result()
        mine.invalidate()
        other.invalidate()
    assert done == ["timed_out"]


@BOTH
def test_an_interruption_of_a_connection_that_is_gone_does_nothing(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    database = ground.open(concurrent=1)
    with database._engine.connect() as connection:
        interrupt = database._driver.interrupter(connection)
        connection.invalidate()
    interrupt()
    assert all(record.levelno < logging.ERROR for record in caplog.records)
    assert ground.run("SELECT 1").rows == [(1,)]


@BOTH
def test_a_query_that_is_ended_before_it_begins_never_runs(ground: Ground) -> None:
    stop = Stop()
    assert not stop.ask()
    assert not stop.begin()
    with pytest.raises(Cancelled):
        ground.open().execute(forge(ground.dialect, "SELECT 1"), stop)
    assert ground.run("SELECT 1").rows == [(1,)]


@BOTH
def test_what_has_ended_cannot_be_ended(ground: Ground) -> None:
    stop = Stop()
    assert stop.begin()
    assert ground.open().execute(forge(ground.dialect, "SELECT 1"), stop).rows == [(1,)]
    stop.ask()
    assert ground.run("SELECT 2").rows == [(2,)]


# --- whether it answers ------------------------------------------------------------------------------------------------------------------------


@BOTH
def test_a_database_says_whether_it_can_be_reached(ground: Ground) -> None:
    assert ground.open().reachable()


def test_a_file_that_has_gone_cannot_be_reached(sqlite_url: Callable[..., str]) -> None:
    url = sqlite_url(SCRIPT)
    database = Database(url, dialect="sqlite", limits=Limits())
    assert database.reachable()
    Path(url.removeprefix("sqlite:///")).unlink()
    assert not database.reachable()
    database.close()


@pytest.mark.postgres
def test_a_server_is_reached_again_after_its_connections_died(fresh_postgres: servers.Database) -> None:
    database = Database(fresh_postgres.reader_url, dialect="postgres", limits=Limits())
    assert database.reachable()
    died = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rowseal' AND datname = '{fresh_postgres.name}'"
    fresh_postgres.server.run(died)
    assert database.reachable()
    database.close()
    away = make_url(fresh_postgres.reader_url).set(host="127.0.0.1", port=1)
    gone = Database(away, dialect="postgres", limits=Limits())
    assert not gone.reachable()
    gone.close()


# --- the answer as JSON ------------------------------------------------------------------------------------------------------------------------


def test_an_answer_becomes_json_with_every_digit() -> None:
    values = {
        "1": 1,
        "true": True,
        "null": None,
        "12345678901234567890123": 12345678901234567890123,
        "0.1": 0.1,
        "1.10": Decimal("1.10"),
        "1E+30": Decimal("1E+30"),
        '"2026-02-28"': date(2026, 2, 28),
        '"2026-02-28T12:30:00Z"': datetime(2026, 2, 28, 12, 30, tzinfo=UTC),
        '"12:30:00"': time(12, 30),
        '"12345678-1234-5678-1234-567812345678"': uuid.UUID("12345678-1234-5678-1234-567812345678"),
        '"AP8="': b"\x00\xff",
        '"å\\"\\n\u2028"': 'å"\n\u2028',
        '[1,1.50,"a",null]': [1, Decimal("1.50"), "a", None],
        '{"a":{"b":[true]}}': {"a": {"b": [True]}},
    }
    written = to_json(Result(tuple("abc"), [tuple(values.values())], truncated=True))
    assert written.decode() == f'{{"columns":["a","b","c"],"rows":[[{",".join(values)}]],"truncated":true}}'
    assert json.loads(written)["truncated"] is True


def test_an_answer_says_what_type_its_values_are() -> None:
    values = (1, True, Decimal(1), date(2026, 2, 28), datetime(2026, 2, 28, tzinfo=UTC), time(1), b"", [1], {}, uuid.UUID(int=1))
    result = Result(tuple("abcdefghij"), [values, (None,) * 10], truncated=False)
    assert result.types == ("number", "boolean", "number", "date", "date_time", "time", "bytes", "json", "json", "string")
    assert set(result.types) < TYPES.keys()
    assert json.loads(to_json(Result(('a"',), [], truncated=False), types=True)) == {
        "columns": [{"name": 'a"', "type": "unknown"}],
        "rows": [],
        "truncated": False,
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity")])
def test_what_json_has_no_number_for_becomes_null(value: object) -> None:
    assert json.loads(to_json(Result(("a",), [(value,)], truncated=False)))["rows"] == [[None]]


def test_a_lone_surrogate_stays_the_escape_that_it_was() -> None:
    assert json.loads(to_json(Result(("a",), [("\ud800",)], truncated=False)))["rows"] == [["\ud800"]]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [object(), [object()], {"a": object()}, nested(5000)], ids=["type", "in a list", "in an object", "depth"])
def test_what_json_cannot_carry_refuses_the_answer(value: object) -> None:
    with pytest.raises(EngineFailed) as caught:
        to_json(Result(("a",), [(value,)], truncated=False))
    assert "cast" in caught.value.hint


def test_the_repr_of_an_answer_shows_no_row() -> None:
    assert "TOPSECRET" not in repr(Result(("a",), [("TOPSECRET",)], truncated=False))
