"""A small shop with three tenants (and rows of none), for the cases and the random queries.

The tables hold what tests of a row filter need: NULL tenants, names in other alphabets, text that is a number, JSON and dates as
text, rows whose parent is gone, two column names with blanks, a column hidden from queries, a table that is no dataset, and a view.
Permitted rows never make an ordinary expression fail; `model.plant` adds forbidden rows that do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeAlias

import jwt
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rowseal.signing import Signer

__all__ = ["COMPUTED", "CONFIGURATION", "PUBLIC_KEYS", "TABLES", "VIEWS", "Bearer", "Column", "Table", "Value", "configuration_file", "token"]

Value: TypeAlias = "bool | int | float | Decimal | str | date | datetime | None"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a physical table.

    `kind` is integer, decimal (two digits), numeric (any size), float, text, boolean, date or date_time (UTC, whole seconds).
    """

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Table:
    """One physical table and its rows, in the order of `columns`. The first column is the primary key."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...] = field(repr=False)

    def position(self, column: str) -> int:
        """Where `column` stands in a row."""
        return next(position for position, each in enumerate(self.columns) if each.name == column)


def _columns(**kinds: str) -> tuple[Column, ...]:
    return tuple(Column(name, kind) for name, kind in kinds.items())


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


_D = Decimal
# fmt: off
TABLES: Final[tuple[Table, ...]] = (
    Table(
        "orders",
        _columns(id="integer", tenant_id="integer", customer_id="integer", region="text", status="text", amount="decimal", code="text",
                 note="text", placed_at="date_time", parent_id="integer", deleted="boolean"),
        (
            (100, 1, 1, "EU",    "paid", _D("120"),    "10", "first",       _at("2026-01-05 09:00:00"), None, False),
            (101, 1, 2, "US",    "open", _D("80.50"),  "20", None,          _at("2026-01-09 10:30:00"), 100,  False),
            (102, 2, 3, "EU",    "paid", _D("300"),    "30", "bulk",        _at("2026-02-01 00:00:00"), 100,  False),
            (103, 2, 4, "APAC",  "open", _D("45"),     "40", "gift",        _at("2026-02-11 23:59:59"), 102,  False),
            (104, 1, 5, None,    "paid", _D("60"),     "50", "no region",   _at("2026-03-02 12:00:00"), 101,  False),
            (105, 3, 6, "LATAM", "void", _D("999"),    "60", "LEAK three",  _at("2026-03-08 08:08:08"), None, False),
            (106, 1, 1, "EU",    "open", _D("75.25"),  "70", "it's urgent", _at("2026-03-09 00:00:00"), 102,  False),
            (107, 2, 1, "EU",    "paid", _D("500"),    "80", "LEAK two",    _at("2026-04-01 00:00:00"), 100,  False),
            (108, None, 2, "US", "paid", _D("33"),     "90", "LEAK orphan", _at("2026-04-02 00:00:00"), None, False),
            (109, 1, 3, "APAC",  "void", _D("210"),    "11", "Größe ✓",     _at("2026-04-20 00:00:00"), 105,  False),
            (110, 1, 99, "EU",   "paid", _D("15"),     "12", "100% :x ?",   _at("2026-05-01 00:00:00"), None, False),
            (111, 1, 1, "EU",    "paid", _D("888.75"), "13", "LEAK gone",   _at("2026-05-02 00:00:00"), None, True),
            (112, 1, 2, "US",    "open", _D("777"),    "14", "LEAK unsure", _at("2026-05-03 00:00:00"), None, None),
        ),
    ),
    Table(
        "customers",
        _columns(id="integer", tenant_id="integer", name="text", region="text", email="text", credit="integer", referrer_id="integer"),
        (
            (1, 1, "Ann", "EU",    "ann@x.example", 100, None),
            (2, 1, "Bob", "US",    "bob@x.example", 250, 1),
            (3, 2, "Cid", "EU",    "cid@y.example", 90,  1),
            (4, 2, "Dee", "APAC",  "dee@y.example", 700, 3),
            (5, 1, "Ève", None,    None,            50,  4),
            (6, 3, "Fay", "LATAM", "LEAK@z.example", 400, None),
            (7, None, "Gus", "EU", "LEAK@n.example", 10, 2),
            (8, 1, "ann", "eu",    "ANN@x.example", 100, 1),
        ),
    ),
    Table(
        "order_items",
        _columns(id="integer", order_id="integer", product_id="integer", qty="integer", price="decimal"),
        (
            (1, 100, 10, 2, _D("20")), (2, 100, 11, 1, _D("45")), (3, 101, 11, 2, _D("40")), (4, 102, 12, 5, _D("60")),
            (5, 103, 13, 1, _D("45")), (6, 104, 10, 3, _D("20")), (7, 106, 12, 1, _D("75.25")), (8, 107, 10, 9, _D("55")),
            (9, 105, 12, 3, _D("333")), (10, 999, 10, 1, _D("1")), (11, 111, 10, 4, _D("222")), (12, None, 11, 1, _D("7")),
        ),
    ),
    Table(
        "products",
        _columns(id="integer", name="text", category="text", price="decimal"),
        ((10, "Widget", "tools", _D("20")), (11, "Gadget", "tools", _D("45")), (12, "Doohickey", "toys", _D("45")),
         (13, "Gizmo", "toys", _D("120")), (15, "Unsold", None, _D("77"))),
    ),
    Table(
        "employees",
        _columns(id="integer", tenant_id="integer", name="text", manager_id="integer", salary="integer"),
        (
            (1, 1, "Root", None, 900), (2, 1, "Lia", 1, 500), (3, 2, "Max", 1, 450), (4, 1, "Nia", 3, 300),
            (5, 2, "Oto", 2, 310), (6, 1, "Pia", 5, 200), (7, 1, "Quo", 2, 220),
        ),
    ),
    Table(
        "events",
        _columns(id="integer", tenant_id="integer", kind="text", happened_on="date", happened_at="date_time", urgent="boolean", score="numeric",
                 payload="text", weight="float"),
        (
            (1, 1, "login",   date(2026, 1, 1),  _at("2026-01-01 08:00:00"), True,  _D("1.5"),   '{"k": "a", "n": 1}', 0.5),
            (2, 1, "Login",   date(2026, 1, 2),  _at("2026-01-02 08:00:00"), False, _D("-2"),    '{"k": "b", "n": 2}', 2.0),
            (3, 2, "logout",  date(2026, 1, 2),  _at("2026-01-02 20:00:00"), True,  _D("7"),     '{"k": "a", "n": 7}', -1.25),
            (4, 2, "50%_off", date(2026, 1, 31), _at("2026-01-31 23:59:59"), False, _D("0"),     '{"k": "c", "n": 9}', 7.0),
            (5, 3, "5000off", date(2026, 2, 1),  _at("2026-02-01 00:00:00"), None,  _D("12.25"), '{"k": "z", "n": 0}', 100.0),
            (6, 1, None,      None,              None,                       None,  None,        None, None),
            (7, 1, "größe",   date(2025, 12, 31), _at("2025-12-31 23:59:59"), True, _D("1.25"),  '{"k": "ü", "n": 3}', 2.0),
            (8, 1, "login ",  date(2026, 6, 1),  _at("2026-06-01 12:00:00"), False, _D("100"),   "[]", 10.0),
            (9, 1, "x\\y_z",  date(2026, 6, 2),  _at("2026-06-02 12:00:00"), True,  _D("3"),     "{}", 0.25),
        ),
    ),
    Table(
        "tickets",
        _columns(id="integer", tenant_id="integer", region="text", title="text", priority="integer"),
        ((1, 1, "EU", "slow page", 1), (2, 1, "US", "no login", 2), (3, 2, "EU", "LEAK ticket", 1), (4, None, "EU", "LEAK nobody", 3), (5, 1, "EU", "typo", 3)),
    ),
    Table(
        "hr people",
        _columns(**{"person no": "integer", "Full Name": "text", "tenant_id": "integer", "straße": "text", "iban": "text"}),
        ((1, "Ada", 1, "Ring 1", "LEAK1"), (2, "Ben", 1, None, "LEAK2"), (3, "Cy", 2, "Weg 3", "LEAK3"), (4, "Di", None, "Weg 4", "LEAK4")),
    ),
    Table("archive", _columns(id="integer", tenant_id="integer", amount="integer"), ((1, 1, 1), (100, 1, 120), (107, 2, 500))),
    Table("salaries", _columns(id="integer", employee="text", amount="integer"),
          ((1, "LEAK salary a", 999001), (2, "LEAK salary b", 999002), (7, "LEAK salary c", 999003))),
)
# fmt: on
VIEWS: Final[Mapping[str, str]] = {"v_orders": "SELECT * FROM orders"}  # no dataset: a view reads past every filter

# What the SELECTs of datasets compute, by the name that they give it; other columns of theirs are columns of a table.
COMPUTED: Final[Mapping[str, str]] = {
    "orders_placed": "integer",
    "credits": "numeric",
    "customer": "text",
    "label": "text",
    "tenant": "integer",
    "largest": "decimal",
    "level": "integer",
}
_KEPT = [{"field": "deleted", "op": "=", "value": False}]
_TYPES: Final[Mapping[str, str]] = {
    "integer": "number",
    "decimal": "number",
    "numeric": "number",
    "float": "number",
    "text": "string",
    "boolean": "boolean",
    "date": "date",
    "date_time": "date_time",
}


def _fields(name: str, **more: Mapping[str, Any]) -> list[dict[str, Any]]:
    table = next(each for each in TABLES if each.name == name)
    fields: list[dict[str, Any]] = []
    for column in table.columns:
        extra = dict(more.get(column.name, {}))
        reference = extra.pop("id", column.name)
        entry: dict[str, Any] = {"id": reference, "type": _TYPES[column.kind], **extra}
        if column.kind == "date_time":
            entry["timezone"] = "UTC"
        if reference != column.name:
            entry["column"] = column.name
        fields.append(entry)
    return fields


CONFIGURATION: Final[Mapping[str, Any]] = {
    "version": 1,
    "datasets": [
        {"id": "orders", "table": "orders", "fields": _fields("orders", deleted={"hidden": True}, tenant_id={"name": "Tenant ID"}), "secure_filters": _KEPT},
        {"id": "customers", "table": "customers", "fields": _fields("customers")},
        {"id": "order_items", "table": "order_items", "fields": _fields("order_items"), "secure_filters": [{"through": "orders", "on": {"order_id": "id"}}]},
        {"id": "products", "table": "products", "public": True, "fields": _fields("products")},
        {"id": "employees", "table": "employees", "fields": _fields("employees")},
        {"id": "events", "table": "events", "fields": _fields("events")},
        {
            "id": "tickets",
            "table": "tickets",
            "fields": _fields("tickets"),
            "secure_filters": [{"field": "region", "op": "=", "value": {"claim": "parameters.region"}}],
            "guards": [{"field": "tenant_id", "op": ["=", "is_one_of"], "max_values": 2}],
        },
        {
            "id": "staff-2026",
            "sql_name": "Staff List",
            "table": "hr people",
            "fields": _fields(
                "hr people",
                **{
                    "person no": {"id": "person", "sql_name": "Person No"},
                    "Full Name": {"id": "full_name", "sql_name": "full_name"},
                    "straße": {"id": "street", "sql_name": "straße"},
                    "iban": {"hidden": True},
                },
            ),
        },
        {"id": "archive", "table": "archive", "fields": _fields("archive")},
    ],
    "limits": {"rows": 1000, "seconds": 10},
}


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a token is signed for: dataset ids or "*", secure filters by dataset id, signed parameters, and whether a development key signs."""

    datasets: tuple[str, ...] | str
    filters: Mapping[str, list[list[dict[str, Any]]]]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    development: bool = False


