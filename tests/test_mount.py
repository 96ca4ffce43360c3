"""mount.md, word for word: each snippet behind a real server, with a real shop and real tokens."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rowseal import Signer
from sample_engine import shop
from sample_engine.keys import make_keys

pytestmark = pytest.mark.slow  # ten servers

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/how-to/mount.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"^## ([^\n]+)\n\n```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
TRANSPARENT = "An engine that cannot be changed"
AWARE = ["Starlette", "FastAPI", "Litestar", "Django", "Any other ASGI app"]
QUESTION = {"sql": "SELECT tenant, COUNT(*) AS orders FROM orders GROUP BY tenant"}

# Engines that know nothing of rowseal and tell everything, one a framework. The page's last snippet stands in front of each.
RUN = """
from sqlalchemy import create_engine, text

database = create_engine("sqlite:///sample_engine/shop.db")

def run(ask):
    with database.connect() as connection:
        return [list(row) for row in connection.execute(text(ask["sql"]), ask["params"])]
"""
NAIVE = {
    "Starlette": """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

async def query(request):
    return JSONResponse(run(await request.json()))

app = Starlette(debug=True, routes=[Route("/query", query, methods=["POST"])])
""",
    "FastAPI": """
from typing import Any
from fastapi import FastAPI

app = FastAPI(debug=True)

@app.post("/query")
def query(ask: dict[str, Any]) -> list[Any]:
    return run(ask)
""",
    "Litestar": """
from typing import Any
from litestar import Litestar, post

@post("/query", status_code=200, sync_to_thread=True)
def query(data: dict[str, Any]) -> list[Any]:
    return run(data)

app = Litestar([query], debug=True)
""",
    "Django": """
import json
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import JsonResponse
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], DEBUG=True)

def query(request):
    return JsonResponse(run(json.loads(request.body)), safe=False)

urlpatterns = [path("query", query)]
app = get_asgi_application()
""",
    "Any other ASGI app": """
import json

async def app(scope, receive, send):
    rows = run(json.loads((await receive())["body"]))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(rows).encode()})
""",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a shop, keys, and the project's own datasets.yaml."""
    folder = tmp_path_factory.mktemp("mount")
    (folder / "sample_engine").mkdir()
    shop.make_shop(f"sqlite:///{folder / 'sample_engine' / 'shop.db'}")
    make_keys(folder / "sample_engine" / "keys")
    (folder / "datasets.yaml").write_text((ROOT / "datasets.yaml").read_text(encoding="utf-8"))
    return folder


def bearer(place: Path, tenant: int) -> dict[str, str]:
    signer = Signer((place / "sample_engine" / "keys" / "private.pem").read_bytes(), ttl_in_minutes=10)
    own = {"orders": [[{"field": "tenant", "op": "=", "value": tenant}]]}
    tokens = signer.generate_tokens(user_reference="u", project_id="prj_shop", data_set_ids=["orders"], secure_filters=own)
    return {"Authorization": f"Bearer {tokens['dataAccessToken']}"}


@contextmanager
def served(place: Path, name: str, files: dict[str, str], *options: str) -> Iterator[httpx.Client]:
    """The app of `mounted.py` under uvicorn, in a process of its own: a framework may keep its settings in globals."""
    folder = place / name
    folder.mkdir(exist_ok=True)
    for link in ("sample_engine", "datasets.yaml"):
        if not (folder / link).exists():
            (folder / link).symlink_to(place / link)
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as exits:
        command = [sys.executable, "-m", "uvicorn", "mounted:app", "--fd", str(listener.fileno()), "--log-level", "warning", *options]
        log = exits.enter_context((folder / "log").open("w+"))
        process = subprocess.Popen(command, cwd=folder, env=environment, pass_fds=[listener.fileno()], stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30) as client:
                deadline = time.monotonic() + 30
                while True:
                    try:
                        client.get("/", timeout=1)
                        break
                    except httpx.TransportError:
                        assert process.poll() is None, (folder / "log").read_text()
                        assert time.monotonic() < deadline, (folder / "log").read_text()
                yield client
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture(scope="module", params=AWARE)
def mounted(place: Path, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """Each snippet in turn, as it stands on the page."""
    name = f"aware-{AWARE.index(request.param)}"
    with served(place, name, {"mounted.py": SNIPPETS[request.param]}) as client:
        client.headers["X-Framework"] = request.param
        client.headers["X-Log"] = str(place / name / "log")
        yield client


def test_the_page_has_a_snippet_for_each_framework_and_each_takes_at_most_eight_lines() -> None:
    assert list(SNIPPETS) == [*AWARE, TRANSPARENT]
    for title, code in SNIPPETS.items():
        imports = {
            line for node in ast.parse(code).body if isinstance(node, ast.Import | ast.ImportFrom) for line in range(node.lineno, (node.end_lineno or 0) + 1)
        }
        lines = [line for number, line in enumerate(code.splitlines(), 1) if line.strip() and number not in imports]
        assert len(lines) <= 8, title


def test_two_tenants_get_their_own_rows(mounted: httpx.Client, place: Path) -> None:
    for tenant in (1, 2):
        answer = mounted.post("/query", json=QUESTION, headers=bearer(place, tenant))
        assert answer.status_code == 200, answer.text
        assert [row[0] for row in answer.json()["rows"]] == [tenant]
        assert answer.headers["cache-control"] == "private"


def test_without_a_token_nobody_gets_in(mounted: httpx.Client) -> None:
    for path in ("/query", "/", "/nothing", "/query/"):
        answer = mounted.post(path, json=QUESTION)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [("SELECT name FROM customers", 403, "dataset_unknown"), ("SELECT absent FROM orders", 400, "column_unknown"), ("", 400, "sql_empty")],
)
def test_a_refusal_out_of_the_handler_is_the_answer(mounted: httpx.Client, place: Path, sql: str, status: int, code: str) -> None:
    answer = mounted.post("/query", json={"sql": sql}, headers=bearer(place, 1))
    assert (answer.status_code, answer.headers["content-type"], answer.json()["code"]) == (status, "application/problem+json", code)
    assert answer.json()["status"] == status


