"""What the keys do, in the text format of Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rowseal.gate import Gate

__all__ = ["metrics"]

_IN_USE_SECONDS: Final = 86_400.0


def metrics(gate: Gate) -> str:
    """One sample for each key and thing that is known of it, and the age of the oldest key whose tokens came within the last day."""
    return "\n".join((*_lines(gate), ""))


def _lines(gate: Gate) -> Iterator[str]:
    now, report = gate.clock(), gate.key_report()
    labels = [f'{{id="{_escaped(key.id)}",thumbprint="{key.thumbprint}",algorithm="{key.algorithm}",source="{key.source}"}}' for key in report]
    named = list(zip(labels, report, strict=True))
    yield from _of(
        "rowseal_key_age_seconds", "gauge", "Since the key was added or began to hold.", [(label, now - key.since) for label, key in named if key.since]
    )
    yield from _of("rowseal_key_tokens_total", "counter", "Tokens that the key proved.", [(label, key.tokens) for label, key in named])
    used = [(label, key.last_used_at) for label, key in named if key.last_used_at is not None]
    yield from _of("rowseal_key_last_used_timestamp_seconds", "gauge", "When a token of the key was taken last.", used)
    retire = [(label, key.retire_at) for label, key in named if key.retire_at is not None]
    yield from _of("rowseal_key_retire_timestamp_seconds", "gauge", "When the key's tokens are refused.", retire)
    ages = [now - key.since for key in report if key.since is not None and key.last_used_at is not None and now - key.last_used_at < _IN_USE_SECONDS]
    yield from _of("rowseal_oldest_key_in_use_age_seconds", "gauge", "Of the keys that were used within a day.", [("", max(ages))] if ages else [])
    use = [(f'{{id="{_escaped(name)}"}}', each) for name, each in sorted(gate.key_use().items())]
    yield from _of("rowseal_key_hour_rows", "gauge", "Rows that the key's tokens have read in the hour that runs.", [(label, each.rows) for label, each in use])
    values = [(label, each.values) for label, each in use if each.values is not None]
    yield from _of("rowseal_key_hour_values", "gauge", "Different values that their filters have named in it, where these are bounded.", values)
    condition = gate.key_condition()
    conditions = [(f'{{condition="{each}"}}', int(each == condition)) for each in ("fresh", "stale", "unavailable")]
    yield from _of("rowseal_keys_condition", "gauge", "1 for how the keys are, 0 for how they are not.", conditions)


def _of(name: str, kind: str, about: str, samples: Sequence[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    yield from (f"{name}{label} {value:.16g}" for label, value in samples)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
