"""The shape of datasets.yaml as models, and what is wrong with a file of another shape, in words and with positions.

What the file says about the database and its own datasets is checked in `rowseal.configuration`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from rowseal.catalog import FieldType
from rowseal.catalog.text import Findings, nearest, parse
from rowseal.errors import Misconfigured, Problem
from rowseal.filters import FlatFilters, Operator

__all__ = ["DatasetEntry", "Document", "FieldEntry", "GuardEntry", "KeyEntry", "LimitsEntry", "SecureFilterEntry", "TokensEntry", "read"]

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)?")
_SECONDS: Final = {"ms": Decimal("0.001"), None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)?")
_BYTES: Final = {None: 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("rowseal", "{message}", {"message": message})


def _quantity(value: object, pattern: re.Pattern[str], units: Mapping[Any, Any], how: str) -> Decimal:
    text = format(value, "f") if isinstance(value, Decimal) else str(value) if type(value) is int else value
    found = pattern.fullmatch(text) if isinstance(text, str) and len(text) <= 32 else None
    if found is None:
        raise _wrong(f"must be {how}")
    return Decimal(found[1]) * Decimal(units[found[2]])


def _duration(value: object) -> float:
    return float(_quantity(value, _DURATION, _SECONDS, "a duration: seconds as a number, or such as `30s`, `15m`, `2h`"))


def _positive_duration(value: object) -> float:
    seconds = _duration(value)
    if not 0 < seconds <= 10 * 365 * 86400:
        raise _wrong("must be longer than nothing and no longer than ten years")
    return seconds


def _leeway(value: object) -> float:
    seconds = _duration(value)
    if seconds > 600:
        raise _wrong("must be ten minutes at most; correct the signer's clock instead")
    return seconds


def _size(value: object) -> int:
    size = _quantity(value, _SIZE, _BYTES, "a size: bytes as a number, or such as `64kB`, `2MB`, `1GiB`")
    if size < 1 or size != int(size) or size > 2**40:
        raise _wrong("must be a whole number of bytes, between 1 and 1 TiB")
    return int(size)


def _count(value: object) -> int:
    count = _quantity(value, re.compile(r"([0-9]+)(x)?"), {None: 1}, "a whole number")
    if not 1 <= count <= 10**9:
        raise _wrong("must be a whole number between 1 and 1000000000")
    return int(count)


def _version(value: object) -> int:
    if type(value) is not int or value != 1:
        raise _wrong("must be the number 1, the only version there is")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(f"must be text, not {_kind(value)}" + ("" if value is None or isinstance(value, (list, dict)) else "; put it in quotes"))
    if not value:
        raise _wrong("must not be empty")
    return value


def _name(value: object) -> str:
    text = _text(value)
    # INVARIANT: a name that differs from another one only in what nobody can see does not exist.
    if any(unicodedata.category(character)[0] == "C" or character in "\u2028\u2029" for character in text):
        raise _wrong("must not hold control characters or invisible ones")
    if text != text.strip() or len(text.encode()) > 256:
        raise _wrong("must not begin or end with a blank, nor be longer than 256 bytes")
    return text


def _one_or_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


Text = Annotated[str, BeforeValidator(_text)]
Name = Annotated[str, BeforeValidator(_name)]
Count = Annotated[int, BeforeValidator(_count)]
Size = Annotated[int, BeforeValidator(_size)]
Duration = Annotated[float, BeforeValidator(_positive_duration)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, protected_namespaces=())


class KeyEntry(_Entry):
    """One entry of `keys:`; exactly one of the three sources."""

    id: Name
    public_key: Text | None = Field(default=None, repr=False)
    public_key_file: Text | None = None
    jwks_file: Text | None = None
    algorithm: Text | None = None
    datasets: list[Name] | None = None
    development: bool = False
    project_id: Text | None = None


class TokensEntry(_Entry):
    """One entry of `tokens:`."""

    profile: Literal["vizzly"]
    keys: list[KeyEntry] = Field(min_length=1)
    max_lifetime: Duration = 7200.0
    leeway: Annotated[float, BeforeValidator(_leeway)] = 30.0
    flat_filters: Annotated[FlatFilters, Field(strict=False)] = FlatFilters.ALL
    issuer: Text | None = None
    audience: Text | None = None
    project_id: Text | None = None


class FieldEntry(_Entry):
    """One entry of `fields:`."""

    id: Name
    type: Annotated[FieldType, Field(strict=False)]
    name: Name | None = None
    sql_name: Name | None = None
    column: Name | None = None
    hidden: bool = False
    exact: bool = False
    timezone: Text | None = None
    format: Text | None = None


class SecureFilterEntry(_Entry):
    """One entry of `secure_filters:`: `field`, `op` and `value`, or `through` and `on`."""

    field: Name | None = None
    op: Annotated[Operator, Field(strict=False)] | None = None
    value: Any = Field(default=None, repr=False)
    through: Name | None = None
    on: dict[str, Name] | None = None


class GuardEntry(_Entry):
    """One entry of `guards:`."""

    field: Name
    op: Annotated[list[Annotated[Operator, Field(strict=False)]], BeforeValidator(_one_or_list), Field(min_length=1)]
    max_values: Count | None = None
    matches: Text | None = None
    values_in: list[Any] | None = Field(default=None, min_length=1)


class DatasetEntry(_Entry):
    """One entry of `datasets:`."""

    id: Name
    table: Name
    fields: list[FieldEntry] = Field(min_length=1)
    sql_name: Name | None = None
    name: Name | None = None
    public: bool = False
    same_table_as: Name | None = None
    secure_filters: list[SecureFilterEntry] = []
    guards: list[GuardEntry] = []


class LimitsEntry(_Entry):
    """`limits:`; what is not written keeps its default."""

    rows: Count | None = None
    seconds: Duration | None = None
    token_bytes: Size | None = None
    body_token_bytes: Size | None = None
    sql_bytes: Size | None = None
    nodes: Count | None = None
    result_bytes: Size | None = None
    concurrent: Count | None = None


class FunctionsEntry(_Entry):
    """`functions:`."""

    allow: list[Name] = []
    deny: list[Name] = []


class EngineEntry(_Entry):
    """`engine:`; what the operator says in writing about the database."""

    allow_privileged_role: bool = False


class Document(_Entry):
    """datasets.yaml."""

    version: Annotated[int, BeforeValidator(_version)]
    database: Text = Field(repr=False)
    tokens: list[TokensEntry] = Field(min_length=1)
    datasets: list[DatasetEntry] = Field(min_length=1)
    limits: LimitsEntry = LimitsEntry()
    functions: FunctionsEntry = FunctionsEntry()
    engine: EngineEntry = EngineEntry()


# The last name on the way to a mapping says which keys it may have.
_MODELS: Final[Mapping[str, type[_Entry]]] = {
    "": Document,
    "tokens": TokensEntry,
    "keys": KeyEntry,
    "datasets": DatasetEntry,
    "fields": FieldEntry,
    "secure_filters": SecureFilterEntry,
    "guards": GuardEntry,
    "limits": LimitsEntry,
    "functions": FunctionsEntry,
    "engine": EngineEntry,
}
_NOT_YET: Final[Mapping[tuple[str, str], str]] = {
    ("", "connections"): "write one `database:` for all datasets",
    ("keys", "jwks_url"): "save the key set in a file and write `jwks_file:`",
    ("keys", "directory"): "write one entry with `public_key_file:` for each key",
    ("keys", "not_before"): "add the key when it shall begin to hold",
    ("keys", "retire_at"): "remove the key when it shall end",
    ("keys", "allow_symmetric"): "sign with an ES256, RS256 or EdDSA key pair",
    ("datasets", "connection"): "write one `database:` for all datasets",
    ("datasets", "sql"): "make a view in the database and write its name as `table:`",
    ("datasets", "joins"): "make a view in the database and write its name as `table:`",
}


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, Decimal)):
        return "a number"
    return next((name for kind, name in ((str, "text"), (list, "a list"), (dict, "a mapping")) if isinstance(value, kind)), "nothing")


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
    return f"{expected}, not {_kind(error['input'])}" if expected else "has a wrong type or value"


def _check(plain: Any, findings: Findings) -> Document | None:
    try:
        return Document.model_validate(plain)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
    for error in errors:
        path = error["loc"]
        # What could not be read at all was reported where it was read, and stands here as None.
        if any(path[:length] in findings.paths for length in range(len(path) + 1)):
            continue
        if error["type"] != "extra_forbidden":
            findings.add(path, _explain(error))
            continue
        key = str(path[-1])
        container = next((step for step in reversed(path[:-1]) if isinstance(step, str)), "")
        cure = _NOT_YET.get((container, key))
        known = list(_MODELS[container].model_fields)
        message = f"is not supported yet; {cure}" if cure else f"is no known key{nearest(key, known) or '; known here: ' + ', '.join(known)}"
        findings.add(path, message, at_key=True)
    return None


def read(text: str, findings: Findings, environ: Mapping[str, str]) -> Document:
    """The document of the file's text; marks and problems go to `findings`. Raises Misconfigured with every problem of text and shape."""
    document = _check(parse(text, findings, environ), findings)
    findings.stop()
    if document is None:  # a shape that pydantic refuses has at least one problem; should it ever not, nothing is loaded all the same
        raise Misconfigured([Problem(findings.file, 1, 1, "", "has a shape that is not understood")])
    return document
