"""Holes in how tokens are proven, ended and counted, that were found by attacking the product: one named test each."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from sqlalchemy import make_url

from issuer import Clock, Issuer, drip, jwk
from place import OWN, Place, public_pem
from rowseal import cli, errors
from rowseal.app import create_admin
from rowseal.claims import KeyFacts
from rowseal.dpop import LIVES_SECONDS, Seen
from rowseal.gate import Gate
from rowseal.keys import KeyRefused, Source, read_secret, secrets
from rowseal.keys.remote import Unfetched, fetch
from rowseal.keys.store import Store
from rowseal.keys.watch import KeySet
from rowseal.revocation import Kind, Revocation, RevocationFile, StateDatabase

NOW = 1_800_000_000.0
ORDERS = "SELECT order_id FROM orders"
SECRET = "3q2+7wD1m8Jx5Zc9Kf0aLr6TtYvUiOpHnGbQsWdEeXc="


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer.running() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


def code(act: Callable[[], object]) -> str:
    try:
        act()
    except errors.Refused as refusal:
        return refusal.code
    return "taken"


def shared(place: Place) -> dict[str, Any]:
    """`state:` in a database that is there."""
    url = f"sqlite:///{place.folder / 'state.db'}"
    with closing(sqlite3.connect(place.folder / "state.db")):
        store = StateDatabase(make_url(url), "revoked")
    store.create()
    store.close()
    return {"database": url, "table": "revoked"}


def change(keys: list[dict[str, Any]], *, state: dict[str, Any] | None = None, **settings: Any) -> Callable[[dict[str, Any]], None]:
    def made(document: dict[str, Any]) -> None:
        document["tokens"][0].update(keys=keys, **settings)
        if state is not None:
            document["state"] = state

    return made


# --- one use, idle tokens --------------------------------------------------------------------------------------------------------------------


def test_a_token_of_a_shared_secret_holds_for_one_use_at_every_process(place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process has a name of its own for a secret, and the use was noted under that: each took the token once, and each restart again."""
    (place.folder / "secret").write_text(SECRET)
    key = {"id": "shop", "secret_file": "secret", "allow_symmetric": True}
    made = change([key], state=shared(place), one_time=True)
    token = jwt.encode({"dataSetIds": ["orders"], "secureFilters": {"orders": OWN}, "exp": int(NOW) + 600, "jti": "a"}, SECRET, algorithm="HS256")
    first = place.gate(made, clock=clock)
    monkeypatch.setattr(secrets, "_NAMING", os.urandom(32))  # as another process has it
    second = place.gate(made, clock=clock)
    assert [code(lambda gate=gate: gate.verify(token)) for gate in (first, second, first)] == ["taken", "token_replayed", "token_replayed"]  # type: ignore[misc]


def remembered(place: Place, clock: Clock, issuer: Issuer, **settings: Any) -> tuple[Gate, str]:
    """A gate whose keys are confirmed for ten minutes at a time, and a token of two hours."""
    issuer.publish("a")
    key = {"id": "issuer", "jwks_url": issuer.url, "development": True, "refresh": {"at_most": "5m", "max_stale": "10m"}}
    gate = place.gate(change([key], state=shared(place), **settings), clock=clock, watch_keys=False)
    return gate, place.sign(signer="a", jti="1", iat=int(NOW), exp=int(NOW) + 7200)


def later(gate: Gate, clock: Clock, seconds: float) -> None:
    """Time passes, keys are confirmed anew, and what has ended is forgotten."""
    clock.now += seconds
    gate.refresh_keys()
    assert gate._state.uses is not None
    gate._state.uses.sweep()


def test_a_used_token_is_remembered_for_its_own_life_and_not_for_its_key_s(place: Place, clock: Clock, issuer: Issuer) -> None:
    """The use was forgotten an hour after the key had to be fetched again, and the token held once more."""
    gate, token = remembered(place, clock, issuer, one_time=True)
    assert code(lambda: gate.verify(token)) == "taken"
    later(gate, clock, 6000)
    assert code(lambda: gate.verify(token)) == "token_replayed"


