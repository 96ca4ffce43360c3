"""`rowseal postgres-role`: the SQL runs, the role that it makes can do what the file asks for, and PostgreSQL itself denies it everything else."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest

import servers
from databases.postgres import _Database, libpq
from rowseal import cli
from rowseal.gate import Gate
from rowseal.signing import Signer
from sample_engine import shop
from sample_engine.keys import make_keys
from world import CONFIGURATION, TABLES, VIEWS, Bearer, configuration_file, token

pytestmark = pytest.mark.postgres

OVERVIEW = {
    "id": "overview",
    "sql": "SELECT o.tenant_id, c.name, count(*) AS n FROM orders AS o JOIN customers AS c ON c.id = o.customer_id GROUP BY o.tenant_id, c.name",
    "reads_past": ["orders", "customers"],
    "fields": [{"id": "tenant_id", "type": "number"}, {"id": "name", "type": "string"}, {"id": "n", "type": "number"}],
}
TENANT_1 = [[{"field": "tenant_id", "op": "=", "value": 1}]]


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    status = cli.run(arguments, out=out, err=err, stdin=StringIO(), clock=lambda: 0.0)
    return status, out.getvalue(), err.getvalue()


@pytest.fixture
def stocked(fresh_postgres: servers.Database) -> servers.Database:
    _Database(fresh_postgres).fill(TABLES, VIEWS, analyze=False)
    fresh_postgres.run("ALTER TABLE orders ADD COLUMN margin int DEFAULT 7")
    return fresh_postgres


@pytest.fixture
def role(fresh_postgres: servers.Database) -> Iterator[str]:
    """A name that no other test makes."""
    name = f"Least {uuid.uuid4().hex[:8]}"
    yield name
    fresh_postgres.server.run(f'DROP OWNED BY "{name}"', f'DROP ROLE "{name}"', database=fresh_postgres.name)


def made(database: servers.Database, role: str, file: Path) -> str:
    """Run what is printed; the URL of the role."""
    status, sql, err = run("postgres-role", "--role", role, str(file))
    assert (status, err) == (0, "")
    database.server.run(sql, database=database.name)
    return database.server.url(role.replace(" ", "%20"), database.name)


def answers(gate: Gate, signed: str) -> dict[str, Any]:
    access = gate.verify(signed)
    found = {}
    for visible in access.datasets():
        if visible.refusal is None:
            quoted = '"' + visible.dataset.sql_name.replace('"', '""') + '"'
            result = access.execute(f"SELECT * FROM {quoted} AS t ORDER BY 1, 2")
            found[visible.dataset.id] = (result.columns, result.rows)
    return found


def test_the_role_answers_what_the_tables_owner_would_and_nothing_is_said_of_it(
    stocked: servers.Database, role: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configuration = {**CONFIGURATION, "datasets": [*CONFIGURATION["datasets"], OVERVIEW]}
    (tmp_path / "owner").mkdir()
    (tmp_path / "least").mkdir()
    file = configuration_file(tmp_path / "owner", stocked.reader_url, configuration)
    filters = {dataset["id"]: TENANT_1 for dataset in configuration["datasets"] if any(field["id"] == "tenant_id" for field in dataset["fields"])}
    signed = token(Bearer("*", filters, {"region": "EU"}))
    least = made(stocked, role, file)
    expected, found = Gate.from_yaml(file), None
    try:
        caplog.clear()
        found = Gate.from_yaml(configuration_file(tmp_path / "least", least, configuration))
        assert caplog.messages == []  # of the reader, which may read every table, something is said
        assert answers(found, signed) == answers(expected, signed)
        assert {"orders", "order_items", "overview", "tickets"} <= answers(found, signed).keys()
    finally:
        for gate in filter(None, (expected, found)):
            gate.close()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT margin FROM orders",
        "SELECT * FROM orders",
        "SELECT o FROM orders AS o",
        "BEGIN READ WRITE; SELECT id FROM orders FOR UPDATE",
        "SELECT * FROM salaries",
        "SELECT count(*) FROM salaries",
        "BEGIN READ WRITE; DELETE FROM orders",
        "BEGIN READ WRITE; INSERT INTO orders (id) VALUES (1)",
        "BEGIN READ WRITE; CREATE TABLE mine (id int)",
        "BEGIN READ WRITE; CREATE TEMPORARY TABLE mine (id int)",
        "BEGIN READ WRITE; CREATE SCHEMA mine",
        "BEGIN READ WRITE; CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_ls_dir('.')",
        "SELECT lo_import('/etc/passwd')",
        "COPY orders (id) TO '/tmp/rowseal-copied'",
        "COPY orders (id) TO PROGRAM 'cat'",
        "SET ROLE rowseal_owner",
        "SET SESSION AUTHORIZATION rowseal_owner",
        "SET session_replication_role = replica",
        "SET log_statement = 'all'",
        "ALTER SYSTEM SET work_mem = '1GB'",
        "BEGIN READ WRITE; ALTER TABLE orders DISABLE ROW LEVEL SECURITY",
        "BEGIN READ WRITE; GRANT SELECT ON salaries TO PUBLIC",
        "BEGIN READ WRITE; ALTER ROLE rowseal_reader SUPERUSER",
        "BEGIN READ WRITE; CREATE ROLE other",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
        "SELECT rolpassword FROM pg_authid",
        "SELECT * FROM pg_stats WHERE attname = 'margin' AND 1 / (SELECT count(*) FROM pg_stats WHERE attname = 'margin') = 1",
    ],
)
def test_postgresql_itself_denies_the_role_everything_else(stocked: servers.Database, role: str, tmp_path: Path, statement: str) -> None:
    stocked.run("ANALYZE")
    url = made(stocked, role, configuration_file(tmp_path, stocked.reader_url))
    with psycopg.connect(libpq(url), autocommit=True) as connection:
        connection.execute(b"SELECT id FROM orders")
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.DivisionByZero)):
            connection.execute(statement.encode())


def test_a_login_of_the_role_begins_read_only_and_bounded(stocked: servers.Database, role: str, tmp_path: Path) -> None:
    url = made(stocked, role, configuration_file(tmp_path, stocked.reader_url))
    settings = ("transaction_read_only", "statement_timeout", "lock_timeout", "row_security", "search_path")
    with psycopg.connect(libpq(url)) as connection:
        found = [connection.execute("SELECT current_setting(%s)", [setting]).fetchall()[0][0] for setting in settings]
    assert found == ["on", "10s", "5s", "on", "public, pg_temp"]


def test_what_the_file_no_longer_asks_for_is_taken_back(stocked: servers.Database, role: str, tmp_path: Path) -> None:
    (tmp_path / "less").mkdir()
    url = made(stocked, role, configuration_file(tmp_path, stocked.reader_url))
    fewer = {**CONFIGURATION, "datasets": [{"id": "products", "table": "products", "public": True, "fields": [{"id": "id", "type": "number"}]}]}
    assert made(stocked, role, configuration_file(tmp_path / "less", stocked.reader_url, fewer)) == url
    with psycopg.connect(libpq(url), autocommit=True) as connection:
        assert connection.execute("SELECT count(id) FROM products").fetchall() != [(0,)]
        for statement in ("SELECT name FROM products", "SELECT id FROM orders"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_a_comment_of_the_file_s_words_stays_a_comment(stocked: servers.Database, role: str, tmp_path: Path) -> None:
    folder = tmp_path / "x\nDROP TABLE orders; --"
    folder.mkdir()
    datasets = [{"id": "DROP TABLE orders;", "sql_name": "p", "table": "products", "public": True, "fields": [{"id": "id", "type": "number"}]}]
    made(stocked, role, configuration_file(folder, stocked.reader_url, {**CONFIGURATION, "datasets": datasets}))
    stocked.run("SELECT 1 FROM orders, customers")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--role", "a\nb"), "cannot be printed"),
        (("--role", "$rowseal$"), "cannot be printed"),
        (("--role", ""), "cannot be printed"),
        (("--role", "é" * 32), "cannot be printed"),
        (("--connection", "nowhere"), "is none of the file's"),
    ],
)
def test_what_cannot_be_a_role_is_said(stocked: servers.Database, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    status, out, err = run("postgres-role", *arguments, str(configuration_file(tmp_path, stocked.reader_url)))
    assert (status, out) == (1, "")
    assert said in err


def test_a_file_without_postgresql_has_no_role(tmp_path: Path, sqlite_url: Callable[[str], str]) -> None:
    datasets = [{"id": "products", "table": "products", "public": True, "fields": [{"id": "id", "type": "number"}]}]
    file = configuration_file(tmp_path, sqlite_url("CREATE TABLE products (id INTEGER)"), {**CONFIGURATION, "datasets": datasets})
    status, out, err = run("postgres-role", str(file))
    assert (status, out) == (1, "")
    assert "SQLite file has none" in err


@pytest.mark.slow
def test_the_whole_sample_works_with_the_role(
    fresh_postgres: servers.Database, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(__file__).parent.parent
    make_keys(tmp_path / "sample_engine/keys")
    (tmp_path / "datasets.yaml").write_text((root / "datasets.yaml").read_text())
    shop.make_shop(fresh_postgres.owner_url)
    monkeypatch.setenv("DATABASE_URL", fresh_postgres.owner_url)
    url = made(fresh_postgres, role, tmp_path / "datasets.yaml")
    monkeypatch.setenv("DATABASE_URL", url)
    caplog.clear()
    gate = Gate.from_yaml(tmp_path / "datasets.yaml")
    try:
        assert caplog.messages == []
        ids = list(gate.catalogs["default"].datasets)
        filters = {each: [[{"field": "tenant", "op": "=", "value": 1}]] for each in ("orders", "customers")}
        signer = Signer((tmp_path / "sample_engine/keys/private.pem").read_bytes(), ttl_in_minutes=15)
        tokens = signer.generate_tokens(user_reference="u", access_type="standard", data_set_ids=ids, secure_filters=filters, project_id="prj_shop")
        found = answers(gate, tokens["dataAccessToken"])
        assert found.keys() == gate.catalogs["default"].datasets.keys()
        assert all(rows for _, rows in found.values())
    finally:
        gate.close()
