"""The corpus of hostile and honest tokens, run in place: each ends as its entry expects, and for the right reason.

The corpus stands beside the checkout (`../shared`, or the folder that ROWSEAL_SHARED names); without it these tests are skipped.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from corpora import absent, case_file, case_module
from rowseal.catalog import Catalog, Dataset, Field, FieldType, Guard, Storage
from rowseal.claims import KeyFacts
from rowseal.errors import Refused
from rowseal.filters import Operator
from rowseal.grants import read_grant
from rowseal.keys import KeyRefused, TokenRules, read_public_keys
from rowseal.policy import AllOf, Policy
from rowseal.tokens import Verifier

MISSING = absent("tokens.json") or absent("tokens_build.py")
ENTRIES: list[dict[str, Any]] = case_file("tokens.json")

# About the HTTP request that carries the token, not about the token: the middleware's tests run these.
OF_THE_REQUEST = {"ser-05", "tr-04", "tr-05", "tr-07", "tr-08", "tr-11"}
# The corpus leaves these to the contract: what rowseal does, and why.
DECIDED = {
    "sf-49": (None, "1.0 is the number 1"),
    "sf-59": ("filter_inapplicable", "no 64-bit column holds 2**63, and databases differ in what they make of it"),
    "sf-60": ("filter_inapplicable", "as sf-59"),
    "sf-66": ("token_too_large", "10,000 groups are 600 kB, and more than 100 groups are refused at any size"),
    "sf-70": (None, "a date with an offset is one moment"),
    "sf-81": (None, "a key of secureFilters that the catalog lacks restricts nothing; the granted dataset has its own filter"),
}
# Refused for their size alone: with room for them they are honest tokens.
HONEST_BUT_LARGE = {"ser-17": "a claim that nobody reads", "sf-65": "lists of 100,000 values work where `token_bytes` has room"}
# The right reason: code -> entries.
CODES = {
    code: entries.split()
    for code, entries in {
        "token_missing": "ser-01",
        "algorithm_refused": "none-01 none-02 conf-03 conf-04 conf-05 conf-06 conf-07 conf-09 conf-17",
        "token_malformed": "none-09 conf-27 ser-04 ser-06 ser-07 ser-08 ser-09 ser-10 ser-11 ser-12 ser-16 ser-22 ser-23 ser-24 ser-29 "
        "ser-30 ser-32 ser-34 ser-37 hdr-07 exp-09 exp-23 sf-18 sf-62 sf-63 sf-75 sf-76",
        "header_refused": "none-10 conf-22 conf-23 hdr-02 hdr-08 hdr-12 hdr-14 hdr-19 hdr-27 hdr-28",
        "signature_invalid": "hdr-18 conf-14 conf-15 conf-16 conf-18 conf-19 conf-20 sig-01 sig-02 sig-03 sig-08 sig-10 sig-12 sig-15 sig-17 sig-20",
        "token_too_large": "ser-17 ser-18 ser-36 hdr-22 sf-64 sf-65",
        "expiry_missing": "exp-02",
        "claim_invalid": "exp-03 exp-04 exp-07 exp-08 exp-14 exp-15 exp-19 exp-26 exp-28 nbf-04 iat-06 iss-02 das-03 das-04 das-08 das-17 sf-01 sf-02 sf-05",
        "token_expired": "exp-13 exp-22 exp-25",
        "lifetime_too_long": "exp-20 exp-29",
        "issuer_refused": "iss-04 aud-02 aud-05 typ-05 typ-07",
        "token_kind": "typ-02",
        "dataset_unknown": "das-14 das-16 das-22",
        "filter_required": "sf-06 sf-08 sf-19",
        "filters_malformed": "sf-11 sf-12 sf-13 sf-15 sf-16 sf-20 sf-21 sf-23 sf-26 sf-33 sf-37 sf-38 sf-39 sf-40 sf-43 sf-46 sf-72",
        "filter_inapplicable": "sf-28 sf-29 sf-32 sf-51 sf-55 sf-67",
        "guard_unmet": "sf-87 sf-88",
    }.items()
}
EXPECTED = {entry: code for code, entries in CODES.items() for entry in entries}


@cache
def corpus() -> dict[str, Any]:
    """The namespace in which entries are built: keys are made anew in every process."""
    return vars(case_module("tokens_build.py"))


def field(name: str, kind: FieldType, storage: Storage) -> Field:
    return Field(id=name, name=name, sql_name=name, column=name, type=kind, storage=storage)


def dataset(name: str, *fields: Field, public: bool = False, guards: tuple[Guard, ...] = ()) -> Dataset:
    return Dataset(id=name, name=name, sql_name=name, schema="main", table=name, relation="table", public=public, fields=fields, guards=guards)


TENANT = field("tenant_id", FieldType.NUMBER, Storage.INTEGER)
ORDERS = dataset(
    "orders",
    field("id", FieldType.NUMBER, Storage.INTEGER),
    TENANT,
    field("region", FieldType.STRING, Storage.TEXT),
    field("note", FieldType.STRING, Storage.TEXT),
    field("amount", FieldType.NUMBER, Storage.DECIMAL),
    field("created_at", FieldType.DATE_TIME, Storage.TIMESTAMPTZ),
)
GUARDED = replace(ORDERS, guards=(Guard("tenant_id", frozenset({Operator.EQ})),))
OTHERS = (dataset("customers", TENANT), dataset("products", TENANT, public=True))


def configured(entry: dict[str, Any]) -> tuple[TokenRules, Dataset]:
    """The rules and the dataset `orders` that the entry's `verifier_config` describes."""
    namespace = corpus()
    key, _, algorithm = entry["verifier_key"].partition(" / ")
    keys = read_public_keys(namespace[key], facts=KeyFacts("k1", "vizzly"), algorithm=algorithm)
    rules = TokenRules("vizzly", keys, max_lifetime=366 * 86400.0, leeway=30.0)
    text = entry["verifier_config"]
    if text.startswith("issuer="):
        return replace(rules, issuer=text.partition("=")[2]), ORDERS
    if text.startswith("projectId="):
        return replace(rules, project_id=text.partition("=")[2]), ORDERS
    if text.startswith("two keys"):
        second = read_public_keys(namespace["_pem_pub"](namespace["EC_OTHER"]), facts=KeyFacts("k2", "vizzly"))
        return replace(rules, keys=keys + second), ORDERS
    if text.startswith("orders has guard"):
        return rules, GUARDED
    assert text.startswith("one public key; "), f"a configuration that this test does not know: {text}"
    return rules, ORDERS


