"""The command line on MariaDB, on a server of the run: a first configuration, what is risky in one, and what a query is made into."""

from __future__ import annotations

import json
import re
import shlex
import uuid
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pymysql
import pytest
import yaml

import mariadb_server
from rowseal import cli
from rowseal.catalog.mariadb_grants import Grant

pytestmark = pytest.mark.mariadb

NOW = 1_800_000_000.0
SHOP = (
    "CREATE TABLE tenants (id int PRIMARY KEY, name varchar(40))",
    (
        "CREATE TABLE orders (id bigint PRIMARY KEY, tenant_id int NOT NULL, region varchar(40) COLLATE utf8mb4_general_ci, total decimal(12,2), "
        "placed_at datetime, api_key varchar(40), ratio float, archived boolean, KEY (tenant_id, region), FULLTEXT KEY (region), "
        "FOREIGN KEY (tenant_id) REFERENCES tenants (id))"
    ),
    "CREATE TABLE `order%items` (id int, order_id bigint, sku varchar(20), PRIMARY KEY (order_id, id), FOREIGN KEY (order_id) REFERENCES orders (id))",
    "CREATE TABLE past (id int PRIMARY KEY, tenant_id int) WITH SYSTEM VERSIONING",
    "CREATE TABLE events (id int PRIMARY KEY, tenant_id int) PARTITION BY HASH (id) PARTITIONS 3",
    "CREATE TABLE alembic_version (version_num varchar(32))",
    "CREATE SEQUENCE numbers",
    "CREATE VIEW named AS SELECT o.id, o.region, 'no `table` of ours' AS remark FROM orders AS o",
    "CREATE VIEW late_orders AS SELECT id, tenant_id FROM orders WHERE placed_at IS NULL",
    "CREATE TABLE kinds (a varchar(9), b varchar(9) COLLATE utf8mb4_bin, c varchar(9) COLLATE utf8mb4_general_ci, d enum('x'))",
    "CREATE VIEW above AS WITH below AS (SELECT id, region FROM named) SELECT id, region FROM below",
    "INSERT INTO tenants VALUES (1, 'one'), (2, 'two')",
    "INSERT INTO orders VALUES (1, 1, 'north', 10.5, '2026-01-01', 'k', 1, 0), (2, 1, 'south', 2, NULL, 'l', 1, 1), (3, 2, 'north', 3, NULL, 'm', 1, 0)",
    "INSERT INTO `order%items` VALUES (1, 1, 'a'), (1, 3, 'b')",
)


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    status = cli.run(arguments, out=out, err=err, stdin=StringIO(), clock=lambda: NOW)
    assert "Traceback" not in out.getvalue() + err.getvalue()
    return status, out.getvalue(), err.getvalue()


def good(*arguments: str) -> str:
    status, out, err = run(*arguments)
    assert status == 0, out + err
    return out


@pytest.fixture(scope="module")
def shop(mariadb_run_server: mariadb_server.Server) -> Iterator[mariadb_server.Database]:
    database = mariadb_run_server.new_database()
    database.run(*SHOP)
    yield database
    database.drop()


@pytest.fixture
def user(mariadb_run_server: mariadb_server.Server) -> Iterator[str]:
    """A name that no other test makes."""
    name = f"u{uuid.uuid4().hex[:12]}"
    yield name
    mariadb_run_server.run(f"DROP USER IF EXISTS {name}@localhost")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return tmp_path


def configuration(url: str, *datasets: dict[str, Any], **more: Any) -> None:
    """A datasets.yaml with a fresh key pair."""
    good("keys", "create")
    tokens = [{"profile": "vizzly", "keys": [{"id": "vizzly", "public_key_file": "vizzly-public.pem"}]}]
    written = {"version": 1, "database": url, "engine": {"experimental": True, **more}, "tokens": tokens, "datasets": list(datasets)}
    Path("datasets.yaml").write_text(yaml.safe_dump(written, sort_keys=False))


def dataset(table: str, fields: dict[str, str], *guards: str, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"id": table, "table": table, "fields": [{"id": name, "type": kind} for name, kind in fields.items()], **more}
    return {**made, "guards": [{"field": guard, "op": ["=", "is_one_of"], "max_values": 3} for guard in guards]} if guards else made


def found(*codes: str) -> list[tuple[str, str]]:
    """The findings of these codes: the dataset, and what is said."""
    answer = json.loads(good("lint", "--json"))
    return [(each["dataset"], each["says"]) for each in answer["findings"] if each["code"] in codes]


