"""Sign the tokens that rowseal verifies: what the customer's server calls once its own login has succeeded.

What leaves here is what the verifier reads: the payload is parsed and judged by the verifier's own grammar before it is signed,
so a mistake is found where it is made and not at the first query.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias, TypeVar

from jwt.algorithms import get_default_algorithms

from rowseal import strict
from rowseal.catalog import Catalog
from rowseal.claims import Claims, KeyFacts
from rowseal.errors import AccessRefused, TokenRefused
from rowseal.filters import FlatFilters
from rowseal.grants import Grant, read_dashboard_grant, read_grant
from rowseal.holder import read_holder
from rowseal.keys import TokenRules, pin_algorithm, thumbprint
from rowseal.policy import Policy
from rowseal.private_keys import PrivateKey, read_private_key, signing_key
from rowseal.signing.leaks import refuse_secrets
from rowseal.signing.payload import SigningRefused, iso, plain, write
from rowseal.tokens import PAYLOAD_DEPTH

__all__ = ["Signer", "SigningRefused"]

AccessType: TypeAlias = Literal["standard", "admin", "editor"]
Scope: TypeAlias = Literal["read", "read_write"]

# A week is the longest life that the vendor's documentation shows; verifiers allow two hours unless told otherwise.
LONGEST_TTL_IN_MINUTES: Final = 7 * 24 * 60
TEXT_LENGTH: Final = 256  # of names: of people, places, issuers

_Read = TypeVar("_Read")
_KEY_FACTS: Final = KeyFacts(id="signing", profile="vizzly")


class Signer:
    """Signs dashboard and data access tokens with one private key. Holds nothing else: one serves all threads."""

    def __init__(
        self,
        private_key: str | bytes | PrivateKey,
        ttl_in_minutes: float = 15,
        *,
        algorithm: str | None = None,
        catalogs: Mapping[str, Catalog] | None = None,
        issuer: str | None = None,
        audience: str | None = None,
        with_iat: bool = False,
        with_jti: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Read the private key: PEM (PKCS #8, SEC 1 or PKCS #1, not encrypted) or a key object of `cryptography`.

        - `ttl_in_minutes`: the tokens' life, more than 0 and at most a week of minutes.
        - `algorithm`: one of those of an RSA key (RS256 unless told); every other key has one.
        - `catalogs`: a gate's; filters are then also judged against their fields, types and guards.
        - `issuer`, `audience`: signed as `iss` and `aud`, for verifiers that demand them.
        - `with_iat`, `with_jti`: sign when the token was made (seconds since 1970), and a name of its own (a UUID), which helps to revoke it.
        - `clock`: gives epoch seconds.

        Raises KeyRefused for the key, SigningRefused for the rest.
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
        self._issued = {name: _text(value, given) for name, value, given in (("iss", issuer, "issuer"), ("aud", audience, "audience")) if value is not None}
        self._with_iat, self._with_jti = with_iat, with_jti
        self._clock = clock

    def generate_tokens(
        self,
        *,
        user_reference: str,
        data_set_ids: Sequence[str] | Literal["*"],
        secure_filters: Mapping[str, Sequence[object]],
        access_type: AccessType = "standard",
        scope: Scope = "read_write",
        organisation_id: str | None = None,
        dashboard_id: str | None = None,
        project_id: str | None = None,
        parent_dashboard_ids: Sequence[str] | None = None,
        parameters: Mapping[str, object] | None = None,
        subject: str | None = None,
        allowed_origins: Sequence[str] | None = None,
        dpop_thumbprint: str | None = None,
    ) -> dict[str, str]:
        """The `dashboardAccessToken` and the `dataAccessToken` of one person, under those names. Raises SigningRefused.

        Claims and their names follow the vendor's self-sign page. Name the place by `project_id` (and `parent_dashboard_ids`), or
        as before October 2023 by `organisation_id` (and `dashboard_id`). `editor` is the older word for `admin`.
        The rest is as for `sign_data_access_token`; `subject` and the bindings stand in both tokens.
        """
        now = self._clock()
        place = _place(organisation_id, dashboard_id, project_id, parent_dashboard_ids)
        dashboard, data = self._dashboard(place, user_reference, access_type, scope), self._data(project_id, data_set_ids, secure_filters, parameters)
        for claims in (dashboard, data):
            claims.update(self._common(now, subject=subject, allowed_origins=allowed_origins, dpop_thumbprint=dpop_thumbprint))
        return {"dashboardAccessToken": self._signed_dashboard(dashboard, now), "dataAccessToken": self._signed_data(data, now)}

    def sign_data_access_token(
        self,
        *,
        data_set_ids: Sequence[str] | Literal["*"],
        secure_filters: Mapping[str, Sequence[object]],
        project_id: str | None = None,
        parameters: Mapping[str, object] | None = None,
        subject: str | None = None,
        allowed_origins: Sequence[str] | None = None,
        dpop_thumbprint: str | None = None,
    ) -> str:
        """The data access token alone, which opens rows. Raises SigningRefused.

        - `secure_filters`: dataset id -> `[[A, B], [C]]`, (A AND B) OR C, each filter {field, op, value}. A flat list of two or more filters
          is refused: verifiers have read it both ways. A value is a string, a number, a boolean, a date, a datetime with its zone, or a list.
        - `parameters`: values for filters of the configuration, which name them as `parameters.x`.
        - `subject`: who this is, signed as `sub`. It opens nothing; tokens can be revoked by it.
        - `allowed_origins`: the web pages that may use the token. `dpop_thumbprint`: the RFC 7638 name of the key whose holder may.

        What looks like a secret is refused, in any claim: a token is not encrypted.
        """
        now = self._clock()
        more = self._common(now, subject=subject, allowed_origins=allowed_origins, dpop_thumbprint=dpop_thumbprint)
        return self._signed_data(self._data(project_id, data_set_ids, secure_filters, parameters) | more, now)

    def sign_dashboard_access_token(
        self,
        *,
        user_reference: str,
        access_type: AccessType = "standard",
        scope: Scope = "read_write",
        organisation_id: str | None = None,
        dashboard_id: str | None = None,
        project_id: str | None = None,
        parent_dashboard_ids: Sequence[str] | None = None,
        subject: str | None = None,
        allowed_origins: Sequence[str] | None = None,
        dpop_thumbprint: str | None = None,
    ) -> str:
        """The dashboard access token alone, which opens no rows. Raises SigningRefused."""
        now = self._clock()
        place = _place(organisation_id, dashboard_id, project_id, parent_dashboard_ids)
        more = self._common(now, subject=subject, allowed_origins=allowed_origins, dpop_thumbprint=dpop_thumbprint)
        return self._signed_dashboard(self._dashboard(place, user_reference, access_type, scope) | more, now)

    def _common(self, now: float, *, subject: str | None, allowed_origins: Sequence[str] | None, dpop_thumbprint: str | None) -> dict[str, object]:
        """The claims that both kinds of token may have."""
        claims: dict[str, object] = dict(self._issued)
        if subject is not None:
            claims["sub"] = _text(subject, "subject")
        if allowed_origins is not None:
            claims["allowedOrigins"] = allowed_origins
        if dpop_thumbprint is not None:
            claims["cnf"] = {"jkt": dpop_thumbprint}
        if self._with_iat:
            claims["iat"] = math.floor(now)
        if self._with_jti:
            claims["jti"] = str(uuid.uuid4())
        claims["expires"] = iso(datetime.fromtimestamp(math.floor((now + self._seconds) * 1000) / 1000, UTC))
        return claims

    def _data(
        self,
        project_id: str | None,
        data_set_ids: Sequence[str] | Literal["*"],
        secure_filters: Mapping[str, Sequence[object]],
        parameters: Mapping[str, object] | None,
    ) -> dict[str, object]:
        claims: dict[str, object] = {"dataSetIds": data_set_ids, "secureFilters": secure_filters}
        if project_id is not None:
            claims = {"projectId": _text(project_id, "project_id"), **claims}
        return claims if parameters is None else {**claims, "parameters": parameters}

    def _dashboard(self, place: Mapping[str, object], user_reference: str, access_type: AccessType, scope: Scope) -> dict[str, object]:
        if access_type not in {"standard", "admin", "editor"}:
            raise SigningRefused("`access_type` must be `standard` or `admin`")
        if scope not in {"read", "read_write"}:
            raise SigningRefused("`scope` must be `read` or `read_write`")
        who = _text(user_reference, "user_reference")
        return {"accessType": "standard" if access_type == "standard" else "admin", **place, "userReference": who, "scope": scope}

    def _signed_data(self, claims: Mapping[str, object], now: float) -> str:
        token, grant = self._signed(claims, now, read_grant)
        if self._catalogs is not None:
            _check_datasets(grant, self._catalogs.values())
        return token

    def _signed_dashboard(self, claims: Mapping[str, object], now: float) -> str:
        return self._signed(claims, now, read_dashboard_grant)[0]

    def _signed(self, claims: Mapping[str, object], now: float, reader: Callable[[Claims, TokenRules], _Read]) -> tuple[str, _Read]:
        content = plain(claims)
        refuse_secrets(content)
        payload = write(content)
        read = _read_back(payload, now + self._seconds, reader)
        signed = f"{strict.to_base64url(write(self._header))}.{strict.to_base64url(payload)}"
        return f"{signed}.{strict.to_base64url(self._method.sign(signed.encode(), self._key))}", read


def _read_back(payload: bytes, expires_at: float, reader: Callable[[Claims, TokenRules], _Read]) -> _Read:
    """Read the payload as the verifier will. Raises SigningRefused."""
    try:
        content = strict.json_object(payload, depth=PAYLOAD_DEPTH)
        claims = Claims(key=_KEY_FACTS, content=content, expires_at=expires_at, digest="")
        rules = TokenRules(profile=_KEY_FACTS.profile, keys=(), flat_filters=FlatFilters.REJECT)
        read_holder(content, rules)
        return reader(claims, rules)
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
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_LENGTH:
        raise SigningRefused(f"`{name}` must be a string of 1 to {TEXT_LENGTH} characters")
    return value


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
