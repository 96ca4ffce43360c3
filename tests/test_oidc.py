"""Tokens of identity providers, as they are laid out by four of them: which datasets, which rows, and what a missing claim means."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rowseal import Gate, cli, errors
from rowseal.configuration import load
from rowseal.gate import Access

NOW = 1_800_000_000
ISSUER, AUDIENCE = "https://login.example.com/", "https://data.example.com"
TABLES = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, tenant TEXT, region TEXT, amount INTEGER);
CREATE TABLE items (id INTEGER PRIMARY KEY, order_id INTEGER, qty INTEGER);
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT);
INSERT INTO orders VALUES (1, 'acme', 'EU', 10), (2, 'acme', 'US', 20), (3, 'bolt', 'EU', 30), (4, NULL, 'EU', 40), (5, '', 'EU', 50);
INSERT INTO items VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 99, 4);
INSERT INTO products VALUES (1, 'Widget');
"""
CONFIGURATION = """\
version: 1
database: sqlite:///shop.db
tokens:
  - profile: oidc
    issuer: https://login.example.com/
    audience: https://data.example.com
    keys:
      - {id: idp, public_key_file: public.pem}
    claims: {tenant: TENANT, roles: ROLES}
    attributes:
      tenant: {orders: tenant, items: through, products: none}
    roles:
      analyst: {datasets: [orders, items, products]}
      clerk: {datasets: [orders], limits: {rows: 1}, explain: true}
      shopper: {datasets: [products]}
datasets:
  - id: orders
    table: orders
    fields:
      - {id: order_id, column: id, type: number}
      - {id: tenant, name: Tenant, type: string}
      - {id: region, type: string}
      - {id: amount, type: number}
  - id: items
    table: items
    fields: [{id: item_id, column: id, type: number}, {id: order_id, type: number}, {id: qty, type: number}]
    secure_filters: [{through: orders, on: {order_id: order_id}}]
  - id: products
    table: products
    public: true
    fields: [{id: name, type: string}]
"""
PLAIN = CONFIGURATION.replace("TENANT", "tenant").replace("ROLES", "roles")


@cache
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def claims(**over: Any) -> dict[str, Any]:
    content = {"iss": ISSUER, "aud": AUDIENCE, "sub": "person 1", "iat": NOW, "exp": NOW + 600, "tenant": "acme", "roles": ["analyst"]} | over
    return {name: value for name, value in content.items() if value is not ...}


def signed(header: dict[str, Any] | None = None, **over: Any) -> str:
    return jwt.encode(claims(**over), key(), "ES256", headers=header)


