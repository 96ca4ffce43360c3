"""datasets.yaml: what it means, and that whatever is wrong with it is told at once, with line, column, path and cure."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel
from sqlalchemy import make_url

from rowseal.catalog import ClaimFilter, ConfigFilter, FieldType, Guard, Limits, Storage, ThroughFilter
from rowseal.configuration import Configuration, load
from rowseal.errors import Misconfigured
from rowseal.filters import Filter, FlatFilters, Operator

TABLES = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, tenant_id INT, region TEXT, amount NUMERIC, ratio REAL, placed_at TEXT, day DATE, deleted BOOLEAN, raw BLOB);
CREATE TABLE order_items (id INTEGER PRIMARY KEY, order_id INTEGER, code TEXT, ratio REAL);
CREATE VIEW v AS SELECT id, tenant_id + 1 AS n FROM orders;
CREATE VIRTUAL TABLE words USING fts5(word);
"""
GOOD = """\
version: 1
database: sqlite:///shop.db
tokens:
  - profile: vizzly
    keys:
      - {id: a, public_key_file: keys/a.pem}
datasets:
  - id: orders
    table: orders
    fields:
      - {id: order_id, column: id, type: number}
      - {id: tenant, name: Tenant ID, column: tenant_id, type: number}
      - {id: region, type: string}
      - {id: deleted, type: boolean, hidden: true}
  - id: items
    table: order_items
    fields:
      - {id: id, type: number}
      - {id: order_id, type: number}
"""


@cache
def pem(name: str, *, private: bool = False) -> str:
    """One key pair a name and process."""
    key = _key(name)
    if private:
        return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


@cache
def _key(name: str) -> ec.EllipticCurvePrivateKey:
    assert name
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.executescript(TABLES)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "a.pem").write_text(pem("a"))
    (tmp_path / "keys" / "private.pem").write_text(pem("a", private=True))
    (tmp_path / "keys" / "junk.pem").write_bytes(b"\xff\xfe hunter2")
    return tmp_path


def loaded(folder: Path, text: str, **environ: str) -> Configuration:
    path = folder / "datasets.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ=environ)


def problems(folder: Path, text: str, **environ: str) -> list[str]:
    """Each problem as `line:column: path: message`."""
    with pytest.raises(Misconfigured) as refused:
        loaded(folder, text, **environ)
    assert str(refused.value) == "\n".join(map(str, refused.value.problems))
    places = [(each.line, each.column) for each in refused.value.problems]
    assert places == sorted(places)
    return [str(each).removeprefix(f"{folder / 'datasets.yaml'}:") for each in refused.value.problems]


# --- what a good file means ------------------------------------------------------------------------------------------------------------


def test_the_smallest_file_has_safe_defaults(folder: Path) -> None:
    configuration = loaded(folder, GOOD)
    catalog = configuration.catalogs["default"]
    assert (catalog.dialect, catalog.limits, list(catalog.datasets)) == ("sqlite", Limits(), ["orders", "items"])
    assert make_url(catalog.database).database == str(folder / "shop.db")
    orders = catalog.datasets["orders"]
    assert (orders.name, orders.sql_name, orders.schema, orders.table, orders.relation, orders.public) == ("orders", "orders", "main", "orders", "table", False)
    assert [(each.id, each.name, each.sql_name, each.column, each.type, each.storage, each.hidden) for each in orders.fields] == [
        ("order_id", "order_id", "order_id", "id", FieldType.NUMBER, Storage.INTEGER, False),
        ("tenant", "Tenant ID", "tenant", "tenant_id", FieldType.NUMBER, Storage.INTEGER, False),
        ("region", "region", "region", "region", FieldType.STRING, Storage.TEXT, False),
        ("deleted", "deleted", "deleted", "deleted", FieldType.BOOLEAN, Storage.BOOLEAN, True),
    ]
    (rules,) = configuration.token_rules
    assert (rules.profile, rules.max_lifetime, rules.leeway, rules.flat_filters) == ("vizzly", 7200, 30, FlatFilters.ALL)
    assert [(key.facts.id, key.facts.profile, key.facts.development, key.facts.datasets, key.algorithm) for key in rules.keys] == [
        ("a", "vizzly", False, None, "ES256")
    ]
    assert configuration.path == folder / "datasets.yaml"


