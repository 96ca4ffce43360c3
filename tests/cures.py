"""A refusal, and what its hint says to do: provoked, read, done word for word, and then it works."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from asgi import Answer
from place import Place
from rowseal import errors

__all__ = ["Action", "Refusal", "check"]

Action: TypeAlias = Callable[[Place], Any]

# What may stand between the cures of one hint.
_BETWEEN = re.compile(r"(?:[\s,;:]|\b(?:or|and|sign with|either|use)\b)*")


@dataclass(frozen=True)
class Refusal:
    """One way to be refused. `hint` is what the refusal says; each key of `cures` is a part of it, and its value does what the part says.

    Together the parts make up the whole hint: no word of it is left that nobody has tried.
    """

    code: str
    hint: str
    provoke: Action
    cures: dict[str, Action]


def check(refusal: Refusal, make: Callable[[], Place]) -> None:
    """Provoke it in a fresh place, compare the hint, and follow each of its cures in a fresh place."""
    told = _told(refusal.provoke, make())
    assert told == (refusal.code, refusal.hint), told
    left = refusal.hint
    for words, follow in refusal.cures.items():
        assert words in left, f"the hint does not say {words!r}"
        left = left.replace(words, "", 1)
        told = _told(follow, make())
        assert told is None, f"{words!r} led to {told}"
    assert _BETWEEN.fullmatch(left), f"no cure follows {left!r}"


def _told(action: Action, place: Place) -> tuple[str, str] | None:
    """The code and the hint of what came of it, in Python or over HTTP; None where it worked."""
    try:
        answer = action(place)
    except errors.Refused as refused:
        return refused.code, refused.hint
    if isinstance(answer, Answer) and answer.status != 200:
        content = json.loads(answer.body)
        return content["code"], content["hint"]
    return None
