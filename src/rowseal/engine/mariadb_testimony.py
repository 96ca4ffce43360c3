"""MariaDB's word on what a statement reads: how it says the statement itself, before it is planned and after.

EXPLAIN EXTENDED leaves the statement as MariaDB will run it in a note, with each table under its database's name and its own; what the values at
hand have cut away may be missing there. The optimizer's trace holds every SELECT as it was read, before anything is cut, but the tables without
the name of their database. Both are read here, and both must hold nothing but guards, CTEs, and the tables of the guards.
Sources: https://mariadb.com/kb/en/explain/, https://mariadb.com/kb/en/optimizer-trace-overview/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from rowseal.errors import OurBug
from rowseal.sql import SecuredQuery

__all__ = ["check", "expanded", "tables"]

_Table: TypeAlias = tuple[str, str]  # database or "", table

_WORD: Final = re.compile(r"`(?:[^`]|``)*`|'(?:[^'\\]|\\.|'')*'|[\w$]+|/\*.*?\*/|\s+|.", re.DOTALL)
_EXPANDED: Final = re.compile(r'"expanded_query": "((?:[^"\\]|\\.)*)"', re.DOTALL)
_JOINS: Final = frozenset({"join", "straight_join"})
_ENDS: Final = frozenset({"where", "group", "having", "order", "limit", "union", "except", "intersect", "window", "procedure", "for", "select", "with"})
_NOTHING: Final = "dual"  # no table; one of that name would stand in backticks, because it is a reserved word
_OURS: Final = re.compile(r"__g[0-9]+(_[0-9]+)?|__u[0-9]+")


class _Level(NamedTuple):
    """What stands within one pair of brackets."""

    in_select: bool  # EXTRACT, TRIM and SUBSTRING have a FROM too
    in_from: bool
    expects: bool  # a table comes next


def tables(said: str) -> Iterator[_Table]:
    """Every table of every FROM in a statement as MariaDB says it. Raises OurBug for what cannot be read."""
    words = [word for word in _WORD.findall(said) if not word.isspace() and not word.startswith("/*")]
    levels: list[_Level] = [_Level(in_select=False, in_from=False, expects=False)]
    at = 0
    while at < len(words):
        word, level = words[at], levels[-1]
        at += 1
        if word == "(":
            levels.append(_Level(in_select=False, in_from=level.expects, expects=level.expects))
            if level.expects:
                levels[-2] = level._replace(expects=False)
        elif word == ")":
            if len(levels) == 1:
                raise OurBug("the database's testimony cannot be read")
            levels.pop()
        elif word == "from" and level.in_select:
            levels[-1] = _Level(in_select=True, in_from=True, expects=True)
        elif word in _ENDS:
            levels[-1] = _Level(in_select=level.in_select or word == "select", in_from=False, expects=False)
        elif level.in_from and (word in _JOINS or (word == "," and not level.expects)):
            levels[-1] = level._replace(expects=True)
        elif level.expects and (word[0] == "`" or re.fullmatch(r"[\w$]+", word)):
            levels[-1] = level._replace(expects=False)
            if word == _NOTHING:
                continue
            name, schema = _bare(word), ""
            if at + 1 < len(words) and words[at] == ".":
                schema, name = name, _bare(words[at + 1])
                at += 2
            yield schema, name


def _bare(word: str) -> str:
    return word[1:-1].replace("``", "`") if word[0] == "`" else word


def expanded(trace: str) -> Iterator[str]:
    """Every SELECT as it was read, from the optimizer's trace. Raises OurBug for what cannot be read.

    The trace as a whole need not be JSON: MariaDB escapes these texts in it, and others not. No text before one of these can hide it, because it
    begins a line, and a quote that is no backslash's ends whatever came before.
    """
    try:
        for found in _EXPANDED.finditer(trace):
            yield str(json.loads(f'"{found[1]}"', strict=False))
    except ValueError as error:
        raise OurBug("the database's testimony cannot be read") from error


def check(query: SecuredQuery, note: str, trace: str) -> None:
    """Raises OurBug where the database says that the statement reads anything but its guards' tables."""
    may = frozenset[_Table]().union(*query.reads.values())
    names = {name.lower() for _, name in may}
    heard = set(tables(note))
    selects = list(expanded(trace))
    if not selects or (may and not heard):
        raise OurBug("the database did not testify what the statement reads")
    if any(
        not _OURS.fullmatch(name) if not schema else (schema, name) not in may and (schema.lower(), name.lower()) not in _lower(may) for schema, name in heard
    ):
        raise OurBug("the database testified that the statement reads other tables than its guards do")
    for said in selects:
        if any(not _OURS.fullmatch(name) and name.lower() not in names for _, name in tables(said)):
            raise OurBug("the database testified that the statement reads other tables than its guards do")


def _lower(known: frozenset[_Table]) -> frozenset[_Table]:
    """A server that folds the names of tables says them in lower case."""
    return frozenset((schema.lower(), name.lower()) for schema, name in known)
