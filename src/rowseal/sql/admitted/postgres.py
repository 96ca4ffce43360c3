"""The closed world of PostgreSQL, beside what is common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlglot import exp

from rowseal.sql.admitted.arguments import BINARY, Arguments, args
from rowseal.sql.admitted.common import AGGREGATES as COMMON_AGGREGATES
from rowseal.sql.admitted.common import EXPRESSIONS, QUERY, SCALARS, WINDOW_FUNCTIONS

__all__ = ["AGGREGATES", "CASTS", "FUNCTIONS", "NODES"]

NODES: Final[Mapping[type[exp.Expr], Arguments]] = {
    **QUERY,
    **EXPRESSIONS,
    exp.Lateral: args("this", "alias"),
    exp.Distinct: args("expressions", "on"),
    exp.Group: args("expressions", "rollup", "cube", "grouping_sets"),
    exp.Rollup: args("expressions"),
    exp.Cube: args("expressions"),
    exp.GroupingSets: args("expressions"),
    exp.Between: args("this", "low", "high", "symmetric"),
    exp.ILike: args("this", "expression", "negate"),
    exp.Any: args("this"),
    exp.All: args("this"),
    exp.Array: args("expressions"),
    exp.WithinGroup: BINARY,
    exp.Order: args("this", "expressions"),  # `this` is what an aggregate takes in that order: see checks
    exp.DataType: args("this", "expressions", "nested"),  # an array of texts: see checks
    exp.Interval: args("this", "unit"),
    exp.AtTimeZone: args("this", "zone"),
    exp.Extract: BINARY,
    exp.JSONExtract: args("this", "expression", "only_json_types"),
    exp.JSONExtractScalar: args("this", "expression", "only_json_types"),
    exp.JSONBExtract: BINARY,  # #>
    exp.JSONBExtractScalar: BINARY,  # #>>
    exp.ArrayContainsAll: BINARY,  # @>
}

AGGREGATES: Final[Mapping[type[exp.Expr] | str, Arguments]] = {
    **COMMON_AGGREGATES,
    exp.ArrayAgg: args("this", "nulls_excluded"),
    exp.LogicalAnd: args("this"),
    exp.LogicalOr: args("this"),
    exp.Stddev: args("this"),
    exp.StddevPop: args("this"),
    exp.StddevSamp: args("this"),
    exp.Variance: args("this"),
    exp.VariancePop: args("this"),
    exp.PercentileCont: args("this"),
    exp.PercentileDisc: args("this"),
    exp.Mode: {},
    exp.Corr: BINARY,
    exp.CovarPop: BINARY,
    exp.CovarSamp: BINARY,
    exp.RegrSlope: BINARY,
    exp.RegrIntercept: BINARY,
    exp.RegrR2: BINARY,
    exp.RegrCount: BINARY,
    "every": args("this", "expressions"),
}

FUNCTIONS: Final[Mapping[type[exp.Expr] | str, Arguments]] = {
    **AGGREGATES,
    **WINDOW_FUNCTIONS,
    **SCALARS,
    exp.Greatest: args("this", "expressions", "ignore_nulls"),
    exp.Least: args("this", "expressions", "ignore_nulls"),
    exp.Log: args("this", "expression"),
    exp.Trunc: args("this", "decimals"),
    exp.Left: BINARY,
    exp.Right: BINARY,
    exp.Concat: args("expressions", "coalesce", "safe"),
    exp.ConcatWs: args("expressions", "coalesce", "safe"),
    exp.StrPosition: args("this", "substr"),
    exp.SplitPart: args("this", "delimiter", "part_index"),
    exp.StartsWith: BINARY,
    exp.Reverse: args("this"),
    exp.CurrentDate: {},
    exp.CurrentTimestamp: {},
    exp.TimestampTrunc: args("this", "unit", "zone"),
    exp.TimeToStr: args("this", "format"),  # to_char; the sieve looks at its format and at those of the next two
    exp.StrToTime: args("this", "format"),
    exp.StrToDate: args("this", "format"),
    exp.UnixToTime: args("this"),
    exp.Pad: args("this", "expression", "fill_pattern", "is_left"),  # to a length that is written down: see checks
    "timezone": args("this", "expressions"),
    "all": args("this", "expressions"),  # `> ALL (ARRAY[..])`, which the parser takes for a call: see checks
    exp.WidthBucket: args("this", "min_value", "max_value", "num_buckets"),
    exp.Grouping: args("expressions"),
    "age": args("this", "expressions"),
    "make_date": args("this", "expressions"),
    "jsonb_typeof": args("this", "expressions"),
    "json_typeof": args("this", "expressions"),
    "jsonb_array_length": args("this", "expressions"),
    "octet_length": args("this", "expressions"),
}

CASTS: Final = frozenset(
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
)
