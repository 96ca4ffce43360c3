"""A PostgreSQL that says nothing any more: frozen, or behind a network that swallows everything. Nobody waits for it without end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from sqlalchemy import URL, make_url

import servers
from rowseal.catalog import Limits
from rowseal.engine import Database
from rowseal.engine import postgres as driver
from rowseal.errors import EngineFailed
from test_engine import forge

pytestmark = pytest.mark.postgres


class Line:
    """A TCP port that passes everything on to the server, unless it is told to hold it back."""

    def __init__(self, server: URL) -> None:
        self.open = threading.Event()
        self.open.set()
        self._server = server
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = server.set(host="127.0.0.1", port=self._listener.getsockname()[1], query={})
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.open.set()
        for each in [self._listener, *self._sockets]:
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):  # until it is closed
            while True:
                client, _ = self._listener.accept()
                behind = socket.socket(socket.AF_UNIX)
                behind.connect(f"{self._server.query['host']}/.s.PGSQL.{self._server.port or 5432}")
                self._sockets += [client, behind]
                for pair in ((client, behind), (behind, client)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self.open.wait()
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def line(postgres: servers.Database) -> Iterator[Line]:
    made = Line(make_url(postgres.reader_url))
    yield made
    made.close()


def test_a_server_that_says_nothing_is_given_up_and_asked_again_later(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_PATIENCE_SECONDS", 0.5)
    database = Database(line.url, dialect="postgres", limits=Limits(seconds=0.5, concurrent=1))
    asked = forge("postgres", "SELECT 1 AS x", reads={})
    try:
        assert database.execute(asked).rows == [(1,)]
        line.open.clear()
        began = time.monotonic()
        with pytest.raises(EngineFailed) as refused:
            database.execute(asked)
        assert refused.value.code == "database_unavailable"
        assert time.monotonic() - began < 30
        line.open.set()
        assert database.execute(asked).rows == [(1,)]  # its place is free again
    finally:
        database.close()
