"""Public keys, and the rules under which their tokens are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rowseal.claims import KeyFacts
from rowseal.filters import FlatFilters

__all__ = ["PublicKey", "TokenRules"]


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One parsed public key with the single algorithm pinned to it. `thumbprint` is RFC 7638 SHA-256, base64url; `kid` the key set's own name for it, if any."""

    facts: KeyFacts
    algorithm: str
    thumbprint: str
    key: Any  # a cryptography public key object
    kid: str | None = None


@dataclass(frozen=True, slots=True)
class TokenRules:
    """One entry of `tokens:` in datasets.yaml. Times in seconds."""

    profile: str
    keys: tuple[PublicKey, ...]
    max_lifetime: float = 7200.0
    leeway: float = 30.0
    flat_filters: FlatFilters = FlatFilters.ALL
    issuer: str | None = None
    audience: str | None = None
    project_id: str | None = None
