"""What a clock can still tell: `python -m benchmarks.residuals [--pairs N] [--write]`.

Two refusals that say the same are timed in pairs, in an order drawn anew for each, and compared by Welch's t, whole and cut to their faster
part alike. Then the same permitted query is timed over more and more rows of others. SQLite, in this process; CPU time of this thread.
`--write` puts the tables into docs/explanation/residuals.md.
"""

from __future__ import annotations

import argparse
import gc
import math
import random
import re
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from benchmarks.measure import interleaved
from rowseal.errors import Refused
from rowseal.gate import Access, Gate
from rowseal.signing import Signer

__all__ = ["CROPS", "GOAL", "PAGE", "Samples", "cropped", "main", "refusals", "rows_of_others", "table", "welch"]

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "explanation" / "residuals.md"
CROPS: Final = (1.0, 0.99, 0.95, 0.5)  # of both sides together, the fastest calls
GOAL: Final = 4.5  # |t| below it is no evidence of a difference
OWN: Final = 1_000  # rows of the bearer
OTHERS: Final = (0, 20_000, 40_000, 80_000)
_BETWEEN_COLLECTIONS: Final = 1_000
_FORGED: Final = 500

_CONFIGURATION: Final = """\
version: 1
database: {url}
tokens:
  - profile: vizzly
    keys: [{{id: shop, public_key_file: public.pem}}]
datasets:
  - id: plain
    table: plain
    fields: &fields
      - {{id: row_id, column: id, type: number}}
      - {{id: tenant_id, type: number}}
      - {{id: amount, type: number}}
      - {{id: margin, type: number, hidden: true}}
  - {{id: filed, table: filed, fields: *fields}}
  - {{id: wages, table: wages, fields: *fields}}
limits: {{seconds: 60}}
"""
Samples = tuple[list[int], list[int]]

# What is asked of rows, and whether the guard is made the fence that it is where nothing less would do.
_QUESTIONS: Final = (
    ("scan, no index on the filter's column", "SELECT COUNT(*) FROM plain", False),
    ("scan, index on the filter's column", "SELECT COUNT(*) FROM filed", False),
    ("one own row by its key", "SELECT amount FROM plain WHERE row_id = 7", False),
    ("fenced, no index on the filter's column", "SELECT COUNT(*) FROM plain WHERE amount > 5", True),
    ("fenced, index on the filter's column", "SELECT COUNT(*) FROM filed WHERE amount > 5", True),
)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the page where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.residuals", description="What a clock can still tell.")
    parser.add_argument("--pairs", type=int, default=100_000, help="pairs of calls for each comparison")
    parser.add_argument("--write", action="store_true", help=f"also write the tables into {PAGE.name}")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="rowseal-residuals-") as folder:
        told = table(("refused", "pairs", "medians, µs", *map(_crop, CROPS), "largest below 4.5"), refusals(Path(folder), options.pairs))
        rows = table(
            ("query", f"µs with {OTHERS[0]} rows of others", f"with {OTHERS[-1]:,}", "µs per 1,000 more"), rows_of_others(Path(folder), min(100, options.pairs))
        )
    print(told, rows, sep="\n\n")
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        for name, made in (("refusals", told), ("rows", rows)):
            page = re.sub(rf"(?s)(<!-- measured: {name} -->\n).*?(<!-- end -->)", lambda found, made=made: found[1] + made + "\n" + found[2], page)
        PAGE.write_text(page, encoding="utf-8")


def welch(left: list[int], right: list[int]) -> float:
    """Welch's t of two samples; 0 where neither varies and both are the same, and infinite where the cut has left nothing of one side."""
    if min(len(left), len(right)) < 2:
        return math.copysign(math.inf, len(right) - len(left))  # what was cut away was slower
    difference = statistics.fmean(left) - statistics.fmean(right)
    spread = math.sqrt(statistics.variance(left) / len(left) + statistics.variance(right) / len(right))
    return difference / spread if spread else math.copysign(math.inf, difference) if difference else 0.0


def cropped(samples: Samples, share: float) -> Samples:
    """Both sides without the calls above one and the same time, which this share of all calls does not exceed."""
    if share == 1:
        return samples
    both = sorted(samples[0] + samples[1])
    most = both[math.ceil(len(both) * share) - 1]
    return [each for each in samples[0] if each <= most], [each for each in samples[1] if each <= most]


def refusals(folder: Path, pairs: int) -> Iterator[tuple[str, ...]]:
    """One row for each pair of refusals that tell a bearer the same, or, for keys, that a bearer has no right to tell apart."""
    gate, access, keys = _opened(folder)
    with closing(gate):
        for name, left, right in (
            ("a dataset: unknown, ungranted", _asking(access, "SELECT row_id FROM wager"), _asking(access, "SELECT row_id FROM wages")),
            ("a column: unknown, hidden", _asking(access, "SELECT margit FROM plain"), _asking(access, "SELECT margin FROM plain")),
            ("a token: unknown `kid`, bad signature", _showing(gate, keys[0]), _showing(gate, keys[1])),
            ("the same call twice", _asking(access, "SELECT row_id FROM wager"), _asking(access, "SELECT row_id FROM wager")),
        ):
            samples = _sampled(left, right, pairs)
            found = [welch(*cropped(samples, share)) for share in CROPS]
            medians = ", ".join(f"{statistics.median(each) / 1_000:.1f}" for each in samples)
            yield name, f"{pairs:,}", medians, *(f"{t:+.1f}" for t in found), "yes" if max(map(abs, found)) < GOAL else "**no**"


