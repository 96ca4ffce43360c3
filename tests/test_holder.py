"""A token that is bound to its holder opens nothing in another's hand: not over HTTP, not in the library, not after a reload."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from asgi import Answer, ask
from place import Place, configuration, public_pem
from proofs import bound, proof
from rowseal import Presented
from rowseal.app import create_app
from rowseal.errors import Misconfigured, TokenRefused
from rowseal.gate import Gate

PAGE = "https://app.example"
URL = "https://data.example/query"
BODY = json.dumps({"sql": "SELECT COUNT(*) AS n FROM orders"}).encode()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


def required(**settings: str) -> Any:
    return lambda document: document["tokens"][0].update(settings)


def code(gate: Gate, token: str, presented: Presented | None = None) -> str | None:
    """The code of the refusal; None where the token is taken."""
    try:
        gate.verify(token, presented=presented)
    except TokenRefused as refusal:
        return refusal.code
    return None


def asked(app: Any, token: str, *more: tuple[str, str], scheme: str = "Bearer", **scope: Any) -> Answer:
    return ask(app, "/query", headers=[("Authorization", f"{scheme} {token}"), *more], body=BODY, **scope)


class TestOrigin:
    """`allowedOrigins`: the web pages that may use the token."""

    @pytest.mark.parametrize(
        ("origin", "expected"),
        [
            (PAGE, None),
            ("https://two.example:8443", None),
            (None, "origin_refused"),
            ("null", "origin_refused"),
            ("", "origin_refused"),
            ("https://app.example.evil", "origin_refused"),
            ("https://evil.example", "origin_refused"),
            ("http://app.example", "origin_refused"),
            ("https://app.example:443", "origin_refused"),
            ("HTTPS://APP.EXAMPLE", "origin_refused"),
            (f"{PAGE}/", "origin_refused"),
            (f"{PAGE} https://two.example", "origin_refused"),
        ],
    )
    def test_the_page_is_one_of_those_that_were_signed(self, place: Place, origin: str | None, expected: str | None) -> None:
        token = place.sign(allowedOrigins=[PAGE, "https://two.example:8443"])
        gate = place.gate()
        assert code(gate, token, Presented(origin=origin)) == expected
        answer = asked(place.app(gate), token, *([] if origin is None else [("Origin", origin)]))
        assert (answer.status, answer.code) == ((200, None) if expected is None else (401, expected))

    def test_two_origins_are_none(self, place: Place) -> None:
        token = place.sign(allowedOrigins=[PAGE])
        assert asked(place.app(), token, ("Origin", PAGE), ("Origin", "https://evil.example")).code == "origin_refused"

    @pytest.mark.parametrize(
        "claim",
        [
            *(None, "", PAGE, [], [""], ["*"], ["null"], [7], [PAGE, PAGE], [f"{PAGE}/"], ["https://APP.example"], ["https://app.example:443"], {}),
            *(
                ["http://a:80"],
                ["https://a/b"],
                ["https://a?b"],
                ["https://*.example"],
                ["//a"],
                ["https://"],
                [[PAGE]],
                [f"https://{n}.example" for n in range(33)],
            ),
        ],
        ids=repr,
    )
    def test_a_claim_that_no_browser_could_meet_is_refused_as_such(self, place: Place, claim: object) -> None:
        assert code(place.gate(), place.sign(allowedOrigins=claim), Presented(origin=PAGE)) == "claim_invalid"

    @pytest.mark.parametrize("origin", ["http://localhost:3000", "http://[::1]:8080", "capacitor://localhost", "chrome-extension://abcdefgh"])
    def test_every_origin_that_a_browser_writes_may_be_signed(self, place: Place, origin: str) -> None:
        assert code(place.gate(), place.sign(allowedOrigins=[origin]), Presented(origin=origin)) is None

    def test_the_configuration_may_demand_it(self, place: Place) -> None:
        gate = place.gate(required(origin="required"))
        assert code(gate, place.sign(), Presented(origin=PAGE)) == "binding_required"
        assert code(gate, place.sign(allowedOrigins=[PAGE]), Presented(origin=PAGE)) is None

    def test_a_token_without_the_claim_is_good_in_any_hand(self, place: Place) -> None:
        assert asked(place.app(), place.sign(), ("Origin", "https://evil.example")).status == 200

    def test_what_was_verified_before_is_asked_again(self, place: Place) -> None:
        """The signature is remembered, who presents the token is not."""
        gate, token = place.gate(), place.sign(allowedOrigins=[PAGE])
        assert [code(gate, token, Presented(origin=each)) for each in (PAGE, None, PAGE, "https://evil.example")] == [None, "origin_refused"] * 2


class TestKey:
    """`cnf.jkt`: the key whose holder alone may use the token."""

    def app(self, place: Place, gate: Gate | None = None, **settings: Any) -> Any:
        return place.app(gate, public_urls=["https://data.example"], **settings)

    def test_the_holder_gets_an_answer_and_each_proof_one(self, place: Place) -> None:
        app, token = self.app(place), place.sign(cnf=bound())
        made = proof(token)
        answer = asked(app, token, ("DPoP", made), scheme="DPoP")
        assert (answer.status, answer.body) == (200, b"[[3]]")
        assert asked(app, token, ("DPoP", made), scheme="DPoP").code == "proof_replayed"
        assert asked(app, token, ("DPoP", proof(token)), scheme="dpop").status == 200

    @pytest.mark.parametrize("scheme", ["Bearer", "DPoP"])
    def test_a_thief_of_the_token_has_nothing(self, place: Place, scheme: str) -> None:
        app, token = self.app(place), place.sign(cnf=bound())
        assert asked(app, token, scheme=scheme).code == "proof_required"
        assert asked(app, token, ("DPoP", proof(token, by="thief")), scheme="DPoP").code == "proof_refused"

    def test_with_the_scheme_bearer_a_proof_is_none(self, place: Place) -> None:
        """RFC 9449 section 7.2: else whoever reads the header could take the token for one that needs no proof."""
        token = place.sign(cnf=bound())
        assert asked(self.app(place), token, ("DPoP", proof(token))).code == "proof_required"

    def test_in_a_body_the_token_proves_nothing(self, place: Place) -> None:
        token = place.sign(cnf=bound())
        app = self.app(place, body_token_paths=["/query"])
        body = json.dumps({**json.loads(BODY), "integritySignature": token}).encode()
        assert ask(app, "/query", headers=[("DPoP", proof(token))], body=body).code == "proof_required"

    def test_two_proofs_are_none(self, place: Place) -> None:
        token = place.sign(cnf=bound())
        assert asked(self.app(place), token, ("DPoP", proof(token)), ("DPoP", proof(token)), scheme="DPoP").code == "proof_refused"

    def test_the_address_is_the_operator_s_word_not_the_sender_s(self, place: Place) -> None:
        """A proof made for another server comes with that server's name in `Host`."""
        token = place.sign(cnf=bound())
        made = proof(token, url="https://elsewhere.example/query")
        assert asked(self.app(place), token, ("DPoP", made), ("Host", "elsewhere.example"), scheme="DPoP").code == "proof_refused"
        assert asked(place.app(), token, ("DPoP", proof(token)), ("Host", "data.example"), scheme="DPoP").code == "proof_refused"

    def test_the_path_is_the_one_that_was_asked(self, place: Place) -> None:
        app, token = self.app(place), place.sign(cnf=bound())
        assert asked(app, token, ("DPoP", proof(token, url="https://data.example/naive")), scheme="DPoP").code == "proof_refused"
        assert asked(app, token, ("DPoP", proof(token)), scheme="DPoP", raw_path=b"/%71uery").status == 200
        assert asked(app, token, ("DPoP", proof(token)), scheme="DPoP", raw_path=b"/other").code == "proof_refused"

    @pytest.mark.parametrize(
        "claim",
        [
            *(None, {}, [], "text", {"jkt": ""}, {"jkt": None}, {"jkt": "A" * 42}, {"jkt": "+" * 43}),
            {"jkt": "A" * 43, "x5t#S256": "A" * 43},
            {"x5t#S256": "A" * 43},
        ],
        ids=repr,
    )
    def test_a_confirmation_that_is_not_known_is_refused(self, place: Place, claim: object) -> None:
        """A token bound to somebody whom nobody asks for would be good in any hand."""
        assert code(place.gate(), place.sign(cnf=claim)) == "claim_invalid"

    def test_the_configuration_may_demand_it(self, place: Place) -> None:
        gate = place.gate(required(dpop="required"))
        assert code(gate, place.sign()) == "binding_required"
        token = place.sign(cnf=bound())
        assert code(gate, token, Presented(proof=proof(token), method="POST", urls=(URL,))) is None

    def test_a_proof_for_a_token_that_is_bound_to_no_key_is_refused(self, place: Place) -> None:
        """Its sender believes it to be bound."""
        token = place.sign()
        assert asked(self.app(place), token, ("DPoP", proof(token)), scheme="DPoP").code == "proof_refused"

    def test_the_challenge_is_that_of_the_standard(self, place: Place) -> None:
        token = place.sign(cnf=bound())
        challenge = asked(self.app(place), token).header("www-authenticate")
        assert challenge is not None
        assert challenge.startswith('DPoP realm="rowseal", error="invalid_token", ')
        assert challenge.endswith(', algs="ES256 ES384 ES512 EdDSA RS256 RS384 RS512 PS256 PS384 PS512"')
        refused = asked(self.app(place), token, ("DPoP", "x"), scheme="DPoP").header("www-authenticate")
        assert refused is not None
        assert 'error="invalid_dpop_proof"' in refused

    def test_the_app_behind_sees_neither_token_nor_proof(self, place: Place) -> None:
        from rowseal.http.middleware import GateMiddleware

        seen: list[bytes] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.extend(name for name, _ in scope["headers"])
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        token = place.sign(cnf=bound())
        guarded = GateMiddleware(app, gate=place.gate(), public_urls=["https://data.example"])
        assert asked(guarded, token, ("DPoP", proof(token)), ("X-Kept", "1"), scheme="DPoP").status == 200
        assert seen == [b"x-kept"]

    def test_a_reload_makes_no_proof_fresh_again(self, place: Place) -> None:
        gate, token = place.gate(), place.sign(cnf=bound())
        presented = Presented(proof=proof(token), method="POST", urls=(URL,))
        assert code(gate, token, presented) is None
        gate.reload()
        assert code(gate, token, presented) == "proof_replayed"

    def test_the_gateway_knows_its_addresses(self, place: Place) -> None:
        app, token = create_app(place.gate(), public_urls=["https://data.example/", "http://inside:8000"]), place.sign(cnf=bound())
        for url in ("https://data.example/v1/datasets", "http://inside:8000/v1/datasets"):
            made = proof(token, url=url, method="GET")
            assert ask(app, "/v1/datasets", method="GET", headers=[("Authorization", f"DPoP {token}"), ("DPoP", made)]).status == 200

    @pytest.mark.parametrize("url", ["data.example", "https://data.example?x", "https://data.example/#x", "ftp://data.example", ""])
    def test_what_is_no_address_stops_the_start(self, place: Place, url: str) -> None:
        with pytest.raises(ValueError, match="no address of this server"):
            create_app(place.gate(), public_urls=[url])


