"""Datasets that are a SELECT or joined tables: what the file may say, what is told where it may not, and the walls behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

import servers
from databases.postgres import libpq
from oracle import outcome_of
from rowseal.catalog import Dataset, FunctionRules, Source, Storage
from rowseal.catalog.reflection import Column, Relation
from rowseal.configuration import load
from rowseal.engine import Database
from rowseal.errors import Misconfigured, OurBug
from rowseal.gate import Gate
from rowseal.sql import _SEAL, SecuredQuery
from rowseal.sql.sources import SourceRefused, admit_source, write_source
from test_catalog import folder, problems  # noqa: F401 -- a fixture
from world import Bearer, configuration_file, token

HEAD = """\
version: 1
database: sqlite:///shop.db
tokens: [{profile: vizzly, keys: [{id: a, public_key_file: keys/a.pem}]}]
datasets:
  - id: orders
    table: orders
    fields: [{id: id, type: number}]
"""
FIELDS = "fields: [{id: id, type: number}]"


def _sql(sql: str, more: str = "reads_past: [orders]", fields: str = FIELDS) -> str:
    return f"{HEAD}  - id: s\n    sql: {sql}\n    {more}\n    {fields}\n"


# --- what is wrong with a SELECT -----------------------------------------------------------------------------------------------------------

WRONG = [
    ("SELECT id FROM orders WHERE region = :region", "9:10: datasets[1].sql: takes no parameters but `{{ trusted.name }}`, declared under `parameters:`"),
    ("SELECT id FROM orders WHERE region = '{{ trusted.region }}'", "9:48: datasets[1].sql: names `region`, which `parameters:` does not declare"),
    ("SELECT id FROM nonesuch", "9:25: datasets[1].sql: reads `nonesuch`, which is no table or view of the database"),
    ("SELECT id FROM public.orders", "9:"),
    ("SELECT name FROM sqlite_master", "9:27: datasets[1].sql: reads a system table, which no dataset may"),
    ("SELECT word AS id FROM words", "9:33: datasets[1].sql: reads `words`, a virtual table"),
    ("SELECT value AS id FROM json_each('[1]')", "is not accepted: a function in FROM is not accepted"),
    ("SELECT id FROM orders ORDER BY id LIMIT 5", "cuts its rows before any filter applies"),
    ("SELECT id FROM orders UNION ALL (SELECT id FROM orders LIMIT 1)", "9:"),
    ("SELECT id, COUNT(*) FROM orders GROUP BY id", "9:21: datasets[1].sql: computes a column without a name; write `AS name` behind it"),
    ("SELECT o.id, i.id FROM orders AS o JOIN order_items AS i ON i.order_id = o.id", "has two columns called `id`"),
    ("SELECT o.*, i.* FROM orders AS o JOIN order_items AS i ON i.order_id = o.id", "has two columns called `id`"),
    ("SELECT id FROM orders NATURAL JOIN order_items", "joins by whatever columns happen to have one name"),
    ("SELECT nope AS id FROM orders", "9:17: datasets[1].sql: is not accepted: a column stands here that no table of its FROM has"),
    ("SELECT rowid AS id FROM orders", "is not accepted: a column stands here"),
    ("SELECT x.id FROM orders", "is not accepted: no table or alias `x` stands in FROM"),
    ("SELECT load_extension('x') AS id FROM orders", "the function `load_extension` is not accepted; use another function, or add it to `functions.allow`"),
    ("DELETE FROM orders", "is not accepted: only a single SELECT is accepted"),
    ("SELECT id FROM orders; SELECT 1", "is not accepted: "),
    ("SELECT id FROM __g1", "is not accepted: a name begins with two underscores"),
    ("SELECT id FROM orders AS __u1", "is not accepted: a name begins with two underscores"),
]


@pytest.mark.parametrize(("sql", "told"), WRONG, ids=[sql for sql, _ in WRONG])
def test_a_select_that_cannot_be_a_dataset_is_told_with_its_place(sql: str, told: str, folder: Path) -> None:  # noqa: F811
    """In the closed world, over tables that exist, with columns that have names; the database's words stay where they are."""
    found = problems(folder, _sql(sql))
    assert any(told in each and "datasets[1].sql" in each for each in found), found
    assert len(found) == 1


