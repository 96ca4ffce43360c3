"""For an application that runs secured queries on a SQLAlchemy engine of its own: the engine refuses whatever nobody secured.

    engine = seal(create_engine("postgresql+psycopg://reader@db/shop"))
    connection.execute(query.statement)            # runs, once
    connection.execute(text(body["sql"]))          # Unsecured: nothing ran

The ticket is the `SecuredQuery` itself, which only the witness makes; it travels as an execution option of `query.statement`. What reaches
the cursor is written from the query and not from the statement. docs/how-to/own-engine.md says what this does not cover.
Sources: https://docs.sqlalchemy.org/en/20/core/events.html (ConnectionEvents, DialectEvents).
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

from sqlalchemy import URL, Connection, Dialect, Engine, TextClause, event
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.sql.elements import ReleaseSavepointClause, RollbackToSavepointClause, SavepointClause

from rowseal import decisions
from rowseal.catalog.connections import Place, place
from rowseal.errors import Refused, TokenRefused, Unsecured
from rowseal.sql import TICKET, ParamStyle, SecuredQuery

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine  # needs greenlet, which who has no such engine may lack

__all__ = ["seal"]

_log: Final = logging.getLogger("rowseal.engine")
AnyEngine = TypeVar("AnyEngine", "Engine", "AsyncEngine")

_DIALECTS: Final = {"postgresql": "postgres", "mysql": "mariadb"}  # SQLAlchemy's name -> ours, where they differ
_SAVEPOINTS: Final = (SavepointClause, RollbackToSavepointClause, ReleaseSavepointClause)  # `begin_nested()`; SQLAlchemy makes up the names
_SEALED: Final = "rowseal.sealed"
# The connection on which the dialect itself is looking at the schema right now.
_REFLECTING: Final[ContextVar[Connection | None]] = ContextVar("rowseal_reflecting", default=None)


def seal(engine: AnyEngine, *, database: str | URL | None = None, clock: Callable[[], float] = time.time) -> AnyEngine:
    """Make the engine refuse every statement that is not the `statement` of a SecuredQuery, each of which runs once. Returns the engine.

    Excepted are what SQLAlchemy itself says to the database: when it connects, for savepoints, and for reflection (`inspect`, `reflect`).

    `database` is the URL of the database that the configuration names, where the engine spells it otherwise or asks a copy of it; by default
    a query is refused on an engine whose URL leads elsewhere. `clock` gives the time in seconds since the epoch.

    At a statement that is refused the engine raises `errors.Unsecured`, or TokenRefused `token_expired` when the token of the query has
    ended; nothing has run. Raises ValueError when the engine has been sealed already, its driver's style of parameters is not known, or it is one of DuckDB.
    """
    target = engine if isinstance(engine, Engine) else engine.sync_engine
    dialect = target.dialect
    if dialect.name == "duckdb":
        raise ValueError("an engine of DuckDB cannot be sealed: only rowseal's own connections have the settings that its answers depend on")
    if dialect.paramstyle not in get_args(ParamStyle):
        raise ValueError(f"an engine with the paramstyle `{dialect.paramstyle}` cannot be sealed")
    if getattr(dialect, _SEALED, False):
        raise ValueError("the engine has been sealed already")
    setattr(dialect, _SEALED, True)
    _except_reflection(dialect)
    door = _Door(dialect, place(target.url if database is None else database), clock)
    event.listen(target, "before_cursor_execute", door.admit, retval=True)
    event.listen(target, "do_execute", door.check)
    event.listen(target, "do_execute_no_params", door.check_bare)
    return engine


class _Door:
    """What stands before the cursors of one engine."""

    def __init__(self, dialect: Dialect, place: Place, clock: Callable[[], float]) -> None:
        self._name = _DIALECTS.get(dialect.name, dialect.name)
        self._style: Any = dialect.paramstyle
        self._place = place
        self._clock = clock

    def admit(self, connection: Connection, cursor: Any, statement: str, parameters: Any, context: DefaultExecutionContext, _many: bool) -> tuple[str, Any]:
        """For `before_cursor_execute`: what the cursor gets. INVARIANT: whatever is not named here is refused."""
        if _REFLECTING.get() is connection or isinstance(context.invoked_statement, _SAVEPOINTS):
            return statement, parameters
        try:
            query = self._secured(context)
        except Refused as refusal:
            _log.error("a sealed engine ran nothing: %s", refusal)
            decisions.trail().refuse(refusal.code, refusal.status, refusal)
            cursor.close()  # SQLAlchemy before 2.1 leaves it open
            raise
        return query.render(self._style)

    def _secured(self, context: DefaultExecutionContext) -> SecuredQuery:
        query = context.execution_options.get(TICKET)
        if type(query) is not SecuredQuery:
            raise Unsecured("statement_unsecured", "a statement was to run that no access has secured")
        if query.dialect != self._name:
            raise Unsecured("statement_unsecured", "a query secured for one dialect was to run in another")
        if place(query.database) != self._place:
            raise Unsecured(
                "statement_unsecured",
                "a query secured for one database was to run on another",
                hint="if it is the same one in another spelling, write `seal(engine, database=gate.catalogs[name].database)`",
            )
        stated = context.invoked_statement
        if type(stated) is not TextClause or stated.text != query.statement.text or context.compiled_parameters != [dict(query.params)]:
            raise Unsecured("statement_unsecured", "a ticket came with other SQL or other values than those of its secured query")
        if self._clock() >= query.expires_at:
            raise TokenRefused("token_expired")
        if not query.take_ticket():
            raise Unsecured("statement_unsecured", "a secured query was to run a second time", hint="secure it again: the token may have ended since")
        return query

    def check(self, _cursor: Any, statement: str, parameters: Any, context: DefaultExecutionContext) -> None:
        """For `do_execute`, the last step before the cursor: no other listener has changed what `admit` gave."""
        query = context.execution_options.get(TICKET)
        if type(query) is SecuredQuery and (statement, parameters) != query.render(self._style):
            raise Unsecured("statement_unsecured", "another listener on the engine changed a secured query", hint="register it before `seal`, or leave it out")

    def check_bare(self, _cursor: Any, _statement: str, context: DefaultExecutionContext) -> None:
        """For `do_execute_no_params`: a driver that looks for no parameters would not halve the percent signs."""
        if TICKET in context.execution_options:
            raise Unsecured("statement_unsecured", "a secured query was to run with the option `no_parameters`", hint="leave the option out")


def _except_reflection(dialect: Dialect) -> None:
    """Let the dialect's own questions about the schema pass: those that it asks while one of its reflecting methods runs, on that connection."""
    for name in dir(Dialect):
        method = getattr(dialect, name, None)
        if name.startswith(("get_", "has_")) and callable(method) and next(iter(inspect.signature(method).parameters), "") == "connection":
            setattr(dialect, name, _reflecting(method))


def _reflecting(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def reflecting(connection: Connection, *arguments: Any, **more: Any) -> Any:
        before = _REFLECTING.set(connection)
        try:
            found = method(connection, *arguments, **more)
            return list(found) if inspect.isgenerator(found) else found  # some ask only when they are read
        finally:
            _REFLECTING.reset(before)

    return reflecting
