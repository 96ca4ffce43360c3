"""An application's own engine, sealed: a secured query runs as it was secured, once, and nothing else runs at all."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, NullPool, Table, create_engine, event, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import servers
from asgi import Front, ask
from rowseal import Gate, GateMiddleware, Signer
from rowseal.catalog.connections import place
from rowseal.engine import seal
from rowseal.errors import TokenRefused, Unsecured
from rowseal.sql import TICKET, SecuredQuery
from sample_engine.keys import make_keys
from sample_engine.shop import make_shop
from world import Bearer, configuration_file, token

DATASETS = [
    {
        "id": "orders",
        "table": "orders",
        "fields": [
            {"id": "id", "type": "number"},
            {"id": "tenant", "type": "number"},
            {"id": "note", "type": "string"},
            {"id": "price", "type": "number"},
            {"id": "day", "type": "date"},
        ],
    },
]
TYPES = {"sqlite": "NUMERIC", "postgres": "numeric"}
DRIVERS = {
    "pysqlite": ("sqlite", "sqlite", False),
    "aiosqlite": ("sqlite", "sqlite+aiosqlite", True),
    "psycopg": ("postgres", "postgresql+psycopg", False),
    "psycopg-async": ("postgres", "postgresql+psycopg", True),
    "asyncpg": ("postgres", "postgresql+asyncpg", True),
}
every_driver = pytest.mark.parametrize(
    "driver", [pytest.param(name, marks=[pytest.mark.postgres] if database == "postgres" else []) for name, (database, _, _) in DRIVERS.items()]
)
two_drivers = pytest.mark.parametrize("driver", ["pysqlite", "aiosqlite"])


@dataclass
class Own:
    """A gate, and an engine of the application's for the same database. `reached` is what came to its cursors, in order."""

    gate: Gate
    engine: Engine | AsyncEngine
    reached: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def target(self) -> Engine:
        return self.engine.sync_engine if isinstance(self.engine, AsyncEngine) else self.engine

    def watch(self) -> None:
        def note(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
            self.reached.append((statement, parameters))

        event.listen(self.target, "do_execute", note)
        event.listen(self.target, "do_executemany", note)
        event.listen(self.target, "do_execute_no_params", lambda *given: self.reached.append((given[1], None)))

    def secured(self, sql: str = "SELECT id FROM orders ORDER BY id", tenant: int = 1, **params: Any) -> SecuredQuery:
        return self.gate.verify(token(Bearer("*", {"orders": [[{"field": "tenant", "op": "=", "value": tenant}]]}))).secure(sql, params)

    def run(self, work: Callable[[Connection], Any]) -> Any:
        """`work` with a connection of the engine; an async driver runs it in its own loop."""
        if isinstance(self.engine, Engine):
            with self.engine.connect() as connection:
                return work(connection)
        engine = self.engine

        async def inside() -> Any:
            try:
                async with engine.connect() as connection:
                    return await connection.run_sync(work)
            finally:
                await engine.dispose()  # its connections belong to this loop

        return asyncio.run(inside())

    def rows(self, query: SecuredQuery) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self.run(lambda connection: [tuple(row) for row in connection.execute(query.statement)])
        return found


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Callable[[str], tuple[Gate, str]]]:
    """A gate and its database's URL, made when first asked for."""
    made: dict[str, tuple[Gate, str]] = {}
    with ExitStack() as exits:

        def gate(name: str) -> tuple[Gate, str]:
            if name not in made:
                folder = tmp_path_factory.mktemp(name)
                script = [
                    f"CREATE TABLE orders (id INTEGER PRIMARY KEY, tenant INTEGER, note TEXT, price {TYPES[name]}, day DATE)",
                    "INSERT INTO orders VALUES (1, 1, '100% :x ? $1', 1.5, '2026-01-31'), (2, 1, NULL, 2, '2026-02-01'), (3, 2, 'other', 3, NULL)",
                ]
                if name == "sqlite":
                    url = f"sqlite:///{folder / 'own.db'}"
                    with closing(sqlite3.connect(folder / "own.db")) as connection:
                        connection.executescript(";".join(script))
                else:
                    server: servers.Server = request.getfixturevalue("postgres_server")
                    database = server.new_database()
                    exits.callback(database.drop)
                    database.run(*script)
                    url = database.reader_url
                loaded = Gate.from_yaml(configuration_file(folder, url, {"version": 1, "datasets": DATASETS}))
                exits.callback(loaded.close)
                made[name] = (loaded, url)
            return made[name]

        yield gate


