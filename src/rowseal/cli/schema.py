"""`schema`: the JSON Schema of datasets.yaml, as it is shipped, for editors."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from rowseal.cli.terminal import OK, Options, Terminal

__all__ = ["SCHEMA_FILE", "schema", "schema_text"]

SCHEMA_FILE: Final = "datasets.schema.json"


def schema_text() -> str:
    """The shipped file, word for word."""
    return files("rowseal.catalog").joinpath(SCHEMA_FILE).read_text(encoding="utf-8")


def schema(options: Options, terminal: Terminal) -> int:  # noqa: ARG001 -- every command is called alike
    """`schema`: print it."""
    terminal.say(schema_text().rstrip("\n"))
    return OK