# --- init --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["mariadb", "mariadb+pymysql", "mysql+pymysql"])
def test_from_a_database_to_rows_of_one_tenant(shop: mariadb_server.Database, scheme: str) -> None:
    url = shop.reader_url.replace("mariadb+pymysql", scheme)
    said = good("init", "--database", url)
    validate, sign, query = (shlex.split(line) for line in said.partition("then type:\n")[2].splitlines() if line.startswith("  "))
    assert good(*validate[1:]).startswith("datasets.yaml: good (mariadb)")
    Path("tokens.json").write_text(good(*sign[1 : sign.index(">")]))
    assert run(*query[1:])[0] == 0
    explained = json.loads(good("explain", "--json", *query[2:]))
    assert explained["dialect"] == "mariadb"
    assert [read["form"] for read in explained["reads"]] == ["plain"]
    assert [each["op"] for each in explained["reads"][0]["filters"]] == ["="]


def test_what_is_proposed_is_what_the_database_says(shop: mariadb_server.Database) -> None:
    good("init", "--database", shop.reader_url)
    text = Path("datasets.yaml").read_text()
    proposed = {each["id"]: each for each in yaml.safe_load(text)["datasets"]}
    assert set(proposed) == {"tenants", "orders", "order_items", "past", "events", "named", "late_orders", "kinds", "above"}
    guards = {name: each["guards"][0]["field"] for name, each in proposed.items() if "guards" in each}
    assert guards == {"tenants": "id", "orders": "tenant_id", "past": "tenant_id", "events": "tenant_id", "late_orders": "tenant_id"}
    kinds = {each["id"]: each["type"] for each in proposed["orders"]["fields"]}
    assert kinds == {
        "id": "number",
        "tenant_id": "number",
        "region": "string",
        "total": "number",
        "placed_at": "date_time",
        "api_key": "string",
        "archived": "boolean",
    }
    assert [each["id"] for each in proposed["orders"]["fields"] if each.get("hidden")] == ["api_key"]
    assert "# - ratio: is a column of type `float`, whose values equal no decimal number" in text
    assert "type: boolean}   # a TINYINT(1); if it holds other numbers" in text
    assert '#   - {field: archived, op: "=", value: false}' in text
    assert "#   - {through: orders, on: {order_id: id}}   # `order_id` refers to it" in text
    assert "# - alembic_version: it belongs to a migrations tool" in text
    assert "- numbers" not in text
    assert "  # A view. It shows what it selects" in text
    assert "engine: {experimental: true}" in text


def test_tables_are_chosen_by_name(shop: mariadb_server.Database) -> None:
    good("init", "--database", shop.reader_url, "--table", "order*", "--table", f"{shop.name}.past")
    assert [each["table"] for each in yaml.safe_load(Path("datasets.yaml").read_text())["datasets"]] == ["order%items", "orders", "past"]


def test_a_role_that_may_do_more_is_told_which_to_make_and_that_one_works(shop: mariadb_server.Database, user: str) -> None:
    status, _, err = run("init", "--database", shop.owner_url)
    assert (status, Path("datasets.yaml").exists()) == (1, False)
    assert "has ALL PRIVILEGES on *.*" in err
    advice = re.findall(r"^  (CREATE USER .*|GRANT .*);$", err, re.MULTILINE)
    assert len(advice) == 2
    for statement in advice:
        shop.run(statement.replace("rowseal_reader", f"{user}@localhost").replace("THE_DATABASE", shop.name).replace(" IDENTIFIED BY '...'", ""))
    good("init", "--database", shop.server.url(user, shop.name))


def test_such_a_role_can_be_accepted_in_writing(shop: mariadb_server.Database) -> None:
    good("init", "--database", shop.owner_url, "--allow-privileged-role")
    assert "engine: {allow_privileged_role: true, experimental: true}" in Path("datasets.yaml").read_text()
    good("validate", "datasets.yaml")
    assert ("writing_role", "the database role has ALL PRIVILEGES on *.*") in {
        (each["code"], each["says"]) for each in json.loads(good("lint", "--json"))["findings"]
    }


