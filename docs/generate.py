"""Writes the reference pages that the code itself knows best: `python -m docs.generate`, or with `--check` says whether they are current."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from docs import api_page, http_reference, json_schema, lint_page
from docs.sql_page import GENERATED, sql_subset
from rowseal import errors
from rowseal.cli.commands import ABOUT, COMMANDS
from rowseal.http.transport import problem

__all__ = ["PAGES", "refusals", "stale"]

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCE: Final = ROOT / "src" / "rowseal"

# --- errors ------------------------------------------------------------------------------------------------------------------------------

_GROUPS: Final = {
    401: "who the bearer is was not proven",
    403: "this dataset is not for them",
    400: "not a query or request that rowseal accepts",
    404: "nothing to be had here",
    405: "not by this method",
    409: "something else is there",
    406: "not in this form",
    413: "larger than this server accepts",
    429: "too much at once",
    502: "the database",
    503: "what the token is judged by is out of reach",
    504: "time",
    499: "nobody waits for the answer",
    500: "a promise of rowseal's own did not hold",
}


@cache
def refusals() -> Mapping[str, Mapping[str, str]]:
    """Module -> the codes that it refuses with -> the exception's class, read from the source."""
    classes = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.Refused)}
    found: dict[str, dict[str, str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        if module in {"errors", "app.openapi"}:  # they list codes and raise none
            continue
        codes = found.setdefault(module, {})
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in errors.CODES:
                codes.setdefault(str(node.value), "")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in classes:
                if node.func.id == "OurBug":
                    codes["our_bug"] = "OurBug"
                elif node.args:
                    named = (str(each.value) for each in ast.walk(node.args[0]) if isinstance(each, ast.Constant))
                    codes |= {code: node.func.id for code in named if code in errors.CODES}
    return {module: codes for module, codes in found.items() if codes}


def _errors() -> Iterator[str]:
    yield "# Errors\n"
    yield GENERATED.format(source="`errors.CODES`")
    yield (
        "Every refusal has a code.\nCodes are stable: match on them, not on the words.\n"
        "Over HTTP a refusal is a `problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)):\n"
    )
    refusal = errors.QueryRefused("column_unknown", "no column `regoin` is open to this token here", line=1, column=8)
    _, _, body = problem(refusal, request_id="0" * 32)
    yield f"```json\n{json.dumps(json.loads(body), indent=2)}\n```\n"
    yield (
        "`title` is what the code means, `detail` says it of this request, `hint` is the cure.\n"
        "`line` and `column` count from 1 and point into the SQL; they are there where a place is known.\n"
        "`request_id` is the id under which the log has the rest.\n"
        "In Python each is an exception of `rowseal.errors` with `.code`, `.status`, `.detail` and `.hint`; all derive from `Refused`.\n\n"
        "No refusal holds a token, the value of a claim or filter, the database's own words, or a name that the bearer did not write.\n"
    )
    by_status: dict[int, list[str]] = {}
    for code, meaning in errors.CODES.items():
        by_status.setdefault(meaning.status, []).append(code)
    if by_status.keys() != _GROUPS.keys():
        raise SystemExit("errors.CODES has a status for which docs/generate.py has no heading")
    yield "| status | codes |\n|---|---|"
    yield from (f"| {status} | {', '.join(f'[`{code}`](#{code})' for code in by_status[status])} |" for status in _GROUPS)
    for status, heading in _GROUPS.items():
        yield f"\n## {status}: {heading}"
        for code in by_status[status]:
            meaning = errors.CODES[code]
            raised = {module: codes[code] for module, codes in refusals().items() if code in codes}
            classes = sorted({name for name in raised.values() if name})
            if not classes:
                raise SystemExit(f"nothing raises `{code}`: use it or remove it")
            yield f"\n### `{code}`\n"
            yield f"{_sentence(meaning.means)}\n"
            yield f"Cure: {meaning.hint}.\n"
            yield f"{' or '.join(f'`{name}`' for name in classes)}, from {', '.join(f'`{module}`' for module in raised)}."


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


# --- the command line --------------------------------------------------------------------------------------------------------------------


def _cli() -> Iterator[str]:
    yield "# The command line\n"
    yield GENERATED.format(source="`rowseal.cli.commands`")
    yield (
        f"{ABOUT}\n\n"
        "Facts go to standard output, sentences about them to standard error.\n"
        "An argument that begins with `@` is read from that file, `-` from standard input.\n"
        "No command shows a private key, the value of a filter unless told to, or a traceback.\n"
        "The examples run as they stand, one after the other, beside a [datasets.yaml](datasets-yaml.md) that names the first one's public key.\n\n"
        "| exit status | |\n|---|---|\n"
        "| 0 | done |\n| 1 | refused, or it could not be done: the reason stands on standard error |\n"
        "| 2 | the command line could not be read |\n| 70 | a bug in rowseal |\n"
    )
    for command in COMMANDS:
        yield f"\n## `rowseal {command.name}`\n"
        yield f"{command.help}\n{command.more}\n"
        if command.alias is not None:
            yield f"`rowseal {command.alias}` is the same.\n"
        yield f"```sh\n{command.example}\n```\n"
        yield "| option | | meaning |\n|---|---|---|"
        for option in command.options:
            named = [flag for flag in option.flags if flag.startswith("-")]
            value = option.settings.get("metavar") or "|".join(option.settings.get("choices", ()))
            spelled = ", ".join(f"`{flag}`" for flag in named) if named else f"`{value}`"
            said = " or ".join(f"`{each}`" for each in option.settings["choices"]) if "choices" in option.settings else f"`{value}`" if named and value else ""
            yield f"| {spelled} | {said} | {option.help}{'; required' if option.settings.get('required') else ''} |"


# --- writing -----------------------------------------------------------------------------------------------------------------------------

_REFERENCE: Final = ROOT / "docs" / "reference"
PAGES: Final = {
    _REFERENCE / "api.md": api_page.lines,
    _REFERENCE / "cli.md": _cli,
    _REFERENCE / "errors.md": _errors,
    _REFERENCE / "http.md": http_reference.lines,
    _REFERENCE / "lint.md": lint_page.lines,
    _REFERENCE / "sql-subset.md": sql_subset,
    SOURCE / "catalog" / "datasets.schema.json": json_schema.lines,
}


def _text(lines: Iterator[str]) -> str:
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def stale() -> dict[Path, str]:
    """The pages that are not what the code says, with what they should be."""
    wanted = {path: _text(lines()) for path, lines in PAGES.items()}
    return {path: text for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text}


def main(arguments: list[str]) -> int:
    """Write the pages; with `--check` only name those that are not current."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m docs.generate [--check]\n")
        return 2
    old = stale()
    for path, text in old.items():
        sys.stdout.write(f"{'not current' if arguments else 'written'}: {path.relative_to(ROOT)}\n")
        if not arguments:
            path.write_text(text, encoding="utf-8")
    return 1 if arguments and old else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
