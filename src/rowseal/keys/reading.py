"""Public keys as text: a PEM block, a JWK, a JWKS, or a list of PEM blocks.

One algorithm is pinned to each key when it is read, so a token can never choose how it is verified (RFC 8725 section 3.1).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from rowseal import strict
from rowseal.claims import Json, KeyFacts
from rowseal.keys.published import refuse_published
from rowseal.keys.types import AsymmetricPublicKey, KeyRefused, PublicKey

__all__ = ["pin_algorithm", "read_key_list", "read_pem", "read_public_keys", "read_published_set", "thumbprint", "to_jwk"]

RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
# RFC 7518 section 3.3 asks for 2048 bits; above 8192 one signature costs the verifier milliseconds.
RSA_BITS: Final = range(2048, 8192 + 1)
RSA_EXPONENT: Final = 65537
KID_LENGTH: Final = 256
PUBLISHED_KEYS: Final = 50  # each may be tried for a token without `kid`

# cryptography's name of a curve -> (JOSE's name, algorithm, octets of a coordinate); RFC 7518 section 6.2.1.1
_CURVES: Final = {"secp256r1": ("P-256", "ES256", 32), "secp384r1": ("P-384", "ES384", 48), "secp521r1": ("P-521", "ES512", 66)}
_JWK_CURVES: Final[dict[str, ec.EllipticCurve]] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})

_PEM: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*)-----END \1-----", re.DOTALL)
_PEM_SPACE: Final = re.compile(r"\s|\\r|\\n")
_KEY_FORMS: Final = "write a PEM block `BEGIN PUBLIC KEY`, a JWK or a JWKS"
_LIST_FORMS: Final = "write a JSON list of PEM blocks, as it is or in base64"


def read_public_keys(text: str, *, facts: KeyFacts, algorithm: str | None = None) -> tuple[PublicKey, ...]:
    """Read one PEM block (SubjectPublicKeyInfo or PKCS #1), one JWK (RFC 7517) or a JWKS document. Raises KeyRefused.

    `algorithm` pins another algorithm than the key's own: only RSA keys have a choice, and mean RS256 unless told.
    """
    text = text.strip().removeprefix("\ufeff")
    if not text:
        raise KeyRefused(f"there is no key here: {_KEY_FORMS}")
    if text.startswith("{"):
        return _read_jwk_text(text, facts, algorithm)
    label, der = read_pem(text, cure=f"a shared secret is not accepted, only public keys are: {_KEY_FORMS}")
    if "PRIVATE" in label:
        raise KeyRefused(
            "this is a PRIVATE key: take it off this machine, treat it as leaked if others could read it, and write its public half (`openssl pkey -pubout`)"
        )
    if "CERTIFICATE" in label:
        raise KeyRefused("this is an X.509 certificate, whose dates and issuer nobody would check: write its public key (`openssl x509 -pubkey -noout`)")
    if label not in {"PUBLIC KEY", "RSA PUBLIC KEY"}:
        raise KeyRefused(f"a PEM block `{label}` is not a public key: {_KEY_FORMS}")
    try:
        key = load_der_public_key(der)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyRefused(f"the PEM block does not hold a public key of a known kind: {_KEY_FORMS}") from None
    return (_public_key(key, facts, algorithm),)


def read_key_list(text: str, *, facts: KeyFacts, algorithm: str | None = None) -> tuple[PublicKey, ...]:
    """Read a JSON list of PEM blocks, as it is or in base64, which is how one environment variable holds several keys. Raises KeyRefused."""
    text = text.strip()
    if not text.startswith("["):
        try:
            text = base64.b64decode(_PEM_SPACE.sub("", text), validate=True).decode("utf-8").strip()
        except ValueError:
            raise KeyRefused(f"this is neither a JSON list nor base64 of one: {_LIST_FORMS}") from None
    try:
        entries = strict.json_list(text.encode(), depth=1)
    except (strict.Malformed, UnicodeEncodeError):
        raise KeyRefused(f"this is no strict JSON list of texts: {_LIST_FORMS}") from None
    if not entries:
        raise KeyRefused(f"the list holds no key: {_LIST_FORMS}")
    keys: list[PublicKey] = []
    for position, entry in enumerate(entries):
        try:
            read = read_public_keys(entry if isinstance(entry, str) else "", facts=facts, algorithm=algorithm)
        except KeyRefused as error:
            raise KeyRefused(f"entry [{position}]: {error}") from None
        if {key.thumbprint for key in read} & {key.thumbprint for key in keys}:
            raise KeyRefused(f"entry [{position}]: this key stands in the list already: remove one")
        keys += read
    return tuple(keys)


def read_pem(text: str, *, cure: str) -> tuple[str, bytes]:
    r"""The label and the DER bytes of exactly one PEM block (RFC 7468), however its lines were broken. Raises KeyRefused.

    Environment variables and YAML turn line breaks into CRLF, spaces or a literal `\n`: all mean the same bytes. `cure` says in a
    refusal what to write instead.
    """
    blocks = text.count("-----BEGIN ")
    if blocks > 1:
        raise KeyRefused(f"{blocks} PEM blocks stand in one place: write each key as an entry of its own")
    match = _PEM.fullmatch(_trim(text))
    if match is None:
        raise KeyRefused(f"this is not one whole PEM block; {cure}")
    try:
        return match[1], base64.b64decode(_PEM_SPACE.sub("", match[2]), validate=True)
    except ValueError:
        raise KeyRefused(f"the body of the PEM block is not base64 (an encrypted key cannot be read): write the block unchanged; {cure}") from None


def _trim(text: str) -> str:
    text = text.strip()
    while text.startswith(("\\n", "\\r")):
        text = text[2:].lstrip()
    while text.endswith(("\\n", "\\r")):
        text = text[:-2].rstrip()
    return text


def pin_algorithm(key: object, algorithm: str | None = None) -> str:
    """The one JWS algorithm (RFC 7518, RFC 8037) of this public key. Raises KeyRefused for keys that must not be used."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise KeyRefused(f"keys on the curve `{key.curve.name}` are not accepted: use P-256, P-384, P-521, Ed25519 or RSA")
        choices: tuple[str, ...] = (_CURVES[key.curve.name][1],)
    elif isinstance(key, Ed25519PublicKey):
        choices = ("EdDSA",)
    elif isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in RSA_BITS:
            raise KeyRefused(f"an RSA key of {key.key_size} bits is not accepted: use {RSA_BITS.start} to {RSA_BITS.stop - 1} bits")
        if key.public_numbers().e != RSA_EXPONENT:
            raise KeyRefused(f"an RSA key with another public exponent than {RSA_EXPONENT} is not accepted: generate a new key")
        choices = RSA_ALGORITHMS
    else:
        raise KeyRefused("keys of this kind cannot verify tokens: use P-256, P-384, P-521, Ed25519 or RSA")
    if algorithm is None:
        return choices[0]
    if algorithm not in choices:
        raise KeyRefused(f"this key cannot have the algorithm `{algorithm}`: write {_either(choices)}")
    return algorithm


def thumbprint(key: AsymmetricPublicKey) -> str:
    """RFC 7638: SHA-256 over the required members of the JWK in lexicographic order without white space, in base64url."""
    return strict.to_base64url(hashlib.sha256(json.dumps(_members(key), sort_keys=True, separators=(",", ":")).encode()).digest())


def to_jwk(key: PublicKey) -> dict[str, str]:
    """The key as a JWK (RFC 7517) with its algorithm, and its `kid` if it has one."""
    return {**_members(key.key), "alg": key.algorithm, **({} if key.kid is None else {"kid": key.kid})}


def _members(key: AsymmetricPublicKey) -> dict[str, str]:
    """The members that a JWK must have (RFC 7638 section 3.2)."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        curve, _, size = _CURVES[key.curve.name]
        point = key.public_numbers()
        return {"crv": curve, "kty": "EC", "x": strict.to_base64url(point.x.to_bytes(size, "big")), "y": strict.to_base64url(point.y.to_bytes(size, "big"))}
    if isinstance(key, Ed25519PublicKey):
        return {"crv": "Ed25519", "kty": "OKP", "x": strict.to_base64url(key.public_bytes_raw())}
    numbers = key.public_numbers()
    return {"e": strict.to_base64url(_octets(numbers.e)), "kty": "RSA", "n": strict.to_base64url(_octets(numbers.n))}


def _public_key(key: Any, facts: KeyFacts, algorithm: str | None, kid: str | None = None) -> PublicKey:
    pinned = pin_algorithm(key, algorithm)
    return PublicKey(facts=facts, algorithm=pinned, thumbprint=thumbprint(key), key=key, kid=kid)


def _read_jwk_text(text: str, facts: KeyFacts, algorithm: str | None) -> tuple[PublicKey, ...]:
    try:
        document = strict.json_object(text.encode(), depth=6)
    except (strict.Malformed, UnicodeEncodeError) as error:
        why = error if isinstance(error, strict.Malformed) else "a string holds half of a surrogate pair"
        raise KeyRefused(f"the JWK or JWKS is not strict JSON ({why}): write the document unchanged") from None
    if "keys" not in document:
        return (_read_jwk(document, facts, algorithm),)
    entries = document["keys"]
    if not isinstance(entries, list) or not entries:
        raise KeyRefused("`keys` of the JWKS must be a list with at least one key")
    keys = []
    for position, entry in enumerate(entries):
        try:
            keys.append(_read_jwk(entry, facts, algorithm))
        except KeyRefused as error:
            raise KeyRefused(f"`keys[{position}]`: {error}") from None
    # INVARIANT: within a set a kid names one key, and a key stands once (or two rules could apply to one signature).
    for what, names in (("kid", [key.kid for key in keys if key.kid is not None]), ("key", [key.thumbprint for key in keys])):
        if len(set(names)) != len(names):
            raise KeyRefused(f"the JWKS holds the same {what} twice: remove one")
    return tuple(keys)


def read_published_set(text: bytes, *, facts: KeyFacts, algorithm: str | None = None) -> tuple[tuple[PublicKey, ...], tuple[str, ...]]:
    """The keys of a JWKS that somebody else publishes, and why each other entry is not used. Raises KeyRefused where it is no JWKS.

    Unlike in a file of one's own, an entry that cannot be used is passed over: an issuer publishes keys for encryption, and of new kinds,
    beside those that it signs with. Of two keys under one `kid` both are kept, since the signature tells which of them it was.
    """
    try:
        entries = strict.json_object(text, depth=6).get("keys")
    except strict.Malformed as error:
        raise KeyRefused(f"it is not strict JSON ({error})") from None
    if not isinstance(entries, list):
        raise KeyRefused("it has no list `keys`")
    if len(entries) > PUBLISHED_KEYS:
        raise KeyRefused(f"it has more than {PUBLISHED_KEYS} keys")
    keys: dict[str, PublicKey] = {}
    notes: list[str] = []
    for position, entry in enumerate(entries):
        try:
            key = _read_jwk(entry, facts, algorithm)
            if not facts.development:
                refuse_published(key)
            keys.setdefault(key.thumbprint, key)
        except KeyRefused as error:
            notes.append(f"`keys[{position}]` is not used: {error}")
    return tuple(keys.values()), tuple(notes)


def _read_jwk(jwk: Json, facts: KeyFacts, algorithm: str | None) -> PublicKey:
    if not isinstance(jwk, dict):
        raise KeyRefused("a JWK must be a JSON object")
    if jwk.get("kty") == "oct" or "k" in jwk:
        raise KeyRefused("this JWK is a shared secret, which could also sign tokens: write a public key")
    if not _PRIVATE_MEMBERS.isdisjoint(jwk):
        raise KeyRefused("this JWK holds a PRIVATE key: take it off this machine, treat it as leaked if others could read it, and write its public half")
    if jwk.get("use", "sig") != "sig":
        raise KeyRefused("`use` of the JWK must be `sig`: a key for encryption verifies nothing")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise KeyRefused("`key_ops` of the JWK must hold `verify`")
    kid = jwk.get("kid")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= KID_LENGTH):
        raise KeyRefused(f"`kid` of the JWK must be a string of 1 to {KID_LENGTH} characters")
    named = jwk.get("alg")
    if named is not None and not isinstance(named, str):
        raise KeyRefused("`alg` of the JWK must be a string")
    if named and algorithm and named != algorithm:
        raise KeyRefused("`alg` of the JWK is not the configured algorithm: write the same in both places, or in one only")
    return _public_key(_key_of(jwk), facts, algorithm or named, kid)


def _key_of(jwk: dict[str, Json]) -> AsymmetricPublicKey:
    kind, curve = jwk.get("kty"), jwk.get("crv")
    try:
        if kind == "EC" and isinstance(curve, str) and curve in _JWK_CURVES:
            size = (_JWK_CURVES[curve].key_size + 7) // 8
            x, y = _number(jwk, "x", size), _number(jwk, "y", size)
            return ec.EllipticCurvePublicNumbers(x, y, _JWK_CURVES[curve]).public_key()
        if kind == "OKP" and curve == "Ed25519":
            return Ed25519PublicKey.from_public_bytes(_member(jwk, "x"))
        if kind == "RSA":
            return rsa.RSAPublicNumbers(_number(jwk, "e"), _number(jwk, "n")).public_key()
    except KeyRefused:
        raise
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyRefused("the numbers of the JWK are not a public key of the kind that it names: write the key unchanged") from None
    raise KeyRefused("`kty` and `crv` of the JWK must be EC with P-256, P-384 or P-521, OKP with Ed25519, or RSA")


def _member(jwk: dict[str, Json], name: str) -> bytes:
    value = jwk.get(name)
    try:
        if isinstance(value, str) and value:
            return strict.from_base64url(value)
    except strict.Malformed:
        pass
    raise KeyRefused(f"`{name}` of the JWK must be base64url without padding")


def _number(jwk: dict[str, Json], name: str, size: int | None = None) -> int:
    octets = _member(jwk, name)
    # RFC 7518: a coordinate has the full size of its curve (6.2.1.2), any other number no leading zero octet (section 2)
    if len(octets) != size if size else octets[0] == 0:
        raise KeyRefused(f"`{name}` of the JWK has the wrong length")
    return int.from_bytes(octets, "big")


def _octets(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _either(choices: tuple[str, ...]) -> str:
    return " or ".join(f"`{choice}`" for choice in choices)
