"""Strict reading of base64url and JSON: one text has one meaning, or none.

Whoever signs and whoever verifies must read the same bytes alike. Python's own decoders are lenient (duplicate names: the last
wins; NaN; UTF-16 detected silently; padding and stray characters skipped), and every leniency has been an attack on tokens.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from json import JSONDecoder
from typing import Any, Final, NoReturn, cast

from rowseal.claims import Json

__all__ = ["Malformed", "from_base64url", "json_list", "json_object", "json_text", "moment", "to_base64url"]

# The longest number taken, in characters: 256 bits fit (78 digits), and no number costs more than a few microseconds.
NUMBER_LENGTH: Final = 80
# The range of a double, down to its smallest. Beyond it no honest signer writes, and Decimal arithmetic explodes in memory.
NUMBER_EXPONENT: Final = 324

MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
# The last character of a group of 2 or 3 carries bits that no byte uses: only these leave them zero.
_LAST_OF: Final = {0: None, 2: frozenset("AQgw"), 3: frozenset("AEIMQUYcgkosw048")}
_TO_STANDARD: Final = bytes.maketrans(b"-_", b"+/")

_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE: Final = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_STRINGS: Final = re.compile(rb'"[^"]*"')
# Escapes that can produce NUL or half of a surrogate pair; raw ones do not survive the UTF-8 decoder and the JSON scanner.
_UNSENDABLE: Final = re.compile("[\\x00\\ud800-\\udfff]")
_SUSPECT_ESCAPE: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


class Malformed(ValueError):
    """The text is not strict base64url or JSON. The message never quotes it."""


def from_base64url(text: str) -> bytes:
    """Decode unpadded, canonical base64url (RFC 7515 section 2, RFC 4648 section 3.5). Raises Malformed.

    Canonical: one byte string has one spelling, so that no second spelling of a token passes a cache or a revocation list.
    """
    if not _BASE64URL.fullmatch(text):
        raise Malformed("not base64url without padding")
    over = len(text) % 4
    if over == 1 or ((last := _LAST_OF[over]) and text[-1] not in last):
        raise Malformed("not canonical base64url")
    return binascii.a2b_base64(text.encode("ascii").translate(_TO_STANDARD) + b"=" * (-over % 4))


def to_base64url(data: bytes) -> str:
    """Encode without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def moment(text: str) -> float:
    """Seconds since the epoch of a date and time with its offset from UTC (ISO 8601), such as `2026-01-31T12:00:00Z`. Raises Malformed."""
    try:
        if MOMENT.fullmatch(text):
            # in UTC, or it could be compared but never be written down again
            return datetime.fromisoformat(text).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        pass
    raise Malformed("must be a date and time with its offset, such as `2026-01-31T12:00:00Z`")


def json_object(data: bytes, *, depth: int) -> dict[str, Json]:
    """Parse one JSON object (RFC 8259), nested at most `depth` levels (the object itself is the first). Raises Malformed.

    UTF-8 without a byte order mark; no duplicate names at any level; no NaN or Infinity; numbers of bounded length, those with
    a fraction or exponent as Decimal; no NUL and no lone surrogate in any string or name; nothing after the object.
    """
    value = _json(data, depth)
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    return cast("dict[str, Json]", value)


def json_list(data: bytes, *, depth: int) -> list[Json]:
    """The same for one JSON list."""
    value = _json(data, depth)
    if not isinstance(value, list):
        raise Malformed("not a JSON list")
    return cast("list[Json]", value)


def _json(data: bytes, depth: int) -> object:
    _check_depth(data, depth)
    try:
        value: object = _DECODER.decode(data.decode("utf-8"))
    except Malformed:
        raise
    except (ValueError, ArithmeticError, RecursionError):  # JSONDecodeError keeps the whole text: it must not travel further
        raise Malformed("not JSON in UTF-8") from None
    if _SUSPECT_ESCAPE.search(data):
        _check_strings(value)
    return value


def json_text(value: Json) -> str:
    """What `json_object` read, as JSON again, in ASCII and with every digit of its numbers."""
    match value:
        case Decimal():
            return str(value)
        case list():
            return f"[{','.join(map(json_text, value))}]"
        case dict():
            return f"{{{','.join([f'{json.dumps(name)}:{json_text(member)}' for name, member in value.items()])}}}"
        case _:
            return json.dumps(value)


def _check_depth(data: bytes, depth: int) -> None:
    # Before the parser sees it, because the parser recurses: keep only the structure, drop the strings, then peel the innermost
    # brackets off, one level a turn. Every step runs at the speed of bytes.replace.
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two adjacent quotes open and close nothing between them, so dropping the pair leaves inside and outside as they were.
    structure = data.translate(_BRACKETS, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in structure:
        structure = _STRINGS.sub(b"", structure)
    for _ in range(depth):
        structure = structure.replace(b"[]", b"")
    if structure:
        raise Malformed(f"nested deeper than {depth} levels, or brackets or quotes do not match")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("a name stands twice in one object")
    return members


def _integer(text: str) -> int:
    if len(text) > NUMBER_LENGTH:
        raise Malformed(f"a number is longer than {NUMBER_LENGTH} characters")
    return int(text)


def _decimal(text: str) -> Decimal:
    if len(text) > NUMBER_LENGTH:
        raise Malformed(f"a number is longer than {NUMBER_LENGTH} characters")
    number = Decimal(text)
    if not number.is_finite() or abs(number.adjusted()) > NUMBER_EXPONENT:
        raise Malformed("a number is out of range")
    return number


def _no_constant(_: str) -> NoReturn:
    raise Malformed("NaN and Infinity are not JSON")


def _check_strings(value: object) -> None:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if _UNSENDABLE.search(item):
                raise Malformed("a string holds NUL or half of a surrogate pair")
        elif isinstance(item, dict):
            waiting += item.keys()
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


_DECODER: Final = JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_float=_decimal, parse_constant=_no_constant)
