"""SQL text -> ParsedQuery: one SELECT made of known parts only, or a refusal with the place where it went wrong.

`sieve` has looked at characters and words before the parser sees them. What the parser returns is walked here against the closed
world of `admitted`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypedDict

from sqlglot import exp
from sqlglot.errors import ErrorLevel, ParseError, SqlglotError
from sqlglot.tokenizer_core import Token

from rowseal.catalog import FunctionRules, Limits
from rowseal.catalog.names import RESERVED_PREFIXES, ascii_lower
from rowseal.errors import QueryRefused
from rowseal.sql.admitted import CASTS, FUNCTIONS, NODES, TIME_UNITS, Arguments
from rowseal.sql.dialects import Dialect
from rowseal.sql.sieve import CONTROL, words

__all__ = ["ParsedQuery", "Place", "admit", "position"]

MAX_DEPTH: Final = 160  # of the tree
MAX_NAME: Final = 63  # bytes
MAX_PATTERN: Final = 1_000  # bytes; a pattern is matched in one step that no deadline interrupts

_PARAMETER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
_NUMBER: Final = re.compile(r"[0-9]{1,100}(\.[0-9]{0,100})?([eE][+-]?[0-9]{1,3})?\Z|\.[0-9]{1,100}([eE][+-]?[0-9]{1,3})?\Z")
# How tightly an operator binds. The parser's precedences are not each database's, so only combinations on which all agree may
# stand without brackets: a tighter operator inside a looser one, and a chain of one kind to the left.
_BOOLEAN, _COMPARISON, _ADDITIVE, _MULTIPLICATIVE, _CONCATENATION = range(5)
_BINDS: Final[dict[type[exp.Expr], int]] = {
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
}
_CHAINS: Final = frozenset({_ADDITIVE, _MULTIPLICATIVE, _CONCATENATION})


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """One admitted SELECT. The tree is fresh: whoever secures the query may change it. `nodes` are all of its nodes, in no order.

    `params` has a bindable value for each `:name`.
    """

    tree: exp.Query
    nodes: list[exp.Expr]
    dialect: Dialect
    params: Mapping[str, Any] = field(repr=False)


def admit(sql: str, params: Mapping[str, Any] | None, dialect: Dialect, limits: Limits, functions: FunctionRules) -> ParsedQuery:
    """Accept one SELECT made of admitted parts only. Raises QueryRefused, and nothing else."""
    tree = _parse(sql, words(sql, dialect, limits), dialect, limits)
    found = _walk(tree, dialect, limits, functions)
    bound = _bindable({} if params is None else params, found.parameters, dialect)
    for pattern in found.patterns:
        _pattern(pattern, bound)
    return ParsedQuery(tree, found.nodes, dialect, bound)


class Place(TypedDict, total=False):
    """Where in the bearer's SQL, as keyword arguments of a refusal. Both count from 1."""

    line: int
    column: int


def position(node: exp.Expr) -> Place:
    """Where a node stands, as far as the parser knows."""
    for candidate in (node, *node.iter_expressions()):
        found = candidate.meta
        if "line" in found:
            return {"line": found["line"], "column": found["col"] - (found["end"] - found["start"])}  # the parser counts to a word's end
    return {}


