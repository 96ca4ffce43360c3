"""What the databases really hold, and how a field's type meets a column's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL, make_url

import servers
from rowseal.catalog import FieldType, Storage
from rowseal.catalog.reflection import Column, Reflection, Relation, Unfitting, Unreachable, reflect, store

NUMBER, STRING, BOOLEAN, DATE, DATE_TIME = FieldType
FITS: dict[FieldType, dict[str, Storage]] = {
    NUMBER: {"INTEGER": Storage.INTEGER, "NUMERIC": Storage.DECIMAL, "REAL": Storage.FLOAT, "": Storage.DECIMAL},
    STRING: {"TEXT": Storage.TEXT, "": Storage.TEXT},
    BOOLEAN: {"INTEGER": Storage.BOOLEAN, "NUMERIC": Storage.BOOLEAN, "": Storage.BOOLEAN},
    DATE: {"TEXT": Storage.TEXT_DATE, "NUMERIC": Storage.TEXT_DATE, "": Storage.TEXT_DATE},
    DATE_TIME: {"TEXT": Storage.TEXT_TIMESTAMP, "NUMERIC": Storage.TEXT_TIMESTAMP, "": Storage.TEXT_TIMESTAMP},
}


@pytest.mark.parametrize("type_", list(FieldType))
@pytest.mark.parametrize("affinity", ["INTEGER", "TEXT", "BLOB", "REAL", "NUMERIC", ""])
def test_a_field_on_a_sqlite_column_of_another_affinity_is_refused(type_: FieldType, affinity: str) -> None:
    column = Column("c", affinity, affinity)
    expected = FITS[type_].get(affinity)
    if expected is None:
        with pytest.raises(Unfitting, match="is declared"):
            store(column, type_, "sqlite", None)
    else:
        assert store(column, type_, "sqlite", None) is expected


# The examples of https://www.sqlite.org/datatype3.html#affinity_name_examples, and the traps it names.
AFFINITIES = {
    "INT": "INTEGER",
    "TINYINT": "INTEGER",
    "UNSIGNED BIG INT": "INTEGER",
    "CHARINT": "INTEGER",
    "FLOATING POINT": "INTEGER",
    "CHARACTER(20)": "TEXT",
    "NATIVE CHARACTER(70)": "TEXT",
    "NVARCHAR(100)": "TEXT",
    "CLOB": "TEXT",
    "TEXT": "TEXT",
    "BLOB": "BLOB",
    "": "",
    "DOUBLE PRECISION": "REAL",
    "FLOAT": "REAL",
    "DECIMAL(10,5)": "NUMERIC",
    "BOOLEAN": "NUMERIC",
    "DATE": "NUMERIC",
    "DATETIME": "NUMERIC",
    "STRING": "NUMERIC",
}


def test_sqlite_affinities_are_sqlites_own(sqlite_url: Callable[[str], str]) -> None:
    """Our reading of a declared type agrees with what SQLite itself does with the text '1.0' in such a column."""
    columns = {f"c{number}": declared for number, declared in enumerate(AFFINITIES)}
    url = sqlite_url(f"CREATE TABLE t ({', '.join(f'{name} {declared}' for name, declared in columns.items())})")
    relation = reflected(url, "sqlite", (None, "t")).relations[None, "t"]
    assert {relation.columns[name].declared: relation.columns[name].kind for name in columns} == AFFINITIES
    from sqlalchemy import create_engine, text

    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO t VALUES ({', '.join(chr(39) + '1.0' + chr(39) for _ in columns)})"))
        kinds = connection.execute(text(f"SELECT {', '.join(f'typeof({name})' for name in columns)} FROM t")).one()
    engine.dispose()
    stored = {"INTEGER": "integer", "NUMERIC": "integer", "REAL": "real", "TEXT": "text", "BLOB": "text", "": "text"}
    assert list(kinds) == [stored[affinity] for affinity in AFFINITIES.values()]


def reflected(url: str, dialect: str, *wanted: tuple[str | None, str]) -> Reflection:
    return reflect(make_url(url), dialect, wanted)


SQLITE = """
CREATE TABLE "Orders" (Id INTEGER PRIMARY KEY, n INT, twice INT GENERATED ALWAYS AS (n * 2) VIRTUAL, "hr col" TEXT COLLATE NOCASE);
CREATE VIEW v AS SELECT Id, n + 1 AS m FROM "Orders";
CREATE VIRTUAL TABLE words USING fts5(word);
"""


def test_sqlite_relations_are_found_as_sqlite_folds_names_and_keep_their_own(sqlite_url: Callable[[str], str]) -> None:
    url = sqlite_url(SQLITE)
    found = reflected(url, "sqlite", (None, "ORDERS"), ("main", "v"), (None, "words"), (None, "none"), ("temp", "Orders"))
    assert {key: (each.schema, each.name, each.kind) for key, each in found.relations.items()} == {
        (None, "ORDERS"): ("main", "Orders", "table"),
        ("main", "v"): ("main", "v", "view"),
        (None, "words"): ("main", "words", "virtual table"),
    }
    assert list(found.relations[None, "ORDERS"].columns) == ["Id", "n", "twice", "hr col"]
    assert [each.kind for each in found.relations["main", "v"].columns.values()] == ["INTEGER", ""]
    assert not any(each.bytewise for each in found.relations[None, "ORDERS"].columns.values())  # a collation may fold case: nobody can tell
    assert "v" in found.nearby


def test_looking_at_a_sqlite_file_never_makes_one(tmp_path: Path) -> None:
    """Nor do characters of its path that mean something in a URI."""
    for name in ("gone.db", "gone.db?mode=rwc", "gone.db#x"):
        with pytest.raises(Unreachable):
            reflect(URL.create("sqlite", database=str(tmp_path / name)), "sqlite", [(None, "t")])
    assert not list(tmp_path.iterdir())


def test_sqlite_dates_in_a_numeric_column_need_a_format_that_is_no_number() -> None:
    column = Column("day", "DATE", "NUMERIC")
    assert store(column, DATE, "sqlite", "%Y-%m-%d") is Storage.TEXT_DATE
    with pytest.raises(Unfitting, match="stores as a number"):
        store(column, DATE, "sqlite", "%Y%m%d")
    with pytest.raises(Unfitting, match="stores as a number"):
        store(column, DATE_TIME, "sqlite", "%Y%m%d.%H%M")
    assert store(Column("day", "TEXT", "TEXT"), DATE, "sqlite", "%Y%m%d") is Storage.TEXT_DATE


@pytest.mark.parametrize(
    ("url", "dialect"),
    [
        ("postgresql+psycopg://me:hunter2@127.0.0.1:1/d?connect_timeout=1", "postgres"),
        ("postgresql+psycopg://me:hunter2@127.0.0.1:1/d?hunter2=1", "postgres"),
        ("sqlite:////no/such/hunter2.db", "sqlite"),
    ],
)
def test_a_database_that_cannot_be_read_says_so_without_the_drivers_words(url: str, dialect: str) -> None:
    with pytest.raises(Unreachable, match="could not be read") as refused:
        reflected(url, dialect, (None, "t"))
    assert "hunter2" not in str(refused.value)
    assert refused.value.__suppress_context__


# --- PostgreSQL ------------------------------------------------------------------------------------------------------------------------

POSTGRES = """
CREATE SCHEMA "Other";
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, b int);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN more AS positive;
CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE types (
    "int2" smallint, "int4" int, "int8" bigint, "numeric" numeric(10,2), "float4" real, "float8" float8, "text" text, "varchar" varchar(9),
    "bpchar" char(4), "c" text COLLATE "C", "folded" text COLLATE folded, "uuid" uuid, "enum" mood, "bool" boolean,
    "date" date, "timestamp" timestamp, "timestamptz" timestamptz(3),
    "array" int[], "json" jsonb, "time" time, "interval" interval, "bytea" bytea, "money" money, "pair" pair, "positive" positive,
    "more" more, "name" name, "gone" int
);
ALTER TABLE types DROP COLUMN "gone";
CREATE TABLE "Other"."Orders" (id int);
CREATE VIEW v AS SELECT 1 AS one;
CREATE MATERIALIZED VIEW m AS SELECT 1 AS one;
CREATE TABLE parted (id int) PARTITION BY RANGE (id);
CREATE SEQUENCE seq;
CREATE INDEX an_index ON "Other"."Orders" (id);
"""
POSTGRES_FITS: dict[str, tuple[FieldType, Storage, bool]] = {
    "int2": (NUMBER, Storage.INTEGER, False),
    "int4": (NUMBER, Storage.INTEGER, False),
    "int8": (NUMBER, Storage.INTEGER, False),
    "positive": (NUMBER, Storage.INTEGER, False),
    "numeric": (NUMBER, Storage.DECIMAL, False),
    "float8": (NUMBER, Storage.FLOAT, False),
    "text": (STRING, Storage.TEXT, True),
    "varchar": (STRING, Storage.TEXT, True),
    "bpchar": (STRING, Storage.TEXT, False),
    "c": (STRING, Storage.TEXT, True),
    "folded": (STRING, Storage.TEXT, False),
    "uuid": (STRING, Storage.UUID, False),
    "enum": (STRING, Storage.ENUM, False),
    "bool": (BOOLEAN, Storage.BOOLEAN, False),
    "date": (DATE, Storage.DATE, False),
    "timestamp": (DATE_TIME, Storage.TIMESTAMP, False),
    "timestamptz": (DATE_TIME, Storage.TIMESTAMPTZ, False),
}


@pytest.fixture
def types(fresh_postgres: servers.Database) -> Callable[..., Reflection]:
    with psycopg.connect(fresh_postgres.superuser_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(POSTGRES.encode())
        connection.execute(f'GRANT USAGE ON SCHEMA public, "Other" TO {reader(fresh_postgres)}'.encode())
        connection.execute(f"REVOKE SELECT ON types FROM {reader(fresh_postgres)}".encode())
        connection.execute(f"GRANT SELECT (int4, text) ON types TO {reader(fresh_postgres)}".encode())
    return lambda *wanted, as_reader=False: reflected(fresh_postgres.reader_url if as_reader else fresh_postgres.superuser_url, "postgres", *wanted)


def reader(database: servers.Database) -> str:
    role = make_url(database.reader_url).username
    assert role is not None
    return f'"{role}"'


@pytest.mark.postgres
def test_postgres_columns_fit_their_own_type_and_no_other(types: Callable[..., Reflection]) -> None:
    relation: Relation = types((None, "types")).relations[None, "types"]
    assert (relation.schema, relation.kind) == ("public", "table")
    assert "gone" not in relation.columns
    assert set(POSTGRES_FITS) < set(relation.columns)
    for name, column in relation.columns.items():
        expected = POSTGRES_FITS.get(name)
        for type_ in FieldType:
            if expected is not None and type_ is expected[0]:
                assert (name, store(column, type_, "postgres", None), column.bytewise) == (name, expected[1], expected[2])
            else:
                with pytest.raises(Unfitting):
                    store(column, type_, "postgres", None)


@pytest.mark.postgres
def test_postgres_relations_are_found_exactly_and_told_apart(types: Callable[..., Reflection]) -> None:
    found = types((None, "v"), (None, "m"), (None, "parted"), ("Other", "Orders"), ("Other", "orders"), (None, "Orders"), (None, "seq"), ("Other", "an_index"))
    assert {key: (each.schema, each.name, each.kind) for key, each in found.relations.items()} == {
        (None, "v"): ("public", "v", "view"),
        (None, "m"): ("public", "m", "table"),
        (None, "parted"): ("public", "parted", "table"),
        ("Other", "Orders"): ("Other", "Orders", "table"),
    }
    assert {"types", "Orders"} <= set(found.nearby)


@pytest.mark.postgres
def test_a_column_that_the_role_may_not_read_is_told_at_the_start(types: Callable[..., Reflection]) -> None:
    columns = types((None, "types"), as_reader=True).relations[None, "types"].columns
    assert store(columns["int4"], NUMBER, "postgres", None) is Storage.INTEGER
    with pytest.raises(Unfitting, match="may not read"):
        store(columns["int8"], NUMBER, "postgres", None)


@pytest.mark.postgres
def test_a_wrong_password_or_database_tells_nothing(fresh_postgres: servers.Database) -> None:
    url = make_url(fresh_postgres.owner_url).set(database="hunter2")
    with pytest.raises(Unreachable) as refused:
        reflect(url, "postgres", [(None, "t")])
    assert str(refused.value) == "could not be read (OperationalError); check address, credentials and rights"
