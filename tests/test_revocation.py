"""A token that was revoked is refused at its next use, by whoever accepted it before; and where that cannot be known everything is."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shlex
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from starlette.types import ASGIApp

import servers
from place import OWN, Place, public_pem
from rowseal import cli, errors
from rowseal.app import create_app
from rowseal.claims import Claims, KeyFacts
from rowseal.cli import commands
from rowseal.gate import Gate
from rowseal.revocation import (
    Kind,
    Revocation,
    RevocationFile,
    RevocationMalformed,
    Revoked,
    StateAddress,
    StateDatabase,
    Store,
    StoreDamaged,
    StoreUnavailable,
    Watch,
    open_store,
    pruned,
)
from rowseal.revocation.entry import from_line, to_line
from rowseal.strict import from_base64url, to_base64url

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
HOUR = 3600.0
ORDERS = "SELECT order_id FROM orders"
# The thread reads so seldom that a test decides when the store is read.
FILE = {"file": "revoked.jsonl", "poll": "1h", "max_stale": "2h"}


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Kept(Place):
    """A place whose configuration keeps revocations in a file, and whose operator has a shell."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.clock = Clock()
        self.file_of_revocations = folder / "revoked.jsonl"

    def opened(self, *changes: Callable[[dict[str, Any]], object], state: dict[str, Any] | None = None) -> Gate:
        """A gate over the state, which is made first where it is not there."""

        def change(document: dict[str, Any]) -> None:
            document["state"] = state or FILE
            for each in changes:
                each(document)

        try:
            return self.gate(change, clock=self.clock)
        except errors.Misconfigured:
            assert self.run("revoke", "init") == 0, self.said
            return self.gate(change, clock=self.clock)

    def run(self, *arguments: str, stdin: str = "") -> int:
        out, err = StringIO(), StringIO()
        command = [*arguments, "--config", str(self.file)]
        status = cli.run(command, out=out, err=err, stdin=StringIO(stdin), clock=self.clock)
        self.out, self.said = out.getvalue(), err.getvalue()
        return status

    def revoke(self, *arguments: str) -> None:
        """By the command line; and the gates have read it."""
        assert self.run("revoke", *arguments) == 0, self.said
        self.look()

    def look(self) -> None:
        for gate in self._gates:
            watch = gate._state.watch
            assert isinstance(watch, Watch)
            watch.look()

    def bearer(self, **claims: Any) -> str:
        """A token with an `iat` of now, as any library signs it."""
        given: dict[str, Any] = {"iat": int(self.clock.now), "exp": int(self.clock.now) + 900}
        return self.sign(**(given | claims))


