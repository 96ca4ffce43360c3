"""The throw-away PostgreSQL: it starts, its roles may do what their names say, and it is gone when the run is, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

import servers

ROOT = Path(__file__).resolve().parent.parent
# begins a run in a process of its own, says where and which server, and waits to be killed
BEGIN = "import servers, sys; run = servers.Run.begin(); print(run.folder, run.server().socket, flush=True); sys.stdin.read(); run.end()"


def connect(url: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True)


def begin() -> tuple[subprocess.Popen[str], Path, int]:
    """A run in another process: the process, its folder, and the pid of its server."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path])}
    process = subprocess.Popen([sys.executable, "-c", BEGIN], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    folder, socket = process.stdout.readline().split()
    return process, Path(folder), int((Path(socket).parent / "data" / "postmaster.pid").read_text().split()[0])


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(folder: Path, pid: int, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while (folder.exists() or alive(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()
    assert not alive(pid)


@pytest.mark.postgres
def test_each_database_is_its_own(postgres: servers.Database) -> None:
    another = postgres.another()
    try:
        another.run("CREATE TABLE only_here (id integer)")
        with connect(postgres.owner_url) as connection:
            assert connection.execute("SELECT to_regclass('only_here')").fetchone() == (None,)
    finally:
        another.drop()


@pytest.mark.postgres
def test_the_reader_may_select_what_the_owner_makes_and_nothing_else(fresh_postgres: servers.Database) -> None:
    fresh_postgres.run("CREATE TABLE orders (id integer)", "INSERT INTO orders VALUES (7)", "CREATE SCHEMA other", "CREATE TABLE other.items (id integer)")
    with connect(fresh_postgres.reader_url) as connection:
        assert connection.execute("SELECT id FROM orders").fetchall() == [(7,)]
        assert connection.execute("SELECT id FROM other.items").fetchall() == []
        for refused in ("INSERT INTO orders VALUES (8)", "CREATE TABLE mine (id integer)", "CREATE TEMP TABLE mine (id integer)", "CREATE SCHEMA mine"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(refused.encode())


@pytest.mark.postgres
def test_the_owner_is_no_superuser(postgres: servers.Database) -> None:
    with connect(postgres.owner_url) as connection:
        assert connection.execute("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user").fetchone() == (False, False)


@pytest.mark.postgres
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="watches processes through /proc")
@pytest.mark.parametrize("way", ["end", "kill the run", "kill the keeper"])
def test_nothing_is_left_however_the_run_ends(postgres_server: servers.Server, way: str) -> None:
    process, folder, pid = begin()
    try:
        assert alive(pid)
        if way == "kill the run":
            process.kill()
        elif way == "kill the keeper":
            keeper = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
            os.kill(keeper, signal.SIGKILL)
        process.communicate()  # ends the input, so a run that still lives ends by itself
        wait_until_gone(folder, pid)
    finally:
        process.kill()
        process.communicate()


def test_a_folder_without_binaries_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PG_BIN", str(tmp_path))
    run = servers.Run.begin()
    try:
        for _ in range(2):
            with pytest.raises(servers.UnavailableError, match="there is no `postgres` in this folder"):
                run.server()
    finally:
        run.end()
    assert not run.folder.exists()
