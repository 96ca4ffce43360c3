"""Writes the reference pages that the code itself knows best: `python -m docs.generate`, or with `--check` says whether they are current."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from sqlglot import exp

from docs import http_reference, json_schema, lint_page
from docs.sql_examples import CONSTRUCTS, FUNCTIONS, NEVER, TYPES
from rowseal import errors
from rowseal.catalog import Catalog, Dataset, Field, FieldType, FunctionRules, Limits, Storage
from rowseal.claims import KeyFacts
from rowseal.cli.commands import ABOUT, COMMANDS
from rowseal.grants import Grant
from rowseal.policy import Policy
from rowseal.sql import admitted, sieve
from rowseal.sql.admit import MAX_DEPTH, admit
from rowseal.sql.checks import MAX_GROUPING_SETS, MAX_PADDED, MAX_PATTERN
from rowseal.sql.dialects import DIALECTS
from rowseal.sql.from_clause import MAX_READS, MAX_TABLES
from rowseal.sql.names import DatasetLookup
from rowseal.sql.secure import secure
from rowseal.sql.witness import attest
from rowseal.transport import problem

__all__ = ["DATABASES", "PAGES", "examples", "refusals", "stale", "taken"]

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCE: Final = ROOT / "src" / "rowseal"
DATABASES: Final = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
_SPELLED: Final = {"sqlite": {"{schema}": "main", "{json}": "TEXT"}, "postgres": {"{schema}": "public", "{json}": "JSONB"}}
PARAMETERS: Final = {"skip": 0, "region": "North"}
_GENERATED: Final = "<!-- Written by docs/generate.py from {source}. Change that, then run `make docs`. -->\n"

# --- errors ------------------------------------------------------------------------------------------------------------------------------

_GROUPS: Final = {
    401: "who the bearer is was not proven",
    403: "this dataset is not for them",
    400: "not a query or request that rowseal accepts",
    404: "nothing to be had here",
    405: "not by this method",
    413: "larger than this server accepts",
    429: "too much at once",
    502: "the database",
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
        if module in {"errors", "openapi"}:  # they list codes and raise none
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
    yield _GENERATED.format(source="`errors.CODES`")
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


# --- SQL ---------------------------------------------------------------------------------------------------------------------------------


def examples(database: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(what it shows, SQL, parameters) of every example, spelled for the database."""
    for _, constructs in CONSTRUCTS:
        yield from ((what, sql, _given(sql)) for what, sql in ((what, _spelled(sql, database)) for what, sql in constructs))
    for _, calls in FUNCTIONS:
        yield from ((call, _asking(call), {}) for call in _calls(calls))
    yield from ((f"a cast to {kind}", _asking(_cast(kind)), {}) for kind in TYPES)


def _calls(calls: str) -> list[str]:
    return [" ".join(call.split()) for call in calls.split("|")]


def _asking(call: str) -> str:
    return " ".join(("SELECT", call, "AS x FROM orders", "GROUP BY region" if call.startswith("grouping") else "")).strip()


def _cast(kind: str) -> str:
    return f"CAST(NULL AS {kind})"


def _given(sql: str) -> dict[str, Any]:
    return {name: value for name, value in PARAMETERS.items() if f":{name}" in sql}


def _spelled(sql: str, database: str) -> str:
    for mark, word in _SPELLED[database].items():
        sql = sql.replace(mark, word)
    return sql


def taken(sql: str, database: str, params: Mapping[str, Any] | None = None) -> str:
    """The code with which rowseal refuses the query over the sample shop, or nothing where it takes it."""
    policy, lookup = _bearer_of_all(database)
    try:
        parsed = admit(sql, params or {}, DIALECTS[database], Limits(), FunctionRules())
        attest(secure(parsed, policy, lookup, Limits()), policy)
    except errors.Refused as refusal:
        return refusal.code
    return ""


@cache
def _bearer_of_all(database: str) -> tuple[Policy, DatasetLookup]:
    schema, moment, day = ("main", Storage.TEXT_TIMESTAMP, Storage.TEXT_DATE) if database == "sqlite" else ("public", Storage.TIMESTAMP, Storage.DATE)
    stored = {FieldType.NUMBER: Storage.INTEGER, FieldType.STRING: Storage.TEXT, FieldType.DATE_TIME: moment, FieldType.DATE: day}
    datasets = {}
    for entry in yaml.safe_load((ROOT / "datasets.yaml").read_text(encoding="utf-8"))["datasets"]:
        fields = [each for each in entry["fields"] if not each.get("hidden")]
        declared = tuple(Field(each["id"], each["id"], each["id"], each["id"], FieldType(each["type"]), stored[FieldType(each["type"])]) for each in fields)
        datasets[entry["id"]] = Dataset(entry["id"], entry["id"], entry["id"], schema, entry["table"], "table", public=True, fields=declared)
    catalog = Catalog(dialect=database, database="", datasets=datasets)
    grant = Grant(KeyFacts("docs", "vizzly"), None, {}, expires_at=0, digest="", claims={})
    return Policy(grant, catalog), DatasetLookup(datasets, DIALECTS[database])


