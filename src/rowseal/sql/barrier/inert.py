"""What raises on no row of any database."""

from __future__ import annotations

from typing import Final

from sqlglot import exp

__all__ = ["COMPARISONS", "INERT", "MAX_PATTERN", "PATTERNS", "PLAIN", "is_plain_pattern"]

# Names, constants and conditions: they raise on no row of any database, wherever they stand and whatever they hold.
PLAIN: Final = frozenset(
    {
        *(exp.From, exp.Table, exp.TableAlias, exp.Join, exp.Where, exp.Group, exp.Order, exp.Ordered, exp.Alias, exp.Identifier, exp.Column, exp.Literal),
        *(exp.Null, exp.Boolean, exp.Paren, exp.And, exp.Or, exp.Not, exp.Is),
    }
)
# With these the shape of a query: nothing that is computed on a row.
INERT: Final = frozenset(
    {
        *PLAIN,
        *(exp.Select, exp.Union, exp.Except, exp.Intersect, exp.Subquery, exp.With, exp.CTE, exp.Values, exp.Having, exp.Rollup, exp.Cube),
        *(exp.GroupingSets, exp.Limit, exp.Offset, exp.Fetch, exp.LimitOptions, exp.Distinct, exp.Star, exp.Tuple, exp.Placeholder, exp.Exists),
        *(exp.Lateral, exp.Window, exp.WindowSpec),
        *(exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue),
        *(exp.Count, exp.Min, exp.Max, exp.Filter),
    }
)
COMPARISONS: Final = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Between, exp.In, exp.Any, exp.All)
PATTERNS: Final = (exp.Like, exp.ILike, exp.Glob)
MAX_PATTERN: Final = 200  # characters; far below SQLITE_LIMIT_LIKE_PATTERN_LENGTH, which counts bytes


def is_plain_pattern(node: exp.Expr) -> bool:
    """Whether the pattern is a short literal without an escape.

    LIKE raises for a pattern that ends in its escape character, but only on rows that get that far, SQLite for one beyond its limit of length.
    """
    pattern = node.args.get("expression")
    return isinstance(pattern, exp.Literal) and bool(pattern.args.get("is_string")) and "\\" not in pattern.this and len(pattern.this) <= MAX_PATTERN
