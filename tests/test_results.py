"""What a value becomes in each form of an answer, and which form a request gets (docs/how-to/results.md)."""

from __future__ import annotations

import csv
import io
import json
import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowseal.engine import Result, to_arrow, to_csv, to_json, to_ndjson
from rowseal.engine.formats import ArrowWriter, CsvWriter, LinesWriter
from rowseal.errors import BudgetExceeded, EngineFailed, QueryRefused
from rowseal.http import accept
from rowseal.http.accept import FORMATS, JSON, accepted

# Column by column: a value, what CSV makes of it, and its type in Arrow.
VALUES: dict[str, tuple[object, str, pa.DataType]] = {
    "whole": (-5, "-5", pa.int64()),
    "large": (2**63, "9223372036854775808", pa.decimal128(38, 0)),
    "double": (-0.5, "-0.5", pa.float64()),
    "exact": (Decimal("-12345678901234567890.10"), "-12345678901234567890.10", pa.decimal128(38, 2)),
    "text": ('å,"b"\r\n', '"å,""b""\r\n"', pa.string()),
    "empty": ("", '""', pa.string()),
    "truth": (True, "true", pa.bool_()),
    "nothing": (None, "", pa.null()),
    "day": (date(2026, 2, 28), "2026-02-28", pa.date32()),
    "moment": (datetime(2026, 2, 28, 12, 30, tzinfo=UTC), "2026-02-28T12:30:00Z", pa.timestamp("us", tz="UTC")),
    "local": (datetime(2026, 2, 28, 12, 30, 0, 500000), "2026-02-28T12:30:00.500000", pa.timestamp("us")),  # noqa: DTZ001 -- the type has no zone
    "hour": (time(12, 30), "12:30:00", pa.time64("us")),
    "id": (uuid.UUID(int=5), '"00000000-0000-0000-0000-000000000005"', pa.string()),
    "bytes": (b"\xf8\x00", '"\'+AA="', pa.binary()),
    "list": ([1, Decimal("1.50"), None], '"[1,1.50,null]"', pa.string()),
    "object": ({"a": [True]}, '"{""a"":[true]}"', pa.string()),
}
EVERY = Result(tuple(VALUES), [tuple(value for value, _, _ in VALUES.values()), (None,) * len(VALUES)], truncated=False)


def arrow(content: bytes) -> pa.Table:
    return pa.ipc.open_stream(content).read_all()


# --- values ----------------------------------------------------------------------------------------------------------------------------------


def test_lines_of_json_hold_the_same_as_json() -> None:
    head, *rows, tail = to_ndjson(EVERY).split(b"\n")[:-1]
    assert {**json.loads(head), "rows": [json.loads(row, parse_float=Decimal) for row in rows], **json.loads(tail)} == json.loads(
        to_json(EVERY, types=True), parse_float=Decimal
    )
    assert tail == b'{"truncated":false}'


def test_csv_writes_each_type_in_one_way() -> None:
    header, rest = to_csv(EVERY).decode().split("\r\n", 1)
    assert header == ",".join(f'"{name}"' for name in VALUES)
    assert rest == ",".join(written for _, written, _ in VALUES.values()) + "\r\n" + "," * (len(VALUES) - 1) + "\r\n"


def test_arrow_keeps_each_type_and_every_digit() -> None:
    table = arrow(to_arrow(EVERY))
    assert dict(zip(table.schema.names, table.schema.types, strict=True)) == {name: kind for name, (_, _, kind) in VALUES.items()}
    as_text = {"id": "00000000-0000-0000-0000-000000000005", "list": "[1,1.50,null]", "object": '{"a":[true]}'}
    assert table.to_pylist() == [{name: as_text.get(name, value) for name, (value, _, _) in VALUES.items()}, dict.fromkeys(VALUES)]


