"""SQL shapes from the test suites and bug reports of peers: the rows that the permitted database gives, or a refusal where one is due.

The protected tables' predicates are said with secure filters; the other tables are public datasets.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

import mariadb_server
import servers
from corpora import absent, case_file
from databases import parameter
from databases.mariadb import connect
from oracle import AFTER_SQL, bag, outcome_of
from rowseal.gate import Gate
from world import Bearer, configuration_file, token

MISSING = absent("peers.json")
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
CORPUS: Mapping[str, Any] = case_file("peers.json") or {"cases": [], "schema": {"ddl": [], "rows": {}, "tables": []}}


def _is(field: str, op: str, value: Any) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value}


_EIGHT = ["EU", "DE", "FR", "IT", "ES", "NL", "BE", "AT"]
# A predicate of the corpus as a token's filters for the table.
SAID: dict[str, list[list[dict[str, Any]]]] = {
    "tenant_id = 1": [[_is("tenant_id", "=", 1)]],
    "region = 'EU'": [[_is("region", "=", "EU")]],
    "\"Region\" = 'EU'": [[_is("Region", "=", "EU")]],
    "region <> 'US'": [[_is("region", "!=", "US")]],
    "region LIKE 'E%'": [[_is("region", "starts_with", "E")]],
    "region NOT IN ('US', 'APAC')": [[_is("region", "is_not_one_of", ["US", "APAC"])]],
    "region IN ('EU', 'DE', 'FR', 'IT', 'ES', 'NL', 'BE', 'AT')": [[_is("region", "is_one_of", _EIGHT)]],
    "name = 'Ann'": [[_is("name", "=", "Ann")]],
    "price > 30": [[_is("price", ">", 30)]],
    "price BETWEEN 20 AND 100": [[_is("price", "between", [20, 100])]],
    "customer_id < 5": [[_is("customer_id", "<", 5)]],
    "qty < 9": [[_is("qty", "<", 9)]],
    "amount < 200": [[_is("amount", "<", 200)]],
    "credit < 200": [[_is("credit", "<", 200)]],
    "status <> 'it''s' AND tenant_id = 1": [[_is("status", "!=", "it's"), _is("tenant_id", "=", 1)]],
}
# There is no filter that nothing passes; one whose value no row has says the same of this data.
NOTHING: dict[str, list[list[dict[str, Any]]]] = {"orders": [[_is("id", "=", -1)]], "secrets": [[_is("k", "=", "no such key")]]}
# A predicate with a sub-query, as a filter through the other table and that table's own filters.
THROUGH: dict[str, tuple[str, dict[str, str], list[list[dict[str, Any]]]]] = {
    "order_id IN (SELECT id FROM orders WHERE tenant_id = 1)": ("orders", {"order_id": "id"}, [[_is("tenant_id", "=", 1)]]),
    "EXISTS (SELECT 1 FROM customers c WHERE c.id = orders.customer_id AND c.tenant_id = 1)": (
        "customers",
        {"customer_id": "id"},
        [[_is("tenant_id", "=", 1)]],
    ),
    "region IN (SELECT name FROM regions WHERE tier = 'gold')": ("regions", {"region": "name"}, [[_is("tier", "=", "gold")]]),
}
# What secure filters cannot say; the entry is skipped with these words.
UNSAID: dict[str, str] = {
    "CASE WHEN tenant_id = 1 THEN 1 ELSE 0 END = 1": "a filter compares a field, not an expression; it could only be said as `tenant_id = 1`, another entry",
}

# DuckDB's own additions to SQL that are refused, with what says the same.
ADDITIONS = {"gap-88": "NOT EXISTS", "gap-90": "ROW_NUMBER() in a sub-query", "gap-98": "LATERAL", "gap-100": "the column itself"}
ASKED = {"mysql": "mariadb"}  # the database that an entry is asked on, where that is not the one that it names
PLAIN = [case for case in CORPUS["cases"] if case["dialect"] in {"sqlite", "postgres", "duckdb", *ASKED}]
TYPES = {"INTEGER": "number", "TEXT": "string"}


def _fields(table: str) -> list[dict[str, str]]:
    """Field names and types as the corpus' own DDL has them."""
    ddl = next(each for each in CORPUS["schema"]["ddl"] if each.split("(")[0].replace('"', "").strip() == f"CREATE TABLE {table}")
    fields = []
    for part in ddl[ddl.index("(") + 1 : ddl.rindex(")")].split(", "):
        name, type_ = part.replace(" PRIMARY KEY", "").rsplit(" ", 1)
        fields.append({"id": name.strip('"'), "type": TYPES[type_]})
    return fields


def _configuration(protected: Mapping[str, str]) -> tuple[dict[str, Any], Bearer]:
    filters: dict[str, list[list[dict[str, Any]]]] = {}
    through: dict[str, dict[str, Any]] = {}
    parents: dict[str, str] = {}  # further datasets over a table that a query reads under another predicate: id -> table
    for table, predicate in protected.items():
        if predicate == "1 = 0":
            filters[table] = NOTHING[table]
        elif predicate in SAID:
            filters[table] = SAID[predicate]
        else:
            parent, on, parent_filters = THROUGH[predicate]
            name = parent
            if parent in protected:
                name = f"{parent} behind {table}"
                parents[name] = parent
            through[table] = {"through": name, "on": on}
            filters[name] = parent_filters
    datasets: list[dict[str, Any]] = []
    for table in (*CORPUS["schema"]["tables"], *parents):
        dataset: dict[str, Any] = {"id": table, "table": parents.get(table, table), "fields": _fields(parents.get(table, table))}
        if table in parents:
            dataset["same_table_as"] = parents[table]
        if table in through:
            dataset["secure_filters"] = [through[table]]
        elif table not in filters:
            dataset["public"] = True
        datasets.append(dataset)
    return {"version": 1, "datasets": datasets, "limits": {"seconds": 10}}, Bearer("*", filters)


