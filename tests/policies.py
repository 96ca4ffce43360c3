"""A catalog in memory and policies over it, for tests of the SQL side that need no database."""

from __future__ import annotations

from typing import Any

from rowseal.catalog import Catalog, Dataset, Field, FieldType, FunctionRules, Guard, Limits, Storage, ThroughFilter
from rowseal.catalog.reflection import Column as Reflected
from rowseal.catalog.reflection import Relation
from rowseal.claims import KeyFacts
from rowseal.filters import FilterTree, FlatFilters, read_tree
from rowseal.grants import Grant
from rowseal.policy import Policy
from rowseal.sql import Draft, SecuredQuery
from rowseal.sql.admit import admit
from rowseal.sql.dialects import DIALECTS
from rowseal.sql.names import DatasetLookup
from rowseal.sql.secure import secure
from rowseal.sql.sources import admit_source, write_source
from rowseal.sql.witness import attest

__all__ = ["TENANT_ONE", "catalog", "draft", "policy", "secured"]

TENANT_ONE = {name: [[{"field": "tenant", "op": "=", "value": 1}]] for name in ("orders", "customers", "sales", "totals")}


def _field(name: str, type_: FieldType, storage: Storage, **more: Any) -> Field:
    return Field(id=name, name=name.title(), sql_name=more.pop("sql_name", name), column=more.pop("column", name), type=type_, storage=storage, **more)


def catalog(dialect: str, *, limits: Limits | None = None, functions: FunctionRules | None = None, orders_are: str = "table") -> Catalog:
    """Orders, customers and products, and order items that are read through orders. `salaries` exists, but the tests' tokens never grant it."""
    number, string = (FieldType.NUMBER, Storage.INTEGER), (FieldType.STRING, Storage.TEXT)
    exact = {"bytewise": dialect != "sqlite"}
    moment = (FieldType.DATE_TIME, Storage.TEXT_TIMESTAMP if dialect == "sqlite" else Storage.TIMESTAMP)
    datasets = [
        _dataset("orders", dialect, orders_are, _field("id", *number), _field("tenant", *number, column="tenant_id"), _field("customer_id", *number),
                 _field("region", *string, **exact), _field("amount", *number), _field("ratio", FieldType.NUMBER, Storage.FLOAT),
                 _field("price", FieldType.NUMBER, Storage.DECIMAL), _field("placed_at", *moment, format="%Y-%m-%d %H:%M:%S"),
                 _field("unit_price", *number, sql_name="Unit Price"), _field("secret", *string, hidden=True, **exact),
                 guards=(Guard("tenant", frozenset(read_ops("=", "is_one_of"))),)),
        _dataset("customers", dialect, "table", _field("id", *number), _field("tenant", *number, column="tenant_id"), _field("name", *string)),
        _dataset("products", dialect, "table", _field("id", *number), _field("name", *string, **exact), public=True),
        _dataset("order_items", dialect, "table", _field("id", *number), _field("order_id", *number), _field("qty", *number),
                 secure_filters=(ThroughFilter("orders", (("order_id", "id"),)),)),
        _source("sales", dialect, "SELECT o.id, o.tenant_id, c.name AS who FROM orders AS o LEFT JOIN customers AS c ON c.id = o.customer_id",
                _field("id", *number), _field("tenant", *number, column="tenant_id"), _field("who", *string, **exact)),
        _source("totals", dialect, "WITH t AS (SELECT tenant_id, amount FROM orders) SELECT tenant_id AS tenant, COUNT(*) AS n FROM t GROUP BY tenant_id",
                _field("tenant", *number), _field("n", *number)),
        _dataset("lines", dialect, "table", _field("id", *number), _field("sale", *number), secure_filters=(ThroughFilter("sales", (("sale", "id"),)),)),
        _dataset("salaries", dialect, "table", _field("id", *number), _field("amount", *number)),
    ]  # fmt: skip
    return Catalog(
        dialect=dialect,
        database="",
        datasets={dataset.id: dataset for dataset in datasets},
        limits=limits or Limits(),
        functions=functions or FunctionRules(),
    )


def read_ops(*spelled: str) -> set[Any]:
    from rowseal.filters import Operator

    return {Operator(each) for each in spelled}


def _dataset(name: str, dialect: str, relation: str, *fields: Field, **more: Any) -> Dataset:
    schema = "public" if dialect == "postgres" else "main"
    return Dataset(id=name, name=name, sql_name=name, schema=schema, table=name, relation=relation, public=more.pop("public", False), fields=fields, **more)


def _source(name: str, dialect: str, sql: str, *fields: Field) -> Dataset:
    """A dataset that is a SELECT over orders and customers."""
    schema = "public" if dialect == "postgres" else "main"
    columns = {"orders": ("id", "tenant_id", "customer_id", "amount"), "customers": ("id", "name")}
    relations = {(None, table): Relation(schema, table, "table", {each: Reflected(each, "", "") for each in names}) for table, names in columns.items()}
    source = write_source(admit_source(sql, dialect, FunctionRules()), relations)
    return Dataset(id=name, name=name, sql_name=name, schema="", table="", relation="source", public=False, fields=fields, source=source)


def policy(dialect: str, filters: dict[str, Any] | None = None, **more: Any) -> Policy:
    """The policy of a token with these secure filters (tenant one's, unless told), which grants all datasets but salaries."""
    trees: dict[str, FilterTree] = {name: read_tree(raw, FlatFilters.ALL) for name, raw in (TENANT_ONE if filters is None else filters).items()}
    granted = frozenset({"orders", "customers", "products", "order_items", "sales", "totals", "lines"})
    grant = Grant(key=KeyFacts("key", "vizzly"), dataset_ids=granted, filters=trees, expires_at=9e9, digest="", claims={})
    return Policy(grant, catalog(dialect, **more))


def draft(sql: str, given: Policy, params: dict[str, Any] | None = None) -> Draft:
    """The query admitted and secured, not yet witnessed."""
    dialect, limits = DIALECTS[given.catalog.dialect], given.catalog.limits
    parsed = admit(sql, params, dialect, limits, given.catalog.functions)
    return secure(parsed, given, DatasetLookup(given.catalog.datasets, dialect), limits)


def secured(sql: str, given: Policy, params: dict[str, Any] | None = None) -> SecuredQuery:
    """The query admitted, secured and witnessed."""
    return attest(draft(sql, given, params), given)
