"""MariaDB on a server of the run: exact texts, what raises stays behind the fence, what it says of a statement, and how it is locked."""

from __future__ import annotations

import logging
import random
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import mariadb_server
from databases.mariadb import connect
from rowseal import sql
from rowseal.catalog import Limits
from rowseal.catalog.reflection import Unreachable
from rowseal.catalog.reflection.mariadb import refuse_untested
from rowseal.engine import Database
from rowseal.engine.mariadb import literal
from rowseal.engine.mariadb_testimony import check, tables
from rowseal.errors import EngineFailed, Misconfigured, OurBug, QueryRefused, Refused, TimedOut
from rowseal.gate import Gate
from rowseal.sql import Reads, SecuredQuery
from rowseal.sql.dialects import DIALECTS
from world import Bearer, configuration_file, token

pytestmark = pytest.mark.mariadb

BIGGEST = 2**63 - 1
SCRIPT = (
    (
        "CREATE TABLE orders (id bigint PRIMARY KEY, tenant bigint, region varchar(40) COLLATE utf8mb4_general_ci, amount decimal(12,2), n bigint, x double, "
        "l varchar(20) CHARACTER SET latin1, kind enum('a','B'), paid boolean, placed_at datetime(6), seen_at timestamp NULL, "
        "KEY (tenant), KEY (region), KEY (n))"
    ),
    (
        "INSERT INTO orders VALUES "
        "(1, 1, 'North', 10.5, 5, 1, 'é', 'a', 1, '2026-01-01 10:00:00.000001', '2026-01-01 10:00:00'), "
        "(2, 1, 'south', 20, 6, 2, 'e', 'B', 0, '2026-01-02', '2026-01-02'), "
        f"(3, 2, 'NORTH', 99, {BIGGEST}, 1e308, 'E', 'a', 2, '2026-01-03', NULL), "
        f"(4, 2, 'North ', 1, {-BIGGEST - 1}, 1e308, 'x', 'a', NULL, NULL, NULL), "
        "(5, 2, 'Nörth', 1, 0, 1e308, 'x', 'a', NULL, NULL, NULL)"
    ),
    "CREATE TABLE items (id bigint PRIMARY KEY, order_id bigint, region varchar(40) CHARACTER SET latin1, n bigint, KEY (order_id))",
    f"INSERT INTO items VALUES (1, 1, 'North', 1), (2, 3, 'NORTH', {BIGGEST}), (3, 2, 'south', 2), (4, 4, 'north', {BIGGEST})",
    "CREATE TABLE secrets (id int)",
    "CREATE VIEW late AS SELECT id, tenant FROM orders WHERE id > 1",
)
FIELDS = {
    "orders": {"id": "number", "tenant": "number", "region": "string", "amount": "number", "n": "number", "x": "number", "l": "string", "kind": "string"}
    | {"paid": "boolean", "placed_at": "date_time", "seen_at": "date_time"},
    "items": {"id": "number", "order_id": "number", "region": "string", "n": "number"},
    "late": {"id": "number", "tenant": "number"},
}


@pytest.fixture(scope="module")
def served(mariadb_run_server: mariadb_server.Server) -> Iterator[mariadb_server.Database]:
    database = mariadb_run_server.new_database()
    database.run(*SCRIPT)
    yield database
    database.drop()


def _gate(served: mariadb_server.Database, folder: Path, **more: Any) -> Gate:
    datasets = [{"id": name, "table": name, "fields": [{"id": each, "type": kind} for each, kind in fields.items()]} for name, fields in FIELDS.items()]
    datasets[1]["secure_filters"] = [{"through": "orders", "on": {"order_id": "id"}}]
    return Gate.from_yaml(
        configuration_file(
            folder,
            served.reader_url,
            {"version": 1, "datasets": datasets, "engine": {"experimental": True}, "limits": {"token_bytes": 5_000_000, "seconds": 60}, **more},
        )
    )


