"""The tables and views of a MariaDB database."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Connection, text

from rowseal.catalog.survey.found import ForeignKey, Keys, Listed

__all__ = ["keys", "listed"]

# A sequence is a kind of table too, of one row that is nobody's. Partitions and the tables of full-text indexes do not stand here.
_RELATIONS: Final = text("""
SELECT table_schema AS `schema`, table_name AS name FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED', 'VIEW')
""")
_KEYS: Final = text("""
SELECT table_name AS name, constraint_name AS `key`, column_name AS own, referenced_table_schema AS `schema`, referenced_table_name AS referred,
       referenced_column_name AS theirs
FROM information_schema.key_column_usage
WHERE table_schema = :schema AND (constraint_name = 'PRIMARY' OR referenced_table_name IS NOT NULL)
ORDER BY table_name, constraint_name, ordinal_position
""")


def listed(connection: Connection) -> tuple[str, list[Listed]]:
    """The database that the URL names, with its tables and views. Others of the server are left alone."""
    rows = connection.execute(_RELATIONS).all()
    return str(connection.execute(text("SELECT DATABASE()")).scalar() or ""), [Listed(row.schema, row.name, "") for row in rows]


def keys(connection: Connection, schema: str) -> Keys:
    """As the information schema has them: SHOW CREATE TABLE, which SQLAlchemy reads, is denied to who has SELECT on columns alone."""
    primary: dict[str, tuple[str, ...]] = {}
    foreign: dict[str, tuple[ForeignKey, ...]] = {}
    for name, rows in _by_constraint(connection.execute(_KEYS, {"schema": schema}).all()):
        own = tuple(str(row.own) for row in rows)
        if rows[0].referred is None:
            primary[name] = own
        else:
            key = ForeignKey(own, rows[0].schema, rows[0].referred, tuple(str(row.theirs) for row in rows))
            foreign[name] = (*foreign.get(name, ()), key)
    return primary, foreign


def _by_constraint(rows: Any) -> Iterator[tuple[str, list[Any]]]:
    for (name, _), group in groupby(rows, lambda row: (row.name, row.key)):
        yield str(name), list(group)
