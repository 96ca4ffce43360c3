"""The gate in front of an app: what gets in, what the app sees of it, and what goes out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import operator
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi import Request as FastRequest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar, post
from litestar import Request as LitestarRequest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from asgi import Answer, Front, ask, talk
from rowseal.errors import BudgetExceeded, QueryRefused, TimedOut, TokenRefused
from rowseal.http.middleware import GateMiddleware, access_of
from rowseal.http.rewrite import Rewrite
from rowseal.http.transport import route_path


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    made = Front(tmp_path_factory.mktemp("front"))
    yield made
    made.gate.close()


class Spy:
    """An ASGI app that notes what reached it and answers 200."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"reached"})


def gated(front: Front, **options: Any) -> tuple[GateMiddleware, Spy]:
    spy = Spy()
    return GateMiddleware(spy, gate=front.gate, **options), spy


def bearer(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


# --- where the token stands ---------------------------------------------------------------------------------------------------------


def test_a_valid_bearer_token_reaches_the_app_as_an_access_and_is_taken_out_of_the_request(front: Front) -> None:
    app, spy = gated(front)
    answer = ask(app, headers=[bearer(front.token()), ("Accept", "*/*")], body=b"{}")
    assert (answer.status, answer.body) == (200, b"reached")
    assert spy.scopes[0]["state"]["rowseal"].grant.dataset_ids == {"orders"}
    assert spy.scopes[0]["headers"] == [(b"accept", b"*/*")]
    assert spy.bodies == [b"{}"]


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_case_insensitive(front: Front, scheme: str) -> None:
    app, _ = gated(front)
    assert ask(app, headers=[("Authorization", f"{scheme} {front.token()}")]).status == 200


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "token_missing"),
        ("{token}", "token_missing"),
        ("Basic {token}", "token_missing"),
        ("Bearers {token}", "token_missing"),
        ("Bearer-Token {token}", "token_missing"),
        ("Bearer", "token_malformed"),
        ("Bearer ", "token_malformed"),
        ("Bearer  {token}", "token_malformed"),
        ("Bearer\t{token}", "token_malformed"),
        ("Bearer {token} ", "token_malformed"),
        ("Bearer {token}\t", "token_malformed"),
        ("Bearer {token}, Bearer {token}", "token_malformed"),
        ("Bearer {token}\r\n x", "token_malformed"),
        ("Bearer {token}\u00e9", "token_malformed"),
        ("Bearer {token}\0", "token_malformed"),
        ("Bearer,{token}", "token_malformed"),
        ('Bearer "{token}"', "token_malformed"),
        ("Bearer {token}=", "token_malformed"),
    ],
)
def test_anything_but_bearer_one_space_and_one_token_is_refused(front: Front, value: str, code: str) -> None:
    app, spy = gated(front)
    answer = ask(app, headers=[("Authorization", value.replace("{token}", front.token()))])
    assert (answer.status, answer.code) == (401, code)
    assert spy.scopes == []


def test_two_authorization_headers_are_refused_even_when_they_agree(front: Front) -> None:
    app, spy = gated(front)
    token = front.token()
    assert ask(app, headers=[bearer(token), bearer(token)]).code == "token_ambiguous"
    assert ask(app, headers=[bearer(token), ("Authorization", "Basic eDp5")]).code == "token_ambiguous"
    assert spy.scopes == []


def test_the_auth_header_counts_only_where_it_is_configured(front: Front) -> None:
    token = front.token()
    closed, _ = gated(front)
    assert ask(closed, headers=[("Auth", token)]).code == "token_missing"
    opened, spy = gated(front, auth_header=True)
    assert ask(opened, headers=[("Auth", token)]).status == 200
    assert spy.scopes[0]["headers"] == []
    assert ask(opened, headers=[("Auth", f"Bearer {token}")]).code == "token_malformed"
    assert ask(opened, headers=[("Auth", token), bearer(token)]).status == 200
    assert ask(opened, headers=[("Auth", token), bearer(front.token(2))]).code == "token_ambiguous"


@pytest.mark.parametrize("field", ["identityConfigIntegritySignature", "integritySignature"])
def test_a_body_token_counts_only_on_the_paths_that_are_configured_for_it(front: Front, field: str) -> None:
    app, spy = gated(front, body_token_paths=["/api/v1/create-results"])
    body = json.dumps({"queries": [{"n": 1.5, "big": 2**70, "s": "é\u2028"}], field: front.token()}).encode()
    assert ask(app, "/query", body=body).code == "token_missing"
    answer = ask(app, "/api/v1/create-results", headers=[("Content-Length", str(len(body)))], body=[body[:7], body[7:]])
    assert answer.status == 200
    assert json.loads(spy.bodies[0]) == {"queries": [{"n": 1.5, "big": 2**70, "s": "é\u2028"}]}
    assert dict(spy.scopes[0]["headers"])[b"content-length"] == str(len(spy.bodies[0])).encode()


