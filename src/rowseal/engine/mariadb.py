"""MariaDB, locked: one statement at a time, in read-only transactions that are always rolled back, with settings of our own. Driver: PyMySQL.

PyMySQL knows no binds: it writes values into the text. So values are written here, each as a literal of its type, texts as the digits of their
bytes, in which nothing can be mistaken for anything else.
Sources: https://mariadb.com/kb/en/server-system-variables/, .../mariadb-error-codes/, https://pymysql.readthedocs.io.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final

import pymysql
from pymysql.constants import ER, FIELD_TYPE, FLAG
from pymysql.converters import conversions
from pymysql.cursors import SSCursor
from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from rowseal.catalog import Limits
from rowseal.catalog.mariadb_grants import grants
from rowseal.catalog.reflection.mariadb import connect_arguments
from rowseal.engine.mariadb_testimony import check
from rowseal.engine.testimony import Testimony
from rowseal.errors import EngineFailed, OurBug, Refused, TimedOut
from rowseal.sql import SecuredQuery

__all__ = ["MariaDBDriver", "literal"]

_log: Final = logging.getLogger("rowseal.engine")
_LOCK_SECONDS: Final = 5
_CANCEL_SECONDS: Final = 2
_PATIENCE_SECONDS: Final = 5  # beyond the deadline that the server keeps
_DISK_BYTES: Final = 2**31  # of one temporary table
# What the server or the role may have set otherwise, and what then would change the meaning of a query, the text of a value, or a plan.
_SETTINGS: Final[dict[str, str]] = {
    # Without ANSI_QUOTES, NO_BACKSLASH_ESCAPES, PIPES_AS_CONCAT, HIGH_NOT_PRECEDENCE and the like: as the parser reads and writes MySQL.
    "sql_mode": "'ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
    "time_zone": "'+00:00'",
    "lc_time_names": "'en_US'",
    "old_mode": "''",
    "sql_auto_is_null": "0",
    "sql_select_limit": "18446744073709551615",
    "sql_big_selects": "1",
    "group_concat_max_len": "4294967295",
    "div_precision_increment": "4",
    "default_week_format": "0",
    "max_recursive_iterations": "4294967295",  # an answer is never cut without a word; the deadline and the disk bound it
    "tmp_disk_table_size": str(_DISK_BYTES),
    "max_error_count": "65535",  # or the note that testifies could be lost behind others
    "sql_notes": "1",
    "lock_wait_timeout": str(_LOCK_SECONDS),
    # a list of values is looked through, not made a table of: the plan of a guard is one for any length
    "in_predicate_conversion_threshold": "0",
    "optimizer_trace": "'enabled=off'",
    "optimizer_trace_max_mem_size": "67108864",
}
_TEXTUAL: Final = (FIELD_TYPE.TINY_BLOB, FIELD_TYPE.BLOB, FIELD_TYPE.MEDIUM_BLOB, FIELD_TYPE.LONG_BLOB, FIELD_TYPE.VAR_STRING, FIELD_TYPE.STRING)
_BINARY: Final = 63  # the number of the collation of bytes
_BYTES: Final = 1000  # added to a type's number where it is one of bytes: the protocol says text and bytes alike
_UNSIGNED: Final = 2000  # likewise where it is a whole number without a sign
_TYPES: Final[Mapping[int, str]] = {
    **dict.fromkeys((FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG, FIELD_TYPE.INT24, FIELD_TYPE.YEAR), "number"),
    **dict.fromkeys((FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL, FIELD_TYPE.FLOAT, FIELD_TYPE.DOUBLE), "number"),
    _UNSIGNED + FIELD_TYPE.LONGLONG: "number",
    FIELD_TYPE.DATE: "date",
    **dict.fromkeys((FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP), "date_time"),
    FIELD_TYPE.TIME: "time",
    **{_BYTES + code: "bytes" for code in _TEXTUAL},
    **dict.fromkeys((FIELD_TYPE.BIT, FIELD_TYPE.GEOMETRY), "bytes"),
}
# Those of Arrow.
_EXACT: Final[Mapping[int, str]] = {
    **dict.fromkeys((FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.LONG, FIELD_TYPE.INT24, FIELD_TYPE.YEAR), "int64"),
    FIELD_TYPE.LONGLONG: "int64",
    _UNSIGNED + FIELD_TYPE.LONGLONG: "uint64",
    FIELD_TYPE.FLOAT: "float64",
    FIELD_TYPE.DOUBLE: "float64",
    FIELD_TYPE.DATE: "date32",
    FIELD_TYPE.DATETIME: "timestamp",
    FIELD_TYPE.TIMESTAMP: "timestamptz",
    **{_BYTES + code: "binary" for code in _TEXTUAL},
    **dict.fromkeys((FIELD_TYPE.BIT, FIELD_TYPE.GEOMETRY), "binary"),
}
_SIGN_AND_POINT: Final = 2
_TIMED_OUT: Final = 1969
_INTERRUPTED: Final = 1317
_READ_ONLY: Final = 1792
# Lost or refused connections, locks, resources of the server: nothing that is about the query.
_UNAVAILABLE: Final = frozenset(
    {*range(2000, 2100), 1040, 1042, 1043, 1045, 1047, 1049, 1053, 1077, 1129, 1130, 1152, 1153, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 1226, 1927}
)
_NO_SHOW_VIEW: Final = 1345

# What MariaDB finds in the statement before it looks at a row: what is wrong, and what to write.
_MISTAKES: Final[Mapping[int, tuple[str, str]]] = {
    **dict.fromkeys((1055, 1463, 1140), ("a column stands outside of an aggregate and is not in GROUP BY", "add it to GROUP BY, or aggregate it")),
    **dict.fromkeys((1267, 1270, 1271), ("texts of different collations are compared", "compare columns of one collation")),
}
# What a role may hold beside SELECT without being able to change or see anything more.
_HARMLESS: Final = frozenset({"SELECT", "USAGE", "SHOW VIEW", "SHOW DATABASES"})


def literal(value: Any) -> str:
    """The value as a literal of its type, or, of a list, those of its members in brackets. Raises OurBug for what has none."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "TRUE" if value else "FALSE"
        case int():
            return str(int(value))
        case Decimal() if value.is_finite():
            return f"{value:f}" if "." in f"{value:f}" else f"{value:f}.0"
        case float() if math.isfinite(value):
            text = repr(float(value))
            return text if "e" in text else f"{text}e0"
        case str():
            return f"_utf8mb4 X'{value.encode().hex()}'"
        case datetime():
            moment = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
            return f"TIMESTAMP'{moment.isoformat(' ', 'microseconds')}'"
        case date():
            return f"DATE'{value.isoformat()}'"
        case list() | tuple() if value:
            return f"({', '.join(map(literal, value))})"
        case _:
            raise OurBug("a value of a query has no literal")


