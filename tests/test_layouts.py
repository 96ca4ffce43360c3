"""Layouts of dashboards over real HTTP: who may see which, and who may change which."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from asgi import Front
from rowseal.signing import Signer
from sample_engine.app import PEOPLE, create_app
from sample_engine.keys import make_keys
from sample_engine.layouts import DASHBOARDS, PROJECT
from serving import serving

SALES, STOCK = DASHBOARDS
WIDE, NARROW = {"columns": 12, "charts": ["orders"]}, {"columns": 4}


@pytest.fixture
def private(tmp_path: Path) -> bytes:
    return make_keys(tmp_path).read_bytes()


@pytest.fixture
def url(tmp_path: Path, private: bytes) -> Iterator[str]:
    front = Front(tmp_path, (tmp_path / "public.pem").read_text())
    with serving(create_app(front.gate, private_key=tmp_path / "private.pem")) as address:
        yield address
    front.gate.close()


def signed(private: bytes, **over: Any) -> str:
    """A dashboard access token of a standard person who may write, unless told."""
    given = {"user_reference": "p1", "project_id": PROJECT, "parent_dashboard_ids": [SALES], "data_set_ids": ["orders"], "secure_filters": {}}
    minutes = over.pop("minutes", 10)
    clock = over.pop("clock", time.time)
    return Signer(private, minutes, clock=clock).generate_tokens(**(given | over))["dashboardAccessToken"]


def identity(url: str, name: str) -> dict[str, str]:
    with httpx.Client(base_url=url) as client:
        client.post("/login", json={"name": name, "password": PEOPLE[name].password}).raise_for_status()
        tokens: dict[str, str] = client.post("/identity").raise_for_status().json()
        assert client.get("/identity").json().keys() == tokens.keys() == {"dashboardAccessToken", "dataAccessToken"}
        return tokens


def ask(url: str, token: str | None, path: str, layout: Any = None) -> httpx.Response:
    headers = {} if token is None else {"Dashboard-Token": token}
    if layout is None:
        return httpx.get(f"{url}/dashboards/{path}", headers=headers)
    return httpx.put(f"{url}/dashboards/{path}", headers=headers, json=layout)


def test_an_admin_changes_the_default_and_everybody_sees_it(url: str) -> None:
    admin, north = (identity(url, name)["dashboardAccessToken"] for name in ("north-admin", "north"))
    assert ask(url, north, f"{SALES}/default").json() == {}
    assert ask(url, admin, f"{SALES}/default", WIDE).status_code == 204
    for path in ("default", "own"):
        assert ask(url, north, f"{SALES}/{path}").json() == WIDE
    assert ask(url, north, f"{STOCK}/default").json() == {}, "each dashboard has its own"


def test_a_standard_person_saves_an_own_layout_and_not_the_default(url: str) -> None:
    north = identity(url, "north")["dashboardAccessToken"]
    refused = ask(url, north, f"{SALES}/default", WIDE)
    assert (refused.status_code, refused.json()) == (
        403,
        {"detail": "only an admin with the scope `read_write` may change the default layout; save it as your own instead"},
    )
    assert ask(url, north, f"{SALES}/own", WIDE).status_code == 204, "the cure of the refusal"
    assert ask(url, north, f"{SALES}/own").json() == WIDE
    assert ask(url, north, f"{SALES}/default").json() == {}


def test_an_own_layout_is_invisible_to_everybody_else(url: str, private: bytes) -> None:
    tokens = {name: identity(url, name)["dashboardAccessToken"] for name in PEOPLE}
    ask(url, tokens["north"], f"{SALES}/own", WIDE)
    assert ask(url, tokens["south"], f"{SALES}/own", NARROW).status_code == 204
    assert ask(url, tokens["north"], f"{SALES}/own").json() == WIDE
    assert ask(url, tokens["south"], f"{SALES}/own").json() == NARROW
    assert ask(url, tokens["north-admin"], f"{SALES}/own").json() == {}, "not even to an admin"
    assert ask(url, signed(private, user_reference="North"), f"{SALES}/own").json() == {}, "to the letter"


@pytest.mark.parametrize("kind", ["standard", "admin"])
def test_the_scope_read_changes_nothing_whoever_it_is(url: str, private: bytes, kind: str) -> None:
    reader = signed(private, access_type=kind, scope="read")
    for path in ("default", "own"):
        assert ask(url, reader, f"{SALES}/{path}", WIDE).status_code == 403
        assert ask(url, reader, f"{SALES}/{path}").json() == {}


@pytest.mark.parametrize(
    ("over", "dashboard"),
    [
        ({}, STOCK),
        ({"parent_dashboard_ids": [STOCK]}, SALES),
        ({"parent_dashboard_ids": None}, SALES),
        ({"project_id": "prj_other"}, SALES),
        ({"parent_dashboard_ids": ["dsh_none"]}, "dsh_none"),
        ({"project_id": None, "parent_dashboard_ids": None, "organisation_id": PROJECT, "dashboard_id": SALES}, SALES),
    ],
    ids=["not named", "another named", "none named", "another project", "no dashboard", "an organisation of that name"],
)
def test_a_token_opens_the_dashboards_of_its_project_that_it_names(url: str, private: bytes, over: dict[str, Any], dashboard: str) -> None:
    token = signed(private, access_type="admin", **over)
    answers = [ask(url, token, f"{dashboard}/{path}", layout) for path in ("default", "own") for layout in (None, WIDE)]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert {answer.text for answer in answers} == {'{"detail":"no dashboard of this name is open to this token"}'}


def test_no_other_token_opens_them_and_this_one_opens_no_rows(url: str, private: bytes) -> None:
    tokens = identity(url, "north")
    wrong = ask(url, tokens["dataAccessToken"], f"{SALES}/own")
    assert (wrong.status_code, wrong.json()["code"], wrong.json()["hint"]) == (401, "token_kind", "send the `dashboardAccessToken`")
    rows = httpx.post(f"{url}/query", json={"sql": "SELECT 1"}, headers={"Authorization": f"Bearer {tokens['dashboardAccessToken']}"})
    assert (rows.status_code, rows.json()["code"], rows.json()["hint"]) == (401, "token_kind", "send the `dataAccessToken`")
    for headers, code in (
        ([], "token_missing"),
        ([("Authorization", f"Bearer {tokens['dashboardAccessToken']}")], "token_missing"),
        ([("Dashboard-Token", tokens["dashboardAccessToken"])] * 2, "token_ambiguous"),
        ([("Dashboard-Token", "x")], "token_malformed"),
        ([("Dashboard-Token", signed(private, clock=lambda: time.time() - 700))], "token_expired"),
        ([("Dashboard-Token", signed(private, minutes=180))], "lifetime_too_long"),
    ):
        answer = httpx.get(f"{url}/dashboards/{SALES}/own", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert ask(url, tokens["dashboardAccessToken"], f"{SALES}/own", WIDE).status_code == 204


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{", b"\xff"])
def test_a_layout_is_a_json_object(url: str, private: bytes, body: bytes) -> None:
    answer = httpx.put(f"{url}/dashboards/{SALES}/own", headers={"Dashboard-Token": signed(private)}, content=body)
    assert (answer.status_code, answer.json()["code"], answer.json()["hint"]) == (400, "request_malformed", "send the layout as one JSON object")


def test_nothing_else_below_dashboards_is_there(url: str, private: bytes) -> None:
    token = signed(private)
    for path in (SALES, f"{SALES}/own/p2", f"{SALES}/p2", "", f"{SALES}/own?user=p2"):
        assert ask(url, token, path).status_code == (200 if "?" in path else 404)
    assert httpx.delete(f"{url}/dashboards/{SALES}/own", headers={"Dashboard-Token": token}).status_code == 405


def test_a_layout_given_out_is_no_handle_on_the_one_kept(url: str, private: bytes) -> None:
    mine = copy.deepcopy(WIDE)
    token = signed(private)
    ask(url, token, f"{SALES}/own", mine)
    mine["columns"] = 1
    assert ask(url, token, f"{SALES}/own").json() == WIDE
