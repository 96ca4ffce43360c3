"""The filter vocabulary: (field, operator, value), and what the shapes of a token's filters mean.

How filters combine, in full:
- the filters of one group are ANDed;
- the groups of one dataset are ORed;
- the configuration's filters are ANDed to the whole. Nothing ever widens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias, TypeVar

__all__ = ["Filter", "FilterMalformed", "FilterTree", "FlatFilters", "Group", "Operator", "Scalar", "Value", "read_filter", "read_tree"]

Scalar: TypeAlias = "bool | int | Decimal | str"
Value: TypeAlias = "Scalar | tuple[Scalar, ...] | None"


class Operator(StrEnum):
    """The sixteen operators. The value is how a token spells it."""

    EQ = "="
    NE = "!="
    GT = ">"
    GE = ">="
    LT = "<"
    LE = "<="
    IS_ONE_OF = "is_one_of"
    IS_NOT_ONE_OF = "is_not_one_of"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    CONTAINS = "contains_substring"
    NOT_CONTAINS = "does_not_contain_substring"
    IS_NULL = "is_null"
    IS_NOT_NULL = "is_not_null"
    BETWEEN = "between"
    ARRAY_CONTAINS = "array_contains"


class FlatFilters(StrEnum):
    """How `[A, B]` is read where `[[A, B]]` was not written: `all` = A AND B, `any` = A OR B, `reject` = refuse two or more."""

    ALL = "all"
    ANY = "any"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition as a token or the configuration wrote it: the field by id (or unique name), not yet typed by the catalog.

    `value` is None exactly for `is_null` and `is_not_null`; a non-empty tuple exactly for the list operators and `between`.
    """

    field: str
    op: Operator
    value: Value = dataclasses.field(repr=False)


Group: TypeAlias = tuple[Filter, ...]
FilterTree: TypeAlias = tuple[Group, ...]

_Item = TypeVar("_Item")

# Bounds: generous for every honest signer, small enough that no token makes a query that a database cannot plan.
GROUPS: Final = 100
FILTERS_OF_A_GROUP: Final = 100
LIST_VALUES: Final = 100_000
STRING_LENGTH: Final = 4096  # characters
FIELD_LENGTH: Final = 256  # characters

_OPERATORS: Final = {operator.value: operator for operator in Operator}
_WITHOUT_VALUE: Final = frozenset({"field", "op"})
_WITH_VALUE: Final = frozenset({"field", "op", "value"})
_NULL_TESTS: Final = frozenset({Operator.IS_NULL, Operator.IS_NOT_NULL})
_ORDERED: Final = frozenset({Operator.GT, Operator.GE, Operator.LT, Operator.LE})
_TEXTUAL: Final = frozenset({Operator.STARTS_WITH, Operator.ENDS_WITH, Operator.CONTAINS, Operator.NOT_CONTAINS, Operator.ARRAY_CONTAINS})
_LISTS: Final = frozenset({Operator.IS_ONE_OF, Operator.IS_NOT_ONE_OF})