def fences(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


ROOT = Path(__file__).parents[1]
Open = Callable[..., Gate]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "public.pem").write_bytes(key().public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.executescript(TABLES)
    return tmp_path


@pytest.fixture
def opened(folder: Path) -> Iterator[Open]:
    gates = []

    def open_gate(text: str = PLAIN) -> Gate:
        (folder / "datasets.yaml").write_text(text)
        gates.append(Gate.from_yaml(folder / "datasets.yaml", clock=lambda: float(NOW)))
        return gates[-1]

    yield open_gate
    for gate in gates:
        gate.close()


def ids(access: Access, dataset: str = "orders", column: str = "order_id") -> list[int]:
    return sorted(row[0] for row in access.execute(f"SELECT {column} FROM {dataset}").rows)


def refused(access: Access, sql: str = "SELECT order_id FROM orders") -> str:
    with pytest.raises(errors.AccessRefused) as refusal:
        access.execute(sql)
    return refusal.value.code


def not_taken(gate: Gate, token: str) -> str:
    with pytest.raises(errors.TokenRefused) as refusal:
        gate.verify(token)
    return refusal.value.code


# --- four identity providers, whose layouts are public --------------------------------------------------------------------------------------

AUTH0 = {
    "sub": "auth0|6553da60", "aud": [AUDIENCE, "https://tenant.example.auth0.com/userinfo"], "azp": "K1AUPhZq", "gty": "password",
    "scope": "openid profile read:orders", "permissions": ["analyst"], "org_id": "org_9", "https://shop.example.com/tenant": "acme",
}  # fmt: skip
KEYCLOAK = {
    "jti": "onrtac:1", "sub": "f1c4f64e", "typ": "Bearer", "azp": "shop-web", "aud": [AUDIENCE, "account"], "sid": "4c0a3a8a", "acr": "1",
    "allowed-origins": ["https://shop.example.com"], "realm_access": {"roles": ["default-roles-shop", "offline_access", "analyst"]},
    "resource_access": {"account": {"roles": ["manage-account"]}}, "scope": "openid email profile", "organization": {"acme": {"id": "1"}},
    "tenants": ["acme"], "preferred_username": "ada", "email_verified": True,
}  # fmt: skip
SUPABASE = {
    "aud": "authenticated", "sub": "123e4567-e89b-12d3-a456-426614174000", "email": "ada@example.com", "phone": "", "role": "authenticated",
    "app_metadata": {"provider": "email", "providers": ["email"], "tenant": "acme", "role": "analyst"}, "user_metadata": {"tenant": "bolt", "role": "clerk"},
    "aal": "aal1", "amr": [{"method": "password", "timestamp": NOW}], "session_id": "a1b2", "is_anonymous": False,
}  # fmt: skip
ENTRA = {
    "ver": "2.0", "tid": "acme", "oid": "00000000-0000-0000-66f3-3332eca7ea81", "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
    "aud": AUDIENCE, "azp": "6cb04018-a3f5-46a7-b995-940c78f5aef3", "azpacr": "1", "scp": "access_as_user analyst", "roles": ["analyst"],
    "uti": "fqiB", "rh": "0.", "nbf": NOW,
}  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "tenant", "roles", "header"),
    [
        pytest.param(AUTH0, '["https://shop.example.com/tenant"]', "permissions", {"kid": "idp"}, id="Auth0"),
        pytest.param(AUTH0, '["https://shop.example.com/tenant"]', "permissions", {"kid": "idp", "typ": "at+jwt"}, id="Auth0, RFC 9068"),
        pytest.param(KEYCLOAK, "tenants", "realm_access.roles", {"kid": "idp"}, id="Keycloak"),
        pytest.param(SUPABASE, "app_metadata.tenant", "app_metadata.role", {"kid": "idp"}, id="Supabase"),
        pytest.param(ENTRA, "tid", "roles", {"kid": "idp"}, id="Entra"),
        pytest.param(ENTRA, "tid", "scp", {"kid": "idp", "x5t": "NGTFvdK-fythEuLwjpwAJOM9n-A"}, id="Entra, delegated, version 1"),
    ],
)
def test_an_access_token_of_an_identity_provider_opens_its_roles_datasets_and_its_tenants_rows(
    opened: Open, layout: dict[str, Any], tenant: str, roles: str, header: dict[str, str]
) -> None:
    audience = layout["aud"] if isinstance(layout["aud"], str) else AUDIENCE
    gate = opened(CONFIGURATION.replace("TENANT", tenant).replace("ROLES", roles).replace(f"audience: {AUDIENCE}", f"audience: {audience}"))
    access = gate.verify(signed(header, **{"tenant": ..., "roles": ...} | layout))
    assert access.grant.dataset_ids == {"orders", "items", "products"}
    assert ids(access) == [1, 2]
    assert ids(access, "items", "item_id") == [1, 2]
    assert access.execute("SELECT name FROM products").rows == [("Widget",)]
    assert access.execute("SELECT COUNT(*) FROM orders AS o JOIN items AS i ON i.order_id = o.order_id WHERE o.tenant <> 'acme'").rows == [(0,)]


# --- roles ----------------------------------------------------------------------------------------------------------------------------------


