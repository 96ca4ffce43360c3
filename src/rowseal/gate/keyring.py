"""The keys of one state at one moment. When they change another keyring is made, and the two are swapped in one assignment."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from typing import Final
from weakref import WeakSet, ref

from rowseal.catalog import Limits
from rowseal.errors import TokenRefused
from rowseal.keys import PublicKey, Source, TokenRules
from rowseal.keys.watch import KeySet, Watched, watched
from rowseal.tokens import Verifier

__all__ = ["Keyring", "Keys"]

_log: Final = logging.getLogger("rowseal")
_LOOK_SECONDS: Final = 1.0
# INVARIANT: no two keyrings of a process share a number, so one comparison tells whether keys or the whole configuration changed.
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Keyring:
    """All keys with their rules, immutable. `epoch` is this keyring's alone: what was proven under another number is judged anew."""

    epoch: int
    rules: tuple[TokenRules, ...]
    verifier: Verifier
    body_verifier: Verifier  # for tokens in bodies, which may be larger


class Keys:
    """Where a state finds its keyring of now: read `ring` once in each use, and go on with that.

    Sources whose keys come and go are looked at when this is made, and then by a thread for each, from `start` to `close`.
    """

    ring: Keyring

    def __init__(self, rules: Sequence[TokenRules], limits: Limits, *, clock: Callable[[], float], before: Keys | None = None) -> None:
        """`before` has what was found at the same places until now. Raises KeyRefused where it would be unclear which rules a token has.

        Blocks until each source was looked at. One that cannot be asked has no keys yet, or those of `before`.
        """
        self._rules = tuple(rules)
        self._limits = limits
        self._clock = clock
        self._composing = threading.Lock()
        self.watched = tuple(watched(source) for entry in rules for source in entry.sources)
        known = {} if before is None else {each.source: each for each in before.watched}
        for each in self.watched:
            other = known.get(each.source)
            if isinstance(each, KeySet) and isinstance(other, KeySet):
                each.adopt(other)
        self._turns: dict[Source, threading.Lock] = {each.source: threading.Lock() for each in self.watched}
        self._wakes = {each.source: threading.Event() for each in self.watched}
        self._closed = threading.Event()
        self._running = False
        self._compose()
        if self.watched:
            with ThreadPoolExecutor(len(self.watched), "rowseal-keys") as pool:
                list(pool.map(lambda each: self._look(each, force=True), self.watched))

    def start(self) -> None:
        """Look again and again, in threads of its own, until `close` or until nobody has this any more."""
        self._running = True
        _RUNNING.add(self)
        for each in self.watched:
            threading.Thread(target=_look_on, args=(ref(self), each, self._wakes[each.source], self._closed), name="rowseal-keys", daemon=True).start()

    def close(self) -> None:
        """Look no more. The keyring stays, for what still uses it."""
        self._running = False
        self._closed.set()
        for wake in self._wakes.values():
            wake.set()

    def refresh(self, *, fetch: bool = True) -> None:
        """Look at every directory now, and with `fetch` at every URL. Blocks."""
        for each in self.watched:
            if fetch or not isinstance(each, KeySet):
                self._look(each, force=True)

    def awaited(self, refusal: TokenRefused) -> bool:
        """Whether a key that would prove the refused token may be on its way. If nobody has asked for it lately, it is asked for now."""
        if refusal.kid is None:
            return False
        now, found = self._clock(), False
        for each in self.watched:
            if isinstance(each, KeySet) and each.ask(refusal.kid, now):
                self._wakes[each.source].set()
                found = self._running
        return found

    @property
    def fetching(self) -> bool:
        """Whether a key set is being fetched."""
        return self._running and any(isinstance(each, KeySet) and each.fetching for each in self.watched)

    @property
    def longest_fetch(self) -> float:
        """How long whoever waits for a key set waits at most, in seconds. Looking up a name may take longer: that nobody can cut short."""
        return max((each.source.refresh.timeout for each in self.watched if isinstance(each, KeySet)), default=0.0)

    def condition(self) -> str:
        """`fresh`, `stale` where a source could not be asked the last time, or `unavailable` where keys may be missing, or none is in time."""
        now = self._clock()
        usable = any(key.not_before <= now < min(key.retire_at, key.confirmed_until) for key in self.ring.verifier.keys)
        if not usable or now >= self.ring.verifier.complete_until:
            return "unavailable"
        return "fresh" if all(each.seen.fresh for each in self.watched) else "stale"

    def _look(self, each: Watched, *, force: bool = False) -> None:
        with self._turns[each.source]:
            changed = each.look(self._clock(), force=force)
        if changed:
            self._compose()

    def _compose(self) -> None:
        """Make the keyring of all that is seen now. It has a new number unless all that it lacks or has anew is time."""
        with self._composing:
            now = self._clock()
            composed = _composed(self._rules, self.watched)
            missing = [each.seen.complete_until for each in self.watched if now < each.source.retire_at]
            until = min(missing, default=float("inf"))
            verifiers = [Verifier(composed, token_bytes=size, complete_until=until) for size in (self._limits.token_bytes, self._limits.body_token_bytes)]
            before = getattr(self, "ring", None)
            same = before is not None and _timeless(before.rules) == _timeless(composed)
            if before is not None and not same:
                _tell(before.verifier.keys, verifiers[0].keys)
            self.ring = Keyring(before.epoch if before is not None and same else next(_numbers), composed, *verifiers)


