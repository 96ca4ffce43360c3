"""A query engine that knows nothing of rowseal: it runs whatever SQL is posted, as whoever the database lets in.

Alone it hands out every tenant's rows; `transparent` puts the gate in front of it. So nothing here imports rowseal.
"""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy import NullPool, create_engine, text
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sample_engine.shop import DATABASE

__all__ = ["create_naive_app"]


def create_naive_app(database: str | None = None) -> Starlette:
    """`POST /query {"sql", "params"?}` -> `{"columns", "rows"}`, on `database` or what `DATABASE_URL` names."""
    engine = create_engine(database or os.environ.get("DATABASE_URL", DATABASE), poolclass=NullPool)

    def run(sql: str, params: dict[str, Any]) -> dict[str, Any]:
        with engine.connect() as connection:
            result = connection.execute(text(sql), params)
            return {"columns": list(result.keys()), "rows": [[_plain(value) for value in row] for row in result]}

    async def query(request: Request) -> Response:
        ask = await request.json()
        return JSONResponse(await run_in_threadpool(run, ask["sql"], ask.get("params", {})))

    return Starlette(routes=[Route("/query", query, methods=["POST"])])


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else str(value)