@pytest.fixture
def own(gates: Callable[[str], tuple[Gate, str]], driver: str) -> Iterator[Own]:
    database, scheme, is_async = DRIVERS[driver]
    gate, url = gates(database)
    engine: Engine | AsyncEngine
    at = f"{scheme}{url[url.index(':') :]}"
    engine = create_async_engine(at, poolclass=NullPool) if is_async else create_engine(at, pool_pre_ping=True)
    made = Own(gate, seal(engine))
    made.run(lambda _: None)  # the dialect's own questions at the first connect pass
    made.watch()
    yield made
    if isinstance(engine, Engine):
        engine.dispose()


def refused(own: Own, work: Callable[[Connection], Any]) -> Unsecured:
    """The refusal, after which nothing has come to a cursor."""
    before = list(own.reached)
    with pytest.raises(Unsecured) as raised:
        own.run(work)
    assert own.reached == before
    return raised.value


# --- what runs ---------------------------------------------------------------------------------------------------------------------------


@every_driver
def test_a_secured_query_runs_and_each_tenant_gets_its_own_rows(own: Own) -> None:
    assert [own.rows(own.secured(tenant=tenant)) for tenant in (1, 2, 1)] == [[(1,), (2,)], [(3,)], [(1,), (2,)]]


@every_driver
def test_the_text_and_the_values_at_the_cursor_are_those_of_the_secured_query(own: Own) -> None:
    """SQLAlchemy writes casts of its own into a statement for some drivers: they do not arrive."""
    query = own.secured("SELECT id, ':x ? % %s $1' AS t FROM orders WHERE note = :note AND id < :most", note="100% :x ? $1", most=2)
    assert own.rows(query) == [(1, ":x ? % %s $1")]
    style: Any = own.target.dialect.paramstyle
    assert own.reached == [query.render(style)]


@every_driver
@pytest.mark.parametrize("filters", [[1], [1, 2], [3]])
def test_values_of_every_type_arrive(own: Own, filters: list[int]) -> None:
    conditions = [
        {"field": "id", "op": "is_one_of", "value": filters},
        {"field": "price", "op": "is_one_of", "value": [1.5, 2, 3]},
        {"field": "price", "op": ">", "value": 0.25},
    ]
    access = own.gate.verify(token(Bearer("*", {"orders": [conditions]})))
    query = access.secure("SELECT id FROM orders ORDER BY id")
    assert own.rows(query) == access.execute("SELECT id FROM orders ORDER BY id").rows == [(each,) for each in filters]
    dated = own.gate.verify(token(Bearer("*", {"orders": [[{"field": "day", "op": ">=", "value": "2026-02-01"}]]})))
    assert own.rows(dated.secure("SELECT id FROM orders")) == [(2,)]


@every_driver
def test_a_query_without_any_value_keeps_its_percent_signs(own: Own) -> None:
    query = own.secured("SELECT '50%' AS t, '%%' AS u")
    assert not query.params
    assert own.rows(query) == [("50%", "%%")]


@every_driver
def test_a_session_runs_it_too(own: Own) -> None:
    query = own.secured()
    assert own.run(lambda connection: [tuple(row) for row in Session(connection).execute(query.statement)]) == [(1,), (2,)]


@every_driver
def test_a_streamed_answer_is_that_of_the_query(own: Own) -> None:
    query = own.secured()
    options = {"stream_results": True, "yield_per": 1}
    assert own.run(lambda connection: [tuple(row) for row in connection.execute(query.statement, execution_options=options)]) == [(1,), (2,)]


