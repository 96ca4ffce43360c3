"""The values of `:name` in the bearer's SQL: each is there, each is asked for, and each is of a kind that can be bound."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from rowseal.errors import QueryRefused
from rowseal.sql.dialects import Dialect

__all__ = ["Parameters", "bindable"]

MAX_TEXT: Final = 65_536


class Parameters(Mapping[str, Any]):
    """The bearer's parameters by name. Notes whose *value* was looked at, because what is made of the query then depends on it.

    What binds a value, or asks for its type alone, says so by asking with `bind` or `kind`.
    """

    __slots__ = ("_values", "decisive")

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.decisive: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        value = self._values[name]
        self.decisive.add(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def bind(self, name: str) -> Any:
        """The value, for the database alone."""
        return self._values[name]

    def kind(self, name: str) -> type:
        """The type of the value."""
        return type(self._values[name])


def bindable(params: object, named: Collection[str], dialect: Dialect) -> Parameters:
    """The parameters if they are exactly those that the SQL names and all can be bound. Raises QueryRefused."""
    if not isinstance(params, Mapping):
        raise QueryRefused("parameter_refused", "the parameters are not an object of names and values")
    if missing := sorted(set(named) - params.keys()):
        raise QueryRefused("parameter_missing", f"there is no value for the parameter `:{missing[0]}`")
    if unused := sorted(str(name) for name in params.keys() - set(named)):
        raise QueryRefused("parameter_unused", f"the SQL does not name the parameter `{unused[0]}`")
    for name, value in params.items():
        if not _is_bindable(value, dialect):
            raise QueryRefused("parameter_refused", f"the value of `:{name}` has a type or size that cannot be bound")
    return Parameters(dict(params))


def _is_bindable(value: Any, dialect: Dialect) -> bool:
    match value:
        case None | bool():
            return True
        case int():
            return -(2**63) <= value < 2**63
        case float():
            return math.isfinite(value)
        case Decimal():
            return dialect.name != "sqlite" and value.is_finite()
        case str():
            return len(value) <= MAX_TEXT and "\0" not in value and not any(0xD800 <= ord(character) <= 0xDFFF for character in value)
        case _:
            return False
