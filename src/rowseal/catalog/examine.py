"""How the database really keeps what a catalog reads: indexes, collations, what lies below a view, what the role may write. For `lint`; reads no data."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import URL, Connection, text

from rowseal.catalog import Catalog, Dataset, Storage
from rowseal.catalog.reflection import connected, reflect

__all__ = ["Examined", "examine"]


@dataclass(frozen=True, slots=True)
class Examined:
    """One dataset's relation. `indexed` are the columns that lead a whole index, None where there can be none, as on a view.

    A SELECT of the file has no columns of its own here: the file declares which of them it wants.
    """

    kind: str
    columns: Mapping[str, str]  # name -> declared type
    indexed: Collection[str] | None
    folding: Collection[str]  # columns of text whose collation calls different texts equal
    reads: Collection[tuple[str, str]]  # of a view or SELECT: the tables below it
    writable: bool = False


def examine(url: URL, catalog: Catalog) -> dict[str, Examined]:
    """Every dataset by id. Raises Unreachable."""
    datasets = catalog.datasets.values()
    relations = reflect(url, catalog.dialect, [(each.schema, each.table) for each in datasets if each.source is None]).relations
    found: dict[str, Examined] = {}
    with connected(url, catalog.dialect) as connection:
        look = _Sqlite(connection) if catalog.dialect == "sqlite" else _Postgres(connection)
        for each in datasets:
            if each.source is not None:
                found[each.id] = Examined(each.relation, {}, None, (), each.tables, look.writable(each))
                continue
            relation = relations[each.schema, each.table]
            view = relation.kind == "view"
            indexed = None if relation.kind != "table" else look.indexed(each)
            columns = {name: column.declared for name, column in relation.columns.items()}
            found[each.id] = Examined(relation.kind, columns, indexed, look.folding(each), look.below(each) if view else (), look.writable(each))
    return found


class _Sqlite:
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


_OID: Final = text(
    "SELECT c.oid FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = :schema AND c.relname = :table"
)
_INDEXED: Final = text("""
SELECT a.attname FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid JOIN pg_catalog.pg_am AS m ON m.oid = c.relam
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = :relation AND i.indisvalid AND i.indpred IS NULL AND m.amname IN ('btree', 'hash')
""")
_BELOW: Final = text("""
WITH RECURSIVE below (oid) AS (
    SELECT CAST(:relation AS pg_catalog.oid)
    UNION
    SELECT d.refobjid FROM below AS b
    JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = b.oid
    JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass
)
SELECT n.nspname, c.relname FROM below AS b JOIN pg_catalog.pg_class AS c ON c.oid = b.oid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
""")
_WRITABLE: Final = text("SELECT pg_catalog.has_table_privilege(CAST(:relation AS pg_catalog.oid), 'INSERT, UPDATE, DELETE, TRUNCATE')")


class _Postgres:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def indexed(self, dataset: Dataset) -> Collection[str]:
        # an enum is compared as text, for which its index is of no use
        enums = {each.column for each in dataset.fields if each.storage is Storage.ENUM}
        return set(self._asked(_INDEXED, dataset.schema, dataset.table).scalars()) - enums

    def folding(self, dataset: Dataset) -> Collection[str]:
        return {each.column for each in dataset.fields if each.storage is Storage.TEXT and not each.bytewise}

    def below(self, dataset: Dataset) -> Collection[tuple[str, str]]:
        return {(row[0], row[1]) for row in self._asked(_BELOW, dataset.schema, dataset.table)} - {(dataset.schema, dataset.table)}

    def writable(self, dataset: Dataset) -> bool:
        return any(self._asked(_WRITABLE, schema, table).scalar() for schema, table in sorted(dataset.tables))

    def _asked(self, statement: Any, schema: str, table: str) -> Any:
        relation = self._connection.execute(_OID, {"schema": schema, "table": table}).scalar()
        return self._connection.execute(statement, {"relation": relation})
