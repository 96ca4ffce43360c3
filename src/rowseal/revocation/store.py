"""What a store of revocations is, and how it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import URL

from rowseal.revocation.entry import Kind, Revocation
from rowseal.revocation.revoked import Revoked

__all__ = ["UNDATED_SECONDS", "StateAddress", "Store", "StoreDamaged", "StoreUnavailable", "pruned"]

# How long a revocation of one token is kept whose end nobody told: longer than any token that an honest signer makes.
UNDATED_SECONDS: Final = 366 * 86_400.0
_GRACE_SECONDS: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class StateAddress:
    """`state:` of datasets.yaml: a file, or a table of a database. Times in seconds."""

    file: Path | None = None
    url: URL | None = field(default=None, repr=False)
    dialect: str = ""
    table: str = ""
    poll: float = 1.0
    max_stale: float = 30.0


class StoreUnavailable(Exception):
    """The store cannot be read or written now. The message holds no URL and no words of the database's."""


class StoreDamaged(Exception):
    """The store was read, and what is in it is not what was ever written there: what was revoked is not known any more."""


class Store(Protocol):
    """Where revocations are kept. Only `rowseal revoke` writes, any number of gates read."""

    def read(self) -> Revoked | None:
        """What is revoked now; None where that is what the last `read` of this object gave. Raises StoreUnavailable, StoreDamaged."""

    def revocations(self) -> list[Revocation]:
        """Each revocation, in the order in which they were written. Raises StoreUnavailable, StoreDamaged."""

    def create(self) -> None:
        """Make it, with nothing revoked. Raises StoreUnavailable."""

    def append(self, revocation: Revocation) -> None:
        """Write one. When this returns it survives the end of this process and of the machine. Raises StoreUnavailable, StoreDamaged."""

    def rewrite(self, change: Callable[[list[Revocation]], list[Revocation]]) -> int:
        """Replace all of them at once by what `change` makes of them; how many are gone. Raises StoreUnavailable, StoreDamaged."""

    def close(self) -> None:
        """Give back what it holds open."""


def pruned(revocations: Sequence[Revocation], *, keep: float, now: float, by: str) -> list[Revocation]:
    """Those that still end a token at `now`, where no token lives longer than `keep` seconds.

    INVARIANT: nothing that was refused is accepted afterwards, however long its token lives: whatever was issued before `now - keep` is
    refused altogether, by one revocation of ALL in place of those that are left out. One of a single token goes when that token has ended;
    where nobody told when it ends, after UNDATED_SECONDS.
    """
    horizon = now - keep
    kept = [each for each in revocations if _lasts(each, horizon, now)]
    if len(kept) == len(revocations):
        return kept
    return [Revocation(Kind.ALL, "", horizon, now, by, "pruned"), *kept]


def _lasts(revocation: Revocation, horizon: float, now: float) -> bool:
    if revocation.kind in {Kind.TOKEN, Kind.JTI}:
        # Clocks differ. One that is kept longer refuses a token that has ended anyway.
        return now < (revocation.at + UNDATED_SECONDS if revocation.until is None else revocation.until + _GRACE_SECONDS)
    return revocation.before is None or revocation.before > horizon
