"""Answers that go out while they are read: bounded in everything, whatever becomes of who reads them, and never whole where they are not."""

from __future__ import annotations

import asyncio
import csv
import gc
import io
import json
import logging
import runpy
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import psutil
import psycopg
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import pages
import servers
from rowseal import Access, Gate, Signer
from rowseal.app import create_app
from rowseal.engine import Database, rows
from rowseal.errors import BudgetExceeded, EngineFailed, Refused, TimedOut
from serving import serving

CONFIGURATION = """\
version: 1
database: {url}
tokens:
  - profile: vizzly
    keys: [{{id: shop, public_key_file: shop.pem{key}}}]
datasets:
  - {{id: products, table: {table}, public: true, fields: [{{id: name, type: string}}]}}
limits: {limits}
"""
ENDLESS = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n, 'row ' AS r FROM t"
FAILS_LATE = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 100000) SELECT n, {fails} FROM t"
FORMS = {"lines": "application/x-ndjson", "csv": "text/csv", "arrow": "application/vnd.apache.arrow.stream"}
BOTH = pytest.mark.parametrize("dialect", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])


def numbers(most: int) -> str:
    return f"WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < {most}) SELECT n, 'row' AS r FROM t"


class Shop:
    """A gate of its own limits over a small database, and what is going on in it."""

    def __init__(self, folder: Path, url: str, table: str, limits: dict[str, Any], *, key: str = "") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        (folder / "shop.pem").write_bytes(self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        content = CONFIGURATION.format(url=json.dumps(url), table=table, limits=json.dumps({"rows": 10_000_000, **limits}), key=key)
        (folder / "datasets.yaml").write_text(content)
        self.file = folder / "datasets.yaml"
        self.gate = Gate.from_yaml(self.file)

    def token(self) -> str:
        return Signer(self._key, 10).generate_tokens(user_reference="u", project_id="prj_1", data_set_ids="*", secure_filters={})["dataAccessToken"]

    def access(self) -> Access:
        return self.gate.verify(self.token())

    @property
    def database(self) -> Database:
        return self.gate._state.connections["default"].database

    def given_back(self) -> bool:
        """Whether no connection is out, no place taken and no use of the state open."""
        slots = self.database._slots
        return self.database._engine.pool.checkedout() == 0 and slots._value == slots._initial_value and self.gate._state._visits._running == 0  # type: ignore[attr-defined]

    def given_back_soon(self) -> bool:
        until = time.monotonic() + 5
        while not self.given_back() and time.monotonic() < until:
            time.sleep(0.01)
        return self.given_back()


@pytest.fixture(scope="module")
def stocked(request: pytest.FixtureRequest) -> Iterator[servers.Database]:
    database = request.getfixturevalue("postgres_server").new_database()
    database.run("CREATE TABLE products (name text)", "INSERT INTO products VALUES ('Lamp'), ('=1+1'), ('東京')", "GRANT SELECT ON products TO public")
    yield database
    database.drop()


@pytest.fixture
def shop(request: pytest.FixtureRequest, dialect: str, tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    with ExitStack() as opened:

        def make(key: str = "", **limits: Any) -> Shop:
            if dialect == "sqlite":
                script = "CREATE TABLE products (name TEXT); INSERT INTO products VALUES ('Lamp'), ('=1+1'), ('東京')"
                url, table = request.getfixturevalue("sqlite_url")(script, f"{len(list(tmp_path.iterdir()))}.db"), "products"
            else:
                url, table = request.getfixturevalue("stocked").reader_url, "public.products"
            made = Shop(tmp_path, url, table, limits, key=key)
            opened.callback(made.gate.close)
            return made

        yield make


@contextmanager
def decided(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, Any]]]:
    """The decisions that are written meanwhile, and a little after."""
    found: list[dict[str, Any]] = []
    caplog.clear()
    with caplog.at_level(logging.INFO, "rowseal.decisions"):
        yield found
        until = time.monotonic() + 5
        while not found and time.monotonic() < until:
            found += [json.loads(record.message) for record in caplog.records if record.name == "rowseal.decisions"]
            time.sleep(0.01)


# --- the library -----------------------------------------------------------------------------------------------------------------------------


