"""What differs between databases, as data. One `Dialect` for each that rowseal speaks.

Sources: https://www.sqlite.org/lang.html, https://www.postgresql.org/docs/current/sql-syntax-lexical.html
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    bounds_patterns: bool  # the engine has told the database how long a pattern of LIKE may be

    def quote(self, name: str) -> str:
        """The identifier as SQL text, exactly this name whatever it holds."""
        return '"' + name.replace('"', '""') + '"'


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
        bounds_patterns=False,
    ),
}
