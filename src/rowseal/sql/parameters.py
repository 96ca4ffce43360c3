"""The values of `:name` in the bearer's SQL: each is there, each is asked for, and each is of a kind that can be bound."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from rowseal.errors import QueryRefused
from rowseal.sql.dialects import Dialect

__all__ = ["bindable"]

MAX_TEXT: Final = 65_536


def bindable(params: object, named: set[str], dialect: Dialect) -> dict[str, Any]:
    """The parameters if they are exactly those that the SQL names and all can be bound. Raises QueryRefused."""
    if not isinstance(params, Mapping):
        raise QueryRefused("parameter_refused", "the parameters are not an object of names and values")
    if missing := sorted(named - params.keys()):
        raise QueryRefused("parameter_missing", f"there is no value for the parameter `:{missing[0]}`")
    if unused := sorted(str(name) for name in params.keys() - named):
        raise QueryRefused("parameter_unused", f"the SQL does not name the parameter `{unused[0]}`")
    for name, value in params.items():
        if not _is_bindable(value, dialect):
            raise QueryRefused("parameter_refused", f"the value of `:{name}` has a type or size that cannot be bound")
    return dict(params)


def _is_bindable(value: Any, dialect: Dialect) -> bool:
    match value:
        case None | bool():
            return True
        case int():
            return -(2**63) <= value < 2**63
        case float():
            return math.isfinite(value)
        case Decimal():
            return dialect.name == "postgres" and value.is_finite()
        case str():
            return len(value) <= MAX_TEXT and "\0" not in value and not any(0xD800 <= ord(character) <= 0xDFFF for character in value)
        case _:
            return False
