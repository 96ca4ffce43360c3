"""Writes the reference page on SQL, by asking the code which example it takes and what it says of the others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from sqlglot import exp

from docs.sql_examples import CONSTRUCTS, FUNCTIONS, INSTEAD, NEVER, TYPES
from rowseal import errors
from rowseal.catalog import Catalog, Dataset, Field, FieldType, FunctionRules, Limits, Storage
from rowseal.claims import KeyFacts
from rowseal.grants import Grant
from rowseal.policy import Policy
from rowseal.sql import admitted, bounds, sieve
from rowseal.sql.admit import MAX_DEPTH, admit
from rowseal.sql.checks import MAX_GROUPING_SETS, MAX_PADDED, MAX_PATTERN, MAX_REPLACED
from rowseal.sql.dialects import DIALECTS
from rowseal.sql.from_clause import MAX_READS, MAX_TABLES
from rowseal.sql.names import DatasetLookup
from rowseal.sql.searches import MAX_SOUGHT
from rowseal.sql.secure import secure
from rowseal.sql.witness import attest

__all__ = ["DATABASES", "GENERATED", "PARAMETERS", "examples", "refusal", "replacement", "sql_subset", "taken"]

ROOT: Final = Path(__file__).resolve().parents[1]
DATABASES: Final = {"sqlite": "SQLite", "postgres": "PostgreSQL", "duckdb": "DuckDB"}
_SPELLED: Final = {
    "sqlite": {"{schema}": "main", "{json}": "TEXT"},
    "postgres": {"{schema}": "public", "{json}": "JSONB"},
    "duckdb": {"{schema}": "main", "{json}": "JSON"},
}
PARAMETERS: Final = {"skip": 0, "region": "North"}
GENERATED: Final = "<!-- Written by docs/generate.py from {source}. Change that, then run `make docs`. -->\n"


def examples(database: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(what it shows, SQL, parameters) of every example, spelled for the database."""
    for _, constructs in CONSTRUCTS:
        yield from ((what, sql, _given(sql)) for what, sql in ((what, _spelled(sql, database)) for what, sql in constructs))
    for _, calls in FUNCTIONS:
        yield from ((call, _asking(call), {}) for call in _calls(calls))
    yield from ((f"a cast to {kind}", _asking(_cast(kind)), {}) for kind in TYPES)


def _calls(calls: str) -> list[str]:
    return [" ".join(call.split()) for call in calls.split("|")]


def _asking(call: str) -> str:
    return " ".join(("SELECT", call, "AS x FROM orders", "GROUP BY region" if call.startswith("grouping") else "")).strip()


def _cast(kind: str) -> str:
    return f"CAST(NULL AS {kind})"


def _given(sql: str) -> dict[str, Any]:
    return {name: value for name, value in PARAMETERS.items() if f":{name}" in sql}


def _spelled(sql: str, database: str) -> str:
    for mark, word in _SPELLED[database].items():
        sql = sql.replace(mark, word)
    return sql


def taken(sql: str, database: str, params: Mapping[str, Any] | None = None) -> str:
    """The code with which rowseal refuses the query over the sample shop, or nothing where it takes it."""
    refused = refusal(sql, database, params)
    return refused.code if refused is not None else ""


def refusal(sql: str, database: str, params: Mapping[str, Any] | None = None) -> errors.Refused | None:
    """How rowseal refuses the query over the sample shop, or None where it takes it."""
    policy, lookup = _bearer_of_all(database)
    try:
        parsed = admit(sql, params or {}, DIALECTS[database], Limits(), FunctionRules())
        attest(secure(parsed, policy, lookup, Limits()), policy)
    except errors.Refused as refused:
        return refused
    return None


def replacement(sql: str, database: str) -> tuple[str, str]:
    """(the hint of a refused query, what it says to write instead as a whole query)."""
    refused = refusal(sql, database)
    pieces = re.findall(r"`([^`]+)`", refused.hint) if refused is not None else []
    if refused is None or not pieces:
        raise SystemExit(f"{database}: docs/sql_examples.py expects a refusal that says what to write instead: {sql}")
    last = str(pieces[-1])
    return refused.hint, last if last.startswith(("SELECT ", "WITH ")) else " ".join(("SELECT", last, "FROM orders"))


