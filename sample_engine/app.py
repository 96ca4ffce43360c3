"""A small SQL engine over HTTP, and the host application that hands out its tokens, in one app.

The engine is deliberately naive: it runs whatever SQL is posted. What makes it safe is one line, the middleware in front of it, and that
its handler asks the request's Access instead of the database. `POST /login` and `GET /identity` play the host application, which in real
life is another program: who somebody is comes from its signed cookie, never from what the browser claims about itself. The layouts of
its dashboards are in `layouts`.
"""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from rowseal.engine import to_json
from rowseal.errors import QueryRefused
from rowseal.gate import Gate
from rowseal.http.middleware import GateMiddleware
from rowseal.signing import Signer
from sample_engine.keys import FOLDER
from sample_engine.layouts import DASHBOARDS, PATHS, PROJECT, Layouts

__all__ = ["CONFIGURATION", "PEOPLE", "Person", "create_app"]

CONFIGURATION: Final = Path(__file__).parent.parent / "datasets.yaml"

_COOKIE: Final = "shop_login"
_COOKIE_SECONDS: Final = 8 * 3600


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may log in. The password is for this demo only: a host application keeps none in its source."""

    name: str
    password: str
    tenant: int
    access_type: Literal["standard", "admin"] = "standard"


PEOPLE: Final = {
    person.name: person
    for person in (
        Person("north", "demo-north", tenant=1),
        Person("south", "demo-south", tenant=2),
        Person("north-admin", "demo-north-admin", tenant=1, access_type="admin"),
    )
}


async def query(request: Request) -> Response:
    """`{"sql", "params"?, "dataSetId"?}` -> `{"columns", "rows", "truncated"}`: whatever SQL is posted, inside the bearer's rows."""
    ask = await _json_object(request)
    sql, params, dataset = ask.pop("sql", None), ask.pop("params", None), ask.pop("dataSetId", None)
    if ask or not isinstance(sql, str) or not isinstance(params, dict | None) or not isinstance(dataset, str | None):
        raise QueryRefused("request_malformed", "the body is not `sql` (a string), `params` (an object) and `dataSetId` (a string)")
    result = await request.state.rowseal.aexecute(sql, params, dataset)
    return Response(to_json(result), media_type="application/json")


async def welcome(request: Request) -> Response:
    """What this is, in one line: the only page that needs no login."""
    del request
    return PlainTextResponse("rowseal sample engine: POST /login, GET /identity, POST /query, GET and PUT /dashboards/dsh_sales/default and /own\n")


class Host:
    """The host application: knows who is logged in, and signs what they may see."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._secret = secrets.token_bytes(32)  # a restart logs everybody out

    async def login(self, request: Request) -> Response:
        """`{"name", "password"}` -> a cookie that says who this is until it runs out."""
        given = await _json_object(request)
        person = PEOPLE.get(str(given.get("name")))
        if person is None or not hmac.compare_digest(person.password.encode(), str(given.get("password")).encode()):
            return JSONResponse({"detail": "wrong name or password"}, status_code=401)
        response = JSONResponse({"name": person.name})
        response.set_cookie(_COOKIE, self._cookie(person.name, int(time.time()) + _COOKIE_SECONDS), max_age=_COOKIE_SECONDS, httponly=True, samesite="strict")
        return response

    async def identity(self, request: Request) -> Response:
        """The tokens of whoever is logged in: a dashboard's `identity()` callback gets them here and calls again when they expire."""
        person = self._logged_in(request)
        if person is None:
            return JSONResponse({"detail": "log in first"}, status_code=401)
        own_rows = [[{"field": "tenant", "op": "=", "value": person.tenant}]]
        tokens = self._signer.generate_tokens(
            project_id=PROJECT,
            user_reference=person.name,
            access_type=person.access_type,
            parent_dashboard_ids=DASHBOARDS,
            data_set_ids=["orders", "order_items", "customers", "products"],
            secure_filters={"orders": own_rows, "customers": own_rows},
        )
        return JSONResponse(tokens, headers={"Cache-Control": "no-store"})

    def _cookie(self, name: str, until: int) -> str:
        said = f"{name}.{until}"
        return f"{said}.{self._mac(said)}"

    def _mac(self, said: str) -> str:
        return hmac.digest(self._secret, said.encode(), "sha256").hex()

    def _logged_in(self, request: Request) -> Person | None:
        said, _, mac = request.cookies.get(_COOKIE, "").rpartition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(said).encode()):
            return None
        name, _, until = said.partition(".")  # ours from here on
        return PEOPLE.get(name) if time.time() < int(until) else None


async def _json_object(request: Request) -> dict[str, Any]:
    try:
        content = await request.json()
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise QueryRefused("request_malformed", "the body is not a JSON object")
    return content


def create_app(gate: Gate | None = None, *, private_key: Path = FOLDER / "private.pem") -> Starlette:
    """The app for any ASGI server: `uvicorn --factory sample_engine.app:create_app`."""
    gate = gate or Gate.from_yaml(CONFIGURATION)
    host = Host(Signer(private_key.read_bytes(), ttl_in_minutes=15))
    return Starlette(
        routes=[
            Route("/", welcome),
            Route("/login", host.login, methods=["POST"]),
            Route("/identity", host.identity, methods=["GET", "POST"]),
            Route("/query", query, methods=["POST"]),
            *Layouts(gate).routes,
        ],
        middleware=[Middleware(GateMiddleware, gate=gate, open_paths=["/", "/login", "/identity", PATHS])],
    )
