"""The command line, `rowseal`: everything that the library does, tried by hand.

Facts go to standard output, sentences about them to standard error. Exit status: 0 done, 1 refused or failed, 2 not a command line,
70 a bug in rowseal. There is never a traceback: it could show a token or a row.
"""

from __future__ import annotations

import codecs
import json
import logging
import os
import sys
import time
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from pathlib import Path
from typing import Final, TextIO

from rowseal.cli.commands import Usage, parser
from rowseal.cli.terminal import BUG, FAILED, OK, Failed, Terminal
from rowseal.errors import Misconfigured, Refused
from rowseal.keys import KeyRefused
from rowseal.signing import SigningRefused

__all__ = ["main", "run"]

_USAGE: Final = 2
_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells say it


def main() -> int:
    """The program `rowseal`; gives its exit status."""
    # where a stream was closed before the start Python has None for it: then nothing is read, and what is written goes nowhere
    out, err = (stream or Path(os.devnull).open("w", encoding="utf-8") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115 -- to the end
    stdin = sys.stdin or Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 -- to the end
    if isinstance(out, TextIOWrapper):
        codecs.register_error("rowseal.escaped", _escaped)
        out.reconfigure(errors="rowseal.escaped")  # a terminal that lacks a letter shows its escape
    try:
        status = run(sys.argv[1:], out=out, err=err, stdin=stdin, clock=time.time)
        out.flush()
    except BrokenPipeError:
        # whoever read the answer has gone; the interpreter must not try to flush once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return FAILED
    return status


def run(arguments: Sequence[str], *, out: TextIO, err: TextIO, stdin: TextIO, clock: Callable[[], float]) -> int:
    """Run one command line and give its exit status. `clock` gives epoch seconds. Raises BrokenPipeError alone."""
    terminal = Terminal(out, err, stdin, clock)
    options = Namespace()
    try:
        options = _parsed(arguments, terminal)
        with _log_to(err):
            status: int = options.command.run(options, terminal)
            return status
    except SystemExit as ended:  # after --help
        return int(ended.code or OK)
    except Usage as problem:
        terminal.note(str(problem))
        return _USAGE
    except Refused as refusal:
        return terminal.refuse(refusal, as_json=getattr(options, "json", False))
    except Misconfigured as misconfigured:
        return terminal.problems(misconfigured.problems, as_json=getattr(options, "json", False))
    except (Failed, KeyRefused, SigningRefused) as problem:
        terminal.note(f"rowseal: {problem}")
        return FAILED
    except BrokenPipeError:
        raise
    except OSError as error:
        terminal.note(f"rowseal: {f'`{error.filename}`: ' if error.filename else ''}{(error.strerror or 'the system refuses').lower()}")
        return FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 -- the outermost one
        # INVARIANT: the class and the place only: an unexpected error may quote a token or a row
        terminal.note(f"rowseal: this is a bug in rowseal: {type(error).__name__} at {_place(error)}; please report it with the command that you ran")
        return BUG


def _parsed(arguments: Sequence[str], terminal: Terminal) -> Namespace:
    """Raises Usage, or SystemExit once the help or the version has been printed."""
    with redirect_stdout(terminal.out), redirect_stderr(terminal.err):  # where argparse prints its help
        options = parser().parse_args(arguments)
    if options.version:
        terminal.say(f"rowseal {_version()}")
        raise SystemExit(OK)
    if "command" not in options:
        raise Usage(f"{parser().format_help()}\nrowseal: a command is missing")
    if sum(value == "-" for value in vars(options).values()) > 1:
        raise Usage("rowseal: standard input can be read once: write `-` for one argument, and `@file` for the others")
    return options


def _escaped(failure: UnicodeError) -> tuple[str, int]:
    """For `codecs.register_error`. The escapes are JSON's, so JSON stays the same JSON."""
    if not isinstance(failure, UnicodeEncodeError):
        raise failure
    return json.dumps(failure.object[failure.start : failure.end])[1:-1], failure.end


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"


def _version() -> str:
    try:
        return version("rowseal")
    except PackageNotFoundError:
        return "(not installed)"


@contextmanager
def _log_to(err: TextIO) -> Iterator[None]:
    """Show the library's own warnings, which hold no secret, where a person looks."""
    handler = logging.StreamHandler(err)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("log: %(message)s"))
    logger = logging.getLogger("rowseal")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
