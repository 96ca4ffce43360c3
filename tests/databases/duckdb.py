"""DuckDB, in files of the test's own folder. A file that is open is not written, so each is made anew."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Final

import duckdb

from databases.dialect import Answer, Dialect, Speech, definition, numbered, quoted
from world import Table, Value

__all__ = ["DUCKDB", "load_duckdb"]

_ALIKE: Final = {
    "python_enable_replacements": False,
    "disabled_optimizers": "common_subplan,statistics_propagation",  # both give wrong answers
    "memory_limit": "1GB",
    "max_execution_time": 10_000,
    "threads": 1,
    "fsync_mode": "NONE",
}
_NUMBERS: Final = count()
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


def _literal(value: Value) -> str:
    match value:
        case None:
            return "NULL"
        case bool() | int() | float():
            return repr(value)
        case Decimal():
            return f"{max(-_MOST, min(_MOST, value)):f}"  # no number of DuckDB's has more than 38 digits
        case _:
            return "'" + str(value).replace("'", "''") + "'"


def load_duckdb(connection: Any, tables: Sequence[Table], views: Mapping[str, str], *, keyed: bool) -> None:
    """Make the tables, with these rows; `keyed` adds a key."""
    statements = []
    for table in tables:
        statements.append(definition(table, _TYPES, keyed=keyed))
        if table.rows:
            rows = ", ".join(f"({', '.join(map(_literal, row))})" for row in table.rows)
            statements.append(f"INSERT INTO {quoted(table.name)} VALUES {rows}")
    connection.execute("; ".join(statements))  # once, because most of the time goes into what comes with each
    for name, body in views.items():
        connection.execute(f"CREATE VIEW {quoted(name)} AS {_certain(body)}")


def _certain(select: str) -> str:
    """With NULL for whatever could fail, which may not stand under a dataset here (docs/decisions/0016-duckdb.md)."""
    return re.sub(r"(\w+\.\w+ [+*-] \d+)", r"TRY(\1)", select.replace("CAST(", "TRY_CAST("))


@cache
def _memory() -> Any:
    """One instance for the whole process, because to make one takes longer than to fill it. Whoever works in it has a database of its own there."""
    connection = duckdb.connect(":memory:", config=_ALIKE)
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    return connection


@dataclass(frozen=True, slots=True)
class _File:
    path: Path

    @property
    def url(self) -> str:
        return f"duckdb:///{self.path}"

    def fill(self, tables: Sequence[Table], views: Mapping[str, str], *, analyze: bool) -> None:  # noqa: ARG002 -- it always knows its tables
        self.drop()
        with closing(_memory().cursor()) as connection:
            connection.execute(f"ATTACH '{self.path}' AS filled")
            connection.execute("USE filled")
            connection.execute("BEGIN")
            load_duckdb(connection, tables, views, keyed=True)
            connection.execute("COMMIT")
            connection.execute("USE memory")
            connection.execute("DETACH filled")

    def model(self, relations: Sequence[Table]) -> _Model:
        return _Model(relations)

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)


class _Model:
    def __init__(self, relations: Sequence[Table]) -> None:
        self._name = f"model{next(_NUMBERS)}"
        self._connection = _memory().cursor()
        self._connection.execute(f"ATTACH ':memory:' AS {self._name}")
        self._connection.execute(f"USE {self._name}")
        load_duckdb(self._connection, relations, {}, keyed=False)

    def ask(self, sql: str, params: Mapping[str, Any]) -> Answer:
        text, values = numbered(sql, params, "?")
        self._connection.execute(text, values)
        rows = self._connection.fetchmany(_MOST_ROWS)
        if len(rows) == _MOST_ROWS:
            raise duckdb.OutOfMemoryException("more rows than any answer of a test has")
        return tuple(each[0] for each in self._connection.description or ()), rows

    def close(self) -> None:
        self._connection.execute("USE memory")
        self._connection.execute(f"DETACH {self._name}")
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
    sourced=_certain,
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
