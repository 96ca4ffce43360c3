"""Proves how the bearer's part uses the columns by which guards hand on whether their conditions hold: to ask before a CASE goes on, and no
other way. Nobody gets to see one of them, and none of them decides anything else.

And a second look at the barrier itself, coarser than the first and without its help: what raises on every database's own account, in a WHERE
or ON, on a column of a guard that is not fenced, asks that guard first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from sqlglot import exp

from rowseal.catalog import Dataset
from rowseal.catalog.names import ascii_lower
from rowseal.sql import OK
from rowseal.sql.proof.failing import fail

__all__ = ["prove_asking", "prove_barrier"]


def prove_barrier(nodes: Sequence[exp.Expr], guards: Mapping[str, Dataset], open_: frozenset[str], raising: frozenset[type[exp.Expr]]) -> None:
    """`guards` are all guards with what they read, `open_` those that drop rows and are not fenced; `raising` the plainest of what raises on this
    database.
    """
    for node in nodes if open_ else ():
        if type(node) not in raising or node.find(exp.AggFunc) is not None:
            continue
        asked, selects = _asked_before(node)
        for column in node.find_all(exp.Column) if selects else ():
            for name in _meant_by(column, selects, guards):
                if name in open_ and f"{OK}{name[3:]}" not in asked:
                    fail("what could raise does not ask whether the row is permitted")


def _asked_before(node: exp.Expr) -> tuple[set[str], list[exp.Select]]:
    """What is asked before the node is computed, and the SELECTs in whose conditions it stands, the innermost first; none where it stands in
    what is computed after conditions: a list, an aggregate.
    """
    asked: set[str] = set()
    selects: list[exp.Select] = []
    below, above = node, node.parent
    while above is not None and not isinstance(above, (exp.Select, exp.AggFunc)):
        if type(above) is exp.If and above.args.get("true") is below:
            asked.update(name.this for name in above.this.find_all(exp.Identifier) if name.this.startswith(OK))
        whole = isinstance(above, (exp.Where, exp.Having)) and isinstance(above.parent, exp.Select)  # and not that of a FILTER
        joined = isinstance(above, exp.Join) and above.args.get("on") is below
        if (whole or joined) and (select := above.find_ancestor(exp.Select)) is not None:
            selects.append(select)
            above = select
        below, above = above, above.parent
    return asked, selects


def _meant_by(column: exp.Column, selects: Sequence[exp.Select], guards: Mapping[str, Dataset]) -> list[str]:
    """The guards that the column may be of: by the name that stands before it, in whatever case, or by its own; nothing where it may be of
    something else than a guard.
    """
    for select in selects:
        tables = list(_read_by(select))
        if column.table:
            named = [table for table in tables if table.alias == column.table] or [
                each for each in tables if ascii_lower(each.alias) == ascii_lower(column.table)
            ]
        else:
            named = [table for table in tables if _hands_on(guards.get(table.name), column.name)]
            if not named and not (len(tables) == _sources(select) and all(table.name in guards for table in tables)):
                return []
        if named:
            return [table.name for table in named]
    return []


def _hands_on(dataset: Dataset | None, name: str) -> bool:
    return dataset is not None and any(not field.hidden and ascii_lower(field.sql_name) == ascii_lower(name) for field in dataset.fields)


def prove_asking(nodes: Sequence[exp.Expr], cased: frozenset[int]) -> None:
    """`nodes` are all of the bearer's part, `cased` the numbers of the guards that hand on such a column."""
    if not cased:
        if any(type(node) is exp.Identifier and node.this.startswith(OK) for node in nodes):
            fail("the statement reads a column that no guard hands on")
        return
    called = {f"__g{number}": f"{OK}{number}" for number in cased}
    columns: dict[str, exp.Identifier] = {}
    for node in nodes:
        if isinstance(node, exp.Table) and node.name in called:
            alias = node.args.get("alias")
            if alias is None or not isinstance(alias.this, exp.Identifier):
                fail("a guard has no alias to ask it by")
            columns[called[node.name]] = alias.this
    unasked = set(columns)
    for node in nodes:
        if isinstance(node, exp.Identifier) and ascii_lower(node.this).startswith(OK):
            _prove_question(node, columns.get(node.this))
            unasked.discard(node.this)
        elif isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count):
            _prove_star(node, {ascii_lower(alias.this) for alias in columns.values()}, called)
    if unasked:
        fail("nobody asks a guard what it says of its conditions")


def _prove_star(star: exp.Star, aliases: Collection[str], called: Collection[str]) -> None:
    """`t.*` is of no guard that says so, by whatever rule of scopes; `*` reads none of them."""
    table = star.parent.args.get("table") if isinstance(star.parent, exp.Column) else None
    select = star.find_ancestor(exp.Select)
    read = (
        {ascii_lower(table.this)} & set(aliases)
        if isinstance(table, exp.Identifier)
        else select is None or any(each.name in called for each in _read_by(select))
    )
    if read:
        fail("a star stands for what a guard says of its conditions too")


def _prove_question(name: exp.Identifier, alias: exp.Identifier | None) -> None:
    """`CASE WHEN NOT alias."__okN" IS FALSE [AND ...] THEN ... END`, and nothing behind ELSE."""
    column = name.parent
    if not isinstance(column, exp.Column) or column.this is not name or alias is None or column.args.get("table") != alias or column.args.get("db"):
        fail("what a guard says of its conditions is asked of another table")
    held = column.parent
    answer = held.args.get("expression") if type(held) is exp.Is else None
    asked = held.parent if held is not None else None
    if type(answer) is not exp.Boolean or answer.this or type(asked) is not exp.Not or not name.args.get("quoted"):
        fail("what a guard says of its conditions is used as something else")
    whole: exp.Expr = asked
    while isinstance(whole.parent, exp.And):
        whole = whole.parent
    branch = whole.parent
    case = branch.parent if isinstance(branch, exp.If) and branch.this is whole else None
    if type(case) is not exp.Case or len(case.args["ifs"]) != 1 or case.this is not None or case.args.get("default") is not None:
        fail("what a guard says of its conditions decides something else")
    if any(type(each) is not exp.Not for each in _conjuncts(whole)):
        fail("what a guard says of its conditions is one condition among others")


def _conjuncts(node: exp.Expr) -> Iterator[exp.Expr]:
    if type(node) is exp.And:
        yield from _conjuncts(node.this)
        yield from _conjuncts(node.expression)
    else:
        yield node


def _read_by(select: exp.Select) -> Iterator[exp.Table]:
    """The tables of a FROM that can be named there, not those in sub-queries."""
    waiting: list[exp.Expr] = [part for part in (select.args.get("from_"), *(select.args.get("joins") or ())) if part is not None]
    while waiting:
        node = waiting.pop()
        if isinstance(node, exp.Table):
            yield node
        if not isinstance(node, (exp.Select, exp.SetOperation)):
            waiting.extend(node.iter_expressions())


def _sources(select: exp.Select) -> int:
    """How many things stand in a FROM, one for each comma and JOIN; brackets around several count as one, and so as nothing that is known."""
    return len(select.args.get("joins") or ()) + (select.args.get("from_") is not None)
