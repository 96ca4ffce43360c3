"""`inspect`: what a token says, what would be done with it, and what looks like a mistake. Values stay withheld unless asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rowseal import strict
from rowseal.claims import Claims, KeyFacts
from rowseal.cli.report import Report, facts, show, span, withheld
from rowseal.cli.terminal import FAILED, OK, Failed, Options, Terminal, moment
from rowseal.configuration import Configuration, load
from rowseal.errors import AccessRefused, TokenRefused
from rowseal.filters import Operator
from rowseal.gate.keyring import Keys
from rowseal.grants import DashboardGrant, Grant, read_dashboard_grant, read_grant
from rowseal.holder import read_holder
from rowseal.keys import PublicKey, TokenRules, thumbprint
from rowseal.mapping import ClaimMapping
from rowseal.policy import AllOf, AnyOf, Policy, Predicate, Through
from rowseal.revocation import NOTHING, Revoked, StoreDamaged, StoreUnavailable, open_store
from rowseal.tokens import HEADER_DEPTH, PAYLOAD_DEPTH, Verifier

__all__ = ["inspect"]

_TOKEN_LENGTH: Final = 2_000_000  # what `limits.body_token_bytes` is unless told
_LONG: Final = 23 * 3_600  # a signer that takes minutes for days makes no token shorter than one day
_LARGEST_DOUBLE: Final = 2**53  # above it JavaScript's numbers skip integers


def inspect(options: Options, terminal: Terminal) -> int:
    """`inspect`: read one token and report."""
    now = terminal.clock() if options.at is None else moment(options.at, "--at")
    configuration = None if options.config is None else load(options.config)
    token = terminal.token(options.token)
    report = _read(token, now, configuration)
    if configuration is not None:
        _judge(report, token, configuration, now)
    report.warnings += _warnings(report, now)
    shown = report.claims if options.show_values else withheld(report.claims)
    if options.json:
        terminal.facts(facts(report, shown, now))
    else:
        show(report, shown, now, terminal)
    return OK if report.refusal is None else FAILED


def _read(token: str, now: float, configuration: Configuration | None) -> Report:
    """The verifier's own reading of the claims, whoever signed them. Raises TokenRefused or Failed where there is nothing to read.

    `configuration` says what an identity provider's claims mean.
    """
    parts = token.split(".")
    try:
        strict.json_object(strict.from_base64url(parts[0]), depth=HEADER_DEPTH)
        payload = strict.from_base64url(parts[1]) if len(parts) == 3 else b""
    except strict.Malformed:
        payload = b""
    if not payload:
        Verifier([], token_bytes=_TOKEN_LENGTH).verify(token, now=now)  # without keys it refuses everything, and this for its form
        raise Failed("the token has no payload that can be read: send the signer's output unchanged")
    try:
        strict.json_object(payload, depth=PAYLOAD_DEPTH)
    except strict.Malformed as error:
        raise Failed(f"the token's payload cannot be read: {error}") from None
    # both once more, with numbers as `json` writes them again
    header, claims = json.loads(strict.from_base64url(parts[0])), json.loads(payload, parse_float=_float)
    mapping = _mapping(claims, configuration)
    kind = "data access token" if mapping is None else "access token of an identity provider"
    report = Report(kind, header, claims, None, None, judged=False, grant=None)
    verifier, rules, signed_again = _reader(payload, claims, mapping)
    try:
        verified = verifier.verify(signed_again, now=0)
        report.expires_at = verified.expires_at
        report.grant = _grant(verified, rules)
        read_holder(verified.content, rules)
        if isinstance(report.grant, DashboardGrant):
            report.kind = "dashboard access token"
        verifier.verify(signed_again, now=now)
    except TokenRefused as refusal:
        report.refusal = refusal
        if report.grant is None:
            report.kind = f"nothing that can be used: {refusal.detail}"
    return report


def _float(text: str) -> float | str:
    """The number, or its digits where a double would be infinite, which JSON cannot write."""
    number = float(text)
    return number if isfinite(number) else text


def _grant(claims: Claims, rules: TokenRules) -> Grant | DashboardGrant:
    """What the claims grant, read as the kind of token that they are. Raises TokenRefused."""
    if "accessType" in claims.content and claims.content.keys().isdisjoint({"dataSetIds", "secureFilters"}):
        return read_dashboard_grant(claims, rules)
    return read_grant(claims, rules)


def _mapping(claims: Mapping[str, Any], configuration: Configuration | None) -> ClaimMapping | None:
    """How claims are read that say who somebody is, by the entry of their issuer; None for those of a signer of the `vizzly` profile."""
    if "iss" not in claims or not claims.keys().isdisjoint({"dataSetIds", "secureFilters", "accessType"}):
        return None
    for rules in () if configuration is None else configuration.token_rules:
        if rules.mapping is not None and rules.issuer == claims["iss"]:
            return rules.mapping
    return ClaimMapping(("roles",), {}, ()) if "sub" in claims else None


def _reader(payload: bytes, claims: Mapping[str, Any], mapping: ClaimMapping | None) -> tuple[Verifier, TokenRules, str]:
    """A verifier of the claims alone, and the token for it: the payload signed again, with a key made for the moment.

    So the form of the claims is judged by the code that judges every token. It takes any life, any start and any audience.
    """
    key = Ed25519PrivateKey.generate()
    facts = KeyFacts("inspect", "vizzly" if mapping is None else "oidc")
    audience = claims.get("aud")
    rules = TokenRules(
        profile=facts.profile,
        keys=(PublicKey(facts, "EdDSA", thumbprint(key.public_key()), key.public_key()),),
        max_lifetime=float("inf"),
        leeway=float("inf"),
        audience=str(audience[0] if isinstance(audience, list) and audience else audience) if "aud" in claims else None,
        mapping=mapping,
    )
    signed = ".".join(map(strict.to_base64url, (b'{"alg":"EdDSA"}', payload)))
    return Verifier([rules], token_bytes=2 * _TOKEN_LENGTH), rules, f"{signed}.{strict.to_base64url(key.sign(signed.encode()))}"


_REASONS: Final = {
    "key_unknown": "no key is called what the token's `kid` says",
    "key_algorithm": "no key of this name has the token's algorithm",
    "signature_wrong": "the signature is not that of the key",
    "key_not_yet_valid": "the key's time has not come",
    "key_retired": "the key has retired",
    "key_unconfirmed": "whoever publishes the key could not be asked for too long",
}


def _judge(report: Report, token: str, configuration: Configuration, now: float) -> None:
    """What this configuration would do with the token, and with each dataset that it grants."""
    report.judged = True
    verifier = Keys(configuration.token_rules, configuration.limits, clock=lambda: now).ring.body_verifier
    try:
        claims = verifier.verify(token, now=now)
        rules = verifier.rules_of(claims)
        grant = _grant(claims, rules)
        read_holder(claims.content, rules)
        revoked = _revoked(configuration)
    except TokenRefused as refusal:
        report.refusal = refusal
        if refusal.reason is not None:
            named = "" if refusal.key is None else f" (`{refusal.key}`)"
            report.warnings.append(f"{_REASONS[refusal.reason]}{named}; its bearer is not told")
        return
    if revoked.refuses(claims, grant.user_reference if isinstance(grant, DashboardGrant) else grant.subject):
        report.refusal = TokenRefused("token_revoked")
        return
    report.grant, report.refusal = grant, None
    if claims.key.profile == "oidc" and isinstance(grant, Grant) and not grant.dataset_ids:
        report.warnings.append("none of its roles stands in the configuration, or it has none: it opens nothing")
    if isinstance(grant, DashboardGrant):
        return
    for catalog in configuration.catalogs.values():
        policy = Policy(grant, catalog, revoked.closed(claims.issued_at))
        for dataset in catalog.datasets.values():
            if grant.dataset_ids is None or dataset.id in grant.dataset_ids:
                try:
                    report.datasets[dataset.id] = _rows(policy.rows(dataset).predicate) or "every row"
                except AccessRefused as refusal:
                    report.datasets[dataset.id] = refusal
    report.warnings += _strangers(grant, frozenset(dataset for catalog in configuration.catalogs.values() for dataset in catalog.datasets))
    if len(token) > configuration.limits.token_bytes:
        report.warnings.append(f"longer than `limits.token_bytes` ({configuration.limits.token_bytes}): accepted in a body only, where that is configured")


def _revoked(configuration: Configuration) -> Revoked:
    """What is revoked now. Raises TokenRefused where that cannot be known, as a server would."""
    if configuration.state is None:
        return NOTHING
    store = open_store(configuration.state)
    try:
        return store.read() or NOTHING
    except (StoreUnavailable, StoreDamaged):
        raise TokenRefused("state_unavailable") from None
    finally:
        store.close()


def _rows(predicate: Predicate) -> str:
    """The rows that a predicate lets through, without its values."""
    match predicate:
        case AllOf(parts):
            return " and ".join(_rows(part) for part in parts)
        case AnyOf(parts):
            return f"({' or '.join(_rows(part) for part in parts)})"
        case Through(parent, _):
            return f"its row of `{parent.dataset.id}` is open"
        case condition:
            value = "" if condition.op in {Operator.IS_NULL, Operator.IS_NOT_NULL} else " ..."
            return f"{condition.field.id} {condition.op.value}{value}"


def _strangers(grant: Grant, known: frozenset[str]) -> Iterator[str]:
    """Names in the token that grant and restrict nothing here."""
    ids = grant.dataset_ids or frozenset()
    if unknown := sorted(ids - known):
        yield f"`dataSetIds` names what is no dataset here, and grants nothing by it: {_listed(unknown)}"
    if unknown := sorted(grant.filters.keys() - known):
        yield f"`secureFilters` names what is no dataset here, and restricts nothing by it: {_listed(unknown)}"


def _warnings(report: Report, now: float) -> Iterator[str]:
    """What is allowed and yet probably not meant."""
    claims, grant = report.claims, report.grant
    if str(report.header.get("alg", "none")).lower() == "none":
        yield "the token is not signed: no server may accept it"
    if report.expires_at is not None:
        begun = claims.get("iat", now)
        lives = report.expires_at - (begun if isinstance(begun, int | float) and not isinstance(begun, bool) else now)
        if lives > _LONG:
            yield f"lives {span(lives)}; if {span(lives / 1440)} were meant, the signer took minutes for days (1440 times)"
    filters = claims.get("secureFilters")
    for name, written in filters.items() if isinstance(filters, dict) else ():
        if isinstance(written, list) and len(written) > 1 and all(isinstance(each, dict) for each in written):
            yield f"the filters of `{name}` are a flat list, which engines read as AND or as OR: write [[A, B]] or [[A], [B]]"
    if isinstance(grant, DashboardGrant):
        yield from _of_dashboards(grant)
    elif grant is not None:
        if grant.dataset_ids is None and not report.judged:
            yield "grants every dataset; those without a filter in the token are refused here unless they are public, and open on other engines"
        if grant.key.profile == "oidc":
            if not report.judged:
                yield "says who somebody is: what that opens stands in the configuration (write `--config datasets.yaml`)"
        elif bare := sorted((grant.dataset_ids or frozenset()) - grant.filters.keys()):
            yield f"granted without a filter, so refused here unless public or read through a parent, and open on other engines: {_listed(bare)}"
        if grant.dataset_ids is not None and (closed := sorted(grant.filters.keys() - grant.dataset_ids)):
            yield f"filtered but not granted: {_listed(closed)}"
    for path in _beyond(claims, ""):
        yield f"`{path}` is a whole number beyond 2**53, which signers in JavaScript round: check it, or sign it as a string on an `exact: true` field"


def _of_dashboards(grant: DashboardGrant) -> Iterator[str]:
    yield "opens no rows: where a data access token belongs it is refused with `token_kind`"
    if grant.access_type == "editor":
        yield "`editor` is the older word for `admin`: its bearer manages what everybody sees, if the scope lets them write"
    if grant.scope is None:
        yield "has no `scope`: permits reading only here, and writing on other engines"
    if grant.dashboard_id is None and grant.parent_dashboard_ids is None:
        yield "names no dashboard: covers none here, and each of its project on other engines"


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _beyond(value: object, path: str) -> Iterator[str]:
    """Where whole numbers stand that a double does not hold for certain; a list of such counts once."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _beyond(member, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        if any(isinstance(member, int) and abs(member) >= _LARGEST_DOUBLE for member in value):
            yield path
        for number, member in enumerate(value):
            if isinstance(member, dict | list):
                yield from _beyond(member, f"{path}[{number}]")
    elif isinstance(value, int) and abs(value) >= _LARGEST_DOUBLE:
        yield path
