"""SQL text in, secured query out: `admit` (is it a query we know?), `secure` (bind the guards in), `witness` (prove it again).

`dialects` holds what differs between databases. Nothing here knows HTTP, tokens or SQLAlchemy's engine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NoReturn, TypeAlias

from sqlalchemy import TextClause, text

from rowseal.policy import Shaped

__all__ = ["BIND", "NUMBER", "OK", "TICKET", "TRUSTED", "Draft", "DraftGuard", "Form", "GuardedRead", "ParamStyle", "Plan", "Reads", "SecuredQuery"]

# Two control characters that neither a query nor a declared name can hold: while the text is put together, BIND stands on both
# sides of a bind's name, NUMBER where a guard's number goes. So no literal of the bearer can ever be taken for a bind.
BIND: Final = "\x01"
NUMBER: Final = "\x02"
TRUSTED: Final = "\x03"  # in the text of a source, where the next of the token's own values goes
OK: Final = "__ok"  # with the number of a guard, the column by which it hands on whether its conditions hold; never open to the bearer
TICKET: Final = "rowseal"  # SQLAlchemy's execution option that holds the SecuredQuery of a statement

# What stands between the rows that a guard drops and the bearer's expressions. `plain`: nothing, because nothing can raise; `case`: the guard
# hands on whether its conditions hold, and the expressions that could raise ask that first; `fenced`: the guard's rows are made before all else.
Form: TypeAlias = Literal["plain", "case", "fenced"]
ParamStyle: TypeAlias = Literal["named", "pyformat", "format", "qmark", "numeric_dollar"]
# name of a guard, or of a CTE inside of one -> the (schema, table) pairs that it, and nothing else in the statement, may read
Reads: TypeAlias = Mapping[str, frozenset[tuple[str, str]]]

_SEAL: Final = object()


@dataclass(frozen=True, slots=True)
class DraftGuard:
    """One guard of a draft: which dataset it claims to guard, its form, and its text with NUMBER where the number goes."""

    number: int
    dataset: str
    form: Form
    text: str


@dataclass(frozen=True, slots=True)
class Draft:
    """What `secure` wrote and nobody has proven yet: guards, then the bearer's CTEs, then the body. Only `witness` turns it into a SecuredQuery."""

    dialect: str
    guards: tuple[DraftGuard, ...]
    ctes: tuple[str, ...]
    recursive: bool
    body: str
    params: Mapping[str, Any] = field(repr=False)
    row_limit: int


@dataclass(frozen=True, slots=True)
class GuardedRead:
    """What one guard of a secured query is: the dataset that it reads, and its form."""

    dataset: str
    form: Form


@dataclass(frozen=True, slots=True, init=False)
class Plan:
    """A secured query without its values: what bearers share whose policies have one shape. Only `witness` makes one.

    `shapes` has, for each guard, the shape that its text was proven for; the rest is a SecuredQuery's.
    """

    shapes: tuple[Shaped, ...]
    dialect: str
    pieces: tuple[str, ...]
    names: tuple[str, ...]
    connection: str
    datasets: tuple[str, ...]
    guards: tuple[GuardedRead, ...]
    reads: Reads
    row_limit: int
    database: str = field(repr=False)

    def __init__(self, *_: object, **__: object) -> None:
        raise TypeError("Plan has no public constructor")

    @classmethod
    def _sealed(cls, seal: object, **values: Any) -> Plan:
        if seal is not _SEAL:
            raise TypeError("Plan has no public constructor")
        plan = object.__new__(cls)
        for name, value in values.items():
            object.__setattr__(plan, name, value)
        return plan


@dataclass(frozen=True, slots=True, init=False)
class SecuredQuery:
    """A query that was admitted, secured and witnessed. Holding one is the proof: only `witness` makes one, and engines take nothing else.

    `pieces` and `names` interleave: pieces[0] :names[0] pieces[1] ... pieces[-1]; `params` has a value for each name.
    `connection` is the name of the one that it is for, `datasets` are the ids of what it reads, `guards` describes each `__gN` in order,
    `reads` says which physical tables it may read. `row_limit` is the largest number of rows to hand out: the text asks for one more, so
    that the engine can tell a full answer from a cut one. `database` is the URL of what it was secured for, `expires_at` when the token
    ends, in seconds since the epoch.
    """

    dialect: str
    pieces: tuple[str, ...]
    names: tuple[str, ...]
    params: Mapping[str, Any] = field(repr=False)
    connection: str
    datasets: tuple[str, ...]
    guards: tuple[GuardedRead, ...]
    reads: Reads
    row_limit: int
    database: str = field(repr=False)  # may hold a password
    expires_at: float
    _ticket: threading.Lock = field(repr=False, compare=False)

    def __init__(self, *_: object, **__: object) -> None:
        raise TypeError("SecuredQuery has no public constructor: ask Access.secure for one")

    @classmethod
    def _sealed(cls, seal: object, **values: Any) -> SecuredQuery:
        if seal is not _SEAL:
            raise TypeError("SecuredQuery has no public constructor: ask Access.secure for one")
        query = object.__new__(cls)
        for name, value in values.items():
            object.__setattr__(query, name, value)
        object.__setattr__(query, "_ticket", threading.Lock())
        return query

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SecuredQuery is not copied or pickled: secure the query where it runs")

    @property
    def sql(self) -> str:
        """The secured text with its binds written `:name`."""
        return self._join(lambda piece: piece, lambda name: f":{name}")

    @property
    def statement(self) -> TextClause:
        """For SQLAlchemy, with the binds' values filled in. Every colon of the text that is no bind is escaped.

        It carries the ticket that an engine asks for which `rowseal.engine.seal` has sealed.
        """
        stated = text(self._join(lambda piece: piece.replace(":", r"\:"), lambda name: f":{name}"))
        return stated.bindparams(**self.params).execution_options(**{TICKET: self})

    def take_ticket(self) -> bool:
        """True the first time, for whichever thread asks first."""
        return self._ticket.acquire(blocking=False)  # and never released

    def render(self, style: ParamStyle) -> tuple[str, dict[str, Any] | tuple[Any, ...]]:
        """The text and parameters as a driver of this paramstyle (PEP 249; `numeric_dollar` as asyncpg) takes them."""
        if style == "named":
            return self.sql, dict(self.params)
        if style == "pyformat":
            return self._join(lambda piece: piece.replace("%", "%%"), lambda name: f"%({name})s"), dict(self.params)
        ordered = tuple(self.params[name] for name in self.names)
        if style == "format":
            return self._join(lambda piece: piece.replace("%", "%%"), lambda _: "%s"), ordered
        if style == "qmark":
            return self._join(lambda piece: piece, lambda _: "?"), ordered
        positions = iter(range(1, len(self.names) + 1))
        return self._join(lambda piece: piece, lambda _: f"${next(positions)}"), ordered

    def _join(self, escape: Callable[[str], str], bind: Callable[[str], str]) -> str:
        parts = [escape(self.pieces[0])]
        for name, piece in zip(self.names, self.pieces[1:], strict=True):
            parts += (bind(name), escape(piece))
        return "".join(parts)
