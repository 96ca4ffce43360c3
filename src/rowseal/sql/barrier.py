"""Could the planner run something of the bearer's that raises, on a row that the guard would have dropped?

A guard that the planner may flatten costs nothing, but its filter then stands beside the bearer's conditions, in whatever order the
planner likes. That is harmless as long as none of those conditions can raise: *infallible*, for its operand types, on every row.
Where one can, the guards are fenced (MATERIALIZED), and the bearer's expressions see permitted rows only.

What the planner evaluates after the filter anyway is exempt: the SELECT list, GROUP BY, ORDER BY, windows and the arguments of
aggregates, of the outermost SELECT. Everything else is exposed, the whole of every nested query included.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlglot import exp

from rowseal.catalog import Storage
from rowseal.sql.admitted import AGGREGATES
from rowseal.sql.dialects import Dialect
from rowseal.sql.names import Names

__all__ = ["needs_fence"]

# Names, constants and conditions: they raise on no row of any database, wherever they stand and whatever they hold.
_PLAIN: Final = frozenset(
    {
        *(exp.From, exp.Table, exp.TableAlias, exp.Join, exp.Where, exp.Group, exp.Order, exp.Ordered, exp.Alias, exp.Identifier, exp.Column, exp.Literal),
        *(exp.Null, exp.Boolean, exp.Paren, exp.And, exp.Or, exp.Not, exp.Is),
    }
)
# With these the shape of a query: nothing that is computed on a row.
_INERT: Final = frozenset(
    {
        *_PLAIN,
        *(exp.Select, exp.Union, exp.Except, exp.Intersect, exp.Subquery, exp.With, exp.CTE, exp.Values, exp.Having, exp.Rollup, exp.Cube),
        *(exp.GroupingSets, exp.Limit, exp.Offset, exp.Fetch, exp.LimitOptions, exp.Distinct, exp.Star, exp.Tuple, exp.Placeholder, exp.Exists),
        *(exp.Lateral, exp.Window, exp.WindowSpec),
        *(exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue),
        *(exp.Count, exp.Min, exp.Max, exp.Filter),
    }
)
_COMPARISONS: Final = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Between, exp.In, exp.Any, exp.All)

# SQLite computes with what it gets: division by zero and text that is no number give NULL or zero, overflow gives a float.
# Not here: abs (raises on -2**63), sum (integer overflow), || and group_concat (too long), JSON (malformed).
_SQLITE: Final = frozenset(
    {
        *(exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.Cast, exp.DataType, exp.DataTypeParam),
        *(exp.Lower, exp.Upper, exp.Length, exp.Substring, exp.Trim, exp.StrPosition, exp.Round, exp.Typeof, exp.Greatest, exp.Least, exp.Avg),
        *(exp.Date, exp.TimeToStr, exp.TsOrDsToTimestamp, exp.CurrentDate, exp.CurrentTime, exp.CurrentTimestamp),
    }
)
_SQLITE_NAMED: Final = frozenset({"total", "julianday", "unixepoch", "strftime", "datetime", "time"})

# PostgreSQL raises for nearly everything; what is left beside comparisons can only go wrong for every row alike.
_POSTGRES: Final = frozenset({exp.CurrentDate, exp.CurrentTimestamp, exp.DataType, exp.DataTypeParam})
MAX_PATTERN: Final = 200  # characters; far below SQLITE_LIMIT_LIKE_PATTERN_LENGTH, which counts bytes
_SET_OPERATIONS: Final = (exp.Union, exp.Except, exp.Intersect)
_EXACT_NUMBERS: Final = frozenset({Storage.INTEGER, Storage.DECIMAL})
# Storages between which PostgreSQL compares without an implicit cast that could raise (numeric to double precision can).
_COMPARABLE: Final = (
    *(frozenset({storage}) for storage in Storage),
    frozenset({Storage.INTEGER, Storage.DECIMAL}),
    frozenset({Storage.INTEGER, Storage.FLOAT}),
    frozenset({Storage.DATE, Storage.TIMESTAMP, Storage.TIMESTAMPTZ}),
)


def needs_fence(tree: exp.Query, names: Names, dialect: Dialect) -> bool:
    """Whether any exposed part of the query could raise."""
    if dialect.name == "postgres" and any(not _alike([left.storage, right.storage]) for left, right in names.merges):
        return True
    for root in _exposed(tree, dialect):
        for node in root.walk():
            if type(node) not in _PLAIN and not _infallible(node, names, dialect):
                return True
    return False


def _exposed(tree: exp.Expr, dialect: Dialect) -> Iterator[exp.Expr]:
    if isinstance(tree, exp.SetOperation):
        yield from _exposed(tree.this, dialect)
        yield from _exposed(tree.expression, dialect)
    elif isinstance(tree, exp.Subquery):
        yield from _exposed(tree.this, dialect)
    else:
        for part in ("from_", "joins", "where"):
            value = tree.args.get(part)
            yield from (value if isinstance(value, list) else [value] if value is not None else [])
        if (having := tree.args.get("having")) is not None:
            yield from _outside_aggregates(having, dialect)
        for part in ("expressions", "distinct", "group", "order", "windows"):
            value = tree.args.get(part)
            for expression in value if isinstance(value, list) else [value] if value is not None else []:
                yield from _queries_in(expression)
    if (with_ := tree.args.get("with_")) is not None:
        yield with_


def _queries_in(expression: exp.Expr) -> Iterator[exp.Expr]:
    if expression.find(exp.Query) is None:
        return
    stack = [expression]
    while stack:
        node = stack.pop()
        if isinstance(node, exp.Query):
            yield node
        else:
            stack.extend(node.iter_expressions())


def _outside_aggregates(having: exp.Expr, dialect: Dialect) -> Iterator[exp.Expr]:
    """A HAVING without an aggregate may be run as a WHERE; what stands inside an aggregate may not."""
    stack = [having]
    aggregates = AGGREGATES[dialect.name]
    if not any(type(node) in aggregates or (isinstance(node, exp.Anonymous) and node.name.lower() in aggregates) for node in having.walk()):
        yield having
        return
    while stack:
        node = stack.pop()
        if type(node) in aggregates:
            yield from _queries_in(node)
        elif isinstance(node, (exp.Having, exp.And, exp.Paren)):
            stack.extend(node.iter_expressions())
        elif any(type(inner) in aggregates for inner in node.walk()):
            yield from _queries_in(node)  # a conjunct with an aggregate is evaluated after grouping
        else:
            yield node


def _infallible(node: exp.Expr, names: Names, dialect: Dialect) -> bool:
    kind = type(node)
    if kind in (exp.Like, exp.ILike, exp.Glob):
        return _plain_pattern(node, names, dialect)
    if dialect.name == "sqlite":
        if kind is exp.Anonymous:
            return str(node.this).lower() in _SQLITE_NAMED
        return kind in _INERT or kind in _SQLITE or kind in _COMPARISONS
    if kind is exp.Subquery:
        return not _is_scalar(node) or _at_most_one_row(node.this)
    if kind in _COMPARISONS:
        return _comparable(node, names)
    if kind is exp.Cast:
        return isinstance(node.this, exp.Literal)  # converted while the statement is parsed, before there are rows
    if kind in _SET_OPERATIONS:
        return _alike_by_column(node, names)
    if kind in (exp.Lag, exp.Lead):
        return isinstance(node.args.get("default"), (exp.Literal, exp.Null, type(None)))  # another type's default would be a cast
    if kind in (exp.Add, exp.Sub):
        return _is_moment(node.this) and _short_interval(node.expression)
    if kind is exp.Interval or kind is exp.Var:
        return _short_interval(node if kind is exp.Interval else node.parent)
    if kind in (exp.Sum, exp.Avg):
        return isinstance(node.this, exp.Column) and names.storage(node.this) in _EXACT_NUMBERS
    return kind in _INERT or kind in _POSTGRES


def _is_moment(node: exp.Expr) -> bool:
    """Now, or a constant date: with those the sum is near today, or computed while the statement is planned."""
    literal = isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal) and node.to.this in (exp.DType.DATE, exp.DType.TIMESTAMP)
    return literal or isinstance(node, (exp.CurrentDate, exp.CurrentTimestamp))


def _short_interval(node: exp.Expr | None) -> bool:
    """An interval of at most four digits: no moment near today leaves the range of a timestamp by it."""
    return isinstance(node, exp.Interval) and isinstance(node.this, exp.Literal) and str(node.this.this).isdigit() and len(node.this.this) <= 4


def _plain_pattern(node: exp.Expr, names: Names, dialect: Dialect) -> bool:
    """LIKE raises for a pattern that ends in its escape character, but only on rows that get that far; so only plain literals pass.

    PostgreSQL also raises for a column of a nondeterministic collation, SQLite for a pattern beyond its limit of length.
    """
    pattern, subject = node.args.get("expression"), node.this
    if not (isinstance(pattern, exp.Literal) and pattern.args.get("is_string")) or "\\" in pattern.this or len(pattern.this) > MAX_PATTERN:
        return False
    return dialect.name == "sqlite" or (id(subject) in names.columns and names.columns[id(subject)].bytewise)


def _comparable(node: exp.Expr, names: Names) -> bool:
    """Whether PostgreSQL compares these without a cast that could raise: one value with constants, or values stored alike."""
    storages: list[Storage | None] = []
    for child in node.iter_expressions():
        operand = child.this if isinstance(child, (exp.Paren, exp.Neg, exp.Any, exp.All)) else child
        if isinstance(operand, exp.Tuple):
            return False
        if isinstance(operand, exp.Column) or operand.find(exp.Column, exp.Query) is not None:  # else a constant, converted once
            storages.append(names.storage(operand))
    return len(storages) <= 1 or _alike(storages)


def _alike(storages: list[Storage | None]) -> bool:
    """Whether values stored like this meet without a cast that could raise on one of them."""
    distinct = frozenset(storages)
    return None not in distinct and (len(distinct) == 1 or any(distinct <= family for family in _COMPARABLE))


def _alike_by_column(node: exp.Expr, names: Names) -> bool:
    """The arms of a set operation are cast to one type, column by column, wherever the planner finds it convenient."""
    left, right = (names.outputs.get(id(arm), ()) for arm in (node.this, node.expression))
    return bool(left) and all(_alike([one.storage, other.storage]) for one, other in zip(left, right, strict=True))


def _is_scalar(node: exp.Expr) -> bool:
    """Whether the sub-query stands for one value, so that a second row is an error."""
    parent = node.parent
    if isinstance(parent, (exp.From, exp.Join, exp.Lateral, exp.CTE, exp.SetOperation, exp.Subquery, exp.Exists, exp.Any, exp.All, exp.Array)):
        return False
    return not (isinstance(parent, exp.In) and parent.args.get("query") is node)


def _at_most_one_row(query: exp.Expr) -> bool:
    if not isinstance(query, exp.Select):
        return False
    limit = query.args.get("limit")
    if isinstance(limit, exp.Limit) and isinstance(limit.expression, exp.Literal) and limit.expression.this in ("0", "1"):
        return True
    if query.args.get("group") is not None or query.args.get("from_") is None:
        return query.args.get("from_") is None
    return all(isinstance(item.this if isinstance(item, exp.Alias) else item, (exp.Count, exp.Min, exp.Max, exp.Sum, exp.Avg)) for item in query.expressions)
