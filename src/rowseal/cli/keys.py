"""`keys add`, `list`, `activate`, `retire` and `upload`: the life of a public key, from the command line."""

from __future__ import annotations

import http.client
import json
import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from rowseal import strict
from rowseal.claims import Json, KeyFacts
from rowseal.cli.terminal import FAILED, OK, Failed, Options, Terminal
from rowseal.configuration import Keyed, load_keys
from rowseal.keys import KeyRefused, PublicKey, read_public_keys, refuse_published
from rowseal.keys.records import ACTIVE, PENDING, Kept, Unlisted, key_name, moment_text, scan
from rowseal.keys.remote import is_loopback
from rowseal.keys.store import Store

__all__ = ["activate_key", "add_key", "admin_secret", "list_keys", "retire_key", "upload_key"]

_SECRET: Final = "ROWSEAL_ADMIN_SECRET"  # noqa: S105 -- the name of a variable
_TIMEOUT: Final = 30.0
_ANSWER_BYTES: Final = 1_000_000


def add_key(options: Options, terminal: Terminal) -> int:
    """`keys add`: put a public key into the configured directory, or print what to write where there is none."""
    content = _content(options, terminal)
    name = key_name(options.name or Path(options.file).name.rpartition(".")[0])
    keyed = load_keys(options.config)
    if options.directory is None and not keyed.directories:
        (key,) = _checked(content, name)
        scope = {member: value for member, value in content.items() if member != "key"}
        written = "".join(f", {member}: {json.dumps(value)}" for member, value in scope.items())
        pinned = "" if key.algorithm in {"ES256", "ES384", "ES512", "EdDSA", "RS256"} else f", algorithm: {key.algorithm}"
        terminal.note(f"`{options.config}` has no `directory:` to put the key into; under `tokens:` and `keys:` write")
        terminal.say(f"  - {{id: {name}, public_key_file: {options.file}{pinned}{written}}}")
        return OK
    store = _store(keyed, options.directory)
    kept, new = store.put(name, content, state=PENDING if options.pending else ACTIVE, now=terminal.clock())
    terminal.note(f"{'added' if new else 'it was there already'}: {store.folder / kept.name}.json; a running server takes it within a second or two")
    return _say(kept, terminal, as_json=options.json)


def activate_key(options: Options, terminal: Terminal) -> int:
    """`keys activate`: let the tokens of a key in that was added pending."""
    return _say(_store(load_keys(options.config), options.directory).activate(options.name), terminal, as_json=options.json)


def retire_key(options: Options, terminal: Terminal) -> int:
    """`keys retire`: refuse a key's tokens from a moment on."""
    try:
        at = terminal.clock() if options.at is None else strict.moment(options.at)
    except strict.Malformed as error:
        raise Failed(f"`--at` {error}") from None
    kept = _store(load_keys(options.config), options.directory).retire(options.name, at=at)
    terminal.note(
        "a running server refuses its tokens within a second or two" if at <= terminal.clock() else f"its tokens are refused from {moment_text(at)} on"
    )
    return _say(kept, terminal, as_json=options.json)


def list_keys(options: Options, terminal: Terminal) -> int:
    """`keys list`: every key of a configuration, and how it stands now. Nothing is fetched."""
    now, keyed = terminal.clock(), load_keys(options.config)
    rows = [_row(key, ACTIVE, now) for rules in keyed.rules for key in rules.keys]
    problems: list[tuple[str, str]] = []
    for rules in keyed.rules:
        for source in rules.sources:
            if source.kind == "directory":
                try:
                    kept, wrong = scan(source)
                except Unlisted as error:
                    raise Failed(f"the directory of `{source.facts.id}` cannot be read: {error}") from None
                rows += [_row(each.key, each.state, now) for each in kept]
                problems += wrong
            else:
                rows.append({"id": source.facts.id, "state": "fetched", "url": source.place})
    for file, problem in problems:
        terminal.note(f"`{file}` gives no key: {problem}")
    if options.json:
        terminal.facts({"keys": rows})
    else:
        _table(rows, terminal)
    return FAILED if problems else OK


def upload_key(options: Options, terminal: Terminal) -> int:
    """`keys upload`: send a public key to a server's admin surface, where it waits to be activated."""
    content = _content(options, terminal)
    content.setdefault("datasets", "*")
    name = key_name(options.name or Path(options.file).name.rpartition(".")[0])
    _checked(content, name)
    secret = admin_secret(options.secret_file, terminal)
    answer = _sent(options.to, "PUT", f"/v1/keys/{quote(name, safe='')}", secret, json.dumps(content).encode())
    if options.activate:
        answer = _sent(options.to, "POST", f"/v1/keys/{quote(name, safe='')}/activate", secret, b"")
    if options.json:
        terminal.facts(answer)
    else:
        terminal.say(f"{answer.get('id')}  {answer.get('state')}  {answer.get('thumbprint')}")
        if answer.get("state") == PENDING:
            terminal.note("it is pending: once somebody has compared the thumbprint, POST /v1/keys/NAME/activate lets its tokens in")
    return OK


