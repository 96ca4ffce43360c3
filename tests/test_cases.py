"""tests/cases/*.md, each on every database it speaks of: the answer that the page shows, and both oracles."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from databases import DIALECTS, parameter, parameters
from harness import Case, MalformedCaseError, cases, ordered, shown
from model import literals, permission, plant, twin, visible
from oracle import Stage, outcome_of
from rowseal.gate import Gate
from world import CONFIGURATION, TABLES, Bearer, configuration_file, token

ALL = cases()


def _planted(case: Case) -> list[Any]:
    """The literals of all cases of the page that share the bearer, so that the databases are filled once for all of them."""
    alike = [each for each in ALL if each.file == case.file and each.bearer == case.bearer and each.configuration == case.configuration]
    return sorted({literal for each in alike for literal in literals(each.sql)}, key=repr)


def _parameters() -> Iterator[Any]:
    for case in ALL:
        for dialect in case.dialects:
            yield parameter(dialect, case, dialect, id=f"{case.id} [{dialect}]")


@pytest.mark.parametrize(("case", "dialect"), list(_parameters()))
def test_case(case: Case, dialect: str, stage: Callable[[str], Stage]) -> None:
    """The page says what the bearer gets; G1, G2, G6 and G10 hold."""
    on = stage(dialect)
    on.set(case.bearer, _planted(case), case.configuration)
    sql = DIALECTS[dialect].respelled(case.sql)
    in_order = ordered(sql, dialect)
    judgement = on.judge(sql, case.params, ordered=in_order)
    assert not judgement.problems
    full = judgement.full
    if case.refused is not None:
        assert full.code == case.refused, full
        return
    assert full.rows is not None, full.refusal
    rows = shown(full.rows)
    assert (rows if in_order else tuple(sorted(rows))) == case.rows
    if case.columns is not None:
        assert full.columns == case.columns
    # A page that V itself cannot answer would prove nothing about meaning.
    assert judgement.model is not None


# One text for every table that is not open: whether it exists, is granted to others, or belongs to the database itself.
CLOSED = ("salaries", "archive", "v_orders", "no_such_table", "customers")


@pytest.mark.parametrize("dialect", parameters())
def test_unknown_and_ungranted_tables_get_the_same_words(dialect: str, stage: Callable[[str], Stage]) -> None:
    """G7: put one closed table's name in place of another's, and the refusal is the same text."""
    on = stage(dialect)
    on.set(Bearer(("orders",), {"orders": [[{"field": "tenant_id", "op": "=", "value": 1}]]}), [])
    told = {}
    for name in (*CLOSED, DIALECTS[dialect].catalog):
        judgement = on.judge(f"SELECT o.id FROM orders AS o JOIN {name} AS x ON x.id = o.id")
        assert not judgement.problems
        told[name] = repr(judgement.full.refusal).replace(name, "…")
    assert len(set(told.values())) == 1, told
    assert "dataset_unknown" in next(iter(told.values()))


@pytest.mark.parametrize("column", ["deleted", "no_such_column", "rowid", "ctid", "iban"])
@pytest.mark.parametrize("place", ["SELECT {} FROM orders", "SELECT id FROM orders WHERE {} IS NULL", "SELECT o.id FROM orders AS o ORDER BY o.{}"])
def test_hidden_and_unknown_columns_get_the_same_words(column: str, place: str, stage: Callable[[str], Stage]) -> None:
    """G7 for columns: a hidden one, a system's one and one that nobody has are told apart by nothing."""
    on = stage("sqlite")
    on.set(Bearer(("orders",), {"orders": [[{"field": "tenant_id", "op": "=", "value": 1}]]}), [])
    refused = on.judge(place.format(column))
    other = on.judge(place.format("x" * len(column)))
    assert not refused.problems
    assert refused.full.code == "column_unknown"
    assert repr(refused.full.refusal).replace(column, "…") == repr(other.full.refusal).replace("x" * len(column), "…")


def test_a_failing_query_is_told_without_the_database_s_words(stage: Callable[[str], Stage]) -> None:
    """G10: what the database says about a value stays in the log."""
    on = stage("sqlite")
    on.set(Bearer(("events",), {"events": [[{"field": "tenant_id", "op": "=", "value": 1}]]}), [])
    judgement = on.judge("SELECT json_extract(kind, '$') AS k FROM events")
    assert judgement.full.code in {"query_failed", "function_refused"}
    assert "malformed" not in repr(judgement.full.refusal)
    assert "login" not in repr(judgement.full.refusal)


