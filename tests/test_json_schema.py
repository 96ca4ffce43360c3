"""The schema for editors takes what the loader takes, and what it refuses the loader refuses too: the loader is the judge."""

from __future__ import annotations

import ast
import io
import json
import re
import sqlite3
import tokenize
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from docs import json_schema
from rowseal import cli
from rowseal.catalog import reading
from rowseal.catalog.text import Findings, parse
from rowseal.configuration import load
from rowseal.errors import Misconfigured
from sample_engine.keys import make_keys

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "src/rowseal/catalog/datasets.schema.json"
VALIDATOR = jsonschema.Draft7Validator(json.loads(SHIPPED.read_text(encoding="utf-8")))

GOOD: dict[str, Any] = {
    "version": 1,
    "database": "sqlite:///shop.db",
    "tokens": [{"profile": "vizzly", "keys": [{"id": "k", "public_key_file": "k.pem"}]}],
    "datasets": [{"id": "orders", "table": "orders", "fields": [{"id": "tenant", "type": "number"}]}],
}


class AsWritten(dict[str, str]):
    """An environment in which each variable stands for its own spelling, as an editor sees it."""

    def get(self, name: str, default: Any = None) -> str:  # type: ignore[override]  # noqa: ARG002
        return f"${{{name}}}"

    def __getitem__(self, name: str) -> str:
        return self.get(name)


def loads(plain: Any) -> bool:
    """Whether the loader takes the shape. JSON is YAML."""
    return read(json.dumps(plain, ensure_ascii=False))


def read(text: str) -> bool:
    try:
        reading.read(text, Findings("f"), AsWritten())
    except Misconfigured:
        return False
    return True


def with_dataset(**more: Any) -> dict[str, Any]:
    return {**GOOD, "datasets": [{**GOOD["datasets"][0], **more}]}


def with_key(**more: Any) -> dict[str, Any]:
    return {**GOOD, "tokens": [{**GOOD["tokens"][0], "keys": [more]}]}


def with_tokens(**more: Any) -> dict[str, Any]:
    return {**GOOD, "tokens": [{**GOOD["tokens"][0], **more}]}


def texts() -> Iterator[tuple[str, str]]:
    """Every whole datasets.yaml that stands in a file, a page or a test, with where it stands."""
    yield "datasets.yaml", (ROOT / "datasets.yaml").read_text(encoding="utf-8")
    for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").rglob("*.md")]):
        for number, text in enumerate(re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)):
            if text.startswith("version:"):
                yield f"{page.relative_to(ROOT)}#{number}", text
    for module in sorted((ROOT / "tests").glob("*.py")):
        for token in tokenize.generate_tokens(io.StringIO(module.read_text(encoding="utf-8")).readline):
            if token.type == tokenize.STRING and re.match(r'"""\\?\n?version: 1\n', token.string):
                text = str(ast.literal_eval(token.string)).lstrip()
                if read(text):  # the loader is the judge: others are wrong on purpose, or have gaps that a test fills
                    yield f"{module.name}:{token.start[0]}", text


WHOLE = dict(texts())


@pytest.mark.parametrize("where", WHOLE)
def test_every_datasets_yaml_of_the_repository_is_valid(where: str) -> None:
    """As it stands, with its variables."""
    errors = [error.message for error in VALIDATOR.iter_errors(_json(parse(WHOLE[where], Findings(where), AsWritten())))]
    assert errors == []


def _json(plain: Any) -> Any:
    return json.loads(json.dumps(plain, default=float))


def test_there_are_such_files() -> None:
    assert "datasets.yaml" in WHOLE
    assert any(where.startswith("test_cli.py") for where in WHOLE)


TAKEN = {
    "the least": GOOD,
    "a development key": with_key(id="k", public_key="x", development=True, datasets=["orders"], algorithm="PS256", project_id="p"),
    "durations": with_tokens(max_lifetime="1d", leeway=0, flat_filters="any", issuer="i", audience="a"),
    "more durations": with_tokens(max_lifetime=0.5, leeway="500ms"),
    "limits": {**GOOD, "limits": {"rows": 1, "seconds": "2.5s", "token_bytes": "64 KiB", "sql_bytes": "100", "concurrent": "7"}},
    "functions": {**GOOD, "functions": {"allow": ["f"], "deny": []}, "engine": {"allow_privileged_role": True, "experimental": True}},
    "a filter": with_dataset(secure_filters=[{"field": "tenant", "op": "is_one_of", "value": [1, 2]}, {"field": "tenant", "op": "is_null"}]),
    "a claim": with_dataset(secure_filters=[{"field": "tenant", "op": "=", "value": {"claim": "parameters.tenant"}}]),
    "through": with_dataset(secure_filters=[{"through": "orders", "on": {"tenant": "tenant"}}]),
    "a guard": with_dataset(guards=[{"field": "tenant", "op": "="}, {"field": "tenant", "op": ["=", "is_one_of"], "max_values": 2, "values_in": [1]}]),
    "names": with_dataset(id="Größe 東京", sql_name="g", name="The size", public=True, same_table_as="x"),
}


@pytest.mark.parametrize("what", TAKEN)
def test_what_the_loader_takes_the_schema_takes(what: str) -> None:
    assert loads(TAKEN[what])
    assert [error.message for error in VALIDATOR.iter_errors(TAKEN[what])] == []


