"""The table of sabotages is about the source as it stands, and its runner tells a test that noticed from one that only broke.

All of them run with `make sabotage`; here, the few that are caught fastest.
"""

from __future__ import annotations

import ast

import pytest

from mutation.sabotage import ROOT, problems, run, sabotaged
from mutation.sabotages import SABOTAGES, Sabotage

QUICK = ("any signature will do", "no filter means all rows", "the witness lets tables pass")


def test_there_are_enough_and_each_is_another() -> None:
    assert len(SABOTAGES) >= 40
    assert len({each.name for each in SABOTAGES}) == len({(each.file, each.line) for each in SABOTAGES}) == len(SABOTAGES)


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda each: each.name)
def test_each_is_about_a_line_of_the_source_and_names_its_tests(sabotage: Sabotage) -> None:
    """Whoever changes the line changes the entry; and what is sabotaged is still a program."""
    assert problems(sabotage) == []
    source = (ROOT / "src" / "rowseal" / sabotage.file).read_text()
    assert ast.dump(ast.parse(sabotaged(source, sabotage))) != ast.dump(ast.parse(source))


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_the_quickest_are_caught(name: str) -> None:
    sabotage = next(each for each in SABOTAGES if each.name == name)
    outcome = run(sabotage, sabotage.tests)
    assert (outcome.verdict, outcome.test.partition("[")[0]) == ("caught", f"tests/{sabotage.tests[0]}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("_LISTS: Final = frozenset({Operator.IS_NOT_ONE_OF, Operator.IS_ONE_OF})", "survived"),
        ("_LISTS: Final = frozenset({Operator.IS_ONE_OF, Operator.NOT_THERE})", "broken"),
    ],
    ids=["nothing", "only that something broke"],
)
def test_the_runner_tells_what_was_noticed(line: str, verdict: str) -> None:
    """A change that changes nothing survives, one that breaks the import proves nothing."""
    before = "_LISTS: Final = frozenset({Operator.IS_ONE_OF, Operator.IS_NOT_ONE_OF})"
    changed = Sabotage("", "filters.py", before, line, "", ())
    assert run(changed, ("test_filters.py::test_a_value_that_makes_sense_for_its_operator_is_kept_as_it_is",)).verdict == verdict


def test_an_entry_that_outlived_its_line_is_told() -> None:
    gone = Sabotage("", "filters.py", "no such line", "pass", "", ("test_filters.py::test_no_such",))
    assert problems(gone) == ["the line stands 0 times in filters.py: no such line", "there is no test test_filters.py::test_no_such"]
