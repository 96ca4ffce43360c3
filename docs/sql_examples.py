"""What the page on SQL shows: examples over the sample shop, grouped as readers look for them.

`generate` asks `admit` which database takes each, so nothing is said twice; tests/test_docs.py runs every one that is taken.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CONSTRUCTS", "FUNCTIONS", "INSTEAD", "NEVER", "TYPES"]

# (heading, ((what it is called, a query that uses it), ...)); {schema} and {json}, the type that holds JSON, are each database's own
CONSTRUCTS: Final = (
    (
        "Queries",
        (
            ("`SELECT`, `AS`, `DISTINCT`", "SELECT DISTINCT region AS r FROM orders"),
            ("`*` and `t.*`", "SELECT o.*, c.name FROM orders AS o CROSS JOIN customers AS c LIMIT 3"),
            ("`WHERE`, `ORDER BY`, `LIMIT`, `OFFSET`", "SELECT amount FROM orders WHERE amount > 5 ORDER BY amount DESC NULLS LAST LIMIT 10 OFFSET :skip"),
            ("`FETCH FIRST`", "SELECT amount FROM orders ORDER BY order_id FETCH FIRST 10 ROWS ONLY"),
            ("`GROUP BY`, `HAVING`", "SELECT region, COUNT(*) AS n FROM orders GROUP BY region HAVING COUNT(*) > 1"),
            ("`ROLLUP`", "SELECT region, status, COUNT(*) AS n FROM orders GROUP BY ROLLUP (region, status)"),
            ("`CUBE`", "SELECT region, status, COUNT(*) AS n FROM orders GROUP BY CUBE (region, status)"),
            ("`GROUPING SETS`", "SELECT region, status, COUNT(*) AS n FROM orders GROUP BY GROUPING SETS ((region), (status))"),
            ("`DISTINCT ON`", "SELECT DISTINCT ON (region) region, amount FROM orders ORDER BY region"),
            ("`UNION`, `UNION ALL`", "SELECT region FROM orders UNION ALL SELECT country FROM customers ORDER BY region LIMIT 5 OFFSET 1"),
            ("`EXCEPT`", "WITH o AS (SELECT region FROM orders) SELECT region FROM o EXCEPT SELECT country FROM customers ORDER BY region LIMIT 5 OFFSET 1"),
            (
                "`INTERSECT`",
                "WITH o AS (SELECT region FROM orders) SELECT region FROM o INTERSECT SELECT country FROM customers ORDER BY region LIMIT 5 OFFSET 1",
            ),
            ("CTEs, with column lists", "WITH o(a, b) AS (SELECT order_id, region FROM orders) SELECT a FROM o"),
            ("`MATERIALIZED`, `NOT MATERIALIZED`", "WITH o AS NOT MATERIALIZED (SELECT order_id FROM orders) SELECT order_id FROM o"),
            ("`WITH` before `UNION`", "WITH o AS (SELECT region FROM orders) SELECT region FROM o UNION SELECT region FROM o"),
            ("recursive CTEs", "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n"),
            ("`VALUES` in `FROM`", "SELECT v.column1 FROM (VALUES (1), (2)) AS v"),
            ("`VALUES` in `FROM`, whose columns are `col0`, `col1`", "SELECT v.col0 FROM (VALUES (1), (2)) AS v"),
            ("`FROM` first", "FROM orders SELECT order_id, amount WHERE amount > 5"),
            ("parameters", "SELECT amount FROM orders WHERE region = :region"),
        ),
    ),
    (
        "Tables and joins",
        (
            ("a table by its `sql_name`, an alias", "SELECT o.amount FROM orders AS o"),
            ("a table by exactly its schema and name", "SELECT amount FROM {schema}.orders"),
            ("its columns, with the schema too", "SELECT {schema}.orders.amount FROM {schema}.orders"),
            (
                "inner, cross and comma joins",
                "SELECT COUNT(*) AS n FROM orders AS o INNER JOIN customers AS c ON c.customer_id = o.customer_id, customers AS d",
            ),
            ("`LEFT`, `RIGHT`, `FULL`", "SELECT o.order_id FROM orders AS o LEFT OUTER JOIN customers AS c ON c.customer_id = o.customer_id"),
            ("`USING`", "SELECT o.order_id FROM orders AS o JOIN customers AS c USING (customer_id)"),
            ("`NATURAL`", "SELECT COUNT(*) AS n FROM orders NATURAL JOIN customers"),
            ("joins in brackets", "SELECT COUNT(*) AS n FROM (orders AS o JOIN customers AS c ON c.customer_id = o.customer_id)"),
            (
                "sub-queries in `FROM`",
                "SELECT s.region FROM (SELECT region FROM orders ORDER BY region LIMIT 3 OFFSET 1) AS s JOIN customers AS c ON c.tenant = 1",
            ),
            ("a column list behind an alias", "SELECT s.a FROM (SELECT region FROM orders) AS s(a)"),
            ("a query in brackets", "(SELECT region FROM orders) ORDER BY region LIMIT 2 OFFSET 1"),
            (
                "`LATERAL`",
                "SELECT c.name, l.amount FROM customers AS c CROSS JOIN LATERAL (SELECT o.amount FROM orders AS o WHERE o.customer_id = c.customer_id) AS l",
            ),
        ),
    ),
    (
        "Conditions and expressions",
        (
            ("`AND`, `OR`, `NOT`, brackets", "SELECT order_id FROM orders WHERE NOT (amount = 1 OR amount = 2) AND TRUE"),
            ("`=` `<>` `<` `<=` `>` `>=`", "SELECT order_id FROM orders WHERE amount <> 1 AND amount < 9 AND amount <= 9 AND amount > 1 AND amount >= 1"),
            ("`IS NULL`, `IS NOT NULL`", "SELECT order_id FROM orders WHERE note IS NULL OR note IS NOT NULL"),
            ("`IS [NOT] DISTINCT FROM`", "SELECT order_id FROM orders WHERE amount IS DISTINCT FROM 1 OR amount IS NOT DISTINCT FROM 2"),
            ("`BETWEEN`", "SELECT order_id FROM orders WHERE amount BETWEEN 1 AND 9"),
            ("`BETWEEN SYMMETRIC`", "SELECT order_id FROM orders WHERE amount BETWEEN SYMMETRIC 9 AND 1"),
            ("`IN` a list, also of rows", "SELECT order_id FROM orders WHERE region IN ('North', 'South') OR (order_id, amount) IN ((1, 5), (2, 6))"),
            ("`IN` a sub-query", "SELECT order_id FROM orders WHERE customer_id NOT IN (SELECT customer_id FROM customers)"),
            ("`EXISTS`", "SELECT name FROM customers AS c WHERE EXISTS (SELECT 1 FROM orders AS o WHERE o.customer_id = c.customer_id)"),
            ("`ANY`, `ALL`", "SELECT order_id FROM orders WHERE amount = ANY (ARRAY[1, 2]) OR amount > ALL (SELECT 1)"),
            ("`ANY`, `ALL` of a sub-query", "SELECT order_id FROM orders WHERE amount = ANY (SELECT 5) OR amount > ALL (SELECT 1)"),
            ("`ALL` of an array", "SELECT order_id FROM orders WHERE amount > ALL (ARRAY[1, 2])"),
            ("`COLLATE NOCASE`, `BINARY`, `RTRIM`", "SELECT order_id FROM orders WHERE region = 'NORTH' COLLATE NOCASE"),
            ("sub-queries as values", "SELECT (SELECT COUNT(*) FROM orders) AS n"),
            ("`LIKE`, `ESCAPE`", "SELECT order_id FROM orders WHERE note NOT LIKE '10!%' ESCAPE '!'"),
            ("`LIKE` with a pattern that ends in a string", "SELECT order_id FROM orders WHERE note LIKE '%' || region || '%'"),
            ("`LIKE ANY`", "SELECT order_id FROM orders WHERE note LIKE ANY (ARRAY['gift%', 'urgent%'])"),
            ("`ILIKE`", "SELECT order_id FROM orders WHERE note ILIKE 'gift%'"),
            ("`GLOB`", "SELECT order_id FROM orders WHERE note GLOB 'gift*'"),
            ("`+` `-` `*` `/` `%`, unary minus", "SELECT order_id + 1, order_id - 1, order_id * 2, order_id / 2, order_id % 2, -order_id FROM orders"),
            ("`||`", "SELECT region || '!' AS shout FROM orders"),
            ("`CASE`", "SELECT CASE WHEN amount > 5 THEN 'big' ELSE 'small' END AS size, CASE region WHEN 'North' THEN 1 END AS north FROM orders"),
            ("`CAST`, also `::`", "SELECT CAST(amount AS TEXT) AS a, amount::VARCHAR(10) AS b FROM orders"),
            ("`TRY_CAST`", "SELECT TRY_CAST(region AS INTEGER) AS n FROM orders"),
            ("window functions", "SELECT SUM(amount) OVER (PARTITION BY region ORDER BY order_id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS s FROM orders"),
            ("named windows", "SELECT RANK() OVER w AS r FROM orders WINDOW w AS (ORDER BY amount RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"),
            ("`FILTER`", "SELECT COUNT(*) FILTER (WHERE amount > 5) AS big FROM orders"),
            ("`WITHIN GROUP`", "SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY amount) AS median FROM orders"),
            ("`ORDER BY` in `STRING_AGG` and `ARRAY_AGG`", "SELECT STRING_AGG(region, ', ' ORDER BY amount DESC) AS regions FROM orders"),
            ("arrays", "SELECT ARRAY[1, 2] AS a"),
            ("`INTERVAL`", "SELECT order_id FROM orders WHERE placed_at > CURRENT_TIMESTAMP - INTERVAL '1 day'"),
            ("`AT TIME ZONE`", "SELECT placed_at AT TIME ZONE 'UTC' AS utc FROM orders"),
            ("`EXTRACT`", "SELECT EXTRACT(YEAR FROM placed_at) AS y FROM orders"),
            ("`->`, `->>`", "SELECT CAST('{\"a\": [1]}' AS {json}) -> 'a' AS a, CAST('{\"a\": [1]}' AS {json}) ->> 'a' AS b"),
            ("`-> -1`, from the end", "SELECT CAST('[1, 2]' AS JSONB) -> -1 AS last"),
            (
                "`#>`, `#>>`, `@>`",
                "SELECT CAST(note AS JSONB) #> '{a}', CAST(note AS JSONB) #>> CAST(ARRAY['a'] AS TEXT[]) FROM orders WHERE CAST(note AS JSONB) @> '{}'",
            ),
        ),
    ),
)

# (heading, calls with `|` between them)
FUNCTIONS: Final = (
    (
        "Aggregates",
        """
        count(*) | count(DISTINCT region) | sum(amount) | avg(amount) | min(amount) | max(amount) | group_concat(region, ',') | string_agg(region, ',') |
        total(amount) | array_agg(amount) | bool_and(amount > 1) | bool_or(amount > 1) | every(amount > 1) | stddev(amount) | stddev_pop(amount) |
        stddev_samp(amount) | variance(amount) | var_samp(amount) | var_pop(amount) | corr(amount, order_id) |
        covar_pop(amount, order_id) | covar_samp(amount, order_id) | regr_slope(amount, order_id) | regr_intercept(amount, order_id) |
        regr_r2(amount, order_id) | regr_count(amount, order_id) | median(amount) | count_if(amount > 1) |
        percentile_cont(0.5) WITHIN GROUP (ORDER BY amount) | percentile_disc(0.5) WITHIN GROUP (ORDER BY amount) | mode() WITHIN GROUP (ORDER BY amount)
        """,
    ),
    (
        "Window functions",
        """
        row_number() OVER () | rank() OVER (ORDER BY amount) | dense_rank() OVER (ORDER BY amount) | percent_rank() OVER (ORDER BY amount) |
        cume_dist() OVER (ORDER BY amount) | ntile(4) OVER (ORDER BY amount) | lag(amount, 1, 0) OVER (ORDER BY amount) |
        lead(amount, 1, 0) OVER (ORDER BY amount) | first_value(amount) OVER (ORDER BY amount) | last_value(amount) OVER (ORDER BY amount) |
        nth_value(amount, 2) OVER (ORDER BY amount)
        """,
    ),
    (
        "Numbers",
        """
        abs(amount) | ceil(2.5) | floor(2.5) | round(2.55, 1) | round(2.5) | sign(amount) | trunc(2.55, 1) | sqrt(4) | power(2, 3) | exp(1) | ln(2) |
        log(2, 8) | width_bucket(5, 0, 10, 5)
        """,
    ),
    (
        "Text",
        """
        lower(region) | upper(region) | length(region) | substr(region, 1, 2) | substring(region, 2) | trim(region) | trim(BOTH 'N' FROM region) |
        ltrim(region) | instr(region, 'o') | strpos(region, 'o') | left(region, 1) | right(region, 1) | concat(region, status) |
        concat_ws('-', region, status) | replace(region, 'old', 'new') | lpad(region, 8, ' ') | rpad(region, 8) |
        printf('%.2f', amount) | format('%05d', order_id) | split_part(region, 'o', 1) | starts_with(region, 'N') | reverse(region) | octet_length(region)
        """,
    ),
    (
        "Choices",
        """
        coalesce(amount, 0) | nullif(amount, 0) | greatest(amount, 1) | least(amount, 1) | max(amount, 1) | min(amount, 1) |
        iif(amount > 1, 1, 0) | try(10 % order_id)
        """,
    ),
    (
        "Dates and times",
        """
        current_date | current_time | current_timestamp | date(placed_at) | date(placed_at, 'start of month') | time('12:00:00') | datetime('2026-01-31') |
        julianday('2026-01-31') | unixepoch('2026-01-31') | strftime('%Y-%m', placed_at) |
        strftime('%Y-%m', placed_at, '+1 day') | age(placed_at) | date_trunc('month', placed_at) | date_trunc('day', placed_at, 'UTC') |
        to_date('2026-01-31', 'YYYY-MM-DD') | to_timestamp('2026-01-31 12:00:00', 'YYYY-MM-DD HH24:MI:SS') | to_timestamp(0) | timezone('UTC', placed_at) |
        to_char(placed_at, 'YYYY-MM') | extract(year FROM placed_at) | make_date(2026, 1, 31) | year(placed_at) | quarter(placed_at) | month(placed_at) |
        day(placed_at) | date_diff('day', placed_at, CAST('2026-01-31' AS TIMESTAMP))
        """,
    ),
    (
        "JSON",
        """
        json_extract('{"a": [1]}', '$.a[0]') | json_type('[1]') | json_valid('[1]') | json_array_length('[1]') | jsonb_typeof(CAST('[1]' AS JSONB)) |
        json_typeof(CAST('[1]' AS JSON)) | jsonb_array_length(CAST('[1]' AS JSONB))
        """,
    ),
    ("Others", "typeof(amount) | grouping(region)"),
)

# as CAST may spell them on one database or another
TYPES: Final = (
    *"INT INTEGER INT2 INT4 INT8 BIGINT SMALLINT TINYINT DECIMAL NUMERIC REAL FLOAT FLOAT4 FLOAT8 DOUBLE".split(),
    *("DOUBLE PRECISION", "TEXT", "VARCHAR", "CHARACTER VARYING", "CHAR", "BOOLEAN", "BOOL"),
    *"DATE TIME TIMESTAMP TIMESTAMPTZ INTERVAL UUID JSON JSONB".split(),
)

# (what it is, a query with it): none of these is taken on any database
NEVER: Final = (
    ("any other statement", "DELETE FROM orders"),
    ("a second statement", "SELECT 1; SELECT 2"),
    ("a writing CTE", "WITH d AS (DELETE FROM orders RETURNING 1) SELECT 1 FROM d"),
    ("`INTO`", "SELECT amount INTO copied FROM orders"),
    ("locks", "SELECT amount FROM orders FOR UPDATE"),
    ("functions in `FROM`", "SELECT * FROM generate_series(1, 1000000)"),
    ("`IN` a table", "SELECT amount FROM orders WHERE customer_id IN customers"),
    ("samples", "SELECT amount FROM orders TABLESAMPLE BERNOULLI (10)"),
    ("`* EXCEPT`, `* REPLACE`", "SELECT * EXCEPT (note) FROM orders"),
    ("`QUALIFY`", "SELECT amount FROM orders QUALIFY ROW_NUMBER() OVER (ORDER BY amount) = 1"),
    ("`WITH TIES`", "SELECT amount FROM orders ORDER BY amount FETCH FIRST 3 ROWS WITH TIES"),
    ("an expression in `LIMIT`", "SELECT amount FROM orders LIMIT 1 + 1"),
    ("collations of your own", 'SELECT region COLLATE "de_DE" FROM orders'),
    ("far too many totals", "SELECT COUNT(*) AS n FROM orders GROUP BY CUBE (1, 2, 3, 4, 5, 6, 7)"),
    ("regular expressions", "SELECT region FROM orders WHERE region SIMILAR TO 'N%'"),
    ("bit operations", "SELECT amount & 1 FROM orders"),
    ("the field of a row", "SELECT (o).amount FROM orders AS o"),
    ("parameters without a name", "SELECT amount FROM orders WHERE region = ?"),
    ("operators whose order databases disagree on", "SELECT amount = 1 = 2 FROM orders"),
    ("names that rowseal uses itself", "SELECT 1 AS __g1"),
    ("much out of little", "SELECT repeat(region, 1000000) FROM orders"),
    ("waiting", "SELECT pg_sleep(10)"),
    ("chance", "SELECT random()"),
    ("files and extensions", "SELECT load_extension('x')"),
    ("settings, and who is asking", "SELECT current_user"),
)

_ALL: Final = ("sqlite", "postgres", "duckdb")
_BOTH: Final = ("sqlite", "postgres")
_SQLITE: Final = ("sqlite",)
_POSTGRES: Final = ("postgres",)
_DUCKDB: Final = ("duckdb",)

# (databases, a query that they do not take here, though some database does or people try it): the refusal says what to write instead
INSTEAD: Final = (
    (_ALL, "SELECT * INTO copied FROM orders"),
    (_ALL, "SELECT random()"),
    (_POSTGRES, "SELECT amount FROM orders LIMIT ALL"),
    (_ALL, "SELECT amount FROM orders LIMIT 1 + 1"),
    (_POSTGRES, "SELECT $$x$$"),
    (_POSTGRES, "SELECT E'x'"),
    (_ALL, "SELECT amount FROM orders FETCH FIRST ROW ONLY"),
    (_POSTGRES, "SELECT amount FROM orders FETCH FIRST 3 ROWS WITH TIES"),
    (_ALL, "VALUES (1)"),
    (_ALL, "CREATE TEMP TABLE t AS SELECT 1"),
    (_POSTGRES, "SELECT `amount` FROM orders"),
    (_SQLITE, 'SELECT amount FROM orders WHERE region = "North"'),
    (_POSTGRES, 'SELECT amount FROM orders WHERE region = "North"'),
    (_ALL, "SELECT amount FROM orders WHERE region = ?"),
    (_POSTGRES, "SELECT amount FROM orders WHERE region = $1"),
    (_BOTH, "SELECT amount FROM orders WHERE region = @r"),
    (_POSTGRES, "SELECT amount FROM orders WHERE region = %(r)s"),
    (_SQLITE, "SELECT DATE_TRUNC('month', placed_at) FROM orders"),
    (_SQLITE, "SELECT EXTRACT(YEAR FROM placed_at) FROM orders"),
    (_SQLITE, "SELECT TO_CHAR(placed_at, 'YYYY') FROM orders"),
    (_POSTGRES, "SELECT strftime('%Y', placed_at) FROM orders"),
    (_POSTGRES, "SELECT julianday(placed_at) FROM orders"),
    (_ALL, "SELECT date_part('year', placed_at) FROM orders"),
    (_BOTH, "SELECT YEAR(placed_at) FROM orders"),
    (_SQLITE, "SELECT placed_at + INTERVAL '1 day' FROM orders"),
    (_ALL, "SELECT DATEADD(day, 1, placed_at) FROM orders"),
    (_BOTH, "SELECT DATEDIFF(day, placed_at, placed_at) FROM orders"),
    (_ALL, "SELECT DATE_ADD(placed_at, INTERVAL 1 DAY) FROM orders"),
    (_SQLITE, "SELECT placed_at AT TIME ZONE 'UTC' FROM orders"),
    (_SQLITE, "SELECT DATE '2026-01-01'"),
    (_SQLITE, "SELECT CAST(placed_at AS DATE) FROM orders"),
    (_SQLITE, "SELECT CAST(amount AS DECIMAL(10,2)) FROM orders"),
    (_SQLITE, "SELECT amount::numeric FROM orders"),
    (_SQLITE, "SELECT CAST(amount AS BOOLEAN) FROM orders"),
    (_POSTGRES, "SELECT CAST(placed_at AS DATETIME) FROM orders"),
    (_POSTGRES, "SELECT amount::money FROM orders"),
    (_SQLITE, "SELECT amount FROM orders WHERE region ILIKE 'n%'"),
    (_POSTGRES, "SELECT amount FROM orders WHERE region GLOB 'n*'"),
    (_ALL, "SELECT amount FROM orders WHERE region ~ 'N'"),
    (_ALL, "SELECT amount FROM orders WHERE region REGEXP 'N'"),
    (_ALL, "SELECT amount FROM orders WHERE region SIMILAR TO 'N%'"),
    (_ALL, "SELECT REGEXP_REPLACE(region, 'N', '') FROM orders"),
    (_SQLITE, "SELECT CONCAT(region, '!') FROM orders"),
    (_SQLITE, "SELECT LEFT(region, 1) FROM orders"),
    (_SQLITE, "SELECT GREATEST(amount, 1) FROM orders"),
    (_SQLITE, "SELECT MOD(amount, 3) FROM orders"),
    (_POSTGRES, "SELECT FORMAT('%s', region) FROM orders"),
    (_POSTGRES, "SELECT printf('%s', region) FROM orders"),
    (_ALL, "SELECT REPEAT(region, 3) FROM orders"),
    (_SQLITE, "SELECT STDDEV(amount) FROM orders"),
    (_SQLITE, "SELECT BOOL_OR(amount > 1) FROM orders"),
    (_BOTH, "SELECT MEDIAN(amount) FROM orders"),
    (_SQLITE, "SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY amount) FROM orders"),
    (_SQLITE, "SELECT ARRAY_AGG(amount) FROM orders"),
    (_SQLITE, "SELECT GROUP_CONCAT(region, ',' ORDER BY region) FROM orders"),
    (_POSTGRES, "SELECT total(amount) FROM orders"),
    (_ALL, "SELECT JSON_AGG(amount) FROM orders"),
    (_ALL, "SELECT JSON_OBJECT('a', amount) FROM orders"),
    (_SQLITE, "SELECT region, SUM(amount) FROM orders GROUP BY ROLLUP (region)"),
    (_SQLITE, "SELECT region, SUM(amount) FROM orders GROUP BY CUBE (region)"),
    (_SQLITE, "SELECT region, SUM(amount) FROM orders GROUP BY GROUPING SETS ((region), ())"),
    (_SQLITE, "SELECT DISTINCT ON (region) region, amount FROM orders"),
    (_SQLITE, "SELECT c.name FROM customers AS c, LATERAL (SELECT 1 AS x) AS l"),
    (_SQLITE, "SELECT amount FROM orders WHERE amount = ANY (ARRAY[1, 2])"),
    (_SQLITE, "SELECT amount FROM orders WHERE amount > ALL (SELECT 1)"),
    (_SQLITE, "SELECT amount FROM orders WHERE amount BETWEEN SYMMETRIC 9 AND 1"),
    (_ALL, "SELECT n FROM generate_series(1, 10) AS n"),
    (_POSTGRES, "SELECT v FROM UNNEST(ARRAY[1, 2]) AS v"),
    (_SQLITE, "SELECT value FROM json_each('[1]')"),
    (_ALL, "SELECT * EXCEPT (note) FROM orders"),
    (_ALL, "SELECT amount FROM orders QUALIFY ROW_NUMBER() OVER (ORDER BY amount) = 1"),
    (_ALL, "SELECT amount FROM orders TABLESAMPLE BERNOULLI (10)"),
    (_ALL, "SELECT amount & 1 FROM orders"),
    (_POSTGRES, "SELECT (ARRAY_AGG(amount))[1] FROM orders"),
    (_POSTGRES, "SELECT (o).amount FROM orders AS o"),
    (_ALL, "SELECT current_user"),
    (_POSTGRES, "SELECT amount FROM orders WHERE CAST(note AS JSONB) ? 'k'"),
    (_ALL, 'SELECT region COLLATE "de_DE" FROM orders'),
    (_ALL, "SELECT amount FROM orders WHERE customer_id IN customers"),
    (_ALL, "SELECT amount FROM orders WHERE region LIKE '%' || region"),
    (_ALL, "SELECT REPLACE(region, 'a', 'long') FROM orders"),
    (_POSTGRES, "SELECT LOCALTIMESTAMP"),
    (_POSTGRES, "SELECT TO_NUMBER(region, '999') FROM orders"),
    (_POSTGRES, "SELECT MAKE_INTERVAL(days => 3)"),
    (_POSTGRES, "SELECT 1 WHERE (placed_at, placed_at) OVERLAPS (placed_at, placed_at)"),
    (_POSTGRES, "SELECT ARRAY[1] && ARRAY[2]"),
    (_SQLITE, "SELECT NOW()"),
    (_POSTGRES, "SELECT datetime('now')"),
    (_POSTGRES, "SELECT date('now')"),
    (_ALL, "SELECT TOP 5 amount FROM orders"),
    (_SQLITE, "SELECT GETDATE()"),
    (_ALL, "WITH d AS (DELETE FROM orders RETURNING 1) SELECT 1 FROM d"),
    (_BOTH, "SELECT amount::string FROM orders"),
    (_ALL, "SELECT o.amount FROM orders AS o CROSS JOIN orders AS o"),
    (_SQLITE, "SELECT s.a FROM (SELECT region FROM orders) AS s(a)"),
    (_SQLITE, "SELECT o.a FROM orders AS o(a)"),
    (_ALL, "SELECT region, amount FROM orders UNION ALL SELECT amount FROM orders"),
    (_BOTH, "WITH RECURSIVE n AS (SELECT i FROM n) SELECT i FROM n"),
    (_ALL, "SELECT SUM(amount) OVER (ORDER BY placed_at ROWS BETWEEN amount PRECEDING AND CURRENT ROW) FROM orders"),
    (_POSTGRES, "SELECT ARRAY[ARRAY[1, 2], ARRAY[3, 4]]"),
    (_POSTGRES, "SELECT l.n FROM orders AS o CROSS JOIN LATERAL generate_series(1, 2) AS l(n)"),
    (_ALL, "SELECT region FROM orders WHERE region LIKE '10!!%' ESCAPE '!!'"),
    (_ALL, "SELECT region FROM orders WHERE region LIKE '%!' ESCAPE '!'"),
    (_DUCKDB, "SELECT UNNEST([1, 2])"),
    (_DUCKDB, "SELECT order_id // 2 FROM orders"),
    (_DUCKDB, "SELECT {'a': amount} FROM orders"),
    (_DUCKDB, "SELECT COLUMNS('a.*') FROM orders"),
    (_DUCKDB, "SELECT julianday(placed_at) FROM orders"),
    (_DUCKDB, "SELECT TO_CHAR(placed_at, 'YYYY') FROM orders"),
    (_DUCKDB, "SELECT BOOL_OR(amount > 1) FROM orders"),
    (_DUCKDB, "SELECT QUANTILE_CONT(amount, 0.5) FROM orders"),
    (_DUCKDB, "SELECT ARG_MAX(region, amount) FROM orders"),
    (_DUCKDB, "SELECT placed_at AT TIME ZONE 'UTC' FROM orders"),
    (_DUCKDB, "SELECT CAST(amount AS HUGEINT) FROM orders"),
)
