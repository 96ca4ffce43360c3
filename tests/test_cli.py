"""The command line does what the library does, says why not in a sentence, and never shows a key, a withheld value or a traceback."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import sqlite3
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rowseal import Gate, Signer, cli
from rowseal.claims import KeyFacts
from rowseal.cli import commands, inspect, terminal
from rowseal.engine import Result
from rowseal.gate import Access
from rowseal.keys import read_public_keys

ROOT = Path(__file__).resolve().parents[1]
NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
SECRET = "only-tenant-7-may-know"
OWN = [[{"field": "tenant", "op": "=", "value": 1}]]

CONFIGURATION = """\
version: 1
database: sqlite:///shop.db
tokens:
  - profile: vizzly
    keys: [{id: vizzly, public_key_file: vizzly-public.pem}]
datasets:
  - id: orders
    table: orders
    fields:
      - {id: order_id, column: id, type: number}
      - {id: tenant, column: tenant_id, type: number}
      - {id: region, type: string}
      - {id: amount, type: number}
      - {id: deleted, type: boolean, hidden: true}
    secure_filters: [{field: deleted, op: "=", value: false}]
    guards: [{field: tenant, op: ["=", is_one_of]}]
  - id: items
    table: items
    fields: [{id: item_id, column: id, type: number}, {id: order_id, type: number}]
    secure_filters: [{through: orders, on: {order_id: order_id}}]
  - {id: products, table: products, public: true, fields: [{id: name, type: string}]}
limits: {rows: 3}
"""
ROWS = """\
CREATE TABLE orders (id INTEGER PRIMARY KEY, tenant_id INTEGER, region TEXT, amount INTEGER, deleted BOOLEAN);
INSERT INTO orders VALUES (1, 1, 'North', 10, 0), (2, 1, NULL, 2000, 0), (3, 1, 'South', 30, 1), (4, 2, 'West', 400, 0);
CREATE TABLE items (id INTEGER PRIMARY KEY, order_id INTEGER);
INSERT INTO items VALUES (1, 1), (2, 4);
CREATE TABLE products (name TEXT);
INSERT INTO products VALUES ('Teapot'), ('東京'), (char(27) || '[31mred'), ('Lamp');
"""


@dataclass
class Ran:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Screen(StringIO):
    """Standard output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def run(*arguments: str | Path, stdin: str = "", now: float = NOW, screen: bool = False) -> Ran:
    out, err = Screen() if screen else StringIO(), StringIO()
    status = cli.run([str(each) for each in arguments], out=out, err=err, stdin=StringIO(stdin), clock=lambda: now)
    ran = Ran(status, out.getvalue(), err.getvalue())
    assert "Traceback" not in ran.out + ran.err
    return ran


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, entered, with a database, a datasets.yaml, and the key pair that it names."""
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("shop.db")) as database:
        database.executescript(ROWS)
    Path("datasets.yaml").write_text(CONFIGURATION)
    assert run("keys", "create").status == 0
    return tmp_path


def sign(filters: object = None, ids: object = "orders", now: float = NOW, minutes: float = 15, **more: Any) -> str:
    """A data access token, written into `token.txt` too."""
    named = ids.split(",") if isinstance(ids, str) and ids != "*" else ids
    written: Any = {"orders": OWN} if filters is None else filters
    signer = Signer(Path("vizzly-private.pem").read_text(), minutes, clock=lambda: now)
    token = signer.generate_tokens(user_reference="u", project_id="p", data_set_ids=named, secure_filters=written, **more)["dataAccessToken"]
    Path("token.txt").write_text(f"{token}\n")
    return token


def raw(claims: dict[str, Any], header: dict[str, Any] | None = None) -> str:
    """A token of any claims, rightly signed for its header's sake by nobody."""
    parts = [json.dumps(header or {"alg": "ES256"}), json.dumps(claims)]
    return ".".join([*(base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in parts), "c2lnbmVk"])


# --- the whole -----------------------------------------------------------------------------------------------------------------------------


KEY_ACTS = ("add", "activate", "retire", "upload")  # tests/test_key_commands.py


