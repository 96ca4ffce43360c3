"""What every database that rowseal speaks has."""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from rowseal.sql.admitted.arguments import BINARY, Arguments, args, words

__all__ = ["AGGREGATES", "EXPRESSIONS", "QUERY", "SCALARS", "WINDOW_FUNCTIONS"]

QUERY: Final[dict[type[exp.Expr], Arguments]] = {
    # no into, locks, hint, kind, sample, pivots, qualify, match, prewhere, settings, format, operation_modifiers, laterals ...
    exp.Select: args("with_", "expressions", "distinct", "from_", "joins", "where", "group", "having", "windows", "order", "limit", "offset"),
    exp.Union: args("with_", "this", "expression", "distinct", "order", "limit", "offset"),
    exp.Except: args("with_", "this", "expression", "distinct", "order", "limit", "offset"),
    exp.Intersect: args("with_", "this", "expression", "distinct", "order", "limit", "offset"),
    exp.Subquery: args("this", "alias", "joins", "order", "limit", "offset"),
    exp.With: args("expressions", "recursive"),
    exp.CTE: args("this", "alias", "materialized"),
    exp.From: args("this"),
    exp.Table: args("this", "db", "alias", "joins"),  # no sample, hints, version, partition, only, ordinality, rows_from, pivots, indexed ...
    exp.TableAlias: args("this", "columns"),
    exp.Join: {
        "this": None,
        "on": None,
        "using": None,
        "method": words("NATURAL"),
        "side": words("LEFT,RIGHT,FULL"),
        "kind": words("INNER,CROSS,OUTER"),
    },
    exp.Values: args("expressions", "alias"),
    exp.Where: args("this"),
    exp.Having: args("this"),
    exp.Group: args("expressions"),
    exp.Order: args("expressions"),
    exp.Ordered: args("this", "desc", "nulls_first"),
    exp.Limit: args("expression"),
    exp.Offset: args("expression"),
    exp.Fetch: {"direction": words("FIRST,NEXT"), "count": None, "limit_options": None},
    exp.LimitOptions: args("rows"),  # neither percent nor WITH TIES
    exp.Distinct: args("expressions"),
    exp.Alias: args("this", "alias"),
    exp.Star: {},  # no EXCEPT, REPLACE, RENAME
    exp.Tuple: args("expressions"),
}

EXPRESSIONS: Final[dict[type[exp.Expr], Arguments]] = {
    exp.Identifier: args("this", "quoted"),
    exp.Column: args("this", "table", "db"),
    exp.Literal: args("this", "is_string"),
    exp.Null: {},
    exp.Boolean: args("this"),
    exp.Placeholder: args("this"),
    exp.Paren: args("this"),
    exp.And: BINARY,
    exp.Or: BINARY,
    exp.Not: args("this"),
    exp.EQ: BINARY,
    exp.NEQ: BINARY,
    exp.GT: BINARY,
    exp.GTE: BINARY,
    exp.LT: BINARY,
    exp.LTE: BINARY,
    exp.NullSafeEQ: BINARY,
    exp.NullSafeNEQ: BINARY,
    exp.Is: args("this", "expression", "negate"),
    exp.Between: args("this", "low", "high"),
    exp.In: args("this", "expressions", "query"),  # no `field`: SQLite's `x IN table` reads a table without naming one in FROM; no unnest
    exp.Exists: args("this"),
    exp.Like: args("this", "expression", "negate"),
    exp.Escape: BINARY,
    exp.Add: BINARY,
    exp.Sub: BINARY,
    exp.Mul: BINARY,
    exp.Div: args("this", "expression", "typed", "safe"),
    exp.Mod: BINARY,
    exp.Neg: args("this"),
    exp.DPipe: args("this", "expression", "safe"),
    exp.Case: args("this", "ifs", "default"),
    exp.If: args("this", "true", "false"),
    exp.Cast: args("this", "to", "_type"),
    exp.DataType: args("this", "expressions"),
    exp.DataTypeParam: args("this"),
    exp.Var: args("this"),  # only a time unit: see checks
    exp.Window: {"this": None, "partition_by": None, "order": None, "spec": None, "alias": None, "over": words("OVER")},
    exp.WindowSpec: {
        "kind": words("ROWS,RANGE,GROUPS"),
        "start": words("UNBOUNDED,CURRENT ROW"),
        "start_side": words("PRECEDING,FOLLOWING"),
        "end": words("UNBOUNDED,CURRENT ROW"),
        "end_side": words("PRECEDING,FOLLOWING"),
    },
    exp.Filter: BINARY,
    exp.JSONPath: args("expressions"),
    exp.JSONPathRoot: {},
    exp.JSONPathKey: args("this"),
    exp.JSONPathSubscript: args("this"),
}

AGGREGATES: Final[dict[type[exp.Expr] | str, Arguments]] = {
    exp.Count: args("this", "expressions", "big_int"),
    exp.Sum: args("this"),
    exp.Avg: args("this"),
    exp.Min: args("this"),
    exp.Max: args("this"),
    exp.GroupConcat: args("this", "separator"),
}
WINDOW_FUNCTIONS: Final[dict[type[exp.Expr] | str, Arguments]] = {
    exp.RowNumber: {},
    exp.Rank: {},
    exp.DenseRank: {},
    exp.PercentRank: {},
    exp.CumeDist: {},
    exp.Ntile: args("this"),
    exp.Lag: args("this", "offset", "default"),
    exp.Lead: args("this", "offset", "default"),
    exp.FirstValue: args("this"),
    exp.LastValue: args("this"),
    exp.NthValue: args("this", "offset"),
}
SCALARS: Final[dict[type[exp.Expr] | str, Arguments]] = {
    exp.Abs: args("this"),
    exp.Ceil: args("this"),
    exp.Floor: args("this"),
    exp.Round: args("this", "decimals"),
    exp.Sign: args("this"),
    exp.Coalesce: args("this", "expressions"),
    exp.Nullif: BINARY,
    exp.Lower: args("this"),
    exp.Upper: args("this"),
    exp.Length: args("this"),
    exp.Substring: args("this", "start", "length"),
    exp.Trim: {"this": None, "expression": None, "position": words("BOTH,LEADING,TRAILING")},
    exp.Replace: args("this", "expression", "replacement"),  # by something that is not longer: see checks
    exp.Sqrt: args("this"),
    exp.Pow: BINARY,
    exp.Exp: args("this"),
    exp.Ln: args("this"),
}
