"""The closed world of DuckDB, beside what is common. Of its own additions to SQL nothing is here: what they say can be said without them."""

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
    **{node: given for node, given in EXPRESSIONS.items() if not issubclass(node, (exp.JSONPath, exp.JSONPathPart))},
    exp.Lateral: args("this", "alias"),
    exp.Distinct: args("expressions", "on"),
    exp.Group: args("expressions", "rollup", "cube", "grouping_sets"),  # no ALL
    exp.Rollup: args("expressions"),
    exp.Cube: args("expressions"),
    exp.GroupingSets: args("expressions"),
    exp.ILike: args("this", "expression", "negate"),
    exp.Any: args("this"),
    exp.All: args("this"),
    exp.Order: args("this", "expressions"),  # `this` is what an aggregate takes in that order: see checks
    exp.Interval: args("this", "unit"),
    exp.Extract: BINARY,
    exp.TryCast: args("this", "to", "_type", "safe"),
}

AGGREGATES: Final[Mapping[type[exp.Expr] | str, Arguments]] = {
    **COMMON_AGGREGATES,
    exp.Stddev: args("this"),
    exp.StddevPop: args("this"),
    exp.StddevSamp: args("this"),
    exp.Variance: args("this"),
    exp.VariancePop: args("this"),
    exp.Median: args("this"),
    exp.Corr: BINARY,
    exp.CovarPop: BINARY,
    exp.CovarSamp: BINARY,
    exp.CountIf: args("this"),
}

FUNCTIONS: Final[Mapping[type[exp.Expr] | str, Arguments]] = {
    **AGGREGATES,
    **WINDOW_FUNCTIONS,
    **SCALARS,
    exp.Greatest: args("this", "expressions", "ignore_nulls"),
    exp.Least: args("this", "expressions", "ignore_nulls"),
    exp.Left: BINARY,
    exp.Right: BINARY,
    exp.Concat: args("expressions", "coalesce", "safe"),
    exp.ConcatWs: args("expressions", "coalesce", "safe"),
    exp.StrPosition: args("this", "substr"),
    exp.SplitPart: args("this", "delimiter", "part_index"),
    exp.StartsWith: BINARY,
    exp.Reverse: args("this"),
    exp.Try: args("this"),  # NULL where its argument fails
    exp.CurrentDate: {},
    exp.CurrentTimestamp: {},
    exp.TimestampTrunc: args("this", "unit", "zone"),
    exp.TimeToStr: args("this", "format"),  # strftime; the sieve looks at its format
    exp.Year: args("this"),
    exp.Quarter: args("this"),
    exp.Month: args("this"),
    exp.Day: args("this"),
    exp.DateDiff: args("this", "expression", "unit", "date_part_boundary"),  # the last is how the parser notes that units are counted, not fractions
    exp.Pad: args("this", "expression", "fill_pattern", "is_left"),  # to a length that is written down: see checks
    exp.Grouping: args("expressions"),
}

CASTS: Final = frozenset(
    {
        exp.DType.INT,
        exp.DType.BIGINT,
        exp.DType.SMALLINT,
        exp.DType.TINYINT,
        exp.DType.DECIMAL,
        exp.DType.FLOAT,
        exp.DType.DOUBLE,
        exp.DType.TEXT,
        exp.DType.BOOLEAN,
        exp.DType.DATE,
        exp.DType.TIME,
        exp.DType.TIMESTAMPNTZ,  # what the parser calls TIMESTAMP here
        exp.DType.TIMESTAMPTZ,
        exp.DType.INTERVAL,
        exp.DType.UUID,
    }
)
