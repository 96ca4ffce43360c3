"""Which syntax stood in which clause, and behind which form of guard: what a run of random queries has tried, and what it has not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

import sqlglot
from sqlglot import exp

from rowseal.sql import SecuredQuery
from rowseal.sql.admitted import FUNCTIONS, NODES

__all__ = ["CLAUSES", "FORMS", "Place", "classes", "form_of", "gaps", "places", "summed", "table"]

Place: TypeAlias = tuple[str, str, str]  # class of syntax, clause, form of guard

# Argument of a query (or of what stands in one) -> the clause that it is.
_CLAUSE: Final[Mapping[tuple[type[exp.Expr], str], str]] = {
    (exp.Select, "expressions"): "SELECT",
    (exp.Select, "distinct"): "DISTINCT ON",
    (exp.Select, "from_"): "FROM",
    (exp.Select, "joins"): "FROM",
    (exp.Select, "where"): "WHERE",
    (exp.Select, "group"): "GROUP BY",
    (exp.Select, "having"): "HAVING",
    (exp.Select, "order"): "ORDER BY",
    (exp.Select, "windows"): "window",
    (exp.Select, "limit"): "LIMIT",
    (exp.Select, "offset"): "LIMIT",
    (exp.Join, "on"): "ON",
    (exp.Window, "partition_by"): "window",
    (exp.Window, "order"): "window",
    (exp.Filter, "expression"): "FILTER",
    (exp.Case, "ifs"): "CASE",
    (exp.Case, "default"): "CASE",
    (exp.Case, "this"): "CASE",
}
CLAUSES: Final = ("SELECT", "DISTINCT ON", "FROM", "ON", "WHERE", "GROUP BY", "HAVING", "ORDER BY", "window", "FILTER", "CASE", "LIMIT", "LATERAL")
FORMS: Final = ("plain", "case", "fenced")


def form_of(query: SecuredQuery) -> str:
    """How the reads of this query are guarded, by the strictest of them."""
    used = {guard.form for guard in query.guards}
    return next((form for form in reversed(FORMS) if form in used), FORMS[0])


def places(sql: str, query: SecuredQuery, grammar: str) -> set[Place]:
    """Each class of syntax of the query as written, with the innermost clause that it stands in."""
    form = form_of(query)
    return {(name, clause, form) for name, clause in classes(sql, grammar)}


def classes(sql: str, grammar: str) -> set[tuple[str, str]]:
    """Class of syntax (or name of a function that has no class) and clause."""
    return set(_below(sqlglot.parse_one(sql, dialect=grammar), "SELECT"))


def _below(node: exp.Expr, clause: str) -> Iterator[tuple[str, str]]:
    stack = [(node, clause)]
    while stack:
        node, clause = stack.pop()
        yield str(node.this).lower() if isinstance(node, exp.Anonymous) else type(node).__name__, clause
        for name, value in node.args.items():
            inner = "LATERAL" if isinstance(node, exp.Lateral) else _CLAUSE.get((type(node), name), clause)
            stack += [(child, inner) for child in (value if isinstance(value, list) else [value]) if isinstance(child, exp.Expr)]


def gaps(dialect: str, covered: Counter[Place]) -> list[str]:
    """What is admitted of this database's SQL and stands in no query that was accepted."""
    seen = {name for name, _, _ in covered}
    admitted = {key if isinstance(key, str) else key.__name__ for key in (*NODES[dialect], *FUNCTIONS[dialect])}
    return sorted(admitted - seen)


def summed(covered: Counter[Place]) -> str:
    """A table by clause and form of guard: how many classes of syntax stood there."""
    kinds = {clause: [len({name for name, where, how in covered if (where, how) == (clause, form)}) for form in FORMS] for clause in CLAUSES}
    lines = [f"| clause | {' | '.join(FORMS)} |", "|---|" + "---:|" * len(FORMS)]
    return "\n".join([*lines, *(f"| {clause} | {' | '.join(map(str, numbers))} |" for clause, numbers in kinds.items() if any(numbers))])


def table(covered: Counter[Place]) -> str:
    """A table by class of syntax and clause; each cell has the numbers of plain, case and fenced queries."""
    names = sorted({name for name, _, _ in covered})
    used = [clause for clause in CLAUSES if any(each == clause for _, each, _ in covered)]
    lines = ["| | " + " | ".join(used) + " |", "|---|" + "---|" * len(used)]
    for name in names:
        cells = ["/".join(str(covered[name, clause, form]) for form in FORMS) for clause in used]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