def test_roles_add_up_and_unknown_ones_grant_nothing(opened: Open) -> None:
    gate = opened()
    assert gate.verify(signed(roles=["admin", "shopper", "owner"])).grant.dataset_ids == {"products"}
    assert gate.verify(signed(roles=["clerk", "shopper"])).grant.dataset_ids == {"orders", "products"}
    assert gate.verify(signed(roles="clerk")).grant.dataset_ids == {"orders"}


@pytest.mark.parametrize("roles", [..., [], "", "clerk shopper", ["clerk shopper"], ["CLERK"], [" clerk"], ["clerk\u200b"]], ids=repr)
def test_no_role_that_stands_in_the_file_is_nothing(opened: Open, roles: Any) -> None:
    access = opened().verify(signed(roles=roles))
    assert access.grant.dataset_ids == frozenset()
    assert refused(access) == refused(access, "SELECT name FROM products") == refused(access, "SELECT x FROM nowhere") == "dataset_unknown"


@pytest.mark.parametrize(
    "roles", [None, 1, True, {"clerk": True}, ["clerk", 1], ["clerk", None], [["clerk"]], ["x" * 257], ["clerk"] * 1001], ids=lambda each: repr(each)[:40]
)
def test_roles_of_another_type_refuse_the_token(opened: Open, roles: Any) -> None:
    assert not_taken(opened(), signed(roles=roles)) == "claim_invalid"


def test_a_scope_is_a_list_with_blanks_and_nothing_else_is(opened: Open) -> None:
    gate = opened(PLAIN.replace("roles: roles", "roles: scope"))
    assert gate.verify(signed(scope="openid clerk  shopper")).grant.dataset_ids == {"orders", "products"}
    assert gate.verify(signed(scope="openid clerkshopper")).grant.dataset_ids == frozenset()


def test_the_longest_answer_is_the_roles_where_no_other_role_grants_a_longer_one(opened: Open) -> None:
    gate = opened()
    clerk, both = gate.verify(signed(roles=["clerk"])), gate.verify(signed(roles=["clerk", "analyst"]))
    sql = "SELECT order_id FROM orders ORDER BY order_id"
    cut = clerk.execute(sql)
    assert (cut.rows, cut.truncated) == ([(1,)], True)
    # The same text for another bearer, and for the first one again: what was made of it for one role is not taken for the other.
    assert (both.execute(sql).rows, both.execute(sql).truncated) == ([(1,), (2,)], False)
    assert clerk.execute(sql).rows == [(1,)]
    assert clerk.execute("SELECT order_id FROM orders ORDER BY order_id DESC LIMIT 5").rows == [(2,)]
    assert clerk.execute("SELECT COUNT(*) FROM orders").rows == [(2,)]


def test_a_role_may_have_queries_explained(opened: Open) -> None:
    gate = opened()
    assert gate.verify(signed(roles=["clerk"])).grant.explain
    assert not gate.verify(signed()).grant.explain
    (read,) = gate.verify(signed(tenant=["acme"])).explain("SELECT order_id FROM orders")["reads"]
    assert read["filters"] == [{"origin": "tenant", "field": "tenant", "op": "is_one_of", "binds": ["g1_0"]}]


# --- the tenant's claim ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tenant",
    [..., None, "", [], [""], ["acme", ""], [None], ["acme", None], {}, {"id": "acme"}, [["acme"]], ["acme", 1], "x" * 4097],
    ids=lambda each: repr(each)[:40],
)
def test_a_claim_that_says_no_tenant_closes_what_it_restricts_and_nothing_else(opened: Open, tenant: Any) -> None:
    access = opened().verify(signed(tenant=tenant))
    assert refused(access) == refused(access, "SELECT qty FROM items") == "claim_required"
    assert refused(access, "SELECT 1 FROM products, orders") == "claim_required"
    assert access.execute("SELECT name FROM products").rows == [("Widget",)]