def test_a_number_of_a_body_that_held_a_token_keeps_its_digits(front: Front) -> None:
    """A double would make Infinity of the one, which is no JSON, and another number of the other."""
    app, spy = gated(front, body_token_paths=["/api"])
    numbers = '"n":1E+310,"d":0.10000000000000000001'
    assert ask(app, "/api", body=f'{{{numbers},"integritySignature":"{front.token()}"}}'.encode()).status == 200
    assert spy.bodies[0].decode() == f"{{{numbers}}}"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "token_missing"),
        (b"{}", "token_missing"),
        (b"[]", "request_malformed"),
        (b'{"integritySignature": "a", "integritySignature": "b"}', "request_malformed"),
        (b'{"integritySignature": null}', "token_malformed"),
        (b'{"integritySignature": ["a"]}', "token_malformed"),
        (b'{"integritySignature": ""}', "token_malformed"),
        (b'{"integritySignature": "a", "identityConfigIntegritySignature": "b"}', "token_ambiguous"),
        (b'{"integritySignature": "a.b.c"}', "token_malformed"),
        (b"\xff\xfe{\x00}\x00", "request_malformed"),
        (b'{"x": NaN}', "request_malformed"),
        (b"[" * 5_000, "request_malformed"),
        (b'{"x":' * 1_000 + b"1" + b"}" * 1_000, "request_malformed"),
    ],
)
def test_a_body_whose_token_cannot_be_read_for_certain_is_refused(front: Front, body: bytes, code: str) -> None:
    app, spy = gated(front, body_token_paths=["/api"])
    assert ask(app, "/api", body=body).code == code
    assert spy.scopes == []


def test_a_header_token_and_the_same_body_token_count_once_and_two_that_differ_are_refused(front: Front) -> None:
    app, spy = gated(front, body_token_paths=["/api"])
    token = front.token()
    assert ask(app, "/api", headers=[bearer(token)], body=json.dumps({"integritySignature": token}).encode()).status == 200
    assert spy.bodies == [b"{}"]
    assert ask(app, "/api", headers=[bearer(token)], body=json.dumps({"integritySignature": front.token(2)}).encode()).code == "token_ambiguous"
    assert ask(app, "/api", headers=[bearer(token)], body=b'{"a":  1.10}').status == 200
    assert spy.bodies[1] == b'{"a":  1.10}', "a body without a token is handed on as it came"


def test_a_header_token_is_judged_before_a_byte_of_the_body_is_read(front: Front) -> None:
    app, _ = gated(front, body_token_paths=["/query"])
    scope = {"type": "http", "method": "POST", "path": "/query", "query_string": b"", "headers": [(b"authorization", b"Bearer " + front.forged().encode())]}
    sent = talk(app, scope, [])  # an attempt to receive would fail: there is nothing
    assert sent[0]["status"] == 401


@pytest.mark.parametrize("query", ["token={token}", "access_token=x", "Access%5FToken=x", "a=1&x={token}", "x=Bearer+{token}", "{token}", "a=1;t={token}"])
def test_a_token_in_the_url_is_refused_by_its_own_code(front: Front, query: str) -> None:
    app, spy = gated(front)
    answer = ask(app, query=query.replace("{token}", front.token()).encode())
    assert (answer.status, answer.code) == (401, "token_in_query")
    assert spy.scopes == []


def test_with_a_header_token_the_one_in_the_url_is_ignored_and_the_app_never_sees_it(front: Front) -> None:
    app, spy = gated(front)
    other = front.token(2).replace(".", "%2E")
    answer = ask(app, headers=[bearer(front.token(1))], query=f"page=2&token={other}&q=a%20b".encode())
    assert answer.status == 200
    assert spy.scopes[0]["query_string"] == b"page=2&q=a%20b"
    assert spy.scopes[0]["state"]["rowseal"].grant.filters["orders"][0][0].value == 1


def test_an_expired_token_has_a_code_of_its_own_so_that_clients_refresh(front: Front) -> None:
    app, _ = gated(front)
    answer = ask(app, headers=[bearer(front.token(minutes=1, issued_at=time.time() - 61))])
    assert (answer.status, answer.code) == (401, "token_expired")


# --- which paths are open -----------------------------------------------------------------------------------------------------------

OPEN = ["/health", "/static/*", "/"]


@pytest.mark.parametrize("path", ["/health", "/static/a.css", "/static/a/b-1.js", "/"])
def test_an_open_path_needs_no_token_and_gets_no_access(front: Front, path: str) -> None:
    app, spy = gated(front, open_paths=OPEN)
    answer = ask(app, path, method="GET", raw_path=path.encode(), state={"rowseal": "forged", "other": 1})
    assert answer.status == 200
    assert spy.scopes[0]["state"] == {"other": 1}
    assert answer.header("cache-control") is None


@pytest.mark.parametrize(
    ("path", "raw_path"),
    [
        ("/query", b"/query"),
        ("/health/", b"/health/"),
        ("/Health", b"/Health"),
        ("/healthy", b"/healthy"),
        ("/health", b"/%68ealth"),
        ("/health", b"/health%00"),
        ("//health", b"//health"),
        ("/./health", b"/./health"),
        ("/query/../health", b"/query/../health"),
        ("/health;x=1", b"/health;x=1"),
        ("health", b"health"),
        ("", b""),
        ("*", b"*"),
        ("http://front/health", b"http://front/health"),
        ("/static", b"/static"),
        ("/static/../query", b"/static/../query"),
        ("/static/../query", b"/static/%2e%2e/query"),
        ("/static/..", b"/static/.."),
        ("/static/./x", b"/static/./x"),
        ("/static//query", b"/static//query"),
        ("/static/a/b", b"/static/a%2Fb"),
        ("/static/..\\query", b"/static/..\\query"),
        ("/static/..;/query", b"/static/..;/query"),
        ("/static/a\n", b"/static/a%0A"),
        ("/static/é", "/static/é".encode()),
    ],
)
def test_every_other_spelling_of_a_path_is_closed(front: Front, path: str, raw_path: bytes) -> None:
    app, spy = gated(front, open_paths=OPEN)
    assert ask(app, path, method="GET", raw_path=raw_path).code == "token_missing"
    assert spy.scopes == []


