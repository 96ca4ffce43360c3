"""Keys that come and go while a gate runs: behind a URL whose owner may be slow, down, wrong or hostile, and in a directory."""

from __future__ import annotations

import gc
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi import ask
from issuer import Clock, Issuer, drip, jwk
from place import Place, private_pem, public_pem
from rowseal import errors
from rowseal.app import create_app
from rowseal.claims import KeyFacts
from rowseal.gate import Gate
from rowseal.keys import KeyRefused
from rowseal.keys.reading import read_published_set
from rowseal.keys.remote import check_url
from rowseal.keys.watch import KeySet

FACTS = KeyFacts("issuer", "vizzly")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer.running() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def entry(issuer: Issuer, **refresh: Any) -> Callable[[dict[str, Any]], None]:
    """Keys from the issuer alone."""

    def change(document: dict[str, Any]) -> None:
        keys = {"id": "issuer", "jwks_url": issuer.url, "development": True, "refresh": {"timeout": "300ms", **refresh}}
        document["tokens"][0]["keys"] = [keys]

    return change


def folder(path: Path, **more: Any) -> Callable[[dict[str, Any]], None]:
    """Keys from a directory alone."""
    path.mkdir(exist_ok=True)
    return lambda document: document["tokens"][0].update(keys=[{"id": "team", "directory": str(path), **more}])


def code(gate: Gate, token: str) -> str:
    """What becomes of a token."""
    try:
        gate.verify(token)
    except errors.TokenRefused as refusal:
        return refusal.code
    return "taken"


def watched(gate: Gate) -> KeySet:
    found = gate._state.keys.watched[0]
    assert isinstance(found, KeySet)
    return found


# --- a URL -----------------------------------------------------------------------------------------------------------------------------------


def test_keys_of_a_url_verify_and_go_when_they_are_published_no_longer(place: Place, issuer: Issuer, clock: Clock) -> None:
    issuer.publish("a")
    gate = place.gate(entry(issuer), clock=clock, watch_keys=False)
    a, b = (place.token(signer=name, clock=clock) for name in "ab")
    access = gate.verify(a)
    assert access.execute("SELECT order_id FROM orders").rows == [(1,), (2,), (3,)]
    assert code(gate, b) == "signature_invalid"
    issuer.publish("b")
    gate.refresh_keys()
    assert (code(gate, a), code(gate, b)) == ("signature_invalid", "taken"), "also the token that was remembered"
    with pytest.raises(errors.TokenRefused, match="signature_invalid"):
        access.execute("SELECT order_id FROM orders")


def test_a_fetch_that_changes_nothing_leaves_what_was_proven(place: Place, issuer: Issuer, clock: Clock) -> None:
    issuer.publish("a")
    gate = place.gate(entry(issuer), clock=clock, watch_keys=False)
    before = gate._state.keys.ring
    clock.now += 4000
    gate.refresh_keys()
    after = gate._state.keys.ring
    assert after is not before
    assert after.epoch == before.epoch
    assert after.verifier.keys[0].confirmed_until == before.verifier.keys[0].confirmed_until + 4000


@pytest.mark.parametrize(
    ("said", "seconds"),
    [({}, 3600), ({"cache_control": "max-age=600"}, 600), ({"cache_control": "public, max-age=1"}, 60), ({"cache_control": "max-age=999999"}, 3600),
     ({"cache_control": "no-store"}, 60), ({"cache_control": "max-age=nonsense"}, 3600)],
)  # fmt: skip
def test_it_is_fetched_again_when_the_issuer_says_within_the_bounds(place: Place, issuer: Issuer, clock: Clock, said: dict[str, str], seconds: int) -> None:
    issuer.publish("a", **said)
    gate = place.gate(entry(issuer), clock=clock, watch_keys=False)
    asked = issuer.asked
    clock.now += seconds - 1
    watched(gate).look(clock())
    assert issuer.asked == asked
    clock.now += 1
    watched(gate).look(clock())
    assert issuer.asked == asked + 1


