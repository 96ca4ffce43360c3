"""What an integrator has: a shop's database, its datasets.yaml, key pairs, and a program of their own that signs claims."""

from __future__ import annotations

import copy
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, Final

import jwt
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from rowseal.gate import Gate
from rowseal.http.middleware import GateMiddleware
from rowseal.signing import Signer

__all__ = ["OWN", "Place", "configuration", "key", "private_pem", "public_pem"]

OWN: Final = [[{"field": "user_id", "op": "=", "value": 7}]]  # the orders of user 7: 1, 2 and 3

_ROWS: Final = """\
CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER, region TEXT, amount INTEGER, code TEXT, deleted BOOLEAN);
INSERT INTO orders VALUES (1, 7, 'EU', 10, 'a1', 0), (2, 7, 'US', 20, NULL, 0), (3, 7, 'eu', 30, 'b%2', 0), (4, 7, 'EU', 40, 'a9', 1),
  (5, 8, 'EU', 500, 'a5', 0), (6, NULL, 'EU', 600, 'a6', 0);
CREATE TABLE customers (id INTEGER PRIMARY KEY, user_id INTEGER, name TEXT);
INSERT INTO customers VALUES (1, 7, 'Ann'), (2, 8, 'Bob');
CREATE TABLE salaries (id INTEGER PRIMARY KEY, user_id INTEGER, amount INTEGER);
INSERT INTO salaries VALUES (1, 7, 9000), (2, 8, 9500);
CREATE TABLE items (id INTEGER PRIMARY KEY, order_id INTEGER);
INSERT INTO items VALUES (1, 1), (2, 5);
"""


@cache
def key(name: str) -> Any:
    """One private key of each name a process; those called RSA are RSA keys."""
    return rsa.generate_private_key(65537, 2048) if name.startswith("RSA") else ec.generate_private_key(ec.SECP256R1())


def public_pem(name: str = "shop") -> str:
    return key(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(name: str = "shop", form: PrivateFormat = PrivateFormat.PKCS8) -> str:
    return key(name).private_bytes(Encoding.PEM, form, NoEncryption()).decode()


def configuration() -> dict[str, Any]:
    """datasets.yaml as plain values: three datasets with a filterable user, and one read through its parent."""

    def number(*names: str) -> list[dict[str, Any]]:
        return [{"id": name, "type": "number"} for name in names]

    user = {"id": "user_id", "name": "User ID", "type": "number"}
    return {
        "version": 1,
        "database": "sqlite:///shop.db",
        "tokens": [{"profile": "vizzly", "keys": [{"id": "shop", "public_key": public_pem()}]}],
        "datasets": [
            {
                "id": "orders",
                "table": "orders",
                "fields": [
                    {"id": "order_id", "column": "id", "type": "number"},
                    user,
                    {"id": "region", "type": "string"},
                    *number("amount"),
                    {"id": "code", "type": "string"},
                    {"id": "deleted", "type": "boolean", "hidden": True},
                ],
                "secure_filters": [{"field": "deleted", "op": "=", "value": False}],
            },
            {"id": "customers", "table": "customers", "fields": [*number("id"), user, {"id": "name", "type": "string"}]},
            {"id": "salaries", "table": "salaries", "fields": [*number("id"), user, *number("amount")]},
            {"id": "items", "table": "items", "fields": number("id", "order_id"), "secure_filters": [{"through": "orders", "on": {"order_id": "order_id"}}]},
        ],
    }


class Place:
    """A folder with all of that. `close` gives every gate's connections back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "datasets.yaml"
        self._gates: list[Gate] = []
        with closing(sqlite3.connect(folder / "shop.db")) as database:
            database.executescript(_ROWS)

    def gate(self, change: Callable[[dict[str, Any]], object] | None = None, **more: Any) -> Gate:
        """Load the configuration, after `change` has been made to a copy of it."""
        document = copy.deepcopy(configuration())
        if change is not None:
            change(document)
        self.file.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False))
        gate = Gate.from_yaml(self.file, **more)
        self._gates.append(gate)
        return gate

    def app(self, gate: Gate | None = None, **settings: Any) -> Any:
        """An engine that asks the request's Access, behind the middleware; with `rewrite` the one on that path knows nothing of rowseal."""

        async def query(request: Request) -> JSONResponse:
            ask = await request.json()
            result = await request.state.rowseal.aexecute(ask["sql"], ask.get("params"), ask.get("dataSetId"))
            return JSONResponse([list(row) for row in result.rows])

        async def naive(request: Request) -> JSONResponse:
            ask = await request.json()
            with closing(sqlite3.connect(self.folder / "shop.db")) as database:
                return JSONResponse(database.execute(ask["sql"], ask.get("params") or {}).fetchall())

        routes = [Route("/query", query, methods=["GET", "POST"]), Route("/naive", naive, methods=["GET", "POST"])]
        return Starlette(routes=routes, middleware=[Middleware(GateMiddleware, gate=gate or self.gate(), **settings)])

    def tokens(self, *, signer: str = "shop", minutes: float = 15, clock: Callable[[], float] = time.time, **over: Any) -> dict[str, str]:
        """Both tokens of user 7, as our signer makes them: the orders of theirs, unless told."""
        given: dict[str, Any] = {"user_reference": "user 7", "project_id": "prj_shop", "data_set_ids": ["orders"], "secure_filters": {"orders": OWN}}
        return Signer(key(signer), minutes, clock=clock).generate_tokens(**(given | over))

    def token(self, **over: Any) -> str:
        """The data access token alone."""
        return self.tokens(**over)["dataAccessToken"]

    def sign(self, *, signer: str = "shop", algorithm: str = "ES256", header: dict[str, Any] | None = None, **over: Any) -> str:
        """Any claims, as any JWT library signs them; `...` leaves one out."""
        claims = {"dataSetIds": ["orders"], "secureFilters": {"orders": OWN}, "exp": int(time.time()) + 600} | over
        return jwt.encode({name: value for name, value in claims.items() if value is not ...}, key(signer), algorithm=algorithm, headers=header)

    def close(self) -> None:
        for gate in self._gates:
            gate.close()