def test_a_place_in_a_block_is_a_place_in_the_file(folder: Path) -> None:  # noqa: F811
    """Line and column count in the file, so that an editor finds them; where YAML folds lines they count in the text."""
    block = _sql("|\n      SELECT id\n      FROM orders\n      WHERE nope = 1")
    assert problems(folder, block)[0].startswith("12:13: datasets[1].sql: is not accepted: a column")
    folded = _sql(">-\n      SELECT id\n      FROM orders\n      WHERE nope = 1")
    assert problems(folder, folded) == [
        "9:10: datasets[1].sql: is not accepted: a column stands here that no table of its FROM has, or more than one (line 1, column 29 of the text)"
    ]


def test_functions_of_the_file_hold_for_its_own_selects_too(folder: Path) -> None:  # noqa: F811
    """`functions.allow` admits, `functions.deny` refuses."""
    text = _sql("SELECT id, no_such(region) AS s FROM orders", fields=FIELDS)
    assert "the function `no_such` is not accepted" in problems(folder, text)[0]
    assert "is refused by the database (OperationalError)" in problems(folder, text + "functions: {allow: [no_such]}\n")[0]  # this SQLite has none
    assert "the function `upper` is not accepted" in problems(folder, _sql("SELECT id, UPPER(region) AS s FROM orders") + "functions: {deny: [upper]}\n")[0]


SHAPES = [
    ("  - {id: s, fields: [{id: id, type: number}]}", "8:5: datasets[1]: must have exactly one of `table:` and `sql:`"),
    ("  - {id: s, table: orders, sql: SELECT 1 AS id, fields: [{id: id, type: number}]}", "must have exactly one of `table:` and `sql:`"),
    (
        "  - {id: s, sql: SELECT id FROM orders, joins: [{type: left, table: orders, on: {id: id}}], reads_past: [orders], fields: [{id: id, type: number}]}",
        "datasets[1].joins: are for `table:`; write the join in the SELECT",
    ),
    ("  - {id: s, sql: SELECT id FROM orders, fields: [{id: id, type: number}]}", "datasets[1].sql: reads tables of `orders`; if a bearer"),
    (
        "  - {id: s, sql: SELECT id FROM orders, reads_past: [orders, orders2], fields: [{id: id, type: number}]}",
        "datasets[1].reads_past[1]: names no dataset, or no earlier source, that shares a table with this one",
    ),
    ("  - {id: s, table: order_items, reads_past: [orders], fields: [{id: id, type: number}]}", "reads_past: is for datasets with `sql:` or `joins:`"),
    (
        "  - {id: s, sql: SELECT id FROM orders, same_table_as: orders, reads_past: [orders], fields: [{id: id, type: number}]}",
        "same_table_as: names no earlier",
    ),
    (
        "  - {id: s, sql: SELECT region AS r FROM orders, reads_past: [orders], fields: [{id: id, type: number}]}",
        "datasets[1].fields[0].column: `id` is no column of `sql`",
    ),
    (
        "  - {id: s, sql: SELECT region FROM orders, reads_past: [orders], fields: [{id: region, type: number}]}",
        "datasets[1].fields[0].type: is declared `number` on a column of type `TEXT`",
    ),
    (
        "  - {id: s, sql: SELECT region FROM orders, reads_past: [orders], fields: [{id: region, table: orders, type: string}]}",
        "datasets[1].fields[0].table: is for datasets with `joins:`",
    ),
    ("  - {id: s, table: order_items, fields: [{id: id, table: orders, type: number}]}", "datasets[1].fields[0].table: names another table"),
    (
        "\n".join(f"  - {{id: {each}, sql: SELECT id FROM orders, reads_past: [orders], fields: [{{id: id, type: number}}]}}" for each in "st"),
        "datasets[2].sql: reads tables of `s`; if a bearer",
    ),
]


@pytest.mark.parametrize(("entry", "told"), SHAPES, ids=[told[:60] for _, told in SHAPES])
def test_what_contradicts_itself_is_told(entry: str, told: str, folder: Path) -> None:  # noqa: F811
    """One origin for each dataset, its columns, and whose filters it does not obey."""
    found = problems(folder, HEAD + entry + "\n")
    assert any(told in each for each in found), found


