"""Before a text runs for the first time the database itself says what it reads (G3). Forged queries, as a broken rewriting would leave them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

import servers
from databases.postgres import libpq
from rowseal import sql
from rowseal.catalog import Limits
from rowseal.engine import Database, testimony
from rowseal.engine.sqlite import SQLiteDriver
from rowseal.errors import EngineFailed, Misconfigured, OurBug, Refused
from rowseal.sql import Reads, SecuredQuery

ORDERS: Reads = {"__g1": frozenset({("public", "orders")})}
GUARD = '"__g1" AS NOT MATERIALIZED (SELECT b."id" AS "id" FROM "public"."orders" AS b WHERE b."tenant" = 1)'
SCRIPT = (
    "CREATE TABLE orders (id int PRIMARY KEY, tenant int)",
    "INSERT INTO orders VALUES (1, 1), (2, 2), (3, 1)",
    "CREATE TABLE secrets (id int)",
    "INSERT INTO secrets VALUES (7)",
    "CREATE VIEW late AS SELECT id, tenant FROM orders WHERE id > 1",
    "CREATE VIEW later AS SELECT id, tenant FROM late",
    "CREATE VIEW leaking AS SELECT id, 1 AS tenant FROM secrets",
    "CREATE TABLE parts (id int, tenant int) PARTITION BY LIST (tenant)",
    "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1)",
    "CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2)",
    "INSERT INTO parts VALUES (1, 1), (2, 2)",
    "CREATE SCHEMA other",
    "CREATE TABLE other.orders (id int, tenant int)",
    "CREATE SEQUENCE numbers",
    "CREATE TABLE members (id int)",
    "CREATE TABLE policed (id int)",
    "INSERT INTO members VALUES (1); INSERT INTO policed VALUES (1), (2)",
    "ALTER TABLE policed ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY own ON policed USING (id IN (SELECT m.id FROM members AS m))",
)

pytestmark = pytest.mark.postgres


def forge(*parts: str, params: dict[str, Any] | None = None, reads: Reads = ORDERS, dialect: str = "postgres") -> SecuredQuery:
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
        reads=reads,
        row_limit=100,
    )


def reading(*tables: str) -> Reads:
    return {f"__g{number}": frozenset({("public", table)}) for number, table in enumerate(tables, 1)}


@pytest.fixture(scope="module")
def stocked(postgres_server: servers.Server) -> Iterator[servers.Database]:
    database = postgres_server.new_database()
    database.run(*SCRIPT)
    yield database
    database.drop()


@pytest.fixture
def database(stocked: servers.Database) -> Iterator[Database]:
    opened = Database(stocked.reader_url, dialect="postgres", limits=Limits(seconds=5))
    yield opened
    opened.close()


@pytest.fixture
def ran() -> Iterator[list[str]]:
    """Every statement that was run meanwhile."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield sent
    event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize(
    ("query", "reads", "rows"),
    [
        ("SELECT 1", {}, [(1,)]),
        (f"WITH {GUARD} SELECT id FROM __g1 ORDER BY id", ORDERS, [(1,), (3,)]),
        (f"WITH {GUARD} SELECT id FROM __g1 WHERE 1 = 2", ORDERS, []),  # the plan reads no table at all
        (f"WITH {GUARD} SELECT 1", ORDERS, [(1,)]),
        (f"WITH {GUARD}, __u1 AS (SELECT id FROM __g1) SELECT a.id FROM __u1 AS a JOIN __u1 AS b USING (id) ORDER BY 1", ORDERS, [(1,), (3,)]),
        ("WITH __g1 AS (SELECT b.id FROM public.later AS b WHERE b.tenant = 1) SELECT id FROM __g1", reading("later"), [(3,)]),
        ("WITH __g1 AS (SELECT b.id FROM public.parts AS b WHERE b.tenant = 1) SELECT id FROM __g1", reading("parts"), [(1,)]),
        ("WITH __g1 AS (SELECT b.id FROM public.policed AS b) SELECT id FROM __g1", reading("policed"), [(1,)]),
        (f"WITH {GUARD}, __g2 AS (SELECT b.id FROM public.secrets AS b) SELECT id FROM __g2", reading("orders", "secrets"), [(7,)]),
        (
            "WITH __g1 AS (SELECT b.id FROM public.secrets AS b WHERE EXISTS (SELECT 1 FROM public.orders AS p WHERE p.id < b.id)) SELECT id FROM __g1",
            {"__g1": frozenset({("public", "secrets"), ("public", "orders")})},
            [(7,)],
        ),
    ],
)
def test_what_the_guards_read_is_what_the_database_says(database: Database, query: str, reads: Reads, rows: list[Any]) -> None:
    for _ in range(2):
        assert database.execute(forge(query, reads=reads)).rows == rows
    assert len(database._heard) == 1


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM public.secrets",
        f"WITH {GUARD} SELECT id FROM __g1 UNION ALL SELECT id FROM public.secrets",
        f"WITH {GUARD} SELECT id FROM __g1 WHERE EXISTS (SELECT 1 FROM public.secrets)",
        f"WITH {GUARD} SELECT (SELECT max(id) FROM public.secrets) FROM __g1",
        f"WITH {GUARD}, __u1 AS (SELECT id FROM public.secrets) SELECT id FROM __g1",  # nobody reads it
        f"WITH {GUARD} SELECT id FROM __g1, LATERAL (SELECT 1 FROM public.secrets AS s WHERE s.id = __g1.id) AS l",
        f"WITH {GUARD} SELECT id FROM __g1 WHERE 1 = 2 AND id IN (SELECT id FROM public.secrets)",  # no plan has it
        f"WITH {GUARD} SELECT id FROM __g1 UNION ALL SELECT id FROM other.orders",
        f"WITH {GUARD} SELECT id FROM __g1 UNION ALL SELECT id FROM public.leaking",
        f"WITH {GUARD} SELECT id FROM __g1 UNION ALL SELECT oid::int FROM pg_catalog.pg_class",
        f"WITH {GUARD} SELECT id FROM __g1 UNION ALL SELECT relation::int FROM pg_locks",
        f"WITH {GUARD} SELECT id FROM __g1 UNION ALL SELECT 1 FROM information_schema.tables",
        f"WITH {GUARD} SELECT id FROM __g1 UNION ALL SELECT last_value FROM public.numbers",
        f"WITH {GUARD} SELECT id FROM __g1 UNION ALL SELECT id FROM public.parts_1",
        'WITH "__g1" AS (SELECT b.id FROM other.orders AS b) SELECT id FROM __g1',  # the name is right, the schema is not
        "SELECT 1",  # the guard that was there is gone
        "SELECT b.id FROM public.orders AS b FOR UPDATE",
        "DELETE FROM public.orders",
        "UPDATE public.orders SET tenant = 1",
        "INSERT INTO public.orders VALUES (9, 9)",
        f"WITH {GUARD}, d AS (DELETE FROM public.orders RETURNING id) SELECT id FROM __g1",
        "COPY public.orders TO STDOUT",
        "TRUNCATE public.orders",
        "DROP TABLE public.orders",
        "SET ROLE none",
        "NOTIFY somebody",
    ],
)
def test_a_statement_that_reads_anything_else_does_not_run(
    database: Database, stocked: servers.Database, query: str, ran: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    for url in (stocked.reader_url, stocked.owner_url):  # it is the reading that is refused, not a missing right
        mine = database if url == stocked.reader_url else Database(url, dialect="postgres", limits=Limits())
        caplog.clear()
        with pytest.raises(Refused) as caught:
            mine.execute(forge(query))
        if mine is not database:
            mine.close()
            assert type(caught.value) is OurBug
            assert [record.levelno for record in caplog.records] == [logging.ERROR]
            assert not any(name in caplog.messages[0] for name in ("orders", "secrets", "parts"))
    assert ran == []
    assert len(database._heard) == 0


def test_no_value_of_a_bind_hides_what_another_one_reads(database: Database) -> None:
    """A plan made for the value at hand would not show the table, and the text is asked about once."""
    for value in (1, 2):
        query = forge(f"WITH {GUARD} SELECT id FROM __g1 WHERE CAST(", "p0_x", " AS INT) = 2 AND id IN (SELECT id FROM public.secrets)", params={"p0_x": value})
        with pytest.raises(OurBug):
            database.execute(query)


def test_binds_of_every_type_are_told_as_they_run(database: Database) -> None:
    values = {"a": 1, "b": "x", "c": [1, 2], "d": ["a", "b"], "e": None, "f": 2.5, "g": True, "h": 2**40}
    casts = dict(zip(values, ("BIGINT", "TEXT", "BIGINT[]", "TEXT[]", "TEXT", "DOUBLE PRECISION", "BOOLEAN", "BIGINT"), strict=True))
    parts = ["SELECT 100 % 7"]
    for name, cast in [*casts.items(), ("a", "BIGINT")]:
        parts = [*parts[:-1], parts[-1] + ", CAST(", name, f" AS {cast})"]
    assert database.execute(forge(*parts, params=values, reads={})).rows == [(2, *values.values(), 1)]


@pytest.mark.parametrize(
    ("query", "code"), [("SELECT nofunction(1)", "query_failed"), ("SELECT 1 FROM WHERE", "query_failed"), ("SELECT pg_sleep(9)", "timed_out")]
)
def test_what_is_wrong_with_a_statement_is_told_as_if_it_had_run(stocked: servers.Database, monkeypatch: pytest.MonkeyPatch, query: str, code: str) -> None:
    told = []
    for asked in (True, False):
        if not asked:
            monkeypatch.setattr(testimony.Heard, "__contains__", lambda *_: True)
        database = Database(stocked.reader_url, dialect="postgres", limits=Limits(seconds=0.3))
        with pytest.raises(EngineFailed if code == "query_failed" else Refused) as caught:
            database.execute(forge(query, reads={}))
        database.close()
        told.append((caught.value.code, caught.value.detail, caught.value.hint))
    assert told[0] == told[1]
    assert told[0][0] == code


def test_nothing_of_the_bearer_s_is_evaluated_to_testify(database: Database, stocked: servers.Database) -> None:
    """A plan would have folded 1/0."""
    query = forge(f"WITH {GUARD} SELECT 1/0 FROM __g1")
    with psycopg.connect(libpq(stocked.reader_url)) as connection:
        database._driver._witness.hear(connection, query)  # type: ignore[attr-defined]  # no error


def test_a_table_that_was_made_anew_is_known_again(fresh_postgres: servers.Database) -> None:
    fresh_postgres.run(*SCRIPT[:2])
    database = Database(fresh_postgres.reader_url, dialect="postgres", limits=Limits())
    assert database.execute(forge(f"WITH {GUARD} SELECT count(*) FROM __g1")).rows == [(2,)]
    fresh_postgres.run("DROP TABLE orders", "CREATE TABLE orders (id int, tenant int)")
    assert database.execute(forge(f"WITH {GUARD} SELECT count(*) AS a FROM __g1")).rows == [(0,)]
    database.close()


def test_what_was_said_of_a_text_is_not_said_of_other_reads(database: Database) -> None:
    query = f"WITH {GUARD} SELECT id FROM __g1"
    database.execute(forge(query))
    with pytest.raises(OurBug):
        database.execute(forge(query, reads=reading("secrets")))


def test_the_texts_that_are_remembered_are_bounded_and_those_used_last_stay() -> None:
    kept = testimony.Heard(most=20_000)
    first = forge("SELECT 0", reads={})
    kept.add(first)
    for number in range(1, 200):
        kept.add(forge(f"SELECT {number}", reads={}))
        assert first in kept
    assert len(kept) < 50
    assert forge("SELECT 1", reads={}) not in kept
    assert forge("SELECT 199", reads={}) in kept
    kept.add(forge(f"SELECT '{'x' * 20_000}'", reads={}))
    assert len(kept) == 0


@pytest.mark.parametrize("allowed", [False, True])
def test_a_database_that_cannot_testify_is_refused_at_start(
    sqlite_url: Callable[..., str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, allowed: bool
) -> None:
    monkeypatch.setattr(SQLiteDriver, "testimony", testimony.Testimony.NONE)
    database = Database(sqlite_url("CREATE TABLE orders (id)"), dialect="sqlite", limits=Limits(), connection="shop")
    if allowed:
        database.check_testimony(allow_experimental=True, file="datasets.yaml")
        assert "connections.shop.url" in caplog.text
    else:
        with pytest.raises(Misconfigured, match=r"connections.shop.url: .*experimental.* write `experimental: true`"):
            database.check_testimony(allow_experimental=False, file="datasets.yaml")
    database.close()
