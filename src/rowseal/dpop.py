"""DPoP (RFC 9449): a proof, made for one request, that whoever sends a token holds the key that the token is bound to.

A proof is a small JWS that brings its own public key. That key is believed because its thumbprint stands in the token, which a
configured key signed; nothing else of a proof is.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from jwt.algorithms import get_default_algorithms

from rowseal import strict
from rowseal.claims import Json, KeyFacts
from rowseal.errors import TokenRefused
from rowseal.keys import KeyRefused, PublicKey, read_public_keys

__all__ = ["ALGORITHMS", "Seen", "address", "check"]

ALGORITHMS: Final = ("ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
PROOF_LENGTH: Final = 8192  # characters: the largest RSA key that is taken, and its signature, still fit
TEXT_LENGTH: Final = 256  # of a `jti`
LIVES_SECONDS: Final = 60  # how long after it was made a proof is taken
EARLY_SECONDS: Final = 30  # how far ahead the clock of who made it may be
SEEN: Final = 100_000  # proofs that are remembered

_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)
_HEADER: Final = frozenset({"typ", "alg", "jwk"})
_FACTS: Final = KeyFacts("dpop", "dpop")
_METHODS: Final = get_default_algorithms()
_URL: Final = re.compile(r"(https?)://([a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?(/(?:[!-$&-~]|%[0-9a-f]{2})*)?", re.ASCII | re.IGNORECASE)
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]", re.ASCII)
_PORTS: Final = {"http": 80, "https": 443}


class Seen:
    """The proofs that were taken, for as long as they could be taken again. Safe to share between threads."""

    __slots__ = ("_by_second", "_count", "_entries", "_floor", "_lock")

    def __init__(self, entries: int = SEEN) -> None:
        self._lock = threading.Lock()
        self._entries = entries
        self._count = 0
        self._floor = -1
        self._by_second: dict[int, set[bytes]] = {}

    def take(self, key: str, jti: str, made_at: float, *, now: float) -> None:
        """Take this proof, this once. Raises TokenRefused `proof_replayed`, or `proof_refused` for one as old as what had to be forgotten."""
        name, second = hashlib.sha256(f"{key} {jti}".encode("utf-8", "surrogatepass")).digest(), int(made_at)
        with self._lock:
            if second not in self._by_second:
                # INVARIANT: what is forgotten is not taken again, whatever the clock says: from then on no proof of its second is, nor an earlier one.
                for old in [each for each in self._by_second if each < now - 2 * LIVES_SECONDS]:
                    self._count -= len(self._by_second.pop(old))
                    self._floor = max(self._floor, old)
            elif name in self._by_second[second]:
                raise TokenRefused("proof_replayed")
            while self._count >= self._entries:
                oldest = min(self._by_second)
                self._count -= len(self._by_second.pop(oldest))
                self._floor = max(self._floor, oldest)
            if second <= self._floor:
                raise _refused("the DPoP proof is older than what this server can remember at the moment")
            self._by_second.setdefault(second, set()).add(name)
            self._count += 1


def address(url: str) -> str | None:
    """An absolute http or https URL without query and fragment, as all its spellings are written (RFC 3986, 6.2.2 and 6.2.3). None for what is none.

    Steps like `/../` stay: no client sends them, and what one router makes of them another does not.
    """
    match = _URL.fullmatch(url.partition("#")[0].partition("?")[0])
    if match is None:
        return None
    scheme, host, port, path = match[1].lower(), match[2].lower(), match[3], match[4] or "/"
    return f"{scheme}://{host}{f':{int(port)}' if port and int(port) != _PORTS[scheme] else ''}{_ESCAPE.sub(_escape, path)}"


def check(proof: str, *, token: str, key: str, method: str, urls: Sequence[str], now: float, seen: Seen) -> None:
    """Refuse the proof unless the holder of the key with this thumbprint made it, now, for this token and this request (RFC 9449, 4.3).

    `urls` are the addresses under which the request may have been sent; their query and fragment do not count. Raises only TokenRefused.
    """
    try:
        claims = _claims(proof, key)
        _check_request(claims, token, method, urls)
        jti, made_at = _fresh(claims, now)
    except TokenRefused:
        raise
    except Exception:  # noqa: BLE001  INVARIANT: no proof, however strange, is anything but taken or refused
        failed = _refused("the DPoP proof cannot be read")
    else:
        seen.take(key, jti, made_at, now=now)
        return
    raise failed


def _claims(proof: str, key: str) -> dict[str, Json]:
    """What the holder of the key with this thumbprint signed."""
    match = _COMPACT.fullmatch(proof) if len(proof) <= PROOF_LENGTH else None
    if match is None:
        raise _refused(f"the DPoP proof is not one compact JWS of at most {PROOF_LENGTH} characters")
    holder = _key(_part(match[1], depth=3))
    # first what costs little: a key that the token does not name is not even asked to verify
    if not hmac.compare_digest(holder.thumbprint, key):
        raise _refused("the DPoP proof is made with another key than the token is bound to")
    verifier: Any = _METHODS[holder.algorithm]
    if verifier.verify(f"{match[1]}.{match[2]}".encode("ascii"), holder.key, strict.from_base64url(match[3])) is not True:
        raise _refused("the signature of the DPoP proof does not verify with the key in it")
    return _part(match[2], depth=8)


def _check_request(claims: dict[str, Json], token: str, method: str, urls: Sequence[str]) -> None:
    if claims.get("htm") != method:
        raise _refused("`htm` of the DPoP proof is not the method of this request")
    if not urls:
        raise _refused("this server was not told its own address (`public_urls`), so it can check no DPoP proof")
    htu = claims.get("htu")
    meant = address(htu) if isinstance(htu, str) else None
    if meant is None or meant not in [address(url) for url in urls]:
        raise _refused("`htu` of the DPoP proof is not the address of this request")
    ath = claims.get("ath")
    if not isinstance(ath, str) or not hmac.compare_digest(ath.encode(), strict.to_base64url(hashlib.sha256(token.encode()).digest()).encode()):
        raise _refused("`ath` of the DPoP proof is not the hash of the token")


def _fresh(claims: dict[str, Json], now: float) -> tuple[str, float]:
    """The name of the proof, and when it was made, in seconds since the epoch."""
    made_at = _seconds(claims, "iat")
    if not now - LIVES_SECONDS <= made_at <= now + EARLY_SECONDS:
        raise _refused("`iat` of the DPoP proof is not now")
    if ("exp" in claims and _seconds(claims, "exp") <= now) or ("nbf" in claims and _seconds(claims, "nbf") > now + EARLY_SECONDS):
        raise _refused("the DPoP proof says itself that it is not valid now")
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= TEXT_LENGTH:
        raise _refused(f"`jti` of the DPoP proof must be a string of 1 to {TEXT_LENGTH} characters")
    return jti, made_at


def _part(text: str, *, depth: int) -> dict[str, Json]:
    try:
        return strict.json_object(strict.from_base64url(text), depth=depth)
    except strict.Malformed as error:
        raise _refused(f"the DPoP proof cannot be read: {error}") from None


def _key(header: dict[str, Json]) -> PublicKey:
    """The public key in the header, with the one algorithm that the header may name for it."""
    if header.keys() != _HEADER:
        raise _refused("the header of the DPoP proof must hold `typ`, `alg` and `jwk`, and nothing else")
    algorithm, jwk = header["alg"], header["jwk"]
    if header["typ"] != "dpop+jwt":
        raise _refused("`typ` of the DPoP proof must be `dpop+jwt`")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise _refused(f"`alg` of the DPoP proof must be one of {', '.join(ALGORITHMS)}")
    if not isinstance(jwk, dict) or "keys" in jwk:
        raise _refused("`jwk` of the DPoP proof must be one public key")
    try:
        (key,) = read_public_keys(strict.json_text(jwk), facts=_FACTS, algorithm=algorithm)
    except KeyRefused as error:
        raise _refused(f"`jwk` of the DPoP proof is not taken: {error}") from None
    return key


def _escape(match: re.Match[str]) -> str:
    plain = chr(int(match[1], 16))
    return plain if _UNRESERVED.fullmatch(plain) else f"%{match[1].upper()}"


def _seconds(claims: dict[str, Json], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _refused(f"`{name}` of the DPoP proof must be a number of seconds since 1970")
    return float(value)


def _refused(detail: str) -> TokenRefused:
    return TokenRefused("proof_refused", detail)