@pytest.mark.parametrize("driver", ["aiosqlite", *(pytest.param(name, marks=pytest.mark.postgres) for name in ("psycopg-async", "asyncpg"))])
def test_a_handler_in_an_event_loop_awaits_its_rows(own: Own) -> None:
    engine = own.engine
    assert isinstance(engine, AsyncEngine)

    async def handler() -> list[Any]:
        async with engine.connect() as connection:
            rows = (await connection.execute(own.secured().statement)).all()
            streamed = [tuple(row) async for row in await connection.stream(own.secured().statement)]
            with pytest.raises(Unsecured):
                await connection.execute(text("SELECT id FROM orders"))
            return [[tuple(row) for row in rows], streamed]

    assert asyncio.run(handler()) == [[(1,), (2,)]] * 2


# --- what does not ----------------------------------------------------------------------------------------------------------------------

ORDERS = Table("orders", MetaData(), Column("id", Integer, primary_key=True), Column("tenant", Integer))
UNSECURED: dict[str, Callable[[Connection], Any]] = {
    "text": lambda connection: connection.execute(text("SELECT id FROM orders")),
    "driver sql": lambda connection: connection.exec_driver_sql("SELECT id FROM orders"),
    "driver sql without parameters": lambda connection: connection.exec_driver_sql("SELECT 1", execution_options={"no_parameters": True}),
    "a setting": lambda connection: connection.exec_driver_sql("PRAGMA query_only = OFF" if connection.dialect.name == "sqlite" else "RESET ALL"),
    "core": lambda connection: connection.execute(select(ORDERS)),
    "insert": lambda connection: connection.execute(ORDERS.insert(), {"id": 9, "tenant": 1}),
    "several": lambda connection: connection.execute(ORDERS.insert(), [{"id": 9, "tenant": 1}, {"id": 10, "tenant": 1}]),
    "several by hand": lambda connection: connection.execute(text("DELETE FROM orders WHERE id = :id"), [{"id": 1}, {"id": 2}]),
    "function": lambda connection: connection.scalar(select(1)),
    "tables": ORDERS.drop,
    "session": lambda connection: Session(connection).scalars(text("SELECT id FROM orders")),
    "streamed": lambda connection: connection.execution_options(stream_results=True).execute(text("SELECT id FROM orders")),
    "a ticket that is none": lambda connection: connection.execute(text("SELECT id FROM orders").execution_options(**{TICKET: True})),
    "a ticket for the connection": lambda connection: connection.execution_options(**{TICKET: object()}).execute(text("SELECT id FROM orders")),
}


@every_driver
@pytest.mark.parametrize("what", UNSECURED)
def test_whatever_nobody_secured_is_refused(own: Own, what: str) -> None:
    assert refused(own, UNSECURED[what]).code == "statement_unsecured"


@every_driver
def test_the_secured_text_without_its_ticket_is_refused(own: Own) -> None:
    query = own.secured()
    style: Any = own.target.dialect.paramstyle
    refused(own, lambda connection: connection.execute(text(query.sql), dict(query.params)))
    refused(own, lambda connection: connection.exec_driver_sql(*query.render(style)))
    refused(own, lambda connection: connection.exec_driver_sql(*query.render(style), execution_options={TICKET: query}))
    assert own.rows(query) == [(1,), (2,)], "the ticket has not been used by what did not run"


@every_driver
def test_a_ticket_is_good_for_its_own_text_and_values_only(own: Own) -> None:
    query = own.secured("SELECT id FROM orders WHERE id < :most ORDER BY id", most=9)
    misused: list[Callable[[Connection], Any]] = [
        lambda connection: connection.execute(text("SELECT id FROM orders").execution_options(**{TICKET: query})),
        lambda connection: connection.execution_options(**{TICKET: query}).execute(text("SELECT id FROM orders")),
        lambda connection: connection.execute(
            text("SELECT id FROM orders WHERE id > :g1_0 - :p_most").execution_options(**{TICKET: query}), dict(query.params)
        ),
        lambda connection: connection.execute(query.statement, {"g1_0": 2}),
        lambda connection: connection.execute(query.statement, {"p_most": 2}),
        lambda connection: connection.execute(query.statement.bindparams(g1_0=2)),
        lambda connection: connection.execute(query.statement, [{"p_most": 1}, {"p_most": 2}]),
        lambda connection: connection.execute(query.statement.columns(ORDERS.c.id).subquery().select().execution_options(**{TICKET: query})),
        lambda connection: connection.execute(ORDERS.insert().execution_options(**{TICKET: query}), {"id": 9, "tenant": 1}),
    ]
    for work in misused:
        refused(own, work)
    assert own.rows(query) == [(1,), (2,)]


