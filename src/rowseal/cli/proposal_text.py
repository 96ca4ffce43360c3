"""A proposal as the text of a datasets.yaml that `validate` takes as it stands, and that a person can read from top to bottom."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from rowseal.catalog import FieldType
from rowseal.cli.propose import DatasetProposal, FieldProposal, Proposal
from rowseal.cli.terminal import readable

__all__ = ["text"]

# What every YAML reads as text, in and out of `{...}`: rowseal's own reads `yes` so too, others do not.
_PLAIN = re.compile(r"(?!(?:null|true|false|yes|no|on|off|y|n)$)[A-Za-z_][A-Za-z0-9_./-]*", re.IGNORECASE)


def text(proposal: Proposal, *, database: str, key: str, key_file: str, allow_privileged: bool, experimental: bool) -> str:
    """The file. `database` is the URL as it shall stand there, `key_file` the public key's path from the file's folder."""
    return "\n".join(_lines(proposal, database, key, key_file, allow_privileged=allow_privileged, experimental=experimental)) + "\n"


def _lines(proposal: Proposal, database: str, key: str, key_file: str, *, allow_privileged: bool, experimental: bool) -> Iterator[str]:
    yield "# yaml-language-server: $schema=datasets.schema.json"
    yield "# What rowseal lets people read, and under which rules: a proposal of `rowseal init`, from what the database says about itself."
    yield "# Nothing is open by itself: a token must be signed by the key below, name the dataset, and filter it. Read each dataset once;"
    yield "# where something was guessed, the reason stands beside it. `rowseal validate` says whether the file holds, `rowseal lint` what is risky."
    yield "version: 1"
    yield ""
    if database.startswith("${DATABASE_URL}"):
        yield "# The URL holds a password, so it comes from the environment."
    yield f"database: {database}"
    if allow_privileged:
        yield ""
        yield "# `--allow-privileged-role` was asked for: the role may do more than read. Remove that, and connect as one that has only SELECT."
    if experimental:
        yield ""
        yield "# Support for this kind of database is experimental: no server starts without a word that this is known."
    if accepted := [name for name, holds in (("allow_privileged_role", allow_privileged), ("experimental", experimental)) if holds]:
        yield f"engine: {{{', '.join(f'{name}: true' for name in accepted)}}}"
    yield ""
    yield "tokens:"
    yield "  - profile: vizzly"
    yield "    keys:"
    yield "      # The public half. The private one signs tokens on the server of your application, and lies nowhere else."
    yield f"      - {{id: {_scalar(key)}, public_key_file: {_scalar(key_file)}}}"
    yield ""
    if proposal.dialect == "sqlite" and any(each.type in {FieldType.DATE, FieldType.DATE_TIME} for dataset in proposal.datasets for each in dataset.fields):
        yield '# SQLite stores dates as text. Where they are not like 2026-01-31 and 2026-01-31 12:00:00, say how: `format: "%Y-%m-%d %H:%M:%S.%f"`.'
    yield "datasets:"
    for number, dataset in enumerate(proposal.datasets):
        yield from ([""] if number else [])
        yield from _dataset(dataset)
    if proposal.left_out:
        yield ""
        yield "# Left out:"
        yield from (f"# - {_shown(name)}: {_shown(reason)}" for name, reason in proposal.left_out)


def _dataset(dataset: DatasetProposal) -> Iterator[str]:
    kind = dataset.surveyed.relation.kind
    if kind != "table":
        yield f"  # A {kind}. It shows what it selects, whoever asks: the rules of the tables below it do not hold here."
    if dataset.guard is None:
        yield "  # Closed to every token that does not filter it, because no column looks like the tenant's."
        if not dataset.through:
            yield "  # Are its rows the same for everybody? Then write `public: true`. Otherwise make a view that has the tenant's column."
    yield f"  - id: {_scalar(dataset.id)}"
    yield f"    table: {_scalar(dataset.table)}"
    yield "    fields:"
    for each in dataset.fields:
        yield f"      {_field(each)}"
    if dataset.guard is not None:
        yield "    guards:"
        yield f"      # A token must say which tenant. The column was found {_shown(dataset.why)}."
        yield f'      - {{field: {_scalar(dataset.guard)}, op: ["=", is_one_of], max_values: 20}}'
    if dataset.deleted is not None or dataset.through:
        yield "    # What could always hold. Remove the `#` where it does:"
        yield "    # secure_filters:"
    if dataset.deleted is not None:
        op = 'op: "=", value: false' if dataset.deleted.type is FieldType.BOOLEAN else "op: is_null"
        yield f"    #   - {{field: {_scalar(dataset.deleted.id)}, {op}}}   # rows that stay here after they were deleted"
    for way in dataset.through:
        pairs = ", ".join(f"{_scalar(own)}: {_scalar(theirs)}" for own, theirs in way.on)
        yield f"    #   - {{through: {_scalar(way.parent)}, on: {{{pairs}}}}}   # {_shown(way.remark)}: a row is open when that one is"


def _field(each: FieldProposal) -> str:
    if each.type is None:
        return f"# - {_shown(each.column)}: {_shown(each.remark)}"
    parts = [f"id: {_scalar(each.id)}"]
    if each.column != each.id:
        parts.append(f"column: {_scalar(each.column)}")
    parts.append(f"type: {each.type}")
    if each.hidden:
        parts.append("hidden: true")
    return f"- {{{', '.join(parts)}}}" + (f"   # {_shown(each.remark)}" if each.remark else "")


def _scalar(value: str) -> str:
    """The text as YAML reads it again, with nothing in it taken for a variable."""
    return value if _PLAIN.fullmatch(value) else json.dumps(value.replace("${", "$${"), ensure_ascii=False)


def _shown(value: str) -> str:
    """The text in a comment, where it must not end the line."""
    return readable(value)
