"""Which operators may stand side by side without brackets: those combinations that every database reads as the parser does."""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from rowseal.errors import QueryRefused
from rowseal.sql.place import position

__all__ = ["ARROWS", "OPERATORS", "refuse_mistakable"]

# How tightly an operator binds. The parser's precedences are not each database's, so only combinations on which all agree may
# stand without brackets: a tighter operator inside a looser one, and a chain of one kind to the left.
_BOOLEAN, _COMPARISON, _ADDITIVE, _MULTIPLICATIVE, _CONCATENATION = range(5)
OPERATORS: Final[dict[type[exp.Expr], int]] = {
    exp.Or: _BOOLEAN,
    exp.And: _BOOLEAN,
    exp.Not: _BOOLEAN,
    **dict.fromkeys(
        (
            *(exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ),
            *(exp.Is, exp.Between, exp.In, exp.Like, exp.ILike, exp.Escape, exp.Glob),
        ),
        _COMPARISON,
    ),
    exp.Add: _ADDITIVE,
    exp.Sub: _ADDITIVE,
    exp.Mul: _MULTIPLICATIVE,
    exp.Div: _MULTIPLICATIVE,
    exp.Mod: _MULTIPLICATIVE,
    exp.DPipe: _CONCATENATION,
    exp.ArrayContainsAll: _COMPARISON,
}
# What they look into is a value or in brackets: `NOT i IN (1) -> 'a'` is to the parser what no database makes of it.
ARROWS: Final = frozenset({exp.JSONExtract, exp.JSONExtractScalar, exp.JSONBExtract, exp.JSONBExtractScalar})
_CHAINS: Final = frozenset({_ADDITIVE, _MULTIPLICATIVE, _CONCATENATION})


def refuse_mistakable(parent: exp.Expr, child: exp.Expr) -> None:
    """Raises QueryRefused where the child would need brackets for all to agree that it is the child."""
    if type(parent) in ARROWS:
        if child is parent.this and OPERATORS.get(type(child), _CONCATENATION) <= _COMPARISON:
            raise _brackets(child)
        return
    outer, inner = OPERATORS[type(parent)], OPERATORS.get(type(child))
    if outer == _COMPARISON and child is parent.args.get("expression") and _may_be_the_parser_s(child):
        raise _brackets(child, "write the condition in brackets first, on the left of the comparison")
    if inner is None or (type(parent) in (exp.In, exp.Between) and child is not parent.this and inner > _COMPARISON):
        return
    if type(parent) is exp.ArrayContainsAll:
        raise _brackets(child)  # to PostgreSQL it is one more operator beside `||`
    if outer == _BOOLEAN:
        if type(parent) is exp.Not and type(child) in (exp.And, exp.Or, exp.Not):
            raise _brackets(child)
        return
    if inner > outer and not (outer in (_ADDITIVE, _MULTIPLICATIVE) and inner == _CONCATENATION):
        return
    if inner == outer and inner in _CHAINS and child is parent.this:
        return
    if type(parent) is exp.Escape and type(child) in (exp.Like, exp.ILike) and child is parent.this:
        return
    raise _brackets(child)


def _may_be_the_parser_s(child: exp.Expr) -> bool:
    """Brackets that nobody may have written: of `1 < 2 NOT IN (3) IS NULL` the parser makes `(1 < (NOT 2 IN (3))) IS NULL`, SQLite the other way."""
    if type(child) is not exp.Paren:
        return False
    inside = child.this.this if type(child.this) is exp.Escape else child.this
    return type(inside) is exp.Not or bool(inside.args.get("negate"))


def _brackets(node: exp.Expr, hint: str = "put the inner expression into brackets") -> QueryRefused:
    return QueryRefused(
        "construct_refused",
        "databases disagree about which of two operators here comes first",
        hint=hint,
        **position(node),
    )
