"""A query that was secured once is not read again: whoever asks it next gets the proven text with their own values.

Each test is a way in which one bearer could get what another may see, or learn that another has asked.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
import yaml

from databases import DIALECTS as SPOKEN
from harness import cases
from oracle import outcome_of
from place import OWN, Place
from policies import policy
from rowseal import errors
from rowseal.errors import OurBug
from rowseal.gate import Gate
from rowseal.gate import access as opened_by
from rowseal.gate.plans import Plans
from rowseal.gate.recent import Recent
from rowseal.sql import Plan
from rowseal.sql.dialects import DIALECTS
from rowseal.sql.names import DatasetLookup
from rowseal.sql.secure import secure
from rowseal.sql.witness import again, prove
from world import TABLES, VIEWS, Bearer, configuration_file, token

BY_USER = "SELECT order_id FROM orders WHERE amount > 5 ORDER BY order_id"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that was parsed, in order."""
    seen: list[str] = []
    admit = opened_by.admit

    def watched(sql: str, *more: Any) -> Any:
        seen.append(sql)
        return admit(sql, *more)

    monkeypatch.setattr(opened_by, "admit", watched)
    return seen


def of_user(number: int, op: str = "=") -> dict[str, Any]:
    value = [number] if op == "is_one_of" else number
    return {"secure_filters": {"orders": [[{"field": "user_id", "op": op, "value": value}]]}}


def test_hundreds_of_bearers_share_one_text_and_get_their_own_rows(place: Place, read: list[str]) -> None:
    gate = place.gate()
    found = {user: gate.verify(place.sign(secureFilters=of_user(user)["secure_filters"])).execute(BY_USER).rows for user in (*range(300), 7, 8)}
    assert found[7] == [(1,), (2,), (3,)]
    assert found[8] == [(5,)]
    assert not any(rows for user, rows in found.items() if user not in (7, 8))
    assert read == [BY_USER]


def test_policies_of_different_shapes_share_nothing(place: Place, read: list[str]) -> None:
    gate = place.gate()
    for op in ("=", "is_one_of", ">=", "="):
        gate.verify(place.token(**of_user(7, op))).execute(BY_USER)
    either = [[{"field": "user_id", "op": "=", "value": 7}], [{"field": "region", "op": "=", "value": "US"}]]
    assert gate.verify(place.token(secure_filters={"orders": either})).execute(BY_USER).rows == [(1,), (2,), (3,)]
    assert len(read) == 4


@pytest.mark.parametrize(
    "bearer",
    [
        {"data_set_ids": ["customers"], "secure_filters": {"customers": OWN}},
        {"secure_filters": {}},
        {"secure_filters": {"orders": [[{"field": "user_id", "op": "=", "value": "seven"}]]}},
    ],
    ids=["not granted", "no filter", "a filter that does not fit"],
)
def test_a_refusal_is_the_same_whether_somebody_has_asked_before_or_not(place: Place, bearer: dict[str, Any]) -> None:
    gate = place.gate()
    signed = place.token(**bearer)
    before = outcome_of(gate, signed, BY_USER)
    assert gate.verify(place.token()).execute(BY_USER).rows
    assert outcome_of(gate, signed, BY_USER) == before
    assert before.code in {"dataset_unknown", "filter_required", "filter_inapplicable"}


def test_the_one_dataset_that_a_request_names_is_part_of_the_question(place: Place) -> None:
    gate = place.gate()
    access = gate.verify(place.token())
    assert access.execute(BY_USER, dataset="orders").rows == access.execute(BY_USER).rows
    with pytest.raises(errors.AccessRefused, match="dataset_not_asked"):
        access.execute(BY_USER, dataset="items")


def ask(gate: Gate, place: Place) -> Callable[..., Any]:
    access = gate.verify(place.token())
    return lambda sql, **params: access.execute(sql, params).rows


