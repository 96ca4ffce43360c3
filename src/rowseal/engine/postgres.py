"""PostgreSQL, locked: one statement by protocol, in a read-only transaction that is always rolled back, with settings of our own.

Sources: https://www.postgresql.org/docs/current/runtime-config-client.html, .../protocol-flow.html, .../errcodes-appendix.html.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from functools import partial
from itertools import chain
from time import monotonic
from typing import Any, Final, Self

import psycopg
from psycopg.types.json import set_json_loads
from psycopg.types.string import TextLoader
from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from rowseal.catalog import Limits
from rowseal.engine import postgres_role
from rowseal.engine.postgres_testimony import PostgresWitness
from rowseal.engine.testimony import Testimony
from rowseal.errors import EngineFailed, OurBug, Refused, TimedOut
from rowseal.sql import SecuredQuery

__all__ = ["PostgresDriver"]

_log: Final = logging.getLogger("rowseal.engine")
_ROWS_AT_ONCE: Final = 32  # more gain a few percent and hold more of rows that may be large
_LOCK_SECONDS: Final = 5.0
_CONNECT_SECONDS: Final = 10
_CANCEL_SECONDS: Final = 2.0
_PATIENCE_SECONDS: Final = 5.0  # beyond the deadline that the server keeps
# What the role or the database may have set otherwise, and what then would change the meaning of a query, the text of a value, or a plan.
_SETTINGS: Final = {
    "default_transaction_read_only": "on",
    # No function, operator or type of anybody else can stand in for a built-in one. Temporary types come first where they are not named.
    "search_path": "pg_catalog,pg_temp",
    "row_security": "on",
    "transform_null_equals": "off",
    "standard_conforming_strings": "on",
    "TimeZone": "UTC",
    "DateStyle": "ISO,YMD",
    "IntervalStyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "default_text_search_config": "pg_catalog.simple",
    "jit": "off",  # compiling costs more than it saves below some seconds
    "client_min_messages": "error",  # a notice may quote a value
    "application_name": "rowseal",
}
_AS_TEXT: Final = ("interval", "inet", "cidr", "record")  # and every range: no type of JSON or of Python's own says the same
# SQLSTATE classes that say nothing about the query: connection, resources, operator, system, deadlock or serialization, a lock not got
_UNAVAILABLE: Final = ("08", "53", "57", "58", "XX", "40", "55P03", "25P03", "28", "3D")

_NAMED_TYPES: Final = {
    **dict.fromkeys(("int2", "int4", "int8", "oid", "numeric", "float4", "float8"), "number"),
    "bool": "boolean",
    "bytea": "bytes",
    "date": "date",
    **dict.fromkeys(("timestamp", "timestamptz"), "date_time"),
    **dict.fromkeys(("time", "timetz"), "time"),
    **dict.fromkeys(("json", "jsonb"), "json"),
}
_TYPES: Final = {
    **{kind.array_oid: "json" for kind in psycopg.adapters.types if kind.array_oid},
    **{kind.oid: _NAMED_TYPES.get(kind.name, "string") for kind in psycopg.adapters.types},
}
# Those of Arrow. What is not here is text, and a numeric of which nobody said how many digits it has is text with all of them.
_EXACT: Final = {
    **{kind.array_oid: "json" for kind in psycopg.adapters.types if kind.array_oid},
    **{
        psycopg.adapters.types[name].oid: exact
        for name, exact in {
            "int2": "int16",
            "int4": "int32",
            "int8": "int64",
            "oid": "int64",
            "float4": "float32",
            "float8": "float64",
            "numeric": "number",
            "bool": "bool_",
            "bytea": "binary",
            "date": "date32",
            "timestamp": "timestamp",
            "timestamptz": "timestamptz",
            "time": "time",
            "json": "json",
            "jsonb": "json",
        }.items()
    },
}
_MOST_DIGITS: Final = 76  # of a decimal in Arrow

# What PostgreSQL finds in the statement, before it looks at a row (a comparison of arrays may find it later, behind the fence, in permitted rows):
# what is wrong, and what to write.
_TYPES_DIFFER: Final = (
    "a function, an operator or a parameter has a type that it does not take",
    "write the type: `CAST(name AS TEXT)`, `CAST(:from_day AS DATE)`",
)
_MISTAKES: Final[Mapping[str, tuple[str, str]]] = {
    "42803": ("a column stands outside of an aggregate and is not in GROUP BY", "add it to GROUP BY, or aggregate it"),
    **dict.fromkeys(("42883", "42804", "42725", "42846", "42P18"), _TYPES_DIFFER),
}


def _exact(column: psycopg.Column) -> str:
    exact, precision, scale = _EXACT.get(column.type_code, "string"), column.precision, column.scale
    if exact == "number" and precision is not None and scale is not None and 0 <= scale <= precision <= _MOST_DIGITS:
        return f"decimal({precision},{scale})"
    return exact


class _MomentLoader(TextLoader):
    """A date or time as Python has it, or as PostgreSQL's ISO text where Python has none: infinity, BC, the year 10000, 24:00."""

    kind: type[date] | type[datetime] | type[time]

    def load(self, data: Any) -> Any:
        text = super().load(data)
        try:
            return self.kind.fromisoformat(text)  # type: ignore[arg-type]
        except ValueError:
            return text


