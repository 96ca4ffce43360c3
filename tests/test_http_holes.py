"""Holes that were found by attacking what stands around the SQL: the gateway, the middleware, the command line. One named test each."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from jwt.algorithms import get_default_algorithms
from starlette.types import Message, Receive, Scope, Send

from asgi import Answer, Front, ask
from rowseal import strict
from rowseal.app import create_app
from rowseal.errors import BudgetExceeded, QueryRefused
from rowseal.gate import workers
from rowseal.http.middleware import GateMiddleware, access_of
from test_app import CONFIGURATION, Place
from test_serve import PRODUCTION, running


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.gate.close()


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    made = Front(tmp_path)
    yield made
    made.gate.close()


# --- a request that lasts longer than a configuration --------------------------------------------------------------------------------------


def _slowly(place: Place, path: str, sql: str, *, token: str, meanwhile: Callable[[], None]) -> tuple[int, dict[str, Any]]:
    """The answer to a request whose body is complete only after `meanwhile`."""
    body = json.dumps({"sql": sql}).encode()
    parts = iter([(body[:5], True), (body[5:], False)])
    sent: list[Message] = []

    async def receive() -> Message:
        part = next(parts, None)
        if part is None:
            await anyio.sleep_forever()
            raise AssertionError
        if not part[1]:
            meanwhile()
        return {"type": "http.request", "body": part[0], "more_body": part[1]}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {token}".encode())]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "method": "POST", "path": path, "query_string": b"", "headers": headers}
    anyio.run(create_app(place.gate), scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_explain_is_closed_to_a_request_that_began_before_its_key_lost_it(place: Place) -> None:
    def reload(text: str) -> None:
        (place.folder / "datasets.yaml").write_text(text)
        place.gate.reload()

    explain = partial(_slowly, place, "/v1/explain", 'SELECT tenant FROM "order"', token=place.token())
    assert explain(meanwhile=lambda: None)[0] == 200
    status, content = explain(meanwhile=lambda: reload(CONFIGURATION.replace(", explain: true", "")))
    assert (status, content["code"]) == (403, "explain_closed")
    assert "sql" not in content


@pytest.mark.parametrize("path", ["/v1/query", "/v1/explain"])
def test_a_key_that_becomes_one_for_development_opens_nothing_to_a_request_that_has_begun(place: Place, path: str) -> None:
    def reload() -> None:
        (place.folder / "datasets.yaml").write_text(CONFIGURATION.replace("explain: true", "explain: true, development: true"))
        place.gate.reload()

    status, content = _slowly(place, path, "SELECT x FROM secrets", token=place.token(filters={}), meanwhile=reload)
    assert (status, content["code"]) == (401, "development_refused")


# --- one bearer and all the others ---------------------------------------------------------------------------------------------------------


def test_whoever_sends_many_long_queries_leaves_threads_for_short_ones(place: Place) -> None:
    """More long queries than there are threads, none of which gets on: a short one of somebody else is answered all the same."""
    busy, other = place.gate.verify(place.token()), place.gate.verify(place.token("plain"))
    long = f"SELECT {', '.join(f'{number} AS c{number}' for number in range(200))}"
    assert len(long) > workers._LONG
    codes: list[str] = []

    async def send() -> None:
        try:
            await busy.ajson(long)
            codes.append("allowed")
        except BudgetExceeded as refusal:
            codes.append(refusal.code)

    async def everybody() -> int:
        async with anyio.create_task_group() as group:
            with workers._TURN:
                for _ in range(place.gate.limits.concurrent + 100):
                    group.start_soon(send)
                with anyio.fail_after(20):
                    await anyio.sleep(0.2)
                    answer = json.loads(await other.ajson('SELECT tenant FROM "order"'))
            return len(answer["rows"])

    assert anyio.run(everybody) == 2
    assert set(codes) == {"allowed", "too_many_queries"}
    place.gate.verify(place.token()).secure(long)  # every place has been given back


# --- what is logged ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_token_in_the_path_is_not_logged_and_one_in_pieces_is_read(tmp_path: Path) -> None:
    made = Place(tmp_path, PRODUCTION)
    try:
        with running(made) as program:
            token = made.token()
            host, port = re.findall(r"//(.*):(\d+)", program.url)[0]
            for target in (f"/{token}", f"/v1/{token}/x", f"/v1/datasets%23{token}", f"/v1/datasets#{token}"):
                assert _raw(host, int(port), [f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()]).startswith(b"HTTP/1.1 40")
            largest = token + "A" * (made.gate.limits.token_bytes - len(token))
            head = f"GET /v1/datasets HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Filler: {'x' * 900}\r\nAuthorization: Bearer {largest}\r\n\r\n".encode()
            assert b'"code":"signature_invalid"' in _raw(host, int(port), [head[:9000], head[9000:16900], head[16900:]])
            program.until(lambda: len(program.logged) == 10)
            logged = program.out.read_text() + program.said
            assert not any(part in logged for part in token.split(".")[1:])
            assert [line["path"] for line in program.logged if line["log"] == "request"][:2] == ["/...", "/v1/.../x"]
    finally:
        made.gate.close()


def _raw(host: str, port: int, parts: list[bytes]) -> bytes:
    with socket.create_connection((host, port), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(0.05)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def _own_refusal(front: Front, caplog: pytest.LogCaptureFixture, refuse: Callable[[Scope], None]) -> tuple[Answer, list[dict[str, Any]]]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        refuse(scope)

    caplog.set_level(logging.INFO, logger="rowseal.decisions")
    caplog.clear()
    answer = ask(GateMiddleware(app, gate=front.gate), headers=[("authorization", f"Bearer {front.token()}")])
    return answer, [json.loads(record.getMessage()) for record in caplog.records if record.name == "rowseal.decisions"]


def test_what_an_app_itself_refuses_is_in_the_audit_once_with_its_bearer(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    def own(scope: Scope) -> None:
        raise QueryRefused("request_malformed")

    def of_the_access(scope: Scope) -> None:
        access_of(scope).secure("SELECT absent FROM orders")

    def the_first_of_two(scope: Scope) -> None:
        access = access_of(scope)
        try:
            access.secure("SELECT absent FROM orders")
        except QueryRefused as first:
            try:
                access.secure("SELECT 1; SELECT 2")
            except QueryRefused:
                raise first from None

    for refuse, codes in ((own, ["request_malformed"]), (of_the_access, ["column_unknown"]), (the_first_of_two, ["column_unknown", "sql_not_one_select"])):
        answer, decided = _own_refusal(front, caplog, refuse)
        assert (answer.code, [each["code"] for each in decided]) == (codes[0], codes)
        assert all(each["token"] and each["key"] == "front" and each["request_id"] == answer.header("x-request-id") for each in decided)


# --- JSON that is none ---------------------------------------------------------------------------------------------------------------------


def test_inspect_writes_json_whatever_numbers_a_token_holds(place: Place) -> None:
    payload = b'{"dataSetIds": ["orders"], "secureFilters": {}, "exp": 1e310, "parameters": {"x": -1e310, "y": 1.5}}'
    signed = ".".join(map(strict.to_base64url, (b'{"alg":"ES256"}', payload)))
    token = f"{signed}.{strict.to_base64url(get_default_algorithms()['ES256'].sign(signed.encode(), place._keys['shop']))}"
    answer = _rowseal(place, "inspect", "--json", "--show-values", "-", given=token)
    claims = json.loads(answer.stdout, parse_constant=pytest.fail)["claims"]
    assert (claims["exp"], claims["parameters"]) == ("1e310", {"x": "-1e310", "y": 1.5})


def test_an_answer_is_json_where_the_terminal_lacks_its_letters(place: Place) -> None:
    sql = "SELECT name AS \"名\" FROM products WHERE name = '東京' UNION ALL SELECT 'é😀'"
    (place.folder / "token").write_text(place.token())
    answer = _rowseal(place, "query", "--json", "--config", "datasets.yaml", "--token", "@token", sql, PYTHONIOENCODING="ascii")
    assert json.loads(answer.stdout) == {"columns": ["名"], "rows": [["東京"], ["é😀"]], "truncated": False}


def _rowseal(place: Place, *arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "rowseal.cli", *arguments]
    return subprocess.run(command, cwd=place.folder, input=given.encode(), capture_output=True, check=False, env={**os.environ, **environment})
