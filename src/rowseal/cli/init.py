"""`init`: from a database to a configuration, a key pair and the commands to type next."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, ColumnClause, text
from sqlalchemy.sql import column, select, table

from rowseal.catalog import FieldType, Limits
from rowseal.catalog.connections import database_url
from rowseal.catalog.reflection import Unreachable, connected
from rowseal.catalog.survey import Surveyed, survey
from rowseal.catalog.text import Findings, nearest
from rowseal.cli import proposal_text
from rowseal.cli.propose import DatasetProposal, FieldProposal, Proposal, propose
from rowseal.cli.schema import SCHEMA_FILE, schema_text
from rowseal.cli.sign import new_pair, pair_files, write_new
from rowseal.cli.terminal import OK, Failed, Options, Terminal
from rowseal.configuration import load
from rowseal.engine import Database
from rowseal.errors import Misconfigured

__all__ = ["init"]

_PREFIX: Final = "vizzly"  # as `keys create` and `access-tokens` have it
_FILE_BYTES: Final = 4_000_000  # what `load` reads
_READER: Final = {
    "postgres": "  CREATE ROLE rowseal_reader LOGIN PASSWORD '...';\n"
    "  GRANT USAGE ON SCHEMA public TO rowseal_reader;\n"
    "  GRANT SELECT ON ALL TABLES IN SCHEMA public TO rowseal_reader;\n",
    "mariadb": "  CREATE USER rowseal_reader IDENTIFIED BY '...';\n  GRANT SELECT ON THE_DATABASE.* TO rowseal_reader;\n",
}
_SECRET_OPTIONS: Final = ("pass", "secret", "token", "key")


def init(options: Options, terminal: Terminal) -> int:
    """`init`: propose a datasets.yaml for a database, and write it with a key pair; nothing that exists is touched."""
    out = Path(options.out)
    if os.path.lexists(out):
        raise Failed(f"`{out}` exists already and is not overwritten: choose another `--out`")
    private, public = pair_files(out.parent, _PREFIX)
    if private.exists() != public.exists():
        raise Failed(f"of `{private}` and `{public}` only one exists: put the other one beside it, or choose another folder with `--out`")
    url, dialect = _database(options.database)
    try:
        tables = _tables(url, dialect, options.table or [], terminal)
    except Unreachable as problem:
        raise Failed(f"the database {problem}") from None
    finally:
        terminal.progress()
    privileged = _is_privileged(url, dialect, tables, allow=options.allow_privileged_role)
    proposal = propose(tables, dialect)
    if not proposal.datasets:
        raise Failed("the database has no table or view that a dataset could be made of: make tables first" + _reasons(proposal))
    written = proposal_text.text(
        proposal,
        database=_written_url(options.database, url, dialect, out),
        key=_PREFIX,
        key_file=public.name,
        allow_privileged=privileged,
        experimental=_is_experimental(url, dialect),
    ).encode()
    if len(written) > _FILE_BYTES:
        raise Failed("the proposal would be larger than a configuration may be: name the tables that you want with `--table`, such as `--table 'sales.*'`")
    made = _write(out, written)
    problems = _problems(out, url)
    commands = list(_commands(proposal, url, dialect, out))
    if options.json:
        terminal.facts(_facts(proposal, made, commands))
    else:
        _say(proposal, made, commands, out, needs_variable="${DATABASE_URL}\n" in written.decode(), terminal=terminal)
    return terminal.problems(problems, as_json=False) if problems else OK


# --- the database ------------------------------------------------------------------------------------------------------------------------


def _database(written: str) -> tuple[URL, str]:
    """Raises Failed. INVARIANT: no message quotes the URL: it may hold a password."""
    findings = Findings("--database")
    found = database_url(written, Path.cwd(), findings)
    if found is None:
        # there is no file yet
        messages = (problem.message.replace("the folder of this file", "the current folder") for problem in findings.problems)
        raise Failed("; ".join(f"`--database` {message}" for message in messages))
    return found


def _tables(url: URL, dialect: str, patterns: Sequence[str], terminal: Terminal) -> list[Surveyed]:
    """The tables that are meant. `table`, `schema.table`, and `*` and `?` in both. Raises Failed or Unreachable."""
    met: set[str] = set()
    known: list[str] = []

    def wanted(schema: str, name: str) -> bool:
        known.append(name)
        matching = [pattern for pattern in patterns if fnmatchcase(name, pattern) or fnmatchcase(f"{schema}.{name}", pattern)]
        met.update(matching)
        return not patterns or bool(matching)

    terminal.progress("asking the database for its tables ...")
    found = survey(url, dialect, wanted, lambda done, of: terminal.progress(f"reading tables: {done} of {of}"))
    for pattern in patterns:
        if pattern not in met:
            raise Failed(f"`--table {pattern}` names no table or view of the database{nearest(pattern, known)}")
    return found


def _is_privileged(url: URL, dialect: str, tables: Sequence[Surveyed], *, allow: bool) -> bool:
    """Whether the role may do more than read. Raises Failed where that was not allowed."""
    database = Database(url, dialect=dialect, limits=Limits())
    try:
        database.check_role({(each.relation.schema, each.relation.name) for each in tables}, allow_privileged=False, file="--database")
    except Misconfigured as misconfigured:
        if allow:
            return True
        reasons = "".join(f"\n  {problem.message.partition(';')[0]}" for problem in misconfigured.problems[:5])
        raise Failed(
            f"this role may do more than read, and a server does not start with such a one:{reasons}\n"
            f"make one that has only SELECT, and name it in `--database`:\n{_READER[dialect]}"
            "or, for a database of your own machine, write `--allow-privileged-role`"
        ) from None
    finally:
        database.close()
    return False


def _is_experimental(url: URL, dialect: str) -> bool:
    """Whether a server starts with this kind of database only where that is written."""
    database = Database(url, dialect=dialect, limits=Limits())
    try:
        database.check_testimony(allow_experimental=False, file="--database")
    except Misconfigured:
        return True
    finally:
        database.close()
    return False


def _written_url(given: str, url: URL, dialect: str, out: Path) -> str:
    """The URL as it stands in the file. INVARIANT: never a password."""
    if url.password is not None or any(mark in name.lower() for name in url.query for mark in _SECRET_OPTIONS):
        return "${DATABASE_URL}"
    if dialect in ("sqlite", "duckdb"):
        path = Path(os.path.relpath(url.database or "", out.resolve().parent)).as_posix()
        given = f"{dialect}:///{path}"
    if given.isprintable() and not set(given) & set("}#'\"\\ "):
        return f"${{DATABASE_URL:-{given}}}"
    return json.dumps(given.replace("${", "$${"), ensure_ascii=False)


def _reasons(proposal: Proposal) -> str:
    return "".join(f"\n  {name}: {reason}" for name, reason in proposal.left_out[:10])


# --- the files ---------------------------------------------------------------------------------------------------------------------------


def _write(out: Path, content: bytes) -> dict[Path, str]:
    """Write what is not there yet, the configuration last. Gives each file with what it is for."""
    out.parent.mkdir(parents=True, exist_ok=True)
    made: dict[Path, str] = {}
    if not pair_files(out.parent, _PREFIX)[1].exists():
        pair = new_pair(out.parent, _PREFIX)
        made |= {pair.private: "signs tokens; only you can read it", pair.public: f"verifies them; {out.name} names it"}
    schema = out.parent / SCHEMA_FILE
    if not os.path.lexists(schema):
        write_new(schema, schema_text().encode(), 0o644)
        made[schema] = "lets an editor complete and explain the keys"
    write_new(out, content, 0o644)
    return {out: "", **made}


def _problems(out: Path, url: URL) -> Sequence[Any]:
    """What the loader says about the file: nothing, unless a database is odder than any that was thought of."""
    try:
        load(out, environ={"DATABASE_URL": url.render_as_string(hide_password=False)})
    except Misconfigured as misconfigured:
        return misconfigured.problems
    return ()


# --- the answer --------------------------------------------------------------------------------------------------------------------------


def _commands(proposal: Proposal, url: URL, dialect: str, out: Path) -> Iterator[str]:
    """The next three, each of which works as it stands."""
    dataset = next((each for each in proposal.datasets if each.guard), proposal.datasets[0])
    guarded = dataset.guard or next(each.id for each in dataset.fields if each.type is not None)
    field = next(each for each in dataset.fields if each.id == guarded)
    value = _example(url, dialect, dataset, field)
    condition: dict[str, object] = {"field": field.id, "op": "is_not_null"} if value is None else {"field": field.id, "op": "=", "value": value}
    filters = json.dumps({dataset.id: [[condition]]}, ensure_ascii=False)
    name = url.get_dialect()().identifier_preparer.quote(dataset.id)
    config = shlex.quote(str(out))
    private = "" if out.parent == Path() else f" -pk {shlex.quote(str(pair_files(out.parent, _PREFIX)[0]))}"
    yield f"rowseal validate {config}"
    ids = shlex.quote(dataset.id)
    yield f"rowseal access-tokens -p prj_first -u me --data-set-ids {ids} --secure-filters {shlex.quote(filters)}{private} --config {config} > tokens.json"
    sql = f"SELECT * FROM {name} LIMIT 5"  # noqa: S608 -- shown, and run by nobody but rowseal
    yield f"rowseal query --config {config} --token @tokens.json {shlex.quote(sql)}"


def _example(url: URL, dialect: str, dataset: DatasetProposal, field: FieldProposal) -> object:
    """A value that the column holds, so that the first query finds rows; a made-up one where it holds none. None where neither is of use."""
    relation, name, type_ = dataset.surveyed.relation, field.column, field.type
    if type_ not in {FieldType.NUMBER, FieldType.STRING}:
        return None
    kind = relation.columns[name].kind
    try:
        with connected(url, dialect) as connection:
            if dialect == "postgres":
                connection.execute(text("SET LOCAL statement_timeout = 5000"))
            elif dialect == "mariadb":
                connection.execute(text("SET SESSION max_statement_time = 5"))
            here: ColumnClause[Any] = column(name)
            found = connection.execute(select(here).select_from(table(relation.name, here, schema=relation.schema)).where(here.is_not(None)).limit(1)).scalar()
    except Unreachable:
        found = None
    if type_ is FieldType.NUMBER:
        return found if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 2**53 else 1
    if kind == "uuid":
        return str(found or "00000000-0000-0000-0000-000000000000")
    if isinstance(found, str) and found.isprintable() and found:
        return found
    return None if kind == "enum" else "a tenant of yours"


def _facts(proposal: Proposal, made: dict[Path, str], commands: Sequence[str]) -> dict[str, Any]:
    return {
        "written": [str(path) for path in made],
        "datasets": [{"id": each.id, "table": each.table, "guard": each.guard, "through": [way.parent for way in each.through]} for each in proposal.datasets],
        "left_out": dict(proposal.left_out),
        "commands": list(commands),
    }


def _say(proposal: Proposal, made: dict[Path, str], commands: Sequence[str], out: Path, *, needs_variable: bool, terminal: Terminal) -> None:
    guarded = sum(each.guard is not None for each in proposal.datasets)
    closed = len(proposal.datasets) - guarded
    width = max(len(str(path)) for path in made)
    for path, purpose in made.items():
        terminal.say(f"wrote  {path!s:{width}}  {purpose or f'{len(proposal.datasets)} datasets'}".rstrip())
        if path == out:
            counted = {"guarded by a tenant's column": guarded, "closed until you decide": closed, "left out": len(proposal.left_out)}
            for what, count in counted.items():
                if count:
                    terminal.say(f"       {'':{width}}  {count} {what}")
    private, _ = pair_files(out.parent, _PREFIX)
    if private in made:
        terminal.say("\nKeep the private key out of version control:\n\n  echo '*-private.pem' >> .gitignore")
    if needs_variable:
        terminal.say(
            "\nThe URL holds a password, so the file reads it from the environment. Put what you gave as `--database` there:\n\n  export DATABASE_URL=..."
        )
    terminal.say(f"\nRead {out}, then type:\n")
    for command in commands:
        terminal.say(f"  {command}")
