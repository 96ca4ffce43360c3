"""The sample engine over real HTTP: two tenants, their own rows, and the demo that shows it."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rowseal.gate import Gate
from sample_engine import shop
from sample_engine.app import PEOPLE, create_app
from sample_engine.keys import make_keys
from serving import serving

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the project's own datasets.yaml, and keys and a shop made for this run."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "sample_engine").mkdir()
    (folder / "datasets.yaml").write_text((ROOT / "datasets.yaml").read_text())
    make_keys(folder / "sample_engine" / "keys")
    shop.make_shop(f"sqlite:///{folder / 'sample_engine' / 'shop.db'}")
    return folder


@pytest.fixture(scope="module")
def truth(place: Path) -> Iterator[sqlite3.Connection]:
    """The shop itself, without rowseal."""
    with closing(sqlite3.connect(place / "sample_engine" / "shop.db")) as connection:
        yield connection


@pytest.fixture(scope="module")
def url(place: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DATABASE_URL", raising=False)
        gate = Gate.from_yaml(place / "datasets.yaml")
    app = create_app(gate, private_key=place / "sample_engine" / "keys" / "private.pem")
    with serving(app) as address:
        yield address
    gate.close()


@contextmanager
def log_in(url: str, name: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as client:
        assert client.post("/login", json={"name": name, "password": PEOPLE[name].password}).status_code == 200
        client.headers["Authorization"] = f"Bearer {client.get('/identity').json()['dataAccessToken']}"
        yield client


def query(client: httpx.Client, sql: str, **more: Any) -> Any:
    answer = client.post("/query", json={"sql": sql, **more})
    return answer.json()["rows"] if answer.status_code == 200 else answer.json()["code"]


@pytest.mark.parametrize(("name", "tenant"), [("north", 1), ("south", 2)])
def test_each_tenant_gets_exactly_its_own_rows_of_every_dataset(url: str, truth: sqlite3.Connection, name: str, tenant: int) -> None:
    own = "tenant_id = ? AND NOT deleted"
    with log_in(url, name) as client:
        orders = truth.execute(f"SELECT COUNT(*), SUM(amount), COUNT(note) FROM orders WHERE {own}", (tenant,)).fetchone()
        assert orders[0] > 10_000
        assert query(client, "SELECT COUNT(*) AS n, SUM(amount) AS cents, COUNT(note) AS notes FROM orders") == [list(orders)]
        items = truth.execute(f"SELECT COUNT(*), SUM(i.qty) FROM order_items i JOIN orders o ON o.id = i.order_id WHERE {own}", (tenant,)).fetchone()
        assert query(client, "SELECT COUNT(*) AS n, SUM(qty) AS pieces FROM order_items") == [list(items)]
        names = truth.execute("SELECT name FROM customers WHERE tenant_id = ? ORDER BY id LIMIT 50", (tenant,)).fetchall()
        assert query(client, "SELECT name FROM customers ORDER BY customer_id LIMIT 50") == [list(row) for row in names]
        assert query(client, "SELECT COUNT(*) AS n FROM products") == [list(truth.execute("SELECT COUNT(*) FROM products").fetchone())]


def test_a_query_takes_parameters_and_may_name_its_dataset(url: str) -> None:
    with log_in(url, "north") as client:
        [[found]] = query(client, "SELECT COUNT(*) AS n FROM orders WHERE status = :status", params={"status": "paid"}, dataSetId="orders")
        assert 0 < found < 16_645
        assert query(client, "SELECT COUNT(*) AS n FROM products", dataSetId="orders") == "dataset_not_asked"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "request_malformed"),
        (b"[]", "request_malformed"),
        (b'{"sql": 1}', "request_malformed"),
        (b"{}", "request_malformed"),
        (b'{"sql": "SELECT 1", "params": [1]}', "request_malformed"),
        (b'{"sql": ""}', "sql_empty"),
        (b'{"sql": "DROP TABLE orders"}', "sql_not_one_select"),
        (b'{"sql": "SELECT deleted FROM orders"}', "column_unknown"),
        (b'{"sql": "SELECT name FROM sqlite_master"}', "dataset_unknown"),
        (b'{"sql": "SELECT tenant_id FROM main.orders"}', "column_unknown"),
    ],
)
def test_what_is_no_query_for_this_bearer_is_refused_with_a_code(url: str, body: bytes, code: str) -> None:
    with log_in(url, "north") as client:
        answer = client.post("/query", content=body)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["code"], answer.status_code) == (code, answer.json()["status"])


def test_who_somebody_is_comes_from_the_signed_cookie_alone(url: str) -> None:
    with httpx.Client(base_url=url) as client:
        assert client.get("/identity").status_code == 401
        assert client.post("/login", json={"name": "north", "password": "demo-south"}).status_code == 401
        assert client.post("/login", json={"name": "nobody", "password": ""}).status_code == 401
        assert client.post("/login", content=b"[").status_code == 400
        assert not client.cookies
        client.post("/login", json={"name": "north", "password": "demo-north", "tenant": 2})
        cookie = client.cookies["shop_login"]
        assert client.get("/identity", params={"name": "south", "tenant": "2"}).json().keys() == {"dashboardAccessToken", "dataAccessToken"}
    for forged in (cookie.replace("north", "south"), cookie[:-1], f"north.9999999999.{'0' * 64}", "north", "", "..", "é.1.2"):
        assert httpx.get(f"{url}/identity", headers={"Cookie": f"shop_login={forged}".encode()}).status_code == 401, forged
    assert httpx.get(f"{url}/identity", headers={"Cookie": f"shop_login={cookie}"}).status_code == 200


def test_only_the_pages_for_logging_in_are_open(url: str) -> None:
    assert httpx.get(url).status_code == 200
    for path in ("/query", "/docs", "/login/", "//login", "/anything"):
        answer = httpx.post(f"{url}{path}", json={"sql": "SELECT 1"})
        assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")


# --- data and keys ------------------------------------------------------------------------------------------------------------------


def test_the_shop_is_the_same_every_time_and_made_in_one_step(place: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.db"
    shop.make_shop(f"sqlite:///{again}")
    assert again.read_bytes() == (place / "sample_engine" / "shop.db").read_bytes()
    assert list(tmp_path.iterdir()) == [again]


def test_the_forbidden_tenants_rows_tell_and_nobody_elses_do(truth: sqlite3.Connection) -> None:
    for table in ("orders", "customers"):
        texts = "note || region" if table == "orders" else "name"
        [[own, others]] = truth.execute(
            f"SELECT SUM(tenant_id = 3 AND {texts} LIKE '%FORBIDDEN%'), SUM(tenant_id <> 3 AND {texts} LIKE '%FORBIDDEN%') FROM {table}"
        ).fetchall()
        assert own == truth.execute(f"SELECT COUNT(*) FROM {table} WHERE tenant_id = 3").fetchone()[0] > 500
        assert not others
    assert truth.execute("SELECT COUNT(*) FROM orders WHERE amount >= 666000000 AND tenant_id <> 3").fetchone() == (0,)
    for column in ("region", "amount", "note"):
        assert truth.execute(f"SELECT COUNT(*) FROM orders WHERE {column} IS NULL AND tenant_id = 1").fetchone()[0] > 100
    assert truth.execute("SELECT COUNT(DISTINCT tenant_id) FROM orders WHERE deleted").fetchone() == (3,)


@pytest.mark.postgres
@pytest.mark.slow
def test_the_shop_holds_the_same_rows_on_postgresql_and_its_reader_is_let_in(
    place: Path, truth: sqlite3.Connection, fresh_postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import make_url

    shop.make_shop(fresh_postgres.owner_url, reader=make_url(fresh_postgres.reader_url).username)
    monkeypatch.setenv("DATABASE_URL", str(fresh_postgres.reader_url))
    gate = Gate.from_yaml(place / "datasets.yaml")
    app = create_app(gate, private_key=place / "sample_engine" / "keys" / "private.pem")
    sql = "SELECT COUNT(*) AS n, SUM(amount) AS cents FROM orders"
    expected = truth.execute("SELECT COUNT(*), SUM(amount) FROM orders WHERE tenant_id = 2 AND NOT deleted").fetchone()
    try:
        import asyncio

        async def ask() -> Any:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
                await client.post("/login", json={"name": "south", "password": "demo-south"})
                token = (await client.get("/identity")).json()["dataAccessToken"]
                return (await client.post("/query", json={"sql": sql}, headers={"Authorization": f"Bearer {token}"})).json()

        assert asyncio.run(ask())["rows"] == [list(expected)]
    finally:
        gate.close()


def test_the_private_key_is_its_owners_alone_and_kept_once_made(tmp_path: Path) -> None:
    private = make_keys(tmp_path / "keys")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    before = private.read_bytes()
    assert make_keys(tmp_path / "keys").read_bytes() == before
    (tmp_path / "keys" / "public.pem").unlink()
    assert make_keys(tmp_path / "keys").read_bytes() != before, "half a pair is of no use"


def test_the_keys_and_the_shop_are_never_committed() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"sample_engine/keys/", "*.db"} <= set(ignored)


# --- the demo -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the demo needs, so that it makes its keys and its shop there."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "sample_engine").mkdir()
    for file in ("datasets.yaml", *(f"sample_engine/{path.name}" for path in (ROOT / "sample_engine").glob("*.py"))):
        (folder / file).write_text((ROOT / file).read_text())
    return folder


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "DATABASE_URL"} | {"COLUMNS": "160"}


@pytest.mark.slow
def test_the_demo_makes_what_it_needs_shows_both_tenants_and_withstands_its_attacks(checkout: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "sample_engine.demo"], cwd=checkout, env=environment(), capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("nothing of anybody else's") == 5
    assert "north (tenant 1)" in ran.stdout
    assert "south (tenant 2)" in ran.stdout
    assert 'WITH "__g1"' in ran.stdout
    assert "FORBIDDEN" not in ran.stdout
    assert ran.stderr == ""


@pytest.mark.slow
def test_the_demo_fails_when_an_attack_gets_through(checkout: Path) -> None:
    # The sabotage: the handler asks the database itself. The demo has to notice.
    bypass = """
