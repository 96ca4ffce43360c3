"""What to write instead: for what is refused, its name in the words of SQL and a replacement that is accepted.

Where a hint holds SQL in backticks, the last piece is the replacement. The tests send each of them, over a table `orders` with the
columns `region`, `amount` and `placed_at`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from rowseal.sql.dialects import Dialect

__all__ = ["BESIDE", "NAMED", "ORDERED", "TYPES", "called", "cure", "first_word", "is_construct", "part", "spoken", "syntax_cure"]

_RANKED: Final = (
    "number the rows in a sub-query: "
    "`SELECT region, amount FROM (SELECT region, amount, ROW_NUMBER() OVER (PARTITION BY region ORDER BY amount DESC) AS n FROM orders) AS o WHERE n = 1`"
)
_PLAIN_STRING: Final = "write a string in single quotes, with a quote inside it doubled: `'it''s'`"
_PATTERN: Final = "write a pattern: `region LIKE 'N%'`"
_LISTED: Final = "write the values as a table: `SELECT v.column1 FROM (VALUES ('North'), ('South')) AS v`"
_SAMPLE: Final = "take the first rows in an order of your own: `SELECT amount FROM orders ORDER BY placed_at LIMIT 10`"
BESIDE: Final = "write a sub-query: `SELECT o.amount, l.n FROM orders AS o CROSS JOIN LATERAL (SELECT o.amount * 2 AS n) AS l`"
NAMED: Final = "name the parameter, and send its value beside the SQL: `SELECT amount FROM orders WHERE region = :region`"
_TOLD: Final = "send what the query depends on as a parameter: `SELECT amount FROM orders WHERE region = :region`"
ORDERED: Final = (
    "order the rows in a sub-query: `SELECT GROUP_CONCAT(o.region, ',') AS regions FROM (SELECT region FROM orders ORDER BY region LIMIT 100) AS o`"
)
_HAS_KEY: Final = "write `(CAST('{\"key\": 1}' AS JSONB) -> 'key') IS NOT NULL`"
_BITS: Final = "compute with whole numbers: `amount % 2`"
_JOINED: Final = "put texts together: `region || '!'`"

# function, as the bearer or the parser calls it -> hint, for all databases and for each
_FUNCTIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("random", "rand", "randomblob", "uuid", "gen_random_uuid"), _SAMPLE),
    **dict.fromkeys(("current_user", "session_user", "user", "current_setting", "current_role", "current_schema", "current_database"), _TOLD),
    **dict.fromkeys(("repeat", "space"), "write the text out: `'----'`"),
    **dict.fromkeys(("regexp_like", "regexp_i_like", "regexp_ilike", "similar_to", "regexp_matches", "regexp_match", "regexp_count"), _PATTERN),
    **dict.fromkeys(("regexp_replace", "translate", "overlay"), "replace plain text: `REPLACE(region, 'old', 'new')`"),
    **dict.fromkeys(("getdate", "sysdate", "curdate", "now", "localtimestamp", "sysdatetime"), "write `CURRENT_TIMESTAMP`"),
    **dict.fromkeys(("unnest", "explode"), _LISTED),
}
_BY_DATABASE: Final[Mapping[str, Mapping[str, str]]] = {
    "sqlite": {
        **dict.fromkeys(("date_trunc", "timestamp_trunc", "datetrunc"), "move the date to a start: `DATE(placed_at, 'start of month')`"),
        **dict.fromkeys(("extract", "date_part", "datepart"), "take the part out of the text: `CAST(STRFTIME('%Y', placed_at) AS INTEGER)`"),
        **dict.fromkeys(("year", "month", "day"), "take the part out of the text: `CAST(STRFTIME('%Y', placed_at) AS INTEGER)`"),
        **dict.fromkeys(("to_char", "date_format", "format_date"), "write `STRFTIME('%Y-%m', placed_at)`"),
        **dict.fromkeys(("to_date", "to_timestamp", "str_to_date", "str_to_time"), "dates are text of one form: `placed_at >= '2026-01-31'`"),
        **dict.fromkeys(("date_add", "dateadd", "date_sub"), "move the date: `DATETIME(placed_at, '+1 day')`"),
        **dict.fromkeys(("date_diff", "datediff", "age"), "subtract days: `JULIANDAY('2026-12-31') - JULIANDAY(placed_at)`"),
        **dict.fromkeys(("concat", "concat_ws"), _JOINED),
        **dict.fromkeys(("left", "right", "split_part"), "cut with `SUBSTR(region, 1, 2)`"),
        "starts_with": "write `region LIKE 'N%'`",
        "greatest": "write `MAX(amount, 1)`",
        "least": "write `MIN(amount, 1)`",
        "mod": "write `amount % 3`",
        "array_agg": "write `GROUP_CONCAT(region, ',')`",
        **dict.fromkeys(
            ("json_object", "json_array", "json_group_array", "json_group_object", "json_array_agg", "json_agg"), "write `GROUP_CONCAT(region, ',')`"
        ),
        **dict.fromkeys(("json_each", "json_tree"), "take one by its place: `JSON_EXTRACT('[1, 2]', '$[0]')`"),
        **dict.fromkeys(("logical_or", "bool_or", "every"), "conditions are numbers: `MAX(amount > 5)`"),
        **dict.fromkeys(("logical_and", "bool_and"), "conditions are numbers: `MIN(amount > 5)`"),
        **dict.fromkeys(
            ("stddev", "stddev_pop", "stddev_samp", "variance", "variance_pop", "var_pop", "var_samp"),
            "compute it: `SQRT(AVG(amount * amount) - AVG(amount) * AVG(amount))`",
        ),
        **dict.fromkeys(
            ("percentile_cont", "percentile_disc", "median", "quantile"),
            "take the row in the middle: `SELECT amount FROM orders ORDER BY amount LIMIT 1 OFFSET 50`",
        ),
        **dict.fromkeys(
            ("generate_series", "generate_date_array"),
            "count with a recursive CTE: `WITH RECURSIVE days(day) AS "
            "(SELECT '2026-01-01' UNION ALL SELECT DATE(day, '+1 day') FROM days WHERE day < '2026-01-31') SELECT day FROM days`",
        ),
    },
    "mariadb": {
        **dict.fromkeys(("date_trunc", "timestamp_trunc", "datetrunc"), "cut the date's text: `DATE_FORMAT(placed_at, '%Y-%m-01')`"),
        **dict.fromkeys(("date_part", "datepart"), "write `EXTRACT(YEAR FROM placed_at)`"),
        **dict.fromkeys(("to_char", "strftime", "format_date"), "write `DATE_FORMAT(placed_at, '%Y-%m')`"),
        **dict.fromkeys(("to_date", "to_timestamp"), "write `STR_TO_DATE('2026-01-31', '%Y-%m-%d')`"),
        **dict.fromkeys(("julianday", "age"), "subtract days: `DATEDIFF('2026-12-31', placed_at)`"),
        **dict.fromkeys(("unixepoch", "unix_timestamp"), "count seconds: `TIMESTAMPDIFF(SECOND, '1970-01-01', placed_at)`"),
        **dict.fromkeys(("sysdate", "getdate", "utc_timestamp", "localtimestamp", "sysdatetime"), "write `CURRENT_TIMESTAMP`"),
        **dict.fromkeys(("string_agg", "array_agg", "json_arrayagg", "json_array_agg"), "write `GROUP_CONCAT(region SEPARATOR ',')`"),
        **dict.fromkeys(("rand", "uuid"), _SAMPLE),
        **dict.fromkeys(("user", "database", "schema", "version", "connection_id", "found_rows", "row_count", "last_insert_id"), _TOLD),
        **dict.fromkeys(("format", "printf"), "round it: `ROUND(amount, 2)`"),
        **dict.fromkeys(("logical_or", "bool_or", "every"), "conditions are numbers: `MAX(amount > 5)`"),
        **dict.fromkeys(("logical_and", "bool_and"), "conditions are numbers: `MIN(amount > 5)`"),
        "starts_with": "write `region LIKE 'N%'`",
        "split_part": "write `SUBSTRING_INDEX(region, ' ', 1)`",
        "total": "write `COALESCE(SUM(amount), 0)`",
        "collate": "leave COLLATE out, or compare `LOWER(region)`",
        **dict.fromkeys(
            ("percentile_cont", "percentile_disc", "median", "quantile"),
            "take the row in the middle: `SELECT amount FROM orders ORDER BY amount LIMIT 1 OFFSET 50`",
        ),
        **dict.fromkeys(
            ("generate_series", "generate_date_array"),
            "count with a recursive CTE: `WITH RECURSIVE days(day) AS (SELECT CAST('2026-01-01' AS DATE) UNION ALL "
            "SELECT DATE_ADD(day, INTERVAL 1 DAY) FROM days WHERE day < '2026-01-31') SELECT day FROM days`",
        ),
    },
    "postgres": {
        "date_part": "write `EXTRACT(YEAR FROM placed_at)`",
        **dict.fromkeys(("strftime", "time_to_str", "date_format"), "write `TO_CHAR(placed_at, 'YYYY-MM')`"),
        **dict.fromkeys(("year", "month", "day"), "write `EXTRACT(YEAR FROM placed_at)`"),
        **dict.fromkeys(("julianday", "date_diff", "datediff"), "subtract dates: `CAST(placed_at AS DATE) - CAST('2026-01-01' AS DATE)`"),
        **dict.fromkeys(("unixepoch",), "write `EXTRACT(EPOCH FROM placed_at)`"),
        **dict.fromkeys(("date", "datetime", "ts_or_ds_to_date", "timestamp"), "write `CAST(placed_at AS DATE)`"),
        **dict.fromkeys(("date_add", "dateadd", "date_sub", "make_interval", "ts_or_ds_add"), "add an interval: `placed_at + INTERVAL '1 day'`"),
        **dict.fromkeys(("format", "printf"), _JOINED),
        "to_number": "write `CAST('12.50' AS DECIMAL)`",
        "total": "write `COALESCE(SUM(amount), 0)`",
        **dict.fromkeys(("median", "quantile", "approx_quantile"), "write `PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY amount)`"),
        **dict.fromkeys(("json_extract_path_text", "json_value", "json_query"), "write `CAST('{\"key\": 1}' AS JSONB) ->> 'key'`"),
        **dict.fromkeys(
            ("json_agg", "jsonb_agg", "json_object", "json_build_object", "jsonb_build_object", "json_object_agg"), "write `STRING_AGG(region, ',')`"
        ),
        **dict.fromkeys(("json_array_elements", "jsonb_array_elements", "json_each", "jsonb_each"), "take one by its place: `CAST('[1, 2]' AS JSONB) -> 0`"),
        "collate": "leave COLLATE out, or compare `LOWER(region)`",
        **dict.fromkeys(
            ("generate_series", "generate_date_array"),
            "count with a recursive CTE: `WITH RECURSIVE days(day) AS (SELECT CAST('2026-01-01' AS DATE) UNION ALL "
            "SELECT CAST(day + INTERVAL '1 day' AS DATE) FROM days WHERE day < CAST('2026-01-31' AS DATE)) SELECT day FROM days`",
        ),
    },
    "duckdb": {
        "date_part": "write `EXTRACT(YEAR FROM placed_at)`",
        **dict.fromkeys(("to_char", "date_format"), "write `STRFTIME(placed_at, '%Y-%m')`"),
        **dict.fromkeys(("julianday", "datediff", "age"), "write `DATE_DIFF('day', CAST('2026-01-01' AS DATE), CAST(placed_at AS DATE))`"),
        **dict.fromkeys(("unixepoch", "epoch", "time_to_unix"), "write `EXTRACT(EPOCH FROM placed_at)`"),
        **dict.fromkeys(("date", "datetime", "ts_or_ds_to_date", "timestamp"), "write `CAST(placed_at AS DATE)`"),
        **dict.fromkeys(("date_add", "dateadd", "date_sub", "make_interval", "ts_or_ds_add"), "add an interval: `placed_at + INTERVAL '1 day'`"),
        **dict.fromkeys(("strptime", "to_date", "to_timestamp", "str_to_time", "str_to_date"), "write `CAST('2026-01-31' AS DATE)`"),
        **dict.fromkeys(("format", "printf"), _JOINED),
        "total": "write `COALESCE(SUM(amount), 0)`",
        "mod": "write `amount % 3`",
        **dict.fromkeys(("quantile", "quantile_cont", "percentile_cont", "percentile_disc", "approx_quantile", "mode"), "write `MEDIAN(amount)`"),
        **dict.fromkeys(("array_agg", "list", "json_agg", "json_group_array", "json_object", "histogram"), "write `STRING_AGG(region, ',')`"),
        **dict.fromkeys(("bool_and", "bool_or", "logical_and", "logical_or", "every"), "count: `COUNT_IF(amount > 5) > 0`"),
        **dict.fromkeys(("first", "any_value", "last", "arg_max", "arg_min", "arbitrary"), "take one by its order: `MIN(region)`"),
        "collate": "leave COLLATE out, or compare `LOWER(region)`",
        **dict.fromkeys(
            ("generate_series", "range", "generate_date_array"),
            "count with a recursive CTE: `WITH RECURSIVE days(day) AS (SELECT CAST('2026-01-01' AS DATE) UNION ALL "
            "SELECT CAST(day + INTERVAL '1 day' AS DATE) FROM days WHERE day < CAST('2026-01-31' AS DATE)) SELECT day FROM days`",
        ),
    },
}
# node -> what it is called in SQL, and the hint where that is the same for all databases
_CONSTRUCTS: Final[Mapping[type[exp.Expr], tuple[str, str]]] = {
    exp.Into: ("SELECT ... INTO", "name a result within the query: `WITH o AS (SELECT amount FROM orders) SELECT amount FROM o`"),
    exp.Lock: ("FOR UPDATE", "leave it out: a query only reads"),
    exp.TableSample: ("TABLESAMPLE", _SAMPLE),
    exp.Bracket: ("an element [n] of an array", "take a value of a group by its order: `MIN(amount)`"),
    exp.SimilarTo: ("SIMILAR TO", _PATTERN),
    exp.RegexpLike: ("a regular expression", _PATTERN),
    exp.RegexpILike: ("a regular expression", _PATTERN),
    exp.Glob: ("GLOB", _PATTERN),
    exp.BitwiseAnd: ("&", _BITS),
    exp.BitwiseOr: ("|", _BITS),
    exp.BitwiseXor: ("#", _BITS),
    exp.BitwiseNot: ("~", _BITS),
    exp.BitwiseLeftShift: ("<<", "multiply: `amount * 2`"),
    exp.BitwiseRightShift: (">>", "divide: `amount / 2`"),
    exp.JSONBContainsTopKey: ("the operator ?", _HAS_KEY),
    exp.JSONBContainsAnyTopKeys: ("the operator ?|", _HAS_KEY),
    exp.JSONBContainsAllTopKeys: ("the operator ?&", _HAS_KEY),
    exp.Dot: ("the field of a row", "write the alias and the column without brackets: `SELECT o.amount FROM orders AS o`"),
    exp.Parameter: ("a parameter of this form", NAMED),
    exp.SessionParameter: ("a parameter of this form", NAMED),
    exp.Heredoc: ("a dollar-quoted string", _PLAIN_STRING),
    exp.RawString: ("a raw string", _PLAIN_STRING),
    exp.ByteString: ("a string E'...'", _PLAIN_STRING),
    exp.HexString: ("a string X'...'", _PLAIN_STRING),
    exp.BitString: ("a string B'...'", _PLAIN_STRING),
    exp.National: ("a string N'...'", _PLAIN_STRING),
    exp.UnicodeString: ("a string U&'...'", _PLAIN_STRING),
    exp.Unnest: ("UNNEST", _LISTED),
    exp.Pivot: ("PIVOT", "write one aggregate for each column: `SELECT SUM(CASE WHEN region = 'North' THEN amount END) AS north FROM orders`"),
    exp.Insert: ("INSERT", "leave it out: a query only reads"),
    exp.Update: ("UPDATE", "leave it out: a query only reads"),
    exp.Delete: ("DELETE", "leave it out: a query only reads"),
    exp.Overlaps: ("OVERLAPS", "compare both ends: `placed_at >= '2026-01-01' AND placed_at < '2026-02-01'`"),
    exp.ArrayOverlaps: ("&&", "compare one by one: `region IN ('North', 'South')`"),
    exp.PropertyEQ: (":=", NAMED),
    exp.Kwarg: ("an argument by name", "give the arguments in their order"),
}
_CONSTRUCTS_OF: Final[Mapping[str, Mapping[type[exp.Expr], tuple[str, str]]]] = {
    "sqlite": {
        exp.Interval: ("INTERVAL", "move the date: `DATETIME(placed_at, '+1 day')`"),
        exp.ILike: ("ILIKE", "LIKE ignores the case of A to Z here: `region LIKE 'n%'`"),
        exp.AtTimeZone: ("AT TIME ZONE", "move the time: `DATETIME(placed_at, '+2 hours')`"),
        exp.Extract: ("EXTRACT", "take the part out of the text: `CAST(STRFTIME('%Y', placed_at) AS INTEGER)`"),
        exp.Array: ("ARRAY", "list the values: `region IN ('North', 'South')`"),
        exp.Any: ("ANY", "list the values: `region IN ('North', 'South')`"),
        exp.All: ("ALL", "compare with the greatest: `amount > (SELECT MAX(amount) FROM orders)`"),
        exp.Lateral: ("LATERAL", _RANKED),
        exp.WithinGroup: ("WITHIN GROUP", "take the row in the middle: `SELECT amount FROM orders ORDER BY amount LIMIT 1 OFFSET 50`"),
        exp.Rollup: ("ROLLUP", "add the totals: `SELECT region, SUM(amount) AS s FROM orders GROUP BY region UNION ALL SELECT NULL, SUM(amount) FROM orders`"),
        exp.Cube: ("CUBE", "add the totals: `SELECT region, SUM(amount) AS s FROM orders GROUP BY region UNION ALL SELECT NULL, SUM(amount) FROM orders`"),
        exp.GroupingSets: (
            "GROUPING SETS",
            "add them up: `SELECT region, SUM(amount) AS s FROM orders GROUP BY region UNION ALL SELECT NULL, SUM(amount) FROM orders`",
        ),
    },
    "postgres": {},
    "mariadb": {},
    "duckdb": {
        exp.Array: ("a list", "list the values: `region IN ('North', 'South')`"),
        exp.IntDiv: ("//", "divide and cut: `FLOOR(amount / 2)`"),
        exp.Struct: ("a struct", "select the columns: `SELECT region, amount FROM orders`"),
        exp.Columns: ("COLUMNS", "name the columns: `SELECT region, amount FROM orders`"),
        exp.WithinGroup: ("WITHIN GROUP", "write `MEDIAN(amount)`"),
        exp.JSONExtract: ("JSON", "make a view that has the value as a column, and read `region`"),
        exp.JSONExtractScalar: ("JSON", "make a view that has the value as a column, and read `region`"),
        exp.AtTimeZone: ("AT TIME ZONE", "times are compared as they are: `placed_at >= '2026-01-31'`"),
    },
}
# (node, argument) -> what that is called, and the hint
_PARTS: Final[Mapping[tuple[type[exp.Expr], str], tuple[str, str]]] = {
    (exp.Select, "into"): _CONSTRUCTS[exp.Into],
    (exp.Select, "locks"): _CONSTRUCTS[exp.Lock],
    (exp.Select, "qualify"): ("QUALIFY", _RANKED),
    (exp.Select, "sample"): _CONSTRUCTS[exp.TableSample],
    (exp.Select, "laterals"): ("LATERAL VIEW", _LISTED),
    (exp.Select, "kind"): ("SELECT AS", "leave AS behind SELECT out"),
    (exp.Table, "sample"): _CONSTRUCTS[exp.TableSample],
    (exp.Table, "pivots"): _CONSTRUCTS[exp.Pivot],
    (exp.Subquery, "sample"): _CONSTRUCTS[exp.TableSample],
    (exp.Subquery, "pivots"): _CONSTRUCTS[exp.Pivot],
    (exp.Table, "only"): ("ONLY", "leave ONLY out"),
    (exp.Table, "indexed"): ("INDEXED BY", "leave it out"),
    (exp.Table, "catalog"): ("a name of three parts", "write the name of the dataset alone: `SELECT amount FROM orders`"),
    (exp.Column, "catalog"): ("a column with the database's name", "write the alias and the column: `SELECT o.amount FROM orders AS o`"),
    (exp.Star, "except_"): ("* EXCEPT", "name the columns: `SELECT region, amount FROM orders`"),
    (exp.Star, "replace"): ("* REPLACE", "name the columns: `SELECT region, amount * 2 AS amount FROM orders`"),
    (exp.Star, "rename"): ("* RENAME", "name the columns: `SELECT region AS area FROM orders`"),
    (exp.LimitOptions, "with_ties"): (
        "WITH TIES",
        "rank the rows: `SELECT amount FROM (SELECT amount, RANK() OVER (ORDER BY amount) AS r FROM orders) AS o WHERE r <= 3`",
    ),
    (exp.LimitOptions, "percent"): ("PERCENT", "take a number of rows: `SELECT amount FROM orders ORDER BY amount LIMIT 10`"),
    (exp.Distinct, "on"): ("DISTINCT ON", _RANKED),
    (exp.In, "field"): ("IN with a table's name", "write a sub-query: `region IN (SELECT o.region FROM orders AS o)`"),
    (exp.In, "unnest"): ("IN UNNEST", "list the values: `region IN ('North', 'South')`"),
    (exp.Join, "using"): ("USING", "write ON"),
    (exp.Limit, "offset"): ("LIMIT with two numbers", "write `SELECT amount FROM orders ORDER BY amount LIMIT 10 OFFSET 5`"),
    (exp.CurrentTimestamp, "this"): ("CURRENT_TIMESTAMP with a precision", "write `CURRENT_TIMESTAMP`"),
    (exp.Order, "this"): ("ORDER BY in an aggregate", ORDERED),
    (exp.Greatest, "ignore_nulls"): ("GREATEST", "write `MAX(amount, 1)`"),
    (exp.Least, "ignore_nulls"): ("LEAST", "write `MIN(amount, 1)`"),
    (exp.Group, "totals"): ("WITH TOTALS", "write ROLLUP"),
    (exp.Between, "symmetric"): ("BETWEEN SYMMETRIC", "put the smaller value first: `amount BETWEEN 1 AND 9`"),
}
# the first word of what is no SELECT -> hint
_FIRST_WORDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("SHOW", "DESCRIBE", "DESC", "PRAGMA"), "the list of datasets says which tables and columns there are; a query reads them"),
    **dict.fromkeys(("EXPLAIN", "ANALYZE"), "send the SELECT alone, without the word before it"),
    "VALUES": "select from them: `SELECT v.column1 FROM (VALUES (1), (2)) AS v`",
    "TABLE": "write `SELECT region, amount FROM orders`",
    "FROM": "begin with SELECT: `SELECT region, amount FROM orders`",
    **dict.fromkeys(
        ("CREATE", "DROP", "ALTER", "TRUNCATE"), "a query makes nothing; name a result within it: `WITH o AS (SELECT amount FROM orders) SELECT amount FROM o`"
    ),
    **dict.fromkeys(("INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE"), "a query only reads; this is another program's task"),
    **dict.fromkeys(("SET", "RESET", "USE", "BEGIN", "START", "COMMIT", "ROLLBACK"), "leave it out: each query runs alone, with settings of its own"),
    **dict.fromkeys(("CALL", "EXECUTE", "PREPARE", "DO", "EXEC", "DECLARE"), "send the SELECT itself, with parameters as `:name`"),
    "COPY": "the answer is the copy: `SELECT region, amount FROM orders`",
}
# the type's name as CAST spells it -> hint
TYPES: Final[Mapping[str, Mapping[str, str]]] = {
    "sqlite": {
        **dict.fromkeys(("DATE",), "dates are text: `DATE(placed_at)`, or plainly `placed_at >= '2026-01-31'`"),
        **dict.fromkeys(("TIMESTAMP", "DATETIME", "TIMESTAMPTZ"), "times are text: `DATETIME(placed_at)`"),
        **dict.fromkeys(("NUMERIC", "DECIMAL"), "write `CAST(amount AS REAL)`"),
        **dict.fromkeys(("BOOLEAN", "BOOL"), "conditions are numbers: `amount <> 0`"),
        **dict.fromkeys(("STRING", "NVARCHAR", "CLOB"), "write `CAST(amount AS TEXT)`"),
        **dict.fromkeys(("SIGNED", "UNSIGNED", "INT8", "INT4", "INT2"), "write `CAST(amount AS INTEGER)`"),
        **dict.fromkeys(("JSON", "JSONB"), "JSON is text: `JSON_EXTRACT('{\"key\": 1}', '$.key')`"),
    },
    "mariadb": {
        **dict.fromkeys(("TEXT", "STRING", "NVARCHAR", "CLOB"), "write `CAST(amount AS CHAR)`"),
        **dict.fromkeys(("BIGINT", "SMALLINT", "TINYINT", "INT8", "INT4", "INT2", "MEDIUMINT"), "write `CAST(amount AS SIGNED)`"),
        **dict.fromkeys(("NUMERIC", "NUMBER", "MONEY"), "write `CAST(amount AS DECIMAL(12, 2))`"),
        **dict.fromkeys(("REAL", "FLOAT"), "write `CAST(amount AS DOUBLE)`"),
        **dict.fromkeys(("TIMESTAMP", "TIMESTAMPTZ"), "write `CAST(placed_at AS DATETIME)`"),
        **dict.fromkeys(("BOOLEAN", "BOOL"), "conditions are numbers: `amount <> 0`"),
    },
    "postgres": {
        **dict.fromkeys(("MONEY", "NUMBER"), "write `CAST(amount AS NUMERIC)`"),
        **dict.fromkeys(("STRING", "NVARCHAR", "CLOB", "NAME", "CITEXT"), "write `CAST(amount AS TEXT)`"),
        **dict.fromkeys(("DATETIME",), "write `CAST(placed_at AS TIMESTAMP)`"),
        **dict.fromkeys(("SIGNED", "UNSIGNED", "TINYINT", "MEDIUMINT"), "write `CAST(amount AS BIGINT)`"),
        **dict.fromkeys(("DOUBLE", "FLOAT64"), "write `CAST(amount AS DOUBLE PRECISION)`"),
    },
    "duckdb": {
        **dict.fromkeys(("MONEY", "NUMBER"), "write `CAST(amount AS DECIMAL(18, 2))`"),
        **dict.fromkeys(("NVARCHAR", "CLOB", "NAME", "CITEXT", "BPCHAR"), "write `CAST(amount AS TEXT)`"),
        **dict.fromkeys(("SIGNED", "UNSIGNED", "HUGEINT", "UBIGINT"), "write `CAST(amount AS BIGINT)`"),
        **dict.fromkeys(("JSON", "JSONB", "STRUCT", "MAP"), "write `CAST(amount AS TEXT)`"),
    },
}
_WORD_AFTER_COLON: Final = re.compile(r"(?<![:\w]):(from|for|on|like|values|with|when|as)\b", re.IGNORECASE)
_TOP: Final = re.compile(r"\s*SELECT\s+TOP\s", re.IGNORECASE)
_CALLED: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\(|\Z)")


def cure(node: exp.Expr, dialect: Dialect, names: Iterable[str] = ()) -> str | None:
    """The hint for a refused construct or function, or None where there is nothing better than the code's own."""
    own = _BY_DATABASE[dialect.name]
    for name in names:
        if hint := own.get(name) or _FUNCTIONS.get(name):
            return _called_there(hint, dialect)
    found = _CONSTRUCTS_OF[dialect.name].get(type(node)) or _CONSTRUCTS.get(type(node))
    return None if found is None else _called_there(found[1], dialect)


