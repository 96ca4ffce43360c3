"""Shared secrets (HS256): only where the file says so, never in the file, and never anything that is also a public key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rowseal import errors
from rowseal.claims import Claims, KeyFacts
from rowseal.configuration import load
from rowseal.keys import KeyRefused, PublicKey, TokenRules, read_public_keys, read_secret
from rowseal.strict import to_base64url
from rowseal.tokens import Verifier
from test_oidc import AUDIENCE, NOW, PLAIN, folder, key

__all__ = ["folder"]  # a fixture

SECRET = "Zm9ydHktdHdvIGJ5dGVzIG9mIG5vdGhpbmcgaW4gcGFydGljdWxhcg"
FACTS = KeyFacts("legacy", "oidc")


def public_pem(private: Any) -> str:
    return str(private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode())


def secret(text: str = SECRET, algorithm: str | None = None) -> PublicKey:
    return read_secret(text, facts=FACTS, algorithm=algorithm)


def verifier(*keys: PublicKey) -> Verifier:
    return Verifier([TokenRules("oidc", keys, audience=AUDIENCE)], token_bytes=16_384)


def verified(token: str, *keys: PublicKey) -> Claims:
    return verifier(*keys).verify(token, now=float(NOW))


def content(**over: Any) -> dict[str, Any]:
    return {"aud": AUDIENCE, "sub": "1", "exp": NOW + 60, **over}


def code(token: str, *keys: PublicKey) -> str:
    with pytest.raises(errors.TokenRefused) as refused:
        verified(token, *keys)
    return refused.value.code


def test_a_secret_verifies_what_it_signed_and_nothing_else() -> None:
    token = jwt.encode(content(), SECRET, "HS256")
    assert verified(token, secret()).key is FACTS
    assert code(token[:-2] + ("AA" if token[-2:] != "AA" else "BB"), secret()) in {"signature_invalid", "token_malformed"}
    assert code(jwt.encode(content(), SECRET + "x", "HS256"), secret()) == "signature_invalid"
    for algorithm in ("HS384", "HS512"):
        assert code(jwt.encode(content(), SECRET + SECRET, algorithm), secret(SECRET + SECRET)) == "algorithm_refused"


def test_without_a_secret_no_symmetric_token_is_looked_at() -> None:
    asymmetric = read_public_keys(public_pem(key()), facts=FACTS)
    assert code(jwt.encode(content(), SECRET, "HS256"), *asymmetric) == "algorithm_refused"


def test_beside_a_public_key_each_has_its_own_algorithm() -> None:
    """The confusion of algorithms: the public key's text, known to all, as the secret of an HMAC; and the secret's token called ES256."""
    text = public_pem(key())
    both = (secret(), *read_public_keys(text, facts=KeyFacts("idp", "oidc")))
    assert verified(jwt.encode(content(), SECRET, "HS256"), *both).key.id == "legacy"
    assert verified(jwt.encode(content(), key(), "ES256"), *both).key.id == "idp"
    for header in ({"alg": "HS256"}, {"alg": "HS256", "kid": "idp"}, {"alg": "ES256"}, {"alg": "ES256", "kid": "legacy"}):
        signed = f"{to_base64url(json.dumps(header).encode())}.{to_base64url(json.dumps(content()).encode())}"
        for known in (text.encode(), text.strip().encode(), b"", SECRET.encode()[:0]):
            assert code(f"{signed}.{to_base64url(hmac.digest(known, signed.encode(), 'sha256'))}", *both) == "signature_invalid"


EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
DER = EC.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
OPENSSH = EC.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
NUMBERS = EC.public_key().public_numbers()
JWK = {"kty": "EC", "crv": "P-256", "x": to_base64url(NUMBERS.x.to_bytes(32, "big")), "y": to_base64url(NUMBERS.y.to_bytes(32, "big"))}


@pytest.mark.parametrize(
    "text",
    [
        public_pem(EC),
        "x" + public_pem(RSA),
        public_pem(RSA).replace("\n", " "),
        EC.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode(),
        json.dumps(JWK),
        "\ufeff" + json.dumps(JWK),
        json.dumps({"keys": [JWK]}),
        json.dumps([JWK]),
        base64.b64encode(DER).decode(),
        base64.urlsafe_b64encode(DER).decode().rstrip("="),
        OPENSSH,
    ],
    ids=[
        "pem",
        "pem with a letter before",
        "pem in one line",
        "private",
        "jwk",
        "jwk with a mark",
        "jwks",
        "list",
        "der in base64",
        "der in base64url",
        "openssh",
    ],
)
def test_what_is_a_key_is_no_secret(text: str) -> None:
    with pytest.raises(KeyRefused, match="this is a key or certificate, and no shared secret"):
        secret(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "shorter than 32 bytes"),
        ("a" * 31, "shorter than 32 bytes"),
        ("a" * 64, "too few different"),
        ("ab" * 32, "too few different"),
        (SECRET + "\n", "in one line"),
        (" " + SECRET, "in one line"),
        (SECRET + "\n" + SECRET, "in one line"),
        ("super-secret-jwt-token-with-at-least-32-characters-long", "public documentation"),
        ("reallyreallyreallyreallyverysafe", "public documentation"),
    ],
)
def test_what_can_be_guessed_or_misread_is_no_secret(text: str, said: str) -> None:
    with pytest.raises(KeyRefused, match=said) as refused:
        secret(text)
    assert not text.strip() or text.strip() not in str(refused.value)


def test_a_secret_has_one_algorithm() -> None:
    assert secret(algorithm="HS256").algorithm == "HS256"
    for other in ("HS384", "HS512", "RS256", "none"):
        with pytest.raises(KeyRefused, match="HS256 alone"):
            secret(algorithm=other)


def test_nothing_shows_a_secret_or_a_digest_of_it() -> None:
    read = secret()
    assert SECRET not in repr(read)
    oct_thumbprint = to_base64url(hashlib.sha256(json.dumps({"k": to_base64url(SECRET.encode()), "kty": "oct"}, separators=(",", ":")).encode()).digest())
    assert read.thumbprint not in {oct_thumbprint, to_base64url(hashlib.sha256(SECRET.encode()).digest())}
    assert read.thumbprint == secret().thumbprint != secret(SECRET + "x").thumbprint


# --- in the file ------------------------------------------------------------------------------------------------------------------------------


def configured(folder: Path, entry: str, **environ: str) -> PublicKey:
    (folder / "datasets.yaml").write_text(PLAIN.replace("{id: idp, public_key_file: public.pem}", entry))
    ((read,),) = (rules.keys for rules in load(folder / "datasets.yaml", environ=environ).token_rules)
    return read


def test_it_stands_in_the_environment_or_in_a_file(folder: Path) -> None:
    (folder / "secret.txt").write_text(SECRET + "\n")
    from_file = configured(folder, "{id: legacy, secret_file: secret.txt, allow_symmetric: true}")
    from_environment = configured(folder, "{id: legacy, secret_env: IDP_SECRET, allow_symmetric: true}", IDP_SECRET=SECRET)
    assert (from_file.key, from_file.thumbprint) == (from_environment.key, from_environment.thumbprint)
    assert from_file.algorithm == "HS256"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            "{id: a, secret_env: IDP_SECRET}",
            "keys[0].secret_env: is a shared secret, with which whoever can verify can also sign; write `allow_symmetric: true`",
        ),
        ("{id: a, secret_env: IDP_SECRET, allow_symmetric: false}", "write `allow_symmetric: true`"),
        ("{id: a, public_key_file: public.pem, allow_symmetric: true}", "keys[0].allow_symmetric: is for a shared secret, and this is a public key"),
        ("{id: a, public_key_file: public.pem, secret_env: IDP_SECRET, allow_symmetric: true}", "must have exactly one of"),
        (f"{{id: a, secret: {SECRET}, allow_symmetric: true}}", "keys[0].secret: is not supported yet; write `secret_env:` with the name"),
        (f"{{id: a, secret_env: {SECRET}, allow_symmetric: true}}", "names an environment variable that is not set or empty"),
        ('{id: a, secret_env: "${IDP_SECRET}", allow_symmetric: true}', "set it, and write its name alone, without `${}`"),
        ("{id: a, secret_env: NONE, allow_symmetric: true}", "names an environment variable that is not set"),
        ("{id: a, secret_file: none.txt, allow_symmetric: true}", "names a file that cannot be read (no such file or directory)"),
        ("{id: a, secret_file: public.pem, allow_symmetric: true}", "this is a key or certificate, and no shared secret"),
        ("{id: a, secret_env: PUBLIC, allow_symmetric: true}", "this is a key or certificate, and no shared secret"),
        ("{id: a, secret_env: SHORT, allow_symmetric: true}", "shorter than 32 bytes"),
    ],
)
def test_and_nowhere_else(folder: Path, entry: str, said: str) -> None:
    with pytest.raises(errors.Misconfigured) as refused:
        configured(folder, entry, IDP_SECRET=SECRET, SHORT="hunter2", PUBLIC=public_pem(EC))
    assert said in str(refused.value)
    for withheld in (SECRET, "hunter2"):
        assert withheld not in str(refused.value)


def test_one_secret_under_two_ids_is_refused(folder: Path) -> None:
    entry = "{id: a, secret_env: IDP_SECRET, allow_symmetric: true}"
    with pytest.raises(errors.Misconfigured, match="holds a key that stands above already"):
        configured(folder, f"{entry}\n      - {entry.replace('id: a', 'id: b')}", IDP_SECRET=SECRET)