FULL = """\
version: 1
database: ${DATABASE_URL:-sqlite:///shop.db}
tokens:
  - profile: vizzly
    keys:
      - {id: a, public_key_file: keys/a.pem, datasets: [orders]}
      - id: b
        public_key: ${SECOND_KEY}
        algorithm: ES256
        development: true
      - {id: c, jwks_file: keys/set.json, project_id: prj_2}
    max_lifetime: 90m
    leeway: 0
    flat_filters: any
    issuer: shop
    audience: rows
datasets:
  - id: orders
    sql_name: Sales Orders
    name: Bestellungen ✓
    table: main.ORDERS
    fields:
      - {id: order_id, column: id, type: number, exact: true}
      - {id: tenant, name: Tenant ID, sql_name: t, column: TENANT_ID, type: number}
      - {id: region, type: string}
      - {id: amount, type: number}
      - {id: ratio, type: number}
      - {id: placed_at, type: date_time, timezone: Europe/Berlin, format: "%d.%m.%Y %H:%M"}
      - {id: day, type: date}
      - {id: deleted, type: boolean, hidden: true}
    secure_filters:
      - {field: deleted, op: "=", value: false}
      - {field: region, op: =, value: {claim: parameters.region}}
      - {field: region, op: is_one_of, value: [on, yes, 2026-01-01, 1:30, "${REGION:-EU}", "$${x}"]}
      - {field: amount, op: between, value: [1, 2.50]}
      - {field: day, op: is_not_null}
    guards:
      - {field: Tenant ID, op: ["=", is_one_of], max_values: 20, values_in: [1, 2.0, 3]}
      - {field: region, op: "=", matches: "^[A-Z]{2}$"}
  - {id: items, table: order_items, fields: [{id: id, type: number}, {id: order_id, type: number}],
     secure_filters: [{through: orders, on: {order_id: order_id}}]}
  - {id: again, table: order_items, same_table_as: items, public: true, fields: [{id: id, type: number}]}
  - {id: v, table: v, public: true, fields: [{id: id, type: number}, {id: n, type: number}]}
limits: {rows: 5, seconds: 1.5s, token_bytes: 16384, body_token_bytes: 2MB, sql_bytes: "${SQL:-64kB}", nodes: "3000", result_bytes: 1GiB, concurrent: 1}
functions: {allow: [my_sum], deny: [upper]}
"""


def test_everything_that_a_file_may_say_is_understood(folder: Path) -> None:
    numbers = _key("c").public_key().public_numbers()
    from rowseal.strict import to_base64url

    coordinates = {name: to_base64url(number.to_bytes(32, "big")) for name, number in (("x", numbers.x), ("y", numbers.y))}
    (folder / "keys" / "set.json").write_text(json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "kid": "first", **coordinates}]}))
    configuration = loaded(folder, FULL, SECOND_KEY=pem("b"))
    catalog = configuration.catalogs["default"]
    orders, items, again, view = catalog.datasets.values()
    assert (orders.sql_name, orders.name, orders.schema, orders.table) == ("Sales Orders", "Bestellungen ✓", "main", "orders")
    by_id = {each.id: each for each in orders.fields}
    assert (by_id["tenant"].column, by_id["tenant"].sql_name, by_id["order_id"].exact) == ("tenant_id", "t", True)
    assert [by_id[each].storage for each in ("amount", "ratio", "placed_at", "day")] == [
        Storage.DECIMAL,
        Storage.FLOAT,
        Storage.TEXT_TIMESTAMP,
        Storage.TEXT_DATE,
    ]
    assert (by_id["placed_at"].timezone, by_id["placed_at"].format, by_id["day"].format) == ("Europe/Berlin", "%d.%m.%Y %H:%M", "%Y-%m-%d")
    assert orders.secure_filters[0] == ConfigFilter(Filter("deleted", Operator.EQ, value=False))
    assert orders.secure_filters[1] == ClaimFilter("region", Operator.EQ, "parameters.region")
    assert orders.secure_filters[2] == ConfigFilter(Filter("region", Operator.IS_ONE_OF, ("on", "yes", "2026-01-01", "1:30", "EU", "${x}")))
    assert orders.secure_filters[4] == ConfigFilter(Filter("day", Operator.IS_NOT_NULL, None))
    assert orders.guards == (
        Guard("tenant", frozenset({Operator.EQ, Operator.IS_ONE_OF}), 20, None, frozenset({1, 2, 3})),
        Guard("region", frozenset({Operator.EQ}), None, "^[A-Z]{2}$", None),
    )
    assert items.secure_filters == (ThroughFilter("orders", (("order_id", "order_id"),)),)
    assert (again.public, again.table, view.relation) == (True, "order_items", "view")
    assert catalog.limits == Limits(5, 1.5, 16384, 2_000_000, 64_000, 3000, 2**30, 1)
    assert (catalog.functions.allow, catalog.functions.deny) == ({"my_sum"}, {"upper"})
    plain, project = configuration.token_rules
    assert (plain.max_lifetime, plain.leeway, plain.flat_filters, plain.issuer, plain.audience) == (5400, 0, FlatFilters.ANY, "shop", "rows")
    assert [(key.facts.id, key.facts.development, key.facts.datasets) for key in plain.keys] == [("a", False, {"orders"}), ("b", True, None)]
    # A project that stands with one key holds for that key alone.
    assert (plain.project_id, project.project_id, [(key.facts.id, key.kid) for key in project.keys]) == (None, "prj_2", [("c", "first")])


