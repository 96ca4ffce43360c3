"""A directory of keys: what each file says, and how one is written so that a crash at any point leaves the old file or the new one.

`NAME.pem` and `NAME.json` with a JWK are keys that somebody put there. A record, `NAME.json` with a JWK under `key`, says more: whether it is
active yet, when its tokens are taken, and for which datasets and project. Where both are there the record holds, so it can only narrow.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rowseal import strict
from rowseal.claims import Json
from rowseal.keys.published import refuse_published
from rowseal.keys.reading import read_public_keys, to_jwk
from rowseal.keys.types import KeyRefused, PublicKey, Source

try:
    import fcntl
except ImportError:  # uncovered: Windows, where one process alone may write
    fcntl = None  # type: ignore[assignment]

__all__ = ["ACTIVE", "PENDING", "Kept", "Unlisted", "key_name", "listed", "moment_text", "read_record", "remove", "scan", "write", "writing"]

ACTIVE: Final = "active"
PENDING: Final = "pending"
FILE_BYTES: Final = 65_536
FILES: Final = 200  # each key may be tried for a token without `kid`
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}(?:\.[A-Za-z0-9_-]{1,62}){0,3}", re.ASCII)
_MEMBERS: Final = frozenset({"key", "state", "datasets", "project_id", "not_before", "retire_at", "added_at"})
_SUFFIXES: Final = (".pem", ".json")
_TURN: Final = threading.Lock()


class Unlisted(Exception):
    """The directory cannot be read. The message is the system's."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One key of a directory. `key.facts.id` is the source's id, a slash and `name`."""

    name: str
    key: PublicKey
    state: str = ACTIVE
    project_id: str | None = None


def key_name(text: str) -> str:
    """The name of a key in a directory, which is the beginning of its file's name. Raises KeyRefused."""
    if len(text) > 100 or not _NAME.fullmatch(text) or text.endswith(_SUFFIXES):
        raise KeyRefused("a key's name must be of ASCII letters, digits, `-` and `_`, with single dots inside, and begin with a letter or digit")
    return text


