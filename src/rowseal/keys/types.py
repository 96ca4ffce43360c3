"""What a public key is, and the rules under which its tokens are read."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from rowseal.claims import KeyFacts
from rowseal.filters import FlatFilters
from rowseal.mapping import ClaimMapping, ClaimPath

__all__ = ["LIVE", "AsymmetricPublicKey", "KeyRefused", "PublicKey", "Refresh", "Source", "TokenRules"]

LIVE: Final = ("directory", "jwks_url")
"""The keys of datasets.yaml under which public keys may come and go while a server runs."""

AsymmetricPublicKey: TypeAlias = "ec.EllipticCurvePublicKey | rsa.RSAPublicKey | Ed25519PublicKey"


class KeyRefused(ValueError):
    """The text is no public key that tokens may be verified with. The message says what to write instead and holds no key material."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One parsed public key with the single algorithm pinned to it, or one shared secret. Moments are seconds since the epoch.

    `thumbprint` is RFC 7638 SHA-256 in base64url (of a secret, a name that means nothing elsewhere); `kid` the key set's own name for the
    key, if any; `source` the key of datasets.yaml that brought it. From `not_before` until just before `retire_at` its tokens are taken,
    and not from `confirmed_until` on, unless whoever publishes it has confirmed it anew by then. `added_at` is known of some keys.
    """

    facts: KeyFacts
    algorithm: str
    thumbprint: str
    key: Any = field(repr=False)  # a cryptography public key object; the bytes of a shared secret
    kid: str | None = None
    source: str = "public_key"
    not_before: float = -math.inf
    retire_at: float = math.inf
    confirmed_until: float = math.inf
    added_at: float | None = None


@dataclass(frozen=True, slots=True)
class Refresh:
    """How often a published key set is fetched, in seconds: no sooner than `at_least`, no later than `at_most`, whatever it says of itself.

    A fetch is given up after `timeout`. After a failed one, and for a key that nobody knows, the next comes after `cool_down`. Keys that
    could not be fetched again are used for `max_stale`.
    """

    at_least: float = 60.0
    at_most: float = 3600.0
    cool_down: float = 30.0
    max_stale: float = 86_400.0
    timeout: float = 5.0


@dataclass(frozen=True, slots=True)
class Source:
    """A place whose keys come and go while a server runs. `kind` is one of `LIVE`, `place` a folder or a URL.

    `facts` and the rest hold for each of its keys. A key of a directory has the id `facts.id`, a slash and the name of its file.
    """

    kind: str
    place: str
    facts: KeyFacts
    algorithm: str | None = None
    not_before: float = -math.inf
    retire_at: float = math.inf
    refresh: Refresh = Refresh()


@dataclass(frozen=True, slots=True)
class TokenRules:
    """One entry of `tokens:` in datasets.yaml. Times in seconds.

    `types` is what `typ` of a header may say, in upper case; `ignored` are members of a header that may stand there and say nothing.
    `subject` is where a token says whom it is for, where its profile does not say so by itself. `inactivity` 0: tokens may stay idle.
    """

    profile: str
    keys: tuple[PublicKey, ...]
    max_lifetime: float = 7200.0
    leeway: float = 30.0
    flat_filters: FlatFilters = FlatFilters.ALL
    issuer: str | None = None
    audience: str | None = None
    project_id: str | None = None
    origin_required: bool = False
    dpop_required: bool = False
    mapping: ClaimMapping | None = None
    types: frozenset[str] = frozenset({"JWT"})
    ignored: frozenset[str] = frozenset()
    required_claims: tuple[str, ...] = ()
    subject: ClaimPath | None = None
    one_time: bool = False
    inactivity: float = 0.0
    sources: tuple[Source, ...] = ()
