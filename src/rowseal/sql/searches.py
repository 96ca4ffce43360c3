"""What a text is searched for must be short: a search is one step of the database, and no deadline ends a step.

A text can be doubled until it has millions of characters. To look for one such text in another takes hours, on either database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlglot import exp

from rowseal.errors import QueryRefused
from rowseal.sql.checks import MAX_PATTERN, alternatives
from rowseal.sql.names import Names
from rowseal.sql.place import position

__all__ = ["MAX_SOUGHT", "refuse_long_searches"]

MAX_SOUGHT: Final = 100  # characters that are written down or given as parameters; a column's are the operator's
_MAX_PARTS: Final = 32

_SOUGHT: Final[Mapping[type[exp.Expr], str]] = {exp.StrPosition: "substr", exp.SplitPart: "delimiter", exp.Trim: "expression"}
_PATTERNS: Final = (exp.Like, exp.ILike)
# None of these makes a text much longer than its parts.
_KNOWN: Final = frozenset(
    {
        *(exp.Column, exp.Identifier, exp.Literal, exp.Placeholder, exp.Null, exp.Paren, exp.DPipe, exp.Concat, exp.Coalesce, exp.Nullif),
        *(exp.Lower, exp.Upper, exp.Trim, exp.Substring, exp.Left, exp.Right, exp.Cast, exp.DataType, exp.DataTypeParam, exp.Any, exp.Array),
    }
)


def refuse_long_searches(nodes: Iterable[exp.Expr], names: Names, params: Mapping[str, Any], *, patterns: bool) -> None:
    """Raises QueryRefused where something is searched for that could be long. `patterns`: of LIKE too, where the database does not bound them."""
    grows = any(_names_itself(cte.node, cte.references) for cte in names.ctes)
    for node in nodes:
        kind = type(node)
        if kind in _SOUGHT:
            sought = node.args.get(_SOUGHT[kind])
            short = sought is None or (_written(sought, params) <= MAX_SOUGHT and _is_bounded(sought, names, grows=grows))
        elif kind is exp.ArrayContainsAll:  # every element of one is looked for among those of the other
            short = any(_is_bounded(side, names, grows=grows) for side in (node.this, node.expression))
        elif patterns and kind in _PATTERNS:
            each = alternatives(node.args["expression"])
            short = all(_written(pattern, params) <= MAX_PATTERN and _is_bounded(pattern, names, grows=grows) for pattern in each)
        else:
            continue
        if short:
            continue
        raise QueryRefused(
            "construct_refused",
            "what is searched for may be long",
            hint=f"search for a string or parameter of at most {MAX_SOUGHT} characters, or for a column of a dataset",
            **position(node),
        )


def _names_itself(cte: exp.Expr, references: Iterable[exp.Expr]) -> bool:
    for reference in references:
        around = reference.parent
        while around is not None:
            if around is cte:
                return True
            around = around.parent
    return False


def _is_bounded(node: exp.Expr, names: Names, *, grows: bool) -> bool:
    """Whether the text is made of a few constants and columns of datasets. `grows`: a CTE names itself, so a column may hold anything."""
    if _is_constant(node):
        return True
    parts = list(node.walk())
    if len(parts) > _MAX_PARTS or any(type(part) not in _KNOWN for part in parts):
        return False
    columns = [part for part in parts if isinstance(part, exp.Column)]
    return not columns or (not grows and all(names.described(column).storage is not None for column in columns))


def _is_constant(node: exp.Expr) -> bool:
    return all(type(part) in _KNOWN and not isinstance(part, exp.Column) for part in node.walk())


def _written(node: exp.Expr, params: Mapping[str, Any]) -> int:
    texts = (part.this if isinstance(part, exp.Literal) else params.get(part.this) for part in node.find_all(exp.Literal, exp.Placeholder))
    return sum(len(str(text)) for text in texts)