def _require_cover(database: str) -> None:
    """Every class of the closed world, and every function, is used by an example that is taken: none stays unsaid."""
    used: set[object] = set()
    for _, sql, params in examples(database):
        tree = None if taken(sql, database, params) else admit(sql, params, DIALECTS[database], Limits(), FunctionRules()).tree
        for node in tree.walk() if tree is not None else ():
            used |= {type(node), str(node.this).lower() if isinstance(node, exp.Anonymous) else node.this if isinstance(node, exp.DataType) else type(node)}
    unsaid = (admitted.NODES[database].keys() | admitted.FUNCTIONS[database].keys() | admitted.CASTS[database]) - used
    # no function of SQLite takes a unit of time, and there the parser reads each float as a double
    unsaid -= {exp.Var, exp.DType.FLOAT} if database == "sqlite" else set()
    if unsaid:
        raise SystemExit(f"{database}: docs/sql_examples.py has no example for {sorted(str(getattr(each, '__name__', each)) for each in unsaid)}")


def _sql_subset() -> Iterator[str]:
    for database in DATABASES:
        _require_cover(database)
    yield "# The SQL that rowseal accepts\n"
    yield _GENERATED.format(source="`rowseal.sql.admitted` and `docs/sql_examples.py`")
    yield (
        "One `SELECT`, made of parts that are on a list.\nWhat is not on the list is refused, with the construct, the line and the column.\n"
        "[Why a list](../decisions/0002-closed-world.md).\n\n"
        "A query reads the datasets of its token under their `sql_name`, and the visible fields under theirs.\n"
        "No other table and no other column has a name.\n"
        "What each database takes is found out by asking, when this page is written; the tests run all that is taken.\n"
    )
    for heading, constructs in CONSTRUCTS:
        yield f"## {heading}\n"
        yield f"| construct | example | {' | '.join(DATABASES.values())} |\n|---|---|{'---|' * len(DATABASES)}"
        for what, sql in constructs:
            marks = " | ".join("no" if taken(_spelled(sql, name), name, _given(sql)) else "yes" for name in DATABASES)
            shown = sql.replace("{schema}", "main").replace("{json}", "TEXT").replace("|", r"\|")
            yield f"| {what.replace('|', chr(92) + '|')} | `{shown}` | {marks} |"
        yield ""
    yield "## Functions\n"
    yield (
        "`functions.allow` in [datasets.yaml](datasets-yaml.md#top-level) adds names to this list, `functions.deny` takes names away.\n"
        "A name that you allow is yours to judge: it can do whatever the database lets it do.\n"
    )
    yield from _functions()
    yield "## Casts\n"
    for name, label in DATABASES.items():
        yield f"- {label}: {', '.join(f'`{kind}`' for kind in TYPES if not taken(_asking(_cast(kind)), name))}"
    yield "\n## Never\n"
    yield "None of these is accepted on any database. The codes are explained in [errors](errors.md).\n"
    yield f"| what | example | {' | '.join(DATABASES.values())} |\n|---|---|{'---|' * len(DATABASES)}"
    for what, sql in NEVER:
        codes = [taken(sql, name) for name in DATABASES]
        if not all(codes):
            raise SystemExit(f"accepted, though docs/sql_examples.py says never: {sql}")
        yield f"| {what} | `{sql}` | {' | '.join(f'[`{code}`](errors.md#{code})' for code in codes)} |"
    yield "\n## Bounds\n"
    yield "Beyond one of these a query is refused with [`sql_too_complex`](errors.md#sql_too_complex).\n"
    yield "| | at most |\n|---|---|"
    limits = Limits()
    bounds = {
        "bytes of SQL (`limits.sql_bytes`)": limits.sql_bytes,
        "parts of the syntax tree (`limits.nodes`)": limits.nodes,
        "levels of brackets and `CASE`": sieve.MAX_NESTING,
        "levels of brackets behind a type's name, and of `ARRAY[`": sieve.MAX_TYPED_NESTING,
        "keywords and signs in a row": sieve.MAX_KEYWORD_RUN,
        "joins": sieve.MAX_JOINS,
        "levels of the syntax tree": MAX_DEPTH,
        "bytes of a pattern of `LIKE`, `ILIKE` and `GLOB`": MAX_PATTERN,
        "ways to group in one `GROUP BY`": MAX_GROUPING_SETS,
        "characters to which `LPAD` and `RPAD` fill": MAX_PADDED,
        "tables in one `FROM`": MAX_TABLES,
        "reads of datasets, once every CTE is written out where it is named": MAX_READS,
    }
    yield from (f"| {what} | {most:,} |" for what, most in bounds.items())


def _functions() -> Iterator[str]:
    for heading, calls in FUNCTIONS:
        where: dict[tuple[str, ...], list[str]] = {}
        for call in _calls(calls):
            databases = tuple(name for name in DATABASES if not taken(_asking(call), name))
            if not databases:
                raise SystemExit(f"docs/sql_examples.py shows a function that no database takes: {call}")
            where.setdefault(databases, []).append(call)
        yield f"**{heading}**\n"
        for databases, named in sorted(where.items(), key=lambda each: -len(each[0])):
            label = "both" if len(databases) > 1 else f"{DATABASES[databases[0]]} only"
            yield f"- {label}: {', '.join(f'`{call}`' for call in named)}"
        yield ""


# --- the command line --------------------------------------------------------------------------------------------------------------------


def _cli() -> Iterator[str]:
    yield "# The command line\n"
    yield _GENERATED.format(source="`rowseal.cli.commands`")
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
    _REFERENCE / "cli.md": _cli,
    _REFERENCE / "errors.md": _errors,
    _REFERENCE / "http.md": http_reference.lines,
    _REFERENCE / "sql-subset.md": _sql_subset,
    _REFERENCE / "lint.md": lint_page.lines,
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