def test_a_role_with_columns_alone_sees_those(shop: mariadb_server.Database, user: str) -> None:
    shop.run(f"CREATE USER {user}@localhost", f"GRANT SELECT (id, tenant_id) ON orders TO {user}@localhost")
    good("init", "--database", shop.server.url(user, shop.name))
    (only,) = yaml.safe_load(Path("datasets.yaml").read_text())["datasets"]
    assert (only["id"], [each["id"] for each in only["fields"]]) == ("orders", ["id", "tenant_id"])


def test_a_password_stays_out_of_the_file(shop: mariadb_server.Database, user: str) -> None:
    shop.run(f"CREATE USER {user}@localhost IDENTIFIED BY 'open sesame'", f"GRANT SELECT ON {shop.name}.* TO {user}@localhost")
    said = good("init", "--database", shop.server.url(f"{user}:open%20sesame", shop.name))
    assert "database: ${DATABASE_URL}\n" in Path("datasets.yaml").read_text()
    assert "sesame" not in said + Path("datasets.yaml").read_text()


# --- lint --------------------------------------------------------------------------------------------------------------------------------

ORDERS = {"id": "number", "tenant_id": "number", "region": "string", "total": "number"}


def test_an_index_counts_if_it_begins_with_the_column_and_finds_equals(shop: mariadb_server.Database) -> None:
    configuration(
        shop.reader_url,
        dataset("orders", ORDERS, "tenant_id"),
        dataset("orders", ORDERS, "region", same_table_as="orders") | {"id": "by_region"},  # the second of one index, and a full text
        dataset("past", {"id": "number", "tenant_id": "number"}, "tenant_id"),
        dataset("named", {"id": "number", "region": "string"}, "region"),
    )
    assert [name for name, _ in found("no_index")] == ["by_region", "past"]


def test_a_collation_that_folds_is_found(shop: mariadb_server.Database) -> None:
    strings = dict.fromkeys("abcd", "string")
    configuration(shop.reader_url, dataset("kinds", strings, *strings))
    assert found("folding_collation") == [("kinds", "the column `c` of `kinds` calls different texts equal")]


def test_a_view_without_a_guard_leads_around_that_of_a_table_however_far_below(shop: mariadb_server.Database, user: str) -> None:
    shop.run(f"CREATE USER {user}@localhost", f"GRANT SELECT, SHOW VIEW ON {shop.name}.* TO {user}@localhost")
    datasets = [dataset("orders", ORDERS, "tenant_id"), dataset("past", {"id": "number", "tenant_id": "number"}, "tenant_id")]
    configuration(shop.server.url(user, shop.name), *datasets, dataset("above", {"id": "number", "region": "string"}))
    assert found("unguarded_view") == [("above", "`above` reads the table of `orders` without its guard")]


def test_a_view_that_the_role_may_not_look_into_is_not_called_harmless(shop: mariadb_server.Database, user: str) -> None:
    shop.run(f"CREATE USER {user}@localhost", f"GRANT SELECT ON {shop.name}.* TO {user}@localhost")
    shop.run(f"GRANT SHOW VIEW ON above TO {user}@localhost")  # and not on the one below it
    configuration(shop.server.url(user, shop.name), dataset("orders", ORDERS, "tenant_id"), dataset("above", {"id": "number", "region": "string"}, public=True))
    ((name, says),) = found("unguarded_view")
    assert name == "above"
    assert "SHOW VIEW" in says
    shop.run(f"GRANT SHOW VIEW ON named TO {user}@localhost")
    assert found("unguarded_view") == [("above", "`above` reads the table of `orders` without its guard")]


def test_a_right_to_write_is_found_also_that_of_a_role_to_take_on(shop: mariadb_server.Database, user: str) -> None:
    role = f"r{user}"
    pattern = shop.name[:-1] + "_"
    try:
        shop.run(
            f"CREATE USER {user}@localhost", f"GRANT SELECT ON {shop.name}.* TO {user}@localhost", f"CREATE ROLE {role}", f"GRANT {role} TO {user}@localhost"
        )
        shop.run(f"CREATE ROLE in{role}", f"GRANT in{role} TO {role}", f"GRANT DELETE ON past TO in{role}")
        datasets = [dataset("orders", ORDERS, "tenant_id"), dataset("past", {"id": "number", "tenant_id": "number"}, "tenant_id")]
        configuration(shop.server.url(user, shop.name), *datasets, allow_privileged_role=True)
        writes = [says for name, says in found("writing_role") if name]
        assert writes == ["the database role may write to the table of `past`"]
        shop.run(f"GRANT UPDATE ON `{pattern}`.* TO {user}@localhost")
        assert len([name for name, _ in found("writing_role") if name]) == 2
    finally:
        shop.run(f"DROP ROLE {role}, in{role}")


