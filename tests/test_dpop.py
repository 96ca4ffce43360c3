"""A DPoP proof is taken once, from the holder of the key, for this token and this request; nothing else is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import get_default_algorithms

from place import key
from proofs import bound, jwk, proof
from rowseal import dpop
from rowseal.dpop import Seen, address, check
from rowseal.errors import TokenRefused
from rowseal.keys import thumbprint

TOKEN = "e30.e30.AAAA"
URL = "https://data.example/query"


def checked(made: str, *, token: str = TOKEN, by: str = "holder", method: str = "POST", url: str = URL, now: float | None = None, **more: Any) -> str | None:
    """The detail of the refusal; None where the proof is taken."""
    given = {"urls": (url,), "seen": Seen()} | more
    try:
        check(made, token=token, key=bound(by)["jkt"], method=method, now=time.time() if now is None else now, **given)
    except TokenRefused as refusal:
        return refusal.detail if refusal.code in {"proof_refused", "proof_replayed"} else refusal.code
    return None


@pytest.mark.parametrize(("by", "algorithm"), [("holder", "ES256"), ("RSA holder", "RS256"), ("RSA holder", "PS512")])
def test_a_proof_of_each_kind_is_taken(by: str, algorithm: str) -> None:
    assert checked(proof(TOKEN, by=by, algorithm=algorithm), by=by) is None


def test_a_proof_with_ed25519_is_taken() -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    public: Any = get_default_algorithms()["EdDSA"]
    made = json.loads(base64.urlsafe_b64decode(proof(TOKEN).split(".")[1] + "=="))
    whole = public.to_jwk(private.public_key(), as_dict=True)
    text = jwt.encode(made, private, algorithm="EdDSA", headers={"typ": "dpop+jwt", "jwk": {each: whole[each] for each in ("kty", "crv", "x")}})
    check(text, token=TOKEN, key=thumbprint(private.public_key()), method="POST", urls=(URL,), now=time.time(), seen=Seen())


def test_the_hash_of_the_token_is_that_of_the_standard() -> None:
    """RFC 9449 section 7.1 shows a token and its `ath`."""
    token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
    assert checked(proof(token, ath="fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"), token=token) is None


def private_jwk() -> dict[str, Any]:
    algorithms: Any = get_default_algorithms()
    return dict(algorithms["ES256"].to_jwk(key("holder"), as_dict=True))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"typ": "JWT"}, "`typ`"),
        ({"typ": "DPOP+JWT"}, "`typ`"),
        ({"jwk": ...}, "must hold"),
        ({"kid": "holder"}, "nothing else"),
        ({"crit": ["exp"]}, "nothing else"),
        ({"jku": "https://keys.example"}, "nothing else"),
        ({"jwk": {"keys": []}}, "one public key"),
        ({"jwk": "text"}, "one public key"),
        ({"jwk": {"kty": "oct", "k": "c2VjcmV0"}}, "shared secret"),
        ({"jwk": {}}, "`kty` and `crv`"),
    ],
    ids=repr,
)
def test_the_header_holds_a_public_key_and_its_algorithm(header: dict[str, Any], reason: str) -> None:
    assert reason in (checked(proof(TOKEN, header=header)) or "taken")


def test_a_private_key_in_the_header_is_refused() -> None:
    assert "PRIVATE" in (checked(proof(TOKEN, header={"jwk": private_jwk()})) or "taken")


def _part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS256", "ES384", "ES256K", "", 7, None, ["ES256"]])
def test_the_algorithm_is_asymmetric_and_the_key_s_own(algorithm: object) -> None:
    """Also where the signature would be right: an HMAC with the public key's text as its secret."""
    payload = proof(TOKEN).split(".")[1]
    signed = f"{_part({'typ': 'dpop+jwt', 'alg': algorithm, 'jwk': jwk()})}.{payload}"
    mac = hmac.new(json.dumps(jwk()).encode(), signed.encode(), "sha256").digest()
    assert checked(f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}") is not None


