"""What the documentation says is so: its snippets run, its links lead somewhere, and what is written from the code is current."""

from __future__ import annotations

import json
import re
import runpy
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import httpx
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import Integer, create_engine

import pages
import servers
from asgi import Front
from docs import generate, sql_page
from docs.sql_examples import INSTEAD
from harness import cases
from rowseal import Gate, Signer, errors
from rowseal.claims import Claims, KeyFacts
from rowseal.configuration import load
from rowseal.filters import read_filter
from rowseal.gate import Access
from rowseal.grants import vizzly
from rowseal.grants.dashboard import read_dashboard
from rowseal.keys import TokenRules
from rowseal.sql import admitted
from sample_engine import shop
from sample_engine.keys import make_keys

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def _names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def _prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def _fences(page: str, language: str) -> list[str]:
    return [text for found, text in FENCE.findall((ROOT / page).read_text(encoding="utf-8")) if found == language]


# --- written from the code ---------------------------------------------------------------------------------------------------------------


def test_the_pages_from_the_code_are_current() -> None:
    """Whoever changes a code or the list of SQL runs `make docs`."""
    assert _names(list(generate.stale())) == []


def test_a_page_that_is_not_current_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can say no, and writing mends it."""
    page = tmp_path / "errors.md"
    page.write_text("# Errors\n")
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "PAGES", {page: next(lines for path, lines in generate.PAGES.items() if path.name == "errors.md")})
    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


def test_every_code_has_a_section_with_its_status() -> None:
    """errors.md#code is an address that a refusal's reader may rely on."""
    page = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
    for code, meaning in errors.CODES.items():
        section = page.partition(f"\n### `{code}`\n")[2].partition("\n#")[0]
        assert meaning.hint in section
        assert f"\n## {meaning.status}:" in page.partition(f"\n### `{code}`\n")[0]


BY_DATABASE = ("sql.admitted", "sql.barrier", "sql.dialects", "sql.guards", "sql.proof")  # packages with a module for each database


def test_the_code_map_has_every_module_and_the_codes_that_it_refuses_with() -> None:
    """architecture.md is compared with the source, module by module."""
    page = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
    said: dict[str, set[str]] = {}
    for paragraph in page.split("\n\n"):
        modules = re.findall(r"^\*\*`([\w.]+)`\*\*|; \*\*`([\w.]+)`\*\*", paragraph, re.MULTILINE)
        codes = re.findall(r"`(\w+)`", paragraph.partition("Refuses with:")[2])
        said |= {first or second: set(codes) for first, second in modules}
    written: dict[str, set[str]] = {}
    for module, refused in generate.refusals().items():
        written.setdefault(next((each for each in BY_DATABASE if module.startswith(f"{each}.")), module), set()).update(refused)
    assert {module: codes for module, codes in said.items() if codes} == written
    present = {".".join(path.relative_to(generate.SOURCE).with_suffix("").parts).removesuffix(".__init__") for path in generate.SOURCE.rglob("*.py")}
    inside = {
        "grants.grant",
        *(name for name in present if name.startswith(("catalog.", *(f"{each}." for each in BY_DATABASE)))),
    }  # one paragraph for all of these
    assert present - inside - {"__init__", "sql"} <= said.keys()
    assert said.keys() <= present


def test_the_closed_world_is_as_large_as_its_decision_says() -> None:
    """docs/decisions/0002, by counting."""
    page = (ROOT / "docs/decisions/0002-closed-world.md").read_text(encoding="utf-8")
    syntax, functions, casts = (
        f"{len(each['sqlite'])}, {len(each['postgres'])} and {len(each['mariadb'])}" for each in (admitted.NODES, admitted.FUNCTIONS, admitted.CASTS)
    )
    pages = [case for case in cases() if case.file in {"superset", "metabase", "cube", "analysis"}]
    asked = {name: [case for case in pages if name in case.dialects] for name in ("sqlite", "postgres")}
    rates = " and ".join(
        f"{sum(case.rows is not None for case in asked[name])} of {len(asked[name])}{' queries' if name == 'sqlite' else ''} on {label}"
        for name, label in (("sqlite", "SQLite"), ("postgres", "PostgreSQL"))
    )
    assert f"accepted are {rates}." in page
    assert f"Admitted are {syntax} classes of syntax on SQLite, PostgreSQL and MariaDB, {functions} functions, {casts} types for casts." in page


