"""Which connection a query is for, where there are several. A query stays within one: nothing joins two databases.

INVARIANT: everything here is decided by the SQL, by what the app says, and by datasets that the token grants. So neither the database that
answers, nor the one whose refusal is told, tells anything of a dataset that is not granted (G7).
"""

from __future__ import annotations

from collections.abc import Sequence

from rowseal.errors import EngineFailed, Refused
from rowseal.gate.state import Connection, State
from rowseal.grants import Grant

__all__ = ["Refusals", "asked", "reached"]


def reached(state: State, grant: Grant) -> tuple[str, ...]:
    """The names of the connections with a dataset that the grant names, in the order of the file; the first of the file where there is none."""
    if len(state.catalogs) == 1:
        return tuple(state.catalogs)
    found = tuple(name for name, catalog in state.catalogs.items() if any(map(grant.grants, catalog.datasets)))
    return found or tuple(state.catalogs)[:1]


def asked(state: State, grant: Grant, within: Sequence[str], dataset: str | None, name: str | None) -> tuple[Connection, ...]:
    """The connections that a query may be for, in the order in which they are asked.

    `within` are those that the grant reaches, `dataset` is the one that the request names, `name` the connection that the app names.
    Raises EngineFailed where there is no connection of this name.
    """
    if name is not None:
        if name not in state.connections:
            raise EngineFailed("database_unavailable", "the app asks for a connection that the configuration does not have")
        return (state.connections[name],)
    if dataset is not None and grant.grants(dataset):
        within = [each for each in within if dataset in state.catalogs[each].datasets] or within
    return tuple(state.connections[each] for each in within)


class Refusals:
    """What each connection said to a query that none took, and which of it the bearer is told."""

    __slots__ = ("_several", "_told")

    def __init__(self, *, several: bool) -> None:
        """`several`: the configuration has several connections, whatever the token grants."""
        self._several = several
        self._told: tuple[int, Refused] | None = None

    def add(self, refusal: Refused, *, admitted: bool) -> None:
        """Note what one connection said. `admitted`: it understood the SQL, and refused what the SQL asks for."""
        # A connection that knows the tables is meant; one that understood the SQL is meant rather than one that did not.
        distance = 2 if refusal.code == "dataset_unknown" else int(not admitted)
        # Where it was raised are frames that hold all that the parser made of the query: who keeps the refusal shall not keep that.
        refusal.__traceback__ = refusal.__cause__ = refusal.__context__ = None
        if self._told is None or distance < self._told[0]:
            self._told = distance, refusal

    def told(self) -> Refused:
        """The refusal for the bearer: of those that come nearest to an answer, the first."""
        if self._told is None:
            return EngineFailed("database_unavailable")
        refusal, self._told = self._told[1], None
        if self._several and refusal.code == "dataset_unknown":
            refusal.hint = f"{refusal.hint}; a query stays within one connection"
        return refusal
