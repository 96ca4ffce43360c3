"""`lint`: what a configuration allows and probably should not. `validate` says what is wrong; this says what is risky."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from rowseal.catalog import Catalog
from rowseal.catalog.examine import Examined, examine
from rowseal.catalog.reading import read
from rowseal.catalog.reflection import Unreachable
from rowseal.catalog.text import Findings, nearest
from rowseal.cli.risks import RISKS, Risk, Seen, risks
from rowseal.cli.terminal import FAILED, OK, Failed, Options, Terminal
from rowseal.configuration import load
from rowseal.engine import Database
from rowseal.errors import Misconfigured

__all__ = ["lint"]


def lint(options: Options, terminal: Terminal) -> int:
    """`lint`: find risks, and say each with its place and its cure."""
    accepted = [_acceptance(each) for each in options.accept or ()]
    since = None if options.since is None else _since(terminal.file(options.since), options.since)
    terminal.progress(f"loading {options.config} ...")
    try:
        configuration = load(options.config)
        terminal.progress("looking at the tables ...")
        catalogs = configuration.catalogs.values()
        examined = {name: found for each in catalogs for name, found in examine(make_url(each.database), each).items()}
        roles = {each.connection: _role(each, configuration.path) for each in catalogs}
    except Unreachable as problem:
        raise Failed(f"the database {problem}") from None
    finally:
        terminal.progress()
    marks = Findings(options.config)
    document = read(Path(options.config).read_text(encoding="utf-8-sig"), marks, os.environ)
    seen = Seen(configuration, document, examined, roles, since, terminal.clock())
    found = [_listed(risk, marks) for risk in risks(seen) if (risk.code, None) not in accepted and (risk.code, risk.dataset) not in accepted]
    found.sort(key=lambda each: (each["line"], each["column"]))
    if options.json:
        terminal.facts({"findings": found, "schema": {name: _schema(each) for name, each in examined.items()}})
    else:
        _say(found, terminal)
    return FAILED if options.strict and found else OK


def _acceptance(written: str) -> tuple[str, str | None]:
    code, colon, dataset = written.partition(":")
    if code not in RISKS or (colon and not dataset):
        raise Failed(f"`--accept {written}` is no code{nearest(code, list(RISKS))}: write CODE, or CODE:DATASET; the codes are {', '.join(RISKS)}")
    return code, dataset or None


def _since(text: str, path: str) -> Mapping[str, Any]:
    """The `schema` of an earlier answer. Raises Failed."""
    try:
        schema = dict(json.loads(text)["schema"])
        right = all(isinstance(each["kind"], str) and set(map(type, each["columns"].values())) <= {str} for each in schema.values())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        right = False
    if not right:
        raise Failed(f"`{path}` is not what `rowseal lint --json` wrote: write it anew")
    return schema


def _role(catalog: Catalog, path: Path) -> Sequence[str]:
    """What the role may do beyond reading, where the file allows that; where it does not, such a role starts no server."""
    if not catalog.allow_privileged_role:
        return ()
    database = Database(catalog.database, dialect=catalog.dialect, limits=catalog.limits, connection=catalog.connection)
    try:
        tables = {table for each in catalog.datasets.values() for table in each.tables}
        database.check_role(tables, allow_privileged=False, file=str(path))
    except Misconfigured as misconfigured:
        return [problem.message.partition(";")[0].removeprefix("the database role ") for problem in misconfigured.problems]
    finally:
        database.close()
    return ()


def _schema(examined: Examined) -> dict[str, Any]:
    return {"kind": examined.kind, "columns": dict(examined.columns)}


def _listed(risk: Risk, marks: Findings) -> dict[str, Any]:
    marks.problems.clear()
    marks.add(risk.path, risk.says)
    (problem,) = marks.problems
    place = {"code": risk.code, "file": problem.file, "line": problem.line, "column": problem.column}
    return {**place, "dataset": risk.dataset, "says": risk.says, "cure": RISKS[risk.code].cure}


def _say(found: Sequence[Mapping[str, Any]], terminal: Terminal) -> None:
    for each in found:
        terminal.say(f"{each['file']}:{each['line']}:{each['column']}: {each['code']}: {each['says']}\n  cure: {each['cure']}")
    terminal.note(f"{len(found)} finding{'' if len(found) == 1 else 's'}" if found else "nothing was found")
