"""What differs between databases, as data: one `Dialect` for each that rowseal speaks, in a module of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rowseal.sql.dialects.dialect import Dialect
from rowseal.sql.dialects.duckdb import DUCKDB
from rowseal.sql.dialects.mariadb import MARIADB
from rowseal.sql.dialects.postgres import POSTGRES
from rowseal.sql.dialects.sqlite import SQLITE

__all__ = ["DIALECTS", "Dialect"]

DIALECTS: Final[Mapping[str, Dialect]] = {dialect.name: dialect for dialect in (SQLITE, POSTGRES, MARIADB, DUCKDB)}
