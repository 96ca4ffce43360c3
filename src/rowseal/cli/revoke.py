"""`revoke`: end tokens before their time, and say what is ended. Needs the configuration's text and the store alone: no database of datasets."""

from __future__ import annotations

import getpass
import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from rowseal import strict
from rowseal.catalog.document import Document
from rowseal.catalog.text import among, nearest
from rowseal.cli.report import iso, span
from rowseal.cli.terminal import OK, Failed, Options, Terminal, moment
from rowseal.configuration import load_state
from rowseal.errors import TokenRefused
from rowseal.revocation import Kind, Revocation, RevocationMalformed, StateAddress, StateDatabase, StoreDamaged, StoreUnavailable, open_store, pruned
from rowseal.tokens import PAYLOAD_DEPTH, expiry

__all__ = ["end_all", "end_dataset", "end_jti", "end_key", "end_subject", "end_token", "list_revoked", "make_store", "prune"]

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def end_token(options: Options, terminal: Terminal) -> int:
    """`revoke token`: by the digest of its `header.payload`, which is all that is kept of it."""
    token = options.token if _DIGEST.fullmatch(options.token) else terminal.token(options.token)
    if _DIGEST.fullmatch(token):
        return _end(options, terminal, Kind.TOKEN, token)
    signed = token.rpartition(".")[0]
    try:
        header, payload = (strict.json_object(strict.from_base64url(part), depth=PAYLOAD_DEPTH) for part in signed.split("."))
    except ValueError:  # Malformed is one
        raise Failed("this is no token: give all of it, `header.payload.signature`, or the 64 hex digits of the SHA-256 of `header.payload`") from None
    try:
        until = expiry(payload)
    except TokenRefused:
        until = None
    if "alg" not in header:
        raise Failed("this is no token: its header names no `alg`")
    return _end(options, terminal, Kind.TOKEN, hashlib.sha256(signed.encode("ascii")).hexdigest(), until=until)


def end_jti(options: Options, terminal: Terminal) -> int:
    """`revoke jti`."""
    return _end(options, terminal, Kind.JTI, _name(options.jti, "the jti", terminal))


def end_subject(options: Options, terminal: Terminal) -> int:
    """`revoke subject`."""
    return _end(options, terminal, Kind.SUBJECT, _name(options.subject, "the subject", terminal))


def end_key(options: Options, terminal: Terminal) -> int:
    """`revoke key`: the tokens that a key has signed. It may sign others, unless it is for good. The id of a directory means all its keys."""

    def known(document: Document) -> list[str]:
        entries = [key for entry in document.tokens for key in entry.keys]
        inside = [options.key for key in entries if key.directory is not None and options.key.rpartition("/")[0] == key.id]
        return [*(key.id for key in entries), *inside]

    return _end(options, terminal, Kind.KEY, options.key, known=known)


def end_dataset(options: Options, terminal: Terminal) -> int:
    """`revoke dataset`: that dataset alone."""
    return _end(options, terminal, Kind.DATASET, options.dataset, known=lambda document: [entry.id for entry in document.datasets])


def end_all(options: Options, terminal: Terminal) -> int:
    """`revoke all`."""
    return _end(options, terminal, Kind.ALL, "")


def make_store(options: Options, terminal: Terminal) -> int:
    """`revoke init`: make the file or the tables that `state:` names; with `--print` only print the SQL for it."""
    _, address = load_state(options.config, made=False)
    with _failing(), _opened(address) as store:
        if isinstance(store, StateDatabase) and options.print:
            terminal.say("\n".join(f"{statement};" for statement in store.statements()))
            return OK
        if options.print:
            raise Failed("`--print` is for a database: a file is made by `rowseal revoke init` without it")
        store.create()
    terminal.note(
        f"made: `{address.file}`; gateways must be able to read it, and nobody else to write it"
        if address.file
        else f"made: the table `{address.table}` and its two others"
    )
    return OK


def list_revoked(options: Options, terminal: Terminal) -> int:
    """`revoke list`."""
    _, address = load_state(options.config)
    with _failing(), _opened(address) as store:
        found = store.revocations()
    if options.json:
        terminal.facts({"revoked": [_facts(each) for each in found]})
        return OK
    for each in found:
        about = "" if not each.reason else f"  {each.reason}"
        terminal.say(f"{iso(each.at)}  {each.by or 'somebody'}  {each.kind} {each.name or '-'}  {_meant(each)}{about}")
    terminal.note(f"{len(found)} revocation{'' if len(found) == 1 else 's'}")
    return OK


