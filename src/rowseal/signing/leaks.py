"""What looks like a secret is not signed: a token is signed and not encrypted, so whoever holds it reads every claim.

The JavaScript signer has the same rules (signers/js/leaks.js); tests compare the two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from rowseal.signing.payload import SigningRefused

__all__ = ["refuse_secrets"]

_VALUES: Final = (
    ("a private key", re.compile(r"PRIVATE KEY-----")),
    ("a token", re.compile(r"(?<![\w-])ey[\w-]{8,}\.[\w-]{2,}\.[\w-]*", re.ASCII)),
    ("a URL with a password", re.compile(r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{0,30}://[^\s/?#:@]*:[^\s/?#@]+@", re.ASCII | re.IGNORECASE)),
    (
        "a connection string with a password",
        re.compile(r"(?:^|[;\s&?,'\"])(?:password|passwd|pwd|accountkey|sharedaccesskey|secret|api[_-]?key)\s*=\s*[^\s;]", re.ASCII | re.IGNORECASE),
    ),
)
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", re.ASCII)
_NAMES: Final = re.compile(
    r"passwor[dt]|passwd|passphrase|credential|(?:^|_)(?:pwd|secrets?|dsn|(?:api|access|private|secret|signing|encryption)_?keys?"
    r"|(?:access|refresh|auth|bearer|session)_?tokens?|connection_?strings?|(?:database|db|connection)_?(?:url|uri))(?:_|$)",
    re.ASCII,
)


def refuse_secrets(claims: Mapping[str, object]) -> None:
    """Raise SigningRefused, with the place and without the value, for a value that looks like a secret, or a parameter that is called one."""
    for name, value in claims.items():
        _look(value, name, named=name == "parameters")


def _look(value: object, at: str, *, named: bool) -> None:
    match value:
        case str():
            for what, looks in _VALUES:
                if looks.search(value):
                    raise _leak(f"`{at}` looks like {what}")
        case dict():
            if "kty" in value and ("d" in value or "k" in value):
                raise _leak(f"`{at}` looks like a private key")
            for name, member in value.items():
                if named and _NAMES.search("_".join(_WORDS.findall(name)).lower()) and not isinstance(member, bool | None):
                    raise _leak(f"`{at}.{name}` is called like a secret")
                _look(member, f"{at}.{name}", named=named)
        case list():
            for number, member in enumerate(value):
                _look(member, f"{at}[{number}]", named=named)


def _leak(what: str) -> SigningRefused:
    return SigningRefused(f"{what}, and a token is not encrypted: whoever holds it reads its claims; leave it out")
