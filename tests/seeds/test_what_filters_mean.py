"""Secure filters: groups, flat lists, and each operator on rows that have it all: NULL, other letters, other tenants."""

from __future__ import annotations

from typing import Any

import pytest

from place import Place
from rowseal import errors
from rowseal.filters import Operator

OWN = {"field": "user_id", "op": "=", "value": 7}
EU = {"field": "region", "op": "=", "value": "EU"}
US = {"field": "region", "op": "=", "value": "US"}
DEAR = {"field": "amount", "op": ">", "value": 15}


def ids(place: Place, filters: Any, flat: str = "all") -> list[int]:
    """The orders that a bearer of these filters reads."""
    gate = place.gate(lambda document: document["tokens"][0].update(flat_filters=flat))
    result = gate.verify(place.sign(secureFilters={"orders": filters})).execute("SELECT order_id FROM orders ORDER BY order_id")
    return [value for (value,) in result.rows]


@pytest.mark.parametrize(
    ("filters", "read"),
    [
        ([[OWN]], [1, 2, 3]),
        ([[OWN, EU]], [1]),
        ([[OWN, EU], [OWN, DEAR]], [1, 2, 3]),
        ([[OWN, EU], [US, DEAR]], [1, 2]),
        ([[OWN, EU, DEAR]], []),
        ([[OWN], [EU]], [1, 2, 3, 5, 6]),
    ],
    ids=["one", "A and B", "(A and B) or (A and C)", "(A and B) or (C and D)", "A and B and C", "A or B"],
)
def test_the_outer_list_is_or_and_the_inner_list_is_and(place: Place, filters: Any, read: list[int]) -> None:
    assert ids(place, filters) == read


def test_a_flat_list_means_what_the_configuration_says_and_one_filter_is_never_in_doubt(place: Place) -> None:
    """Vendors have documented both readings. All must hold, unless the configuration says otherwise."""
    assert ids(place, [OWN, EU]) == ids(place, [OWN, EU], "all") == ids(place, [[OWN, EU]]) == [1]
    assert ids(place, [OWN, EU], "any") == ids(place, [[OWN], [EU]]) == [1, 2, 3, 5, 6]
    assert ids(place, [OWN]) == ids(place, [OWN], "any") == ids(place, [OWN], "reject") == [1, 2, 3]
    with pytest.raises(errors.TokenRefused) as found:
        ids(place, [OWN, EU], "reject")
    assert (found.value.code, "write [[A, B]] for A AND B, [[A], [B]] for A OR B" in found.value.detail) == ("filters_malformed", True)


@pytest.mark.parametrize("filters", [[[]], [[OWN], []], [OWN, [EU]], [[OWN], EU], {}, "x", None, [[[OWN]]], [None]], ids=str)
def test_groups_that_would_pass_everything_or_mean_nothing_are_refused(place: Place, filters: Any) -> None:
    with pytest.raises(errors.TokenRefused) as found:
        ids(place, filters)
    assert found.value.code == "filters_malformed"


# (field, operator, value) -> the orders of all users that pass; 4 is deleted. Codes: 1 'a1', 2 NULL, 3 'b%2', 5 'a5', 6 'a6'.
OPERATORS: dict[str, tuple[str, Any, list[int]]] = {
    "=": ("region", "EU", [1, 5, 6]),
    "!=": ("user_id", 7, [5]),
    ">": ("amount", 30, [5, 6]),
    ">=": ("amount", 30, [3, 5, 6]),
    "<": ("amount", 20, [1]),
    "<=": ("amount", 20, [1, 2]),
    "is_one_of": ("region", ["US", "eu"], [2, 3]),
    "is_not_one_of": ("user_id", [8], [1, 2, 3]),
    "starts_with": ("code", "a", [1, 5, 6]),
    "ends_with": ("code", "%2", [3]),
    "contains_substring": ("code", "%", [3]),
    "does_not_contain_substring": ("code", "a", [3]),
    "is_null": ("code", ..., [2]),
    "is_not_null": ("user_id", ..., [1, 2, 3, 5]),
    "between": ("amount", [20, 30], [2, 3]),
}


def test_every_operator_is_shown_here() -> None:
    """`array_contains` wants a column of lists, which this shop has not."""
    assert OPERATORS.keys() == {operator.value for operator in Operator} - {"array_contains"}


@pytest.mark.parametrize("operator", OPERATORS)
def test_each_operator_lets_through_what_it_says_and_null_only_when_asked_for(place: Place, operator: str) -> None:
    field, value, read = OPERATORS[operator]
    assert ids(place, [[{"field": field, "op": operator} | ({} if value is ... else {"value": value})]]) == read


@pytest.mark.parametrize(
    "condition",
    [
        {"field": "user_id", "op": "=", "value": None},
        {"field": "user_id", "op": "is_one_of", "value": []},
        {"field": "user_id", "op": "is_not_one_of", "value": []},
        {"field": "user_id", "op": "is_one_of", "value": [7, None]},
        {"field": "code", "op": "starts_with", "value": ""},
        {"field": "code", "op": "contains_substring", "value": ""},
        {"field": "user_id", "op": "==", "value": 7},
        {"field": "user_id", "op": "IN", "value": [7]},
        {"field": "user_id", "value": 7},
        {"field": "user_id", "op": "is_null", "value": True},
        {"field": "user_id", "op": "=", "value": 7, "not": True},
        {"op": "=", "value": 7},
    ],
    ids=str,
)
def test_a_filter_that_is_always_true_or_not_whole_is_refused(place: Place, condition: Any) -> None:
    with pytest.raises(errors.TokenRefused) as found:
        ids(place, [[condition]])
    assert found.value.code == "filters_malformed"
    assert "`secureFilters.orders[0][0]" in found.value.detail


@pytest.mark.parametrize("value", ["7", True, 7.5, 2**70])
def test_a_value_is_of_its_field_s_type_or_closes_the_data_set(place: Place, value: Any) -> None:
    """A number in quotes is no number, and true is not 1."""
    if value == 7.5:
        assert ids(place, [[{**OWN, "value": value}]]) == []
        return
    with pytest.raises(errors.AccessRefused) as found:
        ids(place, [[{**OWN, "value": value}]])
    assert found.value.code == "filter_inapplicable"


def test_text_is_compared_letter_by_letter(place: Place) -> None:
    assert ids(place, [[{**EU, "value": "eu"}]]) == [3]
    assert ids(place, [[{**EU, "value": "EU "}]]) == []


def test_a_value_is_never_sql(place: Place) -> None:
    assert ids(place, [[{**EU, "value": "EU' OR '1'='1"}]]) == []