def judge(entry: dict[str, Any], token_bytes: int = 16_384) -> str | None:
    """The code with which a request for `orders` is refused, or None. Any exception but a refusal fails the test."""
    rules, orders = configured(entry)
    token = eval(entry["how_to_build"], corpus())
    verifier = Verifier([rules], token_bytes=token_bytes)
    catalog = Catalog("sqlite", "sqlite://", {item.id: item for item in (orders, *OTHERS)})
    try:
        claims = verifier.verify(token, now=time.time())
        rows = Policy(read_grant(claims, verifier.rules_of(claims)), catalog).rows(orders)
    except Refused as refusal:
        return refusal.code
    # Accepted means restricted: at least the one filter that the dataset demands.
    assert isinstance(rows.predicate, AllOf)
    assert rows.predicate.parts
    return None


@pytest.mark.skipif(MISSING is not None, reason=MISSING or "")
class TestCorpus:
    @pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry["kind"] == "token"], ids=lambda entry: entry["id"])
    def test_a_token_ends_as_its_entry_expects_and_for_the_right_reason(self, entry: dict[str, Any]) -> None:
        code = judge(entry)
        assert code == (DECIDED[entry["id"]][0] if entry["id"] in DECIDED else EXPECTED.get(entry["id"])), entry["description"]
        assert {"accept": code is None, "reject": code is not None, "either": True}[entry["expect"]]

    @pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry["kind"] == "token" and entry["token_bytes"] > 16_384], ids=lambda entry: entry["id"])
    def test_a_large_token_is_judged_the_same_where_the_limit_has_room(self, entry: dict[str, Any]) -> None:
        assert (judge(entry, token_bytes=20_000_000) is None) == (entry["id"] in HONEST_BUT_LARGE)

    @pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry["kind"] == "key"], ids=lambda entry: entry["id"])
    def test_a_key_that_must_not_verify_is_refused_at_start(self, entry: dict[str, Any]) -> None:
        assert entry["expect"] == "reject"
        text = eval(entry["how_to_build"], corpus())
        with pytest.raises(KeyRefused) as refused:
            read_public_keys(text, facts=KeyFacts("k1", "vizzly"))
        assert text[10:40] not in str(refused.value)

    def test_no_entry_is_left_out(self) -> None:
        assert {entry["id"] for entry in ENTRIES if entry["kind"] not in {"token", "key"}} == OF_THE_REQUEST
        assert {entry["id"] for entry in ENTRIES if entry["expect"] == "either"} == set(DECIDED)
