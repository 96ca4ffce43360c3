"""The browser client against a real gateway: it asks for tokens when it must, keeps them to itself, and says what was refused."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import node
from asgi import Front
from rowseal.app import create_app
from serving import serving


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What came of each scene of tests/js/ask.mjs; one process for all of them."""
    front = Front(tmp_path_factory.mktemp("client"))
    tokens = {"fresh": front.token(), "expired": front.token(issued_at=time.time() - 3600), "brief": front.token(minutes=2)}
    try:
        with serving(create_app(front.gate)) as url:
            yield node.run("ask.mjs", {"url": url, **tokens})
    finally:
        front.gate.close()


ROWS = [[30]]  # the amounts of tenant 1


def test_it_asks_with_the_token_and_gives_the_answer(scenes: dict[str, Any]) -> None:
    scene = scenes["answers"]
    assert scene["all"] == {"columns": [{"name": "s", "type": "number"}], "rows": ROWS, "truncated": False}
    assert scene["some"]["rows"] == [[1]]
    assert scene["datasets"] == ["orders"]
    assert (scene["seen"]["identities"], scene["seen"]["requests"]) == (1, 3)
    assert scene["seen"]["headers"][0] == ["accept", "authorization", "content-type"]


def test_null_means_signed_out_and_nothing_is_sent(scenes: dict[str, Any]) -> None:
    assert scenes["signedOut"]["outcome"]["name"] == "SignedOut"
    assert scenes["signedOut"]["seen"]["requests"] == 0
    assert scenes["expiredAndSignedOut"]["outcome"]["name"] == "SignedOut"
    assert (scenes["signedOutAndIn"]["first"]["name"], scenes["signedOutAndIn"]["second"]) == ("SignedOut", ROWS)


def test_an_expired_token_is_asked_for_again_once(scenes: dict[str, Any]) -> None:
    assert scenes["expired"]["rows"] == ROWS
    assert (scenes["expired"]["seen"]["identities"], scenes["expired"]["seen"]["requests"]) == (2, 2)
    for_ever = scenes["expiredForEver"]
    assert (for_ever["outcome"]["name"], for_ever["outcome"]["code"]) == ("RowsealError", "token_expired")
    assert (for_ever["seen"]["identities"], for_ever["seen"]["requests"]) == (2, 2)


def test_queries_at_once_share_one_question(scenes: dict[str, Any]) -> None:
    assert scenes["manyAtOnce"] == {"rows": [ROWS] * 12, "identities": 2}


def test_a_refusal_has_all_that_the_gateway_said(scenes: dict[str, Any]) -> None:
    column, dataset = scenes["refusal"]
    assert (column["name"], column["code"], column["status"], column["line"], column["column"]) == ("RowsealError", "column_unknown", 400, 1, 8)
    assert column["detail"]
    assert column["hint"]
    assert re.fullmatch(r"[0-9a-f]{32}", column["requestId"])
    assert (dataset["code"], dataset["status"]) == ("dataset_unknown", 403)


def test_only_an_expired_token_is_worth_another(scenes: dict[str, Any]) -> None:
    scene = scenes["otherRefusalsAskNobodyAgain"]
    assert (scene["outcome"]["code"], scene["seen"]["identities"], scene["seen"]["requests"]) == ("token_malformed", 1, 1)


def test_integers_are_exact_in_both_directions(scenes: dict[str, Any]) -> None:
    large = "9007199254740993"
    *integers, fraction, text = scenes["largeNumbers"]
    assert integers == [["bigint", large], ["bigint", f"-{large}"], ["number", "9007199254740991"]]
    assert (fraction[0], fraction[1][:17], text) == ("number", "0.123456789012345", ["string", large])
    assert scenes["parameters"] == [large, "ä>?~", *["parameter_refused"] * 4]


def test_who_leaves_ends_their_own_query_alone(scenes: dict[str, Any]) -> None:
    before = scenes["abortedBefore"]
    assert (before["outcome"]["name"], before["seen"]["identities"], before["seen"]["requests"]) == ("AbortError", 0, 0)
    asking = scenes["abortedWhileAsking"]
    assert (asking["left"], asking["stays"]) == ("left the page", ROWS)
    assert (asking["seen"]["identities"], asking["seen"]["requests"]) == (1, 1)
    assert scenes["abortedInFlight"]["name"] == "TimeoutError"


def test_what_is_no_gateway_is_said_to_be_none(scenes: dict[str, Any]) -> None:
    assert (scenes["unreachable"]["name"], scenes["unreachable"]["code"]) == ("RowsealError", "unreachable")
    assert (scenes["somethingElse"]["code"], scenes["somethingElse"]["status"]) == ("unexpected_answer", 502)


def test_the_token_follows_no_redirect(scenes: dict[str, Any]) -> None:
    assert scenes["redirected"] == {"outcome": scenes["unreachable"], "asked": ["/v1/query"]}


def test_what_the_page_s_own_server_fails_with_is_the_page_s_to_see(scenes: dict[str, Any]) -> None:
    assert scenes["failingIdentity"] == ["login is down", "TypeError", ROWS, 1]


def test_a_forgotten_token_is_not_used_again(scenes: dict[str, Any]) -> None:
    assert scenes["forgotten"] == 2
    scene = scenes["forgottenWhileAsking"]
    assert (scene["first"], scene["second"]) == ("SignedOut", ROWS)
    assert (scene["seen"]["identities"], scene["seen"]["requests"]) == (2, 1)


def test_the_next_token_is_asked_for_before_the_last_one_ends(scenes: dict[str, Any]) -> None:
    """A token of two minutes: 24 seconds, a fifth of its life, before its end."""
    assert scenes["ahead"] == [[0, 1], [60, 1], [94, 1], [98, 2], [99, 2]]


def test_the_token_is_kept_in_memory_alone() -> None:
    text = (node.PACKAGE / "client.js").read_text(encoding="utf-8")
    assert not re.search(r"storage|cookie|indexedDB|window|document\.", text, re.IGNORECASE)
    assert Path(node.PACKAGE / "client.d.ts").exists()


def test_the_app_of_the_page_lets_pages_ask_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """browser.md: the preflight passes, and the two headers may be read."""
    front = Front(tmp_path)
    front.gate.close()
    monkeypatch.chdir(tmp_path)
    (snippet,) = re.findall(r"```python\n(.*?)```", (node.ROOT / "docs/how-to/browser.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(snippet, "browser.md", "exec"), names)
    page = {"Origin": "https://app.example.com"}
    with serving(names["app"]) as url:
        preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
        assert httpx.options(f"{url}/v1/query", headers=page | preflight).status_code == 200
        answer = httpx.get(f"{url}/v1/datasets", headers=page | {"Authorization": f"Bearer {front.token()}"})
    readable = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert answer.status_code == 200
    assert readable == {"x-token-expires-in", "x-request-id"} <= set(answer.headers)
