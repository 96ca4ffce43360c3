"""What exists: datasets, fields and limits, resolved from datasets.yaml against the real database. Frozen once loaded.

`document` is the YAML file with its positions, `reflection` what the database really holds; `rowseal.configuration` puts them together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias
from uuid import UUID

from rowseal.filters import Filter, Operator
from rowseal.mapping import ClaimPath

__all__ = [
    "ONLY_CONNECTION",
    "Bound",
    "Catalog",
    "ClaimFilter",
    "ConfigFilter",
    "Dataset",
    "Field",
    "FieldType",
    "FunctionRules",
    "Guard",
    "Limits",
    "Source",
    "Storage",
    "ThroughFilter",
    "Trusted",
]


# What the one connection of a file with `database:` is called.
ONLY_CONNECTION: Final = "default"
# A value ready to bind: typed by the field, in the form the database stores.
Bound: TypeAlias = "bool | int | Decimal | float | str | date | datetime | UUID"


class FieldType(StrEnum):
    """What a field is to the people who write filters."""

    NUMBER = "number"
    STRING = "string"
    BOOLEAN = "boolean"
    DATE = "date"
    DATE_TIME = "date_time"


class Storage(StrEnum):
    """What the database really stores: decides how a value is bound and compared."""

    INTEGER = "integer"
    HUGE = "huge"  # DuckDB: whole numbers of 128 bits
    DECIMAL = "decimal"
    FLOAT = "float"
    TEXT = "text"  # byte order decides equality once the guard adds its exact comparison
    UUID = "uuid"
    ENUM = "enum"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"  # without a zone: the field's `timezone` says which
    TIMESTAMPTZ = "timestamptz"
    TEXT_DATE = "text_date"  # SQLite: text in the field's `format`, compared as text
    TEXT_TIMESTAMP = "text_timestamp"


@dataclass(frozen=True, slots=True)
class Field:
    """One column that a dataset declares. `sql_name` is how queries spell it, `column` what the table calls it."""

    id: str
    name: str
    sql_name: str
    column: str
    type: FieldType
    storage: Storage
    hidden: bool = False
    exact: bool = False
    timezone: str = "UTC"
    format: str | None = None
    # False where the column's collation calls different bytes equal (or nobody can tell): equality then needs a second, bytewise test.
    bytewise: bool = False
    # The collation, where it is not the database's default: PostgreSQL raises when it first compares texts of two such, not before.
    collation: str = ""


@dataclass(frozen=True, slots=True)
class ConfigFilter:
    """A filter of the configuration with its value written in the file, at this line of it. ANDed whatever the token says."""

    filter: Filter
    line: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ClaimFilter:
    """A filter of the configuration whose value is a claim of the token (a dotted path). An absent claim refuses the dataset."""

    field: str
    op: Operator
    claim: str
    line: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ThroughFilter:
    """Rows whose parent row is permitted: `on` pairs this dataset's field ids with the parent's."""

    parent: str
    on: tuple[tuple[str, str], ...]
    line: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Guard:
    """The token itself must restrict `field` with one of `ops` in every OR branch; optionally with values of a certain kind."""

    field: str
    ops: frozenset[Operator]
    max_values: int | None = None
    matches: str | None = None
    values_in: frozenset[Bound] | None = None  # typed like the field, as the token's own values are before they are compared


@dataclass(frozen=True, slots=True)
class Trusted:
    """A value that the token must bring for a source: the claim at `path`, typed like the field, which no table has."""

    path: ClaimPath
    field: Field


@dataclass(frozen=True, slots=True)
class Source:
    """A SELECT of the operator that stands where a table would: rows made of other rows. Written once, when the file is loaded.

    `text` is that SELECT as it stands in a guard, with U+0002 where the guard's number goes and U+0003 where a value of the token does, each
    time the next of `trusted`; `tables` are the (schema, table) pairs that it
    reads, and nothing else; `ctes` counts its own CTEs, which are called `__g<number of the guard>_1` and so on.
    """

    text: str
    tables: frozenset[tuple[str, str]]
    ctes: int = 0
    trusted: tuple[Trusted, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)  # equal to itself alone: caches are keyed by it
class Dataset:
    """One relation of the catalog. `relation` is "table", or else what it is: its columns may then raise where they are read.

    Its rows come from the table `schema`.`table`, or from `source`; then both names are empty.
    """

    id: str
    name: str
    sql_name: str
    schema: str  # always written out in SQL: "main" on SQLite, the connection's default schema elsewhere unless the file names one
    table: str
    relation: str
    public: bool
    fields: tuple[Field, ...]
    secure_filters: tuple[ConfigFilter | ClaimFilter | ThroughFilter, ...] = ()
    guards: tuple[Guard, ...] = ()
    source: Source | None = None

    def field(self, reference: str) -> Field | None:
        """The field of this id, else the one field whose name people see is unique and equal to it."""
        for candidate in self.fields:
            if candidate.id == reference:
                return candidate
        named = [candidate for candidate in self.fields if candidate.name == reference]
        return named[0] if len(named) == 1 else None

    @property
    def visible(self) -> tuple[Field, ...]:
        """The fields that a query may see, in the order of the file."""
        return tuple(candidate for candidate in self.fields if not candidate.hidden)

    @property
    def tables(self) -> frozenset[tuple[str, str]]:
        """Every physical table, as (schema, table), that its rows are read from."""
        return frozenset({(self.schema, self.table)}) if self.source is None else self.source.tables


@dataclass(frozen=True, slots=True)
class Limits:
    """Budgets (G9). Sizes in bytes, times in seconds."""

    rows: int = 10_000
    seconds: float = 15.0
    token_bytes: int = 16_384
    body_token_bytes: int = 2_000_000
    sql_bytes: int = 65_536
    nodes: int = 3_000
    result_bytes: int = 50_000_000
    concurrent: int = 64
    queries: int = 10


@dataclass(frozen=True, slots=True)
class FunctionRules:
    """Function names (lower case) on top of the dialect's built-in list."""

    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Catalog:
    """The datasets of one connection, resolved. `dialect` is sqlglot's name: "sqlite", "postgres" or "duckdb". `datasets` is by id, in the order of the file.

    `limits` and `functions` are the file's, the same in each catalog.
    """

    dialect: str
    database: str = dataclasses.field(repr=False)  # SQLAlchemy URL; may hold a password
    datasets: Mapping[str, Dataset] = dataclasses.field(default_factory=dict)
    limits: Limits = Limits()
    functions: FunctionRules = FunctionRules()
    # written in the file by whoever accepts that the database role may do more than read; refused at start otherwise
    allow_privileged_role: bool = False
    connection: str = ONLY_CONNECTION
    # written in the file by whoever accepts a database that does not testify what a query reads; refused at start otherwise
    experimental: bool = False
