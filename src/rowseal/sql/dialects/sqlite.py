"""SQLite. Source: https://www.sqlite.org/lang.html"""

from __future__ import annotations

from typing import Final

from sqlglot.dialects.dialect import Dialect as Grammar

from rowseal.catalog.names import ascii_lower
from rowseal.sql.dialects.dialect import Dialect

__all__ = ["SQLITE"]

# Asked of the database itself (tests/test_names.py): what it refuses as a name.
_WORDS: Final = """
add all alter and as autoincrement between case cast check collate commit constraint create default deferrable delete distinct drop else escape
except exists foreign from group having in index insert intersect into is isnull join limit not nothing notnull null on or order primary raise
references returning select set table then to transaction union unique update using values when where
"""

SQLITE: Final = Dialect(
    name="sqlite",
    grammar=Grammar.get_or_raise("sqlite"),
    mark='"',
    plain=("NOT MATERIALIZED (", ")"),
    fence=("MATERIALIZED (", ")"),
    # SQLite ignores quotes when it compares names.
    fold=lambda identifier: ascii_lower(identifier.name),
    fold_name=ascii_lower,
    ctes_see_all_siblings=True,
    derived_column_lists=False,
    duplicate_columns_are_ambiguous=False,
    clauses_that_see_aliases=frozenset({"where", "group", "having", "order"}),
    commas_join_to_the_left=True,
    columns_are_named_by_text=True,
    reserved=frozenset(_WORDS.split()),
    bounds_patterns=True,
    lists_are_json=True,
    # SQLite writes the constant of `tenant = 1` where the column stands, in the WHEN of a CASE too: it then holds for every row.
    case_guards=False,
)
