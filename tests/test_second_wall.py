"""The first wall switched off: what a broken rewriting might let through, and which of the walls behind it stops that, each of them alone.

`docs/explanation/engine.md` has the same table, and is compared with it.
"""

from __future__ import annotations

import re
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final

import psycopg
import pytest

import servers
from databases.postgres import libpq
from rowseal import cli
from rowseal.catalog import Limits
from rowseal.engine import Database, testimony
from rowseal.engine.postgres_testimony import PostgresWitness
from rowseal.errors import OurBug, Refused
from rowseal.sql import Reads
from test_engine import forge
from world import configuration_file

PAGE = Path(__file__).parent.parent / "docs/explanation/engine.md"

# What is tried -> the SQL, and the letters of the walls that stop it. A guard over `orders` is what the statement should have had.
POSTGRES: Final = {
    "read a table that no dataset names": ("SELECT id FROM public.salaries", "TR"),
    "read it under another schema": ("SELECT id FROM other.orders", "TR"),
    "read a system catalog": ("SELECT relname FROM pg_catalog.pg_class", "T"),
    "read a column that no field names": ("SELECT margin FROM public.orders", "R"),
    "read a dataset's table without its guard": ("SELECT id FROM public.orders", ""),
    "read by a query in a text": ("SELECT query_to_xml('SELECT id FROM public.salaries', true, true, ''), id FROM public.orders", "R"),
    "write": ("DELETE FROM public.orders", "TLR"),
    "write in a CTE": ("WITH d AS (DELETE FROM public.orders RETURNING id) SELECT id FROM d", "TLR"),
    "lock rows": ("SELECT id FROM public.orders FOR UPDATE", "TLR"),
    "make a table": ("CREATE TABLE public.mine AS SELECT id FROM public.orders", "TLR"),
    "make a temporary table": ("CREATE TEMPORARY TABLE mine AS SELECT id FROM public.orders", "TLR"),
    "draw from a sequence": ("SELECT nextval('public.numbers'), id FROM public.orders", "LR"),
    "copy to a program": ("COPY public.orders TO PROGRAM 'cat > ran'", "TR"),
    "copy nothing to a program": ("COPY (SELECT 1) TO PROGRAM 'cat > ran'", "TR"),
    "read a file": ("SELECT pg_read_file('PG_VERSION'), id FROM public.orders", "R"),
    "take a file in": ("SELECT lo_import('PG_VERSION'), id FROM public.orders", "LR"),
    "become somebody else": ("SELECT set_config('role', 'rowseal_owner', false), id FROM public.orders", "LR"),
    "change a setting": ("SELECT set_config('search_path', 'other', false), id FROM public.orders", "L"),
    "send a notification": ("SELECT pg_notify('somebody', 'x'), id FROM public.orders", "L"),
    "run a second statement": ("SELECT id FROM public.orders; COMMIT; DROP TABLE public.orders", "TLR"),
    "sleep": ("SELECT pg_sleep(30), id FROM public.orders", "L"),
    "answer with too much": ("SELECT repeat('x', 1000000) FROM public.orders, generate_series(1, 100)", "L"),
    "hold an advisory lock": ("SELECT pg_advisory_lock(77), id FROM public.orders", ""),
}
SCRIPT = (
    "CREATE TABLE orders (id int PRIMARY KEY, margin int)",
    "INSERT INTO orders VALUES (1, 5), (2, 6)",
    "CREATE TABLE salaries (id int)",
    "INSERT INTO salaries VALUES (77)",
    "CREATE SCHEMA other",
    "CREATE TABLE other.orders (id int)",
    "CREATE SEQUENCE numbers",
)
ORDERS: Reads = {"__g1": frozenset({("public", "orders")})}


