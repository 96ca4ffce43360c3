"""Fixtures that every test may use: real databases, and nothing left behind."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

import mariadb_server
import servers
from databases import DIALECTS, Database
from oracle import Stage

RUN = pytest.StashKey[servers.Run]()


def pytest_configure(config: pytest.Config) -> None:
    """The run begins in the controller, which outlives every worker; workers are told its folder."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts what is in the background so, and children inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    told = getattr(config, "workerinput", None)
    config.stash[RUN] = servers.Run(Path(told["rowseal_run"])) if told else servers.Run.begin()
    for dialect in DIALECTS.values():
        if dialect.server:
            config.addinivalue_line("markers", f"{dialect.name}: needs a {dialect.title} server")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs a server of some kind bears the mark `server` too."""
    for item in items:
        if any(item.get_closest_marker(dialect.name) for dialect in DIALECTS.values() if dialect.server):
            item.add_marker(pytest.mark.server)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["rowseal_run"] = str(node.config.stash[RUN].folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[RUN].end()


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> servers.Server:
    """The run's PostgreSQL. Where none can be started the test is skipped with the reason, or fails if `ROWSEAL_REQUIRE` demands it."""
    try:
        return pytestconfig.stash[RUN].server()
    except servers.UnavailableError as error:
        _missing("postgres", error)


def _missing(dialect: str, error: servers.UnavailableError) -> NoReturn:
    """Skip the test with the reason, or fail it where `ROWSEAL_REQUIRE` demands this kind of database."""
    if {"all", dialect} & set(os.environ.get("ROWSEAL_REQUIRE", "").replace(",", " ").split()):
        pytest.fail(f"ROWSEAL_REQUIRE demands {dialect}: {error}", pytrace=False)
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def mariadb_run_server(pytestconfig: pytest.Config) -> mariadb_server.Server:
    """The run's MariaDB. Where none can be started the test is skipped with the reason, or fails if `ROWSEAL_REQUIRE` demands it."""
    try:
        return mariadb_server.server(pytestconfig.stash[RUN])
    except servers.UnavailableError as error:
        _missing("mariadb", error)


@pytest.fixture(scope="session")
def postgres(postgres_server: servers.Server) -> Iterator[servers.Database]:
    """This worker's own database: `.owner_url`, `.reader_url`, `.superuser_url`, and `.another()` for one more."""
    database = postgres_server.new_database()
    yield database
    database.drop()


@pytest.fixture(scope="session")
def postgres_url(postgres: servers.Database) -> str:
    """SQLAlchemy URL of this worker's own database, as the owner of its tables."""
    return postgres.owner_url


@pytest.fixture(scope="module")
def private(request: pytest.FixtureRequest) -> Callable[[str, Path], Database]:
    """Makes an empty database of one kind, in a folder or on the run's server, that is gone after the module."""

    def new(dialect: str, folder: Path) -> Database:
        try:
            made = DIALECTS[dialect].new(request.config.stash[RUN], folder)
        except servers.UnavailableError as error:
            _missing(dialect, error)
        request.addfinalizer(made.drop)
        return made

    return new


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Stage]]:
    """The databases that a module asks its questions on, made when first asked for."""
    made: dict[str, Stage] = {}

    def get(dialect: str) -> Stage:
        if dialect not in made:
            try:
                made[dialect] = Stage(dialect, tmp_path_factory.mktemp(f"stage-{dialect}"), request.config.stash[RUN])
            except servers.UnavailableError as error:
                _missing(dialect, error)
        return made[dialect]

    yield get
    for each in made.values():
        each.close()


@pytest.fixture
def fresh_postgres(postgres_server: servers.Server) -> Iterator[servers.Database]:
    """An empty database for one test."""
    database = postgres_server.new_database()
    yield database
    database.drop()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> Callable[[str], str]:
    """Makes a SQLite file from a script and gives its SQLAlchemy URL."""

    def make(script: str, name: str = "data.db") -> str:
        path = tmp_path / name
        connection = sqlite3.connect(path)
        try:
            connection.executescript(script)
        finally:
            connection.close()
        return f"sqlite:///{path}"

    return make
