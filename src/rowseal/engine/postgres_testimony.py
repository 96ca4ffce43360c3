"""PostgreSQL's word on what a statement reads: the locks that it takes when it has only been parsed.

To parse a statement PostgreSQL opens every relation that stands in it, in a view below it or in a policy of row security, and keeps a lock on
each until the transaction ends. Nothing has been planned or evaluated by then, so no value of a bind can hide a relation, and no expression
of the bearer has run. The function that lists the locks reads no relation itself.
Sources: https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY, .../view-pg-locks.html, .../explicit-locking.html.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.generators import execute
from psycopg.pq import ExecStatus

from rowseal.errors import OurBug
from rowseal.sql import SecuredQuery

__all__ = ["PostgresWitness"]

_Table: TypeAlias = tuple[str, str]

_HEARD: Final = b"""
SELECT l.relation, pg_catalog.bool_and(l.mode OPERATOR(pg_catalog.=) 'AccessShareLock')
FROM pg_catalog.pg_lock_status() AS l
WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND l.locktype OPERATOR(pg_catalog.=) 'relation'
GROUP BY l.relation
"""
# What parsing a table opens besides: what the rule of a view reads, and what a policy of row security does.
_BELOW: Final = b"""
WITH RECURSIVE below (oid) AS (
    SELECT c.oid FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = $2
    UNION
    SELECT d.refobjid FROM below AS b
    JOIN (SELECT r.ev_class AS relation, 'pg_catalog.pg_rewrite'::pg_catalog.regclass AS kind, r.oid
          FROM pg_catalog.pg_rewrite AS r JOIN pg_catalog.pg_class AS v ON v.oid = r.ev_class WHERE v.relkind = 'v'
          UNION ALL
          SELECT p.polrelid, 'pg_catalog.pg_policy'::pg_catalog.regclass, p.oid FROM pg_catalog.pg_policy AS p) AS o ON o.relation = b.oid
    JOIN pg_catalog.pg_depend AS d ON d.classid = o.kind AND d.objid = o.oid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
)
SELECT b.oid, n.nspname = $1 AND c.relname = $2
FROM below AS b JOIN pg_catalog.pg_class AS c ON c.oid = b.oid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
"""


class PostgresWitness:
    """What each table of the catalog may come to, by the database's own catalogs. For one database; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opens: dict[_Table, tuple[int, frozenset[int]]] = {}  # (schema, table) -> its OID, and those of all that it may open

    def hear(self, driver: psycopg.Connection[Any], query: SecuredQuery) -> None:
        """Parse the statement in a transaction that has done nothing yet, and hear what it opens. Raises OurBug where that is not what it may read.

        Raises psycopg.Error for whatever PostgreSQL finds wrong with the statement, as it would when it runs.
        """
        tables = frozenset[_Table]().union(*query.reads.values())
        plain = psycopg.Cursor(driver)
        plain.execute(b"SELECT 1")  # psycopg begins the transaction
        _parse(driver, query)
        heard: Mapping[int, bool] = dict(plain.execute(_HEARD).fetchall())
        if not all(heard.values()):
            raise OurBug("the database testified that the statement locks what it reads, as one that writes does")
        known = {table: self._opens[table] for table in tables if table in self._opens}
        # a table that was made anew has another OID
        if len(known) < len(tables) or not _agrees(heard, known.values()):
            known = self._look(driver, tables)
            with self._lock:
                self._opens |= known
        if len(known) < len(tables) or not _agrees(heard, known.values()):
            # no table's name: what goes into a log holds no undeclared name
            raise OurBug("the database testified that the statement reads other tables than its guards do")

    def _look(self, driver: psycopg.Connection[Any], tables: Iterable[_Table]) -> dict[_Table, tuple[int, frozenset[int]]]:
        found = {}
        asking = psycopg.RawCursor(driver)
        for table in tables:
            rows = asking.execute(_BELOW, table).fetchall()
            own = [oid for oid, named in rows if named]
            if len(own) == 1:
                found[table] = own[0], frozenset(oid for oid, _ in rows)
        return found


def _agrees(heard: Mapping[int, bool], known: Iterable[tuple[int, frozenset[int]]]) -> bool:
    """INVARIANT: every table that the guards name has been opened, and none beyond what those may open. So a statement that is no query fails too."""
    named = {oid for oid, _ in known}
    opened = frozenset[int]().union(*(opens for _, opens in known))
    return named <= heard.keys() <= opened


def _parse(driver: psycopg.Connection[Any], query: SecuredQuery) -> None:
    statement, types = _numbered(driver, query)
    with driver.lock:
        driver.wait(_parsing(driver.pgconn, statement, types))


def _parsing(connection: Any, statement: bytes, types: Sequence[int]) -> Generator[Any, Any, None]:
    connection.send_prepare(b"", statement, types)
    yield from _answered(connection)
    connection.send_describe_prepared(b"")
    described = yield from _answered(connection)
    if not described.nfields:
        raise OurBug("the database testified that the statement answers with no columns, and so is no query")


def _answered(connection: Any) -> Generator[Any, Any, Any]:
    (result,) = yield from execute(connection)
    if result.status == ExecStatus.FATAL_ERROR:
        raise psycopg.errors.error_from_result(result)
    return result


def _numbered(driver: psycopg.Connection[Any], query: SecuredQuery) -> tuple[bytes, list[int]]:
    """The text as psycopg sends it, each bind once, and the type that psycopg gives to each."""
    names = list(dict.fromkeys(query.names))
    parts = [query.pieces[0]]
    for name, piece in zip(query.names, query.pieces[1:], strict=True):
        parts += (f"${names.index(name) + 1}", piece)
    transformer = Transformer(driver)
    transformer.dump_sequence([query.params[name] for name in names], [PyFormat.AUTO] * len(names))
    return "".join(parts).encode(), list(transformer.types or ())
