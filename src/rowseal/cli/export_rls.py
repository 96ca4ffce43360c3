"""`export-rls`: what a configuration says about rows, as PostgreSQL's own row-level security.

A policy lets through every row that rowseal could, and none that the file alone forbids. What a token says is not known when it is written:
where the file demands a value of the token, the policy reads a setting, and no setting means no row.
Sources: https://www.postgresql.org/docs/current/ddl-rowsecurity.html, .../sql-createpolicy.html, .../functions-admin.html#FUNCTIONS-ADMIN-SET.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from rowseal.catalog import ClaimFilter, ConfigFilter, Dataset, Field, Storage, ThroughFilter
from rowseal.catalog.values import LIST_OPERATORS, Condition, typed
from rowseal.cli.postgres_sql import Ground, comment, ground, literal, name
from rowseal.cli.terminal import FAILED, OK, Failed, Options, Terminal
from rowseal.filters import Operator
from rowseal.sql.guards import postgres

__all__ = ["export_rls"]

_SETTABLE: Final = frozenset({Operator.EQ, Operator.IS_ONE_OF})
# One value of each kind, for the type that a list of such is cast to.
_SAMPLES: Final[Mapping[Storage, Any]] = {
    Storage.INTEGER: 0,
    Storage.DECIMAL: Decimal(0),
    Storage.FLOAT: 0.0,
    Storage.TEXT: "",
    Storage.ENUM: "",
    Storage.UUID: UUID(int=0),
    Storage.BOOLEAN: True,
    Storage.DATE: date.min,
    Storage.TIMESTAMP: datetime.fromtimestamp(0, UTC),
    Storage.TIMESTAMPTZ: datetime.fromtimestamp(0, UTC),
}


def export_rls(options: Options, terminal: Terminal) -> int:
    """`export-rls`: print the policies; ends with 1 where they let through more than the file and the settings say."""
    writer = _Writer(ground(options, terminal), options.role, with_settings=not options.no_settings)
    terminal.say("\n".join(writer.script(options.file)))
    for each in writer.unsaid:
        terminal.note(f"not said: {each}")
    return FAILED if writer.unsaid else OK


@dataclass(slots=True)
class _Writer:
    ground: Ground
    role: str
    with_settings: bool
    unsaid: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)  # its name -> what it is to hold
    parents: int = 0

    def script(self, file: str) -> Iterator[str]:
        """The SQL. Raises Failed."""
        policies = [line for dataset in self.ground.datasets for line in self.policy(dataset)]
        yield comment(f"What {file} says about rows, as row-level security for the role {self.role}. Run it as the owner of the tables.")
        yield comment("CAREFUL: a table with row-level security shows no row to any role but its owner that has no policy of its own. For those of others:")
        yield comment("  CREATE POLICY everything ON the_table TO the_role USING (true) WITH CHECK (true);")
        yield comment("Which datasets a token grants, and what else its filters say, is for rowseal to decide: no policy does.")
        if self.settings:
            yield comment("These settings hold what a token would say, each a JSON array, set for one transaction:")
            yield comment("  SELECT set_config('...', '[1, 2]', true)")
            yield comment("Whoever may run any SQL may set them to anything. So they are for a program that sets them and lets nobody else write SQL.")
            yield from (comment(f"  {setting}: {what}") for setting, what in self.settings.items())
        yield from (comment(f"NOT SAID: {each}") for each in self.unsaid)
        yield ""
        yield "BEGIN;"
        yield "SET LOCAL search_path = pg_catalog, pg_temp;"
        yield from policies
        yield ""
        yield "COMMIT;"

    def policy(self, dataset: Dataset) -> Iterator[str]:
        """One dataset's."""
        if dataset.source is not None or dataset.relation != "table":
            self.unsaid.append(f"`{dataset.id}` is a {dataset.relation}, which has no policies: those of its tables hold where it asks as the bearer")
            return
        where = list(self.conditions(dataset, name(dataset.schema, dataset.table)))
        if not dataset.public and not self._restricted(dataset):
            self.unsaid.append(f"which rows of `{dataset.id}` a token opens, because no guard names the field that it must restrict")
        table, policy = name(dataset.schema, dataset.table), name(f"rowseal {dataset.id}")
        yield ""
        yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;"
        yield f"DROP POLICY IF EXISTS {policy} ON {table};"
        yield f"CREATE POLICY {policy} ON {table} FOR SELECT TO {name(self.role)} USING ("
        yield "  " + "\n  AND ".join(where or ["true"])
        yield ");"

    def conditions(self, dataset: Dataset, table: str) -> Iterator[str]:
        """What must hold for a row of the dataset, which `table` names, ANDed."""
        for rule in dataset.secure_filters:
            if isinstance(rule, ThroughFilter):
                yield self.through(dataset, rule, table)
            elif isinstance(rule, ConfigFilter):
                own = _field(dataset, rule.filter.field)
                yield from _spelled(typed(rule.filter, own, "postgres"), table)
            else:
                yield from self.claim(dataset, rule, table)
        for guard in dataset.guards if self.with_settings else ():
            if guard.ops & _SETTABLE:
                what = f"the values of `{guard.field}` that the token permits in `{dataset.id}`"
                yield from self.set(("rowseal", dataset.id, guard.field), what, _field(dataset, guard.field), table)
            if guard.ops - _SETTABLE:
                others = ", ".join(sorted(guard.ops - _SETTABLE))
                self._note(f"a token may restrict `{guard.field}` of `{dataset.id}` by `{others}` too, which a list of values cannot say")

    def claim(self, dataset: Dataset, rule: ClaimFilter, table: str) -> Iterator[str]:
        """A filter whose value the token holds."""
        if not self.with_settings:
            return
        if rule.op not in _SETTABLE:
            self._note(f"`{rule.field}` of `{dataset.id}` is compared with the claim `{rule.claim}` by `{rule.op}`, which a list of values cannot say")
            return
        yield from self.set(("rowseal", "claim", *rule.claim.split(".")), f"the claim `{rule.claim}`", _field(dataset, rule.field), table)

    def through(self, dataset: Dataset, rule: ThroughFilter, table: str) -> str:
        """The parent's own conditions stand here too: its policies may be several datasets', and a view has none."""
        parent = next(each for each in self.ground.datasets if each.id == rule.parent)
        self.parents += 1
        alias = f"p{self.parents}"
        pairs = [(_field(dataset, own), _field(parent, theirs)) for own, theirs in rule.on]
        equal = [postgres.equal(theirs, f"{alias}.{name(theirs.column)}", own, f"{table}.{name(own.column)}") for own, theirs in pairs]
        relation = f"({parent.source.text})" if parent.source is not None else name(parent.schema, parent.table)
        if parent.source is not None and (parent.source.ctes or parent.source.trusted):
            why = "with CTEs" if parent.source.ctes else "with values of the token"
            raise Failed(f"`{dataset.id}` is read through `{parent.id}`, a SELECT {why}, which cannot stand in a policy; make a view of it")
        where = " AND ".join([*equal, *self.conditions(parent, alias)])
        return f"EXISTS (SELECT 1 FROM {relation} AS {alias} WHERE {where})"  # noqa: S608 -- printed, and quoted

    def set(self, parts: tuple[str, ...], what: str, own: Field, table: str) -> Iterator[str]:
        """The field is among the values of a setting. An absent one is NULL, an ended one is empty: no value, no row."""
        setting = ".".join(re.sub(r"[^a-z0-9_]", "_", re.sub(r"^(?=[0-9])", "_", part.lower())) for part in parts)
        if self.settings.setdefault(setting, what) != what:
            raise Failed(f"the setting `{setting}` would hold both {self.settings[setting]} and {what}; rename one of the datasets or fields")
        listed = f"ARRAY(SELECT jsonb_array_elements_text(CAST(NULLIF(current_setting({literal(setting)}, true), '') AS jsonb)))"
        condition = Condition(own, Operator.IS_ONE_OF, (_SAMPLES[own.storage],))
        yield from postgres.conditions(condition, f"{table}.{name(own.column)}", lambda: listed)

    def _restricted(self, dataset: Dataset) -> bool:
        """Whether the policy says which rows are a bearer's own, or leaves that out on purpose."""
        if not self.with_settings or any(guard.ops & _SETTABLE for guard in dataset.guards):
            return True
        parents = [rule.parent for rule in dataset.secure_filters if isinstance(rule, ThroughFilter)]
        return any(self._restricted(each) for each in self.ground.datasets if each.id in parents)

    def _note(self, what: str) -> None:
        if what not in self.unsaid:
            self.unsaid.append(what)


def _field(dataset: Dataset, reference: str) -> Field:
    found = dataset.field(reference)
    if found is None:
        raise Failed(f"`{dataset.id}` has no field `{reference}`")
    return found


def _spelled(condition: Condition, table: str) -> Iterator[str]:
    """A filter of the file with its values in it."""
    column = f"{table}.{name(condition.field.column)}"
    if condition.op is Operator.IS_NULL:
        yield f"{column} IS NULL"
        return
    if condition.op is Operator.IS_NOT_NULL:
        yield f"{column} IS NOT NULL"
        return
    values = [literal(_text(value)) for value in condition.values]
    if condition.op in LIST_OPERATORS:
        values = [f"ARRAY[{', '.join(values)}]"]
    remaining = iter(values)
    yield from postgres.conditions(condition, column, lambda: next(remaining))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