@pytest.mark.parametrize("tenant", [7, True, 1.5, [7], [True]], ids=repr)
def test_a_claim_of_another_type_than_the_field_closes_the_dataset(opened: Open, tenant: Any) -> None:
    assert refused(opened().verify(signed(tenant=tenant))) == "filter_inapplicable"


@pytest.mark.parametrize(("tenant", "rows"), [("acme", [1, 2]), ("bolt", [3]), (["acme", "bolt"], [1, 2, 3]), ("ACME", []), ("acme ", []), ("' OR 1=1 --", [])])
def test_a_tenant_sees_the_rows_that_equal_the_claim(opened: Open, tenant: Any, rows: list[int]) -> None:
    assert ids(opened().verify(signed(tenant=tenant))) == rows


@pytest.mark.parametrize(
    "content",
    [{"app": "acme"}, {"app": ["acme"]}, {"app": {"tenants": "acme"}}, {"app": {"tenant": None}}, {"app.tenant": "acme"}, {"tenant": "acme"}],
    ids=repr,
)
def test_a_way_that_ends_early_ends_nowhere_else(opened: Open, content: dict[str, Any]) -> None:
    access = opened(PLAIN.replace("tenant: tenant, roles", "tenant: app.tenant, roles")).verify(signed(**{"tenant": ...} | content))
    assert refused(access) == "claim_required"


TWO = PLAIN.replace("tenant: tenant, roles", "tenant: tenant, region: region, roles").replace(
    "items: through, products: none}", "items: through, products: none}\n      region: {orders: region, items: none, products: none}"
)


def test_several_attributes_all_hold(opened: Open) -> None:
    gate = opened(TWO)
    assert ids(gate.verify(signed(region="EU"))) == [1]
    assert ids(gate.verify(signed(region=["EU", "US"]))) == [1, 2]
    assert refused(gate.verify(signed())) == "claim_required"
    assert ids(gate.verify(signed(region="US")), "items", "item_id") == [2]


# --- filters that a token brings itself -------------------------------------------------------------------------------------------------------

FILTERED = PLAIN.replace("roles: roles}", 'roles: roles, filters: ["https://shop.example.com/filters"]}')


def filtered(*groups: list[dict[str, Any]], **over: Any) -> str:
    return signed(**{"https://shop.example.com/filters": {"orders": list(groups)}}, **over)


def same(field: str, value: Any, op: str = "=") -> dict[str, Any]:
    return {"field": field, "op": op, "value": value}


def test_a_token_may_narrow_itself_where_the_file_says_so(opened: Open) -> None:
    gate = opened(FILTERED)
    assert ids(gate.verify(filtered([same("region", "EU")]))) == [1]
    # what is claimed holds in every group
    assert ids(gate.verify(filtered([same("region", "EU")], [same("amount", 30)]))) == [1]
    assert ids(gate.verify(signed())) == [1, 2]
    (read,) = gate.verify(filtered([same("region", "EU")], [same("amount", 30)])).explain("SELECT order_id FROM orders")["reads"]
    named = '["https://shop.example.com/filters"].orders'
    assert [each["origin"] for each in read["filters"]] == [f"{named}[0][0]", "tenant", f"{named}[1][0]", "tenant"]


def test_a_filter_within_the_token_s_own_claim_is_no_contradiction(opened: Open) -> None:
    gate = opened(FILTERED)
    assert ids(gate.verify(filtered([same("tenant", "acme")]))) == [1, 2]
    assert ids(gate.verify(filtered([same("Tenant", ["acme"], "is_one_of")], tenant=["acme", "bolt"]))) == [1, 2]


