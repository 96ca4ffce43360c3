"""Who is meant by each name: tables, CTEs and columns of an admitted query, by the rules of the database that will run it.

The tree is not changed here. What cannot be resolved is refused, so a name that only the database would understand (rowid, ctid, a
whole row, a function written as a column, a double-quoted string) never reaches it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sqlglot import exp

from rowseal.catalog.names import ascii_lower
from rowseal.errors import QueryRefused
from rowseal.sql.dialects import Dialect
from rowseal.sql.from_clause import Condition, FromClause
from rowseal.sql.names import Column, Columns, Cte, Joined, Names, Scope, Tables, With, output_name
from rowseal.sql.place import position

__all__ = ["resolve"]

_NUMBERED: Final = re.compile(r"(.+?)(_[0-9]+)+\Z")
_AS_MANY: Final = "select as many on each side: `SELECT region, amount FROM orders UNION ALL SELECT NULL, amount FROM orders`"
_RECURSIVE: Final = (
    "begin with rows that need nothing, then name the CTE once: `WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n`"
)


def resolve(tree: exp.Query, tables: Tables, dialect: Dialect) -> Names:
    """Resolve every name. Raises QueryRefused for columns, aliases and shapes, and what `tables` raises."""
    resolver = _Resolver(tables, dialect)
    resolver.query(tree, None, None)
    return resolver.names


class _Resolver(FromClause):
    # -- queries

    def query(self, node: exp.Expr, ctes: With | None, outer: Scope | None) -> Columns:
        ctes = self.with_(node, ctes, outer)
        match node:
            case exp.Select():
                columns = self.select(node, ctes, outer)
            case exp.SetOperation():
                left, right = self.query(node.this, ctes, outer), self.query(node.expression, ctes, outer)
                if len(left) != len(right):
                    raise QueryRefused(
                        "construct_refused", "the two sides of a set operation have different numbers of columns", hint=_AS_MANY, **position(node)
                    )
                columns = tuple(one.merged(other) for one, other in zip(left, right, strict=True))
                self.trailing(node, columns, ctes, outer)
            case exp.Subquery() if isinstance(node.this, exp.Query):
                columns = self.query(node.this, ctes, outer)
                self.trailing(node, columns, ctes, outer)
            case exp.Values():
                columns = self.values(node, ctes, outer)
            case _:
                raise QueryRefused("construct_refused", "this is not accepted where a query is expected", **position(node))
        self.definitions(node, ctes)
        self.names.outputs[id(node)] = columns
        return columns

    def with_(self, node: exp.Expr, outer_ctes: With | None, outer: Scope | None) -> With | None:
        clause = node.args.get("with_")
        if clause is None:
            return outer_ctes
        scope = With(outer_ctes, outer)
        recursive = bool(clause.args.get("recursive")) or self.dialect.ctes_see_all_siblings
        for index, node_ in enumerate(clause.expressions):
            name = self.dialect.fold(node_.args["alias"].this)
            if name in scope.entries:
                raise QueryRefused("construct_refused", f"the CTE `{node_.alias}` is defined twice", **position(node_))
            entry = Cte(node_, scope, recursive, index)
            scope.entries[name] = entry
            self.names.ctes.append(entry)
        return scope

    def definitions(self, node: exp.Expr, ctes: With | None) -> None:
        """CTEs that nothing referred to are still checked: the database looks at them too."""
        if node.args.get("with_") is not None and ctes is not None:
            for entry in ctes.entries.values():
                self.cte_columns(entry)

    def trailing(self, node: exp.Expr, columns: Columns, ctes: With | None, outer: Scope | None) -> None:
        """ORDER BY of a set operation or bracketed query sees the answer's columns only."""
        scope = Scope(outer, joined=Joined(frozenset(), tuple(("", column) for column in columns)))
        for part in ("order", "limit", "offset"):
            if node.args.get(part) is not None:
                self.expression(node.args[part], scope, ctes)

    def select(self, node: exp.Select, ctes: With | None, outer: Scope | None) -> Columns:
        scope = self.names.scopes[id(node)] = Scope(outer)
        conditions: list[Condition] = []
        if (from_ := node.args.get("from_")) is not None:
            scope.joined = self.joined(from_.this, node.args.get("joins") or (), scope, ctes, conditions)
        output = self.projections(node, scope)
        aliases = frozenset(column.name for item, column in output if isinstance(item, exp.Alias))
        if (group := node.args.get("group")) is not None:
            self.names.totals |= group.find(exp.Rollup, exp.Cube, exp.GroupingSets) is not None
        for part in ("expressions", "where", "group", "having", "order", "windows", "distinct", "limit", "offset"):
            value = node.args.get(part)
            scope.aliases = aliases if part in self.dialect.clauses_that_see_aliases else frozenset()
            scope.aliases_are_conditions = part in ("where", "having")
            for expression in value if isinstance(value, list) else (value,):
                if isinstance(expression, exp.Expr):
                    self.expression(expression, scope, ctes)
        scope.aliases = frozenset()
        self.conditions(conditions, scope, ctes)
        return self.names.note(tuple(self.held(item, column) for item, column in output))

    def values(self, node: exp.Values, ctes: With | None, outer: Scope | None) -> Columns:
        scope = Scope(outer)
        width = 0
        word, first = self.dialect.values_columns
        for row in node.expressions:
            self.expression(row, scope, ctes)
            width = len(row.expressions) if isinstance(row, exp.Tuple) else 1
        return self.names.note(tuple(Column(f"{word}{number}") for number in range(first, width + first)))

    # -- CTEs

    def cte(self, node: exp.Table, ctes: With | None) -> Cte | None:
        name = self.dialect.fold(node.this)
        while ctes is not None:
            entry = ctes.entries.get(name)
            if entry is not None and self.visible(entry):
                return entry
            ctes = ctes.outer
        return None

    def visible(self, entry: Cte) -> bool:
        """Whether the CTE can be seen from where resolving stands now: inside a sibling's body, or in the body of the statement."""
        if entry.recursive and self.dialect.recursive_ctes_see_all:
            return True
        if entry.resolving and not (entry.recursive and isinstance(entry.node.this, exp.SetOperation)):
            return False
        return all(entry.index < other.index for other in entry.scope.entries.values() if other.resolving and other is not entry)

    def cte_columns(self, entry: Cte) -> Columns:
        if entry.columns is not None:
            return entry.columns
        body = entry.node.this
        if entry.resolving:
            raise QueryRefused("construct_refused", f"the CTE `{entry.node.alias}` refers to itself", hint=_RECURSIVE, **position(entry.node))
        entry.resolving = True
        outer, before = entry.scope.tables, self.names.reads
        if entry.recursive and isinstance(body, exp.SetOperation) and body.args.get("with_") is None:
            # The first arm tells the columns before the second may name the CTE itself.
            left = self.query(body.this, entry.scope, outer)
            entry.columns = self.renamed(left, entry.node.args["alias"])
            if len(self.query(body.expression, entry.scope, outer)) != len(left):
                raise QueryRefused("construct_refused", "the two sides of a set operation have different numbers of columns", hint=_AS_MANY, **position(body))
            self.trailing(body, left, entry.scope, outer)
        else:
            entry.columns = self.renamed(self.query(body, entry.scope, outer), entry.node.args["alias"])
        entry.reads = max(self.names.reads - before, 1)
        entry.resolving = False
        return entry.columns

    # -- expressions

    def expression(self, root: exp.Expr, scope: Scope, ctes: With | None) -> None:
        stack = [root]
        while stack:
            node = stack.pop()
            if isinstance(node, exp.Column):
                self.column(node, scope)
            elif isinstance(node, exp.Literal):
                continue
            elif isinstance(node, (exp.Query, exp.Values)):
                self.query(node, ctes, scope)
            else:
                stack.extend(node.iter_expressions())

    def column(self, node: exp.Column, scope: Scope) -> None:
        qualifier = node.args.get("table")
        if node.args.get("db") is not None:
            self.same_table(node, scope)
        if isinstance(node.this, exp.Star):
            self.columns_of(qualifier, scope, node)
            return
        name = self.dialect.fold(node.this)
        found, ambiguous = self.candidates(name, qualifier, scope, node)
        if (qualifier is None and scope.joined.find(name)) or (qualifier is not None and self.dialect.fold(qualifier) in scope.sources):
            self.names.local.add(id(node))
        if self.dialect.renames_duplicates and (numbered := _NUMBERED.match(name)) is not None:
            ambiguous |= any(len(each.joined.find(numbered[1])) > 1 for each in _outwards(scope))
        if not found:
            raise QueryRefused("column_unknown", f"no column `{node.name}` is open to this token here", hint=self.meant(node, scope), **position(node))
        if ambiguous:
            raise QueryRefused("column_ambiguous", f"the column `{node.name}` exists in more than one table of the query", **position(node))
        self.names.columns[id(node)] = found[0]

    def same_table(self, node: exp.Column, scope: Scope | None) -> None:
        """`schema.table.column` means a table that FROM names without an alias, and nothing else that is called so in between."""
        qualifier = node.args["table"]
        name = self.dialect.fold(qualifier)
        while scope is not None and not (name in scope.sources and (scope.on is None or name in scope.on.aliases)):
            scope = scope.outer
        table = self.tables.meant(exp.Table(this=qualifier.copy(), db=node.args["db"].copy()))
        named = None if scope is None else scope.unaliased.get(name)
        if table is None or named is None or self.tables.meant(named) is not table:
            raise QueryRefused("table_alias_unknown", f"no table `{node.args['db'].name}.{qualifier.name}` stands in FROM without an alias", **position(node))
        self.names.qualified.append(node)

    def meant(self, node: exp.Column, scope: Scope | None) -> str | None:
        """A hint from the columns that may be seen: an unquoted name whose case was folded away, or a string in double quotes."""
        called = {column.name for each in _outwards(scope) for column in each.joined.columns}
        quoted = node.this.args.get("quoted")
        if alike := sorted(name for name in called if ascii_lower(name) == ascii_lower(node.name)):
            return f"{'quoted names are found as they are written' if quoted else 'unquoted names are folded'}; write `{self.dialect.quote(alike[0])}`"
        return f"a column's name stands in double quotes, a string in single ones: `'{node.name}'`" if quoted and node.args.get("table") is None else None

    def candidates(self, name: str, qualifier: exp.Identifier | None, scope: Scope | None, node: exp.Column) -> tuple[list[Column], bool]:
        """The columns of this name in the innermost place that has any, and whether they are too many to choose from."""
        if qualifier is not None:
            found = [column for column in self.columns_of(qualifier, scope, node) if column.name == name]
            return found, len(found) > 1 and self.dialect.duplicate_columns_are_ambiguous
        while scope is not None:
            if named := (scope.on or scope.joined).find(name):
                first = named[0][0]
                twice = len(named) > 1 and (self.dialect.duplicate_columns_are_ambiguous or any(source != first for source, _ in named))
                return [column for _, column in named], twice
            if name in scope.aliases:
                self.names.aliased |= scope.aliases_are_conditions
                return [Column(name)], False
            scope = scope.outer
        return [], False

    def columns_of(self, qualifier: exp.Identifier | None, scope: Scope | None, node: exp.Expr) -> Columns:
        if qualifier is not None:
            name = self.dialect.fold(qualifier)
            while scope is not None:
                if name in scope.sources and (scope.on is None or name in scope.on.aliases):
                    return scope.sources[name]
                scope = scope.outer
            raise QueryRefused("table_alias_unknown", f"no table or alias `{qualifier.name}` stands in FROM", **position(node))
        return ()

    # -- the answer's columns

    def projections(self, node: exp.Select, scope: Scope) -> list[tuple[exp.Expr, Column]]:
        listed: list[tuple[exp.Expr, Column]] = []
        for item in node.expressions:
            if isinstance(item, exp.Star):
                if not scope.sources:
                    raise QueryRefused("construct_refused", "`*` needs a FROM", **position(item))
                listed += ((item, column) for column in scope.joined.columns)
                self.names.stars.append((node, item, scope.joined.star))
            elif isinstance(item, exp.Column) and isinstance(item.this, exp.Star):
                if item.args.get("db") is not None:
                    self.same_table(item, scope)
                columns, named = self.columns_of(item.args.get("table"), scope, item), self.dialect.fold(item.args["table"])
                listed += ((item, column) for column in columns)
                self.names.stars.append((node, item, tuple((named, column) for column in columns)))
            else:
                name = output_name(item, self.dialect)
                listed.append((item, Column(name)))
                if not isinstance(item, (exp.Alias, exp.Column)):
                    self.names.unnamed.append((node, item, name))
        return listed

    def held(self, item: exp.Expr, column: Column) -> Column:
        """An output column with what it holds, once the expressions below it are resolved."""
        if isinstance(item, exp.Star) or (isinstance(item, exp.Column) and isinstance(item.this, exp.Star)):
            return column
        inner = item.this if isinstance(item, exp.Alias) else item
        return self.names.described(inner)._replace(name=column.name)


def _outwards(scope: Scope | None) -> Iterator[Scope]:
    while scope is not None:
        yield scope
        scope = scope.outer
