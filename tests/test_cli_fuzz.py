"""Whatever is typed, the command line answers with an exit status and a sentence: no traceback, no bug, no character that acts on a screen."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from io import StringIO
from pathlib import Path

import pytest

from rowseal import cli
from rowseal.cli.commands import COMMANDS, Command
from test_cli import CONFIGURATION, NOW, ROWS, run, sign

FILES = ["", "-", "@", "@.", "@none", "@shop.db", "@secret.txt", ".", "/", "..", "none", "shop.db", "datasets.yaml", "loop", "secret.txt"]
TEXTS = [" ", "--", "\x1b[31m", "\u202e", "\udcff", "é" * 300, "x" * 5000, "%s%n{}$(id)`id`", "'; DROP TABLE orders; --", "*", "orders", "ES256", "none"]
JSON = ["0", "-1", "1e999", "nan", "inf", "1" * 400, "null", "true", "[]", "{}", '{"a": 1}', '{"a":' * 2000, "[" * 50_000, '{"orders": [[{}]]}', "@deep.json"]
TOKENS = ["a.b.c", "..", "eyJhbGciOiJub25lIn0..", "@token.txt", "token.txt", "2027-01-15T08:00:00Z", "2027-01-15", "public_dataset:orders"]
SQL = [
    "SELECT 1",
    "SELECT * FROM orders",
    "sqlite://",
    "sqlite:///shop.db",
    "sqlite:///.",
    "postgresql://[",
    "postgresql://a:b@127.0.0.1:1/x?connect_timeout=1",
]
ODD = [*FILES, *TEXTS, *JSON, *TOKENS, *SQL]
READ = [*ODD, "\x00", "a\x00b"]  # no shell passes NUL as an argument


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good configuration and every kind of thing that is no file to read."""
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("shop.db")) as database:
        database.executescript(ROWS)
    Path("datasets.yaml").write_text(CONFIGURATION)
    assert run("keys", "create").status == 0
    sign()
    Path("loop").symlink_to("loop")
    Path("deep.json").write_text("[" * 100_000)
    Path("secret.txt").write_text("x")
    Path("secret.txt").chmod(0)
    return tmp_path


def _line(command: Command, draw: random.Random) -> list[str]:
    """A command line of the right shape with odd values in it."""
    words = command.name.split()
    for option in command.options:
        named = option.flags[0].startswith("-")
        if named and not option.settings.get("required") and draw.random() < 0.6:
            continue
        value = [] if option.settings.get("action") == "store_true" else [draw.choice(ODD)]
        words += [draw.choice(option.flags), *value] if named else value
    return words if draw.random() < 0.9 else [*words, draw.choice(ODD)]


def _answered(arguments: list[str], stdin: str) -> None:
    out, err = StringIO(), StringIO()
    status = cli.run(arguments, out=out, err=err, stdin=StringIO(stdin), clock=lambda: NOW)
    said = out.getvalue() + err.getvalue()
    assert status in (0, 1, 2), (arguments, said)
    assert "Traceback" not in said
    assert all(line.isprintable() for line in said.split("\n")), (arguments, said)
    assert status == 0 or err.getvalue() or out.getvalue().startswith(("{", "kind")), arguments


RUN_TO_THE_END = [command for command in COMMANDS if command.name != "serve"]  # that one ends when somebody ends it


@pytest.mark.parametrize("command", RUN_TO_THE_END, ids=lambda command: command.name)
def test_odd_values_are_answered_with_a_sentence(odd: Path, command: Command) -> None:
    draw = random.Random(command.name)
    for _ in range(25):
        _answered(_line(command, draw), draw.choice(READ))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_line_of_another_shape_is_no_command_line(odd: Path, command: Command) -> None:
    draw = random.Random(command.name)
    for _ in range(25):
        _answered([*command.name.split(), "--no-such-option", *(draw.choice(ODD) for _ in range(3))], "")


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["stdout", "stderr", "stdin"])
def test_a_closed_stream_is_no_traceback(odd: Path, closed: str) -> None:
    redirect = {"stdout": ">&-", "stderr": "2>&-", "stdin": "<&-"}[closed]
    for arguments in ("validate", "schema", "query --token - 'SELECT name FROM products'", "nonsense", "demo"):
        command = f"{sys.executable} -m rowseal.cli {arguments} {redirect}"
        ended = subprocess.run(command, shell=True, capture_output=True, text=True, env=ENVIRONMENT, check=False, timeout=60)
        assert ended.returncode in {0, 1, 2, 120}, (arguments, ended)
        assert "Traceback" not in ended.stdout + ended.stderr, (arguments, ended)


def test_ctrl_c_ends_it_without_a_word(odd: Path) -> None:
    class Interrupted(StringIO):
        def read(self, *_: object) -> str:
            raise KeyboardInterrupt

    out, err = StringIO(), StringIO()
    assert cli.run(["inspect", "-"], out=out, err=err, stdin=Interrupted(), clock=lambda: NOW) == 130
    assert (out.getvalue(), err.getvalue()) == ("", "")


def test_a_huge_query_is_refused_in_time(odd: Path) -> None:
    Path("huge.sql").write_text("SELECT " + "1, " * 1_000_000 + "1")
    begun = time.monotonic()
    ran = run("query", "--token", "@token.txt", "@huge.sql")
    assert (ran.status, time.monotonic() - begun < 60) == (1, True)
    assert "refused: sql_too_complex" in ran.err
    assert len(ran.err) < 2000
    Path("huge.sql").write_text("x" * 5_000_000)
    assert "longer than 4000000 characters" in run("query", "--token", "@token.txt", "@huge.sql").err
    assert json.loads(run("query", "--json", "--token", "@token.txt", "SELECT\x00 1").out)["refused"]["code"] == "sql_character"
