"""The stand-alone gateway: one configuration over HTTP, for whoever has no application of their own to mount the middleware in.

    app = create_app(Gate.from_yaml("datasets.yaml"))

`rowseal serve` runs it. What it answers is written down in `openapi`, which it serves itself.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from rowseal import decisions
from rowseal.app.admin import SECRET_BYTES, create_admin
from rowseal.app.openapi import DATASETS, EXPLAIN, HEALTH, OPENAPI, QUERY, READY, document
from rowseal.app.several import several
from rowseal.claims import Json
from rowseal.errors import AccessRefused, BudgetExceeded, OurBug, QueryRefused, Refused, TokenRefused
from rowseal.gate import Access, Gate, VisibleDataset
from rowseal.http.accept import accepted
from rowseal.http.answers import answer, nobody, while_connected
from rowseal.http.holder import check_urls
from rowseal.http.middleware import GateMiddleware
from rowseal.http.rewrite import Ask, Rewrite
from rowseal.http.transport import BODY_DEPTH, problem
from rowseal.strict import Malformed, json_object

__all__ = ["SECRET_BYTES", "create_admin", "create_app"]

_BODY: Final = Rewrite(path=QUERY)
_SEVERAL: Final = "queries"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCALAR: Final = (str, int, float, bool, type(None))
_PROBE_SECONDS: Final = 2.0
_PROBE_HOLDS_SECONDS: Final = 1.0

_Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


def create_app(gate: Gate, *, development: bool = False, public_urls: Sequence[str] = ()) -> Starlette:
    """The gateway as an ASGI application. `development`: whether tokens of keys with `development: true` are taken.

    `public_urls`: the addresses under which clients reach it, which DPoP proofs are held against. Raises ValueError for what is no address.
    """
    gateway = _Gateway(gate, development)
    routes = [
        _route(QUERY, "POST", gateway.query),
        _route(DATASETS, "GET", gateway.datasets),
        _route(EXPLAIN, "POST", gateway.explain),
        _route(HEALTH, "GET", gateway.health),
        _route(READY, "GET", gateway.ready),
        _route(OPENAPI, "GET", gateway.openapi),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(GateMiddleware, gate=gate, open_paths=[HEALTH, READY, OPENAPI], public_urls=check_urls(public_urls))],
        exception_handlers={404: _unknown_path, 405: _unknown_method},
    )
    app.router.redirect_slashes = False
    return app


class _Gateway:
    """The handlers, and the gate that they ask."""

    def __init__(self, gate: Gate, development: bool) -> None:
        self._gate = gate
        self._development = development
        self._readiness = _Readiness(gate)
        self._document = _json(document())

    async def query(self, request: Request) -> Response:
        access = self._access(request)
        accepted(request.headers.getlist("accept"))  # before anything is read
        content = await _content(request)
        check = partial(self._require, access)
        if _SEVERAL in content:
            accepted(request.headers.getlist("accept"), only_json=True)
            limits = self._gate.limits
            asks = _asks(content, limits.queries)
            found = await while_connected(request, partial(several, access, asks, most_bytes=limits.result_bytes))
            check()
            return nobody() if found is None else _answer(found)
        ask = _ask(content)
        return await answer(request, access, ask.sql, ask.params, ask.dataset, check=check)

    async def datasets(self, request: Request) -> Response:
        access = self._access(request)
        visible = await access.adatasets()
        self._require(access)
        return _answer(_json({"datasets": [_dataset(each) for each in visible]}))

    async def explain(self, request: Request) -> Response:
        access = self._access(request, explain=True)
        ask = _ask(await _content(request))
        explained = await access.aexplain(ask.sql, ask.params, ask.dataset)
        self._require(access, explain=True)
        return _answer(_json(explained))

    async def health(self, request: Request) -> Response:
        del request
        return _answer(b'{"status":"alive"}')

    async def ready(self, request: Request) -> Response:
        del request
        keys = self._gate.key_condition()
        ready = await self._readiness.ask() and keys != "unavailable"
        body = _json({"status": "ready" if ready else "unavailable", "epoch": self._gate.epoch, "keys": keys})
        return Response(body, 200 if ready else 503, {"cache-control": "no-store"}, "application/json")

    async def openapi(self, request: Request) -> Response:
        del request
        return _answer(self._document)

    def _access(self, request: Request, *, explain: bool = False) -> Access:
        access: Access = request.state.rowseal
        self._require(access, explain=explain)
        return access

    def _require(self, access: Access, *, explain: bool = False) -> None:
        """What this server asks of the key itself. INVARIANT: asked before a use of the access and after it, for the facts that were used.

        A body may come slowly, and a reload in between: then the access was judged anew when it was used.
        """
        if access.grant.key.development and not self._development:
            raise TokenRefused("development_refused")
        if explain and not (access.grant.key.explain or access.grant.explain):
            raise AccessRefused("explain_closed")


class _Readiness:
    """Whether the databases answer, asked once for everybody who wants to know: who asks needs no token, so asking must cost nothing."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._turn = anyio.Lock()
        self._probing = threading.Lock()
        self._asked = -_PROBE_HOLDS_SECONDS
        self._ready = False

    async def ask(self) -> bool:
        async with self._turn:
            if time.monotonic() >= self._asked + _PROBE_HOLDS_SECONDS:
                self._ready = False
                with anyio.move_on_after(_PROBE_SECONDS):
                    self._ready = await anyio.to_thread.run_sync(self._probe, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
                self._asked = time.monotonic()
            return self._ready

    def _probe(self) -> bool:
        if not self._probing.acquire(blocking=False):
            return False  # the one before still waits for its answer
        try:
            return self._gate.reachable()
        except Refused:
            return False
        finally:
            self._probing.release()


def _route(path: str, method: str, handler: _Handler) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request)
        except (Refused, HTTPException):
            raise
        except ClientDisconnect:
            return nobody()
        except Exception as failure:
            # INVARIANT: whatever goes wrong is a refusal; its words may quote a value, so they stay here
            raise OurBug(type(failure).__name__) from failure

    return Route(path, endpoint, methods=[method])


