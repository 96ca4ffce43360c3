"""Layouts of dashboards, kept by the host application: a default that everybody sees, and each person's own.

Who asks is said by the dashboard access token in the header `Dashboard-Token`. It opens no rows, so these paths need no data access token,
and the one never stands in for the other.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rowseal.dashboard import DashboardAccess
from rowseal.errors import QueryRefused, TokenRefused
from rowseal.gate import Gate

__all__ = ["DASHBOARDS", "HEADER", "PATHS", "PROJECT", "Layouts"]

PROJECT: Final = "prj_shop"
DASHBOARDS: Final = ("dsh_sales", "dsh_stock")
HEADER: Final = "Dashboard-Token"
PATHS: Final = "/dashboards/*"  # what the middleware opens, because the handlers here verify their own token

_KEPT: Final = 1_000  # own layouts: a demo keeps them in memory


class Layouts:
    """The layouts of one project, in memory: a restart forgets them."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._default: dict[str, dict[str, Any]] = {}
        self._own: dict[tuple[str, str], dict[str, Any]] = {}  # by dashboard and person
        self.routes = [
            Route("/dashboards/{dashboard}/default", self.default, methods=["GET", "PUT"]),
            Route("/dashboards/{dashboard}/own", self.own, methods=["GET", "PUT"]),
        ]

    async def default(self, request: Request) -> Response:
        """What everybody sees who has no layout of their own. Only an admin who may write changes it."""
        access = self._bearer(request)
        if (dashboard := _dashboard(request, access)) is None:
            return _unknown()
        if request.method == "PUT":
            layout = await _layout(request)
            if not access.can_manage():
                return _refused("only an admin with the scope `read_write` may change the default layout; save it as your own instead")
            self._default[dashboard] = layout
            return Response(status_code=204)
        return _found(self._default.get(dashboard, {}))

    async def own(self, request: Request) -> Response:
        """The bearer's own layout, and nobody else's; the default until there is one. Whoever may write may save one."""
        access = self._bearer(request)
        if (dashboard := _dashboard(request, access)) is None:
            return _unknown()
        # The person comes from the token and from nowhere else: there is no way to ask for another one's layout.
        key = (dashboard, access.user_reference)
        if request.method == "PUT":
            layout = await _layout(request)
            if not access.can_write():
                return _refused("the token's scope allows reading only")
            if len(self._own) >= _KEPT and key not in self._own:
                return _refused("this demo keeps no more layouts")
            self._own[key] = layout
            return Response(status_code=204)
        return _found(self._own.get(key, self._default.get(dashboard, {})))

    def _bearer(self, request: Request) -> DashboardAccess:
        found = request.headers.getlist(HEADER)
        if len(found) != 1:
            code = "token_ambiguous" if found else "token_missing"
            raise TokenRefused(code, "the request does not carry exactly one dashboard access token", hint=f"send it as `{HEADER}: <token>`")
        return self._gate.verify_dashboard(found[0])


def _dashboard(request: Request, access: DashboardAccess) -> str | None:
    """The dashboard of the path, if it is one of this project that the token names."""
    dashboard: str = request.path_params["dashboard"]
    return dashboard if access.project_id == PROJECT and dashboard in DASHBOARDS and access.covers(dashboard) else None


async def _layout(request: Request) -> dict[str, Any]:
    try:
        content = await request.json()
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise QueryRefused("request_malformed", "a layout is a JSON object", hint="send the layout as one JSON object")
    return content


def _unknown() -> Response:
    """The same for a dashboard that is not there and for one that the token does not name."""
    return JSONResponse({"detail": "no dashboard of this name is open to this token"}, status_code=404, headers={"Cache-Control": "no-store"})


def _found(layout: dict[str, Any]) -> Response:
    return JSONResponse(layout, headers={"Cache-Control": "private, no-store"})


def _refused(detail: str) -> Response:
    return JSONResponse({"detail": detail}, status_code=403, headers={"Cache-Control": "no-store"})
