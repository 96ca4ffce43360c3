"""Token -> Claims: a compact JWS (RFC 7515) is verified, parsed strictly and judged by time.

The order matters: size, shape and header first; then the signature over the bytes as they came; only then is the payload read.
Signatures are checked by PyJWT's algorithm objects with keys parsed at start-up; everything else is ours, because a JWT library
has to be lenient where one issuer's tokens need not be (RFC 8725).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from jwt.algorithms import get_default_algorithms

from rowseal import strict
from rowseal.claims import Claims, Json, Proof
from rowseal.errors import TokenRefused
from rowseal.keys import LIVE, KeyRefused, PublicKey, TokenRules

__all__ = ["Verifier", "expiry"]

# {secureFilters: {dataset: [[{value: [...]}]]}} is six deep; parameters may nest too
PAYLOAD_DEPTH: Final = 16
HEADER_DEPTH: Final = 2
HEADER_LENGTH: Final = 4096  # characters of base64: the longest kid, each character written as an escape, still fits
KID_LENGTH: Final = 256
ID_LENGTH: Final = 256  # characters of a `jti`
# In seconds this is the year 5138, in milliseconds 1973: nobody means the one, and the other is a mistake of units.
LATEST_SECOND: Final = 100_000_000_000

# The third part may be empty, so that an unsigned token is told about its algorithm.
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)", re.ASCII)
_DATE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,12})?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_HEADER_MEMBERS: Final = frozenset({"alg", "kid", "typ"})
# Named in the refusal, because each asks the verifier to trust the token about itself, or to read other bytes than were signed.
_HEADER_TRAPS: Final = ("jwk", "jku", "x5u", "x5c", "crit", "zip", "b64", "cty", "enc")
_ALGORITHMS: Final = get_default_algorithms()
# What some key may be pinned to. Which of them any key is pinned to here is nothing for a stranger.
_KNOWN: Final = frozenset({"ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})


class Verifier:
    """Verifies tokens against the configured keys. Holds no state beyond its configuration: one serves all threads."""

    def __init__(self, rules: Sequence[TokenRules], *, token_bytes: int, complete_until: float = math.inf) -> None:
        """`token_bytes` bounds a token's length. Raises KeyRefused where it would be unclear which key or rules a token has.

        `complete_until`, in seconds since the epoch: from then on keys may be missing here, and a token that nothing proves may be good.
        """
        self.token_bytes = token_bytes
        self.complete_until = complete_until
        self._rules: dict[str, TokenRules] = {}
        self._named: dict[str, list[PublicKey]] = {}
        self._by_algorithm: dict[str, list[PublicKey]] = {}
        self._types = frozenset({"JWT"}).union(*(entry.types for entry in rules))
        self._ignored = frozenset[str]().union(*(entry.ignored for entry in rules))
        thumbprints: set[str] = set()
        for entry in rules:
            for key in entry.keys:
                if self._rules.setdefault(key.facts.id, entry) is not entry:
                    raise KeyRefused(f"the key id `{key.facts.id}` stands under two entries of `tokens`: give each key its own id")
                if key.thumbprint in thumbprints:
                    raise KeyRefused(f"the key `{key.facts.id}` is configured twice: which rules its tokens follow must be clear")
                thumbprints.add(key.thumbprint)
                self._by_algorithm.setdefault(key.algorithm, []).append(key)
                for name in {key.thumbprint, key.facts.id, key.kid or key.facts.id}:
                    named = self._named.setdefault(name, [])
                    # what others publish is theirs to name: there the signature tells whose key it was
                    if key.source not in LIVE and any(other.facts != key.facts and other.source not in LIVE for other in named):
                        raise KeyRefused(f"two keys answer to the kid of the key `{key.facts.id}`: give them different ids and kids")
                    named.append(key)

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        """Every configured key."""
        return tuple(key for keys in self._by_algorithm.values() for key in keys)

    def rules_of(self, claims: Claims) -> TokenRules:
        """The rules of the key that verified these claims; the token has no say in them."""
        return self._rules[claims.key.id]

    def verify(self, token: str, *, now: float, member: str = "dataAccessToken") -> Claims:
        """The content of a token that a configured key signed and that is valid at `now` (epoch seconds). Raises only TokenRefused.

        `member` names the token that belongs here, for whoever sends the whole object that a signer prints.
        """
        try:
            return self._verify(token, now, member)
        except TokenRefused:
            raise
        except Exception:  # noqa: BLE001  INVARIANT: no token, however strange, is anything but verified or refused
            failed = TokenRefused("token_malformed")
        raise failed  # outside the handler: the unexpected error, which may quote the token, is not chained to it

    def _verify(self, token: str, now: float, member: str) -> Claims:
        header_part, payload_part, signature = self._split(token, member)
        header = _read_header(header_part, self._types, self._ignored)
        signed = token[: len(header_part) + 1 + len(payload_part)].encode("ascii")
        key = self._verifying_key(header.algorithm, header.kid, signed, signature, now)
        # What some rules take was let through to here; which rules hold is known now.
        if not header.ignored <= self._rules[key.facts.id].ignored:
            raise TokenRefused("header_refused")
        try:
            content = strict.json_object(strict.from_base64url(payload_part), depth=PAYLOAD_DEPTH)
        except strict.Malformed as error:
            raise TokenRefused("token_malformed", f"the token's payload cannot be read: {error}") from None
        return self._judged(key, content, hashlib.sha256(signed).hexdigest(), Proof(header.algorithm, header.kid, key.thumbprint, header.type), now)

    def judge(self, claims: Claims, *, now: float) -> Claims:
        """Claims that another verifier proved, judged by this one's keys and rules as if their token came in again. Raises only TokenRefused."""
        proof = claims.proof
        if proof is not None:
            for key in self._candidates(proof.algorithm, proof.kid):
                # INVARIANT: the thumbprint is that of the key which verified the signature, so the signature holds for this key too.
                if key.thumbprint == proof.thumbprint:
                    return self._judged(self._in_time(key, now), claims.content, claims.digest, proof, now)
        raise self._unproven("key_unknown", now)

    def _judged(self, key: PublicKey, content: Mapping[str, Json], digest: str, proof: Proof, now: float) -> Claims:
        rules = self._rules[key.facts.id]
        if proof.type not in rules.types:
            raise _wrong_type(rules.types)
        ends_at = _check_times(content, rules, now)
        # INVARIANT: what was proven by a key ends with it, wherever it is remembered.
        expires_at = min(ends_at, key.retire_at, key.confirmed_until)
        _check_issuer(content, rules)
        _check_present(content, rules)
        # Without `iat` nobody knows when it was issued. The earliest moment that the rules allow is the one by which the most is revoked.
        issued_at = _seconds(content["iat"], "iat") if "iat" in content else ends_at - rules.max_lifetime
        return Claims(key.facts, content, expires_at, digest, proof, issued_at, _token_id(content), ends_at)

    def _split(self, token: str, member: str) -> tuple[str, str, bytes]:
        if not isinstance(token, str) or not token:
            raise TokenRefused("token_missing")
        if len(token) > self.token_bytes:
            raise TokenRefused("token_too_large", f"the token is longer than {self.token_bytes} bytes")
        match = _COMPACT.fullmatch(token)
        if match is None:
            raise _not_compact(token, member)
        try:
            return match[1], match[2], strict.from_base64url(match[3])
        except strict.Malformed as error:
            raise TokenRefused("token_malformed", f"the token's signature cannot be read: {error}") from None

    def _verifying_key(self, algorithm: str, kid: str | None, signed: bytes, signature: bytes, now: float) -> PublicKey:
        known = self._candidates(algorithm, kid)
        # INVARIANT: whether a key is known shows neither in the answer nor in the work: without one, another looks at the signature in vain.
        for key in known or self._by_algorithm.get(algorithm, [])[:1]:
            if _signed_by(key, signed, signature) and known:
                return self._in_time(key, now)
        named = kid is None or kid in self._named
        refusal = self._unproven("signature_wrong" if known else "key_algorithm" if named else "key_unknown", now)
        # INVARIANT: given for each, so that a key is asked for whether or not one has this name already: who waits longer would tell.
        refusal.kid = kid
        raise refusal

    def _candidates(self, algorithm: str, kid: str | None) -> list[PublicKey]:
        # INVARIANT: the header only picks among keys; each key is used with the one algorithm that was pinned at start-up.
        if algorithm not in _KNOWN and algorithm not in self._by_algorithm:
            raise TokenRefused("algorithm_refused")
        if kid is None:
            return self._by_algorithm.get(algorithm, [])
        return [key for key in self._named.get(kid, ()) if key.algorithm == algorithm]

    def _in_time(self, key: PublicKey, now: float) -> PublicKey:
        """The key, where its tokens are taken now. Refused like a token that no key proves, before anything of it is read."""
        if now < key.not_before:
            raise self._unproven("key_not_yet_valid", now, key)
        if now >= key.retire_at:
            raise self._unproven("key_retired", now, key)
        if now >= key.confirmed_until:
            raise self._unproven("key_unconfirmed", now, key)
        return key

    def _unproven(self, reason: str, now: float, key: PublicKey | None = None) -> TokenRefused:
        """One answer for every token that no key proves: what it was is for the log."""
        known = None if key is None else key.facts.id
        if now >= self.complete_until:
            return TokenRefused("keys_unavailable", reason=reason, key=known)
        return TokenRefused("signature_invalid", reason=reason, key=known)


