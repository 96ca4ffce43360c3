"""What `init` proposes: a dataset for every table, with the tenant's column guarded, secrets hidden, and a reason wherever it had to guess.

Names are all that it has to go by, so nothing is opened: a dataset without a guard stays closed to every token that does not filter it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from rowseal.catalog import FieldType
from rowseal.catalog.names import RESERVED_PREFIXES, ascii_lower
from rowseal.catalog.reflection import Column, Unfitting, store
from rowseal.catalog.survey import Surveyed

__all__ = ["DatasetProposal", "FieldProposal", "Proposal", "Through", "propose"]

_SUFFIX: Final = r"(?:_(?:id|uuid|guid|key|code|slug|ref|no|number))"
# The likelier a word means the tenant, the earlier it stands. A weak one counts only in a database that has none of the others.
_STRONG: Final = tuple(
    re.compile(pattern + "$")
    for pattern in (
        f"tenant{_SUFFIX}?",
        f"(?:org|organi[sz]ation){_SUFFIX}?",
        f"workspace{_SUFFIX}?",
        f"(?:company|firm){_SUFFIX}",
        f"account{_SUFFIX}",
        f"(?:merchant|agency){_SUFFIX}",
    )
)
_WEAK: Final = tuple(re.compile(pattern + _SUFFIX + "$") for pattern in ("customer", "client", "(?:store|shop|site)", "team", "(?:user|owner)"))
_TENANTS: Final = re.compile(r"(?:tenant|org|organi[sz]ation|workspace|account|merchant)s?|compan(?:y|ies)|agenc(?:y|ies)")
_SECRET: Final = re.compile(
    r"passw|passwd|pwd|passphrase|pass_?hash|secret|token|api_?key|private_?key|access_?key|credential|salt|otp|totp|mfa|recovery_?code"
    r"|(?:^|_)(?:ssn|pin|cvv|cvc|iban|pan|nino|tin)(?:_|$)|social_security|card_?(?:number|no)|credit_?card|tax_?(?:id|number)|passport|national_?id|session"
)
_MIGRATIONS: Final = re.compile(
    r"alembic_version|django_migrations|schema_migrations?|ar_internal_metadata|flyway_schema_history|databasechangelog(?:lock)?|_*efmigrationshistory"
    r"|knex_migrations(?:_lock)?|_prisma_migrations|goose_db_version|migrations(?:_lock)?|sequelizemeta|atlas_schema_revisions|_*diesel_schema_migrations"
    r"|_*drizzle_migrations|typeorm_metadata|gorp_migrations|phinxlog|doctrine_migration_versions|_sqlx_migrations|_yoyo_\w+|yoyo_lock|dbmate_\w+"
)
_DELETED: Final = re.compile(r"(?:is_)?(?:deleted|archived|removed)(?:_at|_on)?")
_MOMENT: Final = re.compile(r"(?:^|_)(?:at|on|date|time|timestamp|day)$")
_UNSEEN: Final = "its name has characters that nobody can see, or a blank at an end"
_SIMPLE: Final = re.compile(r"[^\W\d]\w*")
# SQLite takes each of these as NUMERIC, and no number is meant.
_NO_NUMBER: Final = re.compile(r"JSON|UUID|GUID|STRING|ENUM|INET|XML|\bTIME\b")


@dataclass(frozen=True, slots=True)
class FieldProposal:
    """One column. Without a `type` it can be no field, and `remark` says why."""

    id: str
    column: str
    type: FieldType | None
    hidden: bool = False
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Through:
    """A way to the rows of a parent: `on` pairs field ids."""

    parent: str
    on: tuple[tuple[str, str], ...]
    remark: str


@dataclass(slots=True)
class DatasetProposal:
    """One table. `guard` is the id of the field that the token must restrict."""

    id: str
    table: str
    surveyed: Surveyed
    fields: list[FieldProposal]
    guard: str | None = None
    why: str = ""
    through: list[Through] = field(default_factory=list)

    def by_column(self, column: str) -> FieldProposal | None:
        """The field of a column, if it can be one."""
        return next((each for each in self.fields if each.column == column and each.type is not None), None)

    @property
    def deleted(self) -> FieldProposal | None:
        """The field that seems to say whether a row is deleted: a truth, or the moment when it was."""
        flags = (FieldType.BOOLEAN, FieldType.DATE, FieldType.DATE_TIME)
        return next((each for each in self.fields if each.type in flags and _DELETED.fullmatch(_words(each.column))), None)

    @property
    def usable(self) -> bool:
        """Whether there is anything that a query could see."""
        return any(each.type is not None and not each.hidden for each in self.fields)


@dataclass(frozen=True, slots=True)
class Proposal:
    """All datasets, and what was left out: name and reason."""

    dialect: str
    datasets: list[DatasetProposal]
    left_out: list[tuple[str, str]]


def propose(tables: Sequence[Surveyed], dialect: str) -> Proposal:
    """A dataset for each table that can be one."""
    datasets: list[DatasetProposal] = []
    left_out: list[tuple[str, str]] = []
    ids: set[str] = set()
    for each in tables:
        relation = each.relation
        written = relation.name if each.default_schema else f"{relation.schema}.{relation.name}"
        if reason := _unsuited(each, written):
            left_out.append((written, reason))
            continue
        fields = list(_fields(each, dialect))
        named = relation.name if each.default_schema or _identifier(relation.name, "table", set()) not in ids else written
        made = DatasetProposal(_identifier(named, "table", ids), written, each, fields)
        if made.usable:
            datasets.append(made)
        else:
            ids.discard(made.id)
            left_out.append((written, "it has no column that a query could see"))
    _find_tenants(datasets)
    _find_parents(datasets)
    return Proposal(dialect, datasets, left_out)


def _unsuited(each: Surveyed, written: str) -> str:
    name = each.relation.name
    if each.part_of:
        return f"it is {each.part_of}"
    if each.relation.fails:
        return f"it {each.relation.fails}"
    if _MIGRATIONS.fullmatch(ascii_lower(name)):
        return "it belongs to a migrations tool"
    if "." in name or "." in each.relation.schema:
        return "its name has a dot; make a view of another name"
    if not _is_name(written):
        return f"{_UNSEEN}; make a view of another name"
    return ""


def _is_name(text: str) -> bool:
    """Whether the file may hold it: the rule of `catalog.scalars`."""
    return bool(text) and text == text.strip() and text.isprintable() and len(text.encode("utf-8", "replace")) <= 256


def _words(name: str) -> str:
    """`TenantID`, `tenantId` and `tenant-id` are all `tenant_id`."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[\W_]+", "_", parted).strip("_").lower()


