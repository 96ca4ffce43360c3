"""What was once published against PyJWT, and against a library of nearly its name: one test each, asked of rowseal, whatever the version of PyJWT.

The advisories are those of github.com/jpadilla/pyjwt/security and of its changes up to 2.15.1. Their attacks are written here anew.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from issuer import Clock, Issuer
from place import Place
from rowseal import errors
from rowseal.claims import KeyFacts
from rowseal.keys import KeyRefused, TokenRules, read_public_keys, read_secret
from rowseal.keys.remote import Unfetched, check_url, fetch
from rowseal.strict import to_base64url
from rowseal.tokens import Verifier
from test_key_sources import code as outcome
from test_key_sources import entry, watched
from test_tokens import NOW, content, key, pem, refusal, rules, token, verify

SECRET = "0f1e2d3c4b5a69788796a5b4c3d2e1f0-shared"
Public = serialization.PublicFormat
Encoding = serialization.Encoding


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer.running() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def forged(secret: bytes, header: dict[str, Any] | None = None) -> str:
    """A token by HMAC with this as its secret."""
    head = to_base64url(json.dumps({"alg": "HS256"} | (header or {})).encode())
    signed = f"{head}.{to_base64url(json.dumps(content()).encode())}"
    return f"{signed}.{to_base64url(hmac.digest(secret, signed.encode(), 'sha256'))}"


def beside_a_secret(public: str) -> Verifier:
    """The worst case: a public key and a shared secret, side by side."""
    keys = (*read_public_keys(public, facts=KeyFacts("public", "vizzly")), read_secret(SECRET, facts=KeyFacts("secret", "vizzly")))
    return Verifier([TokenRules("vizzly", keys)], token_bytes=16_384)


def refused_as_secret(text: str) -> None:
    with pytest.raises(KeyRefused):
        read_secret(text, facts=KeyFacts("k", "vizzly"))


def signs_nothing(public: str, *texts: bytes) -> None:
    """No text of a public key is the secret of a token, with the key's name or without, alone or beside a secret."""
    verifier = beside_a_secret(public)
    assert verify(forged(SECRET.encode()), verifier), "the secret itself does sign"
    for text in texts:
        for header in ({}, {"kid": "public"}, {"kid": "secret"}):
            assert refusal(forged(text, header), verifier).code == "signature_invalid"
            assert refusal(forged(text, header)).code in {"algorithm_refused", "signature_invalid"}


# --- algorithms confused: what is public signs ------------------------------------------------------------------------------------------------


def test_cve_2017_11424_a_pem_of_another_label_is_a_secret() -> None:
    """`BEGIN RSA PUBLIC KEY` (PKCS #1) was not on the list of what an HMAC secret may not begin with."""
    public = rsa_key().public_key()
    pkcs1 = public.public_bytes(Encoding.PEM, Public.PKCS1)
    spki = public.public_bytes(Encoding.PEM, Public.SubjectPublicKeyInfo)
    signs_nothing(pkcs1.decode(), pkcs1, pkcs1.strip(), spki)
    refused_as_secret(pkcs1.decode())


def test_cve_2022_29217_a_public_key_in_openssh_s_form_is_a_secret() -> None:
    """GHSA-ffqj-6fqr-9h24."""
    for private in (ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate(), rsa_key()):
        public = private.public_key()
        text = public.public_bytes(Encoding.OpenSSH, Public.OpenSSH)
        signs_nothing(public.public_bytes(Encoding.PEM, Public.SubjectPublicKeyInfo).decode(), text, text + b" name@host")
        refused_as_secret(text.decode())


def test_cve_2026_48526_a_jwk_is_a_secret() -> None:
    """GHSA-xgmm-8j9v-c9wx."""
    numbers = key("P-256").public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "x": to_base64url(numbers.x.to_bytes(32, "big")), "y": to_base64url(numbers.y.to_bytes(32, "big"))}
    for text in (json.dumps(jwk), json.dumps(jwk, separators=(",", ":")), json.dumps(jwk, indent=2)):
        signs_nothing(json.dumps(jwk), text.encode())
        refused_as_secret(text)


