"""Everything that can be done to a draft after it was written, operator by operator: `python -m tests.tampering 20000 [--seed 7]`.

Each operator gives drafts that read other rows, hand on other columns or bind other values than the policy says; the witness must refuse
every one of them. What is left to others stands in `test_tampering`.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeAlias

if __name__ == "__main__":  # the modules of the tests import each other by their own names, as pytest has it
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from sqlglot import exp

import world_policies
from bearers import BEARERS
from policies import draft
from rowseal.catalog import Catalog
from rowseal.errors import OurBug, Refused
from rowseal.policy import Policy
from rowseal.sql import BIND, NUMBER, OK, Draft, Form
from rowseal.sql.dialects import DIALECTS
from rowseal.sql.witness import attest
from strategies import write
from writer import Choices

__all__ = ["OPERATORS", "SPOKEN", "Tally", "explore", "reread", "tamper"]

SPOKEN: Final = ("sqlite", "postgres", "duckdb")  # what `world_policies` and `_read` know how to write
Changed: TypeAlias = "Iterator[Draft | Callable[[], Draft]]"
_BOUND: Final = re.compile(f"{BIND}g{NUMBER}_([0-9]+){BIND}")


# A guard as a tree, and back to the very text that it was


def _read(text: str, dialect: str) -> exp.CTE:
    marked = _BOUND.sub(r"$bind_\1" if dialect == "duckdb" else r":bind_\1", text).replace(NUMBER, "9999")
    tree = DIALECTS[dialect].grammar.parse(f"WITH {marked} SELECT 1")[0]
    assert tree is not None
    cte: exp.CTE = tree.args["with_"].expressions[0]
    return cte


def _text(cte: exp.Expr, dialect: str) -> str:
    text = cte.sql(dialect=DIALECTS[dialect].grammar, comments=False, normalize_functions=False)
    text = re.sub(r"(?:%\(|\$)(bind_[0-9]+)(?:\)s)?", r":\1", text)
    return re.sub(r":bind_([0-9]+)", rf"{BIND}g{NUMBER}_\1{BIND}", text).replace("9999", NUMBER)


def reread(given: Draft) -> Draft:
    """The draft with every guard read and written again, which changes nothing: what the operators do is all that they do."""
    return replace(given, guards=tuple(replace(guard, text=_text(_read(guard.text, given.dialect), given.dialect)) for guard in given.guards))


def _edited(given: Draft, edit: Callable[[exp.CTE], Iterator[Callable[[], Callable[[], None]]]]) -> Changed:
    """What makes a draft, for each change that `edit` offers, guard by guard. A change is made, written, and taken back by what it returned."""
    for number, guard in enumerate(given.guards):
        cte = _read(guard.text, given.dialect)
        for change in list(edit(cte)):

            def changed(number: int = number, cte: exp.CTE = cte, change: Callable[[], Callable[[], None]] = change) -> Draft:
                undo = change()
                text = _text(cte, given.dialect)
                undo()
                return _with_guard(given, number, text)

            yield changed


def _with_guard(given: Draft, number: int, text: str) -> Draft:
    return replace(given, guards=(*given.guards[:number], replace(given.guards[number], text=text), *given.guards[number + 1 :]))


def _swap(node: exp.Expr, other: exp.Expr) -> Callable[[], Callable[[], None]]:
    def change() -> Callable[[], None]:
        node.replace(other)
        return lambda: (other.replace(node), None)[1]

    return change


def _where(cte: exp.CTE) -> Iterator[exp.Expr]:
    """Every node of the guard's conditions, those of a parent's sub-query included."""
    for where in cte.find_all(exp.Where):
        yield from where.this.walk()


def _conditions(cte: exp.CTE) -> Iterator[exp.Expr]:
    """Every condition: what an AND, an OR, brackets or a WHERE holds."""
    for where in cte.find_all(exp.Where):
        for node in where.this.walk():
            if isinstance(node.parent, (exp.And, exp.Or, exp.Where)) and not isinstance(node, (exp.And, exp.Or)):
                yield node


# The operators


def _condition_dropped(given: Draft) -> Changed:
    return _edited(given, lambda cte: (_swap(node, exp.true()) if isinstance(node.parent, exp.Where) else _other_side(node) for node in _conditions(cte)))


def _other_side(node: exp.Expr) -> Callable[[], Callable[[], None]]:
    pair = node.parent
    assert isinstance(pair, (exp.And, exp.Or))
    return _swap(pair, (pair.expression if pair.this is node else pair.this).copy())


def _and_becomes_or(given: Draft) -> Changed:
    return _edited(given, lambda cte: (_swap(n, exp.Or(this=n.this.copy(), expression=n.expression.copy())) for n in _where(cte) if isinstance(n, exp.And)))


def _or_becomes_and(given: Draft) -> Changed:
    return _edited(given, lambda cte: (_swap(n, exp.And(this=n.this.copy(), expression=n.expression.copy())) for n in _where(cte) if isinstance(n, exp.Or)))


_WIDER: Final[dict[type[exp.Expr], tuple[type[exp.Expr], ...]]] = {
    exp.EQ: (exp.GTE, exp.LTE, exp.NEQ, exp.NullSafeEQ),
    exp.NEQ: (exp.EQ, exp.NullSafeNEQ),
    exp.GT: (exp.GTE, exp.NEQ),
    exp.GTE: (exp.GT, exp.LTE),
    exp.LT: (exp.LTE, exp.NEQ),
    exp.LTE: (exp.LT, exp.GTE),
}


def _comparison_widened(given: Draft) -> Changed:
    def edit(cte: exp.CTE) -> Iterator[Callable[[], Callable[[], None]]]:
        for node in _where(cte):
            for other in _WIDER.get(type(node), ()):
                yield _swap(node, other(this=node.this.copy(), expression=node.expression.copy()))

    return _edited(given, edit)


def _condition_negated(given: Draft) -> Changed:
    return _edited(given, lambda cte: (_swap(n, exp.Not(this=exp.Paren(this=n.copy()))) for n in _conditions(cte)))


def _condition_or_true(given: Draft) -> Changed:
    return _edited(given, lambda cte: (_swap(n, exp.Paren(this=exp.Or(this=n.copy(), expression=exp.true()))) for n in _conditions(cte)))


def _null_let_through(given: Draft) -> Changed:
    def edit(cte: exp.CTE) -> Iterator[Callable[[], Callable[[], None]]]:
        for node in _conditions(cte):
            for column in list(node.find_all(exp.Column))[:1]:
                yield _swap(node, exp.Paren(this=exp.Or(this=node.copy(), expression=exp.Is(this=column.copy(), expression=exp.null()))))

    return _edited(given, edit)


def _column_moved(given: Draft) -> Changed:
    """Another column of the same table in its place; in the list that is handed on too, where it may be a hidden one."""

    def edit(cte: exp.CTE) -> Iterator[Callable[[], Callable[[], None]]]:
        columns = list(cte.find_all(exp.Column))
        for node in columns:
            for other in {each.name for each in columns} | {"deleted", "iban"}:
                if other != node.name:
                    yield _swap(node, exp.column(other, table=node.table, quoted=True))
                    break

    return _edited(given, edit)


def _columns_swapped(given: Draft) -> Changed:
    def edit(cte: exp.CTE) -> Iterator[Callable[[], Callable[[], None]]]:
        select = cte.this
        listed = select.expressions
        for index in range(len(listed) - 1):
            yield _listed(select, [*listed[:index], listed[index + 1], listed[index], *listed[index + 2 :]])

    return _edited(given, edit)


def _listed(select: exp.Expr, items: list[exp.Expr]) -> Callable[[], Callable[[], None]]:
    def change() -> Callable[[], None]:
        before = list(select.expressions)
        select.set("expressions", items)
        return lambda: select.set("expressions", before)

    return change


def _hand_on_list_changed(given: Draft) -> Changed:
    """A column more, a hidden one, one less, all of them, one computed, one under another name."""

    def edit(cte: exp.CTE) -> Iterator[Callable[[], Callable[[], None]]]:
        select, listed = cte.this, cte.this.expressions
        hidden = exp.column("deleted", table="b", quoted=True)
        for more in (exp.alias_(hidden, "deleted", quoted=True), exp.Star(), listed[0].copy(), exp.alias_(exp.Literal.number(1), "n", quoted=True)):
            yield _listed(select, [*listed, more])
        yield _listed(select, [exp.Star()])
        yield _listed(select, listed[1:])
        yield _listed(select, listed[:-1])
        yield _listed(select, [exp.alias_(exp.Max(this=listed[0].this.copy()), listed[0].alias, quoted=True), *listed[1:]])
        yield _listed(select, [exp.alias_(listed[0].this.copy(), "other", quoted=True), *listed[1:]])

    return _edited(given, edit)


def _table_replaced(given: Draft) -> Changed:
    """Another table, or the same name in another schema; a parent's too."""

    def edit(cte: exp.CTE) -> Iterator[Callable[[], Callable[[], None]]]:
        for node in cte.find_all(exp.Table):
            if node.args.get("db") is None:
                continue
            for schema, table in ((node.text("db"), "salaries"), ("temp", node.name), ("", node.name), (node.text("db"), node.name.upper())):
                other = node.copy()
                other.set("this", exp.to_identifier(table, quoted=True))
                other.set("db", exp.to_identifier(schema, quoted=True) if schema else None)
                yield _swap(node, other)

    return _edited(given, edit)


