"""The facts of one database that the SQL side goes by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect as Grammar

__all__ = ["Dialect"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """The facts of one database.

    `fold` gives the name under which the database looks an identifier up. `ctes_see_all_siblings`: without RECURSIVE a CTE's body
    sees later siblings and itself too (SQLite), or only earlier ones (Postgres). `derived_column_lists`: `(SELECT ..) AS t(a, b)` works.
    """

    name: str
    grammar: Grammar
    mark: str  # what stands on both sides of a quoted name, doubled inside of it
    plain: tuple[str, str]  # what stands around the SELECT of a guard that the planner may take apart ...
    fence: tuple[str, str]  # ... and of one whose rows it must make first
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
    lists_are_json: bool  # a guard's list of values is bound as one JSON text, or as one array
    # Whether CASE is a wall here: what stands behind THEN is run on no row whose WHEN does not hold, whatever the planner does. Shown by tests, never assumed.
    case_guards: bool = False
    aliases_have_case: bool = False  # the database may tell aliases of tables apart by case, where columns fold: they are written folded
    sorts_before_joining: bool = False  # rows may be sorted and grouped before a parent's filter has dropped some
    recursive_ctes_see_all: bool = True  # WITH RECURSIVE lets every CTE see all its siblings and itself, or only a UNION itself
    renames_duplicates: bool = False  # of two columns `a` of a sub-query the second is called `a_1` outside of it
    values_columns: tuple[str, int] = ("column", 1)  # what a list of values calls its columns: a word and the first number
    any_word_behind_as: bool = False  # AS makes a name even of a reserved word

    def quote(self, name: str) -> str:
        """The identifier as SQL text, exactly this name whatever it holds."""
        return self.mark + name.replace(self.mark, self.mark * 2) + self.mark
