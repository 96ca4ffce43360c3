"""How DuckDB keeps what a catalog reads."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import Connection, text

from rowseal.catalog import Dataset, Storage

__all__ = ["DuckDBLook"]


class DuckDBLook:
    """Through the system catalogs, and plans that are not run."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def indexed(self, dataset: Dataset) -> Collection[str]:
        """Every column: DuckDB keeps the least and the greatest value of each block, and reads what a filter leaves."""
        return {each.column for each in dataset.fields}

    def folding(self, dataset: Dataset) -> Collection[str]:
        return {each.column for each in dataset.fields if each.storage is Storage.TEXT and not each.bytewise}

    def below(self, dataset: Dataset) -> Collection[tuple[str, str]]:
        """Whatever the view reads, as DuckDB plans it."""
        quote = self._connection.dialect.identifier_preparer.quote_identifier
        asked = f"SELECT * FROM {quote(dataset.schema)}.{quote(dataset.table)}"  # noqa: S608 -- quoted names of the catalog
        plan = self._connection.execute(text("SELECT json_serialize_plan(:select)"), {"select": asked}).scalar()
        return set(_scanned(json.loads(plan or "{}")))

    def writable(self, dataset: Dataset) -> bool:  # noqa: ARG002 -- alike for every database
        """A file has no roles, and it is opened read-only."""
        return False


def _scanned(plan: Any) -> Iterator[tuple[str, str]]:
    if isinstance(plan, dict):
        data = plan.get("function_data")
        if plan.get("type") == "LOGICAL_GET" and isinstance(data, dict) and "table" in data:
            yield str(data.get("schema", "")), str(data["table"])
        plan = list(plan.values())
    for each in plan if isinstance(plan, list) else ():
        yield from _scanned(each)
