"""Sub-queries that stand for one value, so that a second row of theirs raises."""

from __future__ import annotations

from sqlglot import exp

from rowseal.sql.names import Names

__all__ = ["at_most_one_row", "is_scalar"]


def at_most_one_row(query: exp.Expr, names: Names) -> bool:
    """Whether the sub-query cannot have two rows: LIMIT 1, no FROM, or aggregates of its own without GROUP BY."""
    if not isinstance(query, exp.Select):
        return False
    limit = query.args.get("limit")
    if isinstance(limit, exp.Limit) and isinstance(limit.expression, exp.Literal) and limit.expression.this in ("0", "1"):
        return True
    if query.args.get("from_") is None:
        return True
    return query.args.get("group") is None and all(_own_aggregate(item.this if isinstance(item, exp.Alias) else item, names) for item in query.expressions)


def _own_aggregate(node: exp.Expr, names: Names) -> bool:
    """An aggregate of an outer query's columns belongs to the outer query and leaves as many rows here as there are."""
    if not isinstance(node, (exp.Count, exp.Min, exp.Max, exp.Sum, exp.Avg)):
        return False
    return node.find(exp.Query) is None and all(id(column) in names.local for column in node.find_all(exp.Column))


def is_scalar(node: exp.Expr) -> bool:
    """Whether the sub-query stands for one value."""
    parent = node.parent
    if isinstance(parent, (exp.From, exp.Join, exp.Lateral, exp.CTE, exp.SetOperation, exp.Subquery, exp.Exists, exp.Any, exp.All, exp.Array)):
        return False
    return not (isinstance(parent, exp.In) and parent.args.get("query") is node)