def test_the_examples_of_the_reference_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command has one, and what it writes the next one reads."""
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("shop.db")) as database:
        database.executescript(ROWS)
    Path("datasets.yaml").write_text(CONFIGURATION)
    page = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```sh\n(.*)\n```$", page, re.MULTILINE)
    assert examples == [command.example for command in commands.COMMANDS]
    answers = []
    for example in examples:
        if example.startswith(
            ("rowseal serve", "rowseal postgres-role", "rowseal export-rls", "rowseal revoke", *(f"rowseal keys {act}" for act in KEY_ACTS))
        ):  # tests of their own
            continue
        program, *words = shlex.split(example)
        assert program == "rowseal"
        target = words.pop(words.index(">") + 1) if ">" in words else None
        source = words.pop(words.index("<") + 1) if "<" in words else None
        ran = run(*(word for word in words if word not in "<>"), stdin=Path(source).read_text() if source else "")
        assert (ran.status, re.sub("1 row\n|nothing was found\n", "", ran.err)) == (0, ""), example
        answers.append(ran.out)
        if target:
            Path(target).write_text(ran.out)
    assert answers[-1].split() == ["orders", "------", "1"]


def test_the_script_is_declared_and_every_command_explains_itself_with_its_example() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"] == {"rowseal": "rowseal.cli:main"}
    assert run("--version").out.startswith("rowseal ")
    for command in commands.COMMANDS:
        for name in (command.name, *([command.alias] if command.alias else [])):
            ran = run(*name.split(), "--help")
            assert (ran.status, ran.err) == (0, "")
            assert f"example:\n  {command.example}\n" in ran.out
            assert all(flag in ran.out for option in command.options for flag in option.flags if flag.startswith("-"))


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("keys",),
        ("sign",),
        ("keys", "create", "--algorithm", "HS256"),
        ("access-tokens", "-p", "p"),
        ("access-tokens", "-p", "p", "-u", "u", "-t", "owner"),
        ("access-tokens", "-p", "p", "-u", "u", "--ttl", "soon"),
        ("query", "--tok", "x", "SELECT 1"),
        ("query", "--token", "-", "-"),
    ],
)
def test_what_is_no_command_line_ends_with_2_and_says_so_on_standard_error(arguments: tuple[str, ...]) -> None:
    ran = run(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert "rowseal" in ran.err


def test_a_token_where_none_is_expected_is_not_repeated(place: Path) -> None:
    token = sign()
    ran = run("validate", "--json", "--at", token, f"--tok={token}")
    assert ran.status == 2
    assert token not in ran.err
    assert "<token>" in ran.err


def test_an_unexpected_error_is_called_a_bug_and_its_words_stay_inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError(SECRET)

    sign()
    monkeypatch.setattr(inspect, "Verifier", broken)
    ran = run("inspect", "@token.txt")
    assert (ran.status, ran.out) == (70, "")
    assert "this is a bug in rowseal: KeyError at test_cli.py:" in ran.err
    assert SECRET not in ran.err


# --- keys ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "PS256", "EdDSA"])
def test_a_new_pair_signs_with_its_algorithm_and_only_its_owner_reads_it(tmp_path: Path, algorithm: str) -> None:
    ran = run("keys", "create", "--out", tmp_path / "new", "--prefix", "shop", "--algorithm", algorithm, "--json")
    private, public = Path(ran.json["private_key_file"]), Path(ran.json["public_key_file"])
    assert sorted((tmp_path / "new").iterdir()) == [private, public] == [tmp_path / "new" / "shop-private.pem", tmp_path / "new" / "shop-public.pem"]
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    (key,) = read_public_keys(public.read_text(), facts=KeyFacts("k", "vizzly"), algorithm=algorithm)
    assert key.thumbprint == ran.json["thumbprint"]
    signed = Signer(private.read_bytes(), algorithm=algorithm).generate_tokens(user_reference="u", project_id="p", data_set_ids="*", secure_filters={})
    header = json.loads(base64.urlsafe_b64decode(signed["dataAccessToken"].split(".")[0] + "=="))
    assert header == {"alg": algorithm, "kid": key.thumbprint}
    assert "PRIVATE" not in ran.out
    for file in (private, public):
        assert run("keys", "thumbprint", file).out == f"{key.thumbprint}\n"


@pytest.mark.parametrize("half", ["vizzly-private.pem", "vizzly-public.pem"])
def test_a_file_that_exists_is_never_overwritten_and_no_half_pair_is_left(tmp_path: Path, half: str) -> None:
    (tmp_path / half).write_text("precious")
    ran = run("create-key-pair", "--out", tmp_path)
    assert (ran.status, ran.out) == (1, "")
    assert "exists already" in ran.err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {half: "precious"}


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "vizzly-public.pem").symlink_to(tmp_path / "elsewhere")
    assert run("keys", "create", "--out", tmp_path).status == 1
    assert [path.name for path in tmp_path.iterdir()] == ["vizzly-public.pem"]


@pytest.mark.parametrize("prefix", ["", "../up", "a/b", "a\n"])
def test_a_prefix_is_the_beginning_of_a_file_name(tmp_path: Path, prefix: str) -> None:
    ran = run("keys", "create", "--out", tmp_path, "--prefix", prefix)
    assert (ran.status, list(tmp_path.iterdir())) == (1, [])
    assert "`--prefix`" in ran.err


def test_thumbprints_of_a_key_set_are_listed(place: Path) -> None:
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    x, y = (base64.urlsafe_b64encode(each.to_bytes(32, "big")).rstrip(b"=").decode() for each in (numbers.x, numbers.y))
    ran = run("keys", "thumbprint", "-", "--json", stdin=json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "x": x, "y": y}]}))
    assert [key["algorithm"] for key in ran.json] == ["ES256"]
    assert len(ran.json[0]["thumbprint"]) == 43


def test_what_is_no_key_for_tokens_has_no_thumbprint(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(x25519.X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(0o600)
    assert "keys of this kind cannot sign tokens" in run("keys", "thumbprint", file).err
    for text in ("", "secret", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "\0"):
        file.write_text(text)
        ran = run("keys", "thumbprint", file)
        assert (ran.status, ran.out) == (1, "")
        assert ran.err.splitlines()[-1].startswith("rowseal: ")


# --- access-tokens -------------------------------------------------------------------------------------------------------------------------


def test_access_tokens_prints_two_tokens_that_the_gate_takes(place: Path) -> None:
    Path("filters.json").write_text(json.dumps({"orders": OWN}))
    ran = run(
        *("access-tokens", "-p", "prj", "-u", "anna", "-t", "editor", "--data-set-ids", "orders,items", "--secure-filters", "@filters.json"),
        *("--parameters", '{"region": "North", "share": 0.25}', "--ttl", "5", "--scope", "read", "--config", "datasets.yaml"),
    )
    assert (ran.status, ran.err) == (0, "")
    assert list(ran.json) == ["dashboardAccessToken", "dataAccessToken"]
    dashboard, data = (json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==")) for token in ran.json.values())
    assert (dashboard["accessType"], dashboard["scope"], dashboard["userReference"], dashboard["projectId"]) == ("admin", "read", "anna", "prj")
    assert data == {
        "projectId": "prj",
        "dataSetIds": ["orders", "items"],
        "secureFilters": {"orders": OWN},
        "expires": "2027-01-15T08:05:00.000Z",
        "parameters": {"region": "North", "share": 0.25},
    }
    gate = Gate.from_yaml("datasets.yaml", clock=lambda: NOW)
    assert gate.verify(ran.json["dataAccessToken"]).execute("SELECT item_id FROM items").rows == [(1,)]
    gate.close()


def test_the_vendor_s_own_command_line_works_and_warns_of_full_read_access(place: Path) -> None:
    bound = run(
        "access-tokens", "-p", "p", "-u", "u", "--subject", "s", "--allowed-origins", "https://a.example,https://b.example", "--dpop-thumbprint", "A" * 43
    )
    claims = json.loads(base64.urlsafe_b64decode(json.loads(bound.out)["dataAccessToken"].split(".")[1] + "=="))
    assert (claims["sub"], claims["allowedOrigins"], claims["cnf"]) == ("s", ["https://a.example", "https://b.example"], {"jkt": "A" * 43})
    ran = run("access-tokens", "-o", "org", "-d", "dsh", "-u", "u", "-t", "standard", "-pk", "vizzly-private.pem")
    assert (ran.status, list(ran.json)) == (0, ["dashboardAccessToken", "dataAccessToken"])
    assert "full read access" in ran.err
    assert "full read access" in run("access-tokens", "-p", "p", "-u", "u", "--secure-filters", '{"orders": []}').err
    assert run("access-tokens", "-p", "p", "-u", "u", "--secure-filters", json.dumps({"orders": OWN})).err == ""


class Keyboard(StringIO):
    """Standard input that says that somebody sits before it."""

    def isatty(self) -> bool:
        return True


UNFILTERED = ("access-tokens", "-o", "org", "-d", "dsh", "-u", "u", "-t", "admin", "--config", "datasets.yaml")


def typed(*arguments: str, answer: str, screen: type[StringIO] = Screen) -> Ran:
    out, err = StringIO(), screen()
    return Ran(cli.run(arguments, out=out, err=err, stdin=Keyboard(answer), clock=lambda: NOW), out.getvalue(), err.getvalue())


def test_a_production_key_asks_before_it_signs_full_read_access(place: Path) -> None:
    """Marked `development: true` it does not; with filters, or for single datasets, there is nothing to ask."""
    signed = typed(*UNFILTERED, answer="yes\n")
    assert (signed.status, list(signed.json)) == (0, ["dashboardAccessToken", "dataAccessToken"])
    assert "the key `vizzly` is not marked `development: true`" in signed.err
    assert "full read access" in signed.err
    for answer in ("", "\n", "no\n", "y\n", "yes!\n", "YES\n"):
        ran = typed(*UNFILTERED, answer=answer)
        assert (ran.status, ran.out) == (1, "")
        assert "rowseal: nothing was signed: name datasets and filters" in ran.err
    assert run(*UNFILTERED, "--secure-filters", json.dumps({"orders": OWN})).status == 0
    assert run(*UNFILTERED, "--data-set-ids", "products").status == 0
    Path("datasets.yaml").write_text(CONFIGURATION.replace("id: vizzly,", "id: vizzly, development: true,"))
    ran = run(*UNFILTERED)
    assert (ran.status, len(ran.json)) == (0, 2)
    assert "full read access" in ran.err


def test_where_nobody_can_be_asked_full_read_access_wants_a_word(place: Path) -> None:
    """A script, or a question that would land in a file."""
    for ran in (run(*UNFILTERED), run(*UNFILTERED, stdin="yes\n"), typed(*UNFILTERED, answer="yes\n", screen=StringIO)):
        assert (ran.status, ran.out) == (1, "")
        assert "there is no terminal to ask" in ran.err
        assert "or write `--full-access`" in ran.err
    ran = run(*UNFILTERED, "--full-access")
    assert (ran.status, len(ran.json)) == (0, 2)
    assert "full read access" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-p", "p", "--secure-filters", "{'orders': []}"), "`--secure-filters` cannot be read"),
        (("-p", "p", "--secure-filters", '{"a": [], "a": []}'), "a name stands twice"),
        (("-p", "p", "--secure-filters", '{"a": [[{"field": "f", "op": "=", "value": 0.12345678901234567890}]]}'), "more digits"),
        (("-p", "p", "--secure-filters", json.dumps({"a": OWN[0] * 2})), "flat list"),
        (("-p", "p", "--secure-filters", '{"a": [[]]}'), "an empty group"),
        (("-p", "p", "--secure-filters", "@none.json"), "`none.json` cannot be read: no such file"),
        (("-p", "p", "--data-set-ids", "orders,,x"), "dataSetIds"),
        (("-p", "p", "-d", "dsh"), "`dashboard_id` belongs to"),
        (("-p", "p", "-o", "org"), "exactly one place"),
        ((), "exactly one place"),
        (("-p", "p", "--ttl", "-1"), "`ttl_in_minutes`"),
        (("-p", "p", "--ttl", "nan"), "`ttl_in_minutes`"),
        (("-p", "p", "--algorithm", "RS256"), "cannot have the algorithm"),
        (("-p", "p", "-pk", "none.pem"), "`none.pem` cannot be read"),
        (("-p", "p", "-pk", "vizzly-public.pem"), "this is a public key, which signs nothing"),
        (("-p", "p", "-pk", "shop.db"), "shop.db` is not a text file"),
        (("-p", "p", "-pk", "."), "`.` cannot be read"),
        (("-p", "p", "--config", "datasets.yaml", "--data-set-ids", "salaries"), "does not declare"),
        (("-p", "p", "--config", "datasets.yaml", "--data-set-ids", "orders"), "dataset `orders`"),
        (("-p", "p", "--config", "datasets.yaml", "--data-set-ids", "products", "--ttl", "300"), "lifetime_too_long"),
        (("-p", "p", "--config", "none.yaml"), "none.yaml:1:1: cannot be read"),
    ],
)
def test_what_cannot_be_signed_is_a_sentence_and_no_token(place: Path, arguments: tuple[str, ...], said: str) -> None:
    ran = run("access-tokens", "-u", "u", *arguments)
    assert (ran.status, ran.out) == (1, "")
    assert said in ran.err


def test_a_key_that_the_configuration_lacks_signs_nothing_for_it(place: Path) -> None:
    run("keys", "create", "--prefix", "other")
    ran = run("access-tokens", "-u", "u", "-p", "p", "-pk", "other-private.pem", "--config", "datasets.yaml", "--data-set-ids", "products")
    assert (ran.status, ran.out) == (1, "")
    assert "refused: signature_invalid (401)" in ran.err


def test_a_private_key_that_others_may_read_is_reported(place: Path) -> None:
    Path("vizzly-private.pem").chmod(0o644)
    ran = run("access-tokens", "-u", "u", "-p", "p", "--secure-filters", json.dumps({"orders": OWN}))
    assert ran.status == 0
    assert "warning: others on this machine may read `vizzly-private.pem`" in ran.err


# --- inspect -------------------------------------------------------------------------------------------------------------------------------


def test_inspect_withholds_every_value_unless_asked(place: Path) -> None:
    token = sign({"orders": [[*OWN[0], {"field": "region", "op": "is_one_of", "value": [SECRET, "x"]}]]}, parameters={"field": SECRET, "op": SECRET, "n": 4711})
    for arguments in (("inspect", "-"), ("inspect", "-", "--json"), ("inspect", "-", "--config", "datasets.yaml")):
        ran = run(*arguments, stdin=token)
        assert (ran.status, ran.err) == (0, "")
        assert SECRET not in ran.out
        assert "4711" not in ran.out
        assert "is_one_of" in ran.out
        assert "<list of 2>" in ran.out
        ran = run(*arguments, "--show-values", stdin=token)
        assert ran.out.count(SECRET) == 3
        assert "4711" in ran.out


def test_inspect_takes_the_object_of_both_tokens_and_says_where_a_token_may_not_stand(place: Path) -> None:
    token = sign()
    whole = run("inspect", "-", "--json", stdin=json.dumps({"dashboardAccessToken": "x", "dataAccessToken": token}))
    assert whole.json["kind"] == "data access token"
    assert whole.err == ""
    assert "shell's history" in run("inspect", token).err


LATER = "2027-01-15T08:14:59Z"


@pytest.mark.parametrize(
    ("make", "arguments", "code"),
    [
        (sign, (), None),
        (sign, ("--at", LATER), None),
        (sign, ("--at", "2027-01-15T09:15:00+01:00"), "token_expired"),
        (sign, ("--at", "2027-01-15T05:00:00Z"), "lifetime_too_long"),
        (lambda: sign(minutes=121), (), "lifetime_too_long"),
        (lambda: sign()[:-8] + "AAAAAAAA", (), "signature_invalid"),
        (lambda: raw({"dataSetIds": "*", "secureFilters": {}}, {"alg": "none"}), (), "algorithm_refused"),
        (lambda: raw({"dataSetIds": "*", "secureFilters": {}}, {"alg": "ES256", "jku": "https://x"}), (), "header_refused"),
        (lambda: raw({"dataSetIds": "*", "secureFilters": {}}, {"alg": "ES256", "kid": "none of ours"}), (), "signature_invalid"),
    ],
)
def test_the_verdict_is_the_gate_s(place: Path, make: Any, arguments: tuple[str, ...], code: str | None) -> None:
    ran = run("inspect", "-", "--config", "datasets.yaml", "--json", *arguments, stdin=make())
    assert ran.status == (0 if code is None else 1)
    assert (ran.json["verified"], (ran.json["refused"] or {}).get("code")) == (code is None, code)
    said = run("inspect", "-", "--config", "datasets.yaml", *arguments, stdin=make()).out
    assert ("verdict  accepted" if code is None else f"verdict  refused: {code}") in said


@pytest.mark.parametrize(
    ("claims", "code", "kind"),
    [
        ({"dataSetIds": "*", "secureFilters": {}, "exp": NOW + 60}, None, "data access token"),
        ({"dataSetIds": "*", "secureFilters": {}, "exp": NOW + 60, "aud": ["a", "b"], "nbf": NOW + 9000, "iss": "i"}, None, "data access token"),
        ({"dataSetIds": "*", "secureFilters": {}, "exp": NOW}, "token_expired", "data access token"),
        ({"dataSetIds": "*", "secureFilters": {}}, "expiry_missing", "nothing that can be used"),
        ({"dataSetIds": ["*"], "secureFilters": {}, "exp": NOW + 60}, "claim_invalid", "nothing that can be used"),
        ({"dataSetIds": "*", "secureFilters": {"orders": [[]]}, "exp": NOW + 60}, "filters_malformed", "an empty group"),
        ({"accessType": "admin", "expires": "2027-01-15T09:00:00Z"}, "claim_invalid", "`projectId`"),
        ({"accessType": "admin", "dataSetIds": "*", "expires": "2027-01-15T09:00:00Z"}, "token_kind", "a dashboard access token"),
        ({"allowDataPreviewAccess": True, "exp": NOW + 60}, "token_kind", "a query engine access token"),
        ({"sub": "person", "exp": NOW + 60}, "token_kind", "the token of a login"),
    ],
)
def test_without_a_configuration_the_form_is_judged_and_nothing_is_called_proven(claims: dict[str, Any], code: str | None, kind: str) -> None:
    ran = run("inspect", "-", "--json", stdin=raw(claims))
    assert ran.status == (0 if code is None else 1)
    assert (ran.json["verified"], (ran.json["refused"] or {}).get("code")) == (False, code)
    assert kind in ran.json["kind"]
    assert ("nothing is proven" in run("inspect", "-", stdin=raw(claims)).out) is (code is None)


@pytest.mark.parametrize(
    "text", ["", "x", "a.b.c", "eyJhbGciOiJFUzI1NiJ9", "eyJhbGciOiJFUzI1NiJ9.e30.e30.e30.e30", "{}", "[]", "\x1b[31m", "eyJhbGciOiJFUzI1NiJ9.bm8.c2ln"]
)
def test_what_is_no_token_is_refused_in_a_sentence(text: str) -> None:
    ran = run("inspect", "-", stdin=text)
    assert (ran.status, ran.out) == (1, "")
    assert "token" in ran.err
    assert "\x1b" not in ran.err


@pytest.mark.parametrize(
    ("claims", "warned"),
    [
        ({}, []),
        ({"exp": NOW + 15 * 86_400}, ["lives 15 days; if 15 minutes were meant, the signer took minutes for days (1440 times)"]),
        ({"exp": NOW + 60, "iat": NOW + 60 - 10 * 86_400}, ["lives 10 days; if 10 minutes were meant"]),
        ({"exp": NOW + 86_399}, ["lives 23 hours 59 minutes; if 1 minute were meant"]),
        ({"exp": NOW + 8 * 3_600}, []),
        ({"secureFilters": {"orders": OWN[0] * 2}}, ["the filters of `orders` are a flat list"]),
        ({"secureFilters": {}}, ["granted without a filter, so refused here unless public"]),
        ({"dataSetIds": "*"}, ["grants every dataset"]),
        ({"secureFilters": {"orders": OWN, "items": OWN}}, ["filtered but not granted: `items`"]),
        ({"secureFilters": {"orders": [[{"field": "tenant", "op": "=", "value": 2**53}]]}}, ["`secureFilters.orders[0][0].value` is a whole number beyond"]),
        ({"secureFilters": {"orders": [[{"field": "tenant", "op": "is_one_of", "value": [1, -(2**53)]}]]}}, ["`secureFilters.orders[0][0].value` is"]),
        ({"parameters": {"tenant": 2**53 - 1}}, []),
    ],
)
def test_what_was_probably_not_meant_is_a_warning(claims: dict[str, Any], warned: list[str]) -> None:
    token = raw({"dataSetIds": ["orders"], "secureFilters": {"orders": OWN}, "exp": NOW + 60} | claims)
    found = run("inspect", "-", "--json", stdin=token).json["warnings"]
    assert [text for text, start in zip(found, warned, strict=True) if not text.startswith(start)] == []


DASHBOARD = {"accessType": "standard", "scope": "read", "projectId": "p", "dashboardId": "d", "userReference": SECRET, "exp": NOW + 60}


@pytest.mark.parametrize(
    ("claims", "warned"),
    [
        ({}, []),
        ({"accessType": "editor"}, ["`editor` is the older word for `admin`"]),
        ({"scope": ...}, ["has no `scope`: permits reading only here"]),
        ({"dashboardId": ...}, ["names no dashboard: covers none here"]),
    ],
)
def test_a_dashboard_token_is_inspected_as_one(place: Path, claims: dict[str, Any], warned: list[str]) -> None:
    token = raw({name: value for name, value in (DASHBOARD | claims).items() if value is not ...})
    ran = run("inspect", "-", "--json", stdin=token)
    assert (ran.status, ran.json["kind"], ran.json["refused"]) == (0, "dashboard access token", None)
    opens_no_rows, *rest = ran.json["warnings"]
    assert "refused with `token_kind`" in opens_no_rows
    assert [text for text, start in zip(rest, warned, strict=True) if not text.startswith(start)] == []
    assert SECRET not in ran.out + run("inspect", "-", stdin=token).out


def test_a_dashboard_token_is_judged_by_a_configuration_too(place: Path) -> None:
    signed = run("access-tokens", "-p", "p", "-u", "u").json["dashboardAccessToken"]
    good = run("inspect", "-", "--config", "datasets.yaml", "--json", stdin=signed)
    assert (good.status, good.json["kind"], good.json["verified"], good.json["datasets"]) == (0, "dashboard access token", True, {})
    forged = run("inspect", "-", "--config", "datasets.yaml", "--json", stdin=raw(DASHBOARD))
    assert (forged.status, forged.json["verified"]) == (1, False)


def test_a_header_of_any_kind_is_shown(place: Path) -> None:
    ran = run("inspect", "-", "--json", stdin=raw({"dataSetIds": "*", "secureFilters": {}, "exp": NOW + 60}, {"alg": 1.5, "kid": ["\x1b[31m"]}))
    assert ran.json["header"] == {"alg": 1.5, "kid": ["\x1b[31m"]}
    assert "\x1b" not in ran.out


def test_an_unsigned_token_is_called_unsigned() -> None:
    token = raw({"dataSetIds": "*", "secureFilters": {"orders": OWN}, "exp": NOW + 60}, {"alg": "none"})
    assert "the token is not signed: no server may accept it" in run("inspect", "-", "--json", stdin=token).json["warnings"]


def test_under_a_configuration_each_granted_dataset_is_judged_and_strangers_are_named(place: Path) -> None:
    token = sign({"orders": OWN, "ordres": OWN}, "orders,items,products,salaries")
    ran = run("inspect", "-", "--config", "datasets.yaml", "--json", stdin=token)
    assert {name: found["rows"] for name, found in ran.json["datasets"].items()} == {
        "orders": "tenant = ... and deleted = ...",
        "items": "its row of `orders` is open",
        "products": "every row",
    }
    assert "`dataSetIds` names what is no dataset here, and grants nothing by it: `salaries`" in ran.json["warnings"]
    assert "`secureFilters` names what is no dataset here, and restricts nothing by it: `ordres`" in ran.json["warnings"]
    closed = run("inspect", "-", "--config", "datasets.yaml", "--json", stdin=sign({"orders": [[{"field": "region", "op": "=", "value": SECRET}]]}))
    assert closed.json["datasets"]["orders"]["refused"]["code"] == "guard_unmet"
    assert (
        "closed: guard_unmet"
        in run("inspect", "-", "--config", "datasets.yaml", stdin=sign({"orders": [[{"field": "region", "op": "=", "value": SECRET}]]})).out
    )


@pytest.mark.parametrize("moment", ["soon", "2027-01-15T08:00:00", "2027-01-15", ""])
def test_a_moment_needs_its_offset(place: Path, moment: str) -> None:
    ran = run("inspect", "-", "--at", moment, stdin=sign())
    assert (ran.status, ran.out) == (1, "")
    assert "`--at`" in ran.err


# --- validate ------------------------------------------------------------------------------------------------------------------------------


def test_validate_says_what_was_loaded(place: Path) -> None:
    ran = run("validate")
    assert (ran.status, ran.err) == (0, "")
    assert run("keys", "thumbprint", "vizzly-public.pem").out.strip() in ran.out
    assert re.search(
        r"orders +table main\.orders, 4 fields, 1 hidden\n +always filtered: deleted = \.\.\.\n +guard: tokens must restrict tenant = or is_one_of\n", ran.out
    )
    loaded = run("validate", "datasets.yaml", "--json").json
    assert loaded["problems"] == []
    assert [dataset["id"] for dataset in loaded["loaded"]["datasets.yaml"]["datasets"]] == ["orders", "items", "products"]
    assert loaded["loaded"]["datasets.yaml"]["datasets"][1]["secure_filters"] == ["through orders"]


def test_validate_lists_every_problem_of_every_file_with_its_place(place: Path) -> None:
    Path("bad.yaml").write_text(CONFIGURATION.replace("version: 1", "version: 2").replace("limits:", "limtis:"))
    Path("worse.yaml").write_text(CONFIGURATION.replace("type: string", "type: strnig"))
    ran = run("validate", "bad.yaml", "datasets.yaml", "worse.yaml")
    assert ran.status == 1
    assert ran.out.startswith("datasets.yaml: good")
    *problems, count = ran.err.splitlines()
    assert re.findall(r"^(\w+\.yaml):\d+:\d+: ", "\n".join(problems), re.MULTILINE) == ["bad.yaml"] * 2 + ["worse.yaml"] * 2
    assert count == "4 problems"
    as_json = run("validate", "bad.yaml", "--json")
    assert (as_json.status, as_json.err) == (1, "")
    assert [problem["line"] for problem in as_json.json["problems"]] == [1, CONFIGURATION.count("\n")]


# --- demo ----------------------------------------------------------------------------------------------------------------------------------


def test_the_demo_answers_two_tenants_and_no_attack_brings_anything() -> None:
    ran = run("demo")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.count("nothing of anybody else") == 5
    assert "LEAKED" not in ran.out
    assert "FORBIDDEN" not in ran.out
    shown = run("demo", "--json").json
    assert shown["held"] is True
    assert [{row[0] for row in rows} for rows in shown["answers"].values()] == [{1}, {2}]
    assert [len(attack["got"]) for attack in shown["attacks"]] == [1, 1, 1, 2, 2]


def test_the_demo_can_say_that_an_attack_got_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guard's filter everything comes out, and is seen."""
    every = Result(columns=("tenant", "note"), rows=[(1, "thanks"), (3, "FORBIDDEN note")], truncated=False)
    monkeypatch.setattr(Access, "execute", lambda *_: every)
    ran = run("demo")
    assert ran.status == 1
    assert ran.out.count("LEAKED") == 4  # and the forged tokens are refused all the same
    assert "the demo failed" in ran.err