@dataclass(frozen=True)
class Ground:
    served: servers.Database
    role: str

    @property
    def everything(self) -> str:
        """As the superuser, whom no right holds back."""
        return self.served.superuser_url

    @property
    def least(self) -> str:
        return self.served.server.url(self.role, self.served.name)

    def state(self) -> object:
        """What a statement may have changed."""
        with psycopg.connect(libpq(self.everything), autocommit=True) as connection:
            tables = connection.execute("SELECT count(*) FROM orders").fetchall(), connection.execute("SELECT count(*) FROM pg_class").fetchall()
            objects = connection.execute("SELECT count(*) FROM pg_largeobject_metadata").fetchall()
            ran = connection.execute("SELECT size FROM pg_stat_file(%s, true)", [f"ran_{self.role}"]).fetchall()
            return tables, objects, ran, connection.execute("SELECT last_value, is_called FROM numbers").fetchall()

    def forget(self) -> None:
        """Whatever a program has left."""
        with psycopg.connect(libpq(self.everything), autocommit=True) as connection:
            connection.execute(f"COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; rm -f ran_{self.role}'".encode())

    def own(self, sql: str) -> str:
        """The server is everybody's: a program leaves a file of this test's own."""
        return sql.replace("> ran", f"> ran_{self.role}")


