"""SQLite, in files of the test's own folder."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Engine

from databases.dialect import Answer, Dialect, Speech, definition, indexes, quoted
from databases.spies import spy
from world import Table, Value

__all__ = ["SQLITE", "load_sqlite"]

_TYPES: Final[Mapping[str, str]] = {
    "integer": "INTEGER",
    "decimal": "NUMERIC",
    "numeric": "NUMERIC",
    "float": "REAL",
    "text": "TEXT",
    "boolean": "BOOLEAN",
    "date": "TEXT",
    "date_time": "TEXT",
}


@event.listens_for(Engine, "connect")
def _install_spy(connection: Any, _record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        # Not through the connection: the engine's own kind of it takes no functions.
        sqlite3.Connection.create_function(connection, "spy", 1, spy)


def _stored(value: Value) -> Any:
    match value:
        case bool():
            return int(value)
        case Decimal():
            return int(value) if value == value.to_integral_value() and abs(value) < 2**63 else float(value)
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S")
        case date():
            return value.isoformat()
        case _:
            return value


def load_sqlite(connection: sqlite3.Connection, tables: Sequence[Table], views: Mapping[str, str], *, keyed: bool) -> None:
    """Make the tables, with these rows; `keyed` adds a key and indexes."""
    for table in tables:
        connection.execute(definition(table, _TYPES, keyed=keyed))
        _insert(connection, table)
        if keyed:
            for statement in indexes(table):
                connection.execute(statement)
    for name, body in views.items():
        connection.execute(f"CREATE VIEW {quoted(name)} AS {body}")


def _insert(connection: sqlite3.Connection, table: Table) -> None:
    marks = ", ".join("?" * len(table.columns))
    connection.executemany(f"INSERT INTO {quoted(table.name)} VALUES ({marks})", [[_stored(value) for value in row] for row in table.rows])


@dataclass(frozen=True, slots=True)
class _File:
    path: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def fill(self, tables: Sequence[Table], views: Mapping[str, str], *, analyze: bool) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN IMMEDIATE")
            present = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if views.keys() <= present and all(table.name in present for table in tables):
                for table in tables:
                    connection.execute(f"DELETE FROM {quoted(table.name)}")
                    _insert(connection, table)
            else:
                load_sqlite(connection, tables, views, keyed=True)
            if analyze:
                connection.execute("ANALYZE")
            connection.execute("COMMIT")

    def model(self, relations: Sequence[Table]) -> _Model:
        return _Model(relations)

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)


class _Model:
    def __init__(self, relations: Sequence[Table]) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.create_function("spy", 1, lambda value: value)
        load_sqlite(self._connection, relations, {}, keyed=False)

    def ask(self, sql: str, params: Mapping[str, Any]) -> Answer:
        cursor = self._connection.execute(sql, dict(params))
        return tuple(each[0] for each in cursor.description or ()), cursor.fetchall()

    def close(self) -> None:
        self._connection.close()


def _new(_run: Any, folder: Path) -> _File:
    folder.mkdir(parents=True, exist_ok=True)
    return _File(folder / "data.db")


_CALM: Final = {
    "number": (
        *("COALESCE({number}, {#})", "LENGTH({text})", "({number} * 2)", "-{number}", "({n} + {n})", "({n} - {#})", "({n} * {n})", "NULLIF({n}, {#})"),
        *("(CAST({n} AS REAL) / {n})", "({n} % {#})", "+{number}", "CAST({n} AS INTEGER)", "CAST({n} AS REAL)", "ROUND({n}, 1)", "CAST({code} AS INTEGER)"),
        *("INSTR({t}, {'})", "MIN({n}, {#})", "MAX({n}, {n})", "SIGN({n})", "CASE {number} WHEN {#} THEN {n} ELSE {n} END", "({number} IS NULL)"),
    ),
    "text": (
        *("COALESCE({text}, {'})", "UPPER({text})", "({text} || '-' || {t})", "REPLACE({text}, 'EU', 'U')", "printf('%s-%d', {text}, LENGTH({text}))"),
        *("SUBSTR({t}, 2)", "SUBSTR({t}, 1, 2)", "TRIM({t})", "LTRIM({t}, 'E')", "LOWER({t})", "NULLIF({t}, {'})", "TYPEOF({t})", "CAST({t} AS TEXT)"),
        *("CASE {text} WHEN {'} THEN {t} ELSE {t} END", "COALESCE({text}, {t}, {'})"),
    ),
}
SQLITE: Final = Dialect(
    name="sqlite",
    title="SQLite",
    grammar="sqlite",
    server=False,
    catalog="sqlite_master",
    errors=(sqlite3.Error, OverflowError),
    plans=(False,),
    exclusive=False,
    spied=True,
    speech=Speech(
        schema="main",
        real="REAL",
        quotes=('"{}"', "[{}]", "`{}`"),
        spelled=lambda name: (name, name.upper(), f'"{name}"', f"[{name}]", f'"{name.upper()}"'),
        folded=lambda name: name.strip('"[]`').lower(),
        calm=_CALM,
        ordinary=_CALM,
        failing={
            "number": (
                *("ABS({number})", "ABS({n})", "spy({number})", "(spy({number}) + {n})", "json_extract({payload}, '$.n')"),
                *("CASE WHEN {text} <> {'} THEN ABS({number}) ELSE {#} END", "LENGTH(json_extract({payload}, '$.k'))", "json_array_length({payload})"),
            ),
            "text": (
                *("json_extract({payload}, '$.k')", "spy({text})", "({payload} ->> '$.k')", "UPPER(spy({text}))"),
                *("CASE WHEN {payload} <> '' THEN json_extract({payload}, '$.k') ELSE {'} END", "CASE WHEN {text} = {'} THEN spy({text}) ELSE {t} END"),
                "CASE spy({text}) WHEN {'} THEN {t} END",
            ),
        },
        aggregates={
            "number": (
                *("COUNT(*)", "SUM({number})", "MAX({number})", "MIN({number})", "COUNT(DISTINCT {text})", "COUNT({number})", "AVG({number})"),
                *("SUM(DISTINCT {number})", "TOTAL({number})", "(MAX({number}) - MIN({number}))", "COUNT(*) * {#}", "SUM(ABS({number}))"),
            ),
            "text": ("MIN({text})", "MAX({text})", "LENGTH(GROUP_CONCAT(DISTINCT {text}))", "MAX({text} || {t})"),
        },
        ranks=(
            *("ROW_NUMBER()", "NTILE(3)", "LAG({number})", "LEAD({number}, 2)", "FIRST_VALUE({number})", "LAST_VALUE({number})"),
            *("NTH_VALUE({number}, 2)", "SUM({number})", "PERCENT_RANK()", "CUME_DIST()", "COUNT({text})"),
        ),
        patterns=(
            *("{text} COLLATE NOCASE LIKE {text} || 'a%'", "{text} COLLATE NOCASE = {t}", "{text} GLOB '[a-e]*'", "{number} IS {n}", "{text} IS NOT {t}"),
            *("{text} LIKE 'p\\_%' ESCAPE '\\'", "{n} + {n} > {#}", "NOT {n} BETWEEN {n} AND {n}", "({n}, {t}) = ({n}, {t})", "{number}", "NOT {number}"),
            *("{n} IN ({#}, {n}, {n})", "json_valid({payload})", "{text} IS NOT DISTINCT FROM {t}"),
        ),
        values=("column1", "column2"),
        features=frozenset(
            {
                *("calm case", "right join", "full join on anything", "filter", "with hints", "recursive", "frames", "frames of groups", "named windows"),
                *("nulls first", "rows", "window filter"),
            }
        ),
    ),
    new=_new,
)