def _clause_added(given: Draft) -> Changed:
    """A join, a LIMIT, a grouping, another SELECT behind it, a sample."""
    for number, guard in enumerate(given.guards):
        inside, closed = guard.text[:-1], guard.text[-1]
        table = ' FROM "main"."salaries" AS b' if given.dialect == "sqlite" else ' FROM "public"."salaries" AS b'
        for more in (" LIMIT 1", " ORDER BY 1", " GROUP BY 1", f" UNION ALL SELECT 1{table}", f" EXCEPT SELECT 1{table}", " OFFSET 1", " HAVING 1 = 1"):
            yield _with_guard(given, number, inside + more + closed)
        for join in (' AS b, "salaries" AS s', ' AS b CROSS JOIN "salaries" AS s', ' AS b LEFT JOIN "salaries" AS s ON 1 = 1', " AS b TABLESAMPLE (10)"):
            yield _with_guard(given, number, guard.text.replace(" AS b", join, 1))
        yield _with_guard(given, number, guard.text.replace("(SELECT ", "(SELECT DISTINCT ", 1))
        yield _with_guard(given, number, guard.text.replace("(SELECT ", "(WITH x AS (SELECT 1) SELECT ", 1))


def _bind_replaced(given: Draft) -> Changed:
    """Another bind of the guard, one of the bearer's, one that nobody gives a value to, a literal, NULL, the column itself."""

    def edit(cte: exp.CTE) -> Iterator[Callable[[], Callable[[], None]]]:
        binds = list(cte.find_all(exp.Placeholder))
        for node in binds:
            for name in {each.name for each in binds} | {"bind_77"}:
                if name != node.name:
                    yield _swap(node, exp.Placeholder(this=name))
            yield _swap(node, exp.Literal.number(1))
            yield _swap(node, exp.Literal.string("EU"))
            yield _swap(node, exp.null())
            yield _swap(node, exp.column("tenant_id", table="b", quoted=True))

    return _edited(given, edit)


