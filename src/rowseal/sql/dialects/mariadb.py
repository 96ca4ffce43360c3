"""MariaDB. Source: https://mariadb.com/kb/en/sql-statements-structure/"""

from __future__ import annotations

from typing import Final

from sqlglot.dialects.dialect import Dialect as Grammar

from rowseal.sql.dialects.dialect import Dialect

__all__ = ["MARIADB"]

# Asked of the database itself (tests/test_names.py): the words of information_schema.KEYWORDS that are no name of a table, alias or column.
_WORDS: Final = """
accessible add all alter analyze and as asc asensitive before between bigint binary blob both by call cascade case change char character check
collate column condition constraint continue convert create cross current_date current_role current_time current_timestamp current_user cursor
databases day_hour day_microsecond day_minute day_second dec decimal declare default delayed delete delete_domain_id desc describe deterministic
distinct distinctrow div do_domain_ids double drop dual each else elseif enclosed escaped except exists exit explain false fetch float float4
float8 for force foreign from fulltext grant group having high_priority hour_microsecond hour_minute hour_second if ignore ignore_domain_ids in
index infile inner inout insensitive insert int int1 int2 int3 int4 int8 integer intersect interval into is iterate join key keys kill leading
leave left like limit linear lines load localtime localtimestamp lock long longblob longtext loop low_priority master_demote_to_replica
master_demote_to_slave master_ssl_verify_server_cert match maxvalue mediumblob mediumint mediumtext middleint minute_microsecond minute_second
mod modifies natural no_write_to_binlog not null numeric offset on optimize optionally or order out outer outfile over page_checksum
parse_vcol_expr partition portion precision primary procedure purge range read read_write reads real recursive ref_system_id references regexp
release rename repeat replace require resignal restrict return returning revoke right rlike row_number rows schemas second_microsecond select
sensitive separator set show signal smallint spatial specific sql sql_big_result sql_buffer_result sql_cache sql_calc_found_rows sql_no_cache
sql_small_result sqlexception sqlstate sqlwarning ssl starting stats_auto_recalc stats_persistent stats_sample_pages straight_join table
terminated then tinyblob tinyint tinytext to trailing trigger true undo union unique unlock unsigned update usage use using utc_date utc_time
utc_timestamp values varbinary varchar varcharacter varying when where while window with write xor year_month zerofill
"""


def _fold(name: str) -> str:
    """Letter by letter: MariaDB calls two spellings of a column one where a letter's case is all that differs, never one letter two."""
    return name.lower() if name.isascii() else "".join(lowered if len(lowered := letter.lower()) == 1 else letter for letter in name)


MARIADB: Final = Dialect(
    name="mariadb",
    grammar=Grammar.get_or_raise("mysql"),
    mark="`",
    plain=("(", ")"),
    # INVARIANT: what has a LIMIT is neither merged nor given conditions from outside; there is no word for that (docs/decisions/0017-mariadb.md).
    fence=("(", " LIMIT 18446744073709551615)"),
    # Quotes do not count when names are compared.
    fold=lambda identifier: _fold(identifier.name),
    fold_name=_fold,
    ctes_see_all_siblings=False,
    derived_column_lists=False,
    duplicate_columns_are_ambiguous=True,
    clauses_that_see_aliases=frozenset({"group", "having", "order"}),
    commas_join_to_the_left=False,
    columns_are_named_by_text=True,
    reserved=frozenset(_WORDS.split()),
    bounds_patterns=False,
    lists_are_json=False,
    aliases_have_case=True,
    sorts_before_joining=True,
)
