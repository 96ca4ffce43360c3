"""Data sets: a token names those that its bearer may read, and says for each which rows."""

from __future__ import annotations

from typing import Any

import pytest

from place import OWN, Place
from rowseal import errors
from rowseal.gate import Access, Gate

IDS = "SELECT order_id FROM orders ORDER BY order_id"
BOTH = {"orders": OWN, "customers": OWN}


def refused(access: Access, sql: str) -> errors.Refused:
    with pytest.raises(errors.Refused) as found:
        access.execute(sql)
    return found.value


def rows(gate: Gate, token: str, sql: str = IDS) -> list[Any]:
    return [value for (value,) in gate.verify(token).execute(sql).rows]


def test_of_three_data_sets_the_two_that_are_named_may_be_read(place: Place) -> None:
    access = place.gate().verify(place.token(data_set_ids=["orders", "customers"], secure_filters=BOTH))
    assert access.execute("SELECT o.order_id, c.name FROM orders o JOIN customers c ON c.user_id = o.user_id ORDER BY 1").rows == [
        (1, "Ann"),
        (2, "Ann"),
        (3, "Ann"),
    ]
    for sql in ("SELECT id FROM salaries", "SELECT id FROM no_such_thing", "SELECT name FROM sqlite_master"):
        refusal = refused(access, sql)
        assert (refusal.code, refusal.status, refusal.detail) == ("dataset_unknown", 403, errors.CODES["dataset_unknown"].means)


def test_a_data_set_that_is_not_named_stays_closed_whatever_filters_it_has(place: Place) -> None:
    access = place.gate().verify(place.token(data_set_ids=["orders"], secure_filters=BOTH))
    assert refused(access, "SELECT name FROM customers").code == "dataset_unknown"


def test_a_star_names_every_data_set(place: Place) -> None:
    token = place.token(data_set_ids="*", secure_filters={**BOTH, "salaries": OWN})
    access = place.gate().verify(token)
    assert access.execute("SELECT amount FROM salaries").rows == [(9000,)]
    assert access.execute("SELECT name FROM customers").rows == [("Ann",)]


def test_a_star_without_filters_is_for_development(place: Place) -> None:
    """With an ordinary key nothing is read; with a development key everything that no guard closes and no configured filter hides."""
    everything = place.token(data_set_ids="*", secure_filters={})
    refusal = refused(place.gate().verify(everything), IDS)
    assert (refusal.code, refusal.hint) == (
        "filter_required",
        "add a secure filter for it to the token, or mark it `public: true`, or sign with a `development: true` key",
    )

    def development(document: Any) -> None:
        document["tokens"][0]["keys"][0]["development"] = True
        document["datasets"][2]["guards"] = [{"field": "user_id", "op": "="}]

    gate = place.gate(development)
    assert rows(gate, everything) == [1, 2, 3, 5, 6], "the configuration's own filter holds: order 4 is deleted"
    assert refused(gate.verify(everything), "SELECT id FROM salaries").code == "guard_unmet"


@pytest.mark.parametrize("filters", [{}, {"orders": []}, {"customers": OWN}], ids=["no entry", "an empty list", "of another data set"])
def test_a_list_of_filters_is_demanded_for_each_data_set(place: Place, filters: Any) -> None:
    """A data set may also be public, in writing; then it needs none and must still be named."""
    token = place.token(secure_filters=filters)
    assert refused(place.gate().verify(token), IDS).code == "filter_required"

    public = place.gate(lambda document: document["datasets"][0].update(public=True))
    assert rows(public, token) == [1, 2, 3, 5, 6]
    assert refused(public.verify(place.token(data_set_ids=["customers"], secure_filters={})), IDS).code == "dataset_unknown"


@pytest.mark.parametrize("ids", [["*"], [], "orders", None, ["orders", "*"], "** "], ids=str)
def test_only_the_star_itself_and_lists_of_ids_name_data_sets(place: Place, ids: Any) -> None:
    with pytest.raises(errors.TokenRefused) as found:
        place.gate().verify(place.sign(dataSetIds=ids))
    assert found.value.code == "claim_invalid"


def test_a_key_may_be_confined_to_data_sets(place: Place) -> None:
    gate = place.gate(lambda document: document["tokens"][0]["keys"][0].update(datasets=["customers"]))
    access = gate.verify(place.token(data_set_ids="*", secure_filters=BOTH))
    assert access.execute("SELECT name FROM customers").rows == [("Ann",)]
    assert refused(access, IDS).code == "dataset_unknown"


def test_the_request_may_say_which_data_set_it_reads(place: Place) -> None:
    access = place.gate().verify(place.token(data_set_ids=["orders", "customers"], secure_filters=BOTH))
    assert access.execute(IDS, dataset="orders").rows
    for other in ("customers", "absent"):
        with pytest.raises(errors.Refused) as found:
            access.execute(IDS, dataset=other)
        assert found.value.status == 403


