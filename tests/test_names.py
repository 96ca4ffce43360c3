"""Names mean what they mean to the database that will run the query; what only the database would understand is refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import psycopg
import pytest

import servers
from databases.postgres import libpq
from policies import policy, secured
from rowseal.errors import AccessRefused, QueryRefused
from rowseal.sql.dialects import DIALECTS

BOTH = ("sqlite", "postgres")


def refusal(sql: str, dialect: str) -> str:
    """The code with which the query is refused, or `accepted`."""
    try:
        secured(sql, policy(dialect))
    except (AccessRefused, QueryRefused) as refused:
        return refused.code
    return "accepted"


# fmt: off
CODES = [
    # dialects, SQL, code
    (BOTH, "SELECT missing FROM orders", "column_unknown"),
    (BOTH, "SELECT id FROM order", "sql_syntax"),
    (BOTH, 'SELECT "order".id FROM orders AS "order"', "accepted"),
    (BOTH, "SELECT o.id FROM orders AS o JOIN products AS group ON group.id = o.id", "sql_syntax"),
    (("sqlite",), "SELECT id AS order FROM orders", "sql_syntax"),
    (("postgres",), "SELECT id AS order FROM orders", "accepted"),
    (("postgres",), "SELECT user FROM orders", "sql_syntax"),  # to the database it is the role
    (("sqlite",), "SELECT user.id FROM orders AS user", "accepted"),
    (BOTH, "SELECT secret FROM orders", "column_unknown"),  # hidden: the same answer as for one that does not exist
    (BOTH, "SELECT tenant_id FROM orders", "column_unknown"),  # the column's name in the table is not its name here
    (BOTH, "SELECT o.missing FROM orders AS o", "column_unknown"),
    (BOTH, "SELECT orders.id FROM orders AS o", "table_alias_unknown"),
    (BOTH, "SELECT x.* FROM orders", "table_alias_unknown"),
    (BOTH, "SELECT id FROM orders, customers", "column_ambiguous"),
    (BOTH, "SELECT o.id FROM orders AS o JOIN customers AS o ON 1 = 1", "construct_refused"),
    (BOTH, "SELECT id FROM orders JOIN customers USING (id)", "accepted"),
    (BOTH, "SELECT id FROM orders JOIN customers USING (amount)", "column_unknown"),
    (BOTH, "SELECT id, tenant FROM orders NATURAL JOIN customers", "accepted"),
    (BOTH, "SELECT amount AS a FROM orders ORDER BY a", "accepted"),
    (("postgres",), "SELECT 1 FROM orders AS o JOIN products AS p ON name = region JOIN customers AS c ON c.id = o.id", "accepted"),  # ON looks back only
    (("sqlite",), "SELECT 1 FROM orders AS o JOIN products AS p ON name = region JOIN customers AS c ON c.id = o.id", "column_ambiguous"),
    (BOTH, "SELECT COUNT(*) AS n, region AS r FROM orders GROUP BY r ORDER BY n", "accepted"),
    (BOTH, "SELECT id FROM orders ORDER BY secret", "column_unknown"),
    (BOTH, "SELECT id FROM orders GROUP BY id HAVING MAX(secret) = 'x'", "column_unknown"),
    (BOTH, "SELECT SUM(amount) OVER (PARTITION BY secret) FROM orders", "column_unknown"),
    (BOTH, "SELECT o.id FROM orders AS o JOIN customers AS c ON o.secret = c.name", "column_unknown"),
    (BOTH, "SELECT (SELECT o.secret) FROM orders AS o", "column_unknown"),
    (BOTH, "SELECT s.secret FROM (SELECT * FROM orders) AS s", "column_unknown"),
    (BOTH, "SELECT s.amount FROM (SELECT * FROM orders) AS s", "accepted"),
    (BOTH, "SELECT id FROM orders UNION SELECT id, name FROM products", "construct_refused"),
    (BOTH, "SELECT id FROM orders UNION SELECT id FROM products ORDER BY amount", "column_unknown"),
    (BOTH, "SELECT *", "construct_refused"),
    (BOTH, "SELECT \"Unit Price\" FROM orders", "accepted"),
    (BOTH, "SELECT unit_price FROM orders", "column_unknown"),
    (BOTH, "SELECT id FROM salaries", "dataset_unknown"),
    (BOTH, "SELECT id FROM nowhere", "dataset_unknown"),
    (BOTH, "SELECT id FROM archive.orders", "dataset_unknown"),
    (BOTH, "SELECT absent FROM salaries", "dataset_unknown"),  # access is judged before columns
    (("sqlite",), "SELECT id FROM main.orders", "accepted"),
    (("postgres",), "SELECT id FROM public.orders", "accepted"),
    (("sqlite",), "SELECT id FROM temp.orders", "dataset_unknown"),
    (("sqlite",), "SELECT ID FROM ORDERS", "accepted"),
    (("sqlite",), "SELECT \"Id\" FROM \"Orders\"", "accepted"),
    (("sqlite",), "SELECT id FROM \u212ainds", "dataset_unknown"),  # KELVIN SIGN is no k
    (("postgres",), "SELECT ID FROM ORDERS", "accepted"),
    (("postgres",), "SELECT id FROM \"Orders\"", "dataset_unknown"),
    (("postgres",), "SELECT \"ID\" FROM orders", "column_unknown"),
    (("sqlite",), "SELECT rowid FROM orders", "column_unknown"),
    (("sqlite",), "SELECT \"a string\" FROM orders", "column_unknown"),  # which SQLite would take for a literal
    (("sqlite",), "SELECT x.y FROM (SELECT id FROM orders) AS x(y)", "construct_refused"),
    (("postgres",), "SELECT x.y FROM (SELECT id FROM orders) AS x(y)", "accepted"),
    (("postgres",), "SELECT o.b FROM orders AS o(a, b)", "accepted"),
    (("postgres",), "SELECT ctid FROM orders", "column_unknown"),
    (("postgres",), "SELECT o FROM orders AS o", "column_unknown"),  # a whole row
    (("postgres",), "SELECT o.upper FROM orders AS o", "column_unknown"),  # a function written as a column
    (("sqlite",), "SELECT user FROM orders", "column_unknown"),
    (("postgres",), "SELECT x.n FROM orders AS o, LATERAL (SELECT o.amount AS n) AS x", "accepted"),
    (("postgres",), "SELECT x.n FROM orders AS o, (SELECT o.amount AS n) AS x", "table_alias_unknown"),
    (("postgres",), "SELECT count FROM (SELECT count(*) FROM orders) AS s", "accepted"),
    (("postgres",), "SELECT s.date_trunc FROM (SELECT date_trunc('month', placed_at) FROM orders) AS s", "accepted"),
    (("postgres",), "SELECT amount AS a FROM orders WHERE a > 1", "column_unknown"),
    (("sqlite",), "SELECT amount AS a FROM orders WHERE a > 1", "accepted"),
    # CTEs
    (BOTH, "WITH salaries AS (SELECT id FROM orders) SELECT id FROM salaries", "accepted"),
    (BOTH, "WITH x AS (SELECT id FROM salaries) SELECT id FROM orders", "dataset_unknown"),  # also where nothing reads it
    (BOTH, "WITH x AS (SELECT 1 AS a), x AS (SELECT 2 AS a) SELECT a FROM x", "construct_refused"),
    (BOTH, "WITH x(a) AS (SELECT id FROM orders) SELECT a FROM x", "accepted"),
    (BOTH, "WITH x(a) AS (SELECT id FROM orders) SELECT id FROM x", "column_unknown"),
    (BOTH, "WITH x(a, b) AS (SELECT id FROM orders) SELECT a FROM x", "construct_refused"),
    (BOTH, "SELECT (WITH salaries AS (SELECT 1 AS id) SELECT id FROM salaries) FROM orders, salaries", "dataset_unknown"),
    (("postgres",), "WITH salaries AS (SELECT id FROM salaries) SELECT id FROM salaries", "dataset_unknown"),  # its body sees the table
    (("postgres",), "WITH orders AS (SELECT id FROM orders) SELECT id FROM orders", "accepted"),
    (("sqlite",), "WITH orders AS (SELECT id FROM orders) SELECT id FROM orders", "construct_refused"),  # its body sees itself
    (("postgres",), "WITH a AS (SELECT id FROM salaries), salaries AS (SELECT 1 AS id) SELECT id FROM a", "dataset_unknown"),
    (("postgres",), "WITH RECURSIVE a AS (SELECT id FROM salaries), salaries AS (SELECT 1 AS id) SELECT id FROM a", "accepted"),
    (("sqlite",), "WITH a AS (SELECT id FROM salaries), salaries AS (SELECT 1 AS id) SELECT id FROM a", "accepted"),
    (BOTH, "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 5) SELECT x FROM n", "accepted"),
]
# fmt: on


@pytest.mark.parametrize(("dialect", "sql", "code"), [(dialect, sql, code) for dialects, sql, code in CODES for dialect in dialects])
def test_a_name_means_what_it_means_to_the_database(dialect: str, sql: str, code: str) -> None:
    assert refusal(sql, dialect) == code


@pytest.mark.parametrize("dialect", BOTH)
def test_no_name_of_the_bearer_stands_where_a_table_is_looked_up(dialect: str) -> None:
    """Tables become guards, CTEs get names of ours; the bearer's names stay as aliases only."""
    sql = "WITH mine AS (SELECT id FROM orders AS o) SELECT mine.id, c.name FROM mine JOIN customers AS c ON c.id = mine.id"
    text = secured(sql, policy(dialect)).sql
    assert 'FROM "__u1" AS mine JOIN "__g2" AS c' in text
    assert '"__u1" AS (SELECT id FROM "__g1" AS o)' in text


