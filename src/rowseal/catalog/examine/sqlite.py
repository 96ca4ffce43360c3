"""How a SQLite file keeps what a catalog reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, text

from rowseal.catalog import Dataset, Storage

__all__ = ["SqliteLook"]


class SqliteLook:
    """Through the driver's own connection, where PRAGMAs do not tell."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def indexed(self, dataset: Dataset) -> Collection[str]:
        named = {"table": dataset.table}
        indexes = self._connection.execute(text("SELECT name FROM pragma_index_list(:table, 'main') WHERE partial = 0"), named).scalars().all()
        leading = text("SELECT name FROM pragma_index_info(:index, 'main') WHERE seqno = 0")
        found = {self._connection.execute(leading, {"index": index}).scalar() for index in indexes}
        columns = self._connection.execute(text("SELECT name, type, pk FROM pragma_table_info(:table, 'main')"), named).all()
        key = [column for column in columns if column.pk]
        # an INTEGER PRIMARY KEY is the rowid itself, and stands in no list of indexes
        return {name for name in found if name} | ({key[0].name} if len(key) == 1 and key[0].type.upper() == "INTEGER" else set())

    def folding(self, dataset: Dataset) -> Collection[str]:
        return {each.column for each in dataset.fields if each.storage is Storage.TEXT and not self._is_binary(dataset, each.column)}

    def _is_binary(self, dataset: Dataset, column: str) -> bool:
        """SQLite names a column's collation in the program of a comparison, and nowhere else."""
        quote = self._connection.dialect.identifier_preparer.quote_identifier
        asked = f"EXPLAIN SELECT {quote(column)} = '' FROM main.{quote(dataset.table)}"  # noqa: S608 -- quoted names of the catalog
        try:
            # INVARIANT: EXPLAIN runs nothing; on the driver itself, because a colon in a name is no bind
            program = self._driver().execute(asked).fetchall()
        except sqlite3.Error:
            return False  # a collation that only the application knows
        collations = {str(step[5]) for step in program if step[1] in {"Eq", "Ne"}}
        return all(collation.startswith("BINARY") for collation in collations)

    def below(self, dataset: Dataset) -> Collection[tuple[str, str]]:
        """Whatever the view reads, as SQLite's authorizer hears it."""
        read: set[tuple[str, str]] = set()

        def hear(action: int, first: str | None, _second: str | None, schema: str | None, _inner: str | None) -> int:
            if action == sqlite3.SQLITE_READ and first is not None:
                read.add((schema or "main", first))
            return sqlite3.SQLITE_OK

        driver = self._driver()
        driver.set_authorizer(hear)
        try:
            quote = self._connection.dialect.identifier_preparer.quote_identifier
            driver.execute(f"EXPLAIN SELECT * FROM main.{quote(dataset.table)}").fetchall()  # noqa: S608 -- a quoted name of the catalog
        except sqlite3.Error:
            read.clear()
        finally:
            driver.set_authorizer(None)
        return read - {(dataset.schema, dataset.table)}

    def writable(self, dataset: Dataset) -> bool:  # noqa: ARG002 -- alike for every database
        """A file has no roles, and it is opened read-only."""
        return False

    def _driver(self) -> Any:
        return self._connection.connection.driver_connection
