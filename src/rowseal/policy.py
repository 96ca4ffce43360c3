"""Grant x Catalog -> Policy: which datasets this bearer may read, and which rows of each.

The algebra, in full:
- permitted rows of a dataset = rows that pass the token's tree (OR of ANDs) AND every secure filter of the configuration;
- a `through` filter passes where a *permitted* row of the parent exists, so the parent's whole policy applies to it;
- whatever is absent, unknown, mistyped or unmet refuses that dataset alone, and nothing is skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TypeAlias
from uuid import UUID

from rowseal.catalog import Dataset, Field
from rowseal.filters import Operator

__all__ = ["AllOf", "AnyOf", "Bound", "Condition", "Predicate", "Rows", "Through"]

# A value ready to bind: typed by the field, in the form the database stores.
Bound: TypeAlias = "bool | int | Decimal | float | str | date | datetime | UUID"


@dataclass(frozen=True, slots=True)
class Condition:
    """One filter, resolved: the field it tests and values typed for that field's storage.

    `values` is empty for `is_null` / `is_not_null`, has two members for `between`, one or more for the list operators, else one.
    """

    field: Field
    op: Operator
    values: tuple[Bound, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part must hold. Never empty inside an AnyOf; an empty one at the top means every row (a public dataset)."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One part must hold. Never empty."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Through:
    """A permitted row of the parent exists with equal fields: `on` pairs (own field, parent's field)."""

    parent: Rows
    on: tuple[tuple[Field, Field], ...]


Predicate: TypeAlias = "Condition | AllOf | AnyOf | Through"


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one dataset that this bearer may read. Only `Policy.rows` makes one."""

    dataset: Dataset
    predicate: AllOf