def _signed_by(key: PublicKey, signed: bytes, signature: bytes) -> bool:
    method: Any = _ALGORITHMS[key.algorithm]
    return method.verify(signed, key.key, signature) is True


def _not_compact(token: str, member: str) -> TokenRefused:
    if f'"{member}"' in token:
        return TokenRefused("token_kind", "this is the object with all the signer's tokens", hint=f"send the value of its member `{member}`")
    if token.lstrip().startswith("{"):
        return TokenRefused("token_malformed", "this is JSON, and only the compact form of a token is accepted")
    if token.count(".") == 4:
        return TokenRefused("token_malformed", "a token of five parts is encrypted (JWE), and only signed tokens are accepted")
    return TokenRefused("token_malformed", "the token is not three parts of base64url without padding, joined by dots")


@dataclass(frozen=True, slots=True)
class _Header:
    """What a header says: `type` is its `typ` in upper case, `ignored` are those of its members that say nothing here."""

    algorithm: str
    kid: str | None
    type: str
    ignored: frozenset[str]


def _wrong_type(types: frozenset[str]) -> TokenRefused:
    """INVARIANT: the types are the configuration's, never the token's own."""
    named = " or ".join(f"`{each if each == 'JWT' else each.lower()}`" for each in sorted(types, reverse=True))
    return TokenRefused("header_refused", f"`typ` of the token's header must be {named} or absent")