@pytest.mark.parametrize(
    ("over", "reason"),
    [
        ({"htm": "GET"}, "`htm`"),
        ({"htm": "post"}, "`htm`"),
        ({"htm": ...}, "`htm`"),
        ({"htu": "https://other.example/query"}, "`htu`"),
        ({"htu": "http://data.example/query"}, "`htu`"),
        ({"htu": "https://data.example:8443/query"}, "`htu`"),
        ({"htu": "https://data.example/query/"}, "`htu`"),
        ({"htu": "https://data.example/Query"}, "`htu`"),
        ({"htu": "https://you@data.example/query"}, "`htu`"),
        ({"htu": "//data.example/query"}, "`htu`"),
        ({"htu": "/query"}, "`htu`"),
        ({"htu": ["https://data.example/query"]}, "`htu`"),
        ({"htu": ...}, "`htu`"),
        ({"ath": "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"}, "`ath`"),
        ({"ath": ...}, "`ath`"),
        ({"ath": "ä"}, "`ath`"),
        ({"jti": ""}, "`jti`"),
        ({"jti": ...}, "`jti`"),
        ({"jti": 7}, "`jti`"),
        ({"jti": "x" * 257}, "`jti`"),
        ({"iat": ...}, "`iat`"),
        ({"iat": "1800000000"}, "`iat`"),
        ({"iat": True}, "`iat`"),
        ({"exp": 1}, "not valid now"),
        ({"exp": "soon"}, "`exp`"),
        ({"nbf": 90_000_000_000}, "not valid now"),
    ],
    ids=repr,
)
def test_a_proof_is_for_this_request_and_this_token(over: dict[str, Any], reason: str) -> None:
    # PyJWT refuses to write some of these: the claims are signed by hand
    claims = json.loads(base64.urlsafe_b64decode(proof(TOKEN).split(".")[1] + "==")) | over
    kept = {name: value for name, value in claims.items() if value is not ...}
    signed = f"{_part({'typ': 'dpop+jwt', 'alg': 'ES256', 'jwk': jwk()})}.{_part(kept)}"
    method: Any = get_default_algorithms()["ES256"]
    made = f"{signed}.{base64.urlsafe_b64encode(method.sign(signed.encode(), key('holder'))).rstrip(b'=').decode()}"
    assert reason in (checked(made) or "taken")


@pytest.mark.parametrize(
    ("htu", "url"),
    [
        ("HTTPS://Data.Example:443/query", URL),
        ("https://data.example/query?q=1#top", URL),
        ("https://data.example/%71uer%79", URL),
        ("https://data.example/a%2fb", "https://data.example/a%2Fb"),
        ("http://data.example:080", "http://data.example/"),
        ("https://[2001:DB8::1]/query", "https://[2001:db8::1]/query"),
    ],
)
def test_spellings_of_one_address_are_alike(htu: str, url: str) -> None:
    assert checked(proof(TOKEN, url=htu), url=url) is None


@pytest.mark.parametrize(
    "url", ["", "ftp://a/", "https://", "https://a b/", "https://a/\n", "https://a/%4", "https://a/%zz", "https://ä/", "https://a:x/", "a"]
)
def test_what_is_no_address_is_none(url: str) -> None:
    assert address(url) is None


def test_another_s_key_and_another_s_token_are_refused() -> None:
    assert "another key" in (checked(proof(TOKEN, by="thief")) or "")
    assert "signature" in (checked(proof(TOKEN, by="thief", header={"jwk": jwk("holder")})) or "")
    assert "`ath`" in (checked(proof("another.token.AAAA")) or "")


def test_a_proof_is_of_now() -> None:
    made_at = 1_800_000_000
    made = proof(TOKEN, iat=made_at)
    for now, taken in ((made_at - 31, False), (made_at - 30, True), (made_at + 60, True), (made_at + 61, False)):
        assert (checked(made, now=now) is None) is taken, now


def test_a_server_without_an_address_takes_no_proof() -> None:
    assert "its own address" in (checked(proof(TOKEN), urls=()) or "")


def test_one_of_several_addresses_is_enough() -> None:
    assert checked(proof(TOKEN), urls=("https://inside.example/query", URL)) is None


