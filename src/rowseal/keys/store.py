"""What may be done with a directory of keys: each act is checked first, and then one file is replaced, or none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rowseal.claims import Json
from rowseal.keys.records import ACTIVE, PENDING, Kept, Unlisted, key_name, read_record, remove, scan, write, writing
from rowseal.keys.types import KeyRefused, Source

__all__ = ["KeyMissing", "KeyTaken", "Store"]

_SCOPE: Final = ("datasets", "project_id", "not_before", "retire_at")


class KeyTaken(KeyRefused):
    """Something else is there already."""


class KeyMissing(KeyRefused):
    """There is no such key in this directory."""


@dataclass(frozen=True, slots=True)
class Store:
    """One directory. `datasets` are the ids that a scope may name, `elsewhere` the keys that are configured in other places: thumbprint to id."""

    source: Source
    datasets: Collection[str]
    elsewhere: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return Path(self.source.place)

    def all(self) -> tuple[Kept, ...]:
        """Every key, pending and retired ones too. Raises Unlisted."""
        return scan(self.source)[0]

    def put(self, name: str, content: Mapping[str, Json], *, state: str, now: float) -> tuple[Kept, bool]:
        """Add a key, and whether it is new. `content` has it as `key`, and its scope. Raises KeyRefused, OSError.

        A key that is pending still gets another scope; one that is active stays as it is.
        """
        name = key_name(name)
        if unknown := content.keys() - {"key", *_SCOPE}:
            raise KeyRefused(f"there are {len(unknown)} member(s) besides `key`, {', '.join(f'`{each}`' for each in _SCOPE)}")
        if "key" not in content:
            raise KeyRefused("there is no `key`: a PEM block as text, or a JWK")
        kept = read_record({**content, "state": state}, name, self.source)
        if strange := (kept.key.facts.datasets or frozenset()) - frozenset(self.datasets):
            raise KeyRefused(f"`datasets` names {len(strange)} that the configuration does not have")
        if kept.key.not_before >= kept.key.retire_at:
            raise KeyRefused("`retire_at` is not later than `not_before`, so no token of this key would ever be taken")
        if kept.key.retire_at <= now:
            raise KeyRefused("`retire_at` is over, so no token of this key would ever be taken")
        kept = replace(kept, key=replace(kept.key, added_at=now))
        with writing(self.folder):
            before = self._among(name, kept)
            if before is None:
                write(self.folder, kept, datasets=self._own(kept))
                return kept, True
            kept = replace(kept, state=before.state, key=replace(kept.key, added_at=before.key.added_at))
            if before.state == ACTIVE and (kept.key.facts, kept.project_id, kept.key.not_before, kept.key.retire_at) != (
                before.key.facts,
                before.project_id,
                before.key.not_before,
                before.key.retire_at,
            ):
                raise KeyTaken("this key is active with another scope: retire it, and add a new key")
            if before.state == PENDING:
                write(self.folder, kept, datasets=self._own(kept))
            return kept, False

    def activate(self, name: str) -> Kept:
        """Let the key's tokens in, from its `not_before` on. Raises KeyMissing, KeyRefused for files that cannot be read, OSError."""
        with writing(self.folder):
            kept = replace(self._there(name), state=ACTIVE)
            write(self.folder, kept, datasets=self._own(kept))
            return kept

    def retire(self, name: str, *, at: float) -> Kept:
        """Refuse the key's tokens from a moment on. It stays, so that it is not added again by mistake. Raises as `activate` does, and KeyTaken."""
        with writing(self.folder):
            kept = self._there(name)
            if kept.key.retire_at < at:
                raise KeyTaken("this key retires earlier already, and is not made to live longer: add a new key")
            kept = replace(kept, key=replace(kept.key, retire_at=at))
            write(self.folder, kept, datasets=self._own(kept))
            return kept

    def remove(self, name: str, *, now: float) -> Kept | None:
        """Take the key away: one that was never active is forgotten, any other retires now. None where it is forgotten. Raises as `activate` does."""
        with writing(self.folder):
            kept = self._there(name)
            if kept.state == PENDING:
                remove(self.folder, kept.name)
                return None
        return self.retire(name, at=min(now, kept.key.retire_at))

    def _own(self, kept: Kept) -> list[str] | None:
        """The datasets that the record itself names."""
        datasets = kept.key.facts.datasets
        return None if datasets is None or datasets == self.source.facts.datasets else sorted(datasets)

    def _listed(self) -> tuple[Kept, ...]:
        try:
            return self.all()
        except Unlisted as error:
            raise KeyRefused(f"the directory cannot be read ({error})") from None

    def _there(self, name: str) -> Kept:
        found = next((each for each in self._listed() if each.name == name), None)
        if found is None:
            raise KeyMissing("there is no such key in this directory, or its file cannot be read")
        return found

    def _among(self, name: str, kept: Kept) -> Kept | None:
        """The same key under the same name, if it is there. Raises KeyTaken where the name or the key is taken."""
        thumbprint = kept.key.thumbprint
        if thumbprint in self.elsewhere:
            raise KeyTaken("this key is configured already, in another place: an issuer's key stands once")
        for each in self._listed():
            # names that differ in case alone are one file on some systems
            if each.key.thumbprint == thumbprint:
                if each.name != name:
                    raise KeyTaken("this key is there already under another name")
                return each
            if each.name.casefold() == name.casefold():
                raise KeyTaken("another key is there already under this name: a new key gets a new name")
        # what gives no key may be somebody's mistake, and is not written over
        if any((self.folder / f"{name}{suffix}").exists() for suffix in (".json", ".pem")):
            raise KeyTaken("a file of this name is there already, and gives no key: look at it first")
        return None