@pytest.mark.parametrize("written", ["postgres://r@h/d", "postgresql://r@h/d", "postgresql+psycopg://r@h/d"])
def test_a_postgres_url_means_psycopg(folder: Path, written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class AskedError(Exception):
        pass

    def ask(url: Any, dialect: str, _: Any) -> None:
        raise AskedError(url.drivername, dialect)

    monkeypatch.setattr("rowseal.configuration.reflect", ask)
    with pytest.raises(AskedError) as asked:
        loaded(folder, GOOD.replace("sqlite:///shop.db", written))
    assert asked.value.args == ("postgresql+psycopg", "postgres")


# --- what is wrong with a bad one ------------------------------------------------------------------------------------------------------


def test_every_problem_of_the_shape_is_told_at_once(folder: Path) -> None:
    text = dedent("""\
        version: 2
        database: ${NOPE}
        version: 1
        tokens:
          - profile: cube
            keys:
              - {id: a, secret: s3cret}
              - {id: 5}
            max_lifetime: forever
            flat_filters: yes
        datasets:
          - id: orders
            tabel: orders
            sql: SELECT 1
            public: yes
            fields:
              - {id: a, type: strng}
              - {id: 007, type: string, op: on}
            guards: [{field: a, op: []}]
        limits: {rows: -1, result_bytes: 2mb}
        <<: 3
        1: 2
        """)
    assert problems(folder, text) == [
        "1:10: version: must be the number 1, the only version there is",
        "2:11: database: needs the environment variable `NOPE`, which is not set or empty; set it, or write ${NOPE:-default}",
        "3:1: version: stands twice (first in line 1); keep one",
        "5:14: tokens[0].profile: must be one of `vizzly` or `oidc`",
        (
            "7:17: tokens[0].keys[0].secret: is not supported yet; write `secret_env:` with the name of an environment variable, or `secret_file:`, "
            "and `allow_symmetric: true`"
        ),
        "8:14: tokens[0].keys[1].id: must be text, not a number; put it in quotes",
        "9:19: tokens[0].max_lifetime: must be a duration: seconds as a number, or such as `30s`, `15m`, `2h`",
        "10:19: tokens[0].flat_filters: must be one of `all`, `any` or `reject`",
        "13:5: datasets[0].tabel: is no known key; did you mean `table`?",
        "15:13: datasets[0].public: must be true or false, not text",
        "17:23: datasets[0].fields[0].type: must be one of `number`, `string`, `boolean`, `date` or `date_time`",
        "18:14: datasets[0].fields[1].id: is a number with a leading zero; put text in quotes, or drop the zero",
        "18:33: datasets[0].fields[1].op: is no known key; known here: id, type, name, sql_name, table, column, hidden, exact, timezone, format",
        "19:29: datasets[0].guards[0].op: must have at least one entry",
        "20:16: limits.rows: must be a whole number",
        "20:34: limits.result_bytes: must be a size: bytes as a number, or such as `64kB`, `2MB`, `1GiB`",
        "21:1: <<: is no known key; known here: version, database, connections, tokens, datasets, limits, functions, engine, state",
        "22:1: has a key that is not text; put it in quotes",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1:1: is empty"),
        ("[1]", "1:1: must be a mapping, not a list"),
        ("a: 1\n---\nb: 2", "2:1: is not a YAML document"),
        ("a: [1", "is not a YAML document: expected"),
        ("a: &x [*x]", "a[0]: is an alias of something that holds it"),
        ("a: !!python/object/apply:os.system [x]", "a: has a YAML tag"),
        ("a: !!binary aGk=", "a: has a YAML tag"),
        ("? [a]\n: 1", "has a key that is not text"),
        ("a: \x07", "holds a character that YAML does not allow"),
        ("[" * 5000, "nests too deeply"),
        ("a: .inf", "is not a finite number"),
        (f"a: {'9' * 5000}", "is not a finite number"),
        ("a: ${a b}", "has a `${` that begins no variable"),
        ("version: 1.0", "version: must be the number 1, the only version there is"),
        ("version: true", "version: must be the number 1, the only version there is"),
        ("version: '1'", "version: must be the number 1, the only version there is"),
    ],
)
def test_text_that_is_not_one_plain_document_is_refused(folder: Path, text: str, expected: str) -> None:
    assert any(expected in each for each in problems(folder, text)), problems(folder, text)