def rows_of_others(folder: Path, rounds: int = 100) -> Iterator[tuple[str, ...]]:
    """One row for each query: its time without and with rows that the bearer may not see, and the slope by least squares."""
    variants: dict[str, Callable[[], object]] = {}
    with ExitStack() as opened:
        for others in OTHERS:
            inside = folder / f"rows-{others}"
            inside.mkdir()
            gate, access, _ = _opened(inside, others)
            opened.enter_context(closing(gate))
            database = opened.enter_context(closing(sqlite3.connect(inside / "data.db")))
            for name, asked, fenced in _QUESTIONS:
                text, binds = access.secure(asked).render("named")
                if fenced:
                    text = text.replace("AS NOT MATERIALIZED (", "AS MATERIALIZED (")
                if (" AS MATERIALIZED (" in text) is not fenced:
                    raise AssertionError(f"{name} is guarded otherwise")
                variants[f"{name} {others}"] = partial(_answer, database, text, binds)
        spent = interleaved(variants, rounds=rounds, warm=3)
    for name, _, _ in _QUESTIONS:
        found = [spent[f"{name} {others}"] for others in OTHERS]
        slope = statistics.linear_regression(OTHERS, found).slope * 1_000
        yield name, f"{found[0]:,.0f}", f"{found[-1]:,.0f}", f"{slope:.2f}"


def _answer(database: sqlite3.Connection, text: str, binds: Mapping[str, Any]) -> list[Any]:
    return database.execute(text, binds).fetchall()


def table(columns: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """In Markdown."""
    lines = [columns, ("---",) + ("---:",) * (len(columns) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _crop(share: float) -> str:
    return "t, all" if share == 1 else f"t, fastest {share:.0%}"


def _opened(folder: Path, others: int = 10) -> tuple[Gate, Access, tuple[Sequence[str], Sequence[str]]]:
    """A gate over a file, the access of one tenant, and tokens that are refused: by the key's name, and by the signature."""
    with closing(sqlite3.connect(folder / "data.db")) as database:
        for name in ("plain", "filed", "wages"):
            database.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, tenant_id INTEGER NOT NULL, amount INTEGER NOT NULL, margin INTEGER)")
            mine = ((number, 1, number % 100, 0) for number in range(OWN))
            theirs = ((number, 2 + number % 50, number % 100, 0) for number in range(OWN, OWN + others))
            database.executemany(f"INSERT INTO {name} VALUES (?, ?, ?, ?)", (*mine, *theirs))
        database.execute("CREATE INDEX by_tenant ON filed (tenant_id)")
        database.commit()
    pair, stranger = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    (folder / "public.pem").write_bytes(pair.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (folder / "datasets.yaml").write_text(_CONFIGURATION.format(url=f"sqlite:///{folder / 'data.db'}"))
    gate = Gate.from_yaml(folder / "datasets.yaml")
    filters = {name: [[{"field": "tenant_id", "op": "=", "value": 1}]] for name in ("plain", "filed")}

    names = ["plain", "filed"]
    good = Signer(pair, 110).generate_tokens(user_reference="u", project_id="p", data_set_ids=names, secure_filters=filters)["dataAccessToken"]
    claims = jwt.decode(good, options={"verify_signature": False})
    # many of each: how long a signature takes to verify depends on its own digits
    nobody, forged = (
        [jwt.encode({**claims, "n": number}, stranger, algorithm="ES256", headers={"kid": kid}) for number in range(_FORGED)] for kid in ("shoq", "shop")
    )
    return gate, gate.verify(good), (nobody, forged)


def _asking(access: Access, sql: str) -> Callable[[], None]:
    def ask() -> None:
        with suppress(Refused):
            access.secure(sql)

    return ask


def _showing(gate: Gate, tokens: Sequence[str]) -> Callable[[], None]:
    turn = cycle(tokens)

    def show() -> None:
        token = next(turn)
        with suppress(Refused):
            gate.verify(token)

    return show


def _sampled(left: Callable[[], None], right: Callable[[], None], pairs: int) -> Samples:
    """Nanoseconds of each call. Garbage is collected between the calls, never in one."""
    sides, clock, order = (left, right), time.thread_time_ns, random.Random(1)
    spent: Samples = ([], [])
    gc.collect()
    gc.disable()
    try:
        for number in range(-20, pairs):
            if number % _BETWEEN_COLLECTIONS == 0:
                gc.collect()
            first = order.random() < 0.5
            for side in (first, not first):
                run = sides[side]
                start = clock()
                run()
                taken = clock() - start
                if number >= 0:
                    spent[side].append(taken)
    finally:
        gc.enable()
    return spent


if __name__ == "__main__":
    main()
