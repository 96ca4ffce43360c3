"""What the commands that print SQL for PostgreSQL share: which of a file's databases it is for, names as SQL, and comments that stay comments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import make_url

from rowseal.catalog import Catalog, Dataset, Limits
from rowseal.catalog.reflection import Relation, Unreachable, connected, reflect
from rowseal.cli.terminal import Failed, Options, Terminal, readable
from rowseal.configuration import load
from rowseal.sql.dialects import DIALECTS

__all__ = ["Ground", "comment", "ground", "literal", "name"]

_MARK = "$rowseal$"


@dataclass(frozen=True, slots=True)
class Ground:
    """One PostgreSQL database of a configuration. `schema` is the one that tables without a schema are in; `relations` are by (schema, table)."""

    database: str
    schema: str
    datasets: Sequence[Dataset]
    limits: Limits
    relations: Mapping[tuple[str, str], Relation]


def ground(options: Options, terminal: Terminal) -> Ground:
    """The database that `--connection` names, or the only one. Raises Misconfigured or Failed."""
    terminal.progress(f"loading {options.file} ...")
    try:
        configuration = load(options.file)
        catalog = _chosen(configuration.catalogs, options.connection)
        url = make_url(catalog.database)
        datasets = tuple(catalog.datasets.values())
        tables = {table for dataset in datasets for table in dataset.tables}
        with connected(url, catalog.dialect) as connection:
            database, schema = connection.exec_driver_sql("SELECT pg_catalog.current_database(), pg_catalog.current_schema()").one()
        found = reflect(url, catalog.dialect, tables).relations
    except Unreachable as problem:
        raise Failed(f"the database {problem}") from None
    finally:
        terminal.progress()
    relations = {(each.schema, each.name): each for each in found.values()}
    return Ground(database, schema or "", datasets, configuration.limits, relations)


def _chosen(catalogs: Mapping[str, Catalog], wanted: str | None) -> Catalog:
    fitting = {key: catalog for key, catalog in catalogs.items() if catalog.dialect == "postgres"}
    if wanted is not None and wanted not in catalogs:
        raise Failed(f"`--connection {wanted}` is none of the file's; there are: {', '.join(catalogs)}")
    if wanted is None and len(fitting) > 1:
        raise Failed(f"the file has several PostgreSQL databases; write `--connection` with one of: {', '.join(fitting)}")
    chosen = fitting if wanted is None else {key: fitting[key] for key in (wanted,) if key in fitting}
    if not chosen:
        raise Failed("this is for PostgreSQL, which has roles; a SQLite file has none, and is opened read-only")
    return next(iter(chosen.values()))


def name(*parts: str) -> str:
    """A name as SQL. Raises Failed for one that cannot be printed as it is, that could end a quoted block, or that PostgreSQL would cut."""
    for part in parts:
        if not part.isprintable() or _MARK in part or not 0 < len(part.encode()) < 64:
            raise Failed(f"the name `{readable(part)}` cannot be printed in SQL; rename it")
    return ".".join(map(DIALECTS["postgres"].quote, parts))


def literal(text: Any) -> str:
    """A text as SQL, whatever it holds."""
    quoted = str(text).replace("'", "''")
    if quoted.isprintable() and "\\" not in quoted:
        return f"'{quoted}'"
    escaped = "".join(each if each.isprintable() and each != "\\" else f"\\U{ord(each):08X}" for each in quoted)
    return f"E'{escaped}'"


def comment(text: str) -> str:
    """One line of comment. INVARIANT: it has no line break, so that what stands in it never runs."""
    return f"-- {readable(text)}"
