"""MariaDB, on the run's own server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pymysql
from sqlalchemy import make_url

import mariadb_server
import servers
from databases.dialect import Answer, Dialect, Speech, definition, indexes, numbered, quoted
from world import Table

__all__ = ["MARIADB", "connect"]

_MARK: Final = "`"
_TYPES: Final[Mapping[str, str]] = {
    "integer": "bigint",
    "decimal": "decimal(12,2)",
    "numeric": "decimal(40,10)",
    "float": "double",
    "text": "varchar(255)",
    "boolean": "boolean",
    "date": "date",
    "date_time": "datetime",
}


def connect(url: str) -> pymysql.Connection[Any]:
    """Straight to the database of a SQLAlchemy URL."""
    parsed = make_url(url)
    return pymysql.connect(
        unix_socket=str(parsed.query["unix_socket"]),
        user=parsed.username,
        database=parsed.database,
        charset="utf8mb4",
        autocommit=True,
        # a number that is planted for its size alone is cut to what its column holds, as it was without STRICT_TRANS_TABLES
        init_command="SET SESSION time_zone = '+00:00', max_statement_time = 10, sql_mode = 'ONLY_FULL_GROUP_BY'",
    )


def _run(connection: pymysql.Connection[Any], statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def _present(connection: pymysql.Connection[Any]) -> set[str]:
    return {name for name, kind in _run(connection, "SHOW FULL TABLES") if kind == "BASE TABLE"}


def _load(connection: pymysql.Connection[Any], tables: Sequence[Table], *, keyed: bool) -> None:
    for table in tables:
        _run(connection, definition(table, _TYPES, keyed=keyed, mark=_MARK))
        _insert(connection, table)
        if keyed:
            for statement in indexes(table, _MARK):
                _run(connection, statement)


def _insert(connection: pymysql.Connection[Any], table: Table) -> None:
    if table.rows:
        marks = ", ".join(["%s"] * len(table.columns))
        with connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {quoted(table.name, _MARK)} VALUES ({marks})", table.rows)


@dataclass(frozen=True, slots=True)
class _Database:
    served: mariadb_server.Database

    @property
    def url(self) -> str:
        return self.served.reader_url

    def fill(self, tables: Sequence[Table], views: Mapping[str, str], *, analyze: bool) -> None:
        with closing(connect(self.served.owner_url)) as connection:
            present = _present(connection)
            _run(connection, "START TRANSACTION")
            if all(table.name in present for table in tables):
                for table in tables:
                    _run(connection, f"DELETE FROM {quoted(table.name, _MARK)}")
                    _insert(connection, table)
                _run(connection, "COMMIT")
            else:
                _load(connection, tables, keyed=True)
                for name, body in views.items():
                    _run(connection, f"CREATE VIEW {quoted(name, _MARK)} AS {body}")
            if analyze:
                _run(connection, f"ANALYZE TABLE {', '.join(quoted(table.name, _MARK) for table in tables)}")

    def model(self, relations: Sequence[Table]) -> _Model:
        return _Model(self.served.owner_url, relations)

    def drop(self) -> None:
        self.served.drop()


class _Model:
    def __init__(self, url: str, relations: Sequence[Table]) -> None:
        self._connection = connect(url)
        for name in _present(self._connection):
            _run(self._connection, f"DROP TABLE {quoted(name, _MARK)}")
        _load(self._connection, relations, keyed=False)

    def ask(self, sql: str, params: Mapping[str, Any]) -> Answer:
        text, values = numbered(sql, params)
        with self._connection.cursor() as cursor:
            cursor.execute(text, values)
            if cursor.description is None:
                return (), []
            return tuple(each[0] for each in cursor.description), list(cursor.fetchall())

    def close(self) -> None:
        self._connection.close()


def _new(run: servers.Run, _folder: Path) -> _Database:
    return _Database(mariadb_server.server(run).new_database())


_WORDS: Final = re.compile(r"""'(?:[^'\\]|\\.|'')*'|`(?:[^`]|``)*`|"(?:[^"]|"")*"|.""", re.DOTALL)


def _respelled(sql: str) -> str:
    """A name in double quotes is one in backticks here. Strings stay what they are."""
    return "".join(quoted(word[1:-1].replace('""', '"'), _MARK) if word[0] == '"' and len(word) > 1 else word for word in _WORDS.findall(sql))


_CALM: Final = {
    "number": ("COALESCE({number}, {#})", "CHAR_LENGTH({text})", "IF({number} > {#}, 1, 0)", "CAST({code} AS SIGNED)", "LOCATE('U', {text})"),
    "text": ("COALESCE({text}, {'})", "UPPER({text})", "CONCAT({text}, '-', {text})", "REPLACE({text}, 'EU', 'U')", "LPAD({text}, 4, '.')"),
}
MARIADB: Final = Dialect(
    name="mariadb",
    title="MariaDB",
    grammar="mysql",
    server=True,
    catalog="tables",
    errors=(pymysql.MySQLError, OverflowError, TypeError),
    plans=(False, True),
    exclusive=False,
    spied=False,
    speech=Speech(
        schema="main",
        real="DOUBLE",
        quotes=("`{}`",),
        spelled=lambda name: (name, f"`{name}`"),  # the model's own server tells upper case apart
        folded=lambda name: name.strip("`").lower(),
        calm=_CALM,
        ordinary={"number": ("({number} * 2)", "-{number}"), "text": ("LEFT({text}, 2)",)},
        failing={
            # beyond a DOUBLE or a BIGINT at 31337, and small where it does not fail, so that a query around it fails on no permitted row either
            "number": (
                *("SIGN(EXP({number} / 40))", "SIGN({number} * 500000000000000)", "SIGN({number} + 9223372036854745000)", "SIGN(POW({number}, 69))"),
                "CASE WHEN {text} <> {'} THEN SIGN(POW({number}, 69)) ELSE {#} END",
            ),
            "text": ("CAST(SIGN(EXP({number} / 40)) AS CHAR)", "LEFT({text}, SIGN(POW({number}, 69)))"),
        },
        aggregates={
            "number": ("COUNT(*)", "SUM({number})", "MAX({number})", "MIN({number})", "COUNT(DISTINCT {text})", "COUNT({number})"),
            "text": ("MIN({text})", "MAX({text})", "GROUP_CONCAT({text} ORDER BY {=} DESC SEPARATOR ',')"),
        },
        ranks=("ROW_NUMBER()", "NTILE(3)", "LAG({number})", "LEAD({number}, 2)", "FIRST_VALUE({number})", "LAST_VALUE({number})", "SUM({number})"),
        patterns=("{text} LIKE 'p\\_%'", "{number} IN ({#}, {n}, {n})", "{number} <=> {n}", "{text} = ANY (SELECT {'})"),
        values=(),
        features=frozenset({"frames", "named windows", "recursive", "right join"}),
    ),
    new=_new,
    alike=False,
    unread=lambda sql: "(WITH " in sql,  # finds no CTE of the outermost WITH, and guards stand there
    respelled=_respelled,
)
