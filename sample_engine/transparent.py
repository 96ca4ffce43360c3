"""The naive engine made safe by what stands in front of it: nothing of it is changed, and its SQL never reaches the database as it was posted.

Tokens come from the host application, which is in `app`: log in there, or take the one that `make serve` prints.
"""

from __future__ import annotations

from rowseal.gate import Gate
from rowseal.http.middleware import GateMiddleware
from rowseal.http.rewrite import Rewrite
from sample_engine.app import CONFIGURATION
from sample_engine.naive import create_naive_app

__all__ = ["create_transparent_app"]


def create_transparent_app(gate: Gate | None = None, *, database: str | None = None) -> GateMiddleware:
    """The app for any ASGI server: `uvicorn --factory sample_engine.transparent:create_transparent_app`."""
    return GateMiddleware(create_naive_app(database), gate=gate or Gate.from_yaml(CONFIGURATION), rewrite=[Rewrite(path="/query")])
