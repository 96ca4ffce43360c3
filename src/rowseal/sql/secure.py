"""ParsedQuery x Policy -> Draft: every read of a dataset becomes a read of its guard.

Guards stand at the head of the statement, one for each occurrence, used once. The bearer's CTEs are renamed. After that no name that
the bearer chose stands where a table is looked up, so a mistake about scopes ends in "no such table", never in a leak.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final

from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from rowseal.catalog import Limits
from rowseal.errors import AccessRefused, QueryRefused
from rowseal.policy import Policy
from rowseal.sql import BIND, Draft, DraftGuard
from rowseal.sql.admit import ParsedQuery
from rowseal.sql.barrier import needs_fence
from rowseal.sql.dialects import DIALECTS, Dialect
from rowseal.sql.guards import encoded, render
from rowseal.sql.names import Cte, DatasetLookup, Names
from rowseal.sql.resolve import resolve

__all__ = ["GENERATE", "secure"]

# Comments are the bearer's bytes; what the generator cannot say in this dialect must be an error, not a warning.
GENERATE: Final[dict[str, Any]] = {"comments": False, "normalize_functions": False, "unsupported_level": ErrorLevel.RAISE}


class _Writers(threading.local):
    """A thread's own generator for each dialect: the compiled one never gives back all the memory that making it takes."""

    def __init__(self) -> None:
        self.of = {name: dialect.grammar.generator(**GENERATE) for name, dialect in DIALECTS.items()}


_WRITERS: Final = _Writers()


def secure(parsed: ParsedQuery, policy: Policy, datasets: DatasetLookup, limits: Limits, *, only: str | None = None) -> Draft:
    """Bind the policy into the query. The parsed tree is consumed.

    `only` is the id of the one dataset that the request says the query reads. Raises QueryRefused, AccessRefused, BudgetExceeded.
    """
    dialect, tree = parsed.dialect, _without_brackets(parsed.tree)
    names = resolve(tree, datasets, policy, dialect)
    if only is not None and any(occurrence.rows.dataset.id != only for occurrence in names.occurrences):
        raise AccessRefused("dataset_not_asked")
    fenced = needs_fence(tree, names, dialect, parsed.params)
    _name_computed(tree, names, dialect)
    for column in names.qualified:
        column.set("db", None)  # a guard has the table's name, and no schema
    params: dict[str, Any] = {}
    guards = tuple(_guards(names, dialect, params, fenced=fenced))
    for number, cte in enumerate(names.ctes, 1):
        _rename(cte, number, dialect)
    _limit(tree, parsed.params, limits.rows + 1)
    if parsed.params:  # one for each parameter in the text: `admit` has compared the two
        _mark_parameters(parsed.nodes, parsed.params, params)
    with_ = tree.args.get("with_")
    if with_ is not None:
        tree.set("with_", None)
    try:
        writer = _WRITERS.of[dialect.name]
        ctes = tuple(writer.generate(cte, copy=False) for cte in with_.expressions) if with_ is not None else ()
        body = writer.generate(tree, copy=False)
    except (SqlglotError, RecursionError) as error:
        raise QueryRefused("construct_refused", "the query cannot be written in this database's dialect") from error
    for node in parsed.nodes:
        node.parent = None  # a tree that points up as well as down waits for the garbage collector, which costs more than this
    return Draft(dialect.name, guards, fenced, ctes, bool(with_ is not None and with_.args.get("recursive")), body, params, limits.rows)


def _without_brackets(tree: exp.Query) -> exp.Query:
    while isinstance(tree, exp.Subquery) and all(value in (None, [], False) for name, value in tree.args.items() if name != "this"):
        inner = tree.this
        if not isinstance(inner, exp.Query):
            raise QueryRefused("sql_not_one_select")
        inner.pop()
        tree = inner
    return tree


def _name_computed(tree: exp.Query, names: Names, dialect: Dialect) -> None:
    """Write down what computed columns without an alias are called.

    In nested queries, so that the database goes by the names that we went by. In the answer on SQLite, where a column is called as its
    text is, so that it is the bearer's text and not ours.
    """
    outermost = set(map(id, _arms(tree)))
    for select, item, name in names.unnamed:
        if id(select) not in outermost:
            called = name
        elif dialect.columns_are_named_by_text and _is_rewritten(item):
            called = dialect.grammar.generate(item, **GENERATE)
        else:
            continue
        items = [exp.Alias(this=each, alias=exp.Identifier(this=called, quoted=True)) if each is item else each for each in select.expressions]
        select.set("expressions", items)


