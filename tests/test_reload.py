"""A reload swaps the whole configuration at once, or nothing; what began before ends in peace, and nothing old is used or kept after."""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import make_url
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import servers
from asgi import ask
from databases.postgres import libpq
from rowseal import Gate, GateMiddleware, Signer, errors
from rowseal.catalog import Dataset
from rowseal.configuration import load
from rowseal.engine import Database, Result
from rowseal.gate import Access, workers
from rowseal.gate.state import State
from rowseal.sql import SecuredQuery

ROWS = "CREATE TABLE orders (id INTEGER PRIMARY KEY, tenant_id INTEGER, world TEXT, deleted INTEGER)"
BOTH = pytest.mark.parametrize("dialect", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
ALL = "SELECT id, world FROM orders ORDER BY id"


@dataclass
class Place:
    """A configuration in a folder, two databases that it may name, and whoever signs for it."""

    folder: Path
    dialect: str
    urls: dict[str, str]

    def __post_init__(self) -> None:
        self.keys = {"old": ec.generate_private_key(ec.SECP256R1()), "new": ec.generate_private_key(ec.SECP256R1())}
        self.write()

    def write(self, world: str = "blue", *, keys: tuple[str, ...] = ("old",), key: dict[str, Any] | None = None, tokens: dict[str, Any] | None = None,
              limits: dict[str, Any] | None = None, datasets: list[dict[str, Any]] | None = None) -> None:  # fmt: skip
        """Write datasets.yaml: `world` names the database, the rest is added to the entries of that name."""
        for name, private in self.keys.items():
            (self.folder / f"{name}.pem").write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        document = {
            "version": 1,
            "database": self.urls[world],
            "tokens": [{"profile": "vizzly", "keys": [{"id": name, "public_key_file": f"{name}.pem", **(key or {})} for name in keys], **(tokens or {})}],
            "datasets": datasets or [self.orders()],
            "limits": limits or {},
        }
        (self.folder / "datasets.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    @staticmethod
    def orders(**more: Any) -> dict[str, Any]:
        fields = [{"id": "id", "type": "number"}, {"id": "tenant_id", "type": "number"}, {"id": "world", "type": "string"}]
        return {"id": "orders", "table": "orders", "fields": fields, **more}

    def gate(self, **options: Any) -> Gate:
        return Gate.from_yaml(self.folder / "datasets.yaml", **options)

    def token(self, tenant: int = 1, *, key: str = "old", **more: Any) -> str:
        filters = {"orders": [[{"field": "tenant_id", "op": "=", "value": tenant}]]}
        asked = {"data_set_ids": "*", "secure_filters": filters, "project_id": "prj_1", **more}
        return Signer(self.keys[key], 10).generate_tokens(user_reference="u", **asked)["dataAccessToken"]

    def open_connections(self, world: str) -> int:
        """How many connections to one of the databases are open, as the system tells."""
        if self.dialect == "sqlite":
            file = make_url(self.urls[world]).database
            return sum(os.path.realpath(name) == file for name in Path("/proc/self/fd").iterdir())
        with psycopg.connect(libpq(self.urls[world])) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'rowseal' AND state IS NOT NULL"
            ).fetchone()
            assert row is not None
            return row[0]

    def is_closed(self, world: str) -> bool:
        """Whether no connection is open. PostgreSQL is a moment late in noticing."""
        deadline = time.monotonic() + 5
        while (left := self.open_connections(world)) and self.dialect == "postgres" and time.monotonic() < deadline:
            time.sleep(0.02)
        return not left


def rows(world: str, tenant: int) -> list[tuple[int, str]]:
    """What each database holds of a tenant: the ids differ, so that no answer could be of both."""
    first = {"blue": 100, "green": 200}[world] + 10 * tenant
    return [(first + number, world) for number in range(3)]


@pytest.fixture
def place(request: pytest.FixtureRequest, dialect: str, tmp_path: Path) -> Iterator[Place]:
    urls, made = {}, []
    for world in ("blue", "green"):
        inserts = [f"INSERT INTO orders VALUES ({id_}, {tenant}, '{name}', 0)" for tenant in (1, 2) for id_, name in rows(world, tenant)]
        if dialect == "sqlite":
            with closing(sqlite3.connect(tmp_path / f"{world}.db")) as database:
                database.executescript(";".join([ROWS, *inserts]))
            urls[world] = f"sqlite:///{tmp_path}/{world}.db"
        else:
            server: servers.Server = request.getfixturevalue("postgres_server")
            made.append(server.new_database())
            made[-1].run(ROWS, *inserts)
            urls[world] = made[-1].reader_url
    yield Place(tmp_path, dialect, urls)
    for each in made:
        each.drop()


@pytest.fixture
def dialect() -> str:
    """Where nothing is said: SQLite."""
    return "sqlite"


# --- all at once, or nothing -----------------------------------------------------------------------------------------------------------------


@BOTH
def test_a_reload_answers_from_the_new_configuration(place: Place) -> None:
    with closing(place.gate()) as gate:
        access = gate.verify(place.token())
        assert (gate.epoch, access.execute(ALL).rows) == (1, rows("blue", 1))
        place.write("green")
        assert access.execute(ALL).rows == rows("blue", 1)  # a file that changed is not a reload
        gate.reload()
        assert (gate.epoch, access.execute(ALL).rows) == (2, rows("green", 1))
        assert gate.verify(place.token(2)).execute(ALL).rows == rows("green", 2)


@BOTH
def test_no_request_under_load_fails_or_sees_a_mix(place: Place) -> None:
    """Two configurations differ in the database *and* in a filter; an answer with the rows of one and the filter of the other is a mix."""

    def write(world: str) -> None:
        tenant = 1 if world == "blue" else 2
        place.write(world, datasets=[place.orders(public=True, secure_filters=[{"field": "tenant_id", "op": "=", "value": tenant}])])

    whole = {"blue": rows("blue", 1), "green": rows("green", 2)}
    write("blue")
    done = threading.Event()
    with closing(place.gate()) as gate:
        kept = gate.verify(place.token(secure_filters={}))

        def load_on() -> list[list[tuple[Any, ...]]]:
            answers = []
            while not done.is_set():
                answers.append(kept.execute(ALL).rows)
                answers.append(gate.verify(place.token(secure_filters={})).execute(ALL).rows)
            return answers

        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(load_on) for _ in range(4)]
            try:
                for number in range(20):
                    write(("green", "blue")[number % 2])
                    gate.reload()
            finally:
                done.set()
            answers = [answer for each in asked for answer in each.result()]
        assert gate.epoch == 21
        assert all(answer in whole.values() for answer in answers)
        assert all(each in answers for each in whole.values())
        assert place.is_closed("green")
    assert place.is_closed("blue")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda place: (place.folder / "datasets.yaml").write_text("version: [1"), id="no YAML"),
        pytest.param(lambda place: place.write("green", datasets=[place.orders(table="gone")]), id="no such table"),
        pytest.param(lambda place: place.write("green", keys=("lost",)), id="no such key file"),
        pytest.param(lambda place: (place.folder / "datasets.yaml").unlink(), id="no file"),
    ],
)
def test_a_bad_file_keeps_everything_as_it_was(place: Place, spoil: Callable[[Place], object]) -> None:
    with closing(place.gate()) as gate:
        access = gate.verify(place.token())
        spoil(place)
        with pytest.raises(errors.Misconfigured):
            gate.reload()
        assert gate.epoch == 1
        assert access.execute(ALL).rows == gate.verify(place.token()).execute(ALL).rows == rows("blue", 1)
        assert place.is_closed("green")


