"""What a dataset with `sql:` or `joins:` holds, worked out without the product: a SELECT by a SQLite of its own, a join row by row in Python.

`written_out` gives the same configuration with every dataset over one table, and those tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from databases.sqlite import load_sqlite
from world import COMPUTED, Column, Table, Value

__all__ = ["is_derived", "with_views", "written_out"]

_READ: Final[Mapping[str, Any]] = {
    "integer": int,
    "decimal": lambda value: Decimal(str(value)),
    "numeric": lambda value: Decimal(str(value)),
    "float": float,
    "text": str,
    "boolean": bool,
    "date": date.fromisoformat,
    "date_time": datetime.fromisoformat,
}


def is_derived(dataset: Mapping[str, Any]) -> bool:
    """Whether the dataset's rows are made of other rows."""
    return bool("sql" in dataset or dataset.get("joins"))


def with_views(configuration: Mapping[str, Any], views: Mapping[str, str]) -> Mapping[str, Any]:
    """The same configuration for the model: a dataset over a view is one over the view's SELECT."""
    if not any(dataset.get("table") in views for dataset in configuration["datasets"]):
        return configuration
    seen = [{**dataset, "sql": views[dataset["table"]]} if dataset.get("table") in views else dataset for dataset in configuration["datasets"]]
    return {**configuration, "datasets": seen}


def written_out(configuration: Mapping[str, Any], tables: Sequence[Table]) -> tuple[Mapping[str, Any], tuple[Table, ...]]:
    """Each derived dataset over a table called after it, which is added to the others."""
    if not any(map(is_derived, configuration["datasets"])):
        return configuration, tuple(tables)
    made: list[Table] = []
    datasets = []
    for dataset in configuration["datasets"]:
        if is_derived(dataset):
            read = [table for table in tables if table.name in (dataset.get("sql") or {dataset["table"], *(join["table"] for join in dataset["joins"])})]
            table = _made(_Dataset(repr(dataset), dataset), tuple(read))
            made.append(table)
            fields = [{**entry, "column": column.name} for entry, column in zip(dataset["fields"], table.columns, strict=True)]
            datasets.append({**dataset, "table": table.name, "fields": fields})
        else:
            datasets.append(dataset)
    return {**configuration, "datasets": datasets}, (*tables, *made)


@dataclass(frozen=True, slots=True)
class _Dataset:
    """A dataset that is remembered by what its configuration says."""

    text: str
    written: Mapping[str, Any] = field(compare=False)


@lru_cache(maxsize=64)  # the rows of a stage are asked for again and again
def _made(dataset: _Dataset, tables: tuple[Table, ...]) -> Table:
    return _selected(dataset.written, tables) if "sql" in dataset.written else _joined(dataset.written, tables)


def _selected(dataset: Mapping[str, Any], tables: Sequence[Table]) -> Table:
    """SQLite answers the operator's SELECT as it was written; the columns are those that the fields name."""
    kinds = {column.name: column.kind for table in reversed(tables) for column in table.columns} | COMPUTED
    wanted = [entry.get("column", entry["id"]) for entry in dataset["fields"]]
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        load_sqlite(connection, tables, {}, keyed=False)
        cursor = connection.execute(dataset["sql"])
        names = [each[0] for each in cursor.description]
        rows = [tuple(_value(row[names.index(name)], kinds[name]) for name in wanted) for row in cursor]
    columns = tuple(Column(f"c{number}", kinds[name]) for number, name in enumerate(wanted))
    return Table(f"derived {dataset['id']}", columns, tuple(sorted(rows, key=repr)))


def _value(value: Any, kind: str) -> Value:
    read: Value = None if value is None else _READ[kind](value)
    return read


def _joined(dataset: Mapping[str, Any], tables: Sequence[Table]) -> Table:
    """From left to right, every pair of rows; a left join keeps a row that finds none."""
    by_name = {table.name: table for table in tables}
    first = by_name[dataset["table"]]
    aliases: dict[str, Table] = {first.name: first}
    joined: list[dict[str, tuple[Value, ...] | None]] = [{first.name: row} for row in first.rows]
    for join in dataset["joins"]:
        table, alias, left = by_name[join["table"]], join.get("as", join["table"]), join.get("from", first.name)
        pairs = [(aliases[left].position(theirs), table.position(own)) for theirs, own in join["on"].items()]
        aliases[alias] = table
        joined = [{**row, alias: found} for row in joined for found in _partners(row[left], table, pairs, keep=join["type"] == "left")]
    columns, cells = [], []
    for number, entry in enumerate(dataset["fields"]):
        alias = entry.get("table", first.name)
        position = aliases[alias].position(entry.get("column", entry["id"]))
        columns.append(Column(f"c{number}", aliases[alias].columns[position].kind))
        cells.append((alias, position))
    rows = [tuple(None if (found := row[alias]) is None else found[position] for alias, position in cells) for row in joined]
    return Table(f"derived {dataset['id']}", tuple(columns), tuple(sorted(rows, key=repr)))


def _partners(left: tuple[Value, ...] | None, table: Table, pairs: Sequence[tuple[int, int]], *, keep: bool) -> Iterator[tuple[Value, ...] | None]:
    found = False
    for row in table.rows:
        if left is not None and all(left[theirs] is not None and left[theirs] == row[own] for theirs, own in pairs):
            found = True
            yield row
    if keep and not found:
        yield None