import sqlite3, sys
from starlette.responses import JSONResponse
from sample_engine import app, demo, shop
async def query(request):
    ask = await request.json()
    database = sqlite3.connect(shop.DATABASE.removeprefix("sqlite:///"))
    database.execute("CREATE TEMP VIEW orders AS SELECT id AS order_id, tenant_id AS tenant, * FROM main.orders")
    database.execute("CREATE TEMP VIEW order_items AS SELECT id AS item_id, * FROM main.order_items")
    try:
        cursor = database.execute(ask["sql"])
        return JSONResponse({"columns": [c[0] for c in cursor.description], "rows": cursor.fetchmany(50), "truncated": False})
    except sqlite3.Error as error:
        return JSONResponse({"code": "x", "detail": str(error)}, status_code=400)
    finally:
        database.close()
app.query = query
sys.exit(demo.main([]))
"""
    ran = subprocess.run([sys.executable, "-c", bypass], cwd=checkout, env=environment(), capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "LEAKED" in ran.stdout


@pytest.mark.slow
def test_serve_prints_a_request_that_works_and_ends_on_an_interrupt(checkout: Path) -> None:
    command = [sys.executable, "-u", "-m", "sample_engine.demo", "--serve"]
    with subprocess.Popen(command, cwd=checkout, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as serving:
        try:
            assert serving.stdout is not None
            line = next(line for line in serving.stdout if line.startswith("curl "))
            found = re.fullmatch(r"curl -s (\S+) -H '(\w+): (.+?)' -d '(.+)'\n", line)
            assert found is not None
            answer = httpx.post(found[1], headers={found[2]: found[3]}, content=found[4])
            assert len(answer.json()["rows"]) == 4
        finally:
            serving.send_signal(signal.SIGINT)
            serving.wait(20)
    assert serving.returncode == 0