def first_word(word: str, dialect: Dialect) -> str | None:
    """The hint for SQL that begins with this word, or None."""
    hint = _FIRST_WORDS.get(word.upper())
    return None if hint is None else _called_there(hint, dialect)


def _called_there(hint: str, dialect: Dialect) -> str:
    """With the name that the first column of VALUES has in this database."""
    word, first = dialect.values_columns
    return hint.replace("column1", f"{word}{first}")


def syntax_cure(sql: str, dialect: Dialect) -> str | None:
    """The hint for SQL that cannot be parsed, where it looks like another database's, or a parameter is called like a keyword."""
    if "`" in sql and dialect.mark == '"' and dialect.name != "sqlite":
        return 'write names in double quotes: `"amount"`'
    if _TOP.match(sql):
        return "write `SELECT amount FROM orders ORDER BY amount LIMIT 10`"
    if (named := _WORD_AFTER_COLON.search(sql)) is not None:
        return f"`{named[1]}` is a word of SQL: give the parameter another name, such as `:p_{named[1]}`"
    return _PATTERN if "~" in sql else None


def is_construct(node: exp.Expr) -> bool:
    """Whether a function to the parser is none in SQL."""
    return type(node) in _CONSTRUCTS


def part(node: exp.Expr, argument: str, value: object, dialect: Dialect) -> tuple[str, str | None]:
    """What an argument that may not stand is called, and the hint."""
    if (found := _PARTS.get((type(node), argument))) is not None:
        return found
    first = value[0] if isinstance(value, list) and value else value
    if isinstance(first, exp.Expr) and (type(first) in _CONSTRUCTS or any(type(first) in own for own in _CONSTRUCTS_OF.values())):
        return spoken(first, dialect), cure(first, dialect)
    return f"{spoken(node, dialect)} with {argument.strip('_').replace('_', ' ')}", None


def spoken(node: exp.Expr, dialect: Dialect) -> str:
    """What a construct is called in SQL; else the parser's class name in words (`JSONTable` -> `json table`)."""
    if (found := _CONSTRUCTS_OF[dialect.name].get(type(node)) or _CONSTRUCTS.get(type(node))) is not None:
        return found[0]
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(node).__name__).lower()


def called(node: exp.Func, dialect: Dialect) -> list[str]:
    """The names of a function, in lower case: as the database is told it, then as the parser calls it."""
    try:
        written = _CALLED.match(dialect.grammar.generate(node, unsupported_level=ErrorLevel.IGNORE))
    except (SqlglotError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
        written = None
    own = [name.lower() for name in node.sql_names()]
    # What is written as an operator is no call, though it may begin with one.
    return [written[1].lower(), *own] if written is not None and type(node) not in _CONSTRUCTS else own