def _parse(sql: str, tokens: list[Token], dialect: Dialect, limits: Limits) -> exp.Query:
    try:
        statements = dialect.grammar.parser(error_level=ErrorLevel.IMMEDIATE, max_nodes=limits.nodes * 4).parse(tokens, sql)
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        line, column = first.get("line"), first.get("col")
        raise QueryRefused("sql_syntax", line=line, column=column) from error
    except RecursionError as error:
        raise QueryRefused("sql_too_complex", "the SQL nests too deeply") from error
    except (SqlglotError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise QueryRefused("sql_syntax") from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise QueryRefused("sql_not_one_select")
    return statements[0]


class _Found(NamedTuple):
    """What the walk came across: every node, the names of the parameters, and the patterns of LIKE."""

    nodes: list[exp.Expr]
    parameters: set[str]
    patterns: list[exp.Expr]


def _walk(tree: exp.Query, dialect: Dialect, limits: Limits, functions: FunctionRules) -> _Found:
    """Every node against the closed world."""
    nodes, casts = NODES[dialect.name], CASTS[dialect.name]
    found = _Found([], set(), [])
    seen = found.nodes
    stack: list[tuple[exp.Expr, int]] = [(tree, 0)]
    while stack:
        node, depth = stack.pop()
        seen.append(node)
        if len(seen) > limits.nodes or depth > MAX_DEPTH:
            raise QueryRefused("sql_too_complex", f"the SQL has more than {limits.nodes} parts or nests too deeply")
        kind = type(node)
        arguments = nodes.get(kind)
        if arguments is None:
            arguments = _function(node, dialect, functions)
        if kind in _CHECKS:
            _CHECKS[kind](node)
        if kind is exp.Placeholder:
            found.parameters.add(node.this)
        elif kind in (exp.Like, exp.ILike, exp.Glob):
            found.patterns.append(node)
        elif kind is exp.DataType and node.this not in casts:
            raise QueryRefused("construct_refused", "casts to this type are not accepted", **position(node.parent or node))
        binds = kind in _BINDS
        deeper = depth if kind in (exp.And, exp.Or) else depth + 1  # long conditions are written without recursion
        for name, value in node.args.items():
            if value is None or value is False:
                continue
            members = value if type(value) is list else (value,)
            if members and name not in arguments:
                raise QueryRefused("construct_refused", f"`{_spoken(node)}` with `{name.strip('_').replace('_', ' ')}` is not accepted", **position(node))
            for member in members:
                if isinstance(member, exp.Expr):
                    if binds:
                        _unmistakable(node, member)
                    stack.append((member, deeper))
                elif kind not in _TEXTUAL and member is not True and type(member) is not exp.DType:
                    words = arguments[name]
                    if words is None or not isinstance(member, str) or member.upper() not in words:
                        raise QueryRefused("construct_refused", f"`{_spoken(node)}` of this kind is not accepted", **position(node))
    return found


def _function(node: exp.Expr, dialect: Dialect, functions: FunctionRules) -> Arguments:
    """The arguments that a function may have, or a refusal. `functions.deny` wins over everything, `functions.allow` adds names."""
    if not isinstance(node, exp.Func):
        raise QueryRefused("construct_refused", f"`{_spoken(node)}` is not accepted", **position(node))
    if type(node) is exp.Anonymous:
        # A quoted function name is another function than the folded one: only plain words are names of functions here.
        names = [ascii_lower(node.this)] if isinstance(node.this, str) else []
    else:
        names = [name.lower() for name in node.sql_names()]
    admitted = FUNCTIONS[dialect.name]
    key: type[exp.Expr] | str = names[0] if type(node) is exp.Anonymous and names else type(node)
    arguments = admitted.get(key)
    if arguments is None and functions.allow.intersection(names):
        arguments = {name: None for name, value in node.args.items() if not isinstance(value, str) or type(node) is exp.Anonymous}
    if arguments is None or functions.deny.intersection(names) or not names:
        raise QueryRefused("function_refused", f"the function `{names[0] if names else _spoken(node)}` is not accepted", **position(node))
    return arguments


def _spoken(node: exp.Expr) -> str:
    """What the construct is called in a message: the parser's class name in words (`JSONTable` -> `json table`)."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(node).__name__).lower()


def _unmistakable(parent: exp.Expr, child: exp.Expr) -> None:
    outer, inner = _BINDS[type(parent)], _BINDS.get(type(child))
    if inner is None or (type(parent) in (exp.In, exp.Between) and child is not parent.this and inner > _COMPARISON):
        return
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


def _brackets(node: exp.Expr) -> QueryRefused:
    return QueryRefused(
        "construct_refused",
        "databases disagree about which of two operators here comes first",
        hint="put the inner expression into brackets",
        **position(node),
    )


def _identifier(node: exp.Expr) -> None:
    name = node.this
    if not isinstance(name, str) or not name:
        raise QueryRefused("construct_refused", "an empty name is not accepted", **position(node))
    if len(name) > MAX_NAME or len(name.encode(errors="replace")) > MAX_NAME:
        raise QueryRefused("construct_refused", f"a name is longer than {MAX_NAME} bytes, which PostgreSQL cuts", **position(node))
    if name.lower().startswith(RESERVED_PREFIXES):
        raise QueryRefused("name_reserved", **position(node))


def _table(node: exp.Expr) -> None:
    if not isinstance(node.this, exp.Identifier):
        raise QueryRefused("construct_refused", "a function in FROM is not accepted", **position(node))


def _column(node: exp.Expr) -> None:
    if not isinstance(node.this, (exp.Identifier, exp.Star)):
        raise QueryRefused("construct_refused", **position(node))


def _literal(node: exp.Expr) -> None:
    text = node.this
    if node.args.get("is_string"):
        if CONTROL.search(text):
            raise QueryRefused("sql_character", "a string literal holds a control character", **position(node))
    elif not _NUMBER.match(text):
        raise QueryRefused("construct_refused", "a number of this form is not accepted", **position(node))


def _placeholder(node: exp.Expr) -> None:
    if not isinstance(node.this, str) or not _PARAMETER.match(node.this):
        raise QueryRefused("construct_refused", "a parameter of this form is not accepted", hint="write parameters as `:name`", **position(node))


def _var(node: exp.Expr) -> None:
    if str(node.this).upper() not in TIME_UNITS or not isinstance(node.parent, (exp.Extract, exp.Interval, exp.TimestampTrunc)):
        raise QueryRefused("construct_refused", "a word stands here that is not accepted", **position(node.parent or node))


def _lateral(node: exp.Expr) -> None:
    if not isinstance(node.this, exp.Subquery):
        raise QueryRefused("construct_refused", "LATERAL is accepted only before a sub-query", **position(node))


def _count_of_rows(node: exp.Expr) -> None:
    value = node.args.get("expression") or node.args.get("count")
    if isinstance(value, exp.Placeholder) or (isinstance(value, exp.Literal) and str(value.this).isdigit() and not value.args.get("is_string")):
        return
    raise QueryRefused("construct_refused", "LIMIT and OFFSET take a whole number or a parameter", **position(node))


def _cte(node: exp.Expr) -> None:
    if not isinstance(node.this, exp.Query):
        raise QueryRefused("construct_refused", "a CTE that is not a SELECT is not accepted", **position(node))


def _group(node: exp.Expr) -> None:
    # The same sub-query in the SELECT list would be another one here, with guards of its own.
    if node.find(exp.Query) is not None:
        raise QueryRefused("construct_refused", "a sub-query in GROUP BY is not accepted", hint="give it a name in a sub-query in FROM", **position(node))


def _frame(node: exp.Expr) -> None:
    # A negative or null offset raises, but only once there is a row.
    for side in (node.args.get("start"), node.args.get("end")):
        if isinstance(side, exp.Expr) and not (isinstance(side, exp.Literal) and str(side.this).isdigit() and not side.args.get("is_string")):
            raise QueryRefused("construct_refused", "a window's frame takes whole numbers", **position(node.parent or node))


def _array(node: exp.Expr) -> None:
    if any(isinstance(member, exp.Array) for member in node.expressions):
        raise QueryRefused("construct_refused", "an array of arrays is not accepted", **position(node))


# The few things about a node that its class and arguments do not say.
_CHECKS: Final[Mapping[type[exp.Expr], Callable[[exp.Expr], None]]] = {
    exp.Identifier: _identifier,
    exp.Table: _table,
    exp.Column: _column,
    exp.Literal: _literal,
    exp.Placeholder: _placeholder,
    exp.Var: _var,
    exp.Lateral: _lateral,
    exp.Limit: _count_of_rows,
    exp.Offset: _count_of_rows,
    exp.Fetch: _count_of_rows,
    exp.CTE: _cte,
    exp.Array: _array,
    exp.WindowSpec: _frame,
    exp.Group: _group,
}
# Classes whose text is data or a name and is judged above, not a keyword.
_TEXTUAL: Final = frozenset({exp.Identifier, exp.Literal, exp.Placeholder, exp.Var, exp.Anonymous, exp.JSONPathKey, exp.JSONPathSubscript})


def _pattern(node: exp.Expr, params: Mapping[str, Any]) -> None:
    """A pattern that ends in its escape character is an error that PostgreSQL may also meet while it plans, on values from its statistics."""
    pattern, escape = node.args["expression"], "\\"
    if isinstance(node.parent, exp.Escape):
        literal = node.parent.expression
        if not (isinstance(literal, exp.Literal) and literal.args.get("is_string") and len(literal.this) == 1):
            raise QueryRefused("construct_refused", "ESCAPE takes one character", **position(node))
        escape = literal.this
    text = _constant_text(pattern, params)
    if text is None:
        if not isinstance(pattern, exp.Column):
            raise QueryRefused("construct_refused", "a pattern is a string, a parameter or a column", **position(node))
    elif len(text.encode(errors="replace")) > MAX_PATTERN:
        raise QueryRefused("sql_too_complex", f"a pattern is longer than {MAX_PATTERN} bytes", **position(node))
    elif type(node) is not exp.Glob and (len(text) - len(text.rstrip(escape))) % 2:
        raise QueryRefused("construct_refused", "a pattern must not end with its escape character", **position(node))


def _constant_text(node: exp.Expr, params: Mapping[str, Any]) -> str | None:
    """The text that strings and parameters, joined by `||`, come to; None where a row has a part in it."""
    match node:
        case exp.Literal():
            return str(node.this)
        case exp.Placeholder():
            value = params[node.this]
            return value if isinstance(value, str) else ""
        case exp.Paren():
            return _constant_text(node.this, params)
        case exp.DPipe():
            left, right = _constant_text(node.this, params), _constant_text(node.expression, params)
            return None if left is None or right is None else left + right
        case _:
            return None


def _bindable(params: object, named: set[str], dialect: Dialect) -> dict[str, Any]:
    if not isinstance(params, Mapping):
        raise QueryRefused("parameter_refused", "the parameters are not an object of names and values")
    if missing := sorted(named - params.keys()):
        raise QueryRefused("parameter_missing", f"there is no value for the parameter `:{missing[0]}`")
    if unused := sorted(str(name) for name in params.keys() - named):
        raise QueryRefused("parameter_unused", f"the SQL does not name the parameter `{unused[0]}`")
    for name, value in params.items():
        if not _is_bindable(value, dialect):
            raise QueryRefused("parameter_refused", f"the value of `:{name}` has a type or size that cannot be bound")
    return dict(params)


def _is_bindable(value: Any, dialect: Dialect) -> bool:
    match value:
        case None | bool():
            return True
        case int():
            return -(2**63) <= value < 2**63
        case float():
            return math.isfinite(value)
        case Decimal():
            return dialect.name == "postgres" and value.is_finite()
        case str():
            return len(value) <= 65_536 and "\0" not in value and not any(0xD800 <= ord(character) <= 0xDFFF for character in value)
        case _:
            return False
