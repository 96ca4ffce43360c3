"""`postgres-role`: SQL for a database role that may do what a configuration asks for, and nothing else."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from rowseal.catalog import Source
from rowseal.cli.postgres_sql import Ground, comment, ground, literal, name
from rowseal.cli.terminal import OK, Options, Terminal

__all__ = ["postgres_role"]

_NAME: Final = re.compile(r'"((?:[^"]|"")+)"|([A-Za-z_][A-Za-z0-9_$]*)')


def postgres_role(options: Options, terminal: Terminal) -> int:
    """`postgres-role`: print it."""
    found = ground(options, terminal)
    terminal.say("\n".join(_written(found, options.role, options.file)))
    return OK


def _written(found: Ground, role: str, file: str) -> Iterator[str]:
    who, database = name(role), name(found.database)
    granted = _columns(found)
    schemas = sorted({schema for schema, _ in granted})
    yield comment(f"A role for rowseal that may do what {file} asks for, and nothing else.")
    yield comment(f"Run it in the database {found.database} as a superuser, or as the owner of database and tables with CREATEROLE.")
    yield comment("It may be run again when the file has changed: what is no longer asked for is taken back. It sets no password; in psql:")
    yield comment(f"  \\password {role}")
    yield ""
    yield "BEGIN;"
    yield ""
    yield comment("A member of nothing, so that no statement can become somebody else. A role that exists stays as it is.")
    yield "DO $rowseal$ BEGIN"
    yield f"  CREATE ROLE {who} LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;"
    yield "EXCEPTION WHEN duplicate_object THEN NULL;"
    yield "END $rowseal$;"
    yield ""
    yield comment("What PostgreSQL gives to everybody, and this role must not have. Grant it by name to those who need it:")
    yield comment(f"  GRANT TEMPORARY ON DATABASE {found.database} TO ...")
    yield f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC;"
    yield from (f"REVOKE CREATE ON SCHEMA {name(schema)} FROM PUBLIC;" for schema in schemas)
    yield ""
    yield comment("Whatever it had.")
    yield f"REVOKE ALL ON DATABASE {database} FROM {who};"
    for schema in schemas:
        yield f"REVOKE ALL ON SCHEMA {name(schema)} FROM {who};"
        yield from (f"REVOKE ALL ON ALL {kind} IN SCHEMA {name(schema)} FROM {who};" for kind in ("TABLES", "SEQUENCES", "ROUTINES"))
    yield ""
    yield comment("The columns that are declared, or that a SELECT of the file reads. A column that is added later is not among them.")
    yield f"GRANT CONNECT ON DATABASE {database} TO {who};"
    yield from (f"GRANT USAGE ON SCHEMA {name(schema)} TO {who};" for schema in schemas)
    for (schema, table), columns in sorted(granted.items()):
        readers = [dataset.id for dataset in found.datasets if (schema, table) in dataset.tables]
        yield comment(f"for {', '.join(readers)}")
        yield f"GRANT SELECT ({', '.join(map(name, columns))}) ON {name(schema, table)} TO {who};"
    yield ""
    yield comment("rowseal says all of this whenever it connects. Here it holds also for whoever else gets hold of the password, until they say otherwise.")
    for setting, value in _settings(found, schemas).items():
        yield f"ALTER ROLE {who} IN DATABASE {database} SET {setting} = {value};"
    yield ""
    yield "COMMIT;"


def _settings(found: Ground, schemas: list[str]) -> dict[str, str]:
    milliseconds = max(1, int(found.limits.seconds * 1000))
    return {
        "default_transaction_read_only": "on",
        "statement_timeout": str(milliseconds),
        "lock_timeout": str(min(milliseconds, 5_000)),
        "idle_in_transaction_session_timeout": str(milliseconds + 60_000),
        "row_security": "on",
        # pg_catalog comes first where it is not named, and pg_temp would too; the schema is where the file's tables without one are looked for
        "search_path": f"{name(found.schema)}, pg_temp" if found.schema in schemas else "pg_catalog, pg_temp",
        "application_name": literal("rowseal"),
    }


def _columns(found: Ground) -> dict[tuple[str, str], list[str]]:
    """Of each table the columns that are read, in the table's order. What a SELECT reads is told by the names that stand in it."""
    wanted: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for dataset in found.datasets:
        if dataset.source is None:
            wanted[dataset.schema, dataset.table] |= {field.column for field in dataset.fields}
            continue
        named = _names(dataset.source)
        for table in dataset.source.tables:
            # a SELECT that names no column, as count(*) does, needs the right to any
            columns = found.relations[table].columns
            wanted[table] |= (named & columns.keys()) or set(list(columns)[:1])
    return {table: [column for column in found.relations[table].columns if column in columns] for table, columns in wanted.items()}


def _names(source: Source) -> set[str]:
    return {quoted.replace('""', '"') if quoted else plain.lower() for quoted, plain in _NAME.findall(source.text)}
