"""What names may mean and what they were found to mean: datasets by name, tables in scope, columns with what they hold. `resolve` finds out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Final, NamedTuple, TypeAlias

from sqlglot import exp

from rowseal.catalog import Dataset, Storage
from rowseal.errors import QueryRefused
from rowseal.policy import Rows
from rowseal.sql.admit import position
from rowseal.sql.dialects import Dialect

__all__ = ["MIXED", "Column", "Columns", "Cte", "DatasetLookup", "Names", "Occurrence", "Scope", "With", "output_name"]


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
_UNKNOWN: Final = Column("")


class DatasetLookup:
    """The datasets under the names that SQL may call them by: `sql_name`, or exactly the schema and table."""

    def __init__(self, datasets: Mapping[str, Dataset], dialect: Dialect) -> None:
        self._columns: dict[str, Columns] = {}
        self._bare: dict[str, Dataset] = {}
        self._qualified: dict[tuple[str, str], Dataset | None] = {}
        for dataset in datasets.values():
            self._bare[_key(dataset.sql_name, dialect)] = dataset
            self._columns[dataset.id] = tuple(Column(_key(each.sql_name, dialect), each.storage, each.bytewise, each.collation) for each in dataset.visible)
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
    that USING and NATURAL compare. `aliased` says that a WHERE or HAVING means an expression of the SELECT list by its alias (SQLite).
    """

    occurrences: list[Occurrence] = field(default_factory=list)
    ctes: list[Cte] = field(default_factory=list)
    columns: dict[int, Column] = field(default_factory=dict)
    outputs: dict[int, Columns] = field(default_factory=dict)
    merges: list[tuple[Column, Column]] = field(default_factory=list)
    reads: int = 0
    aliased: bool = False

    def described(self, node: exp.Expr) -> Column:
        """What an expression gives, as far as it is known without the database. The name means nothing."""
        match node:
            case exp.Column():
                return self.columns.get(id(node), _UNKNOWN)
            case exp.Alias() | exp.Paren() | exp.Min() | exp.Max():
                return self.described(node.this)
            case exp.Count():
                return Column("", Storage.INTEGER)
            case exp.Query():
                outputs = self.outputs.get(id(node), ())
                return outputs[0] if len(outputs) == 1 else _UNKNOWN
            case _:
                return _UNKNOWN


@dataclass(slots=True, eq=False)
class With:
    """The CTEs that one WITH defines, the WITH around it, and the tables that their bodies may refer to (LATERAL, correlated)."""

    outer: With | None
    tables: Scope | None
    entries: dict[str, Cte] = field(default_factory=dict)


@dataclass(slots=True)
class Scope:
    """The tables of one SELECT (or of none), and the SELECT around it."""

    outer: Scope | None
    sources: dict[str, Columns] = field(default_factory=dict)
    named: dict[str, list[tuple[str, Column]]] = field(default_factory=dict)  # the same by the column's name, each with its source
    merged: set[str] = field(default_factory=set)
    aliases: frozenset[str] = frozenset()
    aliases_are_conditions: bool = False  # they stand in WHERE or HAVING
    before: frozenset[str] | None = None  # while an ON is resolved: the tables that stand before it

    def add(self, source: str, columns: Columns) -> None:
        """Put one more table beside the others."""
        self.sources[source] = columns
        for column in columns:
            self.named.setdefault(column.name, []).append((source, column))

    def columns(self) -> Columns:
        """What `*` stands for; a column merged by USING or NATURAL counts once."""
        seen: set[str] = set()
        listed = []
        for columns in self.sources.values():
            for column in columns:
                if column.name not in self.merged:
                    listed.append(column)
                elif column.name not in seen:
                    seen.add(column.name)
                    listed.append(self.one(column.name))
        return tuple(listed)

    def one(self, name: str) -> Column:
        """The column of this name that USING or NATURAL made of several."""
        return reduce(Column.merged, (column for _, column in self.named[name]))


def output_name(item: exp.Expr, dialect: Dialect) -> str:
    """The name that the database gives to an expression of the SELECT list. Raises QueryRefused for an alias that is no name."""
    match item:
        case exp.Alias():
            if not isinstance(item.args["alias"], exp.Identifier):
                raise QueryRefused("construct_refused", "an alias is a name, not a string", **position(item))
            return dialect.fold(item.args["alias"])
        case exp.Column():
            return dialect.fold(item.this)
        case exp.Paren() | exp.Window() | exp.Filter() | exp.WithinGroup() | exp.Cast() if dialect.name == "postgres":
            return output_name(item.this, dialect)
        case exp.Case() if dialect.name == "postgres":
            return "case"
        case exp.Func() if dialect.name == "postgres":
            called = _CALLED.match(dialect.grammar.generate(item))
            return called[1].lower() if called else "?column?"
        case _:
            return "?column?"