# --- fields ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["user_id", "User ID"])
def test_a_filter_names_a_field_by_its_id_or_by_the_name_that_people_see(place: Place, spelling: str) -> None:
    token = place.token(secure_filters={"orders": [[{"field": spelling, "op": "=", "value": 7}]]})
    assert rows(place.gate(), token) == [1, 2, 3]


@pytest.mark.parametrize("spelling", ["user id", "User_ID", "UserID", "orders.user_id", "ID"])
def test_any_other_spelling_closes_the_data_set(place: Place, spelling: str) -> None:
    token = place.token(secure_filters={"orders": [[{"field": spelling, "op": "=", "value": 7}]]})
    assert refused(place.gate().verify(token), IDS).code == "filter_inapplicable"


def test_a_hidden_field_serves_filters_and_no_query(place: Place) -> None:
    deleted_too = place.token(secure_filters={"orders": [[*OWN[0], {"field": "deleted", "op": "=", "value": True}]]})
    assert rows(place.gate(), deleted_too) == [], "the configuration's filter is ANDed"
    access = place.gate().verify(place.token())
    for sql in ("SELECT deleted FROM orders", "SELECT order_id FROM orders WHERE deleted", "SELECT order_id FROM orders ORDER BY deleted"):
        hidden, unknown = refused(access, sql), refused(access, sql.replace("deleted", "absent"))
        assert (hidden.code, hidden.detail.replace("deleted", "absent")) == ("column_unknown", unknown.detail)
    assert len(access.execute("SELECT * FROM orders").columns) == 5


# --- the configuration only narrows ------------------------------------------------------------------------------------------------------


def test_the_configuration_s_filters_narrow_a_token_and_never_widen_it(place: Place) -> None:
    def only_eu(document: Any) -> None:
        document["datasets"][0]["secure_filters"].append({"field": "region", "op": "=", "value": "EU"})

    def of_user_8(document: Any) -> None:
        document["datasets"][0]["secure_filters"].append({"field": "user_id", "op": "=", "value": 8})

    token = place.token()
    assert rows(place.gate(), token) == [1, 2, 3]
    assert rows(place.gate(only_eu), token) == [1]
    assert rows(place.gate(of_user_8), token) == []


@pytest.mark.parametrize(
    ("filters", "met"),
    [
        (OWN, True),
        ([[{"field": "user_id", "op": "is_one_of", "value": [7, 8]}]], True),
        ([*OWN, [{"field": "user_id", "op": "=", "value": 8}]], True),
        ([*OWN, [{"field": "region", "op": "=", "value": "EU"}]], False),
        ([[{"field": "region", "op": "=", "value": "EU"}]], False),
        ([[{"field": "user_id", "op": "!=", "value": 7}]], False),
        ([[{"field": "user_id", "op": "is_one_of", "value": [7, 8, 9]}]], False),
    ],
    ids=["restricted", "by a list", "in both branches", "in one branch only", "not at all", "by another operator", "by too long a list"],
)
def test_a_guard_demands_that_every_or_branch_restricts_its_field(place: Place, filters: Any, met: bool) -> None:
    def guarded(document: Any) -> None:
        document["datasets"][0]["guards"] = [{"field": "user_id", "op": ["=", "is_one_of"], "max_values": 2}]

    access = place.gate(guarded).verify(place.token(secure_filters={"orders": filters}))
    if met:
        assert access.execute(IDS).rows
    else:
        assert refused(access, IDS).code == "guard_unmet"


def test_a_table_without_a_tenant_follows_its_parent(place: Place) -> None:
    gate = place.gate()
    assert rows(gate, place.token(data_set_ids=["orders", "items"]), "SELECT id FROM items") == [1]
    alone = refused(gate.verify(place.token(data_set_ids=["items"])), "SELECT id FROM items")
    assert (alone.code, "grant the parent dataset" in alone.hint) == ("filter_required", True)


# --- parameters --------------------------------------------------------------------------------------------------------------------------


def test_signed_parameters_fill_the_configuration_s_own_filters(place: Place) -> None:
    def by_region(document: Any) -> None:
        document["datasets"][0]["secure_filters"].append({"field": "region", "op": "=", "value": {"claim": "parameters.region"}})

    gate = place.gate(by_region)
    assert rows(gate, place.token(parameters={"region": "US"})) == [2]
    assert rows(gate, place.token(parameters={"region": "EU' OR 1=1 --"})) == []
    for parameters in (None, {}, {"Region": "US"}, {"region": None}, {"region": ["US"]}, {"region": {"in": "US"}}, {"region": 1}):
        assert refused(gate.verify(place.token(parameters=parameters)), IDS).code == "claim_required"


def test_parameters_are_the_token_s_and_the_request_s_own_are_others(place: Place) -> None:
    """A value sent with the query fills `:region` in the SQL and no filter."""

    def by_region(document: Any) -> None:
        document["datasets"][0]["secure_filters"].append({"field": "region", "op": "=", "value": {"claim": "parameters.region"}})

    access = place.gate(by_region).verify(place.token(parameters={"region": "US"}))
    assert access.execute("SELECT order_id FROM orders WHERE region = :region", {"region": "EU"}).rows == []
