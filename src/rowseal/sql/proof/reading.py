"""What the proof must know of a database: how a guard of it looks. Written a second time on purpose, and shared with nobody who writes guards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect as Grammar

from rowseal.catalog import Field
from rowseal.policy import Condition

__all__ = ["COMPARED", "Reading"]

COMPARED = {"=": "=", "!=": "<>", ">": ">", ">=": ">=", "<": "<", "<=": "<="}


@dataclass(frozen=True, slots=True)
class Reading:
    """`forms` are what a condition must look like once read back; `same`, that a parent (p) and a child (c) are the same.

    In a form c is the column, v0 and v1 are the binds.
    """

    grammar: Grammar
    mark: str  # around a quoted name
    plain: tuple[str, str]  # around the SELECT of a guard that is not fenced, and of one that is
    fence: tuple[str, str]
    bind: str  # how the parser's writer spells a bind, as a replacement of BOUND
    one_type: bool  # one cast stands for all values of a condition
    forms: Callable[[Condition], Iterator[str]]
    same: Callable[[Field, Field], tuple[str, ...]]
    raising: frozenset[type[exp.Expr]] = frozenset()  # the plainest of what raises whatever it is given, for a second look at the barrier
    fence_limit: str = ""  # where a fence is a LIMIT, the number that it must be
    mark_of_bind: str = r":\1"  # how a bind is spelled for the parser, as a replacement of BOUND
    fenced_by_offset: bool = False  # OFFSET 0 is the fence

    def quoted(self, name: str) -> str:
        """The name as it must stand in the text."""
        return self.mark + name.replace(self.mark, self.mark * 2) + self.mark
