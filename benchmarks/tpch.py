"""Tables and queries of the shape of TPC-H (https://www.tpc.org/tpch/), a catalog for them, and one bearer's policy.

Every table has a tenant, as the tables of a product for many customers have, but `nation` and `region`, which are public.
"""

from __future__ import annotations

from typing import Final

from rowseal.catalog import Catalog, ConfigFilter, Dataset, Field, FieldType, Storage
from rowseal.claims import KeyFacts
from rowseal.filters import Filter, Operator
from rowseal.grants import Grant
from rowseal.policy import Policy

__all__ = ["DIALECTS", "QUERIES", "TENANT", "catalog", "grant", "policy"]

DIALECTS: Final = ("postgres", "sqlite")
TENANT: Final = 7

_COLUMNS: Final = {
    "region": "r_regionkey:n r_name:s",
    "nation": "n_nationkey:n n_name:s n_regionkey:n",
    "supplier": "s_suppkey:n s_name:s s_nationkey:n s_acctbal:n tenant_id:n",
    "customer": "c_custkey:n c_name:s c_nationkey:n c_acctbal:n c_mktsegment:s tenant_id:n",
    "orders": "o_orderkey:n o_custkey:n o_orderstatus:s o_totalprice:n o_orderdate:d o_orderpriority:s o_shippriority:n tenant_id:n deleted:b",
    "lineitem": "l_orderkey:n l_suppkey:n l_linenumber:n l_quantity:n l_extendedprice:n l_discount:n l_tax:n l_returnflag:s l_linestatus:s "
    "l_shipdate:d l_commitdate:d l_receiptdate:d tenant_id:n deleted:b",
}
_PUBLIC: Final = frozenset({"region", "nation"})
_TYPES: Final = {
    "n": (FieldType.NUMBER, Storage.INTEGER, Storage.INTEGER),
    "s": (FieldType.STRING, Storage.TEXT, Storage.TEXT),
    "d": (FieldType.DATE, Storage.TEXT_DATE, Storage.DATE),
    "b": (FieldType.BOOLEAN, Storage.BOOLEAN, Storage.BOOLEAN),
}

