"""State in a database that several gateways share: revocations, tokens that were used, and when tokens were used last.

Only written by statements that are right whoever else writes: rows are added, a primary key refuses the second, an UPDATE says what it expects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import (
    URL,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Identity,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.schema import CreateTable

from rowseal.revocation.entry import NAME_LENGTH, REASON_LENGTH, Kind, Revocation, RevocationMalformed
from rowseal.revocation.revoked import Revoked
from rowseal.revocation.store import StoreDamaged, StoreUnavailable

__all__ = ["StateDatabase"]

_WAIT_SECONDS: Final = 5
_READ_ALL_EVERY: Final = 60  # reads: what a count and a highest number cannot show was changed by hand
_GRACE_SECONDS: Final = 3_600.0  # clocks differ, and what is kept longer refuses more


class StateDatabase:
    """The tables of one `state: {database: ..., table: ...}`. Thread-safe; every method blocks, and raises StoreUnavailable."""

    def __init__(self, url: URL, table: str) -> None:
        """Opens nothing yet."""
        number = BigInteger().with_variant(Integer(), "sqlite")
        name = String(NAME_LENGTH)
        moment: Double[float] = Double()
        self._metadata = MetaData()
        self._revoked = Table(
            table, self._metadata,
            Column("id", number, Identity(always=False), primary_key=True),
            Column("kind", String(16), nullable=False), Column("name", name, nullable=False), Column("before", moment), Column("at", moment, nullable=False),
            Column("by", name, nullable=False), Column("reason", String(REASON_LENGTH), nullable=False), Column("until", moment),
            sqlite_autoincrement=True,
        )  # fmt: skip
        key = Column("name", String(64), primary_key=True)
        self._used = Table(f"{table}_used", self._metadata, key, Column("until", moment, nullable=False))
        self._seen = Table(
            f"{table}_seen", self._metadata, key._copy(), Column("until", moment, nullable=False),
            Column("at", moment, nullable=False), Column("ended", Boolean(create_constraint=False), nullable=False),
        )  # fmt: skip
        # INVARIANT: no log of statements says who was revoked, or why
        pool = {"pool_size": 2, "max_overflow": 6, "pool_timeout": _WAIT_SECONDS, "pool_pre_ping": True}
        self._engine = create_engine(url, connect_args=_connect(url), hide_parameters=True, **pool)
        if url.get_backend_name() == "sqlite":
            event.listen(self._engine, "connect", _durable)
        self._known: tuple[int, int, Revoked] | None = None
        self._reads = 0

    # --- making it -----------------------------------------------------------------------------------------------------------------------

    def statements(self) -> list[str]:
        """The SQL that makes the tables."""
        return [str(CreateTable(table).compile(self._engine)).strip() for table in self._metadata.sorted_tables]

    def create(self) -> None:
        """Make the tables that are not there yet."""
        with self._begun("cannot be made") as connection:
            self._metadata.create_all(connection)

    # --- revocations ---------------------------------------------------------------------------------------------------------------------

    def read(self) -> Revoked | None:
        """What is revoked now; None where that is what the last `read` gave. Raises StoreDamaged too."""
        count, highest = func.count(), func.coalesce(func.max(self._revoked.c.id), 0)
        with self._begun("cannot be read") as connection:
            found = connection.execute(select(count, highest).select_from(self._revoked)).one()
            self._reads += 1
            known = self._known if self._reads % _READ_ALL_EVERY else None
            if known is not None and known[:2] == (int(found[0]), int(found[1])):
                return None
            rows = self._rows(connection, after=0 if known is None else known[1])
            if known is not None and known[0] + len(rows) != int(found[0]):
                known, rows = None, self._rows(connection, after=0)  # one was taken out, or came late under an earlier number
        revoked = Revoked.of(map(_revocation, rows), None if known is None else known[2])
        # Of what was read, not of what was counted before: a row that came in between is there already, and one that comes late is missed by the count.
        held = len(rows) + (0 if known is None else known[0])
        self._known = held, rows[-1].id if rows else 0 if known is None else known[1], revoked
        return revoked

    def _rows(self, connection: Connection, *, after: int) -> Sequence[Any]:
        return connection.execute(select(self._revoked).where(self._revoked.c.id > after).order_by(self._revoked.c.id)).all()

    def revocations(self) -> list[Revocation]:
        """Each revocation, in the order in which they were written. Raises StoreDamaged too."""
        with self._begun("cannot be read") as connection:
            return [_revocation(row) for row in connection.execute(select(self._revoked).order_by(self._revoked.c.id))]

    def append(self, revocation: Revocation) -> None:
        """Write one."""
        with self._begun("cannot be written") as connection:
            connection.execute(insert(self._revoked), _values(revocation))

    def rewrite(self, change: Callable[[list[Revocation]], list[Revocation]]) -> int:
        """Take out what `change` leaves out and add what it adds, in one transaction. What others add meanwhile stays. Raises StoreDamaged too."""
        with self._begun("cannot be written") as connection:
            rows = connection.execute(select(self._revoked).order_by(self._revoked.c.id)).all()
            before = [_revocation(row) for row in rows]
            after = change(before)
            wanted, there = set(after), set(before)
            gone = [row.id for row, each in zip(rows, before, strict=True) if each not in wanted]
            added = [_values(each) for each in after if each not in there]
            if added:
                connection.execute(insert(self._revoked), added)
            for start in range(0, len(gone), 500):
                connection.execute(delete(self._revoked).where(self._revoked.c.id.in_(gone[start : start + 500])))
        return len(before) - len(after)

    # --- tokens that were used -----------------------------------------------------------------------------------------------------------

    def use(self, name: str, *, until: float) -> bool:
        """Note that a token was used which may be used once; False where it was used before. `until` is when it ends by itself."""
        try:
            with self._begun("cannot be written") as connection:
                connection.execute(insert(self._used), {"name": name, "until": until})
        except _AlreadyThere:
            return False
        return True

    def seen(self, name: str, *, now: float, until: float) -> tuple[float, bool]:
        """When the token was last used by an allowed request, and whether it was ended; a token that is new here is noted as seen now."""
        known = self._seen_at(name)
        if known is None:
            try:
                with self._begun("cannot be written") as connection:
                    connection.execute(insert(self._seen), {"name": name, "until": until, "at": now, "ended": False})
            except _AlreadyThere:
                known = self._seen_at(name)
        return known or (now, False)

    def _seen_at(self, name: str) -> tuple[float, bool] | None:
        table = self._seen.c
        with self._begun("cannot be read") as connection:
            row = connection.execute(select(table.at, table.ended).where(table.name == name)).first()
        return None if row is None else (float(row.at), bool(row.ended))

    def prolong(self, name: str, *, now: float) -> bool:
        """Note an allowed request. False where the token was ended, or somebody has noted a later one."""
        table = self._seen.c
        with self._begun("cannot be written") as connection:
            found = connection.execute(update(self._seen).where(table.name == name, ~table.ended, table.at < now).values(at=now))
            return found.rowcount == 1

    def end(self, name: str, *, at: float) -> bool:
        """End a token for good that was last used at this moment; False where somebody has used it since."""
        table = self._seen.c
        with self._begun("cannot be written") as connection:
            found = connection.execute(update(self._seen).where(table.name == name, table.at == at).values(ended=true()))
            return found.rowcount == 1

    def sweep(self, *, now: float) -> None:
        """Forget tokens that have ended by themselves: nobody takes them, whatever stands here."""
        for table in (self._used, self._seen):
            with self._begun("cannot be written") as connection:
                connection.execute(delete(table).where(table.c.until < now - _GRACE_SECONDS))

    # --- connections ---------------------------------------------------------------------------------------------------------------------

    def forked(self) -> None:
        """Leave the parent process its connections."""
        self._engine.dispose(close=False)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _begun(self, what: str) -> Iterator[Connection]:
        failed: Exception | None = None
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            failed = _AlreadyThere(what)
        except SQLAlchemyError as error:
            # INVARIANT: the class alone: the words of a driver quote the address, and values
            original = getattr(error, "orig", None) if isinstance(error, DBAPIError) else None
            failed = StoreUnavailable(f"{what} ({type(original or error).__name__})")
        if failed is not None:
            raise failed


class _AlreadyThere(StoreUnavailable):
    """A row of this primary key is there already."""


def _connect(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "postgresql":
        given = {} if "options" in url.query else {"options": f"-c statement_timeout={_WAIT_SECONDS * 1000} -c lock_timeout={_WAIT_SECONDS * 1000}"}
        return given if "connect_timeout" in url.query else given | {"connect_timeout": _WAIT_SECONDS}
    return {"timeout": _WAIT_SECONDS}


def _durable(connection: Any, record: object) -> None:
    """What SQLite says is written survives the machine's end."""
    del record
    connection.execute("PRAGMA synchronous = FULL")


def _values(revocation: Revocation) -> dict[str, Any]:
    return {name: getattr(revocation, name) for name in Revocation.__slots__} | {"kind": revocation.kind.value}


def _revocation(row: Any) -> Revocation:
    """INVARIANT: a row that is no revocation is nothing to pass over: what it was meant to end is not known."""
    try:
        return Revocation(Kind(row.kind), row.name, row.before, row.at, row.by, row.reason, row.until)
    except (RevocationMalformed, ValueError, TypeError) as problem:
        raise StoreDamaged(f"has a row that is no revocation ({problem if isinstance(problem, RevocationMalformed) else 'unknown kind or type'})") from None