@pytest.mark.postgres
@pytest.mark.parametrize("dialect", ["postgres"])
def test_a_role_that_may_too_much_keeps_everything_as_it_was(place: Place) -> None:
    """What the database says counts as much as what the file says."""
    with closing(place.gate()) as gate:
        access = gate.verify(place.token())
        place.urls["green"] = place.urls["green"].replace(servers.READER, servers.OWNER)
        place.write("green")
        with pytest.raises(errors.Misconfigured, match="owns"):
            gate.reload()
        assert (gate.epoch, access.execute(ALL).rows) == (1, rows("blue", 1))
        assert place.is_closed("green")


def test_whatever_goes_wrong_while_opening_leaves_nothing_open(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only Misconfigured: here the judge of the role itself fails, after the first connection was made."""

    def fail(database: Database, *_: Any, **__: Any) -> None:
        database._engine.connect().close()
        raise MemoryError

    monkeypatch.setattr(Database, "check_role", fail)
    with pytest.raises(MemoryError):
        place.gate()
    assert place.is_closed("blue")


def test_reloads_come_one_after_the_other(place: Place) -> None:
    """Each counts, and none takes the place of a later one."""
    with closing(place.gate()) as gate:
        with ThreadPoolExecutor(6) as pool:
            for each in [pool.submit(gate.reload) for _ in range(12)]:
                each.result()
        assert gate.epoch == 13
        assert gate.verify(place.token()).execute(ALL).rows == rows("blue", 1)
    assert place.is_closed("blue")


def test_a_gate_without_a_file_says_so(place: Place) -> None:
    with closing(Gate(load(place.folder / "datasets.yaml"))) as gate:
        with pytest.raises(RuntimeError, match=r"Gate\.from_yaml"):
            gate.reload()
        assert gate.epoch == 1


def test_a_relative_path_is_the_file_that_it_was(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    with closing(Gate.from_yaml("datasets.yaml")) as gate:
        monkeypatch.chdir("/")
        gate.reload()
        assert gate.epoch == 2


# --- what began before -----------------------------------------------------------------------------------------------------------------------


@BOTH
def test_a_query_that_runs_ends_in_peace_and_then_its_connections_are_closed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    read = Database._read

    def slowly(database: Database, cursor: Any, query: SecuredQuery) -> Result:
        begun.set()
        assert go_on.wait(20)
        return read(database, cursor, query)

    with closing(place.gate()) as gate, ThreadPoolExecutor(1) as pool:
        access = gate.verify(place.token())
        monkeypatch.setattr(Database, "_read", slowly)
        running = pool.submit(access.execute, ALL)
        assert begun.wait(20)
        monkeypatch.setattr(Database, "_read", read)
        place.write("green")
        gate.reload()
        assert access.execute(ALL).rows == rows("green", 1)  # meanwhile
        assert place.open_connections("blue") > 0
        go_on.set()
        assert running.result().rows == rows("blue", 1)
        assert place.is_closed("blue")


def test_a_use_that_comes_between_goes_to_the_new_state(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread took hold of the old state, and before its use began the state was retired and closed."""
    enter = State.enter

    def late(state: State) -> bool:
        if state.epoch == 1:
            place.write("green")
            gate.reload()
        return enter(state)

    with closing(place.gate()) as gate:
        access = gate.verify(place.token())
        monkeypatch.setattr(State, "enter", late)
        assert access.execute(ALL).rows == rows("green", 1)
        assert gate.epoch == 2
        assert place.is_closed("blue")
    assert place.is_closed("green")


def test_a_closed_gate_refuses_and_holds_nothing(place: Place) -> None:
    gate = place.gate()
    access = gate.verify(place.token())
    assert access.execute(ALL).rows
    gate.close()
    gate.close()
    for use in (access.secure, access.execute):
        with pytest.raises(errors.EngineFailed, match="database_unavailable"):
            use(ALL)
    with pytest.raises(RuntimeError, match="closed"):
        gate.reload()
    assert place.is_closed("blue")


# --- an Access from before -------------------------------------------------------------------------------------------------------------------


def refused(access: Access) -> str:
    with pytest.raises(errors.TokenRefused) as caught:
        access.execute(ALL)
    return caught.value.code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"keys": ("new",)}, "signature_invalid", id="its key was removed"),
        pytest.param({"tokens": {"issuer": "https://host.example"}}, "issuer_refused", id="an issuer is demanded"),
        pytest.param({"tokens": {"audience": "shop"}}, "issuer_refused", id="an audience is demanded"),
        pytest.param({"tokens": {"project_id": "prj_2"}}, "issuer_refused", id="another project"),
        pytest.param({"key": {"project_id": "prj_2"}}, "issuer_refused", id="another project for the key"),
        pytest.param({"tokens": {"max_lifetime": "1m"}}, "lifetime_too_long", id="a shorter life"),
    ],
)
def test_an_access_from_before_is_judged_as_its_token_would_be(place: Place, change: dict[str, Any], code: str) -> None:
    """What `verify` says to the token now is what the Access says; and taken back, it opens again."""
    with closing(place.gate()) as gate:
        token = place.token()
        access = gate.verify(token)
        assert access.execute(ALL).rows
        place.write(**change)
        gate.reload()
        assert refused(access) == code
        with pytest.raises(errors.TokenRefused) as caught:
            gate.verify(token)
        assert caught.value.code == code
        assert refused(access) == code  # not once only
        place.write()
        gate.reload()
        assert access.execute(ALL).rows == rows("blue", 1)


