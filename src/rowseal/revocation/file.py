"""Revocations in a file: a line each, only ever added at the end, and read by any number of gates.

A process may be killed at any byte of a line. Such an end is no line, because nobody was told that it was written: the next writer cuts it
off. Anything else that is no revocation means that somebody or something else has written here, and then nobody knows what is missing.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from rowseal.revocation.entry import Revocation, RevocationMalformed, from_line, to_line
from rowseal.revocation.revoked import Revoked
from rowseal.revocation.store import StoreDamaged, StoreUnavailable

try:
    import fcntl
except ImportError:  # uncovered: no file locks on this system, so nothing is written there
    fcntl = None  # type: ignore[assignment]

__all__ = ["RevocationFile"]

_HEADER: Final = b'{"rowseal":"revocations","version":1}\n'
_FILE_BYTES: Final = 256_000_000
_MODE: Final = 0o640


class _Seen(NamedTuple):
    """By which a changed file is known: every append makes it longer, every rewriting makes another file."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


class _Read(NamedTuple):
    """The lines that were read, by their length and digest, and what they revoke."""

    size: int
    digest: bytes
    revoked: Revoked


class RevocationFile:
    """The file at a path. Safe to share between threads and processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: _Seen | None = None
        self._read: _Read | None = None

    def create(self) -> None:
        """Make it, with nothing revoked. Raises StoreUnavailable, also where it exists."""
        with _failing("cannot be made"):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
            try:
                _write(descriptor, _HEADER)
            finally:
                os.close(descriptor)
            _settle(self._path.parent)

    def read(self) -> Revoked | None:
        with _failing("cannot be read"), self._path.open("rb") as file:
            seen = _seen(file.fileno())
            if seen == self._seen:
                return None
            content = file.read(_FILE_BYTES + 1)
        before = self._read
        # INVARIANT: only a beginning that is the same to the byte is not read again.
        same = before is not None and before.digest == hashlib.sha256(memoryview(content)[: before.size]).digest()
        known, start = (before.revoked, before.size) if before is not None and same else (None, 0)
        found, whole = _parsed(content, start)
        lines = content.rfind(b"\n", 0, whole) + 1
        revoked = Revoked.of(found, known)
        # An end that is whole but has no line's end is not kept: whoever appends may cut it off.
        kept = revoked if lines == whole else Revoked.of(_parsed(content[:lines], start)[0], known)
        self._read = _Read(lines, hashlib.sha256(memoryview(content)[:lines]).digest(), kept)
        # What was appended between the look at the file and its end is in `content` already; it will be read once more.
        self._seen = seen
        return revoked

    def revocations(self) -> list[Revocation]:
        with _failing("cannot be read"), self._path.open("rb") as file:
            content = file.read(_FILE_BYTES + 1)
        return _parsed(content)[0]

    def append(self, revocation: Revocation) -> None:
        with self._locked() as descriptor:
            content = _all_of(descriptor)
            # What stands before the last line is not judged here: where it is damaged every gate refuses everything anyway.
            _, whole = _parsed(content, content.rfind(b"\n") + 1)
            end = b"" if content.endswith(b"\n") or whole < len(content) else b"\n"
            if whole < len(content):
                os.ftruncate(descriptor, whole)
            _write(descriptor, end + to_line(revocation).encode("ascii") + b"\n")

    def rewrite(self, change: Callable[[list[Revocation]], list[Revocation]]) -> int:
        with self._locked() as descriptor:
            before, _ = _parsed(_all_of(descriptor))
            after = change(before)
            self._replace(descriptor, b"".join([_HEADER, *(to_line(each).encode("ascii") + b"\n" for each in after)]))
        return len(before) - len(after)

    def close(self) -> None:
        """Nothing is held open."""

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, open for reading and appending, with every other writer kept out."""
        if fcntl is None:  # uncovered: as above
            raise StoreUnavailable("cannot be written on a system without file locks; use `state: {database: ...}`")
        with _failing("cannot be written"):
            while True:
                descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                    held, named = os.fstat(descriptor), os.stat(self._path)  # noqa: PTH116 -- of the same kind as fstat
                    if (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino):  # else somebody has rewritten it while we waited
                        yield descriptor
                        return
                finally:
                    os.close(descriptor)

    def _replace(self, descriptor: int, content: bytes) -> None:
        """INVARIANT: whoever reads finds the old file or the new one, whenever this process or the machine ends."""
        was, path = os.fstat(descriptor), self._path.resolve()  # the file itself: others may reach it by another name
        made, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            try:
                os.fchmod(made, was.st_mode & 0o777)
                if (os.geteuid(), os.getegid()) != (was.st_uid, was.st_gid):
                    os.fchown(made, was.st_uid, was.st_gid)  # else who reads it now could not read it afterwards
                _write(made, content)
            finally:
                os.close(made)
            os.replace(name, path)  # noqa: PTH105 -- the name is a text
        except BaseException:
            with suppress(OSError):
                os.unlink(name)  # noqa: PTH108 -- as above
            raise
        _settle(path.parent)


@contextmanager
def _failing(what: str) -> Iterator[None]:
    """What the system refuses, as StoreUnavailable."""
    try:
        yield
    except OSError as error:
        cure = "; make it with `rowseal revoke init`" if isinstance(error, FileNotFoundError) else ""
        raise StoreUnavailable(f"{what} ({(error.strerror or 'the system refuses').lower()}){cure}") from None


def _parsed(content: bytes, start: int = 0) -> tuple[list[Revocation], int]:
    """The revocations of the lines from `start` on, and how many bytes of the content hold them with what is before. Raises StoreDamaged."""
    if len(content) > _FILE_BYTES:
        raise StoreDamaged(f"is larger than {_FILE_BYTES} bytes; take out what has ended with `rowseal revoke prune`")
    if not content.startswith(_HEADER):
        raise StoreDamaged("does not begin as `rowseal revoke init` made it; put it back from a backup, or revoke everything in a new one")
    start = max(start, len(_HEADER))
    *lines, tail = content[start:].split(b"\n")
    found = []
    for number, line in enumerate(lines, content.count(b"\n", 0, start) + 1):
        try:
            found.append(from_line(line))
        except RevocationMalformed as problem:
            raise StoreDamaged(f"line {number} is no revocation ({problem}): take it out, and look at what it was") from None
    if tail:
        with suppress(RevocationMalformed):
            # A whole revocation that somebody wrote by hand, without a line's end: it holds.
            return [*found, from_line(tail)], len(content)
    return found, len(content) - len(tail)


def _all_of(descriptor: int) -> bytes:
    pieces = []
    os.lseek(descriptor, 0, os.SEEK_SET)
    while piece := os.read(descriptor, 1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
    os.fsync(descriptor)


def _settle(folder: Path) -> None:
    """Make the names in a folder survive the machine's end."""
    if os.name == "nt":  # uncovered: a folder cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _seen(descriptor: int) -> _Seen:
    found = os.fstat(descriptor)
    return _Seen(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