@pytest.mark.parametrize(
    ("on", "covered"),
    [
        ("*.*", True),
        ("`shop`.*", True),
        ("`sh%`.*", True),
        ("`s_op`.*", True),
        ("`s\\_op`.*", False),
        ("`shops`.*", False),
        ("`shop`.`orders`", True),
        ("`shop`.`order`", False),
        ("`sh%`.`orders`", False),  # a pattern only where every table is meant
        ("something new", True),
    ],
)
def test_a_grant_covers_what_the_server_says(on: str, covered: bool) -> None:
    assert Grant(frozenset({"UPDATE"}), on, grantable=False).covers("shop", "orders") is covered


# --- as few rights as possible -------------------------------------------------------------------------------------------------------------


def test_the_user_of_the_page_answers_and_mariadb_itself_denies_the_rest(shop: mariadb_server.Database, user: str) -> None:
    page = (Path(__file__).resolve().parents[1] / "docs/how-to/least-privilege.md").read_text()
    (block,) = (each for each in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) if "CREATE USER" in each)
    script = re.sub(r"--.*", "", block).replace("rowseal@'%'", f"{user}@localhost").replace("shop.", f"{shop.name}.").replace("'...'", "''")
    statements = [each.strip() for each in script.split(";") if each.strip()]
    shop.run(*statements)
    url = shop.server.url(user, shop.name)
    fields = {"id": "number", "tenant_id": "number", "total": "number"}
    configuration(url, dataset("orders", fields, "tenant_id"), dataset("late_orders", {"id": "number", "tenant_id": "number"}, "tenant_id"))
    good("validate", "datasets.yaml")
    good("lint")
    filters = json.dumps({name: [[{"field": "tenant_id", "op": "=", "value": 1}]] for name in ("orders", "late_orders")})
    Path("tokens.json").write_text(
        good("access-tokens", "-p", "p", "-u", "u", "--data-set-ids", "orders,late_orders", "--secure-filters", filters, "--config", "datasets.yaml")
    )
    asked = ("query", "--json", "--config", "datasets.yaml", "--token", "@tokens.json")
    assert json.loads(good(*asked, "SELECT id, total FROM orders ORDER BY id"))["rows"] == [[1, 10.5], [2, 2]]
    assert json.loads(good(*asked, "SELECT id FROM late_orders"))["rows"] == [[2]]
    with pymysql.connect(unix_socket=shop.server.socket, user=user, database=shop.name) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM orders")
        for denied in ("SELECT id FROM tenants", "SELECT id FROM named", "DELETE FROM orders", "CREATE TABLE mine (id int)"):
            with pytest.raises(pymysql.MySQLError, match="denied"):
                cursor.execute(denied)


COLUMNS, TABLE, VIEW, TEXT = "SELECT (id, tenant_id) ON orders", "SELECT ON orders", "SELECT ON late_orders", "SELECT, SHOW VIEW ON late_orders"


@pytest.mark.parametrize(
    ("rights", "table", "runs"),
    [
        ((COLUMNS,), "orders", False),
        ((TABLE,), "orders", True),
        ((VIEW,), "late_orders", True),
        ((TEXT,), "late_orders", True),
        ((TABLE, VIEW), "late_orders", True),
        ((TABLE, TEXT), "late_orders", False),
        (("SELECT ON *",), "late_orders", True),
        (("SELECT, SHOW VIEW ON *",), "late_orders", False),
    ],
)
def test_nothing_runs_where_mariadb_says_less_than_it_could(
    shop: mariadb_server.Database,
    user: str,
    rights: tuple[str, ...],
    table: str,
    runs: bool,
) -> None:
    shop.run(f"CREATE USER {user}@localhost", *(f"GRANT {right} TO {user}@localhost" for right in rights))
    said = good("init", "--database", shop.server.url(user, shop.name), "--table", table)
    validate, sign, query = (shlex.split(line) for line in said.partition("then type:\n")[2].splitlines() if line.startswith("  "))
    good(*validate[1:])
    Path("tokens.json").write_text(good(*sign[1 : sign.index(">")]))
    status, out, err = run(*query[1:])
    if runs:
        assert (status, out != "") == (0, True)
    else:
        assert (status, out) == (70, "")
        assert "the database did not testify what the statement reads" in err
