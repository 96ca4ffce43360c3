"""modes.md: which wall stands in which mode. A spy in the place of the engine records exactly what reaches it."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError
from starlette.types import Receive, Scope, Send

from asgi import Front, ask
from naive import NaiveEngine
from rowseal import Gate, GateMiddleware, Rewrite
from rowseal.gate import access as opened_by
from rowseal.sql import ParamStyle

ROOT = Path(__file__).parents[1]


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    made = Front(tmp_path)
    yield made
    made.gate.close()


def limited(front: Front, folder: Path, limits: str) -> None:
    """The same gate with other limits."""
    file = folder / "datasets.yaml"
    file.write_text(re.sub(r"limits: .*", f"limits: {limits}", file.read_text()))
    front.gate.close()
    front.gate = Gate.from_yaml(file)


class Spy:
    """An engine that runs nothing and notes every body."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert "rowseal" not in scope["state"]
        self.bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"[]"})


def post(app: Any, token: str, content: Any) -> Any:
    return ask(app, headers=[("Authorization", f"Bearer {token}")], body=json.dumps(content).encode())


# --- what goes in ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", get_args(ParamStyle))
@pytest.mark.parametrize(
    ("sql", "params"), [("SELECT order_id FROM orders", {}), ("SELECT order_id FROM orders WHERE amount > :a AND order_id <> :b", {"a": 7, "b": 9})]
)
def test_what_reaches_the_engine_is_the_secured_query_and_nothing_else(front: Front, style: ParamStyle, sql: str, params: dict[str, int]) -> None:
    spy = Spy()
    app = GateMiddleware(spy, gate=front.gate, rewrite=[Rewrite(path="/query", paramstyle=style)])
    assert post(app, front.token(2), {"sql": sql, "params": params}).status == 200
    expected, binds = front.gate.verify(front.token(2)).secure(sql, params).render(style)
    assert [json.loads(body) for body in spy.bodies] == [{"sql": expected, "params": binds if isinstance(binds, dict) else list(binds)}]
    assert 2 in (binds.values() if isinstance(binds, dict) else binds)


@pytest.mark.parametrize("mode", ["aware", "transparent"])
def test_a_query_that_the_witness_denies_reaches_no_engine(front: Front, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """The sabotage: a rewriter that leaves the table in the body, where a guard should stand."""
    honest = opened_by.secure

    def sabotaged(*arguments: Any, **more: Any) -> Any:
        draft = honest(*arguments, **more)
        return replace(draft, body=draft.body.replace('"__g1"', '"orders"'))

    reached: list[str] = []
    spy = Spy()

    async def aware(scope: Scope, receive: Receive, send: Send) -> None:
        result = await scope["state"]["rowseal"].aexecute(json.loads((await receive())["body"])["sql"])
        reached.append(str(result))

    monkeypatch.setattr(opened_by, "secure", sabotaged)
    app = GateMiddleware(aware, gate=front.gate) if mode == "aware" else GateMiddleware(spy, gate=front.gate, rewrite=[Rewrite(path="/query")])
    answer = post(app, front.token(), {"sql": "SELECT amount FROM orders"})
    assert (answer.status, answer.code, reached, spy.bodies) == (500, "our_bug", [], [])


# What an expression does on a forbidden row must not be told. On SQLite abs fails for -2**63, and `floor` is SQLAlchemy's own, which fails
# for NULL and for text; a range over an indexed column makes the database try them before it looks at the tenant.
TELLING = ["abs(amount) >= 0", "amount > -1 AND floor(amount) >= 0", "CASE WHEN abs(amount) > 1 THEN 1 ELSE 1 END = 1", "amount || '' <> ''"]


@pytest.mark.parametrize("condition", TELLING)
def test_forbidden_rows_change_nothing_behind_an_engine_of_sqlalchemy_s(tmp_path: Path, condition: str) -> None:
    """G2: the same question over twins, which differ in rows of tenant 2 alone."""
    answers = []
    for name, planted in (("one", []), ("twin", ["-9223372036854775808", "NULL", "'text'"])):
        folder = tmp_path / name
        folder.mkdir()
        front = Front(folder)
        with closing(sqlite3.connect(folder / "front.db")) as database:
            rows = "".join(f"INSERT INTO orders VALUES ({number}, 2, {value});" for number, value in enumerate(planted, 10))
            database.executescript(f"CREATE INDEX amounts ON orders (amount); {rows}")
        engine = create_engine(front.gate.catalogs["default"].database, poolclass=NullPool)
        app = GateMiddleware(NaiveEngine(engine, "text").app, gate=front.gate, rewrite=[Rewrite(path="/query")])
        answer = post(app, front.token(), {"sql": f"SELECT order_id FROM orders WHERE {condition} ORDER BY order_id"})
        answers.append((answer.status, answer.body))
        front.gate.close()
    assert answers == [(200, b'[["1"],["2"]]')] * 2


def test_without_a_fence_the_same_conditions_would_tell(tmp_path: Path) -> None:
    """So that the test above can fail."""
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}", poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY, tenant_id INTEGER, amount INTEGER)"))
        connection.execute(text("CREATE INDEX amounts ON orders (amount)"))
        connection.execute(text("INSERT INTO orders VALUES (1, 1, 10), (2, 2, 'text')"))
    with engine.connect() as connection, pytest.raises(OperationalError):
        connection.execute(
            text("WITH g AS NOT MATERIALIZED (SELECT id, amount FROM orders WHERE tenant_id = 1) SELECT id FROM g WHERE amount > -1 AND floor(amount) >= 0")
        ).all()


# --- what is the engine's own -------------------------------------------------------------------------------------------------------------


def test_neither_seconds_nor_queries_at_once_are_bounded_for_an_engine_behind(front: Front, tmp_path: Path) -> None:
    """Where the page says no: two at once pass a limit of one, and each takes longer than its seconds."""
    limited(front, tmp_path, "{concurrent: 1, seconds: 0.2}")
    together = asyncio.Barrier(2)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await together.wait()
        await asyncio.sleep(0.3)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"late"})

    app = GateMiddleware(slow, gate=front.gate, rewrite=[Rewrite(path="/query")])

    async def both() -> list[str]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://front") as client:
            headers = {"Authorization": f"Bearer {front.token()}"}
            asked = [client.post("/query", json={"sql": "SELECT order_id FROM orders"}, headers=headers) for _ in range(2)]
            return [answer.text for answer in await asyncio.wait_for(asyncio.gather(*asked), 20)]

    assert asyncio.run(both()) == ["late", "late"]


def test_a_failure_that_an_engine_calls_a_success_comes_through(front: Front) -> None:
    """Where the page says so: 200 with an error in the body is an answer."""

    async def polite(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"error": "no such column"}'})

    app = GateMiddleware(polite, gate=front.gate, rewrite=[Rewrite(path="/query")])
    assert post(app, front.token(), {"sql": "SELECT order_id FROM orders"}).body == b'{"error": "no such column"}'


# --- the page ----------------------------------------------------------------------------------------------------------------------------


def test_each_cell_of_the_page_names_tests_that_exist() -> None:
    table = (ROOT / "docs/explanation/modes.md").read_text(encoding="utf-8").partition("| what | aware | transparent |\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[1:]]
    assert len(rows) > 15
    for what, *cells in rows:
        assert len(cells) == 2, what
        for cell in cells:
            named = re.findall(r"`(test_\w+)(?:::(test_\w+))?`", cell)
            assert named, (what, cell)
            for module, name in named:
                source = (ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8")
                assert not name or re.search(rf"^def {name}\b", source, re.MULTILINE), (module, name)
