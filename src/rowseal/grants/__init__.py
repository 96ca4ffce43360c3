"""Claims -> Grant: what the bearer may do, in one vocabulary for every vendor. One small module a token profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from rowseal.claims import Claims, Json
from rowseal.errors import OurBug, TokenRefused
from rowseal.grants import dashboard, vizzly
from rowseal.grants.dashboard import DashboardGrant
from rowseal.grants.grant import Grant
from rowseal.keys import TokenRules

__all__ = ["DASHBOARD_PROFILES", "PROFILES", "DashboardGrant", "Grant", "filter_paths", "read_dashboard_grant", "read_grant"]

PROFILES: Final[Mapping[str, Callable[[Claims, TokenRules], Grant]]] = MappingProxyType({"vizzly": vizzly.read})
"""Every token profile that datasets.yaml may name, with its reader."""
DASHBOARD_PROFILES: Final[Mapping[str, Callable[[Claims, TokenRules], DashboardGrant]]] = MappingProxyType({"vizzly": dashboard.read_dashboard})
"""Those of them that have a dashboard access token, with its reader."""
_FILTER_PATHS: Final[Mapping[str, Callable[[Mapping[str, Json], str], tuple[str, ...]]]] = MappingProxyType({"vizzly": vizzly.filter_paths})


def read_grant(claims: Claims, rules: TokenRules) -> Grant:
    """The grant of verified claims, read by the profile that the key's rules name, never by the token. Raises TokenRefused."""
    reader = PROFILES.get(rules.profile)
    if reader is None:
        raise OurBug(f"no reader for the profile {rules.profile!r}, which the configuration should have refused")
    return reader(claims, rules)


def read_dashboard_grant(claims: Claims, rules: TokenRules) -> DashboardGrant:
    """The same for the verified claims of a dashboard access token. Raises TokenRefused."""
    reader = DASHBOARD_PROFILES.get(rules.profile)
    if reader is None:
        raise TokenRefused("token_kind", "the key that signed this belongs to a profile without dashboard access tokens")
    return reader(claims, rules)


def filter_paths(grant: Grant, dataset_id: str) -> tuple[str, ...]:
    """Where each filter of `grant.filters[dataset_id]` stands in the claims, in the order of that tree; nothing where it has none."""
    return _FILTER_PATHS[grant.key.profile](grant.claims, dataset_id)
