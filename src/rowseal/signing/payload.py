"""Claims -> the bytes that are signed: JSON with one spelling, which the verifier reads as what was meant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final, cast

from rowseal import strict
from rowseal.claims import Json

__all__ = ["SigningRefused", "iso", "plain", "write"]

# Browsers' atob, with which the vendor's dashboards peek into a token, knows neither `-` nor `_`. In base64 of ASCII only these
# four characters produce them, and JSON can spell each of them as an escape.
_ATOB: Final = {ord(character): f"\\u{ord(character):04x}" for character in ">~?\x7f"}


class SigningRefused(ValueError):
    """These claims are not signed, because the verifier would refuse them, they say something else than was meant, or they give a secret away."""


def plain(claims: Mapping[str, object]) -> dict[str, object]:
    """The claims in JSON's own types, and dates as text. Raises SigningRefused."""
    try:
        return cast("dict[str, object]", _plain(claims))
    except RecursionError:
        raise SigningRefused("the claims hold themselves, or are nested too deeply") from None


def write(claims: Mapping[str, object]) -> bytes:
    """What `plain` gave, as JSON in ASCII. Raises SigningRefused."""
    try:
        return strict.json_text(cast("Json", claims)).translate(_ATOB).encode("ascii")
    except ValueError:
        raise SigningRefused("the claims hold an integer of more digits than any verifier reads") from None


def iso(moment: datetime) -> str:
    """The moment in UTC, with thousandths of a second, or millionths where there are some."""
    finer = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.astimezone(UTC).isoformat(timespec=finer).replace("+00:00", "Z")


def _plain(value: object) -> object:
    """Lists and objects of JSON's own types. `json` would turn a key 1 into "1", and quietly sign other claims than were given."""
    match value:
        case Mapping():
            if not all(isinstance(name, str) for name in value):
                raise SigningRefused("names of claims, dataset ids and filter members must be strings")
            return {str(name): _plain(member) for name, member in value.items()}
        case list() | tuple():
            return [_plain(member) for member in value]
        case datetime():
            if value.utcoffset() is None:
                raise SigningRefused("a date and time without an offset means another moment on another machine: give it a `tzinfo`")
            return iso(value)
        case date():
            return value.isoformat()
        case float() if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 -- NaN alone is not itself
            raise SigningRefused("the claims hold NaN or Infinity, which JSON cannot carry")
        case Decimal() if not value.is_finite():
            raise SigningRefused("the claims hold NaN or Infinity, which JSON cannot carry")
        case None | str() | bool() | int() | float() | Decimal():
            return value
        case _:
            raise SigningRefused(f"a value of type `{type(value).__name__}` has no one spelling in JSON: write a string, number, date, true or false")