@pytest.mark.parametrize("path", ["/*", "*", "", "health", "//x", "/a/../b", "/a%20b", "/a/*/b", "/a*", "/**", "/x?y"])
def test_a_path_that_cannot_be_opened_without_doubt_stops_the_start(front: Front, path: str) -> None:
    with pytest.raises(ValueError, match="cannot be opened"):
        GateMiddleware(Spy(), gate=front.gate, open_paths=[path])


def test_one_string_in_place_of_a_list_of_paths_stops_the_start(front: Front) -> None:
    with pytest.raises(TypeError, match="list"):
        GateMiddleware(Spy(), gate=front.gate, open_paths="/health")


def test_open_paths_are_those_that_the_apps_own_router_sees_below_a_root_path(front: Front) -> None:
    app, spy = gated(front, open_paths=["/health"])
    assert ask(app, "/engine/health", method="GET", root_path="/engine").status == 200
    assert ask(app, "/health", method="GET", root_path="/health").code == "token_missing"
    assert ask(app, "/enginehealth", method="GET", root_path="/engine").code == "token_missing"
    inner = GateMiddleware(Spy(), gate=front.gate, open_paths=["/health"])
    mounted = Starlette(routes=[Mount("/a/health", app=inner)])
    assert ask(mounted, "/a/health/health", method="GET").status == 200
    assert ask(mounted, "/a/health/query", method="GET").code == "token_missing"
    assert len(spy.scopes) == 1


@pytest.mark.parametrize("root_path", ["", "/", "/engine", "/engine/", "/engine/health"])
@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/engine",
        "/engine/",
        "/engine/health",
        "/enginehealth",
        "/engine//health",
        "/health",
        "/health/engine/query",
        "/health/engine",
    ],
)
def test_the_path_that_is_judged_is_the_one_that_every_framework_routes_or_none(path: str, root_path: str) -> None:
    from starlette._utils import get_route_path

    judged = route_path(path, root_path)
    litestar = path.split(root_path, maxsplit=1)[-1] if root_path else path
    routed = [get_route_path({"type": "http", "path": path, "root_path": root_path}), path.removeprefix(root_path), litestar]
    assert judged == "" or [each.strip("/") for each in routed] == [judged.strip("/")] * 3


def test_below_an_open_path_no_root_path_leads_another_framework_to_another_route(front: Front) -> None:
    """Litestar takes the root path out of the middle too: this was open, and ran what was posted."""
    app, spy = gated(front, open_paths=["/static/*"], rewrite=[Rewrite(path="/query")])
    for path, root_path in (("/static/engine/query", "/engine"), ("/static/x/query", "/static/x/"), ("/static/query", "/static/q")):
        assert ask(app, path, body=b"{}", root_path=root_path).code == "token_missing", path
    assert spy.scopes == []
    assert ask(app, "/engine/static/x", body=b"{}", root_path="/engine").status == 200

    @post("/query", status_code=200)
    async def naive(request: LitestarRequest) -> str:
        return "ran " + (await request.body()).decode()

    routed = {"path": "/static/engine/query", "root_path": "/engine", "body": b"DROP TABLE orders"}
    assert ask(Litestar([naive]), **routed).body == b"ran DROP TABLE orders"
    assert ask(GateMiddleware(Litestar([naive]), gate=front.gate, open_paths=["/static/*"], rewrite=[Rewrite(path="/query")]), **routed).status == 401


# --- other kinds of connection ------------------------------------------------------------------------------------------------------


def test_lifespan_passes(front: Front) -> None:
    spy: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        spy.append(scope["type"])

    assert talk(GateMiddleware(app, gate=front.gate), {"type": "lifespan"}, []) == []
    assert spy == ["lifespan"]


def test_a_connection_of_an_unknown_kind_is_refused(front: Front) -> None:
    app, spy = gated(front, open_paths=["/query"])
    for kind in ("http3", "webtransport", "HTTP", ""):
        with pytest.raises(NotImplementedError):
            talk(app, {"type": kind, "path": "/query", "method": "GET", "headers": []}, [])
    assert spy.scopes == []


def test_a_websocket_is_refused_before_it_is_accepted_even_with_a_token(front: Front) -> None:
    app, spy = gated(front, open_paths=["/ws"])
    scope = {"type": "websocket", "path": "/ws", "headers": [(b"authorization", f"Bearer {front.token()}".encode())]}
    assert talk(app, scope, []) == [{"type": "websocket.close", "code": 1008, "reason": "path_closed"}]
    start, body = talk(app, {**scope, "extensions": {"websocket.http.response": {}}}, [])
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 404)
    assert json.loads(body["body"])["code"] == "path_closed"
    assert spy.scopes == []


def test_a_token_in_the_url_of_a_websocket_does_not_reach_the_servers_log(front: Front) -> None:
    """The server writes its line from the scope that it made."""
    app, _ = gated(front)
    scope = {"type": "websocket", "path": "/ws", "headers": [], "query_string": f"a=1&token={front.token()}".encode()}
    talk(app, scope, [])
    assert scope["query_string"] == b"a=1"