def test_an_alias_of_a_finished_value_is_fine(folder: Path) -> None:
    text = GOOD.replace("column: id, type: number}", "column: id, type: &n number}").replace("{id: id, type: number}", "{id: id, type: *n}")
    assert loaded(folder, text).catalogs["default"].datasets["items"].fields[0].type is FieldType.NUMBER


def edited(old: str, new: str, *, text: str = GOOD) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


def with_rules(rules: str) -> str:
    """The good file with rules added to `orders`."""
    return edited("  - id: items\n", indent(dedent(rules), "    ") + "\n  - id: items\n")


SHAPED = [
    (edited("version: 1", "version: 1\nconnections: {}"), "connections: must have at least one entry"),
    (edited("version: 1", "version: 1\nconnections: {x: {url: 'sqlite:///shop.db', ural: hunter2}}"), "connections.x.ural: is no known key"),
    (edited("version: 1", "version: 1\nconnections: {x: {}}"), "connections.x.url: is missing; write `url:` here"),
    (edited("version: 1", "version: 1\nconnections: {'': {url: x}}"), "connections.: must not be empty"),
    (edited("{id: a, public_key_file: keys/a.pem}", "{id: a, public_key_file: keys/a.pem, allow_symmetric: true}"), "allow_symmetric: is for a shared secret"),
    (edited("    keys:", "    max_lifetime: 0\n    keys:"), "max_lifetime: must be longer than nothing"),
    (edited("    keys:", "    max_lifetime: null\n    keys:"), "max_lifetime: must be a duration"),
    (edited("    keys:", "    max_lifetime: true\n    keys:"), "max_lifetime: must be a duration"),
    (edited("    keys:", "    leeway: 1h\n    keys:"), "leeway: must be ten minutes at most"),
    (edited("    keys:", "    leeway: -1\n    keys:"), "leeway: must be a duration"),
    (edited("      - {id: a, public_key_file: keys/a.pem}", "      []"), "keys: must have at least one entry"),
    (GOOD[: GOOD.index("datasets:")] + "datasets: []", "datasets: must have at least one entry"),
    (edited("id: items", "id: ''"), "datasets[1].id: must not be empty"),
    (edited("id: items", "id: 'a\\0b'").replace("'a\\0b'", '"a\\0b"'), "must not hold control characters"),
    (edited("id: items", 'id: "a\\u200bb"'), "must not hold control characters or invisible ones"),
    (edited("id: items", "id: ' a'"), "must not begin or end with a blank"),
    (edited("id: items", "id: null"), "datasets[1].id: must be text, not nothing"),
    (edited("hidden: true", "hidden: 1"), "hidden: must be true or false, not a number"),
    (edited("hidden: true", 'hidden: "true"'), "hidden: must be true or false, not text"),
    (GOOD + "limits: {rows: 0}", "limits.rows: must be a whole number between 1"),
    (GOOD + "limits: {rows: 1.5}", "limits.rows: must be a whole number"),
    (GOOD + "limits: {rows: true}", "limits.rows: must be a whole number"),
    (GOOD + "limits: {seconds: 0}", "limits.seconds: must be longer than nothing"),
    (GOOD + "limits: {result_bytes: 0.5}", "limits.result_bytes: must be a whole number of bytes"),
    (GOOD + "limits: {row: 1}", "limits.row: is no known key; did you mean `rows`?"),
    (GOOD + "limits: null", "limits: must be a mapping, not nothing"),
    (GOOD + "functions: {allow: upper}", "functions.allow: must be a list, not text"),
    (with_rules("guards: [{field: tenant}]"), "guards[0].op: is missing"),
    (with_rules("guards: [{field: tenant, op: '=='}]"), "guards[0].op[0]: must be one of `=`"),
    (with_rules("guards: [{field: tenant, op: '=', max_values: 0}]"), "max_values: must be a whole number between 1"),
    (with_rules("guards: [{field: tenant, op: '=', values_in: []}]"), "values_in: must have at least one entry"),
    (with_rules("secure_filter: []"), "secure_filter: is no known key; did you mean `secure_filters`?"),
]
RESOLVED = [
    (edited("id: items", "id: orders"), "datasets[1].id: is the id of an earlier entry too"),
    (edited("id: items", "id: items\n    sql_name: ORDERS"), "datasets[1].sql_name: is the name in SQL of an earlier entry too"),
    (edited("id: items", "id: __Guard"), "begins with two underscores and g, u or ok"),
    (edited("id: items", "id: __okay"), "begins with two underscores and g, u or ok"),
    (edited("id: items", f"id: {'x' * 64}"), "is longer than 63 bytes"),
    (edited("{id: order_id, type: number}", "{id: id, column: order_id, type: number}"), "fields[1].id: is the id of an earlier entry too"),
    (edited("{id: order_id, type: number}", "{id: order_id, type: number, name: id}"), "fields[1].name: is the id or name of another field"),
    (edited("{id: region, type: string}", "{id: region, type: string, name: tenant}"), "fields[2].name: is the id or name of another field"),
    (edited("{id: order_id, type: number}", "{id: order_id, type: number, sql_name: ID}"), "fields[1].sql_name: is the name in SQL of an earlier entry too"),
    (edited("{id: order_id, type: number}", "{id: order_id, type: number, sql_name: __u1}"), "fields[1].sql_name: begins with two underscores"),
    (edited("table: order_items", "table: order_itms"), "datasets[1].table: is no table or view of the database; did you mean `order_items`?"),
    (edited("table: order_items", "table: temp.order_items"), "datasets[1].table: must be a table of the file itself"),
    (edited("table: order_items", "table: a.b.c"), "datasets[1].table: must be `table` or `schema.table`"),
    (edited("table: order_items", "table: .x"), "datasets[1].table: must be `table` or `schema.table`"),
    (edited("table: order_items", "table: SQLITE_schema"), "datasets[1].table: must be a table of the file itself"),
    (edited("table: order_items", "table: words"), "datasets[1].table: is a virtual table"),
    (
        edited("order_items", "Orders", text=edited("{id: order_id, type: number}", "{id: tenant_id, type: number}")),
        "datasets[1].table: is the table of dataset `orders` too",
    ),
    (edited("table: order_items", "table: order_items\n    same_table_as: orders"), "same_table_as: names no earlier dataset of the same table"),
    (
        edited("{id: order_id, type: number}", "{id: orderid, type: number}"),
        "fields[1].column: `orderid` is no column of `order_items`; did you mean `order_id`?",
    ),
    (edited("{id: region, type: string}", "{id: region, type: number}"), "fields[2].type: is declared `number` on a column of type `TEXT`"),
    (edited("{id: region, type: string}", "{id: region, column: tenant_id, type: string}"), "fields[2].type: is declared `string` on a column of type `INT`"),
    (edited("{id: region, type: string}", "{id: region, column: raw, type: string}"), "fields[2].type: is declared `string` on a column of type `BLOB`"),
    (edited("{id: region, type: string}", "{id: region, type: string, exact: true}"), "exact: is for numbers alone"),
    (edited("{id: region, type: string}", "{id: region, type: string, timezone: UTC}"), "timezone: is for fields of `type: date_time` alone"),
    (edited("{id: region, type: string}", "{id: region, type: string, format: '%Y'}"), "format: is for dates stored as text; remove it"),
    (edited("{id: region, type: string}", "{id: p, column: placed_at, type: date_time, timezone: Mars/X}"), "timezone: is no time zone"),
    (edited("{id: region, type: string}", "{id: p, column: placed_at, type: date_time, timezone: ../x}"), "timezone: is no time zone"),
    (edited("{id: region, type: string}", "{id: p, column: placed_at, type: date_time, format: '%Y-%m'}"), "format: is for dates stored as text; write %Y"),
    (
        edited("{id: region, type: string}", "{id: p, column: placed_at, type: date_time, format: '%Y-%m-%d %p'}"),
        "format: is for dates stored as text; write %Y",
    ),
    (edited("{id: region, type: string}", "{id: p, column: placed_at, type: date, format: '%Y-%m-%d %H'}"), "format: is for dates stored as text; write %Y"),
    (
        edited("{id: region, type: string}", "{id: p, column: day, type: date, format: '%Y%m%d'}"),
        "has a format that a column of type `DATE` stores as a number",
    ),
    (with_rules("public: true\nguards: [{field: tenant, op: '='}]"), "guards: contradicts `public: true`"),
    (with_rules("guards: [{field: tennant, op: '='}]"), "guards[0].field: `tennant` is no field of dataset `orders`; did you mean `tenant`?"),
    (with_rules("guards: [{field: tenant, op: ['=', '!=']}]"), "guards[0].op[1]: `!=` does not fit here"),
    (with_rules("guards: [{field: tenant, op: starts_with}]"), "guards[0].op[0]: `starts_with` does not fit here"),
    (with_rules("guards: [{field: region, op: '=', matches: '['}]"), "guards[0].matches: is no regular expression"),
    (with_rules("guards: [{field: tenant, op: '=', values_in: [1, '2']}]"), "guards[0].values_in[1]: does not fit the field"),
    (with_rules("guards: [{field: tenant, op: '=', values_in: [null]}]"), "guards[0].values_in[0]: must be a value"),
    (with_rules("secure_filters: [{field: nope, op: '=', value: 1}]"), "secure_filters[0].field: `nope` is no field"),
    (with_rules("secure_filters: [{field: tenant, op: '=', value: '1'}]"), "secure_filters[0].value: does not fit the field"),
    (with_rules("secure_filters: [{field: tenant, op: '=', value: true}]"), "secure_filters[0].value: does not fit the field"),
    (with_rules("secure_filters: [{field: tenant, op: '=', value: null}]"), "secure_filters[0].value: must be a value"),
    (with_rules("secure_filters: [{field: tenant, op: '='}]"), "secure_filters[0].value: must be a value"),
    (with_rules("secure_filters: [{field: tenant, op: is_one_of, value: []}]"), "secure_filters[0].value: must be a value"),
    (with_rules("secure_filters: [{field: tenant, op: is_one_of, value: 1}]"), "secure_filters[0].value: does not fit the field"),
    (with_rules("secure_filters: [{field: tenant, op: is_null, value: null}]"), "secure_filters[0].value: is not for `is_null`"),
    (with_rules("secure_filters: [{field: tenant, op: starts_with, value: x}]"), "secure_filters[0].op: `starts_with` does not fit here"),
    (with_rules("secure_filters: [{field: tenant, op: array_contains, value: x}]"), "secure_filters[0].op: `array_contains` does not fit here"),
    (with_rules("secure_filters: [{field: tenant, value: 1}]"), "secure_filters[0]: is not a whole filter"),
    (with_rules("secure_filters: [{}]"), "secure_filters[0]: is not a whole filter"),
    (with_rules("secure_filters: [{field: tenant, op: '=', value: {claims: a}}]"), "secure_filters[0].value: must be a value, or {claim: a.dotted.path}"),
    (with_rules("secure_filters: [{field: tenant, op: '=', value: {claim: a..b}}]"), "secure_filters[0].value: must be a value, or {claim: a.dotted.path}"),
    (with_rules("secure_filters: [{field: tenant, op: between, value: {claim: a}}]"), "secure_filters[0].value: cannot be a claim with `between`"),
    (with_rules("secure_filters: [{through: itms, on: {order_id: id}}]"), "through: names no dataset of this file; did you mean `items`?"),
    (with_rules("secure_filters: [{through: items}]"), "secure_filters[0]: needs `on:"),
    (with_rules("secure_filters: [{through: items, on: {}}]"), "secure_filters[0]: needs `on:"),
    (with_rules("secure_filters: [{through: items, on: {oid: id}}]"), "`oid` is no field of dataset `orders`"),
    (with_rules("secure_filters: [{through: items, on: {order_id: nope}}]"), "`nope` is no field of dataset `items`"),
    (with_rules("secure_filters: [{through: items, on: {region: id}}]"), "pairs fields of different or inexact types"),
    (with_rules("secure_filters: [{through: items, on: {order_id: id}, field: tenant}]"), "mixes `through:` with `field:`"),
    (with_rules("secure_filters: [{through: orders, on: {order_id: order_id}}]"), "through: leads back to this dataset itself"),
    (GOOD + "functions: {allow: [Upper]}", "functions.allow[0]: must be in lower case"),
    (GOOD + "functions: {allow: [x], deny: [x]}", "functions.deny[0]: stands under `allow:` too"),
    (edited("sqlite:///shop.db", "sqlite:///none.db"), "database: names a SQLite file that does not exist"),
    (edited("sqlite:///shop.db", "'sqlite://'"), "database: must name a SQLite file as a path"),
    (edited("sqlite:///shop.db", "'sqlite:///:memory:'"), "database: must name a SQLite file as a path"),
    (edited("sqlite:///shop.db", "sqlite:///file:shop.db?uri=true"), "database: must name a SQLite file as a path"),
    (edited("sqlite:///shop.db", "sqlite:///shop.db?hunter2=1"), "database: has options after `?`"),
    (edited("sqlite:///shop.db", "sqlite+aiosqlite:///shop.db"), "database: names a database or driver that is not supported yet"),
    (edited("sqlite:///shop.db", "mysql://root:hunter2@h/d"), "database: names a database or driver that is not supported yet"),
    (edited("sqlite:///shop.db", "postgresql+psycopg2://root:hunter2@h/d"), "database: names a database or driver that is not supported yet"),
    (edited("sqlite:///shop.db", "hunter2"), "database: is no database URL"),
    (edited("sqlite:///shop.db", "postgresql://root:hunter2@h:port/d"), "database: is no database URL"),
    (edited("sqlite:///shop.db", "sqlite:///keys/junk.pem"), "database: could not be read (DatabaseError)"),
    (edited("keys/a.pem", "keys/b.pem"), "public_key_file: names a file that cannot be read (no such file or directory)"),
    (edited("keys/a.pem", "keys"), "public_key_file: names a file that cannot be read (is a directory)"),
    (edited("keys/a.pem", "keys/junk.pem"), "public_key_file: names a file that cannot be read (not UTF-8)"),
    (edited("keys/a.pem", "keys/private.pem"), "tokens[0].keys[0].public_key_file: "),
    (edited("public_key_file: keys/a.pem", "public_key: hunter2"), "tokens[0].keys[0].public_key: "),
    (edited("public_key_file: keys/a.pem", "public_key: x, jwks_file: y"), "keys[0]: must have exactly one of `public_key:`"),
    (edited(", public_key_file: keys/a.pem", ""), "keys[0]: must have exactly one of `public_key:`"),
    (edited("keys/a.pem}", "keys/a.pem}\n      - {id: b, public_key_file: keys/a.pem}"), "keys[1]: holds a key that stands above already"),
    (edited("keys/a.pem}", "keys/a.pem, datasets: [ordrs]}"), "keys[0].datasets[0]: names no dataset of this file; did you mean `orders`?"),
    (edited("keys/a.pem}", "keys/a.pem, algorithm: HS256}"), "tokens[0].keys[0].public_key_file: "),
    (edited("keys/a.pem}", "keys/a.pem, project_id: x}\n    project_id: y"), "keys[0].project_id: contradicts"),
]


