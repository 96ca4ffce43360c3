"""`python -m benchmarks [--json] [--write]`: what rowseal costs, in one run."""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from benchmarks import databases, requests, securing, tokens
from benchmarks.measure import Section
from benchmarks.report import as_json, facts, print_table, write_page
from benchmarks.stock import Stock, fill_postgres, fill_sqlite
from rowseal import errors
from tests.servers import Run, UnavailableError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Measure everything and show it as it comes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What rowseal costs, each part beside what it is compared with.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--write", action="store_true", help="also write docs/benchmarks.md")
    options = parser.parse_args(arguments)

    machine, found = facts(), []
    for section in _sections(machine):
        found.append(section)
        if not options.json:
            print_table(section)
        gc.collect()
    if options.json:
        print(as_json(machine, found))
    if options.write:
        write_page(machine, found)


def _sections(machine: dict[str, str]) -> Iterator[Section]:
    yield tokens.section()
    yield _securing()
    yield _memory()
    with tempfile.TemporaryDirectory(prefix="rowseal-bench-") as folder:
        stock = Stock(Path(folder) / "sqlite", fill_sqlite(Path(folder) / "bench.db"), "sqlite")
        yield from requests.sections(stock)
        yield databases.section(stock)
        stock.gate.close()
        run = Run.begin()
        try:
            yield _postgres(run, Path(folder), machine)
        except UnavailableError as error:
            Console(stderr=True).print(f"no PostgreSQL: {error}")
        finally:
            run.end()


def _postgres(run: Run, folder: Path, machine: dict[str, str]) -> Section:
    server = run.server()
    machine["PostgreSQL"] = server.version
    database = server.new_database()
    fill_postgres(database.owner_url)
    stock = Stock(folder / "postgres", database.reader_url, "postgres")
    try:
        return databases.section(stock)
    finally:
        stock.gate.close()
        with suppress(errors.Refused):
            database.drop()


def _securing() -> Section:
    found = Section(
        "Secure a query that was never seen before",
        "Microseconds of CPU time, every check on, nothing cached but the texts of guards. `parse and write` is the parser's work alone, once; rowseal "
        "does it twice, because the witness reads the finished text again. On the right the same with the parser in pure Python.",
        ("database", "query", "parse and write", "admit", "secure", "witness", "all three", "ratio", "pure: parse and write", "pure: all three"),
    )
    compiled = importlib.util.find_spec("sqlglotc") is not None or _is_compiled()
    own = securing.measured(rounds=200)
    pure = json.loads(_python("benchmarks.pure", "60")) if compiled else own
    for dialect, queries in own.items():
        for name, spent in queries.items():
            slower = pure[dialect][name]
            fast = list(spent.values()) if compiled else [None] * len(spent)
            share = f"{spent['all three'] / spent['parse and write']:.1f}x"
            found.rows.append((dialect, name, *fast, share, slower["parse and write"], slower["all three"]))
    return found


def _is_compiled() -> bool:
    from sqlglot import parser  # noqa: PLC0415 - only asked for its file

    return not str(parser.__file__).endswith(".py")


def _memory() -> Section:
    found = Section(
        "Memory after many different queries",
        "One process secures texts of which no two are alike; resident memory before and after, and what remains for each.",
        ("queries", "MB before", "MB after", "bytes kept / query", "blocks kept / query"),
    )
    held = json.loads(_python("benchmarks.memory", "50000"))
    found.rows.append((f"{held['queries']:,}", held["before_mb"], held["after_mb"], f"{held['bytes']:.1f}", f"{held['blocks']:.3f}"))
    return found


def _python(module: str, *arguments: str) -> str:
    return subprocess.run([sys.executable, "-m", module, *arguments], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
