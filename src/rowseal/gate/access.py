"""What a token opens: a query, top to bottom. `gate` has proven who the bearer is.

secure:   admit (400) -> policy and names (403, 400) -> witness (500) -> SecuredQuery
execute:  engine (502, 504) -> Result
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import anyio.to_thread

from rowseal import decisions
from rowseal.catalog import Dataset
from rowseal.engine import Database, Result, Rows, Stop, Writer, to_json
from rowseal.errors import AccessRefused, BudgetExceeded, OurBug, QueryRefused, Refused, TokenRefused
from rowseal.explain import Explanation, explain
from rowseal.gate import routing
from rowseal.gate.judged import Judged, judged, standing
from rowseal.gate.state import State
from rowseal.gate.streams import AsyncStream, Row, Stream
from rowseal.gate.workers import stoppable, turn
from rowseal.grants import Grant
from rowseal.sql import SecuredQuery
from rowseal.sql.admit import admit
from rowseal.sql.dialects import Dialect
from rowseal.sql.secure import secure
from rowseal.sql.witness import again, prove

if TYPE_CHECKING:
    from rowseal.gate import Gate

__all__ = ["Access", "VisibleDataset"]

_log: Final = logging.getLogger("rowseal")
_SEAL: Final = object()
_new: Final = object.__new__  # looked up once: a token that is remembered costs little more than this
_T = TypeVar("_T")


class Access:
    """What one verified token opens. Only `Gate.verify` makes one; it re-checks the token at every use: its expiry, and all of it after a reload."""

    __slots__ = ("_gate", "_judged")
    _gate: Gate
    _judged: Judged

    def __init__(self, *_: object, **__: object) -> None:
        raise TypeError("Access has no public constructor: ask Gate.verify for one")

    @staticmethod
    def _sealed(seal: object, gate: Gate, judged: Judged) -> Access:
        if seal is not _SEAL:
            raise TypeError("Access has no public constructor: ask Gate.verify for one")
        access = _new(Access)
        access._gate = gate
        access._judged = judged
        return access

    @property
    def grant(self) -> Grant:
        """What the token permits, as it was last judged."""
        return self._judged.grant

    @property
    def expires_at(self) -> float:
        """When the token ends, in seconds since the epoch."""
        return self._judged.claims.expires_at

    def secure(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None, *, connection: str | None = None) -> SecuredQuery:
        """The query with this token's policy bound into every read.

        `params` has a value for each `:name` in the SQL; `dataset` is the id of the one dataset that the query reads, and so says which
        connection it is for. `connection` says so too, and is for the app to say, not for the bearer. Where neither does, each
        connection of a granted dataset is tried in the order of the file, and the first that takes the query has it.
        Raises TokenRefused, QueryRefused, AccessRefused, BudgetExceeded, EngineFailed (no such connection, or the gate is closed), or OurBug.
        """
        with self._recorded() as record, self._gate._entered() as state:
            mine = self._under(state)
            query = self._secure(state, mine, _Ask(sql, params, dataset, connection), record)
            self._metered(state, mine, query)
            # Somebody else runs it, and how many rows they get nobody tells: it counts for as many as it may give.
            self._gate._meters.read(mine.grant.key, 0 if mine.grant.key.max_rows is None else query.row_limit)
            self._allowed(state)
            return query

    def execute(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None, *, connection: str | None = None) -> Result:
        """Secure the query and run it. Takes and raises what `secure` does; also raises TimedOut and BudgetExceeded."""
        return self._execute(_Ask(sql, params, dataset, connection), Stop(), lambda result: result)

    def explain(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None, *, connection: str | None = None) -> Explanation:
        """What `secure` makes of the query, and where each filter comes from: an Explanation, which is a dict of plain values.

        Nothing runs. For operators: it names what queries cannot see.
        """
        with self._recorded() as record, self._gate._entered() as state:
            mine = self._under(state)
            query = self._secure(state, mine, _Ask(sql, params, dataset, connection), record)
            with _our_own():
                explained = explain(query, mine.policies[query.connection])
            self._allowed(state)
            return explained

    def datasets(self) -> tuple[VisibleDataset, ...]:
        """The datasets that this token grants, connection by connection, in the order of the file. Raises TokenRefused."""
        with self._recorded() as record, self._gate._entered() as state, record.trail.stage("policy"), _our_own():
            visible = tuple(
                VisibleDataset(dataset, policy.refusal(dataset), state.connections[name].dialect)
                for name, policy in self._under(state).policies.items()
                for dataset in policy.catalog.datasets.values()
                if policy.grant.grants(dataset.id)
            )
            self._allowed(state)
            return visible

    async def asecure(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None, *, connection: str | None = None) -> SecuredQuery:
        """`secure` in a worker thread, for handlers that run in an event loop."""
        return await anyio.to_thread.run_sync(partial(self.secure, sql, params, dataset, connection=connection), limiter=self._gate._threads())

    async def aexplain(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None, *, connection: str | None = None) -> Explanation:
        """`explain` in a worker thread."""
        return await anyio.to_thread.run_sync(partial(self.explain, sql, params, dataset, connection=connection), limiter=self._gate._threads())

    async def adatasets(self) -> tuple[VisibleDataset, ...]:
        """`datasets` in a worker thread."""
        return await anyio.to_thread.run_sync(self.datasets, limiter=self._gate._threads())

    async def aexecute(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None, *, connection: str | None = None) -> Result:
        """`execute` in a worker thread, for handlers that run in an event loop. When it is cancelled, the query ends in the database too."""
        ask = _Ask(sql, params, dataset, connection)
        return await stoppable(lambda stop: self._execute(ask, stop, lambda result: result), self._gate._threads())

    async def ajson(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None, *, connection: str | None = None) -> bytes:
        """`aexecute`, and its answer as JSON with the columns' types (`to_json`), made in the same thread."""
        ask = _Ask(sql, params, dataset, connection)
        return await stoppable(lambda stop: self._execute(ask, stop, partial(to_json, types=True)), self._gate._threads())

    def stream(self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None, *, connection: str | None = None) -> Stream[list[Row]]:
        """Secure the query and begin it: its rows come in batches, and no more than one batch of them is held.

            with access.stream("SELECT ...") as stream:
                for batch in stream: ...

        Takes and raises what `execute` does, the limits also from the loop. A token that ends while its query runs does not end the query.
        """
        return Stream(self._streamed(_Ask(sql, params, dataset, connection), Stop(), lambda _, batch: batch))

    async def astream(
        self, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None, *, connection: str | None = None
    ) -> AsyncStream[list[Row]]:
        """`stream` in worker threads: `async with await access.astream(...) as stream: async for batch in stream: ...`"""
        return await self._astream(_Ask(sql, params, dataset, connection), lambda _, batch: batch)

    async def achunks(
        self, writer: Writer, sql: str, params: Mapping[str, Any] | None = None, dataset: str | None = None, *, connection: str | None = None
    ) -> AsyncStream[bytes]:
        """`astream`, and its rows as the writer writes them (`rowseal.engine.formats`), in the same threads. Without the last chunk it is no answer."""
        begun = False

        def write(rows: Rows, batch: list[Row]) -> bytes:
            nonlocal begun
            parts = [] if begun else [writer.begin(rows.columns, rows.declared, rows.exact)]
            begun = True
            parts.append(writer.rows(batch))
            if rows.done:
                parts.append(writer.end(truncated=rows.truncated))
            return b"".join(parts)

        return await self._astream(_Ask(sql, params, dataset, connection), write)

    async def _astream(self, ask: _Ask, make: Callable[[Rows, list[Row]], _T]) -> AsyncStream[_T]:
        stop, threads = Stop(), self._gate._threads()
        return AsyncStream(await stoppable(lambda stop: Stream(self._streamed(ask, stop, make)), threads, stop), stop, threads)

    def _streamed(self, ask: _Ask, stop: Stop, make: Callable[[Rows, list[Row]], _T]) -> Generator[Rows | _T, None, None]:
        """First the Rows, then what is made of each batch of them, where that is anything.

        INVARIANT: the last part goes out when everything is given back and the decision is written.
        """
        with self._recorded() as record, self._gate._entered() as state:
            mine = self._under(state)
            query = self._secure(state, mine, ask, record)
            self._metered(state, mine, query)
            record.rows = 0
            with _opening(record.trail, state.connections[query.connection].database, query, stop) as rows:
                yield rows
                while True:
                    with record.trail.stage("execute"):
                        batch = rows.take()
                    # INVARIANT: counted before anybody gets them
                    self._gate._meters.read(mine.grant.key, len(batch))
                    record.rows += len(batch)
                    part = make(rows, batch)
                    if rows.done:
                        break
                    if part:
                        yield part
            self._allowed(state)
            record.truncated = rows.truncated
        if part:
            yield part

    def _execute(self, ask: _Ask, stop: Stop, finish: Callable[[Result], _T]) -> _T:
        with self._recorded() as record, self._gate._entered() as state:
            mine = self._under(state)
            query = self._secure(state, mine, ask, record)
            self._metered(state, mine, query)
            with record.trail.stage("execute"):
                result = state.connections[query.connection].database.execute(query, stop)
            self._gate._meters.read(mine.grant.key, len(result.rows))
            finished = finish(result)
            self._allowed(state)
            record.rows, record.truncated = len(result.rows), result.truncated
            return finished

    def _under(self, state: State) -> Judged:
        """What this state makes of the token. Raises TokenRefused where it does not take the token, or takes it no longer."""
        ring, now = state.keys.ring, self._gate.clock()
        mine = self._judged
        changed = mine.epoch != ring.epoch
        if changed or now >= mine.grant.expires_at:
            # INVARIANT: what earlier keys or an earlier state made of the token has no part in this use, and nothing lives on beyond its end:
            # `judge` refuses what has ended, unless only its key's source has confirmed the key anew.
            mine = self._judged = judged(state, ring, ring.verifier.judge(mine.claims, now=now))
        mine = self._judged = standing(state, mine)
        if mine.rules.inactivity and state.uses is not None:
            state.uses.check(mine.claims, mine.rules.inactivity, now=now)
        return mine

    def _allowed(self, state: State) -> None:
        """Note that a request was allowed, for tokens that end when there is none. INVARIANT: called for nothing else, so no refused one prolongs."""
        mine = self._judged
        if mine.rules.inactivity and state.uses is not None:
            state.uses.allowed(mine.claims, mine.rules.inactivity, now=self._gate.clock())

    def _metered(self, state: State, mine: Judged, query: SecuredQuery) -> None:
        """Count what the query names, and see whether its rows may be read. Raises BudgetExceeded."""
        key, meters = mine.grant.key, self._gate._meters
        if key.max_values is not None:
            policy, datasets = mine.policies[query.connection], state.catalogs[query.connection].datasets
            meters.name(key, mine.claims.digest, [policy.rows(datasets[each]) for each in query.datasets])
        meters.ask(key)

    def _secure(self, state: State, mine: Judged, ask: _Ask, record: _Record) -> SecuredQuery:
        """The query, secured for the first connection that takes it."""
        trail, limits = record.trail, state.limits
        asked = routing.asked(state, mine.grant, mine.reached, ask.dataset, ask.connection)
        record.connection = asked[0].catalog.connection if len(asked) == 1 else None
        refusals = routing.Refusals(several=len(state.connections) > 1)
        for each in asked:
            policy, admitted = mine.policies[each.catalog.connection], False
            try:
                with trail.stage("plan"):
                    query = each.plans.recall(ask.sql, ask.params, ask.dataset, policy)
                if query is not None:
                    record.connection, record.datasets = query.connection, query.datasets
                    return query
                with turn(ask.sql):
                    with trail.stage("admit"):
                        parsed = admit(ask.sql, ask.params, each.dialect, limits, each.catalog.functions)
                    admitted = True
                    with trail.stage("secure"):
                        draft = secure(parsed, policy, each.datasets, limits, only=ask.dataset)
                    with trail.stage("witness"):
                        plan = prove(draft, policy)
                        query = again(plan, policy, draft.params)
                    each.plans.keep(ask.sql, parsed.params, ask.dataset, policy, plan)
            except (OurBug, BudgetExceeded):  # no connection is passed over because there was no turn
                raise
            except Refused as refusal:
                refusals.add(refusal, admitted=admitted)
            except RecursionError as error:
                raise QueryRefused("sql_too_complex", "the SQL nests too deeply") from error
            except Exception as error:
                # INVARIANT: whatever a dependency raises, nothing runs.
                raise OurBug(f"securing failed with {type(error).__name__}") from error
            else:
                del refusals  # an exception that its own frame can reach waits for the garbage collector
                record.connection, record.datasets = query.connection, query.datasets
                return query
        raise refusals.told()

    @contextmanager
    def _recorded(self) -> Iterator[_Record]:
        """Write one decision, whatever comes of it."""
        with decisions.current() as trail:
            record = _Record(trail)
            reason: str | None = None
            code, status = "our_bug", 500  # what is neither a Refused nor an answer: a cancellation, or a mistake of ours
            try:
                yield record
                code, status = decisions.ALLOWED, 200
                record.trail.refused = None
            except Refused as refusal:
                code, status = refusal.code, refusal.status
                reason = refusal.reason if isinstance(refusal, TokenRefused) else None
                record.trail.tell(refusal)
                if isinstance(refusal, OurBug):
                    _log.error("request %s: nothing ran: %s", trail.request_id, refusal.internal)
                raise
            finally:
                decisions.emit(
                    decisions.Decision(
                        request_id=record.trail.request_id,
                        code=code,
                        status=status,
                        token=self._judged.claims.digest[:12],
                        key=self._judged.claims.key.id,
                        connection=record.connection,
                        datasets=record.datasets,
                        stages=record.trail.stages,
                        rows=record.rows,
                        truncated=record.truncated,
                        reason=reason,
                    )
                )


@contextmanager
def _opening(trail: decisions.Trail, database: Database, query: SecuredQuery, stop: Stop) -> Iterator[Rows]:
    with ExitStack() as opened:
        with trail.stage("execute"):
            rows = opened.enter_context(database.open(query, stop))
        yield rows


@contextmanager
def _our_own() -> Iterator[None]:
    """What is raised inside and is no refusal is a mistake of ours: nobody else's words get out."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        raise OurBug(f"failed with {type(error).__name__}") from error


class VisibleDataset(NamedTuple):
    """A dataset that a token grants, and the refusal that closes it all the same; None where queries may read it.

    `dialect` says how its names are quoted in SQL.
    """

    dataset: Dataset
    refusal: AccessRefused | None
    dialect: Dialect


@dataclass(frozen=True, slots=True)
class _Ask:
    """One query, as it was asked."""

    sql: str
    params: Mapping[str, Any] | None
    dataset: str | None
    connection: str | None


@dataclass(slots=True)
class _Record:
    """What is known of one query so far."""

    trail: decisions.Trail
    connection: str | None = None
    datasets: tuple[str, ...] = ()
    rows: int | None = None
    truncated: bool | None = None
