"""The stand-alone gateway over ASGI and over real HTTP: what it answers, to whom, and that nobody makes others wait."""

from __future__ import annotations

import json
import logging
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import schemathesis
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jsonschema import Draft202012Validator
from schemathesis import engine
from schemathesis.engine import Status, events
from starlette.responses import Response

from rowseal import Gate, Signer
from rowseal.app import create_app
from rowseal.app.openapi import document

CONFIGURATION = """\
version: 1
database: sqlite:///shop.db
tokens:
  - profile: vizzly
    keys:
      - {id: shop, public_key_file: shop.pem, explain: true}
      - {id: plain, public_key_file: plain.pem}
      - {id: trial, public_key_file: trial.pem, development: true}
datasets:
  - id: orders
    name: All orders
    sql_name: order
    table: orders
    fields:
      - {id: order_id, column: id, type: number}
      - {id: tenant, name: Tenant ID, type: number}
      - {id: amount, sql_name: 'the "amount"', type: number}
      - {id: placed_at, type: date_time}
      - {id: deleted, type: boolean, hidden: true}
    secure_filters:
      - {field: deleted, op: "=", value: false}
  - {id: products, table: products, public: true, fields: [{id: name, type: string}]}
  - {id: secrets, table: secrets, fields: [{id: x, type: number}]}
limits: {rows: 3, seconds: 20}
"""
OWN = {"orders": [[{"field": "tenant", "op": "=", "value": 1}]]}
ENDLESS = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT COUNT(*) AS n FROM t"


class Place:
    """A gate over a small shop, and a signer for each of its keys."""

    def __init__(self, folder: Path, configuration: str = CONFIGURATION) -> None:
        self.folder = folder
        self._keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("shop", "plain", "trial")}
        for name, key in self._keys.items():
            (folder / f"{name}.pem").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        (folder / "datasets.yaml").write_text(configuration)
        with closing(sqlite3.connect(folder / "shop.db")) as database:
            database.executescript(
                "CREATE TABLE orders (id INTEGER PRIMARY KEY, tenant INTEGER, amount INTEGER, placed_at TEXT, deleted BOOLEAN);"
                "INSERT INTO orders VALUES (1, 1, 10, '2026-01-31 12:00:00', 0), (2, 1, NULL, NULL, 0), (3, 2, 300, NULL, 0), (4, 1, 40, NULL, 1);"
                "CREATE TABLE products (name TEXT); INSERT INTO products VALUES ('Lamp'), ('Teapot'), ('東京'), ('Kettle');"
                "CREATE TABLE secrets (x INTEGER); INSERT INTO secrets VALUES (4711);"
            )
        self.gate = Gate.from_yaml(folder / "datasets.yaml")

    def token(self, key: str = "shop", *, datasets: Any = "*", filters: Any = None, minutes: float = 10) -> str:
        signer = Signer(self._keys[key], minutes)
        return signer.generate_tokens(user_reference="u", project_id="prj_1", data_set_ids=datasets, secure_filters=OWN if filters is None else filters)[
            "dataAccessToken"
        ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("gateway"))
    yield made
    made.gate.close()


def send(place: Place, method: str, path: str, *, token: str | None = None, development: bool = False, **request: Any) -> httpx.Response:
    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(app=create_app(place.gate, development=development))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            return await client.request(method, path, headers=headers, **request)

    return anyio.run(once)


def query(place: Place, sql: str, *, token: str | None = None, **members: Any) -> httpx.Response:
    return send(place, "POST", "/v1/query", token=token or place.token(), json={"sql": sql, **members})


