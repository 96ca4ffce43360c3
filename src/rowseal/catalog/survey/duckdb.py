"""The tables and views of a DuckDB file."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from rowseal.catalog.survey.found import Listed

__all__ = ["listed"]

_RELATIONS: Final = text("""
SELECT schema_name AS schema, table_name AS name FROM duckdb_tables() WHERE database_name = current_database() AND NOT internal AND NOT temporary
UNION ALL
SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = current_database() AND NOT internal AND NOT temporary
""")


def listed(connection: Connection) -> tuple[str, list[Listed]]:
    """The default schema, and every table and view of all schemas."""
    return "main", [Listed(row.schema, row.name, "") for row in connection.execute(_RELATIONS)]
