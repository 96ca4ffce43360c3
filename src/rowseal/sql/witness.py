"""Draft -> SecuredQuery: reads the finished text again and proves it, sharing no code with whoever wrote it.

Two proofs. Of each guard: that its text reads the one table it claims, hands on the declared fields, and drops every row that the
policy does not permit (once per shape of the policy; the bound values every time). Of the rest: that it reads guards and its own
CTEs and nothing else, each guard once. The statement that runs is put together here, from proven parts only.

A disagreement is a bug of ours: OurBug, and nothing runs.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlglot import exp
from sqlglot.errors import ErrorLevel

from rowseal.errors import AccessRefused, OurBug
from rowseal.policy import Policy, Rows, Shaped
from rowseal.sql import _SEAL, BIND, NUMBER, Draft, GuardedRead, Plan, SecuredQuery
from rowseal.sql.proof import BOUND, READINGS, fail, parsed, prove_guard
from rowseal.sql.proof.asking import prove_asking, prove_barrier

__all__ = ["again", "attest", "prove"]

_READS_WITHOUT_TABLE: Final = (exp.DDL, exp.DML, exp.Command, exp.Into, exp.Lock, exp.Pragma, exp.Attach, exp.Set, exp.Unnest, exp.Pivot, exp.TableSample)


# Where CASE keeps an expression from a row, by the witness's own account.
_CASE_IS_A_WALL: Final = frozenset({"postgres"})


class _Writers(threading.local):
    """A thread's own generator for each dialect: the compiled one never gives back all the memory that making it takes."""

    def __init__(self) -> None:
        options: dict[str, Any] = {"comments": False, "normalize_functions": False, "unsupported_level": ErrorLevel.RAISE}
        self.of = {name: reading.grammar.generator(**options) for name, reading in READINGS.items()}


_WRITERS: Final = _Writers()


def attest(draft: Draft, policy: Policy) -> SecuredQuery:
    """Prove the draft against the policy and seal it. Raises OurBug, and nothing else, where the proof fails."""
    return again(prove(draft, policy), policy, draft.params)


def prove(draft: Draft, policy: Policy) -> Plan:
    """Prove the text of the draft, whatever the values. Raises OurBug."""
    if draft.dialect != policy.catalog.dialect or not 0 < draft.row_limit <= policy.catalog.limits.rows:
        fail("the draft is for another database, or hands out more rows than it may")
    reads: dict[str, frozenset[tuple[str, str]]] = {}
    heads: list[str] = []
    guards: list[GuardedRead] = []
    shapes: list[Shaped] = []
    own: set[str] = set()
    open_: list[int] = []
    for position, guard in enumerate(draft.guards, 1):
        if guard.number != position:
            fail("guards are not numbered in order")
        if guard.form == "case" and draft.dialect not in _CASE_IS_A_WALL:
            fail("a guard trusts CASE on a database where it is no wall")
        rows = _rows(guard.dataset, policy)
        if rows.most is not None and draft.row_limit > rows.most:
            fail("the draft hands out more rows than the grant permits")
        proven = prove_guard(guard.text, draft.dialect, Shaped(rows), guard.form)
        reads |= {f"__g{position}{inside}": tables for inside, tables in proven.reads.items()}
        guards.append(GuardedRead(guard.dataset, guard.form))
        if guard.form != "fenced" and rows.predicate.parts:
            open_.append(position)
        shapes.append(Shaped.of(rows))
        own |= {f"g{position}_{index}" for index in range(len(rows.values))}
        heads.append(guard.text.replace(NUMBER, str(position)))
    used = _prove_rest(draft, policy, open_)
    if any(name in own or not re.match(r"p[0-9]*_", name) for name in used):
        fail("the bearer's part reads a guard's value")
    with_ = ", ".join((*heads, *draft.ctes))
    text = f"WITH {'RECURSIVE ' if draft.recursive else ''}{with_} {draft.body}" if with_ else draft.body
    parts = text.split(BIND)
    names = tuple(parts[1::2])
    if set(names) != own | used:
        fail("the binds of the text are not those of the guards and of the bearer's part")
    return Plan._sealed(
        _SEAL,
        shapes=tuple(shapes),
        dialect=draft.dialect,
        pieces=tuple(parts[0::2]),
        names=names,
        connection=policy.catalog.connection,
        datasets=tuple(dict.fromkeys(guard.dataset for guard in draft.guards)),
        guards=tuple(guards),
        reads=reads,
        row_limit=draft.row_limit,
        database=policy.catalog.database,
    )


def again(plan: Plan, policy: Policy, params: Mapping[str, Any]) -> SecuredQuery:
    """The proven text with this policy's values. Raises OurBug where they are not the policy's, or the policy is of another shape."""
    guarded = [_rows(guard.dataset, policy) for guard in plan.guards]
    # INVARIANT: a text is proven for shapes, and no policy of another shape is ever read through it.
    if tuple(map(Shaped.of, guarded)) != plan.shapes:
        fail("a text was proven for a policy of another shape")
    _prove_values(params, {f"g{number}_{index}": value for number, rows in enumerate(guarded, 1) for index, value in enumerate(rows.values)})
    if params.keys() != set(plan.names):
        fail("there are values that nobody reads, or reads without a value")
    return SecuredQuery._sealed(
        _SEAL,
        dialect=plan.dialect,
        pieces=plan.pieces,
        names=plan.names,
        params=params,
        connection=plan.connection,
        datasets=plan.datasets,
        guards=plan.guards,
        reads=plan.reads,
        row_limit=plan.row_limit,
        database=plan.database,
        expires_at=policy.grant.expires_at,
    )