JOINS = [
    ("{type: right, table: orders, on: {order_id: id}}", "must be `inner` or `left`; for `right` name the other table as `table:`"),
    ("{type: cross, table: orders, on: {order_id: id}}", "must be `inner` or `left`"),
    ("{type: left, table: orders, on: {}}", "must have at least one entry"),
    ("{type: left, table: orders}", "is missing; write `on:` here"),
    ("{type: left, table: nope, on: {order_id: id}}", "datasets[1].joins[0].table: is no table or view of the database"),
    ("{type: left, table: words, on: {order_id: word}}", "is a virtual table"),
    ("{type: left, table: sqlite_master, on: {order_id: name}}", "not one of SQLite's own"),
    ("{type: left, table: orders, on: {orderid: id}}", "`orderid` is no column of `order_items`; did you mean `order_id`?"),
    ("{type: left, table: orders, on: {order_id: idd}}", "`idd` is no column of `orders`"),
    ("{type: left, table: orders, on: {code: tenant_id}}", "joins `code` of type `TEXT` with `tenant_id` of type `INT`, which may round or fail"),
    ("{type: left, table: orders, on: {ratio: ratio}}", "joins `ratio` of type `REAL`"),
    ("{type: left, table: order_items, on: {order_id: id}}", "datasets[1].joins[0].table: is the name of an earlier table of this dataset; write `as:`"),
    ("{type: left, table: orders, as: ORDER_ITEMS, on: {order_id: id}}", "datasets[1].joins[0].as: is the name of an earlier table"),
    ("{type: left, table: orders, from: customers, on: {order_id: id}}", "datasets[1].joins[0].from: names no earlier table of this dataset"),
    ("{type: left, table: orders, as: o, on: {order_id: id}}", "datasets[1].fields[1].table: names no table of this dataset; it has `order_items`, `o`"),
    ("{type: left, table: orders, on: {order_id: id}, if: x}", "is no known key; known here: type, table, on, as, from"),
]


@pytest.mark.parametrize(("join", "told"), JOINS, ids=[join for join, _ in JOINS])
def test_a_join_that_cannot_be_made_is_told(join: str, told: str, folder: Path) -> None:  # noqa: F811
    """Tables, columns and types are looked at when the file is loaded."""
    entry = f"  - id: s\n    table: order_items\n    joins: [{join}]\n    reads_past: [orders]\n"
    fields = "    fields: [{id: id, type: number}, {id: region, table: orders, type: string}]\n"
    found = problems(folder, HEAD + entry + fields)
    assert any(told in each for each in found), found


# --- what a good one means -----------------------------------------------------------------------------------------------------------------

ORDERS = Relation("public", "orders", "table", {name: Column(name, "", "") for name in ("id", "Region", "tenant_id")})
SECRET = Relation("public", "secret", "table", {"id": Column("id", "", ""), "hidden": Column("hidden", "", "", readable=False)})


def _written(sql: str, dialect: str = "postgres") -> Source:
    parsed = admit_source(sql, dialect, FunctionRules())
    return write_source(parsed, {(None, "orders"): ORDERS, ("public", "orders"): ORDERS, (None, "secret"): SECRET})


TEXTS = [
    ("SELECT * FROM orders", 'SELECT "orders"."id", "orders"."Region", "orders"."tenant_id" FROM "public"."orders" AS orders'),
    ("SELECT id /* note */ FROM public.orders -- more", 'SELECT id FROM "public"."orders" AS orders'),
    ('SELECT o."Region" AS r FROM ORDERS o', 'SELECT o."Region" AS r FROM "public"."orders" AS o'),
    ("SELECT * FROM secret", 'SELECT "secret"."id" FROM "public"."secret" AS secret'),
    ("WITH orders AS (SELECT * FROM orders) SELECT * FROM orders", None),
    ("WITH t(x) AS (SELECT id FROM orders) SELECT x AS id FROM t", None),
    ("SELECT * FROM orders AS a JOIN (SELECT id AS i FROM orders) AS b ON a.id = b.i", None),
]


@pytest.mark.parametrize(("sql", "text"), TEXTS, ids=[sql for sql, _ in TEXTS])
def test_tables_are_qualified_and_stars_written_out(sql: str, text: str | None) -> None:
    """So that neither a search path nor a column added later changes what it means."""
    source = _written(sql)
    assert "*" not in source.text
    assert source.tables <= {("public", "orders"), ("public", "secret")}
    if text is not None:
        assert source.text == text


