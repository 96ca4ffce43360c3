"""Arrow has the types that each database declares, and in every form the values are those of JSON (docs/how-to/results.md)."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from databases import Database as Place
from rowseal import sql
from rowseal.catalog import Limits
from rowseal.engine import Database, Stop
from rowseal.engine.formats import ArrowWriter, LinesWriter, Writer
from rowseal.engine.testimony import Heard
from rowseal.sql import SecuredQuery

# On each database: an expression, and what Arrow makes of it.
TYPES: dict[str, dict[str, pa.DataType]] = {
    "postgres": {
        "-5::int2": pa.int16(),
        "5::int4": pa.int32(),
        "9223372036854775807::int8": pa.int64(),
        "0.5::float4": pa.float32(),
        "0.1::float8": pa.float64(),
        "CAST(-1234567890.10 AS numeric(12, 2))": pa.decimal128(12, 2),
        "12345678901234567890123456789012345678901234567890.5::numeric(60, 1)": pa.decimal256(60, 1),
        "1.50::numeric": pa.string(),
        "sum(1.5)": pa.string(),
        "true": pa.bool_(),
        "'=å'::text": pa.string(),
        "'12345678-1234-5678-1234-567812345678'::uuid": pa.string(),
        "date '2026-02-28'": pa.date32(),
        "time '12:30'": pa.time64("us"),
        "timestamp '2026-02-28 12:30:00.5'": pa.timestamp("us"),
        "timestamptz '2026-02-28 12:30+02'": pa.timestamp("us", tz="UTC"),
        r"'\xf800'::bytea": pa.binary(),
        """'{"a": [1.10]}'::jsonb""": pa.string(),
        "array[1, 2]": pa.string(),
        "interval '1 day'": pa.string(),
    },
    "mariadb": {
        "5": pa.int64(),
        "CAST(18446744073709551615 AS UNSIGNED)": pa.uint64(),
        "CAST('-1234567890.10' AS DECIMAL(12, 2))": pa.decimal128(38, 2),
        "CAST('1.5' AS DECIMAL(60, 1))": pa.decimal256(76, 1),
        "0.5e0": pa.float64(),
        "'=å'": pa.string(),
        "X'f800'": pa.binary(),
        "DATE'2026-02-28'": pa.date32(),
        "TIMESTAMP'2026-02-28 12:30:00.5'": pa.timestamp("us"),
    },
    "duckdb": {
        "5": pa.int64(),
        "sum(5)": pa.decimal128(38, 0),
        "18446744073709551615::UBIGINT": pa.uint64(),
        "1.50::DECIMAL(12, 2)": pa.decimal128(12, 2),
        "0.1::DOUBLE": pa.float64(),
        "true": pa.bool_(),
        "'=å'": pa.string(),
        "date '2026-02-28'": pa.date32(),
        "timestamp '2026-02-28 12:30:00.5'": pa.timestamp("us"),
        "timestamptz '2026-02-28 12:30+02'": pa.timestamp("us", tz="UTC"),
        r"'\xF8\x00'::BLOB": pa.binary(),
        "[1, 2]": pa.string(),
    },
}


def secured(dialect: str, text: str) -> SecuredQuery:
    """A SecuredQuery that nobody secured."""
    return SecuredQuery._sealed(
        sql._SEAL, dialect=dialect, pieces=(text,), names=(), params={}, connection="default", datasets=(), guards=(), reads={}, row_limit=10
    )


def written(database: Database, query: SecuredQuery, writer: Writer) -> bytes:
    with database.open(query, Stop()) as rows:
        begun = writer.begin(rows.columns, rows.declared, rows.exact)
        return begun + writer.rows(rows.take()) + writer.end(truncated=rows.truncated)


@pytest.mark.parametrize("dialect", ["duckdb", pytest.param("postgres", marks=pytest.mark.postgres), pytest.param("mariadb", marks=pytest.mark.mariadb)])
def test_arrow_has_the_declared_types_and_the_values_of_json(
    dialect: str, private: Callable[[str, Path], Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Heard, "__contains__", lambda *_: True)
    place = private(dialect, tmp_path)
    if dialect == "duckdb":
        duckdb.connect(place.url.removeprefix("duckdb:///")).close()  # a file of its own comes with the first table
    database = Database(place.url, dialect=dialect, limits=Limits())
    columns = ", ".join(f"{expression} AS c{at}" for at, expression in enumerate(TYPES[dialect]))
    try:
        query = secured(dialect, f"SELECT {columns}")
        table = pa.ipc.open_stream(written(database, query, ArrowWriter())).read_all()
        lines = json.loads(written(database, query, LinesWriter()).split(b"\n")[1], parse_float=str)
    finally:
        database.close()
    assert dict(zip(TYPES[dialect], table.schema.types, strict=True)) == TYPES[dialect]
    (values,) = table.to_pylist()
    assert [_in_json(value, said) for value, said in zip(values.values(), lines, strict=True)] == lines


def _in_json(value: Any, said: object) -> object:
    """What JSON says of a value of Arrow, as `said` is read: fractions as their digits."""
    if isinstance(value, str) and not isinstance(said, str):
        return json.loads(value, parse_float=str)  # an array, or any JSON, as its text
    if isinstance(value, Decimal) and isinstance(said, int):
        return int(value)
    return value if isinstance(value, str) else json.loads(LinesWriter().rows([(value,)]), parse_float=str)[0]
