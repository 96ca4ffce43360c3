"""Signatures at the edges of their mathematics and of their encoding, as collections of such vectors have them; made here, with keys made here.

ECDSA as `r || s`, RSA with PKCS #1 v1.5 and PSS, Ed25519, HMAC: each family's known ways to be nearly right.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from rowseal.claims import KeyFacts
from rowseal.keys import KeyRefused, TokenRules, read_public_keys, read_secret
from rowseal.strict import from_base64url, to_base64url
from rowseal.tokens import Verifier
from test_tokens import content, key, refusal, rules, token, verify

N256: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P256: Final = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N384: Final = int("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16)
N521: Final = int("1ff" + "f" * 62 + "fa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409", 16)
L25519: Final = 2**252 + 27742317777372353535851937790883648493


def with_signature(signature: bytes, text: str) -> str:
    return f"{text.rpartition('.')[0]}.{to_base64url(signature)}"


def parts(text: str) -> tuple[bytes, bytes]:
    """What is signed, and the signature."""
    signed, _, signature = text.rpartition(".")
    return signed.encode(), from_base64url(signature)


# --- ECDSA --------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "alg", "size"), [("P-256", "ES256", 32), ("P-384", "ES384", 48), ("P-521", "ES512", 66)])
def test_an_ecdsa_signature_is_two_numbers_of_its_curve_each_of_full_length(name: str, alg: str, size: int) -> None:
    order = {32: N256, 48: N384, 66: N521}[size]
    verifier = Verifier([rules(name)], token_bytes=16_384)
    good = token(name=name, alg=alg)
    assert verify(good, verifier)
    signed, signature = parts(good)
    r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
    most = 256**size - 1

    def pair(first: int, second: int) -> bytes:
        return first.to_bytes(size, "big") + second.to_bytes(size, "big")

    edges = [0, 1, 2, order - 1, order, most] + ([order + 1, P256, P256 + 1] if name == "P-256" else [])
    wrong = [pair(first, second) for first in edges for second in edges]
    wrong += [pair(r, each) for each in edges] + [pair(each, s) for each in edges]
    wrong += [pair(s, r), pair(order - r, s)]
    wrong += [pair(r + order, s)] if r + order <= most else []
    wrong += [pair(r, s + order)] if s + order <= most else []
    wrong += [b"", signature[:size], signature[:-1], signature[1:], signature + b"\0", b"\0" + signature, signature + signature]
    wrong += [signature[:size] + b"\0" + signature[size:], b"\0" + signature[:size] + b"\0" + signature[size:]]
    wrong += [utils.encode_dss_signature(r, s), utils.encode_dss_signature(0, 0), b"\x30\x00", b"\x30\x80" + signature]
    for each in wrong:
        assert refusal(with_signature(each, good), verifier).code == "signature_invalid", each.hex()
    # s and its negative are both valid: the identity of a token is of what is signed, not of how
    twin = with_signature(pair(r, order - s), good)
    claims = [verifier.verify(each, now=1_800_000_000) for each in (good, twin)]
    assert claims[0].digest == claims[1].digest == hashlib.sha256(signed).hexdigest()


def test_a_curve_signs_with_its_own_hash_alone() -> None:
    verifier = Verifier([rules("P-256")], token_bytes=16_384)
    good = token()
    signed, _ = parts(good)
    private = key("P-256")
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    for other in (hashes.SHA1(), hashes.SHA224(), hashes.SHA384(), hashes.SHA512(), hashes.SHA3_256()):
        r, s = utils.decode_dss_signature(private.sign(signed, ec.ECDSA(other)))
        assert refusal(with_signature(r.to_bytes(32, "big") + s.to_bytes(32, "big"), good), verifier).code == "signature_invalid"
    for said in ("ES384", "ES512", "ES256K"):
        assert refusal(token(header={"alg": said}), verifier).code in {"signature_invalid", "algorithm_refused"}


@pytest.mark.parametrize(
    "change",
    [
        {"x": "AA"},
        {"x": to_base64url(bytes(32))},
        {"x": to_base64url(bytes(32)), "y": to_base64url(bytes(32))},
        {"y": to_base64url((1).to_bytes(32, "big"))},
        {"x": to_base64url(P256.to_bytes(32, "big"))},
        {"crv": "P-384"},
        {"crv": "secp256k1"},
        {"crv": "p-256"},
        {"kty": "RSA"},
        {"kty": "oct"},
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"alg": "ES384"},
        {"alg": "HS256"},
        {"d": "AA"},
        {"x": to_base64url(b"\0" * 33)},
    ],
    ids=repr,
)
def test_a_point_that_is_not_on_the_curve_and_a_key_for_another_use_is_no_key(change: dict[str, Any]) -> None:
    numbers = key("P-256").public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "x": to_base64url(numbers.x.to_bytes(32, "big")), "y": to_base64url(numbers.y.to_bytes(32, "big"))}
    assert read_public_keys(json.dumps(jwk), facts=KeyFacts("k", "vizzly"))
    with pytest.raises(KeyRefused):
        read_public_keys(json.dumps(jwk | change), facts=KeyFacts("k", "vizzly"))


# --- RSA ----------------------------------------------------------------------------------------------------------------------------------------

SHA256: Final = bytes.fromhex("3031300d060960864801650304020105000420")


def raw(private: rsa.RSAPrivateKey, block: bytes) -> bytes:
    """The block, signed as it is."""
    numbers = private.private_numbers()
    modulus = numbers.public_numbers.n
    return pow(int.from_bytes(block, "big"), numbers.d, modulus).to_bytes(private.key_size // 8, "big")


def test_a_pkcs1_block_is_right_to_the_byte() -> None:
    private = key("RSA")
    assert isinstance(private, rsa.RSAPrivateKey)
    verifier = Verifier([rules("RSA")], token_bytes=16_384)
    good = token(name="RSA", alg="RS256")
    signed, signature = parts(good)
    size, digest = private.key_size // 8, hashlib.sha256(signed).digest()

    def block(info: bytes, kind: bytes = b"\0\1", fill: bytes = b"\xff", end: bytes = b"\0", tail: bytes = b"") -> bytes:
        return kind + fill * (size - len(kind) - len(end) - len(info) - len(tail)) + end + info + tail

    right = block(SHA256 + digest)
    assert raw(private, right) == signature
    wrong = {
        "no digest info": block(digest),
        "a digest info without its NULL": block(bytes.fromhex("302f300b0609608648016503040201") + b"\x04\x20" + digest),
        "another hash's name": block(SHA256.replace(b"\x02\x01\x05", b"\x02\x03\x05") + digest),
        "a long length": block(b"\x30\x81\x31" + SHA256[2:] + digest),
        "an indefinite length": block(b"\x30\x80" + SHA256[2:] + digest + b"\0\0"),
        "encryption's block": block(SHA256 + digest, kind=b"\0\2"),
        "block type 0": block(SHA256 + digest, kind=b"\0\0"),
        "a filling of zeros": block(SHA256 + digest, fill=b"\0"),
        "a filling with one other byte": right[:40] + b"\xfe" + right[41:],
        "no separator": block(SHA256 + digest, end=b"\xff"),
        "a short filling, and what follows": b"\0\1" + b"\xff" * 8 + b"\0" + SHA256 + digest + b"\xaa" * (size - 11 - len(SHA256) - 32),
        "something behind the digest": block(SHA256 + digest, tail=b"\0"),
        "a digest of another text": block(SHA256 + hashlib.sha256(signed + b"x").digest()),
        "a shorter digest": block(SHA256[:-1] + b"\x1f" + digest[:-1]),
    }
    for name, each in wrong.items():
        assert refusal(with_signature(raw(private, each), good), verifier).code == "signature_invalid", name
    number, modulus = int.from_bytes(signature, "big"), private.private_numbers().public_numbers.n
    for each in (b"", signature[:-1], b"\0" + signature, signature + b"\0", bytes(size), (1).to_bytes(size, "big"), (modulus - 1).to_bytes(size, "big")):
        assert refusal(with_signature(each, good), verifier).code == "signature_invalid"
    assert refusal(with_signature((number + modulus).to_bytes(size + 1, "big"), good), verifier).code == "signature_invalid"
    if number + modulus < 256**size:
        assert refusal(with_signature((number + modulus).to_bytes(size, "big"), good), verifier).code == "signature_invalid"


def test_pss_has_the_salt_and_the_mask_of_its_hash() -> None:
    """RFC 7518 section 3.5: a salt as long as the hash, and MGF1 with the same hash."""
    private = key("RSA")
    assert isinstance(private, rsa.RSAPrivateKey)
    verifier = Verifier([rules("RSA", algorithm="PS256")], token_bytes=16_384)
    good = token(name="RSA", alg="PS256")
    assert verify(good, verifier)
    signed, _ = parts(good)
    for mask, salt, digest in (
        (hashes.SHA256(), 0, hashes.SHA256()),
        (hashes.SHA256(), 20, hashes.SHA256()),
        (hashes.SHA256(), 31, hashes.SHA256()),
        (hashes.SHA256(), 33, hashes.SHA256()),
        (hashes.SHA256(), padding.PSS.MAX_LENGTH, hashes.SHA256()),
        (hashes.SHA1(), 32, hashes.SHA256()),
        (hashes.SHA512(), 32, hashes.SHA256()),
        (hashes.SHA256(), 32, hashes.SHA512()),
    ):
        signature = private.sign(signed, padding.PSS(padding.MGF1(mask), salt), digest)
        assert refusal(with_signature(signature, good), verifier).code == "signature_invalid"


@pytest.mark.parametrize("change", [{"e": "AQ"}, {"e": "Aw"}, {"e": "AAEAAQ"}, {"e": "AAAB"}, {"e": ""}, {"n": "AQAB"}, {"n": ""}, {"e": "AQAC"}], ids=repr)
def test_an_rsa_key_has_its_usual_exponent_and_enough_bits(change: dict[str, str]) -> None:
    numbers = key("RSA").public_key().public_numbers()
    jwk = {"kty": "RSA", "n": to_base64url(numbers.n.to_bytes(256, "big")), "e": "AQAB"}
    assert read_public_keys(json.dumps(jwk), facts=KeyFacts("k", "vizzly"))
    with pytest.raises(KeyRefused):
        read_public_keys(json.dumps(jwk | change), facts=KeyFacts("k", "vizzly"))


# --- Ed25519, HMAC ------------------------------------------------------------------------------------------------------------------------------


def test_an_ed25519_signature_has_one_form() -> None:
    """Unlike ECDSA's: `s` is below the group's order, or the signature is refused (RFC 8032 section 5.1.7)."""
    verifier = Verifier([rules("Ed25519")], token_bytes=16_384)
    good = token(name="Ed25519", alg="EdDSA")
    _, signature = parts(good)
    s = int.from_bytes(signature[32:], "little")
    wrong = [signature[:32] + (s + L25519).to_bytes(32, "little"), signature[:32] + bytes(32), bytes(64), bytes(32) + signature[32:]]
    wrong += [signature[:32] + (2**256 - 1).to_bytes(32, "little"), signature[:-1], signature + b"\0", b"", signature[32:] + signature[:32]]
    wrong += [bytes([signature[0] ^ 1]) + signature[1:], signature[:31] + bytes([signature[31] ^ 0x80]) + signature[32:]]
    wrong += [(1).to_bytes(32, "little") + bytes(32), (2**255 - 19).to_bytes(32, "little") + bytes(32)]
    for each in wrong:
        assert refusal(with_signature(each, good), verifier).code == "signature_invalid", each.hex()
    for said in ("Ed25519", "Ed448", "EdDSA "):
        assert refusal(token(name="Ed25519", alg="EdDSA", header={"alg": said}), verifier).code == "algorithm_refused"


def test_an_hmac_is_compared_in_full() -> None:
    secret = "0f1e2d3c4b5a69788796a5b4c3d2e1f0-vectors"
    verifier = Verifier([TokenRules("vizzly", (read_secret(secret, facts=KeyFacts("k", "vizzly")),))], token_bytes=16_384)
    signed = ".".join(map(to_base64url, (b'{"alg":"HS256"}', json.dumps(content()).encode())))
    mac = hmac.digest(secret.encode(), signed.encode(), "sha256")
    assert verify(f"{signed}.{to_base64url(mac)}", verifier)
    wrong = [b"", mac[:1], mac[:16], mac[:31], mac + b"\0", b"\0" + mac, bytes(32), mac[::-1], hashlib.sha256(signed.encode()).digest()]
    wrong += [hmac.digest(secret.encode(), signed.encode(), name) for name in ("sha1", "sha224", "sha384", "sha512")]
    wrong += [hmac.digest(each, signed.encode(), "sha256") for each in (b"", secret.encode() + b"\n", secret.upper().encode())]
    for each in wrong:
        assert refusal(f"{signed}.{to_base64url(each)}", verifier).code == "signature_invalid"
