"""All that is revoked at one moment, to be asked by every use of a token: a few look-ups in dicts, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

from rowseal.claims import Claims
from rowseal.revocation.entry import Kind, Revocation

__all__ = ["NOTHING", "Revoked"]


@dataclass(frozen=True, slots=True, eq=False)  # equal to itself alone: whoever holds one knows that nothing has changed since
class Revoked:
    """What is revoked. Immutable: a change makes another.

    `tokens` are digests, `ids` the `jti` of tokens; the mappings say, by name, before which moment (epoch seconds) tokens must have been
    issued to be refused, and `everything` says so for all.
    """

    tokens: frozenset[str]
    ids: frozenset[str]
    subjects: Mapping[str, float]
    keys: Mapping[str, float]
    datasets: Mapping[str, float]
    everything: float

    @classmethod
    def of(cls, revocations: Iterable[Revocation], onto: Revoked | None = None) -> Revoked:
        """All of them together, and what was revoked before. INVARIANT: of two about the same the wider holds, so one more never opens anything."""
        named: dict[Kind, dict[str, float]] = {kind: {} for kind in Kind}
        if onto is not None:
            named |= {Kind.SUBJECT: dict(onto.subjects), Kind.KEY: dict(onto.keys), Kind.DATASET: dict(onto.datasets), Kind.ALL: {"": onto.everything}}
        for each in revocations:
            befores = named[each.kind]
            befores[each.name] = max(befores.get(each.name, -inf), inf if each.before is None else each.before)
        tokens, ids = frozenset(named[Kind.TOKEN]), frozenset(named[Kind.JTI])
        return cls(
            tokens=tokens if onto is None else onto.tokens | tokens,
            ids=ids if onto is None else onto.ids | ids,
            subjects=named[Kind.SUBJECT],
            keys=named[Kind.KEY],
            datasets=named[Kind.DATASET],
            everything=named[Kind.ALL].get("", -inf),
        )

    def refuses(self, claims: Claims, subject: str | None) -> bool:
        """Whether the token that these claims were proven from is revoked; `subject` is whom its profile says that it is for."""
        issued = claims.issued_at
        return (
            issued < self.everything
            or claims.digest in self.tokens
            or (claims.token_id is not None and claims.token_id in self.ids)
            or (subject is not None and issued < self.subjects.get(subject, -inf))
            or issued < self.keys.get(claims.key.id, -inf)
            # A key of a directory is called by the id of its entry, a slash and its name: who revokes the entry means all of them.
            or issued < self.keys.get(claims.key.id.rpartition("/")[0], -inf)
        )

    def closed(self, issued_at: float) -> frozenset[str]:
        """The datasets that are closed to tokens issued at that moment."""
        return frozenset(dataset for dataset, before in self.datasets.items() if issued_at < before)


NOTHING: Final = Revoked(frozenset(), frozenset(), {}, {}, {}, -inf)
"""For whoever keeps no revocations."""
