"""How MariaDB keeps what a catalog reads."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from rowseal.catalog import Dataset, Storage
from rowseal.catalog.mariadb_grants import UNKNOWN, Grant, grants

__all__ = ["MariaDBLook"]

_INDEXED: Final = text("""
SELECT table_name AS name, column_name AS first FROM information_schema.statistics
WHERE table_schema = :schema AND table_name = :table AND seq_in_index = 1 AND index_type IN ('BTREE', 'HASH') AND ignored = 'NO'
""")
_RELATIONS: Final = text("SELECT table_schema AS `schema`, table_name AS name, table_type AS kind FROM information_schema.tables")
_WRITING: Final = frozenset({"INSERT", "UPDATE", "DELETE", "DELETE HISTORY", "DROP", "ALTER", "ALL PRIVILEGES", UNKNOWN})
_TEXT_OR_NAME: Final = re.compile(r"""'(?:[^'\\]|\\.|'')*'|(?P<first>`(?:[^`]|``)*`)(?:\.(?P<second>`(?:[^`]|``)*`))?""", re.DOTALL)


class MariaDBLook:
    """Through the information schema. A schema is what MariaDB calls a database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._grants: list[Grant] | None = None
        self._relations: dict[tuple[str, str], str] | None = None

    def indexed(self, dataset: Dataset) -> Collection[str]:
        # an enum is compared as text, for which its index is of no use
        enums = {each.column for each in dataset.fields if each.storage is Storage.ENUM}
        rows = self._connection.execute(_INDEXED, {"schema": dataset.schema, "table": dataset.table})
        return {row.first for row in rows if row.name == dataset.table} - enums

    def folding(self, dataset: Dataset) -> Collection[str]:
        """`_bin` and `_nopad_bin` compare characters by their numbers; all others fold at least case or accents."""
        return {each.column for each in dataset.fields if each.storage is Storage.TEXT and not each.bytewise and not each.collation.endswith("_bin")}

    def below(self, dataset: Dataset) -> Collection[tuple[str, str]] | None:
        """Every relation that the view's text names, and the texts of those that are views. None where the role may not see one of the texts."""
        found: set[tuple[str, str]] = set()
        waiting = {(dataset.schema, dataset.table)}
        while waiting:
            written = self._text(*waiting.pop())
            if written is None:
                return None
            new = self._named(written) - found
            found |= new
            waiting |= {each for each in new if self._known()[each] == "VIEW"}
        return found - {(dataset.schema, dataset.table)}

    def writable(self, dataset: Dataset) -> bool:
        """By its own rights, or those of a role that it may take on."""
        if self._grants is None:
            self._grants = list(grants(self._connection))
        writing = [each for each in self._grants if each.rights & _WRITING]
        return any(grant.covers(*table) for grant in writing for table in dataset.tables)

    def _text(self, schema: str, view: str) -> str | None:
        quote = self._connection.dialect.identifier_preparer.quote_identifier
        asked = f"SHOW CREATE VIEW {quote(schema)}.{quote(view)}".replace("%%", "%")  # quoted names of the catalog; `%` is doubled for a text with binds
        try:
            # what lies in the current database is named without it, as a CTE is; the rest decides how names are quoted
            self._connection.exec_driver_sql("USE information_schema")
            self._connection.exec_driver_sql("SET SESSION sql_mode = '', sql_quote_show_create = 1")
            row = self._connection.exec_driver_sql(asked, execution_options={"no_parameters": True}).one()
        except SQLAlchemyError:
            return None
        return str(row[1])

    def _named(self, written: str) -> set[tuple[str, str]]:
        """INVARIANT: never too few. `alias`.`column` passes for a table only where there is one of that name."""
        return {pair for pair in _pairs(written) if pair in self._known()}

    def _known(self) -> dict[tuple[str, str], str]:
        if self._relations is None:
            self._relations = {(row.schema, row.name): row.kind for row in self._connection.execute(_RELATIONS)}
        return self._relations


def _pairs(written: str) -> Iterator[tuple[str, str]]:
    for found in _TEXT_OR_NAME.finditer(written):
        if found["second"]:
            yield _name(found["first"]), _name(found["second"])


def _name(quoted: str) -> str:
    return quoted[1:-1].replace("``", "`")
