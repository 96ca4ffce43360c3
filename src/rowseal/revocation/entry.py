"""One revocation, and how it is written down: a line of strict JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final

from rowseal import strict
from rowseal.claims import Json

__all__ = ["NAME_LENGTH", "REASON_LENGTH", "Kind", "Revocation", "RevocationMalformed", "from_line", "to_line"]

NAME_LENGTH: Final = 256  # characters
REASON_LENGTH: Final = 500
LATEST_SECOND: Final = 100_000_000_000

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Kind(StrEnum):
    """What a revocation names."""

    TOKEN = "token"  # noqa: S105 -- a word, not a secret
    JTI = "jti"
    SUBJECT = "subject"
    KEY = "key"
    DATASET = "dataset"
    ALL = "all"


class RevocationMalformed(ValueError):
    """This is no revocation. The message says why and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """What ends tokens before their time.

    `name` is the digest of a token (`Claims.digest`), a `jti`, a subject, or the id of a key or dataset; empty for ALL.
    Tokens issued before `before` are meant; None means whenever they were issued, and is the only choice for a token or a `jti`.
    `at` and `by` say when it was written and by whom, `until` when the token that it names ends by itself, where that is known.
    Times in seconds since the epoch. Raises RevocationMalformed.
    """

    kind: Kind
    name: str = field(repr=False)
    before: float | None
    at: float
    by: str = ""
    reason: str = field(default="", repr=False)
    until: float | None = None

    def __post_init__(self) -> None:
        one_token = self.kind in {Kind.TOKEN, Kind.JTI}
        if self.kind is Kind.ALL:
            if self.name:
                raise RevocationMalformed("`all` takes no name")
        elif self.kind is Kind.TOKEN:
            if not _DIGEST.fullmatch(self.name):
                raise RevocationMalformed("a token is named by the SHA-256 of its `header.payload`, 64 hex digits in lower case")
        elif not 0 < len(self.name) <= NAME_LENGTH:
            raise RevocationMalformed(f"the name must have 1 to {NAME_LENGTH} characters")
        if one_token and self.before is not None:
            raise RevocationMalformed("one token is revoked whenever it was issued")
        if not one_token and self.until is not None:
            raise RevocationMalformed("`until` is for one token")
        if len(self.by) > NAME_LENGTH or len(self.reason) > REASON_LENGTH:
            raise RevocationMalformed(f"a reason has at most {REASON_LENGTH} characters")
        if not all(moment is None or 0 <= moment < LATEST_SECOND for moment in (self.before, self.at, self.until)):
            raise RevocationMalformed("a moment is out of range")


def to_line(revocation: Revocation) -> str:
    """The revocation as JSON without a line's end."""
    content = {name: getattr(revocation, name) for name in Revocation.__slots__}
    return json.dumps({name: value for name, value in content.items() if value not in {"", None} or name == "before"}, separators=(",", ":"))


def from_line(line: bytes) -> Revocation:
    """The revocation that a line says. Raises RevocationMalformed for whatever `to_line` would not have written."""
    try:
        content = strict.json_object(line, depth=1)
        kind = Kind(_text(content, "kind"))
    except ValueError:  # Malformed is one
        raise RevocationMalformed("not strict JSON with a known `kind`") from None
    if unknown := content.keys() - set(Revocation.__slots__):
        raise RevocationMalformed(f"{len(unknown)} unknown member(s)")
    if "before" not in content or (at := _moment(content, "at")) is None:
        raise RevocationMalformed("`before` or `at` is missing")
    texts = {name: _text(content, name) for name in ("name", "by", "reason")}
    return Revocation(kind, before=_moment(content, "before"), at=at, until=_moment(content, "until"), **texts)


def _text(content: Mapping[str, Json], name: str) -> str:
    value = content.get(name, "")
    if not isinstance(value, str):
        raise RevocationMalformed(f"`{name}` is no text")
    return value


def _moment(content: Mapping[str, Json], name: str) -> float | None:
    value = content.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise RevocationMalformed(f"`{name}` is no number of seconds")
    if not 0 <= value < LATEST_SECOND:
        raise RevocationMalformed(f"`{name}` is out of range")
    return float(value)
