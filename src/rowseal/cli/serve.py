"""`serve`: the gateway under uvicorn, its logs as lines of JSON, and its configuration loaded again when it changes."""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import json
import logging
import socket
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

from rowseal.cli.keys import admin_secret
from rowseal.cli.terminal import OK, Failed, Options, Terminal
from rowseal.configuration import files
from rowseal.errors import Misconfigured
from rowseal.gate import Gate
from rowseal.http.holder import check_urls
from rowseal.http.transport import without_tokens

__all__ = ["Reloader", "seen", "serve"]

_LOOK_SECONDS: Final = 1.0
_BACKLOG: Final = 2048


def serve(options: Options, terminal: Terminal) -> int:
    """`serve`: load the configuration, listen, and answer until a signal ends it. Raises Failed, Misconfigured."""
    try:
        from rowseal.cli.server import admin_app, run  # noqa: PLC0415 -- uvicorn is an extra
    except ImportError:
        raise Failed("`rowseal serve` needs uvicorn: install it with `pip install 'rowseal[serve]'`") from None
    path = Path(options.config)
    secret = None if options.admin_port is None else admin_secret(options.admin_secret_file, terminal)
    with ExitStack() as open_until_the_end:
        listener = open_until_the_end.enter_context(_listening(options.host, options.port))
        admin = None if secret is None else open_until_the_end.enter_context(_listening(options.admin_host, options.admin_port, "--admin-port"))
        open_until_the_end.enter_context(_json_logs(terminal.out, terminal.err))
        host, port = listener.getsockname()[:2]
        development = options.development or ipaddress.ip_address(host).is_loopback
        loaded = seen(path)  # before it is loaded: what changes meanwhile is loaded again
        gate = Gate.from_yaml(path, clock=terminal.clock)
        try:
            _refuse_development(gate, host, allowed=development)
            reloader = Reloader(gate, path, terminal, loaded=loaded if options.reload else None, development=development)
            address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            run(
                gate,
                listener,
                development=development,
                public_urls=_public_urls(options, address),
                admin=None if admin is None or secret is None else (admin_app(gate, secret, options.admin_directory), admin),
                reloader=reloader,
                started=lambda: _announce(gate, path, address, terminal, watch=options.reload, admin=admin),
            )
        finally:
            gate.close()
    terminal.note("rowseal has ended")
    return OK


def _public_urls(options: Options, address: str) -> tuple[str, ...]:
    try:
        return check_urls(options.public_url or (address,))
    except ValueError as error:
        raise Failed(f"`--public-url`: {error}") from None


@contextmanager
def _listening(host: str, port: int, option: str = "--port") -> Iterator[socket.socket]:
    """The socket, bound before anything else is done: a port that is taken is found at once. Raises Failed."""
    if not 0 <= port <= 65_535:
        raise Failed(f"`{option} {port}` is no port: write a number from 0 to 65535")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise Failed(f"`{host}` is no address of this machine: write such as `--host 127.0.0.1`") from None
    family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Failed(f"port {port} of `{host}` is in use: end what listens there, or choose another with `{option}`") from None
            raise Failed(f"cannot listen on port {port} of `{host}`: {(error.strerror or 'the system refuses').lower()}") from None
        yield listener


def _refuse_development(gate: Gate, host: str, *, allowed: bool) -> None:
    ids = _development_keys(gate)
    if ids and not allowed:
        raise Failed(
            f"tokens of the development key {ids} may read unfiltered datasets, and `{host}` can be reached from elsewhere: "
            "remove the key, listen on 127.0.0.1, or say `--development`"
        )


def _development_keys(gate: Gate) -> str:
    return ", ".join(f"`{key.facts.id}`" for key in gate.keys if key.facts.development)


def _announce(gate: Gate, path: Path, address: str, terminal: Terminal, *, watch: bool, admin: socket.socket | None) -> None:
    terminal.note(f"rowseal serves {path} on {address}")
    if admin is not None:
        terminal.note(f"  admin    keys of operators on port {admin.getsockname()[1]} of {admin.getsockname()[0]}, and /metrics")
    for key in gate.keys:
        notes = "".join(f", {each}" for each, holds in (("development", key.facts.development), ("explain", key.facts.explain)) if holds)
        terminal.note(f"  key      {key.facts.id}  {key.algorithm}{notes}")
    width = max((len(dataset) for catalog in gate.catalogs.values() for dataset in catalog.datasets), default=0)
    for name, catalog in gate.catalogs.items():
        for dataset in catalog.datasets.values():
            where = f" in {name}" if len(gate.catalogs) > 1 else ""
            terminal.note(f"  dataset  {dataset.id:{width}}  {len(dataset.visible)} field{'' if len(dataset.visible) == 1 else 's'}{where}")
    terminal.note(f'try        curl -s {address}/v1/datasets -H "Authorization: Bearer $TOKEN"')
    terminal.note(f"reload     {'when a file changes, or on SIGHUP' if watch else 'on SIGHUP; with --reload when a file changes'}")