def test_the_place_of_a_name_is_where_it_begins() -> None:
    with pytest.raises(AccessRefused) as refused:
        secured("SELECT o.id\nFROM orders AS o\n  JOIN salaries AS s ON s.id = o.id", policy("postgres"))
    assert (refused.value.line, refused.value.column) == (3, 8)


@pytest.mark.parametrize("joined", [", ", " CROSS JOIN "])
def test_one_from_holds_so_many_tables_and_no_more(joined: str) -> None:
    """However they are joined: a planner's time grows faster than their number."""
    tables = [f"products AS p{number}" for number in range(25)]
    assert refusal(f"SELECT 1 FROM {joined.join(tables[:24])}", "postgres") == "accepted"
    assert refusal(f"SELECT 1 FROM {joined.join(tables)}", "postgres") == "sql_too_complex"


SQLITE_KEYWORDS = """
abort action add after all alter always analyze and as asc attach autoincrement before begin between by cascade case cast check collate column
commit conflict constraint create cross current current_date current_time current_timestamp database default deferrable deferred delete desc
detach distinct do drop each else end escape except exclude exclusive exists explain fail filter first following for foreign from full generated
glob group groups having if ignore immediate in index indexed initially inner insert instead intersect into is isnull join key last left like
limit match materialized natural no not nothing notnull null nulls of offset on or order others outer over partition plan pragma preceding
primary query raise range recursive references regexp reindex release rename replace restrict returning right rollback row rows savepoint select
set table temp temporary then ties to transaction trigger unbounded union unique update using vacuum values view virtual when where window with
without
"""


