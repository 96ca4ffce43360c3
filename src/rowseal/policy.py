"""Grant x Catalog -> Policy: which datasets this bearer may read, and which rows of each.

The algebra, in full:
- permitted rows of a dataset = rows that pass the token's tree (OR of ANDs) AND every secure filter of the configuration;
- a `through` filter passes where a *permitted* row of the parent exists, so the parent's whole policy applies to it;
- whatever is absent, unknown, mistyped or unmet refuses that dataset alone, and nothing is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, TypeAlias

from rowseal.catalog import Bound, Catalog, ClaimFilter, ConfigFilter, Dataset, Field, Guard, ThroughFilter
from rowseal.catalog.values import LIST_OPERATORS, Condition, Inapplicable, typed
from rowseal.claims import Json
from rowseal.errors import AccessRefused
from rowseal.filters import Filter, FilterTree, Group, Operator, Scalar
from rowseal.grants import Grant
from rowseal.mapping import found

__all__ = ["AllOf", "AnyOf", "Bound", "Condition", "Policy", "Predicate", "Rows", "Shaped", "Through", "chosen", "shape"]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part must hold. Never empty inside an AnyOf; an empty one at the top means every row (a public dataset)."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One part must hold. Never empty."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Through:
    """A permitted row of the parent exists with equal fields: `on` pairs (own field, parent's field)."""

    parent: Rows
    on: tuple[tuple[Field, Field], ...]


Predicate: TypeAlias = "Condition | AllOf | AnyOf | Through"
_OWN_CLAIM: Final = "leave the claim's own field out of the filters, or sign values that the claim has"
_PARENT: Final = "grant the parent dataset (`through:` in datasets.yaml) in the same token, with a secure filter"


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one dataset that this bearer may read. Only `Policy.rows` makes one.

    `most` is the longest answer of a query that reads them, None where only the file's limit holds.
    `trusted` are the token's values that stand in the dataset's SELECT, each as if a field of its type had to equal it.
    `values` are the values of the guard, those first, then depth first, a list as one tuple; `key` and its hash are for `Shaped`.
    """

    dataset: Dataset
    predicate: AllOf
    most: int | None = None
    trusted: tuple[Condition, ...] = ()
    values: tuple[Bound | tuple[Bound, ...], ...] = field(init=False, repr=False, compare=False)
    key: Hashable = field(init=False, repr=False, compare=False)
    key_hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", (*(value for each in self.trusted for value in each.values), *_values(self.predicate)))
        object.__setattr__(self, "key", (shape(self), self.most, tuple(_datasets(self))))
        object.__setattr__(self, "key_hash", hash(self.key))


class Policy:
    """One grant applied to one catalog. Decides per dataset, when a query reads it; remembers what it permitted."""

    def __init__(self, grant: Grant, catalog: Catalog, revoked: frozenset[str] = frozenset()) -> None:
        """`revoked` are the ids of datasets that are closed to tokens as old as this one."""
        self.grant = grant
        self.catalog = catalog
        self.revoked = revoked
        self._permitted: dict[str, Rows] = {}

    def unknown(self) -> AccessRefused:
        """The refusal for a name that no granted dataset has."""
        # INVARIANT: the answer for an ungranted dataset and for one that does not exist is the same, so the name has no part in it.
        return AccessRefused("dataset_unknown")

    def rows(self, dataset: Dataset) -> Rows:
        """The permitted rows of a dataset.

        Raises AccessRefused: `dataset_unknown` where the grant does not name it (the same answer as `unknown`), else
        `dataset_revoked`, `filter_required`, `filter_inapplicable`, `guard_unmet` or `claim_required`.
        """
        known = self._permitted.get(dataset.id)
        if known is not None and known.dataset is dataset:
            return known
        if not self.grant.grants(dataset.id) or self.catalog.datasets.get(dataset.id) is not dataset:
            raise self.unknown()
        if dataset.id in self.revoked:
            raise AccessRefused("dataset_revoked")
        parts: list[Predicate] = []
        branches = self._branches(dataset)
        if branches is None:
            if not (dataset.public or self.grant.key.development or self._restricted(dataset)):
                if any(isinstance(rule, ThroughFilter) for rule in dataset.secure_filters):
                    raise AccessRefused("filter_required", "the token restricts neither this dataset nor the parent that it is read through", hint=_PARENT)
                raise AccessRefused("filter_required")
        elif len(branches) == 1:
            parts += branches[0]
        else:
            parts.append(AnyOf(tuple(branch[0] if len(branch) == 1 else AllOf(branch) for branch in branches)))
        parts += [self._configured(dataset, rule) for rule in dataset.secure_filters]
        rows = Rows(dataset, AllOf(tuple(parts)), self.grant.row_limits.get(dataset.id), self._trusted(dataset))
        self._permitted[dataset.id] = rows
        return rows

    def refusal(self, dataset: Dataset) -> AccessRefused | None:
        """Why no query of this bearer may read the dataset, or None."""
        try:
            self.rows(dataset)
        except AccessRefused as refusal:
            return refusal
        return None

    def _branches(self, dataset: Dataset) -> list[tuple[Condition, ...]] | None:
        """The token's own groups for the dataset, typed, each of which meets every guard. None where the token has no filter for it."""
        tree, claimed = self.grant.filters.get(dataset.id), self._claimed(dataset)
        if tree is not None and not (tree and all(tree)):
            raise AccessRefused("filter_inapplicable", "the token has an empty group of filters for this dataset")
        if tree is None and not claimed:
            if dataset.guards and self.grant.key.development:
                # A development key opens unfiltered datasets; a guard is the operator's word that this one is never unfiltered.
                raise AccessRefused("guard_unmet", "the token does not restrict this dataset, which a guard demands whatever the key")
            return None
        groups: FilterTree = ((),) if tree is None else tree
        own = [tuple(self._token_condition(dataset, condition) for condition in group) for group in groups]
        said = tuple(self._token_condition(dataset, condition) for condition in claimed)
        if any(_against(condition, each) for branch in own for condition in branch for each in said):
            raise AccessRefused("filter_inapplicable", "a filter of the token goes beyond what one of its own claims permits", hint=_OWN_CLAIM)
        # INVARIANT: what the token claims holds in every group of its own filters, so no OR leads around it.
        branches = [(*branch, *said) for branch in own]
        for guard in dataset.guards:
            for group, branch in zip(groups, branches, strict=True):
                if not _meets(dataset, guard, (*group, *claimed), branch):
                    raise AccessRefused("guard_unmet")
        return branches

    def _claimed(self, dataset: Dataset) -> Group:
        """The filters that the configuration makes of the token's claims. Raises AccessRefused where it lacks one of them."""
        claimed = self.grant.claimed.get(dataset.id, ())
        filters = tuple(each.filter for each in claimed if each.filter is not None)
        if len(filters) != len(claimed):
            raise AccessRefused("claim_required")
        return filters

    def _token_condition(self, dataset: Dataset, condition: Filter) -> Condition:
        field = dataset.field(condition.field)
        if field is None:
            raise AccessRefused("filter_inapplicable", "a filter of the token names a field that this dataset does not declare")
        try:
            return typed(condition, field, self.catalog.dialect)
        except Inapplicable as error:
            raise AccessRefused("filter_inapplicable", f"{error} (in the token)") from error

    def _restricted(self, dataset: Dataset) -> bool:
        """Whether the token says which rows: of the dataset itself, or of a parent that its rows are read through."""
        if dataset.id in self.grant.filters or self.grant.claimed.get(dataset.id):
            return True
        parents = [self.catalog.datasets[rule.parent] for rule in dataset.secure_filters if isinstance(rule, ThroughFilter)]
        return any(self._restricted(parent) for parent in parents)

    def _configured(self, dataset: Dataset, rule: ConfigFilter | ClaimFilter | ThroughFilter) -> Predicate:
        if isinstance(rule, ThroughFilter):
            return self._through(dataset, rule)
        if isinstance(rule, ConfigFilter):
            return self._typed_rule(dataset, rule.filter, "filter_inapplicable", "a filter of the configuration does not fit this dataset")
        value = _claimed(self.grant.claims, rule.claim, several=rule.op in LIST_OPERATORS)
        return self._typed_rule(
            dataset, Filter(rule.field, rule.op, value), "claim_required", "a claim that this dataset needs has a type that its field does not take"
        )

    def _trusted(self, dataset: Dataset) -> tuple[Condition, ...]:
        """The token's values for the SELECT, in the order of its text. Raises AccessRefused `claim_required` where one is absent or of another type."""
        conditions = []
        for each in () if dataset.source is None else dataset.source.trusted:
            _, value = found(self.grant.claims, each.path)
            if not isinstance(value, (bool, int, Decimal, str)):
                raise AccessRefused("claim_required")
            try:
                conditions.append(typed(Filter(each.field.id, Operator.EQ, value), each.field, self.catalog.dialect))
            except Inapplicable as error:
                raise AccessRefused("claim_required", "a claim that this dataset needs has another type than its SELECT takes") from error
        return tuple(conditions)

    def _typed_rule(self, dataset: Dataset, condition: Filter, code: str, detail: str) -> Condition:
        field = dataset.field(condition.field)
        if field is None:
            raise AccessRefused(code, detail)
        try:
            return typed(condition, field, self.catalog.dialect)
        except Inapplicable as error:
            raise AccessRefused(code, detail) from error

    def _through(self, dataset: Dataset, rule: ThroughFilter) -> Through:
        parent = self.catalog.datasets[rule.parent]
        # Which rows of the parent are the bearer's is for the token to say. One that does not name the parent has not said it, and
        # reading the child would answer questions about a dataset that is closed. The parent's name stays out of the message for that reason.
        if not self.grant.grants(parent.id):
            raise AccessRefused(
                "filter_required",
                "this dataset is read through a parent dataset that the token does not grant",
                hint=_PARENT,
            )
        try:
            rows = self.rows(parent)
        except AccessRefused as refusal:
            raise AccessRefused(refusal.code, f"this dataset is read through a parent dataset, and there: {refusal.detail}", hint=refusal.hint) from refusal
        pairs = [(dataset.field(own), parent.field(theirs)) for own, theirs in rule.on]
        on = tuple((own, theirs) for own, theirs in pairs if own is not None and theirs is not None)
        if not on or len(on) != len(pairs):
            raise AccessRefused("filter_inapplicable", "a filter of the configuration does not fit this dataset")
        return Through(rows, on)


def _meets(dataset: Dataset, guard: Guard, group: Group, branch: tuple[Condition, ...]) -> bool:
    """Whether one AND-group of the token restricts the guarded field as the guard wants it."""
    guarded = dataset.field(guard.field)
    return any(
        condition.field is guarded
        and condition.op in guard.ops
        and (guard.max_values is None or len(condition.values) <= guard.max_values)
        and (guard.values_in is None or guard.values_in.issuperset(condition.values))
        and (guard.matches is None or all(re.fullmatch(guard.matches, _form(value)) for value in _scalars(written)))
        for written, condition in zip(group, branch, strict=True)
    )


def _against(condition: Condition, claimed: Condition) -> bool:
    """Whether a filter of the token is on a field that its own claim decides, and asks for anything but values of that claim."""
    if condition.field is not claimed.field:
        return False
    return condition.op not in {Operator.EQ, Operator.IS_ONE_OF} or not set(claimed.values).issuperset(condition.values)


def _scalars(condition: Filter) -> tuple[Scalar, ...]:
    if condition.value is None:
        return ()
    return condition.value if isinstance(condition.value, tuple) else (condition.value,)


def _form(value: Scalar) -> str:
    """A value as text for a guard's `matches`: JSON's spelling, numbers without an exponent."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _claimed(claims: Mapping[str, Json], path: str, *, several: bool) -> Scalar | tuple[Scalar, ...]:
    """The signed value at a dotted path, for one filter. Raises AccessRefused `claim_required` unless it is there and of the right shape."""
    _, value = found(claims, tuple(path.split(".")))
    members: Sequence[Json] = value if several and isinstance(value, (list, tuple)) else ()
    scalars = tuple(member for member in members if isinstance(member, (bool, int, Decimal, str)))
    if several and scalars and len(scalars) == len(members):
        return scalars
    if not several and isinstance(value, (bool, int, Decimal, str)):
        return value
    raise AccessRefused("claim_required")


def chosen(rows: Rows) -> Iterator[tuple[str, Bound]]:
    """The values by which the token itself restricts these rows, each with its field's id; those that the configuration wrote are left out."""
    # The rules of the configuration stand last, one part each, in the order of the file.
    parts, rules = rows.predicate.parts, rows.dataset.secure_filters
    own = len(parts) - len(rules)
    yield from _conditions(rows.trusted)
    yield from _conditions(parts[:own])
    for rule, part in zip(rules, parts[own:], strict=True):
        if isinstance(part, Through):
            yield from chosen(part.parent)
        elif not isinstance(rule, ConfigFilter):
            yield from _conditions((part,))


def _conditions(parts: Iterable[Predicate]) -> Iterator[tuple[str, Bound]]:
    for part in parts:
        if isinstance(part, Condition):
            yield from ((part.field.id, value) for value in part.values)
        elif not isinstance(part, Through):
            yield from _conditions(part.parts)


def shape(rows: Rows) -> Hashable:
    """All that decides the text of the guard, without the values: policies of one shape share one secured query.

    The number of values in a list has no part in it (a list binds as one array), their Python types have.
    """
    return rows.dataset.id, tuple(type(value) for each in rows.trusted for value in each.values), _shape(rows.predicate)


def _shape(part: Predicate) -> Hashable:
    if isinstance(part, Condition):
        types = (frozenset if part.op in LIST_OPERATORS else tuple)(map(type, part.values))
        return part.field.id, part.op, types
    if isinstance(part, Through):
        return "through", tuple((own.id, theirs.id) for own, theirs in part.on), shape(part.parent)
    return type(part), tuple(map(_shape, part.parts))


class Shaped:
    """A key for caches of guard texts: equal where dataset and shape are, so that bearers of one shape share an entry.

    INVARIANT: the key holds the datasets themselves, which are equal to nothing but themselves, so a reloaded catalog has other keys;
    and it gives its rows away when they are taken, so that no cache keeps a bearer's values.
    """

    __slots__ = ("_hash", "_key", "_rows")

    def __init__(self, rows: Rows) -> None:
        self._rows: Rows | None = rows
        self._key, self._hash = rows.key, rows.key_hash

    @classmethod
    def of(cls, rows: Rows) -> Shaped:
        """The shape alone: there are no rows to take."""
        shaped = cls(rows)
        shaped._rows = None
        return shaped

    def take(self) -> Rows:
        """The rows; once. Raises LookupError the second time."""
        rows, self._rows = self._rows, None
        if rows is None:
            raise LookupError("rows were taken twice")
        return rows

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shaped) and self._key == other._key

    def __hash__(self) -> int:
        return self._hash


def _datasets(rows: Rows) -> list[Dataset]:
    parents = [part.parent for part in rows.predicate.parts if isinstance(part, Through)]  # only the configuration adds parents, never inside OR
    return [rows.dataset, *(dataset for parent in parents for dataset in _datasets(parent))]


def _values(part: Predicate) -> list[Bound | tuple[Bound, ...]]:
    if isinstance(part, Condition):
        return [part.values] if part.op in LIST_OPERATORS else list(part.values)
    if isinstance(part, Through):
        return list(part.parent.values)
    return [value for inner in part.parts for value in _values(inner)]
