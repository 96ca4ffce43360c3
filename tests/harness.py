"""Reads tests/cases/*.md: documentation that runs.

A heading names a case. A fenced block is `yaml grant` (inherited by deeper and later headings until the next one of its level),
`yaml config` (laid over the world's configuration, inherited likewise), `sql ask`, `json params`, `text columns`, and `rows` or
`refused`. A heading that ends in a mark like "(SQLite only)" or "(not PostgreSQL)" speaks of these databases, with all below it.

`python -m tests.harness` rewrites every `rows` block from the *model*, never from the product: run it, then read the difference.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import sqlglot
import yaml

from databases import DIALECTS, marked
from world import CONFIGURATION, Bearer

__all__ = ["CASES", "Case", "as_case", "cases", "ordered", "shown"]

CASES: Final = Path(__file__).resolve().parent / "cases"
_HEADING = re.compile(r"^(#+) (.+)$")
_FENCE = re.compile(r"^```(\w+)?(?: (\w+))?$")
_KINDS: Final = frozenset({"grant", "config", "ask", "params", "columns", "rows", "refused"})


@dataclass(frozen=True, slots=True)
class Case:
    """One heading with an `ask`. Exactly one of `rows` and `refused` is set; `rows` holds one line per row. `line` is the heading's."""

    file: str
    title: str
    line: int
    bearer: Bearer
    configuration: Mapping[str, Any] = field(repr=False)
    sql: str
    params: Mapping[str, Any]
    columns: tuple[str, ...] | None
    rows: tuple[str, ...] | None
    refused: str | None
    dialects: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"{self.file}: {self.title}"


class _Loader(yaml.SafeLoader):
    """`on` is a word, as it is to the product: YAML 1.2 has no booleans but true and false."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


class MalformedCaseError(ValueError):
    """A Markdown file does not follow the format; the message begins with file:line."""


def cases(folder: Path = CASES) -> tuple[Case, ...]:
    """Every case of every file, in order. Raises `MalformedCaseError`."""
    return tuple(case for path in sorted(folder.glob("*.md")) for case in _read(path))


@dataclass(slots=True)
class _Section:
    level: int
    title: str
    line: int
    dialects: tuple[str, ...]
    blocks: dict[str, tuple[int, str]] = field(default_factory=dict)


def _read(path: Path) -> Iterator[Case]:
    open_sections: list[_Section] = []
    for section in _sections(path):
        while open_sections and open_sections[-1].level >= section.level:
            open_sections.pop()
        open_sections.append(section)
        if "ask" in section.blocks:
            yield _case(path, open_sections)
        elif section.blocks.keys() & {"rows", "refused", "params", "columns"}:
            raise MalformedCaseError(f"{path.name}:{section.line}: an answer without an `ask`")


def _sections(path: Path) -> Iterator[_Section]:
    section: _Section | None = None
    lines = iter(enumerate(path.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        if heading := _HEADING.match(line):
            if section is not None:
                yield section
            title = heading[2]
            try:
                section = _Section(len(heading[1]), title, number, marked(title))
            except KeyError as unknown:
                raise MalformedCaseError(f"{path.name}:{number}: {unknown} is no database that is tested") from None
        elif line.startswith("```"):
            opened = _FENCE.match(line)
            kind = opened and (opened[2] or opened[1])
            if section is None or kind not in _KINDS or kind in section.blocks:
                raise MalformedCaseError(f"{path.name}:{number}: a fence that is none of {', '.join(sorted(_KINDS))}, or stands twice")
            body = []
            for _, inside in lines:
                if inside == "```":
                    break
                body.append(inside)
            else:
                raise MalformedCaseError(f"{path.name}:{number}: the fence is not closed")
            section.blocks[kind] = (number, "\n".join(body))
    if section is not None:
        yield section


def _case(path: Path, trail: list[_Section]) -> Case:
    section = trail[-1]
    where = f"{path.name}:{section.line}"
    if ("rows" in section.blocks) == ("refused" in section.blocks):
        raise MalformedCaseError(f"{where}: write `rows` or `refused`, and only one of them")
    grant: str | None = None
    configuration: dict[str, Any] = dict(CONFIGURATION)
    dialects = tuple(DIALECTS)
    for outer in trail:
        if "grant" in outer.blocks:
            grant = outer.blocks["grant"][1]
        if "config" in outer.blocks:
            configuration |= yaml.load(outer.blocks["config"][1], _Loader)
        dialects = tuple(each for each in dialects if each in outer.dialects)
    if grant is None:
        raise MalformedCaseError(f"{where}: no grant here or above")
    block = {kind: text for kind, (_, text) in section.blocks.items()}
    return Case(
        file=path.stem,
        title=section.title,
        line=section.line,
        bearer=_bearer(yaml.load(grant, _Loader), where),
        configuration=configuration,
        sql=block["ask"],
        params=json.loads(block.get("params", "{}")),
        columns=tuple(block["columns"].split(" | ")) if "columns" in block else None,
        rows=tuple(block["rows"].splitlines()) if "rows" in block else None,
        refused=block["refused"].strip() if "refused" in block else None,
        dialects=dialects,
    )


def _bearer(grant: Any, where: str) -> Bearer:
    """`dataset: groups` or `dataset: granted` (without a filter), `"*": granted`; `parameters` and `key: development` stand beside them."""
    if not isinstance(grant, dict):
        raise MalformedCaseError(f"{where}: a grant is a mapping")
    parameters = grant.pop("parameters", {})
    development = grant.pop("key", None) == "development"
    datasets = "*" if "*" in grant else tuple(grant)
    filters = {dataset: groups for dataset, groups in grant.items() if groups != "granted"}
    return Bearer(datasets, filters, parameters, development)


def ordered(sql: str, dialect: str) -> bool:
    """Whether the rows of the answer stand in an order that the query itself asks for."""
    try:
        return bool(sqlglot.parse_one(sql, dialect=DIALECTS[dialect].grammar).args.get("order"))
    except (sqlglot.errors.SqlglotError, RecursionError):  # the parser in pure Python gives up on what the compiled one still reads
        return False


def shown(rows: Any) -> tuple[str, ...]:
    """Rows as a `rows` block writes them: numbers plain, text plain unless it could be read as something else, then quoted."""
    return tuple(" | ".join(_cell(value) for value in row) for row in rows)


_AMBIGUOUS = re.compile(r"^(|NULL|true|false|-?\d+(\.\d+)?)$|^\s|\s$|[|\n\"\\]")


def _cell(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float() | Decimal():
            number = Decimal(repr(round(value, 9))) if isinstance(value, float) else value
            return f"{number.normalize():f}" if number else "0"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S")
        case date():
            return value.isoformat()
        case list() | dict():
            return json.dumps(value, ensure_ascii=False, default=_cell)
        case _:
            text = str(value)
            return json.dumps(text, ensure_ascii=False) if _AMBIGUOUS.search(text) else text


class _Dumper(yaml.SafeDumper):
    """Without anchors: a filter that several datasets have is written for each."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def as_case(title: str, bearer: Bearer, sql: str, params: Mapping[str, Any], rows: Sequence[str] | None) -> str:
    """A case as a page has it; `refused` with the code left open where there are no rows."""
    grant = yaml.dump(
        {name: bearer.filters.get(name, "granted") for name in bearer.datasets}, default_flow_style=None, sort_keys=False, width=160, Dumper=_Dumper
    )
    blocks = [f"## {title}", f"```yaml grant\n{grant.strip()}\n```", f"```sql ask\n{sql}\n```"]
    if params:
        blocks.append(f"```json params\n{json.dumps(params)}\n```")
    blocks.append("```refused\n?\n```" if rows is None else "\n".join(["```rows", *sorted(rows), "```"]))
    return "\n\n".join(blocks)


