"""`explain` names every filter with the place where it was written, on every database, and never a value."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rowseal import Gate, errors
from rowseal.explain import Origin

CONFIGURATION = """\
version: 1
database: sqlite:///shop.db
tokens:
  - profile: vizzly
    flat_filters: FLAT
    keys:
      - {id: shop, public_key_file: public.pem}
datasets:
  - id: orders
    table: orders
    fields:
      - {id: order_id, column: id, type: number}
      - {id: tenant, type: number}
      - {id: region, type: string}
      - {id: deleted, type: boolean, hidden: true}
    secure_filters:
      - {field: deleted, op: "=", value: false}
      - field: region
        op: is_one_of
        value: {claim: parameters.regions}
  - id: order items
    sql_name: items
    table: items
    fields: [{id: order_id, type: number}, {id: qty, type: number}]
    secure_filters:
      - {through: orders, on: {order_id: order_id}}
      - {field: qty, op: is_not_null}
  - {id: open, table: products, public: true, fields: [{id: name, type: string}]}
  - {id: closed, table: secrets, fields: [{id: x, type: number}]}
"""
DELETED = {"origin": "datasets.yaml:17", "field": "deleted", "op": "="}
REGIONS = {"origin": "datasets.yaml:18", "field": "region", "op": "is_one_of"}
SECRET = 4711
Open = Callable[..., Gate]


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def opened(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> Iterator[Open]:
    (tmp_path / "public.pem").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.executescript(
            "CREATE TABLE orders (id INTEGER, tenant INTEGER, region TEXT, deleted BOOLEAN); CREATE TABLE items (order_id INTEGER, qty INTEGER);"
            "CREATE TABLE products (name TEXT); CREATE TABLE secrets (x INTEGER);"
        )
    gates = []

    def open_gate(flat: str = "all") -> Gate:
        (tmp_path / "datasets.yaml").write_text(CONFIGURATION.replace("FLAT", flat))
        gates.append(Gate.from_yaml(tmp_path / "datasets.yaml"))
        return gates[-1]

    yield open_gate
    for gate in gates:
        gate.close()


def token(key: ec.EllipticCurvePrivateKey, filters: dict[str, Any], datasets: Any = "*", **parameters: Any) -> str:
    """Signed by hand: our own signer leaves no flat list of two to be read in two ways."""
    claims = {"dataSetIds": datasets, "secureFilters": filters, "parameters": {"regions": ["N"], **parameters}, "exp": int(time.time()) + 600}
    return jwt.encode(claims, key, "ES256")


def filter_(field: str, op: str, *value: Any) -> dict[str, Any]:
    return {"field": field, "op": op, **({"value": value[0]} if value else {})}


A, B, C = filter_("tenant", "between", [1, SECRET]), filter_("region", "is_null"), filter_("tenant", "is_one_of", [SECRET, 3])


def origins(found: list[Origin]) -> list[tuple[str, ...]]:
    return [(each["origin"], each["field"], each["op"], *each["binds"]) for each in found]


@pytest.mark.parametrize(
    ("flat", "filters", "expected"),
    [
        ("all", [[A]], [("[0][0]", "tenant", "between", "g1_0", "g1_1")]),
        ("all", [A], [("[0]", "tenant", "between", "g1_0", "g1_1")]),
        ("all", [C, B], [("[0]", "tenant", "is_one_of", "g1_0"), ("[1]", "region", "is_null")]),
        ("any", [B, C], [("[0]", "region", "is_null"), ("[1]", "tenant", "is_one_of", "g1_0")]),
        (
            "all",
            [[A, B], [C], [B, A]],
            [
                ("[0][0]", "tenant", "between", "g1_0", "g1_1"),
                ("[0][1]", "region", "is_null"),
                ("[1][0]", "tenant", "is_one_of", "g1_2"),
                ("[2][0]", "region", "is_null"),
                ("[2][1]", "tenant", "between", "g1_3", "g1_4"),
            ],
        ),
    ],
)
def test_each_filter_says_where_it_was_written(opened: Open, key: ec.EllipticCurvePrivateKey, flat: str, filters: Any, expected: Any) -> None:
    access = opened(flat).verify(token(key, {"orders": filters}))
    explained = access.explain("SELECT region FROM orders")
    (read,) = explained["reads"]
    binds = sum(len(each) - 3 for each in expected)
    own = [(f"secureFilters.orders{path}", *rest) for path, *rest in expected]
    configured = [(*DELETED.values(), f"g1_{binds}"), (*REGIONS.values(), f"g1_{binds + 1}")]
    assert (read["guard"], read["dataset"], read["form"]) == ("__g1", "orders", "plain")
    assert origins(read["filters"]) == own + configured
    assert [bind["name"] for bind in explained["binds"]] == [f"g1_{each}" for each in range(binds + 2)]
    query = access.secure("SELECT region FROM orders")
    assert explained["sql"] == query.sql
    assert str(SECRET) not in json.dumps(explained)


def test_what_a_bind_holds_is_what_its_filter_gives(opened: Open, key: ec.EllipticCurvePrivateKey) -> None:
    """The names of binds follow the guard's text, so each must hold its own filter's value, also behind a parent's."""
    access = opened().verify(token(key, {"orders": [[A, B], [C]], "order items": [[filter_("qty", ">", 5)]]}))
    sql = "SELECT qty FROM items WHERE qty + :more > 2 AND order_id IN (SELECT order_id FROM orders)"
    first, second = access.explain(sql, {"more": 1})["reads"]
    assert (first["dataset"], second["dataset"]) == ("order items", "orders")
    own, parent, present = first["filters"]
    assert origins([own, present]) == [('secureFilters["order items"][0][0]', "qty", ">", "g1_0"), ("datasets.yaml:27", "qty", "is_not_null")]
    assert (parent["origin"], parent["through"], parent["on"]) == ("datasets.yaml:26", "orders", {"order_id": "order_id"})
    values = access.secure(sql, {"more": 1}).params
    expected = {"[0][0]": [1, SECRET], "[0][1]": [], "[1][0]": [f"[{SECRET}, 3]"]}
    for filters in (parent["filters"], second["filters"]):
        by_place = {each["origin"]: [values[name] for name in each["binds"]] for each in filters}
        assert by_place == {**{f"secureFilters.orders{at}": each for at, each in expected.items()}, "datasets.yaml:17": [False], "datasets.yaml:18": ['["N"]']}


