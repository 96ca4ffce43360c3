"""What is DuckDB's own: a file with nothing else in reach, a fence that its optimizer keeps, and its word on what a text reads."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import create_engine, make_url

from policies import policy, secured
from rowseal import sql
from rowseal.catalog import FieldType, Limits, Storage
from rowseal.catalog.connections import database_url
from rowseal.catalog.duckdb_file import opened
from rowseal.catalog.reflection import Unfitting, describe, reflect, store
from rowseal.catalog.survey import survey
from rowseal.catalog.text import Findings
from rowseal.engine import Database, Stop, seal
from rowseal.errors import BudgetExceeded, Cancelled, EngineFailed, OurBug, QueryRefused, Refused, TimedOut
from rowseal.http.rewrite import Rewrite
from rowseal.sql import GuardedRead, Reads, SecuredQuery
from rowseal.sql.dialects import DIALECTS

ORDERS: Reads = {"__g1": frozenset({("main", "orders")})}
GUARD = 'WITH "__g1" AS NOT MATERIALIZED (SELECT b."id" AS "id", b."note" AS "note" FROM "main"."orders" AS b WHERE b."tenant" = 1)'
SCRIPT = """
CREATE TABLE orders (id BIGINT PRIMARY KEY, tenant INTEGER, note VARCHAR);
INSERT INTO orders VALUES (1, 1, '5'), (2, 2, 'TOPSECRET'), (3, 1, '7');
CREATE TABLE secrets (id INTEGER);
CREATE VIEW late AS SELECT id, tenant, note FROM orders WHERE id > 1;
CREATE VIEW leaking AS SELECT id, 1 AS tenant, '' AS note FROM secrets;
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return made(tmp_path / "data.duckdb", SCRIPT)


def made(path: Path, script: str) -> Path:
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute(script)
    return path


@pytest.fixture
def open_(file: Path) -> Iterator[Callable[..., Database]]:
    databases: list[Database] = []

    def new(**limits: Any) -> Database:
        databases.append(Database(f"duckdb:///{file}", dialect="duckdb", limits=Limits(**limits)))
        return databases[-1]

    yield new
    for each in databases:
        each.close()


def forge(*parts: str, params: dict[str, Any] | None = None, reads: Reads = ORDERS, guards: tuple[GuardedRead, ...] = ()) -> SecuredQuery:
    """A SecuredQuery that nobody secured: `parts` alternate text and the name of a bind."""
    names = {"dialect": "duckdb", "connection": "default", "datasets": (), "guards": guards, "reads": reads, "row_limit": 100}
    return SecuredQuery._sealed(sql._SEAL, pieces=parts[::2], names=parts[1::2], params=params or {}, **names)


# --- the database's own word (G3) -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "reads"),
    [
        (f"{GUARD} SELECT COUNT(*) FROM __g1", ORDERS),
        (f"{GUARD} SELECT MAX(id) FROM __g1 WHERE 1 = 2", ORDERS),  # which the optimizer would cut away
        (f"{GUARD}, __u1 AS (SELECT id FROM __g1) SELECT a.id FROM __u1 AS a WHERE id IN (SELECT id FROM __u1)", ORDERS),
        (f"{GUARD.replace('orders', 'late')} SELECT id FROM __g1", {"__g1": frozenset({("main", "late")})}),
        (f"{GUARD.replace('= 1', '= ANY(CAST([1, 2] AS BIGINT[]))')} SELECT id FROM __g1", ORDERS),
        ("SELECT 1 AS one", {}),
        ("WITH RECURSIVE __u1 AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM __u1 WHERE i < 3) SELECT i FROM __u1", {}),
    ],
)
def test_what_guards_read_is_what_the_plan_says(open_: Callable[..., Database], query: str, reads: Reads) -> None:
    assert open_().execute(forge(query, reads=reads)).columns


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM orders",
        "SELECT COUNT(*) FROM orders",  # answered from statistics: no plan that runs names the table
        "SELECT MAX(id) FROM orders WHERE 1 = 2",
        f"{GUARD} SELECT a.id FROM __g1 AS a JOIN orders AS o ON o.id = a.id",
        'WITH "__g1" AS NOT MATERIALIZED (SELECT b."id" AS "id" FROM "main"."secrets" AS b) SELECT id FROM __g1',
        f"{GUARD.replace('orders', 'leaking')} SELECT id FROM __g1",
        f"{GUARD} SELECT id, (SELECT MAX(s.id) FROM secrets AS s) AS x FROM __g1",
        "SELECT table_name FROM duckdb_tables()",
        "SELECT table_name FROM information_schema.tables",
        "SELECT * FROM range(3)",
        "SELECT UNNEST([1, 2])",
        "SELECT * FROM query('SELECT 1 FROM orders')",
        "SELECT * FROM query_table('orders')",
        "SELECT * FROM pragma_storage_info('orders')",
    ],
)
def test_whatever_else_is_read_does_not_run(open_: Callable[..., Database], query: str) -> None:
    with pytest.raises(OurBug):
        open_().execute(forge(query))


