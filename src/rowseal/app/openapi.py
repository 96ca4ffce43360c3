"""What the gateway answers, as an OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.0), written by hand.

It says nothing of any configuration, so it needs no token. docs/reference/http.md is written from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from rowseal.catalog import FieldType
from rowseal.engine.result import TYPES
from rowseal.errors import CODES

__all__ = ["DATASETS", "EXPLAIN", "HEALTH", "OPENAPI", "QUERY", "READY", "document"]

QUERY: Final = "/v1/query"
DATASETS: Final = "/v1/datasets"
EXPLAIN: Final = "/v1/explain"
HEALTH: Final = "/healthz"
READY: Final = "/readyz"
OPENAPI: Final = "/openapi.json"

# Codes that no request to these paths can be answered with: of other modes, of other servers, and the one that nobody reads.
_ELSEWHERE: Final = frozenset(
    {"admin_refused", "key_refused", "path_closed", "path_unknown", "method_refused", "value_not_carried", "statement_unsecured", "query_cancelled"}
)
_CLOSED_DATASET: Final = frozenset({"dataset_unknown", "dataset_revoked", "filter_required", "filter_inapplicable", "guard_unmet", "claim_required"})
_STATUS: Final = {
    400: "Not a request or query that is accepted",
    401: "Who the bearer is was not proven",
    403: "Not for this bearer",
    406: "Wanted in a form that this server does not have",
    413: "Larger than this server accepts or sends",
    429: "Too many queries at once, or more than the key may in an hour",
    500: "A promise of rowseal's own did not hold",
    502: "The database failed",
    503: "What the token is judged by is out of reach at the moment",
    504: "The query ran out of time",
}
_TOKEN: Final[list[dict[str, list[str]]]] = [{"token": []}]
_NOBODY: Final[list[dict[str, list[str]]]] = []


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rowseal",
            "version": _version(),
            "summary": "A sealed token goes in, only the permitted rows come out.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            QUERY: {
                "post": {
                    "operationId": "query",
                    "summary": "Run one SELECT and get the permitted rows.",
                    "description": "The answer is cut at the server's row limit and then says `truncated`. `Accept` chooses its form; "
                    "what has no place for `truncated` is refused instead of being cut. Long answers but JSON go out while they are read. "
                    "Several queries run at once, each with a transaction and limits of its own, and are answered in JSON.",
                    "security": _TOKEN,
                    "requestBody": _body("Ask", "Asks"),
                    "responses": {
                        "200": _rows(),
                        **_refusals(400, 401, 403, 406, 413, 429, 500, 502, 503, 504, but={"explain_closed"}),
                    },
                }
            },
            DATASETS: {
                "get": {
                    "operationId": "datasets",
                    "summary": "List the datasets that the token grants, with the spelling of every name in SQL.",
                    "description": "An id that the token names and the configuration lacks does not appear, nor does a hidden field.",
                    "security": _TOKEN,
                    "responses": {
                        "200": _json("The granted datasets, in the order of the configuration", "Datasets"),
                        **_refusals(401, 500, 502, 503, but={"query_failed"}),
                    },
                }
            },
            EXPLAIN: {
                "post": {
                    "operationId": "explain",
                    "summary": "Show what a query is made into, and where each filter was written. Nothing runs.",
                    "description": "Only for tokens of keys that say `explain: true` in the configuration. Values are withheld.",
                    "security": _TOKEN,
                    "requestBody": _body("Ask"),
                    "responses": {
                        "200": _json("The secured query", "Explanation"),
                        **_refusals(400, 401, 403, 413, 500, 502, 503, but={"result_too_large", "query_failed"}),
                    },
                }
            },
            HEALTH: {
                "get": {
                    "operationId": "health",
                    "summary": "Say that the process serves.",
                    "security": _NOBODY,
                    "responses": {"200": _json("It does", "Alive")},
                }
            },
            READY: {
                "get": {
                    "operationId": "ready",
                    "summary": "Say whether every database answers, and whether it is known what is revoked.",
                    "description": "Asked at most once a second, for two seconds at most. `epoch` is 1 at the start, one more with each reload that succeeded.",
                    "security": _NOBODY,
                    "responses": {"200": _json("All of them do", "Readiness"), "503": _json("Not all of them do", "Readiness")},
                }
            },
            OPENAPI: {
                "get": {
                    "operationId": "openapi",
                    "summary": "This document.",
                    "security": _NOBODY,
                    "responses": {"200": {"description": "OpenAPI 3.1", "content": {"application/json": {"schema": {"type": "object"}}}}},
                }
            },
        },
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The data access token that the host application signed. Answers say in `X-Token-Expires-In` how many seconds are left.",
                }
            },
            "schemas": _SCHEMAS,
        },
    }


def _version() -> str:
    try:
        return version("rowseal")
    except PackageNotFoundError:
        return "0"


def _json(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ref(schema)}}}


def _rows() -> dict[str, Any]:
    forms = {
        "application/x-ndjson": "An object with `columns`, an array for each row, and an object with `truncated`; "
        "or, where the query fails, a Problem as the last line.",
        "text/csv": "RFC 4180 with a header, UTF-8. Text stands in quotes; "
        "one that begins with `=`, `+`, `-`, `@`, a tab, a line break or `'` has a `'` before it.",
        "application/vnd.apache.arrow.stream": "Arrow's IPC stream, where the server has it.",
    }
    schemas = {form: {"schema": {"type": "string", "description": about}} for form, about in forms.items()}
    return {"description": "The permitted rows", "content": {"application/json": {"schema": _either("Answer", "Answers")}, **schemas}}


def _body(*schemas: str) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": _either(*schemas)}}}


def _either(*schemas: str) -> dict[str, Any]:
    return _ref(schemas[0]) if len(schemas) == 1 else {"oneOf": [_ref(each) for each in schemas]}


def _refusals(*statuses: int, but: set[str]) -> dict[str, Any]:
    """The answer of each status, with every code that it may have."""
    found = {}
    for status in statuses:
        codes = [code for code, meaning in CODES.items() if meaning.status == status and code not in _ELSEWHERE | but]
        schema = {"allOf": [_ref("Problem"), {"properties": {"status": {"const": status}, "code": {"enum": codes}}}]}
        found[str(status)] = {"description": _STATUS[status], "content": {"application/problem+json": {"schema": schema}}}
    return found


def _ref(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _object(about: str, members: Mapping[str, Any], optional: Sequence[str] = ()) -> dict[str, Any]:
    required = [name for name in members if name not in optional]
    return {"description": about, "type": "object", "properties": dict(members), "required": required, "additionalProperties": False}


def _text(about: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": about, **more}


def _list(items: Any, about: str = "") -> dict[str, Any]:
    return {"type": "array", "items": items, **({"description": about} if about else {})}


_TEXT: Final = {"type": "string"}
_FLAG: Final = {"type": "boolean"}
_SCHEMAS: Final[dict[str, Any]] = {
    "Ask": _object(
        "What a bearer asks.",
        {
            "sql": _text("One SELECT.", minLength=1, examples=["SELECT region, SUM(amount) AS total FROM orders GROUP BY region"]),
            "params": {
                "description": "A value for each `:name` in the SQL.",
                "type": ["object", "null"],
                "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
                "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
            },
            "dataSetId": {"description": "The id of the one dataset that the query reads, where it shall read no other.", "type": ["string", "null"]},
        },
        optional=("params", "dataSetId"),
    ),
    "Asks": _object(
        "Several queries in one request. How many there may be is the server's affair (`limits.queries`).",
        {"queries": {**_list(_ref("Ask"), "Each is admitted, run and answered, or refused, by itself."), "minItems": 1}},
    ),
    "Answers": _object(
        "What became of several queries.",
        {
            "results": {
                **_list({"oneOf": [_ref("Answer"), _ref("Problem")]}, "In the order of the queries. That one is refused changes nothing for the others."),
                "minItems": 1,
            }
        },
    ),
    "Answer": _object(
        "Rows, column by column in the order of the SELECT list.",
        {
            "columns": _list(_ref("Column")),
            "rows": _list(_list({})),
            "truncated": {**_FLAG, "description": "Whether there are more rows than the server hands out."},
        },
    ),
    "Column": _object(
        "One column of an answer.",
        {
            "name": _TEXT,
            "type": _text(
                "What its values are in JSON; any may be null. PostgreSQL declares it. SQLite has no types of columns: there it is what the values of this "
                "answer are. " + "; ".join(f"`{name}`: {about}" for name, about in TYPES.items()) + ".",
                enum=list(TYPES),
            ),
        },
    ),
    "Datasets": _object("What a token grants.", {"datasets": _list(_ref("Dataset"))}),
    "Dataset": _object(
        "One granted dataset.",
        {
            "id": _text("Its name in `dataSetIds` and `secureFilters`."),
            "name": _text("Its name for people."),
            "sql": _text("Its name in SQL, quoted."),
            "fields": _list(_ref("Field")),
            "queryable": {**_FLAG, "description": "Whether queries of this token may read it."},
            "refusal": _ref("Refusal"),
        },
        optional=("refusal",),
    ),
    "Field": _object(
        "One field that queries may see.",
        {
            "id": _text("Its name in filters."),
            "name": _text("Its name for people."),
            "sql": _text("Its name in SQL, quoted."),
            "type": _text("What it is in filters.", enum=[each.value for each in FieldType]),
        },
    ),
    "Refusal": _object(
        "Why a granted dataset is closed all the same.",
        {"code": {"enum": sorted(_CLOSED_DATASET)}, "detail": _TEXT, "hint": _text("The cure.")},
    ),
    "Explanation": _object(
        "What a query was made into.",
        {
            "connection": _text("Whose database would be asked."),
            "dialect": {"enum": ["sqlite", "postgres", "mariadb", "duckdb"]},
            "sql": _text("What the database would get."),
            "binds": _list(_object("A bound value, withheld.", {"name": _TEXT, "type": _TEXT})),
            "reads": _list(_ref("Read")),
        },
    ),
    "Read": _object(
        "One place where the query reads a dataset.",
        {
            "guard": _text("The name of the guard in the text."),
            "dataset": _text("The dataset's id."),
            "form": {
                "enum": ["plain", "case", "fenced"],
                "description": "What keeps the query's own expressions from other rows. `plain`: nothing has to, none of them can raise. "
                "`case`: what could raise is computed only where the guard's `__okN` holds. "
                "`fenced`: the filters have run before anything of the query's own is computed.",
            },
            "filters": _list(_ref("Filter"), "All of these hold, those of one OR by their places: `[0][1]` is the second of the first group."),
        },
    ),
    "Filter": _object(
        "One filter of a guard.",
        {
            "origin": _text("Where it was written: a path in the claims, or `datasets.yaml:LINE`."),
            "field": _TEXT,
            "op": _TEXT,
            "binds": _list(_TEXT, "The names of its values in the text."),
            "through": _text("The parent dataset through whose permitted rows this one is read."),
            "on": {"type": "object", "additionalProperties": _TEXT, "description": "Field of the dataset: field of the parent."},
            "filters": _list(_ref("Filter"), "The filters of the parent."),
        },
        optional=("field", "op", "binds", "through", "on", "filters"),
    ),
    "Alive": _object("A sign of life.", {"status": {"const": "alive"}}),
    "Readiness": _object(
        "Whether every database answers.",
        {"status": {"enum": ["ready", "unavailable"]}, "epoch": {"type": "integer", "minimum": 1}, "keys": {"enum": ["fresh", "stale", "unavailable"]}},
    ),
    "Problem": {
        "description": "A refusal (RFC 9457). Match on `code`.",
        "type": "object",
        "properties": {
            "type": _text("A name for the code.", format="uri"),
            "title": _text("What the code means."),
            "status": {"type": "integer"},
            "code": {"enum": sorted(set(CODES) - {"query_cancelled", "statement_unsecured"})},
            "detail": _text("What it means for this request."),
            "hint": _text("The cure."),
            "request_id": _text("Under which the server's log has the rest."),
            "line": {"type": "integer", "minimum": 1, "description": "Where in the SQL, if a place is known."},
            "column": {"type": "integer", "minimum": 1},
        },
        "required": ["type", "title", "status", "code", "detail", "hint", "request_id"],
    },
}
