"""DuckDB, in files of the test's own folder. A file that is open is not written, so each is made anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import duckdb

from databases.dialect import Answer, Dialect, Speech, definition, numbered, quoted
from world import Table, Value

__all__ = ["DUCKDB", "load_duckdb"]

_MODEL: Final = {"python_enable_replacements": False, "disabled_optimizers": "common_subplan", "memory_limit": "1GB", "max_execution_time": 10_000}
_MOST_ROWS: Final = 100_000
_MOST: Final = Decimal(10**17)
_TYPES: Final[Mapping[str, str]] = {
    "integer": "BIGINT",
    "decimal": "DECIMAL(12,2)",
    "numeric": "DECIMAL(30,12)",
    "float": "DOUBLE",
    "text": "VARCHAR",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "date_time": "TIMESTAMP",
}


def _stored(value: Value) -> Value:
    """No number of DuckDB's has more than 38 digits."""
    return max(-_MOST, min(_MOST, value)) if isinstance(value, Decimal) else value


def load_duckdb(connection: Any, tables: Sequence[Table], views: Mapping[str, str], *, keyed: bool) -> None:
    """Make the tables, with these rows; `keyed` adds a key."""
    for table in tables:
        connection.execute(definition(table, _TYPES, keyed=keyed))
        if table.rows:
            marks = ", ".join(f"CAST(? AS {_TYPES[column.kind]})" for column in table.columns)  # or a list of values is of one type, column by column
            values = [_stored(value) for row in table.rows for value in row]
            connection.execute(f"INSERT INTO {quoted(table.name)} VALUES {', '.join([f'({marks})'] * len(table.rows))}", values)
    for name, body in views.items():
        connection.execute(f"CREATE VIEW {quoted(name)} AS {body}")


@dataclass(frozen=True, slots=True)
class _File:
    path: Path

    @property
    def url(self) -> str:
        return f"duckdb:///{self.path}"

    def fill(self, tables: Sequence[Table], views: Mapping[str, str], *, analyze: bool) -> None:  # noqa: ARG002 -- it always knows its tables
        self.drop()
        with closing(duckdb.connect(str(self.path), config={"fsync_mode": "NONE"})) as connection:
            connection.execute("BEGIN")
            load_duckdb(connection, tables, views, keyed=True)
            connection.execute("COMMIT")

    def model(self, relations: Sequence[Table]) -> _Model:
        return _Model(relations)

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)


class _Model:
    def __init__(self, relations: Sequence[Table]) -> None:
        self._connection = duckdb.connect(
            ":memory:",
            config={"python_enable_replacements": False, "disabled_optimizers": "common_subplan", "memory_limit": "1GB", "max_execution_time": 10_000},
        )
        self._connection.execute("SET TimeZone = 'UTC'")
        load_duckdb(self._connection, relations, {}, keyed=False)

    def ask(self, sql: str, params: Mapping[str, Any]) -> Answer:
        text, values = numbered(sql, params, "?")
        self._connection.execute(text, values)
        rows = self._connection.fetchmany(_MOST_ROWS)
        if len(rows) == _MOST_ROWS:
            raise duckdb.OutOfMemoryException("more rows than any answer of a test has")
        return tuple(each[0] for each in self._connection.description or ()), rows

    def close(self) -> None:
        self._connection.close()


def _new(_run: Any, folder: Path) -> _File:
    folder.mkdir(parents=True, exist_ok=True)
    return _File(folder / "data.duckdb")


DUCKDB: Final = Dialect(
    name="duckdb",
    title="DuckDB",
    grammar="duckdb",
    server=False,
    catalog="duckdb_tables",
    errors=(duckdb.Error,),
    plans=(False,),
    exclusive=True,
    spied=False,
    speech=Speech(
        schema="main",
        real="DOUBLE",
        quotes=('"{}"',),
        spelled=lambda name: (name, name.upper(), f'"{name}"', f'"{name.upper()}"'),
        folded=lambda name: name.strip('"').lower(),
        calm={"number": (), "text": ()},  # hardly any function is harmless
        ordinary={
            "number": (
                *("COALESCE({number}, {#})", "LENGTH({text})", "({number} * 2)", "-{number}", "({n} + {n})", "({n} - {#})", "NULLIF({n}, {#})"),
                *("CAST({n} AS DOUBLE)", "ROUND({number})", "STRPOS({t}, {'})", "GREATEST({n}, {#})", "LEAST({n}, {n})", "FLOOR({number})", "CEIL({n})"),
            ),
            "text": (
                *("COALESCE({text}, {'})", "UPPER({text})", "({text} || '-' || {t})", "REPLACE({text}, 'EU', 'U')", "LPAD({text}, 4, '.')"),
                *("SUBSTR({t}, 2)", "LEFT({t}, 2)", "RIGHT({t}, 1)", "TRIM({t})", "LOWER({t})", "NULLIF({text}, {'})", "REVERSE({t})"),
                *("SPLIT_PART({t}, '-', 1)", "CASE {text} WHEN {'} THEN {t} ELSE {t} END", "CONCAT_WS(',', {t}, {t})"),
            ),
        },
        failing={
            "number": (
                *("(10 % ({number} - 31337))", "CAST({code} AS INTEGER)", "SQRT({number} + 1000)", "LN({number} + 1000)"),
                *("CASE WHEN {text} <> {'} THEN 10 % ({number} - 31337) ELSE {#} END", "CASE WHEN {code} <> '' THEN CAST({code} AS INTEGER) END"),
            ),
            "text": (
                *("SUBSTR({text}, 1, CAST({code} AS INTEGER))", "LEFT({text}, CAST({code} AS INTEGER))"),
                *("CASE WHEN {text} LIKE '2026-13%' THEN CAST(CAST({=} AS DATE) AS TEXT) ELSE {t} END", "CAST(10 % ({number} - 31337) AS TEXT)"),
            ),
        },
        aggregates={
            "number": (
                *("COUNT(*)", "SUM({number})", "MAX({number})", "MIN({number})", "COUNT(DISTINCT {text})", "COUNT({number})", "AVG({number})"),
                *("SUM(DISTINCT {number})", "(MAX({number}) - MIN({number}))", "COUNT(*) * {#}", "SUM({number} * {#})"),
            ),
            "text": ("MIN({text})", "MAX({text})", "STRING_AGG({text}, ',' ORDER BY {=} DESC)", "MAX({text} || {t})"),
        },
        ranks=(
            *("ROW_NUMBER()", "NTILE(3)", "LAG({number})", "LEAD({number}, 2)", "FIRST_VALUE({number})", "LAST_VALUE({number})"),
            *("NTH_VALUE({number}, 2)", "SUM({number})", "PERCENT_RANK()", "CUME_DIST()", "COUNT({text})"),
        ),
        patterns=("{text} ILIKE {'}", "{number} IS DISTINCT FROM {n}", "{text} IS NOT DISTINCT FROM {t}", "STARTS_WITH({text}, {'})"),
        values=("col0", "col1"),
        features=frozenset(
            {
                *("alias columns", "distinct on", "except all", "filter", "frames", "full join", "grouping sets", "lateral", "named windows"),
                *("nulls first", "recursive", "right join", "rows", "with hints"),
            }
        ),
    ),
    new=_new,
)