def _read_header(part: str, types: frozenset[str], ignored: frozenset[str]) -> _Header:
    """A header that holds nothing but `alg`, `kid`, `typ` and what is ignored. Nothing is proven yet, so little is read."""
    if len(part) > HEADER_LENGTH:
        raise TokenRefused("header_refused", f"the token's header is longer than {HEADER_LENGTH} characters")
    try:
        header = strict.json_object(strict.from_base64url(part), depth=HEADER_DEPTH)
    except strict.Malformed as error:
        raise TokenRefused("token_malformed", f"the token's header cannot be read: {error}") from None
    if not header.keys() - ignored <= _HEADER_MEMBERS:
        trap = next((name for name in _HEADER_TRAPS if name in header), None)
        raise TokenRefused("header_refused", f"the token's header holds `{trap}`, which is not accepted" if trap else None)
    algorithm, kind = header.get("alg"), header.get("typ", "JWT")
    if not isinstance(algorithm, str):
        raise TokenRefused("header_refused", "`alg` of the token's header must be a string")
    if not isinstance(kind, str) or kind.upper() not in types:
        raise _wrong_type(types)
    kid = header.get("kid")
    if "kid" in header and (not isinstance(kid, str) or len(kid) > KID_LENGTH):
        raise TokenRefused("header_refused", f"`kid` of the token's header must be a string of at most {KID_LENGTH} characters")
    return _Header(algorithm, kid if isinstance(kid, str) else None, kind.upper(), ignored.intersection(header))


