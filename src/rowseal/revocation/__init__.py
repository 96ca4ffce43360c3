"""Ending tokens before their time: what is revoked, where that is kept, and how every gateway learns it within a bound.

`entry` is one revocation, `revoked` all of them as they are asked by every use of a token, `file` and `database` where they are kept,
`watch` how a gate always has them at hand, `uses` what else the shared database says of a token.
"""

from __future__ import annotations

from rowseal.revocation.database import StateDatabase
from rowseal.revocation.entry import Kind, Revocation, RevocationMalformed
from rowseal.revocation.file import RevocationFile
from rowseal.revocation.revoked import NOTHING, Revoked
from rowseal.revocation.store import StateAddress, Store, StoreDamaged, StoreUnavailable, pruned
from rowseal.revocation.uses import Uses
from rowseal.revocation.watch import UNWATCHED, Unwatched, Watch

__all__ = [
    "NOTHING",
    "UNWATCHED",
    "Kind",
    "Revocation",
    "RevocationFile",
    "RevocationMalformed",
    "Revoked",
    "StateAddress",
    "StateDatabase",
    "Store",
    "StoreDamaged",
    "StoreUnavailable",
    "Unwatched",
    "Uses",
    "Watch",
    "open_store",
    "pruned",
]


def open_store(address: StateAddress) -> RevocationFile | StateDatabase:
    """The store at an address; nothing is read yet."""
    if address.file is not None:
        return RevocationFile(address.file)
    if address.url is None:
        raise ValueError("the address names neither a file nor a database")
    return StateDatabase(address.url, address.table)