def test_ctes_of_a_select_are_renamed_with_the_number_of_the_guard() -> None:
    """A CTE that hides a table of its own name reads that table, as PostgreSQL has it."""
    source = _written("WITH orders AS (SELECT id FROM orders) SELECT id FROM orders")
    assert source.text == 'WITH "__g\x02_1" AS (SELECT id FROM "public"."orders" AS orders) SELECT id FROM "__g\x02_1" AS orders'
    assert (source.ctes, source.tables) == (1, {("public", "orders")})
    with pytest.raises(SourceRefused):  # there it is its own circle
        _written("WITH orders AS (SELECT id FROM orders) SELECT id FROM orders", "sqlite")


def test_a_column_of_a_select_is_stored_as_the_table_s_or_as_the_file_says(folder: Path) -> None:  # noqa: F811
    """As in a view: SQLite knows nothing about an expression."""
    sql = "SELECT id, region, amount, amount + 1 AS more, CAST(day AS TEXT) AS d, COUNT(*) OVER () AS n FROM orders"
    fields = (
        "fields: [{id: id, type: number}, {id: region, type: string}, {id: amount, type: number}, {id: more, type: number}, {id: d, type: date}, "
        "{id: n, type: number}]"
    )
    (folder / "datasets.yaml").write_text(_sql(sql, fields=fields))
    dataset = load(folder / "datasets.yaml").catalogs["default"].datasets["s"]
    assert [each.storage for each in dataset.fields] == [
        *(Storage.INTEGER, Storage.TEXT, Storage.DECIMAL, Storage.DECIMAL),
        *(Storage.TEXT_DATE, Storage.DECIMAL),
    ]
    assert (dataset.relation, dataset.tables) == ("source", {("main", "orders")})


@pytest.mark.postgres
def test_postgres_describes_the_columns_of_a_select(fresh_postgres: servers.Database, tmp_path: Path) -> None:
    """Types by their names, collations where they are known; mixed ones are refused, and so is what the database refuses."""
    with psycopg.connect(libpq(fresh_postgres.owner_url)) as connection:
        connection.execute(
            'CREATE TABLE t (id bigint, r real, name text, c text COLLATE "C", u uuid, v varchar(5), p char(4), at timestamptz, code text COLLATE "POSIX")'
        )
    sql = "SELECT id, id + 1.5 AS more, name, c, UPPER(c) AS up, u, v, p, at, 'x%' AS const, COUNT(*) OVER () AS n FROM t"
    wanted = {"id": "number", "more": "number", "name": "string", "c": "string", "up": "string", "u": "string", "v": "string", "p": "string"}
    wanted |= {"at": "date_time", "const": "string", "n": "number"}

    def configured(sql: str, fields: dict[str, str]) -> Path:
        entry = {"id": "s", "sql": sql, "fields": [{"id": name, "type": kind} for name, kind in fields.items()]}
        return configuration_file(tmp_path, fresh_postgres.reader_url, {"version": 1, "datasets": [entry]})

    dataset: Dataset = load(configured(sql, wanted)).catalogs["default"].datasets["s"]
    found = {each.id: (each.storage.value, each.bytewise, each.collation) for each in dataset.fields}
    assert found == {
        "id": ("integer", False, ""),
        "more": ("decimal", False, ""),
        "name": ("text", True, ""),
        "c": ("text", True, "pg_catalog.C"),
        "up": ("text", True, "pg_catalog.C"),
        "u": ("uuid", False, ""),
        "v": ("text", True, ""),
        "p": ("text", False, ""),
        "at": ("timestamptz", False, ""),
        "const": ("text", True, ""),
        "n": ("integer", False, ""),
    }
    for wrong, field, told in (
        ("SELECT c || code AS both FROM t", "both", "made of texts of two collations"),
        ("SELECT name + 1 AS x FROM t", "x", "is refused by the database (UndefinedFunction)"),
        ("SELECT r AS x FROM t", "x", "is a column of type `real`"),
        ("SELECT relname AS x FROM pg_class", "x", "reads `pg_class`, which is no table or view of the database"),
        ("SELECT relname AS x FROM pg_catalog.pg_class", "x", "reads a system table"),
        ("SELECT table_name AS x FROM information_schema.tables", "x", "reads a system table"),
    ):
        with pytest.raises(Misconfigured) as refused:
            load(configured(wrong, {field: "number" if field == "x" else "string"}))
        assert told in str(refused.value)