def listed(folder: str) -> tuple[tuple[str, int, int, int, int], ...]:
    """The files that may hold keys, each with what changes when it does (both times, size, inode). Raises Unlisted."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                # what begins with a dot is being written, or belongs to whoever mounts the folder
                if entry.name.endswith(_SUFFIXES) and not entry.name.startswith("."):
                    try:
                        about = entry.stat()
                        found.append((entry.name, about.st_mtime_ns, about.st_ctime_ns, about.st_size, about.st_ino))
                    except OSError:
                        found.append((entry.name, 0, 0, 0, 0))  # a link that leads nowhere; reading it says so
    except (OSError, ValueError) as error:
        raise Unlisted((getattr(error, "strerror", None) or "the system refuses").lower()) from None
    return tuple(sorted(found))


def scan(source: Source) -> tuple[tuple[Kept, ...], tuple[tuple[str, str], ...]]:
    """The keys of a directory, and of each file that gives none its name and why. Raises Unlisted."""
    kept: dict[str, Kept] = {}
    problems: list[tuple[str, str]] = []
    names = [name for name, *_ in listed(source.place)]
    if len(names) > FILES:
        return (), ((source.place, f"holds more than {FILES} files with keys"),)
    records: set[str] = set()
    for file in sorted(names, key=lambda name: (name.endswith(".pem"), name)):  # records first
        name = file.rpartition(".")[0]
        try:
            found, is_record = _read(Path(source.place) / file, key_name(name), source)
        except KeyRefused as problem:
            problems.append((file, str(problem)))
            records.add(name)  # INVARIANT: a record that cannot be read opens nothing, and neither does the plain key that it narrows
            continue
        if name in records:
            other = kept.get(name)
            if other is None or other.key.thumbprint != found.key.thumbprint:
                problems.append((file, "a record of this name stands beside it, and is about another key or cannot be read: remove one of the two"))
            continue
        if is_record or file.endswith(".json"):
            records.add(name)
        same = next((each for each in kept.values() if each.key.thumbprint == found.key.thumbprint), None)
        if same is not None:
            problems.append((file, f"the same key stands in this directory as `{same.name}`: remove one of the two"))
            continue
        kept[name] = found
    return tuple(kept.values()), tuple(problems)


def _read(path: Path, name: str, source: Source) -> tuple[Kept, bool]:
    try:
        if not path.is_file():
            raise KeyRefused("it is not an ordinary file")
        with path.open("rb") as file:
            content = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise KeyRefused(f"it cannot be read ({(error.strerror or 'the system refuses').lower()})") from None
    if len(content) > FILE_BYTES:
        raise KeyRefused(f"it is larger than {FILE_BYTES} bytes")
    if path.suffix == ".json":
        try:
            document = strict.json_object(content, depth=4)
        except strict.Malformed as error:
            raise KeyRefused(f"it is not strict JSON ({error})") from None
        if "key" in document:
            return read_record(document, name, source), True
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise KeyRefused("it is not UTF-8") from None
    return Kept(name, _one(text, name, source, source.algorithm)), False


def _one(text: str, name: str, source: Source, algorithm: str | None) -> PublicKey:
    facts = replace(source.facts, id=f"{source.facts.id}/{name}")
    keys = read_public_keys(text, facts=facts, algorithm=algorithm)
    if len(keys) != 1:
        raise KeyRefused("it holds several keys: give each a file of its own")
    key = keys[0] if facts.development else refuse_published(keys[0])
    return replace(key, source=source.kind, not_before=source.not_before, retire_at=source.retire_at)


def read_record(document: Mapping[str, Json], name: str, source: Source) -> Kept:
    """A key with what is said about it, within what the source allows. Raises KeyRefused."""
    if unknown := sorted(document.keys() - _MEMBERS):
        raise KeyRefused(f"it has {len(unknown)} member(s) that a record does not have; it may have {', '.join(sorted(_MEMBERS))}")
    given = document["key"]
    key = _one(
        given if isinstance(given, str) else strict.json_text(given), name, source, None if isinstance(given, dict) and "alg" in given else source.algorithm
    )
    if source.algorithm not in {None, key.algorithm}:
        raise KeyRefused(f"its algorithm is not `{source.algorithm}`, which the configuration demands of this directory")
    state = document.get("state", ACTIVE)
    if state not in (ACTIVE, PENDING):
        raise KeyRefused(f"`state` must be `{ACTIVE}` or `{PENDING}`")
    datasets = _datasets(document.get("datasets"))
    allowed = source.facts.datasets
    if datasets is not None and allowed is not None and not datasets <= allowed:
        raise KeyRefused("`datasets` names one that the configuration does not allow for this directory")
    project_id = document.get("project_id")
    if project_id is not None and (not isinstance(project_id, str) or not project_id):
        raise KeyRefused("`project_id` must be text")
    not_before, retire_at = (_moment(document, member) for member in ("not_before", "retire_at"))
    key = replace(
        key,
        facts=replace(key.facts, datasets=allowed if datasets is None else datasets),
        not_before=source.not_before if not_before is None else max(source.not_before, not_before),
        retire_at=source.retire_at if retire_at is None else min(source.retire_at, retire_at),
        added_at=_moment(document, "added_at"),
    )
    return Kept(name, key, str(state), project_id)


def _datasets(value: Json) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(each, str) and each for each in value):
        raise KeyRefused("`datasets` must be a list of ids, with at least one")
    return frozenset(str(each) for each in value)


def _moment(document: Mapping[str, Json], member: str) -> float | None:
    value = document.get(member)
    if value is None:
        return None
    try:
        return strict.moment(value if isinstance(value, str) else "")
    except strict.Malformed as error:
        raise KeyRefused(f"`{member}` {error}") from None


def moment_text(moment: float) -> str:
    """The moment as `strict.moment` reads it, in UTC, cut to whole seconds."""
    return datetime.fromtimestamp(int(moment), UTC).isoformat().replace("+00:00", "Z")


# --- writing ---------------------------------------------------------------------------------------------------------------------------------


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """One writer at a time, also among processes of one machine. What a writer that was killed left behind is removed. Raises OSError."""
    with _TURN, (folder / ".lock").open("a") as lock:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed, also by a crash
        for left in folder.glob(".*.writing"):
            left.unlink(missing_ok=True)
        yield


def write(folder: Path, kept: Kept, *, datasets: Sequence[str] | None) -> None:
    """Write the record of a key in place of any before. INVARIANT: a reader sees the old file or the new one, whole. Raises OSError.

    `datasets` are those that the record itself names. To be called within `writing`.
    """
    key = kept.key
    document: dict[str, object] = {"key": to_jwk(key), "state": kept.state}
    if datasets is not None:
        document["datasets"] = sorted(datasets)
    if kept.project_id is not None:
        document["project_id"] = kept.project_id
    for member, moment in (("not_before", key.not_before), ("retire_at", key.retire_at), ("added_at", key.added_at)):
        if moment is not None and abs(moment) != float("inf"):
            document[member] = moment_text(moment)
    content = f"{json.dumps(document, indent=2)}\n".encode()
    path = folder / f".{kept.name}.{secrets.token_hex(8)}.writing"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    path.replace(folder / f"{kept.name}.json")
    _settle(folder)
    (folder / f"{kept.name}.pem").unlink(missing_ok=True)  # the record says the same and more


def remove(folder: Path, name: str) -> None:
    """Remove the files of a key. To be called within `writing`. Raises OSError."""
    # the plain key first: alone it would be open wider than with its record
    for suffix in _SUFFIXES:
        (folder / f"{name}{suffix}").unlink(missing_ok=True)
    _settle(folder)


def _settle(folder: Path) -> None:
    """Make what was renamed in the folder last through a power cut."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