def _cast_or_collation_dropped(given: Draft) -> Changed:
    return _edited(given, lambda cte: (_swap(n, n.this.copy()) for n in _where(cte) if isinstance(n, (exp.Cast, exp.Collate, exp.Paren, exp.Not))))


def _list_replaced(given: Draft) -> Changed:
    """IN and ANY read something else than the list that was bound."""

    def edit(cte: exp.CTE) -> Iterator[Callable[[], Callable[[], None]]]:
        for node in _where(cte):
            if isinstance(node, (exp.Any, exp.All)):
                yield _swap(node, (exp.All if isinstance(node, exp.Any) else exp.Any)(this=node.this.copy()))
            if isinstance(node, exp.In):
                yield _swap(node, exp.In(this=node.this.copy(), expressions=[node.this.copy()]))
                yield _swap(node, exp.Not(this=node.copy()))

    return _edited(given, edit)


def _parents_join_dropped(given: Draft) -> Changed:
    """EXISTS without its equality, turned around, or without its whole WHERE."""

    def edit(cte: exp.CTE) -> Iterator[Callable[[], Callable[[], None]]]:
        for node in cte.find_all(exp.Exists):
            bare = node.copy()
            bare.this.set("where", None)
            yield _swap(node, bare)
            yield _swap(node, exp.true())
            yield _swap(node, exp.Not(this=node.copy()))

    return _edited(given, edit)


