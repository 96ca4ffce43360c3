"""Every refusal of a query (400, 404) or for want of room or time (413, 429, 500, 502, 504), and the cure that its hint names."""

from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final

import pytest
from sqlalchemy import create_engine, text

from asgi import Answer, ask
from cures import Action, Refusal
from place import OWN, Place
from rowseal import errors
from rowseal.engine import seal
from seeds.refused_access import IDS, asked, posted, served

__all__ = ["QUERIES"]

SLOW: Final = "WITH RECURSIVE c(n) AS (SELECT 1 AS n UNION ALL SELECT c.n + 1 FROM c WHERE c.n < {}) SELECT COUNT(*) AS n FROM c"
BOTH: Final = {"data_set_ids": ["orders", "customers"], "secure_filters": {"orders": OWN, "customers": OWN}}


def limited(sql: str, **limits: Any) -> Action:
    return asked(sql, change=lambda document: document.update(limits=limits))


def refused(code: str, hint: str, provoke: Action, *cure: Action) -> Refusal:
    """With one cure, which is the whole hint."""
    return Refusal(code, hint, provoke, {hint: cure[0]})


def metered(queries: list[str], *, users: tuple[int, int] = (7, 7), wait: bool = False, **bounds: Any) -> Action:
    """Run two queries of tokens of one key; the second perhaps when the first says that it is worth asking again."""

    def act(place: Place) -> object:
        now = [time.time()]
        gate = place.gate(lambda document: document["tokens"][0]["keys"][0].update(bounds), clock=lambda: now[0])
        accesses = [gate.verify(place.sign(exp=int(now[0]) + 6000, secureFilters={"orders": [[{**OWN[0][0], "value": user}]]})) for user in users]
        accesses[0].execute(queries[0])
        if not wait:
            return accesses[1].execute(queries[1])
        with pytest.raises(errors.BudgetExceeded) as caught:
            accesses[1].execute(queries[1])
        now[0] += caught.value.retry_after
        return accesses[1].execute(queries[1])

    return act


def sized(length: int, **limits: Any) -> Action:
    """Post a body of about this many bytes."""

    def act(place: Place) -> Answer:
        gate = place.gate(lambda document: document.update(limits=limits))
        headers = [("Authorization", f"Bearer {place.token()}")]
        return ask(place.app(gate), "/query", headers=headers, body=b'{"sql": "SELECT 1 AS n", "more": "' + b"x" * length + b'"}')

    return act


def in_body(length: int, **limits: Any) -> Action:
    """The same where the body holds the token."""

    def act(place: Place) -> Answer:
        gate = place.gate(lambda document: document.update(limits=limits))
        body = f'{{"sql": "SELECT 1 AS n", "integritySignature": "{place.token()}", "more": "{"x" * length}"}}'
        return ask(place.app(gate, body_token_paths=["/query"]), "/query", body=body.encode())

    return act


def crowded(place: Place, *, wait: bool) -> Any:
    """Ask twice at once where one query may run; with `wait` once more when both are through."""
    access = place.gate(lambda document: document.update(limits={"concurrent": 1})).verify(place.token())
    together = threading.Barrier(2)

    def ask_slowly(_: int) -> errors.Refused | None:
        together.wait()
        try:
            access.execute(SLOW.format(2_000_000))
        except errors.Refused as refusal:
            return refusal
        return None

    with ThreadPoolExecutor(2) as pool:
        refusals = [refusal for refusal in pool.map(ask_slowly, range(2)) if refusal is not None]
    assert len(refusals) == 1
    if wait:
        return access.execute("SELECT 1 AS n")
    raise refusals[0]


