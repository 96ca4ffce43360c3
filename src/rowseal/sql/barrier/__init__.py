"""Could the planner run something of the bearer's that raises, on a row that the guard would have dropped?

A guard that the planner may flatten costs nothing, but its filter then stands beside the bearer's conditions, in whatever order the
planner likes. That is harmless as long as none of those conditions can raise: *infallible*, for its operand types, on every row.
Where one can, there are two walls. The CASE guard hands on `__okN`, whether its filter holds, and the expression asks that first; the
planner keeps its indexes. The fence (MATERIALIZED) makes the guard's rows before all else. `exposure` says which will do.

What the planner evaluates after the filter anyway is exempt: the SELECT list, GROUP BY, ORDER BY, windows and the arguments of
aggregates, of the outermost SELECT. Everything else is exposed, the whole of every nested query included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from sqlglot import exp

from rowseal.sql import Form
from rowseal.sql.admitted import AGGREGATES
from rowseal.sql.barrier.duckdb import DuckDBJudge
from rowseal.sql.barrier.exposure import Exposure
from rowseal.sql.barrier.inert import PLAIN
from rowseal.sql.barrier.mariadb import MariaDBJudge
from rowseal.sql.barrier.postgres import PostgresJudge
from rowseal.sql.barrier.sqlite import SQLiteJudge
from rowseal.sql.barrier.stars import written_out
from rowseal.sql.dialects import Dialect
from rowseal.sql.guards import reads_plain_tables
from rowseal.sql.names import Names, Occurrence
from rowseal.sql.parameters import Parameters

__all__ = ["Barrier", "barrier"]


class _Judge(Protocol):
    """Knows what cannot raise on one database, node by node."""

    def meets(self, exposed: list[exp.Expr]) -> bool: ...
    def infallible(self, node: exp.Expr) -> bool: ...


_JUDGES: Final[Mapping[str, Callable[[Names, Parameters], _Judge]]] = {
    "sqlite": SQLiteJudge,
    "postgres": PostgresJudge,
    "mariadb": MariaDBJudge,
    "duckdb": DuckDBJudge,
}


class Barrier(NamedTuple):
    """What keeps the bearer's expressions from forbidden rows: the form of each guard, in the order of their numbers.

    `covered` are the expressions that ask first, each with the numbers of the guards that it asks; `stars` what the `*` of a SELECT stands
    for, where it would hold a guard's own column too.
    """

    forms: tuple[Form, ...]
    covered: tuple[tuple[exp.Expr, tuple[int, ...]], ...] = ()
    stars: tuple[tuple[exp.Select, exp.Expr, tuple[exp.Column, ...]], ...] = ()


def barrier(tree: exp.Query, names: Names, dialect: Dialect, params: Parameters, occurrences: Sequence[Occurrence]) -> Barrier:
    """The cheapest barrier that will do. `params` are the values of the bearer's parameters. Raises QueryRefused where none would."""
    judge = _JUDGES[dialect.name](names, params)
    exposed = [node for root in _exposed(tree, dialect) for node in root.walk()]
    # All of them are judged, whatever the first has shown: some are refused, fenced or not.
    # A total has NULL where it sums over a column. PostgreSQL forgets that of one which a filter holds to a single value, and does not order by it.
    safe = judge.meets(exposed) and not names.aliased and not names.totals
    fallible = [node for node in exposed if type(node) not in PLAIN and not judge.infallible(node)]
    # What reads views or SELECTs of the operator is always fenced. Where every row is permitted, nothing needs a wall.
    forced = {number for number, each in enumerate(occurrences, 1) if not reads_plain_tables(each.rows)}
    needing = {number for number, each in enumerate(occurrences, 1) if number not in forced and each.rows.predicate.parts}
    fenced = set(needing)
    if safe and not fallible:
        fenced = set()
    elif safe and needing and dialect.case_guards:
        exposure = Exposure(names, dialect, occurrences, set(map(id, fallible)))
        exposure.walk(tree)
        if exposure.sure:
            return _cheapest(tree, exposure, dialect, occurrences, forced=forced, needing=needing)
    return Barrier(tuple("fenced" if number in forced or number in fenced else "plain" for number in range(1, len(occurrences) + 1)))


def _cheapest(tree: exp.Query, exposure: Exposure, dialect: Dialect, occurrences: Sequence[Occurrence], *, forced: set[int], needing: set[int]) -> Barrier:
    asked = {number for _, numbers in exposure.covered.values() for number in numbers} & needing - exposure.fenced
    called: dict[str, set[int]] = {}
    for each in exposure.tables.values():
        for alias, number in each.direct.items():
            called.setdefault(alias, set()).add(number)
    stars = []
    for select, star, columns in exposure.names.stars:
        tables = exposure.tables[id(select)].direct
        # `t.*` may be of a query around this one, or another table's of that name: whichever guard is called so.
        own = called.get(dialect.fold(star.args["table"]), set()) if isinstance(star, exp.Column) else set(tables.values())
        if own & asked:
            outer = isinstance(star, exp.Column) and dialect.fold(star.args["table"]) not in exposure.names.scopes[id(select)].sources
            written = written_out(columns, {alias: occurrences[number - 1].rows.dataset for alias, number in tables.items()}, dialect)
            if outer or written is None:
                exposure.fenced |= own & asked
            else:
                stars.append((select, star, written, own))
    exposure.fenced |= _whole_rows(tree, exposure, called, dialect) & asked
    asked -= exposure.fenced
    fenced = forced | (exposure.fenced & needing)
    forms: tuple[Form, ...] = tuple("fenced" if each in fenced else "case" if each in asked else "plain" for each in range(1, len(occurrences) + 1))
    covered = ((node, tuple(sorted(numbers & asked))) for node, numbers in exposure.covered.values())
    return Barrier(forms, tuple(each for each in covered if each[1]), tuple((select, star, written) for select, star, written, own in stars if own & asked))


def _whole_rows(tree: exp.Query, exposure: Exposure, called: Mapping[str, set[int]], dialect: Dialect) -> set[int]:
    """The guards whose whole rows stand in expressions, as in `COUNT(t.*)`, where no list of columns can stand."""
    listed = {id(star) for _, star, _ in exposure.names.stars}
    found: set[int] = set()
    for star in tree.find_all(exp.Star):
        item = star.parent if isinstance(star.parent, exp.Column) else star
        if id(item) in listed or isinstance(star.parent, exp.Count):
            continue
        table = item.args.get("table")
        found |= set().union(*called.values()) if table is None else called.get(dialect.fold(table), set())
    return found


def _exposed(tree: exp.Expr, dialect: Dialect) -> Iterator[exp.Expr]:
    if isinstance(tree, (exp.SetOperation, exp.Subquery)):
        for part in ("this", "expression"):
            if (arm := tree.args.get(part)) is not None:
                yield from _exposed(arm, dialect)
        if (order := tree.args.get("order")) is not None:
            yield from _queries_in(order)
    else:
        for part in ("from_", "joins", "where", *(("group", "order") if dialect.sorts_before_joining else ())):
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
