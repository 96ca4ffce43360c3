"""`rowseal keys ...`: what is done by hand to a directory of keys, and to a server that is asked over HTTP."""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from place import Place, configuration, private_pem, public_pem
from rowseal import cli
from rowseal.app import create_admin
from serving import serving

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
SECRET = "an-admin-secret-of-at-least-32-bytes"


class Ran(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(tmp_path)
    monkeypatch.chdir(tmp_path)
    document = configuration()
    document["tokens"][0]["keys"].append({"id": "team", "directory": "keys"})
    made.file.write_text(yaml.safe_dump(document))
    (tmp_path / "keys").mkdir()
    (tmp_path / "a.pem").write_text(public_pem("a"))
    yield made
    made.close()


def run(*arguments: str, at: float = NOW, stdin: str = "") -> Ran:
    out, err = io.StringIO(), io.StringIO()
    status = cli.run(arguments, out=out, err=err, stdin=io.StringIO(stdin), clock=lambda: at)
    return Ran(status, out.getvalue(), err.getvalue())


def rows(*, at: float = NOW) -> dict[str, Any]:
    return {row["id"]: row for row in json.loads(run("keys", "list", "--json", at=at).out)["keys"]}


def test_the_life_of_a_key(place: Place) -> None:
    added = run("keys", "add", "a.pem", "--datasets", "orders", "--pending", "--retire-at", "2027-02-01T00:00:00Z")
    assert added.status == 0, added.err
    file = place.folder / "keys" / "a.json"
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) & 0o133 == 0
    assert rows()["team/a"] | {"thumbprint": "", "source": ""} == {
        "id": "team/a",
        "state": "pending",
        "algorithm": "ES256",
        "thumbprint": "",
        "source": "",
        "datasets": ["orders"],
        "retire_at": "2027-02-01T00:00:00Z",
        "added_at": "2027-01-15T08:00:00Z",
    }
    assert run("keys", "activate", "a").status == 0
    assert rows()["team/a"]["state"] == "active"
    assert run("keys", "retire", "a", "--at", "2027-01-20T00:00:00Z").status == 0
    assert rows()["team/a"]["state"] == "active"
    assert rows(at=NOW + 86_400 * 5)["team/a"]["state"] == "retired"
    assert run("keys", "retire", "a").status == 0
    assert rows()["team/a"]["state"] == "retired"
    later = run("keys", "retire", "a", "--at", "2027-01-21T00:00:00Z")
    assert (later.status, "not made to live longer" in later.err) == (1, True)


def test_the_list_for_people_has_a_line_for_each_key(place: Place) -> None:
    run("keys", "add", "a.pem", "--not-before", "2027-02-01T00:00:00Z")
    listed = run("keys", "list").out.splitlines()
    assert listed[0].split() == ["ID", "STATE", "ALGORITHM", "THUMBPRINT", "FROM", "UNTIL", "DATASETS"]
    assert [line.split()[0] for line in listed[1:]] == ["shop", "team/a"]
    assert "not yet" in listed[2]


def test_a_plain_key_becomes_a_record_when_it_retires(place: Place) -> None:
    (place.folder / "keys" / "b.pem").write_text(public_pem("b"))
    assert run("keys", "retire", "b").status == 0
    assert [each.name for each in (place.folder / "keys").iterdir() if not each.name.startswith(".")] == ["b.json"]
    assert rows()["team/b"]["state"] == "retired"


def test_a_file_that_is_wrong_keeps_nobody_from_retiring_another(place: Place) -> None:
    run("keys", "add", "a.pem")
    (place.folder / "keys" / "broken.pem").write_text("no key")
    listed = run("keys", "list")
    assert (listed.status, "`broken.pem` gives no key" in listed.err) == (1, True)
    assert run("keys", "retire", "a").status == 0