@pytest.mark.parametrize(("text", "expected"), SHAPED + RESOLVED, ids=[expected[:70] for _, expected in SHAPED + RESOLVED])
def test_one_mistake_is_one_problem_and_quotes_no_secret(folder: Path, text: str, expected: str) -> None:
    (found,) = problems(folder, text)
    assert expected in found
    assert re.match(r"[0-9]+:[0-9]+: ", found)
    assert "hunter2" not in found


def test_a_problem_points_at_the_value_or_at_what_lacks_it(folder: Path) -> None:
    assert problems(folder, edited("{id: region, type: string}", "{id: region, column: regoin, type: string}"))[0].startswith(
        "13:30: datasets[0].fields[2].column:"
    )
    assert problems(folder, edited("{id: region, type: string}", "{id: regoin, type: string}"))[0].startswith("13:9: datasets[0].fields[2].column:")


def test_circles_of_through_are_found_however_long(folder: Path) -> None:
    text = with_rules("secure_filters: [{through: items, on: {order_id: id}}]") + "    secure_filters: [{through: orders, on: {id: order_id}}]\n"
    assert [each.split(" ", 1)[1] for each in problems(folder, text)] == [
        "datasets[0].secure_filters[0].through: leads back to this dataset itself; break the circle",
        "datasets[1].secure_filters[0].through: leads back to this dataset itself; break the circle",
    ]


