"""The keys of one state at one moment. When they change another keyring is made, and the two are swapped in one assignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from rowseal.catalog import Limits
from rowseal.keys import TokenRules
from rowseal.tokens import Verifier

__all__ = ["Keyring", "Keys"]

# INVARIANT: no two keyrings of a process share a number, so one comparison tells whether keys or the whole configuration changed.
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Keyring:
    """All keys with their rules, immutable. `epoch` is this keyring's alone: what was proven under another number is judged anew."""

    epoch: int
    verifier: Verifier
    body_verifier: Verifier  # for tokens in bodies, which may be larger

    @classmethod
    def of(cls, rules: Sequence[TokenRules], limits: Limits) -> Keyring:
        """A new keyring. Raises KeyRefused where it would be unclear which key or rules a token has."""
        return cls(next(_numbers), *(Verifier(rules, token_bytes=size) for size in (limits.token_bytes, limits.body_token_bytes)))


class Keys:
    """Where a state finds its keyring of now: read `ring` once in each use, and go on with that."""

    __slots__ = ("ring",)

    def __init__(self, rules: Sequence[TokenRules], limits: Limits) -> None:
        """Raises KeyRefused where it would be unclear which key or rules a token has."""
        self.ring = Keyring.of(rules, limits)
