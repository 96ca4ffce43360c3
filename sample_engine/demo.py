"""`make demo`: the same SQL with two tenants' tokens, the SQL that really ran, and five attacks, all over HTTP. `--serve` leaves it running.

Exits with 0 only when both tenants were answered and no attack brought anything of anybody else's, not even a difference.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import httpx
import sqlglot
import uvicorn
from rich.columns import Columns
from rich.console import Console
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from rowseal.gate import Gate
from sample_engine.app import CONFIGURATION, PEOPLE, Person, create_app
from sample_engine.keys import make_keys
from sample_engine.shop import DATABASE, FORBIDDEN, make_shop

__all__ = ["main"]

QUESTION: Final = """\
SELECT o.region, COUNT(DISTINCT o.order_id) AS orders,
       SUM(i.qty * i.price) / 100 AS euros
FROM orders AS o JOIN order_items AS i ON i.order_id = o.order_id
GROUP BY o.region ORDER BY euros DESC"""
_TENANTS: Final = (PEOPLE["north"], PEOPLE["south"])


@dataclass(frozen=True, slots=True)
class Attack:
    """What somebody of tenant 1 tries: SQL texts, each with a token. With `twins` the answers must not differ: the difference would tell."""

    title: str
    asks: tuple[tuple[str, str], ...]
    twins: bool = False


def main(arguments: list[str] | None = None) -> int:
    """Run the demo, or with `--serve` the engine alone. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sample_engine.demo", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--serve", action="store_true", help="leave the engine running and say how to ask it")
    parser.add_argument("--port", type=int, default=0, help="default: any free one")
    options = parser.parse_args(arguments)

    console = Console(width=None if sys.stdout.isatty() else 120)
    private_key = make_keys()
    if "DATABASE_URL" not in os.environ and not (CONFIGURATION.parent / "sample_engine" / "shop.db").exists():
        console.print("making the shop ...", style="dim")
        make_shop(DATABASE)
    gate = Gate.from_yaml(CONFIGURATION)
    try:
        with _running(uvicorn.Config(create_app(gate, private_key=private_key), log_level="warning"), options.port) as url:
            if options.serve:
                return _serve(console, url)
            return _show(console, gate, url)
    finally:
        gate.close()


