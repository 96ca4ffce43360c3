"""`rowseal init`: what it writes is valid as it stands, opens nothing by itself, and its next three commands work word for word."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

import servers
from rowseal import cli
from rowseal.configuration import load
from sample_engine.shop import make_shop

ROOT = Path(__file__).resolve().parents[1]
NOW = 1_800_000_000.0


@dataclass
class Ran:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Screen(StringIO):
    def isatty(self) -> bool:
        return True


def run(*arguments: str, screen: bool = False) -> Ran:
    out, err = StringIO(), Screen() if screen else StringIO()
    status = cli.run(arguments, out=out, err=err, stdin=StringIO(), clock=lambda: NOW)
    assert "Traceback" not in out.getvalue() + err.getvalue()
    return Ran(status, out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return tmp_path


def sqlite(script: str, name: str = "shop.db") -> str:
    with closing(sqlite3.connect(name)) as database:
        database.executescript(script)
    return f"sqlite:///{name}"


def proposed(url: str, *more: str) -> dict[str, Any]:
    """The datasets of the proposal by id, which was loaded as it stands; the file is left in `datasets.yaml`."""
    ran = run("init", "--database", url, *more)
    assert (ran.status, ran.err) == (0, "")
    return datasets()


def datasets(path: str = "datasets.yaml") -> dict[str, Any]:
    return {each["id"]: each for each in yaml.safe_load(Path(path).read_text(encoding="utf-8"))["datasets"]}


def fields(dataset: dict[str, Any]) -> dict[str, str]:
    return {each["id"]: each["type"] for each in dataset["fields"]}


def three(said: str) -> list[str]:
    """The commands that the answer tells to type."""
    return [line[2:] for line in said.partition("then type:\n")[2].splitlines() if line.startswith("  ")]


def follow(commands: list[str]) -> list[Ran]:
    """The three of `init`."""
    assert [shlex.split(command)[1] for command in commands] == ["validate", "access-tokens", "query"]
    return typed(commands)


def typed(commands: list[str]) -> list[Ran]:
    """Each command as it stands."""
    answers = []
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "rowseal"
        target = words.pop(words.index(">") + 1) if ">" in words else None
        ran = run(*(word for word in words if word != ">"))
        assert ran.status == 0, (command, ran.err)
        if target:
            Path(target).write_text(ran.out)
        answers.append(ran)
    return answers


# --- the round trip ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_from_the_sample_shop_to_rows_of_one_tenant() -> None:
    make_shop(f"sqlite:///{Path.cwd() / 'shop.db'}")
    ran = run("init", "--database", "sqlite:///shop.db")
    assert (ran.status, ran.err) == (0, "")
    assert re.findall(r"(\d+) (.*)$", ran.out.partition("wrote  vizzly")[0], re.MULTILINE) == [
        ("4", "datasets"),
        ("2", "guarded by a tenant's column"),
        ("2", "closed until you decide"),
    ]
    validated, signed, queried = follow(three(ran.out))
    assert validated.out.startswith("datasets.yaml: good (sqlite)")
    assert signed.err == ""
    assert queried.err == "5 rows\n"
    found = datasets()
    assert {name: each.get("guards") for name, each in found.items()} == {
        "customers": [{"field": "tenant_id", "op": ["=", "is_one_of"], "max_values": 20}],
        "order_items": None,
        "orders": [{"field": "tenant_id", "op": ["=", "is_one_of"], "max_values": 20}],
        "products": None,
    }
    assert fields(found["orders"])["deleted"] == "boolean"
    text = Path("datasets.yaml").read_text()
    assert "#   - {through: orders, on: {order_id: id}}   # `order_id` refers to it" in text
    assert '#   - {field: deleted, op: "=", value: false}' in text
    assert not any("public" in each for each in found.values())


def test_the_key_pair_is_that_of_keys_create_and_the_schema_lies_beside() -> None:
    assert run("init", "--database", sqlite("CREATE TABLE t (tenant_id INTEGER)")).status == 0
    assert stat.S_IMODE(Path("vizzly-private.pem").stat().st_mode) == 0o600
    assert run("keys", "thumbprint", "vizzly-private.pem").out == run("keys", "thumbprint", "vizzly-public.pem").out
    assert json.loads(Path("datasets.schema.json").read_text()) == run("schema").json
    assert Path("datasets.yaml").read_text().startswith("# yaml-language-server: $schema=datasets.schema.json\n")


def test_the_way_through_a_parent_is_right_without_its_hash() -> None:
    """What is commented is what one would write."""
    url = sqlite(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, tenant_id INTEGER, deleted BOOLEAN);"
        "CREATE TABLE lines (id INTEGER PRIMARY KEY, order_id INTEGER REFERENCES orders, is_deleted BOOLEAN);"
        "CREATE TABLE parts (id INTEGER PRIMARY KEY, line_id INTEGER REFERENCES lines);"
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, order_id INTEGER);"
    )
    proposed(url)
    text = re.sub(r"^    # (secure_filters:|  - .*)", r"    \1", Path("datasets.yaml").read_text(), flags=re.MULTILINE)
    Path("datasets.yaml").write_text(text)
    loaded = load("datasets.yaml").catalogs["default"].datasets
    assert [type(each).__name__ for each in loaded["lines"].secure_filters] == ["ConfigFilter", "ThroughFilter"]
    assert [len(loaded[name].secure_filters) for name in ("orders", "parts", "notes")] == [1, 1, 1]
    assert "`order_id` sounds like it" in text


def test_the_page_leads_from_a_database_to_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/how-to/start-from-a-database.md, command by command, in the shop of the demo."""
    page = (ROOT / "docs/how-to/start-from-a-database.md").read_text(encoding="utf-8")
    commands = "".join(re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)).splitlines()
    assert run("demo", "--keep", "first").status == 0
    monkeypatch.chdir("first")
    Path("datasets.yaml").unlink()
    printed = run("init", "--database", "sqlite:///shop.db").out
    Path("datasets.yaml").unlink()
    assert [shlex.split(command)[1] for command in commands] == ["init", "validate", "lint", "access-tokens", "query"]
    answers = typed(commands)
    assert answers[-1].out.split()[-1] == "300"
    assert commands[3] in [re.sub(r'("value": )[12]', r"\g<1>1", command) for command in three(printed)]
    by_region = ("--secure-filters", '{"orders": [[{"field": "region", "op": "=", "value": "Coast"}]]}')
    for more, code in (((), "filter_required"), (by_region, "guard_unmet")):
        Path("tokens.json").write_text(run("access-tokens", "-p", "p", "-u", "u", "--data-set-ids", "orders", *more).out)
        assert f"refused: {code}" in run("query", "--token", "@tokens.json", "SELECT COUNT(*) AS n FROM orders").err