def _key_pair() -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


# One pair for ordinary tokens, one for a `development: true` key; made anew in every process.
_PAIRS: Final = {False: _key_pair(), True: _key_pair()}
PUBLIC_KEYS: Final = [
    {"id": "shop", "public_key": _PAIRS[False][1]},
    {"id": "desk", "public_key": _PAIRS[True][1], "development": True},
]


def token(bearer: Bearer) -> str:
    """A data access token for `bearer`, valid for fifteen minutes from now."""
    private = _PAIRS[bearer.development][0]
    ids = bearer.datasets if isinstance(bearer.datasets, str) else list(bearer.datasets)
    # Our signer writes no flat list, but a vendor's may: such filters are put into the claims by hand.
    flat = {dataset: groups for dataset, groups in bearer.filters.items() if groups and isinstance(groups[0], Mapping)}
    signed = Signer(private, ttl_in_minutes=15).generate_tokens(
        user_reference="u",
        access_type="standard",
        data_set_ids=ids,
        secure_filters={dataset: groups for dataset, groups in bearer.filters.items() if dataset not in flat},
        project_id="prj_cases",
        parameters=dict(bearer.parameters),
    )["dataAccessToken"]
    if not flat:
        return signed
    claims = jwt.decode(signed, options={"verify_signature": False})
    claims["secureFilters"] |= flat
    return jwt.encode(claims, private, algorithm="ES256")


def configuration_file(folder: Path, database: str, configuration: Mapping[str, Any] = CONFIGURATION) -> Path:
    """Write datasets.yaml for `database` (a SQLAlchemy URL) into `folder` and return its path."""
    path = folder / "datasets.yaml"
    experimental = {"engine": {"experimental": True}} if database.startswith(("mariadb", "duckdb")) else {}
    document = {**experimental, **configuration, "database": database, "tokens": [{"profile": "vizzly", "keys": PUBLIC_KEYS}]}
    path.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path
