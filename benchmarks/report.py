"""The sections on a terminal, as JSON, and as docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Cell, Section

__all__ = ["as_json", "facts", "print_table", "write_page"]

_PAGE: Final = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_HEAD: Final = """\
# What rowseal costs

`make bench` measures this in one run, under two minutes, on the machine it runs on; `python -m benchmarks --write` writes this page.
Compare the ratios, not the microseconds: variants that stand side by side took turns in the same process, in changing order, and the numbers are
medians of CPU time. On a busy machine all of them are higher.
"""


def facts() -> dict[str, str]:
    """The machine and the versions that the numbers belong to."""
    names = ("sqlglot", "sqlglotc", "SQLAlchemy", "PyJWT", "cryptography", "starlette", "uvicorn", "psycopg")
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": f"{_processor()}, {os.cpu_count()} cores, load {busy:.1f} at the start",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in names),
        "SQLite": sqlite3.sqlite_version,
    }


def print_table(section: Section) -> None:
    """One section, on the terminal."""
    table = Table(title=section.title, title_justify="left", caption=section.about, caption_justify="left")
    for index, column in enumerate(section.columns):
        table.add_column(column, justify=_justify(section, index))
    for row in section.rows:
        table.add_row(*map(_shown, row))
    console = Console(width=None if sys.stdout.isatty() else 170)
    console.print(table)
    console.print()


def as_json(machine: dict[str, str], sections: Sequence[Section]) -> str:
    """Everything, with each row as an object."""
    tables = [{"title": each.title, "about": each.about, "rows": [dict(zip(each.columns, row, strict=True)) for row in each.rows]} for each in sections]
    return json.dumps({"machine": machine, "sections": tables}, indent=1)


def write_page(machine: dict[str, str], sections: Sequence[Section]) -> None:
    """docs/benchmarks.md anew."""
    lines = [_HEAD, "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in machine.items()), ""]
    for section in sections:
        aligned = ("---:" if _justify(section, index) == "right" else "---" for index in range(len(section.columns)))
        lines += [f"## {section.title}", "", section.about, "", f"| {' | '.join(section.columns)} |", f"|{'|'.join(aligned)}|"]
        lines += [f"| {' | '.join(map(_shown, row))} |" for row in section.rows]
        lines.append("")
    _PAGE.write_text("\n".join(lines).rstrip() + "\n")


def _justify(section: Section, index: int) -> Literal["left", "right"]:
    cells = [row[index] for row in section.rows if row[index] is not None]
    numbers = [isinstance(cell, float) or (isinstance(cell, str) and cell[:1].isdigit()) for cell in cells]
    return "right" if cells and all(numbers) else "left"


def _shown(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.1f}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
