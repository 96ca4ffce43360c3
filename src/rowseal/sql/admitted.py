"""The closed world: every syntax node, argument, function and cast that a bearer's SQL may hold. What is not here is refused.

Read each line as "this class, with at most these arguments, and where an argument is a word, one of these words". A new version of
the parser that adds a class or an argument adds nothing to these tables, so it is refused until somebody has read about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from sqlglot import exp

__all__ = ["AGGREGATES", "CASTS", "FUNCTIONS", "NODES", "SPOKEN_FALSE", "TIME_UNITS", "Arguments"]

Words: TypeAlias = frozenset[str]
# argument name -> the words it may be (upper case), or None where its value is checked as a node of its own
Arguments: TypeAlias = Mapping[str, Words | None]

TIME_UNITS: Final = frozenset(
    "MICROSECOND MICROSECONDS MILLISECOND MILLISECONDS SECOND SECONDS MINUTE MINUTES HOUR HOURS DAY DAYS WEEK WEEKS MONTH MONTHS QUARTER YEAR YEARS "
    "DECADE CENTURY MILLENNIUM DOW DOY EPOCH ISODOW ISOYEAR".split()
)


def _any(*names: str) -> Arguments:
    return dict.fromkeys(names)


def _words(text: str) -> Words:
    return frozenset(text.split(","))


_BINARY = _any("this", "expression")

_QUERY: dict[type[exp.Expr], Arguments] = {
    # no into, locks, hint, kind, sample, pivots, qualify, match, prewhere, settings, format, operation_modifiers, laterals ...
    exp.Select: _any("with_", "expressions", "distinct", "from_", "joins", "where", "group", "having", "windows", "order", "limit", "offset"),
    exp.Union: _any("with_", "this", "expression", "distinct", "order", "limit", "offset"),
    exp.Except: _any("with_", "this", "expression", "distinct", "order", "limit", "offset"),
    exp.Intersect: _any("with_", "this", "expression", "distinct", "order", "limit", "offset"),
    exp.Subquery: _any("this", "alias", "joins", "order", "limit", "offset"),
    exp.With: _any("expressions", "recursive"),
    exp.CTE: _any("this", "alias", "materialized"),
    exp.From: _any("this"),
    exp.Table: _any("this", "db", "alias", "joins"),  # no sample, hints, version, partition, only, ordinality, rows_from, pivots, indexed ...
    exp.TableAlias: _any("this", "columns"),
    exp.Join: {
        "this": None,
        "on": None,
        "using": None,
        "method": _words("NATURAL"),
        "side": _words("LEFT,RIGHT,FULL"),
        "kind": _words("INNER,CROSS,OUTER"),
    },
    exp.Values: _any("expressions", "alias"),
    exp.Where: _any("this"),
    exp.Having: _any("this"),
    exp.Group: _any("expressions"),
    exp.Order: _any("expressions"),
    exp.Ordered: _any("this", "desc", "nulls_first"),
    exp.Limit: _any("expression"),
    exp.Offset: _any("expression"),
    exp.Fetch: {"direction": _words("FIRST,NEXT"), "count": None, "limit_options": None},
    exp.LimitOptions: _any("rows"),  # neither percent nor WITH TIES
    exp.Distinct: _any("expressions"),
    exp.Alias: _any("this", "alias"),
    exp.Star: {},  # no EXCEPT, REPLACE, RENAME
    exp.Tuple: _any("expressions"),
}

_EXPRESSIONS: dict[type[exp.Expr], Arguments] = {
    exp.Identifier: _any("this", "quoted"),
    exp.Column: _any("this", "table", "db"),
    exp.Literal: _any("this", "is_string"),
    exp.Null: {},
    exp.Boolean: _any("this"),
    exp.Placeholder: _any("this"),
    exp.Paren: _any("this"),
    exp.And: _BINARY,
    exp.Or: _BINARY,
    exp.Not: _any("this"),
    exp.EQ: _BINARY,
    exp.NEQ: _BINARY,
    exp.GT: _BINARY,
    exp.GTE: _BINARY,
    exp.LT: _BINARY,
    exp.LTE: _BINARY,
    exp.NullSafeEQ: _BINARY,
    exp.NullSafeNEQ: _BINARY,
    exp.Is: _any("this", "expression", "negate"),
    exp.Between: _any("this", "low", "high"),
    exp.In: _any("this", "expressions", "query"),  # no `field`: SQLite's `x IN table` reads a table without naming one in FROM; no unnest
    exp.Exists: _any("this"),
    exp.Like: _any("this", "expression", "negate"),
    exp.Escape: _BINARY,
    exp.Add: _BINARY,
    exp.Sub: _BINARY,
    exp.Mul: _BINARY,
    exp.Div: _any("this", "expression", "typed", "safe"),
    exp.Mod: _BINARY,
    exp.Neg: _any("this"),
    exp.DPipe: _any("this", "expression", "safe"),
    exp.Case: _any("this", "ifs", "default"),
    exp.If: _any("this", "true", "false"),
    exp.Cast: _any("this", "to", "_type"),
    exp.DataType: _any("this", "expressions"),
    exp.DataTypeParam: _any("this"),
    exp.Var: _any("this"),  # only a time unit: see checks
    exp.Window: {"this": None, "partition_by": None, "order": None, "spec": None, "alias": None, "over": _words("OVER")},
    exp.WindowSpec: {
        "kind": _words("ROWS,RANGE,GROUPS"),
        "start": _words("UNBOUNDED,CURRENT ROW"),
        "start_side": _words("PRECEDING,FOLLOWING"),
        "end": _words("UNBOUNDED,CURRENT ROW"),
        "end_side": _words("PRECEDING,FOLLOWING"),
    },
    exp.Filter: _BINARY,
    exp.JSONPath: _any("expressions"),
    exp.JSONPathRoot: {},
    exp.JSONPathKey: _any("this"),
    exp.JSONPathSubscript: _any("this"),
}

_POSTGRES_ONLY: dict[type[exp.Expr], Arguments] = {
    exp.Lateral: _any("this", "alias"),
    exp.Distinct: _any("expressions", "on"),
    exp.Group: _any("expressions", "rollup", "cube", "grouping_sets"),
    exp.Rollup: _any("expressions"),
    exp.Cube: _any("expressions"),
    exp.GroupingSets: _any("expressions"),
    exp.Between: _any("this", "low", "high", "symmetric"),
    exp.ILike: _any("this", "expression", "negate"),
    exp.Any: _any("this"),
    exp.All: _any("this"),
    exp.Array: _any("expressions"),
    exp.WithinGroup: _BINARY,
    exp.Order: _any("this", "expressions"),  # `this` is what an aggregate takes in that order: see checks
    exp.DataType: _any("this", "expressions", "nested"),  # an array of texts: see checks
    exp.Interval: _any("this", "unit"),
    exp.AtTimeZone: _any("this", "zone"),
    exp.Extract: _BINARY,
    exp.JSONExtract: _any("this", "expression", "only_json_types"),
    exp.JSONExtractScalar: _any("this", "expression", "only_json_types"),
    exp.JSONBExtract: _BINARY,  # #>
    exp.JSONBExtractScalar: _BINARY,  # #>>
    exp.ArrayContainsAll: _BINARY,  # @>
}

_SQLITE_ONLY: dict[type[exp.Expr], Arguments] = {
    exp.Glob: _BINARY,
    exp.Collate: _BINARY,  # with a collation that every SQLite has: see checks
}

NODES: Final[Mapping[str, Mapping[type[exp.Expr], Arguments]]] = {
    "sqlite": {**_QUERY, **_EXPRESSIONS, **_SQLITE_ONLY},
    "postgres": {**_QUERY, **_EXPRESSIONS, **_POSTGRES_ONLY},
}

# Where False is something that the SQL said: NOT INDEXED, GROUP BY DISTINCT, OUTER APPLY, FROM LAST. Elsewhere it is the parser's word for
# nothing, and the writer writes nothing for it (tests/test_admit.py asks the writer).
SPOKEN_FALSE: Final = frozenset(
    {
        (exp.Table, "indexed"),
        (exp.Group, "all"),
        (exp.Lateral, "cross_apply"),
        (exp.Window, "first"),
        (exp.UnixToTime, "scale"),
        (exp.JSONExtract, "expressions"),
        (exp.JSONExtractScalar, "expressions"),
    }
)

# Functions are named as the parser knows them: a class for those it types, a lower-case name for the rest.
# Never here, for any reason: whatever runs SQL text, reads files, catalogs, settings or statistics, changes or keeps state, sleeps,
# draws random numbers, or makes much out of little (repeat, format, range; replace, lpad and
# printf only in the forms that do not: see checks).
_AGGREGATES: dict[type[exp.Expr] | str, Arguments] = {
    exp.Count: _any("this", "expressions", "big_int"),
    exp.Sum: _any("this"),
    exp.Avg: _any("this"),
    exp.Min: _any("this"),
    exp.Max: _any("this"),
    exp.GroupConcat: _any("this", "separator"),
}
_WINDOW_FUNCTIONS: dict[type[exp.Expr] | str, Arguments] = {
    exp.RowNumber: {},
    exp.Rank: {},
    exp.DenseRank: {},
    exp.PercentRank: {},
    exp.CumeDist: {},
    exp.Ntile: _any("this"),
    exp.Lag: _any("this", "offset", "default"),
    exp.Lead: _any("this", "offset", "default"),
    exp.FirstValue: _any("this"),
    exp.LastValue: _any("this"),
    exp.NthValue: _any("this", "offset"),
}
_SCALARS: dict[type[exp.Expr] | str, Arguments] = {
    exp.Abs: _any("this"),
    exp.Ceil: _any("this"),
    exp.Floor: _any("this"),
    exp.Round: _any("this", "decimals"),
    exp.Sign: _any("this"),
    exp.Coalesce: _any("this", "expressions"),
    exp.Nullif: _BINARY,
    exp.Lower: _any("this"),
    exp.Upper: _any("this"),
    exp.Length: _any("this"),
    exp.Substring: _any("this", "start", "length"),
    exp.Trim: {"this": None, "expression": None, "position": _words("BOTH,LEADING,TRAILING")},
    exp.Replace: _any("this", "expression", "replacement"),  # by something that is not longer: see checks
    exp.Sqrt: _any("this"),
    exp.Pow: _BINARY,
    exp.Exp: _any("this"),
    exp.Ln: _any("this"),
}

AGGREGATES: Final[Mapping[str, Mapping[type[exp.Expr] | str, Arguments]]] = {
    "sqlite": _AGGREGATES,
    "postgres": {
        **_AGGREGATES,
        exp.ArrayAgg: _any("this", "nulls_excluded"),
        exp.LogicalAnd: _any("this"),
        exp.LogicalOr: _any("this"),
        exp.Stddev: _any("this"),
        exp.StddevPop: _any("this"),
        exp.StddevSamp: _any("this"),
        exp.Variance: _any("this"),
        exp.VariancePop: _any("this"),
        exp.PercentileCont: _any("this"),
        exp.PercentileDisc: _any("this"),
        exp.Mode: {},
        exp.Corr: _BINARY,
        exp.CovarPop: _BINARY,
        exp.CovarSamp: _BINARY,
        exp.RegrSlope: _BINARY,
        exp.RegrIntercept: _BINARY,
        exp.RegrR2: _BINARY,
        exp.RegrCount: _BINARY,
        "every": _any("this", "expressions"),
    },
}
FUNCTIONS: Final[Mapping[str, Mapping[type[exp.Expr] | str, Arguments]]] = {
    "sqlite": {
        **AGGREGATES["sqlite"],
        **_WINDOW_FUNCTIONS,
        **_SCALARS,
        exp.Greatest: _any("this", "expressions"),  # what SQLite calls max and min with two or more arguments
        exp.Least: _any("this", "expressions"),
        exp.StrPosition: _any("this", "substr"),
        exp.Date: _any("this", "expressions"),
        exp.TimeToStr: _any("this", "format"),
        exp.TsOrDsToTimestamp: _any("this"),
        exp.CurrentDate: {},
        exp.CurrentTime: {},
        exp.CurrentTimestamp: {},
        exp.Typeof: _any("this"),
        exp.JSONExtract: _any("this", "expression"),
        exp.JSONExtractScalar: _any("this", "expression", "json_subtype"),
        exp.JSONType: _any("this"),
        exp.Format: _any("this", "expressions"),  # and printf, with a format that bounds what comes out: see checks
        "printf": _any("this", "expressions"),
        "date": _any("this", "expressions"),
        "total": _any("this", "expressions"),
        "julianday": _any("this", "expressions"),
        "unixepoch": _any("this", "expressions"),
        "strftime": _any("this", "expressions"),
        "datetime": _any("this", "expressions"),
        "time": _any("this", "expressions"),
        "json_valid": _any("this", "expressions"),
        "json_array_length": _any("this", "expressions"),
    },
    "postgres": {
        **AGGREGATES["postgres"],
        **_WINDOW_FUNCTIONS,
        **_SCALARS,
        exp.Greatest: _any("this", "expressions", "ignore_nulls"),
        exp.Least: _any("this", "expressions", "ignore_nulls"),
        exp.Log: _any("this", "expression"),
        exp.Trunc: _any("this", "decimals"),
        exp.Left: _BINARY,
        exp.Right: _BINARY,
        exp.Concat: _any("expressions", "coalesce", "safe"),
        exp.ConcatWs: _any("expressions", "coalesce", "safe"),
        exp.StrPosition: _any("this", "substr"),
        exp.SplitPart: _any("this", "delimiter", "part_index"),
        exp.StartsWith: _BINARY,
        exp.Reverse: _any("this"),
        exp.CurrentDate: {},
        exp.CurrentTimestamp: {},
        exp.TimestampTrunc: _any("this", "unit", "zone"),
        exp.TimeToStr: _any("this", "format"),  # to_char; the sieve looks at its format and at those of the next two
        exp.StrToTime: _any("this", "format"),
        exp.StrToDate: _any("this", "format"),
        exp.UnixToTime: _any("this"),
        exp.Pad: _any("this", "expression", "fill_pattern", "is_left"),  # to a length that is written down: see checks
        "timezone": _any("this", "expressions"),
        "all": _any("this", "expressions"),  # `> ALL (ARRAY[..])`, which the parser takes for a call: see checks
        exp.WidthBucket: _any("this", "min_value", "max_value", "num_buckets"),
        exp.Grouping: _any("expressions"),
        "age": _any("this", "expressions"),
        "make_date": _any("this", "expressions"),
        "jsonb_typeof": _any("this", "expressions"),
        "json_typeof": _any("this", "expressions"),
        "jsonb_array_length": _any("this", "expressions"),
        "octet_length": _any("this", "expressions"),
    },
}

CASTS: Final[Mapping[str, frozenset[exp.DType]]] = {
    "sqlite": frozenset(
        {
            exp.DType.INT,
            exp.DType.BIGINT,
            exp.DType.SMALLINT,
            exp.DType.TINYINT,
            # no DECIMAL: the parser writes it back as REAL, which is another affinity than NUMERIC
            exp.DType.DOUBLE,
            exp.DType.TEXT,
            exp.DType.VARCHAR,
            exp.DType.CHAR,
        }
    ),
    "postgres": frozenset(
        {
            exp.DType.INT,
            exp.DType.BIGINT,
            exp.DType.SMALLINT,
            exp.DType.DECIMAL,
            exp.DType.FLOAT,
            exp.DType.DOUBLE,
            exp.DType.TEXT,
            exp.DType.VARCHAR,
            exp.DType.CHAR,
            exp.DType.BOOLEAN,
            exp.DType.DATE,
            exp.DType.TIME,
            exp.DType.TIMESTAMP,
            exp.DType.TIMESTAMPTZ,
            exp.DType.INTERVAL,
            exp.DType.UUID,
            exp.DType.JSON,
            exp.DType.JSONB,
            exp.DType.ARRAY,
        }
    ),
}
