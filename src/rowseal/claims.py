"""What a verified token says, before anyone has asked what it means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeAlias

__all__ = ["Claims", "Json", "KeyFacts", "Proof"]

# Numbers with a fraction or exponent are Decimal: a float would round them before the filters see them.
Json: TypeAlias = "bool | int | Decimal | str | list[Json] | dict[str, Json] | None"


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What the configuration says about the key that verified a token. `datasets` None means no narrowing by key.

    `explain`: whoever bears its tokens may see what their queries are made into. `max_rows` and `max_values` bound what its tokens, all of
    them together, may read and name in an hour; None means without bound.
    """

    id: str
    profile: str
    development: bool = False
    datasets: frozenset[str] | None = None
    explain: bool = False
    max_rows: int | None = None
    max_values: int | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """By what a token was proven: algorithm, `kid` and `typ` (in upper case) of its header, and the thumbprint of the key that verified it."""

    algorithm: str
    kid: str | None
    thumbprint: str
    type: str = "JWT"


@dataclass(frozen=True, slots=True)
class Claims:
    """The verified content of one token. Only `tokens` makes one.

    `expires_at` is in seconds since the epoch (UTC): `ends_at`, the earliest of the token's own moments of expiry, or before it the end of the
    key as far as that is known now. `issued_at` is its `iat`; where it has none, `ends_at` minus `max_lifetime`. `token_id` is its `jti`.
    `digest` is the hex SHA-256 of `header.payload`: an ECDSA signature can be altered without becoming invalid, so it is no identity.
    `proof` is None for claims that a signer reads before it signs them.
    """

    key: KeyFacts
    content: Mapping[str, Json] = field(repr=False)
    expires_at: float
    digest: str
    proof: Proof | None = None
    issued_at: float = 0.0
    token_id: str | None = field(default=None, repr=False)
    ends_at: float = math.inf