@cache
def _bearer_of_all(database: str) -> tuple[Policy, DatasetLookup]:
    schema, moment, day = (
        ("main", Storage.TEXT_TIMESTAMP, Storage.TEXT_DATE) if database == "sqlite" else (_SPELLED[database]["{schema}"], Storage.TIMESTAMP, Storage.DATE)
    )
    stored = {FieldType.NUMBER: Storage.INTEGER, FieldType.STRING: Storage.TEXT, FieldType.DATE_TIME: moment, FieldType.DATE: day}
    datasets = {}
    for entry in yaml.safe_load((ROOT / "datasets.yaml").read_text(encoding="utf-8"))["datasets"]:
        fields = [each for each in entry["fields"] if not each.get("hidden")]
        declared = tuple(Field(each["id"], each["id"], each["id"], each["id"], FieldType(each["type"]), stored[FieldType(each["type"])]) for each in fields)
        datasets[entry["id"]] = Dataset(entry["id"], entry["id"], entry["id"], schema, entry["table"], "table", public=True, fields=declared)
    catalog = Catalog(dialect=database, database="", datasets=datasets)
    grant = Grant(KeyFacts("docs", "vizzly"), None, {}, expires_at=0, digest="", claims={})
    return Policy(grant, catalog), DatasetLookup(datasets, DIALECTS[database])


def _require_cover(database: str) -> None:
    """Every class of the closed world, and every function, is used by an example that is taken: none stays unsaid."""
    used: set[object] = set()
    for _, sql, params in examples(database):
        tree = None if taken(sql, database, params) else admit(sql, params, DIALECTS[database], Limits(), FunctionRules()).tree
        for node in tree.walk() if tree is not None else ():
            used |= {type(node), str(node.this).lower() if isinstance(node, exp.Anonymous) else node.this if isinstance(node, exp.DataType) else type(node)}
    unsaid = (admitted.NODES[database].keys() | admitted.FUNCTIONS[database].keys() | admitted.CASTS[database]) - used
    # no function of SQLite takes a unit of time, and there the parser reads each float as a double
    unsaid -= {exp.Var, exp.DType.FLOAT} if database == "sqlite" else set()
    if unsaid:
        raise SystemExit(f"{database}: docs/sql_examples.py has no example for {sorted(str(getattr(each, '__name__', each)) for each in unsaid)}")


