"""The collected cases about how a token travels: each is sent as it says, and the query behind it answers or refuses as it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from asgi import Front, ask
from corpora import absent, case_file, case_module
from rowseal.http.middleware import GateMiddleware


def entries() -> list[Any]:
    if missing := absent("tokens.json") or absent("tokens_build.py"):
        return [pytest.param(None, marks=pytest.mark.skip(reason=missing))]
    found = [entry for entry in case_file("tokens.json") if entry["kind"] == "request" or entry["family"] == "transport"]
    assert len(found) >= 7
    return [pytest.param(entry, id=entry["id"]) for entry in found]


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    return case_module("tokens_build.py")


@pytest.fixture(scope="module")
def front(builder: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    made = Front(tmp_path_factory.mktemp("corpus"), public_key=builder.EC_PUB)
    yield made
    made.gate.close()


async def total(request: Request) -> Response:
    result = await request.state.rowseal.aexecute("SELECT SUM(amount) AS total FROM orders")
    return JSONResponse({"total": result.rows[0][0], "query": str(request.query_params), "headers": list(request.headers)})


@pytest.mark.parametrize("entry", entries())
def test_a_collected_request_is_answered_or_refused_as_it_says(front: Front, builder: ModuleType, entry: dict[str, Any]) -> None:
    built = eval(entry["how_to_build"], vars(builder))
    request = built if isinstance(built, dict) else builder.bearer(f"Bearer {built}")
    app = Starlette(routes=[Route("/orders", total)], middleware=[Middleware(GateMiddleware, gate=front.gate)])

    answer = ask(app, "/orders", method="GET", headers=request["headers"], query=urlencode(request.get("query", {})).encode())

    if entry["expect"] == "accept":
        assert (answer.status, json.loads(answer.body)) == (200, {"total": 30, "query": "", "headers": []})
    else:
        assert entry["expect"] == "reject"
        assert answer.status == 401
        assert answer.code in {"token_missing", "token_malformed"}
