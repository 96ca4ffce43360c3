"""`rowseal serve` as a program: what it says, how it ends, and how it takes another configuration."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proofs import bound, proof
from rowseal import cli
from rowseal.cli.serve import seen
from rowseal.configuration import files
from test_app import CONFIGURATION, ENDLESS, Place

PRODUCTION = CONFIGURATION.replace("      - {id: trial, public_key_file: trial.pem, development: true}\n", "")


class Program:
    """A running `rowseal serve`."""

    def __init__(self, place: Place, *arguments: str) -> None:
        self.out, self.err = (place.folder / name for name in ("out.txt", "err.txt"))
        with self.out.open("w") as out, self.err.open("w") as err:
            command = [sys.executable, "-m", "rowseal.cli", "serve", "--port", "0", *arguments]
            self.process = subprocess.Popen(command, cwd=place.folder, stdout=out, stderr=err)
        self.until(lambda: "reload  " in self.said or self.process.poll() is not None)
        found = re.search(r" on (http://\S+)", self.said)
        self.url = found[1] if found else ""
        self.headers = {"Authorization": f"Bearer {place.token()}"}

    @property
    def said(self) -> str:
        return self.err.read_text()

    @property
    def logged(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def until(self, holds: Callable[[], bool], seconds: float = 30) -> None:
        limit = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < limit, self.said
            time.sleep(0.02)

    def ask(self, sql: str) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/query", headers=self.headers, json={"sql": sql}, timeout=30)

    @property
    def epoch(self) -> int:
        return int(httpx.get(f"{self.url}/readyz", timeout=30).json()["epoch"])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, PRODUCTION)
    yield made
    made.gate.close()


@contextmanager
def running(place: Place, *arguments: str) -> Iterator[Program]:
    program = Program(place, *arguments)
    try:
        yield program
    finally:
        if program.process.poll() is None:
            program.process.kill()
        program.process.wait(30)
    assert "Traceback" not in program.said


def end(program: Program, number: signal.Signals = signal.SIGTERM) -> int:
    program.process.send_signal(number)
    return program.process.wait(30)


@pytest.mark.slow
def test_a_proof_is_for_the_address_that_the_server_was_told(place: Place) -> None:
    """Where it listens unless told; `Host` has no part in it."""
    token = jwt.encode({"dataSetIds": "*", "secureFilters": {}, "exp": int(time.time()) + 600, "cnf": bound()}, place._keys["shop"], algorithm="ES256")

    def asked(program: Program, url: str, **headers: str) -> str | None:
        made = proof(token, method="GET", url=f"{url}/v1/datasets")
        answer = httpx.get(f"{program.url}/v1/datasets?x=1", headers={"Authorization": f"DPoP {token}", "DPoP": made, **headers}, timeout=30)
        return answer.json().get("code")

    with running(place) as program:
        assert asked(program, program.url) is None
        assert asked(program, "https://data.example", Host="data.example") == "proof_refused"
    with running(place, "--public-url", "https://data.example", "--public-url", "http://inside.example:8000/api") as program:
        assert [asked(program, url) for url in ("https://data.example", "http://inside.example:8000/api", program.url)] == [None, None, "proof_refused"]


@pytest.mark.slow
def test_operators_have_a_listener_of_their_own_and_what_they_did_outlives_a_kill(place: Place) -> None:
    """Uploaded, killed, activated by the next process, used; retired, killed, and refused by the one after."""
    secret = "an-admin-secret-of-at-least-32-bytes"
    (place.folder / "secret").write_text(secret)
    (place.folder / "keys").mkdir()
    file = place.folder / "datasets.yaml"
    file.write_text(PRODUCTION.replace("    keys:\n", "    keys:\n      - {id: team, directory: keys}\n"))
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    claims = {"dataSetIds": ["products"], "secureFilters": {}, "exp": int(time.time()) + 600}
    token = {"Authorization": f"Bearer {jwt.encode(claims, private, algorithm='ES256')}"}
    arguments = ("--admin-port", "0", "--admin-secret-file", "secret")

    def admin(program: Program, method: str, path: str, **more: Any) -> httpx.Response:
        port = re.search(r"admin +keys of operators on port (\d+) of 127\.0\.0\.1", program.said)
        assert port is not None
        return httpx.request(method, f"http://127.0.0.1:{port[1]}{path}", headers={"Authorization": f"Bearer {secret}"}, timeout=30, **more)

    def status(program: Program) -> int:
        return httpx.get(f"{program.url}/v1/datasets", headers=token, timeout=30).status_code

    with running(place, *arguments) as program:
        assert admin(program, "PUT", "/v1/keys/new", json={"key": pem, "datasets": ["products"]}).status_code == 201
        assert httpx.get(f"{program.url}/v1/keys", headers=token, timeout=30).status_code == 401, "not on the listener of queries"
        assert end(program, signal.SIGKILL) != 0
    with running(place, *arguments) as program:
        assert status(program) == 401
        assert admin(program, "POST", "/v1/keys/new/activate").json()["state"] == "active"
        assert status(program) == 200
        assert 'rowseal_key_tokens_total{id="team/new"' in admin(program, "GET", "/metrics").text
        assert admin(program, "POST", "/v1/keys/new/retire").status_code == 200
        assert status(program) == 401
        acts = [line for line in program.logged if "act" in line]
        assert [(line["log"], line["act"], line["key"]) for line in acts] == [("decision", "key_activate", "team/new"), ("decision", "key_retire", "team/new")]
        refused = [line for line in program.logged if line.get("reason") == "key_retired"]
        assert [(line["code"], line["key"]) for line in refused] == [("signature_invalid", "team/new")]
        assert secret not in program.out.read_text() + program.said
        assert end(program, signal.SIGKILL) != 0
    with running(place, *arguments) as program:
        assert status(program) == 401
        assert end(program) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--admin-port", "0"), "there is no admin secret"),
        (("--admin-port", "0", "--admin-secret-file", "short"), "at least 32 bytes"),
        (("--admin-port", "0", "--admin-secret-file", "long"), "needs a directory"),
    ],
)
def test_operators_get_no_listener_that_is_not_theirs(place: Place, arguments: tuple[str, ...], said: str) -> None:
    (place.folder / "short").write_text("x" * 31)
    (place.folder / "long").write_text("x" * 32)
    with running(place, *arguments) as program:
        assert program.process.wait(30) == 1
        assert said in program.said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_what_it_serves_answers_logs_and_ends(place: Place, number: signal.Signals) -> None:
    with running(place) as program:
        assert "rowseal serves datasets.yaml on http://127.0.0.1:" in program.said
        assert "  key      shop  ES256, explain\n" in program.said
        assert re.search(r"^  dataset  orders +4 fields$", program.said, re.MULTILINE)
        command = re.search(r"^try +(curl .*)$", program.said, re.MULTILINE)
        assert command is not None
        tried = subprocess.run(command[1], shell=True, capture_output=True, check=True, env={**os.environ, "TOKEN": program.headers["Authorization"][7:]})
        assert json.loads(tried.stdout)["datasets"][0]["id"] == "orders"
        assert program.ask("SELECT COUNT(*) AS n FROM products").json()["rows"] == [[4]]
        secret = "http-secret-4711"
        assert httpx.get(f"{program.url}/healthz?access_token={secret}").status_code == 200
        assert end(program, number) == 0
        assert program.said.endswith("rowseal has ended\n")
        decided = [line for line in program.logged if line["log"] == "decision"]
        requested = [line for line in program.logged if line["log"] == "request"]
        assert [(line["code"], line["key"]) for line in decided] == [("allowed", "shop")] * 2
        assert [(line["method"], line["path"], line["status"]) for line in requested] == [
            ("GET", "/v1/datasets", 200),
            ("POST", "/v1/query", 200),
            ("GET", "/healthz", 200),
        ]
        assert secret not in program.out.read_text() + program.said


@pytest.mark.slow
def test_it_ends_what_runs_before_it_ends_itself(place: Place) -> None:
    """A query that is running when the signal comes is answered, or cut by its own deadline; new ones are not taken."""
    (place.folder / "datasets.yaml").write_text(PRODUCTION.replace("seconds: 20", "seconds: 2"))
    with running(place) as program, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(program.ask, ENDLESS)
        time.sleep(1.0)
        assert not asked.done()
        assert end(program) == 0
        assert asked.result().json()["code"] == "timed_out"


@pytest.mark.slow
def test_a_changed_file_or_key_is_loaded_and_a_bad_one_changes_nothing(place: Place) -> None:
    file = place.folder / "datasets.yaml"
    with running(place, "--reload") as program:
        assert program.epoch == 1
        file.write_text(PRODUCTION.replace("{id: products, table: products", "{id: goods, table: products"))
        program.until(lambda: "loaded again, epoch 2" in program.said)
        assert program.epoch == 2
        assert program.ask("SELECT COUNT(*) AS n FROM goods").json()["rows"] == [[4]]
        file.write_text(PRODUCTION.replace("table: products", "table: nothing").replace("type: date_time", "type: moment"))
        program.until(lambda: "not loaded; the configuration of before stays (epoch 2)" in program.said)
        assert re.search(r"datasets\.yaml:17:\d+: datasets\[0\]\.fields\[3\]\.type: must be one of", program.said, re.MULTILINE)
        assert program.ask("SELECT COUNT(*) AS n FROM goods").json()["rows"] == [[4]]
        file.write_text(PRODUCTION)
        program.until(lambda: "loaded again, epoch 3" in program.said)
        assert program.ask("SELECT COUNT(*) AS n FROM products").status_code == 200
        # another key in the same file: the old one's tokens end
        (place.folder / "shop.pem").write_bytes((place.folder / "trial.pem").read_bytes())
        program.until(lambda: "loaded again, epoch 4" in program.said)
        assert program.ask("SELECT COUNT(*) AS n FROM products").json()["code"] == "signature_invalid"
        assert end(program) == 0


@pytest.mark.slow
def test_a_signal_loads_again_also_without_watching(place: Place) -> None:
    with running(place) as program:
        program.process.send_signal(signal.SIGHUP)
        program.until(lambda: "loaded again, epoch 2" in program.said)
        assert program.epoch == 2
        assert end(program) == 0


@pytest.mark.slow
def test_development_keys_stay_at_home(place: Place) -> None:
    file = place.folder / "datasets.yaml"
    file.write_text(CONFIGURATION)
    with running(place, "--host", "0.0.0.0") as program:
        assert program.process.wait(30) == 1
        assert "the development key `trial`" in program.said
        assert "`--development`" in program.said
    with running(place, "--host", "0.0.0.0", "--development") as program:
        assert end(program) == 0
    with running(place, "--host", "localhost") as program:
        program.headers = {"Authorization": f"Bearer {place.token('trial', filters={})}"}
        assert program.ask("SELECT x FROM secrets").json()["rows"] == [[4711]]
        assert end(program) == 0
    file.write_text(PRODUCTION)
    with running(place, "--host", "0.0.0.0", "--reload") as program:
        file.write_text(CONFIGURATION)
        program.until(lambda: "tokens of the development key `trial` are refused" in program.said)
        program.url = program.url.replace("0.0.0.0", "127.0.0.1")
        program.headers = {"Authorization": f"Bearer {place.token('trial', filters={})}"}
        assert program.ask("SELECT x FROM secrets").json()["code"] == "development_refused"
        assert end(program) == 0


# --- what cannot be served -----------------------------------------------------------------------------------------------------------------


def serve(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = cli.run(["serve", *arguments], out=sys.stdout, err=sys.stderr, stdin=sys.stdin, clock=time.time)
    return status, capsys.readouterr().err


def test_what_cannot_be_served_is_a_sentence(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(place.folder)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert serve(capsys, "--port", port) == (1, f"rowseal: port {port} of `127.0.0.1` is in use: end what listens there, or choose another with `--port`\n")
    assert serve(capsys, "--port", "70000") == (1, "rowseal: `--port 70000` is no port: write a number from 0 to 65535\n")
    assert serve(capsys, "--host", "no.such.host.invalid") == (
        1,
        "rowseal: `no.such.host.invalid` is no address of this machine: write such as `--host 127.0.0.1`\n",
    )
    status, said = serve(capsys, "--port", "0", "--config", "absent.yaml")
    assert (status, "absent.yaml:1:1: cannot be read" in said) == (1, True)
    monkeypatch.setitem(sys.modules, "rowseal.cli.server", None)
    assert serve(capsys, "--port", "0") == (1, "rowseal: `rowseal serve` needs uvicorn: install it with `pip install 'rowseal[serve]'`\n")


def test_the_files_that_are_watched_are_those_that_are_loaded(place: Place) -> None:
    file = place.folder / "datasets.yaml"
    assert files(file) == (file, place.folder / "shop.pem", place.folder / "plain.pem")
    file.write_text(PRODUCTION.replace("shop.pem", '"${KEY:-x}.pem"'))
    assert files(file, environ={"KEY": "shop"})[1] == place.folder / "shop.pem"
    for text in ("tokens: 1", "tokens: [1]", "tokens: [{keys: [1, {public_key_file: 2}]}]", "[", "", "- 1"):
        file.write_text(text)
        assert files(file) == (file,)
    file.unlink()
    assert files(file) == (file,)


def test_a_change_of_any_watched_file_is_seen(place: Place) -> None:
    file, key = place.folder / "datasets.yaml", place.folder / "shop.pem"
    states = [seen(file)]
    assert seen(file) == states[0]
    for change in (
        lambda: key.write_bytes(key.read_bytes() + b"\n"),
        key.unlink,
        lambda: os.mkfifo(key),
        lambda: file.write_text(PRODUCTION + "\n"),
        lambda: file.write_text("["),
        file.unlink,
    ):
        change()
        states.append(seen(file))
    assert len(set(states)) == len(states) - 1  # a key file that has gone and one that is a pipe are the same: neither can be loaded