def _look_on(keys: ref[Keys], each: Watched, wake: threading.Event, closed: threading.Event) -> None:
    """INVARIANT: held only while it is looked: a gate that nobody closed takes its threads along."""
    while not closed.is_set():
        wake.wait(_LOOK_SECONDS)
        wake.clear()
        held = keys()
        if held is None or closed.is_set():
            return
        try:
            held._look(each)
        except Exception as error:  # noqa: BLE001 -- INVARIANT: whoever watches goes on; what it saw last stays, within its own bounds
            _log.error("keys `%s`: looking failed: %s", each.source.facts.id, type(error).__name__)
        del held


def _composed(rules: Iterable[TokenRules], seen: Iterable[Watched]) -> tuple[TokenRules, ...]:
    """The rules with the keys that were seen. A key stands once: what is written in the file comes first, then what lies in a directory.

    INVARIANT: whoever publishes a key has not shown that it is theirs, so no URL takes one that the operator has put somewhere.
    """
    by_source = {each.source: each for each in seen}
    rules = tuple(rules)
    found = [replace(entry, sources=()) for entry in rules]
    ids = {key.facts.id for entry in rules for key in entry.keys}
    thumbprints = {key.thumbprint for entry in rules for key in entry.keys}
    sources = [(entry, source) for entry in rules for source in entry.sources]
    for entry, source in sorted(sources, key=lambda each: each[1].kind != "directory"):
        of_project: dict[str | None, list[PublicKey]] = {}
        for kept in by_source[source].seen.keys:
            wanted = kept.project_id or entry.project_id
            why = None
            if kept.key.thumbprint in thumbprints:
                why = "the same key stands elsewhere"
            elif kept.key.facts.id in ids:
                why = "its id is that of another key"
            elif entry.project_id not in {None, wanted}:
                why = "its project is not the one of its profile"
            if why is not None:
                _log.warning("keys `%s`: %s is not used: %s", source.facts.id, kept.key.thumbprint, why)
                continue
            thumbprints.add(kept.key.thumbprint)
            of_project.setdefault(wanted, []).append(kept.key)
        ids |= {key.facts.id for keys in of_project.values() for key in keys}
        found += [replace(entry, sources=(), keys=tuple(keys), project_id=project) for project, keys in of_project.items()]
    return tuple(found)


def _timeless(rules: Iterable[TokenRules]) -> list[tuple[TokenRules, tuple[object, ...]]]:
    """What distinguishes two keyrings, but for how long their keys are confirmed. Keys are the same by their thumbprints."""
    return [(replace(entry, keys=()), tuple(replace(key, key=None, confirmed_until=0.0) for key in entry.keys)) for entry in rules]


def _tell(before: Iterable[PublicKey], now: Iterable[PublicKey]) -> None:
    old, new = ({f"{key.facts.id} ({key.thumbprint})" for key in keys} for keys in (before, now))
    for what, names in (("come", new - old), ("gone", old - new)):
        for name in sorted(names):
            _log.warning("keys: %s has %s", name, what)


_RUNNING: Final[WeakSet[Keys]] = WeakSet()


def _after_fork() -> None:
    # the threads stayed in the parent, and whoever held a lock there gives it back there
    for keys in list(_RUNNING):
        if keys._running:
            keys._composing = threading.Lock()
            keys._turns = {each.source: threading.Lock() for each in keys.watched}
            keys._wakes = {each.source: threading.Event() for each in keys.watched}
            for each in keys.watched:
                if isinstance(each, KeySet):
                    each.fetching, each._turn = False, threading.Lock()
            keys.start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
