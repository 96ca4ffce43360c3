"""Random secure filters on every database: the rows that come out are those that the model permits, for every operator and odd value.

The random queries ask many things under few filters; here few things are asked under many filters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from databases import Database, parameters
from model import permission, plant, visible
from rowseal.errors import AccessRefused
from rowseal.gate import Gate
from world import CONFIGURATION, TABLES, VIEWS, Bearer, Table, configuration_file, token

EXAMPLES: Final = 120

# Values at and beside those that rows hold. A quarter is exact as a double, so that SQLite, the model and PostgreSQL mean one number.
NUMBERS: Final = (0, 1, 2, -5, 7, 45, 100, 107, 6.5, 6.25, 888.75, 888.5, -1.25, 0.25, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 10**30, 1e300, -0.0)
TEXTS: Final = (
    "EU",
    "eu",
    "E",
    "U",
    " ",
    "login",
    "login ",
    "Login",
    "%",
    "_",
    "50%",
    "x\\y",
    "\\",
    "it's",
    "'",
    "ß",
    "Ève",
    "e",
    "NULL",
    "1",
    "",
    "\u0130",
    "a\nb",
)
DATES: Final = ("2026-01-01", "2026-01-02", "2025-12-31", "2026-02-01", "1999-12-31", "2026-06-02")
MOMENTS: Final = (
    "2026-01-01T08:00:00Z", "2026-01-01T09:00:00+01:00", "2026-01-02T20:00:00Z", "2026-02-01T00:00:00Z", "2026-01-31T23:59:59Z", "2026-01-31T23:59:59.5Z",
    "2026-03-09T00:00:00Z", "2026-03-08T19:00:00-05:00",
)  # fmt: skip
VALUES: Final[Mapping[str, tuple[Any, ...]]] = {"number": NUMBERS, "string": TEXTS, "boolean": (True, False), "date": DATES, "date_time": MOMENTS}
EQUALITY: Final = ("=", "!=", "is_one_of", "is_not_one_of", "is_null", "is_not_null")
ORDER: Final = (">", ">=", "<", "<=", "between")
PIECES: Final = ("starts_with", "ends_with", "contains_substring", "does_not_contain_substring")
OPERATORS: Final[Mapping[str, tuple[str, ...]]] = {
    "number": EQUALITY + ORDER,
    "string": EQUALITY + PIECES,
    "boolean": EQUALITY,
    "date": EQUALITY + ORDER,
    "date_time": EQUALITY + ORDER,
}
ASKED: Final = ("orders", "customers", "order_items", "employees", "events")
# What a column cannot hold or say exactly may close the dataset; nothing else of the pools may.
UNSAYABLE: Final = frozenset({2**63, 10**30, 1e300, "2026-01-31T23:59:59.5Z", ""})
NO_DOUBLES: Final = frozenset({2**53 + 1, 2**63 - 1, -(2**63)})  # no double is written like these


def _conditions(dataset: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(dataset["fields"]).flatmap(lambda entry: st.sampled_from(OPERATORS[entry["type"]]).flatmap(lambda op: _condition(entry, op)))


def _condition(entry: Mapping[str, Any], op: str) -> st.SearchStrategy[dict[str, Any]]:
    values = st.sampled_from(VALUES[entry["type"]])
    if op in PIECES:
        values = values.filter(bool)  # an empty piece is malformed for every field, and nobody signs it
    if op in {"is_null", "is_not_null"}:
        return st.just({"field": entry["id"], "op": op})
    if op == "between":
        values = st.lists(values, min_size=2, max_size=2)
    elif op in {"is_one_of", "is_not_one_of"}:
        values = st.lists(values, min_size=1, max_size=4)
    return values.map(lambda value: {"field": entry["id"], "op": op, "value": value})


def _trees(name: str) -> st.SearchStrategy[list[list[dict[str, Any]]]]:
    dataset = next(each for each in CONFIGURATION["datasets"] if each["id"] == name)
    return st.lists(st.lists(_conditions(dataset), min_size=1, max_size=3), min_size=1, max_size=3)


def _dense() -> tuple[Table, ...]:
    """The world with a row for each value of the pools in each column that can hold it."""
    held = [value for value in (*NUMBERS, *TEXTS) if not isinstance(value, float) and value not in UNSAYABLE | NO_DOUBLES]
    return plant(CONFIGURATION, TABLES, {}, [*held, *(Decimal(value) for value in NUMBERS if isinstance(value, float) and abs(value) < 10**9)])


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory, private: Callable[[str, Path], Database]) -> Iterator[Callable[[str], Gate]]:
    made: dict[str, Gate] = {}

    def get(dialect: str) -> Gate:
        if dialect not in made:
            folder: Path = tmp_path_factory.mktemp(dialect)
            database = private(dialect, folder)
            database.fill(_dense(), VIEWS, analyze=False)
            made[dialect] = Gate.from_yaml(configuration_file(folder, database.url))
        return made[dialect]

    yield get
    for each in made.values():
        each.close()


@pytest.mark.slow
@pytest.mark.parametrize("dialect", parameters())
@pytest.mark.parametrize("name", ASKED)
def test_random_filters_permit_the_rows_that_the_model_permits(name: str, dialect: str, gates: Callable[[str], Gate]) -> None:
    """Every filter of the grammar opens exactly the model's rows, or closes the dataset for a value that its column cannot hold."""
    gate, tables = gates(dialect), _dense()
    opened = 0

    @settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(tree=_trees(name))
    def check(tree: list[list[dict[str, Any]]]) -> None:
        nonlocal opened
        # Items are read through their orders, so these are open too.
        bearer = Bearer(ASKED, {"orders": [[{"field": "id", "op": ">", "value": 0}]], name: tree})
        expected = {table.name: {row[0] for row in table.rows} for table in visible(CONFIGURATION, tables, permission(CONFIGURATION, tables, bearer))}
        rows = _asked(gate, bearer, name)
        if rows is None:
            assert name not in expected or any(_unsayable(condition) for group in tree for condition in group)
        else:
            opened += 1
            assert rows == expected[name]

    check()
    assert opened > EXAMPLES / 2


def _asked(gate: Gate, bearer: Bearer, name: str) -> set[Any] | None:
    """The ids of the rows that the gate gives, or None where a filter does not fit the dataset. Any other refusal fails the test."""
    try:
        return {row[0] for row in gate.verify(token(bearer)).execute(f"SELECT id FROM {name} LIMIT 1000").rows}
    except AccessRefused as refusal:
        if refusal.code != "filter_inapplicable":
            raise
        return None


def _unsayable(condition: Mapping[str, Any]) -> bool:
    value = condition.get("value")
    values = value if isinstance(value, list) else [value]
    return any(each in UNSAYABLE or (condition["field"] == "weight" and each in NO_DOUBLES) for each in values)
