"""Keys that are uploaded to the admin surface, over real HTTP: two acts make one active, and nothing in between leaves half of one."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from issuer import jwk
from place import Place, private_pem, public_pem
from rowseal import errors
from rowseal.app import create_admin
from rowseal.claims import KeyFacts
from rowseal.gate import Gate
from rowseal.keys import Source
from rowseal.keys.records import scan
from rowseal.keys.store import Store
from serving import serving

SECRET = "an-admin-secret-of-at-least-32-bytes"
AUTH = {"authorization": f"Bearer {SECRET}"}
PENDING_THEN_ACTIVE = {"datasets": ["orders"]}


def uploads(document: dict[str, Any]) -> None:
    """One key in the file, and a directory."""
    document["tokens"][0]["keys"].append({"id": "team", "directory": "keys"})


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    (tmp_path / "keys").mkdir()
    yield made
    made.close()


@pytest.fixture
def gate(place: Place) -> Gate:
    return place.gate(uploads, watch_keys=False)


@pytest.fixture
def client(gate: Gate) -> Iterator[httpx.Client]:
    with serving(create_admin(gate, secret=SECRET)) as url, httpx.Client(base_url=url, headers=AUTH) as client:
        yield client


def takes(gate: Gate, token: str) -> bool:
    try:
        gate.verify(token)
    except errors.TokenRefused:
        return False
    return True


def put(client: httpx.Client, name: str, key: Any, **scope: Any) -> httpx.Response:
    return client.put(f"/v1/keys/{name}", json={"key": key, "datasets": "*", **scope})


def test_a_key_arrives_pending_is_activated_and_retired(place: Place, gate: Gate, client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    token = place.token(signer="a")
    with caplog.at_level(logging.INFO, "rowseal.decisions"):
        arrived = put(client, "a", public_pem("a"), datasets=["orders"], project_id="prj_shop")
        assert (arrived.status_code, arrived.json()["state"], arrived.json()["datasets"]) == (201, "pending", ["orders"])
        assert not takes(gate, token), "nobody has said that it is meant"
        assert client.post("/v1/keys/a/activate").json()["state"] == "active"
        assert gate.verify(token).execute("SELECT order_id FROM orders").rows == [(1,), (2,), (3,)]
        assert [each["name"] for each in client.get("/v1/keys").json()["keys"]] == ["a"]
        assert client.post("/v1/keys/a/retire").status_code == 200
    assert not takes(gate, token)
    acts = [json.loads(record.getMessage()) for record in caplog.records if '"act"' in record.getMessage()]
    assert [(act["act"], act["code"], act["key"], act["state"]) for act in acts] == [
        ("key_upload", "allowed", "team/a", "pending"),
        ("key_activate", "allowed", "team/a", "active"),
        ("key_retire", "allowed", "team/a", "active"),
    ]
    assert acts[0]["datasets"] == ["orders"]
    assert put(client, "b", public_pem("a")).json()["code"] == "key_taken", "a key that was retired does not come back under another name"


def test_a_key_that_was_never_active_is_forgotten_and_any_other_retires(place: Place, gate: Gate, client: httpx.Client) -> None:
    put(client, "a", jwk("a"))
    assert client.delete("/v1/keys/a").json() == {"removed": "a"}
    assert list((place.folder / "keys").glob("*.json")) == []
    put(client, "a", jwk("a"))
    client.post("/v1/keys/a/activate")
    assert "retire_at" in client.delete("/v1/keys/a").json()
    assert not takes(gate, place.token(signer="a"))
    assert client.get("/v1/keys/a").json()["name"] == "a"


def test_a_time_to_retire_may_come_nearer_and_never_moves_away(client: httpx.Client) -> None:
    put(client, "a", jwk("a"), retire_at="2999-01-01T00:00:00Z")
    assert client.post("/v1/keys/a/retire", json={"at": "2998-01-01T00:00:00Z"}).json()["retire_at"] == "2998-01-01T00:00:00Z"
    later = client.post("/v1/keys/a/retire", json={"at": "2999-01-01T00:00:00Z"})
    assert (later.status_code, later.json()["code"]) == (409, "key_taken")
    assert client.post("/v1/keys/a/retire", json={"at": "soon"}).json()["code"] == "key_refused"


def test_the_same_upload_again_changes_nothing_and_another_scope_only_while_it_is_pending(client: httpx.Client) -> None:
    assert put(client, "a", jwk("a")).status_code == 201
    assert put(client, "a", jwk("a"), datasets=["orders"]).status_code == 200
    client.post("/v1/keys/a/activate")
    again = put(client, "a", jwk("a"), datasets=["orders"])
    assert (again.status_code, again.json()["state"], again.json()["datasets"]) == (200, "active", ["orders"])
    wider = put(client, "a", jwk("a"))
    assert (wider.status_code, wider.json()["code"]) == (409, "key_taken")


def pem(key: Any) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


EXAMPLE = {"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "a private key": (lambda: {"key": private_pem("a")}, "PRIVATE"),
    "a private JWK": (lambda: {"key": {**jwk("a"), "d": "AAAA"}}, "PRIVATE"),
    "a shared secret": (lambda: {"key": {"kty": "oct", "k": "AAAA"}}, "shared secret"),
    "a weak key": (lambda: {"key": pem(rsa.generate_private_key(65537, 1024))}, "1024 bits"),
    "an unknown curve": (lambda: {"key": pem(ec.generate_private_key(ec.SECP256K1()))}, "secp256k1"),
    "two keys": (lambda: {"key": public_pem("a") + public_pem("b")}, "2 PEM blocks"),
    "a set": (lambda: {"key": {"keys": [jwk("a"), jwk("b")]}}, "several keys"),
    "an example": (lambda: {"key": EXAMPLE}, "public documentation"),
    "nothing": (dict, "no `key`"),
    "a number": (lambda: {"key": 7}, "PEM"),
    "no scope": (lambda: {"key": jwk("a"), "datasets": ...}, "no `datasets`"),
    "no dataset": (lambda: {"key": jwk("a"), "datasets": []}, "at least one"),
    "an unknown dataset": (lambda: {"key": jwk("a"), "datasets": ["secrets"]}, "does not have"),
    "a development key": (lambda: {"key": jwk("a"), "development": True}, "member"),
    "an active key": (lambda: {"key": jwk("a"), "state": "active"}, "member"),
    "times that cross": (lambda: {"key": jwk("a"), "not_before": "2998-01-02T00:00:00Z", "retire_at": "2998-01-01T00:00:00Z"}, "not later"),
    "a time that is over": (lambda: {"key": jwk("a"), "retire_at": "2001-01-01T00:00:00Z"}, "is over"),
    "no time": (lambda: {"key": jwk("a"), "not_before": "2998-01-02"}, "with its offset"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_key_to_add_is_refused_with_the_reason(place: Place, client: httpx.Client, what: str) -> None:
    make, told = REFUSED[what]
    body = {name: value for name, value in ({"datasets": "*"} | make()).items() if value is not ...}
    answer = client.put("/v1/keys/a", json=body)
    assert answer.status_code == 400
    assert answer.json()["code"] == "key_refused"
    assert told in answer.json()["detail"]
    assert [each.name for each in (place.folder / "keys").iterdir() if each.suffix != ".lock" and each.name != ".lock"] == []


@pytest.mark.parametrize(
    ("name", "key", "code"),
    [("b", "a", "key_taken"), ("a", "b", "key_taken"), ("A", "b", "key_taken"), ("shop", "shop", "key_taken"), (".hidden", "b", "key_refused"),
     ("b.json", "b", "key_refused"), ("b%20c", "b", "key_refused"), ("x" * 200, "b", "key_refused"), ("..%2fb", "b", "path_unknown")],
)  # fmt: skip
def test_names_and_keys_stand_once(client: httpx.Client, name: str, key: str, code: str) -> None:
    put(client, "a", jwk("a"))
    assert put(client, name, jwk(key)).json()["code"] == code


@pytest.mark.parametrize("method", ["put", "get", "delete"])
@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer"}, {"authorization": f"Bearer {SECRET}x"}, {"authorization": f"Basic {SECRET}"}, {"authorization": SECRET}]
)
def test_nobody_without_the_secret_learns_or_does_anything(gate: Gate, client: httpx.Client, method: str, headers: dict[str, str]) -> None:
    put(client, "a", jwk("a"))
    for path in ("/v1/keys/a", "/v1/keys/none", "/v1/keys", "/metrics", "/elsewhere"):
        answer = httpx.request(method.upper(), f"{client.base_url}{path}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "admin_refused")
    assert client.get("/v1/keys/a").json()["state"] == "pending"


def test_a_token_is_no_admin_secret_and_the_secret_is_no_token(place: Place, gate: Gate, client: httpx.Client) -> None:
    assert client.get("/v1/keys", headers={"authorization": f"Bearer {place.token()}"}).status_code == 401
    assert not takes(gate, SECRET)


def test_a_short_secret_and_a_missing_directory_stop_the_start(place: Place, gate: Gate) -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        create_admin(gate, secret="x" * 31)
    with pytest.raises(LookupError):
        create_admin(gate, secret=SECRET, directory="shop")
    with pytest.raises(LookupError):
        create_admin(place.gate(), secret=SECRET)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"key": 1, "key": 2}', b"\xff", b" " * 70_000])
def test_a_body_that_is_no_strict_json_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.put("/v1/keys/a", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "key_refused")


def test_what_is_not_there_is_missing(client: httpx.Client) -> None:
    answers = [client.get("/v1/keys/a"), client.delete("/v1/keys/a"), client.post("/v1/keys/a/activate"), client.post("/v1/keys/a/retire")]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "key_missing")] * 4
    assert client.get("/nothing").json()["code"] == "path_unknown"
    assert client.patch("/v1/keys/a").json()["code"] == "method_refused"


def test_metrics_tell_the_age_of_the_oldest_key_in_use(place: Place, gate: Gate, client: httpx.Client) -> None:
    put(client, "a", jwk("a"))
    client.post("/v1/keys/a/activate")
    token = place.token(signer="a")
    assert not any(line.startswith("rowseal_oldest_key_in_use_age_seconds") for line in client.get("/metrics").text.splitlines())
    gate.verify(token)
    gate.verify(token)
    text = client.get("/metrics").text
    (used,) = (report for report in gate.key_report() if report.id == "team/a")
    assert used.tokens == 1
    assert used.last_used_at == pytest.approx(time.time(), abs=5)
    assert f'rowseal_key_tokens_total{{id="team/a",thumbprint="{used.thumbprint}",algorithm="ES256",source="directory"}} 1\n' in text
    assert 'rowseal_keys_condition{condition="fresh"} 1\n' in text
    assert any(line.startswith("rowseal_oldest_key_in_use_age_seconds ") for line in text.splitlines())


# --- kill -9 ---------------------------------------------------------------------------------------------------------------------------------

_STEPS = 16
_WRITER = """
import json, os, signal, sys
from rowseal.claims import KeyFacts
from rowseal.keys import Source, records
from rowseal.keys.store import Store