def test_the_words_that_sqlite_takes_for_no_name_are_known() -> None:
    """Each word of https://www.sqlite.org/lang_keywords.html is tried as the name of a table, of a column and of a sub-query."""
    refused = set()
    with closing(sqlite3.connect(":memory:")) as connection:
        for word in SQLITE_KEYWORDS.split():
            connection.execute(f'CREATE TABLE "{word}" ("{word}" int)')
            for query in (
                f"SELECT 1 FROM {word}",
                f'SELECT t.{word} FROM "{word}" AS t',
                f'SELECT {word} = 1 FROM "{word}"',
                f"SELECT 1 FROM (SELECT 1) AS {word}",
            ):
                try:
                    connection.execute(query)
                except sqlite3.OperationalError:
                    refused.add(word)
    assert {"order", "group"} <= refused <= DIALECTS["sqlite"].reserved


@pytest.mark.postgres
def test_the_words_that_postgresql_takes_for_no_name_are_known(fresh_postgres: servers.Database) -> None:
    with psycopg.connect(libpq(fresh_postgres.reader_url)) as connection:
        words = {word for (word,) in connection.execute("SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')")}
    assert words <= DIALECTS["postgres"].reserved
    assert DIALECTS["postgres"].reserved - words <= {"system_user"}  # new in PostgreSQL 16
