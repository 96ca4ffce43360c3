"""Private keys, for the side that signs: the host application and the command line. No verifier is ever given one."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from rowseal.keys import KeyRefused, pin_algorithm, read_pem

__all__ = ["PrivateKey", "read_private_key", "signing_key"]

PrivateKey: TypeAlias = "ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | Ed25519PrivateKey"

_LABELS: Final = frozenset({"PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"})
_FORMS: Final = "write one PEM block `BEGIN PRIVATE KEY`, `BEGIN EC PRIVATE KEY` or `BEGIN RSA PRIVATE KEY`"
# `openssl ecparam -genkey` writes the curve's name as a block of its own before the key
_EC_PARAMETERS: Final = re.compile(r"-----BEGIN EC PARAMETERS-----[^-]*-----END EC PARAMETERS-----")
_ENCRYPTED: Final = (
    "this private key is encrypted, and nobody is asked for its password: decrypt it (`openssl pkey -in key.pem`) into a file that only you can read"
)


def read_private_key(text: str | bytes) -> PrivateKey:
    """Read one PEM block (PKCS #8, SEC 1 or PKCS #1, not encrypted), however its lines were broken.

    Raises KeyRefused for all else, and for keys with which no token may be signed. No message holds key material.
    """
    pem = (text.decode("utf-8", "replace") if isinstance(text, bytes) else text).removeprefix("\ufeff")
    if "Proc-Type:" in pem and "ENCRYPTED" in pem:  # how the older forms say it, inside of the block
        raise KeyRefused(_ENCRYPTED)
    if pem.lstrip().startswith("{"):
        raise KeyRefused(f"this is JSON, perhaps a JWK: {_FORMS}")
    label, der = read_pem(_EC_PARAMETERS.sub("", pem), cure=_FORMS)
    if label not in _LABELS:
        raise KeyRefused(_wrong(label))
    try:
        key = load_der_private_key(der, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyRefused(f"the PEM block `{label}` does not hold a private key of a known kind: {_FORMS}") from None
    return signing_key(key)


def signing_key(key: object) -> PrivateKey:
    """The key itself, if tokens may be signed with it. Raises KeyRefused."""
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | Ed25519PrivateKey):
        raise KeyRefused("keys of this kind cannot sign tokens: use P-256, P-384, P-521, Ed25519 or RSA")
    pin_algorithm(key.public_key())
    return key


def _wrong(label: str) -> str:
    if label == "ENCRYPTED PRIVATE KEY":
        return _ENCRYPTED
    if "PUBLIC" in label:
        return "this is a public key, which signs nothing: write the private key that belongs to it"
    if "CERTIFICATE" in label:
        return "this is a certificate, which signs nothing: write the private key that belongs to it"
    if label == "OPENSSH PRIVATE KEY":
        return "this is a private key in OpenSSH's own form: make one for tokens with `rowseal keys create`"
    return f"a PEM block `{label}` is not a private key: {_FORMS}"