def test_the_demo_leaves_nothing_unless_told_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run("demo").status == 0
    assert list(tmp_path.iterdir()) == []
    assert run("demo", "--keep", "shop").status == 0
    assert {path.name for path in Path("shop").iterdir()} == {"datasets.yaml", "shop.db", "vizzly-private.pem", "vizzly-public.pem"}
    assert run("validate", "shop/datasets.yaml").status == 0
    assert run("lint", "--config", "shop/datasets.yaml", "--strict", "--accept", "undeclared_columns").status == 0
    assert "exists already" in run("demo", "--keep", "shop").err


# --- explain and query ---------------------------------------------------------------------------------------------------------------------


def asked(command: str, sql: str, *more: str, screen: bool = False) -> Ran:
    return run(command, "--token", "@token.txt", sql, *more, screen=screen)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT region FROM orders",
        (
            'WITH big AS (SELECT * FROM orders WHERE amount > 1), "c)d" AS (SELECT 1 AS x) '
            "SELECT '), \"__g9\" AS MATERIALIZED (' AS t FROM big JOIN items USING (order_id)"
        ),
        "SELECT name FROM products UNION ALL SELECT ')' || ',' FROM orders ORDER BY 1",
        "SELECT 1 AS x",
    ],
)
def test_explain_shows_the_text_that_the_gate_makes_and_only_breaks_its_lines(place: Path, sql: str) -> None:
    token = sign({"orders": OWN}, "orders,items,products")
    gate = Gate.from_yaml("datasets.yaml", clock=lambda: NOW)
    secured = gate.verify(token).secure(sql)
    gate.close()
    ran = asked("explain", sql)
    assert (ran.status, ran.err) == (0, "")
    shown = ran.out.partition("secured for sqlite:\n")[2].partition("\n\n")[0].rstrip("\n").splitlines()
    assert " ".join(line.removeprefix("  ") for line in shown) == secured.sql
    guards = re.findall(r"^reads  (\w+) +through (__g\d+)", ran.out, re.MULTILINE)
    assert {name for name, _ in guards} == set(secured.datasets)
    assert len(guards) == len(secured.reads)
    as_json = asked("explain", sql, "--json").json
    assert as_json["sql"] == secured.sql
    assert [bind["name"] for bind in as_json["binds"]] == list(secured.params)


