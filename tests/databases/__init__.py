"""The kinds of database that every case and every random query is asked on. One more is one more module here, and one more line.

What each has to offer stands in `dialect`. Without the product: tables are put into real databases, and queries asked straight at them.
"""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from databases.dialect import Answer, Database, Dialect, Model, Speech
from databases.duckdb import DUCKDB
from databases.mariadb import MARIADB
from databases.postgres import POSTGRES
from databases.sqlite import SQLITE

__all__ = ["DIALECTS", "Answer", "Database", "Dialect", "Model", "Speech", "marked", "parameter", "parameters"]

DIALECTS: Final[dict[str, Dialect]] = {each.name: each for each in (SQLITE, POSTGRES, MARIADB, DUCKDB)}
_TITLES: Final = {each.title: each.name for each in DIALECTS.values()}
_MARK: Final = re.compile(r"\((?:(?P<only>[^()]+) only|not (?P<but>[^()]+))\)$")


def marked(title: str) -> tuple[str, ...]:
    """The names of the databases that a heading speaks of: `(SQLite only)`, `(SQLite and PostgreSQL only)`, `(not PostgreSQL)`; without a mark, all.

    Raises:
        KeyError: the mark names none of them.
    """
    found = _MARK.search(title)
    if found is None:
        return tuple(DIALECTS)
    named = {_TITLES[each] for each in re.split(r", | and | or ", found["only"] or found["but"])}
    return tuple(name for name in DIALECTS if (name in named) == bool(found["only"]))


def parameter(dialect: str, *values: Any, **more: Any) -> Any:
    """A `pytest.param` of the values, marked with the name of the database where that takes a server."""
    return pytest.param(*values, marks=[getattr(pytest.mark, dialect)] if DIALECTS[dialect].server else [], **more)


def parameters() -> list[Any]:
    """A `pytest.param` for each database."""
    return [parameter(name, name) for name in DIALECTS]
