"""Who is meant by each name: tables, CTEs and columns of an admitted query, by the rules of the database that will run it.

The tree is not changed here. What cannot be resolved is refused, so a name that only the database would understand (rowid, ctid, a
whole row, a function written as a column, a double-quoted string) never reaches it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from sqlglot import exp

from rowseal.errors import AccessRefused, QueryRefused
from rowseal.policy import Policy
from rowseal.sql.admit import position
from rowseal.sql.dialects import Dialect
from rowseal.sql.names import NOTHING, Column, Columns, Cte, DatasetLookup, Joined, Names, Occurrence, Scope, With, output_name

__all__ = ["resolve"]

MAX_TABLES: Final = 24  # in one FROM: PostgreSQL plans thirty joined guards for seconds
MAX_READS: Final = 256  # table reads after every CTE reference is counted as often as it is expanded

_Condition: TypeAlias = tuple[exp.Expr, Joined]


def resolve(tree: exp.Query, datasets: DatasetLookup, policy: Policy, dialect: Dialect) -> Names:
    """Resolve every name. Raises QueryRefused for columns, aliases and shapes, AccessRefused for tables that the bearer may not read."""
    resolver = _Resolver(datasets, policy, dialect)
    resolver.query(tree, None, None)
    return resolver.names


class _Resolver:
    def __init__(self, datasets: DatasetLookup, policy: Policy, dialect: Dialect) -> None:
        self.datasets = datasets
        self.policy = policy
        self.dialect = dialect
        self.names = Names()

    # -- queries

    def query(self, node: exp.Expr, ctes: With | None, outer: Scope | None) -> Columns:
        ctes = self.with_(node, ctes, outer)
        match node:
            case exp.Select():
                columns = self.select(node, ctes, outer)
            case exp.SetOperation():
                left, right = self.query(node.this, ctes, outer), self.query(node.expression, ctes, outer)
                if len(left) != len(right):
                    raise QueryRefused("construct_refused", "the two sides of a set operation have different numbers of columns", **position(node))
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
        scope = Scope(outer)
        conditions: list[_Condition] = []
        if (from_ := node.args.get("from_")) is not None:
            scope.joined = self.joined(from_.this, node.args.get("joins") or (), scope, ctes, conditions)
        output = self.projections(node, scope)
        aliases = frozenset(column.name for item, column in output if isinstance(item, exp.Alias))
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
        for row in node.expressions:
            self.expression(row, scope, ctes)
            width = len(row.expressions) if isinstance(row, exp.Tuple) else 1
        return self.names.note(tuple(Column(f"column{number}") for number in range(1, width + 1)))

    # -- FROM

    def joined(self, first: exp.Expr, joins: Sequence[exp.Join], scope: Scope, ctes: With | None, conditions: list[_Condition]) -> Joined:
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

    def source(self, node: exp.Expr, scope: Scope, ctes: With | None, conditions: list[_Condition]) -> Joined:
        alias = node.args.get("alias")
        if isinstance(node, exp.Subquery) and self.is_bracketed_join(node):
            return self.bracketed_join(node, scope, ctes, conditions)
        if isinstance(node, exp.Table):
            named = alias.this if alias and alias.this else node.this
            single = self.add(scope, named, self.renamed(self.table(node, ctes), alias), node)
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

    def bracketed_join(self, node: exp.Subquery, scope: Scope, ctes: With | None, conditions: list[_Condition]) -> Joined:
        alias = node.args.get("alias")
        inner = Scope(scope.outer) if alias else scope
        within: list[_Condition] = [] if alias else conditions
        joined = self.joined(node.this, node.args.get("joins") or (), inner, ctes, within)
        if not alias:
            return joined
        inner.joined = joined
        self.conditions(within, inner, ctes)
        return self.add(scope, alias.this, self.renamed(joined.columns, alias), node)

    def derived(self, node: exp.Expr, columns: Columns, scope: Scope) -> Joined:
        alias = node.args.get("alias")
        if alias is not None and alias.args.get("columns") and not self.dialect.derived_column_lists:
            raise QueryRefused("construct_refused", "this database has no column list behind the alias of a sub-query", **position(node))
        identifier = alias.this if alias is not None else None
        return self.add(scope, identifier, self.renamed(columns, alias), node)

    def join(self, left: Joined, node: exp.Join, scope: Scope, ctes: With | None, conditions: list[_Condition]) -> Joined:
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
            raise QueryRefused("construct_refused", f"the name `{identifier.name if identifier else ''}` stands twice in FROM", **position(node))
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

    def table(self, node: exp.Table, ctes: With | None) -> Columns:
        entry = self.cte(node, ctes) if node.args.get("db") is None else None
        if entry is not None:
            entry.references.append(node)
            before = self.names.reads
            columns = self.cte_columns(entry)
            self.names.reads = before  # its body is read where it is referred to, as often as that
            self.count(entry.reads)
            return columns
        # INVARIANT: whether the dataset may be read is judged before any of its columns is looked at, and with the same answer
        # whether the name exists, exists ungranted, or is a system table.
        dataset = self.datasets.find(node)
        try:
            if dataset is None:
                raise self.policy.unknown()
            rows = self.policy.rows(dataset)
        except AccessRefused as refusal:
            raise AccessRefused(refusal.code, refusal.detail, hint=refusal.hint, **position(node)) from refusal
        alias = node.args.get("alias")
        if alias is not None and alias.args.get("columns") and not self.dialect.derived_column_lists:
            raise QueryRefused("construct_refused", "this database has no column list behind the alias of a table", **position(node))
        self.names.occurrences.append(Occurrence(node, rows))
        self.count(1)
        return self.names.note(self.datasets.columns(rows.dataset))

    def count(self, reads: int) -> None:
        self.names.reads += reads
        if self.names.reads > MAX_READS:
            raise QueryRefused("sql_too_complex", f"the query reads tables more than {MAX_READS} times once its CTEs are written out")

    def conditions(self, conditions: list[_Condition], scope: Scope, ctes: With | None) -> None:
        """What stands behind ON, once all tables are known. PostgreSQL's sees the two sides of its own join, SQLite's the whole FROM."""
        for condition, both in conditions:
            scope.on = None if self.dialect.commas_join_to_the_left else both
            self.expression(condition, scope, ctes)
        scope.on = None

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
        if entry.recursive:
            return True
        return all(entry.index < other.index for other in entry.scope.entries.values() if other.resolving)

    def cte_columns(self, entry: Cte) -> Columns:
        if entry.columns is not None:
            return entry.columns
        body = entry.node.this
        if entry.resolving:
            raise QueryRefused("construct_refused", f"the CTE `{entry.node.alias}` refers to itself", **position(entry.node))
        entry.resolving = True
        outer, before = entry.scope.tables, self.names.reads
        if entry.recursive and isinstance(body, exp.SetOperation) and body.args.get("with_") is None:
            # The first arm tells the columns before the second may name the CTE itself.
            left = self.query(body.this, entry.scope, outer)
            entry.columns = self.renamed(left, entry.node.args["alias"])
            if len(self.query(body.expression, entry.scope, outer)) != len(left):
                raise QueryRefused("construct_refused", "the two sides of a set operation have different numbers of columns", **position(body))
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
        if isinstance(node.this, exp.Star):
            self.columns_of(qualifier, scope, node)
            return
        name = self.dialect.fold(node.this)
        found, ambiguous = self.candidates(name, qualifier, scope, node)
        if (qualifier is None and scope.joined.find(name)) or (qualifier is not None and self.dialect.fold(qualifier) in scope.sources):
            self.names.local.add(id(node))
        if not found:
            raise QueryRefused("column_unknown", f"no column `{node.name}` is open to this token here", **position(node))
        if ambiguous:
            raise QueryRefused("column_ambiguous", f"the column `{node.name}` exists in more than one table of the query", **position(node))
        self.names.columns[id(node)] = found[0]

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
            elif isinstance(item, exp.Column) and isinstance(item.this, exp.Star):
                listed += ((item, column) for column in self.columns_of(item.args.get("table"), scope, item))
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