class _Cursor(SSCursor):
    """Takes its rows from the socket one at a time, so that no more than one is held beyond the byte limit."""

    def close(self) -> None:
        """What is left of an answer is not read to its end for the sake of order: beyond one row of it, the connection goes."""
        result: Any = getattr(self, "_result", None)
        connection: Any = self.connection
        if connection is not None and getattr(result, "unbuffered_active", False):
            with suppress(pymysql.Error, OSError):
                if self.fetchone() is None:
                    super().close()
                    return
            connection._force_close()  # a polite farewell would wait for the rest
            result.unbuffered_active = False
        with suppress(pymysql.Error, OSError):
            super().close()

    def _do_get_result(self) -> None:
        super()._do_get_result()  # type: ignore[misc]  # the stubs lack it
        told: Any = self.description
        result: Any = getattr(self, "_result", None)
        if told:
            # pymysql tells a text from bytes when it reads a value, and not here
            described: Any = tuple((each[0], _told_apart(each[1], field), *each[2:]) for each, field in zip(told, result.fields, strict=True))
            self.description = described


def _told_apart(code: int, field: Any) -> int:
    if field.charsetnr == _BINARY and code in _TEXTUAL:
        return _BYTES + code
    return _UNSIGNED + code if code == FIELD_TYPE.LONGLONG and field.flags & FLAG.UNSIGNED else code


