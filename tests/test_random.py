"""Random queries on both databases: rows equal to the model's (G1), nothing that depends on forbidden rows (G2), no refusal that runs SQL (G6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from fuzz import explore
from oracle import Stage
from strategies import BEARERS, Query, queries

EACH = 60


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Stage]]:
    """The databases of this module, made when first asked for."""
    made: dict[str, Stage] = {}

    def get(dialect: str) -> Stage:
        if dialect not in made:
            database = request.getfixturevalue("postgres") if dialect == "postgres" else None
            made[dialect] = Stage(dialect, tmp_path_factory.mktemp(f"random-{dialect}"), database)
        return made[dialect]

    yield get
    for each in made.values():
        each.close()


@pytest.mark.parametrize("bearer", BEARERS)
@pytest.mark.parametrize("dialect", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_random_queries_agree_with_the_oracles(dialect: str, bearer: str, stage: Callable[[str], Stage]) -> None:
    """No query among these is answered otherwise than from permitted rows, and most ordinary ones are answered."""
    tally = explore(stage(dialect), bearer, EACH, seed=20_260_101)
    print(f"{dialect}, {bearer}: {tally}")
    assert tally.asked >= EACH
    assert tally.acceptance >= 0.7, str(tally)


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_the_generator_writes_what_it_promises(dialect: str) -> None:
    """Among a few hundred queries there are all the shapes that hurt; a generator that lost one would prove less than it says."""
    wanted = {"LEFT JOIN", "FULL JOIN", "RIGHT JOIN", "WITH ", "EXISTS (", "UNION", "EXCEPT", "(SELECT"}
    wanted |= {" OVER (", "FILTER (", "HAVING", "LIMIT", "10 / (", "CAST("}
    found: set[str] = set()
    fallible = 0

    @settings(max_examples=300, database=None, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(queries(dialect))
    def look(query: Query) -> None:
        nonlocal fallible
        fallible += query.fallible
        found.update(each for each in wanted if each in query.sql)

    look()
    assert found == wanted
    assert fallible > 50
