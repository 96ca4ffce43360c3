"""Transparent mode: the SQL in a JSON body becomes the secured SQL, for an engine that knows nothing of rowseal. Pure functions, no I/O.

What is judged here and what the engine reads must be the same: one body, one meaning, or none. Sources: RFC 8259 (JSON), RFC 7493
(I-JSON: which numbers every reader takes exactly), PEP 249 (parameter styles). docs/explanation/modes.md says what holds in this mode.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from email.message import Message as MediaType
from typing import Any, Final, get_args
from uuid import UUID

from rowseal.claims import Json
from rowseal.errors import AccessRefused, BudgetExceeded, EngineFailed, QueryRefused
from rowseal.http.transport import BODY_DEPTH, Headers, OpenPaths
from rowseal.sql import ParamStyle, SecuredQuery
from rowseal.strict import Malformed, json_object, json_text

__all__ = ["Ask", "EngineReply", "Rewrite", "check_request", "engine_headers"]

# RFC 7493, 2.2: beyond this some readers of JSON round, and a rounded value may be another tenant's.
LARGEST_EXACT: Final = 2**53 - 1

# What a reader that knows nothing of quotes takes for a parameter. A colon between digits is a time of day to every one of them.
# SQLAlchemy's `text()` writes `:x` as `%(x)s` before it numbers the parameters, and then finds those of a literal too.
_MARKS: Final[Mapping[str, re.Pattern[str]]] = {
    "named": re.compile(r"\\:|(?<!\d):\w+|:[^\W\d]\w*|%\([^)]+\)s"),
    "qmark": re.compile(r"\?"),
    "numeric_dollar": re.compile(r"\$\d+"),
}
_UTF8: Final = frozenset({"", "utf-8", "utf8", "us-ascii"})
_REPLACED_HEADERS: Final = frozenset({b"content-type", b"content-length", b"transfer-encoding", b"content-encoding"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """One path of an engine that runs whatever SQL is posted to it.

    `path` as the app's own routes spell it. `sql`, `params` and `dataset` are the members of the JSON body that hold the SQL, an object of
    parameters, and the id of the one dataset that is asked. `paramstyle` is what the engine hands to its driver: `named` (`:x`),
    `pyformat` (`%(x)s`), `format` (`%s`), `qmark` (`?`) or `numeric_dollar` (`$1`); the first two get an object, the others a list.
    `connection` is the connection whose database the engine asks; it must be named where datasets.yaml has several.

    Raises ValueError when the path, a member or the style cannot be used.
    """

    path: str
    sql: str = "sql"
    params: str = "params"
    dataset: str = "dataSetId"
    paramstyle: ParamStyle = "named"
    connection: str | None = None

    def __post_init__(self) -> None:
        if self.path.endswith("*"):
            raise ValueError(f"`{self.path}` cannot be rewritten: write one plain path as `/query`")
        OpenPaths([self.path])
        members = [_folded(name) for name in (self.sql, self.params, self.dataset)]
        if "" in members or len(set(members)) < len(members):
            raise ValueError("sql, params and dataset: write three names of members that no reader of JSON takes for each other")
        if self.paramstyle not in get_args(ParamStyle):
            raise ValueError(f"paramstyle: write one of {', '.join(get_args(ParamStyle))}")

    def read(self, body: bytes) -> Ask:
        """What the body asks. Raises QueryRefused `request_malformed` for whatever cannot be read for certain."""
        try:
            content = json_object(body, depth=BODY_DEPTH)
        except Malformed:
            raise QueryRefused("request_malformed", "the body is not one strict JSON object") from None
        return self.take_apart(content)

    def take_apart(self, content: Mapping[str, Json]) -> Ask:
        """`read`, of a body that is parsed."""
        known = {self.sql, self.params, self.dataset}
        # INVARIANT: no reader finds the SQL elsewhere than we do. Some compare the names of members without case or punctuation.
        folded = {_folded(name) for name in known}
        if any(name not in known and _folded(name) in folded for name in content):
            raise QueryRefused("request_malformed", f"a member of the body resembles `{self.sql}`, `{self.params}` or `{self.dataset}`")
        sql, params, dataset = content.get(self.sql), content.get(self.params), content.get(self.dataset)
        if not isinstance(sql, str):
            raise QueryRefused("request_malformed", f"`{self.sql}` in the body is not a string of SQL", hint=f"send a JSON object with `{self.sql}`")
        if not isinstance(params, dict | None):
            raise QueryRefused("request_malformed", f"`{self.params}` in the body is not an object", hint="name a value for each `:name` in the SQL")
        if not isinstance(dataset, str | None):
            raise QueryRefused("request_malformed", f"`{self.dataset}` in the body is not the id of a dataset")
        # A fraction reaches the engine as JSON, and readers of JSON make a double of it: so it is judged as one too.
        values = {name: float(value) if isinstance(value, Decimal) else value for name, value in (params or {}).items()}
        rest = {name: value for name, value in content.items() if name not in {self.sql, self.params}}
        return Ask(sql, values, dataset, rest)

    def body(self, ask: Ask, query: SecuredQuery) -> bytes:
        """The body for the engine: the secured SQL, its binds, every other member as it came.

        Raises QueryRefused `construct_refused` for DuckDB, and when the engine could mistake a part of the text for a bind, AccessRefused
        `value_not_carried` when JSON cannot carry a filter's value exactly.
        """
        if query.dialect == "duckdb":  # see docs/decisions/0016-duckdb.md: its answers depend on settings that nobody can see from here
            raise QueryRefused(
                "construct_refused", "a DuckDB file is not read by another engine", hint="ask rowseal's own connections: `access.execute`, or the gateway"
            )
        text, binds = query.render(self.paramstyle)
        _unmistakable(text, query, self.paramstyle)
        carried = {name: _carried(value, name, query.dialect) for name, value in query.params.items()}
        params = carried if isinstance(binds, dict) else [carried[name] for name in query.names]
        members = [f"{json.dumps(name)}:{json_text(value)}" for name, value in ask.rest.items()]
        members += [f"{json.dumps(self.sql)}:{json.dumps(text)}", f"{json.dumps(self.params)}:{json.dumps(params, allow_nan=False, separators=(',', ':'))}"]
        return f"{{{','.join(members)}}}".encode("ascii")


@dataclass(frozen=True, slots=True)
class Ask:
    """A body, taken apart. `rest` are the members that go on as they came."""

    sql: str = field(repr=False)
    params: Mapping[str, Any] = field(repr=False)
    dataset: str | None
    rest: Mapping[str, Json] = field(repr=False)


def check_request(method: str, query: bytes, headers: Headers) -> None:
    """Refuse, before the body is read, what could bring SQL to the engine elsewhere than in this body. Raises QueryRefused `request_malformed`."""
    if method != "POST":
        raise QueryRefused("request_malformed", "this path takes a query in a JSON body only", hint="send it with POST")
    if query:
        raise QueryRefused("request_malformed", "this path takes no query string", hint="send everything in the JSON body")
    types = [value for name, value in headers if name.lower() == b"content-type"]
    if len(types) > 1 or any(_charset(value) not in _UTF8 for value in types):
        raise QueryRefused("request_malformed", "the body must be JSON in UTF-8")
    if any(name.lower() == b"content-encoding" and value.strip().lower() != b"identity" for name, value in headers):
        raise QueryRefused("request_malformed", "this path takes no compressed body")


def engine_headers(headers: Headers, body: bytes) -> list[tuple[bytes, bytes]]:
    """The headers for the rewritten body: whatever type and length were announced, it is JSON and this long."""
    kept = [(name, value) for name, value in headers if name.lower() not in _REPLACED_HEADERS]
    return [*kept, (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]


class EngineReply:
    """An engine's answer on its way out: nothing of a failure, and no more than `limit` bytes. Holds no connection and sends nothing itself."""

    __slots__ = ("_left", "_start", "complete")

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._start: Mapping[str, Any] | None = None
        self.complete = False

    def take(self, message: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What may be sent on now that this message came. The start waits for the first piece, so that a large one can still be refused.

        Raises EngineFailed `query_failed` for every status that is not 2xx, BudgetExceeded `result_too_large` beyond the limit.
        """
        if message["type"] == "http.response.start":
            if not 200 <= message["status"] < 300:
                raise EngineFailed("query_failed")
            if any(name.lower() == b"content-length" and value.isdigit() and int(value[:20]) > self._left for name, value in message.get("headers", ())):
                raise BudgetExceeded("result_too_large")
            self._start = message
            return []
        if message["type"] != "http.response.body":
            return []  # hints, trailers, files by path: what is not counted does not pass
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise BudgetExceeded("result_too_large")
        self.complete = not message.get("more_body", False)
        started, self._start = self._start, None
        return [dict(each) for each in (started, message) if each is not None]


def _folded(name: str) -> str:
    return "".join(character for character in unicodedata.normalize("NFKC", name).casefold() if character.isalnum())


def _charset(content_type: bytes) -> str:
    parsed = MediaType()
    parsed["content-type"] = content_type.decode("latin-1")
    charset = parsed.get_param("charset", "")
    return charset.lower() if isinstance(charset, str) else "unknown"


def _unmistakable(text: str, query: SecuredQuery, style: ParamStyle) -> None:
    """INVARIANT: however little the engine's reader knows of quotes, it finds the binds that are there and no other."""
    written: Sequence[str]
    match style:
        case "named":
            written = [f":{name}" for name in query.names]
        case "qmark":
            written = ["?"] * len(query.names)
        case "numeric_dollar":
            written = [f"${position}" for position in range(1, len(query.names) + 1)]
        case "pyformat" | "format":
            # `%` is doubled, but whether a driver halves it again without any bind is the engine's habit.
            if query.names or "%" not in text:
                return
            written = []
    if style not in _MARKS or _MARKS[style].findall(text) != written:
        raise QueryRefused(
            "construct_refused", "a string or a name in the SQL holds what the engine could take for a parameter", hint="send the string as a parameter"
        )


def _carried(value: Any, name: str, dialect: str) -> Any:
    """The value as JSON has it. On PostgreSQL every bind of a guard stands in a CAST, so text says there what a number of JSON cannot."""
    if not name.startswith("g"):
        return value  # the bearer's own parameter, as it came
    if isinstance(value, list):
        items = [_carried(item, name, dialect) for item in value]
        # an array has one type
        return items if len({type(item) is str for item in items}) == 1 else [str(item) for item in items]
    kind = type(value)
    if kind in (bool, str, float) or (kind is int and abs(value) <= LARGEST_EXACT):
        return value
    if dialect != "postgres" or not isinstance(value, int | Decimal | date | UUID):
        raise AccessRefused("value_not_carried")
    return value.isoformat() if isinstance(value, date) else str(value)
