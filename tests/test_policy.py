"""The policy: which rows of which dataset a grant permits, and everything that refuses one."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowseal.catalog import Catalog, ClaimFilter, ConfigFilter, Dataset, Field, FieldType, Guard, Storage, ThroughFilter
from rowseal.catalog.values import Inapplicable, operators, sorts, typed
from rowseal.claims import KeyFacts
from rowseal.errors import AccessRefused
from rowseal.filters import Filter, FilterTree, Operator
from rowseal.grants import Grant
from rowseal.policy import AllOf, AnyOf, Condition, Policy, Rows, Shaped, Through, shape
from rowseal.sql.dialects import DIALECTS
from rowseal.sql.guards import render
from rowseal.sql.proof import prove_guard

D = Decimal
EQ, NE, GT, ONE_OF, NOT_ONE_OF, BETWEEN = Operator.EQ, Operator.NE, Operator.GT, Operator.IS_ONE_OF, Operator.IS_NOT_ONE_OF, Operator.BETWEEN
STARTS, NULL = Operator.STARTS_WITH, Operator.IS_NULL
_TYPES = {
    Storage.INTEGER: FieldType.NUMBER,
    Storage.DECIMAL: FieldType.NUMBER,
    Storage.HUGE: FieldType.NUMBER,
    Storage.FLOAT: FieldType.NUMBER,
    Storage.TEXT: FieldType.STRING,
    Storage.UUID: FieldType.STRING,
    Storage.ENUM: FieldType.STRING,
    Storage.BOOLEAN: FieldType.BOOLEAN,
    Storage.DATE: FieldType.DATE,
    Storage.TEXT_DATE: FieldType.DATE,
    Storage.TIMESTAMP: FieldType.DATE_TIME,
    Storage.TIMESTAMPTZ: FieldType.DATE_TIME,
    Storage.TEXT_TIMESTAMP: FieldType.DATE_TIME,
}
_FORMATS = {Storage.TEXT_DATE: "%Y-%m-%d", Storage.TEXT_TIMESTAMP: "%Y-%m-%d %H:%M:%S"}


def field(storage: Storage = Storage.INTEGER, id_: str = "f", **more: Any) -> Field:
    return Field(id_, more.pop("name", id_), id_, id_, _TYPES[storage], storage, **{"format": _FORMATS.get(storage), **more})


UUID_TEXT = "0190a5f2-7c1e-7000-8000-00000000abcd"
BERLIN = field(Storage.TIMESTAMP, timezone="Europe/Berlin")
TYPED: list[tuple[str, Field, Operator, Any, tuple[Any, ...]]] = [
    ("sqlite", field(), EQ, 7, (7,)),
    ("sqlite", field(), EQ, D("7.0"), (7,)),
    ("sqlite", field(), EQ, D("7.5"), (7.5,)),
    ("sqlite", field(), EQ, -(2**63), (-(2**63),)),
    ("sqlite", field(Storage.FLOAT), EQ, 7, (7.0,)),
    ("sqlite", field(Storage.DECIMAL), EQ, D("0.1"), (0.1,)),
    ("sqlite", field(), ONE_OF, (1, D("1.5")), (1, 1.5)),
    ("sqlite", field(), BETWEEN, (1, 2), (1, 2)),
    ("sqlite", field(), NULL, None, ()),
    ("postgres", field(), EQ, 2**63, (D(2**63),)),
    ("postgres", field(), EQ, D("7.50"), (D("7.50"),)),
    ("postgres", field(), ONE_OF, (1, D("1.5"), 2**70), (D(1), D("1.5"), D(2**70))),
    ("postgres", field(), BETWEEN, (1, D("6.5")), (D(1), D("6.5"))),
    ("postgres", field(Storage.DECIMAL), EQ, D("12345678901234567890.123"), (D("12345678901234567890.123"),)),
    ("postgres", field(Storage.FLOAT), EQ, D("0.1"), (0.1,)),
    ("postgres", field(exact=True), EQ, "9007199254740993", (9007199254740993,)),
    ("postgres", field(exact=True), EQ, "-0.5", (D("-0.5"),)),
    ("sqlite", field(exact=True), ONE_OF, ("1", 2), (1, 2)),
    ("sqlite", field(Storage.TEXT), EQ, "", ("",)),
    ("sqlite", field(Storage.TEXT), EQ, "größe \U0001f600 %_:x", ("größe \U0001f600 %_:x",)),
    ("sqlite", field(Storage.TEXT), STARTS, "%", ("%",)),
    ("postgres", field(Storage.ENUM), EQ, "open", ("open",)),
    ("postgres", field(Storage.UUID), EQ, UUID_TEXT.upper(), (UUID(UUID_TEXT),)),
    ("sqlite", field(Storage.BOOLEAN), EQ, False, (False,)),
    ("postgres", field(Storage.DATE), GT, "2026-02-28", (date(2026, 2, 28),)),
    ("sqlite", field(Storage.TEXT_DATE), GT, "2026-02-28", ("2026-02-28",)),
    ("postgres", field(Storage.TIMESTAMPTZ), EQ, "2026-02-28T12:00:00+02:00", (datetime(2026, 2, 28, 10, tzinfo=UTC),)),
    ("postgres", BERLIN, EQ, "2026-07-01T00:30:00.250Z", (datetime(2026, 7, 1, 2, 30, 0, 250000),)),  # noqa: DTZ001
    ("sqlite", field(Storage.TEXT_TIMESTAMP), GT, "2026-02-28 12:00:00Z", ("2026-02-28 12:00:00",)),
    ("sqlite", field(Storage.TEXT_TIMESTAMP, timezone="Asia/Kolkata"), GT, "2026-02-28T12:00Z", ("2026-02-28 17:30:00",)),
    ("sqlite", field(Storage.TEXT_TIMESTAMP, format="%d.%m.%Y %H:%M"), EQ, "2026-02-28T12:00Z", ("28.02.2026 12:00",)),
]
INAPPLICABLE: list[tuple[str, Field, Operator, Any]] = [
    ("sqlite", field(), EQ, True),
    ("sqlite", field(), EQ, "7"),
    ("sqlite", field(), EQ, None),
    ("sqlite", field(), NULL, 1),
    ("sqlite", field(), EQ, (7,)),
    ("sqlite", field(), ONE_OF, 7),
    ("sqlite", field(), ONE_OF, ()),
    ("sqlite", field(), ONE_OF, (1, True)),
    ("sqlite", field(), BETWEEN, (1,)),
    ("sqlite", field(), BETWEEN, (1, 2, 3)),
    ("sqlite", field(), STARTS, "7"),
    ("sqlite", field(), Operator.ARRAY_CONTAINS, 7),
    ("sqlite", field(), EQ, 2**63),
    ("sqlite", field(Storage.DECIMAL), EQ, D("0.10000000000000000001")),
    ("sqlite", field(Storage.FLOAT), EQ, 2**53 + 1),
    ("sqlite", field(Storage.FLOAT), EQ, D("1e400")),
    ("sqlite", field(Storage.FLOAT), EQ, 10**400),
    ("sqlite", field(Storage.FLOAT), EQ, D("1e-400")),
    ("postgres", field(), EQ, D("1E+999999999")),
    ("postgres", field(), EQ, D("1E-999999999")),
    ("postgres", field(), EQ, 10**1000),
    ("postgres", field(), EQ, D("NaN")),
    ("postgres", field(), EQ, D("Infinity")),
    ("postgres", field(exact=True), EQ, "07"),
    ("postgres", field(exact=True), EQ, "1.0"),
    ("postgres", field(exact=True), EQ, "-0"),
    ("postgres", field(exact=True), EQ, "1e3"),
    ("postgres", field(exact=True), EQ, " 1"),
    ("postgres", field(exact=True), EQ, "١"),
    ("postgres", field(exact=True), EQ, "1\n"),
    ("postgres", field(exact=True), EQ, ""),
    ("sqlite", field(Storage.TEXT), EQ, 7),
    ("sqlite", field(Storage.TEXT), EQ, "a\0b"),
    ("sqlite", field(Storage.TEXT), EQ, "\ud800"),
    ("sqlite", field(Storage.TEXT), GT, "a"),
    ("sqlite", field(Storage.TEXT), BETWEEN, ("a", "b")),
    ("sqlite", field(Storage.TEXT), STARTS, ""),
    ("sqlite", field(Storage.TEXT), Operator.CONTAINS, ""),
    ("postgres", field(Storage.UUID), EQ, UUID_TEXT.replace("-", "")),
    ("postgres", field(Storage.UUID), EQ, "{" + UUID_TEXT + "}"),
    ("postgres", field(Storage.UUID), STARTS, "0190"),
    ("postgres", field(Storage.UUID), GT, UUID_TEXT),
    ("sqlite", field(Storage.BOOLEAN), EQ, 1),
    ("sqlite", field(Storage.BOOLEAN), EQ, "true"),
    ("sqlite", field(Storage.BOOLEAN), GT, True),
    ("postgres", field(Storage.DATE), EQ, "2026-02-30"),
    ("postgres", field(Storage.DATE), EQ, "2026-2-3"),
    ("postgres", field(Storage.DATE), EQ, "20260203"),
    ("postgres", field(Storage.DATE), EQ, "2026-W05-1"),
    ("postgres", field(Storage.DATE), EQ, "2026-02-03T00:00:00Z"),
    ("postgres", field(Storage.DATE), STARTS, "2026"),
    ("postgres", field(Storage.TIMESTAMPTZ), EQ, "2026-02-28T12:00:00"),
    ("postgres", field(Storage.TIMESTAMPTZ), EQ, "2026-02-28"),
    ("postgres", field(Storage.TIMESTAMPTZ), EQ, 1772280000),
    ("postgres", field(Storage.TIMESTAMPTZ), EQ, "2026-02-28T12:00:00.1234567Z"),
    ("postgres", field(Storage.TIMESTAMPTZ), EQ, "2026-02-28T24:00:00Z"),
    ("postgres", field(Storage.TIMESTAMPTZ), EQ, "0001-01-01T00:00:00+05:00"),
    ("postgres", BERLIN, EQ, "2026-10-25T00:30:00Z"),  # 02:30 in Berlin, for the first of two times
    ("postgres", BERLIN, EQ, "2026-10-25T01:30:00Z"),
    ("sqlite", field(Storage.TEXT_TIMESTAMP), EQ, "2026-02-28T12:00:00.5Z"),
    ("sqlite", field(Storage.TEXT_TIMESTAMP, format="%Y-%m-%d %H:%M"), EQ, "2026-02-28T12:00:01Z"),
    ("sqlite", field(Storage.TEXT_TIMESTAMP, format="%d.%m.%Y %H:%M"), GT, "2026-02-28T12:00Z"),
    ("sqlite", field(Storage.TEXT_DATE), EQ, "0999-01-01"),
]


@pytest.mark.parametrize(("dialect", "on", "op", "value", "expected"), TYPED)
def test_a_value_of_the_fields_type_is_bound_as_the_database_stores_it(dialect: str, on: Field, op: Operator, value: Any, expected: tuple[Any, ...]) -> None:
    bound = typed(Filter("f", op, value), on, dialect).values
    assert (bound, [type(each) for each in bound]) == (expected, [type(each) for each in expected])


@pytest.mark.parametrize(("dialect", "on", "op", "value"), INAPPLICABLE)
def test_a_value_that_is_not_of_the_fields_type_is_refused_and_not_quoted(dialect: str, on: Field, op: Operator, value: Any) -> None:
    with pytest.raises(Inapplicable) as refusal:
        typed(Filter("f", op, value), on, dialect)
    for each in value if isinstance(value, tuple) else (value,):
        assert len(str(each)) < 3 or str(each) not in str(refusal.value)


_JSON = st.none() | st.booleans() | st.integers() | st.decimals() | st.text() | st.dates().map(str) | st.datetimes().map(lambda each: f"{each.isoformat()}Z")


@given(
    dialect=st.sampled_from(["sqlite", "postgres"]),
    storage=st.sampled_from(list(Storage)),
    exact=st.booleans(),
    op=st.sampled_from(list(Operator)),
    value=_JSON | st.lists(_JSON, max_size=3).map(tuple),
)
def test_whatever_a_filter_holds_it_is_typed_or_inapplicable(dialect: str, storage: Storage, exact: bool, op: Operator, value: Any) -> None:
    on = field(storage, exact=exact)
    try:
        condition = typed(Filter("f", op, value), on, dialect)
    except Inapplicable:
        return
    assert op in operators(on)
    if _TYPES[storage] is FieldType.NUMBER:
        written = value if isinstance(value, tuple) else (value,) if value is not None else ()
        # Nothing is rounded: the number as bound, written in full, is the number that was signed.
        assert [D(repr(each)) if isinstance(each, float) else D(each) for each in condition.values] == [D(each) for each in written]


@pytest.mark.parametrize(
    ("text_format", "expected"), [("%Y-%m-%d", True), ("%Y%m%dT%H%M%S.%f", True), ("%d.%m.%Y", False), ("%Y-%d-%m", False), ("%H:%M %Y", False)]
)
def test_texts_sort_as_moments_only_from_the_year_down(text_format: str, expected: bool) -> None:
    assert sorts(text_format) is expected


# --- the policy ------------------------------------------------------------------------------------------------------------------------

TENANT, REGION, SECRET = field(Storage.INTEGER, "tenant", name="Tenant ID"), field(Storage.TEXT, "region"), field(Storage.TEXT, "secret", hidden=True)
ORDER = field(Storage.INTEGER, "order_id")


def dataset(id_: str = "orders", *rules: Any, **more: Any) -> Dataset:
    return Dataset(id_, id_, id_, "main", id_, "table", more.pop("public", False), (TENANT, REGION, SECRET, ORDER), rules, **more)


def policy(*datasets: Dataset, filters: Mapping[str, FilterTree] | None = None, ids: Any = None, **more: Any) -> Policy:
    key = KeyFacts("k", "vizzly", development=more.pop("development", False), datasets=more.pop("key_datasets", None))
    grant = Grant(key, ids, filters or {}, 0.0, "digest", {"parameters": more.pop("parameters", {}), "userReference": "u"})
    return Policy(grant, Catalog("sqlite", "sqlite://", {each.id: each for each in datasets}))


ORDERS = dataset()
MINE = Filter("tenant", EQ, 1)
EU = Filter("region", EQ, "EU")


def refusal(applied: Policy, asked: Dataset) -> AccessRefused:
    with pytest.raises(AccessRefused) as refused:
        applied.rows(asked)
    return refused.value


def test_one_group_is_anded() -> None:
    orders = dataset()
    rows = policy(orders, filters={"orders": ((MINE, EU),)}).rows(orders)
    assert rows.predicate == AllOf((Condition(TENANT, EQ, (1,)), Condition(REGION, EQ, ("EU",))))


def test_groups_are_ored_and_the_configuration_is_anded_to_the_whole() -> None:
    orders = dataset("orders", ConfigFilter(Filter("secret", NE, "x")))
    rows = policy(orders, filters={"orders": ((MINE, EU), (Filter("tenant", EQ, 2),))}).rows(orders)
    either = AnyOf((AllOf((Condition(TENANT, EQ, (1,)), Condition(REGION, EQ, ("EU",)))), Condition(TENANT, EQ, (2,))))
    assert rows.predicate == AllOf((either, Condition(SECRET, NE, ("x",))))


def test_a_field_is_found_by_its_unique_name_too() -> None:
    orders = dataset()
    assert policy(orders, filters={"orders": ((Filter("Tenant ID", EQ, 1),),)}).rows(orders).predicate == AllOf((Condition(TENANT, EQ, (1,)),))


@pytest.mark.parametrize(
    "applied",
    [
        policy(ORDERS, ids=frozenset({"other"}), filters={"orders": ((MINE,),)}),
        policy(ORDERS, ids=frozenset(), filters={"orders": ((MINE,),)}),
        policy(ORDERS, key_datasets=frozenset({"other"}), filters={"orders": ((MINE,),)}),
        policy(filters={"orders": ((MINE,),)}),  # a catalog without it
        policy(dataset(public=True), filters={"orders": ((MINE,),)}),  # a catalog in which it has other rules
    ],
)
def test_ungranted_and_unknown_are_told_in_the_same_words(applied: Policy) -> None:
    ungranted, unknown = refusal(applied, ORDERS), applied.unknown()
    assert (ungranted.code, ungranted.status, ungranted.detail, ungranted.hint) == (unknown.code, unknown.status, unknown.detail, unknown.hint)
    assert ungranted.code == "dataset_unknown"
    assert "orders" not in str(ungranted)


def test_a_granted_dataset_without_a_filter_is_refused() -> None:
    orders = dataset()
    assert refusal(policy(orders), orders).code == "filter_required"
    assert refusal(policy(orders, filters={"other": ((MINE,),)}), orders).code == "filter_required"


def test_a_configured_filter_alone_is_no_filter_of_the_token() -> None:
    orders = dataset("orders", ConfigFilter(EU))
    assert refusal(policy(orders), orders).code == "filter_required"


def test_public_and_development_open_a_dataset_without_a_filter() -> None:
    public, closed = dataset(public=True), dataset()
    assert policy(public).rows(public).predicate == AllOf(())
    assert policy(closed, development=True).rows(closed).predicate == AllOf(())


def test_a_public_dataset_still_obeys_the_filters_that_the_token_has_for_it() -> None:
    public = dataset(public=True)
    assert policy(public, filters={"orders": ((MINE,),)}).rows(public).predicate == AllOf((Condition(TENANT, EQ, (1,)),))


def test_a_development_key_still_obeys_the_configuration() -> None:
    orders = dataset("orders", ConfigFilter(EU))
    assert policy(orders, development=True).rows(orders).predicate == AllOf((Condition(REGION, EQ, ("EU",)),))


@pytest.mark.parametrize(
    "condition",
    [
        Filter("nope", EQ, 1),
        Filter("tenant", EQ, "1"),
        Filter("tenant", EQ, value=True),
        Filter("region", GT, "a"),
        Filter("TENANT", EQ, 1),
        Filter("tenant", EQ, 2**80),
    ],
)
def test_an_inapplicable_filter_refuses_its_dataset_alone_wherever_it_stands(condition: Filter) -> None:
    orders, other = dataset(), dataset("other")
    for tree in (((condition,),), ((MINE, condition),), ((MINE,), (condition,))):
        applied = policy(orders, other, filters={"orders": tree, "other": ((MINE,),)})
        refused = refusal(applied, orders)
        assert refused.code == "filter_inapplicable"
        assert "nope" not in str(refused)
        assert applied.rows(other).predicate == AllOf((Condition(TENANT, EQ, (1,)),))


@pytest.mark.parametrize(
    ("rule", "code", "said"),
    [
        (ConfigFilter(Filter("nope", EQ, 1)), "filter_inapplicable", "a filter of the configuration"),
        (ConfigFilter(Filter("tenant", EQ, "1")), "filter_inapplicable", "a filter of the configuration"),
        (ClaimFilter("nope", EQ, "userReference"), "claim_required", "a claim that this dataset needs"),
        (ClaimFilter("tenant", EQ, "userReference"), "claim_required", "a claim that this dataset needs"),
    ],
)
def test_a_rule_that_does_not_fit_refuses_and_says_whose_it_is(rule: Any, code: str, said: str) -> None:
    """The catalog refuses such a file; a policy does not rely on that."""
    orders = dataset("orders", rule)
    refused = refusal(policy(orders, filters={"orders": ((MINE,),)}), orders)
    assert refused.code == code
    assert said in refused.detail


@pytest.mark.parametrize("tree", [(), ((),), ((MINE,), ())])
def test_an_empty_tree_or_group_never_means_all(tree: FilterTree) -> None:
    public = dataset(public=True)
    assert refusal(policy(public, filters={"orders": tree}), public).code == "filter_inapplicable"


GUARD = Guard("tenant", frozenset({EQ, ONE_OF}), max_values=2)
GUARDS: list[tuple[Guard, FilterTree, bool]] = [
    (GUARD, ((MINE,),), True),
    (GUARD, ((Filter("Tenant ID", EQ, 1),),), True),
    (GUARD, ((EU, MINE),), True),
    (GUARD, ((MINE,), (EU, Filter("tenant", ONE_OF, (1, 2)))), True),
    (GUARD, ((EU,),), False),
    (GUARD, ((MINE,), (EU,)), False),  # one OR branch without it opens every tenant
    (GUARD, ((Filter("tenant", GT, 0),),), False),
    (GUARD, ((Filter("tenant", NE, 5),),), False),
    (GUARD, ((Filter("tenant", ONE_OF, (1, 2, 3)),),), False),
    (GUARD, ((Filter("tenant", ONE_OF, (1, 2, 3)), MINE),), True),
    (Guard("tenant", frozenset({EQ}), values_in=frozenset({1, 2})), ((MINE,),), True),
    (Guard("tenant", frozenset({EQ}), values_in=frozenset({1, 2})), ((Filter("tenant", EQ, D("2.0")),),), True),
    (Guard("tenant", frozenset({EQ}), values_in=frozenset({1, 2})), ((Filter("tenant", EQ, 3),),), False),
    (Guard("tenant", frozenset({ONE_OF}), values_in=frozenset({1, 2})), ((Filter("tenant", ONE_OF, (1, 3)),),), False),
    (Guard("region", frozenset({EQ, STARTS}), matches="[A-Z]{2}"), ((EU,),), True),
    (Guard("region", frozenset({EQ, STARTS}), matches="[A-Z]{2}"), ((Filter("region", EQ, "EU\n"),),), False),
    (Guard("region", frozenset({EQ, STARTS}), matches="[A-Z]{2}"), ((Filter("region", EQ, "xEUx"),),), False),
    (Guard("region", frozenset({ONE_OF}), matches="[A-Z]{2}"), ((Filter("region", ONE_OF, ("EU", "x")),),), False),
    (Guard("tenant", frozenset({EQ}), matches="[0-9]+"), ((MINE,),), True),
    (Guard("tenant", frozenset({EQ}), matches="[0-9]+"), ((Filter("tenant", EQ, -1),),), False),
    (Guard("region", frozenset({NULL})), ((Filter("region", NULL, None),),), True),
]


@pytest.mark.parametrize(("guard", "tree", "met"), GUARDS)
def test_a_guard_must_be_met_in_every_branch(guard: Guard, tree: FilterTree, met: bool) -> None:
    orders = dataset(guards=(guard,))
    applied = policy(orders, filters={"orders": tree})
    if met:
        assert applied.rows(orders).predicate.parts
    else:
        assert refusal(applied, orders).code == "guard_unmet"


def test_all_guards_must_be_met_and_a_development_key_does_not_lift_them() -> None:
    both = dataset(guards=(GUARD, Guard("region", frozenset({EQ}))))
    assert refusal(policy(both, filters={"orders": ((MINE,),)}), both).code == "guard_unmet"
    assert policy(both, filters={"orders": ((MINE, EU),)}).rows(both)
    assert refusal(policy(both, development=True), both).code == "guard_unmet"
    assert refusal(policy(both), both).code == "filter_required"


CLAIMS: list[tuple[ClaimFilter, Any, tuple[Any, ...] | None]] = [
    (ClaimFilter("region", EQ, "parameters.region"), {"region": "EU"}, ("EU",)),
    (ClaimFilter("region", EQ, "parameters.a.b"), {"a": {"b": "EU"}}, ("EU",)),
    (ClaimFilter("region", EQ, "userReference"), {}, ("u",)),
    (ClaimFilter("tenant", ONE_OF, "parameters.tenants"), {"tenants": [1, D("2.0")]}, (1, 2)),
    (ClaimFilter("region", EQ, "parameters.region"), {}, None),
    (ClaimFilter("region", EQ, "parameters.region"), {"region": None}, None),
    (ClaimFilter("region", EQ, "parameters.region"), {"region": 7}, None),
    (ClaimFilter("region", EQ, "parameters.region"), {"region": ["EU"]}, None),
    (ClaimFilter("region", EQ, "parameters.region"), {"region": {"x": "EU"}}, None),
    (ClaimFilter("region", EQ, "parameters.region.x"), {"region": "EU"}, None),
    (ClaimFilter("region", EQ, "region"), {"region": "EU"}, None),
    (ClaimFilter("region", EQ, "parameters"), {"region": "EU"}, None),
    (ClaimFilter("region", STARTS, "parameters.region"), {"region": ""}, None),
    (ClaimFilter("tenant", EQ, "parameters.tenant"), {"tenant": True}, None),
    (ClaimFilter("tenant", EQ, "parameters.tenant"), {"tenant": "1"}, None),
    (ClaimFilter("tenant", ONE_OF, "parameters.tenants"), {"tenants": 1}, None),
    (ClaimFilter("tenant", ONE_OF, "parameters.tenants"), {"tenants": []}, None),
    (ClaimFilter("tenant", NOT_ONE_OF, "parameters.tenants"), {"tenants": []}, None),
    (ClaimFilter("tenant", ONE_OF, "parameters.tenants"), {"tenants": [1, None]}, None),
    (ClaimFilter("tenant", ONE_OF, "parameters.tenants"), {"tenants": [1, [2]]}, None),
    (ClaimFilter("tenant", ONE_OF, "parameters.tenants"), {"tenants": [1, "2"]}, None),
]


@pytest.mark.parametrize(("rule", "parameters", "expected"), CLAIMS)
def test_a_claim_is_bound_where_it_fits_and_refuses_where_it_does_not(rule: ClaimFilter, parameters: Any, expected: tuple[Any, ...] | None) -> None:
    orders = dataset("orders", rule, public=True)
    applied = policy(orders, parameters=parameters)
    if expected is None:
        assert refusal(applied, orders).code == "claim_required"
    else:
        (condition,) = applied.rows(orders).predicate.parts
        assert isinstance(condition, Condition)
        assert (condition.op, condition.values) == (rule.op, expected)


ITEMS = dataset("items", ThroughFilter("orders", (("order_id", "order_id"),)))
PARTS = dataset("parts", ThroughFilter("items", (("order_id", "order_id"),)))


def test_through_carries_the_parents_whole_policy() -> None:
    orders = dataset("orders", ConfigFilter(EU))
    applied = policy(orders, ITEMS, filters={"orders": ((MINE,),)})
    assert applied.rows(ITEMS).predicate == AllOf((Through(applied.rows(orders), ((ORDER, ORDER),)),))
    (condition,) = applied.rows(ITEMS).predicate.parts
    assert isinstance(condition, Through)
    assert condition.parent.predicate == AllOf((Condition(TENANT, EQ, (1,)), Condition(REGION, EQ, ("EU",))))


def test_through_reaches_over_several_parents() -> None:
    orders = dataset()
    rows = policy(orders, ITEMS, PARTS, filters={"orders": ((MINE,),)}).rows(PARTS)
    assert rows.values == (1,)


def test_through_and_a_filter_of_the_token_both_hold() -> None:
    orders = dataset()
    rows = policy(orders, ITEMS, filters={"orders": ((MINE,),), "items": ((EU,),)}).rows(ITEMS)
    assert [type(part) for part in rows.predicate.parts] == [Condition, Through]


@pytest.mark.parametrize(
    ("orders", "more", "code"),
    [
        (dataset(), {}, "filter_required"),
        (dataset(), {"filters": {"items": ((MINE,),)}}, "filter_required"),
        (dataset(), {"filters": {"orders": ((MINE,),)}, "ids": frozenset({"items"})}, "filter_required"),
        (dataset(public=True), {"filters": {"items": ((MINE,),)}, "ids": frozenset({"items"})}, "filter_required"),
        (dataset(public=True), {}, "filter_required"),  # a public parent restricts nothing, so the child is not restricted either
        (dataset(), {"development": True, "ids": frozenset({"items"})}, "filter_required"),
        (dataset(), {"filters": {"orders": ((MINE,),)}, "key_datasets": frozenset({"items"})}, "filter_required"),
        (dataset(), {"filters": {"orders": ((Filter("nope", EQ, 1),),)}}, "filter_inapplicable"),
        (dataset(guards=(GUARD,)), {"filters": {"orders": ((EU,),)}}, "guard_unmet"),
        (dataset("orders", ClaimFilter("region", EQ, "parameters.r")), {"filters": {"orders": ((MINE,),)}}, "claim_required"),
    ],
)
def test_a_child_is_closed_where_its_parent_is_and_the_parents_name_is_not_told(orders: Dataset, more: Mapping[str, Any], code: str) -> None:
    refused = refusal(policy(orders, ITEMS, **more), ITEMS)
    assert refused.code == code
    assert "orders" not in f"{refused} {refused.hint}"


@pytest.mark.parametrize("on", [(), (("order_id", "nope"),), (("nope", "order_id"),), (("order_id", "order_id"), ("nope", "tenant"))])
def test_a_child_is_closed_where_any_of_its_pairs_is_no_pair_of_fields(on: tuple[tuple[str, str], ...]) -> None:
    """The configuration is checked when it is loaded; a catalog that was not is still no wider."""
    items = dataset("items", ThroughFilter("orders", on))
    assert refusal(policy(ORDERS, items, filters={"orders": ((MINE,),)}), items).code == "filter_inapplicable"


def test_a_permission_is_worked_out_once_and_a_refusal_stays_one() -> None:
    orders = dataset()
    applied = policy(orders, filters={"orders": ((MINE,),)})
    assert applied.rows(orders) is applied.rows(orders)
    closed = policy(orders)
    assert refusal(closed, orders).code == refusal(closed, orders).code == "filter_required"
    # Another dataset object under a known id is another dataset: what was remembered does not vouch for it.
    assert refusal(applied, replace(orders, public=True)).code == "dataset_unknown"


def test_no_value_stands_in_what_a_policy_prints() -> None:
    orders = dataset()
    rows = policy(orders, filters={"orders": ((Filter("region", ONE_OF, ("s3cret", "hush")),),)}).rows(orders)
    assert "s3cret" not in repr(rows)
    assert "hush" not in repr(rows)


# --- shape and values ------------------------------------------------------------------------------------------------------------------

_SHAPES: list[FilterTree] = [
    ((MINE,),),
    ((EU,),),
    ((Filter("tenant", NE, 1),),),
    ((Filter("tenant", EQ, D("1.5")),),),
    ((MINE, EU),),
    ((EU, MINE),),
    ((MINE,), (EU,)),
    ((MINE,), (EU, MINE)),
    ((Filter("tenant", BETWEEN, (1, 2)),),),
    ((Filter("tenant", BETWEEN, (1, D("2.5"))),),),
    ((Filter("tenant", ONE_OF, (1, 2)),),),
    ((Filter("tenant", ONE_OF, (1, D("2.5"))),),),
    ((Filter("tenant", NULL, None),),),
]


def test_policies_that_render_differently_have_different_shapes() -> None:
    orders, twin = dataset(), dataset("twin")
    shapes = [shape(policy(each, filters={each.id: tree}).rows(each)) for tree in _SHAPES for each in (orders, twin)]
    through = [shape(policy(orders, ITEMS, filters={"orders": tree}).rows(ITEMS)) for tree in _SHAPES]
    assert len(set(shapes + through)) == len(shapes + through)


def test_policies_that_differ_in_values_alone_share_one_shape() -> None:
    orders = dataset()
    for one, other in [
        (((MINE,),), ((Filter("tenant", EQ, 99),),)),
        (((EU,),), ((Filter("Region".lower(), EQ, ""),),)),
        (((Filter("tenant", ONE_OF, (1,)),),), ((Filter("tenant", ONE_OF, tuple(range(1000))),),)),
    ]:
        assert shape(policy(orders, filters={"orders": one}).rows(orders)) == shape(policy(orders, filters={"orders": other}).rows(orders))


def test_values_stand_depth_first_and_a_list_is_one_of_them() -> None:
    orders = dataset("orders", ConfigFilter(Filter("secret", NE, "x")))
    tree = ((Filter("tenant", ONE_OF, (1, 2)), EU), (Filter("tenant", BETWEEN, (3, 4)), Filter("region", NULL, None)))
    assert policy(orders, filters={"orders": tree}).rows(orders).values == ((1, 2), "EU", 3, 4, "x")
    items = policy(orders, ITEMS, filters={"orders": tree, "items": ((Filter("tenant", EQ, 9),),)}).rows(ITEMS)
    assert items.values == (9, (1, 2), "EU", 3, 4, "x")


def test_a_cache_of_guard_texts_keeps_no_value_of_a_bearer() -> None:
    """The first bearer of a shape makes the entry that all others use; nothing of theirs stays in it."""

    class Watched(str):
        __slots__ = ("__weakref__",)

    held = Watched("a value of the first bearer")
    gone = weakref.ref(held)
    text_field = field(Storage.TEXT)
    dataset = Dataset(id="d", name="d", sql_name="d", schema="main", table="d", relation="table", public=False, fields=(text_field,))
    rows = Rows(dataset, AllOf((Condition(text_field, EQ, (held,)),)))
    text = render(rows, DIALECTS["sqlite"], "plain")
    prove_guard(text, "sqlite", Shaped(rows), "plain")
    del held, rows
    gc.collect()
    assert gone() is None
    other = Rows(dataset, AllOf((Condition(text_field, EQ, (Watched("another"),)),)))
    assert render(other, DIALECTS["sqlite"], "plain") is text


def test_rows_are_given_away_once() -> None:
    dataset = Dataset(id="d", name="d", sql_name="d", schema="main", table="d", relation="table", public=True, fields=())
    shaped = Shaped(Rows(dataset, AllOf(())))
    shaped.take()
    with pytest.raises(LookupError):
        shaped.take()
