"""Every refusal of a token (401), and the cure that its hint names."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import jwt
from sqlalchemy import make_url

from asgi import Answer, ask
from cures import Action, Refusal
from place import OWN, Place, key, public_pem
from proofs import bound, proof
from rowseal import Presented
from rowseal.revocation import Kind, Revocation, RevocationFile, StateDatabase

__all__ = ["TOKENS", "ended"]

IDS: Final = "SELECT order_id FROM orders"
BODY: Final = json.dumps({"sql": IDS}).encode()
OTHER: Final = {"orders": [[{"field": "user_id", "op": "=", "value": 8}]]}


def verified(change: Any = None, **claims: Any) -> Action:
    """Verify a token of these claims, signed by any library, under this configuration. Claims about time are made when it is signed."""
    return lambda place: place.gate(change).verify(place.sign(**{name: value() if callable(value) else value for name, value in claims.items()}))


def of_dashboards(**claims: Any) -> Action:
    """The same for a dashboard access token."""
    said = {"accessType": "standard", "scope": "read", "projectId": "prj_1", "userReference": "user 7", "dataSetIds": ..., "secureFilters": ...}
    return lambda place: place.gate().verify_dashboard(place.sign(**(said | claims)))


def verify(make: Any, change: Any = None) -> Action:
    """Verify what `make` gives for a place."""
    return lambda place: place.gate(change).verify(make(place))


def asked(place: Place, *, headers: Any = (), query: bytes = b"", **settings: Any) -> Answer:
    return ask(place.app(**settings), "/query", headers=headers, query=query, body=BODY)


def bearer(place: Place, **over: Any) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {place.token(**over)}")]


def tokens(**settings: Any) -> Any:
    return lambda document: document["tokens"][0].update(settings)


def limits(**settings: Any) -> Any:
    return lambda document: document.update(limits=settings)


def ended(kind: Kind, *, before: float, name: str = "user 7", taken_back: bool = False) -> Action:
    """Ask with a token that is two minutes old, when what was issued before `before` seconds from now was revoked."""

    def act(place: Place) -> object:
        now = time.time()
        store = RevocationFile(place.folder / "revoked")
        store.create()
        store.append(Revocation(kind, name, now + before, now))
        if taken_back:
            store.rewrite(lambda _: [])
        gate = place.gate(lambda document: (tokens(subject="sub")(document), document.update(state={"file": "revoked"})))
        return gate.verify(place.sign(sub="user 7", iat=int(now) - 120)).execute(IDS)

    return act


def used(later: float, *, afresh: bool = False, **settings: Any) -> Action:
    """Verify a token, and the same or a fresh one some seconds later."""

    def act(place: Place) -> object:
        with closing(sqlite3.connect(place.folder / "state.db")):
            store = StateDatabase(make_url(f"sqlite:///{place.folder / 'state.db'}"), "revoked")
            store.create()
            store.close()
        now = [time.time()]
        state = {"database": "sqlite:///state.db", "table": "revoked"}
        gate = place.gate(lambda document: (tokens(**settings)(document), document.update(state=state)), clock=lambda: now[0])
        first, second = (place.sign(jti=name, iat=int(now[0]), exp=int(now[0]) + 6000) for name in "ab")
        gate.verify(first).execute(IDS)
        now[0] += later
        return gate.verify(second if afresh else first).execute(IDS)

    return act


def unreadable(*, again: bool) -> Action:
    """Ask while nobody can know what is revoked, or afterwards."""

    def act(place: Place) -> object:
        store = RevocationFile(place.folder / "revoked")
        store.create()
        gate = place.gate(lambda document: document.update(state={"file": "revoked", "poll": "1h", "max_stale": "2h"}))
        whole = (place.folder / "revoked").read_bytes()
        (place.folder / "revoked").write_bytes(b"")
        gate._state.watch.look()
        if again:
            (place.folder / "revoked").write_bytes(whole)
            gate._state.watch.look()
        return gate.verify(place.token()).execute(IDS)

    return act


def at(minutes: float) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=minutes)


def add_key(name: str) -> Any:
    return lambda document: document["tokens"][0]["keys"].append({"id": name, "public_key": public_pem(name)})


def documented(place: Place) -> Any:
    """The claims that docs/reference/claims.md shows, as of now."""
    page = (Path(__file__).resolve().parents[2] / "docs/reference/claims.md").read_text(encoding="utf-8")
    claims = json.loads(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0])
    claims["expires"] = at(10).isoformat()
    return place.gate().verify(jwt.encode(claims, key("shop"), algorithm="ES256"))


def presented(how: Presented, change: Any = None, **claims: Any) -> Action:
    """Verify a token of these claims that came so."""
    return lambda place: place.gate(change).verify(place.sign(**claims), presented=how)


def proven(change: Any = None, *, by: str = "holder", **claims: Any) -> Action:
    """The same with a DPoP proof."""

    def act(place: Place) -> Any:
        token = place.sign(**claims)
        return place.gate(change).verify(token, presented=Presented(proof=proof(token, by=by), method="POST", urls=("https://data.example/query",)))

    return act


def bearer_of(token: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {token}")]


def with_proof(place: Place) -> Answer:
    token = place.sign(cnf=bound())
    return asked(place, headers=[("Authorization", f"DPoP {token}"), ("DPoP", proof(token))], public_urls=["https://data.example"])


def twice(place: Place, **over: Any) -> Any:
    """Two requests, each with a proof that is made for it."""
    gate, token = place.gate(), place.sign(cnf=bound())
    now = int(time.time())
    for _ in range(2):
        how = Presented(proof=proof(token, iat=now, **over), method="POST", urls=("https://data.example/query",))
        access = gate.verify(token, presented=how)
    return access


PAGE: Final = "https://app.example"
PROVE: Final = "make a proof for each request as RFC 9449 says"
SEND_BEARER: Final = "send it as `Authorization: Bearer <token>`"
LONG: Final = {"orders": [[{"field": "user_id", "op": "is_one_of", "value": list(range(5000))}]]}
KIND: Final = "send the `dataAccessToken`"
DASHBOARD: Final = "send the `dashboardAccessToken`"

TOKENS: Final = (
    Refusal("token_missing", SEND_BEARER, asked, {SEND_BEARER: lambda place: asked(place, headers=bearer(place))}),
    Refusal("token_missing", DASHBOARD, lambda place: place.gate().verify_dashboard(""), {DASHBOARD: of_dashboards()}),
    Refusal(
        "token_malformed",
        "send the signer's output unchanged",
        verify(lambda place: f" {place.token()}"),
        {"send the signer's output unchanged": verify(Place.token)},
    ),
    Refusal(
        "token_too_large",
        "send fewer or shorter filters, or raise `limits.token_bytes`",
        verify(lambda place: place.token(secure_filters=LONG)),
        {
            "send fewer or shorter filters": verify(Place.token),
            "raise `limits.token_bytes`": verify(lambda place: place.token(secure_filters=LONG), limits(token_bytes="100kB")),
        },
    ),
    Refusal(
        "token_in_query",
        f"{SEND_BEARER} and treat the one in the URL as leaked",
        lambda place: asked(place, query=f"token={place.token()}".encode()),
        {f"{SEND_BEARER} and treat the one in the URL as leaked": lambda place: asked(place, headers=bearer(place))},
    ),
    Refusal(
        "token_ambiguous",
        "send exactly one",
        lambda place: asked(place, headers=[*bearer(place), ("Auth", place.token(secure_filters=OTHER))], auth_header=True),
        {"send exactly one": lambda place: asked(place, headers=[("Auth", place.token(secure_filters=OTHER))], auth_header=True)},
    ),
    Refusal(
        "header_refused",
        "sign with a header of `alg`, `kid` and `typ` only",
        verified(header={"jku": "https://keys.example"}),
        {"sign with a header of `alg`, `kid` and `typ` only": verified(header={"kid": "shop", "typ": "JWT"})},
    ),
    Refusal(
        "algorithm_refused",
        "sign with ES256 and a P-256 key, or with another algorithm of docs/reference/claims.md and its key",
        lambda place: place.gate().verify(f"eyJhbGciOiJub25lIn0.{place.sign().split('.')[1]}."),
        {
            "sign with ES256 and a P-256 key": verified(algorithm="ES256"),
            "or with another algorithm of docs/reference/claims.md and its key": verified(add_key("RSA"), signer="RSA", algorithm="RS256"),
        },
    ),
    Refusal(
        "signature_invalid",
        "sign with the private half of a configured key and its algorithm (`rowseal keys thumbprint` names both halves alike), and send the token unchanged",
        verified(add_key("RSA"), signer="RSA", algorithm="PS256"),
        {
            "sign with the private half of a configured key": verified(),
            "and its algorithm": verified(add_key("RSA"), signer="RSA", algorithm="RS256"),
            "(`rowseal keys thumbprint` names both halves alike), and send the token unchanged": verify(Place.token),
        },
    ),
    Refusal(
        "token_expired",
        "fetch a fresh token from the host application, and ask again with it",
        verify(lambda place: place.token(clock=lambda: time.time() - 3600)),
        {"fetch a fresh token from the host application, and ask again with it": verify(Place.token)},
    ),
    Refusal(
        "token_revoked",
        "fetch a fresh token from the host application; if that is refused too, whoever revoked it has to be asked",
        ended(Kind.SUBJECT, before=-60),
        {
            "fetch a fresh token from the host application": ended(Kind.SUBJECT, before=-300),
            "if that is refused too, whoever revoked it has to be asked": ended(Kind.SUBJECT, before=-60, taken_back=True),
        },
    ),
    Refusal(
        "token_idle",
        "fetch a fresh token from the host application",
        used(5000, inactivity="10m"),
        {"fetch a fresh token from the host application": used(5000, afresh=True, inactivity="10m")},
    ),
    Refusal(
        "token_replayed",
        "fetch a fresh token for each request",
        used(1, one_time=True),
        {"fetch a fresh token for each request": used(1, afresh=True, one_time=True)},
    ),
    Refusal(
        "state_unavailable",
        "try again in a moment; the token may be good",
        unreadable(again=False),
        {"try again in a moment; the token may be good": unreadable(again=True)},
    ),
    Refusal(
        "token_not_yet_valid",
        "set the clock of the signing server right, or raise `leeway`",
        verified(nbf=lambda: int(time.time()) + 300),
        {
            "set the clock of the signing server right": verified(nbf=lambda: int(time.time())),
            "raise `leeway`": verified(tokens(leeway="10m"), nbf=lambda: int(time.time()) + 300),
        },
    ),
    Refusal(
        "expiry_missing",
        "sign with `expires` (ISO 8601 with an offset) or `exp` (a number)",
        verified(exp=...),
        {
            "`expires` (ISO 8601 with an offset)": verified(exp=..., expires=lambda: at(10).isoformat()),
            "`exp` (a number)": verified(exp=lambda: int(time.time()) + 600),
        },
    ),
    Refusal(
        "lifetime_too_long",
        "sign with a shorter life (some signers count minutes as days), or raise `max_lifetime`",
        verified(exp=lambda: int(time.time()) + 20 * 86_400),
        {
            "sign with a shorter life (some signers count minutes as days)": verified(exp=lambda: int(time.time()) + 20 * 60),
            "raise `max_lifetime`": verified(tokens(max_lifetime="30d"), exp=lambda: int(time.time()) + 20 * 86_400),
        },
    ),
    Refusal("token_kind", KIND, lambda place: place.gate().verify(place.tokens()["dashboardAccessToken"]), {KIND: verify(Place.token)}),
    Refusal("token_kind", DASHBOARD, lambda place: place.gate().verify_dashboard(place.token()), {DASHBOARD: of_dashboards()}),
    Refusal(
        "token_kind",
        "send the value of its member `dataAccessToken`",
        verify(lambda place: json.dumps(place.tokens())),
        {"send the value of its member `dataAccessToken`": verify(lambda place: json.loads(json.dumps(place.tokens()))["dataAccessToken"])},
    ),
    Refusal(
        "claim_invalid",
        "sign with the claims in docs/reference/claims.md",
        verified(secureFilters=...),
        {"sign with the claims in docs/reference/claims.md": documented},
    ),
    Refusal(
        "claim_invalid",
        'sign the string `"*"` itself to grant every dataset',
        verified(dataSetIds=["*"]),
        {'sign the string `"*"` itself to grant every dataset': verified(dataSetIds="*")},
    ),
    Refusal(
        "claim_invalid",
        "sign `exp` in seconds since 1970, not in milliseconds",
        verified(exp=lambda: (int(time.time()) + 600) * 1000),
        {"sign `exp` in seconds since 1970, not in milliseconds": verified()},
    ),
    Refusal(
        "claim_invalid",
        "end it with `Z`, or with an offset like `+01:00`",
        verified(expires=lambda: at(10).replace(tzinfo=None).isoformat()),
        {
            "end it with `Z`": verified(expires=lambda: at(10).replace(tzinfo=None).isoformat() + "Z"),
            "with an offset like `+01:00`": verified(expires=lambda: at(70).replace(tzinfo=None).isoformat() + "+01:00"),
        },
    ),
    Refusal(
        "claim_invalid",
        "`dataSets` is the claim of 2022: sign the ids as `dataSetIds`",
        verified(dataSetIds=..., dataSets=["orders"]),
        {"`dataSets` is the claim of 2022: sign the ids as `dataSetIds`": verified(dataSetIds=["orders"])},
    ),
    Refusal(
        "claim_invalid",
        "a filter signed by itself is of 2022: sign `dataSetIds` and `secureFilters` in one token",
        verified(dataSetIds=..., secureFilters=..., filter=OWN[0][0]),
        {"a filter signed by itself is of 2022: sign `dataSetIds` and `secureFilters` in one token": verified(secureFilters={"orders": OWN})},
    ),
    Refusal(
        "claim_invalid",
        "sign `accessType` as `standard`, or as `admin` for who manages dashboards",
        of_dashboards(accessType="owner"),
        {"sign `accessType` as `standard`": of_dashboards(accessType="standard"), "as `admin` for who manages dashboards": of_dashboards(accessType="admin")},
    ),
    Refusal(
        "claim_invalid",
        "sign `scope` as `read` or `read_write`",
        of_dashboards(scope="write"),
        {"sign `scope` as `read`": of_dashboards(scope="read"), "`read_write`": of_dashboards(scope="read_write")},
    ),
    Refusal("claim_invalid", "sign the project as `projectId`", of_dashboards(projectId=...), {"sign the project as `projectId`": of_dashboards()}),
    Refusal(
        "claim_invalid",
        "sign the host application's own name of the person as `userReference`",
        of_dashboards(userReference=...),
        {"sign the host application's own name of the person as `userReference`": of_dashboards(userReference="user 7")},
    ),
    Refusal(
        "claim_invalid",
        "sign `dashboardId` as such a string, or leave it out",
        of_dashboards(dashboardId=""),
        {"sign `dashboardId` as such a string": of_dashboards(dashboardId="dsh_1"), "leave it out": of_dashboards(dashboardId=...)},
    ),
    Refusal(
        "claim_invalid",
        "sign 1 to 1000 ids of at most 256 characters, or leave `parentDashboardIds` out",
        of_dashboards(parentDashboardIds=[]),
        {
            "sign 1 to 1000 ids of at most 256 characters": of_dashboards(parentDashboardIds=["dsh_1"]),
            "leave `parentDashboardIds` out": of_dashboards(parentDashboardIds=...),
        },
    ),
    Refusal(
        "issuer_refused",
        "sign as `iss`, `aud` or `projectId` what datasets.yaml demands by `issuer`, `audience` or `project_id`",
        verified(tokens(issuer="shop", audience="rowseal", project_id="prj_1"), projectId="prj_2"),
        {
            "sign as `iss`, `aud` or `projectId` what datasets.yaml demands by `issuer`, `audience` or `project_id`": verified(
                tokens(issuer="shop", audience="rowseal", project_id="prj_1"), iss="shop", aud="rowseal", projectId="prj_1"
            )
        },
    ),
    Refusal(
        "issuer_refused",
        "set `audience`, or sign without `aud`; a login's id token is no data access token",
        verified(aud="rowseal"),
        {
            "set `audience`": verified(tokens(audience="rowseal"), aud="rowseal"),
            "sign without `aud`; a login's id token is no data access token": verified(),
        },
    ),
    Refusal(
        "claim_invalid",
        "write each origin as `https://app.example.com`: lower case, no path, no port that its scheme implies",
        presented(Presented(origin=PAGE), allowedOrigins=[f"{PAGE}/"]),
        {
            "write each origin as `https://app.example.com`: lower case, no path, no port that its scheme implies": presented(
                Presented(origin=PAGE), allowedOrigins=[PAGE]
            )
        },
    ),
    Refusal(
        "claim_invalid",
        "sign `cnf` as an object of `jkt`, an RFC 7638 thumbprint (SHA-256)",
        verified(cnf={"x5t#S256": bound()["jkt"]}),
        {"sign `cnf` as an object of `jkt`, an RFC 7638 thumbprint (SHA-256)": proven(cnf=bound())},
    ),
    Refusal(
        "binding_required",
        "sign `allowedOrigins` or `cnf`, whichever datasets.yaml demands",
        verified(tokens(origin="required")),
        {
            "sign `allowedOrigins`": presented(Presented(origin=PAGE), tokens(origin="required"), allowedOrigins=[PAGE]),
            "`cnf`, whichever datasets.yaml demands": proven(tokens(dpop="required"), cnf=bound()),
        },
    ),
    Refusal(
        "origin_refused",
        "ask from a page of an origin in the token's `allowedOrigins`, or sign the page's origin there",
        presented(Presented(origin="https://other.example"), allowedOrigins=[PAGE]),
        {
            "ask from a page of an origin in the token's `allowedOrigins`": presented(Presented(origin=PAGE), allowedOrigins=[PAGE]),
            "sign the page's origin there": presented(Presented(origin="https://other.example"), allowedOrigins=[PAGE, "https://other.example"]),
        },
    ),
    Refusal(
        "proof_required",
        "send `Authorization: DPoP <token>` with a `DPoP` header (RFC 9449)",
        lambda place: asked(place, headers=bearer_of(place.sign(cnf=bound()))),
        {"send `Authorization: DPoP <token>` with a `DPoP` header (RFC 9449)": with_proof},
    ),
    Refusal("proof_refused", PROVE, proven(by="thief", cnf=bound()), {PROVE: proven(cnf=bound())}),
    Refusal("proof_refused", SEND_BEARER, proven(), {SEND_BEARER: lambda place: asked(place, headers=bearer_of(place.sign()))}),
    Refusal(
        "proof_replayed",
        "make a proof for each request, with a `jti` of its own",
        lambda place: twice(place, jti="one"),
        {"make a proof for each request, with a `jti` of its own": twice},
    ),
    Refusal(
        "filters_malformed",
        "write a list of AND-groups of {field, op, value}; see docs/reference/operators.md",
        verified(secureFilters={"orders": [[]]}),
        {"write a list of AND-groups of {field, op, value}; see docs/reference/operators.md": verified(secureFilters={"orders": OWN})},
    ),
    Refusal(
        "filters_malformed",
        "sign filters for each dataset by its id",
        verified(dataSetIds="*", secureFilters={"*": OWN}),
        {"sign filters for each dataset by its id": verified(dataSetIds="*", secureFilters={"orders": OWN, "customers": OWN, "salaries": OWN})},
    ),
)