# --- the second wall ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO orders VALUES (9, 9, '')",
        "DELETE FROM orders",
        "CREATE TABLE t (i INTEGER)",
        "ATTACH '{folder}/other.duckdb'",
        "COPY orders TO '{folder}/out.csv'",
        "EXPORT DATABASE '{folder}/out'",
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('*')",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET threads = 1",
        "SET enable_external_access = true",
        "SET TimeZone = 'Europe/Berlin'",
        "RESET lock_configuration",
        "SELECT * FROM variable_of_ours",
    ],
)
def test_a_file_is_all_that_can_be_reached(file: Path, tmp_path: Path, statement: str) -> None:
    """The engine's own lock, asked directly: behind the list, the witness and the testimony."""
    variable_of_ours = duckdb.sql("SELECT 1 AS x")
    assert variable_of_ours.fetchall() == [(1,)]
    with closing(opened(str(file))) as handle, pytest.raises(duckdb.Error):
        handle.cursor().execute(statement.format(folder=tmp_path, file=file))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.duckdb"]


def test_settings_are_those_that_were_fixed(file: Path) -> None:
    with closing(opened(str(file))) as first, closing(opened(str(file))) as second:
        for handle in (first, second):
            cursor = handle.cursor()
            cursor.execute("SELECT current_setting('TimeZone'), current_setting('lock_configuration'), current_setting('temp_directory')")
            assert cursor.fetchall() == [("UTC", True, "")]


@pytest.mark.parametrize(
    ("query", "kind", "code"),
    [
        ("SELECT CAST('TOPSECRET' AS INTEGER) AS x", EngineFailed, "query_failed"),
        ("SELECT 9223372036854775807 + CAST(1 AS BIGINT) AS x", EngineFailed, "query_failed"),
        ("SELECT nothing AS x", EngineFailed, "query_failed"),
        ("SELECT REPEAT(REPEAT('TOPSECRET', 100000), 100000) AS x", Refused, None),
    ],
)
def test_the_database_s_words_stay_inside(open_: Callable[..., Database], query: str, kind: type[Refused], code: str | None) -> None:
    with pytest.raises(kind) as refused:
        open_().execute(forge(query, reads={}))
    assert code in {None, refused.value.code}
    assert "TOPSECRET" not in repr(refused.value)
    assert refused.value.__cause__ is None


ENDLESS = "WITH RECURSIVE __u1 AS (SELECT CAST(1 AS HUGEINT) AS i UNION ALL SELECT i + 1 FROM __u1 WHERE i > 0) SELECT COUNT(*) AS n FROM __u1"


def test_a_deadline_ends_what_runs(open_: Callable[..., Database]) -> None:
    database, begun = open_(seconds=0.5), time.monotonic()
    with pytest.raises(TimedOut):
        database.execute(forge(ENDLESS, reads={}))
    assert time.monotonic() - begun < 20
    assert database.execute(forge("SELECT 1 AS x", reads={})).rows == [(1,)]  # and the connection is as good as before


def test_who_goes_away_ends_what_runs(open_: Callable[..., Database]) -> None:
    database, stop = open_(seconds=60), Stop()

    def ask() -> None:
        while not done.wait(0.2):
            stop.ask()

    done = threading.Event()
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        with pytest.raises(Cancelled):
            database.execute(forge(ENDLESS, reads={}), stop)
    finally:
        done.set()
        asking.join()


def test_a_result_is_cut_and_weighed(open_: Callable[..., Database]) -> None:
    counted = "WITH RECURSIVE __u1 AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM __u1 WHERE i < 300) SELECT i FROM __u1"
    assert open_().execute(forge(counted, reads={})).truncated
    with pytest.raises(BudgetExceeded):
        open_(result_bytes=1000).execute(forge("SELECT REPEAT('x', 2000) AS x", reads={}))


