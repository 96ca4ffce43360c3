"""Sign the tokens that rowseal verifies: what the customer's server calls once its own login has succeeded.

What leaves here is what the verifier reads: the payload is parsed and judged by the verifier's own grammar before it is signed,
so a mistake is found where it is made and not at the first query.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeVar

from jwt.algorithms import get_default_algorithms

from rowseal import strict
from rowseal.catalog import Catalog
from rowseal.claims import Claims, KeyFacts
from rowseal.errors import AccessRefused, TokenRefused
from rowseal.filters import FlatFilters
from rowseal.grants import Grant, read_dashboard_grant, read_grant
from rowseal.keys import TokenRules, pin_algorithm, thumbprint
from rowseal.policy import Policy
from rowseal.private_keys import PrivateKey, read_private_key, signing_key
from rowseal.tokens import PAYLOAD_DEPTH

__all__ = ["Signer", "SigningRefused"]

# A week is the longest life that the vendor's documentation shows; verifiers allow two hours unless told otherwise.
LONGEST_TTL_IN_MINUTES: Final = 7 * 24 * 60

# Browsers' atob, with which the vendor's dashboards peek into a token, knows neither `-` nor `_`. In base64 of ASCII only these
# four characters produce them, and JSON can spell each of them as an escape.
_ATOB: Final = {ord(character): f"\\u{ord(character):04x}" for character in ">~?\x7f"}
_Read = TypeVar("_Read")
_KEY_FACTS: Final = KeyFacts(id="signing", profile="vizzly")


class SigningRefused(ValueError):
    """These claims are not signed, because the verifier would refuse them or they say something else than was meant."""


class Signer:
    """Signs dashboard and data access tokens with one private key. Holds nothing else: one serves all threads."""

    def __init__(
        self,
        private_key: str | bytes | PrivateKey,
        ttl_in_minutes: float = 15,
        *,
        algorithm: str | None = None,
        catalogs: Mapping[str, Catalog] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Read the private key: PEM (PKCS #8, SEC 1 or PKCS #1, not encrypted) or a key object of `cryptography`.

        `ttl_in_minutes` is the tokens' life, more than 0 and at most a week of minutes. `algorithm` chooses among those of an RSA
        key (RS256 unless told); every other key has one. With `catalogs` (a gate's), filters are also judged against their fields,
        types and guards. `clock` gives epoch seconds. Raises KeyRefused for the key, SigningRefused for the life.
        """
        if isinstance(ttl_in_minutes, bool) or not isinstance(ttl_in_minutes, int | float) or not 0 < ttl_in_minutes <= LONGEST_TTL_IN_MINUTES:
            raise SigningRefused(f"`ttl_in_minutes` must be a number of minutes above 0 and at most {LONGEST_TTL_IN_MINUTES}")
        self._key: PrivateKey = read_private_key(private_key) if isinstance(private_key, str | bytes) else signing_key(private_key)
        public = self._key.public_key()
        self._algorithm = pin_algorithm(public, algorithm)
        self._header = {"alg": self._algorithm, "kid": thumbprint(public)}
        self._method: Any = get_default_algorithms()[self._algorithm]
        self._seconds = ttl_in_minutes * 60
        self._catalogs = catalogs
        self._clock = clock

    def generate_tokens(
        self,
        *,
        user_reference: str,
        data_set_ids: Sequence[str] | Literal["*"],
        secure_filters: Mapping[str, Sequence[object]],
        access_type: Literal["standard", "admin", "editor"] = "standard",
        scope: Literal["read", "read_write"] = "read_write",
        organisation_id: str | None = None,
        dashboard_id: str | None = None,
        project_id: str | None = None,
        parent_dashboard_ids: Sequence[str] | None = None,
        parameters: Mapping[str, object] | None = None,
    ) -> dict[str, str]:
        """The `dashboardAccessToken` and the `dataAccessToken` of one person, under those names. Raises SigningRefused.

        Claims and their names follow the vendor's self-sign page. Name the place by `project_id` (and `parent_dashboard_ids`), or
        as before October 2023 by `organisation_id` (and `dashboard_id`). `editor` is the older word for `admin`.
        `secure_filters` maps a dataset id to `[[A, B], [C]]`, (A AND B) OR C, each filter {field, op, value}. A flat list of two or
        more filters is refused: verifiers have read it both ways.
        """
        if access_type not in {"standard", "admin", "editor"}:
            raise SigningRefused("`access_type` must be `standard` or `admin`")
        if scope not in {"read", "read_write"}:
            raise SigningRefused("`scope` must be `read` or `read_write`")
        place = _place(organisation_id, dashboard_id, project_id, parent_dashboard_ids)
        now = self._clock()
        expires_at = now + self._seconds
        expires = datetime.fromtimestamp(math.floor(expires_at * 1000) / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        dashboard = {
            "accessType": "standard" if access_type == "standard" else "admin",
            **place,
            "userReference": _text(user_reference, "user_reference"),
            "scope": scope,
            "expires": expires,
        }
        data: dict[str, object] = {"dataSetIds": data_set_ids, "secureFilters": secure_filters, "expires": expires}
        if project_id is not None:
            data = {"projectId": project_id, **data}
        if parameters is not None:
            data["parameters"] = parameters
        payloads = {"dashboardAccessToken": _dump(dashboard), "dataAccessToken": _dump(data)}
        _read_back(payloads["dashboardAccessToken"], expires_at, read_dashboard_grant)
        grant = _read_back(payloads["dataAccessToken"], expires_at, read_grant)
        if self._catalogs is not None:
            _check_datasets(grant, self._catalogs.values())
        return {name: self._sign(payload) for name, payload in payloads.items()}

    def _sign(self, payload: bytes) -> str:
        signed = f"{strict.to_base64url(_dump(self._header))}.{strict.to_base64url(payload)}"
        return f"{signed}.{strict.to_base64url(self._method.sign(signed.encode(), self._key))}"


def _read_back(payload: bytes, expires_at: float, reader: Callable[[Claims, TokenRules], _Read]) -> _Read:
    """Read the payload as the verifier will. Raises SigningRefused."""
    try:
        content = strict.json_object(payload, depth=PAYLOAD_DEPTH)
        claims = Claims(key=_KEY_FACTS, content=content, expires_at=expires_at, digest="")
        return reader(claims, TokenRules(profile=_KEY_FACTS.profile, keys=(), flat_filters=FlatFilters.REJECT))
    except strict.Malformed as error:
        raise SigningRefused(f"the claims cannot be signed: {error}") from None
    except TokenRefused as refusal:
        raise SigningRefused(f"{refusal.detail}: {refusal.hint}") from None


def _place(organisation_id: str | None, dashboard_id: str | None, project_id: str | None, parent_dashboard_ids: Sequence[str] | None) -> dict[str, object]:
    if (organisation_id is None) == (project_id is None):
        raise SigningRefused("name exactly one place: `project_id`, or the older `organisation_id`")
    if project_id is not None:
        if dashboard_id is not None:
            raise SigningRefused("`dashboard_id` belongs to `organisation_id`: write `parent_dashboard_ids`")
        if isinstance(parent_dashboard_ids, str):
            raise SigningRefused("`parent_dashboard_ids` must be a list of ids")
        parents = None if parent_dashboard_ids is None else [_text(item, "parent_dashboard_ids") for item in parent_dashboard_ids]
        return {"projectId": _text(project_id, "project_id"), **({} if parents is None else {"parentDashboardIds": parents})}
    if parent_dashboard_ids is not None:
        raise SigningRefused("`parent_dashboard_ids` belongs to `project_id`: write `dashboard_id`")
    dashboard = {} if dashboard_id is None else {"dashboardId": _text(dashboard_id, "dashboard_id")}
    return {"organisationId": _text(organisation_id, "organisation_id"), **dashboard}


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise SigningRefused(f"`{name}` must be a string of at least one character")
    return value


def _dump(claims: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(_plain(claims), separators=(",", ":"), allow_nan=False).translate(_ATOB).encode("ascii")
    except (ValueError, RecursionError):
        raise SigningRefused("the claims hold NaN, Infinity or themselves, which JSON cannot carry") from None


def _plain(value: object) -> object:
    """Lists and objects of JSON's own types. `json` would turn a key 1 into "1", and quietly sign other claims than were given."""
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise SigningRefused("names of claims, dataset ids and filter members must be strings")
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise SigningRefused(f"a value of type `{type(value).__name__}` has no one spelling in JSON: write a string, number, true or false")


def _check_datasets(grant: Grant, catalogs: Iterable[Catalog]) -> None:
    named = set(grant.filters) | (grant.dataset_ids or set())
    declared = {dataset_id: catalog for catalog in catalogs for dataset_id in catalog.datasets}
    if not named <= declared.keys():
        raise SigningRefused("`data_set_ids` or `secure_filters` name a dataset that datasets.yaml does not declare")
    if grant.dataset_ids is not None and not grant.filters.keys() <= grant.dataset_ids:
        raise SigningRefused("`secure_filters` has filters for a dataset that `data_set_ids` does not grant")
    for dataset_id in sorted(named):
        catalog = declared[dataset_id]
        try:
            Policy(grant, catalog).rows(catalog.datasets[dataset_id])
        except AccessRefused as refusal:
            raise SigningRefused(f"dataset `{dataset_id}`: {refusal.detail}: {refusal.hint}") from None
