"""Claims -> Grant: what the bearer may do, in one vocabulary for every vendor. One small module a token profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from rowseal.claims import Claims
from rowseal.errors import OurBug
from rowseal.grants import vizzly
from rowseal.grants.grant import Grant
from rowseal.keys import TokenRules

__all__ = ["PROFILES", "Grant", "read_grant"]

PROFILES: Final[Mapping[str, Callable[[Claims, TokenRules], Grant]]] = MappingProxyType({"vizzly": vizzly.read})
"""Every token profile that datasets.yaml may name, with its reader."""


def read_grant(claims: Claims, rules: TokenRules) -> Grant:
    """The grant of verified claims, read by the profile that the key's rules name, never by the token. Raises TokenRefused."""
    reader = PROFILES.get(rules.profile)
    if reader is None:
        raise OurBug(f"no reader for the profile {rules.profile!r}, which the configuration should have refused")
    return reader(claims, rules)
