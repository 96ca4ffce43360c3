"""A token is proven once and remembered until it ends. Each test is a way in which that could let somebody in who must stay out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from place import OWN, Place, public_pem
from rowseal import errors
from rowseal.gate import Gate
from rowseal.gate.recent import Recent
from rowseal.strict import from_base64url, to_base64url
from rowseal.tokens import Verifier

NOW = 1_800_000_000.0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture
def proven(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every token whose signature was looked at, in order."""
    seen: list[str] = []
    verify = Verifier.verify

    def watched(verifier: Verifier, token: str, **more: Any) -> Any:
        seen.append(token)
        return verify(verifier, token, **more)

    monkeypatch.setattr(Verifier, "verify", watched)
    return seen


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def code(gate: Gate, token: str, **more: Any) -> str:
    with pytest.raises(errors.TokenRefused) as refusal:
        gate.verify(token, **more)
    return refusal.value.code


def test_a_token_is_proven_once(place: Place, proven: list[str]) -> None:
    gate = place.gate()
    token = place.token()
    rows = [gate.verify(token).execute("SELECT order_id FROM orders").rows for _ in range(3)]
    assert rows[0] == rows[1] == rows[2] == [(1,), (2,), (3,)]
    assert proven == [token]


def test_it_ends_when_it_ends(place: Place) -> None:
    clock = Clock()
    gate = place.gate(clock=clock)
    token = place.token(minutes=10, clock=clock)
    gate.verify(token)
    clock.now = NOW + 599
    access = gate.verify(token)
    clock.now = NOW + 600
    assert code(gate, token) == "token_expired"
    with pytest.raises(errors.TokenRefused, match="token_expired"):
        access.secure("SELECT 1 AS one FROM orders")


def test_a_clock_that_was_set_back_makes_it_not_yet_valid_again(place: Place, proven: list[str]) -> None:
    clock = Clock()
    gate = place.gate(clock=clock)
    token = place.sign(nbf=int(NOW), exp=int(NOW) + 600)
    gate.verify(token)
    clock.now = NOW - 60
    assert code(gate, token) == "token_not_yet_valid"
    assert proven == [token, token]


def test_what_was_refused_is_proven_every_time(place: Place, proven: list[str]) -> None:
    gate = place.gate()
    stranger = place.sign(signer="somebody else")
    assert [code(gate, stranger) for _ in range(2)] == ["signature_invalid"] * 2
    assert proven == [stranger, stranger]


def test_another_signature_over_the_same_words_is_another_token(place: Place, proven: list[str]) -> None:
    """Whoever knows (r, s) knows (r, -s), which verifies too: what is remembered of the one says nothing of the other."""
    gate = place.gate()
    token = place.sign()
    gate.verify(token)
    signed, _, signature = token.rpartition(".")
    raw = from_base64url(signature)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    assert decode_dss_signature(encode_dss_signature(r, s)) == (r, s)
    twin = f"{signed}.{to_base64url(r.to_bytes(32, 'big') + (order - s).to_bytes(32, 'big'))}"
    gate.verify(twin)
    broken = f"{signed}.{to_base64url(r.to_bytes(32, 'big') + (order - s - 1).to_bytes(32, 'big'))}"
    assert code(gate, broken) == "signature_invalid"
    assert proven == [token, twin, broken]


@pytest.mark.parametrize("position", [0, 40, -60, -1])
def test_no_altered_byte_rides_on_a_remembered_token(place: Place, position: int) -> None:
    gate = place.gate()
    token = place.token()
    gate.verify(token)
    other = "A" if token[position] != "A" else "B"
    altered = token[:position] + other + (token[position:][1:])
    assert code(gate, altered) in {"signature_invalid", "token_malformed", "header_refused", "algorithm_refused"}


def test_two_bearers_never_get_each_other_s_rows(place: Place) -> None:
    gate = place.gate()
    mine, theirs = place.token(), place.token(secure_filters={"orders": [[{"field": "user_id", "op": "=", "value": 8}]]})
    for _ in range(3):
        assert gate.verify(mine).execute("SELECT order_id FROM orders").rows == [(1,), (2,), (3,)]
        assert gate.verify(theirs).execute("SELECT order_id FROM orders").rows == [(5,)]


def test_a_key_that_is_gone_opens_nothing(place: Place) -> None:
    gate = place.gate()
    token = place.token()
    gate.verify(token)
    document = yaml.safe_load(place.file.read_text())
    document["tokens"][0]["keys"][0]["public_key"] = public_pem("another")
    place.file.write_text(yaml.safe_dump(document))
    gate.reload()
    assert code(gate, token) == "signature_invalid"


def test_a_token_of_a_body_does_not_come_in_by_a_header(place: Place) -> None:
    """A header has a smaller bound, whatever was remembered of the same token in a body."""
    gate = place.gate(lambda document: document.update(limits={"token_bytes": 400}))
    token = place.token(secure_filters={"orders": [[{"field": "code", "op": "is_one_of", "value": [f"a{number}" for number in range(100)]}]]})
    assert gate.verify(token, from_body=True).grant.grants("orders")
    assert code(gate, token) == "token_too_large"
    assert gate.verify(token, from_body=True).grant.grants("orders")


@pytest.mark.parametrize("strange", [None, b"a.b.c", "", "é.b.c", "\ud800.b.c", 7])
def test_what_is_no_token_is_refused_as_ever(place: Place, strange: Any) -> None:
    assert code(place.gate(), strange) in {"token_missing", "token_malformed"}


def test_rights_are_read_anew_after_a_reload(place: Place) -> None:
    gate = place.gate()
    token = place.token(data_set_ids=["orders", "customers"], secure_filters={"orders": OWN, "customers": OWN})
    assert gate.verify(token).execute("SELECT name FROM customers").rows == [("Ann",)]
    document = yaml.safe_load(place.file.read_text())
    document["tokens"][0]["keys"][0]["datasets"] = ["orders"]
    place.file.write_text(yaml.safe_dump(document))
    gate.reload()
    with pytest.raises(errors.AccessRefused, match="dataset_unknown"):
        gate.verify(token).execute("SELECT name FROM customers")


def test_what_is_remembered_is_bounded() -> None:
    kept: Recent[int, str] = Recent(entries=3, weight=160)
    for number in range(5):
        kept.put(number, str(number), 10)
    assert [kept.get(number) for number in range(5)] == [None, None, "2", "3", "4"]
    kept.get(2)
    kept.put(5, "5", 10)
    assert (kept.get(3), kept.get(2)) == (None, "2"), "what was asked for last stays"
    kept.put(6, "heavy", 11)
    assert kept.get(6) is None, "more than a sixteenth of the whole"
    kept.put(2, "anew", 1)
    assert (kept.get(2), len(kept)) == ("anew", 3)
    light: Recent[int, str] = Recent(entries=100, weight=160)
    for number in range(40):
        light.put(number, "", 10)
    assert len(light) == 16


def test_many_threads_may_use_one_memory() -> None:
    kept: Recent[int, int] = Recent(entries=50, weight=10_000)
    wrong: list[object] = []

    def use(start: int) -> None:
        for step in range(3_000):
            number = (start + step * 7) % 120
            found = kept.get(number)
            if found not in (None, number):
                wrong.append(found)
            kept.put(number, number, 1 + number % 5)

    threads = [threading.Thread(target=use, args=(start,)) for start in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(kept) <= 50