def sql_subset() -> Iterator[str]:
    for database in DATABASES:
        _require_cover(database)
    yield "# The SQL that rowseal accepts\n"
    yield GENERATED.format(source="`rowseal.sql.admitted` and `docs/sql_examples.py`")
    yield (
        "One `SELECT`, made of parts that are on a list.\nWhat is not on the list is refused, with the construct, the line and the column.\n"
        "[Why a list](../decisions/0002-closed-world.md).\n\n"
        "A query reads the datasets of its token under their `sql_name`, and the visible fields under theirs.\n"
        "No other table and no other column has a name.\n"
        "What each database takes is found out by asking, when this page is written; the tests run all that is taken.\n"
    )
    yield f"Go to {', '.join(f'[{label}](#{label.lower()})' for label in DATABASES.values())}, [never](#never), [bounds](#bounds).\n"
    for database, label in DATABASES.items():
        yield f"## {label}\n"
        yield from _constructs(database, label)
        yield from _functions(database, label)
        yield f"### Casts on {label}\n"
        yield f"{', '.join(f'`{kind}`' for kind in TYPES if not taken(_asking(_cast(kind)), database))}\n"
        yield from _instead(database, label)
    yield "\n## Never\n"
    yield "None of these is accepted on any database. The codes are explained in [errors](errors.md).\n"
    yield f"| what | example | {' | '.join(DATABASES.values())} |\n|---|---|{'---|' * len(DATABASES)}"
    for what, sql in NEVER:
        codes = [taken(sql, name) for name in DATABASES]
        if not all(codes):
            raise SystemExit(f"accepted, though docs/sql_examples.py says never: {sql}")
        yield f"| {what} | `{sql}` | {' | '.join(f'[`{code}`](errors.md#{code})' for code in codes)} |"
    yield "\n## Bounds\n"
    yield "Beyond one of these a query is refused with [`sql_too_complex`](errors.md#sql_too_complex).\n"
    yield "| | at most |\n|---|---|"
    limits = Limits()
    most = {
        "bytes of SQL (`limits.sql_bytes`)": limits.sql_bytes,
        "parts of the syntax tree (`limits.nodes`)": limits.nodes,
        "words (twice `limits.nodes`)": bounds.WORDS * limits.nodes,
        "words and signs, with those in strings and comments (four times `limits.nodes`)": bounds.PIECES * limits.nodes,
        "levels of brackets and `CASE`": bounds.MAX_NESTING,
        "levels of brackets behind a type's name, and of `ARRAY[`": bounds.MAX_TYPED_NESTING,
        "keywords and signs in a row": bounds.MAX_KEYWORD_RUN,
        "joins": bounds.MAX_JOINS,
        "joins that wait for their `ON`": bounds.MAX_OPEN_JOINS,
        "`][` in a row": bounds.MAX_SUBSCRIPTS,
        "JSON keys, intervals and formats of dates": sieve.MAX_JUDGED,
        "levels of the syntax tree": MAX_DEPTH,
        "bytes of a pattern of `LIKE`, `ILIKE` and `GLOB`": MAX_PATTERN,
        "ways to group in one `GROUP BY`": MAX_GROUPING_SETS,
        "characters to which `LPAD` and `RPAD` fill": MAX_PADDED,
        "characters of a string or parameter that is searched for, by `STRPOS`, `SPLIT_PART`, `TRIM` and the like": MAX_SOUGHT,
        "bytes that `REPLACE` looks for": MAX_REPLACED,
        "tables in one `FROM`": MAX_TABLES,
        "reads of datasets, once every CTE is written out where it is named": MAX_READS,
    }
    yield from (f"| {what} | {number:,} |" for what, number in most.items())


def _constructs(database: str, label: str) -> Iterator[str]:
    for heading, constructs in CONSTRUCTS:
        yield f"### {heading} on {label}\n"
        yield "| construct | example |\n|---|---|"
        for what, sql in constructs:
            spelled = _spelled(sql, database)
            if not taken(spelled, database, _given(sql)):
                yield f"| {_cell(what)} | {_code(spelled)} |"
        yield ""


def _functions(database: str, label: str) -> Iterator[str]:
    yield f"### Functions on {label}\n"
    yield (
        "`functions.allow` in [datasets.yaml](datasets-yaml.md#top-level) adds names to this list, `functions.deny` takes names away.\n"
        "A name that you allow is yours to judge: it can do whatever the database lets it do.\n"
    )
    yield "| family | calls |\n|---|---|"
    for heading, calls in FUNCTIONS:
        named = [call for call in _calls(calls) if not taken(_asking(call), database)]
        if named:
            yield f"| {heading} | {', '.join(_code(call) for call in named)} |"
    yield ""
    for call in [call for _, calls in FUNCTIONS for call in _calls(calls)]:
        if all(taken(_asking(call), name) for name in DATABASES):
            raise SystemExit(f"docs/sql_examples.py shows a function that no database takes: {call}")


def _instead(database: str, label: str) -> Iterator[str]:
    yield f"### Instead, on {label}\n"
    yield "What is often tried and not accepted, and what the refusal says to write.\n"
    yield "| instead of | |\n|---|---|"
    for databases, sql in INSTEAD:
        if database in databases:
            yield f"| {_code(sql)} | {_cell(replacement(sql, database)[0])} |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _code(sql: str) -> str:
    marks = "``" if "`" in sql else "`"
    return f"{marks}{_cell(sql)}{marks}"