class FilterMalformed(ValueError):
    """Filters do not follow the grammar. `path` says where (`[0][1].op`, from the place that was read), `reason` what was expected there.

    Neither ever holds what stood there.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"`{path}` {reason}" if path else reason)


def read_tree(raw: object, flat: FlatFilters) -> FilterTree:
    """Read the filters of one dataset: `[[A, B], [C]]` is (A AND B) OR C. Raises FilterMalformed.

    `raw` is parsed JSON (numbers int or Decimal). A flat list `[A, B]` means what `flat` says; `[A]` is unambiguous. Lists and
    filters side by side, an empty list and an empty group are refused: an empty group would be true for every row.
    """
    if not isinstance(raw, list):
        raise FilterMalformed("", "must be a list of groups of filters")
    if all(isinstance(item, dict) for item in raw):
        return _read_flat(_read_group(raw), flat)
    if len(raw) > GROUPS:
        raise FilterMalformed("", f"holds more than {GROUPS} groups")
    return _read_each(raw, _read_group)


def read_filter(raw: object) -> Filter:
    """Read one filter: an object of exactly `field`, `op` and `value` (no `value` for the null tests). Raises FilterMalformed.

    Whether the field exists and the value has its type is the policy's work; here a value only has to make sense for its operator.
    """
    if not isinstance(raw, dict):
        raise FilterMalformed("", "must be an object of field, op and value")
    name, spelling = raw.get("field"), raw.get("op")
    if not isinstance(name, str) or not 0 < len(name) <= FIELD_LENGTH:
        raise FilterMalformed(".field", f"must be the id of a field, a string of 1 to {FIELD_LENGTH} characters")
    operator = _OPERATORS.get(spelling) if isinstance(spelling, str) else None
    if operator is None:
        raise FilterMalformed(".op", f"must be one of {', '.join(_OPERATORS)}")
    wanted = _WITHOUT_VALUE if operator in _NULL_TESTS else _WITH_VALUE
    if raw.keys() != wanted:
        raise FilterMalformed("", f"must have exactly the members {', '.join(sorted(wanted))}")
    return Filter(name, operator, None if operator in _NULL_TESTS else _read_value(operator, raw["value"]))


def _read_flat(filters: Group, flat: FlatFilters) -> FilterTree:
    if len(filters) == 1 or flat is FlatFilters.ALL:
        return (filters,)
    if flat is FlatFilters.ANY:
        return tuple((item,) for item in filters)
    raise FilterMalformed("", "is a flat list of two or more filters: write [[A, B]] for A AND B, [[A], [B]] for A OR B")


def _read_group(raw: object) -> Group:
    if not isinstance(raw, list):
        raise FilterMalformed("", "must be a list, as its neighbours are: write [[A, B], [C]]")
    if not raw:
        raise FilterMalformed("", "is an empty group, which every row would pass")
    if len(raw) > FILTERS_OF_A_GROUP:
        raise FilterMalformed("", f"holds more than {FILTERS_OF_A_GROUP} filters")
    return _read_each(raw, read_filter)


def _read_each(raw: list[object], read: Callable[[object], _Item]) -> tuple[_Item, ...]:
    items: list[_Item] = []
    try:
        for item in raw:
            items.append(read(item))  # noqa: PERF401  the position of the one that fails is the length so far
    except FilterMalformed as error:
        raise FilterMalformed(f"[{len(items)}]{error.path}", error.reason) from None
    return tuple(items)


def _read_value(operator: Operator, raw: object) -> Value:
    if operator in _LISTS:
        return _read_list(raw)
    if operator is Operator.BETWEEN:
        bounds = _read_list(raw)
        if len(bounds) != 2 or isinstance(bounds[0], bool):
            raise FilterMalformed(".value", "must be a list of two numbers or two strings")
        return bounds
    value = _read_scalar(raw)
    if operator in _ORDERED and isinstance(value, bool):
        raise FilterMalformed(".value", "must be a number or a string: true and false have no order")
    if operator in _TEXTUAL and not (isinstance(value, str) and value):
        raise FilterMalformed(".value", "must be a string of at least one character: every text contains the empty one")
    return value


def _read_list(raw: object) -> tuple[Scalar, ...]:
    if not isinstance(raw, list) or not raw:
        raise FilterMalformed(".value", "must be a list of at least one value")
    if len(raw) > LIST_VALUES:
        raise FilterMalformed(".value", f"holds more than {LIST_VALUES} values")
    # Lists are long: their kinds are compared as a set, and only strings are looked at one by one.
    kinds = set(map(type, raw))
    if kinds == {str}:
        if max(map(len, raw)) > STRING_LENGTH:
            raise FilterMalformed(".value", f"holds a string of more than {STRING_LENGTH} characters")
    elif kinds != {bool} and not kinds <= {int, Decimal}:
        raise FilterMalformed(".value", "must hold values of one kind: only strings, only numbers, or only true and false (null is none)")
    return tuple(raw)


def _read_scalar(raw: object) -> Scalar:
    if raw is None:
        raise FilterMalformed(".value", "is null, which no operator takes: sign the value that was meant, or write is_null or is_not_null")
    if not isinstance(raw, (bool, int, Decimal, str)):
        raise FilterMalformed(".value", "must be a single string, number, true or false")
    if isinstance(raw, str) and len(raw) > STRING_LENGTH:
        raise FilterMalformed(".value", f"is longer than {STRING_LENGTH} characters")
    return raw
