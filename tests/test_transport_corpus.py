"""The collected cases about how a token travels: each is sent as it says, and the query behind it answers or refuses as it says."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
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
from rowseal.middleware import GateMiddleware

SHARED = Path(os.environ.get("ROWSEAL_SHARED") or Path(__file__).parent.parent.parent / "shared")
CORPUS, BUILDER = SHARED / "cases" / "tokens.json", SHARED / "cases" / "tokens_build.py"


def entries() -> list[Any]:
    if not CORPUS.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason="the collected token cases are not beside this checkout (ROWSEAL_SHARED)"))]
    found = [entry for entry in json.loads(CORPUS.read_text()) if entry["kind"] == "request" or entry["family"] == "transport"]
    assert len(found) >= 7
    return [pytest.param(entry, id=entry["id"]) for entry in found]


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tokens_build", BUILDER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