# --- links and names ---------------------------------------------------------------------------------------------------------------------


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = re.findall(r"^#{1,6} (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading).lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", _names(PAGES))
def test_relative_links_lead_to_files_and_headings_that_exist(name: str) -> None:
    """Every link that is not to another site."""
    page = ROOT / name
    broken = []
    for link in re.findall(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)", _prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or not target.is_relative_to(ROOT) or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("name", _names(PAGES))
def test_files_and_commands_that_a_page_names_exist(name: str) -> None:
    """`tests/...`, `docs/...`, `src/...` in backticks, and every `make` target."""
    text = (ROOT / name).read_text(encoding="utf-8")
    files = re.findall(r"`((?:tests|docs|src|sample_engine)/[\w./-]*\w[\w./-]*)(?:::\w+)?`", text)
    assert [file for file in files if not (ROOT / file).exists()] == []
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", text)) <= targets


def test_every_page_can_be_reached_from_the_index() -> None:
    """Nothing is written that nobody finds."""
    seen: set[Path] = set()
    waiting = [ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        links = (link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", _prose(page)) if not re.match(r"[a-z]+:", link))
        waiting += [path for path in ((page.parent / link).resolve() for link in links if link.endswith(".md")) if path not in seen]
    assert set(PAGES) <= seen
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert [page.name for page in (ROOT / "docs" / "decisions").glob("*.md") if page.name not in index] == []


def test_each_guarantee_names_tests_that_exist() -> None:
    """guarantees.md has a row for each of the ten, with tests that are there."""
    page = (ROOT / "docs/explanation/guarantees.md").read_text(encoding="utf-8")
    rows = {found[1]: found[0] for found in re.finditer(r"^\| (G\d+) \|.*\|$", page, re.MULTILINE)}
    assert set(rows) == {f"G{number}" for number in range(1, 11)}
    headings = {
        heading for case in (ROOT / "tests" / "cases").glob("*.md") for heading in re.findall(r"^## (.+)$", case.read_text(encoding="utf-8"), re.MULTILINE)
    }
    for row in rows.values():
        shown = row.rsplit(" | ", 1)[1]
        # `test_engine`, `test_engine::test_one`, `…::test_another`, `oracle.watched`
        named = re.findall(r"`(test_\w+|…|oracle)(?:(?:::|\.)([\w.]+))?`", shown)
        assert named, row
        path = ROOT
        for module, inside in named:
            path = path if module == "…" else ROOT / "tests" / f"{module}.py"
            text = path.read_text(encoding="utf-8")
            assert all(re.search(rf"^ *(?:def|class) {name}\b|^{name}:", text, re.MULTILINE) for name in inside.split(".") if name), inside
        assert set(re.findall(r'"([^"]+)"', shown)) <= headings


# --- snippets ----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def readme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a checkout is after `make demo`."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "sample_engine").mkdir()
    shop.make_shop(f"sqlite:///{folder / 'sample_engine' / 'shop.db'}")
    return folder


async def _ask(app: Any, token: str | None, body: str) -> httpx.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://engine") as client:
        return await client.post("/query", content=body, headers=headers)


@pytest.mark.slow
def test_the_readme_s_commands_and_files_do_what_it_says(readme: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands, the configuration that they make, its app, its signer; and without a token nothing."""
    import anyio

    first, serve = (fence for fence in pages.fences("README.md") if fence.language == "sh")
    # lint has something to say of the two tables that wait for a decision
    printed = pages.run(first.text, readme)
    assert first.shows is None
    (answer,) = _fences("README.md", "text")
    assert printed.endswith(answer)
    (shown,) = _fences("README.md", "yaml")
    made = (readme / "first" / "datasets.yaml").read_text()
    assert all(part in made for part in shown.split("      ...\n"))

    engine, host = _fences("README.md", "python")
    monkeypatch.chdir(readme / "first")
    for name, text in (("engine.py", engine), ("host.py", host)):
        Path(name).write_text(text)
    signed = subprocess.run([sys.executable, "host.py"], capture_output=True, text=True, check=True).stdout.strip()
    names = runpy.run_path("engine.py")
    try:
        body = json.dumps({"sql": "SELECT tenant_id, COUNT(*) AS n FROM orders GROUP BY tenant_id"})
        assert anyio.run(_ask, names["app"], signed, body).json()["rows"] == [[1, int(answer.split()[-3])]]
        assert anyio.run(_ask, names["app"], None, body).json()["code"] == "token_missing"
    finally:
        names["gate"].close()
    port = pages.free_port()
    with pages.server(f"{serve.text.strip()} --port {port}", readme / "first", port):
        assert '"status":"ready"' in pages.run(f"curl -s localhost:{port}/readyz", readme)


def _signer() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_the_signing_snippet_signs() -> None:
    """claims.md: what a host application writes."""
    (snippet,) = _fences("docs/reference/claims.md", "python")
    names: dict[str, Any] = {"private_key_pem": _signer()}
    exec(compile(snippet, "claims.md", "exec"), names)
    assert names["tokens"]["dataAccessToken"].count(".") == 2


def test_the_claims_and_filters_shown_are_accepted() -> None:
    """Both payloads of claims.md are grants, each filter of operators.md is one."""
    payloads = _fences("docs/reference/claims.md", "json")[:2]  # test_oidc.py reads the third
    data, of_a_dashboard = (Claims(key=KeyFacts("docs", "vizzly"), content=json.loads(each), expires_at=0, digest="") for each in payloads)
    grant = vizzly.read(data, TokenRules(profile="vizzly", keys=()))
    assert grant.dataset_ids == {"orders", "customers"} == grant.filters.keys()
    assert read_dashboard(of_a_dashboard, TokenRules(profile="vizzly", keys=())).parent_dashboard_ids == {"dsh_1"}
    filters = _fences("docs/reference/operators.md", "json")
    assert filters
    for text in filters:
        read_filter(json.loads(text))


def test_the_fragments_of_datasets_yaml_load(tmp_path: Path) -> None:
    """datasets-yaml.md: two connections; a SELECT, joined tables, and the three forms of a secure filter, in a file around them.

    test_oidc.py reads the one about claims.
    """
    connections, _, select, mine, joined, filters = _fences("docs/reference/datasets-yaml.md", "yaml")
    connection = sqlite3.connect(tmp_path / "data.db")
    connection.executescript("""
        CREATE TABLE orders (id INTEGER, order_id INTEGER, tenant_id INTEGER, customer_id INTEGER, owner INTEGER, amount NUMERIC);
        CREATE TABLE customers (id INTEGER, name TEXT);
        CREATE TABLE order_items (order_id INTEGER, qty INTEGER);
        CREATE TABLE parts (order_id INTEGER, deleted BOOLEAN, region TEXT);
    """)
    connection.close()
    make_keys(tmp_path)
    top = ["version: 1", "database: sqlite:///data.db", "tokens: [{profile: vizzly, keys: [{id: docs, public_key_file: public.pem}]}]", "datasets:"]
    top += [f"  - {{id: {each}, table: {each}, fields: [{{id: {field}, type: number}}]}}" for each, field in (("orders", "order_id"), ("customers", "id"))]
    child = ["  - id: parts", "    table: parts", "    fields: [{id: order_id, type: number}, {id: deleted, type: boolean}, {id: region, type: string}]"]
    # the page shows each alone
    mine, joined = (each.replace("reads_past: [", f"reads_past: [{earlier}, ") for each, earlier in ((mine, "sales"), (joined, "sales, mine")))
    given = [
        *(f"  {line}" for line in (*select.splitlines(), *mine.splitlines(), *joined.splitlines())),
        *child,
        *(f"    {line}" for line in filters.splitlines()),
    ]
    (tmp_path / "datasets.yaml").write_text("\n".join([*top, *given]))
    catalog = load(tmp_path / "datasets.yaml", environ={}).catalogs["default"]
    assert len(catalog.datasets["parts"].secure_filters) == 3
    source = catalog.datasets["mine"].source
    assert source is not None
    assert [each.path for each in source.trusted] == [("parameters", "user_id")]
    assert catalog.datasets["sales"].tables == {("main", "orders"), ("main", "customers")}
    assert catalog.datasets["lines"].tables == {("main", "orders"), ("main", "customers"), ("main", "order_items")}
    # two databases: what the fragment leaves out is put in
    for name, table in (("shop.db", "orders"), ("house.db", "events")):
        with closing(sqlite3.connect(tmp_path / name)) as database:
            database.execute(f"CREATE TABLE {table} (order_id INTEGER)")
    whole = connections.replace("[...]", "[{id: order_id, type: number}]").replace("raw.events", "events").replace("${WAREHOUSE_URL}", "sqlite:///house.db")
    (tmp_path / "datasets.yaml").write_text("\n".join([top[0], top[2], whole]))
    assert [list(each.datasets) for each in load(tmp_path / "datasets.yaml", environ={}).catalogs.values()] == [["orders"], ["events"]]


def test_the_app_of_the_dashboards_page_keeps_layouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dashboard-tokens.md: both snippets, with tokens of ours."""
    import anyio

    front = Front(tmp_path)
    front.gate.close()
    monkeypatch.chdir(tmp_path)
    question, app = _fences("docs/how-to/dashboard-tokens.md", "python")
    tokens = [
        Signer(front._key).generate_tokens(
            user_reference="p1", access_type=kind, project_id="prj_1", parent_dashboard_ids=["dsh_1"], data_set_ids="*", secure_filters={}
        )["dashboardAccessToken"]
        for kind in ("standard", "admin")
    ]
    asked: dict[str, Any] = {}
    exec(compile(question, "dashboard-tokens.md", "exec"), asked)
    made: dict[str, Any] = {}
    exec(compile(app, "dashboard-tokens.md", "exec"), made)
    try:
        assert [asked["may_change_default"](token, "dsh_1") for token in tokens] == [False, True]

        async def talk() -> list[int]:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=made["app"]), base_url="http://host") as client:
                asks = [("dsh_1", {"Dashboard-Token": tokens[0]}), ("dsh_2", {"Dashboard-Token": tokens[0]}), ("dsh_1", {})]
                return [(await client.put(f"/dashboards/{name}/own", headers=headers, json={"a": 1})).status_code for name, headers in asks]

        assert anyio.run(talk) == [200, 404, 401]
        assert made["layouts"] == {("dsh_1", "p1"): {"a": 1}}
    finally:
        asked["gate"].close()
        made["gate"].close()


# --- SQL ---------------------------------------------------------------------------------------------------------------------------------


def _stock(url: str) -> None:
    """The sample shop with a handful of rows."""
    engine = create_engine(url)
    orders = [
        {"id": number, "tenant_id": 1, "customer_id": 1, "region": region, "status": "paid", "amount": 5 * number, "note": None, "deleted": False}
        for number, region in enumerate(("North", "South", None), 1)
    ]
    try:
        with engine.begin() as connection:
            shop.metadata.create_all(connection)
            connection.execute(shop.customers.insert(), {"id": 1, "tenant_id": 1, "name": "one", "country": "FR", "since": "2025-12-31"})
            connection.execute(shop.orders.insert(), [{**order, "placed_at": "2026-01-31 12:00:00"} for order in orders])
    finally:
        engine.dispose()


def _access(url: str, folder: Path) -> Iterator[Access]:
    private = make_keys(folder / "sample_engine" / "keys").read_bytes()
    experimental = "engine: {experimental: true}\n" if url.startswith("duckdb") else ""
    (folder / "datasets.yaml").write_text((ROOT / "datasets.yaml").read_text(encoding="utf-8") + experimental)
    gate = Gate(load(folder / "datasets.yaml", environ={"DATABASE_URL": url}))
    own = [[{"field": "tenant", "op": "is_one_of", "value": [1, 2, 3]}]]
    tokens = Signer(private).generate_tokens(
        user_reference="docs", project_id="prj_shop", data_set_ids=["orders", "customers"], secure_filters={"orders": own, "customers": own}
    )
    try:
        yield gate.verify(tokens["dataAccessToken"])
    finally:
        gate.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Access]:
    _stock(f"sqlite:///{tmp_path / 'shop.db'}")
    yield from _access(f"sqlite:///{tmp_path / 'shop.db'}", tmp_path)


