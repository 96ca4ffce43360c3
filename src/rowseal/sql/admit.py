"""SQL text -> ParsedQuery: one SELECT made of known parts only, or a refusal with the place where it went wrong.

`sieve` has looked at characters and words before the parser sees them. What the parser returns is walked here against the closed
world of `admitted`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

from sqlglot import exp
from sqlglot.errors import ErrorLevel, ParseError, SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from rowseal.catalog import FunctionRules, Limits
from rowseal.catalog.names import ascii_lower
from rowseal.errors import QueryRefused
from rowseal.sql.admitted import CASTS, FUNCTIONS, NODES, SPOKEN_FALSE, Arguments
from rowseal.sql.checks import CHECKS, check_call, check_distinct, check_pattern
from rowseal.sql.cures import TYPES, called, cure, is_construct, part, spoken, syntax_cure
from rowseal.sql.dialects import Dialect
from rowseal.sql.parameters import Parameters, bindable
from rowseal.sql.place import position
from rowseal.sql.precedence import ARROWS, OPERATORS, refuse_mistakable
from rowseal.sql.quiet import QUIET
from rowseal.sql.sieve import words

__all__ = ["ParsedQuery", "admit", "let_go"]

MAX_DEPTH: Final = 160  # of the tree
PARSED: Final = 3  # times `limits.nodes`: the parser makes some nodes twice, and some that it drops
# Classes whose text is data or a name and is judged above, not a keyword.
_TEXTUAL: Final = frozenset({exp.Identifier, exp.Literal, exp.Placeholder, exp.Var, exp.Anonymous, exp.JSONPathKey, exp.JSONPathSubscript})


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """One admitted SELECT. The tree is fresh: whoever secures the query may change it. `nodes` are all of its nodes, in no order.

    `params` has a bindable value for each `:name`.
    """

    tree: exp.Query
    nodes: list[exp.Expr]
    dialect: Dialect
    params: Parameters = field(repr=False)


def admit(sql: str, params: Mapping[str, Any] | None, dialect: Dialect, limits: Limits, functions: FunctionRules) -> ParsedQuery:
    """Accept one SELECT made of admitted parts only. Raises QueryRefused, and nothing else."""
    with QUIET:
        tokens = words(sql, dialect, limits)
        if functions.deny:
            _refuse_denied(tokens, functions)
        tree = _parse(sql, tokens, dialect, limits)
    try:
        found = _walk(tree, dialect, limits, functions, sql)
        bound = bindable({} if params is None else params, found.parameters, dialect)
        for pattern in found.patterns:
            check_pattern(pattern, bound)
    except QueryRefused:
        let_go(tree.walk())
        raise
    return ParsedQuery(tree, found.nodes, dialect, bound)


def let_go(nodes: Iterable[exp.Expr]) -> None:
    """Let the tree be gone when its last user is: as long as its nodes point up as well as down it waits for the garbage collector.

    That one stops every thread, for the longer the more such trees there are.
    """
    for node in list(nodes):
        node.parent = None


def _parse(sql: str, tokens: list[Token], dialect: Dialect, limits: Limits) -> exp.Query:
    try:
        statements = dialect.grammar.parser(error_level=ErrorLevel.IMMEDIATE, max_nodes=limits.nodes * PARSED).parse(tokens, sql)
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        line, column = first.get("line"), first.get("col")
        raise QueryRefused("sql_syntax", hint=syntax_cure(sql, dialect), line=line, column=column) from error
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


def _walk(tree: exp.Query, dialect: Dialect, limits: Limits, functions: FunctionRules, sql: str = "") -> _Found:
    """Every node against the closed world. `sql` is what the tree was parsed from, to say what stands there."""
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
            arguments = _function(node, dialect, functions, sql)
        if kind is exp.Table and not isinstance(node.this, exp.Identifier):
            raise _called_in_from(node.this, dialect, sql)
        if kind is exp.Any and isinstance(node.this, exp.Select | exp.SetOperation):
            node.set("this", exp.Subquery(this=node.this))  # `= SOME (SELECT ..)`, which the parser reads without its brackets and writes in another form
        if kind in CHECKS:
            CHECKS[kind](node)
        if kind is exp.Identifier and ascii_lower(node.this) in dialect.reserved:
            _refuse_reserved(node, dialect)
        elif kind in (exp.NullSafeEQ, exp.NullSafeNEQ) and dialect.name == "sqlite":
            check_distinct(node)
        if kind is exp.Placeholder:
            found.parameters.add(node.this)
        elif kind in (exp.Like, exp.ILike, exp.Glob):
            found.patterns.append(node)
        elif kind is exp.DataType and node.this not in casts:
            name = node.this.name if isinstance(node.this, exp.DType) else ""
            hint = TYPES[dialect.name].get(name)
            raise QueryRefused("construct_refused", f"casts to `{name.lower() or 'this type'}` are not accepted", hint=hint, **position(node.parent or node))
        binds = kind in OPERATORS or kind in ARROWS
        deeper = depth if kind in (exp.And, exp.Or) else depth + 1  # long conditions are written without recursion
        for name, value in node.args.items():
            if value is None or (value is False and (kind, name) not in SPOKEN_FALSE):
                continue
            members = value if type(value) is list else (value,)
            if members and name not in arguments:
                what, hint = part(node, name, value, dialect)
                raise QueryRefused(
                    "construct_refused", f"`{what}` is not accepted", hint=hint, **position(members[0] if isinstance(members[0], exp.Expr) else node)
                )
            for member in members:
                if isinstance(member, exp.Expr):
                    if binds:
                        refuse_mistakable(node, member)
                    stack.append((member, deeper))
                elif kind not in _TEXTUAL and member is not True and type(member) is not exp.DType:
                    words = arguments[name]
                    if words is None or not isinstance(member, str) or member.upper() not in words:
                        raise QueryRefused("construct_refused", f"`{spoken(node, dialect)}` of this kind is not accepted", **position(node))
    return found


def _refuse_reserved(node: exp.Expr, dialect: Dialect) -> None:
    """The parser takes `order` for a name where it can; the database stops, or takes `user` for its own."""
    behind_as = dialect.any_word_behind_as and isinstance(node.parent, exp.Alias)
    if not node.args.get("quoted") and not behind_as:
        raise QueryRefused("sql_syntax", f"`{node.name}` is a word of SQL", hint=f"write the name in quotes: {dialect.quote(node.name)}", **position(node))


def _function(node: exp.Expr, dialect: Dialect, functions: FunctionRules, sql: str) -> Arguments:
    """The arguments that a function may have, or a refusal. `functions.deny` wins over everything, `functions.allow` adds names."""
    if not isinstance(node, exp.Func):
        raise QueryRefused("construct_refused", f"`{spoken(node, dialect)}` is not accepted", hint=cure(node, dialect), **position(node))
    known: Arguments | None
    if type(node) is exp.Anonymous:
        # A quoted function name is another function than the folded one: only plain words are names of functions here.
        names = [ascii_lower(node.this)] if isinstance(node.this, str) else []
        known = FUNCTIONS[dialect.name].get(names[0]) if names else None
    else:
        known = FUNCTIONS[dialect.name].get(type(node))
        names = called(node, dialect) if known is None or functions.allow or functions.deny else []
    arguments = known
    if functions.allow.intersection(names):
        # Whoever allows a function by its name has judged it, whatever its arguments.
        arguments = known or {name: None for name, value in node.args.items() if not isinstance(value, str) or type(node) is exp.Anonymous}
    elif known is not None:
        check_call(node)
    if arguments is None or functions.deny.intersection(names):
        names = _written(node, sql) + names
        what = f"the function `{names[0]}`" if names and not is_construct(node) else f"`{spoken(node, dialect)}`"
        raise QueryRefused("function_refused", f"{what} is not accepted", hint=cure(node, dialect, names), **position(node))
    return arguments


def _called_in_from(node: object, dialect: Dialect, sql: str) -> QueryRefused:
    if not isinstance(node, exp.Expr):
        return QueryRefused("construct_refused", "a table without a name is not accepted")
    names = _written(node, sql) + (called(node, dialect) if isinstance(node, exp.Func) else [])
    if isinstance(node, exp.Anonymous):
        names.append(ascii_lower(str(node.this)))
    return QueryRefused("construct_refused", "a function in FROM is not accepted", hint=cure(node, dialect, names), **position(node))


def _written(node: exp.Expr, sql: str) -> list[str]:
    """What the function is called where it stands: the parser has other names for some."""
    start, end = node.meta.get("start"), node.meta.get("end")
    if not (isinstance(start, int) and isinstance(end, int)):
        return []
    word = sql[start : end + 1]
    return [ascii_lower(word)] if word.isidentifier() and sql[end + 1 :].lstrip().startswith("(") else []


def _refuse_denied(tokens: list[Token], functions: FunctionRules) -> None:
    """A function may have several names, and the tree does not say which was written."""
    for token, following in pairwise(tokens):
        if following.token_type is TokenType.L_PAREN and ascii_lower(token.text) in functions.deny:
            raise QueryRefused(
                "function_refused", f"the function `{ascii_lower(token.text)}` is not accepted", line=token.line, column=token.col - (token.end - token.start)
            )
