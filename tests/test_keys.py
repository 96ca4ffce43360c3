"""Which texts are public keys, which algorithm each is pinned to, and what is refused at start-up."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

from rowseal.claims import KeyFacts
from rowseal.keys import KeyRefused, PublicKey, read_key_list, read_public_keys, thumbprint
from rowseal.strict import to_base64url

FACTS = KeyFacts("shop", "vizzly")


@cache
def private(kind: str) -> Any:
    """One private key of each kind a process."""
    make: dict[str, Callable[[], Any]] = {
        "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
        "Ed448": ed448.Ed448PrivateKey.generate,
        "RSA": lambda: rsa.generate_private_key(65537, 2048),
        "RSA-1024": lambda: rsa.generate_private_key(65537, 1024),
        "RSA-e3": lambda: rsa.generate_private_key(3, 2048),
        "DSA": lambda: dsa.generate_private_key(2048),
    }
    return make[kind]()


def public_pem(kind: str) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return private(kind).public_key().public_bytes(encoding, form).decode()


def private_pem(kind: str, form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8) -> str:
    return private(kind).private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def number(value: int, size: int | None = None) -> str:
    return to_base64url(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def jwk(kind: str, **members: Any) -> dict[str, Any]:
    key = private(kind).public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        size = (key.key_size + 7) // 8
        point = key.public_numbers()
        return {"kty": "EC", "crv": kind, "x": number(point.x, size), "y": number(point.y, size), **members}
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": to_base64url(key.public_bytes_raw()), **members}
    return {"kty": "RSA", "e": number(key.public_numbers().e), "n": number(key.public_numbers().n), **members}


def read(text: str, algorithm: str | None = None) -> tuple[PublicKey, ...]:
    return read_public_keys(text, facts=FACTS, algorithm=algorithm)


@pytest.mark.parametrize(("kind", "algorithm"), [("P-256", "ES256"), ("P-384", "ES384"), ("P-521", "ES512"), ("Ed25519", "EdDSA"), ("RSA", "RS256")])
def test_a_key_is_pinned_to_its_algorithm_and_is_the_same_as_pem_and_as_jwk(kind: str, algorithm: str) -> None:
    (from_pem,) = read(public_pem(kind))
    (from_jwk,) = read(json.dumps(jwk(kind)))
    assert from_pem.algorithm == from_jwk.algorithm == algorithm
    assert from_pem.thumbprint == from_jwk.thumbprint
    assert from_pem.key == from_jwk.key == private(kind).public_key()
    assert from_pem.facts is FACTS


@pytest.mark.parametrize(
    "change",
    [
        str.strip,
        lambda pem: "\n\n" + pem + "\n \n",
        lambda pem: pem.replace("\n", "\r\n"),
        lambda pem: pem.replace("\n", "\\n"),
        lambda pem: pem.replace("\n", "\\r\\n"),
        lambda pem: "\\n" + pem.strip() + "\\n",
        lambda pem: pem.replace("\n", " "),
        lambda pem: "\ufeff" + pem,
        lambda pem: "\n".join("    " + line for line in pem.splitlines()),
    ],
)
def test_line_breaks_of_a_pem_block_may_be_written_in_every_common_way(change: Callable[[str], str]) -> None:
    assert read(change(public_pem("P-256"))) == read(public_pem("P-256"))


# --- a list in one variable --------------------------------------------------------------------------------------------------------------


def listed(*entries: object) -> str:
    return json.dumps(entries)


def read_list(text: str, algorithm: str | None = None) -> tuple[PublicKey, ...]:
    return read_key_list(text, facts=FACTS, algorithm=algorithm)


@pytest.mark.parametrize(
    "change",
    [
        str,
        lambda text: f"\n {text} \n",
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.encodebytes(text.encode()).decode(),
        lambda text: base64.b64encode(text.replace("\\n", "\\r\\n").encode()).decode().join("  "),
        lambda text: base64.b64encode(f" {text}\n".encode()).decode(),
    ],
)
def test_a_list_of_keys_stands_as_json_or_in_base64(change: Callable[[str], str]) -> None:
    keys = read_list(change(listed(public_pem("P-256"), public_pem("RSA"))))
    assert keys == read(public_pem("P-256")) + read(public_pem("RSA"))
    assert {key.facts for key in keys} == {FACTS}
    with pytest.raises(KeyRefused, match=r"entry \[0\]: this key cannot have the algorithm `RS384`"):
        read_list(change(listed(public_pem("P-256"))), "RS384")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a JSON list"),
        ("[]", "holds no key"),
        ("[", "no strict JSON list"),
        ('["a"] x', "no strict JSON list"),
        ("[[]]", "no strict JSON list"),
        ('{"keys": []}', "neither a JSON list nor base64"),
        (base64.b64encode(b'{"a": 1}').decode(), "no strict JSON list"),
        (base64.b64encode(b"\xff").decode(), "neither a JSON list nor base64"),
        ("[1]", r"entry \[0\]: there is no key here"),
        ('["secret"]', r"entry \[0\]: this is not one whole PEM block; a shared secret is not accepted"),
        ("PRIVATE", r"entry \[1\]: this is a PRIVATE key"),
        ("TWICE", r"entry \[2\]: this key stands in the list already"),
        ("PEM", "neither a JSON list nor base64 of one: write a JSON list of PEM blocks"),
    ],
)
def test_what_is_no_list_of_public_keys_is_refused_without_quoting_it(text: str, reason: str) -> None:
    first = public_pem("P-256")
    made = {"PRIVATE": listed(first, private_pem("P-384")), "TWICE": listed(first, public_pem("RSA"), first), "PEM": first}
    for each in (made.get(text, text), base64.b64encode(made[text].encode()).decode() if text in {"PRIVATE", "TWICE"} else made.get(text, text)):
        with pytest.raises(KeyRefused, match=reason) as refused:
            read_list(each)
        assert "MI" not in str(refused.value)
        assert 'secret"' not in str(refused.value)


def test_pkcs1_public_keys_are_read() -> None:
    pem = private("RSA").public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1).decode()
    assert pem.startswith("-----BEGIN RSA PUBLIC KEY-----")
    assert read(pem) == read(public_pem("RSA"))


def test_the_thumbprint_is_that_of_rfc_7638() -> None:
    """The example of RFC 7638 section 3.1."""
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W"
        "-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08q"
        "NLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    (key,) = read(json.dumps({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}))
    assert key.thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    assert key.kid == "2011-04-29"
    assert thumbprint(key.key) == key.thumbprint


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_only_an_rsa_key_has_a_choice_of_algorithms(algorithm: str) -> None:
    assert read(public_pem("RSA"), algorithm)[0].algorithm == algorithm
    assert read(json.dumps(jwk("RSA", alg=algorithm)))[0].algorithm == algorithm
    for kind in ("P-256", "Ed25519"):
        with pytest.raises(KeyRefused, match="cannot have the algorithm"):
            read(public_pem(kind), algorithm)


def test_a_key_set_gives_each_key_with_its_kid() -> None:
    keys = read(json.dumps({"keys": [jwk("P-256", kid="a", use="sig", key_ops=["verify"]), jwk("RSA", kid="b", alg="PS256"), jwk("Ed25519")]}))
    assert [(key.kid, key.algorithm) for key in keys] == [("a", "ES256"), ("b", "PS256"), (None, "EdDSA")]


REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "nothing": (lambda: "", "no key"),
    "white space": (lambda: " \n", "no key"),
    "a shared secret": (lambda: "supersecretsupersecretsupersecret", "shared secret"),
    "a private key": (lambda: private_pem("P-256"), "PRIVATE"),
    "a SEC 1 private key": (lambda: private_pem("P-256", serialization.PrivateFormat.TraditionalOpenSSL), "PRIVATE"),
    "a private key among literal line breaks": (lambda: private_pem("RSA").replace("\n", "\\n"), "PRIVATE"),
    "two blocks": (lambda: public_pem("P-256") + public_pem("RSA"), "2 PEM blocks"),
    "a public and a private block": (lambda: public_pem("P-256") + private_pem("P-256"), "2 PEM blocks"),
    "text around the block": (lambda: "key: " + public_pem("P-256"), "whole PEM block"),
    "half a block": (lambda: public_pem("P-256")[:-20], "whole PEM block"),
    "another footer": (lambda: public_pem("P-256").replace("END PUBLIC", "END RSA PUBLIC"), "whole PEM block"),
    "a certificate": (lambda: public_pem("P-256").replace("PUBLIC KEY", "CERTIFICATE"), "certificate"),
    "another block": (lambda: public_pem("P-256").replace("PUBLIC KEY", "SSH2 KEY"), "not a public key"),
    "a body that is not base64": (lambda: public_pem("P-256").replace("M", "*", 1), "base64"),
    "a body that is no key": (lambda: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "known kind"),
    "RSA of 1024 bits": (lambda: public_pem("RSA-1024"), "1024 bits"),
    "RSA with exponent 3": (lambda: public_pem("RSA-e3"), "exponent"),
    "secp256k1": (lambda: public_pem("secp256k1"), "secp256k1"),
    "Ed448": (lambda: public_pem("Ed448"), "this kind"),
    "DSA": (lambda: public_pem("DSA"), "this kind"),
    "a JWK of a shared secret": (lambda: '{"kty":"oct","k":"AAAA"}', "shared secret"),
    "a private JWK": (lambda: json.dumps(jwk("P-256", d="AAAA")), "PRIVATE"),
    "a private RSA JWK": (lambda: json.dumps(jwk("RSA", p="AAAA")), "PRIVATE"),
    "a JWK for encryption": (lambda: json.dumps(jwk("P-256", use="enc")), "`use`"),
    "a JWK whose use is null": (lambda: json.dumps(jwk("P-256", use=None)), "`use`"),
    "a JWK that only signs": (lambda: json.dumps(jwk("P-256", key_ops=["sign"])), "`key_ops`"),
    "a JWK whose key_ops is text": (lambda: json.dumps(jwk("P-256", key_ops="verify")), "`key_ops`"),
    "a JWK with HS256": (lambda: json.dumps(jwk("P-256", alg="HS256")), "cannot have the algorithm"),
    "a JWK with alg none": (lambda: json.dumps(jwk("RSA", alg="none")), "cannot have the algorithm"),
    "a JWK with a number for alg": (lambda: json.dumps(jwk("RSA", alg=1)), "`alg`"),
    "a JWK with a number for kid": (lambda: json.dumps(jwk("P-256", kid=1)), "`kid`"),
    "a JWK with duplicate names": (lambda: json.dumps(jwk("P-256"))[:-1] + ',"kty":"EC"}', "strict JSON"),
    "a JWK with a short coordinate": (lambda: json.dumps(jwk("P-256", x="AAAA")), "wrong length"),
    "a JWK whose point is not on the curve": (lambda: json.dumps(jwk("P-256", x=number(5, 32))), "not a public key"),
    "a JWK with padding": (lambda: json.dumps(jwk("Ed25519", x=jwk("Ed25519")["x"] + "=")), "base64url"),
    "a JWK without x": (lambda: json.dumps({"kty": "OKP", "crv": "Ed25519"}), "base64url"),
    "a JWK with a leading zero octet": (lambda: json.dumps(jwk("RSA", n=number(private("RSA").public_key().public_numbers().n, 257))), "wrong length"),
    "a JWK of RSA with 1024 bits": (lambda: json.dumps(jwk("RSA-1024")), "1024 bits"),
    "a JWK on secp256k1": (lambda: json.dumps(jwk("P-256", crv="secp256k1")), "`kty` and `crv`"),
    "a JWK whose crv is a list": (lambda: json.dumps(jwk("P-256", crv=["P-256"])), "`kty` and `crv`"),
    "an empty JWK": (lambda: "{}", "`kty` and `crv`"),
    "an empty set": (lambda: '{"keys":[]}', "`keys`"),
    "a set that is an object": (lambda: '{"keys":{}}', "`keys`"),
    "a set with a text in it": (lambda: '{"keys":["a"]}', r"`keys\[0\]`"),
    "a set with a secret in it": (lambda: json.dumps({"keys": [jwk("P-256"), {"kty": "oct", "k": "AAAA"}]}), r"`keys\[1\]`"),
    "a set with one kid twice": (lambda: json.dumps({"keys": [jwk("P-256", kid="a"), jwk("RSA", kid="a")]}), "same kid twice"),
    "a set with one key twice": (lambda: json.dumps({"keys": [jwk("P-256", kid="a"), jwk("P-256", kid="b")]}), "same key twice"),
    "half a surrogate pair": (lambda: '{"kty":"\ud800"}', "surrogate"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_acceptable_public_key_is_refused_without_quoting_it(name: str) -> None:
    make, reason = REFUSED[name]
    text = make()
    with pytest.raises(KeyRefused, match=reason) as refused:
        read(text)
    for line in text.splitlines():
        if len(line) > 60:
            assert line[:30] not in str(refused.value)


def test_a_jwk_and_the_configuration_must_name_the_same_algorithm() -> None:
    with pytest.raises(KeyRefused, match="same in both"):
        read(json.dumps(jwk("RSA", alg="RS256")), "PS256")