def test_a_websocket_that_is_opened_by_name_passes(front: Front) -> None:
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    app = GateMiddleware(Starlette(routes=[WebSocketRoute("/ws", echo)]), gate=front.gate, open_websockets=["/ws"])
    sent = talk(app, {"type": "websocket", "path": "/ws", "headers": [], "query_string": b""}, [{"type": "websocket.connect"}])
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]


PREFLIGHT = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "authorization")]


@pytest.mark.parametrize("outside", [True, False])
def test_a_preflight_is_answered_by_a_cors_middleware_inside_as_well_as_outside(front: Front, outside: bool) -> None:
    cors = Middleware(CORSMiddleware, allow_origins=["https://app.example"], allow_headers=["authorization"], allow_methods=["POST"])
    gate = Middleware(GateMiddleware, gate=front.gate)
    app = Starlette(routes=[Route("/query", PlainTextResponse("x"), methods=["POST"])], middleware=[cors, gate] if outside else [gate, cors])
    answer = ask(app, method="OPTIONS", headers=PREFLIGHT)
    assert (answer.status, answer.header("access-control-allow-origin")) == (200, "https://app.example")
    refused = ask(app, headers=PREFLIGHT[:1])
    assert refused.status == 401
    assert (refused.header("access-control-allow-origin") is not None) is outside


def test_nothing_of_substance_goes_in_or_out_with_a_preflight(front: Front) -> None:
    app, spy = gated(front)
    answer = ask(app, method="OPTIONS", headers=[*PREFLIGHT, bearer(front.token())], body=b'{"sql": "SELECT 1"}', query=b"sql=SELECT")
    assert (answer.status, answer.body, answer.header("content-length")) == (200, b"", "0")
    assert (spy.bodies, spy.scopes[0]["query_string"], spy.scopes[0].get("state")) == ([b""], b"", {})
    assert b"authorization" not in dict(spy.scopes[0]["headers"])


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", PREFLIGHT[:1]),
        ("OPTIONS", PREFLIGHT[1:]),
        ("OPTIONS", [*PREFLIGHT, ("Content-Length", "5")]),
        ("OPTIONS", [*PREFLIGHT, ("Transfer-Encoding", "chunked")]),
        ("POST", PREFLIGHT),
        ("GET", PREFLIGHT),
    ],
)
def test_what_only_resembles_a_preflight_needs_a_token(front: Front, method: str, headers: list[tuple[str, str]]) -> None:
    app, spy = gated(front)
    assert ask(app, method=method, headers=headers).code == "token_missing"
    assert spy.scopes == []


# --- the size of a body -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/query", "/health"])
@pytest.mark.parametrize(
    ("announced", "chunks"),
    [("101", [b"x" * 101]), (None, [b"x" * 101]), (None, [b"x" * 60, b"x" * 41]), ("5", [b"x" * 6]), ("5", [b"x" * 3, b"x" * 3]), ("9" * 18, [b""])],
)
def test_a_body_beyond_the_limit_is_refused_also_when_its_length_is_a_lie_or_unsaid(
    front: Front, path: str, announced: str | None, chunks: list[bytes]
) -> None:
    app, spy = gated(front, max_body_bytes=100, open_paths=["/health"])
    length = [] if announced is None else [("Content-Length", announced)]
    answer = ask(app, path, headers=[bearer(front.token()), *length], body=chunks)
    assert (answer.status, answer.code) == (413, "body_too_large")
    assert spy.bodies == []


def test_a_body_of_exactly_the_limit_passes(front: Front) -> None:
    app, spy = gated(front, max_body_bytes=100)
    assert ask(app, headers=[bearer(front.token()), ("Content-Length", "100")], body=[b"x" * 99, b"x"]).status == 200
    assert spy.bodies == [b"x" * 100]


def test_the_limit_follows_the_configuration_unless_told(front: Front) -> None:
    app, _ = gated(front, body_token_paths=["/api"])
    headers = [bearer(front.token())]
    assert ask(app, headers=headers, body=b"x" * (2 * 2000 + 65_536)).status == 200
    assert ask(app, headers=headers, body=b"x" * (2 * 2000 + 65_536 + 1)).code == "body_too_large"
    assert ask(app, "/api", body=b"x" * 8001).code == "body_too_large"


@pytest.mark.parametrize("value", ["abc", "-1", "+5", "5 5", "", "1" * 19, "\u0665"])
def test_a_content_length_that_is_no_number_is_refused(front: Front, value: str) -> None:
    app, _ = gated(front)
    scope_headers = [(b"authorization", f"Bearer {front.token()}".encode()), (b"content-length", value.encode())]
    assert ask(app, scope={}, headers=(), method="POST").code == "token_missing"
    sent = talk(app, {"type": "http", "method": "POST", "path": "/query", "query_string": b"", "headers": scope_headers}, [])
    assert json.loads(sent[1]["body"])["code"] == "request_malformed"


def test_two_content_lengths_are_refused_also_where_they_agree(front: Front) -> None:
    """Whoever stands before or behind might read the other one."""
    app, spy = gated(front)
    answer = ask(app, headers=[bearer(front.token()), ("Content-Length", "2"), ("Content-Length", "2")], body=b"{}")
    assert (answer.status, answer.code, spy.scopes) == (400, "request_malformed", [])