def _fence_changed(given: Draft) -> Changed:
    for number, guard in enumerate(given.guards):
        for old, new in (
            (" AS NOT MATERIALIZED (", " AS MATERIALIZED ("),
            (" AS MATERIALIZED (", " AS NOT MATERIALIZED ("),
            (" AS NOT MATERIALIZED (", " AS ("),
        ):
            if old in guard.text:
                yield _with_guard(given, number, guard.text.replace(old, new, 1))
        forms: tuple[Form, ...] = ("plain", "case", "fenced")
        for form in forms:
            if form != guard.form:
                yield replace(given, guards=(*given.guards[:number], replace(guard, form=form), *given.guards[number + 1 :]))


def _truth_changed(given: Draft) -> Changed:
    """Where a guard hands on whether its conditions hold: it says so of fewer, of others, of none, or says NULL."""
    for number, guard in enumerate(given.guards):
        for old, new in (
            (" IS TRUE AS ", " IS NOT FALSE AS "),
            (" IS TRUE AS ", " IS NOT NULL AS "),
            (" IS TRUE AS ", " OR TRUE AS "),
            (" IS TRUE AS ", " AS "),
            (", (", ", (1 = 1 OR "),
            (", (", ", NOT ("),
            (f'"{OK}{NUMBER}"', f'"{OK}1"'),
            (f'"{OK}{NUMBER}"', '"mine"'),
        ):
            if guard.form == "case":
                yield _with_guard(given, number, guard.text.replace(old, new, 1))


def _question_changed(given: Draft) -> Changed:
    """An expression that asks whether its row is permitted asks something else, or another guard."""
    for guard in given.guards:
        name = f"{OK}{guard.number}"
        if guard.form == "case":
            for new in (" IS NULL", " IS TRUE", " IS NOT FALSE"):
                yield _everywhere(given, f'"{name}" IS FALSE', f'"{name}"{new}')
            yield _everywhere(given, f'"{name}" IS FALSE', "1 = 0")
            yield _everywhere(given, name, f"{OK}77")
            yield _everywhere(given, name, "id")


def _comment_inside(given: Draft) -> Changed:
    for number, guard in enumerate(given.guards):
        for place in (" FROM ", " WHERE ", "SELECT ", " AS b"):
            if place in guard.text:
                yield _with_guard(given, number, guard.text.replace(place, f"{place}/* x */ ", 1))
                yield _with_guard(given, number, guard.text.replace(place, f"{place}-- x\n", 1))
    yield replace(given, body=f"{given.body} /* x */")
    yield replace(given, body=f"{given.body} -- x")
    yield replace(given, body=given.body.replace("SELECT ", "SELECT /* x */ ", 1))
    if given.ctes:
        yield replace(given, ctes=(given.ctes[0].replace("SELECT ", "SELECT /* x */ ", 1), *given.ctes[1:]))


