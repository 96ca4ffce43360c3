"""G1: conditions side by side without brackets are refused, or mean what SQLite takes them to mean.

The parser's precedences are not SQLite's, and where it makes a negated condition an operand it writes brackets of its own.
"""

from __future__ import annotations

import random
import re
import sqlite3
from contextlib import closing
from typing import Any, Final

import pytest

from policies import policy, secured
from rowseal.errors import QueryRefused

PARTS: Final = (
    *(" = {}", " < {}", " >= {}", " <> {}", " IS NULL", " IS NOT NULL", " ISNULL", " NOTNULL", " IS {}", " IS NOT {}", " IN ({},1)", " NOT IN ({},1)"),
    *(" BETWEEN {} AND {}", " NOT BETWEEN {} AND {}", " LIKE '1'", " NOT LIKE '1'", " NOT LIKE '1' ESCAPE 'x'", " NOT GLOB '1'", " + {}", " * {}"),
    *(" || {}", " IS DISTINCT FROM {}", " IS TRUE", " AND {}", " OR {}"),
)
VALUES: Final = ("0", "1", "2", "NULL", "NOT 1", "-1")


def meant(written: str) -> Any:
    """What SQLite makes of a secured expression. Raises QueryRefused."""
    text = secured(f"SELECT {written} AS x FROM products", policy("sqlite")).sql
    found = re.search(r"\) SELECT (.*) AS x FROM \"__g1\"", text, re.DOTALL)
    assert found is not None
    return asked(found[1])


def asked(expression: str) -> Any:
    with closing(sqlite3.connect(":memory:")) as database:
        return database.execute(f"SELECT {expression}").fetchone()[0]


@pytest.mark.slow
def test_random_chains_mean_what_sqlite_takes_them_to_mean() -> None:
    chance = random.Random(11)
    accepted = 0
    for _ in range(2_500):
        parts = [chance.choice(PARTS) for _ in range(chance.randint(2, 4))]
        written = chance.choice(VALUES) + "".join(part.format(*(chance.choice(VALUES) for _ in range(2))) for part in parts)
        try:
            answer = meant(written)
        except QueryRefused:
            continue
        accepted += 1
        assert answer == asked(written), written
    assert accepted > 600


@pytest.mark.parametrize(
    "written",
    ["2 < -1 NOT IN (2,1) IS NOT 1", "1 <> 1 NOT IN (NULL,1) IS TRUE", "-1 < 2 NOT IN (-1,1) IS NOT 1 IS TRUE", "1 < 2 NOT LIKE '2' IS NULL"],
)
def test_a_negated_condition_on_the_right_wants_brackets_of_the_bearer(written: str) -> None:
    """Of `1 < 2 NOT IN (3) IS NULL` the parser makes `(1 < (NOT 2 IN (3))) IS NULL`; SQLite compares 1 and 2 first."""
    with pytest.raises(QueryRefused, match="construct_refused"):
        meant(written)


def test_as_the_hint_says_it_goes_on_the_left() -> None:
    assert meant("(2 NOT IN (3)) = 1") == 1
