"""What raises on no row of MariaDB.

In a SELECT MariaDB computes with what it gets: division by zero, text that is no number or date, a date beyond the calendar give NULL or zero and a
warning, which nobody can read. What raises is a number beyond its type (error 1690), a second row of a sub-query (1242), and regular expressions.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from rowseal.catalog import Storage
from rowseal.sql.barrier.inert import COMPARISONS, INERT, PATTERNS
from rowseal.sql.barrier.one_row import at_most_one_row, is_scalar
from rowseal.sql.names import Names
from rowseal.sql.parameters import Parameters

__all__ = ["MariaDBJudge"]

_INFALLIBLE: Final = frozenset(
    {
        *(exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.Cast, exp.DataType, exp.DataTypeParam, exp.Mod, exp.Sign, exp.Sqrt, exp.Ln),
        *(exp.Lower, exp.Upper, exp.Length, exp.Substring, exp.Trim, exp.StrPosition, exp.Concat, exp.ConcatWs, exp.Left, exp.Right, exp.Reverse),
        *(exp.SubstringIndex, exp.Pad, exp.Replace, exp.Greatest, exp.Least, exp.GroupConcat, exp.Escape, exp.Elt),
        *(exp.CurrentDate, exp.CurrentTime, exp.CurrentTimestamp, exp.TsOrDsToDate, exp.TsOrDsToTimestamp, exp.TimeToStr, exp.StrToDate),
        *(exp.Year, exp.Quarter, exp.Month, exp.Week, exp.WeekOfYear, exp.Day, exp.DayOfMonth, exp.DayOfWeek, exp.DayOfYear, exp.Dayname),
        *(exp.Hour, exp.Minute, exp.Second, exp.LastDay, exp.DateAdd, exp.DateSub, exp.DateDiff, exp.TimestampDiff, exp.Extract, exp.Interval, exp.Var),
    }
)
_NAMED: Final = frozenset({"now", "weekday", "yearweek", "makedate", "field", "find_in_set", "strcmp"})
_ARITHMETIC: Final = (exp.Add, exp.Sub, exp.Mul)


class MariaDBJudge:
    """Judges single nodes; whoever asks walks the tree."""

    def __init__(self, names: Names, params: Parameters) -> None:
        self.names = names
        self.params = params

    def meets(self, exposed: list[exp.Expr]) -> bool:  # noqa: ARG002 -- texts of two collations raise before there is a row
        """Whether what the query brings together, without an operator that says so, meets without raising."""
        return True

    def infallible(self, node: exp.Expr) -> bool:
        """Whether the node itself, whatever is below it, raises on no row."""
        kind = type(node)
        if kind is exp.Subquery:
            return not is_scalar(node) or at_most_one_row(node.this, self.names)
        if kind in _ARITHMETIC:
            return self.decimal(node)
        if kind is exp.Div:
            return self.exact(node.this) and self.exact(node.expression)
        if kind is exp.Neg:
            return isinstance(node.this, exp.Literal) or self.decimal(node.this)
        if kind in (exp.Sum, exp.Avg):
            return isinstance(node.this, exp.Column) and self.exact(node.this)
        if kind is exp.Anonymous:
            return str(node.this).lower() in _NAMED
        return kind in INERT or kind in _INFALLIBLE or kind in COMPARISONS or kind in PATTERNS

    def exact(self, node: exp.Expr) -> bool:
        """Whether the node is a whole or decimal number, never a double."""
        match node:
            case exp.Paren():
                return self.exact(node.this)
            case exp.Column():
                return self.names.whatever(node).storage in (Storage.INTEGER, Storage.DECIMAL)
            case exp.Literal():
                return not node.args.get("is_string") and "e" not in node.this.lower()
            case _:
                return self.decimal(node)

    def decimal(self, node: exp.Expr) -> bool:
        """Whether the node is computed as a decimal, which is cut to what a decimal may be: two whole numbers are computed as such, and raise."""
        match node:
            case exp.Paren():
                return self.decimal(node.this)
            case exp.Column():
                return self.names.whatever(node).storage is Storage.DECIMAL
            case exp.Literal():
                return not node.args.get("is_string") and "." in node.this and "e" not in node.this.lower()
            case exp.Add() | exp.Sub() | exp.Mul():
                moved = isinstance(node.expression, exp.Interval) or isinstance(node.this, exp.Interval)
                sides = self.exact(node.this) and self.exact(node.expression)
                return moved or (sides and (self.decimal(node.this) or self.decimal(node.expression)))
            case exp.Div():
                return self.exact(node.this) and self.exact(node.expression)
            case _:
                return False