def test_values_keep_their_types(open_: Callable[..., Database]) -> None:
    columns = (
        "SELECT CAST(170141183460469231731687303715884105727 AS HUGEINT), CAST('1.10' AS DECIMAL(5, 2)), 0.5::DOUBLE, 'å', TRUE, NULL, DATE '2026-01-31', "
        "TIMESTAMP '2026-01-31 12:00:00', CAST('2026-01-31 12:00:00+01' AS TIMESTAMPTZ)"
    )
    result = open_().execute(forge(columns, reads={}))
    row = result.rows[0]
    assert row[:8] == (2**127 - 1, Decimal("1.10"), 0.5, "å", True, None, date(2026, 1, 31), datetime(2026, 1, 31, 12))  # noqa: DTZ001
    assert row[8] == datetime(2026, 1, 31, 11, tzinfo=UTC)
    assert result.types == (*["number"] * 3, "string", "boolean", "string", "date", "date_time", "date_time")


# --- the fence ------------------------------------------------------------------------------------------------------------------------------


def steps(connection: Any, query: str) -> list[str]:
    """What the plan that runs is made of, from the top."""
    found: list[str] = []

    def note(step: Any) -> None:
        found.append(step["name"])
        for below in step["children"]:
            note(below)

    for step in json.loads(dict(connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchall())["physical_plan"]):
        note(step)
    return found


FILTERS = ("b.tenant = 1", "b.tenant = ANY([1])", "STRPOS(b.note, 'x') = 0", "(b.tenant = 1 OR b.id = 3)", "STARTS_WITH(b.note COLLATE C, '5')")
FAILING = ("CAST(note AS INTEGER) > 0", "10 % (id - 2) > 0", "CASE WHEN id > 0 THEN CAST(note AS INTEGER) END > 0", "note = 5", "note IN (5, 6)")


@pytest.mark.parametrize(("filter_", "failing"), list(product(FILTERS, FAILING)))
def test_no_condition_goes_below_the_fence(file: Path, filter_: str, failing: str) -> None:
    opened_, closed = DIALECTS["duckdb"].fence
    query = f"WITH g AS {opened_}SELECT b.id AS id, b.note AS note FROM orders AS b WHERE {filter_}{closed} SELECT COUNT(*) FROM g WHERE {failing} AND id > 0"
    with closing(duckdb.connect(str(file), read_only=True)) as connection:
        plan = steps(connection, query)
    assert sum("LIMIT" in step for step in plan) == 1
    assert "FILTER" in plan[: next(index for index, step in enumerate(plan) if "LIMIT" in step)]


def test_a_materialized_table_expression_is_no_fence(file: Path) -> None:
    """Why OFFSET is: the optimizer writes the condition a second time, below the MATERIALIZED."""
    query = "WITH g AS MATERIALIZED (SELECT b.id, b.note FROM orders AS b WHERE b.tenant = 1) SELECT COUNT(*) FROM g WHERE CAST(note AS INTEGER) > 0"
    with closing(duckdb.connect(str(file), read_only=True)) as connection:
        assert steps(connection, query).count("FILTER") == 2


@pytest.mark.parametrize("failing", FAILING)
def test_a_forbidden_row_is_met_by_nothing_that_fails(tmp_path: Path, failing: str) -> None:
    """A hundred thousand rows, in an order that lets DuckDB find out that the bearer's condition is the cheaper one; two in a hundred are permitted."""
    path = made(
        tmp_path / "many.duckdb",
        "CREATE TABLE orders (id BIGINT, tenant INTEGER, note VARCHAR);"
        "INSERT INTO orders SELECT i, i % 50, CASE WHEN i % 50 = 1 THEN '5' ELSE 'LEAK' END FROM range(100000) AS t(i)",
    )
    opened_, closed = DIALECTS["duckdb"].fence
    guard = "SELECT b.id AS id, b.note AS note FROM orders AS b WHERE b.tenant = 1 AND STRPOS(b.note COLLATE C, 'zz') = 0 AND b.tenant = ANY([1])"
    with closing(duckdb.connect(str(path), read_only=True)) as connection:
        query = f"WITH g AS {opened_}{guard}{closed} SELECT COUNT(*) FROM g WHERE {failing.replace('(id - 2)', '(id - 50)')}"
        assert connection.execute(query).fetchall()[0][0] > 0


