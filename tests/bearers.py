"""Whom random queries are asked for, over which datasets, and what their tables hold.

Two configurations: datasets over tables, and the same with datasets that are a SELECT, a join or a view besides. Rows are those of the
world, mixed anew for every few hundred queries.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from world import CONFIGURATION, TABLES, VIEWS, Bearer, Table, Value
from writer import Columns

__all__ = ["BEARERS", "CONFIGURATIONS", "FUZZED_VIEWS", "MADE", "mixed", "relations"]

# A view that computes what fails on rows that nobody sees, under a dataset.
FUZZED_VIEWS: Final[Mapping[str, str]] = {
    **VIEWS,
    "v_sales": "SELECT id, tenant_id, region, status, CAST(code AS INTEGER) AS orders_placed, amount FROM orders WHERE deleted = FALSE",
}
_NUMBER, _STRING = {"type": "number"}, {"type": "string"}
_MADE: Final[tuple[dict[str, Any], ...]] = (
    {
        "id": "bought",
        "sql": "SELECT o.id, o.tenant_id AS tenant, o.region, o.amount, o.code, c.name AS customer FROM orders AS o LEFT JOIN customers AS c"
        " ON c.id = o.customer_id WHERE o.deleted = FALSE",
        "reads_past": ["orders", "customers"],
        "fields": [
            {"id": "id", **_NUMBER}, {"id": "tenant", **_NUMBER}, {"id": "region", **_STRING}, {"id": "amount", **_NUMBER}, {"id": "code", **_STRING},
            {"id": "customer", **_STRING},
        ],
    },
    {
        "id": "pairs",
        "table": "employees",
        "joins": [{"type": "left", "table": "employees", "as": "boss", "on": {"manager_id": "id"}}],
        "reads_past": ["employees"],
        "fields": [
            {"id": "id", **_NUMBER}, {"id": "name", **_STRING}, {"id": "tenant", "column": "tenant_id", **_NUMBER},
            {"id": "boss", "table": "boss", "column": "name", **_STRING}, {"id": "boss_tenant", "table": "boss", "column": "tenant_id", **_NUMBER},
        ],
    },
    {
        "id": "v_sales",
        "table": "v_sales",
        "fields": [
            {"id": "id", **_NUMBER}, {"id": "tenant_id", **_NUMBER}, {"id": "region", **_STRING}, {"id": "status", **_STRING},
            {"id": "level", "column": "orders_placed", **_NUMBER}, {"id": "amount", **_NUMBER},
        ],
    },
)  # fmt: skip
CONFIGURATIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "tables": CONFIGURATION,
    "sources": {**CONFIGURATION, "datasets": [*CONFIGURATION["datasets"], *_MADE]},
}
_EVERYONE: Final = ("orders", "customers", "order_items", "products", "employees", "events")
_SOURCES: Final = ("bought", "pairs", "v_sales")


def _same(field: str, value: Any, op: str = "=") -> list[list[dict[str, Any]]]:
    return [[{"field": field, "op": op, "value": value}]]


def _tenant(number: int) -> dict[str, list[list[dict[str, Any]]]]:
    by_tenant = dict.fromkeys(("orders", "customers", "employees", "events", "v_sales"), _same("tenant_id", number))
    return by_tenant | {"bought": _same("tenant", number), "pairs": _same("tenant", number)}


# A long list costs more than most expressions, so that a planner evaluates the bearer's first if it may.
_MANY_REGIONS: Final = _same("region", ["EU", "DE", "FR", "IT", "ES", "NL", "BE", "AT"], "is_one_of")
_MANY_TENANTS: Final = [1, 11, 12, 13, 14, 15, 16, 17]
MADE: Final = frozenset({"bought", "pairs"})  # no tables, so no schema
_GRANTED: Final = (*_EVERYONE, *_SOURCES)
BEARERS: Final[dict[str, Bearer]] = {
    "a tenant": Bearer(_GRANTED, _tenant(1)),
    "one of eight": Bearer(
        _GRANTED,
        {
            **dict.fromkeys(("orders", "customers", "bought", "v_sales"), _MANY_REGIONS),
            **dict.fromkeys(("employees", "events"), _same("tenant_id", _MANY_TENANTS, "is_one_of")),
            "pairs": _same("boss_tenant", _MANY_TENANTS, "is_one_of"),
        },
    ),
    "either of two": Bearer(
        _GRANTED,
        {
            "orders": [
                [{"field": "tenant_id", "op": "=", "value": 2}],
                [{"field": "status", "op": "starts_with", "value": "op"}, {"field": "region", "op": "is_not_null"}],
            ],
            "customers": [[{"field": "name", "op": "contains_substring", "value": "n"}], [{"field": "tenant_id", "op": "is_one_of", "value": [1]}]],
            "employees": _same("salary", [200, 450], "between"),
            "events": [[{"field": "kind", "op": "!=", "value": "login"}], [{"field": "score", "op": ">", "value": 1}]],
            "order_items": _same("qty", 3, "<="),
            "products": _same("category", "tools"),
            "bought": [[{"field": "customer", "op": "does_not_contain_substring", "value": "LEAK"}], [{"field": "tenant", "op": "is_null"}]],
            "pairs": [[{"field": "boss", "op": "ends_with", "value": "a"}], [{"field": "tenant", "op": "<", "value": 2}]],
            "v_sales": [[{"field": "tenant_id", "op": "is_not_one_of", "value": [2, 3]}], [{"field": "region", "op": "=", "value": "EU"}]],
        },
    ),
    "the orphans": Bearer(
        _GRANTED,
        {
            **{key: [[{"field": "tenant_id", "op": "is_null"}]] for key in ("orders", "customers", "events", "v_sales")},
            "employees": [[{"field": "manager_id", "op": "is_null"}], [{"field": "salary", "op": ">=", "value": 500}]],
            "bought": [[{"field": "tenant", "op": "is_null"}]],
            "pairs": [[{"field": "boss", "op": "is_null"}]],
        },
    ),
    "nobody": Bearer(_GRANTED, _tenant(-5)),
}

_KINDS: Final = {"integer": "number", "decimal": "number", "numeric": "number", "float": "number", "text": "text"}
_TYPES: Final = {"number": "number", "string": "text"}


def relations(configuration: Mapping[str, Any]) -> dict[str, Columns]:
    """What queries may name, with the columns that are numbers or texts."""
    by_name = {table.name: table for table in TABLES}
    found = {}
    for dataset in configuration["datasets"]:
        if dataset["id"] not in _GRANTED:
            continue
        shown = [entry for entry in dataset["fields"] if not entry.get("hidden")]
        if dataset["id"] in _EVERYONE:
            table = by_name[dataset["table"]]
            kinds = {column.name: _KINDS.get(column.kind) for column in table.columns}
            found[dataset["id"]] = tuple((entry["id"], kind) for entry in shown if (kind := kinds[entry.get("column", entry["id"])]))
        else:
            found[dataset["id"]] = tuple((entry["id"], _TYPES[entry["type"]]) for entry in shown)
    return found


def mixed(source: random.Random) -> tuple[Table, ...]:
    """The world's tables with some rows gone, some there twice under new keys, and values of a column exchanged between rows."""
    return tuple(_mixed(table, source) for table in TABLES)


def _mixed(table: Table, source: random.Random) -> Table:
    rows: list[Sequence[Value]] = []
    columns = list(zip(*table.rows, strict=True))
    fresh = 20_000
    for row in table.rows:
        if source.random() < 0.1:
            continue
        copies = 1 + (source.random() < 0.2)
        for copy in range(copies):
            fresh += 1
            key = row[0] if copy == 0 or not isinstance(row[0], int) else fresh
            rows.append((key, *(_exchanged(value, columns[position], source) for position, value in enumerate(row[1:], 1))))
    source.shuffle(rows)
    return replace(table, rows=tuple(map(tuple, rows)))


def _exchanged(value: Value, column: Sequence[Value], source: random.Random) -> Value:
    drawn = source.random()
    return None if drawn < 0.04 else source.choice(column) if drawn < 0.25 else value
