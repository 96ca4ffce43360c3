"""The single values of datasets.yaml: texts, names, counts, sizes and durations, each read strictly, and how an editor's schema shows them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from rowseal import strict

__all__ = ["VARIABLE", "ClaimPath", "Count", "Duration", "Identifier", "Idle", "JoinType", "Leeway", "Moment", "Name", "Size", "Text", "Version", "kind_of"]

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)?")
_SECONDS: Final = {"ms": Decimal("0.001"), None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)?")
_PLAIN_PATH: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*){0,7}")
_IDENTIFIER: Final = re.compile(r"[a-z][a-z0-9_]{0,49}")
_DIGITS: Final = re.compile(r"([0-9]+)(x)?")
_BYTES: Final = {None: 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def kind_of(value: object) -> str:
    """What a value is, in the words of YAML."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, Decimal)):
        return "a number"
    return next((name for kind, name in ((str, "text"), (list, "a list"), (dict, "a mapping")) if isinstance(value, kind)), "nothing")


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


def _idle(value: object) -> float:
    seconds = _duration(value)
    if seconds and not 120 <= seconds <= 10 * 365 * 86400:
        raise _wrong("must be 0, or at least two minutes: a page that refreshes seldom would lose its token")
    return seconds


def _identifier(value: object) -> str:
    text = _text(value)
    if not _IDENTIFIER.fullmatch(text):
        raise _wrong("must be a plain name: lower-case letters, digits and `_`, at most 50, beginning with a letter")
    return text


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
    count = _quantity(value, _DIGITS, {None: 1}, "a whole number")
    if not 1 <= count <= 10**9:
        raise _wrong("must be a whole number between 1 and 1000000000")
    return int(count)


def _claim_path(value: object) -> tuple[str, ...]:
    if isinstance(value, str) and _PLAIN_PATH.fullmatch(value):
        return tuple(value.split("."))
    if isinstance(value, str):
        raise _wrong("must be names of claims with dots between, such as `app_metadata.tenant`; write a name with other characters in a list, `[the:name]`")
    if not isinstance(value, list) or not 0 < len(value) <= 8:
        raise _wrong("must be names of claims with dots between, or a list of 1 to 8 names")
    return tuple(_text(each) for each in value)


def _join_type(value: object) -> str:
    text = _text(value)
    if text in {"right", "full", "outer"}:
        raise _wrong("must be `inner` or `left`; for `right` name the other table as `table:`, for `full` write the SELECT as `sql:`")
    if text not in {"inner", "left"}:
        raise _wrong("must be `inner` or `left`")
    return text


def _version(value: object) -> int:
    if type(value) is not int or value != 1:
        raise _wrong("must be the number 1, the only version there is")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(f"must be text, not {kind_of(value)}" + ("" if value is None or isinstance(value, (list, dict)) else "; put it in quotes"))
    if not value:
        raise _wrong("must not be empty")
    return value


def _moment(value: object) -> float:
    try:
        return strict.moment(_text(value))
    except strict.Malformed as error:
        raise _wrong(str(error)) from None


def _name(value: object) -> str:
    text = _text(value)
    # INVARIANT: a name that differs from another one only in what nobody can see does not exist.
    if any(unicodedata.category(character)[0] == "C" or character in "\u2028\u2029" for character in text):
        raise _wrong("must not hold control characters or invisible ones")
    if text != text.strip() or len(text.encode()) > 256:
        raise _wrong("must not begin or end with a blank, nor be longer than 256 bytes")
    return text


# What a text may be in an editor's eyes, where a variable may stand for the value.
VARIABLE: Final = {"type": "string", "pattern": r"\$\{"}


def _shown(pattern: re.Pattern[str], **number: Any) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [number, {"type": "string", "pattern": f"^{pattern.pattern}$"}, VARIABLE]})


Text = Annotated[str, BeforeValidator(_text), WithJsonSchema({"type": "string", "minLength": 1})]
Name = Annotated[str, BeforeValidator(_name), WithJsonSchema({"type": "string", "pattern": r"^\S(.*\S)?$"})]
ClaimPath = Annotated[
    tuple[str, ...],
    BeforeValidator(_claim_path),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": f"^{_PLAIN_PATH.pattern}$"},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": 8},
                VARIABLE,
            ]
        }
    ),
]
Count = Annotated[int, BeforeValidator(_count), _shown(_DIGITS, type="integer", minimum=1, maximum=10**9)]
Size = Annotated[int, BeforeValidator(_size), _shown(_SIZE, type="integer", minimum=1, maximum=2**40)]
Duration = Annotated[float, BeforeValidator(_positive_duration), _shown(_DURATION, type="number", exclusiveMinimum=0)]
Version = Annotated[int, BeforeValidator(_version), WithJsonSchema({"const": 1})]
Identifier = Annotated[str, BeforeValidator(_identifier), WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{_IDENTIFIER.pattern}$"}, VARIABLE]})]
JoinType = Annotated[Literal["inner", "left"], BeforeValidator(_join_type)]
Idle = Annotated[float, BeforeValidator(_idle), _shown(_DURATION, type="number", minimum=0)]
Leeway = Annotated[float, BeforeValidator(_leeway), _shown(_DURATION, type="number", minimum=0, maximum=600)]
Moment = Annotated[float, BeforeValidator(_moment), WithJsonSchema({"anyOf": [{"type": "string", "pattern": strict.MOMENT.pattern}, VARIABLE]})]
