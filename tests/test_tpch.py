"""The 22 queries of TPC-H, with its validation parameters: accepted, and right for one of three tenants, on three databases.

Right means equal to what the database itself answers where that tenant's rows are all there are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

import servers
from databases.postgres import libpq
from rowseal.gate import Gate
from tpch_data import DATASETS, QUERIES, TABLES, TENANT, create, query, rows
from world import Bearer, configuration_file, token

OWN = [[{"field": "tenant", "op": "=", "value": TENANT}]]
BEARER = Bearer("*", {table: OWN for table, columns in TABLES.items() if "tenant:" in columns})
CONFIGURATION = {"version": 1, "datasets": DATASETS, "limits": {"rows": 10_000, "seconds": 30}}

Ask = Callable[[str], list[tuple[Any, ...]]]


class Stage:
    """All tenants' rows behind a gate, the tenant's own alone, and all of them without a gate."""

    def __init__(self, dialect: str, gate: Gate, pruned: Ask, unguarded: Ask) -> None:
        self.dialect, self.pruned, self.unguarded = dialect, pruned, unguarded
        self.access = gate.verify(token(BEARER))


def _sqlite(folder: Path) -> Iterator[Stage]:
    connections = {}
    for name, found in (("all", rows()), ("own", rows(TENANT))):
        connection = connections[name] = sqlite3.connect(folder / f"{name}.db")
        statements, content = create("sqlite", found)
        for statement in statements:
            connection.execute(statement)
        for table, (columns, stored) in content.items():
            connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(stored[0]))})", stored)
        connection.commit()
    gate = Gate.from_yaml(configuration_file(folder, f"sqlite:///{folder / 'all.db'}", CONFIGURATION))
    with closing(connections["all"]), closing(connections["own"]), closing(gate):
        yield Stage("sqlite", gate, lambda sql: connections["own"].execute(sql).fetchall(), lambda sql: connections["all"].execute(sql).fetchall())


def _postgres(folder: Path, database: servers.Database) -> Iterator[Stage]:
    urls = {}
    for name, found in (("all", rows()), ("own", rows(TENANT))):
        urls[name] = database.another()
        statements, content = create("postgres", found)
        with psycopg.connect(libpq(urls[name].owner_url)) as connection:
            for statement in statements:
                connection.execute(statement.encode())
            for table, (columns, stored) in content.items():
                with connection.cursor().copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy:
                    for row in stored:
                        copy.write_row(row)
            connection.execute("ANALYZE")
    gate = Gate.from_yaml(configuration_file(folder, urls["all"].reader_url, CONFIGURATION))
    with closing(gate), psycopg.connect(libpq(urls["own"].owner_url)) as own, psycopg.connect(libpq(urls["all"].owner_url)) as everything:
        yield Stage("postgres", gate, lambda sql: own.execute(sql.encode()).fetchall(), lambda sql: everything.execute(sql.encode()).fetchall())
    for each in urls.values():
        each.drop()


def _duckdb(folder: Path) -> Iterator[Stage]:
    for name, found in (("all", rows()), ("everything", rows()), ("own", rows(TENANT))):  # a file is opened by a process in one way only
        statements, content = create("duckdb", found)
        with closing(duckdb.connect(str(folder / f"{name}.duckdb"))) as connection:
            for statement in statements:
                connection.execute(statement)
            for table, (columns, stored) in content.items():
                unnested = ", ".join(["UNNEST(?)"] * len(stored[0]))
                connection.execute(f"INSERT INTO {table} ({columns}) SELECT {unnested}", [list(column) for column in zip(*stored, strict=True)])
    gate = Gate.from_yaml(configuration_file(folder, f"duckdb:///{folder / 'all.duckdb'}", CONFIGURATION))
    with closing(gate), duckdb.connect(str(folder / "own.duckdb")) as own, duckdb.connect(str(folder / "everything.duckdb")) as everything:
        yield Stage("duckdb", gate, lambda sql: own.execute(sql).fetchall(), lambda sql: everything.execute(sql).fetchall())


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres), "duckdb"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("tpch")
    made = {"sqlite": _sqlite, "duckdb": _duckdb}.get(request.param)
    yield from _postgres(folder, request.getfixturevalue("postgres")) if made is None else made(folder)


@pytest.mark.parametrize("name", QUERIES)
def test_a_tenant_gets_what_their_own_rows_give(name: str, stage: Stage) -> None:
    """G1, exactly: the same values in the same order. Another answer than without the gate, or the test would prove nothing."""
    sql = query(name, stage.dialect)
    result = stage.access.execute(sql)
    answer = [tuple(row) for row in result.rows]
    assert answer
    assert any(value is not None for row in answer for value in row)
    assert not result.truncated
    assert answer == stage.pruned(sql)
    assert answer != stage.unguarded(sql)