def test_a_public_dataset_has_no_filter_and_a_query_may_read_none(opened: Open, key: ec.EllipticCurvePrivateKey) -> None:
    access = opened().verify(token(key, {}))
    (read,) = access.explain("SELECT name FROM open")["reads"]
    assert read == {"guard": "__g1", "dataset": "open", "form": "plain", "filters": []}
    assert access.explain("SELECT 1 AS x")["reads"] == []


def test_the_form_of_each_guard_is_said(opened: Open, key: ec.EllipticCurvePrivateKey) -> None:
    access = opened().verify(token(key, {"orders": [[C]]}))
    sql = "SELECT o.region FROM orders AS o JOIN open ON open.name = o.region WHERE abs(tenant) = 1"
    explained = access.explain(sql)
    assert [read["form"] for read in explained["reads"]] == ["fenced", "plain"]
    assert explained["sql"].count(" AS NOT MATERIALIZED (") == 1
    grouped = access.explain("SELECT tenant FROM orders GROUP BY tenant HAVING abs(tenant) = 1")
    assert [read["form"] for read in grouped["reads"]] == ["fenced"]
    assert grouped["sql"].count(" AS MATERIALIZED (") == 1


def test_explain_refuses_what_a_query_would_be_refused(opened: Open, key: ec.EllipticCurvePrivateKey) -> None:
    access = opened().verify(token(key, {}, ["open"]))
    for sql, code in (("SELECT * FROM closed", "dataset_unknown"), ("SELECT * FROM absent", "dataset_unknown"), ("DROP TABLE open", "sql_not_one_select")):
        with pytest.raises(errors.Refused) as caught:
            access.explain(sql)
        assert caught.value.code == code


# --- which datasets ------------------------------------------------------------------------------------------------------------------------


def seen(gate: Gate, token: str) -> dict[str, str | None]:
    return {dataset.id: refusal and refusal.code for dataset, refusal, _ in gate.verify(token).datasets()}


def test_a_token_sees_what_it_grants_and_why_it_may_not_be_read(opened: Open, key: ec.EllipticCurvePrivateKey) -> None:
    gate = opened()
    own = {"orders": [[C]]}
    assert seen(gate, token(key, own)) == {"orders": None, "order items": None, "open": None, "closed": "filter_required"}
    assert seen(gate, token(key, own, ["orders", "nothing"])) == {"orders": None}
    assert seen(gate, token(key, own, ["order items"])) == {"order items": "filter_required"}  # its parent is not granted
    assert seen(gate, token(key, own, ["orders"], regions=None)) == {"orders": "claim_required"}
    assert seen(gate, token(key, {"orders": [[filter_("colour", "=", 1)]]}, ["open", "orders"])) == {"orders": "filter_inapplicable", "open": None}
    assert seen(gate, token(key, own, ["nothing"])) == {}


def test_what_is_seen_as_open_can_be_read_and_what_is_closed_is_refused_alike(opened: Open, key: ec.EllipticCurvePrivateKey) -> None:
    access = opened().verify(token(key, {"orders": [[C]]}))
    for dataset, refusal, dialect in access.datasets():
        sql = f"SELECT COUNT(*) AS n FROM {dialect.quote(dataset.sql_name)}"
        if refusal is None:
            assert len(access.execute(sql).rows) == 1
        else:
            with pytest.raises(errors.AccessRefused) as caught:
                access.execute(sql)
            assert (caught.value.code, caught.value.detail, caught.value.hint) == (refusal.code, refusal.detail, refusal.hint)


def test_datasets_are_told_to_living_tokens_only(opened: Open, key: ec.EllipticCurvePrivateKey, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = opened()
    access = gate.verify(token(key, {}))
    monkeypatch.setattr(gate, "clock", lambda: access.expires_at)
    with pytest.raises(errors.TokenRefused, match="token_expired"):
        access.datasets()