@pytest.mark.parametrize(
    "filters",
    [
        [{"field": "tenant_id", "op": "=", "value": 1}],
        [{"field": "note", "op": "=", "value": "x"}],
        [{"field": "note", "op": "contains_substring", "value": "x"}],
    ],
    ids=["tenant", "equal text", "substring"],
)
@pytest.mark.parametrize(
    "sql", ["SELECT id FROM notes", "SELECT id FROM notes WHERE note > 'a'", "SELECT id, UPPER(note) AS u FROM notes WHERE LENGTH(note) < 5"]
)
def test_the_size_of_a_forbidden_value_changes_nothing(filters: list[dict[str, Any]], sql: str, tmp_path: Path) -> None:
    """G2: a value larger than an answer may be, in a row that the bearer may not read, is neither refused nor noticed."""
    fields = [{"id": "id", "type": "number"}, {"id": "tenant_id", "type": "number"}, {"id": "note", "type": "string"}]
    configuration = {"version": 1, "datasets": [{"id": "notes", "table": "notes", "fields": fields}], "limits": {"result_bytes": 1_000_000}}
    outcomes = []
    for variant, forbidden in (("full", "y" * 3_000_000), ("twin", "y")):
        with closing(sqlite3.connect(tmp_path / f"{variant}.db", isolation_level=None)) as connection:
            connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, tenant_id INTEGER, note TEXT)")
            connection.executemany("INSERT INTO notes VALUES (?, ?, ?)", [(1, 1, "x"), (2, 2, forbidden)])
        (tmp_path / variant).mkdir()
        gate = Gate.from_yaml(configuration_file(tmp_path / variant, f"sqlite:///{tmp_path / variant}.db", configuration))
        outcomes.append(outcome_of(gate, token(Bearer(("notes",), {"notes": [filters]})), sql))
        gate.close()
    assert outcomes[0] == outcomes[1]


# The oracle's own parts: they must be able to say no.


def test_the_model_and_its_twin_differ_in_forbidden_rows_only() -> None:
    """The twin has the same permitted rows, and not one forbidden row of the planted kind is left as it was."""
    bearer = Bearer(("orders", "order_items"), {"orders": [[{"field": "tenant_id", "op": "=", "value": 1}]]})
    allowed = permission(CONFIGURATION, TABLES, bearer)
    full = plant(CONFIGURATION, TABLES, allowed, [107, "x"])
    other = twin(CONFIGURATION, full, allowed)
    assert visible(CONFIGURATION, full, allowed) == visible(CONFIGURATION, other, permission(CONFIGURATION, other, bearer))
    for before, after in zip(full, other, strict=True):
        if before.name in {"orders", "order_items", "salaries"}:
            assert set(before.rows) != set(after.rows), before.name


def test_planting_puts_each_literal_into_a_forbidden_row() -> None:
    """For every literal there is a row that holds it and that the bearer may not see."""
    bearer = Bearer(("orders",), {"orders": [[{"field": "tenant_id", "op": "=", "value": 1}]]})
    allowed = permission(CONFIGURATION, TABLES, bearer)
    orders = next(table for table in plant(CONFIGURATION, TABLES, allowed, [777777, "needle"]) if table.name == "orders")
    for position, value in ((5, 777777), (4, "needle"), (7, "needle"), (2, 777777)):
        holders = [row for row in orders.rows if row[position] == value]
        assert holders
        assert not any(allowed["orders"](row) for row in holders)


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT 1 / (amount - 999.5) FROM orders WHERE note = 'it''s'", [1, "999.5", "it's"]),
        ("SELECT o1.id, x2 FROM t3", []),
        ("SELECT '' AS a, 'b' AS c", ["b"]),
    ],
)
def test_literals_are_found_where_they_stand(sql: str, found: list[Any]) -> None:
    """Numbers and texts, not digits inside names."""
    assert [value if isinstance(value, int) else str(value) for value in literals(sql)] == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# A\n\n```sql ask\nSELECT 1\n```\n", "write `rows` or `refused`"),
        ("# A\n\n```sql ask\nSELECT 1\n```\n\n```rows\n1\n```\n", "no grant"),
        ("# A\n\n```rows\n1\n```\n", "without an `ask`"),
        ("# A\n\n```python\n1\n```\n", "a fence that is none of"),
        ("# A\n\n```rows\n1\n", "not closed"),
        ("# A (Oracle only)\n", "no database that is tested"),
        ("# A (not SQLIte)\n", "no database that is tested"),
    ],
)
def test_a_malformed_page_is_refused(text: str, words: str, tmp_path: Path) -> None:
    """A case that cannot be read fails the run; it is never passed over."""
    (tmp_path / "page.md").write_text(text)
    with pytest.raises(MalformedCaseError, match=words):
        cases(tmp_path)