def test_mistakes_in_different_datasets_are_told_together_and_cause_no_echo(folder: Path) -> None:
    """A filter on a field whose own declaration is wrong is not reported a second time."""
    text = with_rules("secure_filters: [{field: region, op: '=', value: x}, {field: tenant, op: '=', value: x}]")
    text = edited("{id: region, type: string}", "{id: region, type: date, column: ratio}", text=edited("table: order_items", "table: gone", text=text))
    assert [each.split(": ")[1] for each in problems(folder, text)] == [
        "datasets[0].fields[2].type",
        "datasets[0].secure_filters[1].value",
        "datasets[1].table",
    ]


def test_a_missing_file_is_a_problem_like_any_other(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read: no such file or directory; go to its folder or name its path"):
        load(tmp_path / "none.yaml")


def test_variables_fill_text_and_never_become_another_type(folder: Path) -> None:
    text = edited("hidden: true", 'hidden: "${H}"')
    assert "must be true or false, not text" in problems(folder, text, H="true")[0]
    text = edited("column: tenant_id", 'column: "${C}"')
    assert loaded(folder, text, C="tenant_id").catalogs["default"].datasets["orders"].fields[1].column == "tenant_id"
    assert "`C`" in problems(folder, text, C="")[0]
    injected = edited("sqlite:///shop.db", "${U}")
    assert "database: is no database URL" in problems(folder, injected, U="x\nlimits: {rows: 1}")[0]


def test_no_secret_of_the_configuration_is_printed(folder: Path) -> None:
    configuration = loaded(folder, GOOD)
    assert "shop.db" not in repr(configuration)
    assert "shop.db" in configuration.catalogs["default"].database


def test_an_unreachable_postgres_tells_neither_password_nor_the_drivers_words(folder: Path) -> None:
    (found,) = problems(folder, edited("sqlite:///shop.db", "postgresql://root:hunter2@127.0.0.1:1/d?connect_timeout=1"))
    assert found == "2:11: database: could not be read (OperationalError); check address, credentials and rights"


def test_the_sample_configuration_loads() -> None:
    sample = Path(__file__).parent.parent / "datasets.yaml"
    if not (sample.parent / "sample_engine" / "shop.db").is_file() or not (sample.parent / "sample_engine" / "keys" / "public.pem").is_file():
        pytest.skip("the sample's database or keys are not made yet; `make demo` makes them")
    assert "orders" in load(sample, environ={}).catalogs["default"].datasets


def test_the_reference_names_every_key_that_a_file_may_have() -> None:
    from rowseal.catalog import document

    reference = (Path(__file__).parent.parent / "docs" / "reference" / "datasets-yaml.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+):?`", reference)) | set(re.findall(r"[{ ]([a-z_]+):", reference))
    models = [each for each in vars(document).values() if isinstance(each, type) and issubclass(each, BaseModel) and each is not BaseModel]
    assert len(models) == 18
    assert {each.alias or key for model in models for key, each in model.model_fields.items()} - named == set()


def test_a_table_that_hides_the_function_for_lists_is_noticed_at_start(folder: Path) -> None:
    """Every filter with a list would fail on a SQLite file with a table called json_each."""
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        connection.execute("CREATE VIEW JSON_each AS SELECT 1 AS value")
    assert [problem for problem in problems(folder, GOOD) if "json_each" in problem]