class TestOnce:
    def test_a_proof_is_taken_once(self) -> None:
        seen, made = Seen(), proof(TOKEN)
        assert checked(made, seen=seen) is None
        assert checked(made, seen=seen) == "the DPoP proof was used before"
        assert checked(proof(TOKEN), seen=seen) is None

    def test_a_signature_made_anew_is_no_other_proof(self) -> None:
        """ECDSA signs the same bytes differently each time; what was used is the `jti`, not the text."""
        seen = Seen()
        assert checked(proof(TOKEN, jti="one", iat=1_800_000_000), seen=seen, now=1_800_000_000) is None
        assert checked(proof(TOKEN, jti="one", iat=1_800_000_000), seen=seen, now=1_800_000_000) == "the DPoP proof was used before"

    def test_a_refused_proof_uses_nothing_up(self) -> None:
        seen = Seen()
        assert checked(proof(TOKEN, jti="one"), seen=seen, method="GET") is not None
        assert checked(proof(TOKEN, jti="one"), seen=seen) is None

    def test_two_holders_may_use_one_name(self) -> None:
        seen = Seen()
        for by in ("holder", "neighbour"):
            assert checked(proof(TOKEN, by=by, jti="one"), by=by, seen=seen) is None

    def test_what_is_remembered_is_bounded_and_never_taken_again(self) -> None:
        seen, now = Seen(entries=4), 1_800_000_000
        for number in range(20):
            seen.take("key", str(number), now + number, now=now + number)
            assert seen._count <= 4
        for number in range(20):
            with pytest.raises(TokenRefused, match=r"proof_replayed|older than what this server"):
                seen.take("key", str(number), now + number, now=now + 19)
        seen.take("key", "fresh", now + 20, now=now + 20)

    def test_a_flood_within_one_second_is_refused_and_passes(self) -> None:
        seen, now = Seen(entries=4), 1_800_000_000
        for number in range(4):
            seen.take("key", str(number), now, now=now)
        with pytest.raises(TokenRefused, match="older than what"):
            seen.take("key", "fifth", now, now=now)
        seen.take("key", "sixth", now + 1, now=now + 1)

    def test_what_can_come_back_no_more_is_forgotten(self) -> None:
        seen = Seen()
        seen.take("key", "one", 1_800_000_000, now=1_800_000_000)
        seen.take("key", "two", 1_800_000_000 + 3 * dpop.LIVES_SECONDS, now=1_800_000_000 + 3 * dpop.LIVES_SECONDS)
        assert seen._count == 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_changed_proof_is_refused_and_raises_nothing_else(data: st.DataObject) -> None:
    """Any byte of it: no other exception, and never taken unless it says the same."""
    made = proof(TOKEN)
    at = data.draw(st.integers(0, len(made) - 1))
    put = data.draw(st.sampled_from("aA0-_.=+/ \x00ä\ud800{") | st.characters())
    changed = made[:at] + put + made[at + 1 :]
    assert (checked(changed) is None) is (changed == made)


@settings(max_examples=100, deadline=None)
@given(
    header=st.dictionaries(
        st.sampled_from(["typ", "alg", "jwk", "kid"]), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=3)
    ),
    claims=st.dictionaries(
        st.sampled_from(["jti", "htm", "htu", "iat", "ath", "exp"]), st.recursive(st.none() | st.floats() | st.text(), st.lists, max_leaves=3)
    ),
)
def test_whatever_is_signed_is_taken_or_refused(header: dict[str, Any], claims: dict[str, Any]) -> None:
    signed = f"{_part({'typ': 'dpop+jwt', 'alg': 'ES256', 'jwk': jwk()} | header)}.{_part(claims)}"
    method: Any = get_default_algorithms()["ES256"]
    made = f"{signed}.{base64.urlsafe_b64encode(method.sign(signed.encode(), key('holder'))).rstrip(b'=').decode()}"
    assert checked(made) is not None


def test_the_holder_s_thumbprint_is_compared_whole() -> None:
    digest = hashlib.sha256(b"another key").digest()
    with pytest.raises(TokenRefused, match="another key"):
        check(proof(TOKEN), token=TOKEN, key=base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), method="POST", urls=(URL,), now=time.time(), seen=Seen())
