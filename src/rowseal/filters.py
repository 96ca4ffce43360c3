"""The filter vocabulary: (field, operator, value), and what the shapes of a token's filters mean.

How filters combine, in full:
- the filters of one group are ANDed;
- the groups of one dataset are ORed;
- the configuration's filters are ANDed to the whole. Nothing ever widens.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

__all__ = ["Filter", "FilterTree", "FlatFilters", "Group", "Operator", "Scalar", "Value"]

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
    value: Value


Group: TypeAlias = tuple[Filter, ...]
FilterTree: TypeAlias = tuple[Group, ...]
