"""uvicorn around the gateway. Imported by `serve` alone: uvicorn is an extra."""

from __future__ import annotations

import gc
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from rowseal.app import create_admin, create_app
from rowseal.cli.serve import Reloader
from rowseal.cli.terminal import Failed
from rowseal.gate import Gate

__all__ = ["admin_app", "run"]

_GRACE_SECONDS = 5
_OTHER_HEADERS_BYTES = 65_536
_SWITCH_SECONDS = 0.001


def run(gate: Gate, listener: socket.socket, *, development: bool, public_urls: Sequence[str], reloader: Reloader, started: Callable[[], None],
        admin: tuple[Any, socket.socket] | None = None) -> None:  # fmt: skip
    """Answer on the socket until SIGINT or SIGTERM, then end what runs: within its own deadline, or a second signal's.

    `admin` is a second app with a socket of its own, which ends with the first.
    """
    config = uvicorn.Config(
        create_app(gate, development=development, public_urls=public_urls),
        log_config=None,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        # in pieces, a token of `limits.token_bytes` would otherwise be more than the server waits for
        h11_max_incomplete_event_size=gate.limits.token_bytes + _OTHER_HEADERS_BYTES,
        timeout_graceful_shutdown=int(gate.limits.seconds) + _GRACE_SECONDS,
    )
    reloader.start()
    # Both are this program's to decide, and no library's. What there is now stays, so the collector of cycles need not go through it again and again,
    # with everybody waiting; and who waits for Python's lock asks for it after one millisecond instead of five.
    gc.freeze()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        with _beside(admin):
            _Server(config, reloader, started).run(sockets=[listener])
    finally:
        sys.setswitchinterval(interval)
        gc.unfreeze()
        reloader.end()
        reloader.join()


def admin_app(gate: Gate, secret: str, directory: str | None) -> Any:
    """What operators ask. Raises Failed where the secret is short, or there is no directory."""
    try:
        return create_admin(gate, secret=secret, directory=directory)
    except ValueError as error:
        raise Failed(str(error)) from None
    except LookupError:
        raise Failed("`--admin-port` needs a directory to put keys into: one entry of `keys:` with `directory:`, named by `--admin-directory`") from None


@contextmanager
def _beside(admin: tuple[Any, socket.socket] | None) -> Iterator[None]:
    """The admin app in a thread and an event loop of its own: whatever it waits for, no query waits."""
    if admin is None:
        yield
        return
    app, listener = admin
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, lifespan="off", ws="none", server_header=False, proxy_headers=False, timeout_graceful_shutdown=_GRACE_SECONDS)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="rowseal-admin", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(2 * _GRACE_SECONDS)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, reloader: Reloader, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._reloader = reloader
        self._say = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._say()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end, SIGHUP loads again. Unlike uvicorn's own this does not raise the signal once more: what was asked is done."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {signal.SIGINT: self.handle_exit, signal.SIGTERM: self.handle_exit}
        if hasattr(signal, "SIGHUP"):
            wanted[signal.SIGHUP] = self._reload
        before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _reload(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._reloader.ask()
