"""The `vizzly` profile: Vizzly's dashboard access token, which says who uses which dashboards and may change them. It opens no rows.

Claims (vendor's pages identity/self-sign and concepts/access-type): `accessType`, `userReference`, `expires`, a place (`projectId`, or
`organisationId` before October 2023), optionally `scope`, `parentDashboardIds` (before: `dashboardId`). The vendor's words and what they
permit are kept apart: the fields hold what was signed, and `dashboard.DashboardAccess` says what follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from rowseal.claims import Claims, Json, KeyFacts
from rowseal.errors import TokenRefused
from rowseal.grants.vizzly import check_kind, check_project
from rowseal.keys import TokenRules

__all__ = ["DashboardGrant", "read_dashboard"]

AccessType: TypeAlias = Literal["admin", "editor", "standard"]
Scope: TypeAlias = Literal["read", "read_write"]

_ACCESS_TYPES: Final[Mapping[str, AccessType]] = {"admin": "admin", "editor": "editor", "standard": "standard"}
_SCOPES: Final[Mapping[str, Scope]] = {"read": "read", "read_write": "read_write"}

DASHBOARDS: Final = 1_000
TEXT_LENGTH: Final = 256  # characters of a reference or an id


@dataclass(frozen=True, slots=True)
class DashboardGrant:
    """What a dashboard access token says, as signed.

    `access_type` is `editor` where a signer still used the older word for `admin`. `scope` is None where the token has none.
    `parent_dashboard_ids` is None where the token names none: then nothing but its project bounds it. Times in epoch seconds.
    """

    key: KeyFacts
    access_type: AccessType
    scope: Scope | None
    user_reference: str = field(repr=False)
    project_id: str | None
    organisation_id: str | None
    dashboard_id: str | None
    parent_dashboard_ids: frozenset[str] | None
    expires_at: float
    digest: str


def read_dashboard(claims: Claims, rules: TokenRules) -> DashboardGrant:
    """What the token says. Raises TokenRefused: token_kind, claim_invalid or issuer_refused."""
    content = claims.content
    check_kind(content, "a dashboard access token")
    check_project(content, rules)
    project_id, organisation_id = _text(content, "projectId"), _text(content, "organisationId")
    if project_id is None and organisation_id is None:
        raise _wrong("`projectId` of the token is missing", "sign the project as `projectId`")
    user_reference = _text(content, "userReference")
    if user_reference is None:
        raise _wrong("`userReference` of the token is missing", "sign the host application's own name of the person as `userReference`")
    return DashboardGrant(
        key=claims.key,
        access_type=_access_type(content),
        scope=_scope(content),
        user_reference=user_reference,
        project_id=project_id,
        organisation_id=organisation_id,
        dashboard_id=_text(content, "dashboardId"),
        parent_dashboard_ids=_parents(content),
        expires_at=claims.expires_at,
        digest=claims.digest,
    )


def _access_type(content: Mapping[str, Json]) -> AccessType:
    said = content.get("accessType")
    if isinstance(said, str) and said in _ACCESS_TYPES:
        return _ACCESS_TYPES[said]
    raise _wrong("`accessType` of the token is not `standard` or `admin`", "sign `accessType` as `standard`, or as `admin` for who manages dashboards")


def _scope(content: Mapping[str, Json]) -> Scope | None:
    if "scope" not in content:
        return None
    said = content["scope"]
    if isinstance(said, str) and said in _SCOPES:
        return _SCOPES[said]
    raise _wrong("`scope` of the token is not `read` or `read_write`", "sign `scope` as `read` or `read_write`")


def _parents(content: Mapping[str, Json]) -> frozenset[str] | None:
    ids = content.get("parentDashboardIds")
    if ids is None:
        return None
    named = frozenset(each for each in ids if isinstance(each, str) and 0 < len(each) <= TEXT_LENGTH) if isinstance(ids, list) else frozenset()
    if not isinstance(ids, list) or not 0 < len(ids) <= DASHBOARDS or not all(isinstance(each, str) and each in named for each in ids):
        raise _wrong(
            "`parentDashboardIds` of the token is not a list of ids",
            f"sign 1 to {DASHBOARDS} ids of at most {TEXT_LENGTH} characters, or leave `parentDashboardIds` out",
        )
    return named


def _text(content: Mapping[str, Json], claim: str) -> str | None:
    if claim not in content:
        return None
    value = content[claim]
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_LENGTH:
        raise _wrong(f"`{claim}` of the token must be a string of 1 to {TEXT_LENGTH} characters", f"sign `{claim}` as such a string, or leave it out")
    return value


def _wrong(detail: str, hint: str) -> TokenRefused:
    return TokenRefused("claim_invalid", detail, hint=hint)