class _DateLoader(_MomentLoader):
    kind = date


class _DateTimeLoader(_MomentLoader):
    kind = datetime


class _TimeLoader(_MomentLoader):
    kind = time


_MOMENTS: Final = {"date": _DateLoader, "timestamp": _DateTimeLoader, "timestamptz": _DateTimeLoader, "time": _TimeLoader, "timetz": _TimeLoader}


class _OneStatementCursor(psycopg.Cursor[tuple[Any, ...]]):
    """Runs one statement and takes its rows from the socket a few at a time.

    INVARIANT: `stream` always speaks the extended protocol, which takes one statement; `execute` without binds speaks the simple one, which
    takes many: `SELECT 1; COMMIT; DROP ...`. And `execute` would hold the whole result, however large, before we could count it.
    """

    _rows: Iterator[tuple[Any, ...]] = iter(())
    _stream: Iterator[tuple[Any, ...]] | None = None

    def execute(self, query: Any, params: Any = None, *, prepare: bool | None = None, binary: bool | None = None) -> Self:  # noqa: ARG002
        size = _ROWS_AT_ONCE if psycopg.capabilities.has_stream_chunked() else 1
        self._stream = self.stream(query, params, binary=binary, size=size)
        first = next(self._stream, None)  # SQLAlchemy looks at the description right after this
        if first is None:
            self._describe()
        else:
            self._rows = chain((first,), self._stream)
        return self

    def __iter__(self) -> Any:
        return self._rows

    def _describe(self) -> None:
        """Ask for the columns of an answer without rows: `stream` lets them go."""
        if self._query is None:
            raise psycopg.InterfaceError("the cursor kept no query")
        connection = self.connection.pgconn
        prepared = connection.prepare(b"", self._query.query, self._query.types)
        described = connection.describe_prepared(b"")
        if {prepared.status, described.status} != {psycopg.pq.ExecStatus.COMMAND_OK}:
            raise psycopg.InterfaceError("the answer could not be described")
        self.pgresult = described

    def close(self) -> None:
        """Ends the stream first: what still runs is cancelled, and the connection's lock is released."""
        if self._stream is not None:
            self._stream.close()  # type: ignore[attr-defined]
            self._stream = None
        super().close()


