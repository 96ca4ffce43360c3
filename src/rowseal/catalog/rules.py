"""Secure filters and guards of the file, resolved against the fields of datasets that already stand."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Final

from rowseal.catalog import Bound, ClaimFilter, ConfigFilter, Dataset, Field, Guard, Storage, ThroughFilter
from rowseal.catalog.document import DatasetEntry, GuardEntry, SecureFilterEntry
from rowseal.catalog.text import Findings, Path, nearest
from rowseal.catalog.values import NULL_OPERATORS, Inapplicable, operators, typed
from rowseal.filters import Filter, Operator, Value

__all__ = ["Rules"]

# What a guard may not be met with: all rows but a few is no restriction.
_UNRESTRICTING: Final = frozenset({Operator.NE, Operator.IS_NOT_ONE_OF, Operator.NOT_CONTAINS, Operator.IS_NOT_NULL})


class Rules:
    """Secure filters and guards, resolved against the fields of datasets that already stand."""

    def __init__(
        self, entries: Mapping[str, DatasetEntry], datasets: Mapping[str, Dataset], dialect: str, findings: Findings, elsewhere: Mapping[str, str]
    ) -> None:
        self._elsewhere = elsewhere
        self._entries = entries
        self._datasets = datasets
        self._dialect = dialect
        self._findings = findings

    def applied(self, entry: DatasetEntry, path: Path) -> Dataset:
        """The dataset with its rules."""
        dataset = self._datasets[entry.id]
        secure: list[ConfigFilter | ClaimFilter | ThroughFilter] = []
        for number, each in enumerate(entry.secure_filters):
            at = (*path, "secure_filters", number)
            # What is None here stands in the findings, and a file with findings is never used.
            if (rule := self._secure_filter(dataset, each, at)) is not None:
                secure.append(replace(rule, line=self._findings.line(at)))
        guards = [self._guard(dataset, guard, (*path, "guards", number)) for number, guard in enumerate(entry.guards)]
        return replace(dataset, secure_filters=tuple(secure), guards=tuple(each for each in guards if each))

    def _secure_filter(self, dataset: Dataset, entry: SecureFilterEntry, path: Path) -> ConfigFilter | ClaimFilter | ThroughFilter | None:
        if entry.through is not None:
            if entry.model_fields_set - {"through", "on"}:
                self._findings.add(path, "mixes `through:` with `field:`, `op:` or `value:`; write two filters")
                return None
            return self._through(dataset, entry.through, entry.on, path)
        if entry.field is None or entry.op is None or entry.on is not None:
            self._findings.add(path, "is not a whole filter; write `field:`, `op:` and `value:`, or `through:` and `on:`")
            return None
        field = self._referred(dataset, entry.field, (*path, "field"))
        if field is None or not self._fits(field, entry.op, operators(field), (*path, "op")):
            return None
        if isinstance(entry.value, dict):
            return self._claim(field, entry.op, entry.value, (*path, "value"))
        if entry.op in NULL_OPERATORS and "value" in entry.model_fields_set:
            self._findings.add((*path, "value"), f"is not for `{entry.op}`, which takes none; remove it")
            return None
        return self._static(field, entry.op, entry.value, (*path, "value"))

    def _static(self, field: Field, op: Operator, written: object, path: Path) -> ConfigFilter | None:
        value: Value = None
        if op not in NULL_OPERATORS:
            members = written if isinstance(written, list) else [written]
            scalars = tuple(each for each in members if isinstance(each, (bool, int, Decimal, str)))
            if not scalars or len(scalars) != len(members):
                self._findings.add(path, "must be a value or a list of values, neither null nor empty; `is_null` tests for null")
                return None
            value = scalars if isinstance(written, list) else scalars[0]
        condition = Filter(field.id, op, value)
        try:
            typed(condition, field, self._dialect)
        except Inapplicable as problem:
            self._findings.add(path, f"does not fit the field: {problem}")
            return None
        return ConfigFilter(condition)

    def _claim(self, field: Field, op: Operator, written: Mapping[str, object], path: Path) -> ClaimFilter | None:
        claim = written.get("claim")
        if set(written) != {"claim"} or not isinstance(claim, str) or not all(claim.split(".")):
            self._findings.add(path, "must be a value, or {claim: a.dotted.path} such as {claim: parameters.region}")
            return None
        if op in NULL_OPERATORS or op is Operator.BETWEEN:
            self._findings.add(path, f"cannot be a claim with `{op}`; write another operator, such as `=` or `{Operator.IS_ONE_OF}`")
            return None
        return ClaimFilter(field.id, op, claim)

    def _through(self, dataset: Dataset, parent_id: str, on: Mapping[str, str] | None, path: Path) -> ThroughFilter | None:
        parent = self._datasets.get(parent_id)
        if parent is None:
            if parent_id in self._elsewhere:
                there = self._elsewhere[parent_id]
                self._findings.add((*path, "through"), f"names a dataset of another connection, `{there}`; rows are read through a parent in the same database")
            elif parent_id not in self._entries:
                self._findings.add((*path, "through"), f"names no dataset of this file{nearest(parent_id, list(self._entries))}")
            return None
        if not on:
            self._findings.add(path, "needs `on: {field of this dataset: field of the parent}`")
            return None
        pairs: list[tuple[str, str]] = []
        for own_reference, parent_reference in on.items():
            own = self._referred(dataset, own_reference, (*path, "on", own_reference), at_key=True)
            theirs = self._referred(parent, parent_reference, (*path, "on", own_reference))
            if own is None or theirs is None:
                continue
            if not _comparable(own, theirs):
                self._findings.add((*path, "on", own_reference), "pairs fields of different or inexact types; make a view that brings both to one type")
            pairs.append((own.id, theirs.id))
        return ThroughFilter(parent_id, tuple(pairs)) if pairs else None

    def _guard(self, dataset: Dataset, entry: GuardEntry, path: Path) -> Guard | None:
        field = self._referred(dataset, entry.field, (*path, "field"))
        if field is None:
            return None
        restricting = operators(field) - _UNRESTRICTING
        for number, op in enumerate(entry.op):
            self._fits(field, op, restricting, (*path, "op", number))
        if entry.matches is not None:
            try:
                re.compile(entry.matches)
            except (re.error, RecursionError, OverflowError):
                self._findings.add((*path, "matches"), "is no regular expression of Python's `re`; correct it")
        values: list[Bound] = []
        for number, written in enumerate(entry.values_in or ()):
            condition = self._static(field, Operator.EQ, written, (*path, "values_in", number))
            if condition is not None:
                values += typed(condition.filter, field, self._dialect).values
        return Guard(field.id, frozenset(entry.op), entry.max_values, entry.matches, None if entry.values_in is None else frozenset(values))

    def _fits(self, field: Field, op: Operator, fitting: Collection[Operator], path: Path) -> bool:
        if op in fitting:
            return True
        self._findings.add(
            path, f"`{op}` does not fit here on a `{field.type}` field; use one of `{'`, `'.join(each for each in Operator if each in fitting)}`"
        )
        return False

    def _referred(self, dataset: Dataset, reference: str, path: Path, *, at_key: bool = False) -> Field | None:
        field = dataset.field(reference)
        declared = self._entries[dataset.id].fields
        # A field whose own declaration is wrong was reported there; saying that it does not exist would mislead.
        if field is None and not any(reference in {each.id, each.name} for each in declared):
            message = f"`{reference}` is no field of dataset `{dataset.id}`{nearest(reference, [each.id for each in declared])}"
            self._findings.add(path, message, at_key=at_key)
        return field


def _comparable(own: Field, theirs: Field) -> bool:
    """Whether an equality of the two columns can never raise and never rounds."""
    exact_numbers = {Storage.INTEGER, Storage.DECIMAL}
    if {own.storage, theirs.storage} <= exact_numbers:
        return True
    alike = (own.storage, own.format, own.timezone) == (theirs.storage, theirs.format, theirs.timezone)
    return alike and own.storage not in {Storage.FLOAT, Storage.ENUM}