@pytest.fixture(scope="module")
def gate(served: mariadb_server.Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    made = _gate(served, tmp_path_factory.mktemp("mariadb"))
    yield made
    made.close()


def _rows(gate: Gate, query: str, *filters: dict[str, Any], params: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    chosen = list(filters) or [{"field": "tenant", "op": "=", "value": 1}]
    own = {"orders": [chosen], "items": [[{"field": "id", "op": ">", "value": 0}]], "late": [[{"field": "tenant", "op": "=", "value": 1}]]}
    return gate.verify(token(Bearer(tuple(FIELDS), own))).execute(query, params).rows


@pytest.mark.parametrize(
    ("field", "op", "value", "ids"),
    [
        ("region", "=", "North", [1]),
        ("region", "=", "north", []),
        ("region", "=", "North ", [4]),
        ("region", "!=", "North", [2, 3, 4, 5]),
        ("region", "is_one_of", ["North", "nörth"], [1]),
        ("region", "is_not_one_of", ["North", "SOUTH"], [2, 3, 4, 5]),
        ("region", "starts_with", "Nor", [1, 4]),
        ("region", "ends_with", "h", [1, 2, 5]),
        ("region", "ends_with", " ", [4]),
        ("region", "contains_substring", "ORT", [3]),
        ("region", "does_not_contain_substring", "orth", [2, 3, 5]),
        ("l", "=", "é", [1]),
        ("l", "=", "e", [2]),
        ("l", "=", "😀", []),
        ("l", "is_one_of", ["é", "😀"], [1]),
        ("kind", "=", "b", []),
        ("kind", "is_one_of", ["B"], [2]),
        ("n", "=", BIGGEST, [3]),
        ("n", ">", 2**63, []),
        ("n", "is_one_of", [5, 2**70], [1]),
        ("n", "=", 5.5, []),
        ("amount", "between", [10.5, 20], [1, 2]),
        ("amount", "is_one_of", [10.5, 99], [1, 3]),
        ("x", "=", 2, [2]),
        ("paid", "=", True, [1]),
        ("paid", "!=", False, [1]),
        ("paid", "is_one_of", [False], [2]),
        ("placed_at", "=", "2026-01-01T10:00:00.000001Z", [1]),
        ("placed_at", ">=", "2026-01-02T01:00:00+01:00", [2, 3]),
        ("seen_at", "=", "2026-01-01T11:00:00+01:00", [1]),
        ("seen_at", "is_null", None, [3, 4, 5]),
    ],
)
def test_filters_are_exact(gate: Gate, field: str, op: str, value: Any, ids: list[int]) -> None:
    """Whatever the column's collation and character set fold: case, accents, trailing blanks; and whatever its type would round."""
    condition = {"field": field, "op": op} | ({} if value is None else {"value": value})
    assert sorted(_rows(gate, "SELECT id FROM orders", condition)) == [(each,) for each in ids]


def test_a_hundred_thousand_values_are_one_list(gate: Gate) -> None:
    """And the one that fits is found among them."""
    many = [f"x{number}" for number in range(99_999)]
    assert _rows(gate, "SELECT id FROM orders", {"field": "region", "op": "is_one_of", "value": [*many, "North"]}) == [(1,)]


def test_an_exact_filter_keeps_the_index(gate: Gate, served: mariadb_server.Database) -> None:
    """The first of the two comparisons is the index's."""
    region = {"field": "region", "op": "=", "value": "North"}
    query = gate.verify(token(Bearer(("orders",), {"orders": [[region]]}))).secure("SELECT id FROM orders")
    text = "".join(part + literal(query.params[name]) for part, name in zip(query.pieces, query.names, strict=False)) + query.pieces[-1]
    with closing(connect(served.owner_url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {text}")
        assert [row[5] for row in cursor.fetchall()] == ["region"]


FALLIBLE = ["n + 1 > 0", "n * 2 > 0", "-n < 0", "ABS(n) > 0", "x * 10 > 0", "EXP(x) > 0", "POW(x, 2) > 0", "x / 0.01 > 0", "(SELECT o.n + 1) > 0"]


@pytest.mark.parametrize("where", FALLIBLE)
@pytest.mark.parametrize("clause", ["WHERE {}", "WHERE id < 100 AND {}", "WHERE id = 3 OR {}", "GROUP BY id, n, x HAVING {}"])
def test_what_raises_on_forbidden_rows_is_fenced(gate: Gate, where: str, clause: str) -> None:
    """G2: every forbidden row overflows, no permitted one does."""
    columns = "id, n, x"
    assert sorted(row[0] for row in _rows(gate, f"SELECT {columns} FROM orders AS o {clause.format(where)}")) == [1, 2]


@pytest.mark.parametrize("query", ["SELECT id FROM items WHERE n + 1 > 0", "SELECT id FROM items ORDER BY n + 1", "SELECT n + 1 FROM items GROUP BY n + 1"])
def test_what_raises_behind_a_parent_is_fenced(gate: Gate, query: str) -> None:
    """Rows of a child that the parent's filter drops overflow."""
    assert len(_rows(gate, query)) == 2


INFALLIBLE = [
    "n / 0",
    "amount + amount",
    "amount * 99999999",
    "amount / n",
    "n % 0",
    "CAST(region AS SIGNED)",
    "CAST(region AS DATE)",
    "CAST(n AS DECIMAL(3, 1))",
]
INFALLIBLE += ["CAST(n AS DECIMAL(3, 1))", "LAST_DAY(l)", "n LIKE region", "n IN (x, amount)"]
INFALLIBLE += ["CAST(x AS SIGNED)", "CONCAT(region, n)", "LEFT(region, n)", "SUBSTRING(region, n)", "LOCATE(region, l)", "SQRT(n)", "LN(n)", "SIGN(n)"]
INFALLIBLE += [
    "DATE_ADD(placed_at, INTERVAL n DAY)",
    "DATE_FORMAT(region, '%Y')",
    "STR_TO_DATE(region, '%Y')",
    "DATEDIFF(region, l)",
    "YEAR(region)",
    "LAST_DAY(l)",
]
INFALLIBLE += ["GREATEST(n, x, region)", "NULLIF(region, n)", "COALESCE(n, region)", "IF(region, n, x)", "REVERSE(region)", "UPPER(l)", "LPAD(region, 3, 'x')"]
INFALLIBLE += [
    "SUBSTRING_INDEX(region, 'o', n)",
    "EXTRACT(YEAR FROM region)",
    "TIMESTAMPDIFF(DAY, region, l)",
    "MAKEDATE(n, n)",
    "ELT(n, region)",
    "n LIKE region",
]
INFALLIBLE += [
    "placed_at + INTERVAL 9 MONTH",
    "REPLACE(region, 'N', 'M')",
    "TRIM(region)",
    "WEEKDAY(l)",
    "FIELD(region, n, x)",
    "STRCMP(region, n)",
    "n IN (x, amount)",
]


@pytest.mark.parametrize("expression", INFALLIBLE)
def test_what_is_called_infallible_raises_on_no_row(expression: str, gate: Gate, served: mariadb_server.Database) -> None:
    """Asked of MariaDB itself, over the values at the ends of every type; and the guard is the one that the planner may take apart."""
    query = gate.verify(token(Bearer(("orders",), {"orders": [[{"field": "tenant", "op": "=", "value": 1}]]}))).secure(
        f"SELECT id FROM orders WHERE ({expression}) IS NULL"
    )
    assert [guard.form for guard in query.guards] == ["plain"]
    with closing(connect(served.owner_url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {expression} FROM orders")
        assert cursor.rowcount == 5


@pytest.mark.parametrize(
    "query",
    [
        'SELECT "id" FROM orders',
        "SELECT 'a' || 'b' AS c",
        "SELECT 1 && 1",
        "SELECT !1",
        "SELECT 'a' 'b' AS c",
        "SELECT /*! 2, */ 1",
        "SELECT /*M!100000 2, */ 1",
        "SELECT /*+ NO_MERGE() */ 1",
        "SELECT @a",
        "SELECT @@version",
        "SELECT @a := 1",
        "SELECT _latin1'x'",
        "SELECT 0x41",
        "SELECT X'41'",
        "SELECT b'1'",
        "SELECT N'x'",
        "SELECT \\N",
        "SELECT region RLIKE 'x' FROM orders",
        "SELECT region REGEXP '(' FROM orders",
        "SELECT region SOUNDS LIKE 'x' FROM orders",
        "SELECT BINARY region FROM orders",
        "SELECT 1 XOR 1",
        "SELECT 5 DIV 2",
        "SELECT id::int FROM orders",
        "SELECT region->'$.a' FROM orders",
        "SELECT CONVERT(region USING latin1) FROM orders",
        "SELECT CAST(region AS CHAR CHARACTER SET latin1) FROM orders",
        "SELECT region COLLATE utf8mb4_bin FROM orders",
        "SELECT id FROM orders INTO OUTFILE '/tmp/x'",
        "SELECT id INTO @a FROM orders",
        "SELECT id FROM orders PROCEDURE ANALYSE()",
        "SELECT id FROM orders FOR UPDATE",
        "SELECT id FROM orders LOCK IN SHARE MODE",
        "SELECT id FROM orders FORCE INDEX (tenant)",
        "SELECT id FROM orders PARTITION (p0)",
        "SELECT id FROM orders FOR SYSTEM_TIME ALL",
        "SELECT STRAIGHT_JOIN id FROM orders",
        "SELECT SQL_CALC_FOUND_ROWS id FROM orders",
        "SELECT HIGH_PRIORITY id FROM orders",
        "SELECT SQL_NO_CACHE id FROM orders",
        "SELECT FOUND_ROWS()",
        "SELECT ROW_COUNT()",
        "SELECT LAST_INSERT_ID()",
        "SELECT SLEEP(1)",
        "SELECT BENCHMARK(1, 1)",
        "SELECT GET_LOCK('a', 1)",
        "SELECT LOAD_FILE('/etc/passwd')",
        "SELECT USER(), DATABASE(), VERSION()",
        "SELECT RAND(), UUID()",
        "SELECT REPEAT('a', 1000000)",
        "SELECT NEXTVAL(s)",
        "SELECT NEXT VALUE FOR s",
        "SELECT tenant FROM orders GROUP BY tenant WITH ROLLUP",
        "SELECT a.id FROM orders AS a FULL JOIN items AS b ON a.id = b.id",
        "SELECT id FROM orders ORDER BY id NULLS LAST",
        "SELECT v.a FROM (VALUES (1)) AS v(a)",
        "SELECT * FROM JSON_TABLE('[1]', '$[*]' COLUMNS(v INT PATH '$')) AS j",
        "SELECT DATE_FORMAT(placed_at, '%v') FROM orders",
        "SELECT DATE_FORMAT(placed_at, region) FROM orders",
        "SELECT INTERVAL(1, 2)",
        "SELECT placed_at + INTERVAL '1:1' MINUTE_SECOND FROM orders",
        "SHOW WARNINGS",
        "HANDLER orders OPEN",
        "SELECT 1; SELECT 2",
        "SELECT table_name FROM information_schema.tables",
        "SELECT id FROM secrets",
        "SELECT id FROM mysql.user",
    ],
)
def test_everything_else_is_refused(gate: Gate, query: str) -> None:
    """What MariaDB's grammar has beside the list."""
    with pytest.raises(Refused) as refused:
        _rows(gate, query)
    assert refused.value.status in (400, 403)


TRICKY = ["it''s", r"a\\b", r"a\'b", r"\\", r"\\\\", r"a\nb", r"a\%b", r"a\_b", r"\x\y", 'a"b', "a`b", "%s %(x)s %%", ":x", "a\tb", "😀é", "-- x", "/* x */"]


@pytest.mark.parametrize("written", TRICKY)
def test_a_literal_means_to_mariadb_what_it_means_to_the_parser(gate: Gate, served: mariadb_server.Database, written: str) -> None:
    """The bearer's text, straight to MariaDB and through rowseal."""
    with closing(connect(served.owner_url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT '{written}' AS a")
        assert _rows(gate, f"SELECT '{written}' AS a") == list(cursor.fetchall())


def test_values_are_literals_that_mean_the_value(served: mariadb_server.Database) -> None:
    """G8: random texts of whatever hurts, and the other types at their ends, come back as they went."""
    source = random.Random(4)
    texts = ["".join(source.choices("'\"\\`%:_;-#/*\n\r\t\x1aé😀 a0\u2028", k=source.randrange(12))) for _ in range(300)]
    moments = [date(1, 1, 1), date(9999, 12, 31), datetime(1, 2, 3, 4, 5, 6, 7), datetime(9999, 12, 31, 23, 59, 59, 999999)]  # noqa: DTZ001
    values = [*texts, *moments, 0, -1, BIGGEST, -(2**63), 1.5, 1e300, 5e-324, Decimal("1.10"), Decimal(10) ** 34, None, True]
    with closing(connect(served.owner_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(map(literal, values)))
        assert list(cursor.fetchone()) == values  # type: ignore[arg-type]
        cursor.execute(f"SELECT {literal(datetime(2026, 1, 1, tzinfo=UTC))}, 'b' IN {literal(['a', 'b'])}")
        assert cursor.fetchone() == (datetime(2026, 1, 1), 1)  # noqa: DTZ001
    with pytest.raises(OurBug):
        literal([])
    with pytest.raises(OurBug):
        literal(object())


def test_parameters_reach_the_database_as_values(gate: Gate) -> None:
    """A parameter that looks like SQL is a text."""
    assert _rows(gate, "SELECT :a AS a FROM orders WHERE region = :r", params={"a": "x' OR \\'1", "r": "North"}) == [("x' OR \\'1",)]


def test_names_of_tables_fold_and_are_written_in_one_spelling(gate: Gate) -> None:
    """Whatever the server's lower_case_table_names: an alias is found under any case."""
    assert _rows(gate, "SELECT O.ID FROM ORDERS AS o WHERE o.Region = 'north'") == [(1,)]
    assert _rows(gate, "WITH Big AS (SELECT id FROM `Orders`) SELECT BIG.id FROM big WHERE id = 2") == [(2,)]


def test_reserved_words_are_those_of_mariadb(served: mariadb_server.Database) -> None:
    """Each word that the database knows, asked as an alias and as a column."""
    with closing(connect(served.owner_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT LOWER(word) FROM information_schema.keywords WHERE word REGEXP '^[A-Za-z_0-9]+$'")
        words = [word for (word,) in cursor.fetchall()]
        refused = set()
        for word in words:
            try:
                cursor.execute(f"SELECT {word}.a, x.{word}, {word} FROM (SELECT 1 AS a) {word}, (SELECT 1 AS {word}) x")
            except Exception:  # noqa: BLE001 -- a word of SQL
                refused.add(word)
    assert refused <= DIALECTS["mariadb"].reserved


# -- testimony

READS: Reads = {"__g1": frozenset({("shop", "orders")})}
GUARD = "`__g1` AS (SELECT b.`id` AS `id` FROM `{0}`.`orders` AS b WHERE b.`tenant` = 1)"


def _forged(text: str, reads: Reads) -> SecuredQuery:
    """A SecuredQuery that nobody secured."""
    values: dict[str, Any] = {"dialect": "mariadb", "pieces": (text,), "names": (), "params": {}, "connection": "default", "datasets": (), "guards": ()}
    return SecuredQuery._sealed(sql._SEAL, **values, reads=reads, row_limit=100, database="", expires_at=2.0**40)


@pytest.mark.parametrize(
    "rest",
    [
        "SELECT id FROM secrets",
        "SELECT id FROM `__g1` UNION SELECT id FROM secrets",
        "SELECT id FROM `__g1` WHERE id IN (SELECT id FROM secrets)",
        "SELECT id FROM `__g1` WHERE 1 = 0 AND EXISTS(SELECT 1 FROM secrets AS b)",
        "SELECT (SELECT MAX(b.id) FROM secrets AS b) AS m FROM `__g1`",
        "SELECT b.id FROM (`__g1` AS a JOIN secrets AS b ON a.id = b.id)",
        "SELECT a.id FROM `__g1` AS a LEFT JOIN (SELECT id FROM secrets) AS p1 ON a.id = p1.id",
        "SELECT EXTRACT(YEAR FROM '2020-01-01') AS y FROM secrets AS b",
        "SELECT a.id FROM `__g1` AS a, secrets AS b",
        "SELECT id FROM mysql.user, `__g1`",
        "SELECT 'from `t`.`x` `y`' AS a FROM secrets",
    ],
)
def test_a_statement_that_reads_more_is_our_bug(served: mariadb_server.Database, rest: str, caplog: pytest.LogCaptureFixture) -> None:
    """The database says so before anything runs (G3)."""
    database = Database(served.owner_url, dialect="mariadb", limits=Limits())
    reads = {"__g1": frozenset({(served.name, "orders")})}
    try:
        with caplog.at_level(logging.CRITICAL):
            assert database.execute(_forged(f"WITH {GUARD.format(served.name)} SELECT id FROM `__g1`", reads)).rows == [(1,), (2,)]
            with pytest.raises(Refused) as refused:
                database.execute(_forged(f"WITH {GUARD.format(served.name)} {rest}", reads))
    finally:
        database.close()
    assert isinstance(refused.value, OurBug | EngineFailed)
    assert isinstance(refused.value, OurBug) or "mysql.user" in rest


def test_what_cannot_be_heard_is_our_bug() -> None:
    """No note, no trace, unbalanced brackets."""
    query = _forged("", READS)
    said = 'x "expanded_query": "select 1 from orders b" x'
    check(query, "select 1 from `shop`.`orders` `b`", said)
    for note, trace in (("select 1", said), ("select 1 from `shop`.`orders` `b`", ""), ("select 1)", said), ("select 1 from `x`.`orders` `b`", said)):
        with pytest.raises(OurBug):
            check(query, note, trace)
    with pytest.raises(OurBug):
        check(query, "select 1 from `shop`.`orders` `b`", said.replace("orders", "secrets"))
    assert list(tables("select trim(' ' from `b`.`a`) from (`t`.`x` `b` join (select 1 from `t`.`y`) `z` on(`b`.`a` = 'from `t`.`n`')) where 1")) == [
        ("t", "x"),
        ("t", "y"),
    ]


def test_a_select_without_a_table_is_no_table(served: mariadb_server.Database) -> None:
    """MariaDB says `from dual` where it reads nothing; a table of that name stands in backticks, and so does one called `with`."""
    assert list(tables("select 1 from dual where 0")) == []
    assert list(tables("select 1 from (with recursive `__u1` as (select 1 from `t`.`x`)select 1 from `__u1`) `b`")) == [("t", "x"), ("", "__u1")]
    assert list(tables("select 1 from `t`.`dual`")) == [("t", "dual")]
    served.run("CREATE TABLE `dual` (id int)", "CREATE TABLE `with` (id int)")
    database = Database(served.owner_url, dialect="mariadb", limits=Limits())
    try:
        for name in ("dual", "with"):
            with pytest.raises(OurBug):
                database.execute(_forged(f"SELECT id FROM `{name}`", {}))
        assert database.execute(_forged("SELECT 1 AS a INTERSECT SELECT 1 LIMIT 5", {})).rows == [(1,)]
    finally:
        database.close()
        served.run("DROP TABLE `dual`", "DROP TABLE `with`")


# -- locks


@pytest.mark.parametrize("text", ["INSERT INTO secrets VALUES (1)", "CREATE TABLE made (a int)", "DELETE FROM secrets", "SELECT 1 INTO OUTFILE '/tmp/x'"])
def test_nothing_is_written(served: mariadb_server.Database, text: str) -> None:
    """The second wall, with the first switched off and the owner's rights: a read-only transaction."""
    database = Database(served.owner_url, dialect="mariadb", limits=Limits())
    try:
        with pytest.raises(Refused):
            database.execute(_forged(text, {}))
    finally:
        database.close()
    with closing(connect(served.owner_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM secrets")
        assert cursor.fetchone() == (0,)


def test_two_statements_are_not_taken(served: mariadb_server.Database) -> None:
    """The protocol's switch for several statements stays off."""
    database = Database(served.owner_url, dialect="mariadb", limits=Limits())
    try:
        with pytest.raises(EngineFailed):
            database.execute(_forged("SELECT 1; SELECT 2", {}))
    finally:
        database.close()


def test_a_view_below_which_the_role_may_not_look_is_read_by_its_guard_alone(served: mariadb_server.Database) -> None:
    """G3: that MariaDB keeps silent about a view excuses the statements that may read one, and no other."""
    served.run("CREATE OR REPLACE VIEW behind AS SELECT id FROM secrets")
    database = Database(served.reader_url, dialect="mariadb", limits=Limits())
    text = f"SELECT id FROM {served.name}.behind"
    try:
        database.execute(_forged(text, {"__g1": frozenset({(served.name, "behind")})}))
        for reads in ({}, {"__g1": frozenset({(served.name, "orders")})}):
            with pytest.raises(OurBug):
                database.execute(_forged(text, reads))
    finally:
        database.close()
        served.run("DROP VIEW behind")


def test_a_query_ends_at_its_deadline(served: mariadb_server.Database) -> None:
    """By the server itself; and the connection is as good as before."""
    database = Database(served.owner_url, dialect="mariadb", limits=Limits(seconds=0.3))
    endless = "WITH RECURSIVE __u1 AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM __u1) SELECT COUNT(*) AS c FROM __u1"
    try:
        with pytest.raises(TimedOut):
            database.execute(_forged(endless, {}))
        assert database.execute(_forged("SELECT 1 AS a", {})).rows == [(1,)]
    finally:
        database.close()


@pytest.mark.parametrize(
    ("grant", "problem"),
    [
        ("GRANT INSERT ON {0}.* TO {1}", "has INSERT"),
        ("GRANT SELECT ON {0}.* TO {1} WITH GRANT OPTION", "may GRANT"),
        ("GRANT ALL PRIVILEGES ON *.* TO {1}", "has ALL PRIVILEGES"),
        ("GRANT FILE ON *.* TO {1}", "has FILE"),
        ("GRANT UPDATE (id) ON {0}.secrets TO {1}", "has UPDATE"),
    ],
)
def test_a_role_that_may_do_more_than_read_is_refused_at_start(served: mariadb_server.Database, grant: str, problem: str) -> None:
    """A database, a table, a column or the server: each right but reading counts."""
    name = f"careless{uuid.uuid4().hex[:8]}"
    role = f"{name}@localhost"
    served.run(f"CREATE OR REPLACE USER {role}", f"GRANT SELECT ON {served.name}.* TO {role}", grant.format(served.name, role))
    database = Database(served.server.url(name, served.name), dialect="mariadb", limits=Limits())
    try:
        with pytest.raises(Misconfigured, match=problem):
            database.check_role([], allow_privileged=False, file="datasets.yaml")
    finally:
        database.close()
        served.run(f"DROP USER {role}")


def test_what_everybody_may_counts_as_the_role_s_own(served: mariadb_server.Database) -> None:
    """On a server of its own, because a right of PUBLIC is every other test's too."""
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        process, described = mariadb_server.start(Path(home))
        try:
            server = mariadb_server.Server(**described)
            own = server.new_database()
            own.run(f"GRANT INSERT ON {own.name}.* TO PUBLIC", "CREATE ROLE writers", f"GRANT writers TO {mariadb_server.READER}@localhost")
            own.run(f"GRANT DELETE ON {own.name}.* TO writers", f"SET DEFAULT ROLE writers FOR {mariadb_server.READER}@localhost")
            database = Database(own.reader_url, dialect="mariadb", limits=Limits())
            try:
                with pytest.raises(Misconfigured) as refused:
                    database.check_role([], allow_privileged=False, file="datasets.yaml")
            finally:
                database.close()
            found = sorted(problem.message.partition(" on ")[0].removeprefix("the database role ") for problem in refused.value.problems)
            assert found == ["has DELETE", "has INSERT"]
        finally:
            mariadb_server.stop(process)


def test_it_is_taken_only_where_the_configuration_says_experimental(served: mariadb_server.Database, tmp_path: Path) -> None:
    """Until every oracle has been asked about it."""
    with pytest.raises(Misconfigured, match="experimental"):
        _gate(served, tmp_path, engine={})


@pytest.mark.parametrize(("version", "tested"), [("10.11.18-MariaDB-0+deb12u1", True), ("11.4.2-MariaDB", True), ("10.6.1-MariaDB", False), ("8.0.36", False)])
def test_only_what_is_tested_is_taken(version: str, tested: bool) -> None:
    """MySQL is no MariaDB, and an older one is another."""
    if tested:
        refuse_untested(version)
    else:
        with pytest.raises(Unreachable):
            refuse_untested(version)


def test_texts_of_two_collations_are_told_without_the_database_s_words(gate: Gate) -> None:
    """Static, so nothing about rows; and the hint helps."""
    with pytest.raises((EngineFailed, QueryRefused)) as refused:
        _rows(gate, "SELECT id FROM orders WHERE l = '😀'")
    assert "latin1" not in repr(refused.value.detail)


def test_what_is_fixed_for_the_session_is_what_the_parser_assumes(served: mariadb_server.Database) -> None:
    """Whatever the server's own sql_mode."""
    database = Database(served.owner_url, dialect="mariadb", limits=Limits())
    served.run("SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'")
    try:
        ((mode, zone),) = database.execute(_forged("SELECT @@sql_mode AS m, @@time_zone AS z", {})).rows
    finally:
        served.run("SET GLOBAL sql_mode = DEFAULT")
        database.close()
    assert "ANSI" not in mode
    assert "BACKSLASH" not in mode
    assert zone == "+00:00"
