"""PostgreSQL. Source: https://www.postgresql.org/docs/current/sql-syntax-lexical.html"""

from __future__ import annotations

from typing import Final

from sqlglot.dialects.dialect import Dialect as Grammar

from rowseal.catalog.names import ascii_lower
from rowseal.sql.dialects.dialect import Dialect

__all__ = ["POSTGRES"]

# Asked of the database itself (tests/test_names.py): what pg_get_keywords() calls reserved.
_WORDS: Final = """
all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation column concurrently constraint
create cross current_catalog current_date current_role current_schema current_time current_timestamp current_user default deferrable desc distinct
do else end except false fetch for foreign freeze from full grant group having ilike in initially inner intersect into is isnull join lateral
leading left like limit localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
returning right select session_user similar some symmetric system_user table tablesample then to trailing true union unique user using variadic
verbose when where window with
"""

POSTGRES: Final = Dialect(
    name="postgres",
    grammar=Grammar.get_or_raise("postgres"),
    mark='"',
    plain=("NOT MATERIALIZED (", ")"),
    fence=("MATERIALIZED (", ")"),
    fold=lambda identifier: identifier.name if identifier.args.get("quoted") else ascii_lower(identifier.name),
    fold_name=ascii_lower,
    ctes_see_all_siblings=False,
    derived_column_lists=True,
    duplicate_columns_are_ambiguous=True,
    clauses_that_see_aliases=frozenset({"group", "order"}),
    commas_join_to_the_left=False,
    columns_are_named_by_text=False,
    reserved=frozenset(_WORDS.split()),
    bounds_patterns=False,
    lists_are_json=False,
    case_guards=True,
    any_word_behind_as=True,
)
