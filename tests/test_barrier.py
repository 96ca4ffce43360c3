"""Where the bearer's expressions could raise on a forbidden row, the guards are fenced; where they cannot, the guards cost nothing."""

from __future__ import annotations

import pytest

from policies import policy, secured

FREE, CASE, FENCED = {"plain"}, {"case"}, {"fenced"}

# fmt: off
BOTH = [
    ("SELECT id FROM orders WHERE region = 'EU' AND amount > 5 OR NOT amount <= 7", FREE),
    ("SELECT id FROM orders WHERE amount IN (1, 2) AND region IS NOT NULL AND id BETWEEN 1 AND 9", FREE),
    ("SELECT id FROM orders WHERE region LIKE 'E%'", FREE),
    ("SELECT id FROM orders WHERE region LIKE 'E\\%'", CASE),  # an escape at the end raises, on rows that get that far
    ("SELECT id FROM orders WHERE region LIKE region", CASE),
    (f"SELECT id FROM orders WHERE region LIKE '{'x' * 300}'", CASE),  # too long a pattern raises, once there is a row
    ("SELECT 10 / amount, CAST(region AS INTEGER) FROM orders", FREE),  # the SELECT list is computed after the filter
    ("SELECT SUM(10 / amount) FROM orders GROUP BY amount + 1 ORDER BY 10 / SUM(amount)", FREE),
    ("SELECT region FROM orders GROUP BY region HAVING 10 / SUM(amount) > 1", FREE),
    ("SELECT o.id FROM orders AS o JOIN customers AS c ON o.customer_id = c.id", FREE),
    ("SELECT id FROM customers WHERE id IN (SELECT customer_id FROM orders)", FREE),
    ("SELECT id FROM customers AS c WHERE EXISTS (SELECT 1 FROM orders AS o WHERE o.customer_id = c.id)", FREE),
    ("SELECT id FROM orders WHERE amount > (SELECT MAX(amount) FROM orders)", FREE),
    ("WITH x AS (SELECT region, amount FROM orders) SELECT region, SUM(amount) FROM x GROUP BY region", FREE),
    ("SELECT id FROM orders UNION SELECT id FROM products ORDER BY id", FREE),
    ("SELECT id FROM orders WHERE amount > :least", FREE),
    ("SELECT id FROM orders WHERE amount > -5 AND amount BETWEEN -7 AND 7", FREE),
]
POSTGRES = [
    ("SELECT id FROM orders WHERE placed_at >= TO_TIMESTAMP('2026-01-01 00:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US')", FREE),
    ("SELECT id FROM orders WHERE placed_at >= TO_DATE('2026-01-31', 'YYYY-MM-DD')", FREE),
    ("SELECT id FROM orders WHERE placed_at >= TO_DATE('2026-02-30', 'YYYY-MM-DD')", CASE),  # no such day: it raises, on rows that get that far
    ("SELECT id FROM orders WHERE placed_at >= TO_DATE('2026-1-31', 'YYYY-MM-DD')", CASE),
    ("SELECT id FROM orders WHERE placed_at >= TO_DATE('2026', 'YYYY')", CASE),  # not a form that we read
    ("SELECT id FROM orders WHERE placed_at >= CAST((NOW() + INTERVAL '-30 day') AS date)", FREE),
    ("SELECT id FROM orders WHERE placed_at >= DATE_TRUNC('month', NOW() - INTERVAL '1 month')", FREE),
    ("SELECT id FROM orders WHERE placed_at >= DATE_TRUNC(CAST('month' AS CHAR(2)), NOW())", CASE),  # cuts at a unit that there is not
    (f"SELECT id FROM orders WHERE placed_at >= NOW(){' - INTERVAL ' + repr('999 years')}", FREE),
    (f"SELECT id FROM orders WHERE placed_at >= NOW(){(' - INTERVAL ' + repr('999 years')) * 7}", CASE),  # before 4713 BC
    ("SELECT id FROM orders WHERE placed_at >= DATE_TRUNC('month', CAST('294276-12-31' AS DATE))", CASE),
    ("SELECT id FROM orders WHERE region LIKE ANY (ARRAY['N%', 'S%'])", CASE),
    ("SELECT x FROM (SELECT STRING_AGG(region, ',' ORDER BY 10 / amount) AS x FROM orders) AS s", FREE),
    ("SELECT STRING_AGG(region, ',' ORDER BY 10 / amount) AS x FROM orders", FREE),  # after the filter
    ("SELECT id FROM orders WHERE 10 / amount > 1", CASE),
    ("SELECT id FROM orders WHERE amount + 1 > 1", CASE),
    ("SELECT id FROM orders WHERE CAST(region AS INTEGER) > 1", CASE),
    ("SELECT id FROM orders WHERE placed_at >= CAST('2026-01-01' AS date)", FREE),
    ("SELECT id FROM orders WHERE placed_at >= CURRENT_DATE - INTERVAL '30 days'", FREE),
    ("SELECT id FROM orders WHERE placed_at >= CURRENT_DATE - INTERVAL '30000000 days'", CASE),
    ("SELECT id FROM orders WHERE placed_at + INTERVAL '1 day' > CURRENT_DATE", CASE),
    ("SELECT id FROM orders WHERE price = ratio", CASE),  # numeric to double precision can overflow
    ("SELECT id FROM orders WHERE price = amount", FREE),
    ("SELECT a.id FROM orders AS a JOIN (SELECT ratio AS price FROM orders) AS b USING (price)", FENCED),
    ("SELECT a.id FROM orders AS a JOIN (SELECT amount AS price FROM orders) AS b USING (price)", FREE),
    ("SELECT x FROM (SELECT price AS x FROM orders UNION ALL SELECT ratio FROM orders) AS s WHERE x > 1", FENCED),
    ("SELECT x FROM (SELECT price AS x FROM orders UNION ALL SELECT price FROM orders) AS s WHERE x > 1", FREE),
    ("SELECT price FROM orders UNION ALL SELECT ratio FROM orders", FREE),  # outermost: nothing can be pushed into the arms
    ("SELECT x FROM (SELECT LAG(price, 1, ratio) OVER (ORDER BY id) AS x FROM orders) AS s", FREE),
    ("SELECT id FROM orders WHERE placed_at > CAST('294276-12-31' AS TIMESTAMPTZ) + INTERVAL '9999 days'", CASE),
    ("SELECT o.id FROM orders AS o JOIN customers AS c ON 10 / o.amount = c.id", CASE | FREE),
    ("SELECT region FROM orders GROUP BY region, amount HAVING 10 / amount > 1", FENCED),  # without an aggregate it may run as a WHERE
    ("SELECT id FROM orders WHERE amount = (SELECT amount FROM customers AS c JOIN orders AS i ON c.id = i.id)", FENCED),  # a second row raises
    ("SELECT x FROM (SELECT 10 / amount AS x FROM orders) AS s WHERE x > 1", CASE),
    ("SELECT x FROM (SELECT 10 / amount AS x FROM orders) AS s", CASE),
    ("SELECT (SELECT 10 / o.amount FROM customers AS c WHERE c.id = o.id) FROM orders AS o", FENCED),
    ("SELECT id FROM customers AS c WHERE (SELECT SUM(ratio) FROM orders AS o WHERE o.id = c.id) > 1", FENCED | FREE),
    ("SELECT id FROM customers AS c WHERE (SELECT SUM(amount) FROM orders AS o WHERE o.id = c.id) > 1", FREE),
]
SQLITE = [
    ("SELECT id FROM orders WHERE date(placed_at, 'start of month') = '2026-01-01' AND sqrt(amount) > 2", FREE),
    ("SELECT id FROM orders WHERE region COLLATE NOCASE = 'eu' AND REPLACE(region, 'ab', 'c') <> ''", FREE),
    ("SELECT id FROM orders WHERE printf('%d', amount) = '5'", CASE),
    ("SELECT id FROM orders WHERE region LIKE region || '%'", CASE),  # too long a pattern raises
    ("SELECT id FROM orders WHERE 10 / amount > 1 AND CAST(region AS INTEGER) + 1 > 0", FREE),  # SQLite computes NULL, it does not raise
    ("SELECT id FROM orders WHERE lower(region) = 'eu' AND date(placed_at) > '2026-01-01'", FREE),
    ("SELECT id FROM orders WHERE json_extract(region, '$.a') = 1", CASE),
    ("SELECT id FROM orders WHERE abs(amount) > 1", CASE),
    ("SELECT id FROM orders WHERE region || region = 'x'", CASE),
    ("SELECT id FROM customers AS c WHERE (SELECT SUM(amount) FROM orders AS o WHERE o.id = c.id) > 1", FENCED),  # integer overflow
    ("SELECT json_extract(region, '$.a') FROM orders", FREE),
]
# fmt: on
CASES = [("postgres", *case) for case in (*BOTH, *POSTGRES)]
CASES += [("sqlite", sql, FENCED if forms == CASE else forms) for sql, forms in (*BOTH, *SQLITE)]  # where CASE is no wall


