"""Three tenants' worth of the eight tables of TPC-H (https://www.tpc.org/tpch/), made so that each of the 22 queries finds something.

Every table has a tenant but `partsupp` and `lineitem`, which are read through `part` and `orders`. Keys of customers, suppliers, nations
and regions are the same for every tenant, so a query that forgot one filter would join one tenant's rows to another's.
Every number is a small multiple of 1/32: sums of them are exact as floats too, whatever the order, so answers are compared exactly.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, TypeAlias

__all__ = ["DATASETS", "QUERIES", "TABLES", "TENANT", "create", "query", "rows"]

TENANT: Final = 7
OTHERS: Final = (3, 8)
FOLDER: Final = Path(__file__).resolve().parent / "tpch"
QUERIES: Final = tuple(f"q{number:02}" for number in range(1, 23))

Row: TypeAlias = "tuple[int | float | str | date, ...]"

# table -> its columns; i whole number, n number, s text, d date
TABLES: Final[Mapping[str, str]] = {
    "region": "r_regionkey:i r_name:s r_comment:s tenant:i",
    "nation": "n_nationkey:i n_name:s n_regionkey:i n_comment:s tenant:i",
    "supplier": "s_suppkey:i s_name:s s_address:s s_nationkey:i s_phone:s s_acctbal:n s_comment:s tenant:i",
    "customer": "c_custkey:i c_name:s c_address:s c_nationkey:i c_phone:s c_acctbal:n c_mktsegment:s c_comment:s tenant:i",
    "part": "p_partkey:i p_name:s p_mfgr:s p_brand:s p_type:s p_size:i p_container:s p_retailprice:n p_comment:s tenant:i",
    "partsupp": "ps_partkey:i ps_suppkey:i ps_availqty:i ps_supplycost:n ps_comment:s",
    "orders": "o_orderkey:i o_custkey:i o_orderstatus:s o_totalprice:n o_orderdate:d o_orderpriority:s o_clerk:s o_shippriority:i o_comment:s tenant:i",
    "lineitem": "l_orderkey:i l_partkey:i l_suppkey:i l_linenumber:i l_quantity:n l_extendedprice:n l_discount:n l_tax:n l_returnflag:s l_linestatus:s "
    "l_shipdate:d l_commitdate:d l_receiptdate:d l_shipinstruct:s l_shipmode:s l_comment:s",
}
_THROUGH: Final = {"partsupp": ("part", {"ps_partkey": "p_partkey"}), "lineitem": ("orders", {"l_orderkey": "o_orderkey"})}
_TYPES: Final = {
    "sqlite": {"i": "INTEGER", "n": "NUMERIC", "s": "TEXT", "d": "TEXT"},
    "postgres": {"i": "bigint", "n": "numeric(15,5)", "s": "text", "d": "date"},
    "duckdb": {"i": "BIGINT", "n": "DOUBLE", "s": "VARCHAR", "d": "DATE"},
}

_REGIONS: Final = ("AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST")
_NATIONS: Final = (("BRAZIL", 1), ("CANADA", 1), ("CHINA", 2), ("INDIA", 2), ("FRANCE", 3), ("GERMANY", 3), ("SAUDI ARABIA", 4), ("KENYA", 0))
_TYPES_OF_PARTS: Final = ("ECONOMY ANODIZED STEEL", "STANDARD POLISHED BRASS", "PROMO BRUSHED BRASS", "MEDIUM POLISHED TIN")
_NAMES: Final = ("forest green", "forest blush", "navy green", "pale lemon")
# brand, container and size of the parts that queries 16, 17 and 19 look for, and of others
_MADE: Final = (("Brand#12", "SM CASE", 3), ("Brand#23", "MED BOX", 9), ("Brand#34", "LG BOX", 14), ("Brand#45", "JUMBO JAR", 15))
_CODES: Final = (13, 31, 23, 29, 30, 18, 17, 99)
_SEGMENTS: Final = ("BUILDING", "MACHINERY", "BUILDING", "AUTOMOBILE")
_PRIORITIES: Final = ("1-URGENT", "2-HIGH", "3-MEDIUM", "5-LOW")
_MODES: Final = ("MAIL", "SHIP", "AIR", "AIR REG", "RAIL")
_FIRST_DAY: Final = date(1993, 1, 1)

DATASETS: Final = [
    {
        "id": table,
        "table": table,
        "fields": [
            {"id": name, "type": {"i": "number", "n": "number", "s": "string", "d": "date"}[kind], **({"hidden": True} if name == "tenant" else {})}
            for name, kind in (column.split(":") for column in columns.split())
        ],
        **({"secure_filters": [{"through": _THROUGH[table][0], "on": _THROUGH[table][1]}]} if table in _THROUGH else {}),
    }
    for table, columns in TABLES.items()
]


def query(name: str, dialect: str) -> str:
    """The text of a query as somebody would write it for this database."""
    own = FOLDER / f"{name}.{dialect}.sql"
    return (own if own.exists() else FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def rows(*tenants: int) -> dict[str, list[Row]]:
    """The rows of these tenants, by table; each tenant's are the same whoever else is asked for."""
    found: dict[str, list[Row]] = {table: [] for table in TABLES}
    for tenant in tenants or (TENANT, *OTHERS):
        for table, made in _tenant(tenant).items():
            found[table] += made
    return found


