"""What a whole request costs: a naive engine with every WHERE written by hand, and the same engine behind the gate.

`python -m benchmarks.requests plain|gated CONFIGURATION` serves one of the two over HTTP and prints its port.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import uvicorn
from sqlalchemy import create_engine, text
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message

from benchmarks.measure import Section, interleaved
from benchmarks.stock import QUESTIONS, Question, Stock
from rowseal.engine import Result, to_json
from rowseal.gate import Gate
from rowseal.http.middleware import GateMiddleware
from sample_engine.app import query

__all__ = ["sections"]

_CPU = "/cpu"
_COLUMNS = ("question", "unprotected", "with rowseal", "difference", "ratio")


def sections(stock: Stock, *, rounds: int = 200) -> list[Section]:
    """In one process without a server, then over HTTP."""
    return [_in_process(stock, rounds), _over_http(stock, rounds)]


def _plain(url: str) -> Starlette:
    """Runs whatever SQL is posted."""
    engine = create_engine(url)

    def run(sql: str, params: Mapping[str, Any]) -> Result:
        with engine.connect() as connection:
            answer = connection.execute(text(sql), params)
            return Result(tuple(answer.keys()), [tuple(row) for row in answer], truncated=False)

    async def ask(request: Request) -> Response:
        asked = json.loads(await request.body())
        result = await anyio.to_thread.run_sync(run, asked["sql"], asked.get("params") or {})
        return Response(to_json(result), media_type="application/json")

    return Starlette(routes=[Route("/query", ask, methods=["POST"]), Route(_CPU, _cpu)])


def _gated(gate: Gate) -> Starlette:
    """The sample engine's own handler, behind the gate."""
    return Starlette(
        routes=[Route("/query", query, methods=["POST"]), Route(_CPU, _cpu)], middleware=[Middleware(GateMiddleware, gate=gate, open_paths=[_CPU])]
    )


async def _cpu(request: Request) -> Response:
    """What this process has spent, in nanoseconds."""
    del request
    return PlainTextResponse(str(time.process_time_ns()))


def _bodies(stock: Stock, question: Question) -> tuple[bytes, bytes]:
    by_hand = {"sql": question.by_hand, "params": stock.binds}
    return json.dumps(by_hand).encode(), json.dumps({"sql": question.asked}).encode()


def _in_process(stock: Stock, rounds: int) -> Section:
    found = Section(
        "A whole request, in process",
        "Microseconds of CPU time of the process, worker threads included, for `POST /query` through ASGI without a server, on SQLite. Every request "
        "verifies its ES256 token anew and secures its query anew: nothing is cached from one request to the next.",
        _COLUMNS,
    )
    plain, gated = _plain(stock.url), _gated(stock.gate)
    loop = asyncio.new_event_loop()

    def ask(app: Starlette, body: bytes) -> bytes:
        return loop.run_until_complete(_send(app, body, stock.token))

    try:
        for question in QUESTIONS:
            by_hand, asked = _bodies(stock, question)
            answers = [ask(plain, by_hand), ask(gated, asked)]
            if answers[0] != answers[1]:
                raise AssertionError(f"the two engines answer {question.name} differently: {answers}")
            spent = interleaved(
                {
                    "plain": partial(ask, plain, by_hand),
                    "gated": partial(ask, gated, asked),
                },
                rounds=rounds,
                clock=time.process_time_ns,
            )
            found.rows.append(_row(question, *spent.values()))
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    return found


def _row(question: Question, plain: float, gated: float) -> tuple[str | float, ...]:
    return question.name, plain, gated, gated - plain, f"{gated / plain:.2f}x"


async def _send(app: Starlette, body: bytes, token: str) -> bytes:
    headers = [(b"host", b"bench"), (b"authorization", f"Bearer {token}".encode()), (b"content-length", str(len(body)).encode())]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/query",
        "raw_path": b"/query",
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "server": ("bench", 80),
        "client": ("bench", 1),
    }
    received = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise AssertionError(f"the answer is {message}")
        received.append(message.get("body", b""))

    await app(scope, receive, send)
    return b"".join(received)


def _over_http(stock: Stock, rounds: int) -> Section:
    found = Section(
        "A whole request, over HTTP",
        "The same through uvicorn (one process, one connection that stays open): microseconds of the server's CPU time, and on the wall for the client.",
        (*_COLUMNS, "wall, unprotected", "wall, with rowseal"),
    )
    with ExitStack() as stack:
        plain, gated = (stack.enter_context(_served(kind, stock.configuration)) for kind in ("plain", "gated"))
        for question in QUESTIONS:
            bodies = _bodies(stock, question)
            waited: tuple[list[int], list[int]] = ([], [])
            spent = [0, 0]
            for number in range(4):  # in turns
                for side, connection in enumerate((plain, gated)):
                    started = int(_get(connection, "GET", _CPU, None, stock.token))
                    for _ in range(rounds // 4):
                        begun = time.perf_counter_ns()
                        _get(connection, "POST", "/query", bodies[side], stock.token)
                        waited[side].append(time.perf_counter_ns() - begun)
                    if number:  # the first turn warms up
                        spent[side] += int(_get(connection, "GET", _CPU, None, stock.token)) - started
            per_request = [nanoseconds / (3 * (rounds // 4)) / 1_000 for nanoseconds in spent]
            found.rows.append((*_row(question, *per_request), *(statistics.median(times) / 1_000 for times in waited)))
    return found


def _get(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, token: str) -> bytes:
    connection.request(method, path, body, {"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise AssertionError(f"the answer is {answer.status}: {content!r}")
    return content


@contextmanager
def _served(kind: str, configuration: Path) -> Iterator[http.client.HTTPConnection]:
    """A server of its own process, until the end."""
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.requests", kind, str(configuration)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        connection = http.client.HTTPConnection("127.0.0.1", int(server.stdout.readline()), timeout=30)
        try:
            yield connection
        finally:
            connection.close()
    finally:
        server.terminate()
        server.wait(timeout=10)
        if server.stdout is not None:
            server.stdout.close()


def main() -> None:
    """Serve one of the two apps on a free port."""
    kind, configuration = sys.argv[1:]
    gate = Gate.from_yaml(configuration)
    app = _gated(gate) if kind == "gated" else _plain(gate.catalogs["default"].database)
    # With its protocol named: else asyncio leaves Nagle's algorithm on, and every answer waits 40 ms for an acknowledgement.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