def _is_rewritten(item: exp.Expr) -> bool:
    return item.find(exp.Query, exp.Placeholder) is not None or any(column.args.get("db") for column in item.find_all(exp.Column))


def _arms(tree: exp.Expr) -> list[exp.Expr]:
    if isinstance(tree, exp.SetOperation):
        return _arms(tree.this) + _arms(tree.expression)
    return _arms(tree.this) if isinstance(tree, exp.Subquery) else [tree]


def _guards(names: Names, dialect: Dialect, params: dict[str, Any], *, fenced: bool) -> list[DraftGuard]:
    """A guard for each occurrence; the occurrence becomes a reference to it under the name that the bearer gave."""
    guards = []
    for number, occurrence in enumerate(names.occurrences, 1):
        node, rows = occurrence.node, occurrence.rows
        for index, value in enumerate(encoded(rows, dialect)):
            params[f"g{number}_{index}"] = value
        guards.append(DraftGuard(number, rows.dataset.id, render(rows, dialect, fenced=fenced)))
        _refer(node, f"__g{number}")
    return guards


def _refer(node: exp.Table, name: str) -> None:
    alias = node.args.get("alias")
    if alias is None:
        # The name keeps its quotes: it is looked up as the bearer wrote it.
        node.set("alias", exp.TableAlias(this=node.this))
    elif alias.args.get("this") is None:
        alias.set("this", node.this)
    node.set("this", exp.Identifier(this=name, quoted=True))
    node.set("db", None)
    brackets = node.parent
    while isinstance(brackets, exp.Subquery) and not node.args.get("joins") and not brackets.args.get("alias") and not brackets.args.get("joins"):
        brackets.replace(node)  # SQLite forgets the alias of a table in brackets
        brackets = node.parent


def _rename(cte: Cte, number: int, dialect: Dialect) -> None:
    name = f"__u{number}"
    for reference in cte.references:
        _refer(reference, name)
    alias = cte.node.args["alias"]
    columns = alias.args.get("columns")
    if columns and not dialect.derived_column_lists:
        # The parser's SQLite writer drops the column list of a CTE, which SQLite has: write name and list as one word.
        listed = ", ".join(dialect.quote(identifier.name) for identifier in columns)
        alias.set("this", exp.Var(this=f"{dialect.quote(name)}({listed})"))
        alias.set("columns", None)
    else:
        alias.set("this", exp.Identifier(this=name, quoted=True))


def _limit(tree: exp.Query, params: Mapping[str, Any], most: int) -> None:
    """The outermost query asks for one row more than may be handed out, so that the engine can tell a full answer from a cut one."""
    limited: exp.Expr = tree
    while isinstance(limited, exp.Subquery) and limited.args.get("limit") is None:
        limited = limited.this
    asked = _asked(limited, params)
    if limited is not tree and asked is not None:
        # PostgreSQL takes one LIMIT for a query and the brackets around it, and cutting before the outer ORDER BY would cut other rows.
        if asked >= most:
            raise QueryRefused("construct_refused", "a LIMIT in brackets is larger than the number of rows that are handed out")
        return
    if asked is not None:
        for parameter in list(tree.args["limit"].find_all(exp.Placeholder)):
            parameter.pop()  # its value is a number in the text now, and no bind
    tree.set("limit", exp.Limit(expression=exp.Literal.number(most if asked is None else min(asked, most))))


def _asked(query: exp.Expr, params: Mapping[str, Any]) -> int | None:
    limit = query.args.get("limit")
    if limit is None:
        return None
    counted = limit.args.get("expression") or limit.args.get("count")
    return _whole_number(params[counted.this]) if isinstance(counted, exp.Placeholder) else int(counted.this)


def _mark_parameters(nodes: list[exp.Expr], given: Mapping[str, Any], params: dict[str, Any]) -> None:
    used: dict[str, int] = {}
    for node in nodes:
        if not isinstance(node, exp.Placeholder) or node.parent is None:
            continue  # one that stood in the outermost LIMIT is gone
        # A bind for each place: one without a type takes it from its first place, and the second would be cast to that.
        used[node.this] = used.get(node.this, 0) + 1
        name = f"p_{node.this}" if used[node.this] == 1 else f"p{used[node.this]}_{node.this}"
        params[name] = _whole_number(given[node.this]) if isinstance(node.parent, (exp.Limit, exp.Offset, exp.Fetch)) else given[node.this]
        node.replace(exp.Var(this=f"{BIND}{name}{BIND}"))


def _whole_number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise QueryRefused("parameter_refused", "LIMIT and OFFSET take a whole number that is not negative")
    return value
