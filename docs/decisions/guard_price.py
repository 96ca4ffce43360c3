"""What a guard costs against a WHERE written by hand: the numbers of 0001. `python -m docs.decisions.guard_price`, from the repository's root.

The sample shop (50,000 orders, three tenants) on SQLite and on a throw-away PostgreSQL. Three texts of each question: by hand, with the guard
that the planner may flatten, with the fenced one. The two guarded texts are rowseal's own. Medians of wall time, the three interleaved in every order.
"""

from __future__ import annotations

import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any, Final

import psycopg

from rowseal import Gate, Signer
from rowseal.configuration import load
from sample_engine.keys import make_keys
from sample_engine.shop import make_shop
from tests import servers

ROOT: Final = Path(__file__).resolve().parents[2]
ROUNDS: Final = 35  # of six orders each
# (what it is, as the bearer writes it, as somebody with a WHERE writes it)
QUESTIONS: Final = (
    (
        "point look-up",
        "SELECT amount FROM orders WHERE order_id = 4712",
        "SELECT amount FROM {orders} AND id = 4712 LIMIT 10001",
    ),
    (
        "aggregate",
        "SELECT region, COUNT(*) AS orders, SUM(amount) AS total FROM orders GROUP BY region",
        "SELECT region, COUNT(*) AS orders, SUM(amount) AS total FROM {orders} GROUP BY region LIMIT 10001",
    ),
)
Run = Callable[[str, Any], list[Any]]


def measure(kind: str, url: str, run: Run, plan: Callable[[str, Any], str], style: Any) -> None:
    """Print one line a question for the database at `url`."""
    gate = Gate(load(ROOT / "datasets.yaml", environ={"DATABASE_URL": url}))
    try:
        tokens = Signer(make_keys().read_bytes()).generate_tokens(
            user_reference="price", project_id="prj_shop", data_set_ids=["orders"], secure_filters={"orders": [[{"field": "tenant", "op": "=", "value": 1}]]}
        )
        access = gate.verify(tokens["dataAccessToken"])
        for name, asked, by_hand in QUESTIONS:
            guarded, binds = access.secure(asked).render(style)
            orders = "main.orders WHERE tenant_id = :tenant AND deleted = :deleted"
            if style == "pyformat":
                orders = "public.orders WHERE tenant_id = %(tenant)s AND deleted = %(deleted)s"
            texts = {
                "by hand": (by_hand.format(orders=orders), {"tenant": 1, "deleted": False}),
                "flattenable": (guarded.replace(" AS MATERIALIZED", " AS NOT MATERIALIZED"), binds),
                "fenced": (guarded.replace("NOT MATERIALIZED", "MATERIALIZED"), binds),
            }
            answers = {label: sorted(map(repr, run(*text))) for label, text in texts.items()}
            if len({tuple(answer) for answer in answers.values()}) != 1:
                raise SystemExit(f"{kind}, {name}: the three texts have different answers")
            spent: dict[str, list[float]] = {label: [] for label in texts}
            # whoever comes after the fenced text finds cold caches: every order as often
            for order in [*permutations(texts.items())] * ROUNDS:
                for label, text in order:
                    start = time.perf_counter()
                    run(*text)
                    spent[label].append(time.perf_counter() - start)
            times = "  ".join(f"{label} {statistics.median(values) * 1000:.3f} ms" for label, values in spent.items())
            same = "same plan" if plan(*texts["by hand"]) == plan(*texts["flattenable"]) else "another plan"
            sys.stdout.write(f"{kind:<18} {name:<14} {times}  (by hand and flattenable: {same})\n")
    finally:
        gate.close()


def on_sqlite(folder: Path) -> None:
    url = f"sqlite:///{folder / 'shop.db'}"
    make_shop(url)
    connection = sqlite3.connect(folder / "shop.db", cached_statements=0)  # as the engine has it
    try:
        measure(
            f"SQLite {sqlite3.sqlite_version}",
            url,
            lambda text, binds: connection.execute(text, binds).fetchall(),
            # which table, by which index; the names that the texts give to tables are not part of a plan
            lambda text, binds: re.sub(r"\b(b|main\.orders|orders)\b", "t", repr([row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", binds)])),
            "named",
        )
    finally:
        connection.close()


def on_postgres() -> None:
    run = servers.Run.begin()
    try:
        server = run.server()
        database = server.new_database()
        make_shop(database.owner_url)
        with psycopg.connect(database.reader_url.replace("+psycopg", "", 1), autocommit=True, prepare_threshold=None) as connection:
            measure(
                f"PostgreSQL {server.version}",
                database.reader_url,
                lambda text, binds: connection.execute(text, binds).fetchall(),
                lambda text, binds: re.sub(r" on orders( b)?|\bb\.|::(small|big)int", "", repr(connection.execute(f"EXPLAIN {text}", binds).fetchall())),
                "pyformat",
            )
    finally:
        run.end()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        on_sqlite(Path(made))
    on_postgres()