@contextmanager
def _running(config: uvicorn.Config, port: int) -> Iterator[str]:
    """The server in a thread of its own, on a port that is open before anybody asks. Gives its URL, and stops it at the end."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _log_in(client: httpx.Client, person: Person) -> str:
    client.post("/login", json={"name": person.name, "password": person.password}).raise_for_status()
    return str(client.get("/identity").raise_for_status().json()["dataAccessToken"])


def _serve(console: Console, url: str) -> int:
    with httpx.Client(base_url=url) as client:
        token = _log_in(client, PEOPLE["north"])
    ask = json.dumps({"sql": "SELECT region, COUNT(*) AS orders FROM orders GROUP BY region"})
    console.print(f"the sample engine listens on {url}; Ctrl-C ends it. A token of tenant 1 is good for 15 minutes:\n", highlight=False)
    print(f"curl -s {url}/query -H 'Authorization: Bearer {token}' -d '{ask}'\n")
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
    return 0


def _show(console: Console, gate: Gate, url: str) -> int:
    tokens: dict[str, str] = {}
    for person in _TENANTS:
        with httpx.Client(base_url=url) as client:
            tokens[person.name] = _log_in(client, person)

    with httpx.Client(base_url=url, timeout=30) as client:

        def send(sql: str, token: str) -> httpx.Response:
            return client.post("/query", json={"sql": sql}, headers={"Authorization": f"Bearer {token}"})

        console.rule("[bold]one question")
        console.print(Syntax(QUESTION, "sql", background_color="default", word_wrap=True))
        console.rule("[bold]two tokens, two answers")
        answers = [send(QUESTION, token) for token in tokens.values()]
        console.print(Columns([_table(answer, f"{person.name} (tenant {person.tenant})") for answer, person in zip(answers, _TENANTS, strict=True)]))
        answered = all(answer.status_code == 200 and answer.json()["rows"] for answer in answers) and answers[0].json()["rows"] != answers[1].json()["rows"]

        console.rule("[bold]what ran for north")
        secured = gate.verify(tokens["north"]).secure(QUESTION)
        # Laid out for reading only: what runs is `secured` itself.
        pretty = sqlglot.parse_one(secured.sql, dialect=secured.dialect).sql(dialect=secured.dialect, pretty=True)
        pretty = re.sub(r"%\((\w+)\)s", r":\1", pretty)
        console.print(Syntax(pretty, "sql", background_color="default", word_wrap=True))
        console.print(f"with {dict(secured.params)}", highlight=True)

        console.rule("[bold]five attacks with north's token")
        held = True
        for number, attack in enumerate(_attacks(tokens, gate.catalogs["default"].dialect), 1):
            console.print(f"\n[bold]{number}. {attack.title}[/]")
            replies = [send(*asked) for asked in attack.asks]
            for (sql, _), reply in zip(attack.asks, replies, strict=True):
                console.print(_indented(sql, style="cyan"))
                console.print(_indented(f"-> {_told(reply)}"))
            leaked = any(_leaks(reply, PEOPLE["north"]) for reply in replies) or (attack.twins and len({_told(reply) for reply in replies}) > 1)
            held = held and not leaked
            console.print("   [bold red]LEAKED[/]" if leaked else "   [green]nothing of anybody else's[/]")
    console.print()
    if not (answered and held):
        console.print("[bold red]the demo failed[/]: " + ("an attack got through" if answered else "the two tenants were not answered"))
        return 1
    console.print("next: `make serve` leaves it running; docs/tutorial.md begins with a database of your own", style="dim", highlight=False)
    return 0


def _indented(text: str, style: str = "") -> Padding:
    """The text, also where it goes on in a second line."""
    return Padding(Text(text, style=style), (0, 0, 0, 3), expand=False)


def _attacks(tokens: dict[str, str], dialect: str) -> Iterator[Attack]:
    own = tokens["north"]
    yield Attack("a condition that is always true", (("SELECT tenant, COUNT(*) AS orders FROM orders WHERE tenant = 1 OR 1 = 1 GROUP BY tenant", own),))

    system = {
        "sqlite": "SELECT note FROM orders UNION ALL SELECT name FROM sqlite_master",
        "postgres": "SELECT note FROM orders UNION ALL SELECT relname FROM pg_catalog.pg_class",
    }
    yield Attack(
        "a second SELECT: on a forbidden tenant, on the database's own tables",
        (
            ("SELECT tenant, note FROM orders WHERE tenant = 1 AND amount < 0 UNION ALL SELECT tenant, note FROM orders WHERE tenant = 3", own),
            (system[dialect], own),
        ),
    )

    yield Attack("a table that no FROM announces", (("SELECT COUNT(*) AS hits FROM orders WHERE customer_id IN customers", own),))

    # Tenant 3 has an order of 666,000,004 cents and nobody one of 666,000,000: whatever differs between the two answers speaks of it.
    # The largest negative integer has no absolute value on SQLite, and nothing can be divided by zero on PostgreSQL.
    oracle = {
        "sqlite": "SELECT COUNT(*) AS hits FROM orders WHERE abs(CASE WHEN amount = {} THEN -9223372036854775807 - 1 ELSE 1 END) = 1",
        "postgres": "SELECT COUNT(*) AS hits FROM orders WHERE 1 / (amount - {}) = 0",
    }[dialect]
    twins = tuple((oracle.format(cents), own) for cents in (666_000_004, 666_000_000))
    yield Attack("an error, or its absence, that would tell of tenant 3's order of 666000004", twins, twins=True)

    head, payload, _ = tokens["south"].split(".")
    everything = "SELECT tenant, note FROM orders"
    yield Attack(
        "the claims of another tenant's token: without a signature, under the own one",
        ((everything, f"eyJhbGciOiJub25lIn0.{payload}."), (everything, f"{head}.{payload}.{own.rpartition('.')[2]}")),
    )


def _leaks(reply: httpx.Response, person: Person) -> bool:
    """Whether the answer holds anything of another tenant, or the server lost its footing."""
    if reply.status_code != 200:
        return FORBIDDEN in reply.text or reply.status_code == 500
    content = reply.json()
    names = content["columns"]
    strangers = "tenant" in names and any(row[names.index("tenant")] != person.tenant for row in content["rows"])
    return strangers or FORBIDDEN in reply.text


def _told(reply: httpx.Response) -> str:
    """What the attacker learns, without what differs from request to request."""
    content = reply.json()
    if reply.status_code == 200:
        return f"200, rows: {content['rows'][:3]}"
    return f"{reply.status_code} {content.get('code')}: {content.get('detail')}"


def _table(answer: httpx.Response, title: str) -> Table:
    table = Table(title=title)
    if answer.status_code != 200:
        table.add_column(_told(answer))
        return table
    content: dict[str, Any] = answer.json()
    for at, column in enumerate(content["columns"]):
        numbers = all(isinstance(row[at], int | float) for row in content["rows"])
        table.add_column(column, justify="right" if numbers else "left")
    for row in content["rows"]:
        table.add_row(*("NULL" if value is None else str(value) for value in row))
    return table


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT, as shells say it
