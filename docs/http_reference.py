"""docs/reference/http.md, written from the OpenAPI document of the gateway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rowseal.app.openapi import OPENAPI, document

__all__ = ["lines"]


def lines() -> Iterator[str]:
    """The page, line by line."""
    content = document()
    yield "# HTTP\n"
    yield "<!-- Written by docs/generate.py from `rowseal.app.openapi`. Change that, then run `make docs`. -->\n"
    yield (
        "What [the gateway](../how-to/run-the-gateway.md) answers.\n"
        f"`GET {OPENAPI}` gives the same as an OpenAPI {content['openapi']} document.\n"
        "The data access token goes with every request as `Authorization: Bearer <token>`\n"
        "(or `DPoP <token>`, where it is [bound to a key](../how-to/bind-tokens.md)), except where it says that none is needed.\n"
        "Whatever is refused is a `problem+json` with one of the [codes](errors.md).\n"
        "Any other path is refused with `token_missing` to whoever has no token, and with `path_unknown` to whoever has one.\n"
    )
    for path, operations in content["paths"].items():
        for method, operation in operations.items():
            yield from _operation(f"{method.upper()} {path}", operation)
    for name, schema in content["components"]["schemas"].items():
        yield f"## {name}\n"
        yield f"{schema['description']}\n"
        yield "| member | | |\n|---|---|---|"
        for member, about in schema["properties"].items():
            optional = "" if member in schema["required"] else ", may be absent"
            yield f"| `{member}` | {_kind(about)}{optional} | {about.get('description', '')} |"
        yield ""


def _operation(heading: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {heading}\n"
    said = (operation["summary"], operation.get("description"), None if operation["security"] else "Needs no token.")
    yield "\n".join(each for each in said if each) + "\n"
    if "requestBody" in operation:
        yield f"Takes {_link(operation['requestBody'])}.\n"
    yield "| status | answer | codes |\n|---|---|---|"
    for status, answer in operation["responses"].items():
        schema = _schema(answer)
        codes = schema["allOf"][1]["properties"]["code"]["enum"] if "allOf" in schema else []
        shown = f"{answer['description']}: {_link(answer)}" if schema.keys() & {"$ref", "oneOf"} else answer["description"]
        for form, about in list(answer["content"].items())[1:]:
            shown += f"<br>`{form}`: {about['schema']['description']}"
        yield f"| {status} | {shown} | {', '.join(f'[`{code}`](errors.md#{code})' for code in codes)} |"
    yield ""


def _schema(content: Mapping[str, Any]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = next(iter(content["content"].values()))["schema"]
    return schema


def _link(content: Mapping[str, Any]) -> str:
    return _kind(_schema(content))


def _kind(schema: Mapping[str, Any]) -> str:
    if "oneOf" in schema:
        return " or ".join(map(_kind, schema["oneOf"]))
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return "a code" if len(schema["enum"]) > 12 else ", ".join(f"`{each}`" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    kinds = schema.get("type", "any JSON")
    return kinds if isinstance(kinds, str) else " or ".join(kinds)
