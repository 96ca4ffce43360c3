"""SQLite, locked: a read-only file, a deadline, and the authorizer as a witness (G3).

SQLite calls the authorizer while it compiles a statement, for every column that the statement reads, with the name of the innermost
view or common table expression from which the read comes (https://www.sqlite.org/c3ref/set_authorizer.html). Every read of a table must
come from a guard that may read it. A denial means that the rewriting was wrong: nothing is returned, and it is our bug.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from rowseal.catalog import Limits
from rowseal.engine.testimony import Testimony
from rowseal.errors import BudgetExceeded, EngineFailed, OurBug, Refused, TimedOut
from rowseal.sql import Reads, SecuredQuery

__all__ = ["SQLiteDriver"]

# Functions that reach out of the query: files, extensions, tokenizers given as pointers.
_DENIED_FUNCTIONS: Final = frozenset({"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit", "fsdir", "lsmode"})
_TABLE_FUNCTIONS: Final = frozenset({"json_each"})  # how a guard binds a long list of values
_OPS_BETWEEN_LOOKS_AT_THE_CLOCK: Final = 4_000  # about 0.1 ms
_BUSY_SECONDS: Final = 5.0
_UNAVAILABLE: Final = ("SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_CORRUPT", "SQLITE_IOERR", "SQLITE_LOCKED", "SQLITE_NOMEM", "SQLITE_NOTADB", "SQLITE_PROTOCOL")
_OVER: Final = 1e-9  # a deadline that has passed; 0 would mean that no query runs
_WITNESS: Final = "rowseal.witness"
_NOTHING: Final[Reads] = {}
_NO_TABLES: Final[frozenset[tuple[str, str]]] = frozenset()


class _Witness:
    """One connection's authorizer and clock. Outside of a query it permits nothing at all."""

    __slots__ = ("_deadline", "_guarded", "_reads", "_reads_a_view", "_relations", "_views", "denied")

    def __init__(self, tables: frozenset[str], views: frozenset[str]) -> None:
        self._relations = tables | views
        self._views = views
        self.forget()

    def watch(self, reads: Reads, deadline: float) -> None:
        """From now on permit what this query's guards may read, until `deadline` (`time.monotonic`, seconds)."""
        self.denied: str | None = None
        self._reads = {guard: frozenset((schema.lower(), table.lower()) for schema, table in tables) for guard, tables in reads.items()}
        self._guarded = frozenset[tuple[str, str]]().union(*self._reads.values())
        self._reads_a_view = any(table in self._views for _, table in self._guarded)
        self._deadline = deadline

    def forget(self) -> None:
        """Permit nothing."""
        self.watch(_NOTHING, 0.0)

    def end_now(self) -> None:
        """The query's time is over. From any thread."""
        self._deadline = _OVER

    def late(self) -> bool:
        """For `set_progress_handler`: true interrupts the statement."""
        return time.monotonic() > self._deadline

    def authorize(self, action: int, first: str | None, second: str | None, database: str | None, inner: str | None) -> int:
        """For `set_authorizer`. INVARIANT: whatever is not named here is denied, and so is everything while no query runs."""
        if self._deadline and (
            action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE)
            or (action == sqlite3.SQLITE_FUNCTION and second is not None and second.lower() not in _DENIED_FUNCTIONS)
            or (action == sqlite3.SQLITE_READ and first is not None and self._may_read(first.lower(), second, database, inner))
        ):
            return sqlite3.SQLITE_OK
        # no table's or function's name: what goes into a log holds no undeclared name
        self.denied = f"the authorizer denied action {action} from {inner if inner in self._reads else 'outside of the guards'}"
        return sqlite3.SQLITE_DENY

    def _may_read(self, table: str, column: str | None, database: str | None, inner: str | None) -> bool:
        if database is not None and inner is not None and (database.lower(), table) in self._reads.get(inner, _NO_TABLES):
            return True
        if table in _TABLE_FUNCTIONS and table not in self._relations:
            return True
        if self._reads_a_view and inner is not None and inner.lower() in self._views:
            return table in self._relations  # whoever declared the view declared what it reads
        return column == "" and self._may_count(table, database)

    def _may_count(self, table: str, database: str | None) -> bool:
        """A relation of which no column is used, as in `count(*)`.

        SQLite asks for it after it has flattened a guard into the query, when the guard's name is lost. `database` is then what the text
        spells before the table: guards always write it, what a bearer wrote stands without. So a table that the rewriting missed is denied,
        unless the bearer wrote its schema, a guard of the same query reads the same table, and no column of it is used.
        """
        if database is not None:
            return (database.lower(), table) in self._guarded
        if table in self._relations:
            return self._reads_a_view  # the body of a view does not write schemas
        return table.startswith(("__g", "__u"))  # a common table expression that was not flattened


class _PlainConnection(sqlite3.Connection):
    """Only SQLite's own functions.

    SQLAlchemy adds two of Python's at connect: a `floor` that fails on NULL, where SQLite's own does not and an error would speak about
    rows, and a `regexp` whose patterns can run for ever where no deadline interrupts them.
    """

    def create_function(self, *_: Any, **__: Any) -> None:
        """Adds nothing."""


