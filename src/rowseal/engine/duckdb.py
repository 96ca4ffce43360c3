"""DuckDB, locked: a read-only file, nothing else in reach, a deadline of our own, and the plan as a witness (G3).

How a file is opened stands in `rowseal.catalog.duckdb_file`. DuckDB plans a statement before the optimizer looks at any statistics, and `EXPLAIN`
shows that plan: every table that stands in the text, below the common table expression in which it stands. A scan that is in no guard, or reads
another table than its guard may, means that the rewriting was wrong: nothing runs, and it is our bug.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, Final, TypeAlias

import duckdb
from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine

from rowseal.catalog import Limits
from rowseal.catalog.duckdb_file import DRIVER, Handle, opened
from rowseal.engine.testimony import Testimony
from rowseal.errors import BudgetExceeded, EngineFailed, OurBug, Refused, TimedOut
from rowseal.sql import Reads, SecuredQuery

__all__ = ["DuckDBDriver"]

_Plan: TypeAlias = Mapping[str, Any]

_AGAIN_SECONDS: Final = 0.1  # an interruption that comes between two statements is lost
_UNAVAILABLE: Final = (duckdb.IOException, duckdb.ConnectionException, duckdb.FatalException, duckdb.InternalException)
_DENIED: Final = (duckdb.PermissionException, duckdb.TransactionException, duckdb.DependencyException)

# What a plan of a query may be made of. Whatever else there is reads something that is no table, or is no query.
_STEPS: Final = frozenset(
    "AGGREGATE ANY_JOIN CHUNK_GET COMPARISON_JOIN CROSS_PRODUCT CTE CTE_SCAN DELIM_GET DELIM_JOIN DEPENDENT_JOIN DISTINCT DUMMY_SCAN EMPTY_RESULT EXCEPT "
    "EXPRESSION_GET FILTER INTERSECT JOIN LIMIT ORDER_BY PROJECTION REC_CTE REC_CTE_SCAN SEQ_SCAN TOP_N UNION UNNEST WINDOW".split()
)
_SCAN, _LIST, _CTES = "SEQ_SCAN", "UNNEST", frozenset({"CTE", "REC_CTE"})
# A condition above the fence of a guard must stay above it: see sql.dialects.duckdb.
_FENCED: Final = "EXPLAIN (FORMAT json) SELECT x FROM (SELECT range AS x FROM range(10) OFFSET 0) WHERE x % 2 = 1"

_NUMBERS: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "DOUBLE", "FLOAT")
_TYPES: Final[Mapping[str, str]] = {
    **dict.fromkeys((*_NUMBERS, "DECIMAL"), "number"),
    "BOOLEAN": "boolean",
    "DATE": "date",
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"), "date_time"),
    **dict.fromkeys(("TIME", "TIME WITH TIME ZONE"), "time"),
    "BLOB": "bytes",
    **dict.fromkeys(("STRUCT", "MAP", "UNION", "LIST"), "json"),
}
# Those of Arrow; a sum of whole numbers is a HUGEINT.
_EXACT: Final[Mapping[str, str]] = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"), "int64"),
    "UBIGINT": "uint64",
    **dict.fromkeys(("HUGEINT", "UHUGEINT"), "decimal(38,0)"),
    "DOUBLE": "float64",
    "FLOAT": "float32",
    "BOOLEAN": "bool_",
    "DATE": "date32",
    "TIME": "time",
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"), "timestamp"),
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "BLOB": "binary",
    **dict.fromkeys(("STRUCT", "MAP", "UNION", "LIST"), "json"),
}
_MISTAKE: Final = "the database does not take the query: a column outside of an aggregate is not in GROUP BY, or a type does not fit"
_CURE: Final = "add the column to GROUP BY, or aggregate it; write types, such as `CAST(name AS TEXT)`"


class DuckDBDriver:
    """How DuckDB is opened, asked and understood. The URL must name a file."""

    dialect: Final = "duckdb"
    testimony: Final = Testimony.AT_FIRST

    def __init__(self, url: URL, limits: Limits) -> None:
        if url.get_backend_name() != "duckdb" or url.query or url.host or not url.database or url.database.startswith((":memory:", "md:", "motherduck:")):
            raise ValueError("the database's URL must name a file: `duckdb:///path/to/file.duckdb`")
        self._file = url.database
        self._url = url.set(drivername=DRIVER)
        self._limits = limits
        self._fences: bool | None = None
        self._scans: dict[tuple[str, str], frozenset[str]] = {}  # (schema, table) -> what is scanned for it: itself, or what lies below a view

    def engine(self, pool: dict[str, Any]) -> Engine:
        """The engine, whose every connection is locked before anybody gets it."""
        return create_engine(self._url, poolclass=QueuePool, hide_parameters=True, **pool)

    def render(self, query: SecuredQuery) -> tuple[str, dict[str, Any] | tuple[Any, ...]]:
        """Text and binds for `exec_driver_sql`."""
        return query.render("numeric_dollar")

    @contextmanager
    def running(self, connection: Connection, query: SecuredQuery) -> Iterator[None]:  # noqa: ARG002 -- one interface for every database
        """While this lasts, the deadline holds."""
        driver = _driver(connection)
        over = threading.Event()
        late = threading.Timer(self._limits.seconds, _end, (driver, over))
        late.daemon = True
        late.start()
        try:
            yield
        finally:
            over.set()
            late.cancel()

    def testify(self, connection: Connection, query: SecuredQuery) -> None:
        """Hear from the plan which guard scans what. Raises OurBug where that is not what `query.reads` says."""
        driver = _driver(connection)
        if self._fences is None:
            self._fences = _keeps_fences(driver)
        if not self._fences and any(guard.form == "fenced" for guard in query.guards):
            raise OurBug("this version of the database moves conditions below a fence")
        statement, params = query.render("numeric_dollar")
        tables = frozenset[tuple[str, str]]().union(*query.reads.values())
        for table in tables - self._scans.keys():
            self._scans[table] = frozenset(_scans(_logical(driver, f"SELECT 1 FROM {_quoted(*table)}", None)))  # noqa: S608 -- quoted names of the catalog
        _hear(_logical(driver, statement, params), query.reads, self._scans, None)

    def interrupter(self, connection: Connection) -> Callable[[], None]:
        """What ends whatever runs on the connection, from any thread."""
        driver = _driver(connection)  # now: when the connection breaks, SQLAlchemy lets go of it

        def interrupt() -> None:
            with suppress(duckdb.Error):  # closed by now
                driver.interrupt()

        return interrupt

    def probe(self, engine: Engine) -> None:  # noqa: ARG002 -- one interface for every database
        """Open the file once more."""
        with closing(opened(self._file)) as handle:
            handle.cursor().execute("SELECT 1")

    def types(self, description: Sequence[Any]) -> tuple[str, ...]:
        """The type of each column, as DuckDB declares it. What is not known here comes as text."""
        return tuple("json" if name.endswith("]") else _TYPES.get(name.partition("(")[0], "string") for name in (str(column[1]) for column in description))

    def exact(self, description: Sequence[Any]) -> tuple[str, ...]:
        """The Arrow type of each column."""
        return tuple(_exact(str(column[1])) for column in description)

    def refusal(self, error: Exception) -> tuple[Refused, str]:
        """What to tell the bearer, and the only words of it that a log may hold."""
        if isinstance(error, duckdb.InterruptException):
            return TimedOut("timed_out"), ""
        if isinstance(error, duckdb.OutOfMemoryException):
            return BudgetExceeded("result_too_large"), ""
        if isinstance(error, _DENIED):
            return OurBug("the database denied what a secured query asked"), ""
        if isinstance(error, _UNAVAILABLE):
            return EngineFailed("database_unavailable"), ""
        if isinstance(error, duckdb.BinderException):  # found in the statement, before there are rows
            return EngineFailed("query_failed", _MISTAKE, hint=_CURE), ""
        return EngineFailed("query_failed"), ""

    def role_problems(self, connection: Connection, tables: Iterable[tuple[str, str]]) -> list[str]:  # noqa: ARG002 -- one interface for every database
        """A file has no roles, and it is opened read-only."""
        return []


def _exact(declared: str) -> str:
    if declared.endswith("]"):
        return "json"
    return declared.lower().replace(" ", "") if declared.startswith("DECIMAL(") else _EXACT.get(declared.partition("(")[0], "string")


def _driver(connection: Connection) -> Any:
    handle = connection.connection.driver_connection
    if not isinstance(handle, Handle):
        raise OurBug("the pool holds another kind of connection")
    return handle.driver


def _end(driver: Any, over: threading.Event) -> None:
    """Interrupt until whatever runs has ended."""
    while not over.is_set():
        with suppress(duckdb.Error):
            driver.interrupt()
        over.wait(_AGAIN_SECONDS)


def _logical(driver: Any, statement: str, params: Any) -> _Plan:
    """The plan of the statement as it stands, before the optimizer. Runs nothing."""
    plans = dict(driver.execute(f"EXPLAIN (FORMAT json) {statement}", params or None).fetchall())
    steps = json.loads(plans.get("logical_plan", "[]"))
    if len(steps) != 1:
        raise OurBug("the database does not say how it understands a statement")
    return steps[0]  # type: ignore[no-any-return]


def _scans(step: _Plan) -> Iterator[str]:
    if step["name"] == _SCAN:
        yield str(step["extra_info"].get("Table", ""))
    for below in step["children"]:
        yield from _scans(below)


def _hear(step: _Plan, reads: Reads, scans: Mapping[tuple[str, str], frozenset[str]], guard: str | None) -> None:
    """Every scan below `guard`, the guard in whose body it stands. INVARIANT: a step that is not known is denied."""
    name = step["name"]
    if guard is None or reads[guard] <= scans.keys() - _views(scans):
        known = name in _STEPS
    else:
        known = True  # whoever declared the view declared what it reads
    if not known or (guard is None and name in (_SCAN, _LIST)):
        raise OurBug("the database testified that the statement reads something outside of its guards")
    if guard is not None and name == _SCAN and not any(step["extra_info"].get("Table") in scans[table] for table in reads[guard]):
        raise OurBug("the database testified that a guard reads another table than its own")
    called = step["extra_info"].get("CTE Name") if name in _CTES else None
    for position, below in enumerate(step["children"]):
        _hear(below, reads, scans, called if called in reads and position == 0 else guard)


def _views(scans: Mapping[tuple[str, str], frozenset[str]]) -> frozenset[tuple[str, str]]:
    return frozenset(table for table, found in scans.items() if len(found) != 1 or not next(iter(found)).endswith(f".{table[1]}"))


def _keeps_fences(driver: Any) -> bool:
    """Whether the plan that runs keeps the condition above OFFSET 0."""
    plans = dict(driver.execute(_FENCED).fetchall())
    order = []
    steps = json.loads(plans.get("physical_plan", "[]"))
    while steps:
        order.append(str(steps[0]["name"]))
        steps = steps[0]["children"]
    limits = [index for index, name in enumerate(order) if "LIMIT" in name]
    filters = [index for index, name in enumerate(order) if name == "FILTER"]
    return len(limits) == 1 and bool(filters) and max(filters) < limits[0]


def _quoted(*names: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)
