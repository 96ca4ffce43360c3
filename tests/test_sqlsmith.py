"""What sqlsmith makes up over V's database (Debian's package `sqlsmith`; not among what `ROWSEAL_REQUIRE` demands).

It is fond of every type and function that PostgreSQL has, so that most of it is refused: here the closed world meets SQL that nobody
of this project wrote. It cuts what it asks for without an order, so that two databases may rightly give different rows.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable

import psycopg
import pytest

from bearers import BEARERS
from databases.postgres import libpq
from oracle import AFTER_SQL, Stage
from writer import LITERALS

QUERIES = 200
_CUT = re.compile(r"\b(limit|tablesample)\b", re.IGNORECASE)


def _made_up(url: str, seed: int) -> list[str]:
    target = psycopg.conninfo.make_conninfo(libpq(url))
    command = ["sqlsmith", "--dry-run", "--exclude-catalog", f"--max-queries={QUERIES}", f"--seed={seed}", f"--target={target}"]
    written = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return [text for each in re.split(r";\s*\n", written) if (text := each.strip())]


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.skipif(shutil.which("sqlsmith") is None, reason="sqlsmith is not installed: apt-get install sqlsmith")
@pytest.mark.parametrize("bearer", ["a tenant", "either of two"])
def test_nothing_that_sqlsmith_asks_gets_through_or_breaks_anything(
    bearer: str, stage: Callable[[str], Stage], record_property: Callable[[str, object], None]
) -> None:
    """Each query is answered rightly or refused, in the same words on both databases, and no refusal ran anything of it."""
    on = stage("postgres")
    on.set(BEARERS[bearer], LITERALS)
    came: Counter[str] = Counter()
    for sql in _made_up(on.model_url, seed=len(bearer)):
        judgement = on.judge_quickly(sql)
        full = judgement.full
        if not sql.lower().startswith(("select", "with")):
            assert full.rows is None, sql
        problems = [each for each in judgement.problems if not (each.startswith(("G1", "G2")) and full.code is None and _CUT.search(sql))]
        assert not problems, sql
        came["answerable"] += judgement.model is not None
        came["accepted"] += judgement.model is not None and (full.rows is not None or full.code in AFTER_SQL)
        came["refused"] += full.rows is None and full.code not in AFTER_SQL
    record_property("sqlsmith", dict(came))
    print(f"sqlsmith, {bearer}: {dict(came)}")
    assert came["answerable"] > QUERIES / 20
    assert came["refused"] > QUERIES / 2