def test_values_that_decide_what_a_query_becomes_are_part_of_the_question(place: Place, read: list[str]) -> None:
    """A LIMIT stands in the text as a number, a pattern is looked at before it is bound; a compared value is not."""
    asked = ask(place.gate(), place)
    limited = "SELECT order_id FROM orders ORDER BY order_id LIMIT :most"
    assert [asked(limited, most=each) for each in (1, 2, 1, 0)] == [[(1,)], [(1,), (2,)], [(1,)], []]
    assert len(read) == 3
    with pytest.raises(errors.QueryRefused, match="parameter_refused"):
        asked(limited, most=-1)
    pattern = "SELECT order_id FROM orders WHERE code LIKE :pattern ORDER BY order_id"
    assert asked(pattern, pattern="a%") == [(1,)]
    assert asked(pattern, pattern="b%") == [(3,)]
    read.clear()
    compared = "SELECT order_id FROM orders WHERE region = :region ORDER BY order_id"
    assert [asked(compared, region=each) for each in ("EU", "US", "eu", "", "' OR 1=1 --")] == [[(1,)], [(2,)], [(3,)], [], []]
    assert read == [compared]


def test_a_plan_that_one_parameter_decided_is_not_found_by_the_value_of_another() -> None:
    """The same text may be decided by `:a` for one bearer and by `:b` for the next; equal values of the two are no match."""
    dialect, given = DIALECTS["sqlite"], policy("sqlite")
    sql, plans = "SELECT id FROM orders WHERE amount > :a AND amount < :b", Plans(dialect)
    for decisive, value in (("a", 1), ("b", 2)):
        parsed = opened_by.admit(sql, {"a": value, "b": value}, dialect, given.catalog.limits, given.catalog.functions)
        plan = prove(secure(parsed, given, DatasetLookup(given.catalog.datasets, dialect), given.catalog.limits), given)
        parsed.params.decisive.add(decisive)
        plans.keep(sql, parsed.params, None, given, plan)
    assert plans.recall(sql, {"a": 0, "b": 2}, None, given) is not None
    assert plans.recall(sql, {"a": 0, "b": 1}, None, given) is None


def test_the_kinds_of_parameters_are_part_of_the_question(place: Place, read: list[str]) -> None:
    asked = ask(place.gate(), place)
    compared = "SELECT order_id FROM orders WHERE amount = :amount"
    assert [asked(compared, amount=each) for each in (10, 10.0, "10", True, None)] == [[(1,)], [(1,)], [(1,)], [], []]
    assert len(read) == 5
    for unfit in ({}, {"amount": 10, "more": 1}, {"amount": [10]}, {"amount": 2**63}, {"amount": float("nan")}, {"amount": "\0"}, {"another": 1}):
        with pytest.raises(errors.QueryRefused, match="parameter_"):
            asked(compared, **unfit)


def test_what_is_no_query_is_refused_as_ever(place: Place) -> None:
    access = place.gate().verify(place.token())
    strange: list[tuple[Any, Any]] = [(None, None), (7, None), (b"SELECT 1", None), (BY_USER, 7), (BY_USER, {7: 7}), (BY_USER, [1])]
    for sql, params in strange:
        with pytest.raises(errors.QueryRefused):
            access.secure(sql, params)


def test_a_filter_that_a_reload_adds_holds_for_a_text_that_was_asked_before(place: Place) -> None:
    gate = place.gate()
    signed = place.token()
    assert gate.verify(signed).execute(BY_USER).rows == [(1,), (2,), (3,)]
    document = yaml.safe_load(place.file.read_text())
    document["datasets"][0]["secure_filters"].append({"field": "region", "op": "=", "value": "US"})
    place.file.write_text(yaml.safe_dump(document))
    gate.reload()
    assert gate.verify(signed).execute(BY_USER).rows == [(2,)]


def test_nothing_that_is_kept_holds_a_bearer_s_value(place: Place) -> None:
    """Neither a filter's nor a parameter's, but for the few that decided what the text became."""
    gate = place.gate()
    kept = gate._state.connections["default"].plans
    filters = [[{"field": "user_id", "op": "=", "value": 7}, {"field": "region", "op": "is_one_of", "value": ["EU", "canary-of-a-filter"]}]]
    query = "SELECT order_id FROM orders WHERE region <> :region"
    assert gate.verify(place.token(secure_filters={"orders": filters})).execute(query, {"region": "canary-of-a-parameter"}).rows == [(1,)]
    reached, pending = set(), [kept]
    while pending:
        thing: Any = pending.pop()
        if id(thing) in reached or isinstance(thing, (type, FunctionType, ModuleType)):
            continue
        reached.add(id(thing))
        assert not (isinstance(thing, str) and "canary" in thing), thing
        pending.extend(gc.get_referents(thing))
    assert len(reached) > 50