def test_explain_says_what_is_fenced_and_withholds_the_binds(place: Path) -> None:
    sign({"orders": [[*OWN[0], {"field": "region", "op": "!=", "value": SECRET}]]})
    plain = asked("explain", "SELECT region FROM orders WHERE amount > :least", "--params", '{"least": 4711}')
    fenced = asked("explain", "SELECT region FROM orders GROUP BY region HAVING abs(region) > 1")
    assert "not fenced: nothing" in plain.out
    assert "not fenced" not in fenced.out
    assert "fenced" in fenced.out
    assert SECRET not in plain.out + fenced.out
    assert "4711" not in plain.out
    assert "  :p_least  number\n" in plain.out


@pytest.mark.parametrize("command", ["explain", "query"])
@pytest.mark.parametrize(
    ("sql", "code", "marked"),
    [
        ("SELECT region,\n  regoin FROM orders", "column_unknown", "    2 |   regoin FROM orders\n          ^"),
        ("SELECT '東京', regoin FROM orders", "column_unknown", "    1 | SELECT '東京', regoin FROM orders\n                       ^"),
        ("SELECT\tregoin FROM orders", "column_unknown", "    1 | SELECT regoin FROM orders\n               ^"),
        ("SELECT * FROM salaries", "dataset_unknown", "    1 | SELECT * FROM salaries\n                      ^"),
        ("DELETE FROM orders", "sql_not_one_select", ""),
        ("SELECT 1;\x1b[31m", "sql_character", ""),
        ("", "sql_empty", ""),
    ],
)
def test_a_refused_query_is_marked_where_it_is_wrong(place: Path, command: str, sql: str, code: str, marked: str) -> None:
    sign()
    ran = run(command, "--token", "@token.txt", "-", stdin=sql)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith(f"refused: {code} (")
    assert "\ncure: " in ran.err
    assert marked in ran.err
    assert "\x1b" not in ran.err
    assert run(command, "--token", "@token.txt", "-", "--json", stdin=sql).json["refused"]["code"] == code