def _identifier(name: str, otherwise: str, taken: set[str]) -> str:
    """A new id, which is also a name that SQL can spell without quotes unless it is a word of SQL."""
    made = _words(name) if not _SIMPLE.fullmatch(name) or name != name.lower() else name
    while len(made.encode()) > 56:
        made = made[:-1]
    made = made if made and _SIMPLE.fullmatch(made) else f"{otherwise}_{made}".rstrip("_")
    if ascii_lower(made).startswith(RESERVED_PREFIXES):
        made = made.lstrip("_")
    unique, number = made, 2
    while unique in taken:
        unique, number = f"{made}_{number}", number + 1
    taken.add(unique)
    return unique


# --- fields ------------------------------------------------------------------------------------------------------------------------------


def _fields(each: Surveyed, dialect: str) -> Iterator[FieldProposal]:
    ids: set[str] = set()
    for column in each.relation.columns.values():
        name = _identifier(column.name, "column", ids)
        if not _is_name(column.name):
            yield FieldProposal(name, column.name, None, remark=f"{_UNSEEN}; make a view that renames it")
            continue
        type_, remark = _type(column, dialect)
        hidden = type_ is not None and _SECRET.search(_words(column.name)) is not None
        if hidden:
            remark = "hidden, because its name sounds like a secret: filters may use it, queries cannot"
        yield FieldProposal(name, column.name, type_, hidden, remark)


def _type(column: Column, dialect: str) -> tuple[FieldType | None, str]:
    declared = column.declared.upper()
    order = list(FieldType)
    if dialect == "sqlite":  # where one column could be several things, its declaration decides
        if "BOOL" in declared:
            order.insert(0, FieldType.BOOLEAN)
        elif "DATETIME" in declared or "TIMESTAMP" in declared:
            order.insert(0, FieldType.DATE_TIME)
        elif declared.startswith("DATE"):
            order.insert(0, FieldType.DATE)
        elif not declared:
            order.insert(0, FieldType.STRING)
    if dialect == "mariadb" and column.kind == "boolean":
        return FieldType.BOOLEAN, "a TINYINT(1); if it holds other numbers than 0 and 1, write `type: number`"
    said = ""
    for type_ in order:
        try:
            store(column, type_, dialect, None)
        except Unfitting as problem:
            said = said or str(problem)
            continue
        if dialect == "sqlite" and type_ is FieldType.NUMBER and _NO_NUMBER.search(declared):
            said = "is declared as something else"
            break
        if dialect == "sqlite" and not declared:
            return type_, "the database does not say what it holds; correct the type"
        if dialect == "sqlite" and type_ is FieldType.STRING and _MOMENT.search(_words(column.name)):
            return type_, "text; if it holds dates, write `type: date` or `type: date_time`, and `format:` where it is not the default"
        return type_, ""
    if said.startswith("is declared"):
        said = f"its type `{column.declared or 'none'}` fits no type of field; make a view that casts it"
    return None, said


# --- tenants -----------------------------------------------------------------------------------------------------------------------------