BROKEN: dict[str, Callable[[Issuer], None]] = {
    "garbage": lambda issuer: setattr(issuer, "body", b"<html>\xff"),
    "not a key set": lambda issuer: setattr(issuer, "body", b'{"keys": {}}'),
    "two meanings": lambda issuer: setattr(issuer, "body", b'{"keys": [], "keys": []}'),
    "deep": lambda issuer: setattr(issuer, "body", b'{"keys":' + b"[" * 100_000),
    "huge": lambda issuer: setattr(issuer, "body", b" " * 600_000),
    "many": lambda issuer: setattr(issuer, "body", json.dumps({"keys": [jwk("a")] * 51}).encode()),
    "an error": lambda issuer: setattr(issuer, "status", 500),
    "a redirect": lambda issuer: (setattr(issuer, "status", 302), issuer.headers.update(location=issuer.url)),
    "compressed": lambda issuer: issuer.headers.update({"content-encoding": "gzip"}),
    "silent": lambda issuer: setattr(issuer, "answer", lambda _: time.sleep(0.6)),
    "no HTTP": lambda issuer: setattr(issuer, "answer", lambda handler: handler.wfile.write(b"hello\r\n\r\n")),
    "slow heads": lambda issuer: setattr(issuer, "answer", drip(b"x", 1.5)),
    "slow bodies": lambda issuer: setattr(issuer, "answer", _slow_body),
    "cut off": lambda issuer: setattr(issuer, "answer", _short),
}


def _slow_body(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.0 200 OK\r\ncontent-length: 4000\r\n\r\n")
    drip(b" ", 1.5)(handler)


def _short(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b'HTTP/1.0 200 OK\r\ncontent-length: 4000\r\n\r\n{"keys": []}')


@pytest.mark.parametrize("how", BROKEN)
def test_an_issuer_that_fails_costs_a_bounded_time_and_its_keys_are_used_until_they_are_too_old(place: Place, issuer: Issuer, clock: Clock, how: str) -> None:
    issuer.publish("a")
    gate = place.gate(entry(issuer, max_stale="2h"), clock=clock, watch_keys=False)
    token = place.token(signer="a", clock=clock, minutes=119)
    assert (gate.key_condition(), code(gate, token)) == ("fresh", "taken")
    BROKEN[how](issuer)
    clock.now += 3600
    begun = time.monotonic()
    gate.refresh_keys()
    assert time.monotonic() - begun < 1.2
    assert (gate.key_condition(), code(gate, token)) == ("stale", "taken")
    clock.now += 3600 - 1
    assert code(gate, place.token(signer="a", clock=clock)) == "taken"
    clock.now += 1
    late = place.token(signer="a", clock=clock)
    assert [code(gate, each) for each in (late, place.token(signer="stranger", clock=clock))] == ["keys_unavailable"] * 2
    assert gate.key_condition() == "unavailable"
    issuer.publish("a")
    gate.refresh_keys()
    assert (gate.key_condition(), code(gate, late)) == ("fresh", "taken")


def test_an_issuer_that_is_down_at_the_start_lets_the_server_start_and_no_token_in(place: Place, issuer: Issuer, clock: Clock) -> None:
    issuer.status = 503
    gate = place.gate(entry(issuer), clock=clock, watch_keys=False)
    token = place.token(signer="a", clock=clock)
    assert (gate.key_condition(), code(gate, token)) == ("unavailable", "keys_unavailable")

    def asked(path: str, **more: Any) -> Any:
        return ask(create_app(gate, development=True), path, method="GET", **more)

    ready = asked("/readyz")
    assert (ready.status, json.loads(ready.body)) == (503, {"status": "unavailable", "epoch": 1, "keys": "unavailable"})
    answer = asked("/v1/datasets", headers=[("Authorization", f"Bearer {token}")])
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "keys_unavailable")
    issuer.publish("a")
    gate.refresh_keys()
    assert code(gate, token) == "taken"
    assert asked("/readyz").status == 200


def test_a_reload_keeps_what_was_fetched_while_the_issuer_is_down(place: Place, issuer: Issuer, clock: Clock) -> None:
    issuer.publish("a")
    gate = place.gate(entry(issuer), clock=clock, watch_keys=False)
    token = place.token(signer="a", clock=clock)
    issuer.status = 500
    gate.reload()
    assert (gate.key_condition(), code(gate, token)) == ("stale", "taken")