@pytest.mark.parametrize("screen", [False, True])
def test_three_hundred_tables_are_no_matter_and_progress_is_for_people(screen: bool) -> None:
    script = ";".join(f"CREATE TABLE t{number} (id INTEGER PRIMARY KEY, tenant_id INTEGER, a TEXT, b TEXT, c REAL)" for number in range(300))
    ran = run("init", "--database", sqlite(script), screen=screen)
    assert ran.status == 0
    assert len(datasets()) == 300
    assert ("reading tables: 300 of 300" in ran.err) is screen
    assert ran.err == "" or ran.err.endswith("\r\x1b[K")  # nothing of it is left on the screen


# --- awkward databases -------------------------------------------------------------------------------------------------------------------

AWKWARD = """
CREATE TABLE "Order Details" ("Tenant ID" INTEGER, "Größe" TEXT, "select" TEXT, "a""b" TEXT, "x: {y}" TEXT, "${HOME}" TEXT, "#" TEXT, "2fa" TEXT, " lead" TEXT);
CREATE TABLE "select" ("TenantId" TEXT, "from" INTEGER, twice INTEGER GENERATED ALWAYS AS ("from" * 2) VIRTUAL);
CREATE TABLE "yes" (tenant_id TEXT, "null" INTEGER, "true" INTEGER, "on" TEXT, "__guard" TEXT, "__u1" TEXT);
CREATE TABLE "it's" (tenant_id INTEGER, "a
b" TEXT, payload BLOB);
CREATE TABLE "dotted.name" (tenant_id INTEGER);
CREATE TABLE "tab	name" (tenant_id INTEGER);
CREATE TABLE 東京 (tenant_id INTEGER, 名前 TEXT);
CREATE TABLE OrderItems (orgId INTEGER, item_id INTEGER, tenantId INTEGER, PRIMARY KEY (tenantId, item_id)) WITHOUT ROWID;
CREATE TABLE order_items (tenant_id INTEGER, id INTEGER);
CREATE TABLE bare (a, b, tenant_id);
CREATE TABLE blobs (a BLOB, b BLOB);
CREATE VIEW open_orders AS SELECT "Tenant ID" AS tenant_id, "Tenant ID" + 1 AS more FROM "Order Details";
CREATE TABLE gone (a INTEGER); CREATE VIEW broken AS SELECT a FROM gone; DROP TABLE gone;
CREATE VIRTUAL TABLE words USING fts5(word);
CREATE TABLE alembic_version (version_num TEXT);
CREATE TABLE people (tenant_id INTEGER, password_hash TEXT, api_key TEXT, "SSN" TEXT, reset_token TEXT, name TEXT, passenger TEXT);
CREATE TABLE vault (secret TEXT, token TEXT);
CREATE TABLE moments (tenant_id INTEGER, day DATE, made DATETIME, seen_at TEXT, ok BOOLEAN, price DECIMAL(10, 2), extra JSON, clock TIME, mark STRING);
"""