def test_an_answer_without_rows_has_its_columns_in_every_form() -> None:
    none = Result(("a", "b"), [], truncated=False, declared=("string", "date"))
    assert to_ndjson(none) == b'{"columns":[{"name":"a","type":"string"},{"name":"b","type":"date"}]}\n{"truncated":false}\n'
    assert to_csv(none) == b'"a","b"\r\n'
    assert arrow(to_arrow(none)).schema == pa.schema([("a", pa.string()), ("b", pa.date32())])


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), Decimal("NaN"), Decimal("-Infinity"), Decimal("sNaN")])
def test_what_is_no_number_is_nothing(value: Any) -> None:
    result = Result(("a", "NaN"), [(value, "NaN"), (1, "Infinity")], truncated=False)
    assert [json.loads(line) for line in to_ndjson(result).split(b"\n")[1:3]] == json.loads(to_json(result))["rows"] == [[None, "NaN"], [1, "Infinity"]]
    assert to_csv(result) == b'"a","NaN"\r\n,"NaN"\r\n1,"Infinity"\r\n'
    if isinstance(value, Decimal):
        assert arrow(to_arrow(result))["a"].to_pylist() == [None, 1]


@pytest.mark.parametrize("value", [object(), [object()], {"a": object()}], ids=["type", "in a list", "in an object"])
@pytest.mark.parametrize("write", [to_ndjson, to_csv, to_arrow])
def test_what_a_form_cannot_carry_refuses_the_answer(write: Any, value: object) -> None:
    with pytest.raises(EngineFailed) as caught:
        write(Result(("a",), [(value,)], truncated=False))
    assert "cast" in caught.value.hint
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "values",
    [(1, "a"), (2**53 + 1, 0.5), (date(2026, 1, 1), "infinity"), (datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC))],  # noqa: DTZ001
)
def test_arrow_has_one_type_for_a_column_or_none(values: tuple[object, object]) -> None:
    with pytest.raises(EngineFailed):
        to_arrow(Result(("a",), [(value,) for value in values], truncated=False))


def test_what_a_database_declares_and_a_value_is_not_ends_an_arrow_stream_and_is_not_told() -> None:
    writer = ArrowWriter()
    writer.begin(("a",), ("date",), ("date32",))
    with pytest.raises(EngineFailed) as caught:
        writer.rows([("TOPSECRET",)])
    assert "TOPSECRET" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"


@pytest.mark.parametrize("write", [to_csv, to_arrow])
def test_what_cannot_say_that_it_was_cut_never_is(write: Any) -> None:
    with pytest.raises(BudgetExceeded, match="result_too_large"):
        write(Result(("a",), [(1,)], truncated=True))
    assert to_ndjson(Result(("a",), [(1,)], truncated=True)).endswith(b'{"truncated":true}\n')


@pytest.mark.parametrize("writer", [LinesWriter, CsvWriter, ArrowWriter])
def test_the_parts_of_an_answer_are_the_answer(writer: Any) -> None:
    rows = [(number, f"r{number}") for number in range(10)]
    exact = ("int64", "string")

    def written(*ends: int) -> bytes:
        one = writer()
        parts = [one.rows(rows[start:end]) for start, end in pairwise((0, *ends))]
        return one.begin(("n", "r"), ("number", "string"), exact) + b"".join(parts) + one.end(truncated=False) if writer is not ArrowWriter else b""

    def in_arrow(*ends: int) -> pa.Table:
        one = ArrowWriter()
        begun = one.begin(("n", "r"), ("number", "string"), exact)
        return arrow(begun + b"".join([one.rows(rows[start:end]) for start, end in pairwise((0, *ends))]) + one.end(truncated=False))

    assert written(10) == written(3, 3, 10)
    if writer is ArrowWriter:
        assert in_arrow(10).to_pylist() == in_arrow(3, 3, 10).to_pylist() == [{"n": n, "r": r} for n, r in rows]


# --- CSV and spreadsheets --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("x")', "＝1", "-infinity", "'quoted"])
def test_no_text_is_a_formula(text: str) -> None:
    cell = to_csv(Result((text,), [(text,)], truncated=False)).decode()
    assert cell.split("\r\n")[0].startswith("\"'") or "\r" in text
    assert next(iter(csv.reader(io.StringIO(cell, newline="")))) == [f"'{text}"]


@pytest.mark.parametrize("number", [-1, -1.5, Decimal("-1.50"), -(10**30)])
def test_a_negative_number_stays_a_number(number: object) -> None:
    assert to_csv(Result(("n",), [(number,)], truncated=False)) == f'"n"\r\n{number}\r\n'.encode().replace(b"-1.50", str(number).encode())


