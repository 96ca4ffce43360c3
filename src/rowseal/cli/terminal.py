"""What a command reads and writes: texts from arguments, files and standard input; sentences, tables and JSON out."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TextIO

from rowseal import strict
from rowseal.errors import OurBug, Problem, Refused
from rowseal.tokens import PAYLOAD_DEPTH

__all__ = ["BUG", "FAILED", "OK", "Failed", "Options", "Terminal", "moment", "readable"]

OK: Final = 0
FAILED: Final = 1
BUG: Final = 70  # EX_SOFTWARE of sysexits.h
_ANSWER_LENGTH: Final = 100
_TEXT_LENGTH: Final = 4_000_000  # characters of one argument, file or standard input

Options = Namespace


class Failed(Exception):
    """The command cannot do what was asked. The message is one sentence: what is wrong, and what to write instead."""


def readable(text: str) -> str:
    """The text with every character escaped that could move the cursor, colour the screen or hide its neighbours.

    The escapes are JSON's, so JSON stays the same JSON.
    """
    return text if text.isprintable() else "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def moment(text: str, option: str) -> float:
    """The moment that an option names, in epoch seconds. Raises Failed."""
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found.timestamp()
    except (ValueError, OverflowError):
        pass
    raise Failed(f"`{option}` must be a date and time with its offset, like `2026-01-31T12:00:00Z`")


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where one command reads and writes. `clock` gives epoch seconds."""

    out: TextIO
    err: TextIO
    stdin: TextIO
    clock: Callable[[], float]

    # INVARIANT: all that is written passes through `readable`, line by line: tokens, rows and SQL are other people's bytes.
    def say(self, text: str = "") -> None:
        """The answer, on standard output."""
        self.out.write("".join(f"{readable(line)}\n" for line in text.split("\n")))

    def note(self, text: str) -> None:
        """What is said beside the answer, on standard error."""
        self.err.write("".join(f"{readable(line)}\n" for line in text.split("\n")))

    def confirm(self, what: str, *, otherwise: str) -> None:
        """Ask a person whether `what` is meant. Raises Failed unless they say yes; where nobody can be asked, with what to do `otherwise`."""
        if not (self.stdin.isatty() and self.err.isatty()):
            raise Failed(f"{what}, and there is no terminal to ask whether that is meant: {otherwise}")
        self.err.write(f"{readable(what)}\ntype `yes` to sign it all the same: ")
        self.err.flush()
        if self.stdin.readline(_ANSWER_LENGTH).strip() != "yes":
            raise Failed(f"nothing was signed: {otherwise}")

    def progress(self, text: str = "") -> None:
        """What is being done, on one line that the next one replaces; nothing clears it. Only where a person looks."""
        if self.err.isatty():
            # INVARIANT: cut, because a line that wraps could not be cleared
            self.err.write(f"\r\x1b[K{readable(text)[: shutil.get_terminal_size().columns - 1]}")
            self.err.flush()

    def facts(self, content: object) -> None:
        """The answer as JSON, on standard output."""
        self.say(json.dumps(content, indent=2))

    def text(self, argument: str, what: str) -> str:
        """The argument itself, what the file holds for `@file`, or standard input for `-`. `what` names it in errors. Raises Failed."""
        if argument == "-":
            try:
                text = self.stdin.read(_TEXT_LENGTH + 1)
            except ValueError:
                raise Failed(f"{what} on standard input is not UTF-8") from None
        elif argument.startswith("@"):
            text = self.file(argument[1:])
        else:
            return argument
        if len(text) > _TEXT_LENGTH:
            raise Failed(f"{what} is longer than {_TEXT_LENGTH} characters")
        return text

    def file(self, path: str) -> str:
        """The text of a file. Raises Failed."""
        try:
            with Path(path).open(encoding="utf-8-sig") as file:
                return file.read(_TEXT_LENGTH + 1)
        except OSError as error:
            raise Failed(f"`{path}` cannot be read: {(error.strerror or 'the system refuses').lower()}") from None
        except ValueError:
            raise Failed(f"`{path}` is not a text file in UTF-8") from None

    def token(self, argument: str) -> str:
        """The one token meant by an argument; of the object that `access-tokens` prints, its data access token. Raises Failed."""
        text = self.text(argument, "the token").strip()
        if argument != "-" and not argument.startswith("@"):
            if os.path.isfile(argument):  # noqa: PTH113 -- `Path.is_file` raises for what is too long to be a path, as tokens are
                raise Failed(f"`{argument}` is a file: write `@{argument}` to read the token from it")
            self.note("note: the token stood on the command line, where the shell's history keeps it; pipe it in and write `-`, or write `@file`")
        if not text:
            raise Failed("the token is empty: sign one, and see what `rowseal access-tokens` says if it signs nothing")
        if text.startswith("{"):
            try:
                member = strict.json_object(text.encode("utf-8", "surrogatepass"), depth=2).get("dataAccessToken")
            except strict.Malformed:
                member = None
            if isinstance(member, str):
                return member
        return text

    def json(self, argument: str | None, option: str) -> dict[str, Any]:
        """The JSON object that an option gives, as `@file`, `-` or itself; an absent one is empty. Raises Failed."""
        if argument is None:
            return {}
        text = self.text(argument, f"`{option}`")
        try:
            return {name: _plain(value, option) for name, value in strict.json_object(text.encode("utf-8", "surrogatepass"), depth=PAYLOAD_DEPTH).items()}
        except strict.Malformed as error:
            raise Failed(f"`{option}` cannot be read ({error}): write a JSON object in single quotes, or `@file`") from None

    def refuse(self, refusal: Refused, *, as_json: bool, sql: str | None = None) -> int:
        """Say a refusal, with its place marked under the SQL; gives the exit status."""
        if as_json:
            self.facts({"refused": described(refusal)})
        else:
            self.note(f"refused: {refusal.code} ({refusal.status}): {refusal.detail}")
            if sql is not None and refusal.line is not None and refusal.column is not None:
                self.note(_marked(sql, refusal.line, refusal.column))
            self.note(f"cure: {refusal.hint}")
        return BUG if isinstance(refusal, OurBug) else FAILED

    def problems(self, problems: Sequence[Problem], *, as_json: bool) -> int:
        """Say what is wrong with a configuration; gives the exit status."""
        if as_json:
            self.facts({"problems": [listed(problem) for problem in problems]})
        for problem in () if as_json else problems:
            self.note(str(problem))
        return FAILED