@pytest.fixture(scope="module")
def ground(postgres_server: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    served = postgres_server.new_database()
    served.run(*SCRIPT)
    fields = [{"id": "id", "type": "number"}]
    file = configuration_file(
        tmp_path_factory.mktemp("wall"), served.owner_url, {"version": 1, "datasets": [{"id": "orders", "table": "orders", "fields": fields}]}
    )
    role, out = f"wall_{uuid.uuid4().hex[:8]}", StringIO()
    assert cli.run(["postgres-role", "--role", role, str(file)], out=out, err=StringIO(), stdin=StringIO(), clock=lambda: 0.0) == 0
    served.server.run(out.getvalue(), database=served.name)
    yield Ground(served, role)
    served.server.run(f"DROP OWNED BY {role}", f"DROP ROLE {role}", database=served.name)
    served.drop()


def each_attempt(attempts: dict[str, tuple[str, str]], wall: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("sql", "stopped"), [pytest.param(sql, wall in walls, id=tried) for tried, (sql, walls) in attempts.items()])


@pytest.mark.postgres
@each_attempt(POSTGRES, "T")
def test_what_postgresql_s_testimony_stops(ground: Ground, sql: str, stopped: bool) -> None:
    with psycopg.connect(libpq(ground.everything)) as connection:
        try:
            PostgresWitness().hear(connection, forge("postgres", sql, reads=ORDERS if "(SELECT 1)" not in sql else {}))
        except (OurBug, psycopg.errors.SyntaxError):  # a second statement
            assert stopped
        else:
            assert not stopped


@pytest.mark.postgres
@each_attempt(POSTGRES, "L")
def test_what_the_locks_on_a_postgresql_connection_stop(ground: Ground, sql: str, stopped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a superuser, and without testimony. Stopped is also what leaves nothing behind."""
    monkeypatch.setattr(testimony.Heard, "__contains__", lambda *_: True)
    before = ground.state()
    database = Database(ground.everything, dialect="postgres", limits=Limits(seconds=2, result_bytes=20_000_000, concurrent=1))
    heard: list[str] = []
    with psycopg.connect(libpq(ground.everything), autocommit=True) as listening:
        listening.execute("LISTEN somebody")
        try:
            database.execute(forge("postgres", ground.own(sql), reads=ORDERS))
        except Refused:
            refused = True
        else:
            refused = False
        heard += [each.payload for each in listening.notifies(timeout=0.1, stop_after=1)]
        held = listening.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 77").fetchall()
    kept = database.execute(forge("postgres", "SELECT current_user, current_setting('search_path')")).rows
    database.close()
    done = ground.state() != before
    ground.forget()
    assert kept == [("postgres", "pg_catalog,pg_temp")]
    assert heard == []
    undone = any(word in sql for word in ("set_config", "pg_notify", "lo_import"))
    assert ((refused or undone) and not done) is stopped
    assert done is ("PROGRAM" in sql)
    assert bool(held) is ("advisory" in sql)


@pytest.mark.postgres
@each_attempt(POSTGRES, "R")
def test_what_a_postgresql_role_of_least_privilege_stops(ground: Ground, sql: str, stopped: bool) -> None:
    """Without testimony, and on a connection that nothing holds back."""
    before = ground.state()
    with psycopg.connect(libpq(ground.least), autocommit=True, options="-c default_transaction_read_only=off -c statement_timeout=500") as connection:
        try:
            connection.execute(ground.own(sql).encode())
        except psycopg.errors.InsufficientPrivilege:
            assert stopped
        except psycopg.errors.QueryCanceled:
            assert not stopped
        else:
            assert not stopped
    assert ground.state() == before


SQLITE: Final = {
    "read a table that no dataset names": ("SELECT id FROM main.salaries", "T"),
    "read a system catalog": ("SELECT name FROM sqlite_master", "T"),
    "read a column that no field names": ('WITH "__g1" AS (SELECT b."margin" FROM "main"."orders" AS b) SELECT * FROM __g1', ""),
    "read a dataset's table without its guard": ("SELECT id FROM main.orders", "T"),
    "write": ("DELETE FROM orders", "TL"),
    "make a table": ("CREATE TABLE mine (id)", "TL"),
    "make a temporary table": ("CREATE TEMP TABLE mine (id)", "TL"),
    "open another file": ("ATTACH ':memory:' AS other", "TL"),
    "write a file": ("VACUUM INTO 'copied.db'", "TL"),
    "load code": ("SELECT load_extension('x')", "TL"),
    "change a setting": ("PRAGMA query_only = OFF", "T"),
    "run a second statement": ("SELECT 1; DROP TABLE orders", "TL"),
    "run for ever": ("WITH RECURSIVE __u1(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM __u1) SELECT sum(n) FROM __u1", "L"),
    "answer with too much": ("WITH RECURSIVE __u1(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM __u1 LIMIT 99) SELECT hex(zeroblob(500000)) FROM __u1", "L"),
}


@pytest.fixture
def file(sqlite_url: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.chdir(tmp_path)
    return sqlite_url("CREATE TABLE orders (id, margin); INSERT INTO orders VALUES (1, 5); CREATE TABLE salaries (id); INSERT INTO salaries VALUES (77);")


@each_attempt(SQLITE, "T")
def test_what_sqlite_s_authorizer_stops(file: str, sql: str, stopped: bool) -> None:
    database = Database(file, dialect="sqlite", limits=Limits(seconds=0.2, result_bytes=20_000_000))
    try:
        database.execute(forge("sqlite", sql, reads={"__g1": frozenset({("main", "orders")})}))
    except Refused as refused:
        stopping = type(refused) is OurBug or "; DROP" in sql  # a second statement never gets as far
    else:
        stopping = False
    database.close()
    assert stopping is stopped


@each_attempt(SQLITE, "L")
def test_what_the_locks_on_a_sqlite_connection_stop(file: str, sql: str, stopped: bool) -> None:
    """Without the authorizer."""
    before = Path("data.db").read_bytes()
    database = Database(file, dialect="sqlite", limits=Limits(seconds=0.2, result_bytes=20_000_000, concurrent=1))
    with database._engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_authorizer(None)
    try:
        database.execute(forge("sqlite", sql, reads={}))
    except (Refused, TypeError):
        refused = True
    else:
        refused = False
    database.close()
    assert (refused or not sql.startswith(("SELECT", "WITH", "PRAGMA"))) is (stopped or sql.startswith("PRAGMA"))
    assert Path("data.db").read_bytes() == before
    assert [each.name for each in Path().iterdir() if each.suffix == ".db"] == ["data.db"]


@pytest.mark.parametrize(("heading", "attempts", "walls"), [("On PostgreSQL", POSTGRES, "TLR"), ("On SQLite", SQLITE, "TL")])
def test_the_page_says_which_wall_stops_what(heading: str, attempts: dict[str, tuple[str, str]], walls: str) -> None:
    section = PAGE.read_text(encoding="utf-8").partition(f"### {heading}\n")[2].partition("\n#")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", section, re.MULTILINE)[2:]]
    assert {row[0]: tuple(row[1 : len(walls) + 1]) for row in rows} == {
        tried: tuple("yes" if wall in stopping else "" for wall in walls) for tried, (_, stopping) in attempts.items()
    }
