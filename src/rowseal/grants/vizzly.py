"""The `vizzly` profile: Vizzly's data access token.

Claims (vendor's pages identity/self-sign and identity/properties): `dataSetIds`, `secureFilters`, `expires`, optionally
`parameters` and `projectId`. Nothing but their shape tells the vendor's tokens apart, and one key signs them all, so a
dashboard token or a query engine token must be recognised before anything is granted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from rowseal.claims import Claims, Json
from rowseal.errors import TokenRefused
from rowseal.filters import FilterMalformed, FilterTree, FlatFilters, read_tree
from rowseal.grants.grant import Grant
from rowseal.grants.subject import read_subject
from rowseal.keys import TokenRules

__all__ = ["check_kind", "check_project", "read", "read_dataset_ids", "read_filters"]

DATASETS: Final = 10_000
DATASET_ID_LENGTH: Final = 256  # characters

# claim -> the kind of token that carries it; a token of one kind carries no claim of another
_KINDS: Final = {
    "dataSetIds": "a data access token",
    "secureFilters": "a data access token",
    "accessType": "a dashboard access token",
    "scope": "a dashboard access token",
    "parentDashboardIds": "a dashboard access token",
    "allowDatabaseSchemaAccess": "a query engine access token",
    "allowDataPreviewAccess": "a query engine access token",
    "allowDatabaseWriteAccess": "a query engine access token",
    "resources": "a project access token",
    "dataAccessToken": "an object of several tokens",
    "dashboardAccessToken": "an object of several tokens",
}
# claim of a generation before tokens as they are -> what to sign instead
_RETIRED: Final = {
    "dataSets": "`dataSets` is the claim of 2022: sign the ids as `dataSetIds`",
    "filter": "a filter signed by itself is of 2022: sign `dataSetIds` and `secureFilters` in one token",
}
_SHOWN_ID: Final = re.compile(r"[\w .:/=+-]{1,64}", re.ASCII)


def read(claims: Claims, rules: TokenRules) -> Grant:
    """What the token permits. Raises TokenRefused: token_kind, claim_invalid, issuer_refused or filters_malformed."""
    content = claims.content
    check_kind(content, "a data access token")
    check_project(content, rules)
    dataset_ids = read_dataset_ids(content)
    return Grant(
        key=claims.key,
        dataset_ids=dataset_ids,
        filters=read_filters(content, rules.flat_filters),
        expires_at=claims.expires_at,
        digest=claims.digest,
        claims={**content, "parameters": _parameters(content)},
        subject=None if rules.subject is None else read_subject(content, rules.subject),
    )


def read_dataset_ids(content: Mapping[str, Json]) -> frozenset[str] | None:
    """`dataSetIds`: None for exactly the string `"*"` (every dataset), else the ids of the list. Raises TokenRefused."""
    ids = content.get("dataSetIds")
    if ids == "*":
        return None
    for retired, hint in _RETIRED.items():
        if ids is None and retired in content:
            raise TokenRefused("claim_invalid", "the token has claims that no engine reads any more", hint=hint)
    if not isinstance(ids, list) or not ids:
        raise TokenRefused("claim_invalid", '`dataSetIds` of the token must be a list of at least one id, or the string `"*"`')
    if len(ids) > DATASETS:
        raise TokenRefused("claim_invalid", f"`dataSetIds` of the token holds more than {DATASETS} ids")
    if "*" in ids:
        raise TokenRefused("claim_invalid", '`dataSetIds` of the token holds "*" in a list', hint='sign the string `"*"` itself to grant every dataset')
    named = frozenset(item for item in ids if isinstance(item, str) and 0 < len(item) <= DATASET_ID_LENGTH)
    if not all(isinstance(item, str) and item in named for item in ids):
        raise TokenRefused("claim_invalid", f"`dataSetIds` of the token must hold strings of 1 to {DATASET_ID_LENGTH} characters")
    return named


def read_filters(content: Mapping[str, Json], flat: FlatFilters) -> dict[str, FilterTree]:
    """`secureFilters`: the tree of each dataset id. An empty list gives that dataset no filter, so no entry here. Raises TokenRefused."""
    raw = content.get("secureFilters")
    if not isinstance(raw, dict):
        raise TokenRefused("claim_invalid", "`secureFilters` of the token must be an object: dataset id -> list of filters")
    if "*" in raw:
        # Restricting nothing would be the other reading; on a public dataset that would show rows the signer meant to hide.
        raise TokenRefused(
            "filters_malformed", '`secureFilters` of the token has the key `"*"`, which is no dataset', hint="sign filters for each dataset by its id"
        )
    trees = {}
    for dataset_id, filters in raw.items():
        if filters == []:
            continue
        try:
            trees[dataset_id] = read_tree(filters, flat)
        except FilterMalformed as error:
            shown = dataset_id if _SHOWN_ID.fullmatch(dataset_id) else "..."
            raise TokenRefused("filters_malformed", f"`secureFilters.{shown}{error.path}` {error.reason}") from None
    return trees


def _parameters(content: Mapping[str, Json]) -> dict[str, Json]:
    parameters = content.get("parameters")
    if parameters is None:  # one of the vendor's signers writes null for none
        return {}
    if not isinstance(parameters, dict):
        raise TokenRefused("claim_invalid", "`parameters` of the token must be an object")
    return parameters


def check_kind(content: Mapping[str, Json], wanted: str) -> None:
    """Refuse what is, or may be, another kind of token than `wanted` (a value of `_KINDS`). Raises TokenRefused: token_kind."""
    found = False
    for claim, kind in _KINDS.items():
        if claim in content:
            if kind != wanted:
                raise TokenRefused("token_kind", f"this is {kind} (it has the claim `{claim}`), not {wanted}")
            found = True
    if not found and ("sub" in content or "nonce" in content):
        raise TokenRefused("token_kind", f"this looks like the token of a login, not {wanted}")


def check_project(content: Mapping[str, Json], rules: TokenRules) -> None:
    """The claims of where a token belongs. Raises TokenRefused: claim_invalid or issuer_refused."""
    for claim in ("projectId", "organisationId", "dashboardId"):
        if claim in content and not isinstance(content[claim], str):
            raise TokenRefused("claim_invalid", f"`{claim}` of the token must be a string")
    if rules.project_id is not None and content.get("projectId") != rules.project_id:
        raise TokenRefused("issuer_refused", "`projectId` of the token is not the configured project")