@every_driver
def test_a_query_runs_once(own: Own) -> None:
    query = own.secured()
    statement = query.statement
    assert own.rows(query) == [(1,), (2,)]
    refused(own, lambda connection: connection.execute(statement))
    assert "a second time" in refused(own, lambda connection: connection.execute(query.statement)).detail


def test_a_query_runs_once_also_when_many_threads_ask(gates: Any) -> None:
    gate, url = gates("sqlite")
    own = Own(gate, seal(create_engine(url, pool_size=8)))
    query, answers, gathered = own.secured(), [], threading.Barrier(8)

    def work() -> None:
        statement = query.statement
        gathered.wait()
        try:
            answers.append(len(own.run(lambda connection: connection.execute(statement).all())))
        except Unsecured:
            answers.append(0)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    own.target.dispose()
    assert sorted(answers) == [0] * 7 + [2]


@two_drivers
def test_a_query_whose_token_has_ended_is_refused(gates: Any, driver: str) -> None:
    gate, url = gates("sqlite")
    now = time.time()
    engine = create_engine(url)
    own = Own(gate, seal(engine, clock=lambda: now))
    own.watch()
    query = own.secured()
    now = query.expires_at
    with pytest.raises(TokenRefused, match="token_expired"):
        own.rows(query)
    assert own.reached == []
    now = query.expires_at - 1
    assert own.rows(query) == [(1,), (2,)]
    engine.dispose()


def test_a_query_secured_for_another_database_is_refused(gates: Any, tmp_path: Path) -> None:
    gate, url = gates("sqlite")
    front = Front(tmp_path)
    other = create_engine(front.gate.catalogs["default"].database)
    copy = create_engine(f"sqlite:///{tmp_path / 'copy.db'}")
    try:
        own = Own(gate, seal(other))
        own.watch()
        assert "gate.catalogs[name].database" in refused(own, lambda connection: connection.execute(own.secured().statement)).hint
        with closing(sqlite3.connect(tmp_path / "copy.db")) as file, closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as original:
            original.backup(file)
        told = Own(gate, seal(copy, database=gate.catalogs["default"].database))
        assert told.rows(told.secured()) == [(1,), (2,)], "a copy of which the operator says so"
    finally:
        other.dispose()
        copy.dispose()
        front.gate.close()


@pytest.mark.postgres
def test_a_query_secured_for_another_dialect_is_refused(gates: Any) -> None:
    (_, url), (gate, _) = gates("sqlite"), gates("postgres")
    engine = create_engine(url)
    own = Own(gate, seal(engine))
    own.watch()
    assert "dialect" in refused(own, lambda connection: connection.execute(own.secured().statement)).detail
    engine.dispose()


PLACES = [
    ("postgresql://a:b@DB/shop", "postgresql+asyncpg://other@db:5432/shop", True),
    ("postgresql+psycopg://a@/shop?host=/run/pg&port=5433", "postgresql+psycopg://b@/shop?port=5433&host=/run/pg&sslmode=disable", True),
    ("postgresql://a@db/shop", "postgresql://a@db/shop2", False),
    ("postgresql://a@db/shop", "postgresql://a@db2/shop", False),
    ("postgresql://a@db/shop", "postgresql://a@db:5433/shop", False),
    ("postgresql://a@/shop?service=x", "postgresql://a@/shop?service=y", False),
    ("postgresql://a@db", "postgresql://b@db", False),
    ("postgresql://a@/shop?host=/run/pg", "postgresql://a@/shop?host=/run/PG", False),
    ("sqlite:////data/../data/shop.db", "sqlite+aiosqlite:////data/shop.db", True),
    ("sqlite:////data/shop.db", "sqlite:///file:/data/shop.db?mode=ro&uri=true", True),
    ("sqlite:////data/shop.db", "sqlite:////data/Shop.db", False),
    ("sqlite:////db/shop", "postgresql://a@/shop", False),
]


