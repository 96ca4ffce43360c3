"""The audit record: one line for each decision, and nothing in it that a log must not hold."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from rowseal import decisions
from rowseal.decisions import ALLOWED, Decision


def test_a_decision_is_one_line_of_json_with_every_member_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rowseal.decisions"):
        decisions.emit(
            Decision("r1", ALLOWED, 200, token="0123456789ab", key="k", connection="shop", datasets=("orders",), stages={"verify": 90}, rows=3, truncated=False)
        )
    assert [(entry.name, entry.levelno) for entry in caplog.records] == [("rowseal.decisions", logging.INFO)]
    assert "\n" not in caplog.records[0].message
    assert json.loads(caplog.records[0].message) == {
        "request_id": "r1",
        "code": "allowed",
        "status": 200,
        "token": "0123456789ab",
        "key": "k",
        "connection": "shop",
        "datasets": ["orders"],
        "stages": {"verify": 90},
        "rows": 3,
        "truncated": False,
        "reason": None,
    }


def test_a_name_with_a_line_break_cannot_forge_a_second_record(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rowseal.decisions"):
        decisions.emit(Decision("r", "dataset_unknown", 403, datasets=('a\n{"code":"allowed"}\u2028',)))
    assert caplog.records[0].message.isascii()
    assert len(caplog.records[0].message.splitlines()) == 1


def test_nothing_is_built_for_a_logger_that_nobody_listens_to(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "rowseal.decisions"):
        decisions.emit(Decision("r", ALLOWED, 200, datasets=(object(),)))  # would not go into JSON
    assert caplog.records == []


def test_inside_a_request_everybody_is_on_its_trail_and_outside_each_on_their_own() -> None:
    with decisions.follow() as outer:
        assert decisions.trail() is outer
        with decisions.follow() as inner:
            assert decisions.trail() is inner
            with ThreadPoolExecutor(1) as pool:  # as anyio does: a worker thread runs in a copy of the caller's variables
                assert pool.submit(copy_context().run, decisions.trail).result() is inner
        assert decisions.trail() is outer
        with decisions.current() as joined:
            assert joined is outer
    assert decisions.trail() is not decisions.trail()
    with decisions.current() as begun:
        assert decisions.trail() is begun
    assert decisions.trail() is not begun
    assert outer.request_id != inner.request_id


def test_stages_are_timed_also_when_they_refuse_and_add_up_when_entered_twice() -> None:
    with decisions.follow() as trail:
        with trail.stage("verify"):
            sum(range(20_000))
        once = trail.stages["verify"]
        with pytest.raises(KeyError), trail.stage("secure"):
            raise KeyError
        with trail.stage("verify"):
            sum(range(20_000))
    assert list(trail.stages) == ["verify", "secure"]
    assert trail.stages["verify"] > once > 0
    names = [part.partition(";dur=") for part in trail.server_timing.split(", ")]
    assert [name for name, _, _ in names] == ["verify", "secure"]
    assert float(names[0][2]) == pytest.approx(trail.stages["verify"] / 1000, abs=0.002)
