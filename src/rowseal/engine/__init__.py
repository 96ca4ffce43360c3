"""The only place that talks to the database, and it takes nothing but a `SecuredQuery`.

`sqlite` and `postgres` say how each database is locked, `result` what an answer is. `seal` is for an application's own engine.
docs/explanation/engine.md gives the reasons.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Protocol

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from rowseal import decisions
from rowseal.catalog import ONLY_CONNECTION, Limits
from rowseal.engine.formats import Writer, to_arrow, to_csv, to_json, to_ndjson
from rowseal.engine.result import Result, weigh
from rowseal.engine.rows import Rows
from rowseal.engine.seal import seal
from rowseal.engine.sqlite import SQLiteDriver
from rowseal.engine.stop import Stop
from rowseal.engine.testimony import Heard, Testimony
from rowseal.errors import BudgetExceeded, Cancelled, EngineFailed, Misconfigured, OurBug, Problem, Refused
from rowseal.sql import SecuredQuery

__all__ = ["Database", "Result", "Rows", "Stop", "Writer", "seal", "to_arrow", "to_csv", "to_json", "to_ndjson"]

_log: Final = logging.getLogger("rowseal.engine")
_RECYCLE_SECONDS: Final = 1800
# What testifies, but is only for who writes `experimental: true`, and why.
_UNPROVEN: Final = {
    "mariadb": "has not been asked everything that the tests ask of the others",
    "duckdb": "has a young optimizer, parts of which gave wrong answers and are switched off",
}


class _Driver(Protocol):
    """What differs between databases."""

    @property
    def dialect(self) -> str: ...

    @property
    def testimony(self) -> Testimony:
        """How the database itself says what a query reads (G3)."""

    def testify(self, connection: Connection, query: SecuredQuery) -> None:
        """Ask the database what the query would read, and run nothing of it. Called where `testimony` is AT_FIRST, for each text once.

        Raises OurBug where that is anything else than `query.reads` says. It is called inside of `running`, so that the same locks and the
        same deadline hold, and whatever the database raises here becomes the refusal that it would be when the query runs.

        INVARIANT: what it says holds for every value of the binds, because the text is not asked about again: a plan from which the
        values at hand have cut a table away says nothing about the next ones.
        """

    def engine(self, pool: dict[str, Any]) -> Engine: ...
    def render(self, query: SecuredQuery) -> tuple[str, dict[str, Any] | tuple[Any, ...]]: ...
    def running(self, connection: Connection, query: SecuredQuery) -> AbstractContextManager[None]: ...
    def types(self, description: Sequence[Any]) -> tuple[str, ...]: ...

    def exact(self, description: Sequence[Any]) -> tuple[str, ...]:
        """The Arrow type of each column, as `formats.arrow_stream` spells it; empty where the database has none to say."""

    def interrupter(self, connection: Connection) -> Callable[[], None]: ...
    def probe(self, engine: Engine) -> None: ...
    def refusal(self, error: Exception) -> tuple[Refused, str]: ...
    def role_problems(self, connection: Connection, tables: Iterable[tuple[str, str]]) -> list[str]: ...


def _driver(dialect: str, url: URL, limits: Limits) -> _Driver:
    if dialect == "sqlite":
        return SQLiteDriver(url, limits)
    if dialect == "postgres":
        from rowseal.engine.postgres import PostgresDriver  # noqa: PLC0415 -- psycopg is an extra: who only uses SQLite may lack it

        return PostgresDriver(url, limits)
    if dialect == "mariadb":
        from rowseal.engine.mariadb import MariaDBDriver  # noqa: PLC0415 -- so is pymysql

        return MariaDBDriver(url, limits)
    if dialect == "duckdb":
        from rowseal.engine.duckdb import DuckDBDriver  # noqa: PLC0415 -- duckdb is an extra too

        return DuckDBDriver(url, limits)
    raise ValueError("the dialect must be one of duckdb, mariadb, postgres, sqlite")


class Database:
    """A pool of locked connections to one database. Thread-safe; `execute` blocks, so an event loop calls it in a worker thread."""

    def __init__(self, url: str | URL, *, dialect: str, limits: Limits, connection: str = ONLY_CONNECTION) -> None:
        """Opens nothing yet. `dialect` is sqlglot's name, `connection` the configuration's name for the database.

        Raises `ValueError` for a URL or dialect that is not supported.
        """
        self._limits = limits
        self._connection = connection
        self._driver = _driver(dialect, make_url(url), limits)
        self._slots = threading.BoundedSemaphore(limits.concurrent)
        # last in, first out: a quiet server keeps few connections warm; one more than the slots, for `check_role`
        pool = {"pool_size": limits.concurrent, "max_overflow": 1, "pool_timeout": 1.0, "pool_use_lifo": True, "pool_recycle": _RECYCLE_SECONDS}
        self._engine = self._driver.engine(pool)
        self._heard = Heard()

    def execute(self, query: SecuredQuery, stop: Stop | None = None) -> Result:
        """Run the query and return at most `query.row_limit` rows. `stop` lets another thread end it: then `Cancelled` is raised.

        Raises `TimedOut` after `limits.seconds`; `BudgetExceeded` when `limits.concurrent` queries run already or the rows exceed
        `limits.result_bytes`; `EngineFailed` for whatever the database says no to; `OurBug` when the database denied what only an
        unguarded or writing query asks, or for anything that is not a `SecuredQuery` of this dialect.
        """
        self._begin(query)
        try:
            with self._running(query, stop or Stop()) as cursor:
                return self._read(cursor, query)
        except Exception as error:  # noqa: BLE001 -- G4: whatever went wrong, the answer is a refusal
            refused = self._refusal(error, stopped=stop is not None and stop.asked)
        finally:
            self._slots.release()
        # INVARIANT: raised outside of the handler and with nothing behind it, so that no traceback shows the database's words (G10)
        refused.__cause__ = refused.__context__ = None
        raise refused

    @contextmanager
    def open(self, query: SecuredQuery, stop: Stop) -> Iterator[Rows]:
        """Run the query and let its rows be taken while this lasts; it has one of the places for queries, and a connection, until the end.

        Raises what `execute` does, also from within. What is raised may have the database's words behind it: whoever lets it out takes them away.
        """
        self._begin(query)
        deadline = time.monotonic() + self._limits.seconds
        try:
            with self._running(query, stop) as cursor:
                yield Rows(
                    cursor,
                    most_rows=query.row_limit,
                    most_bytes=self._limits.result_bytes,
                    deadline=deadline,
                    columns=self._columns(cursor),
                    declared=self._driver.types(cursor.description),
                    exact=self._driver.exact(cursor.description),
                )
        except Exception as error:  # noqa: BLE001 -- as above
            refused = self._refusal(error, stopped=stop.asked)
        else:
            return
        finally:
            self._slots.release()
        refused.__cause__ = refused.__context__ = None
        raise refused

    def check_testimony(self, *, allow_experimental: bool, file: str) -> None:
        """Refuse to start with a kind of database that does not testify or is not proven yet, unless the operator has written `experimental: true`.

        `file` is the configuration that names the database. Raises `Misconfigured`.
        """
        why = _UNPROVEN.get(self._driver.dialect, "")
        if self._driver.testimony is Testimony.NONE:
            why = "does not testify what a query reads"
        if not why:
            return
        place, written = self._named("experimental")
        if allow_experimental:
            _log.warning("%s: `%s` %s, and is used all the same", place, self._driver.dialect, why)
            return
        says = f"`{self._driver.dialect}` is experimental: it {why}; use another database, or write `{written}`"
        raise Misconfigured([Problem(file, 1, 1, place, says)])

    def check_role(self, tables: Iterable[tuple[str, str]], *, allow_privileged: bool, file: str) -> None:
        """Refuse to start with a database role that may do more than read.

        `tables` are the (schema, table) pairs of the catalog, `file` the configuration that names the database. Refused are: a superuser,
        BYPASSRLS, CREATEROLE, the predefined roles that read or write everything or files, the owner of one of the tables, and who may
        CREATE in the database or in a table's schema; by itself or as a member. Raises `Misconfigured`, also when the database cannot
        be reached. `allow_privileged` is the operator's `allow_privileged_role: true`; what it lets pass is logged.
        """
        place, written = self._named("allow_privileged_role")
        try:
            with self._engine.connect() as opened:
                problems = self._driver.role_problems(opened, tables)
        except Exception as error:  # noqa: BLE001 -- G4: a role that cannot be judged is refused
            _log.warning("the database role could not be judged: %s", type(error).__name__)
            unknown = "the database could not be asked what its role may do; check that it is reachable"
            failure = Misconfigured([Problem(file, 1, 1, place, unknown)])
        else:
            if not problems:
                return
            if allow_privileged:
                _log.warning("the database role may do more than read: it %s", "; it ".join(problems))
                return
            cure = f"connect as a role that has only SELECT, or write `{written}`"
            failure = Misconfigured([Problem(file, 1, 1, place, f"the database role {problem}; {cure}") for problem in problems])
        failure.__cause__ = failure.__context__ = None
        raise failure

    def reachable(self) -> bool:
        """Whether the database answers now. Blocks, for as long as connecting may take."""
        for _ in range(2):  # a connection of the pool may have died unseen: the pool drops it, and the second one is new
            try:
                self._driver.probe(self._engine)
            except Exception as error:  # noqa: BLE001 -- whatever it is, queries would meet it too
                _log.warning("the database does not answer: %s", type(error).__name__)
            else:
                return True
        return False

    def close(self) -> None:
        """Close every idle connection. One that runs a query is closed when the query ends."""
        self._engine.dispose()

    def _named(self, key: str) -> tuple[str, str]:
        """Where the configuration names the database, and how it says there that `key` is true."""
        if self._connection == ONLY_CONNECTION:
            return "database", f"engine: {{{key}: true}}"
        return f"connections.{self._connection}.url", f"{key}: true"

    def _begin(self, query: SecuredQuery) -> None:
        """Take one of the places for queries."""
        # INVARIANT: nothing but a SecuredQuery ever reaches a connection (G6)
        if type(query) is not SecuredQuery:
            raise OurBug("something that is not a SecuredQuery was to be executed")
        if query.dialect != self._driver.dialect:
            raise OurBug("a query secured for one dialect was to be executed in another")
        if query.connection != self._connection:
            raise OurBug("a query secured for one connection was to be executed on another")
        if not self._slots.acquire(blocking=False):
            raise BudgetExceeded("too_many_queries")

    @contextmanager
    def _running(self, query: SecuredQuery, stop: Stop) -> Iterator[Any]:
        """The cursor of the query, which runs."""
        statement, params = self._driver.render(query)
        with self._engine.connect() as connection:
            try:
                with self._driver.running(connection, query), stop.interrupts(self._driver.interrupter(connection)):
                    if stop.asked:
                        raise Cancelled("query_cancelled")
                    # INVARIANT: the database has said what this text reads before the text runs (G3)
                    if self._driver.testimony is Testimony.AT_FIRST and query not in self._heard:
                        self._driver.testify(connection, query)
                        self._heard.add(query)
                    # `no_parameters` where there are none: else the driver looks for binds in the bearer's literals
                    result = connection.exec_driver_sql(statement, params or None, execution_options={"no_parameters": not params})
                    try:
                        yield result.cursor
                    finally:
                        result.close()  # before the witness forgets what the query may read
            finally:
                if stop.asked:
                    connection.invalidate()  # an interruption may still be on its way to it

    @staticmethod
    def _columns(cursor: Any) -> tuple[str, ...]:
        return tuple(column[0] for column in cursor.description)

    def _read(self, cursor: Any, query: SecuredQuery) -> Result:
        """Row by row, so that no more than one row is held beyond the byte limit."""
        columns = self._columns(cursor)
        declared = self._driver.types(cursor.description)
        rows: list[tuple[Any, ...]] = []
        left = self._limits.result_bytes
        for row in cursor:
            if len(rows) == query.row_limit:
                return Result(columns, rows, truncated=True, declared=declared)
            left -= weigh(row)
            if left < 0:
                raise BudgetExceeded("result_too_large")
            rows.append(row)
        return Result(columns, rows, truncated=False, declared=declared)

    def _refusal(self, error: Exception, *, stopped: bool) -> Refused:
        if isinstance(error, OurBug):
            _log.error("request %s: a promise of our own did not hold: %s", decisions.trail().request_id, error.internal)
            return error
        if isinstance(error, Refused):
            return Cancelled("query_cancelled") if stopped else error
        original = getattr(error, "orig", None) or error
        refused, code = (EngineFailed("database_unavailable"), "") if isinstance(error, PoolTimeoutError) else self._driver.refusal(original)
        if stopped and not isinstance(refused, OurBug):
            return Cancelled("query_cancelled")  # however the database put it
        # INVARIANT: the class and the code only: the database's words quote values (G10)
        level = logging.ERROR if isinstance(refused, OurBug) else logging.WARNING
        _log.log(level, "request %s: %s: %s%s", decisions.trail().request_id, refused.code, type(original).__name__, f" {code}" if code else "")
        return refused
