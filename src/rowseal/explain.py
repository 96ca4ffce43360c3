"""What a query was made into, and why: for whoever writes policies and wonders about an answer.

It names tables, columns and rules that a bearer has no business to know, so it is for operators, and for the bearers that a key's
`explain: true` names. Values stay withheld all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from itertools import count
from typing import Any, NotRequired, TypedDict

from rowseal.catalog import ThroughFilter
from rowseal.catalog.values import LIST_OPERATORS
from rowseal.errors import OurBug
from rowseal.grants import filter_paths
from rowseal.mapping import shown
from rowseal.policy import Condition, Policy, Predicate, Rows, Through
from rowseal.sql import Form, SecuredQuery

__all__ = ["Bind", "Explanation", "Origin", "Read", "explain"]


class Bind(TypedDict):
    """A value that is bound, without the value."""

    name: str
    type: str


class Origin(TypedDict):
    """One filter of a guard, and where it was written: a path in the claims, or `datasets.yaml:LINE`.

    `binds` are the names of its values in the text. `through` is the parent dataset whose own filters hold, which then are `filters`.
    """

    origin: str
    field: NotRequired[str]
    op: NotRequired[str]
    binds: NotRequired[list[str]]
    through: NotRequired[str]
    on: NotRequired[dict[str, str]]
    filters: NotRequired[list[Origin]]


class Read(TypedDict):
    """One place where the query reads a dataset.

    `form` says what keeps the query's own expressions from other rows. `plain`: nothing has to, because none of them can raise. `case`: what
    could raise is computed only where the guard's `__okN` holds. `fenced`: the filters have run before anything of the query's own is computed.
    """

    guard: str
    dataset: str
    form: Form
    filters: list[Origin]


class Explanation(TypedDict):
    """All of it, as it goes into JSON."""

    connection: str
    dialect: str
    sql: str
    binds: list[Bind]
    reads: list[Read]


def explain(query: SecuredQuery, policy: Policy) -> Explanation:
    """What the database gets for the query, and which filter came from where. `policy` is the one that secured it."""
    return {
        "connection": query.connection,
        "dialect": query.dialect,
        "sql": query.sql,
        "binds": [{"name": name, "type": _type(value)} for name, value in query.params.items()],
        "reads": [
            {
                "guard": f"__g{number}",
                "dataset": read.dataset,
                "form": read.form,
                "filters": list(_filters(policy.rows(policy.catalog.datasets[read.dataset]), policy, (f"g{number}_{each}" for each in count()))),
            }
            for number, read in enumerate(query.guards, 1)
        ],
    }


def _filters(rows: Rows, policy: Policy, binds: Iterator[str]) -> Iterator[Origin]:
    """The filters of these rows in the order of their binds: the token's values in a SELECT, its own filters, then the configuration's."""
    dataset, parts = rows.dataset, rows.predicate.parts
    for each in () if dataset.source is None else dataset.source.trusted:
        yield {"origin": shown(each.path), "binds": [next(binds)]}
    own = len(parts) - len(dataset.secure_filters)
    conditions = [condition for part in parts[:own] for condition in _conditions(part)]
    paths = filter_paths(policy.grant, dataset.id)
    if len(paths) != len(conditions):
        raise OurBug("a filter of the token has no place in it")
    for path, condition in zip(paths, conditions, strict=True):
        yield _condition(path, condition, binds)
    for rule, part in zip(dataset.secure_filters, parts[own:], strict=True):
        origin = f"datasets.yaml:{rule.line}"
        if isinstance(rule, ThroughFilter) and isinstance(part, Through):
            yield {"origin": origin, "through": rule.parent, "on": dict(rule.on), "filters": list(_filters(part.parent, policy, binds))}
        elif isinstance(part, Condition):
            yield _condition(origin, part, binds)
        else:
            raise OurBug("a filter of the configuration became something else")


def _conditions(part: Predicate) -> Iterator[Condition]:
    if isinstance(part, Condition):
        yield part
    elif not isinstance(part, Through):
        for inner in part.parts:
            yield from _conditions(inner)


def _condition(origin: str, condition: Condition, binds: Iterator[str]) -> Origin:
    bound = 1 if condition.op in LIST_OPERATORS else len(condition.values)
    return {"origin": origin, "field": condition.field.id, "op": condition.op.value, "binds": [next(binds) for _ in range(bound)]}


def _type(value: Any) -> str:
    kinds = ((bool, "boolean"), (int, "number"), (float, "number"), (Decimal, "number"), (str, "text"), (datetime, "moment"), (date, "date"), (list, "list"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null" if value is None else type(value).__name__.lower())