class Client:
    """One request after the other to an app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def get(self, path: str, **more: Any) -> httpx.Response:
        return asyncio.run(self._ask("GET", path, more))

    def post(self, path: str, **more: Any) -> httpx.Response:
        return asyncio.run(self._ask("POST", path, more))

    async def _ask(self, method: str, path: str, more: dict[str, Any]) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=self._app), base_url="http://gateway") as client:
            return await client.request(method, path, **more)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    made.close()


def code(asked: Callable[[], object]) -> str:
    with pytest.raises(errors.Refused) as refusal:
        asked()
    return refusal.value.code


# --- what a revocation names ---------------------------------------------------------------------------------------------------------------


def test_a_token_that_was_accepted_is_refused_from_then_on(place: Kept) -> None:
    gate = place.opened()
    token, other = place.bearer(), place.bearer(jti="another")
    access = gate.verify(token)
    assert access.execute(ORDERS).rows == [(1,), (2,), (3,)]
    (place.folder / "token").write_text(token)
    place.revoke("token", f"@{place.folder / 'token'}")
    # the remembered token, the Access that a handler holds, and each way to use it
    assert code(lambda: gate.verify(token)) == "token_revoked"
    for use in (access.execute, access.secure, access.explain):
        assert code(lambda use=use: use(ORDERS)) == "token_revoked"  # type: ignore[misc]
    assert code(access.datasets) == "token_revoked"
    assert gate.verify(other).execute(ORDERS).rows == [(1,), (2,), (3,)]
    # a gate that starts afterwards
    assert code(lambda: place.opened().verify(token)) == "token_revoked"


def test_an_altered_signature_is_the_same_token(place: Kept) -> None:
    """ECDSA: (r, n - s) verifies as (r, s) does."""
    gate = place.opened()
    token = place.bearer()
    signed, _, signature = token.rpartition(".")
    r, s = (int.from_bytes(from_base64url(signature)[part], "big") for part in (slice(32), slice(32, 64)))
    n = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    assert decode_dss_signature(encode_dss_signature(r, n - s)) == (r, n - s)
    twin = f"{signed}.{to_base64url(r.to_bytes(32, 'big') + (n - s).to_bytes(32, 'big'))}"
    assert gate.verify(twin).execute(ORDERS).rows
    place.revoke("token", hashlib.sha256(signed.encode()).hexdigest())
    assert code(lambda: gate.verify(twin)) == code(lambda: gate.verify(token)) == "token_revoked"


def test_nothing_of_the_token_is_kept_but_its_digest(place: Kept) -> None:
    place.opened()
    token = place.bearer(jti="secret-id")
    (place.folder / "token").write_text(token)
    place.revoke("token", f"@{place.folder / 'token'}", "--reason", "lost")
    kept = place.file_of_revocations.read_text()
    assert all(part not in kept + place.said for part in token.split("."))
    assert "secret-id" not in kept
    (entry,) = place.file_of_revocations.read_text().splitlines()[1:]
    assert json.loads(entry)["name"] == hashlib.sha256(token.rpartition(".")[0].encode()).hexdigest()
    assert json.loads(entry)["until"] == NOW + 900  # so that it can be taken out when the token has ended


def test_a_jti(place: Kept) -> None:
    gate = place.opened()
    revoked, other, without = place.bearer(jti="a"), place.bearer(jti="b"), place.bearer()
    for token in (revoked, other, without):
        gate.verify(token)
    place.revoke("jti", "a")
    assert code(lambda: gate.verify(revoked)) == "token_revoked"
    assert gate.verify(other).execute(ORDERS).rows
    assert gate.verify(without).execute(ORDERS).rows


@pytest.mark.parametrize("strange", [7, "", None, ["a"], "x" * 257])
def test_a_jti_by_which_nobody_could_revoke_is_refused(place: Kept, strange: object) -> None:
    assert code(lambda: place.opened().verify(place.bearer(jti=strange))) == "claim_invalid"


def with_subject(document: dict[str, Any]) -> None:
    document["tokens"][0]["subject"] = "parameters.user"


def test_a_subject_s_tokens_of_before_and_none_after(place: Kept) -> None:
    gate = place.opened(with_subject)
    anna, ben, number = (place.bearer(parameters={"user": user}) for user in ("anna", "ben", 7))
    for token in (anna, ben, number):
        gate.verify(token)
    place.clock.now += 10
    place.revoke("subject", "anna")
    place.revoke("subject", "7")
    assert code(lambda: gate.verify(anna)) == code(lambda: gate.verify(number)) == "token_revoked"
    assert gate.verify(ben).execute(ORDERS).rows
    place.clock.now += 1
    assert gate.verify(place.bearer(parameters={"user": "anna"})).execute(ORDERS).rows  # signed in again
    place.revoke("subject", "anna", "--for-good")
    place.clock.now += HOUR
    assert code(lambda: gate.verify(place.bearer(parameters={"user": "anna"}))) == "token_revoked"


@pytest.mark.parametrize("parameters", [..., {}, {"user": None}, {"user": ""}, {"user": ["anna"]}, {"user": True}, {"user": 1.5}, {"user": "x" * 257}])
def test_where_a_subject_is_configured_each_token_has_one(place: Kept, parameters: object) -> None:
    """Else whoever leaves it out could not be revoked."""
    assert code(lambda: place.opened(with_subject).verify(place.bearer(parameters=parameters))) == "claim_invalid"


def test_a_key_s_tokens(place: Kept) -> None:
    gate = place.opened(lambda document: document["tokens"][0]["keys"].append({"id": "second", "public_key": public_pem("second")}))
    first, second = place.bearer(), place.bearer(signer="second")
    place.clock.now += 1
    place.revoke("key", "shop")
    assert code(lambda: gate.verify(first)) == "token_revoked"
    assert gate.verify(second).execute(ORDERS).rows
    assert gate.verify(place.bearer()).execute(ORDERS).rows
    place.revoke("key", "shop", "--for-good", "--reason", "the private half was in a backup")
    place.clock.now += HOUR
    assert code(lambda: gate.verify(place.bearer())) == "token_revoked"


def test_everything_issued_before_a_moment(place: Kept) -> None:
    gate = place.opened()
    tokens = [place.bearer(iat=int(NOW) + seconds, exp=int(NOW) + 3000) for seconds in (-60, 0)]
    place.revoke("all", "--before", "2027-01-15T08:00:00Z")
    assert code(lambda: gate.verify(tokens[0])) == "token_revoked"
    assert gate.verify(tokens[1]).execute(ORDERS).rows


def test_a_token_without_iat_counts_as_old_as_it_may_be(place: Kept) -> None:
    """The expiry minus `max_lifetime`, two hours: more is refused than was meant, never less."""
    gate = place.opened()
    token = place.sign(exp=int(NOW) + 900)
    place.revoke("all", "--before", "2027-01-15T06:15:00Z")
    assert gate.verify(token).execute(ORDERS).rows
    place.revoke("all", "--before", "2027-01-15T06:15:01Z")
    assert code(lambda: gate.verify(token)) == "token_revoked"


def test_a_dataset_is_closed_to_the_tokens_of_before_and_they_go_on_reading_the_others(place: Kept) -> None:
    gate = place.opened()
    filters = {"orders": OWN, "customers": OWN}
    token = place.bearer(dataSetIds=["orders", "customers", "items"], secureFilters=filters)
    access = gate.verify(token)
    assert access.execute("SELECT id FROM items").rows == [(1,)]
    assert access.execute(ORDERS).rows == [(1,), (2,), (3,)]
    place.clock.now += 1
    place.revoke("dataset", "orders")
    for bearer in (access, gate.verify(token)):
        assert code(lambda bearer=bearer: bearer.execute(ORDERS)) == "dataset_revoked"  # type: ignore[misc]
        assert code(lambda bearer=bearer: bearer.execute("SELECT id FROM items")) == "dataset_revoked"  # type: ignore[misc]  # read through it
        assert bearer.execute("SELECT name FROM customers").rows == [("Ann",)]
    # whoever is not granted it learns nothing of it
    stranger = gate.verify(place.bearer(iat=int(NOW), dataSetIds=["customers"], secureFilters=filters))
    assert code(lambda: stranger.execute(ORDERS)) == code(lambda: stranger.execute("SELECT id FROM nothing_here")) == "dataset_unknown"
    assert gate.verify(place.bearer(dataSetIds=["orders"])).execute(ORDERS).rows == [(1,), (2,), (3,)]


def test_whoever_cannot_sign_learns_nothing_of_what_is_revoked(place: Kept) -> None:
    gate = place.opened(with_subject)
    token = place.bearer(jti="a", parameters={"user": "anna"})
    place.revoke("jti", "a")
    forged = place.bearer(signer="somebody", jti="a", parameters={"user": "anna"})
    assert code(lambda: gate.verify(forged)) == code(lambda: gate.verify(place.bearer(signer="somebody"))) == "signature_invalid"
    assert code(lambda: gate.verify(token[:-8] + "AAAAAAAA")) == "signature_invalid"


def test_a_dashboard_token_is_ended_likewise(place: Kept) -> None:
    gate = place.opened()
    token = place.tokens(clock=place.clock)["dashboardAccessToken"]
    access = gate.verify_dashboard(token)
    access.require_live()
    place.revoke("subject", "user 7")
    assert "dashboard tokens ALONE" in place.said
    assert "WARNING: data access tokens go on" in place.said
    assert code(access.require_live) == code(lambda: gate.verify_dashboard(token)) == "token_revoked"


def test_a_reload_forgets_nothing(place: Kept) -> None:
    gate = place.opened()
    token, fresh = place.bearer(), place.bearer(jti="fresh")
    access, kept = gate.verify(token), gate.verify(fresh)
    (place.folder / "token").write_text(token)
    assert place.run("revoke", "token", f"@{place.folder / 'token'}") == 0
    gate.reload()
    assert code(lambda: gate.verify(token)) == code(lambda: access.execute(ORDERS)) == "token_revoked"
    assert kept.execute(ORDERS).rows


def test_without_state_nothing_is_asked(place: Kept) -> None:
    gate = place.gate(clock=place.clock)
    assert gate.verify(place.bearer()).execute(ORDERS).rows
    assert place.run("revoke", "all") == 1
    assert "has no `state:`" in place.said


# --- what is asked of a use ------------------------------------------------------------------------------------------------------------------


def test_a_use_costs_one_comparison_as_long_as_nothing_changes(place: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = place.opened()
    asked: list[str] = []
    refuses = Revoked.refuses

    def watched(revoked: Revoked, claims: Claims, subject: str | None) -> bool:
        asked.append(claims.digest)
        return refuses(revoked, claims, subject)

    monkeypatch.setattr(Revoked, "refuses", watched)
    token = place.bearer()
    for _ in range(5):
        gate.verify(token).execute(ORDERS)
    assert len(asked) == 1
    place.revoke("jti", "of somebody else")
    for _ in range(5):
        gate.verify(token).execute(ORDERS)
    assert len(asked) == 2


def test_a_revocation_never_opens_anything() -> None:
    """Of two about the same the wider holds, in whichever order they were written."""
    key = KeyFacts("k", "vizzly")
    claims = Claims(key, {}, NOW + 900, "ab" * 32, None, NOW, "id")
    narrow, wide = (Revocation(Kind.KEY, "k", before, NOW) for before in (NOW - 1, NOW + 1))
    for written in ([narrow, wide], [wide, narrow]):
        assert Revoked.of(written).refuses(claims, None)
    assert not Revoked.of([narrow]).refuses(claims, None)


# --- the file --------------------------------------------------------------------------------------------------------------------------------

ENTRY = Revocation(Kind.SUBJECT, "anna", NOW, NOW, "op", "left")


@pytest.fixture
def file(tmp_path: Path) -> RevocationFile:
    made = RevocationFile(tmp_path / "revoked.jsonl")
    made.create()
    return made


def test_a_line_says_what_was_written() -> None:
    for each in (
        ENTRY,
        Revocation(Kind.TOKEN, "ab" * 32, None, NOW, until=NOW + 9.5),
        Revocation(Kind.ALL, "", 12.25, NOW),
        Revocation(Kind.JTI, 'ü"\n', None, NOW),
    ):
        assert from_line(to_line(each).encode()) == each
        assert "\n" not in to_line(each)


@pytest.mark.parametrize(
    "line",
    [
        "", "{}", "[]", "null", '{"kind":"subject"}', '{"kind":"subject","name":"a","at":1}', '{"kind":"person","name":"a","before":1,"at":1}',
        '{"kind":"subject","name":"a","before":1,"at":1,"more":1}', '{"kind":"subject","name":"a","before":1,"at":1,"at":2}',
        '{"kind":"subject","name":"","before":1,"at":1}', '{"kind":"subject","name":7,"before":1,"at":1}', '{"kind":"subject","name":"a","before":"1","at":1}',
        '{"kind":"subject","name":"a","before":true,"at":1}',
        '{"kind":"subject","name":"a","before":-1,"at":1}', '{"kind":"subject","name":"a","before":1e30,"at":1}',
        '{"kind":"token","name":"AB","before":null,"at":1}', '{"kind":"jti","name":"a","before":1,"at":1}', '{"kind":"all","name":"a","before":1,"at":1}',
        '{"kind":"all","before":1,"at":1,"until":2}', '{"kind":"all","before":1,"at":1} ',
    ],
)  # fmt: skip
def test_what_is_not_exactly_a_revocation_closes_everything(file: RevocationFile, tmp_path: Path, line: str) -> None:
    path = tmp_path / "revoked.jsonl"
    if line.endswith(" "):
        from_line(line.encode())  # a blank at the end is JSON's own business
        return
    with pytest.raises(RevocationMalformed):
        from_line(line.encode())
    path.write_text(f"{path.read_text()}{to_line(ENTRY)}\n{line}\n{to_line(ENTRY)}\n")
    with pytest.raises(StoreDamaged, match="line 3"):
        file.read()


def test_wherever_a_writer_is_killed_what_was_written_before_holds(file: RevocationFile, tmp_path: Path) -> None:
    """Every byte at which a line may end, and the next writer after it."""
    path = tmp_path / "revoked.jsonl"
    file.append(ENTRY)
    before = path.read_bytes()
    file.append(Revocation(Kind.SUBJECT, "ben", NOW, NOW))
    line = path.read_bytes()[len(before) :]
    for cut in range(len(line)):
        path.write_bytes(before + line[:cut])
        revoked = RevocationFile(path).read()
        assert revoked is not None
        assert "anna" in revoked.subjects
        assert ("ben" in revoked.subjects) == (cut == len(line) - 1)  # whole but for the line's end
        file.append(Revocation(Kind.SUBJECT, "carla", NOW, NOW))
        revoked = RevocationFile(path).read()
        assert revoked is not None
        assert {"anna", "carla"} <= revoked.subjects.keys()
        assert path.read_bytes().endswith(b"\n")


def test_a_file_that_is_gone_or_emptied_does_not_mean_that_nothing_is_revoked(file: RevocationFile, tmp_path: Path) -> None:
    path = tmp_path / "revoked.jsonl"
    path.write_bytes(b"")
    with pytest.raises(StoreDamaged):
        file.read()
    with pytest.raises(StoreDamaged):
        file.append(ENTRY)
    path.unlink()
    with pytest.raises(StoreUnavailable, match="rowseal revoke init"):
        file.read()
    with pytest.raises(StoreUnavailable):
        file.append(ENTRY)


def test_making_it_twice_keeps_what_is_revoked(file: RevocationFile) -> None:
    file.append(ENTRY)
    with pytest.raises(StoreUnavailable, match="exists"):
        file.create()
    assert file.revocations() == [ENTRY]


def test_writers_take_turns_also_with_one_who_rewrites(file: RevocationFile, tmp_path: Path) -> None:
    """Four processes' worth of threads, each with a file of its own, and one that prunes all the while: nobody's line is lost."""

    def write(who: int) -> None:
        mine = RevocationFile(tmp_path / "revoked.jsonl")
        for number in range(20):
            mine.append(Revocation(Kind.SUBJECT, f"{who}-{number}", NOW, NOW))

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for each in threads:
        each.start()
    while any(each.is_alive() for each in threads):
        file.rewrite(lambda revocations: revocations[:])
    assert sorted(each.name for each in file.revocations()) == sorted(f"{who}-{number}" for who in range(4) for number in range(20))
    assert [each.name for each in tmp_path.iterdir()] == ["revoked.jsonl"]


def test_only_what_was_added_is_read_again_and_each_change_before_it_is_noticed(file: RevocationFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rowseal.revocation import file as module

    lines: list[bytes] = []
    monkeypatch.setattr(module, "from_line", lambda line: lines.append(line) or from_line(line))
    path = tmp_path / "revoked.jsonl"
    for name in ("anna", "ben"):
        file.append(Revocation(Kind.SUBJECT, name, NOW, NOW))
    reader = RevocationFile(path)
    first = reader.read()
    assert first is not None
    lines.clear()
    file.append(Revocation(Kind.SUBJECT, "carla", NOW, NOW))
    file.append(Revocation(Kind.SUBJECT, "anna", NOW + 5, NOW))
    lines.clear()
    after = reader.read()
    assert after is not None
    assert len(lines) == 2
    assert after.subjects == {"anna": NOW + 5, "ben": NOW, "carla": NOW}
    assert first.subjects == {"anna": NOW, "ben": NOW}  # who holds it sees no change
    # somebody takes one out by hand, and adds as much elsewhere
    path.write_bytes(path.read_bytes().replace(b'"ben"', b'"dan"'))
    changed = reader.read()
    assert changed is not None
    assert changed.subjects.keys() == {"anna", "carla", "dan"}
    # an end that was whole without its line's end, and is cut off by whoever writes next
    path.write_bytes(path.read_bytes() + to_line(Revocation(Kind.KEY, "shop", None, NOW)).encode())
    whole = reader.read()
    assert whole is not None
    assert "shop" in whole.keys
    path.write_bytes(path.read_bytes()[:-3])
    torn = reader.read()
    assert torn is not None
    assert "shop" not in torn.keys
    assert torn.subjects == changed.subjects


def test_rewriting_keeps_who_may_read_it(file: RevocationFile, tmp_path: Path) -> None:
    path = tmp_path / "revoked.jsonl"
    path.chmod(0o644)
    file.append(ENTRY)
    assert file.rewrite(lambda _: []) == 1
    assert path.stat().st_mode & 0o777 == 0o644
    assert file.revocations() == []


# --- the database ----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StateAddress]:
    from sqlalchemy import make_url

    if request.param == "sqlite":
        yield StateAddress(url=make_url(f"sqlite:///{tmp_path / 'state.db'}"), dialect="sqlite", table="revoked")
        return
    database: servers.Database = request.getfixturevalue("postgres").another()
    yield StateAddress(url=make_url(database.owner_url), dialect="postgres", table="revoked")
    database.drop()


@pytest.fixture
def database(address: StateAddress) -> Iterator[StateDatabase]:
    store = open_store(address)
    assert isinstance(store, StateDatabase)
    store.create()
    yield store
    store.close()


def test_a_table_keeps_what_is_written(database: StateDatabase, address: StateAddress) -> None:
    written = [ENTRY, Revocation(Kind.TOKEN, "ab" * 32, None, NOW, until=NOW + 900.5), Revocation(Kind.ALL, "", 12.25, NOW)]
    for each in written:
        database.append(each)
    assert database.revocations() == written
    first = database.read()
    assert first is not None
    assert first.subjects == {"anna": NOW}
    assert first.everything == 12.25
    assert database.read() is None  # nothing has changed
    other = open_store(address)
    other.append(Revocation(Kind.SUBJECT, "ben", NOW, NOW))
    other.close()
    changed = database.read()
    assert changed is not None
    assert changed.subjects.keys() == {"anna", "ben"}
    assert changed.everything == 12.25
    assert changed.tokens == first.tokens
    database.create()  # what is there stays
    assert len(database.revocations()) == 4


def test_a_row_that_was_taken_out_by_hand_and_one_put_in_are_seen(database: StateDatabase) -> None:
    """Also where the count is the same again."""
    database.append(ENTRY)
    database.append(ENTRY)
    assert database.read() is not None
    database.rewrite(lambda revocations: [revocations[0], Revocation(Kind.SUBJECT, "ben", NOW, NOW)] if revocations else [])
    changed = database.read()
    assert changed is not None
    assert "ben" in changed.subjects


def test_a_row_that_is_no_revocation_closes_everything(database: StateDatabase) -> None:
    from sqlalchemy import text

    with database._engine.begin() as connection:
        connection.execute(text("""INSERT INTO revoked (kind, name, before, at, "by", reason) VALUES ('person', 'anna', 1, 1, '', '')"""))
    with pytest.raises(StoreDamaged):
        database.read()


def test_tables_that_are_not_there_or_a_server_that_is_gone(address: StateAddress) -> None:
    store = open_store(address)
    with pytest.raises(StoreUnavailable) as refused:
        store.read()
    assert str(address.url) not in str(refused.value)
    assert "revoked" not in str(refused.value)
    store.close()


def test_the_printed_sql_makes_the_same_tables(address: StateAddress) -> None:
    store = open_store(address)
    assert isinstance(store, StateDatabase)
    from sqlalchemy import text

    with store._engine.begin() as connection:
        for statement in store.statements():
            connection.execute(text(statement))
    store.append(ENTRY)
    assert store.use("a", until=NOW)
    assert not store.use("a", until=NOW)
    assert store.revocations() == [ENTRY]
    store.close()


# --- reading it again and again ----------------------------------------------------------------------------------------------------------------


class Failing:
    """A store that does what the test says. No store at all is a mock's own idea of failing: this one reads a real file, or raises."""

    def __init__(self, file: RevocationFile) -> None:
        self.file = file
        self.fails: Exception | None = None

    def read(self) -> Revoked | None:
        if self.fails is not None:
            raise self.fails
        return self.file.read()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def watching(store: Store, clock: Clock) -> Watch:
    return Watch(store, poll=1, max_stale=30, clock=clock)