def _level(column: str, patterns: Sequence[re.Pattern[str]]) -> int | None:
    return next((level for level, pattern in enumerate(patterns) if pattern.fullmatch(_words(column))), None)


def _candidates(dataset: DatasetProposal, patterns: Sequence[re.Pattern[str]]) -> list[str]:
    """Columns that could be the tenant's, the likeliest first."""
    levels = [(level, each.column) for each in dataset.fields if each.type is not None and (level := _level(each.column, patterns)) is not None]
    return [column for _, column in sorted(levels, key=lambda each: each[0])]


def _find_tenants(datasets: Sequence[DatasetProposal]) -> None:
    patterns = _STRONG if any(_candidates(each, _STRONG) for each in datasets) else _WEAK
    by_table = {(each.surveyed.relation.schema, each.surveyed.relation.name): each for each in datasets}
    tenants: dict[tuple[str, str], str] = {}  # a table of tenants -> its column
    for dataset in datasets:
        for column in _candidates(dataset, patterns)[:1]:
            others = _candidates(dataset, patterns)[1:]
            _guard(dataset, column, "by its name" + (f"; {_listed(others)} could be it too" if others else ""))
            for key in dataset.surveyed.foreign:
                if key.columns == (column,) and len(key.referred) == 1:
                    tenants.setdefault((key.schema, key.table), key.referred[0])
    if patterns is _STRONG:
        for at, dataset in by_table.items():
            if at not in tenants and _TENANTS.fullmatch(_words(dataset.surveyed.relation.name)) and len(dataset.surveyed.primary) == 1:
                tenants[at] = dataset.surveyed.primary[0]
    for at, column in tenants.items():
        if at in by_table and by_table[at].guard is None:
            _guard(by_table[at], column, "because each row here seems to be a tenant")
    for dataset in datasets:
        for key in dataset.surveyed.foreign:
            if dataset.guard is None and len(key.columns) == 1 and tenants.get((key.schema, key.table)) == key.referred[0]:
                _guard(dataset, key.columns[0], f"because it refers to `{key.table}`")


def _guard(dataset: DatasetProposal, column: str, why: str) -> None:
    found = dataset.by_column(column)
    if found is not None:
        dataset.guard, dataset.why = found.id, why


def _listed(columns: Sequence[str]) -> str:
    return " and ".join(f"`{column}`" for column in columns)


# --- parents -----------------------------------------------------------------------------------------------------------------------------


def _find_parents(datasets: Sequence[DatasetProposal]) -> None:
    """A table without a tenant, but with a way to one that has: nearest first, so that a way leads over what is open already."""
    by_table = {(each.surveyed.relation.schema, each.surveyed.relation.name): each for each in datasets}
    reached = {each.id for each in datasets if each.guard is not None}
    waiting = [each for each in datasets if each.guard is None]
    while waiting:
        found = [(child, list(_ways(child, by_table, reached))) for child in waiting]
        for child, ways in found:
            child.through = ways
        if not any(ways for _, ways in found):
            return
        reached |= {child.id for child, ways in found if ways}
        waiting = [child for child, ways in found if not ways]


def _ways(child: DatasetProposal, by_table: dict[tuple[str, str], DatasetProposal], reached: set[str]) -> Iterator[Through]:
    for key in child.surveyed.foreign:
        parent = by_table.get((key.schema, key.table))
        if parent is not None and parent is not child and parent.id in reached:
            # without a list of columns a key refers to the primary one
            referred = key.referred if set(key.referred) <= parent.surveyed.relation.columns.keys() else parent.surveyed.primary
            pairs = [(child.by_column(own), parent.by_column(theirs)) for own, theirs in zip(key.columns, referred, strict=False)]
            on = tuple((own.id, theirs.id) for own, theirs in pairs if own and theirs and own.type is theirs.type)
            if on and len(on) == len(key.columns) == len(referred):
                yield Through(parent.id, on, f"{_listed(key.columns)} refers to it")
    if not child.surveyed.foreign:
        yield from _guessed(child, by_table, reached)


def _guessed(child: DatasetProposal, by_table: dict[tuple[str, str], DatasetProposal], reached: set[str]) -> Iterator[Through]:
    """`order_id` of a table that declares no foreign key, where there is a table `orders` with a key of one column."""
    for own in child.fields:
        stem = _words(own.column).removesuffix("_id")
        if own.type is None or stem == _words(own.column):
            continue
        for parent in by_table.values():
            theirs = parent.by_column(parent.surveyed.primary[0]) if len(parent.surveyed.primary) == 1 else None
            if parent is not child and parent.id in reached and theirs and theirs.type is own.type and _words(parent.id) in {stem, f"{stem}s", f"{stem}es"}:
                yield Through(parent.id, ((own.id, theirs.id),), f"`{own.column}` sounds like it")