async def _content(request: Request) -> dict[str, Json]:
    try:
        return json_object(await request.body(), depth=BODY_DEPTH)
    except Malformed:
        raise QueryRefused("request_malformed", "the body is not one strict JSON object") from None


def _ask(content: Mapping[str, Json]) -> Ask:
    ask = _BODY.take_apart(content)
    if unknown := ask.rest.keys() - {_BODY.dataset}:
        raise QueryRefused("request_malformed", f"the body has {len(unknown)} member(s) besides `sql`, `params` and `dataSetId`")
    return ask


def _asks(content: Mapping[str, Json], most: int) -> list[Ask]:
    """The queries of a request that has several."""
    queries = content[_SEVERAL]
    if len(content) > 1 or not isinstance(queries, list) or not queries:
        raise QueryRefused("request_malformed", "`queries` in the body is not the one member and a list of queries")
    if len(queries) > most:
        raise BudgetExceeded("body_too_large", f"the request holds more than {most} queries", hint="send them in several requests, or raise `limits.queries`")
    if not all(isinstance(each, dict) for each in queries):
        raise QueryRefused("request_malformed", "each of `queries` is an object with `sql`")
    asks = [_ask(each) for each in queries if isinstance(each, dict)]
    if not all(ask.sql and all(_NAME.fullmatch(name) and isinstance(value, _SCALAR) for name, value in ask.params.items()) for ask in asks):
        raise QueryRefused("request_malformed", "one of `queries` has no SQL, or a parameter whose name or value none can have")
    return asks


def _dataset(visible: VisibleDataset) -> dict[str, Any]:
    dataset, refusal, dialect = visible
    fields = [{"id": field.id, "name": field.name, "sql": dialect.quote(field.sql_name), "type": field.type.value} for field in dataset.visible]
    content = {"id": dataset.id, "name": dataset.name, "sql": dialect.quote(dataset.sql_name), "fields": fields, "queryable": refusal is None}
    if refusal is not None:
        content["refusal"] = {"code": refusal.code, "detail": refusal.detail, "hint": refusal.hint}
    return content


def _json(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _answer(body: bytes) -> Response:
    return Response(body, media_type="application/json")


async def _unknown_path(request: Request, failure: Exception) -> Response:
    del request, failure
    return _problem(QueryRefused("path_unknown"))


async def _unknown_method(request: Request, failure: Exception) -> Response:
    del request
    return _problem(QueryRefused("method_refused"), getattr(failure, "headers", None))


def _problem(refusal: Refused, more: dict[str, str] | None = None) -> Response:
    status, headers, body = problem(refusal, request_id=decisions.trail().request_id)
    return Response(body, status, {**{name.decode(): value.decode() for name, value in headers}, **(more or {})})
