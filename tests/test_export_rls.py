"""`rowseal export-rls`: the policies run, and PostgreSQL by itself then shows the rows that the gate does."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest

import servers
from databases.postgres import _Database, libpq
from rowseal import cli
from rowseal.gate import Gate
from world import CONFIGURATION, TABLES, VIEWS, Bearer, configuration_file, token

pytestmark = pytest.mark.postgres

TENANT = [{"field": "tenant_id", "op": ["=", "is_one_of"]}]
GUARDED = ("orders", "customers", "employees", "events", "staff-2026")


def _dataset(entry: Mapping[str, Any]) -> dict[str, Any]:
    columns = {field["id"] for field in entry["fields"]}
    return {**entry, "guards": TENANT} if entry["id"] in GUARDED and "tenant_id" in columns else dict(entry)


# every table whose rows the file, a guard or a claim decides
CONFIGURED = {
    **CONFIGURATION,
    "datasets": [
        *(_dataset(entry) for entry in CONFIGURATION["datasets"] if entry["id"] in ("orders", "customers", "order_items", "products", "tickets")),
        {
            "id": "eu orders",
            "sql_name": "eu",
            "table": "orders",
            "same_table_as": "orders",
            "fields": [{"id": "id", "type": "number"}, {"id": "tenant_id", "type": "number"}, {"id": "region", "type": "string"}],
            "secure_filters": [
                {"field": "region", "op": "is_one_of", "value": ["E'U\\", "US", "ß✓"]},
                {"field": "region", "op": "does_not_contain_substring", "value": "'; DROP"},
                {"field": "id", "op": "between", "value": [1, 1000]},
            ],
            "guards": TENANT,
        },
    ],
}


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    status = cli.run(arguments, out=out, err=err, stdin=StringIO(), clock=lambda: 0.0)
    return status, out.getvalue(), err.getvalue()


@pytest.fixture
def stocked(fresh_postgres: servers.Database) -> servers.Database:
    _Database(fresh_postgres).fill(TABLES, VIEWS, analyze=False)
    return fresh_postgres


@pytest.fixture
def role(stocked: servers.Database) -> Iterator[str]:
    name = f"rls_{uuid.uuid4().hex[:8]}"
    stocked.server.run(
        f"CREATE ROLE {name} LOGIN",
        f"GRANT CONNECT ON DATABASE {stocked.name} TO {name}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}",
        database=stocked.name,
    )
    yield name
    stocked.server.run(f"DROP OWNED BY {name}", f"DROP ROLE {name}", database=stocked.name)


def rows_of_the_gate(file: Path, tenants: list[int], region: str) -> dict[str, list[tuple[Any, ...]]]:
    gate = Gate.from_yaml(file)
    filters = {each["id"]: [[{"field": "tenant_id", "op": "is_one_of", "value": tenants}]] for each in CONFIGURED["datasets"] if "guards" in each}
    access = gate.verify(token(Bearer("*", filters, {"region": region})))
    try:
        return {
            each.dataset.id: access.execute(f'SELECT * FROM "{each.dataset.sql_name}" AS t ORDER BY 1').rows for each in access.datasets() if not each.refusal
        }
    finally:
        gate.close()


def rows_of_postgresql(url: str, settings: Mapping[str, object], tables: Mapping[str, tuple[str, str]]) -> dict[str, list[tuple[Any, ...]]]:
    with psycopg.connect(libpq(url)) as connection:
        for setting, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, true)", [setting, json.dumps(value)])
        return {dataset: connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1".encode()).fetchall() for dataset, (table, columns) in tables.items()}


def tables_of(file: Path) -> dict[str, tuple[str, str]]:
    gate = Gate.from_yaml(file)
    found = gate.catalogs["default"].datasets
    gate.close()
    return {each.id: (f'"{each.table}"', ", ".join(f'"{field.column}"' for field in each.visible)) for each in found.values()}


@pytest.mark.parametrize(("tenants", "region"), [([1], "EU"), ([2], "US"), ([1, 3], "EU"), ([99], "nowhere")])
def test_postgresql_shows_what_the_gate_shows(stocked: servers.Database, role: str, tmp_path: Path, tenants: list[int], region: str) -> None:
    alone = {**CONFIGURED, "datasets": CONFIGURED["datasets"][:-1]}  # two datasets of one table have two policies, either of which will do
    file = configuration_file(tmp_path, stocked.reader_url, alone)
    expected, tables = rows_of_the_gate(file, tenants, region), tables_of(file)
    status, sql, err = run("export-rls", "--role", role, str(file))
    assert (status, err) == (0, "")
    for _ in range(2):  # it may be run again
        stocked.server.run(sql, database=stocked.name)
    settings = {f"rowseal.{dataset}.tenant_id": tenants for dataset in ("orders", "customers", "tickets")} | {"rowseal.claim.parameters.region": [region]}
    assert all(setting in sql for setting in settings)
    url = stocked.server.url(role, stocked.name)
    assert rows_of_postgresql(url, settings, tables) == expected
    assert tenants == [99] or all(expected[dataset] for dataset in ("orders", "customers", "order_items", "products"))


def test_no_setting_is_no_row(stocked: servers.Database, role: str, tmp_path: Path) -> None:
    file = configuration_file(tmp_path, stocked.reader_url, CONFIGURED)
    tables = tables_of(file)
    stocked.server.run(run("export-rls", "--role", role, str(file))[1], database=stocked.name)
    url = stocked.server.url(role, stocked.name)
    shown = rows_of_postgresql(url, {}, tables)
    assert [dataset for dataset, rows in shown.items() if rows] == ["products"]  # which is public
    assert [dataset for dataset, rows in rows_of_postgresql(url, {"rowseal.orders.tenant_id": []}, tables).items() if rows] == ["products"]
    with psycopg.connect(libpq(url), autocommit=True) as connection:
        with connection.transaction():
            connection.execute("SELECT set_config('rowseal.orders.tenant_id', '[1]', true)")
            assert connection.execute("SELECT count(*) FROM orders").fetchall() != [(0,)]
        assert connection.execute("SELECT count(*) FROM orders").fetchall() == [(0,)]  # it is empty now, where it was absent
        for wrong in ("1", '{"a": 1}', '"1"', "[", "[null]", '["x"]'):
            connection.execute("SELECT set_config('rowseal.orders.tenant_id', %s, false)", [wrong])
            with suppress(psycopg.errors.DataError):
                assert connection.execute("SELECT count(*) FROM orders").fetchall() == [(0,)]


def test_values_of_the_file_are_written_as_they_are(stocked: servers.Database, role: str, tmp_path: Path) -> None:
    """Quotes, backslashes and other alphabets in a literal; and between, and two datasets of one table."""
    stocked.run(
        *(f"INSERT INTO orders (id, tenant_id, region, deleted) VALUES ({number}, 1, {region}, false)" for number, region in ((901, "'E''U\\'"), (902, "'ß✓'")))
    )
    only = {**CONFIGURED, "datasets": [{key: value for key, value in CONFIGURED["datasets"][-1].items() if key != "same_table_as"}]}
    file = configuration_file(tmp_path, stocked.reader_url, only)
    gate = Gate.from_yaml(file)
    signed = token(Bearer("*", {"eu orders": [[{"field": "tenant_id", "op": "=", "value": 1}]]}))
    expected = gate.verify(signed).execute("SELECT * FROM eu ORDER BY 1").rows
    gate.close()
    assert {901, 902} <= {row[0] for row in expected}
    status, sql, _ = run("export-rls", "--role", role, str(file))
    assert status == 0
    stocked.server.run(sql, database=stocked.name)
    url = stocked.server.url(role, stocked.name)
    assert rows_of_postgresql(url, {"rowseal.eu_orders.tenant_id": [1]}, tables_of(file))["eu orders"] == expected


def test_the_role_of_rowseal_itself_loses_no_row_to_policies_without_settings(stocked: servers.Database, role: str, tmp_path: Path) -> None:
    (tmp_path / "least").mkdir()
    expected = rows_of_the_gate(configuration_file(tmp_path, stocked.reader_url, CONFIGURED), [1, 2], "EU")
    file = configuration_file(tmp_path / "least", stocked.server.url(role, stocked.name), CONFIGURED)
    status, sql, err = run("export-rls", "--no-settings", "--role", role, str(file))
    assert (status, err) == (0, "")
    assert "current_setting" not in sql
    stocked.server.run(sql, database=stocked.name)
    assert rows_of_the_gate(file, [1, 2], "EU") == expected
    with psycopg.connect(libpq(stocked.server.url(role, stocked.name))) as connection:  # the second wall: what the file alone forbids
        assert connection.execute("SELECT count(*) FROM orders WHERE deleted AND region NOT IN ('US')").fetchall() == [(0,)]


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ({"id": "o", "table": "orders"}, "which rows of `o` a token opens"),
        ({"id": "o", "table": "archive"}, "`o` is a view, which has no policies"),
        ({"id": "o", "sql": "SELECT id, tenant_id, region FROM orders"}, "`o` is a "),
        ({"id": "o", "table": "orders", "guards": [{"field": "tenant_id", "op": ["=", ">"]}]}, "by `>` too, which a list of values cannot say"),
        (
            {"id": "o", "table": "orders", "guards": TENANT, "secure_filters": [{"field": "region", "op": "starts_with", "value": {"claim": "a.b"}}]},
            "with the claim `a.b` by `starts_with`",
        ),
    ],
)
def test_what_policies_cannot_say_is_said_and_ends_with_1(stocked: servers.Database, role: str, tmp_path: Path, dataset: dict[str, Any], said: str) -> None:
    if dataset.get("table") == "archive":
        stocked.run("CREATE VIEW seen AS SELECT id, tenant_id, region FROM orders")
        dataset = {**dataset, "table": "seen"}
    fields = [{"id": "id", "type": "number"}, {"id": "tenant_id", "type": "number"}, {"id": "region", "type": "string"}]
    file = configuration_file(tmp_path, stocked.reader_url, {"version": 1, "datasets": [{**dataset, "fields": fields}]})
    status, sql, err = run("export-rls", "--role", role, str(file))
    assert status == 1
    assert said in err
    assert "-- NOT SAID: " in sql
    stocked.server.run(sql, database=stocked.name)


def test_two_settings_of_one_name_are_refused(stocked: servers.Database, tmp_path: Path) -> None:
    fields = [{"id": "tenant_id", "type": "number"}]
    datasets = [
        {"id": each, "sql_name": f"o{number}", "table": table, "guards": TENANT, "fields": fields}
        for number, (each, table) in enumerate({"o-1": "orders", "o.1": "customers"}.items())
    ]
    status, out, err = run("export-rls", str(configuration_file(tmp_path, stocked.reader_url, {"version": 1, "datasets": datasets})))
    assert (status, out) == (1, "")
    assert "would hold both" in err
