"""datasets.yaml -> Configuration: everything that can be wrong is found here, at the start, and said with file, line and column.

Three passes, each of which lists all that it finds before the next begins: the text and its shape; the databases, the keys and the names;
the datasets against the database and each other.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rowseal.catalog import Catalog, FunctionRules, Limits
from rowseal.catalog import text as yaml_text
from rowseal.catalog.connections import Address, addresses, members
from rowseal.catalog.document import Document, FunctionsEntry, TokensEntry
from rowseal.catalog.names import ascii_lower
from rowseal.catalog.reading import read
from rowseal.catalog.reflection import Reflection, Unreachable, reflect
from rowseal.catalog.resolve import Backing, check_ids, check_names, resolve
from rowseal.catalog.text import Findings, nearest
from rowseal.configuration.backings import Backings
from rowseal.configuration.key_entries import file_text, key_entry, reason
from rowseal.configuration.mappings import check_attributes, claim_mapping
from rowseal.configuration.state import state_address
from rowseal.errors import Misconfigured, Problem
from rowseal.grants import IGNORED, TYPES
from rowseal.keys import PublicKey, Source, TokenRules
from rowseal.mapping import ClaimMapping
from rowseal.revocation import StateAddress

__all__ = ["Configuration", "Keyed", "files", "load", "load_keys", "load_state"]


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that datasets.yaml says, resolved. `catalogs` are by connection, in the order of the file; `path` is the file."""

    catalogs: Mapping[str, Catalog]
    limits: Limits
    token_rules: tuple[TokenRules, ...]
    path: Path
    state: StateAddress | None = None


def load(path: str | Path, *, environ: Mapping[str, str] = os.environ) -> Configuration:
    """Read datasets.yaml and resolve it against the databases and the keys that it names.

    `environ` fills `${NAME}`. Raises Misconfigured with every problem found; no message holds a password, a variable's value or the database's words.
    """
    path = Path(path)
    findings = Findings(str(path))
    document = _document(path, findings, environ)
    folder = path.resolve().parent
    found = addresses(document, folder, findings)
    entries = members(document, findings)
    check_ids(document.datasets, findings)
    for name, mine in entries.items():
        check_names(mine, found[name].dialect if name in found else "", findings)
    token_rules = _token_rules(document, folder, environ, findings)
    functions = _functions(document.functions, findings)
    state = state_address(document, folder, findings)
    backings = {name: Backings(entries[name], address.dialect, functions, findings) for name, address in found.items()}
    findings.stop()
    reflections = {name: _reflected(address, backings[name], findings) for name, address in found.items()}
    findings.stop()
    limits = Limits(**{name: value for name, value in document.limits.model_dump().items() if value is not None})
    catalogs: dict[str, Catalog] = {}
    for name, address in found.items():
        elsewhere = {entry.id: other for other, theirs in entries.items() if other != name for entry in theirs.values()}
        datasets = resolve(entries[name], _backed(address, backings[name], reflections[name], findings), address.dialect, findings, elsewhere=elsewhere)
        database = address.url.render_as_string(hide_password=False)
        written = (address.allow_privileged_role, name, address.experimental)
        catalogs[name] = Catalog(address.dialect, database, MappingProxyType(datasets), limits, functions, *written)
    check_attributes(document, catalogs, findings)
    findings.stop()
    return Configuration(MappingProxyType(catalogs), limits, token_rules, path, state)


@dataclass(frozen=True, slots=True)
class Keyed:
    """What datasets.yaml says of keys: the rules, and the ids of the datasets that a key's scope may name."""

    rules: tuple[TokenRules, ...]
    datasets: frozenset[str]

    @property
    def directories(self) -> tuple[Source, ...]:
        """The folders of keys."""
        return tuple(source for rules in self.rules for source in rules.sources if source.kind == "directory")


def load_keys(path: str | Path, *, environ: Mapping[str, str] = os.environ) -> Keyed:
    """What datasets.yaml says of keys. No database is asked, and no file of a directory is judged: to retire a key must always work.

    Raises Misconfigured.
    """
    path = Path(path)
    findings = Findings(str(path))
    document = _document(path, findings, environ)
    rules = _token_rules(document, path.resolve().parent, environ, findings, look=False)
    findings.stop()
    return Keyed(rules, frozenset(entry.id for entry in document.datasets))


def load_state(path: str | Path, *, made: bool = True, environ: Mapping[str, str] = os.environ) -> tuple[Document, StateAddress]:
    """What datasets.yaml says, unresolved, and where its `state:` is. No database of datasets is asked, and no key is read: to revoke must always work.

    `made`: the store must be there already. Raises Misconfigured.
    """
    path = Path(path)
    findings = Findings(str(path))
    document = _document(path, findings, environ)
    if document.state is None:
        findings.add((), "has no `state:`, where revocations are kept: write such as `state: {file: revoked.jsonl}`, and `rowseal revoke init` makes it")
    address = state_address(document, path.resolve().parent, findings, made=made)
    findings.stop()
    if address is None:  # uncovered: whatever makes it None was noted
        raise Misconfigured(list(findings.problems))
    return document, address


def _document(path: Path, findings: Findings, environ: Mapping[str, str]) -> Document:
    try:
        text = file_text(path)
    except (OSError, ValueError) as error:
        raise Misconfigured([Problem(str(path), 1, 1, "", f"cannot be read: {reason(error)}{_elsewhere(error)}")]) from None
    return read(text, findings, environ)


