"""What raises on no row of SQLite."""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from rowseal.sql.barrier.inert import COMPARISONS, INERT, PATTERNS, is_plain_pattern
from rowseal.sql.names import Names
from rowseal.sql.parameters import Parameters

__all__ = ["SQLiteJudge"]

# SQLite computes with what it gets: division by zero and text that is no number give NULL or zero, overflow gives a float.
# Not here: abs (raises on -2**63), sum (integer overflow), || and group_concat (too long), JSON (malformed).
_INFALLIBLE: Final = frozenset(
    {
        *(exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.Cast, exp.DataType, exp.DataTypeParam),
        *(exp.Lower, exp.Upper, exp.Length, exp.Substring, exp.Trim, exp.StrPosition, exp.Round, exp.Typeof, exp.Greatest, exp.Least, exp.Avg),
        *(exp.Date, exp.TimeToStr, exp.TsOrDsToTimestamp, exp.CurrentDate, exp.CurrentTime, exp.CurrentTimestamp),
        *(exp.Sqrt, exp.Pow, exp.Exp, exp.Ln, exp.Replace, exp.Collate, exp.Var),  # REPLACE by what is not longer; the word is a collation
    }
)
_NAMED: Final = frozenset({"total", "date", "julianday", "unixepoch", "strftime", "datetime", "time"})


class SQLiteJudge:
    """Judges single nodes; whoever asks walks the tree."""

    def __init__(self, names: Names, params: Parameters) -> None: ...

    def meets(self, exposed: list[exp.Expr]) -> bool:  # noqa: ARG002 -- whatever meets here, nothing is cast
        """Whether what the query brings together, without an operator that says so, meets without raising."""
        return True

    def infallible(self, node: exp.Expr) -> bool:
        """Whether the node itself, whatever is below it, raises on no row."""
        kind = type(node)
        if kind in PATTERNS:
            return is_plain_pattern(node)
        return kind in INERT or kind in _INFALLIBLE or kind in COMPARISONS or (kind is exp.Anonymous and str(node.this).lower() in _NAMED)
