"""What is wrong with a configuration, a key or claims to be signed is said before anything is served, with a cure that works word for word."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from cures import Action
from place import OWN, Place, private_pem, public_pem
from rowseal import errors
from rowseal.keys import KeyRefused
from rowseal.signing import Signer, SigningRefused

Change = Callable[[dict[str, Any]], object]


def top(**settings: Any) -> Change:
    return lambda document: document.update(settings)


def tokens(**settings: Any) -> Change:
    return lambda document: document["tokens"][0].update(settings)


def key(**settings: Any) -> Change:
    """One entry of `keys`, replaced."""
    return lambda document: document["tokens"][0].update(keys=[{"id": "shop", **settings}])


def orders(**settings: Any) -> Change:
    return lambda document: document["datasets"][0].update(settings)


def field(number: int, **settings: Any) -> Change:
    return lambda document: document["datasets"][0]["fields"][number].update(settings)


def another(**settings: Any) -> Change:
    """A second dataset over the table `orders`."""
    more = {"id": "all_orders", "table": "orders", "fields": [{"id": "id", "type": "number"}], **settings}
    return lambda document: document["datasets"].append(more)


FILES = {"public.pem": public_pem(), "private.pem": private_pem()}
FILTER = {"field": "deleted", "op": "=", "value": False}

# what was written, where the problem is, the words of its cure, and what is written when they are followed
PROBLEMS: dict[str, tuple[Change, str, str, Change]] = {
    "a misspelt key": (orders(secure_filter=[]), "datasets[0].secure_filter", "did you mean `secure_filters`?", orders(secure_filters=[FILTER])),
    "a private key": (key(public_key_file="private.pem"), "tokens[0].keys[0].public_key_file", "write its public half", key(public_key_file="public.pem")),
    "no file there": (
        key(public_key_file="keys/public.pem"),
        "tokens[0].keys[0].public_key_file",
        "relative paths begin at the folder of this file",
        key(public_key_file="public.pem"),
    ),
    "two sources of a key": (
        key(public_key=public_pem(), public_key_file="public.pem"),
        "tokens[0].keys[0]",
        "must have exactly one of",
        key(public_key=public_pem()),
    ),
    "a variable that is not set": (
        top(database="${NO_SUCH_VARIABLE}"),
        "database",
        "write ${NO_SUCH_VARIABLE:-default}",
        top(database="${NO_SUCH_VARIABLE:-sqlite:///shop.db}"),
    ),
    "no such database file": (
        top(database="sqlite:///none.db"),
        "database",
        "relative paths begin at the folder of this file",
        top(database="sqlite:///shop.db"),
    ),
    "no database URL": (top(database="shop.db"), "database", "write such as `sqlite:///shop.db`", top(database="sqlite:///shop.db")),
    "a misspelt column": (field(2, column="regoin"), "datasets[0].fields[2].column", "did you mean `region`?", field(2, column="region")),
    "a misspelt table": (orders(table="ordres"), "datasets[0].table", "did you mean `orders`?", orders(table="orders")),
    "an unknown type": (field(2, type="text"), "datasets[0].fields[2].type", "must be one of", field(2, type="string")),
    "a filter on no field": (
        orders(secure_filters=[{**FILTER, "field": "deletd"}]),
        "datasets[0].secure_filters[0].field",
        "did you mean `deleted`?",
        orders(secure_filters=[FILTER]),
    ),
    "a number that wants quotes": (orders(name=7), "datasets[0].name", "put it in quotes", orders(name="7")),
    "no unit of time": (tokens(max_lifetime="2 hours"), "tokens[0].max_lifetime", "`2h`", tokens(max_lifetime="2h")),
    "a table with two rules": (
        another(),
        "datasets[4].table",
        "`same_table_as: orders`",
        another(same_table_as="orders"),
    ),
}


def load(place: Place, change: Change) -> None:
    for name, text in FILES.items():
        (place.folder / name).write_text(text)
    place.gate(change)


@pytest.mark.parametrize("what", PROBLEMS)
def test_a_problem_of_the_configuration(place: Place, what: str) -> None:
    wrong, where, words, mended = PROBLEMS[what]
    with pytest.raises(errors.Misconfigured) as found:
        load(place, wrong)
    assert [(problem.path, words in problem.message) for problem in found.value.problems] == [(where, True)], str(found.value)
    assert re.match(rf"{re.escape(str(place.file))}:\d+:\d+: ", str(found.value))
    load(place, mended)


def signed(**over: Any) -> Action:
    return lambda place: place.token(**over)


def minutes(life: Any) -> Action:
    return lambda place: place.token(minutes=life)


def pem(text: Callable[[], str]) -> Action:
    return lambda _: Signer(text())


def checked(**over: Any) -> Action:
    """Signed by a signer that knows the catalog."""

    def act(place: Place) -> object:
        given = {"user_reference": "u", "project_id": "p", "data_set_ids": ["orders"], "secure_filters": {"orders": OWN}}
        return Signer(private_pem(), catalogs=place.gate().catalogs).generate_tokens(**(given | over))

    return act


A, B = OWN[0][0], {"field": "region", "op": "=", "value": "EU"}
UNSIGNED: dict[str, tuple[Action, str, Action]] = {
    "a life of seconds": (minutes(20_000), "a number of minutes above 0 and at most 10080", minutes(10_080)),
    "no place": (signed(project_id=None), "name exactly one place: `project_id`", signed(project_id="prj_1")),
    "two places": (signed(organisation_id="org_1"), "name exactly one place", signed(project_id=None, organisation_id="org_1")),
    "a dashboard of a project": (signed(dashboard_id="dsh_1"), "write `parent_dashboard_ids`", signed(parent_dashboard_ids=["dsh_1"])),
    "parents of an organisation": (
        signed(project_id=None, organisation_id="org_1", parent_dashboard_ids=["dsh_1"]),
        "write `dashboard_id`",
        signed(project_id=None, organisation_id="org_1", dashboard_id="dsh_1"),
    ),
    "an unknown access type": (signed(access_type="owner"), "must be `standard` or `admin`", signed(access_type="admin")),
    "an unknown scope": (signed(scope="write"), "must be `read` or `read_write`", signed(scope="read")),
    "nobody": (signed(user_reference=""), "a string of 1 to 256 characters", signed(user_reference="u")),
    "no parents": (signed(parent_dashboard_ids=[]), "or leave `parentDashboardIds` out", signed()),
    "a flat list": (signed(secure_filters={"orders": [A, B]}), "write [[A, B]] for A AND B", signed(secure_filters={"orders": [[A, B]]})),
    "the star in a list": (signed(data_set_ids=["*"]), 'sign the string `"*"` itself', signed(data_set_ids="*")),
    "null": (
        signed(secure_filters={"orders": [[{**A, "value": None}]]}),
        "write is_null or is_not_null",
        signed(secure_filters={"orders": [[{"field": "user_id", "op": "is_null"}]]}),
    ),
    "a key that verifies": (pem(public_pem), "write the private key that belongs to it", pem(private_pem)),
    "a field that the catalog lacks": (
        checked(secure_filters={"orders": [[{**A, "field": "tenant"}]]}),
        "use the field ids and types that datasets.yaml declares",
        checked(secure_filters={"orders": [[A]]}),
    ),
    "a data set that the catalog lacks": (checked(data_set_ids=["ordres"], secure_filters={}), "a dataset that datasets.yaml does not declare", checked()),
    "no filter for a data set": (checked(secure_filters={}), "add a secure filter for it to the token", checked(secure_filters={"orders": OWN})),
}


@pytest.mark.parametrize("what", UNSIGNED)
def test_what_is_not_signed(place: Place, what: str) -> None:
    wrong, words, mended = UNSIGNED[what]
    with pytest.raises((SigningRefused, KeyRefused)) as found:
        wrong(place)
    assert words in str(found.value)
    assert mended(place)