def test_an_idle_token_stays_ended_for_its_own_life(place: Place, clock: Clock, issuer: Issuer) -> None:
    gate, token = remembered(place, clock, issuer, inactivity="2m")
    assert code(lambda: gate.verify(token)) == "taken"
    later(gate, clock, 200)
    assert code(lambda: gate.verify(token)) == "token_idle"
    later(gate, clock, 5800)
    assert code(lambda: gate.verify(token)) == "token_idle"


def test_a_fresh_token_without_iat_is_no_older_because_its_key_is_confirmed_for_less(place: Place, clock: Clock, issuer: Issuer) -> None:
    """When it was issued was counted back from the end of its key: fresh tokens were refused long after a revocation."""
    issuer.publish("a")
    key = {"id": "issuer", "jwks_url": issuer.url, "development": True, "refresh": {"at_most": "5m", "max_stale": "10m"}}
    store = RevocationFile(place.folder / "revoked")
    store.create()
    store.append(Revocation(Kind.ALL, "", NOW - 60, NOW - 60))
    gate = place.gate(change([key], state={"file": "revoked"}), clock=clock, watch_keys=False)
    assert code(lambda: gate.verify(place.sign(signer="a", exp=int(NOW) + 7200))) == "taken"
    assert code(lambda: gate.verify(place.sign(signer="a", exp=int(NOW) + 7000))) == "token_revoked"


# --- revoked keys ----------------------------------------------------------------------------------------------------------------------------


def test_revoking_an_entry_of_keys_ends_the_keys_of_its_directory(place: Place, clock: Clock) -> None:
    """`rowseal revoke key` said that it was done, took the entry's id only, and no key of a directory has that one."""
    (place.folder / "keys").mkdir()
    for name in ("one", "two"):
        (place.folder / "keys" / f"{name}.pem").write_text(public_pem(name))
    RevocationFile(place.folder / "revoked").create()
    gate = place.gate(change([{"id": "team", "directory": "keys"}], state={"file": "revoked"}), clock=clock, watch_keys=False)
    tokens = [place.sign(signer=name, iat=int(NOW), exp=int(NOW) + 600) for name in ("one", "two")]

    def run(*words: str) -> int:
        return cli.run(["revoke", "key", *words, "--config", str(place.file)], out=StringIO(), err=StringIO(), stdin=StringIO(), clock=clock)

    def revoke(name: str) -> list[str]:
        assert run(name, "--for-good") == 0
        gate._state.watch.look()
        return [code(lambda token=token: gate.verify(token)) for token in tokens]  # type: ignore[misc]

    assert revoke("team/one") == ["token_revoked", "taken"]
    assert revoke("team") == ["token_revoked", "token_revoked"]
    assert run("one") != 0


def test_taking_out_what_has_ended_leaves_the_link_to_the_file(tmp_path: Path) -> None:
    """It was replaced by a file of its own: whoever reads the file under its own name learned of nothing that came later."""
    (tmp_path / "kept").mkdir()
    real, link = RevocationFile(tmp_path / "kept" / "revoked"), RevocationFile(tmp_path / "link")
    real.create()
    (tmp_path / "link").symlink_to(tmp_path / "kept" / "revoked")
    link.append(Revocation(Kind.JTI, "old", None, 1.0))
    link.rewrite(lambda _: [])
    link.append(Revocation(Kind.JTI, "new", None, 2.0))
    assert [each.name for each in real.revocations()] == ["new"]


# --- keys ------------------------------------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_does_not_stop_the_fetching(issuer: Issuer) -> None:
    """The next fetch was due when the clock showed what it had shown before: until then a key that its issuer took back was good."""
    issuer.publish("a")
    keys = KeySet(Source("jwks_url", issuer.url, KeyFacts("issuer", "vizzly", development=True)))
    keys.look(NOW)
    issuer.publish("b")
    keys.look(NOW - 86_400)
    assert [each.key.kid for each in keys.seen.keys] == ["b"]


