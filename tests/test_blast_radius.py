"""What the holder of a key could read, counted: against what tokens of that key really read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from place import Place, public_pem
from rowseal import cli
from test_revocation import Clock

COUNT = "SELECT COUNT(*) AS n FROM {}"


class Told(Place):
    """A place whose command line is asked, with as many orders as a test wants."""

    def asked(self, key: str = "shop", *, status: int = 0) -> dict[str, Any]:
        out, err = StringIO(), StringIO()
        arguments = ["blast-radius", "--key", key, "--config", str(self.file)]
        found = cli.run([*arguments, "--json"], out=out, err=err, stdin=StringIO(), clock=Clock())
        self.said = err.getvalue()
        assert found == status, self.said
        if status:
            return {}
        facts: dict[str, Any] = json.loads(out.getvalue())
        shown = StringIO()
        assert cli.run(arguments, out=shown, err=err, stdin=StringIO(), clock=Clock()) == 0
        self.shown, self.said = shown.getvalue(), err.getvalue()
        return facts | {"by_id": {each["dataset"]: each for each in facts["datasets"]}}

    def add_orders(self, **by_user: int) -> None:
        with closing(sqlite3.connect(self.folder / "shop.db")) as database, database:
            for name, count in by_user.items():
                database.executemany(
                    "INSERT INTO orders (user_id, region, amount, code, deleted) VALUES (?, 'EU', 1, 'x', 0)", [(int(name.removeprefix("u")),)] * count
                )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path)
    yield made
    made.close()


def test_without_guards_a_token_reaches_all_that_the_file_leaves(place: Told) -> None:
    gate = place.gate()
    reach = place.asked()["by_id"]
    assert reach["orders"]["rows"] == reach["orders"]["one_token"] == 5  # of six, one is deleted
    assert reach["items"]["rows"] == 2
    assert reach["items"]["one_token"] is None
    assert reach["items"]["how"] == "through orders"
    assert reach["orders"]["columns"] == ["order_id", "user_id", "region", "amount", "code"]
    # and a token does reach them
    everything = [[{"field": "user_id", "op": "is_not_null"}], [{"field": "user_id", "op": "is_null"}]]
    access = gate.verify(place.sign(dataSetIds="*", secureFilters={"orders": everything, "items": everything[:1]}))
    assert access.execute(COUNT.format("orders")).rows == [(5,)]


def test_a_guard_bounds_one_token_and_not_all_of_them(place: Told) -> None:
    """A group names one value; a hundred groups may be joined by OR."""
    place.add_orders(**{f"u{number}": 2 for number in range(100, 250)})

    def guarded(document: dict[str, Any]) -> None:
        document["datasets"][0]["guards"] = [{"field": "user_id", "op": ["="]}]

    gate = place.gate(guarded)
    reach = place.asked()["by_id"]["orders"]
    assert reach["rows"] == 5 + 300
    assert reach["one_token"] == 3 + 99 * 2  # user 7 has three
    assert reach["how"] == "guarded"
    assert reach["bounds"] == ["user_id ="]
    users = [7, *range(100, 199)]
    access = gate.verify(place.sign(secureFilters={"orders": [[{"field": "user_id", "op": "=", "value": user}] for user in users]}))
    assert access.execute(COUNT.format("orders")).rows == [(reach["one_token"],)]


@pytest.mark.parametrize(
    ("guard", "one_token"),
    [
        ({"op": ["is_one_of"], "max_values": 2}, 4),
        ({"op": ["is_one_of"]}, 4),
        ({"op": ["="], "values_in": [8]}, 3),  # at most: as many as the value that has the most
        ({"op": [">="]}, 5),
        ({"op": ["=", "is_null"]}, 5),
    ],
)
def test_each_kind_of_guard(place: Told, guard: dict[str, Any], one_token: int) -> None:
    """Rows without a user pass no comparison: of five, four have one."""
    place.gate(lambda document: document["datasets"][0].update(guards=[{"field": "user_id", **guard}]))
    assert place.asked()["by_id"]["orders"]["one_token"] == one_token


def test_what_the_key_may_not_grant_is_closed(place: Told) -> None:
    def change(document: dict[str, Any]) -> None:
        document["tokens"][0]["keys"].append({"id": "narrow", "public_key": public_pem("narrow"), "datasets": ["customers", "items"], "max_rows_per_hour": 9})
        document["datasets"][1]["public"] = True

    place.gate(change)
    told = place.asked("narrow")
    assert told["closed"] == ["orders", "salaries", "items"]  # items are read through orders
    assert told["by_id"].keys() == {"customers"}
    assert told["by_id"]["customers"]["how"] == "public: needs no filter"
    assert told["max_rows_per_hour"] == 9
    assert "closed to it: orders, salaries, items" in place.shown
    assert "9 rows an hour in each process" in place.shown
    assert "no bound on different filter values an hour" in place.shown
    assert place.shown.splitlines()[0].split() == ["dataset", "rows", "one", "token", "how", "columns"]


def test_a_claim_bounds_nothing_for_whoever_signs_it(place: Told) -> None:
    rule = {"field": "region", "op": "=", "value": {"claim": "parameters.region"}}
    place.gate(lambda document: document["datasets"][0]["secure_filters"].append(rule))
    orders = place.asked()["by_id"]["orders"]
    assert orders["rows"] == 5
    assert orders["bounds"] == ["region = the claim parameters.region, whatever is signed there"]


def test_a_key_that_is_not_there(place: Told) -> None:
    place.gate()
    place.asked("shpo", status=1)
    assert "`shpo` is no key of" in place.said
    assert "did you mean `shop`?" in place.said


def test_no_token_that_it_makes_is_accepted_by_a_server(place: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    from rowseal import errors
    from rowseal.gate import Gate

    gate, seen = place.gate(), []
    verify = Gate.verify

    def watched(self: Gate, token: str, **more: Any) -> Any:
        seen.append(token)
        return verify(self, token, **more)

    monkeypatch.setattr(Gate, "verify", watched)
    place.asked()
    assert seen
    for token in seen:
        with pytest.raises(errors.TokenRefused):
            verify(gate, token)
        assert token not in place.shown + place.said
