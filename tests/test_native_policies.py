"""A third oracle: PostgreSQL's own row-level security, with policies made of the model's permissions, is asked the query as written.

It shares nothing with the product but the database's own executor. Where it must be told what its policies cannot say: columns that are
hidden are left out by views (`security_invoker`, so that the policies hold for who asks), which have the datasets' names, while the
tables stand in another schema. A policy lists the keys of permitted rows, so that it says neither more nor less than the model.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg
import pytest

import servers
from bearers import BEARERS
from databases import Database
from databases.dialect import numbered, quoted
from databases.postgres import libpq
from model import Permission, permission, plant
from oracle import Stage, bag
from strategies import write
from world import CONFIGURATION, TABLES, VIEWS, Table
from writer import LITERALS, Choices

EACH = 60
pytestmark = pytest.mark.postgres


def _policies(tables: Sequence[Table], allowed: Permission) -> Iterator[str]:
    """Each table out of the way, a policy for it, and a view of its visible columns in its place."""
    by_name = {table.name: table for table in tables}
    yield "DROP VIEW v_orders"
    yield f"CREATE SCHEMA stored AUTHORIZATION {servers.OWNER}"
    yield f"GRANT USAGE ON SCHEMA stored TO {servers.READER}"
    for table in tables:
        yield f"ALTER TABLE {quoted(table.name)} SET SCHEMA stored"
        yield f"ALTER TABLE stored.{quoted(table.name)} ENABLE ROW LEVEL SECURITY"  # without a policy, no row
    for dataset in CONFIGURATION["datasets"]:
        if dataset["id"] not in allowed:
            continue
        table = by_name[dataset["table"]]
        keys = ", ".join(str(row[0]) for row in table.rows if allowed[dataset["id"]](row)) or "NULL"
        yield f"CREATE POLICY seen ON stored.{quoted(table.name)} FOR SELECT TO {servers.READER} USING ({quoted(table.columns[0].name)} IN ({keys}))"
        shown = ", ".join(
            f"{quoted(entry.get('column', entry['id']))} AS {quoted(entry.get('sql_name', entry['id']))}"
            for entry in dataset["fields"]
            if not entry.get("hidden")
        )
        view = quoted(dataset.get("sql_name", dataset["id"]))
        yield f"CREATE VIEW {view} WITH (security_invoker = true) AS SELECT {shown} FROM stored.{quoted(table.name)}"
        yield f"GRANT SELECT ON {view} TO {servers.READER}"


@pytest.mark.parametrize("bearer", BEARERS)
def test_row_level_security_gives_the_same_answers(
    bearer: str, stage: Callable[[str], Stage], private: Callable[[str, Path], Database], tmp_path: Path
) -> None:
    """Whatever the gate answers, PostgreSQL answers under policies of its own; and what it answers, the gate does not fail."""
    on = stage("postgres")
    on.set(BEARERS[bearer], LITERALS)
    allowed = permission(CONFIGURATION, TABLES, BEARERS[bearer])
    full = plant(CONFIGURATION, TABLES, allowed, LITERALS)
    database = private("postgres", tmp_path)
    database.fill(full, VIEWS, analyze=False)
    reader = libpq(database.url)
    with psycopg.connect(reader.replace(servers.READER, servers.SUPERUSER, 1), autocommit=True) as connection:
        for statement in _policies(full, allowed):
            connection.execute(statement.encode())
    source = random.Random(f"policies {bearer}")
    compared = 0
    with psycopg.connect(reader, autocommit=True, options="-c statement_timeout=10s -c timezone=UTC -c jit=off") as policed:
        for _ in range(EACH):
            query = write(Choices(source=source), "postgres")
            rows = on.judge_quickly(query.sql, query.params).full.rows
            text, values = numbered(query.sql, query.params)
            try:
                expected = policed.execute(text.encode(), values).fetchall()
            except psycopg.Error:
                expected = None
            if rows is not None and expected is not None:
                compared += 1
                assert bag(rows, ordered=False, loose=True) == bag(expected, ordered=False, loose=True), query.sql
    assert compared > EACH / 2


def test_the_policies_hold_for_who_asks(private: Callable[[str, Path], Database], tmp_path: Path) -> None:
    """The oracle itself: a policy that let everything pass would prove nothing."""
    allowed = permission(CONFIGURATION, TABLES, BEARERS["a tenant"])
    database = private("postgres", tmp_path)
    database.fill(TABLES, VIEWS, analyze=False)
    with psycopg.connect(libpq(database.url).replace(servers.READER, servers.SUPERUSER, 1), autocommit=True) as connection:
        for statement in _policies(TABLES, allowed):
            connection.execute(statement.encode())
    with psycopg.connect(libpq(database.url), autocommit=True) as policed:
        assert policed.execute("SELECT DISTINCT tenant_id FROM orders").fetchall() == [(1,)]
        assert policed.execute("SELECT COUNT(*) FROM stored.salaries").fetchall() == [(0,)]
        with pytest.raises(psycopg.errors.UndefinedColumn):
            policed.execute("SELECT deleted FROM orders")
