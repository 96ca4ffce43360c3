"""How a guard looks on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect as Grammar

from rowseal.catalog import Field
from rowseal.filters import Operator
from rowseal.policy import Condition
from rowseal.sql.proof.reading import COMPARED, Reading

__all__ = ["POSTGRES"]

# What each operator must look like. x is the column compared by its bytes, t as text by its bytes, k the type the binds are cast to.
# Each line can be read against docs/reference/operators.md.
_FORMS: Final[Mapping[Operator, tuple[str, ...]]] = {
    Operator.IS_NULL: ("c IS NULL",),
    Operator.IS_NOT_NULL: ("NOT c IS NULL",),
    **{Operator(op): (f"{{x}} {sign} CAST(:v0 AS {{k}})",) for op, sign in COMPARED.items()},
    Operator.BETWEEN: ("{x} >= CAST(:v0 AS {k})", "{x} <= CAST(:v1 AS {k})"),
    Operator.IS_ONE_OF: ("{x} = ANY(CAST(:v0 AS {k}[]))",),
    Operator.IS_NOT_ONE_OF: ("{x} <> ALL(CAST(:v0 AS {k}[]))",),
    Operator.STARTS_WITH: ("STARTS_WITH({t}, CAST(:v0 AS TEXT))",),
    Operator.ENDS_WITH: ("RIGHT({t}, LENGTH(CAST(:v0 AS TEXT))) = CAST(:v0 AS TEXT)",),
    Operator.CONTAINS: ("STRPOS({t}, CAST(:v0 AS TEXT)) > 0",),
    Operator.NOT_CONTAINS: ("STRPOS({t}, CAST(:v0 AS TEXT)) = 0",),
}
_AS_TEXT: Final = 'CAST(c AS TEXT) COLLATE "C"'
_BOUND_AS: Final[Mapping[str, str]] = {
    "bool": "BOOLEAN",
    "int": "BIGINT",
    "Decimal": "DECIMAL",
    "float": "DOUBLE PRECISION",
    "str": "TEXT",
    "date": "DATE",
    "UUID": "UUID",
}


def _forms(condition: Condition) -> Iterator[str]:
    field = condition.field
    exact = _AS_TEXT if field.storage == "enum" or (field.storage == "text" and not field.bytewise) else "c"
    kind = ""
    if condition.values:
        kind = _BOUND_AS.get(type(condition.values[0]).__name__, "TIMESTAMPTZ" if field.storage == "timestamptz" else "TIMESTAMP")
    # Where text is compared by bytes, a first equality by the column's own collation stands beside it, for the sake of an index.
    if condition.op in (Operator.EQ, Operator.IS_ONE_OF) and exact != "c" and field.storage != "enum":
        yield from (form.format(x="c", k=kind) for form in _FORMS[condition.op])
    yield from (form.format(x=exact, t=_AS_TEXT, k=kind) for form in _FORMS[condition.op])


def _same(own: Field, theirs: Field) -> tuple[str, ...]:
    plain = all(field.bytewise and not field.collation for field in (own, theirs))
    return ("p = c" if plain or own.storage != "text" else 'CAST(p AS TEXT) COLLATE "C" = CAST(c AS TEXT) COLLATE "C"',)


POSTGRES: Final = Reading(
    grammar=Grammar.get_or_raise("postgres"),
    mark='"',
    plain=("NOT MATERIALIZED (", ")"),
    fence=("MATERIALIZED (", ")"),
    bind=r"%(\1)s",
    one_type=True,
    forms=_forms,
    same=_same,
    raising=frozenset(
        {
            *(exp.Div, exp.Mod, exp.Mul, exp.DPipe, exp.Abs, exp.Pow, exp.Sqrt, exp.Ln, exp.Exp, exp.Log, exp.Extract, exp.JSONExtract),
            *(exp.JSONExtractScalar, exp.SplitPart, exp.Left, exp.Right, exp.Substring, exp.TimeToStr, exp.UnixToTime, exp.Pad),
        }
    ),
)
