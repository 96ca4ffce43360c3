"""What raises on no row of PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlglot import exp

from rowseal.catalog import Storage
from rowseal.errors import QueryRefused
from rowseal.sql.barrier.inert import COMPARISONS, INERT, PATTERNS, is_plain_pattern
from rowseal.sql.barrier.one_row import at_most_one_row, is_scalar
from rowseal.sql.names import MIXED, Column, Names
from rowseal.sql.parameters import Parameters
from rowseal.sql.place import position

__all__ = ["PostgresJudge"]

# PostgreSQL raises for nearly everything; what is left beside comparisons can only go wrong for every row alike.
_INFALLIBLE: Final = frozenset({exp.CurrentDate, exp.CurrentTimestamp, exp.DataType, exp.DataTypeParam})
_SET_OPERATIONS: Final = (exp.Union, exp.Except, exp.Intersect)
_SHORT_UNITS: Final = frozenset("SECOND SECONDS MINUTE MINUTES HOUR HOURS DAY DAYS WEEK WEEKS MONTH MONTHS QUARTER YEAR YEARS".split())
_FORMS: Final = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f")  # as the parser keeps YYYY-MM-DD HH24:MI:SS.US
_HOLDS_DOUBLES: Final = frozenset({Storage.INTEGER, Storage.FLOAT})
# Storages between which PostgreSQL casts without raising (numeric to double precision can, and so can date to timestamp) ...
_CASTABLE: Final = (frozenset({Storage.INTEGER, Storage.DECIMAL}), frozenset({Storage.INTEGER, Storage.FLOAT}))
# ... and those that it compares as they are.
_COMPARABLE: Final = (*_CASTABLE, frozenset({Storage.DATE, Storage.TIMESTAMP, Storage.TIMESTAMPTZ}))


class PostgresJudge:
    """Judges single nodes; whoever asks walks the tree."""

    def __init__(self, names: Names, params: Parameters) -> None:
        self.names = names
        self.params = params

    def meets(self, exposed: list[exp.Expr]) -> bool:
        """Whether what the query brings together, without an operator that says so, meets without raising. Raises QueryRefused."""
        _alike([self.names.whatever(node) for node in exposed if isinstance(node, exp.Column)])  # however texts of two collations meet
        alike = True
        for pair in self.names.merges:  # every one: some are refused
            alike &= _alike(pair, _CASTABLE)
        return alike

    def infallible(self, node: exp.Expr) -> bool:
        """Whether the node itself, whatever is below it, raises on no row. Raises QueryRefused for what no fence helps."""
        kind = type(node)
        if kind in PATTERNS:
            return self.plain_pattern(node)
        if kind is exp.Subquery:
            return not is_scalar(node) or at_most_one_row(node.this, self.names)
        if kind in COMPARISONS:
            return self.comparable(node)
        if kind in (exp.Cast, exp.Neg):
            return isinstance(node.this, exp.Literal) or _near_now(node)  # a literal is converted while the statement is parsed, before there are rows
        if kind in _SET_OPERATIONS:
            return self.alike_by_column(node)
        if kind is exp.Values:
            return len(node.expressions) <= 1 or node.find(exp.Column, exp.Query) is None  # rows of one list are cast to one type
        if kind in (exp.Lag, exp.Lead):
            return isinstance(node.args.get("default"), (exp.Literal, exp.Null, type(None)))  # another type's default would be a cast
        if kind in (exp.Add, exp.Sub, exp.StrToDate, exp.StrToTime, exp.TimestampTrunc):
            return _is_moment(node)
        if kind is exp.Interval:
            return _short_interval(node)
        if kind is exp.Var:
            return _short_interval(node.parent) or (node.parent is not None and _near_now(node.parent))
        if kind in (exp.Sum, exp.Avg):
            return isinstance(node.this, exp.Column) and self.names.whatever(node.this).storage is Storage.INTEGER  # numeric ends at 131072 digits
        return kind in INERT or kind in _INFALLIBLE

    def plain_pattern(self, node: exp.Expr) -> bool:
        """PostgreSQL also raises for a column of a nondeterministic collation."""
        pattern = node.args.get("expression")
        if isinstance(pattern, exp.Column) and self.names.whatever(pattern).storage is None:
            # It may be a constant of a sub-query, which the planner of PostgreSQL 17 tries on statistics.
            raise QueryRefused("construct_refused", "a pattern is a string, a parameter or a column of a dataset", **position(node))
        return is_plain_pattern(node) and self.names.whatever(node.this).bytewise

    def comparable(self, node: exp.Expr) -> bool:
        """Whether PostgreSQL compares these without casting what stands in a row: it casts numeric to double precision, which can overflow."""
        columns: list[Column] = []
        constants: set[Storage] = set()
        for child in node.iter_expressions():
            operand = child
            while isinstance(operand, (exp.Paren, exp.Neg, exp.Any, exp.All)):
                operand = operand.this
            constant, storage = self.constant(operand)
            if isinstance(operand, exp.Tuple):
                return False
            if not constant:
                columns.append(self.names.whatever(operand))
            elif storage is not None:
                constants.add(storage)
        if Storage.FLOAT in constants and not {column.storage for column in columns} <= _HOLDS_DOUBLES:
            return False
        return len(columns) <= 1 or _alike(columns)

    def constant(self, node: exp.Expr) -> tuple[bool, Storage | None]:
        """Whether the node is the same for every row, and what it is stored as; None where PostgreSQL makes of it what the other side is."""
        match node:
            case exp.Literal():
                return True, None if node.args.get("is_string") else Storage.DECIMAL
            case exp.Null() | exp.Boolean():
                return True, None
            case exp.Placeholder():
                return True, Storage.FLOAT if issubclass(self.params.kind(node.this), float) else None
            case exp.Cast() if isinstance(node.this, exp.Literal) and node.to.this is not exp.DType.ARRAY:
                return True, Storage.FLOAT if node.to.this in (exp.DType.FLOAT, exp.DType.DOUBLE) else None
            case _:
                return _is_moment(node), None

    def alike_by_column(self, node: exp.Expr) -> bool:
        """The arms of a set operation are cast to one type, column by column, wherever the planner finds it convenient."""
        left, right = (self.names.outputs.get(id(arm), ()) for arm in (node.this, node.expression))
        return bool(left) and all(_alike(pair, _CASTABLE) for pair in zip(left, right, strict=True))


def _alike(columns: Sequence[Column], families: Sequence[frozenset[Storage]] = _COMPARABLE) -> bool:
    """Whether values of these columns meet without a cast that could raise on one of them. Raises QueryRefused for texts of two collations."""
    storages = frozenset(column.storage for column in columns)
    collations = {column.collation for column in columns} - {""}
    if len(collations) > 1 or MIXED in collations:
        # No fence helps: PostgreSQL 17 and later compare the commonest values of both columns while they plan.
        raise QueryRefused("construct_refused", "texts of different collations are compared", hint="compare columns of one collation")
    return None not in storages and (len(storages) == 1 or any(storages <= family for family in families))


def _is_moment(node: exp.Expr) -> bool:
    """Whether the node is now or a constant date, moved by short intervals or not: near today, or computed while the statement is planned."""
    return _near_now(node) or _constant_date(node)


def _near_now(node: exp.Expr, moves: int = 3) -> bool:
    """Now, moved a few times, cut or cast: thousands of years from where any of that could raise."""
    match node:
        case exp.CurrentDate() | exp.CurrentTimestamp():
            return True
        case exp.Paren():
            return _near_now(node.this, moves)
        case exp.Add() | exp.Sub():
            return moves > 0 and _short_interval(node.expression) and _near_now(node.this, moves - 1)
        case exp.Cast():
            return node.to.this in (exp.DType.DATE, exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ) and _near_now(node.this, moves)
        case exp.TimestampTrunc():
            unit = node.args["unit"]  # INVARIANT: a word; a cast or a parameter that is called like one is another text when it runs
            return node.args.get("zone") is None and isinstance(unit, exp.Var) and unit.name.upper() in _SHORT_UNITS and _near_now(node.this, moves)
        case _:
            return False


def _constant_date(node: exp.Expr) -> bool:
    match node:
        case exp.Add() | exp.Sub():
            return _short_interval(node.expression) and _constant_date(node.this) and not isinstance(node.this, (exp.Add, exp.Sub))
        case exp.Cast():
            return isinstance(node.this, exp.Literal) and node.to.this in (exp.DType.DATE, exp.DType.TIMESTAMP)
        case exp.StrToDate() | exp.StrToTime():
            return _reads(node.this, node.args["format"])
        case _:
            return False


def _reads(text: object, template: object) -> bool:
    """Whether a date and its format are literals that fit: those that dashboards send, read here by the calendar of Python."""
    if not (isinstance(text, exp.Literal) and isinstance(template, exp.Literal)):
        return False
    form = next((known for known in _FORMS if known == template.this), None)
    try:
        return form is not None and datetime.strptime(text.this, form).strftime(form) == text.this and text.this[0] in "12"  # noqa: DTZ007
    except ValueError:
        return False


def _short_interval(node: exp.Expr | None) -> bool:
    """An interval of at most 999 years or less: no moment near today leaves the range of a timestamp by it, which begins in 4713 BC."""
    if not isinstance(node, exp.Interval) or not isinstance(node.this, exp.Literal) or not isinstance(node.args.get("unit"), exp.Var):
        return False
    amount = str(node.this.this).removeprefix("-")
    return amount.isdecimal() and amount.isascii() and len(amount) <= 3 and node.args["unit"].name.upper() in _SHORT_UNITS