def test_an_awkward_database_is_proposed_as_it_is() -> None:
    found = proposed(sqlite(AWKWARD))
    assert found.keys() == {
        *("order_details", "select", "yes", "it_s", "東京", "order_items", "order_items_2", "bare", "open_orders", "people", "moments"),
    }
    assert found["order_details"]["table"] == "Order Details"
    assert [each.get("column", each["id"]) for each in found["order_details"]["fields"]][:7] == [
        *("Tenant ID", "Größe", "select", 'a"b', "x: {y}", "$${HOME}", "#"),
    ]
    assert all(each["guards"][0]["field"] in {"tenant_id", "tenantid"} for each in found.values())
    assert fields(found["moments"]) == {
        "tenant_id": "number",
        "day": "date",
        "made": "date_time",
        "seen_at": "string",
        "ok": "boolean",
        "price": "number",
    }
    assert {each["id"] for each in found["people"]["fields"] if each.get("hidden")} == {"password_hash", "api_key", "ssn", "reset_token"}
    text = Path("datasets.yaml").read_text(encoding="utf-8")
    for name, reason in {
        "alembic_version": "it belongs to a migrations tool",
        "blobs": "it has no column that a query could see",
        "broken": "it is something that the database itself cannot read",
        "dotted.name": "its name has a dot; make a view of another name",
        "tab\\tname": "its name has characters that nobody can see, or a blank at an end; make a view of another name",
        "vault": "it has no column that a query could see",
        "words": "it is a virtual table, which reads tables of its own accord",
        "words_data": "it is a part of the virtual table words",
    }.items():
        assert f"# - {name}: {reason}\n" in text
    assert "# - payload: its type `BLOB` fits no type of field; make a view that casts it\n" in text
    for name, declared in {"extra": "JSON", "clock": "TIME", "mark": "STRING"}.items():  # which SQLite takes for numbers
        assert f"# - {name}: its type `{declared}` fits no type of field; make a view that casts it\n" in text
    assert "# - a\\nb: its name has characters that nobody can see" in text
    assert "`orgId` could be it too" in text
    assert "# A view. It shows what it selects, whoever asks" in text
    assert "{id: seen_at, type: string}   # text; if it holds dates" in text
    assert "{id: a, type: string}   # the database does not say what it holds; correct the type" in text


def test_each_field_of_an_awkward_database_can_be_asked_for() -> None:
    """The names lead to the columns."""
    proposed(sqlite(AWKWARD + """INSERT INTO "Order Details" VALUES (7, 'L', 's', 'q', 'c', 'h', 'n', 't', 'x');"""))
    filters = json.dumps({"order_details": [[{"field": "tenant_id", "op": "=", "value": 7}]]})
    signed = run("access-tokens", "-p", "p", "-u", "u", "--data-set-ids", "order_details", "--secure-filters", filters, "--config", "datasets.yaml")
    Path("tokens.json").write_text(signed.out)
    row = run("query", "--token", "@tokens.json", "SELECT * FROM order_details", "--json").json
    assert row["rows"] == [[7, "L", "s", "q", "c", "h", "n", "t"]]


