"""The tables and views of a PostgreSQL database."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from rowseal.catalog.survey.found import Listed

__all__ = ["listed"]

_RELATIONS: Final = text("""
SELECT n.nspname AS schema, c.relname AS name,
       CASE WHEN c.relispartition THEN 'a partition of another table'
            WHEN e.extname IS NOT NULL THEN 'a part of the extension ' || e.extname ELSE '' END AS part_of
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
LEFT JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
""")


def listed(connection: Connection) -> tuple[str, list[Listed]]:
    """The default schema, and every table and view of all schemas."""
    default = connection.execute(text("SELECT pg_catalog.current_schema()")).scalar()
    return str(default or ""), [Listed(row.schema, row.name, row.part_of) for row in connection.execute(_RELATIONS)]
