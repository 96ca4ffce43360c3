"""What one token permits, in one vocabulary for every vendor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rowseal.claims import Json, KeyFacts
from rowseal.filters import FilterTree

__all__ = ["Grant"]


@dataclass(frozen=True, slots=True)
class Grant:
    """What one token permits, as signed; the catalog has not been asked yet.

    `dataset_ids` None means `"*"`, every dataset of the catalog. `filters` has an entry only where the token gives at least one
    filter for that dataset id. `claims` is everything that was signed, for `{claim: parameters.x}`. Times in epoch seconds.
    """

    key: KeyFacts
    dataset_ids: frozenset[str] | None
    filters: Mapping[str, FilterTree]
    expires_at: float
    digest: str
    claims: Mapping[str, Json] = field(repr=False)

    def grants(self, dataset_id: str) -> bool:
        """Whether the token names the dataset (or all) and the key that signed it may."""
        named = self.dataset_ids is None or dataset_id in self.dataset_ids
        return named and (self.key.datasets is None or dataset_id in self.key.datasets)