def prune(options: Options, terminal: Terminal) -> int:
    """`revoke prune`: take out what ends nothing any more."""
    document, address = load_state(options.config)
    longest = max(entry.max_lifetime for entry in document.tokens)
    keep = longest if options.keep is None else options.keep * 3600.0
    if keep < longest:
        raise Failed(f"`--keep` must be at least {span(longest)}, the longest `max_lifetime` of the file: tokens issued before that are refused altogether")
    now = terminal.clock()
    with _failing(), _opened(address) as store:
        gone = store.rewrite(partial(pruned, keep=keep, now=now, by=_me()))
        if isinstance(store, StateDatabase):
            store.sweep(now=now)
    if options.json:
        terminal.facts({"gone": gone})
    else:
        terminal.note(f"{max(gone, 0)} fewer; tokens issued more than {span(keep)} ago are refused" if gone else "there is nothing to take out")
    return OK


def _end(
    options: Options, terminal: Terminal, kind: Kind, name: str, *, until: float | None = None, known: Callable[[Document], list[str]] | None = None
) -> int:
    document, address = load_state(options.config)
    if known is not None and name not in known(document):
        raise Failed(f"`{name}` is no {kind} of {options.config}{nearest(name, known(document)) or among(known(document))}")
    now = terminal.clock()
    before: float | None = None
    if kind not in {Kind.TOKEN, Kind.JTI} and not options.for_good:
        before = now if options.before is None else moment(options.before, "--before")
    try:
        revocation = Revocation(kind, name, before, now, _me(), options.reason or "", until)
    except RevocationMalformed as problem:
        raise Failed(str(problem)) from None
    with _failing(), _opened(address) as store:
        store.append(revocation)
    if options.json:
        terminal.facts({"revoked": _facts(revocation)})
        return OK
    unnamed = kind is Kind.SUBJECT and not any(entry.subject for entry in document.tokens) and {entry.profile for entry in document.tokens} == {"vizzly"}
    meant = f"{_meant(revocation)}, dashboard tokens ALONE" if unnamed else _meant(revocation)
    terminal.note(f"revoked: {meant}. Every gateway of this store knows within {span(max(address.poll, 1))}")
    if unnamed:
        terminal.note(
            "WARNING: data access tokens go on, because nothing says whom they are for: write under `tokens:` the claim that does, such as "
            "`subject: parameters.user`, and reload"
        )
    if before is not None and kind is not Kind.DATASET and not all("iat" in entry.required_claims for entry in document.tokens):
        terminal.note("note: a token without `iat` counts as issued its `max_lifetime` before its end, so fresh ones are refused for a while too")
    return OK


def _name(argument: str, what: str, terminal: Terminal) -> str:
    """The name to the letter: a blank may be part of it, the end of a file's line is not. Blanks alone are no name."""
    name = terminal.text(argument, what)
    if name is not argument:
        name = name.rstrip("\r\n")
    return name if name.strip() else ""


def _meant(revocation: Revocation) -> str:
    when = "" if revocation.before is None else f" issued before {iso(revocation.before)}"
    match revocation.kind:
        case Kind.TOKEN | Kind.JTI:
            return "one token" if revocation.until is None else f"one token, which ends by itself at {iso(revocation.until)}"
        case Kind.DATASET:
            return f"the dataset, for tokens{when}" if when else "the dataset, for every token"
        case _:
            return f"the {revocation.kind}'s tokens{when}" if revocation.kind is not Kind.ALL else f"every token{when}"


def _facts(revocation: Revocation) -> dict[str, Any]:
    return {name: getattr(revocation, name) for name in Revocation.__slots__} | {"kind": revocation.kind.value}


def _me() -> str:
    """Who runs this, as the system says."""
    try:
        return getpass.getuser()[:256]
    except (OSError, KeyError, ImportError):  # somebody without a name
        return ""


@contextmanager
def _opened(address: StateAddress) -> Iterator[Any]:
    store = open_store(address)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except (StoreUnavailable, StoreDamaged) as problem:
        raise Failed(f"`state:` {problem}") from None
