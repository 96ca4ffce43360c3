"""Public keys: what they are, where they come from, and the rules under which their tokens are read."""

from __future__ import annotations

<<<<<<< HEAD
from rowseal.keys.reading import pin_algorithm, read_key_list, read_pem, read_public_keys, thumbprint
from rowseal.keys.secrets import read_secret
from rowseal.keys.types import AsymmetricPublicKey, KeyRefused, PublicKey, TokenRules

__all__ = [
    "AsymmetricPublicKey",
    "KeyRefused",
    "PublicKey",
=======
from rowseal.keys.published import refuse_published
from rowseal.keys.reading import pin_algorithm, read_key_list, read_pem, read_public_keys, thumbprint, to_jwk
from rowseal.keys.types import LIVE, AsymmetricPublicKey, KeyRefused, PublicKey, Refresh, Source, TokenRules

__all__ = [
    "LIVE",
    "AsymmetricPublicKey",
    "KeyRefused",
    "PublicKey",
    "Refresh",
    "Source",
>>>>>>> 9a87a5b (Take keys from directories and URLs that are looked at while the server runs)
    "TokenRules",
    "pin_algorithm",
    "read_key_list",
    "read_pem",
    "read_public_keys",
<<<<<<< HEAD
    "read_secret",
    "thumbprint",
=======
    "refuse_published",
    "thumbprint",
    "to_jwk",
>>>>>>> 9a87a5b (Take keys from directories and URLs that are looked at while the server runs)
]
