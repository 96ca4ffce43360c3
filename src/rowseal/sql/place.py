"""Where a part of the bearer's SQL stands: what a refusal points at."""

from __future__ import annotations

from typing import TypedDict

from sqlglot import exp

__all__ = ["Place", "position"]


class Place(TypedDict, total=False):
    """Where in the bearer's SQL, as keyword arguments of a refusal. Both count from 1."""

    line: int
    column: int


def position(node: exp.Expr) -> Place:
    """Where a node stands, as far as the parser knows: it marks names and calls, so the first mark at or below the node, or above it."""
    pending = [node]
    while pending:  # from the left
        candidate = pending.pop()
        if place := _marked(candidate):
            return place
        pending.extend(reversed(list(candidate.iter_expressions())))
    above = node.parent
    while above is not None:
        if place := _marked(above):
            return place
        above = above.parent
    return {}


def _marked(node: exp.Expr) -> Place:
    found = node.meta
    # the parser counts to a word's end
    return {"line": found["line"], "column": found["col"] - (found["end"] - found["start"])} if "line" in found else {}
