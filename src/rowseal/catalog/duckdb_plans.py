"""What a SELECT comes to on DuckDB, as its binder plans it: which tables it reads, in which collations, and whether anything in it can fail.

DuckDB computes the columns of a view before or after a filter on them, whichever it likes: a filter with a list that is negated or stands in an OR
is a join to it, above them. So what can fail there can fail on a row that the filter drops, and nothing that is written around it helps.
Only what is known to fail on no row may stand in such a SELECT; the rest is for TRY_CAST and TRY. Each line of the lists below is asked on the
values that are hardest (tests/test_duckdb_plans.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, text

__all__ = ["CASTS", "FUNCTIONS", "SUMS", "Plan", "collations", "failing", "plan", "scanned"]

Plan: TypeAlias = Mapping[str, Any]

_DIGITS: Final[Mapping[str, int]] = {
    "TINYINT": 3,
    "SMALLINT": 5,
    "INTEGER": 10,
    "BIGINT": 19,
    "UTINYINT": 3,
    "USMALLINT": 5,
    "UINTEGER": 10,
    "UBIGINT": 20,
    "HUGEINT": 39,
}
_SIGNED: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_MOMENTS: Final = ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")
# type -> the types that each value of it becomes. Besides: a type becomes itself, NULL anything, and DECIMAL what `_decimal_fits` says.
CASTS: Final[Mapping[str, frozenset[str]]] = {
    **{name: frozenset({*_SIGNED[place + 1 :], "DOUBLE", "VARCHAR"}) for place, name in enumerate(_SIGNED)},
    **{
        f"U{name}": frozenset({f"U{each}" for each in _SIGNED[place + 1 : -1]} | {*_SIGNED[place + 1 :], "DOUBLE", "VARCHAR"})
        for place, name in enumerate(_SIGNED[:-1])
    },
    "BOOLEAN": frozenset({*_SIGNED, "VARCHAR"}),
    "FLOAT": frozenset({"DOUBLE", "VARCHAR"}),
    "DOUBLE": frozenset({"VARCHAR"}),
    "DECIMAL": frozenset({"DOUBLE", "VARCHAR"}),
    "DATE": frozenset({"VARCHAR"}),
    "TIMESTAMP": frozenset({"DATE", "TIMESTAMP WITH TIME ZONE", "VARCHAR"}),
    "TIMESTAMP WITH TIME ZONE": frozenset({"DATE", "TIMESTAMP", "VARCHAR"}),
    **dict.fromkeys(("TIME", "UUID", "ENUM"), frozenset({"VARCHAR"})),
}
_TEXT: Final = frozenset({"VARCHAR"})
# function -> the types that its arguments may have
FUNCTIONS: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(("upper", "lower", "trim", "ltrim", "rtrim", "length", "||", "concat", "replace", "reverse"), _TEXT),
    **dict.fromkeys(("starts_with", "prefix", "suffix", "contains", "strpos", "~~", "!~~", "~~*", "!~~*"), _TEXT),
    **dict.fromkeys(("+", "-", "*", "/", "abs", "floor", "ceil", "round", "sign"), frozenset({"DOUBLE"})),
    **dict.fromkeys(("year", "quarter", "month", "day", "dayofweek"), frozenset(_MOMENTS)),
}
_COMPARED: Final = frozenset({"count", "count_star", "min", "max", "any_value", "first", "last", "bool_and", "bool_or", "string_agg"})
_WINDOWS: Final = frozenset({"ROW_NUMBER", "RANK", "RANK_DENSE", "LAG", "LEAD", "FIRST_VALUE", "LAST_VALUE"})
_FRAMES: Final = frozenset({"UNBOUNDED_PRECEDING", "UNBOUNDED_FOLLOWING", "CURRENT_ROW_ROWS", "EXPR_PRECEDING_ROWS", "EXPR_FOLLOWING_ROWS"})
SUMS: Final = frozenset({"sum", "avg"})
_SUMMED: Final = frozenset({*_DIGITS, "DOUBLE"} - {"HUGEINT", "UBIGINT"})  # into 128 bits, or into a DOUBLE that may become infinite
_SUMMED_DIGITS: Final = 20  # of a DECIMAL
_STEPS: Final = frozenset(
    "PROJECTION FILTER GET AGGREGATE_AND_GROUP_BY WINDOW DISTINCT ORDER_BY LIMIT COMPARISON_JOIN ANY_JOIN CROSS_PRODUCT DELIM_JOIN DELIM_GET UNION EXCEPT "
    "INTERSECT MATERIALIZED_CTE RECURSIVE_CTE CTE_REF DUMMY_SCAN EXPRESSION_GET EMPTY_RESULT".split()
)
_JOINS: Final = frozenset({"INNER", "LEFT", "RIGHT", "OUTER", "SEMI", "ANTI", "MARK"})  # SINGLE fails where there is a second row
_PLAIN: Final = frozenset({"BOUND_REF", "BOUND_COLUMN_REF", "BOUND_CONSTANT", "BOUND_CASE", "BOUND_CONJUNCTION", "BOUND_COMPARISON", "BOUND_BETWEEN"})
_OPERATORS: Final = frozenset({"OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "OPERATOR_NOT", "OPERATOR_COALESCE", "COMPARE_IN", "COMPARE_NOT_IN"})
_CONSTANTS: Final = frozenset({*_DIGITS, "VARCHAR", "BOOLEAN"})


def plan(connection: Connection, select: str) -> Plan | None:
    """The plan, before the optimizer has looked at it; None where DuckDB does not tell. Runs nothing."""
    found = json.loads(connection.execute(text("SELECT json_serialize_plan(:select)"), {"select": select}).scalar() or "{}")
    plans = [] if found.get("error", True) else found.get("plans", [])
    return plans[0] if len(plans) == 1 else None


def scanned(step: Any) -> Iterator[tuple[str, str]]:
    """The tables (schema, name) that are read, whatever views are between."""
    if isinstance(step, Mapping):
        data = step.get("function_data")
        if step.get("type") == "LOGICAL_GET" and isinstance(data, Mapping) and "table" in data:
            yield str(data.get("schema", "")), str(data["table"])
    for below in _parts(step):
        yield from scanned(below)


def collations(step: Plan | None) -> Mapping[str, str]:
    """The collation of each column that the SELECT gives, "" for none: no catalog of DuckDB names them."""
    if step is None or step.get("type") != "LOGICAL_PROJECTION":
        return {}
    return {str(each.get("alias", "")): _collation(each.get("return_type")) for each in step.get("expressions", ())}


def failing(connection: Connection, step: Any) -> str:
    """What of it may fail on some row, in the words of SQL; "" where nothing can. INVARIANT: what is not known may."""
    if isinstance(step, Mapping):
        if "expression_class" in step:
            if _caught(step) or _constant_converts(connection, step):
                return ""
            if not _infallible(step):
                return _named(step)
        elif str(step.get("type", "")).startswith("LOGICAL_") and not _harmless(step):
            return str(step["type"]).removeprefix("LOGICAL_").replace("_", " ")
    return next(filter(None, (failing(connection, below) for below in _parts(step))), "")


def _parts(step: Any) -> Iterator[Any]:
    if isinstance(step, Mapping):
        yield from step.values()
    elif isinstance(step, list):
        yield from step


def _collation(type_: Any) -> str:
    info = (type_ or {}).get("type_info") or {}
    return str(info.get("collation", "")).lower() if info.get("type") == "STRING_TYPE_INFO" else ""


def _harmless(step: Plan) -> bool:
    kind = step["type"].removeprefix("LOGICAL_")
    if kind == "GET":
        return _path(step)[-1:] == ["seq_scan"]
    return kind in _STEPS and step.get("join_type", "INNER") in _JOINS


def _infallible(node: Plan) -> bool:
    kind, name = node["expression_class"], str(node.get("type", ""))
    match kind:
        case "BOUND_OPERATOR":
            return name in _OPERATORS
        case "BOUND_FUNCTION" if name == "OPERATOR_CAST":
            return _casts(node)
        case "BOUND_FUNCTION" if name.startswith("COMPARE_"):
            return True  # both sides are of one type by now
        case "BOUND_FUNCTION":
            given = {each["id"] for each in node.get("arguments", ())}
            return _own(node) and _path(node)[-1] in FUNCTIONS and given <= FUNCTIONS[_path(node)[-1]]
        case "BOUND_AGGREGATE":
            return _aggregates(node)
        case "BOUND_WINDOW":
            framed = any(node.get(part) is not None for part in ("start_expr", "end_expr"))
            counted = framed and not {str(node.get(side, "")) for side in ("start", "end")} <= _FRAMES
            return not counted and (_aggregates(node) if name == "WINDOW_AGGREGATE" else name.removeprefix("WINDOW_") in _WINDOWS)
        case _:
            return kind in _PLAIN


def _aggregates(node: Plan) -> bool:
    name, given = _path(node)[-1], node.get("arguments", ())
    if name in SUMS:
        return _own(node) and all(each["id"] in _SUMMED or (each["id"] == "DECIMAL" and _width(each)[0] <= _SUMMED_DIGITS) for each in given)
    return _own(node) and name in _COMPARED


def _casts(node: Plan) -> bool:
    if node["function_data"].get("try_cast") is True:
        return True
    (source,), target = node["arguments"], node["return_type"]
    if source["id"] == "NULL":
        return True
    if target["id"] == "DECIMAL":
        return _decimal_fits(source, target)
    return (source["id"] == target["id"] and source["id"] not in {"ENUM", "STRUCT", "LIST", "MAP", "UNION"}) or target["id"] in CASTS.get(source["id"], ())


def _decimal_fits(source: Plan, target: Plan) -> bool:
    width, scale = _width(target)
    if source["id"] in _DIGITS:
        return _DIGITS[source["id"]] <= width - scale
    if source["id"] != "DECIMAL":
        return False
    theirs, fraction = _width(source)
    return theirs - fraction + (fraction > scale) <= width - scale  # a digit that is rounded away may carry


def _width(type_: Plan) -> tuple[int, int]:
    info = type_.get("type_info") or {}
    return int(info.get("width", 99)), int(info.get("scale", 0))


def _caught(node: Plan) -> bool:
    return node["expression_class"] == "BOUND_OPERATOR" and node.get("type") == "OPERATOR_TRY"


def _constant_converts(connection: Connection, node: Plan) -> bool:
    """Whether it is a cast of a constant that DuckDB makes without failing. It asks only when a row comes by, so it is asked here."""
    chain = []
    while node["expression_class"] == "BOUND_FUNCTION" and node.get("type") == "OPERATOR_CAST":
        chain.append(_spelled(node["return_type"]))
        (node,) = node["children"]
    if not chain or node["expression_class"] != "BOUND_CONSTANT" or node["value"]["is_null"] or node["value"]["type"]["id"] not in _CONSTANTS or "" in chain:
        return False
    asked = f"CAST(:value AS {node['value']['type']['id']})"
    for name in reversed(chain):
        asked = f"TRY_CAST({asked} AS {name})"
    return connection.execute(text(f"SELECT {asked} IS NOT NULL"), {"value": node["value"]["value"]}).scalar() is True


def _spelled(type_: Plan) -> str:
    if type_["id"] == "DECIMAL":
        return "DECIMAL({}, {})".format(*_width(type_))
    return type_["id"] if type_["id"] in {*_CONSTANTS, *_MOMENTS, "DOUBLE"} else ""


def _path(node: Plan) -> list[str]:
    return list((node.get("qname") or {}).get("path") or ["?"])


def _own(node: Plan) -> bool:
    """Whether it is DuckDB's own function of that name, and nobody else's."""
    return _path(node)[:-1] == ["system", "main"]


def _named(node: Plan) -> str:
    if node.get("type") == "OPERATOR_CAST":
        return f"CAST to {node['return_type']['id']}"
    name = _path(node)[-1]
    return name if name != "?" else str(node.get("type", node["expression_class"])).removeprefix("BOUND_").removeprefix("OPERATOR_").lower()
