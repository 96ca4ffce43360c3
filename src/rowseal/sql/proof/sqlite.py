"""How a guard looks on SQLite."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect as Grammar

from rowseal.catalog import Field
from rowseal.filters import Operator
from rowseal.policy import Condition
from rowseal.sql.proof.reading import COMPARED, Reading

__all__ = ["SQLITE"]

# What each operator must look like. x is the column compared by its bytes. Each line can be read against docs/reference/operators.md.
_FORMS: Final[Mapping[Operator, tuple[str, ...]]] = {
    Operator.IS_NULL: ("c IS NULL",),
    Operator.IS_NOT_NULL: ("NOT c IS NULL",),
    **{Operator(op): (f"{{x}} {sign} :v0",) for op, sign in COMPARED.items()},
    Operator.BETWEEN: ("{x} >= :v0", "{x} <= :v1"),
    Operator.IS_ONE_OF: ("{x} IN (SELECT value FROM JSON_EACH(:v0))",),
    Operator.IS_NOT_ONE_OF: ("NOT {x} IN (SELECT value FROM JSON_EACH(:v0))",),
    Operator.STARTS_WITH: ("INSTR(c, :v0) = 1",),
    Operator.ENDS_WITH: ("SUBSTRING(CAST(c AS BLOB), -LENGTH(CAST(:v0 AS BLOB))) = CAST(:v0 AS BLOB)",),
    Operator.CONTAINS: ("INSTR(c, :v0) > 0",),
    Operator.NOT_CONTAINS: ("INSTR(c, :v0) = 0",),
}
# What a value must be beside the condition itself, unless the condition is an equality, which says it, or asks for no value.
_TYPED: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("integer", "decimal", "float"), ("TYPEOF(c) IN ('integer', 'real')",)),
    "boolean": ("TYPEOF(c) = 'integer'", "c IN (0, 1)"),
    **dict.fromkeys(("text", "enum", "text_date", "text_timestamp"), ("TYPEOF(c) = 'text'",)),
}
_UNTYPED: Final = (Operator.EQ, Operator.IS_ONE_OF, Operator.IS_NULL, Operator.IS_NOT_NULL)
_TEXTS: Final = frozenset({"text", "enum", "text_date", "text_timestamp"})
_TEXTUAL: Final = {"%Y": "[0-9][0-9][0-9][0-9]", "%f": "[0-9]" * 6, "*": "[*]", "?": "[?]", "[": "[[]", "'": "''"}  # other parts have two digits


def _forms(condition: Condition) -> Iterator[str]:
    field = condition.field
    exact = "c COLLATE BINARY" if field.storage.value in _TEXTS else "c"
    if condition.op not in _UNTYPED:
        yield from _TYPED[field.storage.value]
        if field.format is not None:
            yield "c GLOB '" + "".join(_TEXTUAL.get(part) or ("[0-9][0-9]" if part[0] == "%" else part) for part in re.findall("%.|[^%]", field.format)) + "'"
    # Where text is compared by bytes, a first equality by the column's own collation stands beside it, for the sake of an index.
    if condition.op is Operator.EQ and exact != "c" and field.storage != "enum":
        yield "c = :v0"
    yield from (form.format(x=exact) for form in _FORMS[condition.op])


def _same(own: Field, theirs: Field) -> tuple[str, ...]:
    return ("p COLLATE BINARY = c" if {own.storage.value, theirs.storage.value} & _TEXTS else "p = c",)


SQLITE: Final = Reading(
    grammar=Grammar.get_or_raise("sqlite"),
    mark='"',
    plain=("NOT MATERIALIZED (", ")"),
    fence=("MATERIALIZED (", ")"),
    bind=r":\1",
    one_type=False,
    forms=_forms,
    same=_same,
    raising=frozenset({exp.Abs, exp.DPipe, exp.JSONExtract, exp.JSONExtractScalar}),
)