def _guards_shuffled(given: Draft) -> Changed:
    """One dropped, one twice, one more; texts or claims of two exchanged; another order."""
    guards = given.guards
    for number, guard in enumerate(guards):
        yield replace(given, guards=(*guards[:number], *guards[number + 1 :]))
        yield replace(given, guards=(*guards[: number + 1], guard, *guards[number + 1 :]))
        yield replace(given, guards=(*guards, replace(guard, number=len(guards) + 1)))
        yield replace(given, guards=(*guards[:number], replace(guard, number=guard.number + 1), *guards[number + 1 :]))
        for dataset in ("orders", "customers", "order_items", "products", "employees", "events", "archive", "salaries"):
            if dataset != guard.dataset:
                yield replace(given, guards=(*guards[:number], replace(guard, dataset=dataset), *guards[number + 1 :]))
        for other in guards[number + 1 :]:
            if other.text != guard.text:
                swapped = {guard.number: other, other.number: guard}
                yield replace(given, guards=tuple(replace(each, text=swapped.get(each.number, each).text) for each in guards))


def _guard_renamed(given: Draft) -> Changed:
    for number, guard in enumerate(given.guards):
        for name in ("__g7", "__u1", guard.dataset, f"__g{NUMBER}0", f"__g{NUMBER}_1"):
            yield _with_guard(given, number, guard.text.replace(f"__g{NUMBER}", name, 1))
        yield _with_guard(given, number, guard.text.replace(f'"__g{NUMBER}"', f"__g{NUMBER}", 1))
        yield _with_guard(given, number, guard.text.replace(" AS ", "(x) AS ", 1))
        yield _with_guard(given, number, f'"x" AS (SELECT 1), {guard.text}')
        yield _with_guard(given, number, f'{guard.text}, "x" AS (SELECT 1)')


def _name_without_quotes(given: Draft) -> Changed:
    def edit(cte: exp.CTE) -> Iterator[Callable[[], Callable[[], None]]]:
        for node in cte.this.find_all(exp.Identifier):
            if node.args.get("quoted") and node.name.isidentifier():
                yield _swap(node, exp.Identifier(this=node.name, quoted=False))

    return _edited(given, edit)


def _values_of(given: Draft) -> dict[str, Any]:
    return {name: value for name, value in given.params.items() if re.fullmatch(r"g[0-9]+_[0-9]+", name)}


def _values_swapped(given: Draft) -> Changed:
    """Two binds of one type have each other's values."""
    values = list(_values_of(given).items())
    for index, (first, value) in enumerate(values):
        for second, other in values[index + 1 :]:
            if type(value) is type(other) and value != other:
                yield replace(given, params={**given.params, first: other, second: value})


def _value_changed(given: Draft) -> Changed:
    """A neighbouring number, the same number of another type, a longer text, one more or one less in a list; none, one too many."""
    for name, value in _values_of(given).items():
        for other in _neighbours(value):
            yield replace(given, params={**given.params, name: other})
        yield replace(given, params={each: known for each, known in given.params.items() if each != name})
    yield replace(given, params={**given.params, "g1_77": 1})
    yield replace(given, params={**given.params, "p_nobody": 1})


def _neighbours(value: Any) -> list[Any]:
    match value:
        case bool():
            return [not value, int(value), None]
        case int():
            return [value + 1, float(value), Decimal(value), str(value), None, [value]] + ([bool(value)] if value in (0, 1) else [])
        case float() | Decimal():
            return [value + 1, str(value), None]
        case str() if value.startswith("["):
            known = json.loads(value)
            return [json.dumps([*known, "more"]), json.dumps(known[1:]), json.dumps([*known, None]), json.dumps(known[:1] * 2), None]
        case str():
            return [value + "x", value.upper() + "X", "", f"{value}\x00", None]
        case list():
            return [[*value, 99], value[1:], [*value, None], None]
        case _:
            return [None, str(value)]