@pytest.mark.parametrize("advisory", ["GHSA-r6x4-923q-g947", "GHSA-ffc3-869f-jxw9", "GHSA-p4g4-x82p-q773", "GHSA-w2cx-738m-mc7w"], ids=lambda each: each)
def test_a_public_key_in_any_other_dress_is_a_secret(advisory: str) -> None:
    """The four of version 2.14: JWK sets and arrays; encoded keys; keys behind a byte order mark or a blank; DER."""
    public = key("P-256").public_key()
    der, text = public.public_bytes(Encoding.DER, Public.SubjectPublicKeyInfo), pem("P-256")
    numbers = public.public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "x": to_base64url(numbers.x.to_bytes(32, "big")), "y": to_base64url(numbers.y.to_bytes(32, "big"))}
    dresses = {
        "GHSA-r6x4-923q-g947": [json.dumps({"keys": [jwk]}), json.dumps([jwk])],
        "GHSA-ffc3-869f-jxw9": [base64.b64encode(der).decode(), to_base64url(der), base64.b64encode(der).decode().rstrip("=")],
        "GHSA-p4g4-x82p-q773": ["\ufeff" + text, "\ufeff" + json.dumps(jwk), "\n" + text, " " + json.dumps(jwk)],
        "GHSA-w2cx-738m-mc7w": [der.decode("latin-1"), text],
    }[advisory]
    for dress in dresses:
        signs_nothing(text, dress.encode(), dress.encode("latin-1", "ignore"))
        refused_as_secret(dress)
    signs_nothing(text, der)


def test_ghsa_pxh4_856f_4h89_an_empty_secret_and_one_as_a_jwk_escape_the_rules_of_secrets() -> None:
    for text in ("", " ", "\n", json.dumps({"kty": "oct", "k": ""}), json.dumps({"kty": "oct", "k": to_base64url(SECRET.encode())})):
        refused_as_secret(text)
        with pytest.raises(KeyRefused):
            read_public_keys(text, facts=KeyFacts("k", "vizzly"))
    assert refusal(forged(b""), beside_a_secret(pem("P-256"))).code == "signature_invalid"


def test_cve_2026_48523_the_list_of_algorithms_is_passed_over_where_the_key_brings_its_own() -> None:
    """GHSA-jq35-7prp-9v3f: the header's algorithm was compared with a list, and the key's own was used, or the other way round."""
    numbers = rsa_key().public_key().public_numbers()
    members = {"kty": "RSA", "n": to_base64url(numbers.n.to_bytes(256, "big")), "e": "AQAB"}
    (pinned,) = read_public_keys(json.dumps(members | {"alg": "PS256"}), facts=KeyFacts("k", "vizzly"))
    assert pinned.algorithm == "PS256"
    with pytest.raises(KeyRefused):
        read_public_keys(json.dumps(members | {"alg": "HS256"}), facts=KeyFacts("k", "vizzly"))
    with pytest.raises(KeyRefused):
        read_public_keys(json.dumps(members | {"alg": "RS256"}), facts=KeyFacts("k", "vizzly"), algorithm="PS256")
    verifier = Verifier([rules("RSA", algorithm="PS256")], token_bytes=16_384)
    assert verify(token(name="RSA", alg="PS256"), verifier)
    good = token(name="RSA", alg="PS256")
    for said, signed_as in (("RS256", "RS256"), ("RS256", "PS256"), ("PS256", "RS256"), ("PS384", "PS256")):
        lying = token(name="RSA", alg=signed_as, header={"alg": said})
        assert refusal(lying, verifier).code == "signature_invalid"
    assert good.count(".") == 2


def test_cve_2025_45768_short_keys_are_taken() -> None:
    for bits in (512, 1024, 1536, 2040):
        try:
            short = rsa.generate_private_key(65537, bits)
        except ValueError:  # cryptography itself no longer makes one
            continue
        text = short.public_key().public_bytes(Encoding.PEM, Public.SubjectPublicKeyInfo).decode()
        with pytest.raises(KeyRefused, match="bits is not accepted"):
            read_public_keys(text, facts=KeyFacts("k", "vizzly"))
    for length in (0, 1, 16, 31):
        refused_as_secret(SECRET[:length])


