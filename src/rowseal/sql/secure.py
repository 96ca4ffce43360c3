"""ParsedQuery x Policy -> Draft: every read of a dataset becomes a read of its guard.

Guards stand at the head of the statement, one for each occurrence, used once. The bearer's CTEs are renamed. After that no name that
the bearer chose stands where a table is looked up, so a mistake about scopes ends in "no such table", never in a leak.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlglot import exp
from sqlglot.errors import SqlglotError

from rowseal.catalog import Limits
from rowseal.errors import AccessRefused, QueryRefused
from rowseal.policy import Policy, Rows
from rowseal.sql import BIND, Draft, DraftGuard, Form
from rowseal.sql.admit import ParsedQuery, let_go
from rowseal.sql.barrier import barrier
from rowseal.sql.dialects import Dialect
from rowseal.sql.guards import encoded, render
from rowseal.sql.names import DatasetLookup, Occurrence, Permitted
from rowseal.sql.parameters import Parameters
from rowseal.sql.resolve import resolve
from rowseal.sql.rewriting import cover, fold_aliases, name_computed, refer, rename, unqualify, without_brackets, write, write_stars
from rowseal.sql.searches import refuse_long_searches

__all__ = ["refill", "secure"]


def secure(parsed: ParsedQuery, policy: Policy, datasets: DatasetLookup, limits: Limits, *, only: str | None = None) -> Draft:
    """Bind the policy into the query. The parsed tree is consumed.

    `only` is the id of the one dataset that the request says the query reads. Raises QueryRefused, AccessRefused, BudgetExceeded.
    """
    try:
        return _secured(parsed, policy, datasets, limits, only)
    finally:
        let_go(parsed.nodes)


def _secured(parsed: ParsedQuery, policy: Policy, datasets: DatasetLookup, limits: Limits, only: str | None) -> Draft:
    dialect, tree = parsed.dialect, without_brackets(parsed.tree)
    tables = Permitted(datasets, policy)
    names = resolve(tree, tables, dialect)
    if only is not None and any(occurrence.rows.dataset.id != only for occurrence in tables.occurrences):
        raise AccessRefused("dataset_not_asked")
    wall = barrier(tree, names, dialect, parsed.params, tables.occurrences)
    refuse_long_searches(parsed.nodes, names, parsed.params, patterns=not dialect.bounds_patterns)
    name_computed(tree, names, dialect)
    unqualify(names)
    if wall.covered:
        parsed.nodes.extend(write_stars(wall.stars))
        parsed.nodes.extend(cover(wall.covered, tables.occurrences))
    params: dict[str, Any] = {}
    guards = tuple(_guards(tables.occurrences, wall.forms, dialect, params))
    for number, cte in enumerate(names.ctes, 1):
        rename(cte, f"__u{number}", dialect)
    if dialect.aliases_have_case:
        fold_aliases(parsed.nodes, dialect)
    most = min([limits.rows, *(each.rows.most for each in tables.occurrences if each.rows.most is not None)])
    _limit(tree, parsed.params, most + 1)
    if parsed.params:  # one for each parameter in the text: `admit` has compared the two
        _mark_parameters(parsed.nodes, parsed.params, params)
    with_ = tree.args.get("with_")
    if with_ is not None:
        tree.set("with_", None)
    try:
        ctes = tuple(write(cte, dialect) for cte in with_.expressions) if with_ is not None else ()
        body = write(tree, dialect)
    except (SqlglotError, RecursionError) as error:
        raise QueryRefused("construct_refused", "the query cannot be written in this database's dialect") from error
    return Draft(dialect.name, guards, ctes, bool(with_ is not None and with_.args.get("recursive")), body, params, most)


def refill(names: Collection[str], guarded: Sequence[Rows], given: Parameters, dialect: Dialect) -> dict[str, Any]:
    """Values for the binds of a query that was secured before: `names` are all of them, `guarded` the rows behind each guard, in order."""
    values = {f"g{number}_{index}": value for number, rows in enumerate(guarded, 1) for index, value in enumerate(encoded(rows, dialect))}
    return {name: values[name] if name in values else given.bind(name.partition("_")[2]) for name in names}


def _guards(occurrences: Sequence[Occurrence], forms: Sequence[Form], dialect: Dialect, params: dict[str, Any]) -> list[DraftGuard]:
    """A guard for each occurrence; the occurrence becomes a reference to it under the name that the bearer gave."""
    guards = []
    for number, (occurrence, form) in enumerate(zip(occurrences, forms, strict=True), 1):
        node, rows = occurrence.node, occurrence.rows
        for index, value in enumerate(encoded(rows, dialect)):
            params[f"g{number}_{index}"] = value
        guards.append(DraftGuard(number, rows.dataset.id, form, render(rows, dialect, form)))
        refer(node, f"__g{number}")
    return guards


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


def _mark_parameters(nodes: list[exp.Expr], given: Parameters, params: dict[str, Any]) -> None:
    used: dict[str, int] = {}
    for node in nodes:
        if not isinstance(node, exp.Placeholder) or node.parent is None:
            continue  # one that stood in the outermost LIMIT is gone
        # A bind for each place: one without a type takes it from its first place, and the second would be cast to that.
        used[node.this] = used.get(node.this, 0) + 1
        name = f"p_{node.this}" if used[node.this] == 1 else f"p{used[node.this]}_{node.this}"
        params[name] = _whole_number(given[node.this]) if isinstance(node.parent, (exp.Limit, exp.Offset, exp.Fetch)) else given.bind(node.this)
        bind: exp.Expr = exp.Var(this=f"{BIND}{name}{BIND}")
        # A bare word there is a unit's name to the generator, which would write the bind as a string.
        is_unit = isinstance(node.parent, exp.TimestampTrunc) and node.arg_key == "unit"
        node.replace(exp.Paren(this=bind) if is_unit else bind)


def _whole_number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise QueryRefused("parameter_refused", "LIMIT and OFFSET take a whole number that is not negative")
    return value