def locked(place: Place, *, wait: bool) -> Any:
    """Ask while another program holds the file; with `wait` once more when it lets go."""
    access = place.gate(lambda document: document.update(limits={"seconds": 0.5})).verify(place.token())
    with closing(sqlite3.connect(place.folder / "shop.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        try:
            return access.execute("SELECT order_id FROM orders")
        except errors.Refused:
            if not wait:
                raise
        other.execute("ROLLBACK")
    return access.execute("SELECT order_id FROM orders")


def sealed(place: Place, *, secured: bool) -> Any:
    gate = place.gate()
    engine = seal(create_engine(gate.catalogs["default"].database))
    try:
        with engine.connect() as connection:
            statement = gate.verify(place.token()).secure("SELECT order_id FROM orders").statement if secured else text("SELECT id FROM orders")
            return connection.execute(statement).all()
    finally:
        engine.dispose()


WIDE: Final = "SELECT order_id, region, code FROM orders"
QUERIES: Final = (
    refused("request_malformed", "send a JSON object with `sql`", posted(["SELECT 1 AS n"]), posted({"sql": "SELECT 1 AS n"})),
    refused("request_malformed", "send it with POST", posted({"sql": "SELECT 1 AS n"}, method="GET"), posted({"sql": "SELECT 1 AS n"}, method="POST")),
    refused("request_malformed", "send everything in the JSON body", posted({"sql": "SELECT 1 AS n"}, query=b"a=1"), posted({"sql": "SELECT 1 AS n"})),
    refused(
        "request_malformed",
        "name a value for each `:name` in the SQL",
        posted({"sql": "SELECT order_id FROM orders WHERE amount > :least", "params": [1]}),
        posted({"sql": "SELECT order_id FROM orders WHERE amount > :least", "params": {"least": 1}}),
    ),
    refused("path_unknown", "GET /openapi.json, which lists the paths", served("/v1/queries"), served("/openapi.json", method="GET")),
    refused("method_refused", "use the method that the `Allow` header names", served("/v1/query", method="GET"), served("/v1/query", method="POST")),
    Refusal(
        "format_refused",
        "send `Accept: application/json`, `application/x-ndjson`, `text/csv` or `application/vnd.apache.arrow.stream`",
        served("/v1/query", accept="text/html"),
        {
            "send `Accept: application/json`": served("/v1/query", accept="application/json"),
            **{f"`{form}`": served("/v1/query", accept=form) for form in ("application/x-ndjson", "text/csv", "application/vnd.apache.arrow.stream")},
        },
    ),
    refused("sql_empty", "send one SELECT", asked(" "), asked("SELECT 1 AS n")),
    refused("sql_not_one_select", "send one SELECT; no other statement, no second one", asked("SELECT 1 AS n; SELECT 2 AS n"), asked("SELECT 1 AS n")),
    refused("sql_syntax", "check the SQL against the database's dialect", asked("SELECT FROM WHERE"), asked("SELECT order_id FROM orders")),
    refused("sql_character", "remove control and invisible characters", asked("SELECT 1\u200b AS n"), asked("SELECT 1 AS n")),
    Refusal(
        "sql_too_complex",
        "split the query, or raise `limits.sql_bytes` or `limits.nodes`",
        limited("SELECT order_id FROM orders WHERE amount IN (10, 20, 30)", sql_bytes=40),
        {
            "split the query": limited("SELECT order_id FROM orders", sql_bytes=40),
            "raise `limits.sql_bytes` or `limits.nodes`": limited("SELECT order_id FROM orders WHERE amount IN (10, 20, 30)", sql_bytes=400, nodes=400),
        },
    ),
    refused(
        "construct_refused",
        "rewrite without it; see docs/reference/sql-subset.md",
        asked("SELECT order_id FROM orders WHERE region MATCH 'E'"),
        asked("SELECT order_id FROM orders WHERE region LIKE 'E%'"),
    ),
    refused("construct_refused", "leave it out: a query only reads", asked("SELECT order_id FROM orders FOR UPDATE"), asked("SELECT order_id FROM orders")),
    refused(
        "construct_refused",
        "name the parameter, and send its value beside the SQL: `SELECT amount FROM orders WHERE region = :region`",
        asked("SELECT amount FROM orders WHERE region = ?"),
        asked("SELECT amount FROM orders WHERE region = :region", {"region": "EU"}),
    ),
    Refusal(
        "function_refused",
        "use another function, or add it to `functions.allow`",
        asked("SELECT quote(region) AS q FROM orders"),
        {
            "use another function": asked("SELECT upper(region) AS q FROM orders"),
            "add it to `functions.allow`": asked(
                "SELECT quote(region) AS q FROM orders", change=lambda document: document.update(functions={"allow": ["quote"]})
            ),
        },
    ),
    refused("name_reserved", "choose another name", asked("SELECT order_id AS __g1 FROM orders"), asked("SELECT order_id AS g1 FROM orders")),
    refused("column_unknown", "use the fields that the dataset declares", asked("SELECT regoin FROM orders"), asked("SELECT region FROM orders")),
    refused(
        "column_ambiguous",
        "write the table's name before it",
        asked("SELECT user_id FROM orders JOIN customers ON customers.user_id = orders.user_id", **BOTH),
        asked("SELECT orders.user_id FROM orders JOIN customers ON customers.user_id = orders.user_id", **BOTH),
    ),
    Refusal(
        "table_alias_unknown",
        "add it to FROM, or correct the name",
        asked("SELECT customers.name FROM orders", **BOTH),
        {
            "add it to FROM": asked("SELECT customers.name FROM orders JOIN customers ON customers.user_id = orders.user_id", **BOTH),
            "correct the name": asked("SELECT orders.region FROM orders", **BOTH),
        },
    ),
    refused(
        "parameter_missing",
        "send it in `params`",
        asked("SELECT order_id FROM orders WHERE amount > :least"),
        asked("SELECT order_id FROM orders WHERE amount > :least", {"least": 1}),
    ),
    Refusal(
        "parameter_unused",
        "remove it, or name it in the SQL",
        asked("SELECT order_id FROM orders", {"least": 1}),
        {"remove it": asked("SELECT order_id FROM orders", {}), "name it in the SQL": asked("SELECT order_id FROM orders WHERE amount > :least", {"least": 1})},
    ),
    refused(
        "parameter_refused",
        "send a string, a number, a boolean or null",
        asked("SELECT order_id FROM orders WHERE region = :region", {"region": ["EU"]}),
        asked("SELECT order_id FROM orders WHERE region = :region", {"region": "EU"}),
    ),
    refused(
        "path_closed",
        "ask the operator to open it by name",
        posted({"sql": "SELECT 1 AS n"}, "/query"),
        posted({"sql": "SELECT 1 AS n"}, "/query", aware=["/query"]),
    ),
    Refusal(
        "body_too_large",
        "send less, or raise `limits.sql_bytes` (`limits.body_token_bytes` where the body holds the token)",
        sized(100_000, sql_bytes=1000),
        {
            "send less": sized(1000, sql_bytes=1000),
            "raise `limits.sql_bytes` (": sized(100_000, sql_bytes=100_000),
            "`limits.body_token_bytes` where the body holds the token)": in_body(100_000, body_token_bytes=200_000),
        },
    ),
    Refusal(
        "result_too_large",
        "aggregate, select fewer columns, or raise `limits.result_bytes`",
        limited(WIDE, result_bytes=30),
        {
            "aggregate": limited("SELECT COUNT(*) AS n FROM orders", result_bytes=30),
            "select fewer columns": limited("SELECT order_id FROM orders", result_bytes=30),
            "raise `limits.result_bytes`": limited(WIDE, result_bytes=3000),
        },
    ),
    refused(
        "too_many_queries",
        "try again in a moment",
        lambda place: crowded(place, wait=False),
        lambda place: crowded(place, wait=True),
    ),
    Refusal(
        "key_rows_spent",
        "aggregate instead, wait as long as `Retry-After` says, or ask the operator",
        metered([IDS, IDS], max_rows_per_hour=4),
        {
            "aggregate instead": metered([IDS, "SELECT COUNT(*) AS n FROM orders"], max_rows_per_hour=4),
            "wait as long as `Retry-After` says": metered([IDS, IDS], wait=True, max_rows_per_hour=4),
            "ask the operator": metered([IDS, IDS], max_rows_per_hour=6),
        },
    ),
    Refusal(
        "key_values_spent",
        "wait as long as `Retry-After` says, or ask the operator",
        metered([IDS, IDS], users=(7, 8), max_values_per_hour=1),
        {
            "wait as long as `Retry-After` says": metered([IDS, IDS], users=(7, 8), wait=True, max_values_per_hour=1),
            "ask the operator": metered([IDS, IDS], users=(7, 8), max_values_per_hour=2),
        },
    ),
    refused(
        "query_failed",
        "check types and functions; the operator's log holds the reason",
        asked("SELECT abs(-9223372036854775807 - 1) AS n"),
        asked("SELECT abs(-9223372036854775807) AS n"),
    ),
    refused("database_unavailable", "try again in a moment", lambda place: locked(place, wait=False), lambda place: locked(place, wait=True)),
    Refusal(
        "timed_out",
        "narrow the query, or raise `limits.seconds`",
        limited(SLOW.format(3_000_000), seconds=0.1),
        {"narrow the query": limited(SLOW.format(10), seconds=0.1), "raise `limits.seconds`": limited(SLOW.format(3_000_000), seconds=60)},
    ),
    refused(
        "statement_unsecured",
        "whoever wrote it: execute `access.secure(...).statement`, once",
        lambda place: sealed(place, secured=False),
        lambda place: sealed(place, secured=True),
    ),
)
