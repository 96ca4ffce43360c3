"""What a request accepts (RFC 9110, 12.5.1), and which of the forms of an answer that is. Pure functions, no I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from rowseal.engine.formats import ARROW, ArrowWriter, CsvWriter, LinesWriter, Writer
from rowseal.errors import QueryRefused

__all__ = ["FORMATS", "JSON", "Format", "accepted"]


@dataclass(frozen=True, slots=True)
class Format:
    """One form of an answer. `writer` makes what writes it as it comes; None for JSON, which nobody can use before it is whole.

    `says_its_end`: the answer itself tells a reader whether it is whole, whatever the connection tells. `parameters` are those that a client may name.
    """

    media_type: str
    writer: Callable[[], Writer] | None = None
    says_its_end: bool = True
    parameters: frozenset[tuple[str, str]] = frozenset({("charset", "utf-8")})

    @property
    def content_type(self) -> str:
        """The header's value."""
        return self.media_type + "".join(f"; {name}={value}" for name, value in sorted(self.parameters)) if self.media_type == "text/csv" else self.media_type


JSON: Final = Format("application/json")
# In the order in which they are preferred where the client has no preference.
FORMATS: Final = (
    JSON,
    Format("application/x-ndjson", LinesWriter),
    Format("text/csv", CsvWriter, says_its_end=False, parameters=frozenset({("charset", "utf-8"), ("header", "present")})),
    *((Format("application/vnd.apache.arrow.stream", ArrowWriter, says_its_end=False, parameters=frozenset()),) if ARROW else ()),
)
_LONGEST: Final = 1_000  # characters
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_RANGE: Final = re.compile(rf"\s*({_WORD})/({_WORD})\s*((?:;\s*{_WORD}\s*=\s*(?:{_WORD}|\"[^\"\\]*\")\s*)*)")
_QUALITY: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def accepted(values: Sequence[str], *, only_json: bool = False) -> Format:
    """What the `Accept` headers of a request prefer; JSON where there is none. Raises QueryRefused `format_refused`."""
    accept = ",".join(values)
    if accept in ("", "*/*", "application/json"):
        return JSON
    chosen = _chosen(accept, only_json) if len(accept) <= _LONGEST else None
    if chosen is not None:
        return chosen
    if only_json:
        raise QueryRefused("format_refused", "several queries are answered in JSON only", hint="send `Accept: application/json`, or each query by itself")
    if not ARROW and "arrow" in accept:
        raise QueryRefused("format_refused", "this server has no Arrow", hint="ask the operator to install `rowseal[arrow]`, or ask for another format")
    raise QueryRefused("format_refused")


@lru_cache(maxsize=128)
def _chosen(accept: str, only_json: bool) -> Format | None:
    ranges = [found for part in accept.split(",") if (found := _range(part)) is not None]
    best, preferred = None, 0.0
    for each in (JSON,) if only_json else FORMATS:
        matching = [(precision, quality) for media_type, parameters, precision, quality in ranges if _matches(each, media_type, parameters)]
        quality = max(matching)[1] if matching else 0.0  # the closest match counts, also where it says no
        if quality > preferred:
            best, preferred = each, quality
    return best


def _matches(each: Format, media_type: str, parameters: frozenset[tuple[str, str]]) -> bool:
    main = each.media_type.partition("/")[0]
    return media_type in ("*/*", f"{main}/*", each.media_type) and parameters <= each.parameters


def _range(part: str) -> tuple[str, frozenset[tuple[str, str]], tuple[int, int], float] | None:
    """Media type, parameters, how closely it says what it wants, and how much it wants it. None for what cannot be read, which wants nothing."""
    found = _RANGE.fullmatch(part)
    if found is None:
        return None
    media_type, quality = f"{found[1]}/{found[2]}".lower(), 1.0
    parameters = set()
    for each in found[3].split(";")[1:]:
        name, _, value = (side.strip().strip('"').lower() for side in each.partition("="))
        if name != "q":
            parameters.add((name, value))
        elif _QUALITY.fullmatch(value) is None:
            return None
        else:
            quality = float(value)
    return media_type, frozenset(parameters), (2 - media_type.count("*"), len(parameters)), quality
