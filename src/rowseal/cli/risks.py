"""What is allowed in a configuration and yet risky: a table of codes, and where each of them is found."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rowseal.catalog import Catalog, ConfigFilter, Dataset, Field, Storage, ThroughFilter
from rowseal.catalog import text as yaml_text
from rowseal.catalog.document import Document
from rowseal.catalog.examine import Examined
from rowseal.configuration import Configuration
from rowseal.keys import TokenRules

__all__ = ["RISKS", "Risk", "Seen", "risks"]


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a code says, and what to do."""

    means: str
    cure: str


RISKS: Final[Mapping[str, _Meaning]] = {
    "public_dataset": _Meaning(
        "`public: true`: whoever is granted the dataset reads all of its rows, with or without a filter",
        "remove `public: true` unless the rows are the same for everybody",
    ),
    "no_rule": _Meaning(
        "the dataset has neither a guard nor a filter of its own: the token's filter, whatever it is, decides alone",
        "write `guards:` on the tenant's field, `secure_filters:` through a parent that has one, or `public: true` where its rows are the same for everybody",
    ),
    "unguarded_table": _Meaning(
        "one table is read by two datasets, of which only one has a guard: the other one leads around it",
        "give both the same guards, or remove one",
    ),
    "unguarded_view": _Meaning(
        "a view or SELECT without a guard reads a table that another dataset guards: it leads around that guard",
        "let it select the tenant's column and guard it, or remove the dataset",
    ),
    "no_index": _Meaning(
        "no column by which the rules find rows leads an index: every query reads the whole table, and waits for it",
        "create an index that begins with the column",
    ),
    "folding_collation": _Meaning(
        "a filtered column calls different texts equal, such as `acme` and `ACME`: rowseal compares bytes, the database's constraints and groups do not",
        "give the column a collation that compares bytes, or see that no two tenants differ in case alone",
    ),
    "undeclared_columns": _Meaning(
        "the table has columns that the dataset does not declare: no query sees them, and nobody has decided that",
        "declare them, or accept the finding",
    ),
    "schema_drift": _Meaning(
        "the table is not what it was when `--since` was written",
        "look at the change, correct the dataset, reload, and write a new file for `--since`",
    ),
    "writing_role": _Meaning(
        "the database role may do more than read, so that one wall less stands behind the others",
        "connect as a role that has only SELECT",
    ),
    "development_key": _Meaning(
        "a key with `development: true` opens datasets without a filter",
        "remove it from every file that a server reads which others can reach",
    ),
    "old_key": _Meaning(
        "the file of a public key has not changed for more than a year",
        "make a new pair, let both stand while the signers change, then remove the old one",
    ),
    "long_lifetime": _Meaning(
        "tokens may live for more than 24 hours: a stolen one is good for as long, because nothing revokes it",
        "write a shorter `max_lifetime:` and let the host application sign anew",
    ),
    "writable_claim": _Meaning(
        "a claim that people may write themselves at the identity provider decides which rows or datasets they read",
        "take the claim from where only you may write, such as `app_metadata`",
    ),
    "allowed_function": _Meaning(
        "a function that is not on rowseal's list may be called: it can do whatever the database lets it do",
        "read what it does, or remove it from `functions.allow`",
    ),
}


@dataclass(frozen=True, slots=True)
class Risk:
    """One finding: where in the file, the dataset if it is about one, and what in a sentence."""

    code: str
    path: yaml_text.Path
    says: str
    dataset: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """All that is looked at.

    `since` is an earlier `schema` of `lint --json`; `roles` say what each connection's role may do beyond reading; `now` is in epoch seconds.
    """

    configuration: Configuration
    document: Document
    examined: Mapping[str, Examined]
    roles: Mapping[str, Collection[str]]
    since: Mapping[str, Any] | None
    now: float


_LONG_SECONDS: Final = 24 * 3600
_OLD_SECONDS: Final = 365 * 86_400
_SHOWN: Final = 8
# Supabase's and Clerk's objects of what people say about themselves.
_WRITABLE: Final = frozenset({"user_metadata", "raw_user_meta_data", "unsafe_metadata"})


def risks(seen: Seen) -> Iterator[Risk]:
    """Every finding."""
    for number, entry in enumerate(seen.document.datasets):
        catalog = next(each for each in seen.configuration.catalogs.values() if entry.id in each.datasets)
        dataset = catalog.datasets[entry.id]
        for risk in _of_dataset(seen, dataset, catalog, ("datasets", number)):
            yield replace(risk, dataset=dataset.id)
    yield from _of_keys(seen)
    for number, name in enumerate(seen.document.functions.allow):
        yield Risk("allowed_function", ("functions", "allow", number), f"`{name}` may be called")
    for name, reasons in seen.roles.items():
        at: yaml_text.Path = ("connections", name, "url") if seen.document.connections else ("database",)
        for reason in reasons:
            yield Risk("writing_role", at, f"the database role {reason}")


