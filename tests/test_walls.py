"""An expression that raises on a forbidden row, in every clause, behind every shape of filter, under every way to plan: the answer is the twin's.

`full` and `twin` differ in forbidden rows only: those of `full` make the expression raise. In `loud` a permitted row does, and the query must
fail there, or the clause would prove nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

import servers
from databases.postgres import libpq
from policies import TENANT_ONE, policy, secured
from rowseal.sql import SecuredQuery

LEAST: Final = -(2**63)  # abs() of it overflows on SQLite
PAINS: Final[Mapping[str, tuple[int, str]]] = {"postgres": (7, "(10 / ({} - 7))"), "sqlite": (LEAST, "abs({})")}  # a value, and what raises on it

# {x} raises on column {c} of the table {t}, which is called o and has {k} for a key of customers.
CLAUSES: Final[Mapping[str, str]] = {
    "WHERE": "SELECT o.id FROM {t} AS o WHERE {x} <> 3",
    "WHERE without an alias": "SELECT * FROM {t} WHERE {bare} <> 3",
    "WHERE with an index": "SELECT o.id FROM {t} AS o WHERE o.id = 12 AND {x} <> 3",
    "WHERE turned round": "SELECT o.id FROM {t} AS o WHERE NOT ({x} = 3) OR ({x}) IS NULL",
    "WHERE in a list": "SELECT o.* FROM {t} AS o WHERE {x} IN (1, 2, 3) OR {x} BETWEEN -100 AND 100",
    "CASE": "SELECT o.id FROM {t} AS o WHERE CASE WHEN o.id > 0 THEN {x} ELSE 1 END <> 3",
    "ON": "SELECT c.id FROM customers AS c JOIN {t} AS o ON c.id = {x}",
    "ON beside a key": "SELECT c.id FROM customers AS c JOIN {t} AS o ON c.id = o.{k} AND {x} <> 3",
    "ON of both": "SELECT c.id FROM {t} AS c JOIN {t} AS o ON o.id = c.id AND {x} + c.id <> 3",
    "ON of an outer join": "SELECT c.id, o.id FROM customers AS c LEFT JOIN {t} AS o ON c.id = o.{k} AND {x} <> 3",
    "ON of a full join": "SELECT c.id, o.id FROM customers AS c FULL JOIN {t} AS o ON c.id = {x}",
    "WHERE over an outer join": "SELECT c.id, o.id FROM customers AS c LEFT JOIN {t} AS o ON c.id = o.{k} WHERE COALESCE({x}, 0) >= 0",
    "USING": "SELECT c.id FROM customers AS c JOIN {t} AS o USING (id) WHERE {x} <> 3 AND id > 0",
    "SELECT list": "SELECT o.id, {x} AS x FROM {t} AS o",
    "SELECT list of a table": "SELECT s.x FROM (SELECT {x} AS x FROM {t} AS o) AS s WHERE s.x <> 3",
    "star of a table": "SELECT s.id FROM (SELECT * FROM {t} AS o WHERE {x} <> 3) AS s WHERE s.id > 0",
    "outside of a table": "SELECT o.id FROM (SELECT id, {c} FROM {t} WHERE id > 0) AS o WHERE {x} <> 3",
    "DISTINCT": "SELECT s.x FROM (SELECT DISTINCT {x} AS x FROM {t} AS o) AS s WHERE s.x <> 3",
    "ORDER BY": "SELECT o.id FROM {t} AS o ORDER BY {x}, o.id",
    "ORDER BY and LIMIT of a table": "SELECT s.id FROM (SELECT o.id FROM {t} AS o ORDER BY {x}, o.id LIMIT 2) AS s",
    "GROUP BY": "SELECT COUNT(*) AS n FROM {t} AS o GROUP BY {x}",
    "GROUP BY of a table": "SELECT s.x FROM (SELECT {x} AS x, COUNT(*) AS n FROM {t} AS o GROUP BY {x}) AS s WHERE s.x <> 3",
    "HAVING": "SELECT o.{c} FROM {t} AS o GROUP BY o.{c} HAVING {x} <> 3",
    "HAVING of an aggregate": "SELECT COUNT(*) AS n FROM {t} AS o GROUP BY o.id HAVING SUM({x}) <> 3",
    "aggregate of a table": "SELECT s.x FROM (SELECT o.id, SUM({x}) AS x FROM {t} AS o GROUP BY o.id) AS s WHERE s.x <> 3 AND s.id > 0",
    "FILTER": "SELECT COUNT(*) FILTER (WHERE {x} <> 3) AS n FROM {t} AS o",
    "window": "SELECT SUM({x}) OVER (ORDER BY o.id) AS x FROM {t} AS o",
    "window of a table": "SELECT s.n FROM (SELECT o.id, ROW_NUMBER() OVER (PARTITION BY {x} ORDER BY o.id) AS n, {x} AS x FROM {t} AS o) AS s WHERE s.x <> 3",
    "EXISTS": "SELECT c.id FROM customers AS c WHERE EXISTS (SELECT 1 FROM {t} AS o WHERE o.{k} = c.id AND {x} <> 3)",
    "IN": "SELECT c.id FROM customers AS c WHERE c.id IN (SELECT o.{k} FROM {t} AS o WHERE {x} <> 3)",
    "IN of values": "SELECT c.id FROM customers AS c WHERE c.id IN (SELECT {x} FROM {t} AS o)",
    "scalar": "SELECT c.id, (SELECT MAX({x}) FROM {t} AS o WHERE o.{k} = c.id) AS x FROM customers AS c",
    "correlated": "SELECT o.id FROM {t} AS o WHERE EXISTS (SELECT 1 FROM customers AS c WHERE c.id <> {x})",
    "UNION": "SELECT s.x FROM (SELECT {x} AS x FROM {t} AS o UNION ALL SELECT c.id FROM customers AS c) AS s WHERE s.x <> 3",
    "EXCEPT": "SELECT c.id FROM customers AS c EXCEPT SELECT o.id FROM {t} AS o WHERE {x} <> 3",
    "CTE": "WITH w AS (SELECT o.id, {x} AS x FROM {t} AS o) SELECT w.id FROM w WHERE w.x <> 3",
    "CTE read twice": "WITH w AS (SELECT o.id, {x} AS x FROM {t} AS o) SELECT a.id FROM w AS a JOIN w AS b ON a.id = b.id WHERE b.x <> 3",
    "CTE in a sub-query": "WITH w AS (SELECT o.id, {x} AS x FROM {t} AS o) SELECT c.id FROM customers AS c WHERE c.id IN (SELECT w.id FROM w WHERE w.x <> 3)",
}
ON_POSTGRES: Final[Mapping[str, str]] = {
    "LATERAL": "SELECT o.id, s.x FROM {t} AS o CROSS JOIN LATERAL (SELECT {x} AS x) AS s WHERE s.x <> 3",
    "LATERAL over customers": "SELECT c.id, s.x FROM customers AS c CROSS JOIN LATERAL (SELECT {x} AS x FROM {t} AS o WHERE o.{k} = c.id) AS s WHERE s.x <> 3",
    "DISTINCT ON": "SELECT s.id FROM (SELECT DISTINCT ON ({x}) o.id, {x} AS x FROM {t} AS o ORDER BY {x}, o.id) AS s WHERE s.x <> 3",
    "NATURAL": "SELECT a.id FROM {t} AS a NATURAL JOIN (SELECT o.id, {x} AS x FROM {t} AS o) AS s WHERE s.x <> 3",
    "a list of columns": "SELECT o.id FROM {t} AS o(id) WHERE {x} <> 3",
    "a cast": "SELECT o.id FROM {t} AS o WHERE CAST({x} AS INTEGER) + 1 > 0",
}


def _filters(*groups: list[dict[str, Any]]) -> dict[str, Any]:
    return {**TENANT_ONE, "orders": list(groups)}


def _is(field: str, op: str, value: Any) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value}


MANY: Final = [1, *range(1000, 1040)]  # costs more than most expressions, so that PostgreSQL evaluates the bearer's first if it may
SHAPES: Final[Mapping[str, tuple[str, dict[str, Any], dict[str, str]]]] = {
    "one value": ("orders", TENANT_ONE, {}),
    "an array": ("orders", _filters([_is("tenant", "is_one_of", MANY)]), {}),
    "alternatives": (
        "orders",
        _filters([_is("tenant", "is_one_of", MANY), _is("id", "!=", -1)], [_is("tenant", "=", -3), _is("region", "starts_with", "E")]),
        {},
    ),
    "through": ("order_items", _filters([_is("tenant", "is_one_of", MANY)]), {}),
    "a view": ("orders", _filters([_is("tenant", "is_one_of", MANY)]), {"orders_are": "view"}),
}
CASES: Final = [
    (dialect, clause, shape)
    for dialect in ("sqlite", "postgres")
    for clause in (*CLAUSES, *(ON_POSTGRES if dialect == "postgres" else ()))
    for shape in SHAPES
    if dialect == "postgres" or not (clause == "ON of a full join" and sqlite3.sqlite_version_info < (3, 39))
]
PLANS: Final[Mapping[str, tuple[str, ...]]] = {
    "custom": (),
    "generic": ("SET plan_cache_mode = force_generic_plan",),
    "parallel": ("SET min_parallel_table_scan_size = 0", "SET parallel_setup_cost = 0", "SET parallel_tuple_cost = 0", "SET jit = off"),
    "no hash joins": ("SET enable_hashjoin = off", "SET enable_mergejoin = off", "SET enable_hashagg = off"),
}


def _script(dialect: str, variant: str) -> list[str]:
    pain = PAINS[dialect][0]
    forbidden, permitted = (pain if variant == "full" else 1), (pain if variant == "loud" else 2)
    moment, big = ("timestamp", "bigint") if dialect == "postgres" else ("text", "integer")
    recursive = "FROM (WITH RECURSIVE g(n) AS (SELECT 12 UNION ALL SELECT n + 1 FROM g WHERE n < 400) SELECT n FROM g) AS g"
    rows = "FROM generate_series(12, 400) AS g(n)" if dialect == "postgres" else recursive
    third = 12 if variant == "loud" else 11
    into = "INSERT INTO orders (id, tenant_id, customer_id, region, amount)"
    orders = f"id {big} PRIMARY KEY, tenant_id integer, customer_id integer, region text, amount {big}, ratio double precision, price numeric"
    return [
        f"CREATE TABLE orders ({orders}, placed_at {moment}, unit_price integer, secret text)",
        "CREATE TABLE customers (id integer PRIMARY KEY, tenant_id integer, name text)",
        "CREATE TABLE products (id integer PRIMARY KEY, name text)",
        f"CREATE TABLE order_items (id {big} PRIMARY KEY, order_id {big}, qty {big})",
        "INSERT INTO customers VALUES (1, 1, 'a'), (2, 1, 'b'), (3, 2, 'c'), (11, 1, 'd'), (12, 1, 'e')",
        f"{into} VALUES (1, 1, 1, 'EU', 3), (2, 1, 1, 'US', 5), ({third}, 1, 2, NULL, {permitted})",
        f"{into} SELECT g.n, g.n % 5 + 2, g.n % 4, 'x', {forbidden} {rows} WHERE g.n > {third}",
        "INSERT INTO order_items SELECT id, id, amount FROM orders",
        "CREATE INDEX ON orders (customer_id)" if dialect == "postgres" else "CREATE INDEX ix ON orders (customer_id)",
        "ANALYZE",
    ]


@dataclass(frozen=True, slots=True)
class _Outcome:
    rows: list[str] | None
    error: str = ""


@pytest.fixture(scope="module")
def postgres_ask(postgres_server: servers.Server) -> Iterator[Callable[[str, SecuredQuery], dict[str, _Outcome]]]:
    """Asks one variant under every plan mode."""
    with ExitStack() as exits:
        connections: dict[tuple[str, str], psycopg.Connection[Any]] = {}
        for variant in ("full", "twin", "loud"):
            database = postgres_server.new_database()
            exits.callback(database.drop)
            database.run(*_script("postgres", variant))
            for mode, settings in PLANS.items():
                connections[variant, mode] = exits.enter_context(psycopg.connect(libpq(database.owner_url), autocommit=True, prepare_threshold=None))
                for setting in settings:
                    connections[variant, mode].execute(setting.encode())

        def ask(variant: str, query: SecuredQuery) -> dict[str, _Outcome]:
            text, binds = query.render("pyformat")
            outcomes = {}
            for mode in PLANS:
                try:
                    rows = connections[variant, mode].execute(text.encode(), binds, prepare=mode == "generic").fetchall()
                    outcomes[mode] = _Outcome(sorted(map(repr, rows)))
                except psycopg.Error as error:
                    outcomes[mode] = _Outcome(None, type(error).__name__)
            return outcomes

        yield ask


@pytest.fixture(scope="module")
def sqlite_ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, SecuredQuery], dict[str, _Outcome]]]:
    folder: Path = tmp_path_factory.mktemp("walls")
    with ExitStack() as exits:
        connections = {}
        for variant in ("full", "twin", "loud"):
            connections[variant] = exits.enter_context(closing(sqlite3.connect(folder / f"{variant}.db")))
            connections[variant].executescript(";".join(_script("sqlite", variant)))

        def ask(variant: str, query: SecuredQuery) -> dict[str, _Outcome]:
            text, binds = query.render("named")
            try:
                return {"only": _Outcome(sorted(map(repr, connections[variant].execute(text, binds).fetchall())))}
            except sqlite3.Error as error:
                return {"only": _Outcome(None, str(error))}

        yield ask


def _asked(dialect: str, clause: str, shape: str) -> SecuredQuery:
    table, filters, more = SHAPES[shape]
    column, key = ("qty", "order_id") if table == "order_items" else ("amount", "customer_id")
    pain = PAINS[dialect][1]
    sql = {**CLAUSES, **ON_POSTGRES}[clause].format(t=table, c=column, k=key, x=pain.format(f"o.{column}"), bare=pain.format(column))
    return secured(sql, policy(dialect, filters, **more))


@pytest.mark.parametrize(("clause", "shape"), [(clause, shape) for dialect, clause, shape in CASES if dialect == "sqlite"])
def test_nothing_is_heard_of_forbidden_rows_on_sqlite(clause: str, shape: str, sqlite_ask: Callable[[str, SecuredQuery], dict[str, _Outcome]]) -> None:
    _judge("sqlite", clause, shape, sqlite_ask)


@pytest.mark.postgres
@pytest.mark.parametrize(("clause", "shape"), [(clause, shape) for dialect, clause, shape in CASES if dialect == "postgres"])
def test_nothing_is_heard_of_forbidden_rows_on_postgres(clause: str, shape: str, postgres_ask: Callable[[str, SecuredQuery], dict[str, _Outcome]]) -> None:
    _judge("postgres", clause, shape, postgres_ask)


def _judge(dialect: str, clause: str, shape: str, ask: Callable[[str, SecuredQuery], dict[str, _Outcome]]) -> None:
    query = _asked(dialect, clause, shape)
    full, twin, loud = (ask(variant, query) for variant in ("full", "twin", "loud"))
    assert all(outcome.rows is not None for outcome in twin.values()), (query.sql, twin)
    assert full == twin, query.sql
    assert len({tuple(outcome.rows or ()) for outcome in full.values()}) == 1, query.sql
    assert {outcome.error for outcome in loud.values()} == {"DivisionByZero" if dialect == "postgres" else "integer overflow"}, query.sql


@pytest.mark.slow
def test_every_form_of_a_guard_is_among_them() -> None:
    """Otherwise one of the walls was not tried."""
    for dialect, expected in (("sqlite", {"plain", "fenced"}), ("postgres", {"plain", "case", "fenced"})):
        forms = {form.form for each, clause, shape in CASES if each == dialect for form in _asked(dialect, clause, shape).guards}
        assert forms == expected
