"""What a state makes of the claims that a token was proven to have: its grant, applied to every database, unless it is revoked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rowseal.claims import Claims
from rowseal.errors import TokenRefused
from rowseal.gate import routing
from rowseal.gate.keyring import Keyring
from rowseal.gate.state import State
from rowseal.grants import Grant, read_grant
from rowseal.holder import Holder, read_holder
from rowseal.keys import TokenRules
from rowseal.policy import Policy
from rowseal.revocation import Revoked

__all__ = ["Judged", "judged", "standing"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What one state makes of a token with the keyring of one epoch."""

    epoch: int  # of the keyring
    grant: Grant
    holder: Holder
    policies: Mapping[str, Policy]  # by connection
    reached: tuple[str, ...]  # the connections that its queries may be for
    rules: TokenRules
    revoked: Revoked  # what it was last compared with
    claims: Claims
    closed: frozenset[str]  # the datasets that are revoked for tokens as old as it


def judged(state: State, ring: Keyring, claims: Claims) -> Judged:
    """Read the grant and apply it to every connection. `ring` has the key that proved the claims. Raises TokenRefused."""
    rules = ring.verifier.rules_of(claims)
    grant, holder = read_grant(claims, rules), read_holder(claims.content, rules)
    revoked = state.watch.current()
    # INVARIANT: asked after the signature has proven who signed, so nobody else learns whether a token, an id or a subject exists.
    if revoked.refuses(claims, grant.subject):
        raise TokenRefused("token_revoked", key=claims.key.id)
    closed = revoked.closed(claims.issued_at)
    return Judged(ring.epoch, grant, holder, _policies(state, grant, closed), routing.reached(state, grant), rules, revoked, claims, closed)


def standing(state: State, mine: Judged) -> Judged:
    """What was judged of a token in this state, unless it was revoked since: then TokenRefused. Nearly always one comparison."""
    revoked = state.watch.current()
    if revoked is mine.revoked:
        return mine
    if revoked.refuses(mine.claims, mine.grant.subject):
        raise TokenRefused("token_revoked", key=mine.claims.key.id)
    closed = revoked.closed(mine.claims.issued_at)
    policies = mine.policies if closed == mine.closed else _policies(state, mine.grant, closed)
    return replace(mine, policies=policies, revoked=revoked, closed=closed)


def _policies(state: State, grant: Grant, closed: frozenset[str]) -> Mapping[str, Policy]:
    return {name: Policy(grant, catalog, closed) for name, catalog in state.catalogs.items()}
