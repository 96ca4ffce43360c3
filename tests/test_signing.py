"""The signer writes what the verifier reads, counts minutes as minutes, and refuses at the source what would be refused later."""

from __future__ import annotations

import base64
import json
import math
import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from rowseal.catalog import Catalog, Dataset, Field, FieldType, Guard, Storage
from rowseal.claims import KeyFacts
from rowseal.errors import TokenRefused
from rowseal.filters import Filter, FlatFilters, Operator
from rowseal.grants import Grant, read_grant
from rowseal.holder import read_holder
from rowseal.keys import KeyRefused, TokenRules, read_public_keys, thumbprint
from rowseal.signing import Signer, SigningRefused
from rowseal.tokens import Verifier
from signing_cases import BASE, REFUSED, SECRETS, SIGNED, TENANT

NOW = 1_800_000_000.25
ENCODING, PKCS8, TRADITIONAL = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL
PLAIN = serialization.NoEncryption()


@cache
def key(name: str) -> Any:
    return {
        "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
        "RSA": lambda: rsa.generate_private_key(65537, 2048),
        "RSA-1024": lambda: rsa.generate_private_key(65537, 1024),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
        "Ed448": ed448.Ed448PrivateKey.generate,
    }[name]()


def public_pem(name: str) -> str:
    return key(name).public_key().public_bytes(ENCODING, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def signer(name: str = "P-256", **more: Any) -> Signer:
    return Signer(key(name), clock=lambda: NOW, **more)


def sign(by: Signer | None = None, **over: Any) -> dict[str, str]:
    given = {
        "user_reference": "person 1",
        "project_id": "prj_1",
        "data_set_ids": ["orders"],
        "secure_filters": {"orders": [[{"field": "tenant", "op": "=", "value": 7}]]},
    } | over
    return (by or signer()).generate_tokens(**{name: value for name, value in given.items() if value is not ...})


def decoded(part: str) -> dict[str, Any]:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def read(token: str, name: str = "P-256", algorithm: str | None = None, now: float = NOW) -> Grant:
    rules = TokenRules("vizzly", read_public_keys(public_pem(name), facts=KeyFacts(name, "vizzly"), algorithm=algorithm))
    verifier = Verifier([rules], token_bytes=16_384)
    claims = verifier.verify(token, now=now)
    return read_grant(claims, verifier.rules_of(claims))


@pytest.mark.parametrize(
    ("name", "algorithm", "used"),
    [
        ("P-256", None, "ES256"),
        ("P-384", None, "ES384"),
        ("P-521", None, "ES512"),
        ("Ed25519", None, "EdDSA"),
        ("RSA", None, "RS256"),
        ("RSA", "PS384", "PS384"),
    ],
)
def test_what_is_signed_with_any_key_is_what_the_verifier_reads(name: str, algorithm: str | None, used: str) -> None:
    token = sign(signer(name, algorithm=algorithm), parameters={"region": "Zoë"})["dataAccessToken"]
    grant = read(token, name, algorithm)
    assert grant.dataset_ids == {"orders"}
    assert grant.filters == {"orders": ((Filter("tenant", Operator.EQ, 7),),)}
    assert grant.claims["parameters"] == {"region": "Zoë"}
    assert decoded(token.split(".")[0]) == {"alg": used, "kid": thumbprint(key(name).public_key())}


class TestClaims:
    def test_of_a_project(self) -> None:
        tokens = sign(parent_dashboard_ids=["dsh_1"], parameters={"a": 1})
        assert list(tokens) == ["dashboardAccessToken", "dataAccessToken"]
        assert decoded(tokens["dashboardAccessToken"].split(".")[1]) == {
            "accessType": "standard",
            "projectId": "prj_1",
            "parentDashboardIds": ["dsh_1"],
            "userReference": "person 1",
            "scope": "read_write",
            "expires": "2027-01-15T08:15:00.250Z",
        }
        assert decoded(tokens["dataAccessToken"].split(".")[1]) == {
            "projectId": "prj_1",
            "dataSetIds": ["orders"],
            "secureFilters": {"orders": [[{"field": "tenant", "op": "=", "value": 7}]]},
            "parameters": {"a": 1},
            "expires": "2027-01-15T08:15:00.250Z",
        }

    def test_of_an_organisation_as_before_2023(self) -> None:
        tokens = sign(project_id=..., organisation_id="org_1", dashboard_id="dsh_1", scope="read")
        assert decoded(tokens["dashboardAccessToken"].split(".")[1]) == {
            "accessType": "standard",
            "organisationId": "org_1",
            "dashboardId": "dsh_1",
            "userReference": "person 1",
            "scope": "read",
            "expires": "2027-01-15T08:15:00.250Z",
        }
        assert set(decoded(tokens["dataAccessToken"].split(".")[1])) == {"dataSetIds", "secureFilters", "expires"}

    @pytest.mark.parametrize(("written", "signed"), [("standard", "standard"), ("admin", "admin"), ("editor", "admin")])
    def test_editor_is_the_older_word_for_admin(self, written: str, signed: str) -> None:
        assert decoded(sign(access_type=written)["dashboardAccessToken"].split(".")[1])["accessType"] == signed

    def test_the_dashboard_token_gives_no_rows(self) -> None:
        with pytest.raises(TokenRefused) as refused:
            read(sign()["dashboardAccessToken"])
        assert refused.value.code == "token_kind"

    @pytest.mark.parametrize(
        "over",
        [
            {"access_type": "owner"},
            {"scope": "write"},
            {"scope": True},
            {"user_reference": ""},
            {"user_reference": 7},
            {"project_id": ...},
            {"project_id": ""},
            {"organisation_id": "org_1"},
            {"dashboard_id": "dsh_1"},
            {"project_id": ..., "organisation_id": "org_1", "parent_dashboard_ids": []},
            {"parent_dashboard_ids": "dsh_1"},
            {"parent_dashboard_ids": [1]},
        ],
        ids=repr,
    )
    def test_a_place_and_a_person_are_named_unmistakably(self, over: dict[str, Any]) -> None:
        with pytest.raises(SigningRefused):
            sign(**over)


class TestLife:
    @pytest.mark.parametrize("ttl", [15, 1, 0.5, 60, 120])
    def test_minutes_are_minutes(self, ttl: float) -> None:
        token = sign(signer(ttl_in_minutes=ttl))["dataAccessToken"]
        assert read(token).expires_at == NOW + ttl * 60
        with pytest.raises(TokenRefused, match="token_expired"):
            read(token, now=NOW + ttl * 60)

    def test_a_life_is_never_rounded_up(self) -> None:
        token = Signer(key("P-256"), 1, clock=lambda: 1_800_000_000.9999).generate_tokens(
            user_reference="u", project_id="p", data_set_ids="*", secure_filters={}
        )
        assert decoded(token["dataAccessToken"].split(".")[1])["expires"] == "2027-01-15T08:01:00.999Z"

    @pytest.mark.parametrize("ttl", [0, -1, 10_080.1, float("inf"), float("nan"), True, "15", None])
    def test_a_life_is_above_nothing_and_at_most_a_week(self, ttl: Any) -> None:
        with pytest.raises(SigningRefused, match="ttl_in_minutes"):
            Signer(key("P-256"), ttl)

    def test_the_clock_is_read_at_each_signature(self) -> None:
        moments = iter([NOW, NOW + 3600])
        by = Signer(key("P-256"), clock=lambda: next(moments))
        assert read(sign(by)["dataAccessToken"]).expires_at == NOW + 900
        assert read(sign(by)["dataAccessToken"], now=NOW + 3600).expires_at == NOW + 4500

    def test_without_a_clock_it_is_now(self) -> None:
        now = datetime.now(UTC).timestamp()
        expires = decoded(sign(Signer(key("P-256")))["dataAccessToken"].split(".")[1])["expires"]
        assert datetime.fromisoformat(expires).timestamp() == pytest.approx(now + 900, abs=30)


class TestPrivateKeys:
    @pytest.mark.parametrize("name", ["P-256", "P-384", "P-521", "RSA", "Ed25519"])
    def test_every_common_form_is_read(self, name: str) -> None:
        pem = key(name).private_bytes(ENCODING, PKCS8, PLAIN)
        forms: list[Any] = [key(name), pem, pem.decode(), pem.decode().replace("\n", "\r\n"), pem.decode().replace("\n", "\\n"), "\n" + pem.decode().strip()]
        if name != "Ed25519":
            forms.append(key(name).private_bytes(ENCODING, TRADITIONAL, PLAIN))
        if name.startswith("P-"):
            parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
            forms.append(parameters + key(name).private_bytes(ENCODING, TRADITIONAL, PLAIN))
        for form in forms:
            assert read(sign(Signer(form, clock=lambda: NOW))["dataAccessToken"], name)

    @pytest.mark.parametrize(
        ("make", "reason"),
        [
            (lambda: "secret", "PEM block"),
            (lambda: b"\xff\xfe", "PEM block"),
            (lambda: public_pem("P-256"), "this is a public key, which signs nothing: write the private key"),
            (lambda: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "this is a certificate, which signs nothing"),
            (lambda: "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----", "`rowseal keys create`"),
            (lambda: "-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----", "`PKCS7` is not a private key"),
            (lambda: '{"kty": "EC", "d": "x"}', "perhaps a JWK"),
            (lambda: key("P-256").private_bytes(ENCODING, PKCS8, serialization.BestAvailableEncryption(b"x")).decode(), "is encrypted, .*openssl pkey"),
            (lambda: key("secp256k1").private_bytes(ENCODING, PKCS8, PLAIN).decode(), "the curve `secp256k1` are not accepted: use P-256"),
            (lambda: key("RSA-1024").private_bytes(ENCODING, TRADITIONAL, PLAIN).decode(), "use 2048 to 8192 bits"),
            (lambda: key("Ed448").private_bytes(ENCODING, PKCS8, PLAIN).decode(), "keys of this kind cannot sign"),
            (lambda: key("P-256").private_bytes(ENCODING, TRADITIONAL, serialization.BestAvailableEncryption(b"x")).decode(), "encrypted"),
            (lambda: key("P-256").private_bytes(ENCODING, PKCS8, PLAIN).decode() * 2, "2 PEM blocks"),
            (lambda: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "does not hold a private key"),
            (lambda: key("secp256k1"), "secp256k1"),
            (lambda: key("RSA-1024"), "1024 bits"),
            (lambda: key("Ed448"), "this kind"),
            (lambda: key("P-256").public_key(), "this kind"),
            (lambda: None, "this kind"),
        ],
    )
    def test_any_other_key_is_refused_without_quoting_it(self, make: Any, reason: str) -> None:
        with pytest.raises(KeyRefused, match=reason) as refused:
            Signer(make())
        assert "MI" not in str(refused.value)

    def test_a_key_has_its_own_algorithms_only(self) -> None:
        with pytest.raises(KeyRefused):
            Signer(key("P-256"), algorithm="RS256")

    def test_the_key_is_not_in_the_repr(self) -> None:
        assert "PRIVATE" not in repr(signer())
        assert "Key" not in repr(signer())


class TestFilters:
    """Nothing is signed that the verifier's grammar refuses."""

    @pytest.mark.parametrize(
        "over",
        [
            {"secure_filters": {"orders": "notalist"}},
            {"secure_filters": {"orders": [[]]}},
            {"secure_filters": {"orders": [[{"field": "tenant", "op": "=", "value": None}]]}},
            {"secure_filters": {"orders": [[{"field": "tenant", "op": "=="}]]}},
            {"secure_filters": {"orders": [{"field": "a", "op": "=", "value": 1}, {"field": "b", "op": "=", "value": 1}]}},
            {"secure_filters": {"*": [[{"field": "a", "op": "=", "value": 1}]]}},
            {"secure_filters": {1: []}},
            {"secure_filters": None},
            {"secure_filters": []},
            {"secure_filters": {"orders": [[{"field": "a", "op": "=", "value": float("nan")}]]}},
            {"secure_filters": {"orders": [[{"field": "a", "op": "=", "value": Decimal("NaN")}]]}},
            {"secure_filters": {"orders": [[{"field": "a", "op": "=", "value": Decimal("-Infinity")}]]}},
            {"secure_filters": {"orders": [[{"field": "a", "op": "=", "value": Decimal("1E+400")}]]}},
            {"secure_filters": {"orders": [[{"field": "a", "op": "=", "value": 10**81}]]}},
            {"secure_filters": {"orders": [[{"field": "a", "op": ">", "value": datetime(2024, 1, 1)}]]}},  # noqa: DTZ001
            {"secure_filters": {"orders": [[{"field": "a", "op": ">", "value": time(12, 0, tzinfo=UTC)}]]}},
            {"secure_filters": {"orders": [[{"field": "a", "op": ">", "value": UUID(int=7)}]]}},
            {"secure_filters": {"orders": [[{"field": "a", "op": "=", "value": b"x"}]]}},
            {"secure_filters": {"orders": [[{"field": "a", "op": "=", "value": "\ud800"}]]}},
            {"secure_filters": {"orders": [[{"field": "a", "op": "=", "value": "\0"}]]}},
            {"secure_filters": {"orders": [[{"field": "a", "op": "is_one_of", "value": {1, 2}}]]}},
            {"data_set_ids": []},
            {"data_set_ids": ["*"]},
            {"data_set_ids": "orders"},
            {"data_set_ids": None},
            {"parameters": []},
            {"parameters": {1: 2}},
            {"parameters": {"a": float("inf")}},
        ],
        ids=repr,
    )
    def test_a_mistake_is_found_where_it_is_made(self, over: dict[str, Any]) -> None:
        with pytest.raises(SigningRefused):
            sign(**over)

    def test_a_number_that_python_itself_will_not_write_is_refused(self) -> None:
        with pytest.raises(SigningRefused, match="more digits"):
            sign(parameters={"n": 10**5000})

    def test_a_circle_is_refused(self) -> None:
        circle: dict[str, Any] = {}
        circle["again"] = circle
        with pytest.raises(SigningRefused):
            sign(parameters=circle)

    @pytest.mark.parametrize(
        ("given", "signed"),
        [
            (datetime(2024, 1, 31, 12, 0, tzinfo=UTC), "2024-01-31T12:00:00.000Z"),
            (datetime(2024, 1, 31, 12, 0, 0, 500, tzinfo=UTC), "2024-01-31T12:00:00.000500Z"),
            (datetime(2024, 1, 31, 12, 0, tzinfo=timezone(timedelta(hours=1))), "2024-01-31T11:00:00.000Z"),
            (date(2024, 1, 31), "2024-01-31"),
            (Decimal("1.10"), Decimal("1.10")),
            (2**255, 2**255),
        ],
        ids=repr,
    )
    def test_dates_and_exact_numbers_are_signed_as_they_are(self, given: Any, signed: Any) -> None:
        filters = {"orders": [[{"field": "a", "op": ">", "value": given}]]}
        assert read(sign(secure_filters=filters)["dataAccessToken"]).filters == {"orders": ((Filter("a", Operator.GT, signed),),)}

    def test_tuples_and_the_operator_enum_are_as_good_as_lists_and_text(self) -> None:
        filters = {"orders": (({"field": "tenant", "op": Operator.IS_ONE_OF, "value": (1, 2)},),)}
        assert read(sign(secure_filters=filters)["dataAccessToken"]).filters == {"orders": ((Filter("tenant", Operator.IS_ONE_OF, (1, 2)),),)}

    def test_the_callers_own_objects_are_left_alone(self) -> None:
        filters = {"orders": [[{"field": "tenant", "op": "=", "value": 7}]]}
        parameters = {"a": [1]}
        sign(secure_filters=filters, parameters=parameters)
        assert filters == {"orders": [[{"field": "tenant", "op": "=", "value": 7}]]}
        assert parameters == {"a": [1]}

    @settings(max_examples=60)
    @given(st.text(alphabet=st.sampled_from('>?~\x7fä😀<&"\\/ab0'), max_size=30), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
    def test_values_arrive_exactly_and_browsers_can_decode_the_payload(self, text: str, integer: int, real: float) -> None:
        """Dashboards peek into the payload with `atob`, which knows neither `-` nor `_`."""
        integer %= 10**70
        token = sign(parameters={"text": text, "integer": integer, "real": real})["dataAccessToken"]
        assert not {"-", "_"} & set(token.split(".")[1])
        parameters: Any = read(token).claims["parameters"]
        assert parameters["text"] == text
        assert parameters["integer"] == integer
        assert float(parameters["real"]) == real


NAMES: Final = {name: re.sub("([A-Z])", r"_\1", name).lower() for cases in (SIGNED, REFUSED) for case in cases.values() for name in (*BASE, *case)}


def in_python(over: dict[str, Any]) -> dict[str, Any]:
    """The vendor's names as Python spells them; None leaves out what may be left out, and is null elsewhere."""
    given = BASE | over
    return {NAMES[name]: value for name, value in given.items() if value is not None or name in {"secureFilters", "dataSetIds"}}


class TestBothSigners:
    """The cases that the signer in JavaScript is given too."""

    @pytest.mark.parametrize("name", SIGNED)
    def test_what_is_signed(self, name: str) -> None:
        tokens = signer().generate_tokens(**in_python(SIGNED[name]))
        assert decoded(tokens["dataAccessToken"].split(".")[1])["dataSetIds"] == (BASE | SIGNED[name])["dataSetIds"]

    @pytest.mark.parametrize("name", REFUSED)
    def test_what_is_refused(self, name: str) -> None:
        with pytest.raises(SigningRefused):
            signer().generate_tokens(**in_python(REFUSED[name]))

    @pytest.mark.parametrize(("over", "reason"), SECRETS, ids=[reason for _, reason in SECRETS])
    def test_a_secret_is_refused_by_its_place_and_not_quoted(self, over: dict[str, Any], reason: str) -> None:
        with pytest.raises(SigningRefused, match=f"{reason}.* is not encrypted") as refused:
            signer().generate_tokens(**in_python(over))
        assert "hunter2" not in str(refused.value)
        assert "AAAA" not in str(refused.value)


def mostly(usual: st.SearchStrategy[Any], strange: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One in eight is strange, so that what has many parts is often taken and often refused."""
    return st.integers(0, 7).flatmap(lambda drawn: strange if drawn == 7 else usual)


_TEXTS: Final = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=4)
_SCALARS: Final = st.integers(-3, 2**70) | _TEXTS | st.dates() | st.datetimes(timezones=st.just(UTC)) | st.decimals(-9, 9)
_STRANGE: Final = st.none() | st.booleans() | st.floats() | st.datetimes() | st.decimals() | st.text(max_size=3) | st.lists(_SCALARS, max_size=2)
_FILTERS: Final = mostly(
    st.fixed_dictionaries({"field": st.sampled_from("ab"), "op": st.sampled_from(["=", "!=", "<", Operator.GE]), "value": _SCALARS}),
    st.fixed_dictionaries({"field": st.sampled_from(["a", ""])}, optional={"op": st.sampled_from([*Operator, "=="]), "value": _STRANGE}),
)
_GROUPS: Final = mostly(st.lists(st.lists(_FILTERS, min_size=1, max_size=2), max_size=2), st.lists(_FILTERS, max_size=2) | _STRANGE)
_ORIGINS: Final = st.none() | st.lists(st.sampled_from(["https://a.example", "http://[::1]:3000", "https://b:443"]), min_size=1, max_size=2)


@settings(max_examples=150, deadline=None)
@given(
    ids=mostly(st.sampled_from(["*", ["orders"], ["orders", "other"]]), st.lists(st.sampled_from(["orders", "*", ""]), max_size=2)),
    filters=st.dictionaries(st.sampled_from(["orders", "other"]), _GROUPS, max_size=2),
    parameters=st.none() | st.dictionaries(_TEXTS, mostly(_SCALARS, _STRANGE), max_size=2),
    subject=st.none() | mostly(_TEXTS, st.text(max_size=1)),
    origins=_ORIGINS,
)
def test_what_is_signed_is_taken(ids: Any, filters: Any, parameters: Any, subject: Any, origins: Any) -> None:
    """Nothing leaves the signer that the verifier, its grammar or the binding would refuse; and it refuses in one way."""
    try:
        token = signer().sign_data_access_token(data_set_ids=ids, secure_filters=filters, parameters=parameters, subject=subject, allowed_origins=origins)
    except SigningRefused:
        return
    rules = TokenRules("vizzly", read_public_keys(public_pem("P-256"), facts=KeyFacts("P-256", "vizzly")), flat_filters=FlatFilters.REJECT)
    verifier = Verifier([rules], token_bytes=100_000)
    claims = verifier.verify(token, now=NOW)
    assert read_grant(claims, rules).dataset_ids == (None if ids == "*" else set(ids))
    assert read_holder(claims.content, rules).origins == (None if origins is None else set(origins))


class TestWhatElseIsSigned:
    def test_nothing_unless_told(self) -> None:
        assert {"iat", "jti", "sub", "iss", "aud", "cnf", "allowedOrigins"}.isdisjoint(decoded(sign()["dataAccessToken"].split(".")[1]))

    def test_when_it_was_made_and_a_name_of_its_own(self) -> None:
        by = signer(with_iat=True, with_jti=True)
        tokens = [decoded(token.split(".")[1]) for token in (*sign(by).values(), *sign(by).values())]
        assert {claims["iat"] for claims in tokens} == {math.floor(NOW)}
        assert len({claims["jti"] for claims in tokens}) == 4
        assert all(UUID(claims["jti"]) for claims in tokens)

    def test_whose_it_is_and_for_whom(self) -> None:
        for token in sign(signer(issuer="shop", audience="rowseal"), subject="person-1").values():
            claims = decoded(token.split(".")[1])
            assert (claims["iss"], claims["aud"], claims["sub"]) == ("shop", "rowseal", "person-1")

    def test_to_whom_it_is_bound(self) -> None:
        origins, jkt = ["https://app.example"], thumbprint(key("P-256").public_key())
        for token in sign(allowed_origins=origins, dpop_thumbprint=jkt).values():
            claims = decoded(token.split(".")[1])
            assert (claims["allowedOrigins"], claims["cnf"]) == (origins, {"jkt": jkt})

    @pytest.mark.parametrize("more", [{"issuer": ""}, {"audience": 7}, {"issuer": "x" * 257}], ids=repr)
    def test_names_are_texts(self, more: dict[str, Any]) -> None:
        with pytest.raises(SigningRefused):
            signer(**more)

    def test_each_token_can_be_signed_alone(self) -> None:
        by = signer()
        both = sign(by, subject="s")
        data = by.sign_data_access_token(project_id="prj_1", data_set_ids=["orders"], secure_filters={"orders": [[TENANT]]}, subject="s")
        dashboard = by.sign_dashboard_access_token(user_reference="person 1", project_id="prj_1", subject="s")
        for alone, name in ((data, "dataAccessToken"), (dashboard, "dashboardAccessToken")):
            assert decoded(alone.split(".")[1]) == decoded(both[name].split(".")[1])

    def test_a_data_token_needs_no_place(self) -> None:
        assert read(signer().sign_data_access_token(data_set_ids=["orders"], secure_filters={"orders": [[TENANT]]})).dataset_ids == {"orders"}


def field(name: str, kind: FieldType, storage: Storage) -> Field:
    return Field(id=name, name=name.title(), sql_name=name, column=name, type=kind, storage=storage)


def dataset(name: str, **more: Any) -> Dataset:
    fields = (field("tenant", FieldType.NUMBER, Storage.INTEGER), field("region", FieldType.STRING, Storage.TEXT))
    return Dataset(id=name, name=name, sql_name=name, schema="main", table=name, relation="table", fields=fields, **{"public": False} | more)


class TestCatalog:
    """With a catalog, filters are judged against datasets.yaml as well, by the verifier's own policy."""

    CATALOG = Catalog(
        "sqlite",
        "sqlite://",
        {
            item.id: item
            for item in (dataset("orders"), dataset("guarded", guards=(Guard("tenant", frozenset({Operator.EQ})),)), dataset("products", public=True))
        },
    )
    TENANT: ClassVar = {"field": "tenant", "op": "=", "value": 7}

    @pytest.mark.parametrize(
        ("ids", "filters"),
        [
            (["orders"], {"orders": [[TENANT]]}),
            (["orders"], {"orders": [[{**TENANT, "field": "Tenant"}]]}),
            (["products"], {}),
            (["products"], {"products": []}),
            (["orders", "guarded"], {"orders": [[TENANT]], "guarded": [[TENANT], [TENANT]]}),
            ("*", {"orders": [[TENANT]]}),
        ],
        ids=repr,
    )
    def test_what_fits_is_signed(self, ids: Any, filters: Any) -> None:
        assert read(sign(signer(catalogs={"default": self.CATALOG}), data_set_ids=ids, secure_filters=filters)["dataAccessToken"])

    @pytest.mark.parametrize(
        ("ids", "filters", "reason"),
        [
            (["ghost"], {}, "does not declare"),
            ("*", {"ghost": [[TENANT]]}, "does not declare"),
            (["orders"], {"orders": [[TENANT]], "products": [[TENANT]]}, "does not grant"),
            (["orders"], {}, "restricts no rows"),
            (["orders"], {"orders": []}, "restricts no rows"),
            (["orders"], {"orders": [[{**TENANT, "field": "tenant_id"}]]}, "field"),
            (["orders"], {"orders": [[{**TENANT, "value": "7"}]]}, "`orders`"),
            (["orders"], {"orders": [[{**TENANT, "op": "starts_with", "value": "7"}]]}, "`orders`"),
            (["guarded"], {"guarded": [[TENANT], [{"field": "region", "op": "=", "value": "EU"}]]}, "guard"),
        ],
        ids=repr,
    )
    def test_what_does_not_fit_is_refused(self, ids: Any, filters: Any, reason: str) -> None:
        with pytest.raises(SigningRefused, match=reason):
            sign(signer(catalogs={"default": self.CATALOG}), data_set_ids=ids, secure_filters=filters)


def test_the_snippet_of_the_page_signs() -> None:
    """sign.md: as a host application writes it."""
    page = (Path(__file__).resolve().parents[1] / "docs/how-to/sign.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {"private_key_pem": key("P-256").private_bytes(ENCODING, PKCS8, PLAIN)}
    exec(compile(snippet, "sign.md", "exec"), names)
    for token in (names["tokens"]["dataAccessToken"], names["token"]):
        assert read(token, now=datetime.now(UTC).timestamp()).filters == {"orders": ((Filter("tenant", Operator.EQ, 7),),)}