def test_a_framework_cannot_turn_too_large_a_body_into_another_answer(front: Front) -> None:
    async def lenient(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await receive()
        except Exception:  # noqa: BLE001 - as frameworks do
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"never mind"})

    app = GateMiddleware(lenient, gate=front.gate, max_body_bytes=3)
    assert ask(app, headers=[bearer(front.token())], body=b"four").code == "body_too_large"


def test_a_client_that_leaves_while_its_body_is_read_gets_no_answer(front: Front) -> None:
    app, spy = gated(front, body_token_paths=["/api"])
    scope = {"type": "http", "method": "POST", "path": "/api", "query_string": b"", "headers": []}
    assert talk(app, scope, [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]) == []
    assert spy.scopes == []


# --- how a refusal looks ------------------------------------------------------------------------------------------------------------


def test_a_refusal_is_a_problem_document_that_nobody_keeps(front: Front) -> None:
    app, _ = gated(front)
    answer = ask(app)
    problem = json.loads(answer.body)
    assert set(problem) == {"type", "title", "status", "code", "detail", "hint", "request_id"}
    assert (problem["status"], problem["code"], problem["type"]) == (401, "token_missing", "urn:rowseal:problem:token_missing")
    assert answer.header("content-type") == "application/problem+json"
    assert answer.header("content-length") == str(len(answer.body))
    assert answer.header("cache-control") == "no-store"
    assert answer.header("x-request-id") == problem["request_id"]
    assert len(problem["request_id"]) == 32


def test_the_challenge_names_an_error_only_when_a_token_came(front: Front) -> None:
    app, _ = gated(front)
    assert ask(app).header("www-authenticate") == 'Bearer realm="rowseal"'
    challenge = ask(app, headers=[bearer(front.forged())]).header("www-authenticate")
    assert challenge is not None
    assert challenge.startswith('Bearer realm="rowseal", error="invalid_token", error_description="')


def raising(error: Exception) -> Starlette:
    async def handler(request: Request) -> Response:
        raise error

    return Starlette(routes=[Route("/query", handler, methods=["GET", "POST", "HEAD"])])


@pytest.mark.parametrize("mounted", ["inside", "around", "around a debugging app"])
def test_what_the_apps_handler_lets_through_of_a_refusal_becomes_its_answer(front: Front, mounted: str) -> None:
    inner = raising(QueryRefused("column_unknown", 'no column `x"\\é\n` here', line=2, column=7))
    inner.debug = mounted == "around a debugging app"
    app: Any = inner
    if mounted == "inside":
        inner.add_middleware(GateMiddleware, gate=front.gate)
    else:  # outside of the framework's own catch-all, which answers 500 first
        app = GateMiddleware(inner, gate=front.gate)
    answer = ask(app, headers=[bearer(front.token())])
    problem = json.loads(answer.body)
    assert (answer.status, problem["code"], problem["line"], problem["column"]) == (400, "column_unknown", 2, 7)
    assert problem["detail"] == 'no column `x"\\é\n` here'


def test_a_framework_that_answers_500_by_itself_answers_with_the_refusal(front: Front) -> None:
    """Django does so when the exception is long handled, with a page of its own. Only the last thing that was asked counts."""

    async def django(scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        with contextlib.suppress(QueryRefused):
            await access_of(scope).aexecute("SELECT absent FROM orders")
        if body:
            await access_of(scope).aexecute(body.decode())
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"<h1>Traceback</h1>"})

    app = GateMiddleware(django, gate=front.gate)
    headers = [bearer(front.token())]
    assert ask(app, headers=headers).code == "column_unknown"
    assert ask(app, headers=headers, body=b"SELECT order_id FROM orders").body == b"<h1>Traceback</h1>"


def test_an_answer_that_the_app_makes_of_a_refusal_is_the_apps(front: Front) -> None:
    async def lenient(request: Request) -> Response:
        try:
            await access_of(request).aexecute("SELECT absent FROM orders")
        except QueryRefused as refusal:
            return PlainTextResponse(refusal.code, status_code=422)
        raise AssertionError

    app = GateMiddleware(Starlette(routes=[Route("/query", lenient)]), gate=front.gate)
    answer = ask(app, method="GET", headers=[bearer(front.token())])
    assert (answer.status, answer.body) == (422, b"column_unknown")


@pytest.mark.parametrize(("others", "expected"), [([], 400), ([TimedOut("timed_out")], 400), ([ZeroDivisionError()], None)])
def test_a_refusal_out_of_a_task_group_is_one(front: Front, others: list[Exception], expected: int | None) -> None:
    async def grouped(scope: Scope, receive: Receive, send: Send) -> None:
        raise ExceptionGroup("tasks", [ExceptionGroup("inner", [QueryRefused("column_unknown")]), *others])

    app = GateMiddleware(grouped, gate=front.gate)
    if expected is None:
        with pytest.raises(ExceptionGroup):
            ask(app, headers=[bearer(front.token())])
    else:
        assert ask(app, headers=[bearer(front.token())]).status == expected


