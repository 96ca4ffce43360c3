"""`claims:`, `attributes:` and `roles:` of an entry of `tokens:` -> its ClaimMapping, and whether every dataset is spoken of.

INVARIANT: which rows a token opens is written down for each dataset. A dataset that an attribute says nothing of is a problem of the file,
so that one which is added later is closed until somebody has decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rowseal.catalog import Catalog, Dataset, ThroughFilter
from rowseal.catalog.document import Document, TokensEntry
from rowseal.catalog.text import Findings, Path, nearest
from rowseal.catalog.values import operators
from rowseal.filters import Operator
from rowseal.mapping import Attribute, ClaimMapping, Role

__all__ = ["check_attributes", "claim_mapping"]

_OIDC: Final = "oidc"
_THROUGH, _NONE = "through", "none"
_WORDS: Final = frozenset({_THROUGH, _NONE})
_NO_ATTRIBUTES: Final = frozenset({"roles", "filters"})  # what else stands under `claims:`
_COMPARED: Final = frozenset({Operator.EQ, Operator.IS_ONE_OF})


def claim_mapping(document: Document, number: int, findings: Findings) -> ClaimMapping | None:
    """The mapping of one entry of `tokens:`; None for a profile without one, and where it is not whole, which is noted."""
    entry, at = document.tokens[number], ("tokens", number)
    if entry.profile != _OIDC:
        for key in ("claims", "attributes", "roles"):
            if key in entry.model_fields_set:
                findings.add((*at, key), "is for `profile: oidc`; remove it, because tokens of this profile say it themselves", at_key=True)
        return None
    _check_entry(entry, at, findings)
    known = [each.id for each in document.datasets]
    for name, role in entry.roles.items():
        for place, dataset in enumerate(role.datasets):
            if dataset not in known:
                findings.add((*at, "roles", name, "datasets", place), f"names no dataset of this file{nearest(dataset, known)}")
        if role.limits.rows is not None and role.limits.rows > (document.limits.rows or 10_000):
            findings.add(
                (*at, "roles", name, "limits", "rows"), "is wider than `limits.rows` of the file, which holds for everybody; write less, or widen that"
            )
    for name, fields in entry.attributes.items():
        for dataset in fields:
            if dataset not in known:
                findings.add((*at, "attributes", name, dataset), f"names no dataset of this file{nearest(dataset, known)}", at_key=True)
        if missing := [each for each in known if each not in fields]:
            says = f"says nothing of `{'`, `'.join(missing)}`; write the field that must equal it, `through` or `none` for each"
            findings.add((*at, "attributes", name), says, at_key=True)
    return ClaimMapping(
        roles_path=entry.claims.get("roles", ("roles",)),
        roles={name: Role(frozenset(role.datasets), role.limits.rows, role.explain) for name, role in entry.roles.items()},
        attributes=tuple(
            Attribute(name, entry.claims.get(name, (name,)), {dataset: field for dataset, field in fields.items() if field not in _WORDS})
            for name, fields in entry.attributes.items()
        ),
        filters_path=entry.claims.get("filters"),
    )


def _check_entry(entry: TokensEntry, at: Path, findings: Findings) -> None:
    """What must stand in it whatever the datasets are."""
    for key, why in (("issuer", "anybody's tokens"), ("audience", "tokens that are made for other servers")):
        if getattr(entry, key) is None and not all(getattr(each, key, None) for each in entry.keys):
            findings.add(at, f"needs `{key}:` with `profile: oidc`, or {why} would be taken")
    if entry.project_id is not None or any(key.project_id is not None for key in entry.keys):
        findings.add((*at, "profile"), "has no `project_id`, which belongs to `profile: vizzly`; remove it, `audience:` stands in its place")
    if "roles" not in entry.claims:
        findings.add(
            (*at, "claims") if entry.claims else at, "needs `claims:` with `roles: <the claim that has them>`, because roles say which datasets are open"
        )
    if not entry.roles:
        findings.add(at, "needs `roles:`; what no role grants is open to nobody")
    for name in entry.attributes:
        if name in _NO_ATTRIBUTES:
            findings.add((*at, "attributes", name), "is the name of something else under `claims:`; choose another", at_key=True)
        elif name not in entry.claims:
            findings.add((*at, "attributes", name), "has no path under `claims:`; write there which claim it is", at_key=True)
    for name in entry.claims:
        if name not in _NO_ATTRIBUTES and name not in entry.attributes:
            findings.add((*at, "claims", name), "restricts nothing; write under `attributes:` which fields must equal it, or remove it", at_key=True)
    if "flat_filters" in entry.model_fields_set and "filters" not in entry.claims:
        findings.add((*at, "flat_filters"), "is about filters of the token, and `claims:` has no `filters:`; remove it", at_key=True)


def check_attributes(document: Document, catalogs: Mapping[str, Catalog], findings: Findings) -> None:
    """Every attribute against the datasets: fields that are there and can be compared, parents that are filtered, nothing left open unsaid."""
    datasets = {name: each for catalog in catalogs.values() for name, each in catalog.datasets.items()}
    for number, entry in enumerate(document.tokens):
        granted = {dataset for role in entry.roles.values() for dataset in role.datasets}
        for name, fields in entry.attributes.items():
            for dataset_id, word in fields.items():
                dataset = datasets.get(dataset_id)
                if dataset is not None:
                    _check_word(dataset, word, fields, ("tokens", number, "attributes", name, dataset_id), findings)
        for dataset_id in sorted(granted):
            dataset = datasets.get(dataset_id)
            words = {fields.get(dataset_id) for fields in entry.attributes.values()}
            if dataset is not None and words <= {_NONE} and not dataset.public and "filters" not in entry.claims:
                says = f"grant `{dataset_id}`, which no attribute restricts and which is not `public: true`, so every query of it would be refused"
                findings.add(("tokens", number, "roles"), f"{says}; name a field of it under `attributes:`", at_key=True)


def _check_word(dataset: Dataset, word: str, fields: Mapping[str, str], path: Path, findings: Findings) -> None:
    field = dataset.field(word)
    if word in _WORDS:
        if field is not None:
            findings.add(path, f"is a field of `{dataset.id}` too, so nobody could tell what is meant; give the field another id and name")
        parents = [rule.parent for rule in dataset.secure_filters if isinstance(rule, ThroughFilter)]
        if word == _THROUGH and not any(fields.get(parent, _NONE) != _NONE for parent in parents):
            cure = "name its field in the parent's place" if parents else "write a `through:` filter under `secure_filters:` of the dataset, or name a field"
            findings.add(path, f"says that rows of `{dataset.id}` are read through a parent which this attribute restricts, and there is none; {cure}")
    elif field is None:
        findings.add(path, f"`{word}` is no field of dataset `{dataset.id}`{nearest(word, [each.id for each in dataset.fields])}; or write `through` or `none`")
    elif not operators(field) >= _COMPARED:
        findings.add(path, f"`{word}` is a field that nothing can equal; name another")