def _rewrite(path: Path, answers: Mapping[int, tuple[str, ...]]) -> None:
    """Put new rows into the file; `answers` by the line of the heading."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for section in reversed(list(_sections(path))):
        if section.line in answers and "rows" in section.blocks:
            start, text = section.blocks["rows"]
            lines[start : start + len(text.splitlines())] = answers[section.line]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """Refresh every `rows` block from the model, and report where a model refuses or the databases differ."""
    import servers
    from model import literals, permission, plant, visible
    from world import TABLES

    run = servers.Run.begin()
    trouble = 0
    try:
        databases = {name: dialect.new(run, run.folder / name) for name, dialect in DIALECTS.items()}
        fresh: dict[str, dict[int, tuple[str, ...]]] = {}
        for case in cases():
            if case.rows is None:
                continue
            allowed = permission(case.configuration, TABLES, case.bearer)
            relations = visible(case.configuration, plant(case.configuration, TABLES, allowed, literals(case.sql)), allowed)
            found = {}
            for dialect in case.dialects:
                model = databases[dialect].model(relations)
                try:
                    rows = shown(model.ask(case.sql, case.params)[1])
                    found[dialect] = rows if ordered(case.sql, dialect) else tuple(sorted(rows))
                except Exception as error:  # noqa: BLE001 -- whatever a database says is reported to whoever rewrites
                    print(f"{case.file}.md:{case.line}: {dialect}: {error}")
                    trouble += 1
                finally:
                    model.close()
            if len(set(found.values())) > 1:
                print(f"{case.file}.md:{case.line}: the databases differ: {found}")
                trouble += 1
            elif found:
                fresh.setdefault(case.file, {})[case.line] = next(iter(found.values()))
        for name, answers in fresh.items():
            _rewrite(CASES / f"{name}.md", answers)
    finally:
        run.end()
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main())
