"""DuckDB. Source: https://duckdb.org/docs/stable/sql/dialect/overview"""

from __future__ import annotations

from typing import Final

from sqlglot.dialects.dialect import Dialect as Grammar

from rowseal.catalog.names import ascii_lower
from rowseal.sql.dialects.dialect import Dialect

__all__ = ["DUCKDB"]

# Asked of the database itself (tests/test_names.py): what duckdb_keywords() calls reserved, or the name of a type or function.
_WORDS: Final = """
all analyse analyze and anti any array as asc asof asymmetric at authorization binary both by case cast check collate collation column columns
concurrently constraint create cross default deferrable desc describe distinct do else end except false fetch for foreign freeze from full
generated glob group having ilike in initially inner intersect into is isnull join lambda lateral leading left like limit map natural not notnull
null offset on only or order outer overlaps pivot pivot_longer pivot_wider placing positional primary qualify references returning right select
semi show similar some struct summarize symmetric table tablesample then to trailing true try_cast tuple union unique unpack unpivot using
variadic verbose when where window with
"""

DUCKDB: Final = Dialect(
    name="duckdb",
    grammar=Grammar.get_or_raise("duckdb"),
    mark='"',
    plain=("NOT MATERIALIZED (", ")"),
    # MATERIALIZED is no wall: the optimizer pushes conditions into such a CTE. It cannot push them below OFFSET (tests/test_barrier.py).
    fence=("NOT MATERIALIZED (", " OFFSET 0)"),
    fold=lambda identifier: ascii_lower(identifier.name),  # quotes keep the case of a name, and names are compared without it
    fold_name=ascii_lower,
    ctes_see_all_siblings=False,
    derived_column_lists=True,
    duplicate_columns_are_ambiguous=True,
    clauses_that_see_aliases=frozenset({"where", "group", "having", "order"}),
    commas_join_to_the_left=True,
    columns_are_named_by_text=True,
    reserved=frozenset(_WORDS.split()),
    bounds_patterns=False,
    lists_are_json=False,
    recursive_ctes_see_all=False,
    renames_duplicates=True,
    values_columns=("col", 0),
    any_word_behind_as=True,
)