def test_null_and_an_empty_text_differ_but_in_a_single_column() -> None:
    assert to_csv(Result(("a", "b"), [(None, "")], truncated=False)) == b'"a","b"\r\n,""\r\n'
    assert to_csv(Result(("a",), [(None,), ("",)], truncated=False)) == b'"a"\r\n""\r\n""\r\n'  # an empty line is no record to most readers


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(["=1", "'", "''=", "-", "\r\n", '"', ",", "@x"])


@given(st.lists(st.tuples(_TEXT, st.none() | _TEXT, st.integers()), max_size=6), st.lists(_TEXT, min_size=3, max_size=3))
def test_csv_comes_back_from_python_s_own_reader(rows: list[tuple[str, str | None, int]], names: list[str]) -> None:
    """One `'` taken from the beginning of what has it, as the documentation says."""
    read = list(csv.reader(io.StringIO(to_csv(Result(tuple(names), rows, truncated=False)).decode(), newline=""), strict=True))
    assert [[cell.removeprefix("'") for cell in row] for row in read] == [names, *[[a, b or "", str(n)] for a, b, n in rows]]
    assert not any(cell[:1] in set("=+-@\t\r\n") for row in read for cell in row[:2] if cell)


@given(st.lists(st.tuples(_TEXT, st.none() | st.integers() | st.floats(allow_nan=False) | st.decimals(allow_nan=False, allow_infinity=False)), max_size=6))
def test_every_form_says_the_same(rows: list[tuple[str, Any]]) -> None:
    result = Result(("t", "n"), rows, truncated=False)
    said = json.loads(to_json(result), parse_float=Decimal)["rows"]
    lines = [json.loads(line, parse_float=Decimal) for line in to_ndjson(result).split(b"\n")[1:-2]]
    cells = [list(row) for row in csv.reader(io.StringIO(to_csv(result).decode(), newline=""))][1:]
    assert lines == said
    assert [[cell[0].removeprefix("'"), cell[1] and Decimal(cell[1])] for cell in cells] == [[text, "" if number is None else number] for text, number in said]


# --- which form ------------------------------------------------------------------------------------------------------------------------------

LINES, CSV, ARROW = FORMATS[1:]


@pytest.mark.parametrize(
    ("accept_", "form"),
    [
        ([], JSON),
        (["*/*"], JSON),
        (["application/*"], JSON),
        (["text/html, application/xhtml+xml, */*;q=0.8"], JSON),
        (["application/json; charset=utf-8"], JSON),
        (["text/csv"], CSV),
        (['TEXT/CSV ; Charset="UTF-8" ; header=present'], CSV),
        (["text/*"], CSV),
        (["text/csv", "application/json"], JSON),
        (["text/csv, application/json;q=0.9"], CSV),
        (["application/json;q=0.1", "application/x-ndjson;q=0.2"], LINES),
        (["application/json;q=0, */*"], LINES),
        (["application/*;q=0.5, application/x-ndjson;q=0.1, application/json;q=0.2"], ARROW),
        (["application/vnd.apache.arrow.stream"], ARROW),
        (["text/csv;q=2, application/json;q=0.5"], JSON),
        (["nonsense, text/csv"], CSV),
    ],
)
def test_the_preferred_form_is_the_answer_s(accept_: list[str], form: accept.Format) -> None:
    assert accepted(accept_) is form


@pytest.mark.parametrize(
    "accept_",
    [
        "text/html",
        "application/json;q=0",
        "*/*;q=0",
        "text/csv;header=absent",
        "text/csv;charset=latin-1",
        "csv",
        ",",
        "application/json;q=x",
        "a/b," * 300 + "*/*",
    ],
)
def test_another_form_is_refused_with_those_that_there_are(accept_: str) -> None:
    with pytest.raises(QueryRefused, match="format_refused") as caught:
        accepted([accept_])
    assert caught.value.status == 406
    assert all(each.media_type in caught.value.hint for each in FORMATS)


def test_without_pyarrow_arrow_is_refused_with_a_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept, "ARROW", False)
    monkeypatch.setattr(accept, "FORMATS", FORMATS[:3])
    accept._chosen.cache_clear()
    try:
        with pytest.raises(QueryRefused) as caught:
            accepted(["application/vnd.apache.arrow.stream"])
        assert "rowseal[arrow]" in caught.value.hint
        assert accepted(["application/vnd.apache.arrow.stream, */*;q=0.1"]) is JSON
    finally:
        accept._chosen.cache_clear()
