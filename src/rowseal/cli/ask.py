"""`explain` and `query`: a query under a token is secured and shown, or run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, time
from decimal import Decimal
from typing import Final

from rowseal.cli.terminal import OK, Options, Terminal, readable
from rowseal.configuration import load
from rowseal.engine import Result, to_json
from rowseal.errors import Refused
from rowseal.explain import Origin
from rowseal.gate import Access, Gate
from rowseal.sql import Form

__all__ = ["explain", "query", "secured_lines", "table_lines"]

_FORMS: Final[Mapping[Form, str]] = {
    "plain": "not fenced: nothing in the query can raise, so the planner may merge",
    "case": "not fenced: what could raise in the query asks first whether the row is permitted",
    "fenced": "fenced: filtered before anything else is computed",
}
_PARTS: Final = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[(),]|[^'"(),]+|.""", re.DOTALL)


def explain(options: Options, terminal: Terminal) -> int:
    """`explain`: secure the query and show what the database would get; nothing runs."""
    sql = terminal.text(options.sql, "the SQL")
    with _opened(options, terminal) as gate:
        try:
            explained = _access(gate, options, terminal).explain(sql, terminal.json(options.params, "--params"), connection=options.connection)
        except Refused as refusal:
            return terminal.refuse(refusal, as_json=options.json, sql=sql)
        several = len(gate.catalogs)
    if options.json:
        terminal.facts(explained)
        return OK
    reads = explained["reads"]
    width = max((len(read["dataset"]) for read in reads), default=0)
    for read in reads:
        terminal.say(f"reads  {read['dataset']:{width}}  through {read['guard']}, {_FORMS[read['form']]}")
        for line in _origins(read["filters"]):
            terminal.say(f"       {line}")
        if not read["filters"]:
            terminal.say("       every row: the dataset is public, or the key is for development")
    if not reads:
        terminal.say("reads  no dataset")
    terminal.say(f"\nsecured for {explained['dialect']}{'' if several == 1 else ' on ' + explained['connection']}:")
    for line in secured_lines(explained["sql"]):
        terminal.say(f"  {line}")
    if explained["binds"]:
        terminal.say("\nbinds (their values are withheld):")
    for bind in explained["binds"]:
        terminal.say(f"  :{bind['name']}  {bind['type']}")
    return OK


def query(options: Options, terminal: Terminal) -> int:
    """`query`: run the query and show the permitted rows."""
    sql = terminal.text(options.sql, "the SQL")
    with _opened(options, terminal) as gate:
        try:
            result = _access(gate, options, terminal).execute(sql, terminal.json(options.params, "--params"), connection=options.connection)
            written = to_json(result) if options.json else b""
        except Refused as refusal:
            return terminal.refuse(refusal, as_json=options.json, sql=sql)
    if options.json:
        terminal.say(written.decode("utf-8", "surrogatepass"))
        return OK
    if not (terminal.out.isatty() and _rich_table(result, terminal)):
        for line in table_lines(result):
            terminal.say(line)
    terminal.note(f"{len(result.rows)} row{'' if len(result.rows) == 1 else 's'}")
    if result.truncated:
        terminal.note(f"the answer is cut: there are more rows than the {len(result.rows)} that `limits:` permits")
    return OK


@contextmanager
def _opened(options: Options, terminal: Terminal) -> Iterator[Gate]:
    gate = Gate(load(options.config), clock=terminal.clock)
    try:
        yield gate
    finally:
        gate.close()


def _access(gate: Gate, options: Options, terminal: Terminal) -> Access:
    # `from_body`: how the token travels is no business of a command line, so the larger of the two bounds holds
    return gate.verify(terminal.token(options.token), from_body=True)


def secured_lines(sql: str) -> list[str]:
    """The secured text as it is, with a line for each guard, each CTE and the body. Only blanks between those are replaced."""
    if not sql.startswith("WITH "):
        return [sql]
    lines: list[str] = []
    depth, line, closed = 0, "", False
    for found in _PARTS.finditer(sql):
        part = found[0]
        if closed and part != ",":  # after a CTE comes a comma, or the body
            return [*lines, line, sql[found.start() :].lstrip()]
        depth += (part == "(") - (part == ")")
        line += part if line else part.lstrip()
        if depth == 0 and part == ",":
            lines, line, closed = [*lines, line], "", False
        closed = depth == 0 and part == ")" and " AS " in line
    return [*lines, line]


def _origins(filters: Sequence[Origin]) -> Iterator[str]:
    """A line for each filter: where it was written, and what it says."""
    for each in filters:
        if "through" in each:
            pairs = ", ".join(f"{own} = {theirs}" for own, theirs in each["on"].items())
            yield f"{each['origin']}  where a row of `{each['through']}` is permitted ({pairs}), by"
            yield from (f"  {line}" for line in _origins(each["filters"]))
        else:
            yield " ".join((f"{each['origin']} ", each["field"], each["op"], *(f":{name}" for name in each["binds"])))


def _cell(value: object) -> str:
    """A value as a person reads it, on one line."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    return readable(value.isoformat() if isinstance(value, date | time) else str(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _right(result: Result) -> list[bool]:
    """Which columns hold numbers only, and stand on the right."""
    return [
        any(_is_number(row[at]) for row in result.rows) and all(row[at] is None or _is_number(row[at]) for row in result.rows)
        for at in range(len(result.columns))
    ]


def table_lines(result: Result) -> Iterator[str]:
    """Aligned text without a frame, for pipes and for terminals without `rich`."""
    cells = [[readable(name) for name in result.columns], *([_cell(value) for value in row] for row in result.rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(result.columns))]
    cells.insert(1, ["-" * width for width in widths])
    right = _right(result)
    for row in cells:
        yield "  ".join(cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in zip(row, widths, right, strict=True)).rstrip()


def _rich_table(result: Result, terminal: Terminal) -> bool:
    """Whether `rich` is installed; then the table is printed by it."""
    try:
        from rich.console import Console  # noqa: PLC0415 -- an extra
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415
    except ImportError:
        return False
    table = Table()
    for name, to_right in zip(result.columns, _right(result), strict=True):
        table.add_column(Text(readable(name)), justify="right" if to_right else "left", overflow="fold")
    for row in result.rows:
        table.add_row(*(Text(_cell(value), style="dim" if value is None else "") for value in row))
    Console(file=terminal.out).print(table)
    return True
