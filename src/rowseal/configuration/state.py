"""`state:` of datasets.yaml, and what needs it, checked without asking the store."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rowseal.catalog import text as yaml_text
from rowseal.catalog.connections import database_url
from rowseal.catalog.document import Document
from rowseal.catalog.text import Findings
from rowseal.revocation import StateAddress

__all__ = ["state_address"]

_AT: Final[yaml_text.Path] = ("state",)
_VALUES: Final = 1_000_000


def state_address(document: Document, folder: Path, findings: Findings, *, made: bool = True) -> StateAddress | None:
    """Where the state is kept; None where nowhere, or where that cannot be used and was noted. `made`: the store must be there already."""
    _check_needs(document, findings)
    entry = document.state
    if entry is None:
        return None
    if (entry.file is None) == (entry.database is None):
        findings.add(_AT, "must have exactly one of `file:` and `database:`")
        return None
    if entry.poll * 2 > entry.max_stale:
        findings.add((*_AT, "max_stale"), "must be at least twice `poll:`, or one slow reading refuses every token")
    if entry.file is not None:
        return StateAddress(folder / entry.file, poll=entry.poll, max_stale=entry.max_stale)
    if entry.database is None:
        return None
    read = database_url(entry.database, folder, findings, (*_AT, "database"), made=made)
    if read is None:
        return None
    if read[1] not in {"sqlite", "postgres"}:
        findings.add((*_AT, "database"), "must be SQLite or PostgreSQL")
        return None
    return StateAddress(url=read[0], dialect=read[1], table=entry.table, poll=entry.poll, max_stale=entry.max_stale)


def _check_needs(document: Document, findings: Findings) -> None:
    shared = document.state is not None and document.state.database is not None
    for number, entry in enumerate(document.tokens):
        for key, wanted in (("one_time", entry.one_time), ("inactivity", entry.inactivity > 0)):
            if wanted and not shared:
                findings.add(("tokens", number, key), "needs `state: {database: ...}`, which every gateway shares; a file of revocations is not enough")
        for position, key_entry in enumerate(entry.keys):
            if (key_entry.max_values_per_hour or 0) > _VALUES:
                findings.add(("tokens", number, "keys", position, "max_values_per_hour"), f"must be {_VALUES} at most: so many are remembered")