def test_a_database_that_is_down_keeps_nobody_from_retiring_a_key(place: Place) -> None:
    run("keys", "add", "a.pem")
    (place.folder / "shop.db").unlink()
    assert run("keys", "retire", "a").status == 0


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        (private_pem, (), "PRIVATE"),
        (lambda: public_pem("a") * 2, (), "2 PEM blocks"),
        (lambda: public_pem("a"), ("--datasets", "nothing"), "does not have"),
        (lambda: public_pem("a"), ("--name", "../a"), "name must be"),
        (lambda: public_pem("a"), ("--retire-at", "soon"), "`retire_at`"),
        (public_pem, (), "configured already"),
    ],
)
def test_what_cannot_be_added_is_refused_with_the_reason(place: Place, text: Any, more: tuple[str, ...], told: str) -> None:
    (place.folder / "a.pem").write_text(text())
    ran = run("keys", "add", "a.pem", *more)
    assert (ran.status, told in ran.err) == (1, True), ran.err
    assert [each for each in (place.folder / "keys").iterdir() if each.name != ".lock"] == []


def test_without_a_directory_it_says_what_to_write(place: Place) -> None:
    document = configuration()
    place.file.write_text(yaml.safe_dump(document))
    ran = run("keys", "add", "a.pem", "--datasets", "orders")
    assert (ran.status, ran.out) == (0, '  - {id: a, public_key_file: a.pem, datasets: ["orders"]}\n')
    document["tokens"][0]["keys"] += yaml.safe_load(ran.out)
    place.file.write_text(yaml.safe_dump(document))
    assert set(rows()) == {"shop", "a"}


def test_every_command_that_verifies_knows_the_keys_of_a_directory(place: Place) -> None:
    run("keys", "add", "a.pem", "--retire-at", "2027-02-01T00:00:00Z")
    token = place.token(signer="a", clock=lambda: NOW)
    assert f"team/a  ES256  {rows()['team/a']['thumbprint']}" in run("validate").out
    seen = run("inspect", "--config", "datasets.yaml", "-", stdin=token)
    assert seen.status == 0, seen.out + seen.err
    asked = run("query", "--token", "-", "SELECT order_id FROM orders", stdin=token)
    assert asked.status == 0, asked.err
    (place.folder / "a-private.pem").write_text(private_pem("a"))
    (place.folder / "a-private.pem").chmod(0o600)
    signed = run("access-tokens", "-p", "p", "-u", "u", "-pk", "a-private.pem", "--data-set-ids", "orders", "--secure-filters",
                 '{"orders": [[{"field": "user_id", "op": "=", "value": 7}]]}', "--config", "datasets.yaml")  # fmt: skip
    assert signed.status == 0, signed.err
    run("keys", "retire", "a")
    retired = run("inspect", "--config", "datasets.yaml", "-", stdin=token)
    assert retired.status == 1
    assert "the key has retired (`team/a`); its bearer is not told" in retired.out + retired.err


def test_a_key_is_uploaded_and_activated(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = place.gate(lambda document: document["tokens"][0]["keys"].append({"id": "team", "directory": "keys"}), watch_keys=False)
    with serving(create_admin(gate, secret=SECRET)) as url:
        nobody = run("keys", "upload", "a.pem", "--to", url)
        assert (nobody.status, "there is no admin secret" in nobody.err) == (1, True)
        monkeypatch.setenv("ROWSEAL_ADMIN_SECRET", "x" * 40)
        wrong = run("keys", "upload", "a.pem", "--to", url)
        assert (wrong.status, "admin_refused (401)" in wrong.err) == (1, True)
        (place.folder / "secret").write_text(f"{SECRET}\n")
        sent = run("keys", "upload", "a.pem", "--to", url, "--secret-file", "secret", "--datasets", "orders")
        assert sent.status == 0, sent.err
        assert "pending" in sent.out
        assert "SECRET" not in sent.out + sent.err
        assert SECRET not in sent.out + sent.err
        active = run("keys", "upload", "a.pem", "--to", url, "--secret-file", "secret", "--datasets", "orders", "--activate", "--json")
        assert json.loads(active.out)["state"] == "active"
    gate.verify(place.token(signer="a"))
    gone = run("keys", "upload", "a.pem", "--to", url, "--secret-file", "secret")
    assert (gone.status, "does not answer" in gone.err) == (1, True)


@pytest.mark.parametrize("url", ["http://gateway.example:8001", "ftp://127.0.0.1", "http://user@127.0.0.1:1", "http://127.0.0.1:1/path", "nonsense"])
def test_the_secret_goes_nowhere_that_others_listen(place: Place, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("ROWSEAL_ADMIN_SECRET", SECRET)
    ran = run("keys", "upload", "a.pem", "--to", url)
    assert (ran.status, "unencrypted" in ran.err or "`--to` must be" in ran.err) == (1, True)