def test_another_key_under_the_same_id_is_another_key(place: Place) -> None:
    with closing(place.gate()) as gate:
        access = gate.verify(place.token())
        place.keys["old"] = ec.generate_private_key(ec.SECP256R1())
        place.write()
        gate.reload()
        assert refused(access) == "signature_invalid"


def test_a_key_that_opens_less_opens_less_to_an_access_from_before(place: Place) -> None:
    with closing(place.gate()) as gate:
        place.write(key={"development": True})
        gate.reload()
        free = gate.verify(place.token(secure_filters={}))
        assert free.execute(ALL).rows == rows("blue", 1) + rows("blue", 2)
        place.write()
        gate.reload()
        with pytest.raises(errors.AccessRefused, match="filter_required"):
            free.execute(ALL)
        other = {**place.orders(), "id": "other", "same_table_as": "orders"}
        place.write(key={"datasets": ["other"]}, datasets=[place.orders(), other])
        gate.reload()
        with pytest.raises(errors.AccessRefused, match="dataset_unknown"):
            gate.verify(place.token()).execute(ALL)
        with pytest.raises(errors.AccessRefused, match="dataset_unknown"):
            free.execute(ALL)


def test_a_flat_list_is_read_as_the_file_says_now(place: Place) -> None:
    """The grant itself is read anew from the claims."""
    flat = [{"field": "tenant_id", "op": "=", "value": 1}, {"field": "id", "op": "=", "value": rows("blue", 2)[0][0]}]
    claims = jwt.decode(place.token(), options={"verify_signature": False})
    token = jwt.encode({**claims, "secureFilters": {"orders": flat}}, place.keys["old"], algorithm="ES256")
    with closing(place.gate()) as gate:
        access = gate.verify(token)
        assert access.execute(ALL).rows == []
        place.write(tokens={"flat_filters": "any"})
        gate.reload()
        assert access.execute(ALL).rows == rows("blue", 1) + rows("blue", 2)[:1]
        place.write(tokens={"flat_filters": "reject"})
        gate.reload()
        assert refused(access) == "filters_malformed"


