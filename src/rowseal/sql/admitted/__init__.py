"""The closed world: every syntax node, argument, function and cast that a bearer's SQL may hold. What is not here is refused.

Read each line as "this class, with at most these arguments, and where an argument is a word, one of these words". A new version of
the parser that adds a class or an argument adds nothing to these tables, so it is refused until somebody has read about it.

Functions are named as the parser knows them: a class for those it types, a lower-case name for the rest.
Never here, for any reason: whatever runs SQL text, reads files, catalogs, settings or statistics, changes or keeps state, sleeps,
draws random numbers, or makes much out of little (repeat, format, range; replace, lpad and
printf only in the forms that do not: see checks).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlglot import exp

from rowseal.sql.admitted import duckdb, mariadb, postgres, sqlite
from rowseal.sql.admitted.arguments import Arguments

__all__ = ["AGGREGATES", "CASTS", "FUNCTIONS", "NODES", "SPOKEN_FALSE", "TIME_UNITS", "Arguments"]

TIME_UNITS: Final = frozenset(
    "MICROSECOND MICROSECONDS MILLISECOND MILLISECONDS SECOND SECONDS MINUTE MINUTES HOUR HOURS DAY DAYS WEEK WEEKS MONTH MONTHS QUARTER YEAR YEARS "
    "DECADE CENTURY MILLENNIUM DOW DOY EPOCH ISODOW ISOYEAR".split()
)

NODES: Final[Mapping[str, Mapping[type[exp.Expr], Arguments]]] = {
    "sqlite": sqlite.NODES,
    "postgres": postgres.NODES,
    "mariadb": mariadb.NODES,
    "duckdb": duckdb.NODES,
}
AGGREGATES: Final[Mapping[str, Mapping[type[exp.Expr] | str, Arguments]]] = {
    "sqlite": sqlite.AGGREGATES,
    "postgres": postgres.AGGREGATES,
    "mariadb": mariadb.AGGREGATES,
    "duckdb": duckdb.AGGREGATES,
}
FUNCTIONS: Final[Mapping[str, Mapping[type[exp.Expr] | str, Arguments]]] = {
    "sqlite": sqlite.FUNCTIONS,
    "postgres": postgres.FUNCTIONS,
    "mariadb": mariadb.FUNCTIONS,
    "duckdb": duckdb.FUNCTIONS,
}
CASTS: Final[Mapping[str, frozenset[exp.DType]]] = {
    "sqlite": sqlite.CASTS,
    "postgres": postgres.CASTS,
    "mariadb": mariadb.CASTS,
    "duckdb": duckdb.CASTS,
}

# Where False is something that the SQL said: NOT INDEXED, GROUP BY DISTINCT, OUTER APPLY, FROM LAST. Elsewhere it is the parser's word for
# nothing, and the writer writes nothing for it (tests/test_admit.py asks the writer).
SPOKEN_FALSE: Final = frozenset(
    {
        (exp.Table, "indexed"),
        (exp.Group, "all"),
        (exp.Lateral, "cross_apply"),
        (exp.Window, "first"),
        (exp.UnixToTime, "scale"),
        (exp.JSONExtract, "expressions"),
        (exp.JSONExtractScalar, "expressions"),
    }
)