@pytest.mark.parametrize(
    "groups",
    [
        [[same("tenant", "bolt")]],
        [[same("Tenant", "bolt")]],  # by the name that people see
        [[same("region", "EU")], [same("tenant", "bolt")]],
        [[same("tenant", "acme"), same("tenant", "bolt")]],
        [[same("tenant", ["acme", "bolt"], "is_one_of")]],
        [[same("tenant", "bolt", "!=")]],
        [[same("tenant", ["bolt"], "is_not_one_of")]],
        [[same("tenant", "a", "starts_with")]],
        [[{"field": "tenant", "op": "is_null"}]],
        [[{"field": "tenant", "op": "is_not_null"}]],
    ],
    ids=repr,
)
def test_a_filter_against_the_token_s_own_claim_closes_the_dataset(opened: Open, groups: list[list[dict[str, Any]]]) -> None:
    access = opened(FILTERED).verify(filtered(*groups))
    assert refused(access) == refused(access, "SELECT qty FROM items") == "filter_inapplicable"


@pytest.mark.parametrize("filters", [None, [], {"orders": [[]]}, {"orders": {}}, {"*": [[same("region", "EU")]]}], ids=repr)
def test_filters_out_of_shape_refuse_the_token(opened: Open, filters: Any) -> None:
    assert not_taken(opened(FILTERED), signed(**{"https://shop.example.com/filters": filters})) in {"claim_invalid", "filters_malformed"}


def test_a_guard_is_met_by_what_is_claimed(opened: Open) -> None:
    gate = opened(FILTERED.replace("    fields:\n", '    guards: [{field: tenant, op: ["=", is_one_of], max_values: 2}]\n    fields:\n', 1))
    assert ids(gate.verify(filtered([same("region", "EU")], [same("amount", 20)]))) == [1, 2]
    assert refused(gate.verify(signed(tenant=["acme", "bolt", "c"]))) == "guard_unmet"