def _backed(address: Address, backings: Backings, reflection: Reflection, findings: Findings) -> Mapping[str, Backing]:
    try:
        return backings.found(reflection, address.url)
    except Unreachable as problem:
        findings.add(address.at, str(problem))
        return {}


def _reflected(address: Address, backings: Backings, findings: Findings) -> Reflection:
    try:
        reflection = reflect(address.url, address.dialect, backings.wanted)
    except Unreachable as problem:
        findings.add(address.at, str(problem))
        return Reflection({})
    if address.dialect == "sqlite" and "json_each" in {ascii_lower(name) for name in reflection.nearby}:
        findings.add(address.at, "has a table or view called `json_each`, which hides SQLite's function that lists are read with; rename it")
    return reflection


def files(path: Path, *, environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """The files that `load` would read, as far as the file can be read at all; itself first."""
    try:
        named = _key_files(file_text(path), frozenset(environ.items()))
    except (OSError, ValueError, Misconfigured):
        return (path,)
    folder = path.resolve().parent
    return (path, *(folder / each for each in named))


@lru_cache(maxsize=1)  # whoever watches the files asks every second, and reading YAML takes longer than reading files
def _key_files(text: str, environ: frozenset[tuple[str, str]]) -> tuple[str, ...]:
    content = yaml_text.parse(text, Findings(""), dict(environ))
    tokens = content.get("tokens") if isinstance(content, dict) else None
    keys = [key for entry in _dicts(tokens) for key in _dicts(entry.get("keys"))]
    return tuple(key[name] for key in keys for name in ("public_key_file", "jwks_file", "secret_file") if isinstance(key.get(name), str))


def _dicts(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _elsewhere(error: Exception) -> str:
    return "; go to its folder or name its path, or make one with `rowseal init`" if isinstance(error, FileNotFoundError) else ""


def _token_rules(document: Document, folder: Path, environ: Mapping[str, str], findings: Findings, *, look: bool = True) -> tuple[TokenRules, ...]:
    rules: list[TokenRules] = []
    ids: set[str] = set()
    thumbprints: set[str] = set()
    known = [entry.id for entry in document.datasets]
    for number, entry in enumerate(document.tokens):
        mapping = claim_mapping(document, number, findings)
        # A project or an issuer that stands with a key holds for that key alone: such keys get rules of their own.
        demanded: dict[tuple[str | None, str | None], list[PublicKey | Source]] = defaultdict(list)
        for position, key in enumerate(entry.keys):
            at: yaml_text.Path = ("tokens", number, "keys", position)
            if key.id in ids:
                findings.add((*at, "id"), "is the id of an earlier key too; choose another")
            ids.add(key.id)
            for place, dataset in enumerate(key.datasets or ()):
                if dataset not in known:
                    findings.add((*at, "datasets", place), f"names no dataset of this file{nearest(dataset, known)}")
            if key.project_id is not None and entry.project_id not in {None, key.project_id}:
                findings.add((*at, "project_id"), "contradicts the `project_id:` of its profile; remove one of the two")
            if key.issuer is not None and entry.issuer not in {None, key.issuer}:
                findings.add((*at, "issuer"), "contradicts the `issuer:` of its profile; remove one of the two")
            if key.not_before is not None and key.retire_at is not None and key.not_before >= key.retire_at:
                findings.add((*at, "retire_at"), "is not later than `not_before:`, so no token of this key would ever be taken")
            found = key_entry(key, entry.profile, folder, at, findings, environ=environ, look=look)
            read_keys = [each for each in found if isinstance(each, PublicKey)]
            if any(each.thumbprint in thumbprints for each in read_keys):
                findings.add(at, "holds a key that stands above already, and its rules would be anyone's guess; keep one")
            thumbprints.update(each.thumbprint for each in read_keys)
            demanded[key.issuer or entry.issuer, key.project_id or entry.project_id] += found
        rules += [_rules(entry, found, issuer, project, mapping) for (issuer, project), found in demanded.items()]
    return tuple(rules)


def _rules(entry: TokensEntry, found: Sequence[PublicKey | Source], issuer: str | None, project_id: str | None, mapping: ClaimMapping | None) -> TokenRules:
    rules = TokenRules(
        entry.profile,
        tuple(each for each in found if isinstance(each, PublicKey)),
        entry.max_lifetime,
        entry.leeway,
        entry.flat_filters,
        issuer,
        entry.audience,
        project_id,
        origin_required=entry.origin == "required",
        dpop_required=entry.dpop == "required",
        required_claims=tuple(entry.required_claims),
        subject=entry.subject,
        one_time=entry.one_time,
        inactivity=entry.inactivity,
        sources=tuple(each for each in found if isinstance(each, Source)),
    )
    return replace(rules, mapping=mapping, types=TYPES.get(entry.profile, rules.types), ignored=IGNORED.get(entry.profile, rules.ignored))


def _functions(entry: FunctionsEntry, findings: Findings) -> FunctionRules:
    for kind in ("allow", "deny"):
        for number, name in enumerate(getattr(entry, kind)):
            if name != name.lower():
                findings.add(("functions", kind, number), "must be in lower case")
            elif kind == "deny" and name in entry.allow:
                findings.add(("functions", kind, number), "stands under `allow:` too; keep one")
    return FunctionRules(frozenset(entry.allow), frozenset(entry.deny))
