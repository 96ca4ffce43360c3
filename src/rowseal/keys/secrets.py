"""Shared secrets, for issuers that sign with nothing else (HS256). Whoever can verify with one can also sign, so each is asked for in writing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509 import load_der_x509_certificate

from rowseal import strict
from rowseal.claims import KeyFacts
from rowseal.keys.types import KeyRefused, PublicKey

__all__ = ["read_secret"]

SECRET_BYTES: Final = 32  # RFC 7518 section 3.2: no shorter than the hash
DIFFERENT: Final = 8
# Secrets that stand in the documentation of the software whose default or example they are: everybody can sign with them.
_PUBLISHED: Final = frozenset(
    {
        "super-secret-jwt-token-with-at-least-32-characters-long",
        "reallyreallyreallyreallyverysafe",
        "a-string-secret-at-least-256-bits-long",
    }
)
_KEY_TEXT: Final = re.compile(r"-----BEGIN |^(?:ssh-|ecdsa-|sk-ssh-|sk-ecdsa-)|^\ufeff|^[\[{]")
# The same in base64, as environment variables hold it; of JSON only what names a member of a key, because any two bytes may be chance.
_KEY_BYTES: Final = re.compile(rb"-----BEGIN |\A(?:ssh-|ecdsa-|sk-ssh-|sk-ecdsa-|\s*[\[{]\s*(?:\{\s*)?\"(?:keys|kty|crv|alg|use|key_ops|kid|n|e|x|y)\")")
_CURE: Final = "make one with `openssl rand -base64 48`"
# A secret's name within this process. INVARIANT: it is no digest of the secret alone, which whoever sees it could try guesses against.
_NAMING: Final = secrets.token_bytes(32)


def read_secret(text: str, *, facts: KeyFacts, algorithm: str | None = None) -> PublicKey:
    """The secret, its bytes as they are written in UTF-8, pinned to HS256. Raises KeyRefused, which holds nothing of it."""
    if algorithm not in {None, "HS256"}:
        raise KeyRefused("a shared secret has the algorithm HS256 alone: remove `algorithm:`, or write a public key")
    secret = text.encode()
    # INVARIANT: what verifies as a public key is never a secret: its text is public, and whoever has it would sign (RFC 8725 section 3.1).
    if _KEY_TEXT.search(text) or _is_key(secret):
        raise KeyRefused("this is a key or certificate, and no shared secret: write it as `public_key:`, `public_key_file:` or `jwks_file:`")
    if text != text.strip() or any(ord(character) < 32 for character in text):
        raise KeyRefused("the secret begins or ends with a blank, or has a line break in it, and others would read it differently: write it in one line")
    if len(secret) < SECRET_BYTES or len(set(secret)) < DIFFERENT:
        raise KeyRefused(f"the secret is shorter than {SECRET_BYTES} bytes, or made of too few different ones, so that it can be guessed: {_CURE}")
    if text in _PUBLISHED:
        raise KeyRefused(f"this secret stands in public documentation, so that everybody can sign with it: {_CURE}")
    name = strict.to_base64url(hmac.digest(_NAMING, secret, hashlib.sha256))
    return PublicKey(facts=facts, algorithm="HS256", thumbprint=name, key=secret, source="secret")


def _is_key(secret: bytes) -> bool:
    once = _decoded(secret)
    for content in (secret, once, _decoded(once)):
        if _KEY_BYTES.search(content):
            return True
        for load in (load_der_public_key, load_der_x509_certificate):
            try:
                load(content)
            except (ValueError, TypeError, UnsupportedAlgorithm):
                continue
            return True
    return False


def _decoded(secret: bytes) -> bytes:
    try:
        return base64.b64decode(secret.translate(bytes.maketrans(b"-_", b"+/")) + b"=" * (-len(secret) % 4), validate=True)
    except ValueError:
        return b""