def admin_secret(file: str | None, terminal: Terminal) -> str:
    """The admin secret: of a file, or of the environment. Raises Failed."""
    secret = os.environ.get(_SECRET, "") if file is None else terminal.file(file).strip()
    if not secret:
        raise Failed(f"there is no admin secret: set {_SECRET}, or write `--secret-file FILE` (`openssl rand -hex 32` makes one)")
    return secret


def _content(options: Options, terminal: Terminal) -> dict[str, Json]:
    text = terminal.text("-", "the key") if options.file == "-" else terminal.file(options.file)
    if options.file == "-" and options.name is None:
        raise Failed("write `--name`: a key on standard input has no file to be called after")
    content: dict[str, Json] = {"key": text}
    if options.datasets is not None and options.datasets != "*":
        content["datasets"] = [*options.datasets.split(",")]
    for member in ("project_id", "not_before", "retire_at"):
        if (value := getattr(options, member)) is not None:
            content[member] = value
    return content


def _checked(content: dict[str, Json], name: str) -> tuple[PublicKey, ...]:
    keys = read_public_keys(str(content["key"]), facts=KeyFacts(name, ""))
    if len(keys) != 1:
        raise KeyRefused("the file holds several keys: give each a file of its own")
    return (refuse_published(keys[0]),)


def _store(keyed: Keyed, entry: str | None) -> Store:
    found = [source for source in keyed.directories if entry in {None, source.facts.id}]
    if len(found) != 1:
        named = ", ".join(f"`{source.facts.id}`" for source in keyed.directories) or "none"
        raise Failed(f"which directory is not clear: write `--directory` with the id of an entry of `keys:` that has `directory:` (there is {named})")
    elsewhere = {key.thumbprint: key.facts.id for rules in keyed.rules for key in rules.keys}
    for source in keyed.directories:
        if source is not found[0]:
            elsewhere |= {kept.key.thumbprint: kept.key.facts.id for kept in scan(source)[0]}
    return Store(found[0], keyed.datasets, elsewhere)


def _row(key: PublicKey, state: str, now: float) -> dict[str, Any]:
    if now >= key.retire_at:
        state = "retired"
    elif state == ACTIVE and now < key.not_before:
        state = "not yet"
    row: dict[str, Any] = {"id": key.facts.id, "state": state, "algorithm": key.algorithm, "thumbprint": key.thumbprint, "source": key.source}
    row["datasets"] = "*" if key.facts.datasets is None else sorted(key.facts.datasets)
    for member in ("not_before", "retire_at", "added_at"):
        moment = getattr(key, member)
        if moment is not None and abs(moment) != float("inf"):
            row[member] = moment_text(moment)
    if key.facts.development:
        row["development"] = True
    return row


def _table(rows: list[dict[str, Any]], terminal: Terminal) -> None:
    heads = ("ID", "STATE", "ALGORITHM", "THUMBPRINT", "FROM", "UNTIL", "DATASETS")
    lines = [heads]
    for row in rows:
        scope = row.get("datasets", row.get("url", ""))
        shown = scope if isinstance(scope, str) else ",".join(scope)
        begins = row.get("not_before", row.get("added_at", ""))
        lines.append((row["id"], row["state"], row.get("algorithm", ""), row.get("thumbprint", ""), begins, row.get("retire_at", ""), shown))
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        terminal.say("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _say(kept: Kept, terminal: Terminal, *, as_json: bool) -> int:
    row = _row(kept.key, kept.state, terminal.clock())
    if as_json:
        terminal.facts(row)
    else:
        _table([row], terminal)
    return OK


def _sent(url: str, method: str, path: str, secret: str, body: bytes) -> dict[str, Any]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not host or parts.username is not None or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise Failed("`--to` must be the address of an admin listener, such as `http://127.0.0.1:8001`")
    if parts.scheme == "http" and not is_loopback(host):
        raise Failed("the admin secret does not go over the network unencrypted: write https, or go through a tunnel to this machine")
    connection = (http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection)(host, parts.port, timeout=_TIMEOUT)
    try:
        connection.request(method, path, body, {"authorization": f"Bearer {secret}", "content-type": "application/json"})
        response = connection.getresponse()
        answer = strict.json_object(response.read(_ANSWER_BYTES), depth=4)
        status = response.status
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"`{url}` does not answer ({type(error).__name__}): is `rowseal serve --admin-port` running there?") from None
    except (strict.Malformed, ValueError):
        raise Failed(f"what answers at `{url}` is no admin listener of rowseal") from None
    finally:
        connection.close()
    if status >= 400:
        raise Failed(f"refused: {answer.get('code')} ({status}): {answer.get('detail')}; {answer.get('hint')}")
    return dict(answer)
