"""`demo`: a throw-away shop of three tenants, one question under two tokens, and five attacks, with nothing but the installed package."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from rowseal import strict
from rowseal.cli.ask import secured_lines, table_lines
from rowseal.cli.sign import Pair, new_pair, write_new
from rowseal.cli.terminal import FAILED, OK, Failed, Options, Terminal
from rowseal.engine import Result
from rowseal.errors import OurBug, Refused
from rowseal.gate import Gate
from rowseal.signing import Signer

__all__ = ["demo"]

_FORBIDDEN: Final = "FORBIDDEN"  # stands in every text of tenant 3, whom nobody here may read
_TENANTS: Final = {"north": 1, "south": 2}
_SHOP: Final = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, tenant_id INTEGER, region TEXT, amount INTEGER, note TEXT);
CREATE INDEX orders_by_tenant ON orders (tenant_id);
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 900)
INSERT INTO orders SELECT n, n % 3 + 1, CASE WHEN n % 3 = 2 THEN 'FORBIDDEN region' WHEN n % 2 THEN 'Coast' ELSE 'Hills' END, n * 31 % 97 + n % 3 * 10 + 1,
                          CASE WHEN n % 3 = 2 THEN 'FORBIDDEN note' ELSE 'thanks' END FROM numbers;
UPDATE orders SET amount = 666004 WHERE id = 2;
CREATE TABLE salaries (id INTEGER PRIMARY KEY, note TEXT);
INSERT INTO salaries VALUES (1, 'FORBIDDEN');
"""
_CONFIGURATION: Final = """\
# Written by `rowseal demo`. An own one begins with `rowseal init`.
version: 1
database: sqlite:///shop.db
tokens:
  - profile: vizzly
    keys: [{id: vizzly, public_key_file: vizzly-public.pem}]
datasets:
  - id: orders
    table: orders
    fields:
      - {id: tenant, column: tenant_id, type: number}
      - {id: region, type: string}
      - {id: amount, type: number}
      - {id: note, type: string}
    guards: [{field: tenant, op: "="}]     # a token that does not say which tenant reads nothing
"""
_QUESTION: Final = "SELECT tenant, region, COUNT(*) AS orders, SUM(amount) AS total FROM orders GROUP BY tenant, region ORDER BY region"


@dataclass(frozen=True, slots=True)
class _Attack:
    """What the bearer of north's token tries. With `twins` the answers must be the same: a difference would speak of a forbidden row."""

    title: str
    asks: tuple[tuple[str, str], ...]  # SQL and token
    twins: bool = False


def demo(options: Options, terminal: Terminal) -> int:
    """`demo`: show it, and fail if an attack brings anything."""
    with _folder(options.keep) as folder:
        pair = _furnished(folder)
        gate = Gate.from_yaml(folder / "datasets.yaml", clock=terminal.clock)
        try:
            tokens = {name: _token(pair, tenant, terminal) for name, tenant in _TENANTS.items()}
            answers = {name: gate.verify(token).execute(_QUESTION) for name, token in tokens.items()}
            secured = gate.verify(tokens["north"]).secure(_QUESTION)
            tried = [_try(attack, gate) for attack in _attacks(tokens)]
        finally:
            gate.close()
    held = all(each["held"] for each in tried) and all({row[0] for row in answer.rows} == {_TENANTS[name]} for name, answer in answers.items())
    if options.json:
        rows = {name: [list(row) for row in answer.rows] for name, answer in answers.items()}
        terminal.facts({"question": _QUESTION, "answers": rows, "secured": secured.sql, "attacks": tried, "held": held})
    else:
        _show(answers, secured.sql, tried, terminal)
        if options.keep is not None:
            terminal.say(f"\nthe shop, its configuration and its keys lie in {folder}")
    if not held:
        terminal.note("the demo failed: something of another tenant came out")
    return OK if held else FAILED


@contextmanager
def _folder(keep: str | None) -> Iterator[Path]:
    if keep is None:
        with TemporaryDirectory(prefix="rowseal-") as made:
            yield Path(made)
        return
    folder = Path(keep)
    if folder.exists():
        raise Failed(f"`{folder}` exists already and is not written to: name a new folder with `--keep`")
    folder.mkdir(mode=0o700, parents=True)
    yield folder