def test_query_prints_the_permitted_rows(place: Path) -> None:
    sign()
    ran = asked("query", "SELECT order_id, region FROM orders ORDER BY order_id")
    assert ran.out == "order_id  region\n--------  ------\n       1  North\n       2  NULL\n"
    assert ran.err == "2 rows\n"
    assert asked("query", "SELECT COUNT(*) AS n FROM orders WHERE amount > :least", "--params", '{"least": 10.5}', "--json").json == {
        "columns": ["n"],
        "rows": [[1]],
        "truncated": False,
    }


@pytest.mark.parametrize("rich", [True, False])
def test_on_a_terminal_rows_are_a_table_with_rich_and_without(place: Path, monkeypatch: pytest.MonkeyPatch, rich: bool) -> None:
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    sign()
    ran = asked("query", 'SELECT order_id, region AS "[b]" FROM orders ORDER BY order_id', screen=True)
    assert ran.status == 0
    assert ("━" in ran.out) is rich
    assert [word in ran.out for word in ("[b]", "North", "NULL", "South", "West")] == [True, True, True, False, False]


def test_a_cut_answer_says_so_and_no_value_acts_on_the_screen(place: Path) -> None:
    sign({}, "products")
    for screen in (False, True):
        ran = asked("query", "SELECT name FROM products", screen=screen)
        assert "東京" in ran.out
        assert "\\u001b[31mred" in ran.out
        assert "\x1b[31mred" not in ran.out
        assert ran.err == "3 rows\nthe answer is cut: there are more rows than the 3 that `limits:` permits\n"
    as_json = asked("query", "SELECT name FROM products", "--json")
    assert (as_json.json["truncated"], as_json.json["rows"][2]) == (True, ["\x1b[31mred"])


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("[]", "`--params` cannot be read"),
        ("{", "`--params` cannot be read"),
        ('{"a": "\udc80"}', "`--params` cannot be read"),
        ('{"a": NaN}', "`--params` cannot be read"),
        ('{"a": 1}', "parameter_unused"),
    ],
)
def test_parameters_are_one_strict_json_object(place: Path, params: str, said: str) -> None:
    sign()
    ran = asked("query", "SELECT 1 AS x", "--params", params)
    assert (ran.status, ran.out) == (1, "")
    assert said in ran.err


