"""Several queries in one request: each is admitted, run and answered, or refused, by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import anyio

from rowseal import decisions
from rowseal.errors import BudgetExceeded, OurBug, Refused
from rowseal.gate import Access
from rowseal.http.rewrite import Ask
from rowseal.http.transport import problem_content

__all__ = ["several"]

_AT_ONCE: Final = 4  # so that one request does not take every place


async def several(access: Access, asks: Sequence[Ask], *, most_bytes: int) -> bytes:
    """The answers as JSON, in the order of the queries, a problem where one is refused: `{"results": [...]}`.

    Each query has a transaction, a decision and `limits.seconds` of its own. `most_bytes` bounds all answers together: one that does not fit any
    more is refused, and the others stand.
    """
    request_id = decisions.trail().request_id
    answers, left, turns = [b""] * len(asks), most_bytes, anyio.Semaphore(_AT_ONCE)

    async def one(at: int, ask: Ask) -> None:
        nonlocal left
        async with turns:
            with decisions.follow(request_id):
                try:
                    answer = await access.ajson(ask.sql, ask.params, ask.dataset)
                except Refused as refusal:
                    answer = _problem(refusal, request_id)
                except Exception as failure:  # noqa: BLE001 -- its words may quote a value, so they stay here
                    answer = _problem(OurBug(type(failure).__name__), request_id)
                if len(answer) > left:
                    answer = _problem(BudgetExceeded("result_too_large", "all answers together are larger than this server sends"), request_id)
                left = max(0, left - len(answer))
                answers[at] = answer

    async with anyio.create_task_group() as group:
        for at, ask in enumerate(asks):
            group.start_soon(one, at, ask)
    return b'{"results":[' + b",".join(answers) + b"]}"


def _problem(refusal: Refused, request_id: str) -> bytes:
    return json.dumps(problem_content(refusal, request_id=request_id), separators=(",", ":")).encode("ascii")
