"""Guides whose commands, snippets and answers are tried on the tutorial's shop: refusals, the gateway, reload, lint, and a role for PostgreSQL."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

import pages
from rowseal import Gate, Signer, errors
from rowseal.app import create_app

pytestmark = pytest.mark.timeout(300)  # the shop is made by programs, one after the other

PAGE = "docs/how-to/understand-a-refusal.md"
TEXT = (pages.ROOT / PAGE).read_text(encoding="utf-8")
MOST = TEXT.partition("\n## Those that are met most\n")[2].partition("\n## ")[0]
ROW = re.compile(r"^\| (`.+) \| (.+) \|$", re.MULTILINE)


def _examples() -> Iterator[tuple[set[str], str, str | None]]:
    """(codes of the section, what is refused, what is accepted instead) of every row of its tables."""
    for section in MOST.split("\n### ")[1:]:
        codes = set(re.findall(r"`(\w+)`", section.partition("\n")[0]))
        for wrong, right in ROW.findall(section):
            cure = re.match(r"`(.+?)`", right)
            assert cure or right.startswith("nothing"), right
            yield codes, wrong.strip("`"), cure[1] if cure else None


EXAMPLES = list(_examples())


class Shop:
    """The tutorial's folder, served, with the tokens that are signed there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gate = Gate.from_yaml(folder / "datasets.yaml")
        self.app = create_app(self.gate)
        self.tokens: dict[str, str] = json.loads((folder / "one.token").read_text())
        self.private = (folder / "vizzly-private.pem").read_bytes()

    def query(self, sql: str, *headers: tuple[str, str]) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app), base_url="http://shop") as client:
                return await client.post("/v1/query", headers=dict(headers or [self.bearer()]), json={"sql": sql, "params": params})

        params = {"least": 1} if ":least" in sql else {}
        return anyio.run(ask)

    def refused(self, sql: str, *headers: tuple[str, str]) -> str | None:
        return self.query(sql, *headers).json().get("code")

    def bearer(self, token: str | None = None) -> tuple[str, str]:
        return "Authorization", f"Bearer {token or self.tokens['dataAccessToken']}"

    def signed(self, groups: object, minutes: float = 10) -> str:
        signer = Signer(self.private, minutes)
        filters: dict[str, Any] = {"orders": groups}
        return signer.generate_tokens(user_reference="one", project_id="prj_shop", data_set_ids=["orders"], secure_filters=filters)["dataAccessToken"]

    def code(self, example: str) -> str | None:
        """The code with which the example is refused: a header, SQL, a filter, or groups of filters without the list around them."""
        if (header := re.fullmatch(r"(Auth\w*): (.*)", example)) is not None:
            value = header[2].replace("<token>", self.tokens["dataAccessToken"])
            return self.refused("SELECT id FROM orders", (header[1], re.sub(r"<(\w+)>", lambda name: self.tokens[name[1]], value)))
        if example.startswith("SELECT"):
            return self.refused(example)
        groups = json.loads(f"[[{example}]]" if example.startswith("{") else re.sub(r"^\[\[(.*)\]\]$", r"[[\1]]", example))
        return self.refused("SELECT id FROM orders", self.bearer(self.signed(groups)))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = Shop(pages.make_first_shop(tmp_path_factory.mktemp("refusals")))
    yield made
    made.gate.close()


@pytest.mark.parametrize(("codes", "wrong", "right"), EXAMPLES, ids=[wrong for _, wrong, _ in EXAMPLES])
def test_what_the_page_calls_wrong_is_refused_and_its_cure_cures_it(shop: Shop, codes: set[str], wrong: str, right: str | None) -> None:
    """Each row of its tables, with the code of its section."""
    assert shop.code(wrong) in codes
    if right is not None:
        assert shop.code(right) is None


def test_its_sections_are_called_by_codes_that_exist() -> None:
    """Whoever searches the page for a code finds it."""
    sections = re.findall(r"^### (.+)$", MOST, re.MULTILINE)
    named = {code for section in sections for code in re.findall(r"`(\w+)`", section)}
    assert named <= errors.CODES.keys()


def test_every_status_of_a_refusal_that_can_be_met_is_in_the_table() -> None:
    """499 is seen by the audit alone."""
    table = TEXT.partition("| status | who | what |")[2].partition("\n\n")[0]
    said = {int(status) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for status in row.split(",")}
    assert said == {meaning.status for meaning in errors.CODES.values()} - {499}


