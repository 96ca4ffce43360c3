"""The `vizzly` profile: which claims grant what, and which tokens are of another kind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asgi import ask
from place import Place
from rowseal import errors
from rowseal.claims import Claims, KeyFacts
from rowseal.errors import OurBug, TokenRefused
from rowseal.filters import Filter, FlatFilters, Operator
from rowseal.grants import PROFILES, Grant, read_grant
from rowseal.keys import TokenRules

FACTS = KeyFacts("shop", "vizzly")
A = {"field": "tenant", "op": "=", "value": 7}
B = {"field": "region", "op": "=", "value": "EU"}
FA, FB = Filter("tenant", Operator.EQ, 7), Filter("region", Operator.EQ, "EU")


def read(flat: FlatFilters = FlatFilters.ALL, facts: KeyFacts = FACTS, profile: str = "vizzly", **over: Any) -> Grant:
    content = {"dataSetIds": ["orders"], "secureFilters": {"orders": [[A]]}, "expires": "2027-01-15T08:10:00Z"} | over
    content = {name: value for name, value in content.items() if value is not ...}
    claims = Claims(key=facts, content=content, expires_at=1_800_000_600.0, digest="ab" * 32)
    return read_grant(claims, TokenRules(profile, (), flat_filters=flat))


def test_a_grant_holds_what_was_signed() -> None:
    grant = read(secureFilters={"orders": [[A, B], [A]], "customers": [A]}, projectId="prj", parameters={"region": "EU"})
    assert grant.key is FACTS
    assert grant.dataset_ids == {"orders"}
    assert grant.filters == {"orders": ((FA, FB), (FA,)), "customers": ((FA,),)}
    assert (grant.expires_at, grant.digest) == (1_800_000_600.0, "ab" * 32)
    assert grant.claims["parameters"] == {"region": "EU"}
    assert grant.claims["projectId"] == "prj"


class TestDataSetIds:
    def test_the_string_star_grants_every_dataset(self) -> None:
        grant = read(dataSetIds="*")
        assert grant.dataset_ids is None
        assert grant.grants("anything")

    def test_a_list_grants_exactly_its_ids(self) -> None:
        grant = read(dataSetIds=["orders", "orders", "das_1:/=+ -"])
        assert grant.dataset_ids == {"orders", "das_1:/=+ -"}
        assert grant.grants("orders")
        assert not grant.grants("Orders")
        assert not grant.grants("order")

    def test_a_key_may_narrow_what_its_tokens_grant(self) -> None:
        grant = read(dataSetIds="*", facts=KeyFacts("shop", "vizzly", datasets=frozenset({"orders"})))
        assert grant.grants("orders")
        assert not grant.grants("customers")

    @pytest.mark.parametrize(
        "ids",
        [
            ...,
            None,
            [],
            {},
            {"orders": True},
            "",
            "orders",
            "orders,customers",
            "**",
            " *",
            ["*"],
            ["orders", "*"],
            [1],
            [None],
            [["orders"]],
            [""],
            True,
            1,
            ["x" * 257],
        ],
        ids=repr,
    )
    def test_anything_else_grants_nothing(self, ids: Any) -> None:
        with pytest.raises(TokenRefused) as refused:
            read(dataSetIds=ids)
        assert refused.value.code == "claim_invalid"
        assert "`dataSetIds`" in refused.value.detail

    def test_a_list_has_a_longest_length(self) -> None:
        assert read(dataSetIds=["orders"] * 10_000)
        with pytest.raises(TokenRefused, match="10000"):
            read(dataSetIds=["orders"] * 10_001)


class TestSecureFilters:
    def test_an_empty_object_and_an_empty_list_give_no_filter(self) -> None:
        """The dataset is then refused when it is read, unless it is public or a development key signed."""
        assert read(secureFilters={}).filters == {}
        assert read(secureFilters={"orders": [], "customers": [[A]]}).filters == {"customers": ((FA,),)}

    @pytest.mark.parametrize(("flat", "means"), [(FlatFilters.ALL, ((FA, FB),)), (FlatFilters.ANY, ((FA,), (FB,)))])
    def test_a_flat_list_means_what_the_configuration_says(self, flat: FlatFilters, means: Any) -> None:
        assert read(flat, secureFilters={"orders": [A, B]}).filters["orders"] == means

    def test_a_flat_list_of_two_can_be_refused(self) -> None:
        with pytest.raises(TokenRefused, match="flat list"):
            read(FlatFilters.REJECT, secureFilters={"orders": [A, B]})

    @pytest.mark.parametrize("filters", [..., None, [], [A], "{}", True, 0], ids=repr)
    def test_the_claim_must_be_an_object(self, filters: Any) -> None:
        with pytest.raises(TokenRefused) as refused:
            read(secureFilters=filters)
        assert refused.value.code == "claim_invalid"

    def test_a_star_is_no_dataset_and_is_not_ignored(self) -> None:
        with pytest.raises(TokenRefused) as refused:
            read(secureFilters={"*": [[A]]})
        assert refused.value.code == "filters_malformed"

    @pytest.mark.parametrize(
        ("filters", "place"),
        [
            ({"orders": [[A, {**B, "op": "like"}]]}, "`secureFilters.orders[0][1].op`"),
            ({"orders": [[A]], "customers": {}}, "`secureFilters.customers`"),
            ({"data set 1": [[A], []]}, "`secureFilters.data set 1[1]`"),
            ({"orders": [{**A, "value": None}]}, "`secureFilters.orders[0].value`"),
            ({"o`\n": None}, "`secureFilters....`"),
            ({"x" * 65: None}, "`secureFilters....`"),
        ],
        ids=repr,
    )
    def test_a_refusal_names_the_place(self, filters: Any, place: str) -> None:
        with pytest.raises(TokenRefused) as refused:
            read(secureFilters=filters)
        assert refused.value.code == "filters_malformed"
        assert refused.value.detail.startswith(place)

    def test_filters_of_one_malformed_dataset_refuse_the_whole_token(self) -> None:
        with pytest.raises(TokenRefused):
            read(secureFilters={"orders": [[A]], "ghost": [[]]})


@pytest.mark.parametrize(("parameters", "kept"), [(..., {}), (None, {}), ({}, {}), ({"a": [1]}, {"a": [1]})], ids=repr)
def test_parameters_are_an_object_and_null_means_none(parameters: Any, kept: Any) -> None:
    assert read(parameters=parameters).claims["parameters"] == kept


@pytest.mark.parametrize("parameters", [[], "x", 1, False, ""], ids=repr)
def test_parameters_of_another_type_are_refused(parameters: Any) -> None:
    with pytest.raises(TokenRefused) as refused:
        read(parameters=parameters)
    assert refused.value.code == "claim_invalid"


def test_parameters_never_become_filters() -> None:
    grant = read(parameters={"secureFilters": {}, "dataSetIds": "*", "tenant": 8})
    assert grant.filters == read().filters
    assert grant.dataset_ids == {"orders"}


NO_DATA: dict[str, Any] = {"dataSetIds": ..., "secureFilters": ...}


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({**NO_DATA, "accessType": "standard", "organisationId": "org", "userReference": "u"}, "a dashboard access token"),
        ({**NO_DATA, "accessType": "admin", "projectId": "prj", "scope": "read", "parentDashboardIds": []}, "a dashboard access token"),
        ({**NO_DATA, "allowDatabaseSchemaAccess": True, "allowDataPreviewAccess": False}, "a query engine access token"),
        ({**NO_DATA, "allowDatabaseWriteAccess": []}, "a query engine access token"),
        ({**NO_DATA, "projectId": "prj", "resources": []}, "a project access token"),
        ({**NO_DATA, "dashboardAccessToken": "x", "dataAccessToken": "y"}, "an object of several tokens"),
        ({**NO_DATA, "sub": "u", "nonce": "n"}, "a login"),
        # with data claims too: one token must not serve as two kinds
        ({"accessType": "standard"}, "a dashboard access token"),
        ({"scope": "read_write"}, "a dashboard access token"),
        ({"allowDatabaseSchemaAccess": False}, "a query engine access token"),
        ({"allowDataPreviewAccess": None}, "a query engine access token"),
    ],
    ids=repr,
)
def test_another_kind_of_token_is_recognised_by_its_claims_and_the_right_one_is_named(over: dict[str, Any], said: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        read(**over)
    assert refused.value.code == "token_kind"
    assert said in refused.value.detail
    assert "dataAccessToken" in refused.value.hint


@pytest.mark.parametrize(
    "over", [{"projectId": "prj"}, {"organisationId": "org", "dashboardId": "dsh"}, {"sub": "u"}, {"userReference": "u"}, {"jti": "1"}], ids=repr
)
def test_claims_of_both_generations_and_claims_that_nobody_reads_are_accepted(over: dict[str, Any]) -> None:
    assert read(**over).filters == read().filters


@pytest.mark.parametrize("claim", ["projectId", "organisationId", "dashboardId"])
def test_ids_are_strings(claim: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        read(**{claim: ["x"]})
    assert refused.value.code == "claim_invalid"


def test_the_profile_is_that_of_the_rules_and_an_unknown_one_is_our_bug() -> None:
    assert set(PROFILES) == {"vizzly", "oidc"}
    with pytest.raises(OurBug):
        read(profile="luzmo")


def test_the_example_of_the_reference_is_a_grant() -> None:
    page = (Path(__file__).parents[1] / "docs/reference/claims.md").read_text("utf-8")
    example = json.loads(page.partition("```json")[2].partition("```")[0])
    grant = read(**example)
    assert grant.dataset_ids == set(grant.filters) == {"orders", "customers"}
    named = set(re.findall(r"^\| `(\w+)`(?:, `(\w+)`)? \| (?!it is)", page, re.MULTILINE))
    assert {claim for pair in named for claim in pair} >= set(example)


# --- the whole way ----------------------------------------------------------------------------------------------------------------------------

FLAT = {"orders": [{"field": "user_id", "op": "=", "value": 7}, {"field": "region", "op": "=", "value": "EU"}]}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(("flat", "rows"), [("all", {1}), ("any", {1, 2, 3, 5, 6}), ("reject", None)])
def test_a_flat_list_opens_the_rows_of_the_reading_that_is_configured(place: Place, flat: str, rows: set[int] | None) -> None:
    gate = place.gate(lambda document: document["tokens"][0].update(flat_filters=flat))
    token = place.sign(secureFilters=FLAT)
    if rows is None:
        with pytest.raises(TokenRefused, match="filters_malformed"):
            gate.verify(token)
    else:
        assert {row[0] for row in gate.verify(token).execute("SELECT order_id FROM orders").rows} == rows
    # groups are read alike everywhere
    grouped = {"orders": [[FLAT["orders"][0], FLAT["orders"][1]], [{"field": "order_id", "op": "=", "value": 5}]]}
    assert {row[0] for row in gate.verify(place.sign(secureFilters=grouped)).execute("SELECT order_id FROM orders").rows} == {1, 5}


def test_a_token_comes_by_each_way_that_the_vendor_s_clients_know_and_counts_once(place: Place) -> None:
    app = place.app(auth_header=True, body_token_paths=["/query"])
    token, other = place.sign(), place.sign(secureFilters={"orders": [[{"field": "user_id", "op": "=", "value": 8}]]})
    sql = {"sql": "SELECT order_id FROM orders ORDER BY order_id"}
    bearer, auth = ("Authorization", f"Bearer {token}"), ("Auth", token)

    def asked(*headers: tuple[str, str], **body: str) -> tuple[int, Any]:
        answer = ask(app, "/query", headers=list(headers), body=json.dumps(sql | body).encode())
        content = json.loads(answer.body)
        return answer.status, content if answer.status == 200 else content["code"]

    mine = (200, [[1], [2], [3]])
    assert asked(bearer) == asked(auth) == asked(integritySignature=token) == asked(identityConfigIntegritySignature=token) == mine
    assert asked(bearer, auth, integritySignature=token) == mine
    for two in (
        asked(("Auth", other), bearer),
        asked(bearer, integritySignature=other),
        asked(integritySignature=token, identityConfigIntegritySignature=other),
    ):
        assert two == (401, "token_ambiguous")
    assert asked() == (401, "token_missing")


def test_a_token_of_another_project_opens_nothing_and_its_parameters_are_bound(place: Place) -> None:
    def change(document: dict[str, Any]) -> None:
        document["tokens"][0]["project_id"] = "prj_1"
        document["datasets"].append(
            {
                "id": "mine",
                "sql": "SELECT id AS order_id, amount FROM orders WHERE user_id = {{ trusted.user_id }}",
                "parameters": {"user_id": {"type": "number"}},
                "public": True,
                "reads_past": ["orders"],
                "fields": [{"id": "order_id", "type": "number"}, {"id": "amount", "type": "number"}],
            }
        )

    gate = place.gate(change)
    for project in (..., None, "prj_2", "PRJ_1", "prj_1 ", ["prj_1"]):
        with pytest.raises(TokenRefused) as refused:
            gate.verify(place.sign(projectId=project))
        assert refused.value.code in {"issuer_refused", "claim_invalid"}
    signed = {"projectId": "prj_1", "dataSetIds": "*", "secureFilters": {}}
    access = gate.verify(place.sign(**signed, parameters={"user_id": 8}))
    assert access.execute("SELECT order_id FROM mine").rows == [(5,)]
    with pytest.raises(errors.AccessRefused, match="filter_required"):
        access.execute("SELECT order_id FROM orders")
    with pytest.raises(errors.AccessRefused, match="claim_required"):
        gate.verify(place.sign(**signed)).execute("SELECT order_id FROM mine")
    # a parameter of the query's own is another thing
    with pytest.raises(errors.QueryRefused):
        access.execute("SELECT order_id FROM mine", {"user_id": 7})
