"""What proving a token costs, beside the signature alone and beside PyJWT."""

from __future__ import annotations

import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from benchmarks.measure import Section, interleaved, ratio
from rowseal.claims import KeyFacts
from rowseal.grants import read_grant
from rowseal.keys import TokenRules, read_public_keys
from rowseal.signing import PrivateKey, Signer
from rowseal.strict import from_base64url
from rowseal.tokens import Verifier

__all__ = ["section"]


def section(*, rounds: int = 1_000) -> Section:
    """Signature alone, PyJWT and rowseal on one token of about 1.6 kB."""
    found = Section(
        "Verify a token",
        "Microseconds of CPU time for one data access token. `signature` is `cryptography` alone on bytes that are already decoded; PyJWT checks "
        "signature and `exp`; rowseal also reads JSON strictly, refuses duplicate names and unknown headers, judges the times and reads the filters.",
        ("algorithm", "bytes", "signature", "PyJWT", "rowseal: claims", "rowseal: claims and grant", "rowseal / PyJWT"),
    )
    for key in (ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)):
        found.rows.append(_row(key, rounds))
    return found


def _row(private: PrivateKey, rounds: int) -> tuple[str | float, ...]:
    rows = [[{"field": "tenant_id", "op": "=", "value": 7}, {"field": "region", "op": "is_one_of", "value": ["North", "South", "West", "East"]}]]
    names = [f"dataset_{number}" for number in range(7)]
    tokens = Signer(private).generate_tokens(user_reference="u", project_id="p", data_set_ids=names, secure_filters=dict.fromkeys(names, rows))
    token = tokens["dataAccessToken"]
    public = private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    keys = read_public_keys(pem, facts=KeyFacts(id="bench", profile="vizzly"))
    verifier = Verifier([TokenRules("vizzly", keys)], token_bytes=16_384)
    signed, _, last = token.rpartition(".")
    signature, content = from_base64url(last), signed.encode()
    algorithm = keys[0].algorithm
    if isinstance(public, ec.EllipticCurvePublicKey):
        der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        arguments: tuple[Any, ...] = (der, content, ec.ECDSA(SHA256()))
    else:
        arguments = (signature, content, padding.PKCS1v15(), SHA256())
    verify: Any = public.verify

    def granted() -> object:
        claims = verifier.verify(token, now=time.time())
        return read_grant(claims, verifier.rules_of(claims))

    spent = interleaved(
        {
            "signature": lambda: verify(*arguments),
            "PyJWT": lambda: jwt.decode(token, key=public, algorithms=[algorithm]),
            "claims": lambda: verifier.verify(token, now=time.time()),
            "granted": granted,
        },
        rounds=rounds,
    )
    return (algorithm, float(len(token)), *spent.values(), ratio(spent["claims"], spent["PyJWT"]))