base, steps, act = sys.argv[1], int(sys.argv[2]), sys.argv[3]
count = step = 0

def dying(original):
    def called(*given, **more):
        global count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*given, **more)
    return called

# every step that touches the folder may be the last
for where, name in ((os, "open"), (os, "fsync"), (records.Path, "open"), (records.Path, "replace"), (records.Path, "unlink")):
    setattr(where, name, dying(getattr(where, name)))
ended = []
for step in range(1, steps + 1):
    child = os.fork()
    if child == 0:
        store = Store(Source("directory", f"{base}/{step}", KeyFacts("team", "vizzly")), {"orders"}, {})
        if act == "put":
            store.put("a", {"key": sys.stdin.read(), "datasets": ["orders"]}, state="pending", now=1.0)
        elif act == "activate":
            store.activate("a")
        elif act == "retire":
            store.retire("a", at=5.0)
        else:
            store.remove("a", now=5.0)
        os._exit(0)
    ended.append(os.waitpid(child, 0)[1])
    if act == "put":
        sys.stdin.seek(0)
print(json.dumps(ended))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("act", ["put", "activate", "retire", "remove"])
def test_a_kill_at_any_step_leaves_the_old_key_or_the_new_one(tmp_path: Path, act: str) -> None:
    (tmp_path / "a.txt").write_text(public_pem("a"))
    stores = []
    for step in range(1, _STEPS + 1):
        folder = tmp_path / f"{step}"
        folder.mkdir()
        stores.append(Store(Source("directory", str(folder), KeyFacts("team", "vizzly")), {"orders"}, {}))
        if act == "retire":
            (folder / "a.pem").write_text(public_pem("a"))
        elif act != "put":
            stores[-1].put("a", {"key": jwk("a"), "datasets": ["orders"]}, state="pending", now=1.0)
    with (tmp_path / "a.txt").open() as key:
        command = [sys.executable, "-c", _WRITER, str(tmp_path), str(_STEPS), act]
        ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=True, capture_output=True, stdin=key)
    ended = json.loads(ran.stdout)
    states: list[str] = []
    for store, status in zip(stores, ended, strict=True):
        assert status in {0, signal.SIGKILL}, ran.stderr
        kept, problems = scan(store.source)
        assert problems == ()
        states.append(", ".join(f"{each.state} {each.key.retire_at:g}" for each in kept))
        # whoever comes next is not kept out by a lock, and clears up what was left
        store.put("b", {"key": jwk("b"), "datasets": ["orders"]}, state="pending", now=1.0)
        assert list(store.folder.glob(".*.writing")) == []
    before, after = {
        "put": ("", "pending inf"),
        "activate": ("pending inf", "active inf"),
        "retire": ("active inf", "active 5"),
        "remove": ("pending inf", ""),
    }[act]
    assert ended.count(signal.SIGKILL) > 2
    assert ended[-1] == 0, "the last one came to its end"
    assert (states[0], states[-1]) == (before, after)
    assert states == sorted(states, key=[before, after].index), "one or the other, and once it has happened, it has"
