"""Questions about the record itself: signed checkpoints, proofs that they continue each other, and explanations."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar.params import FromQuery
from litestar.response.base import ASGIResponse

from marginkeep.errors import InputError
from marginkeep.journal.proofs import prove_continuation
from marginkeep.journal.why import explain
from marginkeep.service.access.access import require_account
from marginkeep.service.queries.question import (
    PAGE_DEFAULT,
    SEQUENCE_MAX,
    AnyRequest,
    context_of,
    page_size,
    question,
    require_sequence,
)
from marginkeep.service.queries.why_views import WhyView, why_view
from marginkeep.service.wire.answers import json_answer
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from marginkeep.journal.command_log import StoredCheckpoint
    from marginkeep.service.access.scopes import Caller
    from marginkeep.service.context import ServiceContext

REPLAYED_MAX: Final = 20_000
"""Records that an explanation may take; older ones are explained where the journal is."""

EXPLAINING_MAX: Final = 4
"""Explanations that may wait for each other."""

_TAGS: Final = ("audit",)
_NOT_FOUND: Final = "nothing of the kind is on record for this account: it does not exist, is not yours, or was spared"


class CheckpointView(msgspec.Struct, frozen=True, kw_only=True):
    """A signed state of the journal: `note` is in the C2SP form, over the tree of the first `size` records."""

    size: int
    note: str


class CheckpointPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some checkpoints, oldest first; `next` is None on the last page."""

    checkpoints: list[CheckpointView]
    next: int | None


class ConsistencyView(msgspec.Struct, frozen=True, kw_only=True):
    """That one checkpoint continues another: both notes, and the hashes between them in base64."""

    form: int
    old: str
    new: str
    path: list[str]


@question("/v1/checkpoints/latest", CheckpointView, "Show the newest checkpoint", name="ShowCheckpoint", tags=_TAGS)
async def show_checkpoint(request: AnyRequest) -> ASGIResponse:
    """Answer the newest signed checkpoint."""
    stored = await asyncio.to_thread(context_of(request).log.last_checkpoint)
    if stored is None:
        raise Problem("not_found", "no checkpoint is signed yet: the journal is new, or has no signing key")
    return json_answer(_checkpoint(stored))


@question(
    "/v1/checkpoints", CheckpointPage, "List checkpoints", name="ListCheckpoints", tags=_TAGS, knows=("after", "limit")
)
async def list_checkpoints(
    request: AnyRequest, after: FromQuery[int] = 0, limit: FromQuery[int] = PAGE_DEFAULT
) -> ASGIResponse:
    """Answer checkpoints of more than `after` records."""
    context = context_of(request)
    rows, log = page_size(context, limit), context.log
    require_sequence("after", after, "the size of a checkpoint")
    found = await asyncio.to_thread(lambda: list(islice(log.checkpoints(after), rows + 1)))
    views = [_checkpoint(one) for one in found[:rows]]
    return json_answer(CheckpointPage(checkpoints=views, next=views[-1].size if len(found) > rows else None))


def _checkpoint(stored: StoredCheckpoint) -> CheckpointView:
    return CheckpointView(size=stored.size, note=stored.note)


@question(
    "/v1/proofs/consistency",
    ConsistencyView,
    "Prove that a checkpoint continues another",
    name="ProveConsistency",
    tags=_TAGS,
    weight=5,
    knows=("old", "new"),
)
async def prove_consistency(request: AnyRequest, old: FromQuery[int], new: FromQuery[int] = 0) -> ASGIResponse:
    """Answer the proof that the checkpoint of `new` records (0 = the newest) continues that of `old`."""
    context = context_of(request)
    return json_answer(await asyncio.to_thread(_consistency, context, old, new))


def _consistency(context: ServiceContext, old: int, new: int) -> dict[str, Any]:
    if new and new < old:
        raise Problem("bad_request", f"old is {old} and new is {new}: a checkpoint continues smaller ones")
    later = _find(context, new) if new else None
    proof: dict[str, Any] = msgspec.json.decode(prove_continuation(context.log, _find(context, old), later).to_json())
    return proof


def _find(context: ServiceContext, size: int) -> StoredCheckpoint:
    if 0 < size <= SEQUENCE_MAX:
        for stored in context.log.checkpoints(size - 1):
            if stored.size == size:
                return stored
            break
    raise Problem("not_found", f"there is no checkpoint of {size} records: see /v1/checkpoints")


class Explaining:
    """Lets explanations through one at a time: each replays a part of the journal."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def explain(self, context: ServiceContext, caller: Caller, account: str, sequence: int) -> WhyView:
        """Return an explanation.

        Raises
        ------
        Problem : ``overloaded`` where too many wait, ``not_found`` where there is nothing to explain to this caller
        """
        if self._waiting >= EXPLAINING_MAX:
            raise Problem("overloaded", f"{self._waiting} explanations wait already: retry", retry_after=1)
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(_explain, context, caller, account, sequence)
        finally:
            self._waiting -= 1


def _explain(context: ServiceContext, caller: Caller, account: str, sequence: int) -> WhyView:
    try:
        found = explain(context.log, account, sequence, from_snapshot=True, most=REPLAYED_MAX)
    except InputError as error:
        # The message may name what is not the caller's.
        raise Problem("not_found", str(error) if caller.acts_for_all else _NOT_FOUND) from error
    view = why_view(found, caller, context.rulebook)
    if view is None:
        raise Problem("not_found", _NOT_FOUND)
    return view


@question(
    "/v1/why",
    WhyView,
    "Explain what was done to an account",
    name="Why",
    tags=_TAGS,
    weight=100,
    knows=("account", "sequence"),
)
async def why(request: AnyRequest, account: FromQuery[str], sequence: FromQuery[int] = 0) -> ASGIResponse:
    """Replay the journal from the newest snapshot before a record, and explain what it did to an account.

    `sequence` 0 = the last decision among recent records. What is older than the service replays is explained by
    `marginkeep why` where the journal is.
    """
    context, caller = context_of(request), request.user
    require_account(caller, account)
    require_sequence("sequence", sequence, "that of a record")
    if account not in context.state.index:
        raise Problem("not_found", _NOT_FOUND if not caller.acts_for_all else f"there is no account {account!r:.80}")
    explaining: Explaining = context.parts.setdefault("explaining", Explaining())
    return json_answer(await explaining.explain(context, caller, account, sequence))


ROUTES: Final = [show_checkpoint, list_checkpoints, prove_consistency, why]