@pytest.mark.parametrize(
    ("script", "guards"),
    [
        ("CREATE TABLE a (org_id INTEGER, account_id INTEGER); CREATE TABLE b (account_id INTEGER)", {"a": "org_id", "b": "account_id"}),
        ("CREATE TABLE a (customer_id INTEGER); CREATE TABLE b (n INTEGER)", {"a": "customer_id", "b": None}),
        ("CREATE TABLE a (customer_id INTEGER); CREATE TABLE b (tenant_id INTEGER)", {"a": None, "b": "tenant_id"}),
        ("CREATE TABLE tenants (id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE b (tenant_id INTEGER)", {"tenants": "id", "b": "tenant_id"}),
        (
            "CREATE TABLE firms (no INTEGER PRIMARY KEY); CREATE TABLE a (tenant_id INTEGER REFERENCES firms); CREATE TABLE b (of INTEGER REFERENCES firms)",
            {"firms": "no", "a": "tenant_id", "b": "of"},
        ),
        (
            "CREATE TABLE a (TenantID INTEGER); CREATE TABLE b (organisation_uuid TEXT); CREATE TABLE c (company TEXT)",
            {"a": "tenant_id", "b": "organisation_uuid", "c": None},
        ),
        ("CREATE TABLE a (tenant_id BLOB, n INTEGER)", {"a": None}),
    ],
)
def test_tenants_are_found_by_name_and_by_foreign_key(script: str, guards: dict[str, str | None]) -> None:
    found = proposed(sqlite(script))
    assert {name: each["guards"][0]["field"] if "guards" in each else None for name, each in found.items()} == guards


def test_what_nobody_guards_stays_closed_until_a_token_filters_it() -> None:
    proposed(sqlite("CREATE TABLE prices (id INTEGER, price INTEGER); INSERT INTO prices VALUES (1, 10)"))
    assert "Closed to every token that does not filter it" in Path("datasets.yaml").read_text()
    Path("tokens.json").write_text(run("access-tokens", "-p", "p", "-u", "u", "--data-set-ids", "prices").out)
    assert "refused: filter_required" in run("query", "--token", "@tokens.json", "SELECT * FROM prices").err


# --- what is not done --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["datasets.yaml", "vizzly-public.pem", "vizzly-private.pem"])
def test_nothing_that_exists_is_touched(name: str) -> None:
    url = sqlite("CREATE TABLE t (tenant_id INTEGER)")
    Path(name).write_text("precious")
    ran = run("init", "--database", url)
    assert (ran.status, ran.out) == (1, "")
    assert "exist" in ran.err
    assert {path.name: path.read_text() for path in Path().iterdir() if path.name != "shop.db"} == {name: "precious"}


def test_a_pair_that_is_there_is_used_and_a_schema_is_left_alone() -> None:
    run("keys", "create")
    Path("datasets.schema.json").write_text("{}")
    before = Path("vizzly-private.pem").read_text()
    ran = run("init", "--database", sqlite("CREATE TABLE t (tenant_id INTEGER)"))
    assert ran.status == 0
    assert (Path("vizzly-private.pem").read_text(), Path("datasets.schema.json").read_text()) == (before, "{}")
    assert "wrote  datasets.yaml" in ran.out
    assert "vizzly" not in ran.out.partition("Read datasets.yaml")[0]
    follow(three(ran.out))


def test_the_paths_of_another_folder_are_right_in_the_file_and_in_the_commands() -> None:
    ran = run("init", "--database", sqlite("CREATE TABLE t (tenant_id INTEGER)"), "--out", "my conf/rows.yaml")
    assert ran.status == 0
    assert "${DATABASE_URL:-sqlite:///../shop.db}" in Path("my conf/rows.yaml").read_text()
    follow(three(ran.out))


