"""Every refusal of a dataset or of a right (403), and the cure that its hint names."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import httpx

from asgi import Answer, ask
from cures import Action, Refusal
from place import OWN, Place, public_pem
from rowseal.app import create_app
from rowseal.http.rewrite import Rewrite
from rowseal.revocation import Kind
from seeds.refused_tokens import ended

__all__ = ["ACCESS", "IDS", "Change", "asked", "dataset", "posted", "served"]

IDS: Final = "SELECT order_id FROM orders"
Change = Any


def asked(sql: str = IDS, params: Any = None, *, change: Change = None, only: str | None = None, **over: Any) -> Action:
    """Run the SQL under a token of these grants."""
    return lambda place: place.gate(change).verify(place.token(**over)).execute(sql, params, only)


def dataset(number: int = 0, **settings: Any) -> Change:
    """Settings of one dataset; those that are lists are added to."""

    def change(document: Any) -> None:
        for name, value in settings.items():
            entry = document["datasets"][number]
            entry[name] = [*entry.get(name, []), *value] if isinstance(value, list) else value

    return change


def posted(body: Any, path: str = "/naive", *, method: str = "POST", query: bytes = b"", aware: Any = (), **over: Any) -> Action:
    """Post a body to an engine that knows nothing of rowseal, in transparent mode."""

    def act(place: Place) -> Answer:
        headers = [("Authorization", f"Bearer {place.token(**over)}"), ("Content-Type", "application/json")]
        app = place.app(rewrite=[Rewrite(path="/naive")], aware_paths=list(aware))
        return ask(app, path, method=method, headers=headers, body=json.dumps(body).encode(), query=query)

    return act


def served(path: str, *, method: str = "POST", change: Change = None, signer: str = "shop", development: bool = False, accept: str = "*/*") -> Action:
    """Ask the stand-alone gateway; `development` as with `--development`."""

    async def talk(place: Place) -> Answer:
        app = create_app(place.gate(change), development=development)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
            body = {"json": {"sql": IDS}} if method == "POST" else {}
            answer = await client.request(method, path, headers={"Authorization": f"Bearer {place.token(signer=signer)}", "Accept": accept}, **body)
        return Answer(answer.status_code, [*answer.headers.items()], answer.content)

    return lambda place: asyncio.run(talk(place))


def desk(document: Any) -> None:
    document["tokens"][0]["keys"].append({"id": "desk", "public_key": public_pem("desk"), "development": True})


def user(value: Any, field: str = "user_id", op: str = "=") -> dict[str, Any]:
    return {"orders": [[{"field": field, "op": op, "value": value}]]}


GUARD: Final = dataset(guards=[{"field": "user_id", "op": "="}])
BRANCH: Final = {"orders": [*OWN, [{"field": "region", "op": "=", "value": "EU"}]]}
REGION: Final = dataset(secure_filters=[{"field": "region", "op": "=", "value": {"claim": "parameters.region"}}])
PARENT: Final = "grant the parent dataset (`through:` in datasets.yaml) in the same token, with a secure filter"
ITEMS: Final = "SELECT id FROM items"


def development(document: Any) -> None:
    document["tokens"][0]["keys"][0]["development"] = True


ACCESS: Final = (
    Refusal(
        "development_refused",
        "sign with another key, or start the server with `--development`",
        served("/v1/query", change=desk, signer="desk"),
        {
            "sign with another key": served("/v1/query", change=desk),
            "start the server with `--development`": served("/v1/query", change=desk, signer="desk", development=True),
        },
    ),
    Refusal(
        "explain_closed",
        "ask the operator, who may write `explain: true` at the key in datasets.yaml",
        served("/v1/explain"),
        {
            "ask the operator, who may write `explain: true` at the key in datasets.yaml": served(
                "/v1/explain", change=lambda document: document["tokens"][0]["keys"][0].update(explain=True)
            )
        },
    ),
    Refusal(
        "dataset_unknown",
        "read a dataset that the token grants, or sign a token that grants this one",
        asked("SELECT name FROM customers"),
        {
            "read a dataset that the token grants": asked(IDS),
            "sign a token that grants this one": asked("SELECT name FROM customers", data_set_ids=["customers"], secure_filters={"customers": OWN}),
        },
    ),
    Refusal(
        "dataset_not_asked",
        "name the dataset that the query reads",
        asked(only="customers", data_set_ids=["orders", "customers"], secure_filters={"orders": OWN, "customers": OWN}),
        {"name the dataset that the query reads": asked(only="orders")},
    ),
    Refusal(
        "dataset_revoked",
        "fetch a fresh token from the host application, and ask again with it",
        ended(Kind.DATASET, name="orders", before=-60),
        {"fetch a fresh token from the host application, and ask again with it": ended(Kind.DATASET, name="orders", before=-300)},
    ),
    Refusal(
        "filter_required",
        "add a secure filter for it to the token, or mark it `public: true`, or sign with a `development: true` key",
        asked(secure_filters={}),
        {
            "add a secure filter for it to the token": asked(secure_filters={"orders": OWN}),
            "mark it `public: true`": asked(secure_filters={}, change=dataset(public=True)),
            "sign with a `development: true` key": asked(secure_filters={}, change=development),
        },
    ),
    Refusal(
        "filter_required",
        PARENT,
        asked(ITEMS, data_set_ids=["items"], secure_filters={}),
        {PARENT: asked(ITEMS, data_set_ids=["items", "orders"], secure_filters={"orders": OWN})},
    ),
    Refusal(
        "filter_required",
        PARENT,
        asked(ITEMS, data_set_ids=["items"], secure_filters={"orders": OWN}),
        {PARENT: asked(ITEMS, data_set_ids=["items", "orders"], secure_filters={"orders": OWN})},
    ),
    Refusal(
        "filter_inapplicable",
        "use the field ids and types that datasets.yaml declares",
        asked(secure_filters=user(7, "tenant")),
        {"use the field ids and types that datasets.yaml declares": asked(secure_filters=user(7))},
    ),
    Refusal(
        "filter_inapplicable",
        "use the field ids and types that datasets.yaml declares",
        asked(secure_filters=user("7")),
        {"use the field ids and types that datasets.yaml declares": asked(secure_filters=user(7))},
    ),
    Refusal(
        "guard_unmet",
        "restrict the guarded field in every OR branch, as its guard in datasets.yaml says",
        asked(secure_filters=BRANCH, change=GUARD),
        {
            "restrict the guarded field in every OR branch, as its guard in datasets.yaml says": asked(
                secure_filters={"orders": [*OWN, [*OWN[0], *BRANCH["orders"][1]]]}, change=GUARD
            )
        },
    ),
    Refusal(
        "claim_required",
        "sign the claim that the dataset's filter names",
        asked(change=REGION),
        {"sign the claim that the dataset's filter names": asked(change=REGION, parameters={"region": "EU"})},
    ),
    Refusal(
        "value_not_carried",
        "sign whole numbers below 2^53, or let the engine ask `request.state.rowseal`",
        posted({"sql": IDS}, secure_filters=user(2**53 + 1)),
        {
            "sign whole numbers below 2^53": posted({"sql": IDS}, secure_filters=user(7)),
            "let the engine ask `request.state.rowseal`": posted({"sql": IDS}, "/query", aware=["/query"], secure_filters=user(2**53 + 1)),
        },
    ),
)
