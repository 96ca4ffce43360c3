"""Tokens from a fuzzer that sees which branches it reaches: `python -m tests.token_fuzz 60`, also `make atheris SECONDS=60`.

The first byte says what the others are: a whole token as it comes, or a header, a payload, any part of an honest payload, which are then
signed as a thief of the key would. Whatever it is, it is refused by a `Refused` that is no bug of ours, or opens rows that are filtered as
the claims say. Ends with 0 when the time is over, and with another status and the input at the first that is neither.
"""

from __future__ import annotations

import hmac
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import atheris

_READS_TOKENS: Final = ("tokens", "strict", "claims", "filters", "mapping", "grants", "holder", "policy", "catalog.values")

with atheris.instrument_imports(include=[f"rowseal.{each}" for each in _READS_TOKENS], enable_loader_override=False):
    from rowseal.catalog import Catalog, Dataset, Field, FieldType, Storage
    from rowseal.claims import KeyFacts
    from rowseal.errors import OurBug, Refused
    from rowseal.filters import Operator
    from rowseal.grants import IGNORED, TYPES, read_grant
    from rowseal.holder import read_holder
    from rowseal.keys import TokenRules, read_secret
    from rowseal.mapping import Attribute, ClaimMapping, Role
    from rowseal.policy import AnyOf, Condition, Policy
    from rowseal.strict import to_base64url
    from rowseal.tokens import Verifier

NOW: Final = 1_800_000_000
SECRET: Final = "0f1e2d3c4b5a69788796a5b4c3d2e1f0-fuzz"
TENANT: Final = Field("tenant", "Tenant", "tenant", "tenant", FieldType.STRING, Storage.TEXT, bytewise=True)
NUMBER: Final = Field("n", "n", "n", "n", FieldType.NUMBER, Storage.INTEGER)
DATASETS: Final = {
    name: Dataset(id=name, name=name, sql_name=name, schema="main", table=name, relation="table", public=name == "open", fields=(TENANT, NUMBER))
    for name in ("orders", "open")
}
CATALOG: Final = Catalog("sqlite", "sqlite://", DATASETS)
MAPPING: Final = ClaimMapping(
    ("app", "roles"), {"analyst": Role(frozenset(DATASETS), rows=5)}, (Attribute("tenant", ("app", "tenant"), {"orders": "tenant"}),), ("filters",)
)
HONEST: Final[dict[str, dict[str, Any]]] = {
    "vizzly": {
        "dataSetIds": ["orders", "open"], "secureFilters": {"orders": [[{"field": "tenant", "op": "=", "value": "acme"}]]}, "parameters": {},
        "projectId": "p", "expires": "2027-01-15T08:10:00Z", "iat": NOW,
    },
    "oidc": {
        "iss": "https://i/", "aud": ["a"], "sub": "s", "exp": NOW + 600, "app": {"roles": ["analyst"], "tenant": ["acme"]},
        "filters": {"orders": [[{"field": "n", "op": "is_one_of", "value": [1]}]]},
    },
}  # fmt: skip


def _verifier(profile: str) -> Verifier:
    key = read_secret(SECRET, facts=KeyFacts("k", profile))
    more: dict[str, Any] = {"issuer": "https://i/", "audience": "a", "mapping": MAPPING, "types": TYPES["oidc"], "ignored": IGNORED["oidc"]}
    return Verifier([TokenRules(profile, (key,), **(more if profile == "oidc" else {}))], token_bytes=16_384)


VERIFIERS: Final = {profile: _verifier(profile) for profile in HONEST}


def signed(header: bytes, payload: bytes) -> str:
    """A token of this header and payload, whose signature holds."""
    text = f"{to_base64url(header)}.{to_base64url(payload)}"
    return f"{text}.{to_base64url(hmac.digest(SECRET.encode(), text.encode(), 'sha256'))}"


