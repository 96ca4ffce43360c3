"""What may stand in a view or SELECT under a dataset of DuckDB: only what fails on no row, because it is computed before a filter or behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import Connection, make_url

from rowseal.catalog import FieldType
from rowseal.catalog.duckdb_plans import CASTS, FUNCTIONS, SUMS, failing, plan
from rowseal.catalog.reflection import Unfitting, connected, reflect, store
from rowseal.errors import Misconfigured
from rowseal.gate import Gate
from world import configuration_file

TABLES = """
CREATE TABLE orders (id BIGINT, tenant INTEGER, code VARCHAR, amount DECIMAL(12, 2), huge HUGEINT, wide DECIMAL(38, 2), rate DOUBLE, d DATE, placed TIMESTAMP);
INSERT INTO orders VALUES (1, 1, '5', 1, 1, 1, 1, '2026-01-01', '2026-01-01'), (2, 2, 'LEAK', 2, 2, 2, 2, '2026-01-02', '2026-01-02');
CREATE VIEW coded AS SELECT id, tenant, CAST(code AS INTEGER) AS code FROM orders;
CREATE VIEW tried AS SELECT id, tenant, TRY_CAST(code AS INTEGER) AS code FROM orders;
CREATE VIEW above AS SELECT id, tenant FROM coded;
CREATE TABLE computing (id BIGINT, tenant INTEGER, raising BIGINT AS (10 % id), calm BIGINT AS (TRY(10 % id)));
"""


def made(path: Path, script: str = TABLES) -> Path:
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute(script)
    return path


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    path = made(tmp_path_factory.mktemp("plans") / "data.duckdb")
    with connected(make_url(f"duckdb:///{path}"), "duckdb") as connection:
        yield connection


@pytest.mark.parametrize(
    "select",
    [
        "SELECT * FROM orders WHERE tenant = 1 AND code IN ('a', 'b') OR code LIKE 'a%' AND NOT id IS NULL",
        "SELECT id, UPPER(code) || '-' || code AS c, COALESCE(code, ''), NULLIF(code, 'x') FROM orders",
        "SELECT CASE WHEN amount > 5 THEN 'much' ELSE code END AS c, id BETWEEN 1 AND 5 AS b FROM orders",
        "SELECT TRY_CAST(code AS INTEGER) AS c, TRY(amount * id) AS m, TRY(10 % id) AS r FROM orders",
        "SELECT tenant, COUNT(*) AS n, SUM(amount), AVG(id), MAX(placed), STRING_AGG(code, ',') FROM orders GROUP BY tenant HAVING COUNT(*) > 1",
        "SELECT id, ROW_NUMBER() OVER (PARTITION BY tenant ORDER BY id) AS n, LAG(id, 1, 0) OVER (ORDER BY id) AS l FROM orders",
        "SELECT id, SUM(amount) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s FROM orders",
        "SELECT o.id, p.code FROM orders AS o LEFT JOIN orders AS p ON p.id = o.tenant WHERE EXISTS (SELECT 1 FROM orders AS q WHERE q.id = o.id)",
        "SELECT id FROM orders WHERE id NOT IN (SELECT tenant FROM orders) UNION ALL SELECT tenant FROM orders EXCEPT SELECT 5",
        "SELECT id, (SELECT MAX(amount) FROM orders AS p WHERE p.tenant = o.tenant) AS m FROM orders AS o",
        "SELECT id FROM orders WHERE d >= DATE '2026-01-01' AND placed >= CAST(CAST('2026-01-01' AS DATE) AS TIMESTAMP)",
        "SELECT YEAR(d) AS y, CAST(placed AS DATE) AS d, CAST(id AS DOUBLE) / 3 AS t, rate * rate AS q FROM orders",
        "SELECT id FROM (VALUES (1), (2)) AS v(id)",
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT TRY(i + 1) FROM n WHERE i < 5) SELECT i FROM n",
        "SELECT * FROM tried",
        "SELECT id, calm FROM computing",
    ],
)
def test_what_fails_on_no_row_is_taken(select: str, asked: Connection) -> None:
    assert failing(asked, plan(asked, select)) == ""
    asked.exec_driver_sql(select).all()


@pytest.mark.parametrize(
    ("select", "what"),
    [
        ("SELECT CAST(code AS INTEGER) AS c FROM orders", "CAST to INTEGER"),
        ("SELECT id FROM orders WHERE code = 5", "CAST to INTEGER"),
        ("SELECT o.id FROM orders AS o JOIN orders AS p ON o.code = p.id", "CAST to BIGINT"),
        ("SELECT id FROM orders WHERE d = '2026-02-30'", "CAST to DATE"),
        ("SELECT CAST(d AS TIMESTAMP) AS x FROM orders", "CAST to TIMESTAMP"),
        ("SELECT CAST(wide AS DECIMAL(38, 18)) AS x FROM orders", "CAST to DECIMAL"),
        ("SELECT id + 1 AS x FROM orders", "+"),
        ("SELECT amount * amount AS x FROM orders", "*"),
        ("SELECT 10 % id AS x FROM orders", "%"),
        ("SELECT ABS(id) AS x FROM orders", "abs"),
        ("SELECT d + 1 AS x FROM orders", "+"),
        ("SELECT DATE_TRUNC('month', d) AS x FROM orders", "date_trunc"),
        ("SELECT SQRT(rate) AS x FROM orders", "sqrt"),
        ("SELECT SUM(huge) AS x FROM orders", "sum"),
        ("SELECT AVG(wide) AS x FROM orders", "avg"),
        ("SELECT STDDEV(rate) AS x FROM orders", "stddev"),
        ("SELECT NTILE(id) OVER (ORDER BY id) AS x FROM orders", "window_ntile"),
        ("SELECT SUM(amount) OVER (ORDER BY id RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) AS x FROM orders", "sum"),
        ("SELECT id, (SELECT p.code FROM orders AS p WHERE p.tenant = o.tenant) AS x FROM orders AS o", "COMPARISON JOIN"),
        ("SELECT code LIKE 'a!' ESCAPE '!' AS x FROM orders", "like_escape"),
        ("SELECT UNNEST([1, 2]) AS x", "UNNEST"),
        ("SELECT range AS x FROM range(5)", "GET"),
        ("SELECT error(code) AS x FROM orders", "error"),
        ("SELECT * FROM orders USING SAMPLE 10%", "SAMPLE"),
        ("SELECT * FROM coded", "CAST to INTEGER"),
        ("SELECT raising FROM computing", "%"),
    ],
)
def test_what_may_fail_is_named(select: str, what: str, asked: Connection) -> None:
    assert failing(asked, plan(asked, select)) == what


def test_what_duckdb_does_not_plan_is_not_taken(asked: Connection) -> None:
    assert plan(asked, "SELECT * FROM (PIVOT orders ON code USING SUM(amount))") is None
    assert failing(asked, {"type": "LOGICAL_SOMETHING_NEW"}) == "SOMETHING NEW"
    assert failing(asked, {"expression_class": "BOUND_SOMETHING"}) == "something"
    theirs = {"expression_class": "BOUND_FUNCTION", "type": "BOUND_FUNCTION", "qname": {"path": ["data", "main", "upper"]}, "arguments": [{"id": "VARCHAR"}]}
    assert failing(asked, theirs) == "upper"
    assert failing(asked, {**theirs, "qname": {"path": ["system", "main", "upper"]}}) == ""


# Type -> the values that are hardest to cast and to compute with.
HARD = {
    **{
        name: (str(-(2 ** (bits - 1))), str(2 ** (bits - 1) - 1), "0", "NULL")
        for name, bits in (("TINYINT", 8), ("SMALLINT", 16), ("INTEGER", 32), ("BIGINT", 64), ("HUGEINT", 128))
    },
    **{name: ("0", str(2**bits - 1), "NULL") for name, bits in (("UTINYINT", 8), ("USMALLINT", 16), ("UINTEGER", 32), ("UBIGINT", 64))},
    "BOOLEAN": ("TRUE", "FALSE", "NULL"),
    "FLOAT": ("'nan'", "'-inf'", "3.4e38", "1e-45"),
    "DOUBLE": ("'nan'", "'inf'", "'-inf'", "1.7e308", "-1.7e308", "5e-324", "0", "NULL"),
    "DECIMAL": ("99999999999999999999.999999999999999999", "-99999999999999999999.999999999999999999", "0"),
    "VARCHAR": ("''", "'x'", "'%_\\'", "'🦆ß'", "CHR(0)", "REPEAT('y', 10000)", "NULL"),
    "DATE": ("'infinity'", "'-infinity'", "'5877642-06-25 (BC)'", "'5881580-07-10'", "NULL"),
    "TIMESTAMP": ("'infinity'", "'-infinity'", "'290309-12-22 (BC) 00:00:00'", "'294247-01-10 04:00:54'", "NULL"),
    "TIMESTAMP WITH TIME ZONE": ("'infinity'", "'-infinity'", "'290309-12-22 (BC) 00:00:00+00'", "'294247-01-10 04:00:54+00'"),
    "TIME": ("'00:00:00'", "'24:00:00'"),
    "UUID": ("'ffffffff-ffff-ffff-ffff-ffffffffffff'",),
    "ENUM": ("'a'",),
}
WRITTEN = {"DECIMAL": "DECIMAL(38, 18)", "ENUM": "ENUM('a')"}
CALLS = {"||": "v || w", "~~": "v LIKE w", "!~~": "v NOT LIKE w", "~~*": "v ILIKE w", "!~~*": "v NOT ILIKE w"}
CALLS |= {"replace": "REPLACE(v, w, 'é')", "+": "v + w", "-": "v - w", "*": "v * w"}
CALLS |= {"/": "v / w"}
_PAIRS = ("starts_with", "prefix", "suffix", "contains", "strpos", "concat")


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Each type's values, every pair of them a row."""
    script = ""
    for name, values in HARD.items():
        kind = WRITTEN.get(name, name)
        pairs = ", ".join(f"(CAST({v} AS {kind}), CAST({w} AS {kind}))" for v, w in product(values, values))
        script += f'CREATE TABLE "{name}" (v {kind}, w {kind}); INSERT INTO "{name}" VALUES {pairs};'
    with connected(make_url(f"duckdb:///{made(tmp_path_factory.mktemp('hard') / 'hard.duckdb', script)}"), "duckdb") as connection:
        yield connection