@pytest.mark.parametrize("name", ["sh op.db", "a#b.db", "it's.db", "br{ace}.db", "dollar$x.db"])
def test_a_database_of_any_name_is_written_so_that_it_is_found(name: str) -> None:
    follow(three(run("init", "--database", sqlite("CREATE TABLE t (tenant_id INTEGER)", name)).out))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--database", "sqlite:///none.db"), "names a SQLite file that does not exist"),
        (("--database", "hunter2"), "is no database URL"),
        (("--database", "mysql://me:hunter2@localhost/x"), "is not supported yet"),
        (("--database", "sqlite:///empty.db"), "has no table or view that a dataset could be made of"),
        (("--database", "sqlite:///text.db"), "the database could not be read (DatabaseError)"),
        (("--database", "sqlite:///shop.db", "--table", "ordres"), "`--table ordres` names no table or view of the database; did you mean `orders`?"),
        (("--database", "sqlite:///shop.db", "--out", "shop.db/x.yaml"), "`shop.db`: file exists"),
        (("--database", "sqlite:///shop.db", "--out", "."), "exists already"),
        (("--database", "postgresql://me:hunter2@127.0.0.1:1/x"), "could not be read"),
    ],
)
def test_what_cannot_be_proposed_is_a_sentence_and_leaves_no_file(arguments: tuple[str, ...], said: str) -> None:
    sqlite("CREATE TABLE orders (tenant_id INTEGER)")
    sqlite("", "empty.db")
    Path("empty.db").touch()
    Path("text.db").write_text("no database at all, but rather long " * 50)
    ran = run("init", *arguments)
    assert (ran.status, ran.out) == (1, "")
    assert said in ran.err
    assert "hunter2" not in ran.err
    assert {path.name for path in Path().iterdir()} == {"shop.db", "empty.db", "text.db"}


def test_only_the_tables_that_were_asked_for() -> None:
    url = sqlite("CREATE TABLE sales_a (tenant_id INTEGER); CREATE TABLE sales_b (tenant_id INTEGER); CREATE TABLE other (tenant_id INTEGER)")
    assert proposed(url, "--table", "sales_*").keys() == {"sales_a", "sales_b"}


def test_for_scripts_the_answer_is_json() -> None:
    ran = run("init", "--json", "--database", sqlite("CREATE TABLE t (tenant_id INTEGER); CREATE TABLE migrations (n INTEGER)"))
    assert ran.json["written"] == ["datasets.yaml", "vizzly-private.pem", "vizzly-public.pem", "datasets.schema.json"]
    assert ran.json["datasets"] == [{"id": "t", "table": "t", "guard": "tenant_id", "through": []}]
    assert ran.json["left_out"] == {"migrations": "it belongs to a migrations tool"}
    follow(ran.json["commands"])


# --- PostgreSQL --------------------------------------------------------------------------------------------------------------------------

POSTGRES = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE tenants (id uuid PRIMARY KEY, name text);
CREATE TABLE "OrderItems" ("tenantId" uuid REFERENCES tenants, "itemNo" int, mood mood, tags text[], payload jsonb, total numeric(10, 2), at timestamptz,
                           day date, ok boolean, ratio real, net numeric GENERATED ALWAYS AS (total * 2) STORED, PRIMARY KEY ("tenantId", "itemNo"));