@pytest.mark.parametrize(
    ("query", "fenced"),
    [
        ("SELECT id FROM orders WHERE region = 'EU' AND amount > 5 OR NOT amount <= 7", False),
        ("SELECT id FROM orders WHERE region LIKE 'E%' AND price > 1.5", False),
        ("SELECT id FROM orders WHERE amount IN (1, 2) AND id BETWEEN 1 AND 9", False),
        ("SELECT CAST(region AS INTEGER), 10 % amount FROM orders", False),  # the SELECT list is computed after the filter
        ("SELECT id FROM orders WHERE placed_at >= '2026-01-01' AND placed_at < CAST('2026-02-01' AS TIMESTAMP)", False),
        ("SELECT id FROM orders WHERE placed_at >= '2026-02-30'", True),  # no such day: it raises where there is a row, and only there
        ("SELECT id FROM orders WHERE placed_at >= 'today'", True),
        ("SELECT id FROM orders WHERE region = 5", True),  # every region is cast to a number
        ("SELECT id FROM orders WHERE amount = '5'", True),
        ("SELECT id FROM orders WHERE amount = 'x'", True),
        ("SELECT id FROM orders WHERE amount = 0.00000000000000000001", True),
        ("SELECT id FROM orders WHERE amount + 1 > 5", True),
        ("SELECT id FROM orders WHERE amount % 5 = 1", True),
        ("SELECT id FROM orders WHERE CAST('x' AS INTEGER) = 1", True),
        ("SELECT amount * 2 AS a FROM orders WHERE a > 1", True),  # an alias means its expression
        ("SELECT id FROM orders WHERE amount > (SELECT amount FROM orders)", True),
        ("SELECT id FROM orders WHERE amount > (SELECT MAX(amount) FROM orders)", False),
    ],
)
def test_what_may_raise_is_fenced(query: str, fenced: bool) -> None:
    assert ("OFFSET 0)" in secured(query, policy("duckdb")).sql) is fenced


# Columns by storage, each with the values that are hardest to cast.
EXTREMES = {
    Storage.INTEGER: ("UBIGINT", ("0", "18446744073709551615", "NULL")),
    Storage.HUGE: ("HUGEINT", ("-170141183460469231731687303715884105728", "170141183460469231731687303715884105727", "0")),
    Storage.DECIMAL: ("DECIMAL(38, 18)", ("99999999999999999999.999999999999999999", "-99999999999999999999.999999999999999999", "0")),
    Storage.FLOAT: ("DOUBLE", ("'nan'", "'-inf'", "1.7e308", "5e-324")),
    Storage.TEXT: ("VARCHAR", ("''", "'x'", "'🦆'", "NULL")),
    Storage.BOOLEAN: ("BOOLEAN", ("TRUE", "FALSE", "NULL")),
    Storage.DATE: ("DATE", ("'infinity'", "'-infinity'", "'5877642-06-25 (BC)'", "'5881580-07-10'")),
    Storage.TIMESTAMP: ("TIMESTAMP", ("'infinity'", "'-infinity'", "'290309-12-22 (BC) 00:00:00'", "'294247-01-10 04:00:54'")),
    Storage.UUID: ("UUID", ("'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'")),
}
MEETING = [
    *((storage, storage) for storage in EXTREMES),
    *((Storage.INTEGER, Storage.DECIMAL), (Storage.INTEGER, Storage.FLOAT), (Storage.DECIMAL, Storage.FLOAT), (Storage.INTEGER, Storage.HUGE)),
]
CONSTANTS = [
    *((storage, "999999999999999999.999999999") for storage in (Storage.INTEGER, Storage.DECIMAL, Storage.FLOAT)),
    *((storage, "0.000000001") for storage in (Storage.INTEGER, Storage.DECIMAL, Storage.FLOAT)),
    *((storage, "999999999999999999") for storage in (Storage.INTEGER, Storage.DECIMAL, Storage.FLOAT, Storage.HUGE)),
    (Storage.TEXT, "'a'"),
    (Storage.BOOLEAN, "TRUE"),
    (Storage.DATE, "'1000-01-01'"),
    (Storage.TIMESTAMP, "'2999-12-31 23:59:59.999999'"),
    (Storage.TIMESTAMP, "'2026-01-31T10:11:12'"),
]


