"""A DuckDB file, opened so that nothing but its own tables can be reached. SQLAlchemy knows it as `duckdb+rowseal`.

Reading the catalogs and running queries open a file alike, because DuckDB keeps one instance of a file in a process, and refuses to open it
a second time in another way. An application's own engine of another driver on the same file is refused for the same reason.
Sources: https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview, .../configuration/overview.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from sqlalchemy import URL, Connection, text
from sqlalchemy.dialects import registry
from sqlalchemy.engine.default import DefaultDialect

__all__ = ["DRIVER", "FileDialect", "Handle", "opened"]

DRIVER: Final = "duckdb+rowseal"

_ROWS_AT_ONCE: Final = 256
_OPENED_WITH: Final[Mapping[str, str]] = {
    "enable_external_access": "false",  # no file, no other database, no extension, no network
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",  # no variable of ours is a table
    "allow_persistent_secrets": "false",
    "temp_directory": "",  # no row is written anywhere: what does not fit into memory fails
    "explain_output": "all",  # the plan before the optimizer has cut anything away: see the testimony
}
# What is no option of opening. They hold for every connection of the process to this file.
_SETTINGS: Final[Mapping[str, str]] = {
    "TimeZone": "UTC",
    "Calendar": "gregorian",
    "default_collation": "",
    "default_order": "asc",
    "default_null_order": "nulls_last",
    "integer_division": "false",
    "error_on_division_by_zero": "true",
    "ieee_floating_point_ops": "true",
    "lock_configuration": "true",  # INVARIANT: the last one
}
_OPTIMIZERS_OFF: Final = (
    "common_subplan",  # takes two guards of one dataset for one, and then mixes up their columns (DuckDB 2.0; tests/test_duckdb.py)
    # decides by the least and the greatest value of a column, forbidden rows and all, and wrongly so: an outer join whose condition no value can
    # meet counts as empty (DuckDB 2.0; tests/test_duckdb.py)
    "statistics_propagation",
    # compute things earlier, which may be below a guard that is planned as a join
    *("partial_aggregate_pushdown", "projection_placement", "scalar_fn_pushdown", "type_pushdown"),
)
_LOCK: Final = threading.Lock()


class Handle:
    """One connection to the file, as a driver of PEP 249 has it. `driver` is DuckDB's own."""

    __slots__ = ("driver",)

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def cursor(self) -> _Cursor:
        return _Cursor(self.driver)

    def commit(self) -> None:
        """Each statement is a transaction of its own, and only reads."""

    def rollback(self) -> None:
        """As `commit`."""

    def close(self) -> None:
        self.driver.close()


class _Cursor:
    """One statement's answer, a few rows at a time."""

    arraysize = _ROWS_AT_ONCE
    rowcount = -1
    lastrowid = None

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self.description: Sequence[Any] | None = None

    def execute(self, statement: str, parameters: Sequence[Any] | None = None) -> None:
        self._driver.execute(statement, parameters or None)
        self.description = self._driver.description

    def fetchone(self) -> Any:
        return self._driver.fetchone()

    def fetchmany(self, size: int = _ROWS_AT_ONCE) -> list[Any]:
        found: list[Any] = self._driver.fetchmany(size)
        return found

    def fetchall(self) -> list[Any]:
        found: list[Any] = self._driver.fetchall()
        return found

    def __iter__(self) -> Iterator[Any]:
        while rows := self.fetchmany():
            yield from rows

    def close(self) -> None:
        """The connection has one answer at a time, and the next statement lets it go."""


def opened(file: str) -> Handle:
    """Open the file for reading, locked. Raises duckdb.Error; ImportError where there is no DuckDB."""
    import duckdb  # noqa: PLC0415 -- an extra: who uses other databases may lack it

    with _LOCK:
        driver = duckdb.connect(file, read_only=True, config=dict(_OPENED_WITH))
        locked = driver.execute("SELECT current_setting('lock_configuration')").fetchone()
        if locked is None or not locked[0]:
            known = {name for (name,) in driver.execute("SELECT name FROM duckdb_optimizers()").fetchall()}
            optimizers = ",".join(name for name in _OPTIMIZERS_OFF if name in known)
            for name, value in {"disabled_optimizers": optimizers, **_SETTINGS}.items():
                driver.execute(f"SET GLOBAL {name} = '{value}'")
    return Handle(driver)


class FileDialect(DefaultDialect):
    """What SQLAlchemy must know to run a text on such a file, and to read its keys."""

    name = "duckdb"
    driver = "rowseal"
    default_paramstyle = "numeric_dollar"
    supports_statement_cache = True
    supports_native_boolean = True
    supports_native_decimal = True
    supports_sane_rowcount = False

    @classmethod
    def import_dbapi(cls) -> Any:
        import duckdb  # noqa: PLC0415 -- see `opened`

        return duckdb

    def create_connect_args(self, url: URL) -> tuple[Sequence[str], dict[str, Any]]:
        return [url.database or ""], {}

    def connect(self, *arguments: Any, **_: Any) -> Any:
        return opened(*arguments)

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:  # noqa: ARG002 -- SQLAlchemy's signature
        return type(e).__name__ in {"ConnectionException", "FatalException", "InternalException"}

    def get_multi_pk_constraint(self, connection: Connection, *, schema: str | None = None, **_: Any) -> Any:
        """The primary keys of a schema, as SQLAlchemy's inspector hands them on."""
        keys = connection.execute(_KEYS, {"kind": "PRIMARY KEY", "schema": schema})
        return [((schema, row.table_name), {"constrained_columns": list(row.columns), "name": None}) for row in keys]

    def get_multi_foreign_keys(self, connection: Connection, *, schema: str | None = None, **_: Any) -> Any:
        """The foreign keys of a schema, as SQLAlchemy's inspector hands them on."""
        keys = connection.execute(_KEYS, {"kind": "FOREIGN KEY", "schema": schema}).all()
        return [((schema, table), [_reference(row) for row in rows]) for table, rows in groupby(keys, lambda row: row.table_name)]


_KEYS: Final = text("""
SELECT table_name, constraint_column_names AS columns, referenced_table, referenced_column_names AS referred
FROM duckdb_constraints() WHERE constraint_type = :kind AND schema_name = :schema AND database_name = current_database()
ORDER BY table_name, constraint_index
""")


def _reference(row: Any) -> dict[str, Any]:
    return {
        "name": None,
        "constrained_columns": list(row.columns),
        "referred_schema": None,  # DuckDB's keys stay within a schema
        "referred_table": row.referenced_table,
        "referred_columns": list(row.referred),
        "options": {},
    }


registry.register(DRIVER.replace("+", "."), __name__, FileDialect.__name__)
