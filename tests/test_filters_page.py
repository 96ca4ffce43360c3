"""filters.md: each fragment of datasets.yaml, loaded over the rows of the page, answers each token as the page says."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import pages
from rowseal import Gate, Signer, errors

PAGE = "docs/how-to/filters.md"
SECTIONS = (pages.ROOT / PAGE).read_text(encoding="utf-8").split("\n## ")[1:]
TABLE = re.compile(r"^\| (signed for|`parameters`)[^|]*? ?(?:`(\w+)` )?\| `([^|]+)` \|\n\|---\|---\|\n((?:\|.*\|\n)+)", re.MULTILINE)
KEYS = "tokens: [{profile: vizzly, keys: [{id: test, public_key_file: vizzly-public.pem}]}]\n"
OWN = [[{"field": "tenant", "op": "=", "value": 1}]]


@dataclass(frozen=True)
class Row:
    """One line of a table: under this fragment a token with these filters and parameters asks, and this comes of it."""

    fragment: str
    dataset: str
    filters: Any
    parameters: dict[str, Any]
    sql: str
    expected: str


def _rows() -> Iterator[tuple[str, Row]]:
    for section in SECTIONS:
        title = section.partition("\n")[0]
        fragment = re.search(r"^```yaml\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
        for kind, dataset, sql, lines in TABLE.findall(section):
            assert fragment is not None
            for number, line in enumerate(lines.splitlines(), 1):
                signed, expected = (cell.strip().strip("`") for cell in line.strip("|").rsplit("|", 1))
                given = None if signed == "nothing" else json.loads(signed)
                filters, parameters = (given, {}) if kind == "signed for" else (OWN, given)
                yield f"{title} {number}", Row(fragment[1], dataset or "orders", filters, parameters, sql, expected)


ROWS = list(_rows())


def _claims(row: Row, catalog: list[str]) -> dict[str, Any]:
    filters = {} if row.filters is None else {row.dataset: row.filters}
    return {"user_reference": "u", "project_id": "prj_1", "data_set_ids": catalog, "secure_filters": filters, "parameters": row.parameters}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's database, and a key."""
    made = tmp_path_factory.mktemp("filters")
    (tables,) = (fence.text for fence in pages.fences(PAGE) if fence.language == "sql")
    with closing(sqlite3.connect(made / "data.db")) as database:
        database.executescript(tables)
    pages.run("rowseal keys create", made)
    return made


@pytest.mark.parametrize("row", [row for _, row in ROWS], ids=[name for name, _ in ROWS])
def test_a_token_gets_the_rows_of_the_page_or_its_refusal(row: Row, folder: Path) -> None:
    """Every line of every table of the page."""
    keys = "" if "tokens:" in row.fragment else KEYS
    (folder / "datasets.yaml").write_text(f"version: 1\ndatabase: sqlite:///data.db\n{keys}{row.fragment}")
    gate = Gate.from_yaml(folder / "datasets.yaml")
    signer = Signer((folder / "vizzly-private.pem").read_bytes())
    try:
        token = signer.generate_tokens(**_claims(row, [name for catalog in gate.catalogs.values() for name in catalog.datasets]))["dataAccessToken"]
        result = gate.verify(token).execute(row.sql)
        answered = ", ".join(str(each[0]) for each in sorted(result.rows))
        assert all(len(each) == 1 for each in result.rows)
    except errors.Refused as refusal:
        answered = refusal.code
    finally:
        gate.close()
    assert answered == row.expected


def test_every_fragment_has_a_table_that_is_asked() -> None:
    """No rule of the page is only said."""
    fragments = [fence.text for fence in pages.fences(PAGE) if fence.language == "yaml"]
    assert set(fragments) == {row.fragment for _, row in ROWS}
    assert len(ROWS) > 25
    assert {"guard_unmet", "filter_required", "claim_required", "column_unknown", ""} <= {row.expected for _, row in ROWS}
