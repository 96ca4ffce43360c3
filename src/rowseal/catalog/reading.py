"""The text of datasets.yaml -> its document, or everything that is wrong with its shape, in words and with positions.

What the file says about the database and its own datasets is checked in `rowseal.configuration`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rowseal.catalog.document import (
    ConnectionEntry,
    DatasetEntry,
    Document,
    EngineEntry,
    FieldEntry,
    FunctionsEntry,
    GuardEntry,
    JoinEntry,
    KeyEntry,
    LimitsEntry,
    RefreshEntry,
    RoleEntry,
    RoleLimitsEntry,
    SecureFilterEntry,
    StateEntry,
    TokensEntry,
    TrustedEntry,
)
from rowseal.catalog.scalars import kind_of
from rowseal.catalog.text import Findings, nearest, parse
from rowseal.errors import Misconfigured, Problem

__all__ = ["read"]

# The last name on the way to a mapping says which keys it may have.
_MODELS: Final[Mapping[str, type[BaseModel]]] = {
    "": Document,
    "connections": ConnectionEntry,
    "tokens": TokensEntry,
    "keys": KeyEntry,
    "refresh": RefreshEntry,
    "datasets": DatasetEntry,
    "fields": FieldEntry,
    "joins": JoinEntry,
    "parameters": TrustedEntry,
    "secure_filters": SecureFilterEntry,
    "guards": GuardEntry,
    "limits": LimitsEntry,
    "roles": RoleEntry,
    "roles.limits": RoleLimitsEntry,
    "functions": FunctionsEntry,
    "engine": EngineEntry,
    "state": StateEntry,
}
_NOT_YET: Final[Mapping[tuple[str, str], str]] = {
    ("keys", "secret"): "write `secret_env:` with the name of an environment variable, or `secret_file:`, and `allow_symmetric: true`",
}


def _explain(error: ErrorDetails) -> str:
    """pydantic's error in our words. INVARIANT: no value of the file is quoted, because any of them may be a secret in the wrong place."""
    expected = {
        "bool_type": "must be true or false",
        "list_type": "must be a list",
        "dict_type": "must be a mapping",
        "model_type": "must be a mapping",
        "too_short": "must have at least one entry",
    }.get(error["type"])
    match error["type"]:
        case "rowseal":
            return str(error["ctx"]["message"])
        case "missing":
            return f"is missing; write `{error['loc'][-1]}:` here"
        case "enum" | "literal_error":
            return f"must be one of {error['ctx']['expected']}".replace("'", "`")
        case "too_short":
            return str(expected)
    return f"{expected}, not {kind_of(error['input'])}" if expected else "has a wrong type or value"


def _check(plain: Any, findings: Findings) -> Document | None:
    try:
        return Document.model_validate(plain)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
    for error in errors:
        path, at_key = error["loc"], error["loc"][-1:] == ("[key]",)
        path = path[:-1] if at_key else path
        # What could not be read at all was reported where it was read, and stands here as None.
        if any(path[:length] in findings.paths for length in range(len(path) + 1)):
            continue
        if error["type"] != "extra_forbidden":
            findings.add(path, _explain(error), at_key=at_key)
            continue
        key = str(path[-1])
        container = _container(path)
        cure = _NOT_YET.get((container, key))
        known = [each.alias or name for name, each in _MODELS[container].model_fields.items()]
        message = f"is not supported yet; {cure}" if cure else f"is no known key{nearest(key, known) or '; known here: ' + ', '.join(known)}"
        findings.add(path, message, at_key=True)
    return None


def _container(path: tuple[int | str, ...]) -> str:
    """The name in `_MODELS` of the mapping in which the path ends."""
    if path[0] == "connections":  # names of the file's own stand between
        return "connections"
    if path[2:3] == ("parameters",) and len(path) > 4:
        return "parameters"
    if path[2:3] == ("roles",):
        return "roles" if len(path) == 5 else "roles.limits"
    return next((step for step in reversed(path[:-1]) if isinstance(step, str)), "")


def read(text: str, findings: Findings, environ: Mapping[str, str]) -> Document:
    """The document of the file's text; marks and problems go to `findings`. Raises Misconfigured with every problem of text and shape."""
    document = _check(parse(text, findings, environ), findings)
    findings.stop()
    if document is None:  # a shape that pydantic refuses has at least one problem; should it ever not, nothing is loaded all the same
        raise Misconfigured([Problem(findings.file, 1, 1, "", "has a shape that is not understood")])
    return document
