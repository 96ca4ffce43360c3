"""What stands in FROM: tables, sub-queries and joins, in the order and with the visibility that the database gives them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, TypeAlias

from sqlglot import exp

from rowseal.errors import QueryRefused
from rowseal.sql.dialects import Dialect
from rowseal.sql.names import NOTHING, Columns, Cte, Joined, Names, Scope, Tables, With
from rowseal.sql.place import position

__all__ = ["MAX_READS", "MAX_TABLES", "Condition", "FromClause"]

MAX_TABLES: Final = 24  # in one FROM: PostgreSQL plans thirty joined guards for seconds
MAX_READS: Final = 256  # table reads after every CTE reference is counted as often as it is expanded

_NAMED_INSIDE: Final = "name the columns in a sub-query: `SELECT s.a FROM (SELECT region AS a FROM orders) AS s`"

Condition: TypeAlias = tuple[exp.Expr, Joined]  # what stands behind ON, and the tables that it joins


class FromClause(ABC):
    """The half of the resolver that reads FROM. What it needs of the other half is abstract here."""

    def __init__(self, tables: Tables, dialect: Dialect) -> None:
        self.tables = tables
        self.dialect = dialect
        self.names = Names()

    @abstractmethod
    def query(self, node: exp.Expr, ctes: With | None, outer: Scope | None) -> Columns:
        """The columns of a query, resolved."""

    @abstractmethod
    def values(self, node: exp.Values, ctes: With | None, outer: Scope | None) -> Columns:
        """The columns of a list of values."""

    @abstractmethod
    def expression(self, root: exp.Expr, scope: Scope, ctes: With | None) -> None:
        """Resolve what stands in an expression."""

    @abstractmethod
    def cte(self, node: exp.Table, ctes: With | None) -> Cte | None:
        """The CTE that a name in FROM means, if any."""

    @abstractmethod
    def cte_columns(self, entry: Cte) -> Columns:
        """The columns of a CTE, resolved when first asked for."""

    def joined(self, first: exp.Expr, joins: Sequence[exp.Join], scope: Scope, ctes: With | None, conditions: list[Condition]) -> Joined:
        """A FROM, or the inside of brackets in one: the first table and what is joined to it, from left to right."""
        done = NOTHING
        current = self.source(first, scope, ctes, conditions)
        for join in joins:
            comma = not any(join.args.get(word) for word in ("kind", "side", "method", "on", "using"))
            if comma and not self.dialect.commas_join_to_the_left:
                done = done.beside(current)
                current = self.source(join.this, scope, ctes, conditions)
            else:
                current = self.join(current, join, scope, ctes, conditions)
        return done.beside(current) if done is not NOTHING else current

    def source(self, node: exp.Expr, scope: Scope, ctes: With | None, conditions: list[Condition]) -> Joined:
        alias = node.args.get("alias")
        if isinstance(node, exp.Subquery) and self.is_bracketed_join(node):
            return self.bracketed_join(node, scope, ctes, conditions)
        if isinstance(node, exp.Table):
            named = alias.this if alias and alias.this else node.this
            single = self.add(scope, named, self.renamed(self.table(node, scope, ctes), alias), node)
        elif isinstance(node, exp.Subquery):
            single = self.derived(node, self.query(node, ctes, scope.outer), scope)
        elif isinstance(node, exp.Lateral):
            return self.derived(node, self.query(node.this, ctes, scope), scope)
        elif isinstance(node, exp.Values):
            return self.derived(node, self.values(node, ctes, scope.outer), scope)
        else:
            raise QueryRefused("construct_refused", "this is not accepted in FROM", **position(node))
        for join in node.args.get("joins") or ():
            single = self.join(single, join, scope, ctes, conditions)
        return single

    @staticmethod
    def is_bracketed_join(node: exp.Subquery) -> bool:
        """`((a JOIN b))`: brackets around brackets around tables, not around a SELECT."""
        inner: exp.Expr = node
        while isinstance(inner, exp.Subquery):
            inner = inner.this
        return isinstance(inner, exp.Table)

    def bracketed_join(self, node: exp.Subquery, scope: Scope, ctes: With | None, conditions: list[Condition]) -> Joined:
        alias = node.args.get("alias")
        inner = Scope(scope.outer) if alias else scope
        within: list[Condition] = [] if alias else conditions
        joined = self.joined(node.this, node.args.get("joins") or (), inner, ctes, within)
        if not alias:
            return joined
        inner.joined = joined
        self.conditions(within, inner, ctes)
        return self.add(scope, alias.this, self.renamed(joined.columns, alias), node)

    def derived(self, node: exp.Expr, columns: Columns, scope: Scope) -> Joined:
        alias = node.args.get("alias")
        if alias is not None and alias.args.get("columns") and not self.dialect.derived_column_lists:
            raise QueryRefused("construct_refused", "this database has no column list behind the alias of a sub-query", hint=_NAMED_INSIDE, **position(node))
        identifier = alias.this if alias is not None else None
        return self.add(scope, identifier, self.renamed(columns, alias), node)

    def join(self, left: Joined, node: exp.Join, scope: Scope, ctes: With | None, conditions: list[Condition]) -> Joined:
        right = self.source(node.this, scope, ctes, conditions)
        both = self.merged(left, right, self.merged_names(left, right, node))
        if node.args.get("on") is not None:
            conditions.append((node.args["on"], both))
        return both

    def merged_names(self, left: Joined, right: Joined, node: exp.Join) -> list[str]:
        """The columns that NATURAL or USING makes one of."""
        if node.args.get("method"):
            names = [column.name for _, column in left.star if right.find(column.name)]
        else:
            names = [self.dialect.fold(each if isinstance(each, exp.Identifier) else each.this) for each in node.args.get("using") or ()]
        for name in names:
            if not left.find(name) or not right.find(name):
                raise QueryRefused("column_unknown", "a column of USING is not in both tables", **position(node))
            if len(left.find(name)) > 1 or len(right.find(name)) > 1 or names.count(name) > 1:
                raise QueryRefused("column_ambiguous", "a column by which tables are joined exists more than once on one side", **position(node))
        return names

    def merged(self, left: Joined, right: Joined, names: list[str]) -> Joined:
        """PostgreSQL puts merged columns first, SQLite leaves them where the left side has them."""
        if not names:
            return left.beside(right)
        pairs = {name: (left.find(name)[0][1], right.find(name)[0][1]) for name in names}
        self.names.merges += pairs.values()
        one = {name: ("", ours.merged(theirs)) for name, (ours, theirs) in pairs.items()}
        self.names.note(tuple(column for _, column in one.values()))
        rest = tuple(each for each in right.star if each[1].name not in one)
        if self.dialect.commas_join_to_the_left:
            star = tuple(one.get(each[1].name, each) for each in left.star) + rest
        else:
            star = (*one.values(), *(each for each in left.star if each[1].name not in one), *rest)
        return Joined(left.aliases | right.aliases, star)

    def add(self, scope: Scope, identifier: exp.Identifier | None, columns: Columns, node: exp.Expr) -> Joined:
        name = self.dialect.fold(identifier) if identifier is not None else f" {len(scope.sources)}"
        if name in scope.sources:
            raise QueryRefused(
                "construct_refused",
                f"the name `{identifier.name if identifier else ''}` stands twice in FROM",
                hint="give each an alias of its own: `SELECT a.amount FROM orders AS a CROSS JOIN orders AS b`",
                **position(node),
            )
        scope.sources[name] = columns
        single = Joined(frozenset({name}), tuple((name, column) for column in columns))
        scope.joined = scope.joined.beside(single)  # what a LATERAL sees, until the whole FROM is known
        if len(scope.sources) > MAX_TABLES:
            raise QueryRefused("sql_too_complex", f"one FROM holds more than {MAX_TABLES} tables", **position(node))
        return single

    def renamed(self, columns: Columns, alias: exp.Expr | None) -> Columns:
        listed = alias.args.get("columns") if alias is not None else None
        if alias is None or not listed:
            return columns
        if alias.args.get("this") is None:
            raise QueryRefused("construct_refused", "a list of columns needs an alias before it", **position(listed[0]))
        if len(listed) > len(columns):
            raise QueryRefused("construct_refused", "the alias lists more columns than there are", **position(listed[0]))
        new = tuple(columns[index]._replace(name=self.dialect.fold(identifier)) for index, identifier in enumerate(listed))
        return self.names.note(new) + columns[len(new) :]

    def table(self, node: exp.Table, scope: Scope, ctes: With | None) -> Columns:
        entry = self.cte(node, ctes) if node.args.get("db") is None else None
        if entry is not None:
            entry.references.append(node)
            before = self.names.reads
            columns = self.cte_columns(entry)
            self.names.reads = before  # its body is read where it is referred to, as often as that
            self.count(entry.reads)
            return columns
        columns = self.tables.columns(node)
        alias = node.args.get("alias")
        if alias is None:
            scope.unaliased[self.dialect.fold(node.this)] = node
        elif alias.args.get("columns") and not self.dialect.derived_column_lists:
            raise QueryRefused("construct_refused", "this database has no column list behind the alias of a table", hint=_NAMED_INSIDE, **position(node))
        self.count(1)
        return self.names.note(columns)

    def count(self, reads: int) -> None:
        self.names.reads += reads
        if self.names.reads > MAX_READS:
            raise QueryRefused("sql_too_complex", f"the query reads tables more than {MAX_READS} times once its CTEs are written out")

    def conditions(self, conditions: list[Condition], scope: Scope, ctes: With | None) -> None:
        """What stands behind ON, once all tables are known. PostgreSQL's sees the two sides of its own join, SQLite's the whole FROM."""
        for condition, both in conditions:
            scope.on = None if self.dialect.commas_join_to_the_left else both
            self.expression(condition, scope, ctes)
        scope.on = None
