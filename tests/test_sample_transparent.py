"""The sample's naive engine, with the gate in front of it and without: the wall is the middleware."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from asgi import Answer, ask
from rowseal import Gate, Signer
from sample_engine import naive, shop
from sample_engine.keys import make_keys
from sample_engine.naive import create_naive_app
from sample_engine.transparent import create_transparent_app

ROOT = Path(__file__).parent.parent
EVERYTHING = "SELECT tenant_id, note FROM orders"


class Place:
    """The project's own datasets.yaml over a shop, the naive engine, and the same behind the gate."""

    def __init__(self, folder: Path, url: str, reader: str | None = None) -> None:
        (folder / "sample_engine").mkdir()
        (folder / "datasets.yaml").write_text((ROOT / "datasets.yaml").read_text(encoding="utf-8"))
        self._key = make_keys(folder / "sample_engine" / "keys").read_bytes()
        shop.make_shop(url, reader=None if reader is None else make_url(reader).username)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DATABASE_URL", reader or url)
            self.gate = Gate.from_yaml(folder / "datasets.yaml")
            self.alone = create_naive_app()
            self.behind = create_transparent_app(self.gate)

    def post(self, app: Any, sql: str, tenant: int | None = None, **more: Any) -> Answer:
        headers = [] if tenant is None else [("Authorization", f"Bearer {self._token(tenant)}")]
        return ask(app, headers=headers, body=json.dumps({"sql": sql, **more}).encode())

    def _token(self, tenant: int) -> str:
        own = {"orders": [[{"field": "tenant", "op": "=", "value": tenant}]]}
        signer = Signer(self._key, ttl_in_minutes=10)
        return signer.generate_tokens(user_reference="u", project_id="prj_shop", data_set_ids=["orders"], secure_filters=own)["dataAccessToken"]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.slow])])
def place(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        made = Place(folder, f"sqlite:///{folder / 'shop.db'}")
        yield made
        made.gate.close()
        return
    database = request.getfixturevalue("postgres_server").new_database()
    made = Place(folder, database.owner_url, database.reader_url)
    yield made
    made.gate.close()
    database.drop()


def test_without_the_gate_the_engine_tells_everything_to_anybody(place: Place) -> None:
    answer = place.post(place.alone, "SELECT DISTINCT tenant_id FROM orders ORDER BY tenant_id")
    assert json.loads(answer.body)["rows"] == [[1], [2], [3]]
    assert shop.FORBIDDEN.encode() in place.post(place.alone, EVERYTHING).body


@pytest.mark.parametrize("tenant", [1, 2])
def test_behind_the_gate_each_tenant_gets_its_own_rows(place: Place, tenant: int) -> None:
    answer = place.post(place.behind, "SELECT tenant, COUNT(*) AS n FROM orders WHERE status = :s GROUP BY tenant", tenant, params={"s": "paid"})
    [[found, count]] = json.loads(answer.body)["rows"]
    [[expected]] = json.loads(place.post(place.alone, f"SELECT COUNT(*) FROM orders WHERE tenant_id = {tenant} AND NOT deleted AND status = 'paid'").body)[
        "rows"
    ]
    assert (found, count) == (tenant, expected)
    assert expected > 1000


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        (EVERYTHING, "column_unknown"),
        ("SELECT tenant FROM orders UNION ALL SELECT id FROM customers", "dataset_unknown"),
        ("SELECT name FROM sqlite_master", "dataset_unknown"),
        ("SELECT relname FROM pg_catalog.pg_class", "dataset_unknown"),
        ("DELETE FROM orders", "sql_not_one_select"),
        ("SELECT tenant FROM orders; DROP TABLE orders", "sql_not_one_select"),
        ("SELECT absent FROM orders", "column_unknown"),
    ],
)
def test_behind_the_gate_the_same_engine_tells_nothing_else(place: Place, sql: str, code: str) -> None:
    answer = place.post(place.behind, sql, 1)
    assert answer.code == code
    assert shop.FORBIDDEN.encode() not in answer.body


def test_every_row_that_comes_through_is_the_bearer_s_own(place: Place) -> None:
    answer = place.post(place.behind, "SELECT tenant, note, region FROM orders WHERE tenant = 1 OR 1 = 1", 1)
    rows = json.loads(answer.body)["rows"]
    assert {row[0] for row in rows} == {1}
    assert len(rows) == place.gate.limits.rows + 1
    assert shop.FORBIDDEN not in answer.body.decode()


def test_what_fails_in_the_engine_stays_there(place: Place) -> None:
    failing = "SELECT ABS(-9223372036854775807 - tenant) AS x FROM orders"
    answer = place.post(place.behind, failing if place.gate.catalogs["default"].dialect == "sqlite" else "SELECT 1 / (tenant - 1) AS x FROM orders", 1)
    assert (answer.status, answer.code) == (502, "query_failed")


def test_nobody_gets_in_without_a_token_or_by_another_path(place: Place) -> None:
    assert place.post(place.behind, EVERYTHING).code == "token_missing"
    assert ask(place.behind, "/docs", method="GET").code == "token_missing"


def test_the_engine_knows_nothing_of_rowseal() -> None:
    names = [node for node in ast.walk(ast.parse(Path(naive.__file__).read_text(encoding="utf-8"))) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert names
    assert not any("rowseal" in ast.unparse(node) for node in names)
