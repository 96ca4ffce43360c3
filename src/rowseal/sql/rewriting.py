"""Changes to the tree of a resolved query that leave its meaning alone: other names for tables and CTEs, names written out; and its text."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any, Final

from sqlglot import exp
from sqlglot.errors import ErrorLevel

from rowseal.errors import QueryRefused
from rowseal.sql import OK
from rowseal.sql.dialects import DIALECTS, Dialect
from rowseal.sql.names import Cte, Names, Occurrence

__all__ = ["arms", "cover", "fold_aliases", "name_computed", "refer", "rename", "unqualify", "without_brackets", "write", "write_stars"]

# Comments are the bearer's bytes; what the generator cannot say in this dialect must be an error, not a warning.
_MAX_ALIAS: Final = 200  # characters; MariaDB takes 256
_LAST_IN_NAMES: Final = 0xFFFF
_GENERATE: Final[dict[str, Any]] = {"comments": False, "normalize_functions": False, "unsupported_level": ErrorLevel.RAISE}


class _Writers(threading.local):
    """A thread's own generator for each dialect: the compiled one never gives back all the memory that making it takes."""

    def __init__(self) -> None:
        self.of = {name: dialect.grammar.generator(**_GENERATE) for name, dialect in DIALECTS.items()}


_WRITERS: Final = _Writers()


def write(node: exp.Expr, dialect: Dialect) -> str:
    """The tree as text, in the one spelling that there is of it. Raises SqlglotError for what the dialect cannot say. The tree is consumed."""
    return str(_WRITERS.of[dialect.name].generate(node, copy=False))


def without_brackets(tree: exp.Query) -> exp.Query:
    """The query without the brackets around the whole of it."""
    while isinstance(tree, exp.Subquery) and all(value in (None, [], False) for name, value in tree.args.items() if name != "this"):
        inner = tree.this
        if not isinstance(inner, exp.Query):
            raise QueryRefused("sql_not_one_select")
        inner.pop()
        tree = inner
    return tree


def name_computed(tree: exp.Query, names: Names, dialect: Dialect) -> None:
    """Write down what computed columns without an alias are called.

    In nested queries, so that the database goes by the names that we went by. In the answer on SQLite, where a column is called as its
    text is, so that it is the bearer's text and not ours.
    """
    outermost = set(map(id, arms(tree)))
    for select, item, name in names.unnamed:
        if dialect.name == "mariadb" and (len(name) > _MAX_ALIAS or any(ord(each) > _LAST_IN_NAMES for each in name)):
            continue  # a name that cannot be written; MariaDB has one of its own
        if id(select) not in outermost:
            called = name
        elif dialect.columns_are_named_by_text and _is_rewritten(item):
            called = _WRITERS.of[dialect.name].generate(item)
        else:
            continue
        items = [exp.Alias(this=each, alias=exp.Identifier(this=called, quoted=True)) if each is item else each for each in select.expressions]
        select.set("expressions", items)


def _is_rewritten(item: exp.Expr) -> bool:
    return item.find(exp.Query, exp.Placeholder) is not None or any(column.args.get("db") for column in item.find_all(exp.Column))


def unqualify(names: Names) -> None:
    """Drop the schema before columns: what stands in FROM afterwards has the table's name, and no schema."""
    for column in names.qualified:
        column.set("db", None)


def write_stars(stars: Iterable[tuple[exp.Select, exp.Expr, Sequence[exp.Column]]]) -> list[exp.Expr]:
    """Each `*` becomes the columns that it stands for. Returns the new nodes."""
    new: list[exp.Expr] = []
    for select, star, columns in stars:
        new += [node for column in columns for node in column.walk()]
        select.set("expressions", [each for item in select.expressions for each in (columns if item is star else [item])])
    return new


def cover(covered: Iterable[tuple[exp.Expr, Sequence[int]]], occurrences: Sequence[Occurrence]) -> list[exp.Expr]:
    """Each expression becomes `CASE WHEN NOT g.__okN IS FALSE THEN expression END`, for the guards with these numbers. Returns the new nodes.

    A row that an outer join has filled with NULLs is none of the guard's, and the expression is computed on it.
    """
    new: list[exp.Expr] = []
    for node, numbers in covered:
        asked: list[exp.Expr] = []
        for number in numbers:
            table = occurrences[number - 1].node
            alias = table.args.get("alias")
            called = alias.this if alias is not None and alias.args.get("this") is not None else table.this
            column = exp.Column(this=exp.Identifier(this=f"{OK}{number}", quoted=True), table=called.copy())
            asked.append(exp.Not(this=exp.Is(this=column, expression=exp.Boolean(this=False))))
        condition = reduce(lambda left, right: exp.And(this=left, expression=right), asked)
        new += condition.walk()
        held = exp.Null()
        node.replace(held)
        case = exp.Case(ifs=[exp.If(this=condition, true=node)])
        held.replace(case)
        new += (case, case.args["ifs"][0])
    return new


def fold_aliases(nodes: list[exp.Expr], dialect: Dialect) -> None:
    """Write every alias of a table, and every column's mention of one, in the one spelling by which `resolve` found it."""
    for node in nodes:
        named = node.args["alias"].args.get("this") if isinstance(node, (exp.Table, exp.Subquery)) and node.args.get("alias") else None
        named = node.args.get("table") if isinstance(node, exp.Column) else named
        if isinstance(named, exp.Identifier):
            named.set("this", dialect.fold(named))


def arms(tree: exp.Expr) -> list[exp.Expr]:
    """The SELECTs whose columns are those of the answer."""
    if isinstance(tree, exp.SetOperation):
        return arms(tree.this) + arms(tree.expression)
    return arms(tree.this) if isinstance(tree, exp.Subquery) else [tree]


def refer(node: exp.Table, name: str, schema: str | None = None) -> None:
    """The table in FROM becomes another one, under the alias, or the name, that it had."""
    alias = node.args.get("alias")
    if alias is None:
        # The name keeps its quotes: it is looked up as the bearer wrote it.
        node.set("alias", exp.TableAlias(this=node.this))
    elif alias.args.get("this") is None:
        alias.set("this", node.this)
    node.set("this", exp.Identifier(this=name, quoted=True))
    node.set("db", None if schema is None else exp.Identifier(this=schema, quoted=True))
    brackets = node.parent
    while isinstance(brackets, exp.Subquery) and not node.args.get("joins") and not brackets.args.get("alias") and not brackets.args.get("joins"):
        brackets.replace(node)  # SQLite forgets the alias of a table in brackets
        brackets = node.parent


def rename(cte: Cte, name: str, dialect: Dialect) -> None:
    """The CTE and every reference to it get another name."""
    for reference in cte.references:
        refer(reference, name)
    alias = cte.node.args["alias"]
    columns = alias.args.get("columns")
    if columns and not dialect.derived_column_lists:
        # The parser's SQLite writer drops the column list of a CTE, which SQLite has: write name and list as one word.
        listed = ", ".join(dialect.quote(identifier.name) for identifier in columns)
        alias.set("this", exp.Var(this=f"{dialect.quote(name)}({listed})"))
        alias.set("columns", None)
    else:
        alias.set("this", exp.Identifier(this=name, quoted=True))