class _ImpatientConnection(psycopg.Connection[Any]):
    """Gives up a server that says nothing any more, frozen or cut off: that one keeps no deadline, and no error would ever come."""

    patience: float = _CONNECT_SECONDS  # in seconds, for one answer

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **more: Any) -> Any:
        """As psycopg does, but not for ever. Raises OperationalError, and the connection is closed then."""
        return super().wait(self._impatient(gen), *arguments, **more)

    def _impatient(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        limit = monotonic() + self.patience
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and monotonic() > limit:
                    self.pgconn.finish()
                    raise psycopg.OperationalError("the server does not answer")
                wanted = gen.send(ready)
        except StopIteration as ended:
            return ended.value


class PostgresDriver:
    """How PostgreSQL is opened, asked and understood, through psycopg 3."""

    dialect: Final = "postgres"
    testimony: Final = Testimony.AT_FIRST

    def __init__(self, url: URL, limits: Limits) -> None:
        if url.drivername not in ("postgresql", "postgresql+psycopg"):
            raise ValueError("the database's URL must begin with `postgresql://` or `postgresql+psycopg://`")
        self._url = url.set(drivername="postgresql+psycopg")
        milliseconds = max(1, int(limits.seconds * 1000))
        self._patience = limits.seconds + _PATIENCE_SECONDS
        settings = _SETTINGS | {
            "statement_timeout": str(milliseconds),
            "lock_timeout": str(min(milliseconds, int(_LOCK_SECONDS * 1000))),
            "idle_in_transaction_session_timeout": str(milliseconds + 60_000),
        }
        theirs = url.query.get("options", "")
        ours = " ".join(f"-c {name}={value}" for name, value in settings.items())
        # the last one counts, so the URL cannot loosen what stands here
        self._witness = PostgresWitness()
        self._options = f"{theirs if isinstance(theirs, str) else ' '.join(theirs)} {ours}".strip()

    def engine(self, pool: dict[str, Any]) -> Engine:
        """The engine, whose every connection is locked before anybody gets it."""
        arguments = {"options": self._options, "client_encoding": "utf8"}
        if "connect_timeout" not in self._url.query:
            arguments["connect_timeout"] = str(_CONNECT_SECONDS)
        engine = create_engine(self._url, connect_args=arguments, poolclass=QueuePool, hide_parameters=True, use_native_hstore=False, **pool)
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "connect", self._lock)
        return engine

    def render(self, query: SecuredQuery) -> tuple[str, dict[str, Any]]:
        """Text and binds for `exec_driver_sql`. Without binds psycopg leaves percent signs alone, so they must not be doubled."""
        if not query.names:
            return query.sql, {}
        statement, params = query.render("pyformat")
        return statement, dict(params)

    @contextmanager
    def running(self, connection: Connection, query: SecuredQuery) -> Iterator[None]:  # noqa: ARG002 -- one interface for every database
        """While this lasts the connection's cursors take one statement each."""
        driver = connection.connection.driver_connection
        if not isinstance(driver, psycopg.Connection):
            raise OurBug("the pool holds another kind of connection")
        driver.cursor_factory = _OneStatementCursor
        try:
            yield
        finally:
            driver.cursor_factory = psycopg.Cursor

    def testify(self, connection: Connection, query: SecuredQuery) -> None:
        """Parse the statement and hear what it opens; see `postgres_testimony`."""
        driver = connection.connection.driver_connection
        if not isinstance(driver, psycopg.Connection):
            raise OurBug("the pool holds another kind of connection")
        self._witness.hear(driver, query)

    def interrupter(self, connection: Connection) -> Callable[[], None]:
        """What ends whatever runs on the connection, from any thread."""
        driver = connection.connection.driver_connection  # now: when the connection breaks, SQLAlchemy lets go of it

        def interrupt() -> None:
            try:
                if isinstance(driver, psycopg.Connection):
                    driver.cancel_safe(timeout=_CANCEL_SECONDS)
            except psycopg.Error as error:  # the deadline is the server's own, and holds all the same
                _log.warning("a query could not be cancelled: %s", type(error).__name__)

        return interrupt

    def probe(self, engine: Engine) -> None:
        """One round trip."""
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")

    def types(self, description: Sequence[psycopg.Column]) -> tuple[str, ...]:
        """The type of each column, by its OID. What is not known here, a type of the database's own included, comes as text."""
        return tuple(_TYPES.get(column.type_code, "string") for column in description)

    def exact(self, description: Sequence[psycopg.Column]) -> tuple[str, ...]:
        """The Arrow type of each column."""
        return tuple(_exact(column) for column in description)

    def refusal(self, error: Exception) -> tuple[Refused, str]:
        """What to tell the bearer, and the only words of it that a log may hold."""
        state = getattr(error, "sqlstate", None) or ""
        if state == "57014":
            return TimedOut("timed_out"), state
        if state == "25006":
            return OurBug("a secured query tried to write"), state
        if state.startswith(_UNAVAILABLE) or (not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)):
            return EngineFailed("database_unavailable"), state
        detail, hint = _MISTAKES.get(state, (None, None))
        return EngineFailed("query_failed", detail, hint=hint), state

    def role_problems(self, connection: Connection, tables: Iterable[tuple[str, str]]) -> list[str]:
        """What the connection's role may do beyond reading, one sentence each; see `Database.check_role`."""
        tables = set(tables)
        found = postgres_role.problems(connection, tables)
        if not found and (noted := postgres_role.notes(connection, tables)):
            _log.warning("the database role may do more than its work: it %s; `rowseal postgres-role` prints one that may not", "; it ".join(noted))
        return found

    def _connect(self, _dialect: Any, _record: ConnectionPoolEntry, arguments: Any, named: Any) -> psycopg.Connection[Any]:
        connection = _ImpatientConnection.connect(*arguments, **named)
        connection.patience = self._patience
        return connection

    def _lock(self, connection: psycopg.Connection[Any], record: ConnectionPoolEntry) -> None:  # noqa: ARG002 -- SQLAlchemy's signature
        connection.read_only = True  # every transaction begins READ ONLY, which nothing inside it can take back
        set_json_loads(partial(json.loads, parse_float=Decimal), connection)
        for name, loader in _MOMENTS.items():
            connection.adapters.register_loader(name, loader)
        for kind in psycopg.adapters.types:
            if kind.name in _AS_TEXT or kind.name.endswith("range"):
                connection.adapters.register_loader(kind.oid, TextLoader)