def refused(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    content = answer.json()
    assert content["status"] == answer.status_code
    assert content["request_id"] == answer.headers["x-request-id"]
    assert content["hint"]
    return answer.status_code, content["code"]


# --- query ---------------------------------------------------------------------------------------------------------------------------------


def test_a_query_is_answered_with_its_columns_types_and_permitted_rows(place: Place) -> None:
    answer = query(place, 'SELECT order_id, "the ""amount""" AS cents, placed_at FROM "order" ORDER BY order_id')
    assert (answer.status_code, answer.headers["content-type"], answer.headers["cache-control"]) == (200, "application/json", "private")
    assert answer.json() == {
        "columns": [{"name": "order_id", "type": "number"}, {"name": "cents", "type": "number"}, {"name": "placed_at", "type": "string"}],
        "rows": [[1, 10, "2026-01-31 12:00:00"], [2, None, None]],
        "truncated": False,
    }


def test_a_query_takes_parameters_and_the_one_dataset_that_it_reads(place: Place) -> None:
    sql = 'SELECT order_id FROM "order" WHERE tenant = :tenant'
    assert query(place, sql, params={"tenant": 1}, dataSetId="orders").json()["rows"] == [[1], [2]]
    assert query(place, sql, params={"tenant": 2}).json()["rows"] == []
    assert refused(query(place, sql, params={"tenant": 1}, dataSetId="products")) == (403, "dataset_not_asked")
    assert query(place, "SELECT :x AS x", params={"x": 1.5}).json()["rows"] == [[1.5]]
    assert query(place, "SELECT 1 AS x", params=None, dataSetId=None).json()["rows"] == [[1]]


def test_an_answer_is_cut_at_the_limit_and_says_so(place: Place) -> None:
    answer = query(place, "SELECT name FROM products").json()
    assert (len(answer["rows"]), answer["truncated"]) == (3, True)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "request_malformed")),
        (b"[]", (400, "request_malformed")),
        (b"{", (400, "request_malformed")),
        (b"{}", (400, "request_malformed")),
        (b'{"sql": 1}', (400, "request_malformed")),
        (b'{"sql": "SELECT 1", "sql": "SELECT 2"}', (400, "request_malformed")),
        (b'{"sql": "SELECT 1", "params": []}', (400, "request_malformed")),
        (b'{"sql": "SELECT 1", "limit": 5}', (400, "request_malformed")),
        (b'{"sql": "SELECT 1", "SQL": "SELECT 2"}', (400, "request_malformed")),
        (b'{"sql": "SELECT 1", "dataSetId": 1}', (400, "request_malformed")),
        (b'{"sql": " "}', (400, "sql_empty")),
        (b'{"sql": "SELECT deleted FROM \\"order\\""}', (400, "column_unknown")),
        (b'{"sql": "SELECT * FROM secrets"}', (403, "filter_required")),
        (b'{"sql": "SELECT * FROM sqlite_master"}', (403, "dataset_unknown")),
        (b'{"sql": "SELECT 1, \'' + b"x" * 200_000 + b"'\"}", (413, "body_too_large")),
    ],
)
def test_what_is_no_query_for_this_bearer_is_refused_with_a_code(place: Place, body: bytes, expected: tuple[int, str]) -> None:
    assert refused(send(place, "POST", "/v1/query", token=place.token(), content=body)) == expected


# --- who may -------------------------------------------------------------------------------------------------------------------------------

CLOSED = [("POST", "/v1/query"), ("GET", "/v1/datasets"), ("POST", "/v1/explain"), ("GET", "/v1/query"), ("GET", "/"), ("GET", "/docs"), ("GET", "/v1/query/")]


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_nothing_but_three_paths_is_told_to_anybody(place: Place, method: str, path: str) -> None:
    assert refused(send(place, method, path, json={"sql": "SELECT 1"})) == (401, "token_missing")
    assert refused(send(place, method, path, token="x.y.z", json={"sql": "SELECT 1"})) == (401, "token_malformed")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/query/", "/v2/query", "/healthz/", "/docs", "/redoc"])
def test_an_unknown_path_is_a_problem_with_a_code(place: Place, path: str) -> None:
    assert refused(send(place, "GET", path, token=place.token())) == (404, "path_unknown")


@pytest.mark.parametrize(("method", "path", "allowed"), [("GET", "/v1/query", "POST"), ("DELETE", "/v1/datasets", "GET"), ("PATCH", "/healthz", "GET")])
def test_another_method_is_a_problem_that_names_the_right_one(place: Place, method: str, path: str, allowed: str) -> None:
    answer = send(place, method, path, token=place.token())
    assert refused(answer) == (405, "method_refused")
    assert allowed in answer.headers["allow"]