@pytest.mark.parametrize("sign", ["=", "<", "<>", ">="])
@pytest.mark.parametrize(("left", "right"), MEETING)
def test_storages_that_meet_raise_for_no_value(left: Storage, right: Storage, sign: str) -> None:
    """What the judge lets stand beside a filter, on the values that are hardest to cast."""
    with closing(duckdb.connect()) as connection:
        for name, storage in (("a", left), ("b", right)):
            kind, values = EXTREMES[storage]
            connection.execute(f"CREATE TABLE {name} (x {kind})")
            connection.execute(f"INSERT INTO {name} VALUES {', '.join(f'(CAST({value} AS {kind}))' for value in values)}")
        connection.execute(f"SELECT COUNT(*) FROM a JOIN b ON a.x {sign} b.x").fetchall()
        connection.execute("SELECT x FROM a UNION SELECT x FROM b").fetchall()


@pytest.mark.parametrize(("storage", "constant"), CONSTANTS)
def test_constants_that_convert_raise_for_no_value(storage: Storage, constant: str) -> None:
    kind, values = EXTREMES[storage]
    with closing(duckdb.connect()) as connection:
        connection.execute(f"CREATE TABLE a (x {kind})")
        connection.execute(f"INSERT INTO a VALUES {', '.join(f'(CAST({value} AS {kind}))' for value in values)}")
        for sign in ("=", "<", "<>", ">="):
            connection.execute(f"SELECT COUNT(*) FROM a WHERE x {sign} {constant} OR x IN ({constant}, {constant})").fetchall()


# --- names ----------------------------------------------------------------------------------------------------------------------------------


def test_the_words_that_duckdb_takes_for_no_name_are_known() -> None:
    with closing(duckdb.connect()) as connection:
        asked = connection.execute("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category IN ('reserved', 'type_function')").fetchall()
    assert {word for (word,) in asked} <= DIALECTS["duckdb"].reserved


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELECT ID FROM ORDERS", None),
        ('SELECT "Id" FROM "Orders"', None),
        ("SELECT id FROM main.orders", None),
        ("SELECT :a AS x FROM orders", None),
        ("SELECT v.col0 FROM (VALUES (1)) AS v", None),
        ("SELECT v.column1 FROM (VALUES (1)) AS v", "column_unknown"),
        ("SELECT a FROM (SELECT id AS a, amount AS a FROM orders) AS s", "column_ambiguous"),
        ("SELECT a_1 FROM (SELECT id AS a, amount AS a FROM orders) AS s", "column_unknown"),  # which DuckDB calls the second one
        ("SELECT a_1 FROM (SELECT id AS a, amount AS a, id AS a_1 FROM orders) AS s", "column_ambiguous"),
        ("SELECT o FROM orders AS o", "column_unknown"),  # a whole row
        ("SELECT rowid FROM orders", "column_unknown"),
        ("SELECT id FROM 'orders.csv'", "dataset_unknown"),
        ("SELECT id FROM 'salaries'", "dataset_unknown"),
        ("SELECT id FROM duckdb_tables", "dataset_unknown"),
        ("SELECT id FROM information_schema.tables", "dataset_unknown"),
        ("SELECT * FROM duckdb_tables()", "construct_refused"),
        ("SELECT * FROM read_csv('/etc/passwd')", "construct_refused"),
        ("SELECT * FROM query('SELECT 1')", "construct_refused"),
        ("SELECT region FROM orders GROUP BY ALL", "construct_refused"),
        ("SELECT region FROM orders ORDER BY ALL", "construct_refused"),
        ("SELECT * EXCLUDE (id) FROM orders", "construct_refused"),
        ("SELECT COLUMNS('.*') FROM orders", "function_refused"),
        ("SELECT id FROM orders QUALIFY ROW_NUMBER() OVER (ORDER BY id) = 1", "construct_refused"),
        ("SELECT o.id FROM orders AS o POSITIONAL JOIN customers AS c", "construct_refused"),
        ("SELECT o.id FROM orders AS o ASOF JOIN customers AS c ON o.id >= c.id", "construct_refused"),
        ("SELECT o.id FROM orders AS o SEMI JOIN customers AS c ON o.id = c.id", "construct_refused"),
        ("SELECT [x FOR x IN [1, 2]] AS l FROM orders", "function_refused"),
        ("SELECT LIST_TRANSFORM([1], x -> x + 1) FROM orders", "construct_refused"),
        ("SELECT amount // 2 FROM orders", "construct_refused"),
        ("SELECT getvariable('x') FROM orders", "function_refused"),
        ("SELECT current_setting('threads') FROM orders", "function_refused"),
        ("SELECT id FROM orders WHERE region ~ 'a'", "function_refused"),
        ("SELECT id FROM orders WHERE region SIMILAR TO 'a'", "construct_refused"),
        ("SELECT id FROM orders USING SAMPLE 5", "construct_refused"),
        ("FROM orders SELECT id WHERE amount > 5", None),
        ("SUMMARIZE orders", "sql_not_one_select"),
        ("DESCRIBE orders", "sql_not_one_select"),
        ("PIVOT orders ON region USING SUM(amount)", "sql_not_one_select"),
        ("WITH salaries AS (SELECT id FROM salaries) SELECT id FROM salaries", "dataset_unknown"),
        ("WITH RECURSIVE salaries AS (SELECT id FROM salaries) SELECT id FROM salaries", "dataset_unknown"),
        ("WITH RECURSIVE a AS (SELECT id FROM salaries), salaries AS (SELECT 1 AS id) SELECT id FROM a", "dataset_unknown"),
    ],
)
def test_what_a_text_means_is_known_or_refused(query: str, code: str | None) -> None:
    given = {"a": 1} if ":a" in query else None
    if code is None:
        assert secured(query, policy("duckdb"), given).sql
        return
    with pytest.raises(Refused) as refused:
        secured(query, policy("duckdb"), given)
    assert refused.value.code == code


