"""Policies over the tables of `world`, without any database: for tests of the SQL side that ask the random queries and the cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rowseal.catalog import Catalog, ConfigFilter, Dataset, Field, FieldType, FunctionRules, Limits, Storage, ThroughFilter
from rowseal.claims import KeyFacts
from rowseal.filters import FlatFilters, read_filter, read_tree
from rowseal.grants import Grant
from rowseal.policy import Policy
from world import CONFIGURATION, TABLES, Bearer

__all__ = ["catalog", "policy"]

_MOMENT: Final = "%Y-%m-%d %H:%M:%S"
_STORED: Final[Mapping[str, Storage]] = {
    "integer": Storage.INTEGER,
    "decimal": Storage.DECIMAL,
    "numeric": Storage.DECIMAL,
    "float": Storage.FLOAT,
    "text": Storage.TEXT,
    "boolean": Storage.BOOLEAN,
    "date": Storage.DATE,
    "date_time": Storage.TIMESTAMP,
}
_SQLITE: Final[Mapping[str, tuple[Storage, str]]] = {"date": (Storage.TEXT_DATE, "%Y-%m-%d"), "date_time": (Storage.TEXT_TIMESTAMP, _MOMENT)}


def catalog(dialect: str) -> Catalog:
    """The datasets of the world that take nothing from the claims, in the default schema."""
    known = [entry for entry in CONFIGURATION["datasets"] if not entry.get("guards")]
    return Catalog(
        dialect=dialect,
        database="",
        datasets={entry["id"]: _dataset(entry, dialect) for entry in known},
        limits=Limits(),
        functions=FunctionRules(allow=frozenset({"spy"})) if dialect == "sqlite" else FunctionRules(),
    )


def policy(given: Catalog, bearer: Bearer) -> Policy:
    """What this bearer may read of it."""
    trees = {name: read_tree(raw, FlatFilters.ALL) for name, raw in bearer.filters.items()}
    return Policy(Grant(KeyFacts("shop", "vizzly"), frozenset(bearer.datasets), trees, 9e9, "", {}), given)


def _dataset(entry: Mapping[str, Any], dialect: str) -> Dataset:
    kinds = {column.name: column.kind for table in TABLES if table.name == entry["table"] for column in table.columns}
    schema = "public" if dialect == "postgres" else "main"
    rules = [
        ThroughFilter(rule["through"], tuple(rule["on"].items())) if "through" in rule else ConfigFilter(read_filter(rule))
        for rule in entry.get("secure_filters", ())
    ]
    return Dataset(
        id=entry["id"],
        name=entry["id"],
        sql_name=entry.get("sql_name", entry["id"]),
        schema=schema,
        table=entry["table"],
        relation="table",
        public=entry.get("public", False),
        fields=tuple(_field(field, kinds[field.get("column", field["id"])], dialect) for field in entry["fields"]),
        secure_filters=tuple(rules),
    )


def _field(entry: Mapping[str, Any], kind: str, dialect: str) -> Field:
    storage, written = _SQLITE.get(kind, (_STORED[kind], None)) if dialect == "sqlite" else (_STORED[kind], None)
    name = entry["id"]
    return Field(
        id=name,
        name=entry.get("name", name),
        sql_name=entry.get("sql_name", name),
        column=entry.get("column", name),
        type=FieldType(entry["type"]),
        storage=storage,
        hidden=entry.get("hidden", False),
        format=written,
        bytewise=dialect != "sqlite" and name != "region",  # one column whose collation calls different texts equal
    )
