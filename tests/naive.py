"""An engine that knows nothing of rowseal: it runs whatever SQL is posted, and says everything that it knows when something goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import psycopg
from sqlalchemy import Connection, Engine, text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

__all__ = ["Binding", "NaiveEngine"]

# How the engine hands SQL and parameters on: through `text()`, straight to the driver, or past SQLAlchemy to psycopg's own `$1`.
Binding = Literal["text", "driver", "raw"]


class NaiveEngine:
    """`POST /query {"sql", "params"}` -> rows as strings. `asks` are the bodies that came, `seen` what else did."""

    def __init__(self, engine: Engine, binding: Binding) -> None:
        self._engine = engine
        self._binding = binding
        self.asks: list[dict[str, Any]] = []
        self.seen: list[Request] = []
        self.app = Starlette(debug=True, routes=[Route("/query", self.query, methods=["GET", "POST", "PUT"]), Route("/{path:path}", self.query)])

    async def query(self, request: Request) -> Response:
        self.seen.append(request)
        ask = await request.json()
        self.asks.append(ask)
        with self._engine.connect() as connection:
            return JSONResponse([[None if value is None else str(value) for value in row] for row in self._run(connection, ask["sql"], ask["params"])])

    def _run(self, connection: Connection, sql: str, params: Any) -> Sequence[Sequence[Any]]:
        if self._binding == "text":
            return connection.execute(text(sql), params).all()
        if self._binding == "driver":
            if connection.dialect.name == "sqlite" and "$1" in sql:  # to sqlite3 these are names, for which Python 3.12 and later want no list
                params = {str(position): value for position, value in enumerate(params, 1)}
            return connection.exec_driver_sql(sql, params if isinstance(params, dict) else tuple(params)).all()
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        return psycopg.RawCursor(driver).execute(sql.encode(), params).fetchall()
