"""Which guards' forbidden rows could an expression that may raise be run on, and which of them can a CASE keep from it?

An expression E of a SELECT is run on rows that are joined from the tables of its FROM, and as often as whatever stands around the SELECT
asks for it. So a forbidden row can have two parts in it: E reads it, or E is run once more because of it.

- A guard in E's own FROM that E reads: E is *covered*, it becomes `CASE WHEN g.__okN IS NOT FALSE THEN E END`.
- A guard there that E does not read: its conditions are checked where the table is scanned, before any row of it is joined to others. A
  `through` filter is another matter, a planner may join first and look for the parent later: E is covered by such a guard too.
- An expression that reads nothing there is covered by every guard there.
- Guards inside of a sub-query or CTE in E's FROM that E reads from cannot be named where E stands: they are fenced.
- The guards of every query around E's, up to where E's stands in a FROM, ask for E in ways of their own: they are fenced.
- Aggregates and windows are computed when all conditions of their SELECT have run, so nothing of that SELECT needs a wall for their sake.
- What a grouped SELECT hands on besides can be moved before the grouping, where a CASE cannot name a guard: fenced.

Whatever is none of these, and whatever is not found again, fences every guard.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from sqlglot import exp

from rowseal.catalog import Storage
from rowseal.policy import Rows, Through
from rowseal.sql.admitted import AGGREGATES
from rowseal.sql.dialects import Dialect
from rowseal.sql.names import Names, Occurrence, Scope

__all__ = ["Exposure"]

_BINARY: Final = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)
# What is no value by itself, or stands where nothing but itself may stand.
_UNCOVERABLE: Final = (exp.Query, exp.Values, exp.Tuple, exp.Interval, exp.Var, exp.DataType, exp.Ordered, exp.Identifier, exp.Distinct, exp.Placeholder)
_SPECIAL_PARENTS: Final = (exp.Any, exp.All, exp.Interval, exp.Limit, exp.Offset, exp.Fetch)

# What a comparison casts, if at all, to something that holds every value of it.
_NEVER_NARROWED: Final = frozenset({Storage.INTEGER, Storage.FLOAT, Storage.TEXT, Storage.BOOLEAN})

_Clause = Literal["where", "on", "list"]


@dataclass(slots=True)
class _Tables:
    """The FROM of a SELECT: guards that can be named, and those inside of what else stands there, by alias."""

    direct: dict[str, int] = field(default_factory=dict)
    inner: dict[str, frozenset[int]] = field(default_factory=dict)
    laterals: list[exp.Lateral] = field(default_factory=list)
    conditions: list[exp.Expr] = field(default_factory=list)

    @property
    def guards(self) -> frozenset[int]:
        return frozenset(self.direct.values()).union(*self.inner.values())


class Exposure:
    """Walks a query once it is known what in it could raise (`fallible`, by id). `sure` is False where it must all be fenced.

    `covered` are the expressions that become a CASE, by id, each with the numbers of the guards to ask; `fenced` the numbers of those to fence.
    """

    def __init__(self, names: Names, dialect: Dialect, occurrences: Sequence[Occurrence], fallible: set[int]) -> None:
        self.names = names
        self.dialect = dialect
        self.fallible = fallible
        self.numbers = {id(occurrence.node): number for number, occurrence in enumerate(occurrences, 1)}
        self.through = {number for number, occurrence in enumerate(occurrences, 1) if _looks_for_a_parent(occurrence.rows)}
        self.ctes = {id(reference): cte for cte in names.ctes for reference in cte.references}
        self.asked_by: dict[int, frozenset[int]] = {}  # id of a CTE -> the guards around its references
        self.references: set[int] = set()  # to CTEs
        self.tables: dict[int, _Tables] = {}  # by id of the SELECT
        self.seen: set[int] = set()
        self.covered: dict[int, tuple[exp.Expr, set[int]]] = {}
        self.fenced: set[int] = set()
        self.sure = True

    def walk(self, tree: exp.Query) -> None:
        """Look at all of it."""
        self.query(tree, frozenset(), nested=False)
        known: dict[int, frozenset[int]] = {}
        while waiting := [cte for cte in self.names.ctes if known.get(id(cte)) != self.asked_by.get(id(cte), frozenset())]:
            for cte in waiting:
                known[id(cte)] = self.asked_by.get(id(cte), frozenset())
                self.query(cte.node.this, known[id(cte)], nested=True)
        # INVARIANT: nothing that could raise was passed over, and no place that asks for a CTE.
        self.sure = self.sure and self.fallible <= self.seen and self.references == self.ctes.keys()

    # -- queries

    def query(self, node: exp.Expr, around: frozenset[int], *, nested: bool) -> None:
        """`around` are the guards of the queries that ask for this one, `nested` whether another SELECT reads what it hands on."""
        if isinstance(node, exp.Select):
            self.select(node, around, nested=nested)
        elif isinstance(node, exp.SetOperation):
            self.query(node.this, around, nested=nested)
            self.query(node.expression, around, nested=nested)
        elif isinstance(node, exp.Subquery):
            self.query(node.this, around, nested=nested)
        for part in ("order", "limit", "offset"):
            trailing = node.args.get(part)
            if trailing is not None and (not isinstance(node, exp.Select) or part != "order"):
                for query in _queries_in(trailing):
                    self.query(query, around | self.inside(node), nested=True)

    def select(self, node: exp.Select, around: frozenset[int], *, nested: bool) -> None:
        tables = self.tables[id(node)] = _Tables()
        scope = self.names.scopes[id(node)]
        if (from_ := node.args.get("from_")) is not None:
            self.source(from_.this, tables, around)
            for join in node.args.get("joins") or ():
                self.join(join, tables, around)
        for lateral in tables.laterals:
            self.query(lateral.this, around | tables.guards, nested=True)
        for condition in tables.conditions:
            self.expression(condition, "on", tables, scope, around)
        if (where := node.args.get("where")) is not None:
            self.expression(where.this, "where", tables, scope, around)
        handed_on = [node.args.get("distinct"), *node.expressions, node.args.get("order")]
        if (having := node.args.get("having")) is not None:
            self.grouped(having.this, tables, around)
        if not nested:
            # Computed when all conditions have run, for the answer alone.
            for part in (*handed_on, node.args.get("group"), *(node.args.get("windows") or ())):
                for query in _queries_in(part):
                    self.query(query, around, nested=True)
            return
        grouped = node.args.get("group") is not None or having is not None or any(self.aggregates(part) for part in handed_on if part is not None)
        for part in handed_on:
            if part is not None and grouped:
                self.grouped(part, tables, around)
            elif part is not None:
                self.expression(part, "list", tables, scope, around)
        if (group := node.args.get("group")) is not None:
            self.grouped(group, tables, around)
        for window in node.args.get("windows") or ():
            self.after_conditions(window, tables, around)

    # -- FROM

    def source(self, node: exp.Expr, tables: _Tables, around: frozenset[int]) -> None:
        alias = node.args.get("alias")
        named = alias.this if alias is not None and alias.this is not None else node.this if isinstance(node, exp.Table) else None
        name = self.dialect.fold(named) if isinstance(named, exp.Identifier) else f" {len(tables.direct) + len(tables.inner)}"
        if isinstance(node, exp.Table):
            if (number := self.numbers.get(id(node))) is not None:
                tables.direct[name] = number
            else:
                cte = self.ctes[id(node)]
                tables.inner[name] = self.inside(node)
                self.asked_by[id(cte)] = self.asked_by.get(id(cte), frozenset()) | around
                self.references.add(id(node))
        elif isinstance(node, exp.Subquery) and not isinstance(node.unnest(), exp.Table):
            tables.inner[name] = self.inside(node)
            self.query(node, around, nested=True)
        elif isinstance(node, exp.Subquery) and alias is None:
            self.source(node.this, tables, around)  # brackets around a join
        elif isinstance(node, exp.Lateral):
            tables.inner[name] = self.inside(node)
            tables.laterals.append(node)
        else:
            tables.inner[name] = self.inside(node)  # VALUES, or a join in brackets under a name of its own
            return
        for join in node.args.get("joins") or ():
            self.join(join, tables, around)

    def join(self, join: exp.Join, tables: _Tables, around: frozenset[int]) -> None:
        self.source(join.this, tables, around)
        if (condition := join.args.get("on")) is not None:
            tables.conditions.append(condition)

    def inside(self, node: exp.Expr) -> frozenset[int]:
        """The guards somewhere in the node, and in the CTEs that it reads."""
        found: set[int] = set()
        waiting, entered = [node], set[int]()
        while waiting:
            for inner in waiting.pop().walk():
                if (number := self.numbers.get(id(inner))) is not None:
                    found.add(number)
                elif (cte := self.ctes.get(id(inner))) is not None and id(cte) not in entered:
                    entered.add(id(cte))
                    waiting.append(cte.node.this)
        return frozenset(found)

    # -- expressions

    def expression(self, root: exp.Expr, clause: _Clause, tables: _Tables, scope: Scope, around: frozenset[int]) -> None:
        stack = [root]
        while stack:
            node = stack.pop()
            if isinstance(node, (exp.Window, exp.Filter, exp.WithinGroup)) or self.is_aggregate(node):
                self.after_conditions(node, tables, around)
            elif id(node) in self.fallible:
                if clause == "list" and self.aggregates(node, windows=True):
                    self.raises(node, around)
                    stack.extend(node.iter_expressions())
                else:
                    self.cover(node, clause, tables, scope, around)
            elif isinstance(node, exp.Query):
                self.query(node, around | tables.guards, nested=True)
            else:
                stack.extend(node.iter_expressions())

    def grouped(self, root: exp.Expr, tables: _Tables, around: frozenset[int]) -> None:
        """What of a grouped SELECT holds no aggregate may run before the grouping, however the planner takes the rest apart."""
        stack = [root]
        while stack:
            node = stack.pop()
            if isinstance(node, (exp.Window, exp.Filter, exp.WithinGroup)) or self.is_aggregate(node):
                self.after_conditions(node, tables, around)
            elif isinstance(node, exp.Query):
                self.query(node, around | tables.guards, nested=True)
            else:
                if id(node) in self.fallible:
                    self.raises(node, around if self.aggregates(node, windows=True) else around | tables.guards)
                stack.extend(node.iter_expressions())

    def after_conditions(self, root: exp.Expr, tables: _Tables, around: frozenset[int]) -> None:
        """An aggregate or a window: computed when the conditions of its SELECT have run."""
        stack = [root]
        while stack:
            node = stack.pop()
            if isinstance(node, exp.Query) and id(node) not in self.fallible:
                self.query(node, around | tables.guards, nested=True)
                continue
            if id(node) in self.fallible:
                self.raises(node, around)
            stack.extend(node.iter_expressions())

    def raises(self, node: exp.Expr, guards: frozenset[int]) -> None:
        """The node, not what is below it, could raise where these guards' forbidden rows have a part."""
        self.seen.add(id(node))
        self.fenced |= guards | self.through

    def cover(self, node: exp.Expr, clause: _Clause, tables: _Tables, scope: Scope, around: frozenset[int]) -> None:
        """Keep the node, and all that is below it, from forbidden rows."""
        if (
            isinstance(node, _UNCOVERABLE)
            or _is_quantifier(node)
            or isinstance(node.parent, _SPECIAL_PARENTS)
            or node.find(exp.Query) is not None
            or self.aggregates(node, windows=True)
        ):
            self.sure = False
            return
        read, fenced = self.read(node, tables, scope)
        if isinstance(node, _BINARY) and len(tables.direct) + len(tables.inner) > 1 and _compares_columns(node):
            # Each side for itself: a planner can still join by an equality whose sides read one table each.
            self.raises(node, around | fenced)
            for side in (node.this, node.expression):
                if isinstance(side, exp.Column) and self.names.whatever(side).storage in _NEVER_NARROWED:
                    continue  # and so its index can be used
                if side.find(exp.Column) is not None or any(id(inner) in self.fallible for inner in side.walk()):
                    self.cover(side, clause, tables, scope, around)
            return
        if not read and not fenced:
            if clause == "on":  # which sees some tables of the FROM, not all of them
                self.sure = False
                return
            read, fenced = set(tables.direct.values()), frozenset[int]().union(*tables.inner.values())
        if clause != "on":
            read |= self.through.intersection(tables.direct.values())
        self.seen.update(id(inner) for inner in node.walk())
        self.fenced |= around | fenced | (self.through - read)
        self.covered.setdefault(id(node), (node, set()))[1].update(read)

    def read(self, node: exp.Expr, tables: _Tables, scope: Scope) -> tuple[set[int], frozenset[int]]:
        """The guards whose columns the expression may mean, by whatever rule of scopes: those that can be named here, and those that cannot."""
        named, hidden = set[int](), frozenset[int]()
        for column in node.find_all(exp.Column):
            qualifier = column.args.get("table")
            if qualifier is not None:
                sources = [self.dialect.fold(qualifier)]
            else:
                name = self.dialect.fold(column.this) if isinstance(column.this, exp.Identifier) else ""
                sources = [alias for alias, columns in scope.sources.items() if any(each.name == name for each in columns)]
                if not name:
                    self.sure = False
            for source in sources:
                if source in tables.direct:
                    named.add(tables.direct[source])
                hidden |= tables.inner.get(source, frozenset())
        return named, hidden

    # -- aggregates

    def is_aggregate(self, node: exp.Expr) -> bool:
        aggregates = AGGREGATES[self.dialect.name]
        return type(node) in aggregates or (isinstance(node, exp.Anonymous) and str(node.this).lower() in aggregates)

    def aggregates(self, root: exp.Expr, *, windows: bool = False) -> bool:
        """Whether an aggregate (or a window) stands in the expression itself: one in a sub-query is the sub-query's."""
        stack = [root]
        while stack:
            node = stack.pop()
            if isinstance(node, exp.Window):
                if windows:
                    return True
                stack.extend(child for part in node.iter_expressions() for child in (part.iter_expressions() if part is node.this else (part,)))
            elif self.is_aggregate(node):
                return True
            elif not isinstance(node, exp.Query):
                stack.extend(node.iter_expressions())
        return False


def _is_quantifier(node: exp.Expr) -> bool:
    """`ANY (..)` and `ALL (..)` stand beside a comparison only; the second of an array is a call to the parser."""
    return isinstance(node, (exp.Any, exp.All)) or (isinstance(node, exp.Anonymous) and str(node.this).lower() in {"all", "any", "some"})


def _compares_columns(node: exp.Expr) -> bool:
    # ANY and ALL stand nowhere but beside a comparison.
    return all(not isinstance(side, (exp.Tuple, exp.Any, exp.All)) and side.find(exp.Column) is not None for side in (node.this, node.expression))


def _looks_for_a_parent(rows: Rows) -> bool:
    return any(isinstance(part, Through) for part in rows.predicate.parts)


def _queries_in(expression: exp.Expr | None) -> Iterator[exp.Query]:
    stack = [expression] if expression is not None else []
    while stack:
        node = stack.pop()
        if isinstance(node, exp.Query):
            yield node
        else:
            stack.extend(node.iter_expressions())
