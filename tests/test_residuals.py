"""The measurement of what a clock can tell: that it runs, that it computes what it says, and that the page shows what it writes."""

from __future__ import annotations

import gc
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from benchmarks import residuals


def _form(page: str) -> list[str]:
    """The page's measured tables: their heads, and what each line is about."""
    tables = re.findall(r"(?s)<!-- measured: \w+ -->\n(.*?)\n<!-- end -->", page)
    lines = [table.splitlines() for table in tables]
    return [line for table in lines for line in table[:2]] + [line.split(" | ")[0] for table in lines for line in table[2:]]


@pytest.mark.slow
def test_the_page_shows_what_the_measurement_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    written = residuals.PAGE.read_text(encoding="utf-8")
    copy = tmp_path / "residuals.md"
    copy.write_text(written, encoding="utf-8")
    monkeypatch.setattr(residuals, "PAGE", copy)
    monkeypatch.setattr(residuals, "OTHERS", (0, 200, 400))
    residuals.main(["--pairs", "20", "--write"])
    again = copy.read_text(encoding="utf-8").replace("with 400", "with 80,000")
    assert len(_form(written)) == 13
    assert _form(again) == _form(written)
    assert re.sub(r"(?m)^\|.*$", "", again) == re.sub(r"(?m)^\|.*$", "", written)  # nothing but tables is written
    assert capsys.readouterr().out.count("\n| ") == 12


def test_welch_s_t_is_the_one_of_the_books() -> None:
    """Means 3 and 6, variances 2.5 and 10, five values each: -3 / sqrt(0.5 + 2)."""
    assert math.isclose(residuals.welch([1, 2, 3, 4, 5], [2, 4, 6, 8, 10]), -3 / math.sqrt(2.5))
    assert residuals.welch([5, 5], [5, 5]) == 0
    assert residuals.welch([5, 5], [6, 6]) == -math.inf
    assert residuals.welch([5, 6], []) == -math.inf


def test_both_sides_are_cut_at_the_same_time() -> None:
    """Each cut at its own would make two sides alike that are not."""
    samples = ([1, 2, 3, 100], [10, 20, 30, 40])
    assert residuals.cropped(samples, 1) == samples
    assert residuals.cropped(samples, 0.5) == ([1, 2, 3], [10])


def test_a_difference_is_found_where_there_is_one() -> None:
    """A signature that is computed and one that is not: the measurement can fail."""

    def little() -> None:
        sum(range(10))

    def more() -> None:
        sum(range(3_000))

    samples = residuals._sampled(little, more, 300)
    assert abs(residuals.welch(*residuals.cropped(samples, 0.95))) > residuals.GOAL


@pytest.mark.parametrize(
    "pair",
    [("SELECT row_id FROM wager", "SELECT row_id FROM wages"), ("SELECT margit FROM plain", "SELECT margin FROM plain")],
    ids=["a dataset: unknown, ungranted", "a column: unknown, hidden"],
)
def test_two_refusals_that_say_the_same_take_the_same_steps(pair: tuple[str, str], tmp_path: Path) -> None:
    """Every call of a function of ours, in its order: what no clock can be made to say on a busy machine."""
    gate, access, _ = residuals._opened(tmp_path)
    try:
        for sql in pair:
            residuals._asking(access, sql)()  # what is found out once has been found out
        unknown, forbidden = (_steps(residuals._asking(access, sql)) for sql in pair)
    finally:
        gate.close()
    assert len(unknown) > 50
    assert forbidden == unknown


def _steps(run: Callable[[], None]) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        # Ours alone: how the standard library waits for a lock or remembers a class depends on what ran before.
        if "rowseal" in Path(frame.f_code.co_filename).parts:
            told.append((event, argument.__qualname__ if event.startswith("c_") else frame.f_code.co_qualname))

    gc.collect()
    gc.disable()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
        gc.enable()
    return told
