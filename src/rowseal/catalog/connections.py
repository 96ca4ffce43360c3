"""`database:` or `connections:` of the file: which databases there are, and which datasets are in which.

A dataset belongs to one connection, and so does a query: nothing joins two databases (docs/decisions/0011-a-catalog-is-one-connection.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import unquote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from rowseal.catalog import ONLY_CONNECTION
from rowseal.catalog import text as yaml_text
from rowseal.catalog.document import DatasetEntry, Document
from rowseal.catalog.duckdb_file import DRIVER
from rowseal.catalog.text import Findings, nearest

__all__ = ["Address", "Place", "addresses", "database_url", "members", "place"]

_POSTGRES: Final = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
_MARIADB: Final = frozenset({"mariadb", "mariadb+pymysql", "mysql+pymysql"})
_MARIADB_OPTIONS: Final = frozenset({"unix_socket", "connect_timeout", "ssl_ca", "ssl_cert", "ssl_key", "ssl_check_hostname"})
_SQLITE: Final = frozenset({"sqlite", "sqlite+pysqlite"})
_DUCKDB: Final = frozenset({"duckdb", "duckdb+duckdb_engine", DRIVER})
_PORTS: Final = {"postgresql": "5432", "mysql": "3306", "mariadb": "3306"}

Place: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Address:
    """One connection: its URL, with the driver that rowseal uses and paths made absolute, and where in the file it stands."""

    url: URL
    dialect: str
    allow_privileged_role: bool
    experimental: bool
    at: yaml_text.Path


def addresses(document: Document, folder: Path, findings: Findings) -> dict[str, Address]:
    """The connections by name, in the order of the file. What cannot be used is left out and noted in `findings`."""
    if (document.database is None) == (not document.connections):
        findings.add((), "must have exactly one of `database:` and `connections:`")
        return {}
    found: dict[str, Address] = {}
    if document.database is not None:
        read = database_url(document.database, folder, findings)
        return {} if read is None else {ONLY_CONNECTION: Address(*read, document.engine.allow_privileged_role, document.engine.experimental, ("database",))}
    for written in ("allow_privileged_role", "experimental"):
        if getattr(document.engine, written):
            findings.add(("engine",), f"is for files with `database:`; write `{written}: true` at the connection that needs it")
    for name, entry in document.connections.items():
        at: yaml_text.Path = ("connections", name, "url")
        read = database_url(entry.url, folder, findings, at)
        if read is None:
            continue
        for other, earlier in found.items():
            # Two connections to one database would hide from each other that two datasets are one table.
            if place(earlier.url) == place(read[0]):
                findings.add(at, f"is the database of the connection `{other}` too; keep one")
        found[name] = Address(*read, entry.allow_privileged_role, entry.experimental, at)
    return found


def members(document: Document, findings: Findings) -> dict[str, dict[int, DatasetEntry]]:
    """The datasets of each connection, by their place in the file. One whose connection is not known stands under ""."""
    names = list(document.connections) or [ONLY_CONNECTION]
    found: dict[str, dict[int, DatasetEntry]] = {name: {} for name in names}
    for number, entry in enumerate(document.datasets):
        at: yaml_text.Path = ("datasets", number, "connection")
        name = entry.connection or (names[0] if len(names) == 1 else "")
        if entry.connection is not None and document.database is not None:
            findings.add(at, "is for files with `connections:`; remove it")
            name = names[0]
        elif not name:
            findings.add(at[:-1], f"must say its `connection:`, because there are several: {', '.join(names)}")
        elif name not in found:
            findings.add(at, f"names no connection of this file{nearest(name, names)}; there are: {', '.join(names)}")
            name = ""
        found.setdefault(name, {})[number] = entry
    for name in document.connections:
        if not found[name]:
            findings.add(("connections", name), "has no dataset; remove it, or write it as the `connection:` of one", at_key=True)
    return found


@lru_cache(maxsize=64)
def place(database: str | URL) -> Place:
    """Where a URL leads, whoever connects and by whichever driver: equal for two spellings of one database, as far as the URLs tell."""
    url = make_url(database)
    backend = url.get_backend_name()
    if backend in ("sqlite", "duckdb"):
        name = url.database or ""
        if name.startswith("file:"):
            name = unquote(name.removeprefix("file:").partition("?")[0])
        return backend, str(Path(name).resolve())
    host, port, name = (str(given or url.query.get(key, "")) for key, given in (("host", url.host), ("port", url.port), ("dbname", url.database)))
    folded = host if host.startswith("/") else host.lower()  # a socket's folder is a path
    # a URL without a database means the one that is called like the role
    return backend, folded, port or _PORTS.get(backend, ""), name or str(url.username or ""), str(url.query.get("service", ""))


def database_url(written: str, folder: Path, findings: Findings, at: yaml_text.Path = ("database",), *, made: bool = True) -> tuple[URL, str] | None:
    """The URL with the driver that rowseal uses and paths made absolute, and the dialect. What is wrong with it goes to `findings`.

    `made`: a file must be there already.
    """
    try:
        url = make_url(written)
    except (ArgumentError, ValueError):
        findings.add(at, "is no database URL; write such as `sqlite:///shop.db` or `postgresql://role@host/database`")
        return None
    if url.drivername in _POSTGRES:  # `postgres://` is what many hosts hand out, though SQLAlchemy no longer knows it
        return url.set(drivername="postgresql+psycopg"), "postgres"
    if url.drivername in _MARIADB:
        if not url.database:
            findings.add(at, "must name a database of the server, `mariadb://role@host/database`")
            return None
        if other := sorted(url.query.keys() - _MARIADB_OPTIONS):
            findings.add(at, f"has the option `{other[0]}`, which is not accepted here; there are: {', '.join(sorted(_MARIADB_OPTIONS))}")
            return None
        return url.set(drivername="mariadb+pymysql"), "mariadb"
    for drivers, driver, dialect in ((_SQLITE, "sqlite", "sqlite"), (_DUCKDB, DRIVER, "duckdb")):
        if url.drivername in drivers:
            found = _file_url(url, folder, findings, at, dialect, made=made)
            return None if found is None else (found.set(drivername=driver), dialect)
    findings.add(at, "names a database or driver that is not supported yet; write `sqlite:///...`, `duckdb:///...`, `postgresql://...` or `mariadb://...`")
    return None


_TITLES: Final = {"sqlite": "SQLite", "duckdb": "DuckDB"}


def _file_url(url: URL, folder: Path, findings: Findings, at: yaml_text.Path, scheme: str, *, made: bool) -> URL | None:
    """The URL of a database that is a file, with its path made absolute."""
    title = _TITLES[scheme]
    if not url.database or url.database.startswith((":memory:", "file:", "md:", "motherduck:")) or url.host:
        findings.add(at, f"must name a {title} file as a path, `{scheme}:///relative.db` or `{scheme}:////absolute.db`")
        return None
    if url.query:
        findings.add(at, f"has options after `?`, which {title} URLs may not have here; remove them")
        return None
    file = folder / url.database
    if made and not _is_file(file):  # the database would make an empty one
        findings.add(at, f"names a {title} file that does not exist; relative paths begin at the folder of this file")
        return None
    return url.set(database=str(file))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for the system
        return False