# --- the walls behind ----------------------------------------------------------------------------------------------------------------------


def _gate(tmp_path: Path, url: str, *datasets: dict[str, Any]) -> Gate:
    return Gate.from_yaml(configuration_file(tmp_path, url, {"version": 1, "datasets": list(datasets)}))


NUMBERS = "CREATE TABLE n (id INTEGER PRIMARY KEY, tenant INT, x INT); INSERT INTO n VALUES (1, 1, 5), (2, 2, 0); CREATE TABLE other (id INT);"
RATIO = {
    "id": "ratio",
    "sql": "SELECT id, tenant, json_extract('{', '$') AS bad FROM n WHERE x = 0 UNION ALL SELECT id, tenant, x FROM n WHERE x > 0",
    "fields": [{"id": "id", "type": "number"}, {"id": "tenant", "type": "number"}],
}


def test_a_guard_is_fenced_wherever_a_select_or_a_view_is_read(tmp_path: Path, sqlite_url: Callable[..., str]) -> None:
    """Also where only its parent is one: which of the child's rows are asked for must not decide whether the parent's expressions fail."""
    url = sqlite_url(NUMBERS + "CREATE VIEW v AS SELECT id, tenant FROM n;")
    parent = {"id": "s", "sql": "SELECT id, tenant FROM n", "fields": [{"id": "id", "type": "number"}, {"id": "tenant", "type": "number"}]}
    view = {"id": "v", "table": "v", "fields": parent["fields"]}
    child = {"id": "c", "table": "other", "fields": [{"id": "id", "type": "number"}], "secure_filters": [{"through": "s", "on": {"id": "id"}}]}
    other = {**child, "id": "d", "same_table_as": "c", "secure_filters": [{"through": "v", "on": {"id": "id"}}]}
    gate = _gate(tmp_path, url, parent, view, child, other)
    one = [[{"field": "tenant", "op": "=", "value": 1}]]
    access = gate.verify(token(Bearer(("s", "v", "c", "d"), {"s": one, "v": one})))
    for name in ("s", "v", "c", "d"):
        assert " AS MATERIALIZED (" in access.secure(f"SELECT id FROM {name} WHERE id = 1").sql
    gate.close()


def test_sqlite_lets_a_source_read_its_own_tables_and_no_other(tmp_path: Path, sqlite_url: Callable[..., str]) -> None:
    """The authorizer hears of every read with the name of the guard, or of the source's own CTE; a text that was changed behind the witness is denied."""
    url = sqlite_url(NUMBERS)
    sql = "WITH w AS (SELECT id, tenant FROM n) SELECT w.id, w.tenant, (SELECT COUNT(*) FROM n) AS c FROM w"
    gate = _gate(tmp_path, url, {"id": "s", "sql": sql, "fields": [{"id": "id", "type": "number"}, {"id": "tenant", "type": "number"}]})
    access = gate.verify(token(Bearer(("s",), {"s": [[{"field": "tenant", "op": "=", "value": 1}]]})))
    secured = access.secure("SELECT id FROM s")
    assert secured.reads == {"__g1": {("main", "n")}, "__g1_1": {("main", "n")}}
    assert access.execute("SELECT id FROM s").rows == [(1,)]
    database = Database(url, dialect="sqlite", limits=gate.catalogs["default"].limits)
    for old, new in (('FROM "main"."n" AS n)', 'FROM "main"."other" AS n)'), ('"__g1_1" AS w', '"main"."n" AS w, "main"."other"'), ('"__g1_1"', '"__g9"')):
        pieces = (secured.pieces[0].replace(old, new), *secured.pieces[1:])
        assert pieces != secured.pieces
        values = {name: getattr(secured, name) for name in SecuredQuery.__slots__ if name not in ("pieces", "_ticket")}
        forged = SecuredQuery._sealed(_SEAL, **values, pieces=pieces)
        with pytest.raises(OurBug):
            database.execute(forged)
    database.close()
    gate.close()


