"""How the database really keeps what a catalog reads: indexes, collations, what lies below a view, what the role may write. For `lint`; reads no data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import URL, Connection

from rowseal.catalog import Catalog
from rowseal.catalog.examine.duckdb import DuckDBLook
from rowseal.catalog.examine.found import Examined, Look
from rowseal.catalog.examine.mariadb import MariaDBLook
from rowseal.catalog.examine.postgres import PostgresLook
from rowseal.catalog.examine.sqlite import SqliteLook
from rowseal.catalog.reflection import connected, reflect

__all__ = ["Examined", "examine"]

_LOOKS: Final[Mapping[str, Callable[[Connection], Look]]] = {
    "sqlite": SqliteLook,
    "postgres": PostgresLook,
    "mariadb": MariaDBLook,
    "duckdb": DuckDBLook,
}


def examine(url: URL, catalog: Catalog) -> dict[str, Examined]:
    """Every dataset by id. Raises Unreachable."""
    datasets = catalog.datasets.values()
    relations = reflect(url, catalog.dialect, [(each.schema, each.table) for each in datasets if each.source is None]).relations
    found: dict[str, Examined] = {}
    with connected(url, catalog.dialect) as connection:
        look = _LOOKS[catalog.dialect](connection)
        for each in datasets:
            if each.source is not None:
                found[each.id] = Examined(each.relation, {}, None, (), each.tables, look.writable(each))
                continue
            relation = relations[each.schema, each.table]
            view = relation.kind == "view"
            indexed = None if relation.kind != "table" else look.indexed(each)
            columns = {name: column.declared for name, column in relation.columns.items()}
            found[each.id] = Examined(relation.kind, columns, indexed, look.folding(each), look.below(each) if view else (), look.writable(each))
    return found
