"""Mutants that no test can notice, each with the reason: module, then `before -> after` as `python -m mutation` prints it.

An entry that fits no mutant any more is an error, so that no reason outlives its line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["EXPLAINED"]

EXPLAINED: Final[Mapping[str, Mapping[str, str]]] = {
    "rowseal.filters": {
        # Only where it stands in `isinstance(bounds[0], bool)`; elsewhere in the module this change is caught.
        "0 -> 1": "the values of a list are of one kind, so it does not matter of which of the two bounds the kind is looked at",
    },
}
