"""Could the planner run something of the bearer's that raises, on a row that the guard would have dropped?

A guard that the planner may flatten costs nothing, but its filter then stands beside the bearer's conditions, in whatever order the
planner likes. That is harmless as long as none of those conditions can raise: *infallible*, for its operand types, on every row.
Where one can, the guards are fenced (MATERIALIZED), and the bearer's expressions see permitted rows only.

What the planner evaluates after the filter anyway is exempt: the SELECT list, GROUP BY, ORDER BY, windows and the arguments of
aggregates, of the outermost SELECT. Everything else is exposed, the whole of every nested query included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

from sqlglot import exp

from rowseal.sql.admitted import AGGREGATES
from rowseal.sql.barrier.inert import PLAIN
from rowseal.sql.barrier.postgres import PostgresJudge
from rowseal.sql.barrier.sqlite import SQLiteJudge
from rowseal.sql.dialects import Dialect
from rowseal.sql.names import Names
from rowseal.sql.parameters import Parameters

__all__ = ["needs_fence"]


class _Judge(Protocol):
    """Knows what cannot raise on one database, node by node."""

    def meets(self, exposed: list[exp.Expr]) -> bool: ...
    def infallible(self, node: exp.Expr) -> bool: ...


_JUDGES: Final[Mapping[str, Callable[[Names, Parameters], _Judge]]] = {"sqlite": SQLiteJudge, "postgres": PostgresJudge}


def needs_fence(tree: exp.Query, names: Names, dialect: Dialect, params: Parameters) -> bool:
    """Whether any exposed part of the query could raise. `params` are the values of the bearer's parameters."""
    judge = _JUDGES[dialect.name](names, params)
    exposed = [node for root in _exposed(tree, dialect) for node in root.walk()]
    # All of them are judged, whatever the first has shown: some are refused, fenced or not.
    safe = judge.meets(exposed) and not names.aliased
    for node in exposed:
        safe &= type(node) in PLAIN or judge.infallible(node)
    return not safe


def _exposed(tree: exp.Expr, dialect: Dialect) -> Iterator[exp.Expr]:
    if isinstance(tree, (exp.SetOperation, exp.Subquery)):
        for part in ("this", "expression"):
            if (arm := tree.args.get(part)) is not None:
                yield from _exposed(arm, dialect)
        if (order := tree.args.get("order")) is not None:
            yield from _queries_in(order)
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
    """What of a HAVING the planner may run before it groups: every part that needs no aggregate, however it takes the condition apart."""
    stack = [having.this]
    aggregates = AGGREGATES[dialect.name]
    while stack:
        node = stack.pop()
        if not _has_aggregate(node, dialect):
            yield node
        elif type(node) in aggregates or isinstance(node, exp.Anonymous):
            yield from _queries_in(node)
        else:
            stack.extend(node.iter_expressions())


def _has_aggregate(expression: exp.Expr, dialect: Dialect) -> bool:
    """Whether an aggregate stands in the expression itself: one in a sub-query is the sub-query's."""
    aggregates = AGGREGATES[dialect.name]
    stack = [expression]
    while stack:
        node = stack.pop()
        if type(node) in aggregates or (isinstance(node, exp.Anonymous) and str(node.this).lower() in aggregates):
            return True
        if not isinstance(node, exp.Query):
            stack.extend(node.iter_expressions())
    return False