@pytest.mark.parametrize(("one", "other", "same"), PLACES)
def test_two_urls_lead_to_one_database_whoever_connects_and_by_whichever_driver(*, one: str, other: str, same: bool) -> None:
    assert (place(one) == place(other)) is same


# --- what is excepted -------------------------------------------------------------------------------------------------------------------


@every_driver
def test_reflection_passes_and_what_comes_after_it_does_not(own: Own) -> None:
    def look(connection: Connection) -> list[str]:
        metadata = MetaData()
        metadata.reflect(connection)
        assert "orders" in metadata.tables
        assert inspect(connection).has_table("orders")
        with pytest.raises(Unsecured):
            connection.execute(text("SELECT 1"))
        return [column["name"] for column in inspect(connection).get_columns("orders")]

    assert own.run(look) == ["id", "tenant", "note", "price", "day"]


@pytest.mark.parametrize("driver", ["pysqlite"])
def test_while_one_connection_looks_at_the_schema_another_one_stays_sealed(own: Own) -> None:
    seen: list[str] = []

    def meddle(*_: Any) -> None:
        with own.target.connect() as another, pytest.raises(Unsecured):
            another.execute(text("SELECT 1"))
        seen.append("refused")

    def look(connection: Connection) -> None:
        event.listen(connection, "before_cursor_execute", meddle)
        inspect(connection).get_columns("orders")

    own.run(look)
    assert "refused" in seen


@two_drivers
def test_a_reflection_that_fails_leaves_the_seal_closed(own: Own) -> None:
    from sqlalchemy.exc import NoSuchTableError

    def look(connection: Connection) -> None:
        with pytest.raises(NoSuchTableError):
            inspect(connection).get_columns("nothing")
        connection.execute(text("SELECT 1"))

    before = len(own.reached)
    with pytest.raises(Unsecured):
        own.run(look)
    assert all("SELECT 1" not in statement for statement, _ in own.reached[before:])


@every_driver
def test_transactions_and_savepoints_work_as_always(own: Own) -> None:
    def work(connection: Connection) -> int:
        with connection.begin():
            with connection.begin_nested():
                first = connection.execute(own.secured().statement).all()
            nested = connection.begin_nested()
            nested.rollback()
            second = connection.execute(own.secured(tenant=2).statement).all()
        return len(first) + len(second)

    assert own.run(work) == 3


@pytest.mark.parametrize("driver", ["pysqlite", pytest.param("psycopg", marks=pytest.mark.postgres)])
def test_the_pool_may_ping_and_an_isolation_level_may_be_set(own: Own) -> None:
    for _ in range(2):
        assert own.rows(own.secured()) == [(1,), (2,)]
    level = "SERIALIZABLE"
    assert own.run(lambda connection: connection.execution_options(isolation_level=level).execute(own.secured().statement).scalar()) == 1


@two_drivers
def test_engines_that_share_its_pool_and_connections_that_were_open_are_sealed_too(gates: Any, driver: str) -> None:
    gate, url = gates("sqlite")
    engine = create_engine(url)
    shared = engine.execution_options(logging_token="x")
    with engine.connect() as early, shared.connect() as earlier:
        early.execute(text("SELECT 1")).close()
        seal(engine)
        for connection in (early, earlier, shared.connect(), engine.execution_options(logging_token="y").connect()):
            with connection, pytest.raises(Unsecured):
                connection.execute(text("SELECT 1"))
    own = Own(gate, shared)
    assert own.rows(own.secured()) == [(1,), (2,)]
    engine.dispose()


# --- other listeners, and whoever mounts it wrongly --------------------------------------------------------------------------------------


