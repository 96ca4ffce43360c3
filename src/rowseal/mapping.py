"""What the claims of an issuer's tokens stand for: `claims:`, `attributes:` and `roles:` of one entry of `tokens:`, once they are read.

Plain values: `configuration` makes them, `grants` reads tokens by them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

from rowseal.claims import Json

__all__ = ["Attribute", "ClaimMapping", "ClaimPath", "Role", "found", "shown"]

# The names of claims, from the outermost object inwards.
ClaimPath: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Role:
    """What whoever has the role may read. `rows` is the longest answer of a query that reads a dataset which this role grants; None for the file's."""

    datasets: frozenset[str]
    rows: int | None = None
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Attribute:
    """One claim that restricts rows: `fields` has, by dataset id, the field that must equal it. A dataset without an entry it says nothing of."""

    name: str
    path: ClaimPath
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClaimMapping:
    """Where an issuer's tokens say what. `filters_path` is None where they bring no filters of their own."""

    roles_path: ClaimPath
    roles: Mapping[str, Role]
    attributes: tuple[Attribute, ...]
    filters_path: ClaimPath | None = None


def found(content: Mapping[str, Json], path: ClaimPath) -> tuple[bool, Json]:
    """Whether a claim stands at the path, and what it is; (False, None) where any part of the way is missing or no object."""
    value: object = content
    for step in path:
        if not isinstance(value, Mapping) or step not in value:
            return False, None
        value = value[step]
    return True, cast("Json", value)


def shown(path: ClaimPath) -> str:
    """The path as it is written in explanations: `app_metadata.tenant`, and names with other characters in brackets and quotes."""
    first, *rest = path
    return (first if first.isidentifier() else f"[{json.dumps(first)}]") + "".join(
        f".{each}" if each.isidentifier() else f"[{json.dumps(each)}]" for each in rest
    )