@BOTH
def test_a_stream_gives_every_row_once_in_batches_and_then_everything_back(shop: Callable[..., Shop], dialect: str, caplog: pytest.LogCaptureFixture) -> None:
    opened = shop()
    with decided(caplog) as decisions, opened.access().stream(numbers(2500)) as stream:
        assert stream.columns == ("n", "r")
        assert stream.types == (("number", "string") if dialect == "postgres" else ())
        assert stream.truncated is None
        assert not opened.given_back()
        batches = list(stream)
        assert opened.given_back()
    assert [row for batch in batches for row in batch] == [(n, "row") for n in range(1, 2501)]
    assert len(batches) >= 3
    assert stream.truncated is False
    assert [(each["code"], each["rows"], each["truncated"]) for each in decisions] == [("allowed", 2500, False)]


@BOTH
def test_an_async_stream_is_the_same(shop: Callable[..., Shop], dialect: str) -> None:
    opened = shop(rows=2500)

    async def read() -> list[Any]:
        async with await opened.access().astream(numbers(9999)) as stream:
            found = [row async for batch in stream for row in batch]
            assert stream.truncated is True
            return [stream.columns, *found]

    columns, *found = asyncio.run(read())
    assert columns == ("n", "r")
    assert found == [(n, "row") for n in range(1, 2501)]
    assert opened.given_back()


@BOTH
def test_an_answer_without_rows_is_a_stream_without_batches(shop: Callable[..., Shop], dialect: str) -> None:
    with shop().access().stream("SELECT name FROM products WHERE name = 'none'") as stream:
        assert (stream.columns, list(stream), stream.truncated) == (("name",), [], False)


@BOTH
def test_a_refusal_comes_before_there_is_a_stream(shop: Callable[..., Shop], dialect: str, caplog: pytest.LogCaptureFixture) -> None:
    opened = shop()
    with decided(caplog) as decisions, pytest.raises(Refused, match="dataset_unknown"):
        opened.access().stream("SELECT * FROM secrets")
    assert [each["code"] for each in decisions] == ["dataset_unknown"]
    assert opened.given_back()


ENDS: dict[str, Callable[[Any], None]] = {
    "close": lambda stream: stream.close(),
    "the end of its with": lambda stream: stream.__exit__(None, None, None),
    "let go": lambda _: None,
}