def _rows(name: str, policy: Policy) -> Rows:
    dataset = policy.catalog.datasets.get(name)
    try:
        if dataset is not None:
            return policy.rows(dataset)
    except AccessRefused as error:
        raise OurBug("witness: a guard for a dataset that the policy refuses") from error
    raise OurBug("witness: a guard for no dataset")


class _Concerned(dict[type[exp.Expr], bool]):
    """Whether any check of `_prove_rest` is about nodes of a class. Asked once for each class, because asking at each node costs more than parsing."""

    def __missing__(self, kind: type[exp.Expr]) -> bool:
        self[kind] = found = issubclass(kind, (*_READS_WITHOUT_TABLE, exp.In, exp.Lateral, exp.CTE, exp.Table))
        return found


_CONCERNED: Final = _Concerned()


def _prove_rest(draft: Draft, policy: Policy, open_: Collection[int]) -> frozenset[str]:
    """The bearer's CTEs and body: they read guards and each other, nothing else. `open_` are the guards that drop rows and are not fenced.

    Returns the names of the binds in them.
    """
    prefix = f"WITH {'RECURSIVE ' if draft.recursive else ''}{', '.join(draft.ctes)} " if draft.ctes else ""
    text = prefix + draft.body
    if NUMBER in text or BIND in BOUND.sub("", text):
        fail("a control character stands in the text")
    tree = parsed(text, draft.dialect)
    guards = {f"__g{guard.number}": 0 for guard in draft.guards}
    defined: set[str] = set()
    nodes = list(tree.walk())
    concerned = [node for node in nodes if _CONCERNED[type(node)]]
    for cte in concerned:
        if not isinstance(cte, exp.CTE):
            continue
        name = cte.alias
        if not re.fullmatch(r"__u[0-9]+", name) or name in defined:
            fail("a CTE of the bearer keeps its name")
        defined.add(name)
    for node in concerned:
        if isinstance(node, _READS_WITHOUT_TABLE) or (isinstance(node, exp.In) and (node.args.get("field") or node.args.get("unnest"))):
            fail("the statement reads or writes without naming a table")
        if isinstance(node, exp.Lateral) and not isinstance(node.this, exp.Subquery):
            fail("the statement calls a function in FROM")
        if isinstance(node, exp.Table):
            name = node.name if type(node.this) is exp.Identifier and not node.args.get("db") and not node.args.get("catalog") else ""
            if name in guards:
                guards[name] += 1
            elif name not in defined:
                fail("the statement reads a table that is neither a guard nor its own CTE")
    if any(uses != 1 for uses in guards.values()):
        fail("a guard is not used exactly once")
    prove_asking(nodes, frozenset(guard.number for guard in draft.guards if guard.form == "case"))
    read = {f"__g{guard.number}": policy.catalog.datasets[guard.dataset] for guard in draft.guards}
    prove_barrier(nodes, read, frozenset(f"__g{number}" for number in open_), READINGS[draft.dialect].raising)
    # The text means what was checked only if reading and writing it again gives the same text.
    if draft.dialect == "sqlite":
        _keep_column_lists(concerned)
    if _WRITERS.of[draft.dialect].generate(tree, copy=False) != BOUND.sub(READINGS[draft.dialect].bind, text):
        fail("the statement reads back as another statement")
    for node in nodes:
        node.parent = None  # a tree that points up as well as down waits for the garbage collector, which costs more than this
    return frozenset(BOUND.findall(text))


def _keep_column_lists(nodes: list[exp.Expr]) -> None:
    """The parser reads SQLite's CTE column lists but does not write them; as one word with the name they are kept."""
    for node in nodes:
        columns = node.args["alias"].args.get("columns") if isinstance(node, exp.CTE) else None
        if columns:
            listed = ", ".join('"' + column.name.replace('"', '""') + '"' for column in columns)
            node.set("alias", exp.TableAlias(this=exp.Var(this=f'"{node.alias}"({listed})')))


def _prove_values(params: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Each guard's binds hold exactly the policy's values."""
    for name, value in expected.items():
        bound = params.get(name)
        if isinstance(value, tuple):
            members = _members(bound)
            if members != value or set(map(type, members)) != set(map(type, value)):
                fail("a guard binds other values than the policy's")
        elif bound != value or type(bound) is not type(value):
            fail("a guard binds another value than the policy's")


def _members(bound: object) -> tuple[Any, ...]:
    """The values of a list as a driver takes it: one array, or one JSON text."""
    try:
        found = json.loads(bound) if isinstance(bound, str) else bound
    except ValueError:
        found = None
    return tuple(found) if isinstance(found, list) else fail("a guard binds no list where the policy has one")