# name -> the text for PostgreSQL. SQLite writes dates as text: see `query`.
QUERIES: Final = {
    "look-up": "SELECT o_orderkey, o_totalprice FROM orders WHERE o_orderkey = 4711",
    "group by": (
        "SELECT o_orderstatus, COUNT(*) AS number, SUM(o_totalprice) AS total FROM orders "
        "WHERE o_orderdate >= DATE '1995-01-01' AND o_orderpriority IN ('1-URGENT', '2-HIGH') GROUP BY o_orderstatus ORDER BY total DESC LIMIT 20"
    ),
    "Q1": (
        "SELECT l_returnflag, l_linestatus, SUM(l_quantity) AS sum_qty, SUM(l_extendedprice) AS sum_base_price, "
        "SUM(l_extendedprice * (1 - l_discount)) AS sum_disc_price, SUM(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS sum_charge, "
        "AVG(l_quantity) AS avg_qty, AVG(l_extendedprice) AS avg_price, AVG(l_discount) AS avg_disc, COUNT(*) AS count_order "
        "FROM lineitem WHERE l_shipdate <= DATE '1998-09-02' GROUP BY l_returnflag, l_linestatus ORDER BY l_returnflag, l_linestatus"
    ),
    "Q5": (
        "SELECT n_name, SUM(l_extendedprice * (1 - l_discount)) AS revenue FROM customer, orders, lineitem, supplier, nation, region "
        "WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey AND l_suppkey = s_suppkey AND c_nationkey = s_nationkey "
        "AND s_nationkey = n_nationkey AND n_regionkey = r_regionkey AND r_name = 'ASIA' AND o_orderdate >= DATE '1994-01-01' "
        "AND o_orderdate < DATE '1995-01-01' GROUP BY n_name ORDER BY revenue DESC"
    ),
    "Q21": (
        "SELECT s_name, COUNT(*) AS numwait FROM supplier, lineitem AS l1, orders, nation WHERE s_suppkey = l1.l_suppkey "
        "AND o_orderkey = l1.l_orderkey AND o_orderstatus = 'F' AND l1.l_receiptdate > l1.l_commitdate "
        "AND EXISTS (SELECT * FROM lineitem AS l2 WHERE l2.l_orderkey = l1.l_orderkey AND l2.l_suppkey <> l1.l_suppkey) "
        "AND NOT EXISTS (SELECT * FROM lineitem AS l3 WHERE l3.l_orderkey = l1.l_orderkey AND l3.l_suppkey <> l1.l_suppkey "
        "AND l3.l_receiptdate > l3.l_commitdate) AND s_nationkey = n_nationkey AND n_name = 'SAUDI ARABIA' "
        "GROUP BY s_name ORDER BY numwait DESC, s_name LIMIT 100"
    ),
    "5 CTEs": (
        "WITH recent AS (SELECT o_orderkey, o_custkey, o_totalprice FROM orders WHERE o_orderdate >= DATE '1996-01-01'), "
        "lines AS (SELECT l_orderkey, SUM(l_quantity) AS qty FROM lineitem GROUP BY l_orderkey), "
        "joined AS (SELECT r.o_custkey, r.o_totalprice, l.qty FROM recent AS r JOIN lines AS l ON l.l_orderkey = r.o_orderkey), "
        "per_customer AS (SELECT o_custkey, SUM(o_totalprice) AS spent, SUM(qty) AS qty FROM joined GROUP BY o_custkey), "
        "ranked AS (SELECT o_custkey, spent, qty, RANK() OVER (ORDER BY spent DESC) AS place FROM per_customer) "
        "SELECT c.c_name, ranked.spent, ranked.qty FROM ranked JOIN customer AS c ON c.c_custkey = ranked.o_custkey "
        "WHERE ranked.place <= 10 ORDER BY ranked.place"
    ),
}


def query(name: str, dialect: str) -> str:
    """The text of a query as somebody would write it for this database."""
    return QUERIES[name].replace("DATE '", "'") if dialect == "sqlite" else QUERIES[name]


def catalog(dialect: str, database: str = "") -> Catalog:
    """The tables as datasets; `deleted` is hidden and every row that has it set is closed."""
    return Catalog(dialect, database, {name: _dataset(name, dialect) for name in _COLUMNS})


def grant() -> Grant:
    """All of it, of one tenant: one equality on every table that has a tenant."""
    own_rows = ((Filter("tenant_id", Operator.EQ, TENANT),),)
    return Grant(
        key=KeyFacts(id="bench", profile="vizzly"),
        dataset_ids=frozenset(_COLUMNS),
        filters={name: own_rows for name in _COLUMNS if name not in _PUBLIC},
        claims={},
        expires_at=float("inf"),
        digest="0" * 64,
    )


def policy(dialect: str) -> Policy:
    """The grant applied to the catalog."""
    return Policy(grant(), catalog(dialect))


def _dataset(name: str, dialect: str) -> Dataset:
    fields = []
    for column in _COLUMNS[name].split():
        field_id, _, letter = column.partition(":")
        type_, on_sqlite, elsewhere = _TYPES[letter]
        storage = on_sqlite if dialect == "sqlite" else elsewhere
        fields.append(Field(field_id, field_id, field_id, field_id, type_, storage, hidden=field_id == "deleted", bytewise=True))
    rules = (ConfigFilter(Filter("deleted", Operator.EQ, False)),) if "deleted:b" in _COLUMNS[name] else ()  # noqa: FBT003
    schema = "main" if dialect == "sqlite" else "public"
    return Dataset(name, name, name, schema, name, "table", name in _PUBLIC, tuple(fields), rules)
