"""The tables and views of a SQLite file."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from rowseal.catalog.survey.found import Listed

__all__ = ["listed"]

_RELATIONS: Final = text("SELECT name, rootpage, type FROM main.sqlite_master WHERE type IN ('table', 'view') AND name NOT GLOB 'sqlite_*'")


def listed(connection: Connection) -> tuple[str, list[Listed]]:
    """The default schema, and every table and view."""
    relations = connection.execute(_RELATIONS).all()
    virtual = [row.name for row in relations if row.type == "table" and not row.rootpage]
    found = []
    for row in relations:
        owner = next((name for name in virtual if row.name.startswith(f"{name}_")), None)
        part_of = "a virtual table, which reads tables of its own accord" if row.name in virtual else f"a part of the virtual table {owner}" if owner else ""
        found.append(Listed("main", row.name, part_of))
    return "main", found