# --- claims and headers that are passed over ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said", ["a", "ssuer", "https://issuer.exampl", "https://issuer.example.evil", "", " https://issuer.example", ["https://issuer.example"], {}]
)
def test_cve_2024_53861_a_part_of_the_issuer_s_name_is_the_issuer(said: Any) -> None:
    """GHSA-75c5-xw7c-p5pm: `in` was asked of a text."""
    verifier = Verifier([rules("P-256", issuer="https://issuer.example")], token_bytes=16_384)
    assert verify(token(content(iss="https://issuer.example")), verifier)
    assert refusal(token(content(iss=said)), verifier).code in {"issuer_refused", "claim_invalid"}


@pytest.mark.parametrize("crit", [["unknown"], ["exp"], ["b64"], [], None, "b64", ["alg"], {"b64": True}], ids=repr)
def test_cve_2026_32597_what_the_header_calls_critical_is_passed_over(crit: Any) -> None:
    """GHSA-752w-5fwx-jx9f."""
    assert refusal(token(header={"crit": crit})).code == "header_refused"
    assert refusal(token(header={"crit": crit, "b64": True, "unknown": 1})).code == "header_refused"


def test_cve_2026_48525_a_payload_that_is_not_encoded_is_decoded_at_any_length() -> None:
    """GHSA-w7vc-732c-9m39: with `b64: false` the payload was decoded for nothing, however long. Here no header with it is followed by any work."""
    head = to_base64url(json.dumps({"alg": "ES256", "b64": False, "crit": ["b64"]}).encode())
    roomy = Verifier([rules("P-256")], token_bytes=60_000_000)
    short, long = f"{head}.AAAA.AAAA", f"{head}.{'A' * 50_000_000}.AAAA"
    for text in (short, long):
        assert refusal(text, roomy).code == "header_refused"
    assert refusal(long).code == "token_too_large"


# --- texts that are read in two ways --------------------------------------------------------------------------------------------------------------


def test_cve_2022_39227_json_and_compact_at_once() -> None:
    """python-jwt, which is another library: one reader took the JSON serialization, and the other the compact token in it."""
    good = token()
    head, payload, signature = good.split(".")
    other = to_base64url(json.dumps(content(dataSetIds="*")).encode())
    for polyglot in (
        f'{{"  {head}.{other}.":"","protected":"{head}", "payload":"{payload}","signature":"{signature}"}}',
        json.dumps({"protected": head, "payload": payload, "signature": signature}),
        json.dumps({"payload": payload, "signatures": [{"protected": head, "signature": signature}]}),
        f'{good}{{"payload":"{other}"}}',
        f"{head}.{other}.{payload}.{signature}",
        f"{head}.{payload}.{signature}.{other}.",
    ):
        assert refusal(polyglot).code == "token_malformed"


def test_ghsa_hxm8_2xgr_2p9m_the_compact_form_is_read_loosely() -> None:
    """And what 2.15.1 takes again: `=` at the end of a part."""
    head, payload, signature = token().split(".")
    for altered in (
        f"{head}=.{payload}.{signature}",
        f"{head}.{payload}==.{signature}",
        f"{head}.{payload}.{signature}==",
        f"{head}.{payload}.!!!!{signature}",
    ):
        assert refusal(altered).code == "token_malformed"
    for blank in ("\n", " ", "\t", "\0", "\u200b"):
        for altered in (f"{blank}{head}.{payload}.{signature}", f"{head}.{payload}{blank}.{signature}", f"{head}.{payload}.{signature}{blank}"):
            assert refusal(altered).code == "token_malformed"
    assert refusal(f"{head}.{payload}.{base64.b64encode(base64.urlsafe_b64decode(signature + '==')).decode()}").code == "token_malformed"


def test_a_payload_beside_an_attached_one_is_taken() -> None:
    """2.14, without a number: an argument with a detached payload was used although the token had one. Here nothing detached exists."""
    head, _, signature = token().split(".")
    assert refusal(f"{head}..{signature}").code == "token_malformed"
    assert "payload" not in Verifier.verify.__code__.co_varnames