def described(refusal: Refused) -> dict[str, Any]:
    """A refusal for scripts, in the words of the HTTP answer."""
    content = {"code": refusal.code, "status": refusal.status, "detail": refusal.detail, "hint": refusal.hint}
    return content if refusal.line is None or refusal.column is None else {**content, "line": refusal.line, "column": refusal.column}


def listed(problem: Problem) -> dict[str, Any]:
    """A problem of a configuration for scripts."""
    return {name: getattr(problem, name) for name in Problem.__slots__}


def _marked(sql: str, line: int, column: int) -> str:
    """The line of the SQL, and under it a caret at the column; both count from 1."""
    lines = sql.splitlines()
    if not 0 < line <= len(lines):
        return f"  at line {line}, column {column}"
    # one character in, one out, so that the caret stays under its place
    shown = "".join(each if each.isprintable() else " " for each in lines[line - 1])
    width = sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in shown[: column - 1])
    return f"{line:>5} | {shown}\n{' ' * (8 + width)}^"


def _plain(value: Any, option: str) -> Any:
    """JSON's own types with numbers that `json` writes again as they were."""
    if isinstance(value, dict):
        return {name: _plain(member, option) for name, member in value.items()}
    if isinstance(value, list):
        return [_plain(member, option) for member in value]
    if isinstance(value, Decimal):
        if Decimal(repr(float(value))) != value:
            raise Failed(f"`{option}` holds a number with more digits than JSON's usual readers keep: write it as a string, or with fewer digits")
        return float(value)
    return value