def _tenant(tenant: int) -> dict[str, list[Row]]:
    source = random.Random(tenant)
    pick = source.choice

    def money(low: int, high: int) -> float:
        return float(Fraction(source.randrange(low * 4, high * 4), 4))

    regions: list[Row] = [(key, name, "", tenant) for key, name in enumerate(_REGIONS)]
    nations: list[Row] = [(key, name, region, "", tenant) for key, (name, region) in enumerate(_NATIONS)]
    suppliers: list[Row] = [
        (key, f"Supplier#{key:03}", f"{key} Dock Road", key % len(_NATIONS), f"{10 + key % len(_NATIONS)}-555-{key:04}", money(-100, 9000),
         "Customer heard Complaints" if key == 4 else "steady", tenant)
        for key in range(1, 17)
    ]  # fmt: skip
    customers: list[Row] = [
        (key, f"Customer#{key:03}", f"{key} High Street", source.randrange(len(_NATIONS)), f"{pick(_CODES)}-555-{key:04}", money(-500, 9000),
         pick(_SEGMENTS), "", tenant)
        for key in range(1, 61)
    ]  # fmt: skip
    parts: list[Row] = []
    offers: list[Row] = []
    for number in range(32):
        key = tenant * 1000 + number
        brand, container, size = _MADE[number % 4]
        sizes = (size, 15, 49)[number % 3]
        parts.append(
            (key, f"{pick(_NAMES)} {number}", f"Manufacturer#{number % 5}", brand, pick(_TYPES_OF_PARTS), sizes, container, money(900, 2000), "", tenant)
        )
        offers += [(key, 1 + (number + step * 4) % 16, source.randrange(20, 9999), money(1, 500), "") for step in range(4)]
    orders: list[Row] = []
    lines: list[Row] = []
    for number in range(240):
        key = tenant * 100_000 + number
        day = _FIRST_DAY + timedelta(days=source.randrange(1700))
        total = 0.0
        heavy = number % 40 == 0
        for line in range(1, 8 if heavy else source.randrange(2, 6)):
            part_key, supplier_key, _, _, _ = pick(offers)
            quantity = float(source.randrange(44, 51) if heavy else pick((1, 2, 5, 12, 15, 22, 25, 40, 48)))
            price = quantity * money(10, 200)
            total += price
            shipped = day + timedelta(days=source.randrange(1, 90))
            promised = day + timedelta(days=source.randrange(20, 90))
            arrived = shipped + timedelta(days=source.randrange(1, 30))
            lines.append(
                (key, part_key, supplier_key, line, quantity, price, pick((0.0, 0.03125, 0.0625, 0.09375)), pick((0.0, 0.03125, 0.0625)), pick("RAN"),
                 pick("OF"), shipped, promised, arrived, pick(("DELIVER IN PERSON", "NONE")), pick(_MODES), "")
            )  # fmt: skip
        note = "special delivery requests" if number % 9 == 0 else "as usual"
        # a third of the customers never order
        orders.append((key, 1 + source.randrange(40), pick("FFO"), total, day, pick(_PRIORITIES), f"Clerk#{number % 7}", 0, note, tenant))
    return dict(zip(TABLES, (regions, nations, suppliers, customers, parts, offers, orders, lines), strict=True))


def create(dialect: str, found: Mapping[str, Sequence[Row]]) -> tuple[list[str], dict[str, tuple[str, list[tuple[Any, ...]]]]]:
    """Statements that make the tables, and by table the names of its columns and its rows as the driver takes them."""
    statements = []
    content = {}
    for table, columns in TABLES.items():
        named = [column.split(":") for column in columns.split()]
        statements.append(f"CREATE TABLE {table} ({', '.join(f'{name} {_TYPES[dialect][kind]}' for name, kind in named)})")
        stored = [tuple(value.isoformat() if dialect == "sqlite" and isinstance(value, date) else value for value in row) for row in found[table]]
        content[table] = (", ".join(name for name, _ in named), stored)
    return statements, content
