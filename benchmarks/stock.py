"""A database of orders and customers of many tenants, on SQLite or PostgreSQL, a gate before it, and five questions of one tenant.

Each question stands here twice: as it is asked through rowseal, and as somebody without rowseal would write it, every WHERE by hand.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rowseal.gate import Gate
from rowseal.signing import Signer

__all__ = ["ORDERS", "QUESTIONS", "TENANT", "Question", "Stock", "fill_postgres", "fill_sqlite"]

ORDERS: Final = 300_000
CUSTOMERS: Final = 30_000
TENANTS: Final = 300
TENANT: Final = 7
_START: Final = datetime(2025, 1, 1)  # noqa: DTZ001 - the column has no zone
_STATUS: Final = ("paid", "paid", "paid", "shipped", "open", "returned")
_COUNTRIES: Final = ("DE", "FR", "JP", "BR", "GR", "PL")

_TABLES: Final = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, tenant_id INTEGER NOT NULL, name TEXT NOT NULL, country TEXT NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, tenant_id INTEGER NOT NULL, customer_id INTEGER NOT NULL, status TEXT NOT NULL,
                     amount INTEGER NOT NULL, placed_at {moment} NOT NULL, deleted BOOLEAN NOT NULL);
"""
_INDEXES: Final = """
CREATE INDEX ix_customers_tenant ON customers (tenant_id);
CREATE INDEX ix_orders_tenant_placed ON orders (tenant_id, placed_at);
CREATE INDEX ix_orders_customer ON orders (customer_id);
"""
_CONFIGURATION: Final = """\
version: 1
database: {url}
tokens:
  - profile: vizzly
    keys: [{{id: bench, public_key_file: public.pem}}]
datasets:
  - id: orders
    table: orders
    fields:
      - {{id: order_id, column: id, type: number}}
      - {{id: tenant_id, type: number}}
      - {{id: customer_id, type: number}}
      - {{id: status, type: string}}
      - {{id: amount, type: number}}
      - {{id: placed_at, type: date_time}}
      - {{id: deleted, type: boolean, hidden: true}}
    secure_filters: [{{field: deleted, op: "=", value: false}}]
  - id: customers
    table: customers
    fields:
      - {{id: customer_id, column: id, type: number}}
      - {{id: tenant_id, type: number}}
      - {{id: name, type: string}}
      - {{id: country, type: string}}
limits: {{rows: 10000}}
"""


@dataclass(frozen=True, slots=True)
class Question:
    """`by_hand` binds :tenant and :deleted."""

    name: str
    asked: str
    by_hand: str


_ORDER: Final = (TENANT - 1) + 500 * TENANTS  # one of the tenant's own
QUESTIONS: Final = (
    Question(
        "look-up",
        f"SELECT order_id, status, amount FROM orders WHERE order_id = {_ORDER}",
        f"SELECT id AS order_id, status, amount FROM orders WHERE id = {_ORDER} AND tenant_id = :tenant AND deleted = :deleted LIMIT 10001",
    ),
    Question(
        "group by",
        "SELECT status, COUNT(*) AS number, SUM(amount) AS total FROM orders GROUP BY status ORDER BY status",
        "SELECT status, COUNT(*) AS number, SUM(amount) AS total FROM orders WHERE tenant_id = :tenant AND deleted = :deleted "
        "GROUP BY status ORDER BY status LIMIT 10001",
    ),
    Question(
        "latest 50",
        "SELECT order_id, placed_at, amount FROM orders ORDER BY placed_at DESC LIMIT 50",
        "SELECT id AS order_id, placed_at, amount FROM orders WHERE tenant_id = :tenant AND deleted = :deleted ORDER BY placed_at DESC LIMIT 50",
    ),
    Question(
        "join",
        "SELECT c.country, COUNT(*) AS number, SUM(o.amount) AS total FROM orders AS o JOIN customers AS c ON c.customer_id = o.customer_id "
        "GROUP BY c.country ORDER BY c.country",
        "SELECT c.country, COUNT(*) AS number, SUM(o.amount) AS total FROM orders AS o JOIN customers AS c ON c.id = o.customer_id "
        "WHERE o.tenant_id = :tenant AND o.deleted = :deleted AND c.tenant_id = :tenant GROUP BY c.country ORDER BY c.country LIMIT 10001",
    ),
    Question(
        "left join",
        "SELECT c.name, COUNT(o.order_id) AS number FROM customers AS c LEFT JOIN orders AS o ON o.customer_id = c.customer_id AND o.amount > 40000 "
        "GROUP BY c.name ORDER BY c.name LIMIT 20",
        "SELECT c.name, COUNT(o.id) AS number FROM customers AS c LEFT JOIN orders AS o ON o.customer_id = c.id AND o.amount > 40000 "
        "AND o.tenant_id = :tenant AND o.deleted = :deleted WHERE c.tenant_id = :tenant GROUP BY c.name ORDER BY c.name LIMIT 20",
    ),
)


class Stock:
    """A filled database with its gate, a token of one tenant, and the folder that holds the configuration."""

    def __init__(self, folder: Path, url: str, dialect: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        folder.mkdir(exist_ok=True)
        (folder / "public.pem").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        self.configuration = folder / "datasets.yaml"
        self.configuration.write_text(_CONFIGURATION.format(url=url))
        self.url, self.dialect = url, dialect
        own_rows = [[{"field": "tenant_id", "op": "=", "value": TENANT}]]
        signed = Signer(key, 60).generate_tokens(
            user_reference="bench", project_id="bench", data_set_ids=["orders", "customers"], secure_filters=dict.fromkeys(("orders", "customers"), own_rows)
        )
        self.token = signed["dataAccessToken"]
        self.gate = Gate.from_yaml(self.configuration)

    @property
    def binds(self) -> dict[str, Any]:
        """What `by_hand` binds."""
        return {"tenant": TENANT, "deleted": False}


def fill_sqlite(path: Path) -> str:
    """Make the tables in a file. Returns its URL."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(_TABLES.format(moment="TEXT"))
        database.executemany("INSERT INTO customers VALUES (?, ?, ?, ?)", _customers())
        database.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)", _orders())
        database.executescript(_INDEXES + "ANALYZE;")
        database.commit()
    return f"sqlite:///{path}"


def fill_postgres(owner_url: str) -> None:
    """Make the tables in an empty database, as the role that owns them."""
    with psycopg.connect(owner_url.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute(_TABLES.format(moment="TIMESTAMP").encode())
        for table, rows in (("customers", _customers()), ("orders", _orders())):
            with connection.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy:
                for row in rows:
                    copy.write_row(row)
        connection.execute(_INDEXES.encode())
        connection.execute(b"VACUUM ANALYZE customers")
        connection.execute(b"VACUUM ANALYZE orders")


def _customers() -> Iterator[tuple[object, ...]]:
    for number in range(CUSTOMERS):
        yield number, number % TENANTS + 1, f"Customer {number}", _COUNTRIES[number * 31 % 101 % len(_COUNTRIES)]


def _orders() -> Iterator[tuple[object, ...]]:
    """Spread evenly: every tenant has as many, over the same days, of its own customers."""
    for number in range(ORDERS):
        tenant = number % TENANTS
        customer = tenant + TENANTS * (number * 7919 % (CUSTOMERS // TENANTS))
        placed = _START + timedelta(seconds=number * 104_729 % (500 * 86_400))
        yield number, tenant + 1, customer, _STATUS[number * 13 % 97 % 6], number * 7_907 % 50_000, placed.isoformat(" "), number % 20 == 11
