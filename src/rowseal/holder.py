"""To whom a token is bound, and whether it is they who present it.

A bearer token is good in any hand. Two claims change that: `allowedOrigins`, the web pages that may use it, and `cnf.jkt` (RFC 7800,
RFC 9449), the key whose holder alone may. Where a claim stands it is enforced, whatever the configuration says; the configuration can
only demand that it stands there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from rowseal import dpop
from rowseal.claims import Json
from rowseal.errors import TokenRefused
from rowseal.keys import TokenRules

__all__ = ["UNBOUND", "Holder", "Presented", "read_holder", "require"]

ORIGINS: Final = 32
# As browsers write it (https://html.spec.whatwg.org/#ascii-serialisation-of-an-origin): lower case, no path, no port that its scheme implies.
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]{1,31}://(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[1-9][0-9]{0,4})?", re.ASCII)
_IMPLIED: Final = {"http": ":80", "https": ":443"}
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Presented:
    """How a token came: what a token that is bound to its holder is held against.

    - `origin`: of the web page that sent it, as its browser says in the `Origin` header. None where it says none.
    - `proof`: the DPoP proof that came with it. None where none did.
    - `method` and `urls`: of the request that the proof must have been made for; several where the server answers under several addresses.
    """

    origin: str | None = None
    proof: str | None = field(default=None, repr=False)
    method: str = ""
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Holder:
    """To whom a token is bound, as signed: web pages of these origins, the holder of the key with this RFC 7638 thumbprint. None is anyone."""

    origins: frozenset[str] | None = None
    key: str | None = None


UNBOUND: Final = Holder()


def read_holder(content: Mapping[str, Json], rules: TokenRules) -> Holder:
    """To whom the token is bound. Raises TokenRefused: claim_invalid, or binding_required where the rules demand a claim that is not there."""
    origins = _origins(content["allowedOrigins"]) if "allowedOrigins" in content else None
    key = _key(content["cnf"]) if "cnf" in content else None
    if rules.origin_required and origins is None:
        raise TokenRefused("binding_required", "the token names no `allowedOrigins`, and this server demands them")
    if rules.dpop_required and key is None:
        raise TokenRefused("binding_required", "the token is bound to no key, and this server demands it")
    return UNBOUND if origins is None and key is None else Holder(origins, key)


def require(holder: Holder, presented: Presented | None, *, token: str, now: float, seen: dpop.Seen) -> None:
    """Refuse a token that another than its holder presents. INVARIANT: where nothing is known of who presents it, nobody is its holder.

    Raises TokenRefused: origin_refused, proof_required, proof_refused or proof_replayed.
    """
    if holder.origins is not None and (presented is None or presented.origin not in holder.origins):
        raise TokenRefused("origin_refused")
    proof = None if presented is None else presented.proof
    if holder.key is None:
        if proof is not None:
            raise TokenRefused("proof_refused", "the token is bound to no key, so no proof belongs to it", hint="send it as `Authorization: Bearer <token>`")
    elif presented is None or proof is None:
        raise TokenRefused("proof_required")
    else:
        dpop.check(proof, token=token, key=holder.key, method=presented.method, urls=presented.urls, now=now, seen=seen)


def _origins(claim: Json) -> frozenset[str]:
    origins = frozenset(each for each in claim if isinstance(each, str)) if isinstance(claim, list) else frozenset()
    if not isinstance(claim, list) or not 0 < len(claim) == len(origins) <= ORIGINS:
        raise _wrong(f"`allowedOrigins` of the token must be a list of 1 to {ORIGINS} different origins")
    for origin in origins:
        if not _ORIGIN.fullmatch(origin) or origin.endswith(_IMPLIED.get(origin.partition(":")[0], "/")):
            raise _wrong("`allowedOrigins` of the token holds what no browser sends as `Origin`")
    return origins


def _key(claim: Json) -> str:
    jkt = claim.get("jkt") if isinstance(claim, dict) and len(claim) == 1 else None
    if not isinstance(jkt, str) or not _THUMBPRINT.fullmatch(jkt):
        # another confirmation (a certificate, a key by value) would bind the token to somebody whom nobody asks for
        raise TokenRefused(
            "claim_invalid", "`cnf` of the token must hold `jkt` alone", hint="sign `cnf` as an object of `jkt`, an RFC 7638 thumbprint (SHA-256)"
        )
    return jkt


def _wrong(detail: str) -> TokenRefused:
    return TokenRefused("claim_invalid", detail, hint="write each origin as `https://app.example.com`: lower case, no path, no port that its scheme implies")
