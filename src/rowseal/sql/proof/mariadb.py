"""How a guard looks on MariaDB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect as Grammar

from rowseal.catalog import Field
from rowseal.filters import Operator
from rowseal.policy import Condition
from rowseal.sql.proof.reading import COMPARED, Reading

__all__ = ["MARIADB"]

# What each operator must look like. x is the column, of a text its characters; t is its characters; k is how one value is written, with v0 in it.
# Each line can be read against docs/reference/operators.md.
_FORMS: Final[Mapping[Operator, tuple[str, ...]]] = {
    Operator.IS_NULL: ("c IS NULL",),
    Operator.IS_NOT_NULL: ("NOT c IS NULL",),
    **{Operator(op): (f"{{x}} {sign} {{k}}",) for op, sign in COMPARED.items()},
    Operator.BETWEEN: ("{x} >= {k}", "{x} <= {k1}"),
    Operator.IS_ONE_OF: ("{x} IN :v0",),
    Operator.IS_NOT_ONE_OF: ("NOT {x} IN :v0",),
    Operator.STARTS_WITH: ("LEFT({t}, CHAR_LENGTH({k})) = {k}",),
    Operator.ENDS_WITH: ("RIGHT({t}, CHAR_LENGTH({k})) = {k}",),
    Operator.CONTAINS: ("LOCATE({k}, {t}) > 0",),
    Operator.NOT_CONTAINS: ("LOCATE({k}, {t}) = 0",),
}
_CHARACTERS: Final = "CONVERT({0} USING utf8mb4) COLLATE utf8mb4_nopad_bin"
_BOUND: Final[Mapping[str, str]] = {
    "bool": "{0}",
    "int": "CAST({0} AS SIGNED)",
    "Decimal": "CAST({0} AS DECIMAL(65, 30))",
    "float": "CAST({0} AS DOUBLE)",
    "str": "CONVERT({0} USING utf8mb4)",
    "date": "CAST({0} AS DATE)",
    "datetime": "CAST({0} AS DATETIME(6))",
}


def _forms(condition: Condition) -> Iterator[str]:
    field, op = condition.field, condition.op
    characters = _CHARACTERS.format("c")
    bytewise = field.collation == "utf8mb4_nopad_bin" and field.storage == "text"
    exact = characters if field.storage in ("text", "enum") and not bytewise else "c"
    bound = _BOUND[type(condition.values[0]).__name__] if condition.values else ""
    if field.storage == "boolean" and op not in (Operator.EQ, Operator.IS_ONE_OF, Operator.IS_NULL, Operator.IS_NOT_NULL):
        yield "c IN (0, 1)"
    # Where text is compared by its characters, a first equality by the column's own collation stands beside it, for the sake of an index.
    if exact != "c" and field.storage == "text":
        spoken = field.collation.split("_")[0]
        if op is Operator.EQ:
            yield f"c = CONVERT(:v0 USING {spoken})"
        elif op is Operator.IS_ONE_OF and spoken.startswith("utf8"):
            yield "c IN :v0"
    yield from (form.format(x=exact, t=characters, k=bound.format(":v0"), k1=bound.format(":v1")) for form in _FORMS[op])


def _same(own: Field, theirs: Field) -> tuple[str, ...]:
    if own.storage not in ("text", "enum"):
        return ("p = c",)
    exact = f"{_CHARACTERS.format('p')} = {_CHARACTERS.format('c')}"
    alike = own.storage == theirs.storage == "text" and own.collation == theirs.collation != "utf8mb4"
    return ("p = c", exact) if alike else (exact,)


MARIADB: Final = Reading(
    grammar=Grammar.get_or_raise("mysql"),
    mark="`",
    plain=("(", ")"),
    fence=("(", " LIMIT 18446744073709551615)"),
    bind=r":\1",
    one_type=True,
    forms=_forms,
    same=_same,
    raising=frozenset({exp.Abs, exp.Pow, exp.Exp}),
    fence_limit="18446744073709551615",
)