def test_a_file_without_its_sign_and_an_empty_one_are_no_tokens(place: Path) -> None:
    sign()
    ran = run("query", "--token", "token.txt", "SELECT 1 AS x")
    assert (ran.status, ran.out, ran.err) == (1, "", "rowseal: `token.txt` is a file: write `@token.txt` to read the token from it\n")
    Path("token.txt").write_text("\n")
    ran = asked("query", "SELECT 1 AS x")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("rowseal: the token is empty: ")


def test_a_refused_token_and_a_refused_configuration_stop_the_query(place: Path) -> None:
    sign(now=NOW - 3600)
    assert "refused: token_expired (401)" in asked("query", "SELECT 1 AS x").err
    Path("datasets.yaml").write_text(CONFIGURATION.replace("shop.db", "none.db"))
    ran = asked("query", "SELECT 1 AS x")
    assert ran.status == 1
    assert ran.err.startswith("datasets.yaml:2:11: database: ")
    assert asked("query", "SELECT 1 AS x", "--json").json["problems"][0]["line"] == 2


# --- as a process --------------------------------------------------------------------------------------------------------------------------


def program(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more.pop("env", {})}
    return subprocess.Popen(
        [sys.executable, "-m", "rowseal.cli", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **more,
    )


@pytest.fixture
def signed(place: Path) -> Iterator[None]:
    """Now, by the real clock."""
    import time

    sign({}, "products", now=time.time())
    return None


def test_the_program_answers_from_standard_input(signed: None) -> None:
    out, err = program("query", "--token", "-", "SELECT name FROM products WHERE name = 'Lamp'").communicate(Path("token.txt").read_text())
    assert (out, err) == ("name\n----\nLamp\n", "1 row\n")


def test_the_program_writes_escapes_where_the_terminal_lacks_the_letters(signed: None) -> None:
    process = program("query", "--token", "@token.txt", "SELECT name FROM products", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    out, err = process.communicate()
    assert (process.returncode, "Traceback" in err) == (0, False)
    assert "\\u6771\\u4eac" in out


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_the_program_ends_quietly_when_nobody_reads(signed: None, unbuffered: str) -> None:
    """Whether the answer breaks off where it is written or where it is flushed."""
    with program("query", "--token", "@token.txt", "SELECT name FROM products", env={"PYTHONUNBUFFERED": unbuffered}) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(60) == 1
    assert re.fullmatch("(3 rows\nthe answer is cut: .*\n)?", said)


def test_the_program_s_exit_status_is_the_command_s(tmp_path: Path) -> None:
    for arguments, status in ((["--version"], 0), (["validate", "none.yaml"], 1), (["nonsense"], 2)):
        process = program(*arguments, cwd=tmp_path)
        out, err = process.communicate()
        assert process.returncode == status
        assert (out == "") is (status != 0)
        assert "Traceback" not in err


def test_every_text_that_goes_out_is_made_harmless() -> None:
    """JSON stays the same JSON."""
    hostile = {"a": "\x1b]0;title\x07 \x9b31m \u202e \u2028 \ud800"}
    shown = terminal.readable(json.dumps(hostile, ensure_ascii=False))
    assert shown.isprintable()
    assert json.loads(shown) == hostile