def _exact(column: Sequence[Any]) -> str:
    code, length, scale = column[1], column[3], column[5]
    if code in (FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL):
        return f"decimal({38 if length <= 38 + _SIGN_AND_POINT else 76},{scale})"
    return _EXACT.get(code, "string")


def _moment(text: Any) -> Any:
    """A TIMESTAMP is a moment, and the connection's time zone is UTC."""
    read = conversions[FIELD_TYPE.DATETIME](text)
    return read.replace(tzinfo=UTC) if isinstance(read, datetime) else read


def _plain(text: Any) -> Any:
    return text.decode() if isinstance(text, bytes) else text


# A TIME may be longer than a day; a date that Python lacks comes as text.
_READ: Final = {**conversions, FIELD_TYPE.TIME: _plain, FIELD_TYPE.TIMESTAMP: _moment}


class MariaDBDriver:
    """How MariaDB is opened, asked and understood, through PyMySQL."""

    dialect: Final = "mariadb"
    testimony: Final = Testimony.AT_FIRST

    def __init__(self, url: URL, limits: Limits) -> None:
        if url.drivername not in ("mariadb", "mariadb+pymysql", "mysql+pymysql") or not url.database:
            raise ValueError("the database's URL must begin with `mariadb://` or `mysql+pymysql://` and name a database")
        self._url = url.set(drivername="mariadb+pymysql")
        self._seconds = limits.seconds
        self._connect: Callable[[], Any] | None = None

    def engine(self, pool: dict[str, Any]) -> Engine:
        """The engine, whose every connection is locked before anybody gets it."""
        patience = math.ceil(self._seconds + _PATIENCE_SECONDS)
        arguments = {**connect_arguments(self._url), "conv": _READ, "read_timeout": patience, "write_timeout": patience, "cursorclass": pymysql.cursors.Cursor}
        engine = create_engine(self._url, connect_args=arguments, poolclass=QueuePool, hide_parameters=True, **pool)
        event.listen(engine, "do_connect", self._remember)
        event.listen(engine, "connect", self._lock)
        return engine

    def render(self, query: SecuredQuery) -> tuple[str, dict[str, Any]]:
        """The text with its values in it, and no binds for the driver to write."""
        parts = [query.pieces[0]]
        for name, piece in zip(query.names, query.pieces[1:], strict=True):
            parts += (literal(query.params[name]), piece)
        return "".join(parts), {}

    @contextmanager
    def running(self, connection: Connection, query: SecuredQuery) -> Iterator[None]:  # noqa: ARG002 -- one interface for every database
        """While this lasts the connection's cursors hand on one row at a time."""
        driver = _opened(connection)
        driver.cursorclass = _Cursor
        try:
            yield
        finally:
            driver.cursorclass = pymysql.cursors.Cursor
            if not driver.open:
                connection.invalidate()

    def testify(self, connection: Connection, query: SecuredQuery) -> None:
        """Ask for the plan and hear how MariaDB says the statement; see `mariadb_testimony`."""
        driver = _opened(connection)
        statement, _ = self.render(query)
        with pymysql.cursors.Cursor(driver) as cursor:
            cursor.execute("SET optimizer_trace = 'enabled=on'")
            try:
                cursor.execute(f"EXPLAIN EXTENDED {statement}")
                notes = driver.show_warnings()
                cursor.execute("SELECT trace, missing_bytes_beyond_max_mem_size + insufficient_privileges FROM information_schema.optimizer_trace")
                trace = cursor.fetchone()
            except pymysql.MySQLError as error:
                if error.args and error.args[0] == _NO_SHOW_VIEW:
                    # what lies below a view is told only to whoever may see the view's text; then the witness's word stands alone
                    if _reads_a_view(cursor, query):
                        return
                    raise OurBug("the database testified that the statement reads a view that its guards do not") from error
                raise
            finally:
                cursor.execute("SET optimizer_trace = 'enabled=off'")
        said = [text for _, code, text in notes if code == 1003]
        if len(said) != 1 or trace is None or trace[1]:
            raise OurBug("the database did not testify what the statement reads")
        check(query, said[0], trace[0])

    def interrupter(self, connection: Connection) -> Callable[[], None]:
        """What ends whatever runs on the connection, from any thread: a role may end its own queries, from another connection."""
        number, connect = _opened(connection).thread_id(), self._connect

        def interrupt() -> None:
            if connect is None:
                return
            try:
                with connect() as other, other.cursor() as cursor:
                    cursor.execute(f"KILL QUERY {int(number)}")
            except (pymysql.MySQLError, OSError) as error:  # the deadline is the server's own, and holds all the same
                if not (error.args and error.args[0] == ER.NO_SUCH_THREAD):
                    _log.warning("a query could not be cancelled: %s", type(error).__name__)

        return interrupt

    def probe(self, engine: Engine) -> None:
        """One round trip."""
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")

    def types(self, description: Sequence[Any]) -> tuple[str, ...]:
        """The type of each column, by its number in the protocol."""
        return tuple(_TYPES.get(column[1], "string") for column in description)

    def exact(self, description: Sequence[Any]) -> tuple[str, ...]:
        """The Arrow type of each column."""
        return tuple(_exact(column) for column in description)

    def refusal(self, error: Exception) -> tuple[Refused, str]:
        """What to tell the bearer, and the only words of it that a log may hold."""
        code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        if code in (_TIMED_OUT, _INTERRUPTED):
            return TimedOut("timed_out"), str(code)
        if code == _READ_ONLY:
            return OurBug("a secured query tried to write"), str(code)
        if code in _UNAVAILABLE or (not code and isinstance(error, pymysql.OperationalError | pymysql.InterfaceError | OSError)):
            return EngineFailed("database_unavailable"), str(code)
        detail, hint = _MISTAKES.get(code, (None, None))
        return EngineFailed("query_failed", detail, hint=hint), str(code or "")

    def role_problems(self, connection: Connection, tables: Iterable[tuple[str, str]]) -> list[str]:  # noqa: ARG002 -- a right on any table is a right
        """What the connection's role may do beyond reading, one sentence each; see `Database.check_role`."""
        problems: list[str] = []
        for grant in grants(connection):
            if grant.grantable:
                problems.append("may GRANT its rights to others")
            problems += [f"has {right} on {grant.on}" if grant.on else f"has {right}" for right in sorted(grant.rights - _HARMLESS)]
        return list(dict.fromkeys(problems))

    def _remember(self, _dialect: Any, _record: ConnectionPoolEntry, arguments: Any, named: dict[str, Any]) -> None:
        other = {**named, "connect_timeout": _CANCEL_SECONDS, "read_timeout": _CANCEL_SECONDS, "write_timeout": _CANCEL_SECONDS}
        self._connect = partial(pymysql.connect, *arguments, **other)

    def _lock(self, connection: Any, record: ConnectionPoolEntry) -> None:  # noqa: ARG002 -- SQLAlchemy's signature
        settings = ", ".join(f"SESSION {name} = {value}" for name, value in (_SETTINGS | {"max_statement_time": f"{self._seconds:f}"}).items())
        with connection.cursor() as cursor:
            cursor.execute(f"SET {settings}")
            cursor.execute("SET SESSION TRANSACTION READ ONLY")  # every transaction begins so, and nothing inside it can take that back
        connection.commit()


def _reads_a_view(cursor: Any, query: SecuredQuery) -> bool:
    for table in frozenset[tuple[str, str]]().union(*query.reads.values()):
        if cursor.execute("SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s AND table_type = 'VIEW'", table):
            return True
    return False


def _opened(connection: Connection) -> Any:
    driver = connection.connection.driver_connection
    if not isinstance(driver, pymysql.Connection):
        raise OurBug("the pool holds another kind of connection")
    return driver