def _base_table_read(given: Draft) -> Changed:
    """The body or a CTE reads a table in a guard's place, or beside it."""
    guard = given.guards[0] if given.guards else None
    schema = "main" if given.dialect == "sqlite" else "public"
    for table in (
        '"orders"',
        "orders",
        f"{schema}.orders",
        f'"{schema}"."customers"',
        '"salaries"',
        "sqlite_master",
        "pg_class",
        '"__g77"',
        '"__u77"',
        '"__g1_1"',
    ):
        if guard is not None:
            yield _everywhere(given, '"__g1"', table)
        yield replace(given, body=f"{given.body} UNION ALL SELECT 1 FROM {table}")
        yield replace(given, body=given.body.replace("SELECT ", f"SELECT (SELECT COUNT(*) FROM {table}), ", 1))
        yield replace(given, body=f"SELECT * FROM ({given.body}) AS x WHERE EXISTS(SELECT 1 FROM {table})")
        yield replace(given, body=f"SELECT * FROM ({given.body}) AS x CROSS JOIN {table}")
        yield replace(given, ctes=(*given.ctes, f'"__u88" AS (SELECT 1 FROM {table})'))
    yield replace(given, body=f"SELECT * FROM ({given.body}) AS x WHERE 1 IN orders")
    for call in (
        "json_each('[1]')",
        "pragma_table_info('orders')",
        "generate_series(1, 2)",
        "pg_ls_dir('.')",
        "LATERAL generate_series(1, 2)",
        "UNNEST(ARRAY[1])",
    ):
        yield replace(given, body=f"SELECT * FROM ({given.body}) AS x CROSS JOIN {call}")


def _everywhere(given: Draft, old: str, new: str) -> Draft:
    return replace(given, body=given.body.replace(old, new), ctes=tuple(cte.replace(old, new) for cte in given.ctes))


def _guard_read_otherwise(given: Draft) -> Changed:
    """A guard read twice, or not at all, or by its name alone in another case."""
    for guard in given.guards:
        name = f'"__g{guard.number}"'
        yield replace(given, body=f"{given.body} UNION ALL SELECT 1 FROM {name}")
        yield replace(given, body=given.body.replace("SELECT ", f"SELECT (SELECT COUNT(*) FROM {name}), ", 1))
        yield _everywhere(given, name, "(SELECT 1)")
        yield _everywhere(given, name, f'"__G{guard.number}"')
        yield _everywhere(given, name, f'main."__g{guard.number}"')
        for other in given.guards:
            if other.number != guard.number:
                yield _everywhere(given, name, f'"__g{other.number}"')


def _cte_renamed(given: Draft) -> Changed:
    """A CTE of the bearer has the name of a table, of a guard, of another CTE, or none of ours."""
    for number, cte in enumerate(given.ctes):
        name = cte.partition(" AS ")[0].partition("(")[0].strip('"')
        for other in ("orders", "__g1", "__g99", "mine", "__u", "__u1x"):
            yield _everywhere(given, f'"{name}"', f'"{other}"')
        yield replace(given, ctes=(*given.ctes, cte))
        yield replace(given, ctes=(*given.ctes[:number], cte.replace(f'"{name}"', '"orders"', 1), *given.ctes[number + 1 :]))


def _guards_value_read(given: Draft) -> Changed:
    """The bearer's part reads the value of a guard, which would tell it."""
    for name in _values_of(given):
        bind = f"{BIND}{name}{BIND}"
        yield replace(given, body=given.body.replace("SELECT ", f"SELECT {bind}, ", 1))
        yield replace(given, body=re.sub(r"LIMIT [0-9]+", f"LIMIT {bind}", given.body))
        yield replace(given, ctes=(*given.ctes, f'"__u88" AS (SELECT {bind})'))
    for name in ("g1_77", "x", "p", "G1_0"):
        bind = f"{BIND}{name}{BIND}"
        yield replace(given, body=given.body.replace("SELECT ", f"SELECT {bind}, ", 1), params={**given.params, name: 1})


def _statement_added(given: Draft) -> Changed:
    for more in ("; SELECT 1", "; DROP TABLE orders", ")", " INTO x", " FOR UPDATE", f" {NUMBER}", f" {BIND}"):
        yield replace(given, body=given.body + more)
    for body in ("DELETE FROM orders", "INSERT INTO orders SELECT 1", "PRAGMA table_info(orders)", "COPY orders TO STDOUT", "TABLE orders", "", "VALUES (1)"):
        yield replace(given, body=body)


