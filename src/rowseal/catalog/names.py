"""What a name is to all databases: how it folds, and which names are rowseal's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

__all__ = ["COLUMN_FOLDS", "RESERVED_PREFIXES", "ascii_lower", "is_system"]

# Guards, binds and fences bear such names; neither a configuration nor a query may.
RESERVED_PREFIXES: Final = ("__g", "__u", "__ok")

_UPPER_TO_LOWER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def ascii_lower(name: str) -> str:
    """A-Z only: neither database folds other letters, and `str.lower` would (U+212A KELVIN SIGN becomes k)."""
    return name.lower() if name.isascii() else name.translate(_UPPER_TO_LOWER)


_MARIADB_SCHEMAS: Final = frozenset({"information_schema", "performance_schema", "mysql", "sys"})
_DUCKDB_SCHEMAS: Final = frozenset({"information_schema", "pg_catalog", "system", "temp"})


def is_system(schema: str | None, table: str, dialect: str) -> bool:
    """Whether the database keeps the table for itself, as far as its name tells. `table` is in lower case where the database folds names."""
    if dialect == "sqlite":
        return table.startswith("sqlite_")
    if dialect == "mariadb":
        return schema is not None and ascii_lower(schema) in _MARIADB_SCHEMAS
    if dialect == "duckdb":
        return schema is not None and ascii_lower(schema) in _DUCKDB_SCHEMAS
    return schema is not None and (schema.startswith("pg_") or schema == "information_schema")


# How the database looks up the name of a column that the configuration spells.
COLUMN_FOLDS: Final[Mapping[str, Callable[[str], str]]] = {"sqlite": ascii_lower, "postgres": str, "mariadb": ascii_lower, "duckdb": ascii_lower}