@pytest.fixture
def duckdb_file(tmp_path: Path) -> Iterator[Access]:
    """The same rows, in the types that DuckDB has for them."""
    _stock(f"sqlite:///{tmp_path / 'shop.db'}")
    with closing(sqlite3.connect(tmp_path / "shop.db")) as stocked, closing(duckdb.connect(str(tmp_path / "shop.duckdb"))) as made:
        for table in shop.metadata.sorted_tables:
            kinds = {"placed_at": "TIMESTAMP", "since": "DATE", "deleted": "BOOLEAN"}
            columns = [(column.name, kinds.get(column.name, "BIGINT" if isinstance(column.type, Integer) else "VARCHAR")) for column in table.columns]
            made.execute(f"CREATE TABLE {table.name} ({', '.join(f'{name} {kind}' for name, kind in columns)})")
            for row in stocked.execute(f"SELECT {', '.join(name for name, _ in columns)} FROM {table.name}").fetchall():
                made.execute(f"INSERT INTO {table.name} VALUES ({', '.join(f'CAST(? AS {kind})' for _, kind in columns)})", row)
    yield from _access(f"duckdb:///{tmp_path / 'shop.duckdb'}", tmp_path)


@pytest.fixture
def postgresql(tmp_path: Path, fresh_postgres: servers.Database) -> Iterator[Access]:
    _stock(fresh_postgres.owner_url)
    yield from _access(fresh_postgres.reader_url, tmp_path)


