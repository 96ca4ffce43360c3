"""Somebody who publishes keys over HTTP, on loopback: what is answered can be changed while it runs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from place import key, public_pem
from rowseal.claims import KeyFacts
from rowseal.keys import read_public_keys, to_jwk

__all__ = ["Clock", "Issuer", "jwk"]


class Clock:
    """A time that passes when told to."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def jwk(name: str, **more: Any) -> dict[str, Any]:
    """The public JWK of `place`'s key of this name; its `kid` is the name."""
    key(name)
    (public,) = read_public_keys(public_pem(name), facts=KeyFacts(name, "vizzly"))
    return {**to_jwk(public), "kid": name, **more}


class Issuer:
    """Answers GET with `body` or whatever `answer` writes. `asked` counts."""

    def __init__(self) -> None:
        self.body: bytes = b""
        self.headers: dict[str, str] = {}
        self.status = 200
        self.asked = 0
        self.answer: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.url = ""

    def publish(self, *keys: dict[str, Any] | str, **headers: str) -> None:
        """Publish these keys; a text is the name of one."""
        self.body = json.dumps({"keys": [jwk(each) if isinstance(each, str) else each for each in keys]}).encode()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.status, self.answer = 200, None

    def write(self, handler: BaseHTTPRequestHandler) -> None:
        """One answer."""
        self.asked += 1
        if self.answer is not None:
            self.answer(handler)
            return
        handler.send_response(self.status)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(self.body)))
        handler.end_headers()
        handler.wfile.write(self.body)

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Issuer]:
        """The server, until the end."""
        issuer = cls()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                try:
                    issuer.write(self)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        issuer.url = f"http://127.0.0.1:{server.server_address[1]}/jwks.json"
        try:
            yield issuer
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def drip(piece: bytes, seconds: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer that never ends, and never stops coming."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            handler.wfile.write(piece)
            handler.wfile.flush()
            time.sleep(0.02)

    return answer
