"""A dashboard access token, verified: who may look at which dashboards and change them. It opens no rows and makes no `Access`.

rowseal keeps no dashboards. A host application that does asks here what a token permits, and decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

from rowseal import decisions
from rowseal.claims import Claims
from rowseal.dpop import Seen
from rowseal.errors import TokenRefused
from rowseal.grants import DashboardGrant, read_dashboard_grant
from rowseal.holder import Holder, Presented, read_holder, require
from rowseal.tokens import Verifier

__all__ = ["DashboardAccess", "verify_dashboard"]

# Whether a token is revoked, by its claims and its subject; and that together with the verifier of the configuration that holds now.
_Revoked: TypeAlias = Callable[[Claims, str | None], bool]
_Current: TypeAlias = Callable[[], tuple[Verifier, _Revoked]]

_SEAL: Final = object()
_MEMBER: Final = "dashboardAccessToken"
_SAID: Final = tuple(DashboardGrant.__slots__)


@dataclass(frozen=True, slots=True, init=False)
class DashboardAccess(DashboardGrant):
    """What one verified dashboard access token says (the fields) and permits (the methods). Only `Gate.verify_dashboard` makes one.

    Each method looks at the clock again, and after a reload at the new configuration: it raises TokenRefused once the token has expired
    or would be taken no longer.
    """

    _judge: Callable[[], None] = field(repr=False, compare=False)

    def __init__(self, *_: object, **__: object) -> None:
        raise TypeError("DashboardAccess has no public constructor: ask Gate.verify_dashboard for one")

    @classmethod
    def _sealed(cls, seal: object, grant: DashboardGrant, judge: Callable[[], None]) -> DashboardAccess:
        if seal is not _SEAL:
            raise TypeError("DashboardAccess has no public constructor: ask Gate.verify_dashboard for one")
        access = object.__new__(cls)
        for name in _SAID:
            object.__setattr__(access, name, getattr(grant, name))
        object.__setattr__(access, "_judge", judge)
        return access

    def covers(self, dashboard_id: str) -> bool:
        """Whether the token names this dashboard. False for each where it names none: no empty list means all."""
        self.require_live()
        return dashboard_id == self.dashboard_id or dashboard_id in (self.parent_dashboard_ids or ())

    def can_write(self) -> bool:
        """Whether the bearer may change anything at all: the scope `read_write` was signed. Without a scope there is only reading."""
        self.require_live()
        return self.scope == "read_write"

    def can_manage(self) -> bool:
        """Whether the bearer may change what everybody sees: an admin (in older tokens `editor`) who may write."""
        return self.can_write() and self.access_type in {"admin", "editor"}

    def require_live(self) -> None:
        """Raise TokenRefused if the token has expired by now, or a reloaded configuration does not take it."""
        self._judge()


def verify_dashboard(token: str, current: _Current, *, clock: Callable[[], float], presented: Presented | None, seen: Seen) -> DashboardAccess:
    """Prove who the bearer is, and write the decision. Raises TokenRefused.

    `current` gives the verifier of the configuration that holds now, and what tells who is revoked now; `userReference` is the subject.
    """
    trail = decisions.trail()
    try:
        with trail.stage("verify"):
            access, holder = _verified(token, current, clock)
            require(holder, presented, token=token, now=clock(), seen=seen)
    except TokenRefused as refusal:
        trail.refuse(refusal.code, refusal.status, refusal)
        raise
    decisions.emit(decisions.Decision(trail.request_id, decisions.ALLOWED, 200, token=access.digest[:12], key=access.key.id, stages=trail.stages))
    return access


def _verified(token: str, current: _Current, clock: Callable[[], float]) -> tuple[DashboardAccess, Holder]:
    if not token:
        raise TokenRefused("token_missing", "there is no dashboard access token", hint=f"send the `{_MEMBER}`")
    verifier, revoked = current()
    try:
        claims = verifier.verify(token, now=clock(), member=_MEMBER)
        rules = verifier.rules_of(claims)
        grant, holder = read_dashboard_grant(claims, rules), read_holder(claims.content, rules)
        _check_revoked(claims, grant, revoked)
        return DashboardAccess._sealed(_SEAL, grant, partial(_judge, claims, grant, verifier, current, clock)), holder
    except TokenRefused as refusal:
        if refusal.code != "token_kind":
            raise
        wrong = refusal.detail
    raise TokenRefused("token_kind", wrong, hint=f"send the `{_MEMBER}`")


def _judge(claims: Claims, grant: DashboardGrant, verified_by: Verifier, current: _Current, clock: Callable[[], float]) -> None:
    now, (verifier, revoked) = clock(), current()
    if now >= claims.expires_at:
        raise TokenRefused("token_expired")
    if verifier is not verified_by:
        claims = verifier.judge(claims, now=now)
        rules = verifier.rules_of(claims)
        grant = read_dashboard_grant(claims, rules)
        read_holder(claims.content, rules)
    _check_revoked(claims, grant, revoked)


def _check_revoked(claims: Claims, grant: DashboardGrant, revoked: _Revoked) -> None:
    if revoked(claims, grant.user_reference):
        raise TokenRefused("token_revoked", key=claims.key.id)