def test_no_text_is_read_through_a_policy_of_another_shape() -> None:
    """Whatever a look-up gives, the witness proves the values and the shape again."""
    dialect = DIALECTS["sqlite"]
    mine, same, other = (
        policy("sqlite", {"orders": [[{"field": "tenant", "op": op, "value": value}]]}) for op, value in (("=", 1), ("=", 2), ("is_one_of", [1]))
    )

    def planned(given: Any) -> tuple[Plan, Any]:
        parsed = opened_by.admit("SELECT id FROM orders", None, dialect, given.catalog.limits, given.catalog.functions)
        draft = secure(parsed, given, DatasetLookup(given.catalog.datasets, dialect), given.catalog.limits)
        return prove(draft, given), draft.params

    plan, values = planned(mine)
    assert again(plan, mine, values).params == {"g1_0": 1}
    with pytest.raises(OurBug):
        again(plan, mine, planned(same)[1])  # another bearer's values
    for stranger in (same, other):  # policies of another catalog, and of another shape
        with pytest.raises(OurBug):
            again(plan, stranger, values)
    for unfit in ({}, {"g1_0": 2}, {"g1_0": True}, {"g1_0": "1"}, {"g1_0": 1, "g1_1": 1}, {"g1_0": 1, "p_x": 1}):
        with pytest.raises(OurBug):
            again(plan, mine, unfit)
    with pytest.raises(TypeError):
        Plan()


def test_what_is_kept_is_bounded(place: Place) -> None:
    gate = place.gate()
    access = gate.verify(place.token())
    kept = gate._state.connections["default"].plans
    for number in range(30):
        access.secure(f"SELECT order_id, {number} AS n FROM orders")
    assert len(kept._plans) == len(kept._reads) == 30
    with pytest.raises(errors.QueryRefused):
        access.secure("SELECT order_id FROM nothing_of_the_kind JOIN")
    assert len(kept._plans) == 30, "a refusal is not kept"


def _tenants(op: str, value: Any) -> dict[str, Any]:
    return {name: [[{"field": "tenant_id", "op": op, "value": value}]] for name in ("orders", "customers")}


BEARERS = (
    *(
        Bearer(("orders", "customers", "order_items"), {name: [[{"field": "tenant_id", "op": "=", "value": tenant}]] for name in ("orders", "customers")})
        for tenant in (1, 2)
    ),
    Bearer(("orders", "customers"), {name: [[{"field": "tenant_id", "op": "is_one_of", "value": [1, 2]}]] for name in ("orders", "customers")}),
    Bearer("*", {}, development=True),
    Bearer(("products",), {}),
)


def test_whoever_asks_whatever_was_asked_before_gets_what_a_gate_without_a_memory_gives(tmp_path: Path) -> None:
    """The queries of all pages, each by bearers of several shapes, in an order of chance, twice."""
    database = SPOKEN["sqlite"].new(None, tmp_path / "data")  # type: ignore[arg-type] -- takes no server
    database.fill(TABLES, VIEWS, analyze=False)
    warm, cold = (Gate.from_yaml(configuration_file(folder, database.url)) for folder in (_made(tmp_path / "warm"), _made(tmp_path / "cold")))
    cold._state.connections["default"].plans._reads = Recent(entries=0, weight=0)
    texts = [(case.sql, case.params) for case in cases() if "sqlite" in case.dialects]
    chance = random.Random(7)
    questions = [(token(bearer), sql, params) for sql, params in chance.sample(texts, 60) for bearer in BEARERS] * 2
    chance.shuffle(questions)
    answered = 0
    try:
        for signed, sql, params in questions:
            known, anew = (outcome_of(gate, signed, sql, params) for gate in (warm, cold))
            assert known.seen(ordered=True) == anew.seen(ordered=True), sql
            answered += known.rows is not None
        assert answered > 150
        assert len(warm._state.connections["default"].plans._plans) > 50
    finally:
        warm.close()
        cold.close()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
