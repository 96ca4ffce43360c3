"""The JSON Schema of datasets.yaml for editors, from the models that read the file: their shape, and the text under each key as its description."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rowseal.catalog import document
from rowseal.catalog.scalars import VARIABLE

__all__ = ["lines", "schema"]

_NOISE: Final = frozenset({"title", "default"})  # the descriptions say what holds where nothing is written


def schema() -> dict[str, Any]:
    """The schema, in draft 7 and without references, which is what every editor understands."""
    made = document.Document.model_json_schema()
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_written(made, made.pop("$defs"), _said())}


def lines() -> Iterator[str]:
    """The shipped file."""
    yield json.dumps(schema(), indent=2, ensure_ascii=False)


def _said() -> Mapping[str, Mapping[str, str]]:
    """Model -> key -> the text that stands under it in the source. A key that is a word of Python's ends in an underscore there."""
    said: dict[str, dict[str, str]] = {}
    for model in ast.parse(inspect.getsource(document)).body:
        for key, below in zip(model.body, model.body[1:], strict=False) if isinstance(model, ast.ClassDef) else ():
            if isinstance(key, ast.AnnAssign) and isinstance(key.target, ast.Name) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                said.setdefault(model.name, {})[key.target.id.removesuffix("_")] = inspect.cleandoc(str(below.value.value))
    return said


def _written(node: Any, defined: Mapping[str, Any], said: Mapping[str, Mapping[str, str]]) -> Any:
    """pydantic's schema with references written out, descriptions filled in, and a variable wherever a word of a list may stand."""
    if isinstance(node, list):
        return [_written(each, defined, said) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _written(defined[node["$ref"].rpartition("/")[2]] | {name: value for name, value in node.items() if name != "$ref"}, defined, said)
    if "anyOf" in node and node["anyOf"][1:] == [{"type": "null"}]:  # the loader takes an empty value for an absent one; an editor need not
        return _written({**node["anyOf"][0], **{name: value for name, value in node.items() if name != "anyOf"}}, defined, said)
    if "const" in node and node["const"] != 1:
        node = {"enum": [node["const"]], "type": "string"}
    if "enum" in node:
        return {"anyOf": [{"type": node["type"], "enum": node["enum"]}, VARIABLE]}
    written = {name: _written(value, defined, said) for name, value in node.items() if name not in _NOISE}
    if texts := said.get(node.get("title", "")):
        written["properties"] = {key: {"description": texts[key], **_without(_written(value, defined, said))} for key, value in node["properties"].items()}
    return written


def _without(value: dict[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in value.items() if name != "description"}