def _claim_changed(given: Draft) -> Changed:
    """What the draft says of itself: its dialect, how many rows it hands out."""
    yield replace(given, dialect="postgres" if given.dialect == "sqlite" else "sqlite")
    yield replace(given, row_limit=given.row_limit + 1)
    yield replace(given, row_limit=0)


OPERATORS: Final[dict[str, Callable[[Draft], Changed]]] = {
    "a condition dropped": _condition_dropped,
    "AND becomes OR": _and_becomes_or,
    "OR becomes AND": _or_becomes_and,
    "a comparison widened": _comparison_widened,
    "a condition negated": _condition_negated,
    "a condition or TRUE": _condition_or_true,
    "NULL let through": _null_let_through,
    "a column moved": _column_moved,
    "two columns swapped": _columns_swapped,
    "other columns handed on": _hand_on_list_changed,
    "a table replaced": _table_replaced,
    "a clause added": _clause_added,
    "a bind replaced": _bind_replaced,
    "a cast or collation dropped": _cast_or_collation_dropped,
    "a list replaced": _list_replaced,
    "a parent's join dropped": _parents_join_dropped,
    "a fence changed": _fence_changed,
    "another truth handed on": _truth_changed,
    "another question asked": _question_changed,
    "a comment inside": _comment_inside,
    "guards shuffled": _guards_shuffled,
    "a guard renamed": _guard_renamed,
    "a name without quotes": _name_without_quotes,
    "two values swapped": _values_swapped,
    "a value changed": _value_changed,
    "a base table read": _base_table_read,
    "a guard read otherwise": _guard_read_otherwise,
    "a CTE renamed": _cte_renamed,
    "a guard's value read": _guards_value_read,
    "a statement added": _statement_added,
    "another claim": _claim_changed,
}


@dataclass(slots=True)
class Tally:
    """How many queries were secured, and how many changed drafts of each operator the witness refused."""

    secured: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    missed: list[tuple[str, Draft, str]] = field(default_factory=list)


def explore(dialect: str, count: int, seed: int, *, each: int) -> Tally:
    """Secure `count` random queries and do `each` things to every one of them."""
    source, tally = random.Random(f"{seed} {dialect}"), Tally()
    catalog: Catalog = world_policies.catalog(dialect)
    policies = {name: world_policies.policy(catalog, bearer) for name, bearer in BEARERS.items()}
    while tally.secured < count:
        query = write(Choices(source=source), dialect)
        policy = source.choice(list(policies.values()))
        try:
            given = draft(query.sql, policy, dict(query.params))
        except Refused:
            continue
        tamper(given, policy, source, tally, each=each)
    return tally


def tamper(given: Draft, policy: Policy, source: random.Random, tally: Tally, *, each: int) -> None:
    """Attest the draft as it is, and after each of `each` changes."""
    attest(given, policy)
    attest(reread(given), policy)
    tally.secured += 1
    fitted = 0
    for name in sorted(OPERATORS, key=lambda name: (tally.refused[name], source.random())):  # those that fitted least so far come first
        changes = list(OPERATORS[name](given))
        fitted += bool(changes)
        for change in source.sample(changes, min(2, len(changes))):
            other = change() if callable(change) else change
            if other == given:
                continue
            try:
                attest(other, policy)
            except OurBug:
                tally.refused[name] += 1
            else:
                tally.missed.append((name, other, given.body))
        if fitted == each:
            break


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.tampering", description="Change secured queries in every way and see that the witness refuses.")
    parser.add_argument("count", type=int, nargs="?", default=2000, help="queries of each dialect (2000)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    missed = 0
    for dialect in SPOKEN:
        started = time.monotonic()
        tally = explore(dialect, options.count, options.seed, each=len(OPERATORS))
        print(f"{dialect}: {tally.secured} queries, {tally.refused.total()} changes refused in {time.monotonic() - started:.0f} seconds")
        for name, found in sorted(tally.refused.items()):
            print(f"  {found:8} {name}")
        missed += len(tally.missed)
        for name, other, body in tally.missed[:20]:
            print(f"MISSED {name}: {other} of {body}")
    print(f"{missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