# --- tokens that are no access tokens for this server -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("over", "code"),
    [
        ({"nonce": "n-0S6"}, "token_kind"),
        ({"at_hash": "77Qm"}, "token_kind"),
        ({"c_hash": "LDkt"}, "token_kind"),
        ({"typ": "ID"}, "token_kind"),
        ({"typ": "Refresh"}, "token_kind"),
        ({"typ": "Offline"}, "token_kind"),
        ({"typ": None}, "token_kind"),
        ({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}, "token_kind"),
        ({"typ": "DPoP"}, "token_kind"),
        ({"typ": "ID", "cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}, "token_kind"),
        ({"typ": "DPoP", "cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}, "proof_required"),
        ({"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}, "claim_invalid"),
        ({"dataSetIds": "*", "secureFilters": {}}, "token_kind"),
        ({"accessType": "admin"}, "token_kind"),
        ({"aud": "shop-web"}, "issuer_refused"),
        ({"aud": [f"{AUDIENCE}/"]}, "issuer_refused"),
        ({"aud": []}, "issuer_refused"),
        ({"aud": None}, "issuer_refused"),
        ({"aud": ...}, "issuer_refused"),
        ({"iss": ...}, "issuer_refused"),
        ({"iss": "https://login.example.com"}, "issuer_refused"),
        ({"iss": [ISSUER]}, "claim_invalid"),
        ({"sub": ...}, "claim_invalid"),
        ({"sub": ""}, "claim_invalid"),
        ({"sub": 7}, "claim_invalid"),
        ({"exp": ...}, "expiry_missing"),
        ({"exp": NOW}, "token_expired"),
        ({"exp": NOW + 7201}, "lifetime_too_long"),
    ],
    ids=repr,
)
def test_a_token_for_another_purpose_is_refused(opened: Open, over: dict[str, Any], code: str) -> None:
    assert not_taken(opened(), jwt.api_jws.encode(json.dumps(claims(**over)).encode(), key(), "ES256")) == code


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "JWT", "jwt"])
def test_the_header_may_say_that_it_is_an_access_token(opened: Open, typ: str) -> None:
    assert ids(opened().verify(signed({"typ": typ}))) == [1, 2]


@pytest.mark.parametrize("typ", ["dpop+jwt", "logout+jwt", "id+jwt", "secevent+jwt", "at+jwt+x", "application/jwt"])
def test_or_nothing_else(opened: Open, typ: str) -> None:
    assert not_taken(opened(), signed({"typ": typ})) == "header_refused"


VIZZLY = PLAIN.replace("datasets:\n  - id: orders", "  - profile: vizzly\n    keys: [{id: own, public_key_file: own.pem}]\ndatasets:\n  - id: orders")


def test_what_one_profile_takes_the_other_does_not(folder: Path, opened: Open) -> None:
    own = ec.generate_private_key(ec.SECP256R1())
    (folder / "own.pem").write_bytes(own.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    gate = opened(VIZZLY)
    data = {"dataSetIds": ["orders"], "secureFilters": {"orders": [[same("tenant", "bolt")]]}, "exp": NOW + 60}
    assert ids(gate.verify(jwt.encode(data, own, "ES256"))) == [3]
    for header in ({"typ": "at+jwt"}, {"x5t": "NGTFvdK-fythEuLwjpwAJOM9n-A"}):
        assert not_taken(gate, jwt.encode(data, own, "ES256", headers=header)) == "header_refused"
    assert not_taken(gate, jwt.encode(claims(aud=...), own, "ES256")) == "token_kind"
    assert not_taken(gate, jwt.encode(claims() | data, key(), "ES256")) == "token_kind"


def test_a_reload_judges_what_the_token_says_of_its_kind_anew(folder: Path, opened: Open) -> None:
    """The key stays, its profile changes: what was proven under the one is not taken under the other."""
    gate = opened()
    access = gate.verify(signed({"typ": "at+jwt"}))
    of_another_profile = f"  - {{profile: vizzly, issuer: {ISSUER}, audience: {AUDIENCE}, keys: [{{id: idp, public_key_file: public.pem}}]}}\n"
    (folder / "datasets.yaml").write_text(PLAIN[: PLAIN.index("  - profile")] + of_another_profile + PLAIN[PLAIN.index("datasets:\n  - id") :])
    gate.reload()
    with pytest.raises(errors.TokenRefused) as refusal:
        access.execute("SELECT order_id FROM orders")
    assert refusal.value.code == "header_refused"


# --- what the file must say -------------------------------------------------------------------------------------------------------------------


def problems(folder: Path, text: str) -> list[str]:
    (folder / "datasets.yaml").write_text(text)
    with pytest.raises(errors.Misconfigured) as refusal:
        load(folder / "datasets.yaml")
    return [str(each).removeprefix(f"{folder / 'datasets.yaml'}:") for each in refusal.value.problems]


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        (", products: none", "", "11:7: tokens[0].attributes.tenant: says nothing of `products`; write the field"),
        ("items: through", "items: tenant", "`tenant` is no field of dataset `items`"),
        ("items: through", "items: none", "12:5: tokens[0].roles: grant `items`, which no attribute restricts and which is not `public: true`"),
        ("orders: tenant,", "orders: through,", "says that rows of `orders` are read through a parent which this attribute restricts, and there is none"),
        ("orders: tenant, items", "orders: none, items", "says that rows of `items` are read through a parent which this attribute restricts"),
        ("products: none}", "products: none, ghosts: tenant}", "11:64: tokens[0].attributes.tenant.ghosts: names no dataset of this file"),
        ("tenant: tenant, roles", "roles", "tokens[0].attributes.tenant: has no path under `claims:`"),
        ("tenant: tenant, roles", "tenant: tenant, region: region, roles", "9:30: tokens[0].claims.region: restricts nothing"),
        ("tenant: tenant, roles", "tenant: https://a.example/tenant, roles", "write a name with other characters in a list"),
        ("tenant: tenant, roles", "tenant: [], roles", "tokens[0].claims.tenant: must be names of claims with dots between, or a list of 1 to 8 names"),
        ("tenant: tenant, roles", "tenant: [7], roles", "tokens[0].claims.tenant: must be text, not a number"),
        (", roles: roles}", "}", "needs `claims:` with `roles:"),
        ("    issuer: https://login.example.com/\n", "", "needs `issuer:` with `profile: oidc`, or anybody's tokens would be taken"),
        ("    audience: https://data.example.com\n", "", "needs `audience:` with `profile: oidc`, or tokens that are made for other servers"),
        ("profile: oidc", "profile: oidc\n    project_id: p", "has no `project_id`"),
        ("profile: oidc", "profile: oidc\n    flat_filters: any", "is about filters of the token, and `claims:` has no `filters:`"),
        ("profile: oidc", "profile: vizzly", "9:5: tokens[0].claims: is for `profile: oidc`; remove it"),
        ("shopper: {datasets: [products]}", "shopper: {datasets: [product]}", "15:28: tokens[0].roles.shopper.datasets[0]: names no dataset of this file"),
        ("shopper: {datasets: [products]}", "shopper: {datasets: []}", "tokens[0].roles.shopper.datasets: must have at least one entry"),
        ("shopper: {datasets: [products]}", "shopper: {dataset: [products]}", "15:17: tokens[0].roles.shopper.dataset: is no known key; did you mean"),
        ("limits: {rows: 1}", "limits: {row: 1}", "tokens[0].roles.clerk.limits.row: is no known key; did you mean `rows`?"),
        ("limits: {rows: 1}", "limits: {rows: 10001}", "tokens[0].roles.clerk.limits.rows: is wider than `limits.rows` of the file"),
        ("name: Tenant, type: string", "name: through, type: string", None),
        ("{id: qty, type: number}", "{id: through, column: qty, type: number}", "is a field of `items` too, so nobody could tell what is meant"),
    ],
    ids=lambda each: None if each is None else each.strip()[:50],
)  # fmt: skip
def test_a_file_that_leaves_something_unsaid_is_not_loaded(folder: Path, was: str, becomes: str, said: str | None) -> None:
    assert was in PLAIN
    text = PLAIN.replace(was, becomes, 1)
    if said is None:
        (folder / "datasets.yaml").write_text(text)
        load(folder / "datasets.yaml")
    else:
        found = problems(folder, text)
        assert any(said in each for each in found), found


# --- the command line ------------------------------------------------------------------------------------------------------------------------


def ran(*arguments: str, stdin: str = "") -> tuple[int, dict[str, Any]]:
    out, err = StringIO(), StringIO()
    status = cli.run([*arguments, "--json"], out=out, err=err, stdin=StringIO(stdin), clock=lambda: float(NOW))
    return status, json.loads(out.getvalue())


def test_inspect_says_what_a_token_opens_here_and_without_a_file_that_it_says_who_somebody_is(folder: Path) -> None:
    (folder / "datasets.yaml").write_text(PLAIN)
    status, report = ran("inspect", "-", stdin=signed())
    assert (status, report["kind"], report["verified"], report["datasets"]) == (0, "access token of an identity provider", False, {})
    assert any("says who somebody is" in each for each in report["warnings"])
    judge = ("inspect", "-", "--config", str(folder / "datasets.yaml"))
    status, report = ran(*judge, stdin=signed())
    assert (status, report["verified"], report["warnings"]) == (0, True, [])
    assert {name: found["rows"] for name, found in report["datasets"].items()} == {
        "orders": "tenant = ...",
        "items": "its row of `orders` is open",
        "products": "every row",
    }
    assert "acme" not in json.dumps(report)
    status, report = ran(*judge, stdin=signed(tenant=None))
    assert (status, report["datasets"]["orders"]["refused"]["code"]) == (0, "claim_required")
    assert "it opens nothing" in ran(*judge, stdin=signed(roles=["owner"]))[1]["warnings"][0]
    for over, code in (({"nonce": "n"}, "token_kind"), ({"aud": "shop-web"}, "issuer_refused"), ({"exp": NOW}, "token_expired")):
        status, report = ran(*judge, stdin=signed(**over))
        assert (status, report["refused"]["code"]) == (1, code)


def test_lint_knows_that_attributes_are_rules_and_which_claims_people_write_themselves(folder: Path) -> None:
    (folder / "datasets.yaml").write_text(PLAIN.replace("tenant: tenant, roles", "tenant: user_metadata.tenant, roles"))
    _, found = ran("lint", "--config", str(folder / "datasets.yaml"))
    codes = {(each["code"], each["dataset"]) for each in found["findings"]}
    assert ("writable_claim", None) in codes
    assert ("no_index", "orders") in codes
    assert ("no_rule", "orders") not in codes
    (folder / "datasets.yaml").write_text(
        PLAIN.replace("{orders: tenant, items: through", "{orders: none, items: none").replace("[orders, items, ", "[").replace("[orders]", "[products]")
    )
    _, found = ran("lint", "--config", str(folder / "datasets.yaml"))
    assert ("no_rule", "orders") in {(each["code"], each["dataset"]) for each in found["findings"]}


# --- the pages --------------------------------------------------------------------------------------------------------------------------------


def test_the_guide_s_file_opens_the_guide_s_token_its_tenant_s_rows(folder: Path) -> None:
    """how-to/oidc.md, and that the paths in its table of providers are paths."""
    guide = ROOT / "docs/how-to/oidc.md"
    (written,), (text,) = fences(guide, "json"), fences(guide, "yaml")
    with closing(sqlite3.connect(folder / "shop.db")) as database:
        database.execute("ALTER TABLE items RENAME TO order_items")
    fetched = 'jwks_url: "https://login.example.com/.well-known/jwks.json"'
    assert fetched in text
    (folder / "datasets.yaml").write_text(text.replace(fetched, "public_key_file: public.pem"))
    content = json.loads(written)
    gate = Gate.from_yaml(folder / "datasets.yaml", clock=lambda: float(content["exp"] - 60))
    try:
        access = gate.verify(jwt.encode(content, key(), "ES256"))
        assert ids(access) == [1, 2]
        assert access.execute("SELECT COUNT(*) FROM order_items").rows == [(2,)]
        assert access.execute("SELECT name FROM products").rows == [("Widget",)]
    finally:
        gate.close()
    table = guide.read_text(encoding="utf-8").partition("| provider |")[2].partition("\n\n")[0]
    paths = re.findall(r"(?:tenant|roles): ([^`,]+|\[[^`]+\])`", table)
    assert len(paths) >= 8
    for path in paths:
        (folder / "datasets.yaml").write_text(PLAIN.replace("tenant: tenant, roles", f"tenant: {path}, roles").replace("table: items", "table: order_items"))
        load(folder / "datasets.yaml")


def test_the_reference_s_token_and_fragment_fit_each_other(folder: Path) -> None:
    (fragment,) = (each for each in fences(ROOT / "docs/reference/datasets-yaml.md", "yaml") if "profile: oidc" in each)
    *_, written = fences(ROOT / "docs/reference/claims.md", "json")
    (folder / "idp.json").write_text((folder / "public.pem").read_text())
    datasets = PLAIN[PLAIN.index("datasets:\n  - id") :].replace("id: items", "id: order_items")
    (folder / "datasets.yaml").write_text(f"version: 1\ndatabase: sqlite:///shop.db\n{fragment}{datasets}".replace("realm_access.roles", "roles"))
    gate = Gate.from_yaml(folder / "datasets.yaml", clock=lambda: 1_800_000_001.0)
    try:
        assert ids(gate.verify(jwt.encode(json.loads(written), key(), "ES256"))) == [1, 2]
    finally:
        gate.close()