def test_an_unknown_kid_asks_once_in_a_cool_down_and_once_for_itself_in_several(place: Place, issuer: Issuer, clock: Clock) -> None:
    issuer.publish("a")
    gate = place.gate(entry(issuer), clock=clock, watch_keys=False)
    keys = watched(gate)

    def asks(kid: str) -> bool:
        code(gate, place.sign(signer="stranger", header={"kid": kid}))
        return keys.look(clock()) or not keys.seen.fresh

    issuer.asked = 0
    assert [asks(f"new {number}") for number in range(5)] == [False] * 5, "the set was fetched a moment ago"
    assert issuer.asked == 0
    clock.now += 31
    for number in range(5):
        asks(f"new {number}")
    assert issuer.asked == 1
    clock.now += 31
    asks("new 0")
    assert issuer.asked == 1, "this one was asked for in vain"
    asks("new 9")
    assert issuer.asked == 2
    clock.now += 120
    asks("new 0")
    assert issuer.asked == 3
    for number in range(1_200):
        clock.now += 31
        keys.ask(f"another {number}", clock())
        keys.fetching = False
    assert len(keys._missed) == 1_000


def test_the_first_request_with_a_new_key_waits_for_it(place: Place, issuer: Issuer) -> None:
    """The whole way: the server, the thread that fetches, and a token whose key was published after the last fetch."""
    issuer.publish("a")
    gate = place.gate(entry(issuer, cool_down="1ms"))
    issuer.publish("a", "b")
    time.sleep(0.005)
    token = place.token(signer="b")
    answer = ask(place.app(gate), headers=[("Authorization", f"Bearer {token}")], body=b'{"sql": "SELECT order_id FROM orders"}')
    assert (answer.status, json.loads(answer.body)) == (200, [[1], [2], [3]])


@pytest.mark.parametrize(
    ("url", "development", "told"),
    [
        ("http://issuer.example/jwks", True, "write https"),
        ("http://127.0.0.1/jwks", False, "`development: true`"),
        ("http://127.0.0.1.evil.example/jwks", True, "write https"),
        ("file://issuer.example/etc/passwd", True, "https alone"),
        ("file:///etc/passwd", True, "no URL"),
        ("https://user:pw@issuer.example/", False, "no user"),
        ("https://issuer.example/#x", False, "no fragment"),
        ("https:///jwks", False, "no URL"),
        ("https://issuer.example:99999/", False, "no URL"),
        ("https://issuer.example/a b", False, "no URL"),
        ("issuer.example", False, "no URL"),
    ],
)
def test_keys_are_fetched_from_nowhere_that_somebody_else_could_answer_for(place: Place, url: str, development: bool, told: str) -> None:
    with pytest.raises(errors.Misconfigured) as found:
        place.gate(lambda document: document["tokens"][0].update(keys=[{"id": "issuer", "jwks_url": url, "development": development}]))
    assert told in str(found.value)
    assert check_url("https://issuer.example/.well-known/jwks.json?v=1", development=False)


def test_keys_for_other_purposes_are_passed_over_and_dangerous_ones_too() -> None:
    private = {**jwk("b"), "d": "AAAA"}
    entries = [
        jwk("a"),
        jwk("enc", use="enc"),
        {"kty": "oct", "k": "AAAA"},
        private,
        {"kty": "PQ"},
        jwk("RSA", alg="RSA-OAEP"),
        jwk("ops", key_ops=["sign"]),
        7,
    ]
    keys, notes = read_published_set(json.dumps({"keys": entries}).encode(), facts=FACTS)
    assert [key.kid for key in keys] == ["a"]
    assert len(notes) == 7
    assert any("PRIVATE" in note for note in notes)
    assert any("shared secret" in note for note in notes)
    example = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert read_published_set(json.dumps({"keys": [example]}).encode(), facts=FACTS)[0] == ()


def test_a_set_without_a_usable_key_is_believed(place: Place, issuer: Issuer, clock: Clock) -> None:
    """Whoever publishes that a key is gone means it, also of the last one."""
    issuer.publish("a")
    gate = place.gate(entry(issuer), clock=clock, watch_keys=False)
    issuer.publish()
    gate.refresh_keys()
    assert (gate.key_condition(), code(gate, place.token(signer="a", clock=clock))) == ("unavailable", "keys_unavailable")


def test_an_issuer_cannot_take_a_key_that_stands_in_the_file(place: Place, issuer: Issuer, clock: Clock) -> None:
    """Else it could publish another's key, and that one's tokens would follow its rules."""
    issuer.publish("shop", "a")

    def both(document: dict[str, Any]) -> None:
        mine = document["tokens"][0]["keys"]
        entry(issuer)(document)
        document["tokens"][0]["keys"] += mine

    gate = place.gate(both, clock=clock, watch_keys=False)
    assert gate.verify(place.token(clock=clock)).grant.key.id == "shop"
    assert gate.verify(place.token(signer="a", clock=clock)).grant.key.id == "issuer"