WRONG: dict[str, Any] = {
    "nothing": {},
    "a list": [],
    "no version": {name: value for name, value in GOOD.items() if name != "version"},
    "another version": {**GOOD, "version": 2},
    "a version in quotes": {**GOOD, "version": "1"},
    "an unknown key": {**GOOD, "dataset": []},
    "no datasets": {**GOOD, "datasets": []},
    "no tokens": {**GOOD, "tokens": []},
    "no fields": with_dataset(fields=[]),
    "an unknown type": with_dataset(fields=[{"id": "f", "type": "strnig"}]),
    "a field without a type": with_dataset(fields=[{"id": "f"}]),
    "a number for a name": with_dataset(table=5),
    "a blank before a name": with_dataset(id=" orders"),
    "an empty name": with_dataset(id=""),
    "a word for a truth": with_dataset(public="yes"),
    "an unknown profile": with_tokens(profile="luzmo"),
    "a duration in words": with_tokens(max_lifetime="two hours"),
    "no time to live": with_tokens(max_lifetime=0),
    "a negative leeway": with_tokens(leeway=-1),
    "a long leeway": with_tokens(leeway=601),
    "other flat filters": with_tokens(flat_filters="some"),
    "no rows": {**GOOD, "limits": {"rows": 0}},
    "half a row": {**GOOD, "limits": {"rows": 1.5}},
    "a size in words": {**GOOD, "limits": {"sql_bytes": "64 bananas"}},
    "an unknown limit": {**GOOD, "limits": {"row": 5}},
    "an unknown operator": with_dataset(guards=[{"field": "tenant", "op": "=="}]),
    "a guard on nothing": with_dataset(guards=[{"op": "="}]),
    "a guard with no operator": with_dataset(guards=[{"field": "tenant", "op": []}]),
    "functions that are a text": {**GOOD, "functions": {"allow": "f"}},
    "a privilege in words": {**GOOD, "engine": {"allow_privileged_role": "true"}},
    "datasets that are a mapping": {**GOOD, "datasets": {"orders": {}}},
}


@pytest.mark.parametrize("what", WRONG)
def test_what_the_schema_refuses_the_loader_refuses(what: str) -> None:
    assert list(VALIDATOR.iter_errors(WRONG[what]))
    assert not loads(WRONG[what])


TENANT = {"field": "tenant", "op": "=", "value": 1}
TOGETHER = {
    "a key without a source": (with_key(id="k"), "must have exactly one of"),
    "a key of two sources": (with_key(id="k", public_key="x", jwks_file="y"), "must have exactly one of"),
    "two filters in one": (with_dataset(secure_filters=[TENANT | {"through": "other", "on": {"tenant": "tenant"}}]), "mixes `through:`"),
    "half a filter": (with_dataset(secure_filters=[{"field": "tenant"}]), "is not a whole filter"),
    "half a way to a parent": (with_dataset(secure_filters=[{"through": "other"}]), "needs `on:"),
    "no pair of fields": (with_dataset(secure_filters=[{"through": "other", "on": {}}]), "needs `on:"),
    "public and guarded": (with_dataset(public=True, guards=[{"field": "tenant", "op": "="}]), "contradicts `public: true`"),
}


@pytest.mark.parametrize("what", TOGETHER)
def test_what_keys_together_mean_is_seen_by_both(what: str, tmp_path: Path) -> None:
    plain, said = TOGETHER[what]
    plain = {**plain, "datasets": [*plain["datasets"], {"id": "other", "table": "other", "fields": [{"id": "tenant", "type": "number"}]}]}
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.executescript("CREATE TABLE orders (tenant INTEGER); CREATE TABLE other (tenant INTEGER);")
    make_keys(tmp_path)
    (tmp_path / "k.pem").write_bytes((tmp_path / "public.pem").read_bytes())
    (tmp_path / "datasets.yaml").write_text(json.dumps(plain))
    assert list(VALIDATOR.iter_errors(plain))
    with pytest.raises(Misconfigured) as refused:
        load(tmp_path / "datasets.yaml")
    assert [problem.message.startswith(said) for problem in refused.value.problems] == [True]


def _mappings(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if node.get("type") == "object" and "properties" in node:
            yield node
        for each in node.values():
            yield from _mappings(each)
    elif isinstance(node, list):
        for each in node:
            yield from _mappings(each)


def test_every_key_has_a_description_and_no_mapping_takes_others() -> None:
    """The texts that an editor shows."""
    jsonschema.Draft7Validator.check_schema(json_schema.schema())
    mappings = list(_mappings(json_schema.schema()))
    assert len(mappings) >= 9
    for mapping in mappings:
        assert mapping["additionalProperties"] is False
        for key, value in mapping["properties"].items():
            assert len(value["description"]) > 10, key


def test_the_command_prints_the_shipped_file_and_the_repository_points_to_it() -> None:
    out = io.StringIO()
    assert cli.run(["schema"], out=out, err=io.StringIO(), stdin=io.StringIO(), clock=lambda: 0.0) == 0
    assert json.loads(out.getvalue()) == json.loads(SHIPPED.read_text(encoding="utf-8"))
    first = (ROOT / "datasets.yaml").read_text(encoding="utf-8").splitlines()[0]
    pointed = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert pointed is not None
    assert (ROOT / pointed[1]) == SHIPPED
