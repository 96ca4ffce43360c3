"""The signer in JavaScript signs what the one in Python signs, refuses what it refuses, and the gate takes its tokens."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

import node
from asgi import Front
from rowseal.app import create_app
from rowseal.claims import KeyFacts
from rowseal.filters import Filter, Operator
from rowseal.grants import read_grant
from rowseal.keys import TokenRules, read_public_keys, thumbprint
from rowseal.signing import Signer, SigningRefused
from rowseal.tokens import Verifier
from serving import serving
from signing_cases import BASE, OTHERS, REFUSED, SECRETS, SIGNED
from test_signing import in_python

NOW = 1_800_000_000_250  # milliseconds
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


def pem(name: str = "P-256", form: Any = PKCS8) -> str:
    return key(name).private_bytes(ENCODING, form, PLAIN).decode()


def calls(given: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
    """What came of each call: `{"value": ...}`, or `{"refused": name, "message": ...}`. One process for all of them."""
    return node.run("sign.mjs", {"options": {"privateKey": pem(), "ttlInMinutes": 15, "clock": NOW} | options, "calls": given})


def identity(over: dict[str, Any]) -> dict[str, Any]:
    given = BASE | over
    return {name: value for name, value in given.items() if value is not None or name in {"secureFilters", "dataSetIds"}}


def generate(over: dict[str, Any], **own: Any) -> dict[str, Any]:
    return {"method": "generateTokens", "claims": identity(over), "own": own}


def decoded(part: str) -> dict[str, Any]:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def payload(token: str) -> dict[str, Any]:
    return decoded(token.split(".")[1])


def read(token: str, name: str = "P-256", algorithm: str | None = None) -> Any:
    public = key(name).public_key().public_bytes(ENCODING, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    verifier = Verifier([TokenRules("vizzly", read_public_keys(public, facts=KeyFacts(name, "vizzly"), algorithm=algorithm))], token_bytes=100_000)
    claims = verifier.verify(token, now=NOW / 1000)
    return read_grant(claims, verifier.rules_of(claims))


@pytest.mark.parametrize("options", OTHERS)
def test_the_same_claims_are_signed_in_both_languages(options: str) -> None:
    names = {"withIat": "with_iat", "withJti": "with_jti"}
    python = Signer(key("P-256"), clock=lambda: NOW / 1000, **{names.get(name, name): value for name, value in OTHERS[options].items()})
    outcomes = calls([generate(over) for over in SIGNED.values()], **OTHERS[options])
    for name, outcome in zip(SIGNED, outcomes, strict=True):
        theirs = python.generate_tokens(**in_python(SIGNED[name]))
        ours = outcome.get("value", outcome)
        assert list(ours) == list(theirs), (name, outcome)
        for kind, token in ours.items():
            claims, expected = payload(token), payload(theirs[kind])
            assert claims.pop("jti", "") != expected.pop("jti", "") or options == "none"
            assert claims == expected, name
            assert list(claims) == list(expected), name
            assert decoded(token.split(".")[0]) == {"alg": "ES256", "kid": thumbprint(key("P-256").public_key())}
            assert not {"-", "_"} & set(token.split(".")[1]), "the vendor's dashboards peek into the payload with atob"
        if options == "none":
            assert read(ours["dataAccessToken"])


def test_the_snippets_of_the_pages_run(tmp_path: Path) -> None:
    """README.md, sign.md and browser.md: as written, with the package where npm would put it."""
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "rowseal-signer").symlink_to(node.PACKAGE)
    pages = [node.PACKAGE / "README.md", *(node.ROOT / "docs" / "how-to" / name for name in ("sign.md", "browser.md"))]
    snippets = [snippet for page in pages for snippet in re.findall(r"```js\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)]
    front = Front(tmp_path)
    claims = {"dataSetIds": ["orders"], "secureFilters": {"orders": [[{"field": "tenant_id", "op": "=", "value": 1}]]}}
    (tokens,) = calls(
        [{"method": "signDataAccessToken", "claims": claims}], privateKey=front._key.private_bytes(ENCODING, PKCS8, PLAIN).decode(), clock=time.time() * 1000
    )
    printed = []
    try:
        with serving(create_app(front.gate)) as url:
            # the page's own server, and the gateway's address
            given = json.dumps({"dataAccessToken": tokens["value"]})
            login = f"const real = fetch; globalThis.fetch = (to, how) => to === '/tokens' ? Response.json({given}) : real(to, how);\n"
            for number, snippet in enumerate(snippets):
                asked = snippet.replace("https://data.example.com", url).replace("region", "tenant_id")
                shown = "rows" if "createClient" in snippet else "typeof tokens" if "const tokens" in snippet else "typeof dataAccessToken"
                (tmp_path / f"{number}.mjs").write_text(f"{login}{asked}\nconsole.log(JSON.stringify({shown}));")
                printed.append(node.run(tmp_path / f"{number}.mjs", None, environment={"SHOP_PRIVATE_KEY": pem()}))
    finally:
        front.gate.close()
    assert sorted(map(str, printed)) == ["[[1, 20]]", "[[1, 20]]", "object", "string"]


def test_the_same_claims_are_refused_in_both_languages() -> None:
    outcomes = calls([generate(over) for over in REFUSED.values()])
    assert {name: outcome for name, outcome in zip(REFUSED, outcomes, strict=True) if outcome.get("refused") != "SigningRefused"} == {}


def test_secrets_are_refused_in_the_same_words() -> None:
    for (_, reason), outcome in zip(SECRETS, calls([generate(over) for over, _ in SECRETS]), strict=True):
        assert re.search(f"{reason}.* is not encrypted", outcome.get("message", "")), outcome
        assert "hunter2" not in outcome["message"]
        assert "AAAA" not in outcome["message"]


_TEXTS = st.text(
    alphabet=st.sampled_from('aZ0 >~?\x7f\x80ä日😀\u2028\ufeff<&"\\/{}') | st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12
)
_NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e15, 1e15, allow_subnormal=False).filter(lambda number: number % 1 != 0)
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3), max_leaves=8
)


@settings(max_examples=3, deadline=None)
@given(st.lists(st.dictionaries(_TEXTS, _JSON, max_size=4), min_size=20, max_size=40))
def test_whatever_is_given_comes_out_alike(given: list[dict[str, Any]]) -> None:
    """Values, names and refusals, to the character and the digit; a hundred and more at random."""
    python = Signer(key("P-256"), clock=lambda: NOW / 1000)
    for parameters, outcome in zip(given, calls([generate({"parameters": each}) for each in given]), strict=True):
        try:
            theirs = python.generate_tokens(**in_python({"parameters": parameters}))
        except SigningRefused:
            assert outcome.get("refused") == "SigningRefused"
            continue
        claims = payload(outcome["value"]["dataAccessToken"])
        assert claims == payload(theirs["dataAccessToken"])
        assert claims["parameters"] == parameters


def a_value(kind: str, of: Any = None) -> dict[str, Any]:
    return {"$": kind, "of": of}


def filtered(value: Any, op: str = "=") -> dict[str, Any]:
    return {"secureFilters": {"orders": [[{"field": "a", "op": op, "value": value}]]}}


@pytest.mark.parametrize(
    ("value", "signed"),
    [
        (a_value("bigint", "9007199254740993"), 9007199254740993),
        (a_value("bigint", str(-(2**255))), -(2**255)),
        (a_value("number", "9007199254740991"), 9007199254740991),
        (a_value("date", "2024-01-31T12:00:00+01:00"), "2024-01-31T11:00:00.000Z"),
        ("日本", "日本"),
    ],
    ids=repr,
)
def test_numbers_and_dates_arrive_exactly(value: Any, signed: Any) -> None:
    (outcome,) = calls([generate(filtered(value))])
    assert read(outcome["value"]["dataAccessToken"]).filters == {"orders": ((Filter("a", Operator.EQ, signed),),)}


def test_what_json_would_drop_round_or_rename_is_refused() -> None:
    values: dict[str, Any] = {
        "2^53": a_value("number", "9007199254740992"),
        "-2^53": a_value("number", "-9007199254740992"),
        "1e21": a_value("number", "1e21"),
        "NaN": a_value("number", "NaN"),
        "Infinity": a_value("number", "-Infinity"),
        "a large BigInt": a_value("bigint", str(10**80)),
        "no date": a_value("date", "soon"),
        "a date of the year 10000": a_value("date", "+010000-01-01T00:00:00Z"),
        "undefined": "$undefined",
        **{kind: a_value(kind) for kind in ("function", "symbol", "map", "set", "bytes", "hole", "instance", "circle", "ownJson", "named", "surrogate")},
    }
    asked = [generate(filtered(value)) for value in values.values()]
    asked += [generate({"parameters": {"a": value}}) for value in values.values()]
    asked += [generate(filtered([1, value], "is_one_of")) for name, value in values.items() if name != "undefined"]
    assert [outcome for outcome in calls(asked) if outcome.get("refused") != "SigningRefused"] == []


def test_objects_without_a_prototype_are_plain() -> None:
    (bare, proto) = calls([generate({"parameters": a_value("bare", {"a": 1})}), generate({"parameters": {"p": a_value("proto")}})])
    assert payload(bare["value"]["dataAccessToken"])["parameters"] == {"a": 1}
    assert payload(proto["value"]["dataAccessToken"])["parameters"] == {"p": {"__proto__": 7}}


def test_a_name_that_is_not_known_is_refused() -> None:
    """`allowedOrigin` would bind nothing, `securefilters` restrict nothing."""
    misspelt = [generate({"allowedOrigin": ["https://app.example"]}), generate({"securefilters": {}}), generate({}, ttl=5), generate({}, tllInMinutes=5)]
    assert [outcome.get("refused") for outcome in calls(misspelt)] == ["SigningRefused"] * 4


def test_query_engine_tokens_are_refused_and_their_absence_is_not() -> None:
    allowed = {"allowDatabaseSchemaAccess": False, "allowDataPreviewAccess": False, "allowDatabaseWriteAccess": []}
    asked = [{"method": "signQueryEngineAccessToken", "claims": {}}, *(generate({name: True}) for name in allowed), generate(allowed)]
    *refused, taken = calls(asked)
    assert all("query engine access tokens" in outcome["message"] for outcome in refused)
    assert list(taken["value"]) == ["dashboardAccessToken", "dataAccessToken"]


def test_each_token_can_be_signed_alone() -> None:
    data = {"projectId": "prj_1", "dataSetIds": ["orders"], "secureFilters": {}}
    dashboard = {"projectId": "prj_1", "userReference": "person 1"}
    asked = [("signDataAccessToken", data), ("signDashboardAccessToken", dashboard), ("signDataAccessToken", dashboard), ("signDashboardAccessToken", data)]
    first, second, *crossed = calls([{"method": method, "claims": claims} for method, claims in asked])
    assert payload(first["value"]) == data | {"expires": "2027-01-15T08:15:00.250Z"}
    assert payload(second["value"])["userReference"] == "person 1"
    assert [outcome["refused"] for outcome in crossed] == ["SigningRefused"] * 2


def test_a_life_is_above_nothing_and_at_most_a_week() -> None:
    lives = [0, -1, 10_080.1, a_value("number", "NaN"), a_value("number", "Infinity"), "15", True]
    assert [outcome["refused"] for outcome in calls([generate({}, ttlInMinutes=life) for life in lives])] == ["SigningRefused"] * len(lives)
    for outcome, expires in zip(calls([generate({}, ttlInMinutes=life) for life in (0.5, 60)]), ("08:00:30.250Z", "09:00:00.250Z"), strict=True):
        assert payload(outcome["value"]["dataAccessToken"])["expires"] == f"2027-01-15T{expires}"


class TestKeys:
    def test_every_kind_and_form_that_the_python_signer_reads(self) -> None:
        forms: list[tuple[str, str]] = []
        for name in ("P-256", "P-384", "P-521", "RSA", "Ed25519"):
            whole = pem(name)
            forms += [(name, text) for text in (whole, whole.replace("\n", "\r\n"), whole.replace("\n", "\\n"), f"\n{whole.strip()}", f"\ufeff{whole}")]
            if name != "Ed25519":
                forms.append((name, pem(name, TRADITIONAL)))
            if name.startswith("P-"):
                forms.append((name, f"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{pem(name, TRADITIONAL)}"))
        for (name, _), outcome in zip(forms, calls([generate({}, privateKey=text) for _, text in forms]), strict=True):
            token = outcome["value"]["dataAccessToken"]
            assert read(token, name)
            assert decoded(token.split(".")[0])["kid"] == thumbprint(key(name).public_key())

    def test_every_algorithm_of_an_rsa_key(self) -> None:
        algorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
        outcomes = calls([generate({}, privateKey=pem("RSA"), algorithm=algorithm) for algorithm in algorithms])
        for algorithm, outcome in zip(algorithms, outcomes, strict=True):
            assert read(outcome["value"]["dataAccessToken"], "RSA", algorithm)

    def test_any_other_key_is_refused_without_quoting_it(self) -> None:
        encrypted = key("P-256").private_bytes(ENCODING, PKCS8, serialization.BestAvailableEncryption(b"x")).decode()
        older = key("P-256").private_bytes(ENCODING, TRADITIONAL, serialization.BestAvailableEncryption(b"x")).decode()
        public = key("P-256").public_key().public_bytes(ENCODING, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
        given = [
            *("", "secret", '{"kty": "EC", "d": "x"}', public, encrypted, older, pem() * 2, None, 7, {}),
            *(pem("secp256k1"), pem("RSA-1024"), pem("Ed448"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
            *("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "-----BEGIN constructor-----\nAAAA\n-----END constructor-----"),
        ]
        for outcome in calls([*(generate({}, privateKey=each) for each in given), generate({}, algorithm="RS256")]):
            assert outcome["refused"] == "KeyRefused", outcome
            assert "MI" not in outcome["message"]


def test_the_gateway_answers_its_tokens_over_http(tmp_path: Path) -> None:
    front = Front(tmp_path)
    private = front._key.private_bytes(ENCODING, TRADITIONAL, PLAIN).decode()
    asked = [{"dataSetIds": ["orders"], "secureFilters": {"orders": [[{"field": "tenant_id", "op": "=", "value": tenant}]]}} for tenant in (1, 2, "2")]
    outcomes = calls([{"method": "signDataAccessToken", "claims": claims} for claims in asked], privateKey=private, clock=int(time.time() * 1000))
    try:
        with serving(create_app(front.gate)) as url:
            answers = [
                httpx.post(
                    f"{url}/v1/query", json={"sql": "SELECT SUM(amount) AS s FROM orders"}, headers={"Authorization": f"Bearer {outcome['value']}"}
                ).json()
                for outcome in outcomes
            ]
    finally:
        front.gate.close()
    assert [answer.get("rows", answer.get("code")) for answer in answers] == [[[30]], [[700]], "filter_inapplicable"]


def test_without_node_a_test_is_skipped_unless_it_is_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for demanded in ("all", "postgres, node"):
        monkeypatch.setenv("ROWSEAL_REQUIRE", demanded)
        with pytest.raises(pytest.fail.Exception, match="demands node"):
            calls([])
    monkeypatch.setenv("ROWSEAL_REQUIRE", "postgres")
    with pytest.raises(pytest.skip.Exception, match=r"Node\.js 18 or newer"):
        calls([])


class TestPackage:
    def test_it_depends_on_nothing_and_ships_what_it_exports(self) -> None:
        package = json.loads((node.PACKAGE / "package.json").read_text())
        assert not package.keys() & {"dependencies", "peerDependencies", "optionalDependencies", "scripts"}
        for export in package["exports"].values():
            assert all((node.PACKAGE / path).exists() for path in export.values())
        imported = {name for file in node.PACKAGE.glob("*.js") for name in re.findall(r'from "([^"]+)"', file.read_text())}
        assert {name for name in imported if not name.startswith("./")} == {"node:crypto"}
        assert "node:" not in "".join(re.findall(r'from "([^"]+)"', (node.PACKAGE / "client.js").read_text())), "the client runs in browsers"

    @pytest.mark.parametrize("module", ["index", "client"])
    def test_its_types_have_the_names_of_its_code(self, module: str) -> None:
        code, types = ((node.PACKAGE / f"{module}.{kind}").read_text() for kind in ("js", "d.ts"))
        exported = {
            *re.findall(r"^export (?:class|function) (\w+)", code, re.MULTILINE),
            *(name for names in re.findall(r"^export \{ (.+) \};", code, re.MULTILINE) for name in names.split(", ")),
        }
        assert exported == set(re.findall(r"^export (?:class|function) (\w+)", types, re.MULTILINE))

    @pytest.mark.skipif(shutil.which("tsc") is None, reason="no TypeScript compiler on the PATH; nothing is fetched for this")
    def test_its_types_are_typescript(self, tmp_path: Path) -> None:
        for module in ("index", "client"):
            (tmp_path / f"{module}.d.ts").write_text(
                (node.PACKAGE / f"{module}.d.ts").read_text().replace('import type { KeyObject } from "node:crypto";', "type KeyObject = object;")
            )
        command = ["tsc", "--noEmit", "--strict", "--target", "es2022", "--lib", "es2022,dom", str(tmp_path / "client.d.ts")]
        assert subprocess.run(command, capture_output=True, text=True, check=False).stdout == ""