def test_a_slow_name_server_does_not_end_the_bound_on_a_slow_answer(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends a fetch in time ran out while the name was looked up, and from then on nothing ended it."""
    ask = socket.getaddrinfo

    def slow(*given: Any, **more: Any) -> Any:
        time.sleep(0.15)
        return ask(*given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    issuer.answer = drip(b"x", 3)
    began = time.monotonic()
    with pytest.raises(Unfetched, match="takes too long"):
        fetch(issuer.url, timeout=0.1)
    assert time.monotonic() - began < 2


def test_an_issuer_cannot_take_a_key_that_stands_in_a_directory(place: Place, issuer: Issuer, clock: Clock) -> None:
    """Whoever publishes a key has not shown that it is theirs: its tokens must not follow their rules because their entry stands first."""
    (place.folder / "keys").mkdir()
    (place.folder / "keys" / "shop.pem").write_text(public_pem())
    issuer.publish(jwk("shop"), "a")
    keys = [{"id": "issuer", "jwks_url": issuer.url, "development": True}, {"id": "team", "directory": "keys"}]
    gate = place.gate(change(keys), clock=clock, watch_keys=False)
    assert gate.verify(place.token(clock=clock)).grant.key.id == "team/shop"
    assert gate.verify(place.token(signer="a", clock=clock)).grant.key.id == "issuer"


@pytest.mark.parametrize("wrap", [base64.b64encode, base64.urlsafe_b64encode, lambda text: base64.b64encode(base64.b64encode(text))])
def test_a_public_key_in_base64_is_no_secret(wrap: Callable[[bytes], bytes]) -> None:
    """As environment variables often hold it. Whoever has the public key could sign with its text."""
    with pytest.raises(KeyRefused, match="no shared secret"):
        read_secret(wrap(public_pem().encode()).decode(), facts=KeyFacts("shop", "vizzly"))


# --- counting --------------------------------------------------------------------------------------------------------------------------------


def test_values_in_the_select_of_a_dataset_count_as_named(place: Place, clock: Clock) -> None:
    """With `{{ trusted.x }}` the holder of a key went through all tenants, and none was counted."""

    def mine(document: dict[str, Any]) -> None:
        document["tokens"][0]["keys"][0]["max_values_per_hour"] = 2
        document["datasets"].append(
            {
                "id": "mine",
                "sql": "SELECT id, amount FROM orders WHERE user_id = {{ trusted.user }}",
                "reads_past": ["orders"],
                "parameters": {"user": {"type": "number"}},
                "public": True,
                "fields": [{"id": "id", "type": "number"}, {"id": "amount", "type": "number"}],
            }
        )

    gate = place.gate(mine, clock=clock)

    def asked(user: int) -> str:
        token = place.sign(dataSetIds=["mine"], secureFilters={}, parameters={"user": user}, exp=int(NOW) + 600)
        return code(lambda: gate.verify(token).execute("SELECT id FROM mine"))

    assert [asked(user) for user in (7, 8, 7, 9)] == ["taken", "taken", "taken", "key_values_spent"]


# --- proofs ----------------------------------------------------------------------------------------------------------------------------------


def test_a_clock_that_leaps_and_comes_back_makes_no_proof_fresh(clock: Clock) -> None:
    """While it was ahead, what had been taken was forgotten."""
    seen = Seen()
    seen.take("key", "a", NOW, now=NOW)
    seen.take("key", "b", NOW + 3600, now=NOW + 3600)
    assert code(lambda: seen.take("key", "a", NOW, now=NOW + 1)) == "proof_refused"
    assert code(lambda: seen.take("key", "c", NOW + 1, now=NOW + 1)) == "taken"
    assert LIVES_SECONDS < 3600


def test_a_key_that_is_written_over_in_place_is_read_again_whatever_its_date(place: Place, clock: Clock) -> None:
    """As `cp -p` writes it: same name, size, inode and date. The key that was there stayed good."""
    file = place.folder / "keys" / "shop.pem"
    file.parent.mkdir()
    file.write_text(public_pem("old"))
    gate = place.gate(change([{"id": "team", "directory": "keys"}]), clock=clock, watch_keys=False)
    about = file.stat()
    file.write_text(public_pem("new"))
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_ino) == (about.st_size, about.st_ino)
    gate._state.keys.watched[0].look(clock())
    gate._state.keys._compose()
    assert [code(lambda name=name: gate.verify(place.token(signer=name, clock=clock))) for name in ("old", "new")] == ["signature_invalid", "taken"]  # type: ignore[misc]


def test_an_uploaded_key_states_its_scope(place: Place, clock: Clock) -> None:
    """`datasets: null` stood for all that the directory may, as if nobody had to say so."""
    (place.folder / "keys").mkdir()
    gate = place.gate(change([{"id": "team", "directory": "keys"}]), clock=clock, watch_keys=False)
    transport, secret = httpx.ASGITransport(create_admin(gate, secret="s" * 32)), {"authorization": f"Bearer {'s' * 32}"}

    async def put(**scope: Any) -> tuple[int, str]:
        async with httpx.AsyncClient(transport=transport, base_url="http://admin", headers=secret) as client:
            answer = await client.put("/v1/keys/a", json={"key": public_pem("a"), **scope})
            return answer.status_code, answer.json()["code"]

    assert {asyncio.run(put(**each)) for each in ({}, {"datasets": None}, {"datasets": []}, {"datasets": ""})} == {(400, "key_refused")}
    assert list((place.folder / "keys").glob("a*")) == []


def test_a_subject_is_revoked_as_it_is_written(place: Place, clock: Clock) -> None:
    """A blank at its end was taken away, so that whoever has one could not be revoked."""
    RevocationFile(place.folder / "revoked").create()
    gate = place.gate(change([{"id": "shop", "public_key": public_pem()}], state={"file": "revoked"}, subject="sub"), clock=clock)
    token = place.sign(sub="ann ", iat=int(NOW), exp=int(NOW) + 600)
    said = ["revoke", "subject", "--for-good", "--config", str(place.file)]
    assert cli.run([*said, "ann "], out=StringIO(), err=StringIO(), stdin=StringIO(), clock=clock) == 0
    assert cli.run([*said, "-"], out=StringIO(), err=StringIO(), stdin=StringIO("bob\n"), clock=clock) == 0
    gate._state.watch.look()  # type: ignore[union-attr]
    assert code(lambda: gate.verify(token)) == "token_revoked"
    assert code(lambda: gate.verify(place.sign(sub="bob", iat=int(NOW), exp=int(NOW) + 600))) == "token_revoked"


def test_the_log_of_statements_does_not_name_whom_was_revoked(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    store = StateDatabase(make_url(shared(place)["database"]), "revoked")
    with caplog.at_level(logging.INFO, "sqlalchemy.engine"):
        store.append(Revocation(Kind.SUBJECT, "ann@example.com", None, NOW, "", "left us"))
    store.close()
    assert "INSERT" in caplog.text
    assert "ann@example.com" not in caplog.text


def test_whether_a_name_is_a_key_s_does_not_show_in_who_is_waited_for(place: Place, issuer: Issuer, clock: Clock) -> None:
    """A forged token waited for the issuer's keys where no key had its `kid`, and was refused at once where one had."""
    issuer.publish("a")
    keys = [{"id": "issuer", "jwks_url": issuer.url, "development": True}, {"id": "shop", "public_key": public_pem()}]
    gate = place.gate(change(keys), clock=clock, watch_keys=False)
    gate._state.keys._running = True  # somebody would fetch
    for kid in ("a", "shop", "nonesuch"):
        clock.now += 60
        with pytest.raises(errors.TokenRefused) as refused:
            gate.verify(place.sign(signer="nobody", header={"kid": kid}, exp=int(clock.now) + 600))
        assert (refused.value.code, refused.value.awaited) == ("signature_invalid", True)
        gate.refresh_keys()


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_moment_that_no_clock_in_utc_shows_is_none(place: Place, at: str) -> None:
    """It was taken where a key is added, and could not be written down again: a mistake of ours was all that whoever uploaded it was told."""
    (place.folder / "keys").mkdir()
    store = Store(Source("directory", str(place.folder / "keys"), KeyFacts("team", "vizzly")), frozenset(), {})
    for member in ("not_before", "retire_at"):
        with pytest.raises(KeyRefused, match="must be a date and time with its offset"):
            store.put("a", {"key": public_pem("a"), member: at}, state="pending", now=NOW)