@pytest.mark.parametrize(
    ("database", "fixture"), [("sqlite", "sqlite"), ("duckdb", "duckdb_file"), pytest.param("postgres", "postgresql", marks=pytest.mark.postgres)]
)
def test_the_sql_that_the_page_shows_runs_where_it_says(database: str, fixture: str, request: pytest.FixtureRequest) -> None:
    """Every example that the page calls accepted is answered by the database; every other one is refused with the code that it names."""
    access: Access = request.getfixturevalue(fixture)
    wrong = []
    for what, sql, params in sql_page.examples(database):
        expected = sql_page.taken(sql, database, params)
        try:
            access.execute(sql, params)
            code = ""
        except errors.Refused as refusal:
            code = refusal.code
        if code != expected:
            wrong.append((what, sql, code, expected))
    assert wrong == []


@pytest.mark.parametrize(
    ("database", "fixture"), [("sqlite", "sqlite"), ("duckdb", "duckdb_file"), pytest.param("postgres", "postgresql", marks=pytest.mark.postgres)]
)
def test_what_a_refusal_says_to_write_instead_is_answered(database: str, fixture: str, request: pytest.FixtureRequest) -> None:
    """The suggestion, word for word, is accepted and the database answers it."""
    access: Access = request.getfixturevalue(fixture)
    tried = [sql for databases, sql in INSTEAD if database in databases]
    assert len(tried) >= 40
    wrong = []
    for sql in tried:
        with pytest.raises(errors.Refused) as refused:
            access.secure(sql)
        hint, instead = sql_page.replacement(sql, database)
        try:
            access.execute(instead, {"region": "North"} if ":region" in instead else {})
        except errors.Refused as refusal:
            wrong.append((sql, instead, repr(refusal)))
        if refused.value.hint != hint:
            wrong.append((sql, hint, refused.value.hint))
    assert wrong == []