@pytest.mark.parametrize("claims", [{"allowedOrigins": [PAGE]}, {"cnf": bound()}], ids=["origin", "key"])
def test_the_library_alone_knows_no_holder(place: Place, claims: Any) -> None:
    """Whoever does not say how a token came gets nothing from one that is bound."""
    gate, token = place.gate(), place.sign(**claims)
    assert code(gate, token) in {"origin_refused", "proof_required"}
    assert code(gate, token, Presented()) in {"origin_refused", "proof_required"}


def test_both_bindings_hold_together(place: Place) -> None:
    gate, token = place.gate(), place.sign(allowedOrigins=[PAGE], cnf=bound())

    def presented(origin: str | None, by: str | None) -> Presented:
        return Presented(origin, None if by is None else proof(token, by=by), "POST", (URL,))

    assert code(gate, token, presented(PAGE, "holder")) is None
    assert [code(gate, token, presented(*each)) for each in ((None, "holder"), (PAGE, None), (PAGE, "thief"))] == [
        "origin_refused",
        "proof_required",
        "proof_refused",
    ]


def test_a_dashboard_token_is_bound_alike(place: Place) -> None:
    claims = {"accessType": "standard", "projectId": "p", "userReference": "u", "dataSetIds": ..., "secureFilters": ..., "allowedOrigins": [PAGE]}
    gate, token = place.gate(), place.sign(**claims)
    assert gate.verify_dashboard(token, presented=Presented(origin=PAGE)).user_reference == "u"
    with pytest.raises(TokenRefused, match="origin_refused"):
        gate.verify_dashboard(token)
    strict = place.gate(required(origin="required"))
    with pytest.raises(TokenRefused, match="binding_required"):
        strict.verify_dashboard(place.sign(**claims | {"allowedOrigins": ...}), presented=Presented(origin=PAGE))