def test_a_select_that_fails_is_told_without_its_text(tmp_path: Path, sqlite_url: Callable[..., str]) -> None:
    """What the operator wrote may fail on a row of anybody's; then nobody gets words of it, and nothing of the query decides."""
    gate = _gate(tmp_path, sqlite_url(NUMBERS), RATIO)
    signed = token(Bearer(("ratio",), {"ratio": [[{"field": "tenant", "op": "=", "value": 1}]]}))
    for sql in ("SELECT COUNT(*) AS n FROM ratio WHERE id = 1", "SELECT id FROM ratio"):
        outcome = outcome_of(gate, signed, sql)
        assert outcome.code in {None, "query_failed"}
        assert "json" not in repr(outcome.refusal)
    gate.close()


def test_a_column_added_later_is_not_handed_on(tmp_path: Path, sqlite_url: Callable[..., str]) -> None:
    """`*` means what it meant when the file was loaded."""
    url = sqlite_url(NUMBERS)
    gate = _gate(tmp_path, url, {"id": "s", "sql": "SELECT * FROM n", "fields": [{"id": "id", "type": "number"}, {"id": "tenant", "type": "number"}]})
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.execute("ALTER TABLE n ADD COLUMN secret TEXT")
    access = gate.verify(token(Bearer(("s",), {"s": [[{"field": "tenant", "op": "=", "value": 1}]]})))
    assert "secret" not in access.secure("SELECT * FROM s").sql
    assert access.execute("SELECT * FROM s").columns == ("id", "tenant")
    gate.close()


def test_a_joined_text_is_equal_by_its_bytes(tmp_path: Path, sqlite_url: Callable[..., str]) -> None:
    """A column that folds case would give a row to another tenant's partner."""
    script = """
        CREATE TABLE item (id INT, code TEXT COLLATE NOCASE);
        CREATE TABLE owner (code TEXT COLLATE NOCASE, tenant INT);
        INSERT INTO item VALUES (1, 'a'), (2, 'A');
        INSERT INTO owner VALUES ('a', 1), ('A', 2);
    """
    joined = {
        "id": "s",
        "table": "item",
        "joins": [{"type": "inner", "table": "owner", "on": {"code": "code"}}],
        "fields": [{"id": "id", "type": "number"}, {"id": "tenant", "table": "owner", "type": "number"}],
    }
    gate = _gate(tmp_path, sqlite_url(script), joined)
    access = gate.verify(token(Bearer(("s",), {"s": [[{"field": "tenant", "op": "=", "value": 1}]]})))
    assert access.execute("SELECT id FROM s").rows == [(1,)]
    gate.close()


@pytest.mark.postgres
def test_postgres_joins_texts_of_two_collations_by_their_bytes(fresh_postgres: servers.Database, tmp_path: Path) -> None:
    """Which would be an error if each went by its own."""
    with psycopg.connect(libpq(fresh_postgres.owner_url)) as connection:
        connection.execute('CREATE TABLE item (id int, code text COLLATE "C"); CREATE TABLE owner (code text COLLATE "POSIX", tenant int, k char(3))')
        connection.execute("INSERT INTO item VALUES (1, 'a'), (2, 'A'); INSERT INTO owner VALUES ('a', 1, 'a'), ('A', 2, 'A')")
    joins = [{"type": "inner", "table": "owner", "on": {"code": "code"}}, {"type": "left", "table": "owner", "as": "o", "on": {"code": "k"}}]
    fields = [
        {"id": "id", "type": "number"},
        {"id": "tenant", "table": "owner", "type": "number"},
        {"id": "other", "table": "o", "column": "k", "type": "string"},
    ]
    gate = _gate(tmp_path, fresh_postgres.reader_url, {"id": "s", "table": "item", "joins": joins, "fields": fields})
    access = gate.verify(token(Bearer(("s",), {"s": [[{"field": "tenant", "op": "=", "value": 1}]]})))
    assert access.execute("SELECT id, other FROM s").rows == [(1, "a  ")]
    gate.close()


def test_the_role_is_judged_by_every_table_that_a_source_reads() -> None:
    """What `check_role` is told are the physical tables, not the dataset."""
    source = _written("WITH w AS (SELECT id FROM orders) SELECT w.id FROM w JOIN secret AS s ON s.id = w.id")
    dataset = Dataset("s", "s", "s", "", "", "source", public=False, fields=(), source=source)
    assert dataset.tables == {("public", "orders"), ("public", "secret")}