@pytest.fixture(scope="module")
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, Mapping[str, str]], tuple[Gate, str]]]:
    """A gate over the corpus' tables for a set of predicates, and a token that says them."""
    urls: dict[str, str] = {}
    gates: dict[str, tuple[Gate, str]] = {}
    dropped: list[Callable[[], None]] = []

    def get(dialect: str, protected: Mapping[str, str]) -> tuple[Gate, str]:
        if dialect not in urls:
            if dialect in ("sqlite", "duckdb"):
                urls[dialect] = (_sqlite if dialect == "sqlite" else _duckdb)(tmp_path_factory.mktemp("peers"))
            else:
                urls[dialect] = (_postgres if dialect == "postgres" else _mariadb)(request, dropped)
        key = repr((dialect, sorted(protected.items())))
        if key not in gates:
            configuration, bearer = _configuration(protected)
            gate = Gate.from_yaml(configuration_file(tmp_path_factory.mktemp("gate"), urls[dialect], configuration))
            gates[key] = gate, token(bearer)
        return gates[key]

    yield get
    for gate, _ in gates.values():
        gate.close()
    for drop in dropped:
        drop()


def _inserts() -> Iterator[tuple[str, list[Any]]]:
    for table, rows in CORPUS["schema"]["rows"].items():
        for row in rows:
            yield f'INSERT INTO "{table}" VALUES ({{}})', row


def _sqlite(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "peers.db", isolation_level=None)) as connection:
        for statement in CORPUS["schema"]["ddl"]:
            connection.execute(statement)
        for statement, row in _inserts():
            connection.execute(statement.format(", ".join("?" * len(row))), row)
    return f"sqlite:///{folder / 'peers.db'}"


def _duckdb(folder: Path) -> str:
    with closing(duckdb.connect(str(folder / "peers.duckdb"))) as connection:
        for statement in CORPUS["schema"]["ddl"]:
            connection.execute(statement)
        for statement, row in _inserts():
            connection.execute(statement.format(", ".join("?" * len(row))), row)
    return f"duckdb:///{folder / 'peers.duckdb'}"


def _postgres(request: pytest.FixtureRequest, dropped: list[Callable[[], None]]) -> str:
    database: servers.Database = request.getfixturevalue("postgres").another()
    dropped.append(database.drop)

    def literal(value: Any) -> str:
        return "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"

    database.run(*CORPUS["schema"]["ddl"], *(statement.format(", ".join(map(literal, row))) for statement, row in _inserts()))
    return database.reader_url


def _mariadb(request: pytest.FixtureRequest, dropped: list[Callable[[], None]]) -> str:
    database: mariadb_server.Database = request.getfixturevalue("mariadb_run_server").new_database()
    dropped.append(database.drop)
    with closing(connect(database.owner_url)) as connection, connection.cursor() as cursor:
        for statement in CORPUS["schema"]["ddl"]:
            cursor.execute(statement.replace('"', "`").replace(" TEXT", " VARCHAR(200)"))
        for statement, row in _inserts():
            cursor.execute(statement.format(", ".join(["%s"] * len(row))).replace('"', "`"), row)
    return database.reader_url


def _parameters() -> list[Any]:
    return [parameter(ASKED.get(case["dialect"], case["dialect"]), case, id=f"{case['id']} [{case['dialect']}]") for case in PLAIN]


@pytest.mark.parametrize("case", _parameters())
def test_peer_case(case: dict[str, Any], opened: Callable[[str, Mapping[str, str]], tuple[Gate, str]]) -> None:
    """The permitted rows and no others, or a refusal where the entry or the contract has one."""
    for predicate in case["protected"].values():
        if predicate in UNSAID:
            pytest.skip(f"{predicate}: {UNSAID[predicate]}")
    gate, signed = opened(ASKED.get(case["dialect"], case["dialect"]), case["protected"])
    outcome = outcome_of(gate, signed, case["sql"])
    assert outcome.code != "our_bug"
    if outcome.refusal:
        assert case["expect"] == "rejected" or case.get("refusal_ok") or case["id"] in ADDITIONS, outcome.refusal
        # A clean refusal: the database has not been asked.
        assert outcome.code not in AFTER_SQL, outcome.refusal
        assert outcome.statements == 0
        return
    assert case["expect"] == "filtered", f"answered: {outcome.rows}"
    assert case["id"] not in ADDITIONS
    assert outcome.rows is not None
    assert bag([_plain(row) for row in outcome.rows], ordered=False) == bag([_plain(row) for row in case["expected_rows"]], ordered=False)


def _plain(row: Any) -> list[Any]:
    """Numbers by value: the corpus is JSON, which has neither decimals nor a boolean of SQLite's."""
    return [float(value) if not isinstance(value, str | list | dict | type(None)) else value for value in row]


def test_every_predicate_is_said_or_accounted_for() -> None:
    """No entry is dropped because nobody wrote its predicate down."""
    predicates = Counter(predicate for case in PLAIN for predicate in case["protected"].values())
    assert set(predicates) <= {*SAID, *THROUGH, *UNSAID, "1 = 0"}
