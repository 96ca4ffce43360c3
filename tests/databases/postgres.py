"""PostgreSQL, on the run's own server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

import servers
from databases.dialect import Answer, Dialect, Speech, definition, indexes, numbered, quoted
from world import Table

__all__ = ["POSTGRES", "libpq"]

_TYPES: Final[Mapping[str, str]] = {
    "integer": "bigint",
    "decimal": "numeric(12,2)",
    "numeric": "numeric",
    "float": "double precision",
    "text": "text",
    "boolean": "boolean",
    "date": "date",
    "date_time": "timestamp",
}


def libpq(url: str) -> str:
    """A SQLAlchemy URL as libpq reads it."""
    return url.replace("+psycopg", "", 1)


def _present(connection: psycopg.Connection[Any]) -> set[str]:
    return {name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


def _load(connection: psycopg.Connection[Any], tables: Sequence[Table], *, keyed: bool) -> None:
    for table in tables:
        connection.execute(definition(table, _TYPES, keyed=keyed).encode())
        _copy(connection, table)
        if keyed:
            for statement in indexes(table):
                connection.execute(statement.encode())


def _copy(connection: psycopg.Connection[Any], table: Table) -> None:
    with connection.cursor().copy(f"COPY {quoted(table.name)} FROM STDIN".encode()) as copy:
        for row in table.rows:
            copy.write_row(row)


@dataclass(frozen=True, slots=True)
class _Database:
    served: servers.Database

    @property
    def url(self) -> str:
        return self.served.reader_url

    def fill(self, tables: Sequence[Table], views: Mapping[str, str], *, analyze: bool) -> None:
        with psycopg.connect(libpq(self.served.owner_url)) as connection:
            present = _present(connection)
            if all(table.name in present for table in tables):
                names = ", ".join(quoted(table.name) for table in tables)
                connection.execute(f"TRUNCATE {names}".encode())
                for table in tables:
                    _copy(connection, table)
            else:
                _load(connection, tables, keyed=True)
                for name, body in views.items():
                    connection.execute(f"CREATE VIEW {quoted(name)} AS {body}".encode())
            if analyze:
                connection.execute("ANALYZE")

    def model(self, relations: Sequence[Table]) -> _Model:
        return _Model(libpq(self.served.owner_url), relations)

    def drop(self) -> None:
        self.served.drop()


class _Model:
    def __init__(self, url: str, relations: Sequence[Table]) -> None:
        with psycopg.connect(url) as connection:
            for name in _present(connection):
                connection.execute(f"DROP TABLE {quoted(name)}".encode())
            _load(connection, relations, keyed=False)
        self._connection = psycopg.connect(url, autocommit=True, options="-c statement_timeout=10s -c timezone=UTC -c jit=off")

    def ask(self, sql: str, params: Mapping[str, Any]) -> Answer:
        text, values = numbered(sql, params)
        cursor = self._connection.execute(text.encode(), values)
        if cursor.description is None:
            return (), []
        return tuple(each.name for each in cursor.description), cursor.fetchall()

    def close(self) -> None:
        self._connection.close()


def _new(run: servers.Run, _folder: Path) -> _Database:
    return _Database(run.server().new_database())


_ORDINARY: Final = {
    "number": (
        *("COALESCE({number}, {#})", "LENGTH({text})", "({number} * 2)", "-{number}", "({n} + {n})", "({n} - {#})", "({number} * {#})", "NULLIF({n}, {#})"),
        *("({n} / {#})", "({number} % {#})", "CAST({n} AS DOUBLE PRECISION)", "ROUND({number})", "STRPOS({t}, {'})", "GREATEST({n}, {#})", "LEAST({n}, {n})"),
        *("SIGN({number})", "CASE {number} WHEN {#} THEN {n} ELSE {n} END", "FLOOR({number})", "CEIL({n})"),
    ),
    "text": (
        *("COALESCE({text}, {'})", "UPPER({text})", "({text} || '-' || {t})", "REPLACE({text}, 'EU', 'U')", "LPAD({text}, 4, '.')", "SUBSTR({t}, 2)"),
        *("LEFT({t}, 2)", "RIGHT({t}, 1)", "TRIM({t})", "LOWER({t})", "NULLIF({text}, {'})", "CAST({number} AS TEXT)", "CONCAT({t}, {number})", "REVERSE({t})"),
        *("SPLIT_PART({t}, '-', 1)", "CASE {text} WHEN {'} THEN {t} ELSE {t} END", "COALESCE({text}, {t}, {'})", "CONCAT_WS(',', {t}, {t})"),
    ),
}
POSTGRES: Final = Dialect(
    name="postgres",
    title="PostgreSQL",
    grammar="postgres",
    server=True,
    catalog="pg_class",
    errors=(psycopg.Error, OverflowError),
    plans=(False, True),
    exclusive=False,
    spied=False,
    speech=Speech(
        schema="public",
        real="DOUBLE PRECISION",
        quotes=('"{}"',),
        spelled=lambda name: (name, name.upper(), f'"{name}"'),
        folded=lambda name: name.strip('"') if name.startswith('"') else name.lower(),
        calm={"number": (), "text": ()},  # hardly any function is harmless
        ordinary=_ORDINARY,
        failing={
            "number": (
                *("(10 / ({number} - 31337))", "ABS({number})", "({number} + {number} * 1000)", "CAST({code} AS INTEGER)", "({#} % ({number} - 31337))"),
                *("SQRT({number} + 1000)", "LN({number} + 1000)", "POWER({number}, 3)", "EXP({number} / 1000)", "CAST({number} AS INTEGER)"),
                *("CASE WHEN {text} <> {'} THEN 10 / ({number} - 31337) ELSE {#} END", "CAST(({payload}::jsonb ->> 'n') AS INTEGER)"),
                *(
                    "({code}::bigint + {n})",
                    "CASE WHEN {code} <> '' THEN {code}::int END",
                    "(CASE {number} WHEN 31337 THEN 1 / ({number} - 31337) ELSE {n} END)",
                ),
            ),
            "text": (
                *("SUBSTR({text}, 1, CAST({code} AS INTEGER))", "(CAST({payload} AS jsonb) ->> 'k')", "({payload}::jsonb #>> ARRAY['k'])"),
                *("CASE WHEN {text} LIKE '2026-13%' THEN CAST({=} AS DATE)::text ELSE {t} END", "jsonb_typeof({payload}::jsonb)", "LEFT({text}, {code}::int)"),
                *("CASE WHEN {payload} LIKE '{%' THEN {payload}::jsonb ->> 'k' ELSE {'} END", "CASE CAST({code} AS INTEGER) WHEN 10 THEN {t} ELSE {'} END"),
                "CASE WHEN {text} LIKE 'L_AK not%' THEN CAST(10 / (LENGTH({=}) - 17) AS VARCHAR) ELSE {t} END",
            ),
        },
        aggregates={
            "number": (
                *("COUNT(*)", "SUM({number})", "MAX({number})", "MIN({number})", "COUNT(DISTINCT {text})", "COUNT({number})", "AVG({number})"),
                *("SUM(DISTINCT {number})", "(MAX({number}) - MIN({number}))", "COUNT(*) * {#}", "STDDEV({number})", "SUM({number} * {#})"),
            ),
            "text": ("MIN({text})", "MAX({text})", "STRING_AGG({text}, ',' ORDER BY {=} DESC)", "MAX({text} || {t})"),
        },
        ranks=(
            *("ROW_NUMBER()", "NTILE(3)", "LAG({number})", "LEAD({number}, 2)", "FIRST_VALUE({number})", "LAST_VALUE({number})"),
            *("NTH_VALUE({number}, 2)", "SUM({number})", "PERCENT_RANK()", "CUME_DIST()", "COUNT({text})"),
        ),
        patterns=(
            *("{text} ILIKE {'}", "{text} = ANY(ARRAY['EU', 'paid'])", "{text} <> ALL(ARRAY['EU', {'}])", "{number} IS DISTINCT FROM {n}"),
            *("{text} IS NOT DISTINCT FROM {t}", "{number} BETWEEN SYMMETRIC {n} AND {#}", "{n} + {n} > {#}", "({number}, {text}) = ({n}, {t})"),
            *("{text} LIKE 'p\\_%'", "{number} IN ({#}, {n}, {n})", "({text} = {'}) IS NOT TRUE", "STARTS_WITH({text}, {'})"),
        ),
        values=("column1", "column2"),
        features=frozenset(
            {
                *("alias columns", "distinct on", "except all", "filter", "frames", "frames of groups", "full join", "grouping sets", "lateral"),
                *("named windows", "nulls first", "quantified", "recursive", "right join", "rows", "window filter", "with hints"),
            }
        ),
    ),
    new=_new,
)
