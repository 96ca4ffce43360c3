"""Random queries on every database: rows equal to the model's (G1), nothing that depends on forbidden rows (G2), no refusal that runs SQL (G6)."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bearers import BEARERS, CONFIGURATIONS
from covered import CLAUSES, classes
from databases import DIALECTS, parameter
from fuzz import Batch, Tally, _Run, batches, explore
from oracle import Stage
from strategies import shrunk, write
from writer import FAILING_PLACES, Choices

EACH = {"sqlite": 60, "postgres": 60, "mariadb": 12, "duckdb": 12}
# A database is experimental as long as it stands here.
UNASKED = {("mariadb", "sources")}
# Places that these databases' SQL does not have.
ELSEWHERE = {"lateral": "lateral", "DISTINCT ON": "distinct on", "LATERAL": "lateral", "FILTER": "filter", "filter": "filter"}


def _batches() -> list[Any]:
    kinds = [
        (name, configuration, analyze)
        for name, dialect in DIALECTS.items()
        for configuration in CONFIGURATIONS
        for analyze in dialect.plans
        if (name, configuration) not in UNASKED
    ]
    return [
        parameter(name, Batch(name, configuration, bearer, analyze, number), id=Batch(name, configuration, bearer, analyze, number).name)
        for number, (name, configuration, analyze) in enumerate(kinds)
        for bearer in BEARERS
    ]


@pytest.mark.parametrize("batch", _batches())
def test_random_queries_agree_with_the_oracles(batch: Batch, stage: Callable[[str], Stage]) -> None:
    """No query among these is answered otherwise than from permitted rows, and most ordinary ones are answered."""
    tally = explore(stage(batch.dialect), batch, EACH[batch.dialect], seed=20_260_101)
    print(f"{batch.name}: {tally}")
    assert tally.asked == EACH[batch.dialect]
    assert tally.acceptance >= 0.7, str(tally)


@pytest.mark.slow
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_generator_writes_what_it_promises(dialect: str) -> None:
    """What fails stands in every clause, every template and every feature is used: a generator that lost one would prove less than it says."""
    speech, source = DIALECTS[dialect].speech, random.Random(1)
    written = [write(Choices(source=source), dialect, configuration) for _ in range(1500) for configuration in CONFIGURATIONS]
    lacking = {place for place, feature in ELSEWHERE.items() if feature not in speech.features}
    failing = Counter(place for query in written for place in query.failing)
    assert set(FAILING_PLACES) - lacking == failing.keys()
    assert min(failing.values()) >= 5, failing
    assert 900 < sum(bool(query.failing) for query in written) < 2400
    clauses = {clause for query in written for _, clause in classes(query.sql, DIALECTS[dialect].grammar)}
    assert set(CLAUSES) - lacking <= clauses | {"window", "LIMIT"}
    text = "\n".join(query.sql for query in written)
    for templates in (*speech.ordinary.values(), *speech.failing.values(), *speech.aggregates.values(), speech.ranks, speech.patterns):
        for template in templates:
            assert template.split("{", maxsplit=1)[0] in text, template
    said = {"right join": "RIGHT JOIN", "full join": "FULL JOIN", "full join on anything": "FULL JOIN", "lateral": "LATERAL (", "recursive": "WITH RECURSIVE"}
    said |= {
        "with hints": " MATERIALIZED (",
        "filter": "FILTER (",
        "grouping sets": "GROUPING SETS (",
        "distinct on": "DISTINCT ON (",
        "frames": " RANGE BETWEEN",
    }
    said |= {
        "frames of groups": " GROUPS BETWEEN",
        "named windows": " WINDOW w9 AS",
        "nulls first": "NULLS FIRST",
        "quantified": " SOME (",
        "except all": "EXCEPT ALL",
    }
    assert {feature for feature in speech.features & said.keys() if said[feature] not in text} == set()
    wanted = {"LEFT JOIN", "WITH ", "EXISTS (", "UNION", "EXCEPT", "(SELECT", "CAST(", " OVER (", "HAVING", "LIMIT", ":p0", "USING ("}
    assert {each for each in wanted if each not in text} == set()


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


@pytest.mark.parametrize("count", [1, 700, 20_000])
def test_a_run_asks_every_database_as_much_as_every_other(count: int) -> None:
    """All that were asked for, in batches that are told apart by their names."""
    asked: Counter[str] = Counter()
    names = set()
    for batch, size in batches(count, tuple(DIALECTS)):
        asked[batch.dialect] += size
        names.add(batch.name)
    assert set(asked.values()) <= {count // len(DIALECTS)}
    assert len(names) == len(list(batches(count, tuple(DIALECTS))))


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """What was asked, and all that came of it, is read back from the summary; another run's summary is refused."""
    path = tmp_path / "summary.json"
    run = _Run.resumed(path, 7, 1000, ("sqlite",))
    tally = Tally(asked=3, answerable=2, accepted=2, refused=Counter({"a": 1}), covered=Counter({("Select", "WHERE", "plain"): 2}))
    run.add(Batch("sqlite", "tables", "nobody"), tally, ["a finding"])
    run.write(path)
    assert _Run.resumed(path, 7, 1000, ("sqlite",)) == run
    assert json.loads(path.read_text())["tallies"]["sqlite"]["asked"] == 3
    with pytest.raises(SystemExit, match="another run"):
        _Run.resumed(path, 8, 1000, ("sqlite",))


@pytest.mark.slow
def test_a_difference_is_found_and_told_as_a_case(stage: Callable[[str], Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a filter lost, a random query would tell, and the finding would be a page of cases with the model's rows."""
    on = stage("sqlite")
    batch = Batch("sqlite", "tables", "a tenant")
    told: list[str] = []
    real = Stage.model
    monkeypatch.setattr(Stage, "model", lambda self, sql, params: (answer := real(self, sql, params)) and (answer[0], answer[1][1:]))
    explore(on, batch, 12, 3, lambda finding: told.append(str(finding)))
    assert told
    assert "G1: " in told[0]
    assert "```sql ask\nSELECT " in told[0]
    assert "```yaml grant\n" in told[0]
    assert "(SQLite only)" in told[0]
