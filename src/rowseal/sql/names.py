"""What names may mean and what they were found to mean: datasets by name, tables in scope, columns with what they hold. `resolve` finds out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Final, NamedTuple, Protocol, TypeAlias

from sqlglot import exp

from rowseal.catalog import Dataset, Storage
from rowseal.catalog.names import ascii_lower
from rowseal.errors import AccessRefused, QueryRefused
from rowseal.policy import Policy, Rows
from rowseal.sql.dialects import Dialect
from rowseal.sql.place import position

__all__ = [
    "MIXED",
    "NOTHING",
    "Column",
    "Columns",
    "Cte",
    "DatasetLookup",
    "Joined",
    "Names",
    "Occurrence",
    "Permitted",
    "Scope",
    "Tables",
    "With",
    "output_name",
]


MIXED: Final = "two collations"


class Column(NamedTuple):
    """A column under the name by which the database looks it up, and what it holds where that is known."""

    name: str
    storage: Storage | None = None
    bytewise: bool = False
    collation: str = ""

    def merged(self, other: Column) -> Column:
        """One column of two (USING, UNION): what both hold, or nobody knows what."""
        storage = self.storage if self.storage is other.storage else None
        collation = self.collation or other.collation
        agreed = collation if other.collation in ("", collation) else MIXED
        return Column(self.name, storage, self.bytewise and other.bytewise, agreed)


_CALLED: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\(|\Z)")

Columns: TypeAlias = tuple[Column, ...]
UNKNOWN: Final = Column("")


class DatasetLookup:
    """The datasets under the names that SQL may call them by: `sql_name`, or exactly the schema and table."""

    def __init__(self, datasets: Mapping[str, Dataset], dialect: Dialect) -> None:
        self._columns: dict[str, Columns] = {}
        self._bare: dict[str, Dataset] = {}
        self._qualified: dict[tuple[str, str], Dataset | None] = {}
        for dataset in datasets.values():
            self._bare[_key(dataset.sql_name, dialect)] = dataset
            self._columns[dataset.id] = tuple(Column(_key(each.sql_name, dialect), each.storage, each.bytewise, each.collation) for each in dataset.visible)
            if dataset.source is not None:
                continue  # what a SELECT makes has one name
            qualified = (_key(dataset.schema, dialect), _key(dataset.table, dialect))
            # Two datasets over one table: the qualified name is no one's.
            self._qualified[qualified] = None if qualified in self._qualified else dataset
        self._dialect = dialect

    def find(self, table: exp.Table) -> Dataset | None:
        """The dataset that this table node names, or None."""
        name, schema = table.this, table.args.get("db")
        if schema is None:
            return self._bare.get(self._dialect.fold(name))
        return self._qualified.get((self._dialect.fold(schema), self._dialect.fold(name)))

    def columns(self, dataset: Dataset) -> Columns:
        """What a query sees of the dataset."""
        return self._columns[dataset.id]


def _key(name: str, dialect: Dialect) -> str:
    """The key under which a *declared* name is found: declared names count as quoted."""
    return dialect.fold(exp.Identifier(this=name, quoted=True))


@dataclass(slots=True)
class Occurrence:
    """One place where the query reads a dataset, and the rows of it that the bearer may read."""

    node: exp.Table
    rows: Rows


class Tables(Protocol):
    """What a name in FROM may mean that is no CTE."""

    def columns(self, node: exp.Table) -> Columns:
        """What the query sees of the table that this node names. Raises a refusal if it names none that may be read."""

    def meant(self, node: exp.Table) -> object:
        """The table that the node names, or None: the same object for the same table, and nothing more is told of it."""


class Permitted:
    """The datasets, as far as the policy opens them; `occurrences` are those that were asked for."""

    def __init__(self, datasets: DatasetLookup, policy: Policy) -> None:
        self.datasets = datasets
        self.policy = policy
        self.occurrences: list[Occurrence] = []

    def columns(self, node: exp.Table) -> Columns:
        # INVARIANT: whether the dataset may be read is judged before any of its columns is looked at, and with the same answer
        # whether the name exists, exists ungranted, or is a system table. The steps to it are the same too: a clock would tell one more.
        dataset = self.datasets.find(node)
        try:
            if not self.policy.grant.grants("" if dataset is None else dataset.id) or dataset is None:
                raise self.policy.unknown()
            rows = self.policy.rows(dataset)
        except AccessRefused as refusal:
            raise AccessRefused(refusal.code, refusal.detail, hint=refusal.hint, **position(node)) from refusal
        self.occurrences.append(Occurrence(node, rows))
        return self.datasets.columns(rows.dataset)

    def meant(self, node: exp.Table) -> object:
        return self.datasets.find(node)


@dataclass(slots=True, eq=False)
class Cte:
    """One CTE of the bearer, with every reference to it."""

    node: exp.CTE
    scope: With
    recursive: bool
    index: int
    references: list[exp.Table] = field(default_factory=list)
    columns: Columns | None = None
    reads: int = 0
    resolving: bool = False


@dataclass(slots=True)
class Names:
    """What `resolve` found.

    `columns` maps id(column node) to what it refers to, `outputs` id(query node) to the columns of its answer, `merges` are the pairs
    that USING and NATURAL compare. `unnamed` are the computed columns of nested queries with the names that we take them to have,
    `stars` what each `*` stands for, as pairs of alias ("" where USING merged two) and column.
    `aliased` says that a WHERE or HAVING means an expression of the SELECT list by its alias (SQLite), `totals` that a GROUP BY makes rows
    of several groups (ROLLUP, CUBE, GROUPING SETS).
    `called` has, for every name in the query, all columns anywhere in it that are called so. `local` has id(column node) of those that
    belong to the SELECT in which they stand. `scopes` has the tables of each SELECT by its id. `qualified` are those that were written with a schema.
    """

    ctes: list[Cte] = field(default_factory=list)
    columns: dict[int, Column] = field(default_factory=dict)
    outputs: dict[int, Columns] = field(default_factory=dict)
    merges: list[tuple[Column, Column]] = field(default_factory=list)
    unnamed: list[tuple[exp.Select, exp.Expr, str]] = field(default_factory=list)
    stars: list[tuple[exp.Select, exp.Expr, tuple[tuple[str, Column], ...]]] = field(default_factory=list)
    called: dict[str, set[Column]] = field(default_factory=dict)
    local: set[int] = field(default_factory=set)
    qualified: list[exp.Column] = field(default_factory=list)
    scopes: dict[int, Scope] = field(default_factory=dict)
    reads: int = 0
    aliased: bool = False
    totals: bool = False

    def note(self, columns: Columns) -> Columns:
        """Remember under which names there are columns."""
        for column in columns:
            self.called.setdefault(column.name, set()).add(column)
        return columns

    def described(self, node: exp.Expr) -> Column:
        """What an expression gives, as far as it is known without the database. The name means nothing."""
        match node:
            case exp.Column():
                return self.columns.get(id(node), UNKNOWN)
            case exp.Alias() | exp.Paren() | exp.Min() | exp.Max():
                return self.described(node.this)
            case exp.Count():
                return Column("", Storage.INTEGER)
            case exp.Query():
                outputs = self.outputs.get(id(node), ())
                return outputs[0] if len(outputs) == 1 else UNKNOWN
            case _:
                return UNKNOWN

    def whatever(self, node: exp.Expr) -> Column:
        """What an expression gives, whichever of the columns of its name is meant: right even if `resolve` took another for it."""
        match node:
            case exp.Column():
                resolved = self.columns.get(id(node), UNKNOWN)
                return reduce(Column.merged, self.called.get(resolved.name, ()), resolved)
            case exp.Alias() | exp.Paren() | exp.Min() | exp.Max():
                return self.whatever(node.this)
            case exp.Query():
                outputs = self.outputs.get(id(node), ())
                return reduce(Column.merged, self.called.get(outputs[0].name, ()), outputs[0]) if len(outputs) == 1 else UNKNOWN
            case _:
                return self.described(node)


@dataclass(slots=True, eq=False)
class With:
    """The CTEs that one WITH defines, the WITH around it, and the tables that their bodies may refer to (LATERAL, correlated)."""

    outer: With | None
    tables: Scope | None
    entries: dict[str, Cte] = field(default_factory=dict)


class Joined:
    """Tables joined to one: the aliases in it, and what `*` stands for, each column with the alias it comes from ("" where merged)."""

    __slots__ = ("_named", "aliases", "star")

    def __init__(self, aliases: frozenset[str], star: tuple[tuple[str, Column], ...]) -> None:
        self.aliases = aliases
        self.star = star
        self._named: dict[str, list[tuple[str, Column]]] | None = None

    @property
    def columns(self) -> Columns:
        """What `*` stands for."""
        return tuple(column for _, column in self.star)

    def find(self, name: str) -> list[tuple[str, Column]]:
        """Every column of this name, with its alias."""
        if self._named is None:
            self._named = {}
            for source, column in self.star:
                self._named.setdefault(column.name, []).append((source, column))
        return self._named.get(name, [])

    def beside(self, other: Joined) -> Joined:
        """Both, without any column in common."""
        return Joined(self.aliases | other.aliases, self.star + other.star)


NOTHING: Final = Joined(frozenset(), ())


@dataclass(slots=True)
class Scope:
    """The tables of one SELECT (or of none), and the SELECT around it. `on` are those that the ON sees which is being resolved.

    `unaliased` are the places where FROM names a table without an alias: its columns may be written with the schema.
    """

    outer: Scope | None
    sources: dict[str, Columns] = field(default_factory=dict)
    joined: Joined = NOTHING
    unaliased: dict[str, exp.Table] = field(default_factory=dict)
    on: Joined | None = None
    aliases: frozenset[str] = frozenset()
    aliases_are_conditions: bool = False  # they stand in WHERE or HAVING


def output_name(item: exp.Expr, dialect: Dialect) -> str:
    """The name that the database gives to an expression of the SELECT list, as well as we know. Raises QueryRefused for an alias that is no name.

    Where it matters, in nested queries, `secure` writes this name as an alias, so that the database goes by it too.
    """
    match item:
        case exp.Alias():
            if not isinstance(item.args["alias"], exp.Identifier):
                raise QueryRefused("construct_refused", "an alias is a name, not a string", **position(item))
            return dialect.fold(item.args["alias"])
        case exp.Column():
            return dialect.fold(item.this)
        case _ if dialect.columns_are_named_by_text:
            return ascii_lower(dialect.grammar.generate(item))
        case exp.Paren() | exp.Window() | exp.Filter() | exp.WithinGroup() | exp.Cast():
            return output_name(item.this, dialect)
        case exp.Subquery() | exp.SetOperation():
            return output_name(item.this, dialect)
        case exp.Select() if item.expressions:
            return output_name(item.expressions[0], dialect)
        case exp.Case():
            return "case"
        case exp.Func():
            called = _CALLED.match(dialect.grammar.generate(item))
            return called[1].lower() if called else "?column?"
        case _:
            return "?column?"
