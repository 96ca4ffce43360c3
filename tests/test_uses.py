"""Tokens that hold for one request, tokens that end when nobody uses them, and what all tokens of a key may do in an hour."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

import servers
from place import OWN, Place, public_pem
from rowseal import errors
from rowseal.app import create_app
from rowseal.app.metrics import metrics
from rowseal.gate import Access, Gate
from rowseal.revocation import StateDatabase, StoreUnavailable
from rowseal.revocation.uses import Uses
from test_revocation import Client, Clock, code

NOW = 1_800_000_000.0
MINUTE, HOUR = 60.0, 3600.0
ORDERS = "SELECT order_id FROM orders"


class Shared(Place):
    """A place whose gates share a database of state."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder)
        self.clock = Clock()
        self.url = url

    def opened(self, **entry: Any) -> Gate:
        """One more gate, whose profile says `entry`."""

        def change(document: dict[str, Any]) -> None:
            document["state"] = {"database": self.url, "table": "revoked", "poll": "1h", "max_stale": "2h"}
            document["tokens"][0].update(entry)

        return self.gate(change, clock=self.clock)

    def bearer(self, **claims: Any) -> str:
        given: dict[str, Any] = {"iat": int(self.clock.now), "exp": int(self.clock.now) + 6000}
        return self.sign(**(given | claims))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    served: servers.Database | None = None
    if request.param == "sqlite":
        with closing(sqlite3.connect(tmp_path / "state.db")):
            url = f"sqlite:///{tmp_path / 'state.db'}"
    else:
        served = request.getfixturevalue("postgres").another()
        url = served.owner_url
    store = StateDatabase(make_url(url), "revoked")
    store.create()
    store.close()
    made = Shared(tmp_path, url)
    yield made
    made.close()
    if served is not None:
        served.drop()


def rows(access: Access) -> list[tuple[Any, ...]]:
    return list(access.execute(ORDERS).rows)


# --- one use -------------------------------------------------------------------------------------------------------------------------------


def test_a_token_holds_for_one_request_at_any_gateway(place: Shared) -> None:
    first, second = place.opened(one_time=True), place.opened(one_time=True)
    token = place.bearer(jti="a")
    access = first.verify(token)
    assert rows(access) == rows(access) == [(1,), (2,), (3,)]  # the use is the request's, not the query's
    assert code(lambda: first.verify(token)) == code(lambda: second.verify(token)) == "token_replayed"
    assert rows(second.verify(place.bearer(jti="b")))


def test_a_reload_makes_nothing_fresh_again(place: Shared) -> None:
    gate = place.opened(one_time=True)
    token = place.bearer(jti="a")
    access = gate.verify(token)
    gate.reload()
    assert code(lambda: gate.verify(token)) == "token_replayed"
    assert rows(access)  # the request goes on


def test_of_many_who_come_at_once_one_gets_in(place: Shared) -> None:
    gates = [place.opened(one_time=True) for _ in range(2)]
    token, outcomes = place.bearer(jti="a"), []
    begin = threading.Barrier(8)

    def come(number: int) -> None:
        begin.wait()
        try:
            gates[number % 2].verify(token)
            outcomes.append("in")
        except errors.TokenRefused as refusal:
            outcomes.append(refusal.code)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(outcomes) == ["in", *["token_replayed"] * 7]


def test_a_token_without_an_id_is_refused_and_so_is_one_whose_key_another_issuer_s_id_would_block(place: Shared) -> None:
    gate = place.opened(one_time=True, keys=[{"id": "shop", "public_key": public_pem()}, {"id": "other", "public_key": public_pem("other")}])
    assert code(lambda: gate.verify(place.bearer())) == "claim_invalid"
    gate.verify(place.bearer(jti="1"))
    assert rows(gate.verify(place.bearer(jti="1", signer="other")))


def test_a_refused_token_takes_no_use(place: Shared) -> None:
    """A forger who has seen an id cannot use it up."""
    gate = place.opened(one_time=True)
    assert code(lambda: gate.verify(place.bearer(jti="a", signer="somebody"))) == "signature_invalid"
    assert rows(gate.verify(place.bearer(jti="a")))