def test_two_issuers_may_call_their_keys_alike_and_each_speaks_for_itself(place: Place, issuer: Issuer, clock: Clock) -> None:
    with Issuer.running() as other:
        issuer.publish(jwk("a", kid="1"))
        other.publish(jwk("b", kid="1"))
        keys = [
            {"id": name, "jwks_url": each.url, "issuer": f"https://{name}.example", "development": True} for name, each in (("one", issuer), ("two", other))
        ]
        gate = place.gate(lambda document: document["tokens"][0].update(keys=keys), clock=clock, watch_keys=False)

        def of(signer: str, issuer: str) -> str:
            return code(gate, place.sign(signer=signer, header={"kid": "1"}, iss=f"https://{issuer}.example", exp=int(clock()) + 60))

        assert (of("a", "one"), of("b", "two"), of("a", "two"), of("b", "one")) == ("taken", "taken", "issuer_refused", "issuer_refused")


_NAMES = ["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use", "key_ops", "k", "d", "keys"]
_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(_PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=6), max_leaves=12)
TRUE = {name: st.just(value) | JSON for name, value in jwk("a").items()}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.builds(lambda keys: json.dumps({"keys": keys}).encode(), JSON | st.lists(st.fixed_dictionaries(TRUE) | JSON, max_size=4)))
def test_no_key_set_gives_anything_but_keys_or_a_refusal(text: bytes) -> None:
    try:
        keys, _ = read_published_set(text, facts=FACTS)
    except KeyRefused:
        return
    assert all(key.algorithm in {"ES256", "ES384", "ES512", "EdDSA"} or key.algorithm[:2] in {"RS", "PS"} for key in keys)


# --- a directory -----------------------------------------------------------------------------------------------------------------------------


def test_a_file_that_is_put_into_a_directory_is_a_key_and_one_that_is_removed_is_none(place: Place, clock: Clock) -> None:
    keys = place.folder / "keys"
    gate = place.gate(folder(keys), clock=clock, watch_keys=False)
    assert gate.key_condition() == "unavailable"
    (keys / "a.pem").write_text(public_pem("a"))
    (keys / "b.json").write_text(json.dumps(jwk("b")))
    (keys / "notes.txt").write_text("not a key")
    gate.refresh_keys()
    a, b = (place.token(signer=name, clock=clock) for name in "ab")
    assert gate.verify(a).grant.key.id == "team/a"
    assert gate.verify(b).grant.key.id == "team/b"
    (keys / "a.pem").unlink()
    gate.refresh_keys()
    assert (code(gate, a), code(gate, b)) == ("signature_invalid", "taken")


def test_the_directory_is_watched(place: Place) -> None:
    keys = place.folder / "keys"
    gate = place.gate(folder(keys))
    token = place.token(signer="a")
    assert code(gate, token) == "signature_invalid"
    (keys / "a.pem").write_text(public_pem("a"))
    ends = time.monotonic() + 5
    while code(gate, token) != "taken" and time.monotonic() < ends:
        time.sleep(0.02)
    assert code(gate, token) == "taken"


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("a.pem", private_pem, "PRIVATE"),
        ("a.pem", lambda: public_pem("a") * 2, "2 PEM blocks"),
        ("a.json", lambda: json.dumps({"keys": [jwk("a"), jwk("b")]}), "several keys"),
        ("a.json", lambda: json.dumps({"key": jwk("a"), "development": True}), "member"),
        ("a.json", lambda: json.dumps({"key": jwk("a"), "state": "sleepy"}), "`state`"),
        ("a.json", lambda: json.dumps({"key": jwk("a"), "datasets": ["salaries"]}), "does not allow"),
        ("a.json", lambda: json.dumps({"key": jwk("a"), "retire_at": "tomorrow"}), "`retire_at`"),
        ("a b.pem", public_pem, "name must be"),
        ("a.pem", lambda: "", "no key"),
        ("a.pem", lambda: "x" * 70_000, "larger than"),
    ],
)
def test_a_file_that_is_no_key_stops_the_start_and_later_gives_no_key(place: Place, clock: Clock, file: str, content: Callable[[], str], told: str) -> None:
    keys = place.folder / "keys"
    change = folder(keys, datasets=["orders"])
    (keys / "good.pem").write_text(public_pem("good"))
    gate = place.gate(change, clock=clock, watch_keys=False)
    (keys / file).write_text(content())
    gate.refresh_keys()
    assert [key.facts.id for key in gate.keys] == ["team/good"]
    with pytest.raises(errors.Misconfigured, match="gives no key") as found:
        place.gate(change)
    assert told in str(found.value)


