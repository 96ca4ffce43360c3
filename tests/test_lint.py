"""`rowseal lint`: each risk is found where it stands, and its cure cures it."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

import servers
from rowseal import cli
from rowseal.cli.risks import RISKS

NOW = 1_800_000_000.0
ORDERS: dict[str, Any] = {
    "id": "orders",
    "table": "orders",
    "fields": [{"id": "id", "type": "number"}, {"id": "tenant_id", "type": "number"}, {"id": "region", "type": "string"}],
    "guards": [{"field": "tenant_id", "op": "="}],
}
TABLES = "CREATE TABLE orders (id INTEGER PRIMARY KEY, tenant_id INTEGER, region TEXT); CREATE INDEX by_tenant ON orders (tenant_id);"


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    status = cli.run(arguments, out=out, err=err, stdin=StringIO(), clock=lambda: NOW)
    assert "Traceback" not in out.getvalue() + err.getvalue()
    return status, out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run("keys", "create")[0] == 0
    os.utime("vizzly-public.pem", (NOW, NOW))
    return tmp_path


def configured(*datasets: dict[str, Any], tokens: dict[str, Any] | None = None, key: dict[str, Any] | None = None, **more: Any) -> None:
    keys = [{"id": "vizzly", "public_key_file": "vizzly-public.pem", **(key or {})}]
    profile = {"profile": "vizzly", "keys": keys, **(tokens or {})}
    plain = {"version": 1, "database": "sqlite:///shop.db", "tokens": [profile], "datasets": list(datasets), **more}
    Path("datasets.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(plain)), sort_keys=False))  # each thing in its own place: no aliases


def database(script: str) -> None:
    Path("shop.db").unlink(missing_ok=True)
    with closing(sqlite3.connect("shop.db")) as connection:
        connection.executescript(script)


def found(*more: str) -> list[dict[str, Any]]:
    status, out, err = run("lint", "--json", *more)
    assert (status, err) == (0, "")
    return list(json.loads(out)["findings"])


def codes(*more: str) -> list[tuple[str, str | None]]:
    return [(each["code"], each["dataset"]) for each in found(*more)]


def orders(**more: Any) -> dict[str, Any]:
    return {name: value for name, value in {**ORDERS, **more}.items() if value is not None}


def lines(**more: Any) -> dict[str, Any]:
    plain = {"id": "lines", "table": "lines", "fields": [{"id": "id", "type": "number"}, {"id": "order_id", "type": "number"}]}
    return {**plain, "secure_filters": [{"through": "orders", "on": {"order_id": "id"}}], **more}


LINES = "CREATE TABLE lines (id INTEGER PRIMARY KEY, order_id INTEGER);"
VIEW = "CREATE VIEW regions AS SELECT region, tenant_id FROM orders; CREATE VIEW above AS SELECT * FROM regions;"
REGIONS = {"id": "regions", "table": "regions", "fields": [{"id": "region", "type": "string"}, {"id": "tenant_id", "type": "number"}]}
ABOVE = {**REGIONS, "table": "above"}
GUARD = {"guards": ORDERS["guards"]}
FILTER = {"secure_filters": [{"field": "region", "op": "=", "value": "North"}]}
FIELDS = ORDERS["fields"]
TEXT_GUARD = {"guards": [{"field": "region", "op": "="}]}
IDENTITY = {
    "profile": "oidc", "issuer": "https://login.example.com/", "audience": "shop", "attributes": {"tenant": {"orders": "tenant_id"}},
    "roles": {"reader": {"datasets": ["orders"]}},
}  # fmt: skip

# code, dataset -> (tables, configuration) that provokes it, and one that cures it
PROVOKED: dict[tuple[str, str | None], tuple[Any, Any]] = {
    ("public_dataset", "orders"): ((TABLES, [orders(guards=None, public=True)], {}), (TABLES, [orders()], {})),
    ("no_rule", "orders"): ((TABLES, [orders(guards=None)], {}), (TABLES, [orders()], {})),
    ("unguarded_table", "copy"): (
        (TABLES, [orders(), orders(id="copy", same_table_as="orders", guards=None, secure_filters=[{"field": "tenant_id", "op": "=", "value": 1}])], {}),
        (TABLES, [orders(), orders(id="copy", same_table_as="orders")], {}),
    ),
    ("unguarded_view", "regions"): ((TABLES + VIEW, [orders(), {**REGIONS, **FILTER}], {}), (TABLES + VIEW, [orders(), {**REGIONS, **GUARD}], {})),
    ("no_index", "orders"): ((TABLES.partition(";")[0], [orders()], {}), (TABLES, [orders()], {})),
    ("no_index", "lines"): ((TABLES + LINES, [orders(), lines()], {}), (TABLES + LINES + "CREATE INDEX o ON lines (order_id)", [orders(), lines()], {})),
    ("folding_collation", "orders"): (
        (TABLES.replace("region TEXT", "region TEXT COLLATE NOCASE") + "CREATE INDEX r ON orders (region)", [orders(**TEXT_GUARD)], {}),
        (TABLES + "CREATE INDEX r ON orders (region)", [orders(**TEXT_GUARD)], {}),
    ),
    ("undeclared_columns", "orders"): ((TABLES, [orders(fields=FIELDS[:2])], {}), (TABLES, [orders()], {})),
    ("development_key", None): ((TABLES, [orders()], {"key": {"development": True}}), (TABLES, [orders()], {})),
    ("long_lifetime", None): ((TABLES, [orders()], {"tokens": {"max_lifetime": "25h"}}), (TABLES, [orders()], {"tokens": {"max_lifetime": "24h"}})),
    ("writable_claim", None): (
        (TABLES, [orders()], {"tokens": {**IDENTITY, "claims": {"tenant": "user_metadata.tenant", "roles": "roles"}}}),
        (TABLES, [orders()], {"tokens": {**IDENTITY, "claims": {"tenant": "app_metadata.tenant", "roles": "roles"}}}),
    ),
    ("allowed_function", None): ((TABLES, [orders()], {"functions": {"allow": ["soundex"]}}), (TABLES, [orders()], {"functions": {"deny": ["soundex"]}})),
}


@pytest.mark.parametrize("what", PROVOKED, ids=lambda what: f"{what[0]}-{what[1]}")
def test_each_risk_is_found_alone_and_cured(what: tuple[str, str | None]) -> None:
    for (script, datasets, more), expected in zip(PROVOKED[what], ([what], []), strict=True):
        database(script)
        configured(*datasets, **more)
        assert codes() == expected


def test_every_code_is_provoked_and_says_what_to_do() -> None:
    elsewhere = {"old_key", "schema_drift", "writing_role"}
    assert {code for code, _ in PROVOKED} | elsewhere == RISKS.keys()
    assert all(len(meaning.means) > 30 and len(meaning.cure) > 20 for meaning in RISKS.values())


def test_an_old_key_is_found_by_its_file() -> None:
    database(TABLES)
    configured(orders())
    os.utime("vizzly-public.pem", (NOW - 366 * 86_400, NOW - 366 * 86_400))
    assert [each["says"] for each in found()] == ["the file of the key `vizzly` has not changed for 366 days"]


@pytest.mark.parametrize(
    ("index", "usable"),
    [
        ("CREATE INDEX i ON orders (tenant_id, region)", True),
        ("CREATE INDEX i ON orders (region, tenant_id)", False),
        ("CREATE INDEX i ON orders (tenant_id) WHERE region = 'North'", False),
        ("CREATE INDEX i ON orders (abs(tenant_id))", False),
        ("CREATE UNIQUE INDEX i ON orders (tenant_id)", True),
    ],
)
def test_an_index_counts_where_it_can_be_used(index: str, usable: bool) -> None:
    database(f"{TABLES.partition(';')[0]}; {index}")
    configured(orders())
    assert codes() == ([] if usable else [("no_index", "orders")])


def test_a_collation_of_the_application_s_is_not_trusted() -> None:
    database(TABLES)
    with closing(sqlite3.connect("shop.db")) as connection:
        connection.create_collation("theirs", lambda one, other: (one > other) - (one < other))
        connection.executescript("DROP TABLE orders; CREATE TABLE orders (id INTEGER PRIMARY KEY, tenant_id INTEGER, region TEXT COLLATE theirs)")
    configured(orders(**TEXT_GUARD))
    assert ("folding_collation", "orders") in codes()


def test_a_view_over_a_view_leads_around_the_guard_too() -> None:
    database(TABLES + VIEW)
    configured(orders(), {**ABOVE, **FILTER})
    assert codes() == [("unguarded_view", "regions")]


def test_a_select_leads_around_the_guard_of_its_table() -> None:
    """`reads_past` accepts it in writing; that it is risky is said all the same, and a second SELECT is not its twin."""
    database(TABLES)
    select = {"sql": "SELECT id, tenant_id, region FROM orders", "fields": FIELDS}
    first, second = {**select, "id": "first", "reads_past": ["orders"]}, {**select, "id": "second", "reads_past": ["orders", "first"]}
    configured(orders(), {**first, **FILTER}, {**second, **GUARD})
    assert codes() == [("unguarded_view", "first"), ("unguarded_view", "first")]  # past the guards of two


# --- what has changed ----------------------------------------------------------------------------------------------------------------------


def test_what_has_changed_since_is_said_column_by_column() -> None:
    database(TABLES)
    configured(orders())
    Path("lint.json").write_text(run("lint", "--json")[1])
    assert codes("--since", "lint.json") == []
    database(TABLES.replace("region TEXT", "region VARCHAR(5), note TEXT"))
    assert [each["says"] for each in found("--since", "lint.json") if each["code"] == "schema_drift"] == [
        "the table of `orders` has changed: `note` is new",
        "the table of `orders` has changed: `region` was `TEXT` and is `VARCHAR(5)`",
    ]
    database(TABLES.replace("orders", "kept") + "CREATE VIEW orders AS SELECT id, tenant_id, region FROM kept; " + LINES)
    configured(orders(), lines())
    said = [each["says"] for each in found("--since", "lint.json") if each["code"] == "schema_drift"]
    assert said == ["the table of `orders` has changed: it was a table and is a view", "`lines` is new"]
    Path("lint.json").write_text(run("lint", "--json")[1])
    assert [each["code"] for each in found("--since", "lint.json") if each["code"] == "schema_drift"] == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 5}', '{"schema": {"orders": {"kind": "table", "columns": {"a": 1}}}}', "\x00", "[" * 100_000])
def test_a_file_of_another_kind_is_no_since(text: str) -> None:
    database(TABLES)
    configured(orders())
    Path("lint.json").write_text(text)
    status, out, err = run("lint", "--since", "lint.json")
    assert (status, out) == (1, "")
    assert err == "rowseal: `lint.json` is not what `rowseal lint --json` wrote: write it anew\n"


# --- the answer ----------------------------------------------------------------------------------------------------------------------------


def test_a_finding_has_its_place_and_its_cure() -> None:
    database(TABLES)
    configured(orders(guards=None, public=True))
    line = Path("datasets.yaml").read_text().splitlines().index("  public: true") + 1
    status, out, err = run("lint")
    assert (status, err) == (0, "1 finding\n")
    assert out == (
        f"datasets.yaml:{line}:11: public_dataset: `orders` is open to every token that is granted it\n"
        "  cure: remove `public: true` unless the rows are the same for everybody\n"
    )


def test_only_strict_makes_a_finding_a_failure_and_what_is_accepted_is_left_out() -> None:
    database(TABLES)
    configured(orders(guards=None, public=True), orders(id="copy", same_table_as="orders", guards=None, public=True))
    assert run("lint")[0] == 0
    assert run("lint", "--strict")[0] == 1
    assert codes("--accept", "public_dataset:orders") == [("public_dataset", "copy")]
    status, out, err = run("lint", "--strict", "--accept", "public_dataset")
    assert (status, out, err) == (0, "", "nothing was found\n")
    for wrong in ("public_datset", "public_dataset:", ":orders", ""):
        status, out, err = run("lint", "--accept", wrong)
        assert (status, out) == (1, "")
        assert "is no code" in err


def test_what_is_wrong_is_said_as_validate_says_it() -> None:
    database(TABLES)
    configured(orders(table="ordres"))
    status, out, err = run("lint")
    assert (status, out) == (1, "")
    assert "is no table or view of the database; did you mean `orders`?" in err
    assert "nothing" not in err


# --- PostgreSQL ----------------------------------------------------------------------------------------------------------------------------

POSTGRES = (
    "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
    "CREATE TYPE plan AS ENUM ('free', 'paid')",
    "CREATE TABLE orders (id int PRIMARY KEY, tenant_id int, region text COLLATE ci, plan plan, code char(3))",
    "CREATE INDEX by_tenant ON orders (tenant_id)",
    "CREATE INDEX by_plan ON orders (plan)",
    "CREATE VIEW regions AS SELECT region, tenant_id FROM orders",
    "CREATE VIEW above AS SELECT * FROM regions",
    "CREATE TABLE part (id int, tenant_id int)",
    "CREATE INDEX partial ON part (tenant_id) WHERE id > 5",
)


@pytest.mark.postgres
def test_on_postgres_the_catalogs_say_the_same(fresh_postgres: servers.Database) -> None:
    fresh_postgres.run(*POSTGRES)
    fields = [*ORDERS["fields"], {"id": "plan", "type": "string"}, {"id": "code", "type": "string"}]
    above = {**ABOVE, "secure_filters": [{"field": "tenant_id", "op": "=", "value": 1}]}
    part = {"id": "part", "table": "part", "fields": FIELDS[:2], **GUARD}
    configured(orders(fields=fields), above, part, database=fresh_postgres.reader_url)
    assert codes() == [("unguarded_view", "regions"), ("no_index", "part")]
    for name, expected in (("plan", [("no_index", "orders")]), ("code", [("folding_collation", "orders"), ("no_index", "orders")])):
        configured(orders(fields=fields, guards=[{"field": name, "op": "="}]), database=fresh_postgres.reader_url)
        assert codes() == expected
    configured(orders(fields=fields, secure_filters=[{"field": "region", "op": "=", "value": "x"}]), database=fresh_postgres.reader_url)
    assert codes() == [("folding_collation", "orders")]


@pytest.mark.postgres
def test_on_postgres_a_role_that_may_write_is_found(fresh_postgres: servers.Database) -> None:
    fresh_postgres.run(*POSTGRES, "GRANT INSERT ON part TO rowseal_reader")
    part = {"id": "part", "table": "part", "fields": FIELDS[:2], **GUARD}
    configured(part, database=fresh_postgres.reader_url)
    assert [each["says"] for each in found("--accept", "no_index")] == ["the database role may write to the table of `part`"]
    fresh_postgres.run("REVOKE INSERT ON part FROM rowseal_reader")
    assert found("--accept", "no_index") == []
    configured(part, database=fresh_postgres.owner_url, engine={"allow_privileged_role": True})
    said = [each["says"] for each in found("--accept", "no_index")]
    assert "the database role owns `public.part`, or is a member of the role that does" in said
    assert len(said) == len(set(said))
    configured(
        {"id": "rows", "sql": "SELECT id, tenant_id FROM part", "fields": FIELDS[:2], **GUARD},
        database=fresh_postgres.owner_url,
        engine={"allow_privileged_role": True},
    )
    assert "the database role owns `public.part`, or is a member of the role that does" in [each["says"] for each in found()]
