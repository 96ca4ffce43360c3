"""A corpus of attacks, on a database that holds other tenants' rows (`full`) and one that holds the permitted ones alone (`ref`).

Whatever the SQL: nothing of a forbidden row comes out, the two databases answer alike, and what must be refused is refused before
the database sees it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import psycopg
import pymysql
import pytest

import mariadb_server
import servers
from corpora import absent, case_file, case_module
from databases import DIALECTS, parameter
from databases.mariadb import connect
from databases.postgres import libpq
from oracle import AFTER_SQL, Outcome, bag, outcome_of
from rowseal.gate import Gate
from world import Bearer, configuration_file, token

MISSING = absent("attacks.json") or absent("attacks_fixture.py")
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

SECONDS = 3
BEARER = Bearer(
    ("orders", "customers", "products"),
    {name: [[{"field": "tenant_id", "op": "=", "value": 1}]] for name in ("orders", "customers")},
)


def _fields(**types: str) -> list[dict[str, str]]:
    return [{"id": name, "type": type_} | ({"timezone": "UTC"} if type_ == "date_time" else {}) for name, type_ in types.items()]


CONFIGURATION = {
    "version": 1,
    "datasets": [
        {
            "id": "orders",
            "table": "orders",
            "fields": _fields(id="number", tenant_id="number", region="string", amount="number", note="string", created_at="date_time"),
        },
        {"id": "customers", "table": "customers", "fields": _fields(id="number", tenant_id="number", name="string", email="string", credit_limit="number")},
        {"id": "products", "table": "products", "public": True, "fields": _fields(id="number", name="string", price="number")},
    ],
    "limits": {"seconds": SECONDS, "rows": 1000},
}


@dataclass(frozen=True, slots=True)
class Range:
    """One kind of database in both variants, behind gates, and `ref` reachable without one."""

    full: Gate
    ref: Gate
    raw: Callable[[str], list[tuple[Any, ...]] | None]
    prepare: Callable[[str], None]


# A WITH inside a sub-query finds no CTE of the outermost WITH in MariaDB 10.11, and that is where guards stand: refused whatever the rows are.
UNREAD = {"a-cte-17"}
NAMED = {"mariadb": "mysql"}  # as the corpus has it


def _entries() -> list[Any]:
    return [
        parameter(dialect, entry, dialect, id=f"{entry['id']} [{dialect}]")
        for entry in case_file("attacks.json")
        for dialect in DIALECTS
        if NAMED.get(dialect, dialect) in entry["dialects"]
    ]


@pytest.fixture(scope="module")
def fixture_module() -> ModuleType:
    return case_module("attacks_fixture.py")


@pytest.fixture(scope="module")
def attacked(request: pytest.FixtureRequest, fixture_module: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Range]]:
    """Both variants on the database asked for, made once a module."""
    made: dict[str, Range] = {}
    dropped: list[Callable[[], None]] = []

    def get(dialect: str) -> Range:
        if dialect not in made:
            folder = tmp_path_factory.mktemp(f"attacks-{dialect}")
            made[dialect] = {"sqlite": _sqlite, "postgres": _postgres, "mariadb": _mariadb, "duckdb": _duckdb}[dialect](
                request, fixture_module, folder, dropped
            )
        return made[dialect]

    yield get
    for each in made.values():
        each.full.close()
        each.ref.close()
    for drop in dropped:
        drop()


def _gate(folder: Path, variant: str, url: str) -> Gate:
    (folder / variant).mkdir()
    return Gate.from_yaml(configuration_file(folder / variant, url, CONFIGURATION))


def _sqlite(_request: pytest.FixtureRequest, module: ModuleType, folder: Path, dropped: list[Callable[[], None]]) -> Range:
    for variant in ("full", "ref"):
        with closing(sqlite3.connect(folder / f"{variant}.db", isolation_level=None)) as connection:
            for statement in module.statements("sqlite", variant):
                connection.execute(statement)
    raw = sqlite3.connect(folder / "ref.db", isolation_level=None)
    dropped.append(raw.close)

    def ask(sql: str) -> list[tuple[Any, ...]] | None:
        try:
            return raw.execute(sql).fetchall()
        except (sqlite3.Error, ValueError):
            return None

    def prepare(statement: str) -> None:
        raise AssertionError(f"no entry for SQLite needs preparing: {statement}")

    return Range(*(_gate(folder, variant, f"sqlite:///{folder / variant}.db") for variant in ("full", "ref")), ask, prepare)


def _postgres(request: pytest.FixtureRequest, module: ModuleType, folder: Path, dropped: list[Callable[[], None]]) -> Range:
    database: servers.Database = request.getfixturevalue("postgres")
    variants = {variant: database.another() for variant in ("full", "ref")}
    for variant, each in variants.items():
        each.run(*module.statements("postgres", variant))
    raw = psycopg.connect(
        libpq(variants["ref"].owner_url), autocommit=True, options="-c statement_timeout=3s -c default_transaction_read_only=on -c timezone=UTC"
    )
    dropped += [raw.close, *(each.drop for each in variants.values())]

    def ask(sql: str) -> list[tuple[Any, ...]] | None:
        try:
            return raw.execute(sql.encode("utf-8", "surrogatepass")).fetchall()
        except (psycopg.Error, ValueError):
            return None

    def prepare(statement: str) -> None:
        # What belongs to a connection (PREPARE) is made in one of its own: a gate's connections take nothing but secured queries.
        for each in variants.values():
            each.run(statement)

    return Range(*(_gate(folder, variant, variants[variant].reader_url) for variant in ("full", "ref")), ask, prepare)


def _mariadb(request: pytest.FixtureRequest, module: ModuleType, folder: Path, dropped: list[Callable[[], None]]) -> Range:
    server: mariadb_server.Server = request.getfixturevalue("mariadb_run_server")
    variants = {variant: server.new_database() for variant in ("full", "ref")}
    for variant, each in variants.items():
        # The other schema would be one for both variants and every worker.
        each.run(*(statement for statement in module.statements("mysql", variant) if "archive." not in statement))
    raw = connect(variants["ref"].owner_url)
    dropped += [raw.close, *(each.drop for each in variants.values())]

    def ask(sql: str) -> list[tuple[Any, ...]] | None:
        try:
            with raw.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall())
        except (pymysql.MySQLError, ValueError):
            return None

    def prepare(statement: str) -> None:
        for each in variants.values():
            each.run(statement)

    return Range(*(_gate(folder, variant, variants[variant].reader_url) for variant in ("full", "ref")), ask, prepare)


def _duckdb(_request: pytest.FixtureRequest, module: ModuleType, folder: Path, dropped: list[Callable[[], None]]) -> Range:
    for name, variant in (("full", "full"), ("ref", "ref"), ("raw", "ref")):  # a file is opened by a process in one way only
        with closing(duckdb.connect(str(folder / f"{name}.duckdb"))) as connection:
            for statement in module.statements("duckdb", variant):
                connection.execute(statement)
    raw = duckdb.connect(str(folder / "raw.duckdb"), read_only=True, config={"enable_external_access": False, "python_enable_replacements": False})
    dropped.append(raw.close)

    def ask(sql: str) -> list[tuple[Any, ...]] | None:
        try:
            return raw.execute(sql).fetchall()
        except (duckdb.Error, ValueError):
            return None

    def prepare(statement: str) -> None:
        raise AssertionError(f"no entry for DuckDB needs preparing: {statement}")

    return Range(*(_gate(folder, variant, f"duckdb:///{folder / variant}.duckdb") for variant in ("full", "ref")), ask, prepare)


_RANGES = {"sqlite": _sqlite, "postgres": _postgres, "mariadb": _mariadb, "duckdb": _duckdb}


@pytest.mark.parametrize(("entry", "dialect"), _entries())
def test_attack(entry: dict[str, Any], dialect: str, attacked: Callable[[str], Range], fixture_module: ModuleType) -> None:
    """The entry's verdict holds, nothing forbidden is seen, and nothing depends on what is forbidden."""
    on = attacked(dialect)
    sql = entry["sql"] if entry.get("sql") is not None else eval(entry["sql_py"])
    if "setup" in entry:
        on.prepare(entry["setup"])
    if dialect == "mariadb" and entry["id"] in UNREAD:
        assert outcome_of(on.full, token(BEARER), sql).code == outcome_of(on.ref, token(BEARER), sql).code == "query_failed"
        return
    started = time.monotonic()
    full = outcome_of(on.full, token(BEARER), sql)
    took = time.monotonic() - started
    ref = outcome_of(on.ref, token(BEARER), sql)
    _judge(full, ref, sql, fixture_module)
    expect = entry["expect"]
    if entry.get("dos"):
        assert took < 10 * SECONDS
        assert full.rows is not None or full.code != "our_bug"
        return
    if expect == "rejected" or (full.refusal and expect == "rejected_or_filtered"):
        assert full.refusal, f"answered: {full.rows}"
        # Only where a correct answer would do as well may the database be what says no.
        assert full.statements == 0 or (expect != "rejected" and full.code in AFTER_SQL), full.refusal
    else:
        assert full.rows is not None, full.refusal
        expected = on.raw(sql)
        if expect == "filtered":
            assert expected is not None
        if expected is not None and full.code not in AFTER_SQL:
            assert bag(full.rows, ordered=False) == bag(expected, ordered=False)
    if "followup" in entry:
        _follow(entry["followup"], on, fixture_module)


def _judge(full: Outcome, ref: Outcome, sql: str, module: ModuleType) -> None:
    seen = repr((full.columns, full.rows, full.refusal))
    assert not module.canaries(seen, sql)
    assert full.code != "our_bug"
    if "timed_out" not in {full.code, ref.code}:  # time is a stated residual
        assert full.seen(ordered=False) == ref.seen(ordered=False)


def _follow(sql: str, on: Range, module: ModuleType) -> None:
    """What an attacker asks next, on whatever connection the pool gives: the attempt before has left nothing behind."""
    for _ in range(3):
        full = outcome_of(on.full, token(BEARER), sql)
        _judge(full, outcome_of(on.ref, token(BEARER), sql), sql, module)
        if full.rows is not None:
            expected = on.raw(sql)
            assert expected is not None
            assert bag(full.rows, ordered=False) == bag(expected, ordered=False)
