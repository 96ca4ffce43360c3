"""An entry of `keys:` -> the public keys that it holds, or the place where its keys come and go."""

from __future__ import annotations

import errno
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from rowseal.catalog import text as yaml_text
from rowseal.catalog.document import KeyEntry
from rowseal.catalog.text import Findings
from rowseal.claims import KeyFacts
from rowseal.keys import KeyRefused, PublicKey, Refresh, Source, read_key_list, read_public_keys, read_secret, refuse_published
from rowseal.keys.records import Unlisted, scan
from rowseal.keys.remote import check_url

__all__ = ["file_text", "key_entry", "reason"]

_FILE_BYTES: Final = 4_000_000
_SOURCES: Final = ("public_key", "public_keys", "public_key_file", "jwks_file", "jwks_url", "directory")
_SECRETS: Final = ("secret_env", "secret_file")
_LONGEST_FETCH: Final = 60.0


def key_entry(
    entry: KeyEntry, profile: str, folder: Path, at: yaml_text.Path, findings: Findings, *, environ: Mapping[str, str], look: bool = True
) -> tuple[PublicKey | Source, ...]:
    """What the entry holds; what is wrong with it is noted. Relative paths begin at `folder`. `look`: whether the files of a directory are judged."""
    sources = [name for name in (*_SOURCES, *_SECRETS) if getattr(entry, name) is not None]
    if len(sources) != 1:
        either = f"{', '.join(f'`{name}:`' for name in _SOURCES[:-1])} and `{_SOURCES[-1]}:`"
        findings.add(at, f"must have exactly one of {either}, or of `secret_env:` and `secret_file:`")
        return ()
    if (sources[0] in _SECRETS) != entry.allow_symmetric:
        if entry.allow_symmetric:
            findings.add((*at, "allow_symmetric"), "is for a shared secret, and this is a public key; remove it")
        else:
            says = "is a shared secret, with which whoever can verify can also sign"
            findings.add((*at, sources[0]), f"{says}; write `allow_symmetric: true` too, or ask the issuer for a key pair")
        return ()
    kind, inside = sources[0], (*at, sources[0])
    datasets = None if entry.datasets is None else frozenset(entry.datasets)
    facts = KeyFacts(entry.id, profile, entry.development, datasets, entry.explain, entry.max_rows_per_hour, entry.max_values_per_hour)
    not_before = -math.inf if entry.not_before is None else entry.not_before
    retire_at = math.inf if entry.retire_at is None else entry.retire_at
    if entry.refresh is not None and kind != "jwks_url":
        findings.add((*at, "refresh"), "is for `jwks_url:` alone")
    if kind == "directory":
        source = Source(kind, str(folder / (entry.directory or "")), facts, entry.algorithm, not_before, retire_at)
        return _directory(source, inside, findings) if look else (source,)
    if kind == "jwks_url":
        return _key_set(entry, Source(kind, entry.jwks_url or "", facts, entry.algorithm, not_before, retire_at), at, findings)
    text: str = getattr(entry, kind)
    if kind.endswith("_file"):
        try:
            text = file_text(folder / text)
        except (OSError, ValueError) as error:
            findings.add(inside, f"names a file that cannot be read ({reason(error)}); relative paths begin at the folder of this file")
            return ()
    elif kind == "secret_env":
        text = environ.get(text, "")
        if not text:
            findings.add(inside, "names an environment variable that is not set or empty; set it, and write its name alone, without `${}`")
            return ()
    try:
        if entry.allow_symmetric:
            found: tuple[PublicKey, ...] = (read_secret(text.removesuffix("\n"), facts=facts, algorithm=entry.algorithm),)
        else:
            reader = read_key_list if kind == "public_keys" else read_public_keys
            found = reader(text, facts=facts, algorithm=entry.algorithm)
        for key in () if entry.development else found:
            refuse_published(key)
    except KeyRefused as problem:
        findings.add(inside, str(problem))
        return ()
    return tuple(replace(key, source=kind, not_before=not_before, retire_at=retire_at) for key in found)


def _directory(source: Source, at: yaml_text.Path, findings: Findings) -> tuple[Source, ...]:
    try:
        _, problems = scan(source)
    except Unlisted as error:
        findings.add(at, f"names a directory that cannot be read ({error}); relative paths begin at the folder of this file")
        return ()
    for file, problem in problems:
        findings.add(at, f"`{file}` in it gives no key: {problem}")
    return (source,)


def _key_set(entry: KeyEntry, source: Source, at: yaml_text.Path, findings: Findings) -> tuple[Source, ...]:
    try:
        check_url(source.place, development=entry.development)
    except KeyRefused as problem:
        findings.add((*at, "jwks_url"), str(problem))
        return ()
    if entry.refresh is None:
        return (source,)
    refresh = Refresh(**entry.refresh.model_dump())
    if refresh.at_least > refresh.at_most:
        findings.add((*at, "refresh", "at_least"), "is longer than `at_most:`")
    if refresh.timeout > _LONGEST_FETCH:
        findings.add((*at, "refresh", "timeout"), "must be a minute at most")
    if refresh.max_stale < refresh.at_most:
        findings.add((*at, "refresh", "max_stale"), "is shorter than `at_most:`, so keys would end before they are fetched again")
    return (replace(source, refresh=refresh),)


def file_text(path: Path) -> str:
    """The text of a file. Raises OSError, or ValueError where it is too large or not UTF-8."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "not an ordinary file")  # opening a pipe would wait for somebody to write
    with path.open("rb") as file:
        content = file.read(_FILE_BYTES + 1)
    if len(content) > _FILE_BYTES:
        raise ValueError("too large")
    return content.decode("utf-8-sig")


def reason(error: Exception) -> str:
    """Why a file has no text, in a few words."""
    if isinstance(error, OSError):
        return (error.strerror or "the system refuses").lower()
    return "not UTF-8" if isinstance(error, UnicodeError) else "too large"