class Reloader(threading.Thread):
    """Loads the configuration again when asked, and when its files are no longer those `loaded` (see `seen`), unless that is None. Says what came of it."""

    def __init__(self, gate: Gate, path: Path, terminal: Terminal, *, loaded: bytes | None, development: bool) -> None:
        super().__init__(name="rowseal-reload", daemon=True)
        self._gate = gate
        self._path = path
        self._terminal = terminal
        self._loaded = loaded
        self._development = development
        self._wake = threading.Event()
        self._asked = False
        self._ended = False

    def ask(self) -> None:
        """Load now. Safe in a signal's handler."""
        self._asked = True
        self._wake.set()

    def end(self) -> None:
        """Stop watching."""
        self._ended = True
        self._wake.set()

    def run(self) -> None:
        """Look, and load, until the end."""
        while True:
            self._wake.wait(None if self._loaded is None else _LOOK_SECONDS)
            if self._ended:
                return
            self._wake.clear()
            asked, self._asked = self._asked, False
            # The digest is taken before the files are loaded: what changes meanwhile is seen next time.
            now = None if self._loaded is None else seen(self._path)
            if asked or now != self._loaded:
                self._loaded = now
                self._load()

    def _load(self) -> None:
        kept = f"the configuration of before stays (epoch {self._gate.epoch})"
        try:
            self._gate.reload()
        except Misconfigured as misconfigured:
            for problem in misconfigured.problems:
                self._terminal.note(str(problem))
            self._terminal.note(f"{self._path}: not loaded; {kept}")
        except Exception as error:  # noqa: BLE001 -- the server goes on with what it has
            self._terminal.note(f"{self._path}: not loaded, {type(error).__name__}; {kept}")
        else:
            self._terminal.note(f"{self._path}: loaded again, epoch {self._gate.epoch}")
            if not self._development and (ids := _development_keys(self._gate)):
                self._terminal.note(f"tokens of the development key {ids} are refused: the server was started without `--development`")


def seen(path: Path) -> bytes:
    """A digest of the file and of the key files that it names. One that cannot be read is one more state of it."""
    digest = hashlib.sha256()
    for file in files(path):
        try:
            content = file.read_bytes() if file.is_file() else b""  # a pipe would wait for somebody to write
        except OSError as error:
            content = str(error.errno).encode()
        name = str(file).encode()
        digest.update(b"%d:%s%d:%s" % (len(name), name, len(content), content))
    return digest.digest()


# --- logs ------------------------------------------------------------------------------------------------------------------------------------


@contextmanager
def _json_logs(out: TextIO, err: TextIO) -> Iterator[None]:
    """Decisions and requests as lines of JSON on standard output, uvicorn's own complaints as sentences on standard error."""
    decisions, requests, complaints = _Lines(out, err, _decision), _Lines(out, err, _request), _Lines(err, err, _complaint)
    chosen = [("rowseal.decisions", decisions, logging.INFO), ("uvicorn.access", requests, logging.INFO), ("uvicorn.error", complaints, logging.WARNING)]
    before = []
    for name, handler, level in chosen:
        logger = logging.getLogger(name)
        before.append((logger, logger.level, logger.propagate, handler))
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, level, propagate, handler in before:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


class _Lines(logging.Handler):
    def __init__(self, out: TextIO, err: TextIO, write: Any) -> None:
        super().__init__()
        self._out, self._err, self._write = out, err, write

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._out.write(f"{self._write(record)}\n")
            self._out.flush()
        except Exception as error:  # noqa: BLE001 -- a log that cannot be written must not end a request, and must not be silent
            self._err.write(f"rowseal: a line of the log is lost: {type(error).__name__}\n")


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _decision(record: logging.LogRecord) -> str:
    return f'{{"time":"{_time(record)}","log":"decision",{record.getMessage()[1:]}'


def _request(record: logging.LogRecord) -> str:
    client, method, target, _, status = record.args if isinstance(record.args, tuple) else (None,) * 5
    # the path alone: on paths that need no token nobody has taken one out of the query. One that is a part of the path has no place to be taken from.
    path = without_tokens(str(target).partition("?")[0])
    return json.dumps({"time": _time(record), "log": "request", "client": client, "method": method, "path": path, "status": status}, separators=(",", ":"))


def _complaint(record: logging.LogRecord) -> str:
    """INVARIANT: of an exception its class and place only: its words may quote a token or a row."""
    failure = record.exc_info[1] if record.exc_info else None
    if failure is None:
        return f"log: {record.getMessage().splitlines()[0]}"
    frames = traceback.extract_tb(failure.__traceback__)
    return f"log: {type(failure).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else f"log: {type(failure).__name__}"
