"""The closed world of MariaDB, beside what is common.

Not here although others have it: `||` (OR in one setting, text in another), FULL JOIN and VALUES in FROM (which the parser writes as something
else), FILTER, LATERAL, regular expressions (they raise), variables, and everything that asks about the last statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlglot import exp

from rowseal.sql.admitted.arguments import BINARY, Arguments, args, words
from rowseal.sql.admitted.common import AGGREGATES as COMMON_AGGREGATES
from rowseal.sql.admitted.common import EXPRESSIONS, QUERY, SCALARS, WINDOW_FUNCTIONS

__all__ = ["AGGREGATES", "CASTS", "FUNCTIONS", "NODES"]

_LACKING: Final = frozenset(
    {exp.Values, exp.DPipe, exp.Filter, exp.Fetch, exp.LimitOptions, exp.NullSafeNEQ, exp.JSONPath, exp.JSONPathRoot, exp.JSONPathKey, exp.JSONPathSubscript}
)

NODES: Final[Mapping[type[exp.Expr], Arguments]] = {
    **{kind: arguments for kind, arguments in {**QUERY, **EXPRESSIONS}.items() if kind not in _LACKING},
    exp.Join: {
        "this": None,
        "on": None,
        "using": None,
        "method": words("NATURAL"),
        "side": words("LEFT,RIGHT"),
        "kind": words("INNER,CROSS,OUTER"),
    },
    exp.WindowSpec: {
        "kind": words("ROWS,RANGE"),
        "start": words("UNBOUNDED,CURRENT ROW"),
        "start_side": words("PRECEDING,FOLLOWING"),
        "end": words("UNBOUNDED,CURRENT ROW"),
        "end_side": words("PRECEDING,FOLLOWING"),
    },
    exp.Any: args("this"),
    exp.All: args("this"),
    exp.Order: args("this", "expressions"),  # `this` is what GROUP_CONCAT takes in that order: see checks
    exp.Interval: args("this", "unit"),
    exp.Extract: BINARY,
}

AGGREGATES: Final[Mapping[type[exp.Expr] | str, Arguments]] = {
    **COMMON_AGGREGATES,
    exp.StddevPop: args("this"),
    exp.StddevSamp: args("this"),
    exp.VariancePop: args("this"),
    exp.Variance: args("this"),
}

FUNCTIONS: Final[Mapping[type[exp.Expr] | str, Arguments]] = {
    **AGGREGATES,
    **WINDOW_FUNCTIONS,
    **SCALARS,
    exp.Lag: args("this", "offset"),
    exp.Lead: args("this", "offset"),
    exp.Length: args("this", "binary"),  # LENGTH counts bytes, CHAR_LENGTH characters
    exp.Greatest: args("this", "expressions", "ignore_nulls"),
    exp.Least: args("this", "expressions", "ignore_nulls"),
    exp.Log: args("this", "expression"),
    exp.Trunc: args("this", "decimals"),
    exp.Left: BINARY,
    exp.Right: BINARY,
    exp.Concat: args("expressions", "coalesce", "safe"),
    exp.ConcatWs: args("expressions", "coalesce", "safe"),
    exp.StrPosition: args("this", "substr"),
    exp.SubstringIndex: args("this", "delimiter", "count"),
    exp.Reverse: args("this"),
    exp.Pad: args("this", "expression", "fill_pattern", "is_left"),  # to a length that is written down: see checks
    exp.CurrentDate: {},
    exp.CurrentTime: {},
    exp.CurrentTimestamp: {},
    "now": args("this"),
    exp.TsOrDsToDate: args("this"),  # DATE, and what YEAR and the like make of their argument
    exp.TsOrDsToTimestamp: args("this"),  # what DATE_FORMAT makes of its argument; nothing is written
    exp.TimeToStr: args("this", "format"),  # DATE_FORMAT; the sieve looks at its format and at that of the next one
    exp.StrToDate: args("this", "format"),
    exp.Year: args("this"),
    exp.Quarter: args("this"),
    exp.Month: args("this"),
    exp.Week: args("this", "mode"),
    exp.WeekOfYear: args("this"),
    exp.Day: args("this"),
    exp.DayOfMonth: args("this"),
    exp.DayOfWeek: args("this"),
    exp.DayOfYear: args("this"),
    exp.Dayname: args("this"),
    exp.Hour: args("this"),
    exp.Minute: args("this"),
    exp.Second: args("this"),
    exp.LastDay: args("this"),
    exp.DateAdd: args("this", "expression", "unit"),
    exp.DateSub: args("this", "expression", "unit"),
    exp.DateDiff: args("this", "expression", "date_part_boundary"),
    exp.TimestampDiff: args("this", "expression", "unit"),
    "weekday": args("this", "expressions"),
    "yearweek": args("this", "expressions"),
    "makedate": args("this", "expressions"),
    "field": args("this", "expressions"),
    exp.Elt: args("this", "expressions"),
    "find_in_set": args("this", "expressions"),
    "strcmp": args("this", "expressions"),
}

CASTS: Final = frozenset(
    {
        exp.DType.INT,
        exp.DType.BIGINT,  # SIGNED
        exp.DType.UBIGINT,  # UNSIGNED
        exp.DType.DECIMAL,
        exp.DType.DOUBLE,
        exp.DType.CHAR,
        exp.DType.VARCHAR,
        exp.DType.DATE,
        exp.DType.TIME,
        exp.DType.DATETIME,
    }
)