def test_a_development_key_opens_nothing_unless_the_server_says_so(place: Place) -> None:
    """Whatever came of the check at the start: a reload may bring such a key."""
    token = place.token("trial", filters={})
    for method, path in CLOSED[:3]:
        assert refused(send(place, method, path, token=token, json={"sql": "SELECT x FROM secrets"})) == (401, "development_refused")
    answer = send(place, "POST", "/v1/query", token=token, development=True, json={"sql": "SELECT x FROM secrets"})
    assert answer.json()["rows"] == [[4711]]


def test_an_exception_of_ours_is_a_problem_and_tells_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a secret")

    monkeypatch.setattr("rowseal.app._dataset", broken)
    answer = send(place, "GET", "/v1/datasets", token=place.token())
    assert refused(answer) == (500, "our_bug")
    assert "secret" not in answer.text


def test_a_refusal_by_the_gateway_itself_is_in_the_audit(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rowseal.decisions"):
        answers = [
            send(place, "POST", "/v1/query", token=place.token(), content=b"{}"),
            send(place, "POST", "/v1/explain", token=place.token("plain"), content=b"{}"),
            send(place, "GET", "/v1/datasets", token=place.token("trial")),
            send(place, "GET", "/v1/datasets", token=place.token()),
        ]
    found = [json.loads(record.message) for record in caplog.records if record.name == "rowseal.decisions"]
    assert [each["request_id"] for each in found] == [answer.headers["x-request-id"] for answer in answers]
    expected = [("request_malformed", "shop"), ("explain_closed", "plain"), ("development_refused", "trial"), ("allowed", "shop")]
    assert [(each["code"], each["key"]) for each in found] == expected


# --- datasets ------------------------------------------------------------------------------------------------------------------------------


def test_the_list_of_datasets_is_what_the_token_may_see(place: Place) -> None:
    asked = query(place, "SELECT x FROM secrets").json()
    listed = send(place, "GET", "/v1/datasets", token=place.token(datasets=["orders", "nothing", "secrets"])).json()["datasets"]
    assert asked["code"] == "filter_required"
    assert listed == [
        {
            "id": "orders",
            "name": "All orders",
            "sql": '"order"',
            "fields": [
                {"id": "order_id", "name": "order_id", "sql": '"order_id"', "type": "number"},
                {"id": "tenant", "name": "Tenant ID", "sql": '"tenant"', "type": "number"},
                {"id": "amount", "name": "amount", "sql": '"the ""amount"""', "type": "number"},
                {"id": "placed_at", "name": "placed_at", "sql": '"placed_at"', "type": "date_time"},
            ],
            "queryable": True,
        },
        {
            "id": "secrets",
            "name": "secrets",
            "sql": '"secrets"',
            "fields": [{"id": "x", "name": "x", "sql": '"x"', "type": "number"}],
            "queryable": False,
            "refusal": {name: asked[name] for name in ("code", "detail", "hint")},
        },
    ]


def test_every_spelling_in_the_list_is_sql(place: Place) -> None:
    token = place.token()
    listed = send(place, "GET", "/v1/datasets", token=token).json()["datasets"]
    assert [each["queryable"] for each in listed] == [True, True, False]
    for dataset in listed:
        answer = query(place, f"SELECT {', '.join(field['sql'] for field in dataset['fields'])} FROM {dataset['sql']}", token=token)
        assert (answer.status_code == 200) == dataset["queryable"]


# --- explain -------------------------------------------------------------------------------------------------------------------------------


def test_explain_is_for_the_keys_that_say_so(place: Place) -> None:
    sql = 'SELECT tenant FROM "order" WHERE tenant = :own'
    asked = {"json": {"sql": sql, "params": {"own": 4711}}}
    assert refused(send(place, "POST", "/v1/explain", token=place.token("plain"), **asked)) == (403, "explain_closed")
    answer = send(place, "POST", "/v1/explain", token=place.token(), **asked)
    content = answer.json()
    assert content["sql"] == place.gate.verify(place.token()).secure(sql, {"own": 1}).sql
    assert [each["origin"] for each in content["reads"][0]["filters"]] == ["secureFilters.orders[0][0]", "datasets.yaml:21"]
    assert "4711" not in answer.text


# --- health --------------------------------------------------------------------------------------------------------------------------------


def test_health_and_readiness_say_nothing_of_the_configuration(place: Place) -> None:
    assert send(place, "GET", "/healthz").json() == {"status": "alive"}
    answer = send(place, "GET", "/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "epoch": 1, "keys": "fresh"})


def test_readiness_follows_the_database_and_the_epoch(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.gate.reload()
    assert send(place, "GET", "/readyz").json() == {"status": "ready", "epoch": 2, "keys": "fresh"}
    (tmp_path / "shop.db").rename(tmp_path / "away.db")
    answer = send(place, "GET", "/readyz")
    assert (answer.status_code, answer.json(), answer.headers["cache-control"]) == (503, {"status": "unavailable", "epoch": 2, "keys": "fresh"}, "no-store")
    place.gate.close()
    assert send(place, "GET", "/readyz").status_code == 503


def test_a_database_that_hangs_is_not_ready_and_is_asked_by_one_thread(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowseal.app._PROBE_SECONDS", 0.2)
    monkeypatch.setattr("rowseal.app._PROBE_HOLDS_SECONDS", 0.0)
    asked, answer = [], threading.Event()

    def hang(_: Gate) -> bool:
        asked.append(1)
        return answer.wait(20)

    monkeypatch.setattr(Gate, "reachable", hang)

    async def many() -> list[int]:
        transport = httpx.ASGITransport(app=create_app(place.gate))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            first = [(await client.get("/readyz")).status_code for _ in range(3)]
            answer.set()
            await anyio.sleep(0.3)
            return [*first, (await client.get("/readyz")).status_code]

    assert anyio.run(many) == [503, 503, 503, 200]
    assert len(asked) == 2


# --- the OpenAPI document -------------------------------------------------------------------------------------------------------------------


def test_the_document_needs_no_token_and_is_what_the_code_says(place: Place) -> None:
    assert send(place, "GET", "/openapi.json").json() == document()


def test_the_schemas_of_the_document_are_schemas_and_the_answers_follow_them(place: Place) -> None:
    schemas = document()["components"]["schemas"]
    root = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": {"schemas": schemas}}
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    answers = {
        "Answer": query(place, "SELECT name FROM products"),
        "Datasets": send(place, "GET", "/v1/datasets", token=place.token()),
        "Explanation": send(place, "POST", "/v1/explain", token=place.token(), json={"sql": 'SELECT tenant FROM "order"'}),
        "Alive": send(place, "GET", "/healthz"),
        "Readiness": send(place, "GET", "/readyz"),
        "Problem": query(place, "SELECT"),
    }
    for name, answer in answers.items():
        Draft202012Validator({**root, "$ref": f"#/components/schemas/{name}"}).validate(answer.json())
        wrong = {**answer.json(), "status": "wrong", "columns": 1, "datasets": 1, "dialect": 1}
        assert not Draft202012Validator({**root, "$ref": f"#/components/schemas/{name}"}).is_valid(wrong)


def _explored(app: Any, token: str) -> tuple[set[str], list[str]]:
    """Requests made up from the document, right ones and wrong ones, the same in every run: which checks were made, and what they found."""
    config = schemathesis.Config.from_dict(
        {
            "seed": 1,
            "headers": {"Authorization": f"Bearer {token}"},
            "generation": {"deterministic": True, "max-examples": 10, "database": "none", "mode": "all"},
            "phases": {"stateful": {"enabled": False}},
        }
    )
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
    schema.validate()
    made, found = set(), []
    for event in engine.from_schema(schema).execute():
        if not isinstance(event, events.ScenarioFinished):
            assert not isinstance(event, events.NonFatalError | events.FatalError), event
            continue
        for case_id, checks in event.recorder.checks.items():
            for check in checks:
                made.add(check.name)
                if check.status is not Status.FAILURE:
                    continue
                # What SQL a schema cannot say: a body of the right shape may hold none, and then only the SQL may be to blame.
                answer = event.recorder.interactions[case_id].response
                if check.name != "positive_data_acceptance" or answer is None or answer.json()["code"] in {"request_malformed", "our_bug"}:
                    found.append(f"{event.recorder.cases[case_id].value.path}: {check.name}: {check.failure_info}")
    return made, found


@pytest.mark.slow
def test_the_app_does_what_its_document_says(place: Place) -> None:
    made, found = _explored(create_app(place.gate), place.token())
    assert found == []
    assert made > {"not_a_server_error", "response_schema_conformance", "negative_data_rejection", "ignored_auth", "unsupported_method"}


def test_an_app_that_does_not_is_found_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowseal.app._problem", lambda *_: Response(b"no", 500))
    monkeypatch.setattr("rowseal.app._dataset", lambda visible: {"id": visible.dataset.id})
    _, found = _explored(create_app(place.gate), place.token())
    assert {"not_a_server_error", "response_schema_conformance"} <= {each.split(": ")[1] for each in found}


# --- over real HTTP: nobody waits for another ---------------------------------------------------------------------------------------------


@contextmanager
def served(place: Place) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(create_app(place.gate), host="127.0.0.1", port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def url(place: Place) -> Iterator[str]:
    with served(place) as address:
        yield address


# The largest of what is admitted: as many nodes as there may be, each with all that securing does for a read.
HEAVY = "SELECT " + ", ".join(['(SELECT MAX(tenant) FROM "order")'] * 250)


@pytest.mark.slow
def test_a_long_query_and_the_longest_parse_let_others_through(place: Place, url: str) -> None:
    """All of these are in one process and one event loop; only the order in which the answers come is asserted."""
    headers = {"Authorization": f"Bearer {place.token()}"}
    came: list[str] = []

    def ask(name: str, sql: str, timeout: float) -> None:
        with pytest.raises(httpx.ReadTimeout) if name == "endless" else nullcontext():
            httpx.post(f"{url}/v1/query", headers=headers, json={"sql": sql}, timeout=timeout).raise_for_status()
        came.append(name)

    place.gate.verify(place.token()).secure(HEAVY)  # it is admitted
    with ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(ask, "endless", ENDLESS, 8), pool.submit(ask, "heavy", HEAVY, 15), pool.submit(ask, "heavy", HEAVY, 15)]
        for _ in range(5):
            assert httpx.get(f"{url}/healthz", timeout=5).status_code == 200
            ask("small", "SELECT COUNT(*) AS n FROM products", 5)
        assert "endless" not in came
        for each in slow:
            each.result()
    assert sorted(came) == ["endless", "heavy", "heavy", *["small"] * 5]


def test_a_query_ends_in_the_database_when_its_client_hangs_up(place: Place, url: str, caplog: pytest.LogCaptureFixture) -> None:
    headers = {"Authorization": f"Bearer {place.token()}"}
    with caplog.at_level(logging.INFO, "rowseal.decisions"):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/query", headers=headers, json={"sql": ENDLESS}, timeout=0.5)
        given_up = time.monotonic()
        while not any('"query_cancelled"' in record.message for record in caplog.records):
            assert time.monotonic() < given_up + 10  # of the 20 seconds that it may take
            time.sleep(0.02)
    assert not any(record.name == "rowseal.engine" for record in caplog.records)  # nothing went wrong


def test_a_client_that_hangs_up_in_the_middle_of_its_body_leaves_no_trace(place: Place, url: str, caplog: pytest.LogCaptureFixture) -> None:
    host, port = url.removeprefix("http://").split(":")
    with caplog.at_level(logging.WARNING):
        for path in ("query", "explain"):
            head = f"POST /v1/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {place.token()}\r\nContent-Length: 100\r\n\r\n{{"
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(head.encode())
        assert httpx.get(f"{url}/healthz").status_code == 200
        time.sleep(0.2)
    assert caplog.records == []
