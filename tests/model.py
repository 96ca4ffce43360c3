"""Which rows a bearer may read, worked out in plain Python: the oracle's own reading of filters, sharing nothing with the product.

`visible` gives V, the relations that the contract promises; `plant` adds forbidden rows that hold the literals of a query;
`twin` changes forbidden rows only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeAlias

from derived import is_derived, written_out
from world import Bearer, Column, Table, Value

__all__ = ["Permission", "literals", "permission", "plant", "twin", "visible"]

Row: TypeAlias = tuple[Value, ...]
# dataset id -> the test that says whether a row of its table is permitted
Permission: TypeAlias = Mapping[str, Callable[[Row], bool]]


class _MisfitError(ValueError):
    """A filter names no field of the dataset, or its value or operator is of another type: the dataset is closed."""


def _number(raw: Any) -> Decimal:
    if isinstance(raw, bool) or not isinstance(raw, int | float | Decimal):
        raise _MisfitError
    return Decimal(str(raw))


def _exactly(kind: type) -> Callable[[Any], Any]:
    def read(raw: Any) -> Any:
        if type(raw) is not kind:
            raise _MisfitError
        return raw

    return read


def _moment(raw: Any) -> datetime:
    moment = datetime.fromisoformat(raw)
    if moment.tzinfo is None:
        raise _MisfitError
    return moment.astimezone(UTC).replace(tzinfo=None)


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "integer": _number,
    "decimal": _number,
    "numeric": _number,
    "float": _number,
    "text": _exactly(str),
    "boolean": _exactly(bool),
    "date": date.fromisoformat,
    "date_time": _moment,
}
_TEXT_ONLY: Final = frozenset({"starts_with", "ends_with", "contains_substring", "does_not_contain_substring"})
_TESTS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": lambda cell, value: cell == value,
    "!=": lambda cell, value: cell != value,
    ">": lambda cell, value: cell > value,
    ">=": lambda cell, value: cell >= value,
    "<": lambda cell, value: cell < value,
    "<=": lambda cell, value: cell <= value,
    "is_one_of": lambda cell, values: cell in values,
    "is_not_one_of": lambda cell, values: cell not in values,
    "starts_with": lambda cell, value: cell.startswith(value),
    "ends_with": lambda cell, value: cell.endswith(value),
    "contains_substring": lambda cell, value: value in cell,
    "does_not_contain_substring": lambda cell, value: value not in cell,
    "between": lambda cell, values: values[0] <= cell <= values[1],
}


def _column_of(dataset: Mapping[str, Any], reference: str) -> str:
    for entry in dataset["fields"]:
        if reference in {entry["id"], entry.get("name")}:
            return str(entry.get("column", entry["id"]))
    raise _MisfitError


def _condition(dataset: Mapping[str, Any], table: Table, raw: Mapping[str, Any]) -> Callable[[Row], bool]:
    position = table.position(_column_of(dataset, raw["field"]))
    operator = raw["op"]
    if operator == "is_null":
        return lambda row: row[position] is None
    if operator == "is_not_null":
        return lambda row: row[position] is not None
    kind = table.columns[position].kind
    if operator in _TEXT_ONLY and kind != "text":
        raise _MisfitError
    read, test = _READERS[kind], _TESTS[operator]
    value: Any = [read(each) for each in raw["value"]] if isinstance(raw["value"], list) else read(raw["value"])
    # NULL is neither equal nor unequal to anything, nor in nor out of any list.
    return lambda row: row[position] is not None and test(row[position], value)


def _claim(bearer: Bearer, path: str) -> Any:
    found: Any = {"parameters": bearer.parameters}
    for step in path.split("."):
        found = found[step]
    return found


def _through(own: Sequence[int], theirs: Sequence[int], parents: Iterable[Row]) -> Callable[[Row], bool]:
    keys = {tuple(row[position] for position in theirs) for row in parents}
    keys = {key for key in keys if None not in key}
    return lambda row: tuple(row[position] for position in own) in keys


def permission(configuration: Mapping[str, Any], tables: Sequence[Table], bearer: Bearer) -> Permission:
    """A test of rows for each dataset that the token names and whose rows it restricts (or need not restrict)."""
    configuration, tables = written_out(configuration, tables)
    datasets = {each["id"]: each for each in configuration["datasets"]}
    by_name = {each.name: each for each in tables}

    def tests(identity: str) -> Callable[[Row], bool] | None:
        dataset = datasets[identity]
        table = by_name[dataset["table"]]
        groups = bearer.filters.get(identity) or []
        if groups and isinstance(groups[0], Mapping):
            groups = [groups]  # a flat list is one group
        own = [[_condition(dataset, table, raw) for raw in group] for group in groups]
        always: list[Callable[[Row], bool]] = []
        for entry in dataset.get("secure_filters", []):
            if "through" in entry:
                parent = datasets[entry["through"]]
                allowed = tests(entry["through"])
                if allowed is None:
                    return None
                parents = by_name[parent["table"]]
                own_key = [table.position(_column_of(dataset, reference)) for reference in entry["on"]]
                their_key = [parents.position(_column_of(parent, reference)) for reference in entry["on"].values()]
                always.append(_through(own_key, their_key, filter(allowed, parents.rows)))
            elif isinstance(entry.get("value"), Mapping):
                try:
                    value = _claim(bearer, entry["value"]["claim"])
                except KeyError:
                    return None
                always.append(_condition(dataset, table, {**entry, "value": value}))
            else:
                always.append(_condition(dataset, table, entry))
        open_anyway = dataset.get("public") or bearer.development or any("through" in entry for entry in dataset.get("secure_filters", []))
        if not own and not open_anyway:
            return None
        return lambda row: (not own or any(all(test(row) for test in group) for group in own)) and all(test(row) for test in always)

    named = [identity for identity in datasets if bearer.datasets == "*" or identity in bearer.datasets]
    found: dict[str, Callable[[Row], bool]] = {}
    for identity in named:
        try:
            test = tests(identity)
        except ValueError:
            continue
        if test is not None:
            found[identity] = test
    return found


def visible(configuration: Mapping[str, Any], tables: Sequence[Table], allowed: Permission) -> tuple[Table, ...]:
    """V: one relation per open dataset, called as queries call it, with the declared visible fields of its permitted rows."""
    configuration, tables = written_out(configuration, tables)
    by_name = {each.name: each for each in tables}
    relations = []
    for dataset in configuration["datasets"]:
        if dataset["id"] not in allowed:
            continue
        table = by_name[dataset["table"]]
        shown = [entry for entry in dataset["fields"] if not entry.get("hidden")]
        positions = [table.position(entry.get("column", entry["id"])) for entry in shown]
        columns = tuple(Column(entry.get("sql_name", entry["id"]), table.columns[position].kind) for entry, position in zip(shown, positions, strict=True))
        rows = tuple(tuple(row[position] for position in positions) for row in table.rows if allowed[dataset["id"]](row))
        relations.append(Table(dataset.get("sql_name", dataset["id"]), columns, rows))
    return tuple(relations)


def _forbidden(configuration: Mapping[str, Any], allowed: Permission, table: Table) -> Callable[[Row], bool]:
    ids = [dataset["id"] for dataset in configuration["datasets"] if not is_derived(dataset) and dataset["table"] == table.name]
    # A table that is no dataset, or not an open one, is forbidden as a whole.
    return lambda row: not any(identity in allowed and allowed[identity](row) for identity in ids)


Edits: TypeAlias = Mapping[int, "Row | None"]  # position in a table -> the row that is there afterwards, if any


def _edited(table: Table, edits: Edits) -> Table:
    rows = dict(enumerate(table.rows)) | dict(edits)
    return replace(table, rows=tuple(row for row in rows.values() if row is not None))


def _unseen(configuration: Mapping[str, Any], tables: Sequence[Table], number: int, edits: Edits, allowed: Permission) -> Edits:
    """As many of the edits of one table as no open dataset shows that is made of other rows. Such a dataset has no row of its own to ask."""
    derived = {**configuration, "datasets": [each for each in configuration["datasets"] if is_derived(each) and each["id"] in allowed]}
    if not derived["datasets"]:
        return edits
    kept: dict[int, Row | None] = {}

    def seen(more: Edits) -> list[tuple[Row, ...]]:
        after = [*tables[:number], _edited(tables[number], kept | dict(more)), *tables[number + 1 :]]
        return [relation.rows for relation in visible(derived, after, allowed)]

    before = seen({})

    def keep(some: list[tuple[int, Row | None]]) -> None:
        if seen(dict(some)) == before:
            kept.update(some)
        elif len(some) > 1:
            keep(some[: len(some) // 2])
            keep(some[len(some) // 2 :])

    keep(list(edits.items()))
    return kept


_LARGEST = 2**63 - 1
# What makes an expression fail or a cast choke, wherever a kind of column can hold it.
_TRAPS: Final[Mapping[str, tuple[Value, ...]]] = {
    "integer": (0, _LARGEST, -_LARGEST - 1),
    "decimal": (Decimal(0), Decimal(-1)),
    "numeric": (Decimal(0), Decimal("1E400")),  # no float holds the second
    "float": (0.0, 1e308, -1e308),
    "text": ("LEAK not a number", "{", "ends in \\", "", "2026-13-45"),
}


def plant(configuration: Mapping[str, Any], tables: Sequence[Table], allowed: Permission, literals: Iterable[int | Decimal | str]) -> tuple[Table, ...]:
    """The tables with a forbidden row for every literal in every column that can hold it, and for every trap."""
    wanted = tuple(dict.fromkeys(literals))
    planted = list(tables)
    for number, table in enumerate(tables):
        forbidden = _forbidden(configuration, allowed, table)
        templates = [row for row in table.rows if forbidden(row)]
        edits: dict[int, Row | None] = {}
        taken = {row[0] for row in table.rows}
        fresh = 50_000
        for position, column in enumerate(table.columns):
            for turn, value in enumerate(_TRAPS.get(column.kind, ()) + tuple(each for each in wanted if _fits(each, column.kind))):
                if not templates:
                    break
                row = list(templates[turn % len(templates)])
                fresh += 1
                row[0] = fresh
                row[position] = value
                if row[0] not in taken and forbidden(tuple(row)):
                    taken.add(row[0])
                    edits[len(table.rows) + len(edits)] = tuple(row)
        planted[number] = _edited(table, _unseen(configuration, planted, number, edits, allowed))
    return tuple(planted)


def _fits(value: int | Decimal | str, kind: str) -> bool:
    if kind == "text":
        return isinstance(value, str)
    if kind == "integer":
        return isinstance(value, int) and -_LARGEST <= value <= _LARGEST
    if kind in {"numeric", "float"}:
        return not isinstance(value, str)
    # The column is numeric(12, 2); a literal with more digits would be rounded on one database and not on the other.
    return kind == "decimal" and not isinstance(value, str) and abs(value) < 10**9 and value == round(Decimal(value), 2)


def twin(configuration: Mapping[str, Any], tables: Sequence[Table], allowed: Permission) -> tuple[Table, ...]:
    """The same permitted rows in the same order; of the forbidden ones a third gone, the others changed, and new ones added."""
    changed = list(tables)
    for number, table in enumerate(tables):
        forbidden = _forbidden(configuration, allowed, table)
        edits: dict[int, Row | None] = {}
        count = 0
        last: Row | None = None
        for position, row in enumerate(table.rows):
            if not forbidden(row):
                continue
            count += 1
            last = row
            other = _other(row, table)
            if count % 3 == 0:
                edits[position] = None
            elif forbidden(other):
                edits[position] = other
        if last is not None:
            new = [(70_000 + extra, *last[1:]) for extra in range(3)]
            edits |= {len(table.rows) + extra: row for extra, row in enumerate(new) if forbidden(row)}
        changed[number] = _edited(table, _unseen(configuration, changed, number, edits, allowed))
    return tuple(changed)


def _other(row: Row, table: Table) -> Row:
    return (row[0], *(_different(value) for value in row[1:])) if table.columns[0].kind == "integer" else row


def _different(value: Value) -> Value:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float | Decimal):
        return value + 7 if abs(value) < 10**9 else 3
    if isinstance(value, str):
        return value[::-1] + "~"
    if isinstance(value, datetime | date):
        return value + timedelta(days=400)
    return value


_LITERAL = re.compile(r"'((?:[^']|'')*)'|(?<![\w.$:])(\d+(?:\.\d+)?)(?![\w.])")


def literals(sql: str) -> list[int | Decimal | str]:
    """The numbers and texts that the SQL writes out, for forbidden rows that hold them."""
    found: list[int | Decimal | str] = []
    for text, number in _LITERAL.findall(sql):
        if number:
            found.append(Decimal(number) if "." in number else int(number))
        elif text:
            found.append(text.replace("''", "'"))
    return found
