"""The grammar of secure filters: what is read as what, and that everything else is refused with its position and without its values."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowseal import filters
from rowseal.filters import Filter, FilterMalformed, FlatFilters, Operator, read_filter, read_tree

SECRET = "s3cr3t"


def raw(field: Any = "f", op: Any = "=", **more: Any) -> dict[str, Any]:
    return {"field": field, "op": op, **({"value": 1} | more)}


A, B, C = raw("a"), raw("b"), raw("c")
FA, FB, FC = (Filter(name, Operator.EQ, 1) for name in "abc")


@pytest.mark.parametrize(
    ("written", "flat", "means"),
    [
        ([[A, B], [C]], FlatFilters.ALL, ((FA, FB), (FC,))),
        ([[A, B], [C]], FlatFilters.ANY, ((FA, FB), (FC,))),
        ([[A, B], [C]], FlatFilters.REJECT, ((FA, FB), (FC,))),
        ([A], FlatFilters.ALL, ((FA,),)),
        ([A], FlatFilters.ANY, ((FA,),)),
        ([A], FlatFilters.REJECT, ((FA,),)),
        ([A, B], FlatFilters.ALL, ((FA, FB),)),
        ([A, B], FlatFilters.ANY, ((FA,), (FB,))),
    ],
)
def test_groups_are_ored_filters_of_a_group_are_anded_and_a_flat_list_is_read_as_configured(written: Any, flat: FlatFilters, means: Any) -> None:
    assert read_tree(written, flat) == means


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (None, ""),
        ({}, ""),
        ("[]", ""),
        (A, ""),
        ([], ""),  # `some()` of nothing, which one evaluator called true
        ([[]], "[0]"),
        ([[A], []], "[1]"),
        ([A, [B]], "[0]"),
        ([[A], B], "[1]"),
        ([None], "[0]"),
        ([[None]], "[0][0]"),
        ([[[A]]], "[0][0]"),
        ([[A, B, {}]], "[0][2].field"),
        ([A, raw(op="like")], "[1].op"),
        ([[A], [B, raw(value=None)]], "[1][1].value"),
        ([[A]] * 101, ""),
        ([A] * 101, ""),
        ([[A] * 101], "[0]"),
    ],
)
def test_every_other_shape_is_refused_where_it_goes_wrong(written: Any, path: str) -> None:
    with pytest.raises(FilterMalformed) as refused:
        read_tree(written, FlatFilters.ALL)
    assert refused.value.path == path
    assert str(refused.value) == (f"`{path}` {refused.value.reason}" if path else refused.value.reason)


def test_the_bounds_themselves_are_accepted() -> None:
    assert len(read_tree([[A] * 100] * 100, FlatFilters.REJECT)) == 100
    assert read_filter(raw("f" * 256)).field == "f" * 256
    assert read_filter(raw(op="is_one_of", value=["", "x" * 4096])).value == ("", "x" * 4096)


@pytest.mark.parametrize("name", ["", "f" * 257, None, 1])
def test_the_name_of_a_field_has_its_bounds(name: Any) -> None:
    with pytest.raises(FilterMalformed) as refused:
        read_filter(raw(name))
    assert refused.value.path == ".field"


def test_a_flat_list_of_two_can_be_refused_by_configuration() -> None:
    with pytest.raises(FilterMalformed, match="flat list"):
        read_tree([A, B], FlatFilters.REJECT)


@pytest.mark.parametrize("op", [op.value for op in Operator])
def test_every_operator_is_read_by_its_own_spelling_and_no_other(op: str) -> None:
    examples: dict[str, dict[str, Any]] = {
        "is_null": {},
        "is_not_null": {},
        "between": {"value": [1, 2]},
        "is_one_of": {"value": ["x", "y"]},
        "is_not_one_of": {"value": [1]},
    }
    members = examples.get(op, {"value": "x"})
    read = read_filter({"field": "f", "op": op, **members})
    assert (read.field, read.op.value) == ("f", op)
    assert read.value == (tuple(members["value"]) if isinstance(members.get("value"), list) else members.get("value"))
    for other in (op.upper() if op.upper() != op else f"{op}{op}", f" {op}", f"{op} "):
        with pytest.raises(FilterMalformed):
            read_filter({"field": "f", "op": other, **members})


ACCEPTED: list[tuple[list[str], list[Any]]] = [
    (["=", "!="], [0, -1, True, False, "", "x", Decimal("1.5"), 2**200]),
    ([">", ">=", "<", "<="], [0, "2024-01-01", Decimal("1.0")]),
    (["is_one_of", "is_not_one_of"], [[0], [False], ["", "x"], [1, Decimal("1.5")], list(range(100_000))]),
    (["between"], [[1, 2], ["a", "b"], [2, 1], [1, Decimal("1.5")]]),
    (["starts_with", "ends_with", "contains_substring", "does_not_contain_substring", "array_contains"], ["x", " ", "%", "x" * 4096]),
]
REFUSED: list[tuple[list[str], list[Any]]] = [
    ([op.value for op in Operator], [None, {}, {"a": 1}, [], [None], [[1]], [{}], 1.5, float("nan"), "x" * 4097, ["x" * 4097], ["", "x" * 4097], b"x"]),
    (["=", "!=", ">", ">=", "<", "<="], [[1], ["x"], [1, 2]]),
    ([">", ">=", "<", "<="], [True, False]),
    (["is_one_of", "is_not_one_of"], [1, "x", "x,y", True, [1, "1"], [1, True], [True, 0], ["x", None], [1.5], list(range(100_001))]),
    (["between"], [1, "x", [1], [1, 2, 3], [1, "2"], [True, False], [None, 1]]),
    (["starts_with", "ends_with", "contains_substring", "does_not_contain_substring", "array_contains"], ["", 0, 1, True, ["x"], Decimal(1)]),
    (["is_null", "is_not_null"], [1, "", True]),
]


@pytest.mark.parametrize(("op", "value"), [(op, value) for ops, values in ACCEPTED for op in ops for value in values], ids=lambda part: repr(part)[:30])
def test_a_value_that_makes_sense_for_its_operator_is_kept_as_it_is(op: str, value: Any) -> None:
    read = read_filter(raw(op=op, value=value))
    wanted = tuple(value) if isinstance(value, list) else value
    assert read.value == wanted
    assert type(read.value) is type(wanted)


@pytest.mark.parametrize(("op", "value"), [(op, value) for ops, values in REFUSED for op in ops for value in values], ids=lambda part: repr(part)[:30])
def test_a_value_that_makes_no_sense_for_its_operator_is_refused(op: str, value: Any) -> None:
    with pytest.raises(FilterMalformed):
        read_filter(raw(op=op, value=value))


@pytest.mark.parametrize(
    "written",
    [
        {"op": "=", "value": 1},
        {"field": "f", "value": 1},
        {"field": "f", "op": "="},  # JavaScript drops `value: undefined`: a host without an id must not read everything
        {"field": "f", "op": "is_null", "value": None},
        {"field": "f", "op": "=", "value": 1, "function": "year"},
        {"field": "f", "op": "=", "value": 1, "Value": 2},
        {"Field": "f", "op": "=", "value": 1},
        raw(field=""),
        raw(field="f" * 257),
        raw(field=["f"]),
        raw(field=None),
        raw(field=1),
        raw(field={"type": "number", "value": 1}),  # a literal for a field: 1 = 1
        raw(op=None),
        raw(op=["="]),
        raw(op={"=": 1}),
        raw(op=""),
        raw(op="=="),
        raw(op="or"),
    ],
    ids=repr,
)
def test_a_filter_has_exactly_its_members(written: Any) -> None:
    with pytest.raises(FilterMalformed):
        read_filter(written)


@pytest.mark.parametrize(
    "written",
    [
        raw(value={"x": SECRET}),
        raw(op=SECRET),
        raw(field=[SECRET]),
        raw(op="is_one_of", value=[SECRET, 1]),
        raw(op="is_one_of", value=SECRET),
        raw(op=">", value=[SECRET]),
        {**raw(), SECRET: 1},
        raw(value=SECRET * 1000),
    ],
    ids=lambda written: repr(written)[:60],
)
def test_a_refusal_never_says_what_stood_there(written: Any) -> None:
    with pytest.raises(FilterMalformed) as refused:
        read_tree([[A, written]], FlatFilters.ALL)
    assert SECRET not in str(refused.value)
    assert refused.value.path.startswith("[0][1]")


def test_null_is_refused_with_its_own_cure() -> None:
    with pytest.raises(FilterMalformed, match="is_null"):
        read_filter(raw(value=None))


def test_a_filters_value_is_not_in_its_repr() -> None:
    assert SECRET not in repr(read_tree([[raw(value=SECRET), raw(op="is_one_of", value=[SECRET])]], FlatFilters.ALL))


def test_the_reference_names_every_operator_and_the_bounds() -> None:
    page = (Path(__file__).parents[1] / "docs/reference/operators.md").read_text("utf-8")
    rows = re.findall(r"^\| (`[^|]+`) \| [^|]+ \| [^|]+ \| [^|]+ \|$", page, re.MULTILINE)
    assert {name for row in rows for name in re.findall("`([^`]+)`", row)} == {op.value for op in Operator}
    bounds = [int(number.replace(",", "")) for number in re.findall(r"^\| [a-z' ]+ \| ([0-9,]+) \|$", page, re.MULTILINE)]
    assert bounds == [filters.GROUPS, filters.FILTERS_OF_A_GROUP, filters.LIST_VALUES, filters.STRING_LENGTH, filters.FIELD_LENGTH]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["field", "op", "value", "x"]), inner, max_size=4)
        | st.fixed_dictionaries({"field": st.just("f"), "op": st.sampled_from([op.value for op in Operator]), "value": inner})
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from(FlatFilters))
def test_any_json_is_either_refused_or_read_into_a_tree_without_empty_parts(written: Any, flat: FlatFilters) -> None:
    try:
        tree = read_tree(written, flat)
    except FilterMalformed:
        return
    assert tree
    assert all(tree)
    for group in tree:
        for item in group:
            assert (item.value is None) == (item.op in {Operator.IS_NULL, Operator.IS_NOT_NULL})
            assert item.value != ()