def expiry(content: Mapping[str, Json]) -> float:
    """When the token of this payload ends: the earlier of `exp` and `expires`, in epoch seconds. Raises TokenRefused."""
    moments = []
    if "exp" in content:
        moments.append(_seconds(content["exp"], "exp"))
    if "expires" in content:
        moments.append(_moment(content["expires"]))
    if not moments:
        raise TokenRefused("expiry_missing")
    return min(moments)


def _check_times(content: Mapping[str, Json], rules: TokenRules, now: float) -> float:
    expires_at = expiry(content)
    if not now < expires_at:
        raise TokenRefused("token_expired")
    if not expires_at - now <= rules.max_lifetime:
        raise TokenRefused("lifetime_too_long", f"the token lives longer than the {rules.max_lifetime:g} seconds that this server allows")
    for name in ("nbf", "iat"):
        if name in content and not _seconds(content[name], name) <= now + rules.leeway:
            raise TokenRefused("token_not_yet_valid", f"`{name}` of the token is in the future")
    return expires_at


def _check_present(content: Mapping[str, Json], rules: TokenRules) -> None:
    for name in rules.required_claims:
        if content.get(name) is None:
            raise TokenRefused("claim_invalid", f"`{name}` of the token is missing, and datasets.yaml demands it", hint=f"sign `{name}` into the token")


def _token_id(content: Mapping[str, Json]) -> str | None:
    if "jti" not in content:
        return None
    found = content["jti"]
    # RFC 7519 section 4.1.7: a string. Any other would be an id by which the token cannot be revoked.
    if not isinstance(found, str) or not 0 < len(found) <= ID_LENGTH:
        raise TokenRefused("claim_invalid", f"`jti` of the token must be a string of 1 to {ID_LENGTH} characters")
    return found


def _seconds(value: Json, name: str) -> float:
    """A NumericDate (RFC 7519 section 2): seconds since the epoch, with or without a fraction."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise TokenRefused("claim_invalid", f"`{name}` of the token must be a number of seconds since 1970")
    if not 0 <= value < LATEST_SECOND:
        raise TokenRefused("claim_invalid", f"`{name}` of the token is out of range", hint=f"sign `{name}` in seconds since 1970, not in milliseconds")
    return float(value)


def _moment(value: Json) -> float:
    """A full ISO 8601 date and time with its offset. A finer fraction than microseconds is cut, which only makes it earlier."""
    match = _DATE_TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None or not isinstance(value, str):
        raise TokenRefused("claim_invalid", "`expires` of the token must be a date and time like `2026-01-31T12:00:00Z`")
    if match[1] is None:
        raise TokenRefused("claim_invalid", "`expires` of the token has no offset from UTC", hint="end it with `Z`, or with an offset like `+01:00`")
    try:
        return datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError):
        raise TokenRefused("claim_invalid", "`expires` of the token is no date and time that exists") from None


def _check_issuer(content: Mapping[str, Json], rules: TokenRules) -> None:
    issuer = content.get("iss", rules.issuer or "")
    if not isinstance(issuer, str):
        raise TokenRefused("claim_invalid", "`iss` of the token must be a string")
    if rules.issuer is not None and content.get("iss") != rules.issuer:
        raise TokenRefused("issuer_refused", "`iss` of the token is not the configured issuer")
    if rules.audience is None:
        # RFC 7519 section 4.1.3: whoever does not find itself in `aud` must refuse
        if "aud" in content:
            raise TokenRefused(
                "issuer_refused",
                "the token is made for an audience, and none is configured here",
                hint="set `audience`, or sign without `aud`; a login's id token is no data access token",
            )
        return
    audience = content.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(name, str) for name in audiences) or rules.audience not in audiences:
        raise TokenRefused("issuer_refused", "`aud` of the token does not name the configured audience")