def test_a_directory_that_cannot_be_read_has_no_keys(place: Place, clock: Clock) -> None:
    keys = place.folder / "keys"
    change = folder(keys)
    (keys / "a.pem").write_text(public_pem("a"))
    gate = place.gate(change, clock=clock, watch_keys=False)
    token = place.token(signer="a", clock=clock)
    assert code(gate, token) == "taken"
    keys.rename(place.folder / "elsewhere")
    gate.refresh_keys()
    assert (code(gate, token), gate.key_condition()) == ("keys_unavailable", "unavailable")
    with pytest.raises(errors.Misconfigured, match="cannot be read"):
        place.gate(lambda document: document["tokens"][0].update(keys=[{"id": "team", "directory": str(keys)}]))


def test_a_record_says_what_a_key_may_and_when(place: Place, clock: Clock) -> None:
    keys = place.folder / "keys"
    change = folder(keys)
    record = {"key": jwk("a"), "datasets": ["orders"], "project_id": "prj_shop", "not_before": "2027-01-15T08:00:00Z", "retire_at": "2027-01-15T09:00:00+00:00"}
    (keys / "a.json").write_text(json.dumps(record))
    clock.now = 1_800_000_000.0  # 2027-01-15T08:00:00Z
    gate = place.gate(change, clock=clock, watch_keys=False)
    token = place.token(
        signer="a",
        clock=clock,
        minutes=100,
        data_set_ids=["orders", "customers"],
        secure_filters={"orders": [[{"field": "user_id", "op": "=", "value": 7}]], "customers": [[{"field": "user_id", "op": "=", "value": 7}]]},
    )
    access = gate.verify(token)
    assert access.expires_at == clock.now + 3600
    assert access.execute("SELECT order_id FROM orders").rows
    with pytest.raises(errors.AccessRefused, match="dataset_unknown"):
        access.execute("SELECT name FROM customers")
    assert code(gate, place.token(signer="a", clock=clock, project_id="prj_other")) == "issuer_refused"
    clock.now -= 1
    assert code(gate, token) == "signature_invalid"
    (keys / "a.json").write_text(json.dumps({**record, "state": "pending"}))
    clock.now += 1
    gate.refresh_keys()
    assert code(gate, token) == "signature_invalid"


def test_a_record_holds_against_the_plain_key_beside_it(place: Place, clock: Clock) -> None:
    """A crash may leave both: then the narrower one is what holds."""
    keys = place.folder / "keys"
    change = folder(keys)
    (keys / "a.pem").write_text(public_pem("a"))
    (keys / "a.json").write_text(json.dumps({"key": jwk("a"), "state": "pending"}))
    gate = place.gate(change, clock=clock, watch_keys=False)
    assert gate.keys == ()
    (keys / "a.json").write_text("{")
    gate.refresh_keys()
    assert gate.keys == (), "a record that cannot be read does not open what it narrowed"


def test_nobody_looks_for_a_gate_that_was_let_go(place: Place) -> None:
    """Whoever forgets `close`, as a program does that makes a gate for each of its tests, is left with no thread."""
    running = set(threading.enumerate())
    gate = place.gate(folder(place.folder / "keys"))
    place._gates.clear()
    (looking,) = (each for each in threading.enumerate() if each.name == "rowseal-keys" and each not in running)
    keys = gate._state.keys
    wake = keys._wakes[keys.watched[0].source]
    wake.set()
    del gate, keys
    gc.collect()
    wake.set()
    looking.join(timeout=10)
    assert not looking.is_alive()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_looks_for_itself(place: Place) -> None:
    keys = place.folder / "keys"
    gate = place.gate(folder(keys))
    token = place.token(signer="a")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        ends = time.monotonic() + 5
        while code(gate, token) != "taken" and time.monotonic() < ends:
            time.sleep(0.02)
        os.write(write, code(gate, token).encode())
        os._exit(0)
    os.close(write)
    (keys / "a.pem").write_text(public_pem("a"))
    with os.fdopen(read) as answer:
        assert answer.read() == "taken"
    os.waitpid(child, 0)
