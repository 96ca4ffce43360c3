"""How a guard looks on DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect as Grammar

from rowseal.catalog import Field
from rowseal.filters import Operator
from rowseal.policy import Condition
from rowseal.sql.proof.reading import COMPARED, Reading

__all__ = ["DUCKDB"]

# What each operator must look like. x is the column compared by its bytes, k the type of the bind. Each line can be read against
# docs/reference/operators.md.
_FORMS: Final[Mapping[Operator, tuple[str, ...]]] = {
    Operator.IS_NULL: ("c IS NULL",),
    Operator.IS_NOT_NULL: ("NOT c IS NULL",),
    **{Operator(op): (f"{{x}} {sign} CAST(:v0 AS {{k}})",) for op, sign in COMPARED.items()},
    Operator.BETWEEN: ("{x} >= CAST(:v0 AS {k})", "{x} <= CAST(:v1 AS {k})"),
    Operator.IS_ONE_OF: ("{x} = ANY(CAST(:v0 AS {k}[]))",),
    Operator.IS_NOT_ONE_OF: ("{x} <> ALL(CAST(:v0 AS {k}[]))",),
    Operator.STARTS_WITH: ("STARTS_WITH({x}, CAST(:v0 AS {k}))",),
    Operator.ENDS_WITH: ("ENDS_WITH({x}, CAST(:v0 AS {k}))",),
    Operator.CONTAINS: ("STRPOS({x}, CAST(:v0 AS {k})) > 0",),
    Operator.NOT_CONTAINS: ("STRPOS({x}, CAST(:v0 AS {k})) = 0",),
}
_BYTES: Final[Mapping[str, str]] = {"text": "{} COLLATE C", "enum": "CAST({} AS TEXT) COLLATE C"}
# By storage, and where a storage takes several, by the value.
_KINDS: Final[Mapping[str, str]] = {
    "huge": "HUGEINT",
    "float": "DOUBLE",
    "boolean": "BOOLEAN",
    "text": "TEXT",
    "enum": "TEXT",
    "uuid": "UUID",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMPTZ",
}
_NUMBERS: Final[Mapping[str, str]] = {"int": "BIGINT", "Decimal": "DECIMAL(38, 18)"}


def _forms(condition: Condition) -> Iterator[str]:
    storage = condition.field.storage.value
    kind = _KINDS.get(storage) or _NUMBERS[type(condition.values[0]).__name__] if condition.values else ""
    exact = _BYTES.get(storage, "{}").format("c")
    yield from (form.format(x=exact, k=kind) for form in _FORMS[condition.op])


def _same(own: Field, theirs: Field) -> tuple[str, ...]:
    return (" = ".join(_BYTES.get(field.storage.value, "{}").format(name) for field, name in ((theirs, "p"), (own, "c"))),)


DUCKDB: Final = Reading(
    grammar=Grammar.get_or_raise("duckdb"),
    mark='"',
    plain=("NOT MATERIALIZED (", ")"),
    fence=("NOT MATERIALIZED (", " OFFSET 0)"),
    bind=r"$\1",
    one_type=True,
    forms=_forms,
    same=_same,
    mark_of_bind=r"$\1",
    fenced_by_offset=True,
    raising=frozenset({exp.Add, exp.Sub, exp.Mul, exp.Mod, exp.Abs, exp.Pow, exp.Sqrt, exp.Ln, exp.Left, exp.Right, exp.Substring, exp.SplitPart, exp.Pad}),
)