def test_an_access_from_before_a_reload_is_refused_when_bindings_are_demanded(place: Place) -> None:
    gate = place.gate()
    access = gate.verify(place.sign())
    document = copy.deepcopy(configuration())
    document["tokens"][0]["origin"] = "required"
    place.file.write_text(yaml.safe_dump(document))
    gate.reload()
    with pytest.raises(TokenRefused, match="binding_required"):
        access.execute("SELECT 1 AS one FROM orders")


@pytest.mark.parametrize("written", ["yes", "none", True])
def test_a_demand_is_one_of_two_words(place: Place, written: object) -> None:
    with pytest.raises(Misconfigured, match="dpop"):
        place.gate(lambda document: document["tokens"][0].update(dpop=written))


def test_keys_of_one_file_may_demand_different_things(place: Place) -> None:
    machines = {"profile": "vizzly", "dpop": "required", "keys": [{"id": "machines", "public_key": public_pem("machines")}]}
    gate = place.gate(lambda document: document["tokens"].append(machines))
    assert code(gate, place.sign()) is None
    assert code(gate, place.sign(signer="machines")) == "binding_required"


def test_the_snippets_of_the_page_do_what_it_says(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """bind-tokens.md: the claims are taken, the configuration loads, the library's function answers a holder alone."""
    page = (Path(__file__).resolve().parents[1] / "docs/how-to/bind-tokens.md").read_text(encoding="utf-8")

    def fences(language: str) -> list[str]:
        return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)

    origins, cnf = map(json.loads, fences("json"))
    assert code(place.gate(), place.sign(**origins), Presented(origin=origins["allowedOrigins"][0])) is None
    assert code(place.gate(), place.sign(**cnf)) == "proof_required"

    (entries,) = fences("yaml")
    written = yaml.safe_load(entries)["tokens"]
    for entry in written:
        entry["keys"] = [{"id": entry["keys"][0]["id"], "public_key": public_pem(entry["keys"][0]["id"])}]
    strict = place.gate(lambda document: document.update(tokens=written))
    assert [code(strict, place.sign(signer=name)) for name in ("pages", "machines")] == ["binding_required"] * 2

    serving, library = fences("python")
    names: dict[str, Any] = {"create_app": create_app, "gate": place.gate()}
    exec(compile(serving, "bind-tokens.md", "exec"), names)
    monkeypatch.chdir(place.folder)
    exec(compile(library, "bind-tokens.md", "exec"), names)
    try:
        token = place.sign(cnf=bound())
        url = "https://data.example.com/ask"
        assert names["answer"](token, None, proof(token, url=url)) == [(3,)]
        with pytest.raises(TokenRefused, match="proof_required"):
            names["answer"](token, None, None)
    finally:
        names["gate"].close()
