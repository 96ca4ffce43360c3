"""How each key is used: what an operator looks at before retiring one."""

from __future__ import annotations

from dataclasses import dataclass

from rowseal.keys import PublicKey

__all__ = ["KeyReport", "Tally", "report"]


@dataclass(slots=True)
class Tally:
    """How many tokens a key has proven, and when the last.

    Written by every verification without a lock: `last` is a moment, whichever thread wrote it; a count may be short by a few.
    """

    tokens: int = 0
    last: float | None = None


@dataclass(frozen=True, slots=True)
class KeyReport:
    """One key. Moments are in seconds since the epoch; `tokens` counts those that it proved, each once while it is remembered.

    `since` is when it was added, as far as that is known, or began to hold.
    """

    id: str
    algorithm: str
    thumbprint: str
    source: str
    development: bool
    since: float | None
    not_before: float | None
    retire_at: float | None
    confirmed_until: float | None
    last_used_at: float | None
    tokens: int


def report(key: PublicKey, tally: Tally | None) -> KeyReport:
    """The key with what is known of its use."""
    times = [None if abs(moment) == float("inf") else moment for moment in (key.not_before, key.retire_at, key.confirmed_until)]
    last, tokens = (None, 0) if tally is None else (tally.last, tally.tokens)
    since = times[0] if key.added_at is None else key.added_at
    return KeyReport(key.facts.id, key.algorithm, key.thumbprint, key.source, key.facts.development, since, times[0], times[1], times[2], last, tokens)