def fences(sql: str, dialect: str, **more: str) -> set[str]:
    """The forms of the guards, after a look at what the text says of each."""
    query = secured(sql, policy(dialect, **more), {"least": 5} if ":least" in sql else None)
    texts = query.sql.split('"__g')[1:]
    for guard, text in zip(query.guards, texts, strict=False):
        assert (" AS MATERIALIZED (" in text, " IS TRUE AS " in text) == (guard.form == "fenced", guard.form == "case")
    return {guard.form for guard in query.guards}


@pytest.mark.parametrize(("dialect", "sql", "expected"), CASES)
def test_a_wall_stands_exactly_where_something_could_raise(dialect: str, sql: str, expected: set[str]) -> None:
    assert fences(sql, dialect) == expected


@pytest.mark.parametrize("unit", [":month", "(:month)", "COALESCE(:month, 'day')"])
def test_a_unit_that_is_sent_may_be_none_whatever_its_name(unit: str) -> None:
    sql = f"SELECT id FROM orders WHERE placed_at >= DATE_TRUNC({unit}, NOW())"
    assert [guard.form for guard in secured(sql, policy("postgres"), {"month": "fortnight"}).guards] == ["case"]


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
@pytest.mark.parametrize("relation", ["view", "foreign table"])
def test_what_is_not_a_plain_table_is_always_fenced(dialect: str, relation: str) -> None:
    """The columns of a view may be expressions that raise."""
    assert fences("SELECT id FROM orders", dialect, orders_are=relation) == FENCED