def test_what_cannot_be_read_for_too_long_refuses_everybody(file: RevocationFile, caplog: pytest.LogCaptureFixture) -> None:
    clock, store = Clock(100.0), Failing(file)
    watch = watching(store, clock)
    before = watch.current()
    store.fails = StoreUnavailable("cannot be read")
    for clock.now in (101.0, 115.0, 130.0):
        watch.look()
        assert watch.ready
        assert watch.current() is before
    clock.now = 130.1
    watch.look()
    assert not watch.ready
    assert code(watch.current) == "state_unavailable"
    assert len(caplog.records) == 1  # said once
    store.fails = None
    file.append(ENTRY)
    watch.look()
    assert watch.ready
    assert watch.current().subjects == {"anna": NOW}


def test_a_thread_that_hangs_is_noticed_by_whoever_asks(file: RevocationFile) -> None:
    clock = Clock(100.0)
    watch = watching(file, clock)
    clock.now = 131.0
    assert code(watch.current) == "state_unavailable"


def test_damage_refuses_everybody_at_once_until_it_is_mended(file: RevocationFile, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, clock = tmp_path / "revoked.jsonl", Clock(100.0)
    file.append(ENTRY)
    good = path.read_bytes()
    watch = watching(file, clock)
    path.write_bytes(good + b"what is this\n")
    watch.look()
    assert not watch.ready
    assert code(watch.current) == "state_unavailable"
    assert "what is this" not in caplog.text
    path.write_bytes(good)
    watch.look()
    assert watch.ready
    assert watch.current().subjects == {"anna": NOW}


def test_whatever_a_store_raises_the_thread_goes_on(file: RevocationFile) -> None:
    store = Failing(file)
    watch = Watch(store, poll=0.01, max_stale=30)
    store.fails = RuntimeError("unexpected")
    watch.start()
    time.sleep(0.05)
    store.fails = None
    file.append(ENTRY)
    limit = time.monotonic() + 10
    while "anna" not in watch.current().subjects:
        assert time.monotonic() < limit
        time.sleep(0.005)
    watch.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_process_that_is_forked_reads_by_itself(file: RevocationFile) -> None:
    """Servers that load the application first and fork their workers then."""
    watch = Watch(file, poll=0.01, max_stale=30)
    watch.start()
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.read(ready[0], 1)
        limit = time.monotonic() + 10
        while "anna" not in watch.current().subjects and time.monotonic() < limit:
            time.sleep(0.005)
        os._exit(0 if "anna" in watch.current().subjects else 1)
    file.append(ENTRY)
    os.write(ready[1], b".")
    _, status = os.waitpid(child, 0)
    for end in (*ready, *done):
        os.close(end)
    watch.close()
    assert status == 0


def test_a_gate_does_not_start_where_nobody_knows_what_is_revoked(place: Kept) -> None:
    def change(document: dict[str, Any]) -> None:
        document["state"] = FILE

    with pytest.raises(errors.Misconfigured, match="rowseal revoke init"):
        place.gate(change)
    gate = place.opened()
    place.file_of_revocations.write_text("garbage\n")
    with pytest.raises(errors.Misconfigured):
        gate.reload()
    assert gate.epoch == 1


def test_the_gateway_says_503_and_is_not_ready(place: Kept, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = Client(create_app(place.opened()))
    ask: dict[str, Any] = {"json": {"sql": ORDERS}, "headers": {"Authorization": f"Bearer {place.bearer(jti='the-id')}"}}
    answer = client.post("/v1/query", **ask)
    assert answer.status_code == 200
    assert answer.headers["x-token-expires-in"] == "900"
    place.clock.now += 30.5
    assert client.post("/v1/query", **ask).headers["x-token-expires-in"] == "869"
    kept = place.file_of_revocations.read_bytes()
    place.file_of_revocations.write_bytes(kept + b"?\n")
    place.look()
    answer = client.post("/v1/query", **ask)
    assert (answer.status_code, answer.json()["code"]) == (503, "state_unavailable")
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    place.file_of_revocations.write_bytes(kept)
    place.revoke("jti", "the-id")
    answer = client.post("/v1/query", **ask)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_revoked")
    assert answer.headers["www-authenticate"] == 'Bearer realm="rowseal", error="invalid_token", error_description="the token was revoked"'
    assert "the-id" not in caplog.text
    assert "the-id" not in answer.text
    recorded = json.loads([each.message for each in caplog.records if each.name == "rowseal.decisions"][-1])
    assert (recorded["code"], recorded["key"]) == ("token_revoked", "shop")  # whoever operates it sees whose tokens come back


def test_an_expired_token_has_a_code_of_its_own_so_that_a_client_refreshes(place: Kept) -> None:
    client = Client(create_app(place.opened()))
    ask: dict[str, Any] = {"json": {"sql": "SELECT nothing FROM orders"}, "headers": {"Authorization": f"Bearer {place.bearer()}"}}
    assert client.post("/v1/query", **ask).headers["x-token-expires-in"] == "900"  # on refusals too
    place.clock.now += 900
    answer = client.post("/v1/query", **ask)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")
    assert "fetch a fresh token" in answer.json()["hint"]
    assert 'error="invalid_token", error_description="the token has expired"' in answer.headers["www-authenticate"]
    assert "x-token-expires-in" not in answer.headers


# --- taking out what is over -----------------------------------------------------------------------------------------------------------------


def test_pruning_opens_nothing() -> None:
    """Random revocations and tokens of any age and life: whatever was refused and has not ended is refused afterwards."""
    import random

    source = random.Random(1)
    key = KeyFacts("k", "vizzly")
    for _ in range(300):
        revocations = []
        for _ in range(source.randrange(6)):
            at, before = NOW - source.uniform(0, 20 * HOUR), source.choice([None, NOW - source.uniform(-HOUR, 20 * HOUR)])
            kind = source.choice([Kind.SUBJECT, Kind.KEY, Kind.DATASET, Kind.ALL])
            name = {Kind.SUBJECT: "anna", Kind.KEY: "k", Kind.DATASET: "orders", Kind.ALL: ""}[kind]
            revocations.append(Revocation(kind, name, before, at))
        expires = NOW + source.uniform(-HOUR, 400 * 24 * HOUR)
        if source.random() < 0.5:
            revocations.append(Revocation(Kind.TOKEN, "ab" * 32, None, NOW - source.uniform(0, 20 * HOUR), until=expires))
        after = pruned(revocations, keep=2 * HOUR, now=NOW, by="")
        claims = Claims(key, {}, expires, source.choice(["ab" * 32, "cd" * 32]), None, NOW - source.uniform(0, 30 * HOUR))
        old, new = Revoked.of(revocations), Revoked.of(after)
        if expires > NOW and old.refuses(claims, "anna"):
            assert new.refuses(claims, "anna")
        assert old.closed(claims.issued_at) <= new.closed(claims.issued_at) or new.refuses(claims, None)
        assert len(after) <= len(revocations) + 1
        assert pruned(after, keep=2 * HOUR, now=NOW, by="") == after


def test_prune_takes_out_what_ends_nothing_any_more(place: Kept) -> None:
    place.opened(with_subject)
    place.revoke("subject", "anna")
    (place.folder / "token").write_text(place.bearer())
    place.revoke("token", f"@{place.folder / 'token'}")
    place.revoke("key", "shop", "--for-good")
    assert place.run("revoke", "prune") == 0
    assert "nothing to take out" in place.said
    place.clock.now += 3 * HOUR
    assert place.run("revoke", "prune", "--keep", "1") == 1
    assert "at least 2 hours" in place.said
    assert place.run("revoke", "prune") == 0
    assert place.run("revoke", "list", "--json") == 0
    kinds = {each["kind"]: each for each in json.loads(place.out)["revoked"]}
    assert kinds.keys() == {"all", "key"}
    assert kinds["all"]["before"] == NOW + HOUR


# --- the command line ------------------------------------------------------------------------------------------------------------------------


def test_what_is_revoked_is_listed_with_who_and_why(place: Kept) -> None:
    place.opened()
    place.revoke("dataset", "orders", "--reason", "wrong rows since Monday")
    assert "the dataset, for tokens issued before 2027-01-15T08:00:00Z" in place.said
    assert "within 1 hour" in place.said
    assert place.run("revoke", "list") == 0
    assert "dataset orders" in place.out
    assert "wrong rows since Monday" in place.out
    assert "2027-01-15T08:00:00Z" in place.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("key", "shpo"), "`shpo` is no key of"),
        (("key", "nobody"), "there is `shop`"),
        (("dataset", "order"), "did you mean `orders`?"),
        (("token", "eyJhbGciOiJFUzI1NiJ9.x"), "this is no token"),
        (("token", "not a token at all"), "this is no token"),
        (("subject", " "), "1 to 256 characters"),
        (("all", "--before", "yesterday"), "`--before` must be a date and time with its offset"),
        (("all", "--reason", "x" * 501), "at most 500 characters"),
    ],
)
def test_what_cannot_be_meant_is_told(place: Kept, arguments: tuple[str, ...], says: str) -> None:
    place.opened()
    assert place.run("revoke", *arguments) == 1
    assert says in place.said
    assert len(place.file_of_revocations.read_text().splitlines()) == 1