def test_a_listener_that_changes_a_secured_query_on_its_way_is_noticed(gates: Any) -> None:
    """Some tracers write comments into every statement. One that is registered before loses; one after would win."""
    gate, url = gates("sqlite")

    def comment(*given: Any) -> tuple[str, Any]:
        return f"{given[2]} /* traced */", given[3]

    for before in (True, False):
        own = Own(gate, create_engine(url))
        if before:
            event.listen(own.target, "before_cursor_execute", comment, retval=True)
        seal(own.engine)
        if before:
            own.watch()
            assert own.rows(own.secured()) == [(1,), (2,)]
            assert "traced" not in own.reached[0][0]
        else:
            event.listen(own.target, "before_cursor_execute", comment, retval=True)
            own.watch()
            assert "listener" in refused(own, lambda connection, own=own: connection.execute(own.secured().statement)).detail
        own.target.dispose()


@every_driver
def test_a_statement_that_must_not_look_for_parameters_is_refused(own: Own) -> None:
    query = own.secured("SELECT '5%' AS t")
    assert "no_parameters" in refused(own, lambda connection: connection.execute(query.statement, execution_options={"no_parameters": True})).detail


def test_an_engine_is_sealed_once(gates: Any) -> None:
    engine = seal(create_engine(gates("sqlite")[1]))
    with pytest.raises(ValueError, match="already"):
        seal(engine)
    engine.dispose()


def test_a_style_of_parameters_that_is_not_known_stops_the_start(gates: Any) -> None:
    engine = create_engine(gates("sqlite")[1], paramstyle="numeric")
    with pytest.raises(ValueError, match="numeric"):
        seal(engine)


def test_the_page_s_handler_answers_each_tenant_with_its_own_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """own-engine.md, its snippet over the sample's shop and configuration."""
    root = Path(__file__).parents[1]
    (snippet,) = re.findall(r"```python\n(.*?)```", (root / "docs/how-to/own-engine.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "sample_engine").mkdir()
    make_shop(f"sqlite:///{tmp_path / 'sample_engine' / 'shop.db'}")
    private_key = make_keys(tmp_path / "sample_engine" / "keys").read_bytes()
    (tmp_path / "datasets.yaml").write_text((root / "datasets.yaml").read_text(encoding="utf-8"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(snippet, "own-engine.md", "exec"), names)
    gate = Gate.from_yaml("datasets.yaml")
    app = GateMiddleware(Starlette(routes=[Route("/query", names["query"], methods=["POST"])]), gate=gate)

    async def both() -> list[Any]:
        answers = []
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://own") as client:
            for tenant in (1, 2):
                own = {"orders": [[{"field": "tenant", "op": "=", "value": tenant}]]}
                tokens = Signer(private_key, 10).generate_tokens(user_reference="u", project_id="p", data_set_ids=["orders"], secure_filters=own)
                headers = {"Authorization": f"Bearer {tokens['dataAccessToken']}"}
                answers.append((await client.post("/query", json={"sql": "SELECT DISTINCT tenant FROM orders"}, headers=headers)).json())
        await names["engine"].dispose()
        return answers

    assert asyncio.run(both()) == [{"rows": [[tenant]], "truncated": False} for tenant in (1, 2)]
    gate.close()


def test_the_bearer_gets_500_and_neither_they_nor_the_log_a_word_of_what_was_asked(gates: Any, caplog: pytest.LogCaptureFixture) -> None:
    gate, url = gates("sqlite")
    engine = seal(create_engine(url))

    async def handler(request: Request) -> Response:
        with engine.connect() as connection:
            return JSONResponse([list(row) for row in connection.execute(text((await request.json())["sql"]))])

    app = GateMiddleware(Starlette(routes=[Route("/query", handler, methods=["POST"])]), gate=gate)
    headers = [("Authorization", f"Bearer {token(Bearer('*', {}))}")]
    with caplog.at_level(logging.INFO):
        answer = ask(app, headers=headers, body=json.dumps({"sql": "SELECT note FROM orders -- LEAKED"}).encode())
    assert (answer.status, answer.code) == (500, "statement_unsecured")
    assert b"LEAKED" not in answer.body
    assert "LEAKED" not in caplog.text
    assert "a sealed engine ran nothing: statement_unsecured" in caplog.text
    [decision] = [json.loads(entry.message) for entry in caplog.records if entry.name == "rowseal.decisions"]
    assert (decision["code"], decision["request_id"]) == ("statement_unsecured", answer.header("x-request-id"))
    engine.dispose()