def test_the_document_and_the_record_of_the_page_are_those_of_the_gateway(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """The answer and the line of the log, member by member, under one id."""
    document, record = (fence.text for fence in pages.fences(PAGE) if fence.language == "json")
    with caplog.at_level(logging.INFO, "rowseal.decisions"):
        answer = shop.query("SELECT regoin FROM orders")
    assert pages.resembles(json.dumps(answer.json(), indent=2) + "\n", document)
    (line,) = (entry.getMessage() for entry in caplog.records if entry.name == "rowseal.decisions")
    assert pages.resembles(line + "\n", record)
    assert json.loads(line)["request_id"] == answer.json()["request_id"] == answer.headers["x-request-id"]


def test_the_commands_of_the_page_print_what_it_shows(shop: Shop) -> None:
    """inspect and explain."""
    commands = [fence for fence in pages.fences(PAGE) if fence.language == "sh"]
    assert len(commands) == 2
    for fence in commands:
        assert fence.shows is not None
        printed = pages.run(fence.text, shop.folder)
        assert pages.resembles(printed, fence.shows), printed


@pytest.mark.slow
def test_days_for_minutes_and_a_key_of_elsewhere_are_refused_with_the_codes_of_the_page(shop: Shop) -> None:
    """The three sections without a table: what they name as the cause is the cause."""
    own = [[{"field": "tenant_id", "op": "=", "value": 1}]]
    assert shop.refused("SELECT id FROM orders", shop.bearer(shop.signed(own, minutes=15 * 24))) == "lifetime_too_long"
    pages.run("rowseal keys create --prefix elsewhere", shop.folder)
    foreign = Signer((shop.folder / "elsewhere-private.pem").read_bytes())
    token = foreign.generate_tokens(user_reference="one", project_id="prj_shop", data_set_ids=["orders"], secure_filters={"orders": own})
    assert shop.refused("SELECT id FROM orders", shop.bearer(token["dataAccessToken"])) == "signature_invalid"
    past = Signer(shop.private, 15, clock=lambda: 1_700_000_000)
    token = past.generate_tokens(user_reference="one", project_id="prj_shop", data_set_ids=["orders"], secure_filters={"orders": own})
    assert shop.refused("SELECT id FROM orders", shop.bearer(token["dataAccessToken"])) == "token_expired"
    (shop.folder / "past.token").write_text(token["dataAccessToken"])
    for moment, verdict in (("2023-11-14T22:14:00Z", "verdict  accepted"), ("2023-11-15T22:14:00Z", "token_expired")):
        assert verdict in pages.run(f"rowseal inspect --config datasets.yaml --at {moment} @past.token", shop.folder)
    assert shop.refused("SELECT id FROM orders", shop.bearer(shop.signed([]))) == "filter_required"


def test_too_few_rows_have_the_causes_of_the_page(shop: Shop) -> None:
    """Exact text, null and a parent: answers without a row, and no refusal."""
    for sql in ("SELECT id FROM orders WHERE region = 'north'", "SELECT id FROM orders WHERE region = 'North '", "SELECT sku FROM order_items WHERE id = 3"):
        answer = shop.query(sql)
        assert answer.json()["rows"] == []


# --- the gateway, reload, lint, a role ---------------------------------------------------------------------------------------------------


def test_the_gateway_s_commands_serve_and_answer(shop: Shop) -> None:
    """run-the-gateway.md: what it says to type, on another port; and the app for other servers is the same one."""
    served, snippet, asked = pages.fences("docs/how-to/run-the-gateway.md")
    command = served.text.splitlines()[-1]
    assert command == "rowseal serve --config datasets.yaml"
    port = pages.free_port()
    with pages.server(f"{command} --port {port}", shop.folder, port):
        request = asked.text.replace("localhost:8000", f"localhost:{port}").replace("$TOKEN", shop.tokens["dataAccessToken"])
        assert json.loads(pages.run(request, shop.folder))["rows"] == [["North", 1], ["South", 1]]
    (shop.folder / "snippet.py").write_text(f"{snippet.text}print(sorted(route.path for route in app.routes))\n")
    assert "/v1/query" in pages.run("python3 snippet.py", shop.folder)


def test_a_reload_counts_as_its_page_says(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """reload.md: each line of the snippet with the value that stands beside it."""
    (fence,) = pages.fences("docs/explanation/reload.md")
    monkeypatch.chdir(shop.folder)
    names: dict[str, Any] = {"Gate": Gate}
    said = []
    for line in fence.text.splitlines():
        code, _, beside = line.partition("  # ")
        if beside.isdigit():
            said.append((eval(code, names), int(beside)))
        else:
            exec(code, names)
    names["gate"].close()
    assert said == [(1, 1), (2, 2)]


def test_lint_finds_nothing_new_where_nothing_changed(shop: Shop) -> None:
    """lint.md: both commands, as they stand."""
    (fence,) = pages.fences("docs/reference/lint.md")
    assert pages.run(fence.text, shop.folder) == "nothing was found\n"