def test_an_access_comes_from_the_gate_alone(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    async def asking(scope: Scope, receive: Receive, send: Send) -> None:
        access_of(scope)

    app = GateMiddleware(asking, gate=front.gate, open_paths=["/open"])
    with caplog.at_level(logging.INFO, "rowseal.decisions"):
        assert ask(app, "/open", state={"rowseal": front.gate.verify(front.token())}).code == "token_missing"
    assert [json.loads(entry.message)["code"] for entry in caplog.records] == ["token_missing"]
    for request in ({}, {"state": {}}, {"state": {"rowseal": object()}}, object(), None):
        with pytest.raises(TokenRefused, match="token_missing"):
            access_of(request)


def test_the_described_error_cannot_break_out_of_its_quotes(front: Front) -> None:
    app = GateMiddleware(raising(_forbidden('a"b\\c\r\nSet-Cookie: x=1 é')), gate=front.gate)
    answer = ask(app, headers=[bearer(front.token())])
    assert answer.status == 403
    assert answer.header("www-authenticate") == 'Bearer realm="rowseal", error="insufficient_scope", error_description="a?b?c??Set-Cookie: x=1 ?"'


def _forbidden(detail: str) -> Exception:
    from rowseal.errors import AccessRefused

    return AccessRefused("dataset_unknown", detail)


def test_too_many_queries_says_when_to_come_back(front: Front) -> None:
    app = GateMiddleware(raising(BudgetExceeded("too_many_queries")), gate=front.gate)
    answer = ask(app, headers=[bearer(front.token())])
    assert (answer.status, answer.header("retry-after")) == (429, "1")


def test_a_refusal_to_head_has_headers_and_no_body(front: Front) -> None:
    app, _ = gated(front)
    answer = ask(app, method="HEAD")
    assert (answer.status, answer.body) == (401, b"")
    assert answer.header("content-length") not in {None, "0"}


def test_a_refusal_after_the_answer_began_breaks_the_connection_instead_of_ending_it_well(front: Front) -> None:
    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise TimedOut("timed_out")

    with pytest.raises(TimedOut):
        ask(GateMiddleware(late, gate=front.gate), headers=[bearer(front.token())])


def test_an_exception_of_the_app_is_the_apps(front: Front) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("the app's own")

    with pytest.raises(ZeroDivisionError):
        ask(GateMiddleware(broken, gate=front.gate), headers=[bearer(front.token())])


def test_an_exception_inside_the_gate_refuses_without_a_word_about_it(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    app, spy = gated(front)
    # A scope that breaks the ASGI contract: the header's value is text.
    answer = ask(app, headers=(), method="POST", query_string="secret-value")
    assert (answer.status, answer.code) == (500, "our_bug")
    assert b"secret-value" not in answer.body
    assert "secret-value" not in caplog.text
    assert "TypeError at " in caplog.text
    assert spy.scopes == []


# --- how an answer looks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "given", "expected"), [(200, None, "private"), (200, "max-age=5", "max-age=5"), (404, None, "no-store")])
def test_an_answer_to_a_token_is_private_unless_the_app_says_otherwise(front: Front, status: int, given: str | None, expected: str) -> None:
    async def handler(request: Request) -> Response:
        return PlainTextResponse("x", status_code=status, headers={"X-Request-Id": "the app's", **({"Cache-Control": given} if given else {})})

    app = GateMiddleware(Starlette(routes=[Route("/query", handler)]), gate=front.gate)
    answer = ask(app, method="GET", headers=[bearer(front.token())])
    assert answer.header("cache-control") == expected
    assert len(answer.header("x-request-id") or "") == 32  # the one in the log, and no other


def test_a_streamed_answer_starts_once_and_keeps_its_pieces(front: Front) -> None:
    async def handler(request: Request) -> Response:
        return StreamingResponse(iter([b"a", b"b", b"c"]))

    app = GateMiddleware(Starlette(routes=[Route("/query", handler)]), gate=front.gate)
    assert ask(app, method="GET", headers=[bearer(front.token())]).body == b"abc"


def test_server_timing_is_told_only_when_asked_for(front: Front) -> None:
    quiet, _ = gated(front)
    assert ask(quiet, headers=[bearer(front.token())]).header("server-timing") is None
    open_about_it, _ = gated(front, server_timing=True)
    timing = ask(open_about_it, headers=[bearer(front.token())]).header("server-timing")
    assert timing is not None
    assert timing.startswith("verify;dur=")


def test_every_refusal_at_the_door_leaves_one_decision_and_no_token(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    app, _ = gated(front)
    token = front.forged()
    with caplog.at_level(logging.INFO, "rowseal.decisions"):
        answer = ask(app, headers=[bearer(token)])
    [record] = [json.loads(entry.message) for entry in caplog.records if entry.name == "rowseal.decisions"]
    assert (record["code"], record["status"], record["request_id"]) == (answer.code, 401, answer.header("x-request-id"))
    assert token not in caplog.text
    assert token.split(".")[1] not in caplog.text


def test_requests_served_at_once_do_not_see_each_others_access(front: Front) -> None:
    async def whose(scope: Scope, receive: Receive, send: Send) -> None:
        before = scope["state"]["rowseal"]
        await asyncio.sleep(0.001)
        assert scope["state"]["rowseal"] is before
        value = before.grant.filters["orders"][0][0].value
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(value).encode()})

    app = GateMiddleware(whose, gate=front.gate)
    shared_state: dict[str, Any] = {"app": "lifespan state, which some servers hand to every request"}

    async def one(client: httpx.AsyncClient, tenant: int) -> tuple[int, str]:
        answer = await client.get("/query", headers=[bearer(front.token(tenant))])
        return tenant, answer.text

    async def all_at_once() -> list[tuple[int, str]]:
        async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": shared_state}, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(with_state), base_url="http://front") as client:
            return await asyncio.gather(*(one(client, tenant) for tenant in range(1, 21)))

    for tenant, seen in asyncio.run(all_at_once()):
        assert seen == str(tenant)
    assert "rowseal" not in shared_state


# --- whatever is sent ---------------------------------------------------------------------------------------------------------------

# The pieces of requests, well and badly made; {1} and {2} stand for valid tokens of two tenants, {f} for a forged one.
NAMES = ["Authorization", "authorization", "Auth", "Authorization ", "Authorization_", "Content-Length", "Origin", "Access-Control-Request-Method", "Cookie"]
VALUES = ["Bearer {1}", "Bearer {2}", "Bearer {f}", "bearer  {1}", "Basic {1}", "{1}", "{f}", "0", "7", "99999999", "POST", "", "Bearer", "\xff"]
USUAL = [[], [("Authorization", "Bearer {1}")], [("Auth", "{2}")], [("Origin", "x"), ("Access-Control-Request-Method", "POST")]]
QUERIES = ["", "a=1", "access_token={1}", "t={2}", "%74={1}", "&&=", "x=%zz"]
BODIES = ["", "{}", '{"integritySignature":"{1}"}', '{"integritySignature":"{2}","a":1}', '{"identityConfigIntegritySignature":"{f}"}', "[", "\xff" * 9_000]
PATHS = ["/query", "/api", "/health", "/static/x", "/static/../api", "//health", "/", "", "/api/"]


@settings(max_examples=400, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "OPTIONS", "HEAD", "options"]),
    path=st.sampled_from(PATHS),
    headers=st.builds(operator.add, st.sampled_from(USUAL), st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=2)),
    query=st.sampled_from(QUERIES),
    body=st.lists(st.sampled_from(BODIES), min_size=1, max_size=2),
)
def test_whatever_is_sent_either_one_valid_token_came_or_the_app_was_not_reached(
    front: Front, *, method: str, path: str, headers: list[tuple[str, str]], query: str, body: list[str]
) -> None:
    tokens = {"{1}": front.token(1), "{2}": front.token(2), "{f}": front.forged()}

    def filled(text: str) -> str:
        for mark, token in tokens.items():
            text = text.replace(mark, token)
        return text

    app, spy = gated(front, open_paths=["/health", "/static/*"], auth_header=True, body_token_paths=["/api"])
    sent = [(name, filled(value)) for name, value in headers]
    answer = ask(app, path, method=method, headers=sent, query=filled(query).encode(), body=[filled(part).encode("latin-1") for part in body])

    assert answer.status != 500
    if not spy.scopes:
        assert answer.header("content-type") == "application/problem+json"
        assert answer.status in {400, 401, 413}
        return
    [scope] = spy.scopes
    access = scope["state"].get("rowseal")
    if access is not None:
        given = {mark for mark in ("{1}", "{2}") if any(mark in text for text in [*(value for _, value in headers), *body])}
        assert str(access.grant.filters["orders"][0][0].value) in {mark[1] for mark in given}
        assert not {b"authorization", b"auth"} & {name for name, _ in scope["headers"]}
        assert not any(token.encode() in scope["query_string"] for token in tokens.values())
        assert path != "/api" or not any(token.encode() in part for token in tokens.values() for part in spy.bodies)
    else:
        preflight = {"Origin", "Access-Control-Request-Method"} <= {name for name, _ in headers} and method == "OPTIONS"
        assert path in {"/health", "/static/x"} or (preflight and answer.body == b"")