def test_a_dataset_that_was_removed_is_unknown_at_once(place: Place) -> None:
    with closing(place.gate()) as gate:
        access = gate.verify(place.token())
        assert access.execute(ALL).rows
        place.write(datasets=[{**place.orders(), "id": "sales"}])
        gate.reload()
        with pytest.raises(errors.AccessRefused, match="dataset_unknown"):
            access.execute(ALL)


def test_a_filter_that_was_added_holds_at_once(place: Place) -> None:
    """The guard's text is kept by dataset: one that was written for the old dataset must not serve the new one."""
    with closing(place.gate()) as gate:
        access = gate.verify(place.token())
        assert access.execute(ALL).rows == rows("blue", 1)
        least = rows("blue", 1)[1][0]
        place.write(datasets=[place.orders(secure_filters=[{"field": "id", "op": ">=", "value": least}])])
        gate.reload()
        assert access.execute(ALL).rows == rows("blue", 1)[1:]


def test_a_token_that_expired_meanwhile_has_expired(place: Place) -> None:
    offset = [0.0]
    with closing(place.gate(clock=lambda: time.time() + offset[0])) as gate:
        access = gate.verify(place.token())
        gate.reload()
        offset[0] = 601.0
        assert refused(access) == "token_expired"


# --- nothing old is kept ---------------------------------------------------------------------------------------------------------------------


def alive(kind: type) -> int:
    """How many objects of a class there are."""
    gc.collect()
    return sum(type(each) is kind for each in gc.get_objects())


@pytest.mark.slow
def test_nothing_of_an_old_state_stays_in_memory(place: Place) -> None:
    """The state itself, its databases, and its datasets, by which texts and proofs of guards are kept."""
    with closing(place.gate()) as gate:
        access = gate.verify(place.token())
        access.execute(ALL)
        before = {kind: alive(kind) for kind in (State, Database, Dataset)}
        state = weakref.ref(gate._state)
        for _ in range(3):
            gate.reload()
            access.execute(ALL)
        assert {kind: alive(kind) for kind in before} == before
        assert state() is None


def test_an_access_that_nobody_uses_keeps_no_database_alive(place: Place) -> None:
    with closing(place.gate()) as gate:
        access = gate.verify(place.token())
        access.execute(ALL)
        state = weakref.ref(gate._state)
        gate.reload()
        gc.collect()
        assert state() is None
        assert access.execute(ALL).rows == rows("blue", 1)


# --- around the gate -------------------------------------------------------------------------------------------------------------------------


def test_the_middleware_follows_the_limits(place: Place) -> None:
    async def count(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    place.write(limits={"sql_bytes": 1000})
    with closing(place.gate()) as gate:
        app = Starlette(routes=[Route("/query", count, methods=["POST"])], middleware=[Middleware(GateMiddleware, gate=gate)])
        headers, body = [("Authorization", f"Bearer {place.token()}")], b"x" * 100_000
        assert ask(app, headers=headers, body=body).code == "body_too_large"
        place.write(limits={"sql_bytes": 50_000})
        gate.reload()
        assert ask(app, headers=headers, body=body).body == b"100000"


def test_the_threads_follow_the_limits(place: Place) -> None:
    place.write(limits={"concurrent": 2})
    with closing(place.gate()) as gate:

        async def before_and_after() -> list[float]:
            access = gate.verify(place.token())
            await access.aexecute(ALL)
            before = gate._threads().total_tokens
            place.write(limits={"concurrent": 50})
            await asyncio.to_thread(gate.reload)
            await access.aexecute(ALL)
            return [before, gate._threads().total_tokens]

        others = workers._IN_TURN + workers._SPARE_THREADS
        assert asyncio.run(before_and_after()) == [2 + others, 50 + others]
