"""Claims -> Grant: what the bearer may do, in one vocabulary for every vendor. One small module a token profile."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from rowseal.claims import Claims
from rowseal.errors import OurBug, TokenRefused
from rowseal.grants import dashboard, oidc, vizzly
from rowseal.grants.dashboard import DashboardGrant
from rowseal.grants.grant import Claimed, Grant
from rowseal.keys import TokenRules
from rowseal.mapping import found, shown

__all__ = ["DASHBOARD_PROFILES", "IGNORED", "PROFILES", "TYPES", "Claimed", "DashboardGrant", "Grant", "filter_paths", "read_dashboard_grant", "read_grant"]

PROFILES: Final[Mapping[str, Callable[[Claims, TokenRules], Grant]]] = MappingProxyType({"vizzly": vizzly.read, "oidc": oidc.read})
"""Every token profile that datasets.yaml may name, with its reader."""
DASHBOARD_PROFILES: Final[Mapping[str, Callable[[Claims, TokenRules], DashboardGrant]]] = MappingProxyType({"vizzly": dashboard.read_dashboard})
"""Those of them that have a dashboard access token, with its reader."""

TYPES: Final[Mapping[str, frozenset[str]]] = MappingProxyType({"oidc": oidc.TYPES})
"""What `typ` of the header may say, in upper case, where a profile takes more than `JWT`."""
IGNORED: Final[Mapping[str, frozenset[str]]] = MappingProxyType({"oidc": oidc.IGNORED})
"""Members of the header that say nothing here, where a profile takes such."""


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
    """Where each filter of the token stands in the claims, group by group: its own (`secureFilters.orders[0][1]`), then what it claims."""
    _, raw = found(grant.claims, (*grant.filters_path, dataset_id))
    named = f".{dataset_id}" if dataset_id.isidentifier() else f"[{json.dumps(dataset_id)}]"
    places: list[str] = []
    for number, item in enumerate(raw if isinstance(raw, list) else ()):
        places += [f"[{number}][{each}]" for each in range(len(item))] if isinstance(item, list) else [f"[{number}]"]
    own = iter(f"{shown(grant.filters_path)}{named}{place}" for place in places)
    claimed = [shown(each.path) for each in grant.claimed.get(dataset_id, ())]
    groups = grant.filters.get(dataset_id) or ((),)
    return tuple(path for group in groups for path in (*(next(own) for _ in group), *claimed))
