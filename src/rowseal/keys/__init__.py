"""Public keys: what they are, where they come from, and the rules under which their tokens are read."""

from __future__ import annotations

from rowseal.keys.published import refuse_published
from rowseal.keys.reading import pin_algorithm, read_key_list, read_pem, read_public_keys, thumbprint, to_jwk
from rowseal.keys.secrets import read_secret
from rowseal.keys.types import LIVE, AsymmetricPublicKey, KeyRefused, PublicKey, Refresh, Source, TokenRules

__all__ = [
    "LIVE",
    "AsymmetricPublicKey",
    "KeyRefused",
    "PublicKey",
    "Refresh",
    "Source",
    "TokenRules",
    "pin_algorithm",
    "read_key_list",
    "read_pem",
    "read_public_keys",
    "read_secret",
    "refuse_published",
    "thumbprint",
    "to_jwk",
]
