"""`{{ trusted.x }}` in a dataset's SELECT: a signed value, bound, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from databases import parameters
from databases.dialect import Database
from rowseal import errors
from rowseal.errors import Misconfigured, OurBug
from rowseal.gate import Access, Gate
from rowseal.policy import Shaped, Through
from rowseal.sql.dialects import DIALECTS
from rowseal.sql.guards import render
from rowseal.sql.proof import prove_guard
from test_catalog import folder, problems
from test_sources import FIELDS, HEAD, _sql
from world import TABLES, Bearer, configuration_file, token

__all__ = ["folder"]  # a fixture

NUMBER, STRING = {"type": "number"}, {"type": "string"}
MINE = {
    "id": "mine",
    # the first place is not the first one declared, and one value stands twice
    "sql": "SELECT id, tenant_id, amount, CASE WHEN amount > {{ trusted.least }} THEN 'large' ELSE 'small' END AS size FROM orders"
    " WHERE tenant_id = {{trusted.tenant}} AND region = {{ trusted.region }} AND deleted = {{ trusted.gone }}"
    " AND (tenant_id = {{ trusted.tenant }} OR amount < 0)",
    "parameters": {"tenant": NUMBER, "region": STRING, "least": {**NUMBER, "claim": ["parameters", "limits", "least"]}, "gone": {"type": "boolean"}},
    "public": True,
    "fields": [{"id": "id", **NUMBER}, {"id": "tenant_id", **NUMBER}, {"id": "amount", **NUMBER}, {"id": "size", **STRING}],
}
ITEMS = {
    "id": "items",
    "table": "order_items",
    "fields": [{"id": "item_id", "column": "id", **NUMBER}, {"id": "order_id", **NUMBER}, {"id": "qty", **NUMBER}],
    "secure_filters": [{"field": "qty", "op": ">", "value": 0}, {"through": "mine", "on": {"order_id": "id"}}],
}
SIGNED = {"tenant": 1, "region": "EU", "gone": False, "limits": {"least": 100}}


def bearer(filters: dict[str, Any] | None = None, **over: Any) -> str:
    parameters = {name: value for name, value in {**SIGNED, **over}.items() if value is not ...}
    return token(Bearer(("mine", "items"), filters or {}, parameters))


@contextmanager
def opened(tmp_path: Path, url: str, *datasets: dict[str, Any]) -> Iterator[Gate]:
    gate = Gate.from_yaml(configuration_file(tmp_path, url, {"version": 1, "datasets": list(datasets)}))
    try:
        yield gate
    finally:
        gate.close()


def rows(access: Access, sql: str = "SELECT id, size FROM mine ORDER BY id") -> list[tuple[Any, ...]]:
    return [tuple(row) for row in access.execute(sql).rows]


@pytest.mark.parametrize("dialect", parameters())
def test_each_bearer_reads_the_rows_of_the_values_that_were_signed_for_them(private: Callable[[str, Path], Database], dialect: str, tmp_path: Path) -> None:
    database = private(dialect, tmp_path)
    database.fill(TABLES, {}, analyze=False)
    with opened(tmp_path, database.url, MINE, ITEMS) as gate:
        one = gate.verify(bearer())
        assert rows(one) == [(100, "large"), (106, "small"), (110, "small")]
        assert rows(gate.verify(bearer(tenant=2))) == [(102, "large"), (107, "large")]
        assert rows(gate.verify(bearer(region="US"))) == [(101, "small")]
        assert rows(gate.verify(bearer(gone=True))) == [(111, "large")]
        assert rows(gate.verify(bearer(limits={"least": 75}))) == [(100, "large"), (106, "large"), (110, "small")]
        # a whole number and a fraction are of two types, and one text was made for either
        assert rows(gate.verify(bearer(limits={"least": 75.25}))) == [(100, "large"), (106, "small"), (110, "small")]
        assert rows(one) == [(100, "large"), (106, "small"), (110, "small")]
        for hostile in ("' OR '1'='1", "EU' --", ":x", "%s", "{{ trusted.tenant }}", "\x01g1_0\x01", "\x03"):
            assert rows(gate.verify(bearer(region=hostile))) == []
        # the token's own filters and those of the configuration hold beside
        narrowed = {"mine": [[{"field": "amount", "op": ">=", "value": 75}], [{"field": "id", "op": "=", "value": 102}]]}
        assert rows(gate.verify(bearer(narrowed))) == [(100, "large"), (106, "small")]
        # as a parent, and twice in one query
        with pytest.raises(errors.AccessRefused, match="filter_required"):
            one.execute("SELECT item_id FROM items")
        child = gate.verify(bearer({"mine": [[{"field": "tenant_id", "op": "=", "value": 1}]]}))
        assert rows(child, "SELECT item_id FROM items ORDER BY item_id") == [(1,), (2,), (7,)]
        assert rows(child, "SELECT COUNT(*) FROM mine AS a JOIN mine AS b ON a.id = b.id JOIN items AS i ON i.order_id = a.id") == [(3,)]


@pytest.mark.parametrize("value", [..., None, "1", True, [1], {}, [], {"a": 1}], ids=repr)
def test_without_its_value_the_dataset_is_closed(tmp_path: Path, sqlite_url: Callable[..., str], value: Any) -> None:
    with opened(tmp_path, sqlite_url(SCRIPT), MINE, ITEMS, OPEN) as gate:
        access = gate.verify(
            token(
                Bearer(("mine", "items", "open"), {"mine": [[{"field": "id", "op": ">", "value": 0}]]}, {**SIGNED, "tenant": value} if value is not ... else {})
            )
        )
        for sql in ("SELECT id FROM mine", "SELECT item_id FROM items", "SELECT 1 FROM open, mine"):
            with pytest.raises(errors.AccessRefused) as refused:
                access.execute(sql)
            assert refused.value.code == "claim_required"
            assert "tenant" not in refused.value.detail
        assert rows(access, "SELECT id FROM open") == [(1,)]


SCRIPT = """
CREATE TABLE orders (id INTEGER, tenant_id INTEGER, region TEXT, amount NUMERIC, deleted BOOLEAN);
CREATE TABLE order_items (id INTEGER, order_id INTEGER, qty INTEGER);
CREATE TABLE plain (id INTEGER);
INSERT INTO orders VALUES (1, 1, 'EU', 5, 0), (2, 2, 'EU', 6, 0);
INSERT INTO plain VALUES (1);
"""
OPEN = {"id": "open", "table": "plain", "public": True, "fields": [{"id": "id", **NUMBER}]}


def test_bearers_share_a_text_that_holds_no_value_and_explain_says_which_claims_it_takes(tmp_path: Path, sqlite_url: Callable[..., str]) -> None:
    with opened(tmp_path, sqlite_url(SCRIPT), MINE) as gate:
        one, two = (gate.verify(bearer(tenant=tenant, region=f"{tenant} LEAK")) for tenant in (41, 42))
        sql = "SELECT id FROM mine"
        assert one.secure(sql).sql == two.secure(sql).sql
        assert one.secure(sql).params == {"g1_0": 100, "g1_1": 41, "g1_2": "41 LEAK", "g1_3": False, "g1_4": 41}
        (read,) = one.explain(sql)["reads"]
        assert [(each["origin"], each["binds"]) for each in read["filters"]] == [
            ("parameters.limits.least", ["g1_0"]),
            ("parameters.tenant", ["g1_1"]),
            ("parameters.region", ["g1_2"]),
            ("parameters.gone", ["g1_3"]),
            ("parameters.tenant", ["g1_4"]),
        ]
        assert "LEAK" not in json.dumps(one.explain(sql))


def test_the_witness_refuses_a_guard_that_binds_another_value_or_none(tmp_path: Path, sqlite_url: Callable[..., str]) -> None:
    with opened(tmp_path, sqlite_url(SCRIPT), MINE, ITEMS) as gate:
        access = gate.verify(bearer({"mine": [[{"field": "id", "op": ">", "value": 0}]]}))
        policy = next(iter(access._judged.policies.values()))
        dialect = DIALECTS["sqlite"]
        for name in ("mine", "items"):
            guarded = policy.rows(policy.catalog.datasets[name])
            text = render(guarded, dialect, "fenced")
            prove_guard(text, "sqlite", Shaped(guarded), "fenced")
            first = 1 if any(isinstance(part, Through) for part in guarded.predicate.parts) else 0
            binds = [f"\x01g\x02_{number}\x01" for number in range(first, 5 + first)]
            assert all(each in text for each in binds)
            swapped = text.replace(binds[0], "\x04").replace(binds[1], binds[0]).replace("\x04", binds[1])
            for changed in (swapped, text.replace(binds[2], "'EU'"), text.replace(binds[1], binds[4]), text.replace(f" AND region = {binds[2]}", "")):
                assert changed != text
                with pytest.raises(OurBug):
                    prove_guard(changed, "sqlite", Shaped(guarded), "fenced")


def test_the_witness_refuses_a_policy_whose_values_are_not_the_select_s(tmp_path: Path, sqlite_url: Callable[..., str]) -> None:
    """Whoever made the rows: each value is compared as the field that the SELECT declares in its place."""
    with opened(tmp_path, sqlite_url(SCRIPT), MINE) as gate:
        policy = next(iter(gate.verify(bearer())._judged.policies.values()))
        guarded = policy.rows(policy.catalog.datasets["mine"])
        for trusted in (guarded.trusted[1:], (*guarded.trusted, guarded.trusted[0]), guarded.trusted[::-1]):
            wrong = replace(guarded, trusted=trusted)
            with pytest.raises(OurBug, match="our_bug"):
                prove_guard(render(guarded, DIALECTS["sqlite"], "fenced"), "sqlite", Shaped(wrong), "fenced")


# --- what the file may say --------------------------------------------------------------------------------------------------------------------

DECLARED = "reads_past: [orders]\n    parameters: {region: {type: string}}"


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT id FROM orders WHERE region = '{{ trusted.region }}'", "names a value of the token inside of a text or comment"),
        ('SELECT id FROM orders WHERE region = "{{ trusted.region }}"', "datasets[1].sql: "),
        ("SELECT id FROM orders -- {{ trusted.region }}", "datasets[1].sql: "),
        ("SELECT id FROM orders /* {{ trusted.region }} */ WHERE region = ''", "datasets[1].sql: "),
        ("SELECT id FROM orders WHERE region = :trusted_region OR region = {{ trusted.region }}", "or as `:name`; write `{{ trusted.name }}` by itself"),
        ("SELECT id FROM orders WHERE region = :region AND region = {{ trusted.region }}", "takes no parameters but `{{ trusted.name }}`"),
        ("SELECT id FROM orders WHERE region = {{ region }}", "datasets[1].sql: has a `{{` that is no `{{ trusted.name }}`"),
        ("SELECT id FROM orders WHERE region = {{ trusted.a.b }}", "has a `{{` that is no `{{ trusted.name }}`"),
        ("SELECT id FROM orders WHERE region = {{ trusted.regoin }}", "names `regoin`, which `parameters:` does not declare; did you mean `region`?"),
        ("SELECT id FROM orders", "does not name `{{ trusted.region }}`, which `parameters:` declares"),
        ("SELECT id FROM {{ trusted.region }}.orders", "datasets[1].sql: takes the name of a schema or table from the token, which is not supported"),
        ("SELECT id FROM main.{{ trusted.region }}", "takes the name of a schema or table from the token"),
        ("SELECT id FROM orders JOIN {{trusted.region}} ON TRUE", "takes the name of a schema or table from the token"),
        ("SELECT id FROM orders, {{trusted.region}}", "datasets[1].sql: "),
        ("SELECT {{ trusted.region }}.id FROM orders", "takes the name of a schema or table from the token"),
        ("SELECT id AS {{ trusted.region }} FROM orders", "datasets[1].sql: "),
        ("SELECT id FROM orders WHERE region LIKE {{ trusted.region }}", "takes a pattern from the token"),
        ("SELECT id FROM (SELECT id FROM orders LIMIT {{ trusted.region }}) AS o", "takes from the token how many rows it has"),
        ("SELECT CAST(id AS {{ trusted.region }}) AS id FROM orders", "datasets[1].sql: "),
    ],
    ids=lambda each: each[:60],
)  # fmt: skip
def test_a_value_stands_where_a_value_may_and_nowhere_else(folder: Path, sql: str, said: str) -> None:
    found = problems(folder, _sql(json.dumps(sql), DECLARED))
    assert any(said in each for each in found), found


def test_parameters_are_for_a_select_and_of_three_types(folder: Path) -> None:
    table = f"{HEAD}  - id: s\n    table: order_items\n    parameters: {{region: {{type: string}}}}\n    {FIELDS}\n"
    assert any("datasets[1].parameters: are for `sql:`; remove them" in each for each in problems(folder, table))
    for wrong, said in (
        ("{type: date}", "must be one of `number`, `string` or `boolean`"),
        ("{}", "is missing; write `type:` here"),
        ("{type: string, claims: x}", "is no known key; did you mean `claim`?"),
    ):
        text = _sql("SELECT id FROM orders WHERE region = {{ trusted.region }}".join('""'), f"reads_past: [orders]\n    parameters: {{region: {wrong}}}")
        assert any(said in each for each in problems(folder, text)), said


def test_it_is_no_way_around_a_filter(tmp_path: Path, sqlite_url: Callable[..., str]) -> None:
    """A dataset that takes values of the token wants its filter all the same, unless the file says `public: true`."""
    closed = {**MINE, "public": False}
    with opened(tmp_path, sqlite_url(SCRIPT), closed) as gate, pytest.raises(errors.AccessRefused) as refused:
        gate.verify(bearer()).execute("SELECT id FROM mine")
    assert refused.value.code == "filter_required"


def test_a_number_that_the_database_cannot_hold_closes_the_dataset(tmp_path: Path, sqlite_url: Callable[..., str]) -> None:
    with opened(tmp_path, sqlite_url(SCRIPT), MINE) as gate:
        for value in (2**70, -(2**63) - 1):
            with pytest.raises(errors.AccessRefused) as refused:
                gate.verify(bearer(tenant=value)).execute("SELECT id FROM mine")
            assert refused.value.code == "claim_required"


def test_misconfigured_says_nothing_of_what_stands_in_the_select(folder: Path) -> None:
    from rowseal.configuration import load

    (folder / "datasets.yaml").write_text(_sql('"SELECT id FROM orders WHERE nonesuch = {{ trusted.region }}"', DECLARED))
    with pytest.raises(Misconfigured) as refused:
        load(folder / "datasets.yaml", environ={})
    assert "trusted_region" not in str(refused.value)
