"""DPoP proofs (RFC 9449), made as a client makes them, with another library than the one under test reads them."""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from typing import Any

import jwt
from jwt.algorithms import get_default_algorithms

from place import key
from rowseal.keys import thumbprint

__all__ = ["bound", "jwk", "proof"]


def jwk(name: str = "holder", algorithm: str = "ES256") -> dict[str, Any]:
    """The public half of a key, as a header holds it."""
    algorithms: Any = get_default_algorithms()
    whole = algorithms[algorithm].to_jwk(key(name).public_key(), as_dict=True)
    return {name: value for name, value in whole.items() if name not in {"key_ops", "alg", "use"}}


def bound(name: str = "holder") -> dict[str, str]:
    """The claim that binds a token to this key."""
    return {"jkt": thumbprint(key(name).public_key())}


def proof(
    token: str, *, method: str = "POST", url: str = "https://data.example/query", by: str = "holder", algorithm: str = "ES256", header: Any = None, **over: Any
) -> str:
    """A proof for one request. `header` and `over` replace members and claims; `...` leaves one out."""
    claims = {
        "jti": str(uuid.uuid4()),
        "htm": method,
        "htu": url,
        "iat": int(time.time()),
        "ath": base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode(),
    } | over
    headers = {"typ": "dpop+jwt", "jwk": jwk(by, algorithm)} | (header or {})
    kept = {name: value for name, value in claims.items() if value is not ...}
    return jwt.encode(kept, key(by), algorithm=algorithm, headers={name: value for name, value in headers.items() if value is not ...})
