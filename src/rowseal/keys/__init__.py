"""Public keys: what they are, where they come from, and the rules under which their tokens are read."""

from __future__ import annotations

from rowseal.keys.reading import pin_algorithm, read_key_list, read_pem, read_public_keys, thumbprint
from rowseal.keys.secrets import read_secret
from rowseal.keys.types import AsymmetricPublicKey, KeyRefused, PublicKey, TokenRules

__all__ = [
    "AsymmetricPublicKey",
    "KeyRefused",
    "PublicKey",
    "TokenRules",
    "pin_algorithm",
    "read_key_list",
    "read_pem",
    "read_public_keys",
    "read_secret",
    "thumbprint",
]
