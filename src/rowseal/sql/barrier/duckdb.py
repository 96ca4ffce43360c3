"""What raises on no row of DuckDB.

DuckDB raises for casts, overflow, remainders by zero and dates out of range. It orders conditions by what they cost while it runs, and tries
what is constant only when a row comes by: `WHERE id = 'x'` on a column of numbers fails where there is a row, and is silent where there is none.
So a constant is safe only where it is known to convert. CASE is not trusted as a wall here yet: what may raise is fenced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlglot import exp

from rowseal.catalog import Storage
from rowseal.sql.barrier.inert import COMPARISONS, INERT, PATTERNS, is_plain_pattern
from rowseal.sql.names import Column, Names
from rowseal.sql.parameters import Parameters

__all__ = ["DuckDBJudge"]

_INFALLIBLE: Final = frozenset({exp.CurrentDate, exp.CurrentTimestamp, exp.DataType, exp.DataTypeParam, exp.TryCast})
_SET_OPERATIONS: Final = (exp.Union, exp.Except, exp.Intersect)
# Storages that meet without a cast that could raise: numbers of up to 20 digits in front of the point and 18 behind it meet in DECIMAL(38, 18).
_MEETING: Final = (
    frozenset({Storage.INTEGER, Storage.DECIMAL}),
    frozenset({Storage.INTEGER, Storage.FLOAT}),
    frozenset({Storage.DECIMAL, Storage.FLOAT}),
    frozenset({Storage.INTEGER, Storage.HUGE}),
)
_NUMERIC: Final = frozenset({Storage.INTEGER, Storage.DECIMAL, Storage.FLOAT})
# The columns that a parameter of a type is compared with as it is; a whole number has 64 bits.
_TAKES: Final[Mapping[type, frozenset[Storage | None]]] = {
    type(None): frozenset({None, *Storage}),
    bool: frozenset({Storage.BOOLEAN}),
    int: frozenset({Storage.INTEGER, Storage.HUGE, Storage.DECIMAL, Storage.FLOAT}),
    float: frozenset({Storage.INTEGER, Storage.DECIMAL, Storage.FLOAT}),
    str: frozenset({Storage.TEXT}),
}
_SHORT_NUMBER: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{0,9})?\Z|\.[0-9]{1,9}\Z")
# The forms of a date that DuckDB takes for certain.
_MOMENTS: Final[Mapping[Storage, tuple[str, ...]]] = {
    Storage.DATE: ("%Y-%m-%d",),
    Storage.TIMESTAMP: ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S.%f"),
}
_CAST_TO: Final[Mapping[exp.DType, Storage]] = {exp.DType.DATE: Storage.DATE, exp.DType.TIMESTAMP: Storage.TIMESTAMP, exp.DType.TIMESTAMPNTZ: Storage.TIMESTAMP}


class DuckDBJudge:
    """Judges single nodes; whoever asks walks the tree."""

    def __init__(self, names: Names, params: Parameters) -> None:
        self.names = names
        self.params = params

    def meets(self, exposed: list[exp.Expr]) -> bool:  # noqa: ARG002 -- two collations are an error of the statement, whatever the rows
        """Whether what the query brings together, without an operator that says so, meets without raising."""
        return all(_meet(pair) for pair in self.names.merges)

    def infallible(self, node: exp.Expr) -> bool:
        """Whether the node itself, whatever is below it, raises on no row."""
        kind = type(node)
        if kind in PATTERNS:
            return is_plain_pattern(node) and self.names.whatever(node.this).storage is Storage.TEXT
        if kind is exp.Subquery:
            return not _is_scalar(node) or self.at_most_one_row(node.this)
        if kind in COMPARISONS:
            return self.comparable(node)
        if kind is exp.Cast:
            return _is_moment(node)
        if kind is exp.Neg:
            return isinstance(node.this, exp.Literal) and _is_short(node.this)
        if kind in _SET_OPERATIONS:
            left, right = (self.names.outputs.get(id(arm), ()) for arm in (node.this, node.args["expression"]))
            return bool(left) and all(_meet(pair) for pair in zip(left, right, strict=True))
        if kind is exp.Values:
            return len(node.expressions) <= 1 or (node.find(exp.Column, exp.Query) is None and _of_one_kind(node))
        if kind in (exp.Lag, exp.Lead):
            return isinstance(node.args.get("default"), (exp.Null, type(None)))
        if kind in (exp.Sum, exp.Avg):
            return isinstance(node.this, exp.Column) and self.names.whatever(node.this).storage is Storage.INTEGER  # the sum has 128 bits
        return kind in INERT or kind in _INFALLIBLE

    def comparable(self, node: exp.Expr) -> bool:
        """Whether DuckDB compares these without a cast that could raise, of what stands in a row or of a constant."""
        columns: list[Column] = []
        constants: list[exp.Expr] = []
        for child in node.iter_expressions():
            operand = child
            while isinstance(operand, (exp.Paren, exp.Neg, exp.Any, exp.All)):
                operand = operand.this
            if isinstance(operand, (exp.Literal, exp.Null, exp.Boolean, exp.Placeholder, exp.Cast)):
                constants.append(operand)
            elif isinstance(operand, (exp.CurrentDate, exp.CurrentTimestamp, exp.Tuple)):
                return False
            else:
                columns.append(self.names.whatever(operand))
        if not columns:
            return len({_kind(constant) for constant in constants}) == 1 and all(map(_is_short, constants))
        return _meet(columns) and all(self.converts(constant, column.storage) for constant in constants for column in columns)

    def converts(self, node: exp.Expr, storage: Storage | None) -> bool:
        """Whether the constant surely becomes what the column holds, or the column what the constant is."""
        match node:
            case exp.Null():
                return True
            case exp.Boolean():
                return storage is Storage.BOOLEAN
            case exp.Literal() if not node.args.get("is_string"):
                return _number_converts(str(node.this), storage)
            case exp.Literal():
                return _text_converts(str(node.this), storage)
            case exp.Cast():
                return _is_moment(node) and _CAST_TO[node.to.this] is storage
            case exp.Placeholder():
                return storage in _TAKES.get(self.params.kind(node.this), frozenset())
            case _:
                return False

    def at_most_one_row(self, query: exp.Expr) -> bool:
        """Whether a sub-query that stands for one value cannot have two: LIMIT 1, no FROM, or aggregates of its own without GROUP BY."""
        if not isinstance(query, exp.Select):
            return False
        limit = query.args.get("limit")
        if isinstance(limit, exp.Limit) and isinstance(limit.expression, exp.Literal) and limit.expression.this in ("0", "1"):
            return True
        if query.args.get("from_") is None:
            return True
        return query.args.get("group") is None and all(self.own_aggregate(item.this if isinstance(item, exp.Alias) else item) for item in query.expressions)

    def own_aggregate(self, node: exp.Expr) -> bool:
        """An aggregate of an outer query's columns belongs to the outer query and leaves as many rows here as there are."""
        if not isinstance(node, (exp.Count, exp.Min, exp.Max, exp.Sum, exp.Avg)):
            return False
        return node.find(exp.Query) is None and all(id(column) in self.names.local for column in node.find_all(exp.Column))


