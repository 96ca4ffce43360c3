"""The gate in front of an ASGI app: a request gets through with a valid token, and the app finds its `Access` in the request's state.

    app = Starlette(routes=[...], middleware=[Middleware(GateMiddleware, gate=gate)])
    access_of(request)                         # in a handler of any framework: secure(...), execute(...), aexecute(...)
    request.state.rowseal                      # the same, where requests have a state

Put CORSMiddleware outside of it (before it in the list), so that refusals carry CORS headers too; a preflight also reaches one inside.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from rowseal import decisions
from rowseal.catalog.connections import Place, place
from rowseal.errors import EngineFailed, OurBug, QueryRefused, Refused, TokenRefused
from rowseal.gate import Access, Gate
from rowseal.holder import Presented
from rowseal.http import bodies
from rowseal.http.holder import check_urls, presented
from rowseal.http.reply import Reply, where
from rowseal.http.rewrite import EngineReply, Rewrite, check_request, engine_headers
from rowseal.http.transport import OpenPaths, header_tokens, one_token, problem, route_path, split_body, split_headers, split_query

__all__ = ["GateMiddleware", "access_of"]

# Room in a body for JSON's own escapes (twice the SQL) and for parameters.
BODY_SLACK: Final = 65_536

_log: Final = logging.getLogger("rowseal")


def access_of(request: Any) -> Access:
    """The Access of a request: of an ASGI scope, or of whatever has one in its `scope` (Starlette, FastAPI, Litestar, Django).

    Raises TokenRefused `token_missing` where there is none: on a path that is open, or in an app without the middleware.
    """
    scope = request if isinstance(request, Mapping) else getattr(request, "scope", {})
    access = scope.get("state", {}).get("rowseal")
    if type(access) is not Access:
        refusal = TokenRefused("token_missing", "the handler asks for the access of a request that came without a token")
        decisions.trail().refuse(refusal.code, refusal.status, refusal)
        raise refusal
    return access


class GateMiddleware:
    """Pure ASGI middleware: nothing reaches `app` without a valid token, except on paths opened by name.

    - `open_paths`: paths that need no token, as the app's own routes spell them: `"/health"`, or `"/static/*"` for all below.
    - `open_websockets`: paths on which websockets pass, without any check; all others are refused.
    - `auth_header`: also take the token from an `Auth` header (some dashboards send it there, without a scheme).
    - `body_token_paths`: paths whose JSON body may hold the token (`transport.BODY_FIELDS`). There the body is read, at most
      `limits.body_token_bytes`, before the app sees the request.
    - `max_body_bytes`: the largest body elsewhere; by default twice `limits.sql_bytes` and 64 KiB.
    - `rewrite`: paths whose handlers know nothing of rowseal and run whatever SQL is posted. They get the secured SQL in its place, and
      no Access (docs/explanation/modes.md).
    - `aware_paths`: paths whose handlers ask `request.state.rowseal`. Without `rewrite` all are; with it only those named here, because
      an app that runs what is posted may do so in more than one place. All others answer 404.
    - `server_timing`: whether answers tell how long each stage took (`Server-Timing`).
    - `public_urls`: the addresses under which clients reach this app, such as `https://data.example.com`. DPoP proofs are held against them;
      without any, none is taken.

    Raises ValueError when one of the paths cannot be opened safely, or is rewritten and something else too.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        gate: Gate,
        open_paths: Sequence[str] = (),
        open_websockets: Sequence[str] = (),
        auth_header: bool = False,
        body_token_paths: Sequence[str] = (),
        max_body_bytes: int | None = None,
        rewrite: Sequence[Rewrite] = (),
        aware_paths: Sequence[str] = (),
        server_timing: bool = False,
        public_urls: Sequence[str] = (),
    ) -> None:
        self.app = app
        self._gate = gate
        self._open = OpenPaths(open_paths)
        self._open_websockets = OpenPaths(open_websockets)
        self._auth_header = auth_header
        self._body_token_paths = OpenPaths(body_token_paths)
        self._max_body_bytes = max_body_bytes
        self._rewrites = {each.path: each for each in rewrite}
        self._engines = {each.path: _engine_of(each, gate) for each in rewrite}
        self._rewritten = OpenPaths([each.path for each in rewrite])
        self._aware = OpenPaths(aware_paths) if rewrite else None
        for path in self._rewrites:
            others = (self._open, self._open_websockets, OpenPaths(aware_paths))
            if len(self._rewrites) < len(rewrite) or any(other.opens(path, None) for other in others):
                raise ValueError(f"`{path}` cannot be rewritten and something else too: name it once")
        if aware_paths and not rewrite:
            raise ValueError("aware_paths: without `rewrite` every path is aware; leave it out")
        self._server_timing = server_timing
        self._public_urls = check_urls(public_urls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection. Keeps nothing of it on `self`."""
        if scope["type"] == "http":
            with decisions.follow() as trail:
                await self._http(scope, receive, Reply(send, trail, head=scope["method"] == "HEAD", timing=self._server_timing))
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            raise NotImplementedError("rowseal passes `http` and `lifespan` only")

    async def _http(self, scope: Scope, receive: Receive, reply: Reply) -> None:
        try:
            admitted = await self._admit(scope, receive, reply)
        except bodies.ClientGone:
            return
        except Refused as refusal:
            await reply.refuse(refusal)
            return
        except Exception as failure:  # noqa: BLE001 - INVARIANT: whatever goes wrong in here, the request does not pass
            await reply.refuse(_bug(failure))
            return
        try:
            await self.app(*admitted)
        except Exception as failure:
            let_through = _refusal(failure)
            if reply.engine is not None:
                _log.warning("request %s: the engine behind failed: %s", reply.request_id, where(failure))
            elif let_through is None:
                raise
            elif not reply.finished:
                if reply.started:
                    raise
                await reply.refuse(let_through)
        if reply.engine is not None:
            await reply.end(reply.engine)

    async def _admit(self, scope: Scope, receive: Receive, reply: Reply) -> tuple[Scope, Receive, Send]:
        """What the app is called with, if it is: verifies the token, takes it out of the request, bounds the body."""
        path, raw_path = route_path(scope["path"], scope.get("root_path", "")), scope.get("raw_path")
        headers: list[tuple[bytes, bytes]] = list(scope["headers"])
        state = {name: value for name, value in scope.get("state", {}).items() if name != "rowseal"}
        limits = self._gate.limits  # once: a reload may change them while the request is read
        limit = self._max_body_bytes if self._max_body_bytes is not None else 2 * limits.sql_bytes + BODY_SLACK

        if self._open.opens(path, raw_path):
            bounded = bodies.bounded(receive, bodies.announced(headers, limit), limit, reply)
            return {**scope, "state": state}, bounded, reply.send
        # In place: the server writes its access log from this very scope.
        scope["query_string"], in_query = split_query(scope.get("query_string", b""))
        if _is_preflight(scope["method"], headers):
            # Reaches the app only so that a CORSMiddleware inside can answer. Nothing of substance goes in or comes out with it.
            return {**scope, "state": state, "query_string": b"", "headers": split_headers(headers, auth_header=True)}, bodies.nothing(receive), reply.send_bare

        rewrite = self._rewrites[path] if self._rewritten.opens(path, raw_path) else None
        takes_body = self._body_token_paths.opens(path, raw_path)
        if takes_body:
            limit = limits.body_token_bytes
        found = header_tokens(headers, auth_header=self._auth_header)
        access = None
        if found or not takes_body:
            access = await self._verify(one_token(found, in_query=in_query), reply, self._presented(scope, headers))
        if rewrite is not None:
            check_request(scope["method"], scope["query_string"], headers)
        length = bodies.announced(headers, limit)
        receive = bodies.bounded(receive, length, limit, reply)
        if takes_body or rewrite is not None:
            body = await bodies.read(receive)
            if takes_body:
                body, in_body = split_body(body)
                token = one_token(found + in_body, in_query=in_query)
                access = access or await self._verify(token, reply, self._presented(scope, headers), from_body=True)
            if rewrite is not None:
                body = await self._secured(rewrite, access, body)
                headers = engine_headers(headers, body)
            receive = bodies.replay(body, receive)
            if length is not None:
                headers = [(name, str(len(body)).encode() if name.lower() == b"content-length" else value) for name, value in headers]
        headers = split_headers(headers, auth_header=self._auth_header)
        reply.guarded = True
        if rewrite is not None:
            reply.engine = EngineReply(limits.result_bytes)
            # No extension of the server's: a file sent by its path would pass uncounted.
            return {**scope, "state": state, "headers": headers, "extensions": {}}, receive, reply.send_counted
        if self._aware is not None and not self._aware.opens(path, raw_path):
            raise QueryRefused("path_closed")
        return {**scope, "state": {**state, "rowseal": access}, "headers": headers}, receive, reply.send

    async def _secured(self, rewrite: Rewrite, access: Access | None, body: bytes) -> bytes:
        """The body with the secured SQL in the place of the bearer's."""
        if access is None:
            raise OurBug("a body was to be rewritten for nobody")
        ask = rewrite.read(body)
        connection, asked = self._engines[rewrite.path]
        query = await access.asecure(ask.sql, ask.params, ask.dataset, connection=connection)
        # INVARIANT: a query secured for one database never goes to the engine of another, whatever a reload made of the connections.
        if place(query.database) != asked:
            _log.error("the connection of the rewritten path %s leads to another database since a reload: start the app anew", rewrite.path)
            raise EngineFailed("database_unavailable")
        return rewrite.body(ask, query)

    def _presented(self, scope: Scope, headers: Sequence[tuple[bytes, bytes]]) -> Presented | None:
        return presented(headers, method=scope["method"], path=scope["path"], raw_path=scope.get("raw_path"), public_urls=self._public_urls)

    async def _verify(self, token: str, reply: Reply, presented: Presented | None, *, from_body: bool = False) -> Access:
        with decisions.trail().stage("verify"):
            access = await self._gate.averify(token, from_body=from_body, presented=presented)
        reply.bearer = access.grant.digest[:12], access.grant.key.id
        reply.expires = partial(_left, access.expires_at, self._gate.clock)
        return access

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = route_path(scope["path"], scope.get("root_path", ""))
        if self._open_websockets.opens(path, scope.get("raw_path")):
            await self.app(scope, receive, send)
            return
        # In place, as in `_admit`: browsers can put a token nowhere else in the handshake, and the server logs that too.
        scope["query_string"], _ = split_query(scope.get("query_string", b""))
        if "websocket.http.response" in scope.get("extensions", {}):
            with decisions.follow() as trail:
                status, headers, body = problem(_NO_WEBSOCKET, request_id=trail.request_id)
            await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": body})
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": _NO_WEBSOCKET.code})


_NO_WEBSOCKET: Final = QueryRefused("path_closed", "websockets are not open here")


def _engine_of(rewrite: Rewrite, gate: Gate) -> tuple[str, Place]:
    """The connection that the engine behind a rewritten path asks, and where it leads. Raises ValueError where nobody can tell."""
    catalogs = gate.catalogs
    name = next(iter(catalogs)) if rewrite.connection is None and len(catalogs) == 1 else rewrite.connection
    if name is None or name not in catalogs:
        raise ValueError(f"`{rewrite.path}`: write `connection=` with one of {', '.join(catalogs)}, the one whose database the engine asks")
    return name, place(catalogs[name].database)


def _left(expires_at: float, clock: Callable[[], float]) -> int:
    """Whole seconds that are left, for a client that fetches the next token in time."""
    return max(0, int(expires_at - clock()))


def _is_preflight(method: str, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    if method != "OPTIONS":
        return False
    values = {name.lower(): value for name, value in headers}
    bodiless = values.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in values
    return bodiless and b"origin" in values and b"access-control-request-method" in values


def _refusal(failure: Exception) -> Refused | None:
    """The refusal that an app let through, also as the first one of a task group in which nothing else failed."""
    while isinstance(failure, ExceptionGroup) and failure.split(Refused)[1] is None:
        failure = failure.exceptions[0]
    return failure if isinstance(failure, Refused) else None


def _bug(failure: Exception) -> OurBug:
    bug = OurBug(type(failure).__name__)
    bug.__cause__ = failure
    return bug