@pytest.mark.parametrize("advisory", ["GHSA-8wjv-2p76-3863", "GHSA-w6j9-cwv2-h6wq"], ids=lambda each: each)
def test_what_nests_too_deeply_or_is_malformed_ends_in_an_error_that_nobody_expects(advisory: str) -> None:
    """The first is about tokens, the second about key sets, of which one bad member made all unusable."""
    if advisory == "GHSA-8wjv-2p76-3863":
        for deep in (b"[" * 5_000, b'{"a":' * 2_000 + b"1" + b"}" * 2_000, b"[" * 3_000 + b"]" * 3_000):
            assert refusal(token(deep)).code == "token_malformed"
            assert refusal(token(header=deep)).code in {"token_malformed", "header_refused"}
    else:
        for bad in (
            b'{"keys":' + b"[" * 5_000,
            b'{"keys":[1]}',
            b'{"keys":[null]}',
            b'{"keys":[{"kty":["EC"]}]}',
            b'{"keys":[{"kty":"EC","crv":{},"x":1,"y":null}]}',
            b'{"keys":{}}',
        ):
            with pytest.raises(KeyRefused):
                read_public_keys(bad.decode(), facts=KeyFacts("k", "vizzly"))


@pytest.mark.parametrize("value", [None, [], {}, [1], "1800000600", True, {"a": 1}], ids=repr)
def test_a_moment_that_is_no_number_ends_in_an_error_that_nobody_expects(value: Any) -> None:
    """2.15, without a number."""
    for claim in ("exp", "nbf", "iat"):
        assert refusal(token(content(exp=NOW + 60) | {claim: value})).code == "claim_invalid"


# --- keys from a URL ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://issuer.example/jwks.json", "data:application/json,{}", "FILE:///x", "jar:file:///x", "//issuer.example/x", "gopher://x/"],
)
def test_cve_2026_48522_keys_are_read_from_any_kind_of_url(url: str) -> None:
    """GHSA-993g-76c3-p5m4."""
    for development in (False, True):
        with pytest.raises(KeyRefused):
            check_url(url, development=development)
    assert refusal(token(header={"jku": url})).code == "header_refused"


def test_ghsa_9v7f_9g4p_ffgj_a_redirect_leads_to_other_keys(issuer: Issuer) -> None:
    issuer.publish("a")
    for status in (301, 302, 303, 307, 308):
        issuer.status, issuer.asked = status, 0
        issuer.headers["location"] = f"{issuer.url}?other"
        with pytest.raises(Unfetched, match=str(status)):
            fetch(issuer.url, timeout=5)
        assert issuer.asked == 1


def test_cve_2026_48524_one_failed_fetch_forgets_the_keys(place: Place, issuer: Issuer) -> None:
    """GHSA-fhv5-28vv-h8m8."""
    clock = Clock()
    issuer.publish("a")
    gate = place.gate(entry(issuer), clock=clock, watch_keys=False)
    good = place.token(signer="a", clock=clock)
    assert outcome(gate, good) == "taken"
    issuer.status = 500
    gate.refresh_keys()
    assert outcome(gate, good) == "taken"


def test_ghsa_2gx3_rcp4_g85q_every_unknown_kid_asks_the_issuer(place: Place, issuer: Issuer) -> None:
    clock = Clock()
    issuer.publish("a")
    gate = place.gate(entry(issuer), clock=clock, watch_keys=False)
    clock.now, issuer.asked = clock.now + 31, 0
    for number in range(20):
        assert outcome(gate, place.sign(signer="stranger", header={"kid": f"unknown {number}"})) == "signature_invalid"
        watched(gate).look(clock())
    assert issuer.asked <= 1


def test_none_of_these_asks_for_long() -> None:
    """A refusal of the longest token that is taken costs milliseconds."""
    longest = token()[:-4] + "A" * 16_000
    begun = time.process_time()
    for _ in range(20):
        with pytest.raises(errors.TokenRefused):
            verify(longest)
    assert time.process_time() - begun < 1
