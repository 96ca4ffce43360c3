"""Places whose keys come and go, as they were when somebody looked last. Looking is for `gate.keyring`, which also says what time it is."""

from __future__ import annotations

import logging
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from rowseal.keys.reading import read_published_set
from rowseal.keys.records import ACTIVE, Kept, Unlisted, listed, scan
from rowseal.keys.remote import Fetched, Unfetched, fetch
from rowseal.keys.types import KeyRefused, PublicKey, Source

__all__ = ["Directory", "KeySet", "Seen", "Watched", "watched"]

_log: Final = logging.getLogger("rowseal")
_MISSED: Final = 1_000  # kids that were asked for in vain
_MISSED_COOL_DOWNS: Final = 4


@dataclass(frozen=True, slots=True)
class Seen:
    """What a source had. `complete_until`: from then on it may have keys that are not here; `fresh`: it could be asked the last time."""

    keys: tuple[Kept, ...] = ()
    complete_until: float = -math.inf
    fresh: bool = False


class Directory:
    """A folder of keys. Not safe to share between threads: whoever looks takes turns."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.seen = Seen()
        self.problems: tuple[tuple[str, str], ...] = ()
        self._files: object = None

    def look(self, now: float, *, force: bool = False) -> bool:
        """Read the folder again if its files changed. Whether that changed what is seen."""
        del now
        before = self.seen
        try:
            # INVARIANT: listed before it is read: what changes in between is seen next time
            files: object = listed(self.source.place)
            if files == self._files and not force:
                return False
            kept, self.problems = scan(self.source)
        except Unlisted as error:
            files, self.seen = None, Seen()
            if before.fresh or self._files is None:
                _log.error("keys `%s`: the directory cannot be read (%s), so its keys are not used", self.source.facts.id, error)
        else:
            self.seen = Seen(tuple(each for each in kept if each.state == ACTIVE), math.inf, fresh=True)
            for name, problem in self.problems:
                _log.error("keys `%s`: `%s` gives no key: %s", self.source.facts.id, name, problem)
        self._files = files
        return self.seen != before

    def adopt(self, other: Directory) -> None:
        """Nothing: a folder is read at once."""


class KeySet:
    """A key set behind a URL. `look` may be called by one thread at a time, the rest by any."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.seen = Seen()
        self.notes: tuple[str, ...] = ()
        self.fetching = False
        self._due = -math.inf
        self._tried = -math.inf
        self._turn = threading.Lock()
        self._missed: OrderedDict[str, float] = OrderedDict()

    def look(self, now: float, *, force: bool = False) -> bool:
        """Fetch the set if it is time. Whether that changed what is seen. Blocks, for `refresh.timeout` at most."""
        # a clock that was set back is no reason to wait until it shows again what it had shown
        if self._tried <= now < self._due and not force:
            return False
        before, refresh, self.fetching, self._tried = self.seen, self.source.refresh, True, now
        try:
            found = fetch(self.source.place, timeout=refresh.timeout)
            keys, notes = read_published_set(found.content, facts=self.source.facts, algorithm=self.source.algorithm)
        except (Unfetched, KeyRefused) as problem:
            self._fail(problem, now)
        except Exception as error:  # noqa: BLE001 -- INVARIANT: nothing that anybody publishes does more than leave the keys as they are
            self._fail(error, now)
        else:
            self._take(keys, notes, found, now)
        finally:
            self.fetching = False
        return self.seen != before

    def _take(self, keys: tuple[PublicKey, ...], notes: tuple[str, ...], found: Fetched, now: float) -> None:
        source, refresh = self.source, self.source.refresh
        until = now + refresh.max_stale
        kept = tuple(
            Kept(each.thumbprint, replace(each, source=source.kind, not_before=source.not_before, retire_at=source.retire_at, confirmed_until=until))
            for each in keys
        )
        if notes != self.notes or not keys:
            for note in notes:
                _log.warning("keys `%s`: %s", source.facts.id, note)
            if not keys:
                _log.error("keys `%s`: the key set holds no key that can be used", source.facts.id)
        self.notes = notes
        fresh_for = refresh.at_most if found.max_age is None else min(max(found.max_age, refresh.at_least), refresh.at_most)
        self._due = now + fresh_for
        self.seen = Seen(kept, until if kept else -math.inf, fresh=True)

    def _fail(self, problem: Exception, now: float) -> None:
        told = str(problem) if isinstance(problem, (Unfetched, KeyRefused)) else type(problem).__name__
        _log.warning("keys `%s`: the key set could not be fetched: %s", self.source.facts.id, told)
        self._due = now + self.source.refresh.cool_down
        self.seen = replace(self.seen, fresh=False)

    def ask(self, kid: str, now: float) -> bool:
        """Whether a key of this name may be on its way: a fetch runs, or is due now because of this question."""
        if self.fetching:
            return True
        cool_down = self.source.refresh.cool_down
        with self._turn:
            # INVARIANT: whoever invents names makes us fetch once in a cool-down, and with one name once in several
            if not self._tried <= now < self._tried + cool_down and not self._missed.get(kid, -math.inf) > now:
                self._missed[kid] = now + _MISSED_COOL_DOWNS * cool_down
                while len(self._missed) > _MISSED:
                    self._missed.popitem(last=False)
                self._due, self.fetching = -math.inf, True
                return True
        return False

    def adopt(self, other: KeySet) -> None:
        """Go on with what another found at the same place, for as long as that may be used."""
        self.seen, self.notes, self._due, self._tried = other.seen, other.notes, other._due, other._tried


Watched: TypeAlias = "Directory | KeySet"


def watched(source: Source) -> Watched:
    """What looks at this source."""
    return Directory(source) if source.kind == "directory" else KeySet(source)