# --- mounted --------------------------------------------------------------------------------------------------------------------


def query_over(app: Any, front: Front, sql: str, tenant: int = 1) -> Answer:
    return ask(app, headers=[bearer(front.token(tenant)), ("Content-Type", "application/json")], body=json.dumps({"sql": sql}).encode())


ANSWERS = [(1, [[30]]), (2, [[700]])]


@pytest.mark.parametrize(("tenant", "rows"), ANSWERS)
def test_a_starlette_app_needs_one_line(front: Front, tenant: int, rows: list[list[int]]) -> None:
    async def query(request: Request) -> Response:
        result = await request.state.rowseal.aexecute((await request.json())["sql"])
        return JSONResponse([list(row) for row in result.rows])

    app = Starlette(routes=[Route("/query", query, methods=["POST"])], middleware=[Middleware(GateMiddleware, gate=front.gate)])

    assert json.loads(query_over(app, front, "SELECT SUM(amount) AS total FROM orders", tenant).body) == rows
    assert query_over(app, front, "SELECT 1 FROM nowhere", tenant).code == "dataset_unknown"


@pytest.mark.parametrize(("tenant", "rows"), ANSWERS)
def test_a_fastapi_app_needs_one_line(front: Front, tenant: int, rows: list[list[int]]) -> None:
    app = FastAPI()
    app.add_middleware(GateMiddleware, gate=front.gate)

    @app.post("/query")
    async def query(request: FastRequest, ask: dict[str, Any]) -> list[list[Any]]:
        return [list(row) for row in (await request.state.rowseal.aexecute(ask["sql"])).rows]

    assert json.loads(query_over(app, front, "SELECT SUM(amount) AS total FROM orders", tenant).body) == rows
    assert query_over(app, front, "SELECT 1 FROM nowhere", tenant).code == "dataset_unknown"
    assert ask(app, headers=[bearer(front.token())], body=b"x" * 70_000).code == "body_too_large"


