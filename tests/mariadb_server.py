"""A throw-away MariaDB for the tests, kept as `servers` keeps its PostgreSQL: one for a run, root or not, nothing left behind.

Binaries come from `MARIADB_BIN` (a folder), else from PATH, /usr/sbin and /usr/libexec. Debian and Ubuntu have them, without a service or an
account, in `mariadb-server-core` and `mariadb-client-core`.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket as sockets
import subprocess
import sys
import time
import uuid
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pymysql

import servers

__all__ = ["INSTALL", "Database", "Server", "server"]

INSTALL = "apt-get install -y --no-install-recommends mariadb-server-core mariadb-client-core"
READER = "rowseal_reader"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, reached through the socket in a folder that only its owner may enter."""

    socket: str
    version: str
    binary: str

    def url(self, role: str, database: str) -> str:
        return f"mariadb+pymysql://{role}@/{database}?unix_socket={quote(self.socket, safe='')}"

    def run(self, *statements: str, database: str | None = None) -> None:
        """Run statements as root, who owns everything."""
        with closing(pymysql.connect(unix_socket=self.socket, user="root", database=database, charset="utf8mb4", autocommit=True)) as connection:
            for statement in statements:
                connection.cursor().execute(statement)

    def new_database(self) -> Database:
        """A fresh, empty database, whose tables the reader may read. It tells apart whatever differs in a byte."""
        name = f"t{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin", f"GRANT SELECT ON {name}.* TO {READER}@localhost")
        return Database(self, name)


@dataclass(frozen=True, slots=True)
class Database:
    """One database. The URLs differ in their role: root, and one with SELECT only. They are SQLAlchemy's, for PyMySQL."""

    server: Server
    name: str

    @property
    def owner_url(self) -> str:
        return self.server.url("root", self.name)

    @property
    def reader_url(self) -> str:
        return self.server.url(READER, self.name)

    def run(self, *statements: str) -> None:
        """Run statements as the owner."""
        self.server.run(*statements, database=self.name)

    def another(self) -> Database:
        """A fresh, empty database on the same server."""
        return self.server.new_database()

    def drop(self) -> None:
        """Remove the database."""
        self.server.run(f"DROP DATABASE IF EXISTS {self.name}", f"REVOKE SELECT ON {self.name}.* FROM {READER}@localhost")


def server(run: servers.Run) -> Server:
    """The run's server, started by whoever asks first. Raises `servers.UnavailableError`, every time with the first reason."""
    return Server(**run.kept("mariadb", Path(__file__)))


def start(home: Path) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """For the keeper: a server with everything below `home`, and how to reach it. Raises `servers.UnavailableError`."""
    folders = [Path(chosen)] if (chosen := os.environ.get("MARIADB_BIN")) else [*map(Path, os.get_exec_path()), Path("/usr/sbin"), Path("/usr/libexec")]
    binary = next((folder / "mariadbd" for folder in folders if (folder / "mariadbd").exists()), None)
    install = next((folder / "mariadb-install-db" for folder in folders if (folder / "mariadb-install-db").exists()), None)
    if binary is None or install is None:
        raise servers.UnavailableError(f"no MariaDB could be started (no `mariadbd` on this machine; on Debian and Ubuntu: {INSTALL})")
    data, socket = home / "data", home / "socket"
    for owned in (data, socket):
        owned.mkdir(mode=0o700)
        if servers.is_root():
            shutil.chown(owned, *servers.nobody())
    version = servers.call(binary, "--no-defaults", "--version", cwd=home).split("Ver ")[-1].split()[0]
    servers.call(
        *(install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"), cwd=home
    )
    address = str(socket / "s")
    options = {"datadir": data, "socket": address, "pid-file": socket / "pid", "innodb-buffer-pool-size": "32M", "innodb-flush-log-at-trx-commit": "0"}
    options |= {"max-connections": "200", "table-open-cache": "400", "tmpdir": socket, "lc-messages-dir": "", "innodb-doublewrite": "0"}
    written = [f"--{name}={value}" for name, value in options.items() if value != ""]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary, "--no-defaults", "--skip-networking", *written],
            cwd=home,
            env=servers.environment(home),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 -- the keeper has one thread
            **servers.as_nobody(),
        )
    started = Server(address, version, str(binary))
    try:
        deadline = time.monotonic() + servers.START_SECONDS / 2
        while True:
            try:
                _knock(address)
                started.run(f"CREATE USER {READER}@localhost")
            except (pymysql.MySQLError, OSError):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise servers.UnavailableError(servers.tail(home / "log")) from None
                time.sleep(0.02)
            else:
                break
    except BaseException:
        stop(process)
        raise
    return process, {"socket": address, "version": version, "binary": str(binary)}


def _knock(address: str) -> None:
    """Raises OSError where nobody listens. PyMySQL would leave the socket open on which nobody answered."""
    with closing(sockets.socket(sockets.AF_UNIX)) as door:
        door.connect(address)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Orderly, then by force."""
    for ask in (signal.SIGTERM, signal.SIGKILL):
        process.send_signal(ask)
        with suppress(subprocess.TimeoutExpired):
            process.wait(servers.STOP_SECONDS / 2)
            return


def _die_with_parent() -> None:
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
    ctypes.CDLL(None).prctl(set_parent_death_signal, int(signal.SIGTERM))


def _keep(folder: Path) -> None:
    """Be the keeper of the run's MariaDB: start it, say how to reach it, and take it down when the run's lock is free."""
    if os.fork():
        return  # whoever asked must not have a child to wait for
    os.setsid()
    log = os.open(folder / "mariadb.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    fcntl.flock(log, fcntl.LOCK_EX)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    process: subprocess.Popen[bytes] | None = None
    home = folder / "mariadb"
    try:
        try:
            home.mkdir()
            process, described = start(home)
        except (servers.UnavailableError, OSError, subprocess.SubprocessError, pymysql.MySQLError) as error:
            servers.publish(folder / "mariadb.json", {"reason": str(error)})
        else:
            servers.publish(folder / "mariadb.json", described)
        with servers.locked(folder / "alive"):
            pass
    finally:
        if process is not None:
            stop(process)
        shutil.rmtree(home, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    _keep(Path(json.loads(sys.argv[1])))