def _meet(columns: tuple[Column, ...] | list[Column]) -> bool:
    storages = {column.storage for column in columns}
    known = None not in storages and Storage.ENUM not in storages  # two enums are two types
    return known and (len(storages) <= 1 or any(storages <= family for family in _MEETING))


def _number_converts(digits: str, storage: Storage | None) -> bool:
    if storage is Storage.HUGE:
        return digits.isdecimal() and len(digits) <= 18
    return storage in _NUMERIC and _SHORT_NUMBER.match(digits) is not None


def _text_converts(text: str, storage: Storage | None) -> bool:
    return storage is Storage.TEXT or (storage is not None and _reads(text, storage))


def _reads(text: str, storage: Storage) -> bool:
    """Whether the text is a date of a common form, read here by the calendar of Python."""
    for form in _MOMENTS.get(storage, ()):
        try:
            if text[:1] in ("1", "2") and datetime.strptime(text, form).strftime(form) == text:  # noqa: DTZ007
                return True
        except ValueError:
            continue
    return False


def _is_moment(node: exp.Expr) -> bool:
    """A cast of a literal that is surely a date, to a date."""
    storage = _CAST_TO.get(node.to.this) if isinstance(node, exp.Cast) else None
    literal = node.this
    return storage is not None and isinstance(literal, exp.Literal) and bool(literal.args.get("is_string")) and _reads(str(literal.this), storage)


def _is_short(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and (bool(node.args.get("is_string")) or _SHORT_NUMBER.match(str(node.this)) is not None)


def _kind(node: exp.Expr) -> tuple[type, bool]:
    return type(node), bool(node.args.get("is_string"))


def _of_one_kind(node: exp.Expr) -> bool:
    rows = [row.expressions if isinstance(row, exp.Tuple) else [row] for row in node.expressions]
    return all(len({_kind(value) for value in column}) == 1 and all(map(_is_short, column)) for column in zip(*rows, strict=False))


def _is_scalar(node: exp.Expr) -> bool:
    """Whether the sub-query stands for one value, so that a second row is an error."""
    parent = node.parent
    if isinstance(parent, (exp.From, exp.Join, exp.Lateral, exp.CTE, exp.SetOperation, exp.Subquery, exp.Exists, exp.Any, exp.All)):
        return False
    return not (isinstance(parent, exp.In) and parent.args.get("query") is node)