def test_a_route_or_a_mounted_app_can_be_guarded_alone(front: Front) -> None:
    async def query(request: Request) -> Response:
        return JSONResponse([list(row) for row in (await access_of(request).aexecute((await request.json())["sql"])).rows])

    gate = Middleware(GateMiddleware, gate=front.gate, open_paths=["/health"])
    inner = FastAPI()
    inner.add_middleware(GateMiddleware, gate=front.gate, open_paths=["/health"])
    inner.add_api_route("/health", lambda: "well")
    inner.add_api_route("/query", _typed(query), methods=["POST"], response_model=None)
    routes = [
        Route("/query", query, methods=["POST"], middleware=[gate]),
        Mount("/reports", routes=[Route("/query", query, methods=["POST"]), Route("/health", PlainTextResponse("well"))], middleware=[gate]),
        Mount("/fast", app=inner),
        Route("/free", PlainTextResponse("free")),
    ]
    app = Starlette(routes=routes)
    body = json.dumps({"sql": "SELECT SUM(amount) AS total FROM orders"}).encode()
    for prefix in ("", "/reports", "/fast"):
        assert ask(app, f"{prefix}/query", headers=[bearer(front.token(2))], body=body).body == b"[[700]]", prefix
        assert ask(app, f"{prefix}/query", body=body).code == "token_missing"
        refused = json.dumps({"sql": "SELECT 1 FROM nowhere"}).encode()
        assert ask(app, f"{prefix}/query", headers=[bearer(front.token())], body=refused).code == "dataset_unknown"
        assert ask(app, f"{prefix}/health", method="GET").status == (404 if not prefix else 200)
    assert ask(app, "/free", method="GET").body == b"free"


def _typed(handler: Any) -> Any:
    async def typed(request: FastRequest) -> Any:
        return await handler(request)

    return typed


def test_each_query_leaves_one_decision_that_tells_who_and_what_and_no_secret(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    async def query(request: Request) -> Response:
        result = await request.state.rowseal.aexecute((await request.json())["sql"])
        return JSONResponse(len(result.rows))

    app = Starlette(routes=[Route("/query", query, methods=["POST"])], middleware=[Middleware(GateMiddleware, gate=front.gate, server_timing=True)])
    token, sql = front.token(), "SELECT amount FROM orders WHERE amount > 4711"
    with caplog.at_level(logging.INFO):
        answers = [ask(app, headers=[bearer(token)], body=json.dumps({"sql": text}).encode()) for text in (sql, "SELECT 1 FROM nowhere")]
    allowed, refused = [json.loads(entry.message) for entry in caplog.records if entry.name == "rowseal.decisions"]
    assert [record["request_id"] for record in (allowed, refused)] == [answer.header("x-request-id") for answer in answers]
    assert (allowed["code"], allowed["status"], allowed["datasets"], allowed["rows"], allowed["truncated"]) == ("allowed", 200, ["orders"], 0, False)
    assert (refused["code"], refused["status"], refused["datasets"], refused["rows"]) == ("dataset_unknown", 403, [], None)
    assert allowed["key"] == "front"
    assert allowed["token"] == front.gate.verify(token).grant.digest[:12]
    assert list(allowed["stages"]) == ["verify", "plan", "admit", "secure", "witness", "execute"]
    assert [part.partition(";")[0] for part in (answers[0].header("server-timing") or "").split(", ")] == list(allowed["stages"])
    for secret in (token, "4711", "SELECT", "nowhere", "tenant_id"):
        assert secret not in caplog.text


# --- over a real server -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def serve() -> Iterator[Any]:
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(app: Any) -> str:
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        running.append((server, thread))
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


def test_a_token_in_the_url_does_not_reach_the_servers_access_log(front: Front, serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    url = serve(gated(front)[0])
    token = front.token()
    with caplog.at_level(logging.INFO, "uvicorn.access"):
        assert httpx.get(f"{url}/query?a=1&token={token}").json()["code"] == "token_in_query"
        assert httpx.get(f"{url}/query?a=2&token={token}", headers=[bearer(token)]).status_code == 200
    lines = [entry.getMessage() for entry in caplog.records if entry.name == "uvicorn.access"]
    assert [line.partition(" HTTP")[0].partition('"')[2] for line in lines] == ["GET /query?a=1", "GET /query?a=2"]
    assert token not in "".join(lines)


def test_too_large_a_chunked_body_is_refused_over_http(front: Front, serve: Any) -> None:
    url = serve(gated(front, max_body_bytes=1000)[0])
    answer = httpx.post(f"{url}/query", headers=[bearer(front.token())], content=iter([b"x" * 600] * 3))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_encoded_and_dotted_paths_are_closed_over_http(front: Front, serve: Any) -> None:
    import http.client
    from urllib.parse import urlsplit

    address = urlsplit(serve(gated(front, open_paths=["/static/*"])[0]))
    for target in ("/static/%2e%2e/query", "/static/../query", "/static/..%2fquery", "//static/x", "/static/%2Fquery", "/static/x;y", "http://h/static/x"):
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
        connection.putrequest("GET", target, skip_host=True)
        connection.putheader("Host", "front")
        connection.endheaders()
        assert connection.getresponse().status == 401, target
        connection.close()
    assert httpx.get(f"{address.geturl()}/static/x").status_code == 200


def test_a_websocket_handshake_is_refused_over_http(front: Front, serve: Any) -> None:
    url = serve(gated(front)[0])
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    assert httpx.get(f"{url}/query", headers=headers).status_code == 401
