"""A real gate before a small database, and a client that speaks ASGI itself: it can send what no HTTP client would."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.types import ASGIApp, Message

from rowseal.gate import Gate
from rowseal.signing import Signer

__all__ = ["Answer", "Front", "ask", "talk"]

_CONFIGURATION = """\
version: 1
database: sqlite:///front.db
tokens:
  - profile: vizzly
    keys: [{id: front, public_key_file: public.pem}]
datasets:
  - id: orders
    table: orders
    fields:
      - {id: order_id, column: id, type: number}
      - {id: tenant_id, type: number}
      - {id: amount, type: number}
limits: {sql_bytes: 2000, body_token_bytes: 8000}
"""


class Front:
    """Two orders each of tenants 1 and 2, and a signer whose tokens the gate accepts."""

    def __init__(self, folder: Path, public_key: str | None = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        pem = public_key or self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        (folder / "public.pem").write_text(pem)
        (folder / "datasets.yaml").write_text(_CONFIGURATION)
        with closing(sqlite3.connect(folder / "front.db")) as database:
            database.executescript(
                "CREATE TABLE orders (id INTEGER PRIMARY KEY, tenant_id INTEGER, amount INTEGER);"
                "INSERT INTO orders VALUES (1, 1, 10), (2, 1, 20), (3, 2, 300), (4, 2, 400)"
            )
        self.gate = Gate.from_yaml(folder / "datasets.yaml")

    def token(self, tenant: int = 1, *, datasets: Sequence[str] = ("orders",), minutes: float = 10, issued_at: float | None = None) -> str:
        signer = Signer(self._key, minutes, clock=lambda: time.time() if issued_at is None else issued_at)
        filters = {"orders": [[{"field": "tenant_id", "op": "=", "value": tenant}]]}
        return signer.generate_tokens(user_reference="u", data_set_ids=list(datasets), secure_filters=filters, project_id="prj_1")["dataAccessToken"]

    def forged(self) -> str:
        """A token that is right in everything but the key."""
        signer = Signer(ec.generate_private_key(ec.SECP256R1()), 10)
        return signer.generate_tokens(user_reference="u", data_set_ids="*", secure_filters={}, project_id="prj_1")["dataAccessToken"]


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The header's only value. Two of them are a fault of the answer."""
        values = [value for given, value in self.headers if given == name]
        assert len(values) <= 1, f"{name} stands {len(values)} times"
        return values[0] if values else None

    @property
    def code(self) -> str | None:
        """The refusal's code; None when the answer is no refusal."""
        if self.header("content-type") != "application/problem+json":
            return None
        return json.loads(self.body)["code"]


def ask(
    app: ASGIApp,
    path: str = "/query",
    *,
    method: str = "POST",
    headers: Sequence[tuple[str, str]] = (),
    body: bytes | Sequence[bytes] = b"",
    query: bytes = b"",
    **scope: Any,
) -> Answer:
    """One HTTP request. A list as `body` comes in that many messages; `scope` overrides members of the connection scope."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    incoming: list[Message] = [{"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1} for index, chunk in enumerate(chunks)]
    full = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "server": ("front", 80),
        "client": ("127.0.0.1", 1),
        **scope,
    }
    start, *rest = talk(app, full, [*incoming, {"type": "http.disconnect"}])
    assert start["type"] == "http.response.start"
    assert all(message["type"] == "http.response.body" for message in rest)
    assert rest
    assert not rest[-1].get("more_body", False)
    return Answer(
        start["status"], [(name.decode().lower(), value.decode("latin-1")) for name, value in start["headers"]], b"".join(message["body"] for message in rest)
    )


def talk(app: ASGIApp, scope: dict[str, Any], incoming: list[Message]) -> list[Message]:
    """Everything that the app sends over one connection of this scope."""
    sent: list[Message] = []
    waiting = list(incoming)

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent
