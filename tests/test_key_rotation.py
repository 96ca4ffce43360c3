"""From one key to the next: while both hold no valid token is refused, and of a key that has ended none is taken, remembered or not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asgi import ask
from issuer import Clock, Issuer
from place import Place, public_pem
from rowseal import errors
from rowseal.gate import Gate
from rowseal.keys.records import moment_text

SQL = "SELECT order_id FROM orders"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def keys(*entries: dict[str, Any]) -> Any:
    return lambda document: document["tokens"][0].update(keys=[{"public_key": public_pem(entry["id"]), **entry} for entry in entries])


def refusal(gate: Gate, token: str) -> errors.TokenRefused | None:
    try:
        gate.verify(token)
    except errors.TokenRefused as refused:
        return refused
    return None


def test_two_keys_overlap_and_each_ends_or_begins_on_its_second(place: Place, clock: Clock) -> None:
    """Every token that either signer makes in its time is taken until it ends or its key does; none is outside."""
    start = clock.now
    gate = place.gate(keys({"id": "old", "retire_at": moment_text(start + 600)}, {"id": "new", "not_before": moment_text(start + 300)}), clock=clock)
    held: dict[str, list[str]] = {"old": [], "new": []}
    for minute in range(16):
        clock.now = start + 60 * minute
        for signer, open_now in (("old", minute < 10), ("new", minute >= 5)):
            held[signer].append(place.token(signer=signer, clock=clock, minutes=30))
            assert [refusal(gate, token) is None for token in held[signer]] == [open_now] * len(held[signer]), (signer, minute)
    clock.now = start + 599.999
    assert refusal(gate, held["old"][0]) is None
    clock.now = start + 600
    assert refusal(gate, held["old"][0]) is not None


def test_what_was_proven_ends_with_its_key(place: Place, clock: Clock) -> None:
    gate = place.gate(keys({"id": "old", "retire_at": moment_text(clock.now + 60)}), clock=clock)
    access = gate.verify(place.token(signer="old", clock=clock, minutes=30))
    assert access.expires_at == clock.now + 60
    assert access.execute(SQL).rows
    clock.now += 60
    with pytest.raises(errors.TokenRefused) as refused:
        access.execute(SQL)
    assert (refused.value.code, refused.value.reason, refused.value.key) == ("signature_invalid", "key_retired", "old")


def test_a_stranger_cannot_tell_one_key_from_another_or_from_none(place: Place, clock: Clock) -> None:
    """Unknown, wrong, of another algorithm, too early, too late: one answer to the letter, and five reasons in the log."""
    now = clock.now
    entries = ({"id": "past", "retire_at": moment_text(now - 1)}, {"id": "future", "not_before": moment_text(now + 1)}, {"id": "present"})
    gate = place.gate(keys(*entries), clock=clock)
    app = place.app(gate)
    expires = {"exp": int(now) + 600}
    tokens = {
        "key_unknown": place.sign(signer="stranger", header={"kid": "nobody"}, **expires),
        "signature_wrong": place.sign(signer="stranger", header={"kid": "present"}, **expires),
        "key_algorithm": place.sign(signer="RSA", algorithm="RS256", header={"kid": "present"}, **expires),
        "key_retired": place.sign(signer="past", header={"kid": "past"}, **expires),
        "key_not_yet_valid": place.sign(signer="future", header={"kid": "future"}, **expires),
    }
    answers = set()
    for reason, token in tokens.items():
        refused = refusal(gate, token)
        assert refused is not None
        assert refused.reason == reason
        answer = ask(app, headers=[("Authorization", f"Bearer {token}")], body=b"{}")
        content = json.loads(answer.body)
        content.pop("request_id")
        headers = [(name, value) for name, value in answer.headers if name != "x-request-id"]
        answers.add((answer.status, str(content), str(headers)))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 401
    assert "signature_invalid" in next(iter(answers))[1]


def test_an_issuer_that_turns_its_keys_over_loses_no_token(place: Place, clock: Clock) -> None:
    """Published before it is used, and for as long as its tokens live: the order that every issuer keeps."""
    with Issuer.running() as issuer:
        issuer.publish("a", cache_control="max-age=60")
        gate = place.gate(
            lambda document: document["tokens"][0].update(keys=[{"id": "issuer", "jwks_url": issuer.url, "development": True}]), clock=clock, watch_keys=False
        )
        (watched,) = gate._state.keys.watched
        published = {0: ("a",), 5: ("a", "b"), 10: ("a", "b"), 20: ("b",), 25: ("b", "c"), 40: ("c",)}
        signing = {0: "a", 7: "b", 27: "c"}
        held: list[tuple[float, str, str]] = []
        signer = "a"
        for minute in range(45):
            clock.now += 60
            issuer.publish(*published.get(minute, ()), cache_control="max-age=60") if minute in published else None
            gate._state.keys._look(watched)
            signer = signing.get(minute, signer)
            held.append((clock.now + 600, signer, place.token(signer=signer, clock=clock, minutes=10)))
            assert [token for until, _, token in held if clock.now < until and refusal(gate, token)] == []
        assert issuer.asked >= 40
        stolen = place.token(signer="a", clock=clock)
        refused = refusal(gate, stolen)
        assert refused is not None, "the key of before opens nothing any more"


def test_keys_change_under_load_and_nobody_sees_half_of_it(place: Place) -> None:
    folder = place.folder / "keys"
    folder.mkdir()
    (folder / "always.pem").write_text(public_pem("always"))
    gate = place.gate(lambda document: document["tokens"][0].update(keys=[{"id": "team", "directory": "keys"}]), watch_keys=False)
    token, sometimes = place.token(signer="always"), place.token(signer="sometimes")
    wrong: list[object] = []
    done = threading.Event()

    def use() -> None:
        while not done.is_set():
            if (refused := refusal(gate, token)) is not None:
                wrong.append(refused)
            try:
                gate.verify(sometimes).execute(SQL)
            except errors.TokenRefused as refused:
                if refused.code != "signature_invalid":
                    wrong.append(refused)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        (folder / "sometimes.pem").write_text(public_pem("sometimes"))
        gate.refresh_keys()
        if refusal(gate, sometimes) is not None:
            wrong.append("not taken after it came")
        (folder / "sometimes.pem").unlink()
        gate.refresh_keys()
        if refusal(gate, sometimes) is None:
            wrong.append("taken after it had gone")
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_key_of_one_issuer_verifies_nothing_of_another(place: Place, clock: Clock) -> None:
    one, two = ({"id": name, "issuer": f"https://{name}.example"} for name in ("one", "two"))
    gate = place.gate(keys(one, two), clock=clock)
    expires = {"exp": int(clock.now) + 600}
    assert refusal(gate, place.sign(signer="one", iss="https://one.example", **expires)) is None
    for token in (place.sign(signer="one", iss="https://two.example", **expires), place.sign(signer="one", **expires)):
        refused = refusal(gate, token)
        assert refused is not None
        assert refused.code == "issuer_refused"


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"not_before": "2027-01-01"}, "with its offset"),
        ({"retire_at": "2027-01-01T00:00:00"}, "with its offset"),
        ({"not_before": "2027-01-02T00:00:00Z", "retire_at": "2027-01-01T00:00:00Z"}, "is not later than"),
        ({"refresh": {"timeout": "1s"}}, "for `jwks_url:` alone"),
    ],
)
def test_times_that_mean_nothing_are_found_at_the_start(place: Place, entry: dict[str, Any], told: str) -> None:
    with pytest.raises(errors.Misconfigured, match=told):
        place.gate(keys({"id": "a", **entry}))


def test_an_issuer_beside_a_key_may_not_contradict_its_profile(place: Place) -> None:
    def change(document: dict[str, Any]) -> None:
        keys({"id": "a", "issuer": "https://a.example"})(document)
        document["tokens"][0]["issuer"] = "https://b.example"

    with pytest.raises(errors.Misconfigured, match="contradicts the `issuer:`"):
        place.gate(change)


def test_a_key_with_which_anybody_can_sign_stops_the_start(place: Place) -> None:
    example = '{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}'
    with pytest.raises(errors.Misconfigured, match="anybody can sign"):
        place.gate(keys({"id": "a", "public_key": example}))
    assert place.gate(keys({"id": "a", "public_key": example, "development": True})).keys
