"""How DuckDB keeps what a catalog reads."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection

from rowseal.catalog import Dataset, Storage
from rowseal.catalog.duckdb_plans import plan, scanned

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
        return set(scanned(plan(self._connection, asked)))

    def writable(self, dataset: Dataset) -> bool:  # noqa: ARG002 -- alike for every database
        """A file has no roles, and it is opened read-only."""
        return False
