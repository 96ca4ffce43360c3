"""One request from top to bottom, as a library caller sees it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import psycopg
import pytest

import rowseal
import servers
from asgi import Front
from databases.postgres import libpq
from rowseal import errors
from rowseal.engine import Database, Stop
from rowseal.gate import Access, Gate
from rowseal.gate import access as opened_by

ALL = "SELECT order_id FROM orders ORDER BY order_id"


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    made = Front(tmp_path)
    yield made
    made.gate.close()


def test_two_bearers_ask_the_same_and_get_their_own_rows(front: Front) -> None:
    assert front.gate.verify(front.token(1)).execute(ALL).rows == [(1,), (2,)]
    assert front.gate.verify(front.token(2)).execute(ALL).rows == [(3,), (4,)]


def test_many_bearers_at_once_never_see_each_other_s_rows(front: Front) -> None:
    """One gate, one pool of connections, eight threads."""
    expected = {1: [(1,), (2,)], 2: [(3,), (4,)]}
    opened = {tenant: front.gate.verify(front.token(tenant)) for tenant in expected}
    with ThreadPoolExecutor(8) as pool:
        asked = [(tenant, pool.submit(opened[tenant].execute, ALL)) for _ in range(100) for tenant in expected]
        assert all(answer.result().rows == expected[tenant] for tenant, answer in asked)


def test_an_access_ends_with_its_token(front: Front, tmp_path: Path) -> None:
    """Expiry is judged at every use, not only when the token came in."""
    now = [time.time()]
    with closing(Gate.from_yaml(tmp_path / "datasets.yaml", clock=lambda: now[0])) as opened:
        access = opened.verify(front.token(minutes=10))
        assert access.execute(ALL).rows
        now[0] += 601
        for use in (access.secure, access.execute):
            with pytest.raises(errors.TokenRefused, match="token_expired"):
                use(ALL)


def test_a_token_from_a_body_has_a_bound_of_its_own(front: Front, tmp_path: Path) -> None:
    file = tmp_path / "datasets.yaml"
    file.write_text(file.read_text().replace("sql_bytes: 2000,", "token_bytes: 100,"))
    with closing(Gate.from_yaml(file)) as opened:
        with pytest.raises(errors.TokenRefused, match="token_too_large"):
            opened.verify(front.token())
        assert opened.verify(front.token(), from_body=True).execute(ALL).rows == [(1,), (2,)]


def test_a_query_for_one_dataset_reads_that_dataset_only(front: Front) -> None:
    access = front.gate.verify(front.token())
    assert access.execute(ALL, dataset="orders").rows == [(1,), (2,)]
    with pytest.raises(errors.AccessRefused, match="dataset_not_asked"):
        access.execute(ALL, dataset="customers")


def test_the_event_loop_runs_queries_in_threads(front: Front) -> None:
    access = front.gate.verify(front.token())

    async def both() -> list[rowseal.Result]:
        return await asyncio.gather(access.aexecute(ALL), access.aexecute("SELECT COUNT(*) FROM orders WHERE amount > :least", {"least": 15}))

    first, second = asyncio.run(both())
    assert (first.rows, second.rows) == ([(1,), (2,)], [(1,)])


def test_as_many_queries_run_at_once_as_the_limit_says(front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G9: the threads of the event loop, of which there are fewer, do not let queries wait unseen."""
    file = tmp_path / "datasets.yaml"
    file.write_text(file.read_text().replace("sql_bytes: 2000,", "concurrent: 60,"))
    everybody = threading.Barrier(60)

    async def all_at_once(access: Access) -> list[rowseal.Result]:
        return await asyncio.gather(*(access.aexecute(ALL) for _ in range(60)))

    with closing(Gate.from_yaml(file)) as opened:
        execute = Database.execute

        def together(database: Database, query: rowseal.SecuredQuery, stop: Stop) -> rowseal.Result:
            everybody.wait(timeout=20)
            return execute(database, query, stop)

        monkeypatch.setattr(Database, "execute", together)
        answers = asyncio.run(all_at_once(opened.verify(front.token())))
    assert [answer.rows for answer in answers] == [[(1,), (2,)]] * 60