@pytest.mark.parametrize(("source", "target"), sorted((source, target) for source, targets in CASTS.items() for target in targets))
def test_no_value_fails_to_be_cast(source: str, target: str, hard: Connection) -> None:
    select = f'SELECT CAST(v AS {target}) AS x FROM "{source}"'
    assert failing(hard, plan(hard, select)) == ""
    hard.exec_driver_sql(f"SELECT COUNT(x), MIN(CAST(x AS VARCHAR)) FROM ({select})").all()


@pytest.mark.parametrize(("name", "type_"), sorted((name, type_) for name, types in FUNCTIONS.items() for type_ in types))
def test_no_value_fails_in_a_function(name: str, type_: str, hard: Connection) -> None:
    call = CALLS.get(name, f"{name}(v, w)" if name in _PAIRS else f"{name}(v)")
    select = f'SELECT {call} AS x FROM "{type_}"'
    assert failing(hard, plan(hard, select)) == ""
    hard.exec_driver_sql(f"SELECT COUNT(x), MIN(CAST(x AS VARCHAR)) FROM ({select})").all()


@pytest.mark.parametrize(("name", "type_"), list(product(sorted(SUMS), ["BIGINT", "UINTEGER", "INTEGER", "DOUBLE"])))
def test_no_column_fails_to_be_summed(name: str, type_: str, hard: Connection) -> None:
    select = f'SELECT {name}(v) AS x FROM "{type_}" CROSS JOIN (SELECT 1 FROM "VARCHAR")'
    assert failing(hard, plan(hard, select)) == ""
    hard.exec_driver_sql(select).all()