def judge(profile: str, token: str) -> None:
    """Raises AssertionError, or whatever else escapes, where a token is neither refused nor opens what its claims say."""
    verifier = VERIFIERS[profile]
    try:
        claims = verifier.verify(token, now=NOW)
        rules = verifier.rules_of(claims)
        grant = read_grant(claims, rules)
        read_holder(claims.content, rules)
    except OurBug:
        raise
    except Refused:
        return
    assert NOW < claims.expires_at <= NOW + rules.max_lifetime
    policy = Policy(grant, CATALOG)
    try:
        rows = policy.rows(DATASETS["orders"])
    except OurBug:
        raise
    except Refused:
        return
    assert rows.predicate.parts
    if profile == "oidc":
        app: Any = claims.content["app"]
        tenants = app["tenant"] if isinstance(app["tenant"], list) else [app["tenant"]]
        assert "analyst" in app["roles"]
        assert rows.most == 5
        groups = rows.predicate.parts[0].parts if isinstance(rows.predicate.parts[0], AnyOf) else [rows.predicate]
        for group in groups:
            parts = [group] if isinstance(group, Condition) else list(getattr(group, "parts", ()))
            own = [part for part in parts if isinstance(part, Condition) and part.field is TENANT and part.op in {Operator.EQ, Operator.IS_ONE_OF}]
            assert any(set(part.values) <= set(tenants) for part in own)


def one(data: bytes) -> None:
    """One input."""
    kind, rest = data[:1], data[1:]
    profile = ("vizzly", "oidc")[kind > b"\x7f"]
    honest = HONEST[profile]
    match (kind or b"\0")[0] % 4:
        case 0:
            judge(profile, rest.decode("latin-1"))
        case 1:
            judge(profile, signed(rest, json.dumps(honest).encode()))
        case 2:
            judge(profile, signed(b'{"alg":"HS256"}', rest))
        case _:
            number, value = (rest or b"\0")[0], rest[1:]
            judge(profile, signed(b'{"alg":"HS256"}', PIECES[profile][number % len(PIECES[profile])].replace(_HOLE, value)))


def _pieces(whole: Any, around: Any) -> Iterator[bytes]:
    """The content once for each part of it, however deep, with a hole in its place."""
    for name in whole if isinstance(whole, dict) else range(len(whole)):
        part, whole[name] = whole[name], _HOLE.decode()
        yield json.dumps(around).encode().replace(b'"' + _HOLE + b'"', _HOLE)
        whole[name] = part
        if isinstance(part, dict | list):
            yield from _pieces(part, around)


_HOLE: Final = b"HOLE"
PIECES: Final = {profile: list(_pieces(honest, honest)) for profile, honest in HONEST.items()}
_VALUES: Final = (b"null", b'""', b"[]", b"{}", b"true", b"0", b"1e9", b'"*"', b'"acme"', b"[null]")


def _corpus(folder: Path) -> None:
    for half, profile in ((0, "vizzly"), (0x80, "oidc")):
        whole = json.dumps(HONEST[profile]).encode()
        seeds = [bytes([half]) + signed(b'{"alg":"HS256","typ":"JWT","kid":"k"}', whole).encode(), bytes([half + 1]) + b'{"alg":"HS256","typ":"at+jwt"}']
        seeds += [bytes([half + 2]) + whole]
        seeds += [bytes([half + 3, number]) + value for number in range(len(PIECES[profile])) for value in _VALUES[:1]]
        for number, seed in enumerate(seeds):
            (folder / f"{profile}-{number}").write_bytes(seed)
    words = {*HONEST["vizzly"], *HONEST["oidc"], "roles", "tenant", "field", "op", "value", "is_one_of", "alg", "typ", "kid", "crit", "nonce", "cnf", "jkt"}
    known = [f'\\"{word}\\"' for word in sorted(words)] + [value.decode().replace('"', '\\"') for value in _VALUES]
    (folder.parent / "words").write_text("".join(f'"{word}"\n' for word in known))


def main(seconds: int) -> None:
    """Fuzz for so long. Does not return."""
    for profile, honest in HONEST.items():
        judge(profile, signed(b'{"alg":"HS256"}', json.dumps(honest).encode()))
        policy = Policy(
            read_grant(
                claims := VERIFIERS[profile].verify(signed(b'{"alg":"HS256"}', json.dumps(honest).encode()), now=NOW), VERIFIERS[profile].rules_of(claims)
            ),
            CATALOG,
        )
        assert policy.rows(DATASETS["orders"])  # the honest one is taken, or nothing would be shown by what is refused
    with tempfile.TemporaryDirectory() as place:
        corpus = Path(place) / "corpus"
        corpus.mkdir()
        _corpus(corpus)
        options = [
            f"-max_total_time={seconds}",
            f"-dict={place}/words",
            f"-artifact_prefix={place}/",
            "-max_len=4096",
            "-timeout=10",
            "-verbosity=0",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], str(corpus), *options], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