class SQLiteDriver:
    """How SQLite is opened, asked and understood. The URL must name a file."""

    dialect: Final = "sqlite"
    testimony: Final = Testimony.ALWAYS  # `_Witness`

    def __init__(self, url: URL, limits: Limits) -> None:
        if (
            url.get_backend_name() != "sqlite"
            or url.get_driver_name() != "pysqlite"
            or url.query
            or not url.database
            or url.database.startswith((":", "file:"))
        ):
            raise ValueError("the database's URL must name a file: `sqlite:///path/to/file.db`")
        # a path with `?` or `#` in it must not become an option of the URI
        self._uri = f"file:{quote(url.database)}?mode=ro"
        self._url = url
        self._limits = limits

    def engine(self, pool: dict[str, Any]) -> Engine:
        """The engine, whose every connection is locked before anybody gets it."""
        engine = create_engine(self._url, creator=self._connect, poolclass=QueuePool, hide_parameters=True, **pool)
        # last of the listeners: SQLAlchemy's own statements at connect have run by then, and it needs none later
        event.listen(engine, "connect", self._lock)
        return engine

    def render(self, query: SecuredQuery) -> tuple[str, dict[str, Any]]:
        """Text and binds for `exec_driver_sql`."""
        return query.sql, dict(query.params)

    @contextmanager
    def running(self, connection: Connection, query: SecuredQuery) -> Iterator[None]:
        """While this lasts the connection may run this query and no other. Raises `OurBug` if the authorizer denied anything.

        Raises KeyboardInterrupt for an interruption that neither the deadline nor `interrupt` asked for: `sqlite3` swallows what a signal
        raises while it looks at the clock, and interrupts the statement in its place.
        """
        witness: _Witness = connection.info[_WITNESS]
        witness.watch(query.reads, time.monotonic() + self._limits.seconds)
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            name = getattr(getattr(error, "orig", None) or error, "sqlite_errorname", "")
            if name == "SQLITE_INTERRUPT" and not witness.late() and threading.current_thread() is threading.main_thread():  # which gets signals
                raise KeyboardInterrupt from None
            raise
        finally:
            denied = witness.denied
            witness.forget()
            if denied:
                raise OurBug(denied)

    def testify(self, connection: Connection, query: SecuredQuery) -> None:
        """The authorizer has the word, whenever a statement is compiled."""

    def interrupter(self, connection: Connection) -> Callable[[], None]:
        """What ends whatever runs on the connection, from any thread."""
        witness: _Witness = connection.info[_WITNESS]
        driver = connection.connection.driver_connection  # now: when the connection breaks, SQLAlchemy lets go of it

        def interrupt() -> None:
            witness.end_now()
            with suppress(sqlite3.ProgrammingError):  # closed by now
                if driver is not None:
                    driver.interrupt()

        return interrupt

    def probe(self, engine: Engine) -> None:  # noqa: ARG002 -- one interface for every database
        """Read the file's first page, by a connection of its own: those of the engine permit nothing but queries."""
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA schema_version").fetchone()

    def types(self, description: Sequence[Any]) -> tuple[str, ...]:  # noqa: ARG002 -- one interface for every database
        """SQLite knows the type of a value, not of a column."""
        return ()

    def exact(self, description: Sequence[Any]) -> tuple[str, ...]:  # noqa: ARG002 -- one interface for every database
        """Nor one of Arrow's."""
        return ()

    def refusal(self, error: Exception) -> tuple[Refused, str]:
        """What to tell the bearer, and the only words of it that a log may hold."""
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_INTERRUPT":
            return TimedOut("timed_out"), name
        if name == "SQLITE_TOOBIG":
            return BudgetExceeded("result_too_large"), name
        if name.startswith(("SQLITE_AUTH", "SQLITE_READONLY")):
            return OurBug("the database denied what a secured query asked"), name
        if name.startswith(_UNAVAILABLE):
            return EngineFailed("database_unavailable"), name
        return EngineFailed("query_failed"), name

    def role_problems(self, connection: Connection, tables: Iterable[tuple[str, str]]) -> list[str]:  # noqa: ARG002 -- one interface for every database
        """A file has no roles, and it is opened read-only."""
        return []

    def _connect(self) -> sqlite3.Connection:
        # INVARIANT: no statement cache. The authorizer speaks when a statement is compiled; a cached one would run under the permissions
        # of the query that compiled it.
        return sqlite3.connect(
            self._uri,
            uri=True,
            timeout=min(_BUSY_SECONDS, self._limits.seconds),
            isolation_level=None,  # no BEGIN of the module's own
            check_same_thread=False,  # the pool hands a connection to one thread at a time
            cached_statements=0,
            factory=_PlainConnection,
        )

    def _lock(self, connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        # INVARIANT: SQLITE_LIMIT_LENGTH stays at its maximum. A lower one makes reading a longer value an error, forbidden rows included.
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000)  # one LIKE is one step: no deadline interrupts it
        connection.setlimit(sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0)
        connection.execute("PRAGMA query_only = ON").close()
        connection.execute("PRAGMA trusted_schema = OFF").close()
        relations = [(kind, name.lower()) for kind, name in connection.execute("SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view')")]
        tables, views = (frozenset(name for kind, name in relations if kind == wanted) for wanted in ("table", "view"))
        for function in _TABLE_FUNCTIONS - tables - views:
            # the first use of a table function writes it into the schema in memory; after that the connection knows it
            connection.execute(f"SELECT 1 FROM {function}('[]')").close()  # noqa: S608 -- a name of ours
        witness = _Witness(tables, views)
        record.info[_WITNESS] = witness
        connection.set_progress_handler(witness.late, _OPS_BETWEEN_LOOKS_AT_THE_CLOCK)
        connection.set_authorizer(witness.authorize)
