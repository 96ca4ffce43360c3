"""Several databases behind one gate: a query is for one of them, and which one tells nothing of what is not granted."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import servers
from asgi import ask
from rowseal import Gate, GateMiddleware, Rewrite, Signer, cli, errors
from rowseal.engine import Database
from rowseal.errors import Misconfigured

POSTGRES = pytest.mark.postgres
KEY = ec.generate_private_key(ec.SECP256R1())
# The same tables in each database; what is in them says which database answered.
TABLES = ("orders", "events", "secrets")


def fields() -> list[dict[str, str]]:
    return [{"id": "id", "type": "number"}, {"id": "tenant", "type": "number"}, {"id": "place", "type": "string"}]


def dataset(id_: str, connection: str | None, table: str = "orders", **more: Any) -> dict[str, Any]:
    return {"id": id_, "table": table, "fields": fields(), **({} if connection is None else {"connection": connection}), **more}


DATASETS = [
    dataset("orders", "shop"),
    dataset("events", "warehouse", "events"),
    dataset("shop_secrets", "shop", "secrets"),
    dataset("secrets", "warehouse", "secrets"),
]


@dataclass
class Houses:
    """A folder with a configuration of several connections."""

    folder: Path
    urls: dict[str, str]
    opened: list[Gate] = field(default_factory=list)

    def write(self, datasets: list[dict[str, Any]] = DATASETS, *, order: tuple[str, ...] = ("shop", "warehouse"), **more: Any) -> Path:
        (self.folder / "public.pem").write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        document = {
            "version": 1,
            "connections": {name: {"url": self.urls[name]} for name in order},
            "tokens": [{"profile": "vizzly", "keys": [{"id": "k", "public_key_file": "public.pem"}]}],
            "datasets": datasets,
            **more,
        }
        path = self.folder / "datasets.yaml"
        path.write_text(yaml.safe_dump({name: value for name, value in document.items() if value is not None}, sort_keys=False))
        return path

    def gate(self, *args: Any, **more: Any) -> Gate:
        self.opened.append(Gate.from_yaml(self.write(*args, **more)))
        return self.opened[-1]

    def problems(self, *args: Any, **more: Any) -> list[str]:
        with pytest.raises(Misconfigured) as refused:
            self.gate(*args, **more)
        return [f"{problem.path}: {problem.message}" for problem in refused.value.problems]


def token(*ids: str, tenant: int = 1, everything: bool = False) -> str:
    filters = {name: [[{"field": "tenant", "op": "=", "value": tenant}]] for name in ids}
    signed = Signer(KEY, 10).generate_tokens(user_reference="u", data_set_ids="*" if everything else list(ids), secure_filters=filters, project_id="p")
    return signed["dataAccessToken"]


def script(place: str) -> list[str]:
    rows = ", ".join(f"({tenant * 10 + number}, {tenant}, '{place}')" for tenant in (1, 2) for number in range(2))
    return [
        statement for table in TABLES for statement in (f"CREATE TABLE {table} (id INTEGER, tenant INTEGER, place TEXT)", f"INSERT INTO {table} VALUES {rows}")
    ]


def sqlite_at(folder: Path, place: str) -> str:
    with closing(sqlite3.connect(folder / f"{place}.db")) as database:
        database.executescript(";".join(script(place)))
    return f"sqlite:///{folder}/{place}.db"


@pytest.fixture
def two_files(tmp_path: Path) -> Iterator[Houses]:
    """Two SQLite files."""
    houses = Houses(tmp_path, {place: sqlite_at(tmp_path, place) for place in ("shop", "warehouse")})
    yield houses
    for each in houses.opened:
        each.close()


@pytest.fixture
def two_dialects(tmp_path: Path, fresh_postgres: servers.Database) -> Iterator[Houses]:
    """SQLite is the shop, PostgreSQL the warehouse."""
    fresh_postgres.run(*script("warehouse"))
    houses = Houses(tmp_path, {"shop": sqlite_at(tmp_path, "shop"), "warehouse": fresh_postgres.reader_url})
    yield houses
    for each in houses.opened:
        each.close()


def at(place: str) -> list[tuple[int, str]]:
    return [(10, place), (11, place)]


def refused(use: Callable[[], object]) -> tuple[object, ...]:
    """A refusal as a bearer sees it, whole."""
    with pytest.raises(errors.Refused) as caught:
        use()
    said = caught.value
    return type(said), said.code, said.status, said.detail, said.hint, said.line, said.column


# --- which connection ------------------------------------------------------------------------------------------------------------------------


@POSTGRES
@pytest.mark.parametrize("order", [("shop", "warehouse"), ("warehouse", "shop")])
def test_each_query_goes_to_the_database_of_its_datasets(two_dialects: Houses, order: tuple[str, ...]) -> None:
    gate = two_dialects.gate(order=order)
    assert {name: catalog.dialect for name, catalog in gate.catalogs.items()} == {"shop": "sqlite", "warehouse": "postgres"}
    assert list(gate.catalogs) == list(order)
    access = gate.verify(token("orders", "events"))
    assert access.execute("SELECT id, place FROM orders ORDER BY id").rows == at("shop")
    assert access.execute("SELECT id, place FROM events ORDER BY id").rows == at("warehouse")
    # each in words that the other does not know
    assert access.execute("SELECT id, place FROM events WHERE place ILIKE 'WARE%' ORDER BY id").rows == at("warehouse")
    assert access.execute("SELECT id, place FROM orders WHERE place GLOB 's*' ORDER BY id").rows == at("shop")


def test_a_query_never_reads_two_databases(two_files: Houses) -> None:
    access = two_files.gate().verify(token("orders", "events"))
    said = refused(lambda: access.execute("SELECT 1 FROM orders JOIN events ON events.id = orders.id"))
    assert said[1] == "dataset_unknown"
    assert "a query stays within one connection" in str(said[4])
    with pytest.raises(errors.AccessRefused, match="dataset_unknown"):
        access.execute("SELECT 1 FROM orders WHERE id IN (SELECT id FROM events)")


def test_the_dataset_that_the_request_names_says_which(two_files: Houses) -> None:
    gate = two_files.gate([dataset("east", "shop", sql_name="orders"), dataset("west", "warehouse", sql_name="orders")])
    access = gate.verify(token("east", "west"))
    query = "SELECT id, place FROM orders ORDER BY id"
    assert access.execute(query).rows == at("shop")  # the first of the file
    assert access.execute(query, dataset="west").rows == at("warehouse")
    assert access.execute(query, dataset="east").rows == at("shop")
    assert access.execute(query, connection="warehouse").rows == at("warehouse")
    assert access.execute("SELECT id, place FROM main.orders ORDER BY id", dataset="west").rows == at("warehouse")
    # whoever is granted one of the two means that one
    assert gate.verify(token("west")).execute(query).rows == at("warehouse")


def test_the_dataset_that_the_request_names_is_the_one_that_is_read(two_files: Houses) -> None:
    access = two_files.gate([dataset("east", "shop", sql_name="orders"), dataset("west", "warehouse", sql_name="orders")]).verify(token("east"))
    with pytest.raises(errors.AccessRefused, match="dataset_not_asked"):
        access.execute("SELECT id FROM orders", dataset="west")  # not granted, so it chooses no database


def test_a_connection_that_is_not_there_is_no_database(two_files: Houses) -> None:
    access = two_files.gate().verify(token("orders"))
    with pytest.raises(errors.EngineFailed, match="database_unavailable"):
        access.execute("SELECT id FROM orders", connection="attic")
    with pytest.raises(errors.AccessRefused, match="dataset_unknown"):
        access.execute("SELECT id FROM orders", connection="warehouse")


def test_a_query_without_tables_runs_somewhere(two_files: Houses) -> None:
    assert two_files.gate().verify(token("events")).execute("SELECT 1 AS one").rows == [(1,)]


def test_the_refusal_of_the_database_that_is_meant_is_told(two_files: Houses) -> None:
    access = two_files.gate().verify(token("orders", "events"))
    assert refused(lambda: access.execute("SELECT nope FROM events"))[1] == "column_unknown"
    assert refused(lambda: access.execute("SELECT nope FROM orders"))[1] == "column_unknown"
    assert refused(lambda: access.execute("SELECT FROM WHERE"))[1] == "sql_syntax"


@POSTGRES
def test_the_refusal_of_the_database_that_understood_the_query_is_told(two_dialects: Houses) -> None:
    access = two_dialects.gate().verify(token("orders", "events"))
    assert refused(lambda: access.execute("SELECT nope FROM events WHERE place ILIKE 'a%'"))[1] == "column_unknown"


def test_a_secured_query_says_its_connection_and_runs_on_no_other(two_files: Houses) -> None:
    gate = two_files.gate()
    query = gate.verify(token("events")).secure("SELECT id FROM events")
    assert query.connection == "warehouse"
    with gate._entered() as state, pytest.raises(errors.OurBug):
        state.connections["shop"].database.execute(query)


def test_datasets_of_every_connection_are_listed(two_files: Houses) -> None:
    access = two_files.gate().verify(token("events", "orders"))
    assert [(each.dataset.id, each.refusal) for each in access.datasets()] == [("orders", None), ("events", None)]


# --- G7 --------------------------------------------------------------------------------------------------------------------------------------

ASKED = [
    "SELECT id FROM {}",
    "SELECT nope FROM {}",
    "SELECT 1 FROM orders JOIN {} ON 1 = 1",
    "SELECT 1 FROM events JOIN {} ON 1 = 1",
    "SELECT 1 FROM orders WHERE id IN (SELECT id FROM {})",
    "SELECT 1 FROM {} WHERE place ILIKE 'a%'",
    "SELECT 1 FROM {} WHERE place GLOB 'a*'",
    "SELECT nosuchfunction(1) FROM {}",
    "SELECT FROM {}",
]


@POSTGRES
@pytest.mark.parametrize("order", [("shop", "warehouse"), ("warehouse", "shop")])
@pytest.mark.parametrize("granted", [("orders",), ("events",), ("orders", "events"), ("nothing",)])
def test_ungranted_and_unknown_are_told_alike_whatever_database_they_are_in(two_dialects: Houses, order: tuple[str, ...], granted: tuple[str, ...]) -> None:
    """By words, place, hint and dialect; with the dataset named in the request and without; `sercets` is as long as `secrets`."""
    access = two_dialects.gate(order=order).verify(token(*granted))
    for sql in ASKED:
        unknown = refused(lambda sql=sql: access.execute(sql.format("sercets")))
        for ungranted in ("secrets", "shop_secrets"):
            stranger = "sercets" if len(ungranted) == 7 else "shop_sercets"
            assert refused(lambda sql=sql, name=ungranted: access.execute(sql.format(name))) == refused(
                lambda sql=sql, name=stranger: access.execute(sql.format(name))
            )
        assert refused(lambda sql=sql: access.execute(sql.format("secrets"))) == unknown
    for sql in ("SELECT id FROM orders", "SELECT id FROM events", "SELECT id FROM secrets", "SELECT 1"):
        answers = []
        for named in ("secrets", "shop_secrets", "sercets", "shop_sercets"):
            try:
                answers.append(access.execute(sql, dataset=named).rows)
            except errors.Refused as refusal:
                answers.append((refusal.code, refusal.detail, refusal.hint, refusal.line, refusal.column))
        assert answers == answers[:1] * 4


@POSTGRES
def test_a_dataset_that_is_not_granted_changes_no_answer(two_dialects: Houses) -> None:
    """With and without the datasets that the token does not grant, everything is told alike."""

    def told(datasets: list[dict[str, Any]]) -> list[tuple[object, ...]]:
        access = two_dialects.gate(datasets).verify(token("orders", "events"))
        return [refused(lambda sql=sql, name=name: access.execute(sql.format(name))) for sql in ASKED for name in ("secrets", "main.secrets", "public.secrets")]

    assert told(DATASETS) == told([each for each in DATASETS if "secrets" not in each["id"]])


# --- the file --------------------------------------------------------------------------------------------------------------------------------


def test_the_file_says_which_connection_each_dataset_is_on(two_files: Houses) -> None:
    assert two_files.problems([dataset("orders", None), dataset("events", "warehose", "events"), dataset("x", "shop", "secrets")]) == [
        "connections.warehouse: has no dataset; remove it, or write it as the `connection:` of one",
        "datasets[0]: must say its `connection:`, because there are several: shop, warehouse",
        "datasets[1].connection: names no connection of this file; did you mean `warehouse`?; there are: shop, warehouse",
    ]
    assert two_files.problems([dataset("orders", "shop"), dataset("orders", "warehouse", "events")]) == [
        "datasets[1].id: is the id of an earlier entry too; choose another"
    ]
    assert two_files.problems([dataset("orders", "shop")], order=("shop",), database=two_files.urls["shop"]) == [
        ": must have exactly one of `database:` and `connections:`",
        "datasets[0].connection: is for files with `connections:`; remove it",
    ]
    for written in ("allow_privileged_role", "experimental"):
        assert two_files.problems(engine={written: True}) == [f"engine: is for files with `database:`; write `{written}: true` at the connection that needs it"]


def test_a_file_of_one_connection_need_not_say_it(two_files: Houses) -> None:
    gate = two_files.gate([dataset("orders", None)], order=("shop",))
    assert gate.verify(token("orders")).execute("SELECT id, place FROM orders ORDER BY id").rows == at("shop")
    assert list(gate.catalogs) == ["shop"]


def test_neither_a_database_nor_connections_is_a_problem(two_files: Houses) -> None:
    assert ": must have exactly one of `database:` and `connections:`" in two_files.problems([dataset("orders", None)], connections=None)


def test_a_parent_is_in_the_same_database(two_files: Houses) -> None:
    child = dataset("items", "warehouse", "events", secure_filters=[{"through": "orders", "on": {"id": "id"}}])
    assert two_files.problems([dataset("orders", "shop"), child]) == [
        "datasets[1].secure_filters[0].through: names a dataset of another connection, `shop`; rows are read through a parent in the same database"
    ]


def test_one_database_is_one_connection(two_files: Houses) -> None:
    """However its path is spelled."""
    (two_files.folder / "link.db").symlink_to(two_files.folder / "shop.db")
    two_files.urls["warehouse"] = "sqlite:///link.db"
    assert two_files.problems() == ["connections.warehouse.url: is the database of the connection `shop` too; keep one"]


def test_every_database_is_looked_at_and_every_problem_told(two_files: Houses) -> None:
    assert two_files.problems([dataset("a", "shop", "gone"), dataset("b", "warehouse", "lost")]) == [
        "datasets[0].table: is no table or view of the database",
        "datasets[1].table: is no table or view of the database",
    ]
    two_files.urls["warehouse"] = "sqlite:///none.db"
    assert two_files.problems() == ["connections.warehouse.url: names a SQLite file that does not exist; relative paths begin at the folder of this file"]


@POSTGRES
def test_each_role_is_judged_by_itself(two_dialects: Houses) -> None:
    two_dialects.urls["warehouse"] = two_dialects.urls["warehouse"].replace(servers.READER, servers.OWNER)
    problems = two_dialects.problems()
    assert all(each.startswith("connections.warehouse.url: the database role ") for each in problems)
    assert problems[0].endswith("or write `allow_privileged_role: true`")
    connections = {name: {"url": url, "allow_privileged_role": name == "warehouse"} for name, url in two_dialects.urls.items()}
    assert two_dialects.gate(connections=connections).verify(token("events")).execute("SELECT id, place FROM events ORDER BY id").rows == at("warehouse")


def test_a_gate_that_cannot_open_the_second_leaves_nothing_of_the_first(two_files: Houses, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    judge, close = Database.check_role, Database.close

    def fail_at_the_second(database: Database, *args: Any, **options: Any) -> None:
        if database._connection == "warehouse":
            raise MemoryError
        judge(database, *args, **options)

    def noted(database: Database) -> None:
        closed.append(database._connection)
        close(database)

    monkeypatch.setattr(Database, "check_role", fail_at_the_second)
    monkeypatch.setattr(Database, "close", noted)
    with pytest.raises(MemoryError):
        two_files.gate()
    assert closed == ["shop", "warehouse"]


# --- around the gate -------------------------------------------------------------------------------------------------------------------------


def test_the_audit_names_the_connection(two_files: Houses, caplog: pytest.LogCaptureFixture) -> None:
    access = two_files.gate().verify(token("orders", "events"))
    with caplog.at_level(logging.INFO, "rowseal.decisions"):
        access.execute("SELECT id FROM events")
        access.secure("SELECT id FROM orders")
        refused(lambda: access.execute("SELECT id FROM secrets"))
        refused(lambda: access.execute("SELECT nope FROM events", dataset="events"))
    written = [json.loads(each.message) for each in caplog.records if each.name == "rowseal.decisions"]
    assert [(each["code"], each["connection"]) for each in written] == [
        ("allowed", "warehouse"),
        ("allowed", "shop"),
        ("dataset_unknown", None),
        ("column_unknown", "warehouse"),
    ]


async def echo(request: Request) -> JSONResponse:
    return JSONResponse(await request.json())


ROUTES = [Route("/query", echo, methods=["POST"])]


def test_a_rewritten_path_names_its_connection(two_files: Houses) -> None:
    gate = two_files.gate()
    for rewrite in (Rewrite(path="/query"), Rewrite(path="/query", connection="attic")):
        with pytest.raises(ValueError, match="connection="):
            GateMiddleware(Starlette(routes=ROUTES), gate=gate, rewrite=[rewrite])
    app = GateMiddleware(Starlette(routes=ROUTES), gate=gate, rewrite=[Rewrite(path="/query", connection="shop")])
    headers = [("Authorization", f"Bearer {token('orders', 'events')}")]

    def post(sql: str) -> Any:
        return ask(app, headers=headers, body=json.dumps({"sql": sql}).encode())

    assert '"main"."orders"' in json.loads(post("SELECT id FROM orders").body)["sql"]
    assert post("SELECT id FROM events").code == "dataset_unknown"  # the engine behind asks another database


def test_a_rewritten_path_closes_when_a_reload_leaves_it_without_its_database(two_files: Houses) -> None:
    headers, body = [("Authorization", f"Bearer {token('orders')}")], json.dumps({"sql": "SELECT id FROM orders"}).encode()
    gate = two_files.gate([dataset("orders", None)], order=("shop",))
    unnamed, named = (GateMiddleware(Starlette(routes=ROUTES), gate=gate, rewrite=[Rewrite(path="/query", connection=name)]) for name in (None, "shop"))
    assert [ask(app, headers=headers, body=body).code for app in (unnamed, named)] == [None, None]
    two_files.write()
    gate.reload()
    assert [ask(app, headers=headers, body=body).code for app in (unnamed, named)] == [None, None]
    two_files.write([dataset("orders", None)], order=("warehouse",))
    gate.reload()
    assert [ask(app, headers=headers, body=body).code for app in (unnamed, named)] == ["database_unavailable"] * 2
    two_files.urls["shop"] = two_files.urls["warehouse"]
    two_files.write([dataset("orders", None)], order=("shop",))
    gate.reload()
    assert [ask(app, headers=headers, body=body).code for app in (unnamed, named)] == ["database_unavailable"] * 2


def test_a_signer_judges_filters_by_every_catalog(two_files: Houses) -> None:
    signer = Signer(KEY, 10, catalogs=two_files.gate().catalogs)
    good = {name: [[{"field": "tenant", "op": "=", "value": 1}]] for name in ("orders", "events")}
    assert signer.generate_tokens(user_reference="u", data_set_ids=["orders", "events"], secure_filters=good, project_id="p")
    with pytest.raises(ValueError, match="dataset `events`"):
        signer.generate_tokens(
            user_reference="u", data_set_ids=["events"], secure_filters={"events": [[{"field": "x", "op": "=", "value": 1}]]}, project_id="p"
        )


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    return cli.run(list(arguments), out=out, err=err, stdin=StringIO(), clock=time.time), out.getvalue(), err.getvalue()


def test_the_command_line_knows_connections(two_files: Houses) -> None:
    path = str(two_files.write())
    asked = ["--config", path, "--token", token("orders", "events")]
    status, said, _ = run("validate", path)
    assert status == 0
    assert "good (shop: sqlite, warehouse: sqlite)" in said
    assert "table main.events on warehouse" in said
    status, said, _ = run("query", *asked, "--json", "SELECT place FROM events")
    assert (status, "warehouse" in said) == (0, True)
    status, said, _ = run("explain", *asked, "SELECT id FROM events")
    assert (status, "secured for sqlite on warehouse" in said) == (0, True)
    status, _, wrong = run("explain", *asked, "--connection", "shop", "SELECT id FROM events")
    assert (status, "dataset_unknown" in wrong) == (1, True)
    status, said, _ = run("inspect", "--config", path, asked[-1])
    assert (status, "events  open" in said) == (0, True)
    private = two_files.folder / "private.pem"
    private.touch(mode=0o600)
    private.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    filters = json.dumps({"events": [[{"field": "tenant", "op": "=", "value": 1}]]})
    command = ["access-tokens", "-c", path, "--private-key", str(private), "-u", "u", "--project-id", "p"]
    assert run(*command, "--data-set-ids", "events", "--secure-filters", filters)[0] == 0


def test_lint_looks_at_every_database(two_files: Houses) -> None:
    guarded = dataset("events", "warehouse", "events", guards=[{"field": "tenant", "op": "="}])
    path = two_files.write([dataset("orders", "shop", public=True), guarded])
    status, said, _ = run("lint", "--config", str(path), "--json")
    found = [(each["code"], each["dataset"]) for each in json.loads(said)["findings"]]
    assert (status, sorted(json.loads(said)["schema"])) == (0, ["events", "orders"])
    assert {("public_dataset", "orders"), ("no_index", "events")} <= set(found)


def test_a_source_reads_tables_of_its_own_database_only(two_files: Houses) -> None:
    """A SELECT, or a join, that names a table of another connection does not load."""
    with closing(sqlite3.connect(two_files.folder / "warehouse.db")) as database:
        database.execute("ALTER TABLE events RENAME TO deliveries")
    orders, warehouse = dataset("orders", "shop"), dataset("others", "warehouse")
    written = {name: value for name, value in dataset("x", "shop").items() if name != "table"}
    (problem,) = two_files.problems([orders, warehouse, {**written, "sql": "SELECT id, tenant, place FROM deliveries"}])
    assert problem.startswith("datasets[2].sql: ")
    assert "deliveries" in problem
    joined = {**written, "table": "events", "joins": [{"type": "inner", "table": "deliveries", "on": {"id": "id"}}]}
    (problem,) = two_files.problems([orders, warehouse, joined])
    assert problem.startswith("datasets[2].joins[0].table: ")