def _of_dataset(seen: Seen, dataset: Dataset, catalog: Catalog, at: yaml_text.Path) -> Iterator[Risk]:
    examined = seen.examined[dataset.id]
    if dataset.public:
        yield Risk("public_dataset", (*at, "public"), f"`{dataset.id}` is open to every token that is granted it")
    elif not dataset.guards and not dataset.secure_filters and not all(_attributes(rules, dataset) for rules in seen.configuration.token_rules):
        yield Risk("no_rule", at, f"`{dataset.id}` leaves it to the token which rows it opens")
    if not dataset.guards:
        guarded = [each for each in catalog.datasets.values() if each.guards]
        if twin := next((each for each in guarded if each.source is None is dataset.source and each.tables == dataset.tables), None):
            yield Risk("unguarded_table", (*at, "table"), f"`{dataset.id}` reads the table of `{twin.id}` without its guard")
        for below in guarded:
            if examined.reads is None:
                says = f"`{dataset.id}` has no guard, and the database role may not see what it reads: lint as one that has SHOW VIEW"
                yield Risk("unguarded_view", (*at, "table"), says)
                break
            if below.tables.intersection(examined.reads):
                yield Risk("unguarded_view", (*at, "table"), f"`{dataset.id}` reads the table of `{below.id}` without its guard")
    if examined.writable:
        yield Risk("writing_role", (*at, "table"), f"the database role may write to the table of `{dataset.id}`")
    attributes = [name for rules in seen.configuration.token_rules for name in _attributes(rules, dataset)]
    yield from _of_columns(dataset, examined, [field for name in attributes if (field := dataset.field(name)) is not None], at)
    yield from _drift(seen, dataset, examined, at)


def _attributes(rules: TokenRules, dataset: Dataset) -> list[str]:
    """The fields by which the attributes of these tokens restrict the dataset."""
    attributes = () if rules.mapping is None else rules.mapping.attributes
    return [each.fields[dataset.id] for each in attributes if dataset.id in each.fields]


def _of_columns(dataset: Dataset, examined: Examined, attributes: Sequence[Field], at: yaml_text.Path) -> Iterator[Risk]:
    fields = {each.id: each for each in dataset.fields}
    guarded = [fields[guard.field] for guard in dataset.guards]
    own, filtered = [], [*attributes]
    for rule in dataset.secure_filters:
        if isinstance(rule, ThroughFilter):
            own += [fields[mine] for mine, _ in rule.on]
        else:
            filtered.append(fields[rule.filter.field if isinstance(rule, ConfigFilter) else rule.field])
    finding = guarded or own or filtered  # those of the rules that leave the fewest rows
    if examined.indexed is not None and finding and not any(field.column in examined.indexed for field in finding):
        says = f"`{dataset.id}` is searched by {_listed([field.column for field in finding])}, and no index begins with that"
        yield Risk("no_index", (*at, "guards" if guarded else "secure_filters") if guarded or dataset.secure_filters else at, says)
    for field in dict.fromkeys([*guarded, *own, *filtered]):
        if field.storage is Storage.TEXT and field.column in examined.folding:
            number = dataset.fields.index(field)
            yield Risk("folding_collation", (*at, "fields", number), f"the column `{field.column}` of `{dataset.id}` calls different texts equal")
    declared = {field.column for field in dataset.fields}
    if undeclared := [name for name in examined.columns if name not in declared]:
        yield Risk("undeclared_columns", (*at, "fields"), f"`{dataset.id}` does not declare {_listed(undeclared)}")


def _drift(seen: Seen, dataset: Dataset, examined: Examined, at: yaml_text.Path) -> Iterator[Risk]:
    if seen.since is None:
        return
    was = seen.since.get(dataset.id)
    if was is None:
        yield Risk("schema_drift", at, f"`{dataset.id}` is new")
        return
    before, now = was["columns"], examined.columns
    changes = [f"`{name}` is new" for name in now if name not in before]
    changes += [f"`{name}` is gone" for name in before if name not in now]
    changes += [f"`{name}` was `{before[name]}` and is `{now[name]}`" for name in now if name in before and before[name] != now[name]]
    if was["kind"] != examined.kind:
        changes.insert(0, f"it was a {was['kind']} and is a {examined.kind}")
    for change in changes:
        yield Risk("schema_drift", (*at, "table"), f"the table of `{dataset.id}` has changed: {change}")


def _of_keys(seen: Seen) -> Iterator[Risk]:
    folder = seen.configuration.path.resolve().parent
    for number, profile in enumerate(seen.document.tokens):
        at: yaml_text.Path = ("tokens", number)
        if profile.max_lifetime > _LONG_SECONDS:
            yield Risk("long_lifetime", (*at, "max_lifetime"), f"tokens may live for {profile.max_lifetime / 3600:g} hours")
        for name, path in profile.claims.items():
            if path[0] in _WRITABLE:
                yield Risk("writable_claim", (*at, "claims", name), f"`{name}` is in `{path[0]}`, which people may write themselves")
        for position, key in enumerate(profile.keys):
            if key.development:
                yield Risk("development_key", (*at, "keys", position), f"the key `{key.id}` opens datasets without a filter")
            file = key.public_key_file or key.jwks_file
            if file is not None and (days := _age(folder / file, seen.now)) > _OLD_SECONDS:
                yield Risk("old_key", (*at, "keys", position), f"the file of the key `{key.id}` has not changed for {days // 86_400:.0f} days")


def _age(path: Path, now: float) -> float:
    try:
        return now - path.stat().st_mtime
    except OSError:  # it was there a moment ago, when the configuration was loaded
        return 0.0


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"`{name}`" for name in names[:_SHOWN]) + more
