"""The `oidc` profile: access tokens of an identity provider (OpenID Connect, RFC 9068), read as the configuration maps their claims.

`iss` and `aud` are demanded by the rules; `sub` is here. Roles say which datasets, attributes say which rows. An identity provider signs
tokens for many purposes with one key, so what is made for another purpose is recognised before anything is granted: an id token, a
refresh token, another vendor's data access token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rowseal.claims import Claims, Json
from rowseal.errors import OurBug, TokenRefused
from rowseal.filters import Filter, FilterMalformed, FilterTree, read_filter
from rowseal.grants.grant import Claimed, Grant
from rowseal.grants.subject import read_subject
from rowseal.grants.vizzly import read_filters
from rowseal.keys import TokenRules
from rowseal.mapping import Attribute, ClaimMapping, ClaimPath, Role, found

__all__ = ["IGNORED", "TYPES", "read"]

# `typ` of the header, in upper case: RFC 9068 section 4 names the last two.
TYPES: Final = frozenset({"JWT", "AT+JWT", "APPLICATION/AT+JWT"})
# Names of the certificate that a key stands in: the key is chosen by `kid`, and proven by the signature.
IGNORED: Final = frozenset({"x5t", "x5t#S256"})
SUBJECT_LENGTH: Final = 256  # characters; OpenID Connect Core section 2 permits 255
ROLES: Final = 1_000
_SUBJECT: Final = ("sub",)
ROLE_LENGTH: Final = 256

# claim -> what a token with it is
_KINDS: Final = {
    "nonce": "an id token",
    "at_hash": "an id token",
    "c_hash": "an id token",
    "s_hash": "an id token",
    "events": "a logout or security event token",
    "dataSetIds": "a data access token of another profile",
    "secureFilters": "a data access token of another profile",
    "accessType": "a dashboard access token",
    "allowDatabaseSchemaAccess": "a query engine access token",
}
# The claims whose string is a list by its standard: RFC 8693 section 4.2, and Microsoft's name of it.
_SPACED: Final = frozenset({("scope",), ("scp",)})


def read(claims: Claims, rules: TokenRules) -> Grant:
    """What the token permits. Raises TokenRefused: token_kind, claim_invalid or filters_malformed."""
    content, mapping = claims.content, rules.mapping
    if mapping is None:
        raise OurBug("tokens of the profile `oidc` without a mapping, which the configuration should have refused")
    _check_kind(content, mapping)
    _check_subject(content)
    roles = [mapping.roles[name] for name in _roles(content, mapping.roles_path) if name in mapping.roles]
    return Grant(
        key=claims.key,
        dataset_ids=frozenset[str]().union(*(role.datasets for role in roles)),
        filters=_filters(content, mapping, rules),
        expires_at=claims.expires_at,
        digest=claims.digest,
        claims=content,
        claimed=_claimed(content, mapping.attributes),
        row_limits=_row_limits(roles),
        explain=any(role.explain for role in roles),
        filters_path=mapping.filters_path or ("secureFilters",),
        subject=read_subject(content, rules.subject or _SUBJECT),
    )


def _check_kind(content: Mapping[str, Json], mapping: ClaimMapping) -> None:
    for claim, kind in _KINDS.items():
        if claim in content and (claim,) != mapping.filters_path:
            raise TokenRefused("token_kind", f"this is {kind} (it has the claim `{claim}`), not an access token", hint=_SEND)
    # Keycloak's word for what the token is. One that is bound to a key says so where the key is (`cnf`), and is asked for its holder.
    if content.get("typ", "Bearer") not in (("Bearer", "DPoP") if "cnf" in content else ("Bearer",)):
        raise TokenRefused("token_kind", "`typ` among the claims says that this is no access token", hint=_SEND)


_SEND: Final = "send the access token that the identity provider issued for this server's audience"


def _check_subject(content: Mapping[str, Json]) -> None:
    subject = content.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_LENGTH:
        raise TokenRefused("claim_invalid", f"`sub` of the token must be a string of 1 to {SUBJECT_LENGTH} characters")


def _roles(content: Mapping[str, Json], path: ClaimPath) -> frozenset[str]:
    """The roles that were signed; none where the claim is absent. A string is one role, whatever stands in it, but for a scope."""
    present, value = found(content, path)
    if not present:
        return frozenset()
    if isinstance(value, str):
        value = list(value.split(" ")) if path in _SPACED else [value]
    if not isinstance(value, list) or len(value) > ROLES:
        raise TokenRefused("claim_invalid", f"the roles of the token must be a string, or a list of at most {ROLES} strings")
    named = frozenset(each for each in value if isinstance(each, str) and len(each) <= ROLE_LENGTH)
    if not all(isinstance(each, str) and each in named for each in value):
        raise TokenRefused("claim_invalid", f"the roles of the token must be strings of at most {ROLE_LENGTH} characters")
    return named


def _claimed(content: Mapping[str, Json], attributes: tuple[Attribute, ...]) -> dict[str, tuple[Claimed, ...]]:
    """By dataset, the filters that the attributes make."""
    claimed: dict[str, tuple[Claimed, ...]] = {}
    for attribute in attributes:
        _, value = found(content, attribute.path)
        made = {field: Claimed(attribute.path, field, _equal(field, value)) for field in set(attribute.fields.values())}
        for dataset_id, field in attribute.fields.items():
            claimed[dataset_id] = (*claimed.get(dataset_id, ()), made[field])
    return claimed


def _equal(field: str, value: Json) -> Filter | None:
    """The field equals the claim, or one of its members; None where the claim says nothing that a row could equal."""
    # INVARIANT: an empty claim is no tenant. Whoever signed one did not mean the rows whose tenant is an empty text.
    if value in ("", []) or (isinstance(value, list) and "" in value):
        return None
    try:
        return read_filter({"field": field, "op": "is_one_of" if isinstance(value, list) else "=", "value": value})
    except FilterMalformed:
        return None


def _row_limits(roles: list[Role]) -> dict[str, int]:
    """By dataset, the longest answer that any of the roles which grant it permits; nothing where one of them sets no bound of its own."""
    limits: dict[str, list[int | None]] = {}
    for role in roles:
        for dataset_id in role.datasets:
            limits.setdefault(dataset_id, []).append(role.rows)
    return {dataset_id: max(each for each in found_ if each is not None) for dataset_id, found_ in limits.items() if None not in found_}


def _filters(content: Mapping[str, Json], mapping: ClaimMapping, rules: TokenRules) -> dict[str, FilterTree]:
    """The token's own filters, where the configuration says that it may bring some."""
    if mapping.filters_path is None:
        return {}
    present, written = found(content, mapping.filters_path)
    return read_filters({"secureFilters": written}, rules.flat_filters) if present else {}