# --- the file ------------------------------------------------------------------------------------------------------------------------------


def configured(tmp_path: Path, **dataset: object) -> Gate:
    fields = [{"id": "id", "type": "number"}, {"id": "tenant", "type": "number"}]
    entry = {"id": "x", "fields": fields, **dataset}
    return Gate.from_yaml(configuration_file(tmp_path, f"duckdb:///{made(tmp_path / 'data.duckdb')}", {"version": 1, "datasets": [entry]}))


@pytest.mark.parametrize(
    ("dataset", "place"),
    [
        ({"table": "coded"}, "table: computes what may fail (CAST to INTEGER)"),
        ({"table": "above"}, "table: computes what may fail (CAST to INTEGER)"),
        ({"sql": "SELECT id, tenant, CAST(code AS INTEGER) AS c FROM orders"}, "sql: computes what may fail (CAST to INTEGER)"),
        ({"table": "orders", "joins": [{"table": "coded", "on": {"id": "id"}, "type": "left"}]}, "table: computes what may fail (CAST to INTEGER)"),
        ({"table": "orders", "joins": [{"table": "computing", "on": {"id": "raising"}, "type": "left"}]}, "on.id: computes what may fail (%)"),
        ({"table": "computing", "fields": [{"id": "id", "type": "number"}, {"id": "raising", "type": "number"}]}, "type: computes what may fail (%)"),
    ],
)
def test_a_dataset_that_may_fail_is_refused_at_the_start(dataset: dict[str, object], place: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as refused:
        configured(tmp_path, **dataset)
    told = str(refused.value)
    assert place in told
    assert "write TRY_CAST for a cast, or TRY(...)" in told


@pytest.mark.parametrize(
    "dataset",
    [
        {"table": "tried"},
        {"sql": "SELECT id, tenant, TRY_CAST(code AS INTEGER) AS c, TRY(amount * 2) AS twice FROM orders"},
        {"table": "orders", "joins": [{"table": "tried", "on": {"id": "id"}, "type": "left"}]},
        {"table": "computing", "fields": [{"id": "id", "type": "number"}, {"id": "calm", "type": "number"}]},
    ],
)
def test_a_dataset_that_cannot_fail_is_taken(dataset: dict[str, object], tmp_path: Path) -> None:
    configured(tmp_path, **dataset).close()


def test_a_column_that_may_fail_is_no_field(tmp_path: Path) -> None:
    url = make_url(f"duckdb:///{made(tmp_path / 'data.duckdb')}")
    columns = reflect(url, "duckdb", [(None, "computing")]).relations[None, "computing"].columns
    store(columns["calm"], FieldType.NUMBER, "duckdb", None)
    with pytest.raises(Unfitting, match="may fail"):
        store(columns["raising"], FieldType.NUMBER, "duckdb", None)


@pytest.mark.parametrize("condition", ["b.tenant <> ALL(CAST([2, 3] AS BIGINT[]))", "(b.tenant = ANY(CAST([1, 3] AS BIGINT[])) OR b.id = 1)"])
def test_what_fails_would_speak_of_forbidden_rows(condition: str, asked: Connection) -> None:
    """Why: a filter that is a join stands above the columns of the view, and the fence around both is of no use."""
    guard = f"SELECT b.id, b.code FROM {{}} AS b WHERE {condition} OFFSET 0"
    assert asked.exec_driver_sql(guard.format("tried")).all() == [(1, 5)]
    with pytest.raises(Exception, match="LEAK"):
        asked.exec_driver_sql(guard.format("coded")).all()