def _furnished(folder: Path) -> Pair:
    with closing(sqlite3.connect(folder / "shop.db")) as database:
        database.executescript(_SHOP)
    write_new(folder / "datasets.yaml", _CONFIGURATION.encode(), 0o644)
    return new_pair(folder, "vizzly")


def _token(pair: Pair, tenant: int, terminal: Terminal) -> str:
    """As the host application signs one, once somebody has logged in."""
    signer = Signer(pair.private.read_bytes(), clock=terminal.clock)
    filters = {"orders": [[{"field": "tenant", "op": "=", "value": tenant}]]}
    tokens = signer.generate_tokens(user_reference="demo", project_id="prj_demo", data_set_ids=["orders"], secure_filters=filters)
    return tokens["dataAccessToken"]


def _attacks(tokens: Mapping[str, str]) -> Iterator[_Attack]:
    own = tokens["north"]
    yield _Attack("a condition that is always true", (("SELECT tenant, note FROM orders WHERE tenant = 1 OR 1 = 1", own),))
    yield _Attack(
        "another tenant by name", (("SELECT tenant, note FROM orders WHERE amount < 0 UNION ALL SELECT tenant, note FROM orders WHERE tenant = 3", own),)
    )
    yield _Attack("a table of the database that nobody granted", (("SELECT note FROM orders UNION ALL SELECT note FROM salaries", own),))
    # tenant 3 has an order of 666004 and nobody one of 666000; the largest negative integer has no absolute value
    oracle = "SELECT COUNT(*) AS hits FROM orders WHERE abs(CASE WHEN amount = {} THEN -9223372036854775807 - 1 ELSE 1 END) = 1"
    yield _Attack(
        "an error, or its absence, that would tell of tenant 3's order of 666004",
        tuple((oracle.format(amount), own) for amount in (666004, 666000)),
        twins=True,
    )
    head, payload, _ = tokens["south"].split(".")
    unsigned = strict.to_base64url(b'{"alg":"none"}')
    everything = "SELECT tenant, note FROM orders"
    forged = ((everything, f"{unsigned}.{payload}."), (everything, f"{head}.{payload}.{own.rpartition('.')[2]}"))
    yield _Attack("the claims of another tenant's token: unsigned, and under the own signature", forged)


def _try(attack: _Attack, gate: Gate) -> dict[str, Any]:
    got = [_ask(gate, sql, token) for sql, token in attack.asks]
    held = all(harmless for _, harmless in got) and not (attack.twins and len({said for said, _ in got}) > 1)
    return {"title": attack.title, "sql": [sql for sql, _ in attack.asks], "got": [said for said, _ in got], "held": held}


def _ask(gate: Gate, sql: str, token: str) -> tuple[str, bool]:
    """What the attacker learns, and whether it is nothing of anybody else's."""
    try:
        result = gate.verify(token).execute(sql)
    except Refused as refusal:
        return f"refused: {refusal.code}: {refusal.detail}", not isinstance(refusal, OurBug)
    strangers = "tenant" in result.columns and any(row[result.columns.index("tenant")] != _TENANTS["north"] for row in result.rows)
    return _counted(result), not strangers and _FORBIDDEN not in str(result.rows)


def _counted(result: Result) -> str:
    if "tenant" in result.columns:
        return f"{len(result.rows)} rows" + (", all of tenant 1" if {row[0] for row in result.rows} == {1} else "")
    return f"rows: {result.rows[:3]}"


def _show(answers: Mapping[str, Result], secured: str, tried: list[dict[str, Any]], terminal: Terminal) -> None:
    say: Callable[[str], None] = terminal.say
    say(f"one question\n\n  {_QUESTION}\n\ntwo tokens, two answers")
    for name, answer in answers.items():
        say(f"\n  {name} (tenant {_TENANTS[name]})\n")
        for line in table_lines(answer):
            say(f"    {line}")
    say("\nwhat ran for north\n")
    for line in secured_lines(secured):
        say(f"  {line}")
    say("\nfive attacks with north's token")
    for number, attack in enumerate(tried, 1):
        say(f"\n  {number}. {attack['title']}")
        for sql, got in zip(attack["sql"], attack["got"], strict=True):
            say(f"     {sql}\n     -> {got}")
        say(f"     {'nothing of anybody else' if attack['held'] else 'LEAKED'}")
