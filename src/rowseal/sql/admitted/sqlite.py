"""The closed world of SQLite, beside what is common."""

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
    exp.Glob: BINARY,
    exp.Collate: BINARY,  # with a collation that every SQLite has: see checks
}

AGGREGATES: Final[Mapping[type[exp.Expr] | str, Arguments]] = COMMON_AGGREGATES

FUNCTIONS: Final[Mapping[type[exp.Expr] | str, Arguments]] = {
    **AGGREGATES,
    **WINDOW_FUNCTIONS,
    **SCALARS,
    exp.Greatest: args("this", "expressions"),  # what SQLite calls max and min with two or more arguments
    exp.Least: args("this", "expressions"),
    exp.StrPosition: args("this", "substr"),
    exp.Date: args("this", "expressions"),
    exp.TimeToStr: args("this", "format"),
    exp.TsOrDsToTimestamp: args("this"),
    exp.CurrentDate: {},
    exp.CurrentTime: {},
    exp.CurrentTimestamp: {},
    exp.Typeof: args("this"),
    exp.JSONExtract: args("this", "expression"),
    exp.JSONExtractScalar: args("this", "expression", "json_subtype"),
    exp.JSONType: args("this"),
    exp.Format: args("this", "expressions"),  # and printf, with a format that bounds what comes out: see checks
    "printf": args("this", "expressions"),
    "date": args("this", "expressions"),
    "total": args("this", "expressions"),
    "julianday": args("this", "expressions"),
    "unixepoch": args("this", "expressions"),
    "strftime": args("this", "expressions"),
    "datetime": args("this", "expressions"),
    "time": args("this", "expressions"),
    "json_valid": args("this", "expressions"),
    "json_array_length": args("this", "expressions"),
}

CASTS: Final = frozenset(
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
)