CREATE TABLE "user" ("group" text, tenant_id uuid, "order" int);
CREATE TABLE lines (id int PRIMARY KEY, tenant uuid, item int, FOREIGN KEY (tenant, item) REFERENCES "OrderItems");
CREATE TABLE shipments (id int PRIMARY KEY, "itemNo" int, owner uuid, FOREIGN KEY (owner, "itemNo") REFERENCES "OrderItems");
CREATE TABLE events (tenant_id uuid, at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE VIEW totals AS SELECT "tenantId" AS tenant_id, sum(total) AS total FROM "OrderItems" GROUP BY 1;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM totals;
CREATE SCHEMA sales; GRANT USAGE ON SCHEMA sales TO rowseal_reader;
CREATE TABLE sales.orders (tenant_id uuid, n int); CREATE TABLE sales.lines (tenant_id uuid);
CREATE TABLE orders (tenant_id uuid, n int);
CREATE TABLE closed (tenant_id uuid); REVOKE ALL ON closed FROM rowseal_reader;
INSERT INTO tenants VALUES ('11111111-1111-1111-1111-111111111111', 'one'), ('22222222-2222-2222-2222-222222222222', 'two');
INSERT INTO "OrderItems" ("tenantId", "itemNo", mood) SELECT id, 1, 'ok' FROM tenants;
"""


@pytest.mark.postgres
def test_an_awkward_postgres_is_proposed_and_answers(fresh_postgres: servers.Database) -> None:
    fresh_postgres.run(*(statement for statement in POSTGRES.split(";") if statement.strip()))
    ran = run("init", "--database", fresh_postgres.reader_url)
    assert (ran.status, ran.err) == (0, "")
    found = datasets()
    assert {name: each["guards"][0]["field"] for name, each in found.items() if "guards" in each} == {
        "tenants": "id",
        "order_items": "tenant_id",
        "user": "tenant_id",
        "lines": "tenant",
        "events": "tenant_id",
        "totals": "tenant_id",
        "kept": "tenant_id",
        "orders": "tenant_id",
        "sales_orders": "tenant_id",
        "sales_lines": "tenant_id",
    }
    assert found["sales_orders"]["table"] == "sales.orders"
    assert fields(found["order_items"]) == {
        "tenant_id": "string",
        "item_no": "number",
        "mood": "string",
        "total": "number",
        "at": "date_time",
        "day": "date",
        "ok": "boolean",
        "net": "number",
    }
    text = Path("datasets.yaml").read_text()
    assert "# - tags: its type `text[]` fits no type of field" in text
    assert "# - ratio: is a column of type `real`" in text
    assert "# - events_2026: it is a partition of another table" in text
    assert "# - closed: it has no column that a query could see" in text
    assert "#   - {through: order_items, on: {owner: tenant_id, item_no: item_no}}" in text
    assert f"database: ${{DATABASE_URL:-{fresh_postgres.reader_url}}}\n" in text
    rows = follow(three(ran.out))[2]
    assert rows.err.endswith("row\n")


@pytest.mark.postgres
def test_a_password_never_lands_in_the_file(fresh_postgres: servers.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh_postgres.run("CREATE TABLE t (tenant_id int)", "INSERT INTO t VALUES (5)")
    url = fresh_postgres.reader_url.replace("@", ":hunter2@")
    for given in (url, fresh_postgres.reader_url + "&password=hunter2"):
        ran = run("init", "--database", given, "--out", f"{len(given)}.yaml")
        assert ran.status == 0
        assert "export DATABASE_URL=..." in ran.out
        assert not any("hunter2" in path.read_text() for path in Path().iterdir())
        assert "hunter2" not in ran.out + ran.err
        assert "needs the environment variable `DATABASE_URL`" in run("validate", f"{len(given)}.yaml").err
        with monkeypatch.context() as exported:
            exported.setenv("DATABASE_URL", given)
            assert follow(three(ran.out))[2].out.split() == ["tenant_id", "---------", "5"]


@pytest.mark.postgres
def test_a_role_that_may_do_more_than_read_is_written_down_only_when_asked_for(fresh_postgres: servers.Database) -> None:
    fresh_postgres.run("CREATE TABLE t (tenant_id int)")
    ran = run("init", "--database", fresh_postgres.owner_url)
    assert (ran.status, list(Path().iterdir())) == (1, [])
    assert "owns `public.t`" in ran.err
    assert "GRANT SELECT ON ALL TABLES" in ran.err
    ran = run("init", "--database", fresh_postgres.owner_url, "--allow-privileged-role")
    assert "engine: {allow_privileged_role: true}" in Path("datasets.yaml").read_text()
    follow(three(ran.out))


def test_the_text_of_a_name_is_never_more_than_a_name(place: Path, sqlite_url: Callable[[str], str]) -> None:
    """Names that look like YAML, comments, variables or terminals."""
    hostile = [
        "a}: {public: true",
        "x, public: true",
        "- id: y",
        "# gone",
        "${X:-y}",
        "'",
        '"',
        "\\",
        "a: b",
        "&a",
        "*a",
        "!!python/x",
        "\u202eevil",
        "|",
        ">",
        "%",
        "@",
        "`",
    ]
    columns = ", ".join('"' + name.replace('"', '""') + '" TEXT' for name in hostile)
    script = "".join(f'CREATE TABLE "{name.replace(chr(34), chr(34) * 2)}" (tenant_id INTEGER, {columns});' for name in hostile)
    found = proposed(sqlite_url(script))
    text = Path("datasets.yaml").read_text(encoding="utf-8")
    assert "\u202e" not in text
    assert {each["table"].replace("$${", "${") for each in found.values()} == set(hostile) - {"\u202eevil"}
    assert all(len(each["fields"]) == len(hostile) and not each.get("public") for each in found.values())