def test_an_error_of_the_handler_is_the_framework_s_own(mounted: httpx.Client, place: Path) -> None:
    answer = mounted.post("/query", json={"nothing": 1}, headers=bearer(place, 1))
    assert answer.status_code == (422 if mounted.headers["X-Framework"] == "FastAPI" else 500)
    assert answer.headers["content-type"] != "application/problem+json"


def test_too_large_a_body_is_refused_whoever_reads_it(mounted: httpx.Client, place: Path) -> None:
    whole = mounted.post("/query", content=b"x" * 300_000, headers=bearer(place, 1))
    assert (whole.status_code, whole.json()["code"]) == (413, "body_too_large")
    pieces = mounted.post("/query", content=iter([b'{"sql": "', b"x" * 300_000]), headers=bearer(place, 1))
    assert (pieces.status_code, pieces.json()["code"]) == (413, "body_too_large")


def test_a_body_in_pieces_arrives_whole(mounted: httpx.Client, place: Path) -> None:
    pieces = iter([b'{"sql": "SELECT tenant ', b'FROM orders LIMIT 1"}'])
    answer = mounted.post("/query", content=pieces, headers={**bearer(place, 2), "Content-Type": "application/json"})
    assert answer.json()["rows"] == [[2]]


def test_fastapi_s_document_says_how_to_authorize(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    names: dict[str, Any] = {}
    exec(compile(SNIPPETS["FastAPI"], "mount.md", "exec", dont_inherit=True), names)

    async def look() -> tuple[Any, int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(names["app"]), base_url="http://shop") as client:
            return (await client.get("/openapi.json")).json(), (await client.get("/docs")).status_code

    document, status = asyncio.run(look())
    assert document["components"]["securitySchemes"] == {"HTTPBearer": {"type": "http", "scheme": "bearer"}}
    assert document["paths"]["/query"]["post"]["security"] == [{"HTTPBearer": []}]
    assert status == 200


def test_no_log_holds_a_token(mounted: httpx.Client, place: Path) -> None:
    token = bearer(place, 1)["Authorization"].removeprefix("Bearer ")
    mounted.post("/query", json={"nothing": 1}, params={"token": token}, headers=bearer(place, 1))
    log = Path(mounted.headers["X-Log"]).read_text()
    assert token not in log
    assert token.split(".")[1] not in log


@pytest.fixture(scope="module", params=AWARE)
def transparent(place: Path, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    files = {"engine.py": RUN + NAIVE[request.param], "mounted.py": SNIPPETS[TRANSPARENT]}
    with served(place, f"transparent-{AWARE.index(request.param)}", files, "--root-path", "/shop") as client:
        client.headers["X-Framework"] = request.param
        yield client


def test_an_engine_of_any_framework_answers_with_permitted_rows_only(transparent: httpx.Client, place: Path) -> None:
    for tenant in (1, 2):
        answer = transparent.post("/query", json=QUESTION, headers=bearer(place, tenant))
        assert answer.status_code == 200, answer.text
        assert [row[0] for row in answer.json()] == [tenant]


def test_nothing_but_the_named_path_reaches_it(transparent: httpx.Client, place: Path) -> None:
    """The server strips nothing and adds the root path; whatever a framework would make of the rest, the gate has refused it."""
    posted = {"sql": "SELECT name FROM sqlite_master", "params": {}}
    for path in ("/", "/query/", "/shop/query", "/x/shop/query", "//query", "/query;x", "/%71uery", "/QUERY"):
        answer = transparent.post(path, json=posted, headers=bearer(place, 1))
        assert (answer.status_code, answer.json()["code"]) == (404, "path_closed"), path
    refused = transparent.post("/query", json=posted, headers=bearer(place, 1))
    assert (refused.status_code, refused.json()["code"]) == (403, "dataset_unknown")


def test_no_word_of_a_debugging_engine_comes_through(transparent: httpx.Client, place: Path) -> None:
    failing = "SELECT ABS(-9223372036854775807 - tenant) AS x FROM orders"
    answer = transparent.post("/query", json={"sql": failing}, headers=bearer(place, 1))
    assert (answer.status_code, answer.json()["code"]) == (502, "query_failed")
    assert "overflow" not in answer.text


def test_without_the_gate_the_same_engines_would_tell_everything(place: Path) -> None:
    """The wall is the middleware."""
    names: dict[str, Any] = {}
    exec(RUN.replace("sqlite:///", f"sqlite:///{place}/"), names)
    assert [tenant for (tenant, *_) in names["run"]({"sql": "SELECT DISTINCT tenant_id FROM orders ORDER BY 1", "params": {}})] == [1, 2, 3]
    names["database"].dispose()