# --- the catalog ----------------------------------------------------------------------------------------------------------------------------

TYPES = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE t (
    id BIGINT PRIMARY KEY, huge HUGEINT, unsigned UBIGINT, price DECIMAL(38, 18), wide DECIMAL(38, 2), f DOUBLE, r REAL, s VARCHAR,
    folded VARCHAR COLLATE NOCASE, m mood, u UUID, b BOOLEAN, d DATE, t TIMESTAMP, z TIMESTAMP WITH TIME ZONE,
    seconds TIMESTAMP_S, nanos TIMESTAMP_NS, l INTEGER[], st STRUCT(x INTEGER),
    twice BIGINT GENERATED ALWAYS AS (TRY(id * 2)),
    raising BIGINT GENERATED ALWAYS AS (id * 2)
);
CREATE TABLE child (id BIGINT PRIMARY KEY, t BIGINT REFERENCES t (id));
CREATE VIEW v AS SELECT s || folded AS joined, SUM(id) AS total FROM t GROUP BY ALL;
"""


def test_columns_are_known_by_what_they_store(tmp_path: Path) -> None:
    url = make_url(f"duckdb:///{made(tmp_path / 'types.duckdb', TYPES)}")
    relations = reflect(url, "duckdb", [(None, "T"), ("main", "v"), (None, "nothing")]).relations
    columns = relations[None, "T"].columns
    assert (relations[None, "T"].name, relations["main", "v"].kind) == ("t", "view")
    stored = {}
    for (name, column), type_ in product(columns.items(), FieldType):
        with suppress(Unfitting):
            stored[name] = store(column, type_, "duckdb", None)
    assert stored == {
        **dict.fromkeys(("id", "unsigned", "twice"), Storage.INTEGER),
        "huge": Storage.HUGE,
        "price": Storage.DECIMAL,
        "f": Storage.FLOAT,
        **dict.fromkeys(("s", "folded"), Storage.TEXT),
        "m": Storage.ENUM,
        "u": Storage.UUID,
        "b": Storage.BOOLEAN,
        "d": Storage.DATE,
        "t": Storage.TIMESTAMP,
        "z": Storage.TIMESTAMPTZ,
    }
    assert (columns["s"].bytewise, columns["folded"].bytewise, columns["folded"].collation, columns["twice"].computed) == (True, False, "nocase", True)
    assert relations["main", "v"].columns["joined"].collation == "nocase"
    described = describe(url, "duckdb", "SELECT folded AS x, COUNT(*) AS n FROM main.t GROUP BY folded")
    assert {name: (column.kind, column.collation) for name, column in described.items()} == {"x": ("VARCHAR", "nocase"), "n": ("BIGINT", "")}


def test_a_survey_finds_tables_and_keys(tmp_path: Path) -> None:
    url = make_url(f"duckdb:///{made(tmp_path / 'types.duckdb', TYPES)}")
    found = {each.relation.name: each for each in survey(url.set(drivername="duckdb+rowseal"), "duckdb", lambda *_: True, lambda *_: None)}
    assert set(found) == {"t", "child", "v"}
    assert (found["t"].primary, found["child"].primary) == (("id",), ("id",))
    assert [(key.columns, key.table, key.referred) for key in found["child"].foreign] == [(("t",), "t", ("id",))]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("duckdb:///missing.duckdb", "does not exist"),
        ("duckdb:///:memory:", "must name a DuckDB file"),
        ("duckdb://", "must name a DuckDB file"),
        ("duckdb:///md:shop", "must name a DuckDB file"),
        ("duckdb:///data.duckdb?threads=1", "options after `?`"),
    ],
)
def test_a_url_names_a_file(file: Path, written: str, words: str) -> None:
    findings = Findings("f")
    assert database_url(written, file.parent, findings) is None
    assert words in next(iter(findings.problems)).message
    found = database_url("duckdb:///data.duckdb", file.parent, Findings("f"))
    assert found is not None
    assert (found[0].database, found[1]) == (str(file), "duckdb")


# --- what DuckDB gets wrong -----------------------------------------------------------------------------------------------------------------

TWICE = """
CREATE TABLE e (id BIGINT, name VARCHAR, boss BIGINT);
INSERT INTO e VALUES (1, 'a', NULL), (2, 'b', NULL), (4, 'c', NULL), (8, 'x', 1);
"""
ONE = "SELECT s.c1 AS id, s.c2 AS name FROM (SELECT t.id AS c1, u.name AS c2 FROM e AS t LEFT JOIN e AS u ON t.boss = u.id) AS s WHERE s.c2 IS NULL"


def test_two_guards_that_are_alike_keep_their_columns(tmp_path: Path) -> None:
    """DuckDB 2.0 computes such a pair once and then hands out one column for another, unless it is told not to look for them."""
    path = made(tmp_path / "twice.duckdb", TWICE)
    query = f"WITH a AS NOT MATERIALIZED ({ONE}), b AS NOT MATERIALIZED ({ONE}) SELECT a.id FROM a CROSS JOIN b LIMIT 100"
    with closing(opened(str(path))) as handle:
        cursor = handle.cursor()
        cursor.execute(query)
        assert sorted(cursor.fetchall()) == [(each,) for each in (1, 2, 4) for _ in range(3)]
        cursor.execute("SELECT current_setting('disabled_optimizers')")
        (off,) = cursor.fetchall()[0]
    assert set(off.split(",")) == {
        "common_subplan",
        "statistics_propagation",
        "partial_aggregate_pushdown",
        "projection_placement",
        "scalar_fn_pushdown",
        "type_pushdown",
    }


@pytest.mark.parametrize("greatest", [3, 7])
def test_no_answer_depends_on_the_greatest_value_of_all_rows(tmp_path: Path, greatest: int) -> None:
    """DuckDB 2.0 finds out that no row has the id 5, takes the whole outer join for empty, and so tells the range of rows that nobody may see."""
    script = f"CREATE TABLE t (id BIGINT, tenant INTEGER); INSERT INTO t VALUES (1, 1), (2, 1), ({greatest}, 2)"
    guard = 'AS NOT MATERIALIZED (SELECT b."id" AS "id" FROM "main"."t" AS b WHERE b."tenant" = 1)'
    query = f'WITH "__g1" {guard}, "__g2" {guard} SELECT 1 WHERE EXISTS (SELECT 1 FROM "__g1" AS a RIGHT JOIN "__g2" AS b ON a.id = 5)'
    with closing(opened(str(made(tmp_path / "range.duckdb", script)))) as handle:
        cursor = handle.cursor()
        cursor.execute(query)
        assert cursor.fetchall() == [(1,)]


def test_an_engine_of_one_s_own_is_not_sealed(file: Path) -> None:
    with pytest.raises(ValueError, match="cannot be sealed"):
        seal(create_engine(f"duckdb+rowseal:///{file}"))


def test_no_engine_behind_rowseal_gets_a_query_for_it() -> None:
    """Its answers depend on settings of the instance that nobody can see from the text."""
    rewrite = Rewrite(path="/query")
    with pytest.raises(QueryRefused, match="construct_refused"):
        rewrite.body(rewrite.read(b'{"sql": "SELECT 1"}'), forge("SELECT 1"))
