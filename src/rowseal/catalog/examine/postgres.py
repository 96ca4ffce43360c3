"""How PostgreSQL keeps what a catalog reads."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import Connection, text

from rowseal.catalog import Dataset, Storage

__all__ = ["PostgresLook"]

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


class PostgresLook:
    """Through the system catalogs."""

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
