"""Random queries on every database: rows equal to the model's (G1), nothing that depends on forbidden rows (G2), no refusal that runs SQL (G6)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from databases import DIALECTS, parameter
from fuzz import explore
from oracle import Stage
from strategies import BEARERS, Choices, shrunk, write

EACH = 60


@pytest.mark.parametrize("bearer", BEARERS)
@pytest.mark.parametrize(
    ("dialect", "analyze"),
    [parameter(name, name, analyze, id=f"{name}{' with statistics' * analyze}") for name, dialect in DIALECTS.items() for analyze in dialect.plans],
)
def test_random_queries_agree_with_the_oracles(dialect: str, analyze: bool, bearer: str, stage: Callable[[str], Stage]) -> None:
    """No query among these is answered otherwise than from permitted rows, and most ordinary ones are answered."""
    tally = explore(stage(dialect), bearer, EACH, seed=20_260_101, analyze=analyze)
    print(f"{dialect}, {bearer}: {tally}")
    assert tally.asked >= EACH
    assert tally.acceptance >= 0.7, str(tally)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_generator_writes_what_it_promises(dialect: str) -> None:
    """Among a few hundred queries there are all the shapes that hurt; a generator that lost one would prove less than it says."""
    wanted = {"LEFT JOIN", "FULL JOIN", "RIGHT JOIN", "WITH ", "EXISTS (", "UNION", "EXCEPT", "(SELECT", "CAST("}
    wanted |= {" OVER (", "FILTER (", "HAVING", "LIMIT", "10 / (", ":p0"}
    source = random.Random(1)
    written = [write(Choices(source=source), dialect) for _ in range(400)]
    assert {each for each in wanted if any(each in query.sql for query in written)} == wanted
    assert 80 < sum(query.fallible for query in written) < 320


def test_a_failing_query_shrinks_to_what_makes_it_fail() -> None:
    """The smallest query that still holds the culprit is shown, not the one that was found."""
    source = random.Random(2)
    choices = next(each for each in iter(lambda: Choices(source=source), None) if "LEFT JOIN" in write(each, "sqlite").sql and len(each.made) > 60)

    def still(given: Sequence[int]) -> Sequence[int] | None:
        again = Choices(given)
        return again.made if "LEFT JOIN" in write(again, "sqlite").sql else None

    smallest = shrunk(choices.made, still)
    assert "LEFT JOIN" in write(Choices(smallest), "sqlite").sql
    assert len(write(Choices(smallest), "sqlite").sql) < 120