def test_queries_are_secured_one_at_a_time_and_short_ones_beside_long_ones(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the event loop waits for all of them, one after the other, before it gets a turn."""
    running, most, admit = [], [], opened_by.admit

    def slow(*given: object) -> object:
        running.append(1)
        most.append(len(running))
        time.sleep(0.05)
        running.pop()
        return admit(*given)

    monkeypatch.setattr(opened_by, "admit", slow)
    access = front.gate.verify(front.token())
    long = f"{ALL}{' ' * 2000}"
    for round_, (asked, together) in enumerate((([long] * 4, False), ([ALL] * 4, False), ([long, ALL] * 2, True))):
        most.clear()
        with ThreadPoolExecutor(4) as pool, contextlib.suppress(errors.QueryRefused):
            list(pool.map(access.secure, [f"{sql}{' ' * (4 * round_ + at)}" for at, sql in enumerate(asked)]))  # none is one that is remembered
        assert (max(most) > 1) == together


ENDLESS = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT COUNT(*) AS n FROM t"


def test_a_cancelled_task_ends_its_query_in_the_database(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    access = front.gate.verify(front.token())

    async def hang_up() -> float:
        began = time.monotonic()
        with anyio.move_on_after(0.3) as scope:
            await access.aexecute(ENDLESS)
        assert scope.cancelled_caught
        assert front.gate._threads().borrowed_tokens == 0
        assert (await access.aexecute(ALL)).rows == [(1,), (2,)]
        return time.monotonic() - began

    with caplog.at_level(logging.INFO, "rowseal.decisions"):
        assert anyio.run(hang_up) < 10  # of the 15 seconds that the query may take
    ended, after = [json.loads(record.message) for record in caplog.records if record.name == "rowseal.decisions"]
    assert (ended["code"], ended["status"], after["code"]) == ("query_cancelled", 499, "allowed")


def test_a_task_that_is_cancelled_before_its_turn_runs_nothing(front: Front, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    access = front.gate.verify(front.token())

    async def hang_up() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await access.aexecute(ALL)
        assert scope.cancelled_caught
        for _ in range(50):  # at every moment between the call and the thread
            async with anyio.create_task_group() as group:
                group.start_soon(access.aexecute, ALL)
                await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
        assert front.gate._threads().borrowed_tokens == 0

    with caplog.at_level(logging.INFO, "rowseal.decisions"):
        anyio.run(hang_up)
    assert {json.loads(record.message)["code"] for record in caplog.records} <= {"query_cancelled", "allowed"}


def test_an_answer_as_json_says_types_and_is_refused_when_json_cannot_carry_it(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    access = front.gate.verify(front.token())
    answer = json.loads(anyio.run(access.ajson, "SELECT order_id, 'a' AS x FROM orders WHERE amount < :most", {"most": 15}, "orders"))
    assert answer == {"columns": [{"name": "order_id", "type": "number"}, {"name": "x", "type": "string"}], "rows": [[1, "a"]], "truncated": False}
    monkeypatch.setattr(Database, "execute", lambda *_: rowseal.Result(("a",), [(object(),)], truncated=False))
    with pytest.raises(errors.EngineFailed, match="query_failed"):
        anyio.run(access.ajson, ALL)


def test_a_gate_says_whether_its_databases_answer(front: Front, tmp_path: Path) -> None:
    assert front.gate.reachable()
    (tmp_path / "front.db").rename(tmp_path / "away.db")
    assert not front.gate.reachable()


def test_queries_are_secured_while_other_threads_are_busy(front: Front) -> None:
    """An app's own blocking handlers may use up the threads of the event loop; a path that is rewritten must not wait for them."""
    access, done = front.gate.verify(front.token()), threading.Event()

    async def beside_the_others() -> rowseal.SecuredQuery:
        async with anyio.create_task_group() as others:
            for _ in range(int(anyio.to_thread.current_default_thread_limiter().total_tokens)):
                others.start_soon(anyio.to_thread.run_sync, done.wait, 20)
            await anyio.lowlevel.checkpoint()
            try:
                with anyio.fail_after(10):
                    return await access.asecure(ALL)
            finally:
                done.set()

    assert anyio.run(beside_the_others).datasets == ("orders",)


def test_an_exception_of_a_dependency_is_a_refusal_and_nothing_runs(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    access = front.gate.verify(front.token())

    def broken(*_: object, **__: object) -> None:
        raise KeyError("secret of a dependency")

    monkeypatch.setattr(opened_by, "secure", broken)
    with pytest.raises(errors.OurBug) as refused:
        access.execute(ALL)
    assert "secret" not in f"{refused.value} {refused.value.detail} {refused.value.hint}"


def test_so_it_is_where_an_answer_is_only_explained_or_listed(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    access = front.gate.verify(front.token())

    def broken(*_: object, **__: object) -> None:
        raise KeyError("secret of a dependency")

    monkeypatch.setattr(opened_by, "explain", broken)
    monkeypatch.setattr(opened_by, "VisibleDataset", broken)
    for ask in (lambda: access.explain(ALL), access.datasets):
        with pytest.raises(errors.OurBug) as refused:
            ask()
        assert "secret" not in f"{refused.value} {refused.value.detail} {refused.value.hint}"


def test_a_query_for_which_the_stack_is_too_short_is_refused_and_nothing_runs(front: Front) -> None:
    """An app may ask from deep down its own stack. On the way back up from the bottom less and less is missing, until the query is answered."""
    access = front.gate.verify(front.token())
    ends: list[str] = []

    def deeper() -> None:
        with suppress(RecursionError):
            deeper()
        if "answered" not in ends:
            try:
                access.execute(ALL)
                ends.append("answered")
            except (errors.Refused, RecursionError) as error:
                ends.append(getattr(error, "code", "not even refused"))

    deeper()
    assert ends[-1] == "answered"
    assert "sql_too_complex" in ends


def test_each_query_leaves_one_decision(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    access = front.gate.verify(front.token())
    with caplog.at_level(logging.INFO, "rowseal.decisions"):
        access.execute(ALL)
        access.secure(ALL)
        with pytest.raises(errors.Refused):
            access.execute("SELECT 'a value of the bearer' FROM salaries")
    ran, secured, refused = [json.loads(record.message) for record in caplog.records if record.name == "rowseal.decisions"]
    assert (ran["code"], ran["datasets"], ran["rows"], ran["truncated"], ran["key"]) == ("allowed", ["orders"], 2, False, "front")
    assert list(ran["stages"]) == ["plan", "admit", "secure", "witness", "execute"]
    assert (secured["code"], secured["rows"]) == ("allowed", None)
    assert (refused["code"], refused["status"]) == ("dataset_unknown", 403)
    assert "a value of the bearer" not in caplog.text


def test_nothing_but_the_gate_makes_an_access(front: Front) -> None:
    with pytest.raises(TypeError):
        Access(front.gate, None)
    with pytest.raises(TypeError):
        Access._sealed(object(), front.gate, front.gate.verify(front.token()).grant)


def test_the_public_names_are_these() -> None:
    """Adding one is a promise, removing one breaks somebody."""
    classes = ["Access", "DashboardAccess", "Gate", "GateMiddleware", "Presented", "Result", "Rewrite", "SecuredQuery", "Signer"]
    assert rowseal.__all__ == [*classes, "access_of", "errors"]


@pytest.mark.postgres
def test_a_database_role_that_may_do_more_than_read_is_refused_at_start(fresh_postgres: servers.Database, tmp_path: Path) -> None:
    """Unless the operator says in writing that it may; a role with SELECT alone needs no word."""
    fresh_postgres.run("CREATE TABLE orders (id int PRIMARY KEY, tenant_id int, amount int)")
    Front(tmp_path).gate.close()
    file = tmp_path / "datasets.yaml"
    written = file.read_text()

    def opened(url: str, more: str = "") -> Gate:
        file.write_text(written.replace("sqlite:///front.db", url) + more)
        return Gate.from_yaml(file)

    with pytest.raises(errors.Misconfigured, match="allow_privileged_role"):
        opened(fresh_postgres.owner_url)
    left = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rowseal' AND datname = '{fresh_postgres.name}'"
    with psycopg.connect(libpq(fresh_postgres.superuser_url), autocommit=True) as connection:
        deadline = time.monotonic() + 10  # the server notices in its own time that a connection was closed
        while connection.execute(left.encode()).fetchone() != (0,):
            assert time.monotonic() < deadline, "a gate that was not made leaves no connection behind"
            time.sleep(0.02)
    opened(fresh_postgres.owner_url, "engine: {allow_privileged_role: true}\n").close()
    opened(fresh_postgres.reader_url).close()
