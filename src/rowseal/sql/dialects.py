"""What differs between databases, as data. One `Dialect` for each that rowseal speaks.

Sources: https://www.sqlite.org/lang.html, https://www.postgresql.org/docs/current/sql-syntax-lexical.html
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect as Grammar

from rowseal.catalog.names import ascii_lower

__all__ = ["DIALECTS", "Dialect"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """The facts of one database.

    `fold` gives the name under which the database looks an identifier up. `ctes_see_all_siblings`: without RECURSIVE a CTE's body
    sees later siblings and itself too (SQLite), or only earlier ones (Postgres). `derived_column_lists`: `(SELECT ..) AS t(a, b)` works.
    """

    name: str
    grammar: Grammar
    fold: Callable[[exp.Identifier], str]
    fold_name: Callable[[str], str]  # how the *unquoted* spelling of a name is looked up
    ctes_see_all_siblings: bool
    derived_column_lists: bool
    duplicate_columns_are_ambiguous: bool
    clauses_that_see_aliases: frozenset[str]  # of the SELECT list
    commas_join_to_the_left: bool  # a comma in FROM is one more join and ON sees the whole FROM, or it parts one join from another
    columns_are_named_by_text: bool  # a computed column of an answer is called what its expression's text is
    reserved: frozenset[str]  # words that are no name unless they stand in quotes, in lower case
    bounds_patterns: bool  # the engine has told the database how long a pattern of LIKE may be

    def quote(self, name: str) -> str:
        """The identifier as SQL text, exactly this name whatever it holds."""
        return '"' + name.replace('"', '""') + '"'


# Asked of the databases themselves (tests/test_names.py): what SQLite refuses as a name, and what pg_get_keywords() calls reserved.
_SQLITE_WORDS: Final = """
add all alter and as autoincrement between case cast check collate commit constraint create default deferrable delete distinct drop else escape
except exists foreign from group having in index insert intersect into is isnull join limit not nothing notnull null on or order primary raise
references returning select set table then to transaction union unique update using values when where
"""
_POSTGRES_WORDS: Final = """
all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation column concurrently constraint
create cross current_catalog current_date current_role current_schema current_time current_timestamp current_user default deferrable desc distinct
do else end except false fetch for foreign freeze from full grant group having ilike in initially inner intersect into is isnull join lateral
leading left like limit localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
returning right select session_user similar some symmetric system_user table tablesample then to trailing true union unique user using variadic
verbose when where window with
"""

DIALECTS = {
    "sqlite": Dialect(
        name="sqlite",
        grammar=Grammar.get_or_raise("sqlite"),
        # SQLite ignores quotes when it compares names.
        fold=lambda identifier: ascii_lower(identifier.name),
        fold_name=ascii_lower,
        ctes_see_all_siblings=True,
        derived_column_lists=False,
        duplicate_columns_are_ambiguous=False,
        clauses_that_see_aliases=frozenset({"where", "group", "having", "order"}),
        commas_join_to_the_left=True,
        columns_are_named_by_text=True,
        reserved=frozenset(_SQLITE_WORDS.split()),
        bounds_patterns=True,
    ),
    "postgres": Dialect(
        name="postgres",
        grammar=Grammar.get_or_raise("postgres"),
        fold=lambda identifier: identifier.name if identifier.args.get("quoted") else ascii_lower(identifier.name),
        fold_name=ascii_lower,
        ctes_see_all_siblings=False,
        derived_column_lists=True,
        duplicate_columns_are_ambiguous=True,
        clauses_that_see_aliases=frozenset({"group", "order"}),
        commas_join_to_the_left=False,
        columns_are_named_by_text=False,
        reserved=frozenset(_POSTGRES_WORDS.split()),
        bounds_patterns=False,
    ),
}
