"""A shop with three tenants in one database: `python -m sample_engine.shop [--database URL] [--reader ROLE]`.

The same rows every time, on SQLite and PostgreSQL: about 50,000 orders of 1,800 customers, with NULLs, deleted orders and names in many
alphabets. Tenant 3 is the one that nobody in the demo may read, and its values tell: whoever sees `FORBIDDEN` has broken out.
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Boolean, Column, Date, DateTime, ForeignKey, Index, Integer, MetaData, Table, Text, create_engine, make_url
from sqlalchemy.engine import Connection

__all__ = ["DATABASE", "FORBIDDEN", "FORBIDDEN_TENANT", "make_shop"]

DATABASE: Final = f"sqlite:///{Path(__file__).parent / 'shop.db'}"
FORBIDDEN_TENANT: Final = 3
FORBIDDEN: Final = "FORBIDDEN"  # stands in every text of tenant 3

_ORDERS: Final = 50_000
_CUSTOMERS: Final = 1_800
_START: Final = datetime(2025, 1, 1)  # noqa: DTZ001 - the column has no zone: datasets.yaml says that it means UTC
# Regions overlap between tenants 1 and 2, so that only the filter can tell their rows apart.
_REGIONS: Final = {1: ("North", "South", "West", None), 2: ("North", "South", "Île-de-France", None), 3: (f"{FORBIDDEN} region",)}
_COUNTRIES: Final = ("DE", "FR", "JP", "BR", "GR", "PL", None)
_FIRMS: Final = (
    "Café Zoë",
    "Łódź Import",
    "東京商店",
    "Ωmega Foods",
    "Ñandú Outdoor",
    "O'Hara's Books",
    "Straße 17",
    "مكتبة النور",
    "100% Cotton",
    "Smile 🙂 Toys",
)
_NOTES: Final = (None, None, None, "gift wrap", "leave at the door", "bitte klingeln", "s'il vous plaît", '"fragile"', "a; b -- c", ":urgent %s")
_STATUS: Final = ("paid", "paid", "paid", "shipped", "open", "returned")
_PRODUCTS: Final = (
    ("Teapot", "kitchen", 2490), ("Kettle", "kitchen", 3990), ("Crêpe pan", "kitchen", 4500), ("Notebook", "paper", 690),
    ("Fountain pen", "paper", 5900), ("日記", "paper", 1800), ("Lamp", "home", 7900), ("Blanket", "home", 4990), ("Gift card", None, None),
)  # fmt: skip

metadata = MetaData()
# SQLite has no type for moments; as text they keep the order and the format that datasets.yaml expects.
_Moment = DateTime().with_variant(Text(), "sqlite")
_Day = Date().with_variant(Text(), "sqlite")

customers = Table(
    "customers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("tenant_id", Integer, nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("email", Text),
    Column("country", Text),
    Column("since", _Day, nullable=False),
)
products = Table(
    "products",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("category", Text),
    Column("price", Integer),
)
orders = Table(
    "orders",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("tenant_id", Integer, nullable=False),
    Column("customer_id", Integer, ForeignKey("customers.id"), nullable=False, index=True),
    Column("region", Text),
    Column("status", Text, nullable=False),
    Column("amount", Integer),  # cents; NULL while an order is open
    Column("note", Text),
    Column("placed_at", _Moment, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Index("ix_orders_tenant_placed", "tenant_id", "placed_at"),
)
order_items = Table(
    "order_items",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("order_id", Integer, ForeignKey("orders.id"), nullable=False, index=True),
    Column("product_id", Integer, ForeignKey("products.id"), nullable=False, index=True),
    Column("qty", Integer, nullable=False),
    Column("price", Integer),
)


def make_shop(database: str = DATABASE, *, reader: str | None = None) -> None:
    """Make the shop anew in the database of this SQLAlchemy URL. `reader` is a PostgreSQL role that gets SELECT on its tables."""
    url = make_url(database)
    if url.get_backend_name() != "sqlite":
        _fill(url.set(drivername="postgresql+psycopg"), reader)
        return
    if not url.database:
        raise ValueError("a shop in memory would be gone at once: name a file")
    # Made beside its place and moved there in one step: whoever finds the file finds all of it.
    target = Path(url.database)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        _fill(url.set(database=str(unfinished)), None)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _fill(url: URL, reader: str | None) -> None:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            metadata.drop_all(connection)
            metadata.create_all(connection)
            as_text = connection.dialect.name == "sqlite"
            rng = random.Random(2026)  # noqa: S311 - sample data, the same for everybody
            _insert(connection, products, ({"id": i, "name": n, "category": c, "price": p} for i, (n, c, p) in enumerate(_PRODUCTS, 1)))
            _insert(connection, customers, _customers(rng, as_text))
            _insert(connection, orders, _orders(rng, as_text))
            _insert(connection, order_items, _items(rng))
            if reader is not None:
                role = connection.dialect.identifier_preparer.quote(reader)
                for table in metadata.sorted_tables:
                    connection.exec_driver_sql(f"GRANT SELECT ON {table.name} TO {role}")
        with engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE")
            connection.commit()
    finally:
        engine.dispose()


def _insert(connection: Connection, table: Table, rows: Iterator[Mapping[str, Any]]) -> None:
    while batch := list(islice(rows, 10_000)):
        connection.execute(table.insert(), batch)


def _tenant(number: int) -> int:
    """Interleaved, so that no range of ids belongs to one tenant."""
    return number % 3 + 1


def _customers(rng: random.Random, as_text: bool) -> Iterator[Mapping[str, Any]]:
    for number in range(1, _CUSTOMERS + 1):
        tenant = _tenant(number)
        forbidden = tenant == FORBIDDEN_TENANT
        since: date = (_START - timedelta(days=rng.randrange(900))).date()
        yield {
            "id": number,
            "tenant_id": tenant,
            "name": f"{FORBIDDEN} customer {number}" if forbidden else f"{rng.choice(_FIRMS)} {number}",
            "email": None if rng.random() < 0.2 else f"{'forbidden' if forbidden else 'mail'}{number}@customers.example",
            "country": FORBIDDEN[:2] if forbidden else rng.choice(_COUNTRIES),
            "since": since.isoformat() if as_text else since,
        }


def _orders(rng: random.Random, as_text: bool) -> Iterator[Mapping[str, Any]]:
    for number in range(1, _ORDERS + 1):
        customer = rng.randrange(1, _CUSTOMERS + 1)
        tenant = _tenant(customer)
        status = rng.choice(_STATUS)
        placed = _START + timedelta(seconds=rng.randrange(500 * 86_400))
        yield {
            "id": number,
            "tenant_id": tenant,
            "customer_id": customer,
            "region": rng.choice(_REGIONS[tenant]),
            "status": status,
            # 666,000,000 cents and more only occur at tenant 3: a total betrays it at once.
            "amount": None if status == "open" else 666_000_000 + number if tenant == FORBIDDEN_TENANT else rng.randrange(500, 50_000),
            "note": f"{FORBIDDEN} note {number}" if tenant == FORBIDDEN_TENANT else rng.choice(_NOTES),
            "placed_at": placed.isoformat(" ") if as_text else placed,
            "deleted": rng.random() < 0.05,
        }


def _items(rng: random.Random) -> Iterator[Mapping[str, Any]]:
    number = 0
    for order in range(1, _ORDERS + 1):
        for _ in range(rng.randrange(1, 4)):
            number += 1
            product = rng.randrange(1, len(_PRODUCTS) + 1)
            yield {"id": number, "order_id": order, "product_id": product, "qty": rng.randrange(1, 6), "price": _PRODUCTS[product - 1][2]}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sample_engine.shop", description="Make the sample shop anew.")
    parser.add_argument("--database", default=os.environ.get("DATABASE_URL", DATABASE), help="SQLAlchemy URL of a role that may create tables")
    parser.add_argument("--reader", help="PostgreSQL role that gets SELECT on the tables: the one to name in DATABASE_URL afterwards")
    arguments = parser.parse_args()
    make_shop(arguments.database, reader=arguments.reader)
    print(f"made {make_url(arguments.database).render_as_string(hide_password=True)}")


if __name__ == "__main__":
    main()
