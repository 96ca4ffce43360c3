"""What `inspect` found out about one token, and how it is written: for people, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from rowseal.cli.terminal import Terminal, described
from rowseal.errors import AccessRefused, TokenRefused
from rowseal.grants import DashboardGrant, Grant

__all__ = ["Report", "facts", "iso", "show", "span", "withheld"]

_SHOWN: Final = frozenset(
    {"dataSetIds", "expires", "exp", "iat", "nbf", "accessType", "scope", "iss", "aud", "allowedOrigins", "cnf"}
)  # say nothing about anybody's rows
_SHOWN_IN_FILTERS: Final = frozenset({"field", "op"})


@dataclass(slots=True)
class Report:
    """All that was found out about one token."""

    kind: str
    header: dict[str, Any]
    claims: dict[str, Any]
    expires_at: float | None
    refusal: TokenRefused | None  # of the claims; with a configuration of the whole token
    judged: bool  # whether a configuration was asked
    grant: Grant | DashboardGrant | None
    datasets: dict[str, AccessRefused | str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def withheld(claims: Mapping[str, Any]) -> dict[str, Any]:
    """The claims without what could say something about a row or a person."""
    return {name: value if name in _SHOWN else _withheld(value, filters=name == "secureFilters") for name, value in claims.items()}


def _withheld(value: object, *, filters: bool = False) -> object:
    """The shape of a claim without what it says: names stay, and in filters field and operator; values become their kind."""
    if isinstance(value, dict):
        return {
            name: member if filters and name in _SHOWN_IN_FILTERS and isinstance(member, str) else _withheld(member, filters=filters)
            for name, member in value.items()
        }
    if isinstance(value, list):
        plain = value and not any(isinstance(each, dict | list) for each in value)
        return f"<list of {len(value)}>" if plain else [_withheld(each, filters=filters) for each in value]
    kinds = ((bool, "boolean"), (int, "number"), (float, "number"), (str, "string"))
    return next((f"<{name}>" for kind, name in kinds if isinstance(value, kind)), None)


def span(seconds: float) -> str:
    """A length of time in its two largest units."""
    left, parts = round(abs(seconds)), []
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}{'s' if count > 1 else ''}")
    return " ".join(parts[:2]) or "0 seconds"


def iso(moment: float) -> str:
    """A moment of epoch seconds as ISO 8601 in UTC."""
    # any moment that the verifier takes is a date: its latest is in the year 5138
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def facts(report: Report, claims: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The report for scripts. `claims` is what of them is shown, `now` in epoch seconds."""
    return {
        "kind": report.kind,
        "header": report.header,
        "claims": claims,
        "expires_at": None if report.expires_at is None else iso(report.expires_at),
        "seconds_left": None if report.expires_at is None else round(report.expires_at - now, 3),
        "verified": report.judged and report.refusal is None,
        "refused": None if report.refusal is None else described(report.refusal),
        "datasets": {
            name: {"rows": None, "refused": described(found)} if isinstance(found, AccessRefused) else {"rows": found, "refused": None}
            for name, found in report.datasets.items()
        },
        "warnings": report.warnings,
    }


def show(report: Report, claims: Mapping[str, Any], now: float, terminal: Terminal) -> None:
    """The report for people."""
    terminal.say(f"kind     {report.kind}")
    terminal.say(f"header   {json.dumps(report.header)}")
    terminal.say(f"claims   {json.dumps(claims, indent=2)}".replace("\n", "\n         "))
    if report.expires_at is not None:
        left = report.expires_at - now
        terminal.say(f"expires  {iso(report.expires_at)}, {f'in {span(left)}' if left > 0 else f'{span(left)} ago'}")
    if report.refusal is not None:
        terminal.say(f"verdict  refused: {report.refusal.code} ({report.refusal.status}): {report.refusal.detail}\n         cure: {report.refusal.hint}")
    elif report.judged:
        terminal.say("verdict  accepted")
    else:
        terminal.say("verdict  nothing is proven: write `--config datasets.yaml` to have signature, times and datasets judged")
    width = max(map(len, report.datasets), default=0)
    for name, found in report.datasets.items():
        if isinstance(found, AccessRefused):
            terminal.say(f"         {name:{width}}  closed: {found.code}: {found.detail}\n         {'':{width}}  cure: {found.hint}")
        else:
            terminal.say(f"         {name:{width}}  open: {found}")
    for warning in report.warnings:
        terminal.say(f"warning  {warning}")