def test_the_examples_of_the_reference_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a configuration with `state:`; each needs nothing but what stands before it."""
    place = Kept(tmp_path)
    monkeypatch.chdir(tmp_path)
    key = {"id": "shop-2026", "public_key": public_pem()}
    with pytest.raises(errors.Misconfigured):
        place.gate(lambda document: document.update(state=FILE, tokens=[{"profile": "vizzly", "keys": [key]}]))
    (tmp_path / "tokens.json").write_text(json.dumps(place.tokens()))
    examples = [command.example for command in commands.COMMANDS if command.name.startswith("revoke")]
    assert len(examples) == 9
    for example in examples:
        out, err = StringIO(), StringIO()
        assert cli.run(shlex.split(example)[1:], out=out, err=err, stdin=StringIO(), clock=place.clock) == 0, err.getvalue()
    place.close()


def test_to_revoke_needs_no_database_of_datasets(place: Kept) -> None:
    """When things burn, one thing must work."""
    gate = place.opened()
    gate.close()
    (place.folder / "shop.db").unlink()
    assert place.run("revoke", "all") == 0


def test_inspect_says_so(place: Kept) -> None:
    place.opened()
    (place.folder / "token").write_text(place.bearer(jti="a"))
    assert place.run("inspect", f"@{place.folder / 'token'}") == 0
    place.revoke("jti", "a")
    assert place.run("inspect", f"@{place.folder / 'token'}") == 1
    assert "token_revoked" in place.out + place.said


def test_the_file_s_own_keys_are_judged(place: Kept) -> None:
    def problems(change: Callable[[dict[str, Any]], object]) -> str:
        with pytest.raises(errors.Misconfigured) as found:
            place.gate(change)
        return str(found.value)

    def state(**entry: Any) -> Callable[[dict[str, Any]], object]:
        return lambda document: document.update(state=entry)

    assert "exactly one of `file:` and `database:`" in problems(state(file="a", database="sqlite:///b"))
    assert "exactly one of `file:` and `database:`" in problems(state(poll="1s"))
    assert "at least twice `poll:`" in problems(state(file="a", poll="20s"))
    assert "a plain name" in problems(state(database="sqlite:///shop.db", table="a; DROP TABLE b"))
    assert "must be SQLite or PostgreSQL" in problems(state(database="mariadb://role@host/database"))
    assert "names a SQLite file that does not exist" in problems(state(database="sqlite:///absent.db"))
    for key, value in (("one_time", True), ("inactivity", "2m")):
        assert "needs `state: {database: ...}`" in problems(lambda document, key=key, value=value: document["tokens"][0].update({key: value}))  # type: ignore[misc]
    assert "at least two minutes" in problems(lambda document: document["tokens"][0].update(inactivity=119))
    assert "tokens[0].subject" in problems(lambda document: document["tokens"][0].update(subject="a..b"))


def test_claims_that_are_demanded(place: Kept) -> None:
    gate = place.opened(lambda document: document["tokens"][0].update(required_claims=["iat", "jti"]))
    assert code(lambda: gate.verify(place.bearer())) == "claim_invalid"
    assert code(lambda: gate.verify(place.bearer(jti="a", iat=...))) == "claim_invalid"
    assert gate.verify(place.bearer(jti="a")).execute(ORDERS).rows


def test_a_shared_table_serves_as_a_file_does(place: Kept) -> None:
    with closing(sqlite3.connect(place.folder / "state.db")):
        pass
    gate = place.opened(state={"database": "sqlite:///state.db", "poll": "1h", "max_stale": "2h"})
    token = place.bearer()
    gate.verify(token)
    place.clock.now += 1
    place.revoke("all")
    assert code(lambda: gate.verify(token)) == "token_revoked"


# --- two gateways ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["file", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_two_gateways_agree_whichever_process_is_killed(request: pytest.FixtureRequest, tmp_path: Path, kept: str) -> None:
    """A trial of each kind, of one on a server; `make revocations` makes a hundred."""
    import random

    from revocations import KINDS, agreement

    state = {"file": "revoked.jsonl"} if kept == "file" else {"database": request.getfixturevalue("postgres").another().owner_url}
    with agreement(tmp_path, state) as gateways:
        for number, kind in enumerate(KINDS if kept == "file" else KINDS[1:2]):
            assert gateways.trial(number, kind, random.Random(number)).wrong == []
