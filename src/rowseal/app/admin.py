"""Keys over HTTP, for operators: a listener of its own with a secret of its own. No token opens it, and it opens no rows.

    admin = create_admin(gate, secret=os.environ["ROWSEAL_ADMIN_SECRET"])

A key arrives pending and is activated by a second act. docs/how-to/keys.md shows both.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from rowseal import decisions, strict
from rowseal.app.metrics import metrics
from rowseal.claims import Json
from rowseal.errors import AdminRefused, OurBug, QueryRefused, Refused
from rowseal.gate import Gate
from rowseal.http.transport import problem
from rowseal.keys import KeyRefused
from rowseal.keys.records import PENDING, Kept, moment_text
from rowseal.keys.store import KeyMissing, KeyTaken, Store

__all__ = ["SECRET_BYTES", "create_admin"]

SECRET_BYTES: Final = 32
_BODY_BYTES: Final = 65_536
_DEPTH: Final = 4
_Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
_Act: TypeAlias = Callable[[Store, str, Mapping[str, Json]], "tuple[int, Kept | None]"]


def create_admin(gate: Gate, *, secret: str, directory: str | None = None) -> Starlette:
    """The admin surface as an ASGI application.

    `secret` has at least 32 bytes; `directory` is the id of the entry of `keys:` whose folder is written to, which may be left out where
    there is only one with `directory:`. Raises ValueError for a shorter secret, LookupError where there is no such entry.
    """
    if len(secret.encode()) < SECRET_BYTES or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ValueError(f"the admin secret must have at least {SECRET_BYTES} bytes, of visible ASCII characters: make one with `openssl rand -hex 32`")
    gate.key_store(directory)
    admin = _Admin(gate, secret, directory)
    routes = [
        admin.route("/v1/keys", "GET", admin.every),
        admin.route("/v1/keys/{name}", "GET", admin.one),
        admin.route("/v1/keys/{name}", "PUT", admin.act("key_upload", admin.upload)),
        admin.route("/v1/keys/{name}", "DELETE", admin.act("key_remove", admin.remove)),
        admin.route("/v1/keys/{name}/activate", "POST", admin.act("key_activate", admin.activate)),
        admin.route("/v1/keys/{name}/retire", "POST", admin.act("key_retire", admin.retire)),
        admin.route("/metrics", "GET", admin.metrics),
    ]
    app = Starlette(routes=routes, exception_handlers={404: admin.unknown, 405: admin.unknown})
    app.router.redirect_slashes = False
    return app


class _Admin:
    """The handlers, and the gate whose keys they are about."""

    def __init__(self, gate: Gate, secret: str, directory: str | None) -> None:
        self._gate = gate
        self._secret = hashlib.sha256(secret.encode()).digest()
        self._directory = directory

    def route(self, path: str, method: str, handler: _Handler) -> Route:
        """A route that nobody without the secret comes through."""

        async def endpoint(request: Request) -> Response:
            with decisions.follow():
                try:
                    self._require(request)
                    return await handler(request)
                except Refused as refusal:
                    return _problem(refusal)
                except ClientDisconnect:
                    return Response(status_code=499)
                except Exception as failure:  # noqa: BLE001 -- INVARIANT: whatever goes wrong says nothing of its own
                    return _problem(OurBug(type(failure).__name__))

        return Route(path, endpoint, methods=[method])

    def _require(self, request: Request) -> None:
        given = request.headers.getlist("authorization")
        scheme, _, secret = (given[0] if len(given) == 1 else "").partition(" ")
        # INVARIANT: compared in a time that depends neither on the secret nor on what was sent for it
        right = hmac.compare_digest(hashlib.sha256(secret.encode("latin-1", "replace")).digest(), self._secret)
        if not right or scheme.lower() != "bearer":
            raise AdminRefused("admin_refused")

    async def every(self, request: Request) -> Response:
        """`GET /v1/keys`."""
        del request
        kept = await anyio.to_thread.run_sync(lambda: self._gate.key_store(self._directory).all())
        return _json(200, {"keys": [_described(each) for each in sorted(kept, key=lambda each: each.name)]})

    async def one(self, request: Request) -> Response:
        """`GET /v1/keys/{name}`."""
        kept = await anyio.to_thread.run_sync(lambda: self._gate.key_store(self._directory).all())
        found = next((each for each in kept if each.name == request.path_params["name"]), None)
        if found is None:
            raise AdminRefused("key_missing")
        return _json(200, _described(found))

    def upload(self, store: Store, name: str, content: Mapping[str, Json]) -> tuple[int, Kept | None]:
        """`PUT /v1/keys/{name}`."""
        if content.get("datasets") is None:
            raise KeyRefused("there is no `datasets`: a list of ids, or `*` for all that the directory may")
        if content["datasets"] == "*":
            content = {member: value for member, value in content.items() if member != "datasets"}
        kept, new = store.put(name, content, state=PENDING, now=self._gate.clock())
        return 201 if new else 200, kept

    def activate(self, store: Store, name: str, content: Mapping[str, Json]) -> tuple[int, Kept | None]:
        """`POST /v1/keys/{name}/activate`."""
        _nothing(content)
        return 200, store.activate(name)

    def retire(self, store: Store, name: str, content: Mapping[str, Json]) -> tuple[int, Kept | None]:
        """`POST /v1/keys/{name}/retire`."""
        at = content.get("at")
        _nothing({member: value for member, value in content.items() if member != "at"})
        if at is None:
            return 200, store.retire(name, at=self._gate.clock())
        try:
            return 200, store.retire(name, at=strict.moment(at if isinstance(at, str) else ""))
        except strict.Malformed as error:
            raise KeyRefused(f"`at` {error}") from None

    def remove(self, store: Store, name: str, content: Mapping[str, Json]) -> tuple[int, Kept | None]:
        """`DELETE /v1/keys/{name}`."""
        _nothing(content)
        return 200, store.remove(name, now=self._gate.clock())

    def act(self, name: str, act: _Act) -> _Handler:
        """A handler that changes a key, writes down who did what, and has the gate look at once."""

        async def handler(request: Request) -> Response:
            key = request.path_params["name"]
            kept: Kept | None = None
            code, status = "our_bug", 500
            try:
                content = await _content(request)
                store = self._gate.key_store(self._directory)
                status, kept = await anyio.to_thread.run_sync(_acted, act, store, key, content)
                code = decisions.ALLOWED
            except Refused as refusal:
                code, status = refusal.code, refusal.status
                raise
            finally:
                decisions.emit(_audit(name, code, status, kept, key if code == decisions.ALLOWED else None))
            await anyio.to_thread.run_sync(lambda: self._gate.refresh_keys(fetch=False))
            return _json(status, {"removed": key} if kept is None else _described(kept))

        return handler

    async def metrics(self, request: Request) -> Response:
        """`GET /metrics`."""
        del request
        return Response(metrics(self._gate), 200, {"cache-control": "no-store"}, "text/plain; version=0.0.4")

    async def unknown(self, request: Request, failure: Exception) -> Response:
        """What no route takes."""
        with decisions.follow():
            try:
                self._require(request)
            except Refused as refusal:
                return _problem(refusal)
            status = getattr(failure, "status_code", 404)
            return _problem(QueryRefused("method_refused" if status == 405 else "path_unknown"))


def _acted(act: _Act, store: Store, name: str, content: Mapping[str, Json]) -> tuple[int, Kept | None]:
    try:
        return act(store, name, content)
    except KeyMissing as problem:
        raise AdminRefused("key_missing", str(problem)) from None
    except KeyTaken as problem:
        raise AdminRefused("key_taken", str(problem)) from None
    except KeyRefused as problem:
        raise AdminRefused("key_refused", str(problem)) from None
    except OSError as error:
        raise OurBug(f"the directory of keys cannot be written: {type(error).__name__}") from error


async def _content(request: Request) -> dict[str, Json]:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _BODY_BYTES:
            raise AdminRefused("key_refused", f"the body is larger than {_BODY_BYTES} bytes")
    try:
        return strict.json_object(bytes(body), depth=_DEPTH) if body else {}
    except strict.Malformed as error:
        raise AdminRefused("key_refused", f"the body is not one strict JSON object ({error})") from None


def _nothing(content: Mapping[str, Json]) -> None:
    if content:
        raise KeyRefused(f"the body has {len(content)} member(s) too many")


def _described(kept: Kept) -> dict[str, Any]:
    key = kept.key
    moments = (("not_before", key.not_before), ("retire_at", key.retire_at), ("added_at", key.added_at))
    return {
        "name": kept.name,
        "id": key.facts.id,
        "state": kept.state,
        "algorithm": key.algorithm,
        "thumbprint": key.thumbprint,
        "datasets": "*" if key.facts.datasets is None else sorted(key.facts.datasets),
        **({} if kept.project_id is None else {"project_id": kept.project_id}),
        **{name: moment_text(at) for name, at in moments if at is not None and math.isfinite(at)},
    }


def _audit(act: str, code: str, status: int, kept: Kept | None, name: str | None) -> decisions.KeyAct:
    request_id = decisions.trail().request_id
    if kept is None:
        return decisions.KeyAct(request_id, act, code, status, name)
    key, datasets = kept.key, kept.key.facts.datasets
    scope = None if datasets is None else tuple(sorted(datasets))
    return decisions.KeyAct(request_id, act, code, status, key.facts.id, key.thumbprint, scope, kept.project_id, kept.state)


def _json(status: int, content: object) -> Response:
    return Response(json.dumps(content, separators=(",", ":")), status, {"cache-control": "no-store"}, "application/json")


def _problem(refusal: Refused) -> Response:
    status, headers, body = problem(refusal, request_id=decisions.trail().request_id)
    return Response(body, status, {name.decode(): value.decode() for name, value in headers})