def test_the_gateway_takes_one_use_a_request_whatever_comes_of_it(place: Shared) -> None:
    client = Client(create_app(place.opened(one_time=True)))
    headers = {"Authorization": f"Bearer {place.bearer(jti='a')}"}
    assert client.post("/v1/query", headers=headers, json={"sql": "SELECT absent FROM orders"}).json()["code"] == "column_unknown"
    answer = client.post("/v1/query", headers=headers, json={"sql": ORDERS})
    assert (answer.status_code, answer.json()["code"]) == (401, "token_replayed")


def test_where_the_database_is_gone_nobody_knows_whether_a_token_was_used(place: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = place.opened(one_time=True, inactivity="10m")

    def gone(*_: object, **__: object) -> bool:
        raise StoreUnavailable("cannot be written")

    for name in ("use", "seen"):
        monkeypatch.setattr(StateDatabase, name, gone)
        assert code(lambda: gate.verify(place.bearer(jti="a"))) == "state_unavailable"


# --- inactivity ------------------------------------------------------------------------------------------------------------------------------


def test_a_token_that_nobody_uses_ends_and_stays_ended(place: Shared) -> None:
    gate = place.opened(inactivity="10m")
    token = place.bearer()
    access = gate.verify(token)
    for _ in range(5):
        place.clock.now += 9 * MINUTE
        assert rows(access)
    place.clock.now += 10 * MINUTE
    for ask in (lambda: rows(access), lambda: gate.verify(token)):
        assert code(ask) == "token_idle"
    other = place.opened(inactivity="10m")
    assert code(lambda: other.verify(token)) == "token_idle"
    longer = place.opened(inactivity="2h")  # not even where the file says otherwise now
    assert code(lambda: longer.verify(token)) == "token_idle"
    place.clock.now -= 10 * MINUTE  # nor by a clock that was set back
    assert code(lambda: place.opened(inactivity="10m").verify(token)) == "token_idle"


def test_refused_requests_do_not_prolong(place: Shared) -> None:
    gate = place.opened(inactivity="10m")
    access = gate.verify(place.bearer())
    for _ in range(3):
        place.clock.now += 3 * MINUTE
        assert code(lambda: access.execute("SELECT absent FROM orders")) == "column_unknown"
        assert code(lambda: access.execute("SELECT id FROM customers")) == "dataset_unknown"
    place.clock.now += 1 * MINUTE
    assert code(lambda: rows(access)) == "token_idle"


def test_verifying_alone_does_not_prolong(place: Shared) -> None:
    gate = place.opened(inactivity="10m")
    token = place.bearer()
    for _ in range(3):
        gate.verify(token)
        place.clock.now += 3 * MINUTE
    place.clock.now += 1 * MINUTE
    assert code(lambda: gate.verify(token)) == "token_idle"


def test_a_use_at_one_gateway_holds_at_the_other_but_for_a_quarter(place: Shared) -> None:
    """It may end a quarter of the interval early there, never late."""
    one, two = (place.opened(inactivity="8m") for _ in range(2))
    token = place.bearer()
    rows(one.verify(token))
    for _ in range(6):
        place.clock.now += 5 * MINUTE
        rows(one.verify(token))
        place.clock.now += 1 * MINUTE
        rows(two.verify(token))
    place.clock.now += 8 * MINUTE
    assert code(lambda: one.verify(token)) == code(lambda: two.verify(token)) == "token_idle"


def test_every_schedule_of_uses_ends_when_it_should(place: Shared) -> None:
    """Random uses over two gateways, against what the rule says: alive before three quarters of the interval, ended from the whole on."""
    import random

    source = random.Random(7)
    gates = [place.opened(inactivity="8m") for _ in range(2)]
    for number in range(6):
        token, last = place.bearer(jti=str(number), exp=int(place.clock.now) + 7000), place.clock.now
        rows(source.choice(gates).verify(token))
        for _ in range(20):
            place.clock.now += source.choice([10, 100, 200, 350, 400, 470, 480, 481])
            idle = place.clock.now - last
            gate, ended = source.choice(gates), None
            try:
                rows(gate.verify(token))
            except errors.TokenRefused as refusal:
                ended = refusal.code
            assert ended == "token_idle" if idle >= 8 * MINUTE else ended is None or idle >= 6 * MINUTE
            if ended:
                break
            last = place.clock.now


def test_the_database_is_asked_seldom(place: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for name in ("seen", "prolong"):
        real = getattr(StateDatabase, name)
        monkeypatch.setattr(StateDatabase, name, lambda *given, name=name, real=real, **more: asked.append(name) or real(*given, **more))
    gate = place.opened(inactivity="8m")
    token = place.bearer()
    for _ in range(240):  # every second for four minutes
        rows(gate.verify(token))
        place.clock.now += 1
    assert asked.count("seen") <= 3
    assert asked.count("prolong") <= 2


def test_a_write_that_fails_ends_no_answer(place: Shared, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    gate = place.opened(inactivity="8m")
    access = gate.verify(place.bearer(jti="the-id"))
    place.clock.now += 3 * MINUTE
    prolong = StateDatabase.prolong

    def gone(*_: object, **__: object) -> bool:
        raise StoreUnavailable("cannot be written (OperationalError)")

    monkeypatch.setattr(StateDatabase, "prolong", gone)
    assert rows(access)
    assert "cannot be written" in caplog.text
    assert "the-id" not in caplog.text
    monkeypatch.setattr(StateDatabase, "prolong", prolong)
    assert rows(access)


def test_what_has_ended_by_itself_is_forgotten_and_nothing_else(place: Shared) -> None:
    gate = place.opened(one_time=True, inactivity="10m")
    uses = gate._state.uses
    assert isinstance(uses, Uses)
    gate.verify(place.bearer(jti="a"))
    place.clock.now += 6000 + HOUR - 1
    uses.sweep()
    database = uses._database
    with database._engine.connect() as connection:
        kept = [connection.exec_driver_sql(f"SELECT COUNT(*) FROM revoked_{name}").scalar() for name in ("used", "seen")]
    assert kept == [1, 1]
    place.clock.now += 700
    uses.sweep()
    with database._engine.connect() as connection:
        kept = [connection.exec_driver_sql(f"SELECT COUNT(*) FROM revoked_{name}").scalar() for name in ("used", "seen")]
    assert kept == [0, 0]


# --- what a key may do in an hour ------------------------------------------------------------------------------------------------------------


class Metered(Place):
    """A place with a clock, whose one key has bounds."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.clock = Clock()

    def opened(self, **bounds: Any) -> Gate:
        return self.gate(lambda document: document["tokens"][0]["keys"][0].update(bounds), clock=self.clock)

    def bearer(self, user: Any = 7, *, op: str = "=", **claims: Any) -> str:
        own = [[{"field": "user_id", "op": op, "value": user}]]
        given: dict[str, Any] = {"exp": int(self.clock.now) + 6000, "secureFilters": {"orders": own, "customers": own}, "dataSetIds": ["orders", "customers"]}
        return self.sign(**(given | claims))


@pytest.fixture
def metered(tmp_path: Path) -> Iterator[Metered]:
    made = Metered(tmp_path)
    yield made
    made.close()


def spent(asked: Callable[[], object]) -> tuple[str, int]:
    with pytest.raises(errors.BudgetExceeded) as refusal:
        asked()
    return refusal.value.code, refusal.value.retry_after


def test_rows_of_a_key_end_until_the_next_hour(metered: Metered) -> None:
    gate = metered.opened(max_rows_per_hour=7)
    access = gate.verify(metered.bearer())
    assert len(rows(access)) == 3
    metered.clock.now += 10 * MINUTE
    assert len(rows(gate.verify(metered.bearer(jti="another token of the key")))) == 3
    # one is left: an answer of three is not given at all, one of one is
    assert spent(lambda: rows(access)) == ("key_rows_spent", 50 * 60)
    assert access.execute("SELECT COUNT(*) AS n FROM orders").rows == [(3,)]
    assert spent(lambda: access.execute("SELECT COUNT(*) AS n FROM orders")) == ("key_rows_spent", 50 * 60)
    assert {name: (use.rows, use.values) for name, use in gate.key_use().items()} == {"shop": (7, None)}
    assert [line for line in metrics(gate).splitlines() if line.startswith("rowseal_key_hour")] == ['rowseal_key_hour_rows{id="shop"} 7']
    gate.reload()
    assert spent(lambda: rows(access))[0] == "key_rows_spent"
    metered.clock.now += 50 * MINUTE
    assert len(rows(access)) == 3


def test_a_query_that_somebody_else_runs_counts_for_all_that_it_may_give(metered: Metered) -> None:
    gate = metered.opened(max_rows_per_hour=10_000)
    access = gate.verify(metered.bearer())
    access.secure(ORDERS)  # limits.rows is 10,000
    assert spent(lambda: access.secure(ORDERS))[0] == spent(lambda: rows(access))[0] == "key_rows_spent"


def test_values_of_a_key_end_whoever_goes_through_all_tenants(metered: Metered, caplog: pytest.LogCaptureFixture) -> None:
    gate = metered.opened(max_values_per_hour=3)
    for user in (7, 8, 7, 9):
        gate.verify(metered.bearer(user)).execute(ORDERS)
    assert spent(lambda: gate.verify(metered.bearer(10)).execute(ORDERS)) == ("key_values_spent", 3600)
    assert spent(lambda: gate.verify(metered.bearer([7, 10], op="is_one_of")).execute(ORDERS))[0] == "key_values_spent"
    assert rows(gate.verify(metered.bearer(8))) == [(5,)]  # those that were named before go on
    assert gate.verify(metered.bearer([7, 8, 9], op="is_one_of")).execute("SELECT COUNT(*) AS n FROM customers").rows == [(2,)]  # the same field's
    assert gate.key_use()["shop"].values == 3
    assert 'rowseal_key_hour_values{id="shop"} 3' in metrics(gate).splitlines()
    assert len([each for each in caplog.records if "bound of the hour" in each.message]) == 1
    metered.clock.now += HOUR
    assert rows(gate.verify(metered.bearer(10))) == []


def test_what_the_configuration_wrote_does_not_count_and_what_a_claim_says_does(metered: Metered) -> None:
    def change(document: dict[str, Any]) -> None:
        document["tokens"][0]["keys"][0]["max_values_per_hour"] = 2
        document["datasets"][0]["secure_filters"].append({"field": "region", "op": "=", "value": {"claim": "parameters.region"}})

    gate = metered.gate(change, clock=metered.clock)
    assert gate.verify(metered.bearer(parameters={"region": "EU"})).execute(ORDERS).rows == [(1,)]
    assert gate.key_use()["shop"].values == 2  # user 7 and EU; not `deleted = false`
    assert spent(lambda: gate.verify(metered.bearer(parameters={"region": "US"})).execute(ORDERS))[0] == "key_values_spent"


def test_a_child_names_what_its_parent_names(metered: Metered) -> None:
    gate = metered.opened(max_values_per_hour=1)
    ids = {"dataSetIds": ["orders", "items"]}
    assert gate.verify(metered.bearer(7, **ids)).execute("SELECT id FROM items").rows == [(1,)]
    assert spent(lambda: gate.verify(metered.bearer(8, **ids)).execute("SELECT id FROM items"))[0] == "key_values_spent"


def test_a_refusal_says_when_to_come_back(metered: Metered) -> None:
    client = Client(create_app(metered.opened(max_rows_per_hour=3)))
    headers = {"Authorization": f"Bearer {metered.bearer()}"}
    assert client.post("/v1/query", headers=headers, json={"sql": ORDERS}).status_code == 200
    metered.clock.now += 100
    answer = client.post("/v1/query", headers=headers, json={"sql": ORDERS})
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (429, "key_rows_spent", "3500")


def test_many_at_once_pass_no_bound(metered: Metered) -> None:
    gate = metered.opened(max_rows_per_hour=30)
    access, given = gate.verify(metered.bearer()), []

    def ask() -> None:
        for _ in range(10):
            try:
                given.append(len(rows(access)))
            except errors.BudgetExceeded:
                return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sum(given) == 30


def test_too_many_values_to_remember_are_no_bound(metered: Metered) -> None:
    with pytest.raises(errors.Misconfigured, match="must be 1000000 at most"):
        metered.opened(max_values_per_hour=1_000_001)


def test_a_key_without_bounds_is_counted_all_the_same(metered: Metered) -> None:
    gate = metered.opened()
    assert gate.key_use() == {}
    rows(gate.verify(metered.bearer(OWN[0][0]["value"])))
    assert gate.key_use()["shop"].rows == 3