def _cells(page: str, heading: str) -> list[list[str]]:
    """The cells of the table that begins with this heading row."""
    table = (ROOT / page).read_text(encoding="utf-8").partition(f"\n{heading}\n")[2].partition("\n\n")[0]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()[1:]]


def test_the_operators_that_want_brackets_are_those_of_the_page() -> None:
    """0005: each line of its table, asked on each database of the page."""
    rows = _cells("docs/decisions/0005-operators-need-brackets.md", "| accepted | refused |")
    assert len(rows) > 5
    for accepted, refused in rows:
        for database in sql_page.DATABASES:
            assert sql_page.taken(_about(accepted), database) == ""
            expected = "" if "PostgreSQL" in refused and database == "sqlite" else "construct_refused"
            assert sql_page.taken(_about(refused), database) == expected, refused


def _about(cell: str) -> str:
    """The expression in backticks, over fields that exist: a, b and c are amount, order_id and tenant."""
    expression = cell.split("`")[1]
    for name, field in {"a": "amount", "b": "order_id", "c": "tenant"}.items():
        expression = re.sub(rf"\b(?<!'){name}\b(?!')", field, expression)
    return f"SELECT {expression} AS x FROM orders"


def test_sqlite_binds_operators_as_the_page_says() -> None:
    """0005: what SQLite makes of the two expressions of its context."""
    with sqlite3.connect(":memory:") as connection:
        assert connection.execute("SELECT '1' || 2 * 3, 1 = 2 = 0, 5 - 2 || 1").fetchone() == (36, 1, 5 - 21)
    connection.close()


@pytest.mark.postgres
def test_postgresql_binds_operators_and_flattens_as_the_pages_say(fresh_postgres: servers.Database) -> None:
    """0005 on PostgreSQL; and 0001's query speaks about a dropped row unless it is fenced."""
    (sql,) = _fences("docs/decisions/0001-guards-and-barrier.md", "sql")
    with psycopg.connect(fresh_postgres.owner_url.replace("+psycopg", "", 1), autocommit=True) as connection:
        assert connection.execute("SELECT '1' || 2 * 3").fetchone() == ("16",)
        with pytest.raises(psycopg.errors.SyntaxError):
            connection.execute("SELECT 1 = 2 = 0")
        connection.execute("CREATE TABLE t (region text, amount integer)")
        connection.execute("INSERT INTO t VALUES ('north', 5), ('south', 7)")
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute(sql.encode())
        for harmless in (sql.replace("amount - 7", "amount - 8"), sql.replace("NOT MATERIALIZED", "MATERIALIZED")):
            assert connection.execute(harmless.encode()).fetchone() == (1,)
