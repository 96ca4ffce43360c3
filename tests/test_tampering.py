"""Over thousands of secured queries: whatever is done to a draft after it was written, the witness refuses it. See `tampering`."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

import world_policies
from bearers import BEARERS
from harness import cases
from policies import draft
from rowseal.errors import Refused
from rowseal.policy import Policy
from rowseal.sql import Draft
from rowseal.sql.witness import attest
from tampering import OPERATORS, Tally, explore, tamper

SELDOM = {"another question asked", "another truth handed on"}  # they fit guards in the form that few queries need
QUERIES = 450  # of each dialect, and two operators for each of them; `python -m tests.tampering` takes all


@pytest.mark.slow
@pytest.mark.parametrize(("part", "dialect"), [*product(range(3), ("sqlite", "postgres")), (0, "duckdb")])  # `make tamper` asks DuckDB as much
def test_no_change_of_a_random_query_is_overlooked(dialect: str, part: int) -> None:
    """Every operator fits some of the queries, and wherever one fits the change is noticed."""
    tally = explore(dialect, QUERIES // 3, seed=part, each=2)
    assert tally.missed == []
    assert OPERATORS.keys() - tally.refused.keys() <= SELDOM


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_no_change_of_a_case_is_overlooked(dialect: str) -> None:
    """The queries of every page of cases, as far as they can be asked without a database."""
    source, tally, catalog = random.Random(dialect), Tally(), world_policies.catalog(dialect)
    policies = [world_policies.policy(catalog, bearer) for bearer in BEARERS.values()]
    for case in cases():
        policy = source.choice(policies)
        given = _secured(case.sql, policy, case.params)
        if given is not None and dialect in case.dialects:
            tamper(given, policy, source, tally, each=1)
    assert tally.missed == []
    assert tally.secured > 150
    assert tally.refused.total() > 300


def _secured(sql: str, policy: Policy, params: Mapping[str, Any]) -> Draft | None:
    try:
        return draft(sql, policy, dict(params))
    except Refused:
        return None


def test_the_witness_proves_what_may_be_read_and_not_what_was_asked() -> None:
    """Left to the oracles: two guards that each prove, read in each other's place. Every row is permitted; the answer is another one.

    So are changes of the bearer's own part that read no table: another literal, another parameter's value, RECURSIVE where nothing recurs.
    """
    policy = world_policies.policy(world_policies.catalog("sqlite"), BEARERS["a tenant"])
    given = draft("SELECT a.id FROM customers AS a JOIN employees AS b ON a.id = b.id", policy)
    moved = given.body.replace('"__g1"', '"__g0"').replace('"__g2"', '"__g1"').replace('"__g0"', '"__g2"')
    assert moved != given.body
    changed = replace(given, recursive=True, body=moved.replace("10001", "10"))
    assert attest(changed, policy).reads == attest(given, policy).reads
