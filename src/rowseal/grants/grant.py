"""What one token permits, in one vocabulary for every vendor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rowseal.claims import Json, KeyFacts
from rowseal.filters import Filter, FilterTree
from rowseal.mapping import ClaimPath

__all__ = ["Claimed", "Grant"]


@dataclass(frozen=True, slots=True)
class Claimed:
    """A filter that the configuration makes of one claim: `field` equals what stands at `path`.

    `filter` is None where the token has no such claim, or one that no field can equal: then the dataset is closed.
    """

    path: ClaimPath
    field: str
    filter: Filter | None


@dataclass(frozen=True, slots=True)
class Grant:
    """What one token permits, as signed; the catalog has not been asked yet.

    `dataset_ids` None means `"*"`, every dataset of the catalog. `filters` has an entry only where the token gives at least one
    filter for that dataset id; they stand in the claims at `filters_path`. `claims` is everything that was signed, for
    `{claim: parameters.x}`. `claimed` are, by dataset id, filters that the configuration makes of claims: each holds in every group of
    the token's own. `row_limits` has, by dataset id, the longest answer of a query that reads it, where that is not the file's limit.
    `explain`: the bearer may see what its queries are made into, whatever its key says. `subject` is whom the token is for, where its
    profile or the configuration says so. Times in epoch seconds.
    """

    key: KeyFacts
    dataset_ids: frozenset[str] | None
    filters: Mapping[str, FilterTree]
    expires_at: float
    digest: str
    claims: Mapping[str, Json] = field(repr=False)
    claimed: Mapping[str, tuple[Claimed, ...]] = field(default_factory=dict)
    row_limits: Mapping[str, int] = field(default_factory=dict)
    explain: bool = False
    filters_path: ClaimPath = ("secureFilters",)
    subject: str | None = field(default=None, repr=False)

    def grants(self, dataset_id: str) -> bool:
        """Whether the token names the dataset (or all) and the key that signed it may."""
        named = self.dataset_ids is None or dataset_id in self.dataset_ids
        return named and (self.key.datasets is None or dataset_id in self.key.datasets)