@BOTH
@pytest.mark.parametrize("taken", [0, 1])
@pytest.mark.parametrize("how", ENDS)
def test_a_stream_that_nobody_reads_to_its_end_gives_everything_back(
    shop: Callable[..., Shop], dialect: str, taken: int, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    opened = shop(concurrent=1)
    access = opened.access()
    for _ in range(2):
        with decided(caplog) as decisions:
            stream = access.stream(ENDLESS)
            for _ in range(taken):
                assert stream.take()
            with pytest.raises(BudgetExceeded, match="too_many_queries"):
                access.execute("SELECT 1 AS x")
            caplog.clear()
            ENDS[how](stream)
            del stream
            assert opened.given_back_soon()
        assert [(each["code"], each["rows"] > 0) for each in decisions] == [("query_cancelled", taken > 0)]
    assert access.execute("SELECT 1 AS x").rows == [(1,)]


@BOTH
def test_a_stream_that_is_garbage_in_a_cycle_gives_everything_back(shop: Callable[..., Shop], dialect: str) -> None:
    opened = shop(concurrent=1)
    held: list[Any] = [opened.access().stream(ENDLESS)]
    held.append(held)
    del held
    gc.collect()
    assert opened.given_back_soon()


@BOTH
def test_an_exception_in_the_loop_gives_everything_back(shop: Callable[..., Shop], dialect: str) -> None:
    opened = shop()

    def read() -> None:
        with opened.access().stream(ENDLESS) as stream:
            for _ in stream:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read()
    assert opened.given_back()


@BOTH
def test_a_task_that_is_cancelled_ends_its_query(shop: Callable[..., Shop], dialect: str, caplog: pytest.LogCaptureFixture) -> None:
    """Also while the database has nothing to give: the query below counts for ever."""
    opened = shop(seconds=30)

    async def read(sql: str) -> None:
        with anyio.move_on_after(0.3) as scope:
            async with await opened.access().astream(sql) as stream:
                async for _ in stream:
                    pass
        assert scope.cancelled_caught

    for sql in (ENDLESS, ENDLESS.replace("SELECT n, 'row ' AS r", "SELECT COUNT(*) AS n")):
        with decided(caplog) as decisions:
            began = time.monotonic()
            asyncio.run(read(sql))
        assert time.monotonic() - began < 10
        assert [each["code"] for each in decisions] == ["query_cancelled"]
        assert opened.given_back()


@BOTH
def test_the_limits_hold_in_the_middle_of_a_stream(shop: Callable[..., Shop], dialect: str, caplog: pytest.LogCaptureFixture) -> None:
    expected: list[tuple[dict[str, Any], type[Refused], str]] = [
        ({"result_bytes": 100_000}, BudgetExceeded, "result_too_large"),
        ({"seconds": 0.3}, TimedOut, "timed_out"),
    ]
    for limits, kind, code in expected:
        opened = shop(**limits)
        with decided(caplog) as decisions:
            stream = opened.access().stream(ENDLESS)
            with pytest.raises(kind, match=code) as caught:
                list(stream)
        assert caught.value.__context__ is None
        assert stream.truncated is None
        assert [(each["code"], each["rows"] > 0, each["truncated"]) for each in decisions] == [(code, True, None)]
        assert opened.given_back()


@BOTH
def test_who_reads_slowly_has_no_more_time(shop: Callable[..., Shop], dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = shop(seconds=20)
    stream = opened.access().stream(ENDLESS)
    assert stream.take()
    monkeypatch.setattr(rows.Rows.take, "__defaults__", (lambda: time.monotonic() + 21,))
    with pytest.raises(TimedOut):
        stream.take()
    assert opened.given_back()


@BOTH
def test_what_fails_in_the_middle_tells_nothing_of_the_database(shop: Callable[..., Shop], dialect: str) -> None:
    fails = "1 / (n - 50000) AS x" if dialect == "postgres" else "json_extract(CASE WHEN n = 50000 THEN '{' ELSE '{}' END, '$') AS x"
    opened = shop()
    stream = opened.access().stream(FAILS_LATE.format(fails=fails))
    assert stream.take()
    with pytest.raises(EngineFailed, match="query_failed") as caught:
        list(stream)
    assert (caught.value.__context__, caught.value.__cause__) == (None, None)
    assert opened.given_back()


@BOTH
def test_a_key_s_rows_are_counted_before_each_batch(shop: Callable[..., Shop], dialect: str) -> None:
    opened = shop(key=", max_rows_per_hour: 2500")
    stream, got = opened.access().stream(ENDLESS), 0
    with suppress(BudgetExceeded):
        for batch in stream:
            got += len(batch)
    assert stream.truncated is None
    assert 0 < got <= 2500
    assert opened.gate.key_use()["shop"].rows == got
    assert opened.given_back()


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_a_stream_outlives_a_reload_and_the_end_of_its_gate(shop: Callable[..., Shop], dialect: str) -> None:
    opened = shop()
    stream = opened.access().stream(numbers(5000))
    state = opened.gate._state
    opened.gate.reload()
    opened.gate.close()
    assert sum(map(len, stream)) == 5000
    assert state._visits._running == 0


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_a_token_that_ends_while_its_query_runs_does_not_end_the_query(shop: Callable[..., Shop], dialect: str) -> None:
    opened = shop()
    access = opened.access()
    stream = access.stream(numbers(5000))
    opened.gate.clock = lambda: time.time() + 3600
    assert sum(map(len, stream)) == 5000
    with pytest.raises(Refused, match="token_expired"):
        access.stream(numbers(1))


@pytest.mark.parametrize(
    ("fetched", "limits", "sizes"),
    [
        (2500, {}, [1000, 1000, 500]),
        (2000, {}, [1000, 1000, 0]),
        (0, {}, [0]),
        (5, {"most_rows": 5}, [5]),
        (6, {"most_rows": 5}, [5]),
    ],
)
def test_a_batch_is_bounded_in_rows(fetched: int, limits: dict[str, Any], sizes: list[int]) -> None:
    read = rows.Rows(
        ((n,) for n in range(fetched)), **{"most_rows": 10**6, "most_bytes": 10**9, "deadline": time.monotonic() + 60, "columns": ("n",), **limits}
    )
    assert [len(read.take()) for _ in sizes] == sizes
    assert (read.done, read.truncated) == (True, fetched == 6)


def test_a_batch_is_bounded_in_bytes_and_in_time() -> None:
    def read(values: Iterator[Any]) -> rows.Rows:
        return rows.Rows(((value,) for value in values), most_rows=10**6, most_bytes=10**9, deadline=1000.0, columns=("n",))

    assert [len(read(iter(["x" * 100_000] * 10)).take(lambda: 0.0)) for _ in range(2)] == [3, 3]
    ticks = iter([0.0, 0.02, 0.04, 0.06, 0.08])
    assert len(read(iter(range(10))).take(lambda: next(ticks))) == 4  # as long as a first row may wait for the others


# --- over HTTP -------------------------------------------------------------------------------------------------------------------------------


def ask(url: str, shop: Shop, form: str, sql: str, **more: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/query", headers={"Authorization": f"Bearer {shop.token()}", "Accept": form}, json={"sql": sql}, timeout=60, **more)


def read_back(form: str, content: bytes) -> list[list[Any]]:
    """The rows as JSON has them."""
    if form == FORMS["lines"]:
        return [json.loads(line) for line in content.split(b"\n")[1:-2]]
    if form == FORMS["csv"]:
        return [[int(n), r.removeprefix("'")] for n, r in list(csv.reader(io.StringIO(content.decode(), newline="")))[1:]]
    return [list(row.values()) for row in pa.ipc.open_stream(content).read_all().to_pylist()]


@BOTH
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_has_the_rows_that_json_has_short_or_long(shop: Callable[..., Shop], dialect: str, form: str) -> None:
    opened = shop()
    with serving(create_app(opened.gate)) as url:
        for sql, long in (("SELECT 1 AS n, name FROM products ORDER BY name", False), (numbers(20_000), True)):
            plain = ask(url, opened, "application/json", sql)
            other = ask(url, opened, form, sql)
            assert (other.status_code, other.headers["content-type"].partition(";")[0]) == (200, form)
            assert read_back(form, other.content) == plain.json()["rows"]
            assert ("content-length" in other.headers) is not (long and (dialect, form) != ("sqlite", FORMS["arrow"]))
            assert (other.headers["vary"], other.headers["cache-control"]) == ("accept", "private")
            if form == FORMS["lines"]:
                lines = other.content.split(b"\n")
                assert [each["name"] for each in json.loads(lines[0])["columns"]] == [each["name"] for each in plain.json()["columns"]]
                assert json.loads(lines[-2]) == {"truncated": False}
    assert opened.given_back()


@BOTH
def test_lines_that_end_too_early_end_with_the_problem(shop: Callable[..., Shop], dialect: str, caplog: pytest.LogCaptureFixture) -> None:
    for limits, code in (({"result_bytes": 2_000_000}, "result_too_large"), ({"seconds": 1}, "timed_out")):
        opened = shop(**limits)
        with serving(create_app(opened.gate)) as url, decided(caplog) as decisions:
            answer = ask(url, opened, FORMS["lines"], ENDLESS)
        *lines, last = answer.content.split(b"\n")[:-1]
        assert answer.status_code == 200
        assert len(lines) > 1000
        problem = json.loads(last)
        assert (problem["code"], problem["request_id"]) == (code, answer.headers["x-request-id"])
        assert [(each["code"], each["request_id"], each["rows"]) for each in decisions] == [(code, problem["request_id"], len(lines) - 1)]
        assert opened.given_back()


@BOTH
@pytest.mark.parametrize("form", [FORMS["csv"], FORMS["arrow"]], ids=["csv", "arrow"])
def test_what_cannot_say_that_it_ended_too_early_is_broken_off(shop: Callable[..., Shop], dialect: str, form: str) -> None:
    if (dialect, form) == ("sqlite", FORMS["arrow"]):  # all of it is read first, so the status tells
        opened = shop(result_bytes=2_000_000)
        with serving(create_app(opened.gate)) as url:
            assert ask(url, opened, form, ENDLESS).json()["code"] == "result_too_large"
        return
    for limits in ({"result_bytes": 2_000_000}, {"seconds": 1}, {"rows": 20_000}):
        opened = shop(**limits)
        with serving(create_app(opened.gate)) as url, pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            ask(url, opened, form, ENDLESS)
        assert opened.given_back_soon()


@BOTH
def test_over_http_1_0_nothing_goes_out_that_may_be_broken_off(shop: Callable[..., Shop], dialect: str) -> None:
    """There the end of the connection is the end of the body. Many proxies speak it to the servers behind them."""
    opened = shop(rows=20_000)
    head = f"POST /v1/query HTTP/1.0\r\nAuthorization: Bearer {opened.token()}\r\nAccept: text/csv\r\nContent-Length: %d\r\n\r\n"
    with serving(create_app(opened.gate)) as url:
        host, port = url.removeprefix("http://").split(":")
        for sql, status, end in ((ENDLESS, b"413", b"}"), (numbers(20_000), b"200", b'\r\n20000,"row"\r\n')):
            body = json.dumps({"sql": sql})
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall((head % len(body) + body).encode())
                came = b"".join(iter(lambda: connection.recv(65_536), b""))
            assert came.split(b" ", 2)[1] == status
            assert came.endswith(end)


@BOTH
@pytest.mark.parametrize("form", [FORMS["lines"], FORMS["csv"]], ids=["lines", "csv"])
def test_before_the_first_row_a_failure_has_its_own_status(shop: Callable[..., Shop], dialect: str, form: str) -> None:
    opened = shop(seconds=0.3)
    counts = ENDLESS.replace("SELECT n, 'row ' AS r", "SELECT COUNT(*) AS n")
    with serving(create_app(opened.gate)) as url:
        for sql, status, code in ((counts, 504, "timed_out"), ("SELECT * FROM secrets", 403, "dataset_unknown"), ("SELECT", 400, "sql_syntax")):
            answer = ask(url, opened, form, sql)
            assert (answer.status_code, answer.json()["code"]) == (status, code)
        answer = ask(url, opened, "text/html", "SELECT 1 AS x")
        assert (answer.status_code, answer.json()["code"]) == (406, "format_refused")


def running(database: servers.Database) -> int:
    """How many queries of ours run in it now."""
    with psycopg.connect(database.superuser_url.replace("+psycopg", "", 1)) as connection:
        found = connection.execute("SELECT 1 FROM pg_stat_activity WHERE datname = %s AND state = 'active' AND application_name = 'rowseal'", [database.name])
        return len(found.fetchall())


@BOTH
def test_a_client_that_hangs_up_ends_the_query_in_the_database(
    shop: Callable[..., Shop], dialect: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    opened = shop(seconds=60)
    headers = {"Authorization": f"Bearer {opened.token()}", "Accept": "application/x-ndjson"}
    with serving(create_app(opened.gate)) as url, decided(caplog) as decisions:
        with httpx.stream("POST", f"{url}/v1/query", headers=headers, json={"sql": ENDLESS}, timeout=30) as answer:
            content = answer.iter_bytes(1000)  # kept: httpx hangs up when it is let go
            assert next(content)
            assert not opened.given_back()
            if dialect == "postgres":
                assert running(request.getfixturevalue("stocked")) == 1
        assert opened.given_back_soon()
        if dialect == "postgres":
            assert running(request.getfixturevalue("stocked")) == 0
    assert [each["code"] for each in decisions] == ["query_cancelled"]
    assert not any(record.levelno >= logging.ERROR for record in caplog.records)


@BOTH
def test_a_client_that_does_not_read_is_waited_for_no_longer_than_a_query(
    shop: Callable[..., Shop], dialect: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is anything read for it meanwhile, beyond what is in flight."""
    taken: list[int] = []
    take = rows.Rows.take

    def counted(read: rows.Rows) -> Any:
        batch = take(read)
        taken.append(len(batch))
        return batch

    monkeypatch.setattr(rows.Rows, "take", counted)
    opened = shop(seconds=1.5)
    wide = ENDLESS.replace("'row '", f"'{'x' * 1000}'")
    body = json.dumps({"sql": wide})
    with serving(create_app(opened.gate)) as url, decided(caplog) as decisions:
        host, port = url.removeprefix("http://").split(":")
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            connection.connect((host, int(port)))
            head = f"POST /v1/query HTTP/1.1\r\nHost: x\r\nAccept: text/csv\r\nAuthorization: Bearer {opened.token()}\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall((head + body).encode())
            while not taken:
                time.sleep(0.01)
            assert opened.given_back_soon()
            assert sum(taken) < 20_000  # of a kilobyte each
            came = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert not came.endswith(b"0\r\n\r\n")
    assert [each["code"] for each in decisions] == ["timed_out"]


# --- several queries in one request ----------------------------------------------------------------------------------------------------------


def several(url: str, shop: Shop, queries: object, **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {shop.token()}", **more.pop("headers", {})}
    return httpx.post(f"{url}/v1/query", headers=headers, json={"queries": queries, **more}, timeout=60)


@BOTH
def test_several_queries_are_answered_or_refused_each_by_itself(shop: Callable[..., Shop], dialect: str, caplog: pytest.LogCaptureFixture) -> None:
    opened = shop(queries=6)
    asked = [
        {"sql": "SELECT :x AS x", "params": {"x": 5}},
        {"sql": "SELECT * FROM secrets"},
        {"sql": "SELECT COUNT(*) AS n FROM products", "dataSetId": "products"},
    ]
    with serving(create_app(opened.gate)) as url, caplog.at_level(logging.INFO, "rowseal.decisions"):
        alone = [httpx.post(f"{url}/v1/query", headers={"Authorization": f"Bearer {opened.token()}"}, json=each).json() for each in asked]
        caplog.clear()
        answer = several(url, opened, asked * 2)
        found = answer.json()["results"]
    for each in (*alone, *found):
        each.pop("request_id", None)
    assert answer.status_code == 200
    assert found == alone * 2
    decisions = [json.loads(record.message) for record in caplog.records if record.name == "rowseal.decisions"]
    assert {each["request_id"] for each in decisions} == {answer.headers["x-request-id"]}
    assert sorted(each["code"] for each in decisions) == ["allowed"] * 4 + ["dataset_unknown"] * 2


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_several_queries_run_at_once_but_not_all(shop: Callable[..., Shop], dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = shop(queries=8)
    together, now, most = threading.Barrier(4), [], []
    execute = Database.execute

    def slowly(*given: Any) -> Any:
        now.append(1)
        most.append(len(now))
        together.wait(10)
        now.pop()
        return execute(*given)

    monkeypatch.setattr(Database, "execute", slowly)
    with serving(create_app(opened.gate)) as url:
        assert [each["rows"] for each in several(url, opened, [{"sql": f"SELECT {n} AS n"} for n in range(8)]).json()["results"]] == [[[n]] for n in range(8)]
    assert max(most) == 4


@pytest.mark.parametrize("dialect", ["sqlite"])
@pytest.mark.parametrize(
    ("queries", "more", "expected"),
    [
        ([], {}, (400, "request_malformed")),
        ({}, {}, (400, "request_malformed")),
        (["SELECT 1"], {}, (400, "request_malformed")),
        ([{"sql": "SELECT 1"}, {"sql": 1}], {}, (400, "request_malformed")),
        ([{"sql": "SELECT 1", "more": 1}], {}, (400, "request_malformed")),
        ([{"sql": ""}], {}, (400, "request_malformed")),
        ([{"sql": "SELECT 1", "params": {"": 1}}], {}, (400, "request_malformed")),
        ([{"sql": "SELECT :x", "params": {"x": []}}], {}, (400, "request_malformed")),
        ([{"queries": [{"sql": "SELECT 1"}]}], {}, (400, "request_malformed")),
        ([{"sql": "SELECT 1"}], {"sql": "SELECT 1"}, (400, "request_malformed")),
        ([{"sql": "SELECT 1"}], {"params": {}}, (400, "request_malformed")),
        ([{"sql": "SELECT 1"}] * 3, {}, (413, "body_too_large")),
        ([{"sql": "SELECT 1"}], {"headers": {"Accept": "text/csv"}}, (406, "format_refused")),
    ],
)
def test_what_is_no_list_of_queries_is_refused_as_a_whole(
    shop: Callable[..., Shop], dialect: str, queries: object, more: dict[str, Any], expected: tuple[int, str]
) -> None:
    opened = shop(queries=2)
    with serving(create_app(opened.gate)) as url:
        answer = several(url, opened, queries, **more)
    assert (answer.status_code, answer.json()["code"]) == expected


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_all_answers_of_a_request_together_are_bounded(shop: Callable[..., Shop], dialect: str) -> None:
    opened = shop(result_bytes=30_000)
    with serving(create_app(opened.gate)) as url:
        found = several(url, opened, [{"sql": numbers(1000)}] * 6).json()["results"]
    assert 0 < sum("rows" in each for each in found) < 6
    assert {each["code"] for each in found if "rows" not in each} == {"result_too_large"}


@BOTH
def test_a_client_that_hangs_up_ends_all_its_queries(shop: Callable[..., Shop], dialect: str, caplog: pytest.LogCaptureFixture) -> None:
    opened = shop(seconds=60)
    counts = ENDLESS.replace("SELECT n, 'row ' AS r", "SELECT COUNT(*) AS n")
    with serving(create_app(opened.gate)) as url, caplog.at_level(logging.INFO, "rowseal.decisions"):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/query", headers={"Authorization": f"Bearer {opened.token()}"}, json={"queries": [{"sql": counts}] * 3}, timeout=1)
        assert opened.given_back_soon()
    assert [record.message.count('"query_cancelled"') for record in caplog.records if record.name == "rowseal.decisions"] == [1, 1, 1]


# --- half a million rows -----------------------------------------------------------------------------------------------------------------------

SERVER = """
import sys, uvicorn
from rowseal import Gate
from rowseal.app import create_app
uvicorn.run(create_app(Gate.from_yaml(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="error", lifespan="off")
"""


@contextmanager
def process(shop: Shop) -> Iterator[tuple[str, psutil.Process]]:
    """The gateway in a process of its own, whose memory is nobody else's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(shop.file), str(port)])
    try:
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 30
        while True:
            with suppress(httpx.TransportError):
                httpx.get(f"{url}/healthz")
                break
            assert server.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        yield url, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.slow
@BOTH
def test_half_a_million_rows_take_the_memory_of_a_batch(shop: Callable[..., Shop], dialect: str) -> None:
    opened = shop(result_bytes=10**9, seconds=100)
    with process(opened) as (url, server):
        for name, form in FORMS.items():
            if (dialect, name) == ("sqlite", "arrow"):  # comes when it is whole
                continue
            ask(url, opened, form, numbers(1))
            before, most, size = server.memory_info().rss, 0, 0
            headers, began = {"Authorization": f"Bearer {opened.token()}", "Accept": form}, time.monotonic()
            first = 0.0
            with httpx.stream("POST", f"{url}/v1/query", headers=headers, json={"sql": numbers(500_000)}, timeout=100) as answer:
                for part in answer.iter_raw():
                    first = first or time.monotonic() - began
                    size += len(part)
                    most = max(most, server.memory_info().rss)
            assert size > 5_000_000
            assert most - before < 60_000_000, f"{name}: {(most - before) / 1e6} MB more"
            assert first < (time.monotonic() - began) / 2


# --- the page ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_the_handler_of_the_page_answers_in_every_form(shop: Callable[..., Shop], dialect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """results.md, as it stands."""
    (snippet,) = (each for each in pages.fences("docs/how-to/results.md") if "Starlette" in each.text)
    opened = shop()
    (tmp_path / "app.py").write_text(snippet.text)
    monkeypatch.chdir(opened.file.parent)
    with serving(runpy.run_path(str(tmp_path / "app.py"))["app"]) as url:
        for form in ("application/json", *FORMS.values()):
            headers = {"Authorization": f"Bearer {opened.token()}", "Accept": form}
            answer = httpx.post(f"{url}/query", headers=headers, json={"sql": "SELECT COUNT(*) AS n FROM products"})
            assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, form)
