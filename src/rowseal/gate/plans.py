"""Queries that were secured before, without their values: asked again, they take the values of whoever asks.

Two look-ups. The first finds by the text which datasets it reads, and which parameters' *values* decided what it was made into; whether this
bearer may read them, and which rows, is then asked of the bearer's own policy. The second finds the proven text by the shape of that policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from rowseal.catalog import Dataset
from rowseal.errors import Refused
from rowseal.gate.recent import Recent
from rowseal.policy import Policy, Shaped
from rowseal.sql import Plan, SecuredQuery
from rowseal.sql.dialects import Dialect
from rowseal.sql.parameters import Parameters, bindable
from rowseal.sql.secure import refill
from rowseal.sql.witness import again

__all__ = ["Plans"]

_ENTRIES: Final = 4_096
_CHARACTERS: Final = 8_000_000  # of SQL, as it came and as it was written

# The text, the one dataset that the request named, and the name and type of each parameter.
_Text: TypeAlias = tuple[str, str | None, tuple[tuple[str, type], ...]]
# The parameters whose values decided, each with its value.
_Decided: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Read:
    """What a text reads, whoever asks: a dataset for each guard, in order. `decisive` are the parameters whose values the plan depends on."""

    datasets: tuple[Dataset, ...]
    decisive: tuple[str, ...]


class Plans:
    """The plans of one connection. Safe to share between threads."""

    __slots__ = ("_dialect", "_plans", "_reads")

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._reads: Recent[_Text, _Read] = Recent(entries=_ENTRIES, weight=_CHARACTERS)
        self._plans: Recent[tuple[_Text, _Decided, tuple[Shaped, ...]], Plan] = Recent(entries=_ENTRIES, weight=_CHARACTERS)

    def recall(self, sql: object, params: object, only: str | None, policy: Policy) -> SecuredQuery | None:
        """The query, secured as before with this policy's values; None where it must be read anew, also to be refused. Raises OurBug."""
        asked = _text(sql, params, only)
        read = None if asked is None else self._reads.get(asked)
        if asked is None or read is None:
            return None
        try:
            given = bindable(params or {}, [name for name, _ in asked[2]], self._dialect)
            guarded = [policy.rows(dataset) for dataset in read.datasets]
        except Refused:
            return None  # INVARIANT: every refusal comes from reading the query, so that none tells whether somebody has asked it before
        plan = self._plans.get((asked, _decided(given, read.decisive), tuple(map(Shaped.of, guarded))))
        return None if plan is None else again(plan, policy, refill(plan.names, guarded, given, self._dialect))

    def keep(self, sql: str, given: Parameters, only: str | None, policy: Policy, plan: Plan) -> None:
        """Remember what the text was made into."""
        asked = _text(sql, {name: given.bind(name) for name in given}, only)
        if asked is None:
            return
        read = _Read(tuple(policy.catalog.datasets[guard.dataset] for guard in plan.guards), tuple(sorted(given.decisive)))
        self._reads.put(asked, read, len(sql))
        self._plans.put((asked, _decided(given, read.decisive), plan.shapes), plan, len(sql) + sum(map(len, plan.pieces)))


def _text(sql: object, params: object, only: str | None) -> _Text | None:
    """The key of the first look-up; None for what is not even shaped like a query with parameters."""
    if type(sql) is not str or not (params is None or isinstance(params, Mapping)):
        return None
    if not params:
        return sql, only, ()
    if not all(type(name) is str for name in params):
        return None
    return sql, only, tuple(sorted([(name, type(value)) for name, value in params.items()], key=_name))


def _name(parameter: tuple[str, type]) -> str:
    return parameter[0]


def _decided(given: Parameters, names: Sequence[str]) -> _Decided:
    """To the letter: 0.0 and -0.0 are equal, and are two values.

    INVARIANT: the names stand beside the values, so a plan that one parameter decided is never found by the value of another, whoever asked last.
    """
    return tuple([(name, repr(given.bind(name))) for name in names])
