"""What a kind of database has to offer to be tested: tables put into it, queries asked straight at it, and how it spells SQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import servers
from world import Table

__all__ = ["FEATURES", "Answer", "Database", "Dialect", "Model", "Speech", "definition", "indexes", "numbered", "quoted"]

Answer: TypeAlias = "tuple[tuple[str, ...], list[tuple[Any, ...]]]"  # names of columns, and rows


# What of SQL some databases have and others have not.
FEATURES: Final = frozenset(
    {
        "alias columns",  # FROM (..) AS a(x, y)
        "calm case",  # CASE fails on no value, so that the product may leave it unguarded
        "distinct on",
        "except all",
        "filter",  # on aggregates
        "frames",
        "frames of groups",
        "full join",  # on columns of both sides
        "full join on anything",
        "grouping sets",
        "lateral",
        "named windows",
        "nulls first",
        "quantified",  # = ANY (SELECT ..)
        "recursive",
        "right join",
        "rows",  # (a, b) IN (SELECT ..)
        "window filter",
        "with hints",  # AS MATERIALIZED
    }
)


class Model(Protocol):
    """V in a database of its own, to ask it the bearer's query as written. One connection, kept."""

    def ask(self, sql: str, params: Mapping[str, Any]) -> Answer:
        """Columns and rows. Parameters stand in the SQL as `:name`. Raises one of the dialect's `errors`."""
        ...

    def close(self) -> None: ...


class Database(Protocol):
    """One private database."""

    @property
    def url(self) -> str:
        """SQLAlchemy's URL for the product, in a role that may only read."""
        ...

    def fill(self, tables: Sequence[Table], views: Mapping[str, str], *, analyze: bool) -> None:
        """Make the tables hold exactly these rows, with a key and an index on every other column. Tables once made stay.

        With `analyze` the planner knows how small they are and reads them whole; without, it prefers an index.
        """
        ...

    def model(self, relations: Sequence[Table]) -> Model:
        """A model that holds these relations and nothing else, without keys. Relations of a model before it are gone."""
        ...

    def drop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Speech:
    """How random queries are spelled here, and what of SQL they may use.

    Expressions are templates by the type that they give, number or text. `{number}` and `{text}` in them are columns of that type,
    `{n}` and `{t}` columns, literals or further templates, `{#}` and `{'}` literals, `{=}` once more what the first blank holds, `{code}`
    and `{payload}` the columns of that name (a template with one is used where such a column is). What they give may not depend on the
    order of rows, nor on whether a number is written 1 or 1.0.
    `calm` ones fail on no value, so that the product may leave them unguarded; `ordinary` ones fail on no permitted row; `failing` ones fail
    on some row that is planted, and on no permitted one: 31337, 'LEAK not a number' and '2026-13-45' stand in forbidden rows only.
    `aggregates` stand over columns of their own query. `ranks` are window functions over rows in an order without ties.
    """

    schema: str  # the default one, as a query may write it
    real: str  # a type of floating point, for CAST
    quotes: tuple[str, ...]  # how a name is quoted
    spelled: Callable[[str], Sequence[str]]  # how the name of a dataset may be written
    folded: Callable[[str], str]  # the name that is looked up, from a name as written
    calm: Mapping[str, Sequence[str]]
    ordinary: Mapping[str, Sequence[str]]
    failing: Mapping[str, Sequence[str]]
    aggregates: Mapping[str, Sequence[str]]
    ranks: Sequence[str]
    patterns: Sequence[str]  # predicates
    values: tuple[str, str] | None  # what `VALUES (1, 'a')` calls its columns; None where it cannot stand in FROM
    features: frozenset[str]  # of FEATURES

    def __post_init__(self) -> None:
        if unknown := self.features - FEATURES:
            raise ValueError(f"no such feature: {', '.join(sorted(unknown))}")


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of database. `new` makes an empty private database, in the folder or on the run's server; it raises `servers.UnavailableError`."""

    name: str  # the product's name of it
    title: str  # as pages write it
    grammar: str  # sqlglot's name of it
    server: bool  # whether it takes a server; its tests are then marked with the name
    catalog: str  # a table of the system's own
    errors: tuple[type[Exception], ...]  # what a model raises where the database refuses a query
    plans: tuple[bool, ...]  # the values of `analyze` that give different plans
    exclusive: bool  # whether a database that anybody has open cannot be filled
    spied: bool  # whether queries may call `spy` (see `spies`)
    speech: Speech
    new: Callable[[servers.Run, Path], Database]
    alike: bool = True  # whether two databases with the same tables are sent the same text; not where it names the database
    unread: Callable[[str], bool] = lambda _: False  # the queries that fail behind guards and not without, whatever the rows
    sourced: Callable[[str], str] = str  # a SELECT of an operator, in a view or under a dataset, as it must be written here
    respelled: Callable[[str], str] = str  # the SQL of a page, whose quoted names stand in double quotes, as it is written here


def quoted(name: str, mark: str = '"') -> str:
    """The name in quotation marks."""
    return mark + name.replace(mark, mark * 2) + mark


def definition(table: Table, types: Mapping[str, str], *, keyed: bool, mark: str = '"') -> str:
    """CREATE TABLE, with these types by kind of column."""
    columns = [f"{quoted(column.name, mark)} {types[column.kind]}" for column in table.columns]
    if keyed:
        columns[0] += " PRIMARY KEY"
    return f"CREATE TABLE {quoted(table.name, mark)} ({', '.join(columns)})"


def indexes(table: Table, mark: str = '"') -> Iterable[str]:
    """CREATE INDEX for every column: a planner that can use one runs the bearer's expression on rows that the filter has not seen yet."""
    for number, column in enumerate(table.columns[1:]):
        yield f"CREATE INDEX {quoted(f'{table.name} {number}', mark)} ON {quoted(table.name, mark)} ({quoted(column.name, mark)})"


_PARAMETER: Final = r"(?<![:\w']):({})\b"


def numbered(sql: str, params: Mapping[str, Any], mark: str = "%s") -> tuple[str, list[Any] | None]:
    """The SQL with `mark` in place of each `:name`, and the values in that order; `%` is doubled where the mark has one."""
    if not params:
        return sql, None
    values: list[Any] = []

    def bind(found: re.Match[str]) -> str:
        values.append(params[found[1]])
        return mark

    escaped = sql.replace("%", "%%") if "%" in mark else sql
    return re.sub(_PARAMETER.format("|".join(map(re.escape, params))), bind, escaped), values
