"""Changing the rules over the network: propose, approve, activate, withdraw. See `proposals`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from litestar import get, post
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from msgspec import Meta

from marginkeep.service.access.access import idempotency_key
from marginkeep.service.access.dry_run import DryRun
from marginkeep.service.access.proposals import Change, Proposal
from marginkeep.service.access.scopes import Scope
from marginkeep.service.queries.question import AnyRequest, context_of
from marginkeep.service.wire.answers import json_answer
from marginkeep.service.wire.bodies import read_body
from marginkeep.service.wire.openapi import documented

if TYPE_CHECKING:
    from marginkeep.service.access.proposals import Proposals

RULES_MAX: Final = 2**22
BODY_MAX: Final = 5 * 2**20


class NewProposal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rulebook to come into force.

    Attributes
    ----------
    rules : TOML text
    """

    rules: Annotated[str, Meta(min_length=1, max_length=RULES_MAX)]


class Approval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a change may go.

    Attributes
    ----------
    liquidatable_max : accounts that may become liquidatable by it; left out = as many as a dry run shows now
    """

    liquidatable_max: Annotated[int, Meta(ge=0, le=2**53)] | None = None


class ProposalView(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of a proposal in a list; see `Proposal`."""

    id: str
    status: Literal["proposed", "approved", "activated", "withdrawn"]
    before: str
    after: str
    proposed_by: str
    proposed_ns: int
    approved_by: str
    approved_ns: int
    activates_ns: int
    liquidatable_max: int
    activated_ns: int
    withdrawn_by: str
    sequence: int
    summary: str


class ProposalDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal with what it changes and what the last dry run has shown."""

    proposal: ProposalView
    changes: list[Change]
    dry_run: DryRun
    rules: str


class ProposalList(msgspec.Struct, frozen=True, kw_only=True):
    """Every proposal, oldest first."""

    proposals: list[ProposalView]


_new_proposal: Final = msgspec.json.Decoder(NewProposal)
_approval: Final = msgspec.json.Decoder(Approval)

_READ: Final = {"scope": Scope.RISK_ADMIN, "weight": 5, "bucket": "admin"}
_CHANGE: Final = {"scope": Scope.RISK_ADMIN, "weight": 50, "bucket": "admin", "mutates": True}


@get(
    "/v1/proposals",
    opt={**_READ, **documented(answer=ProposalList)},
    operation_id="ListProposals",
    summary="List proposals",
    tags=["proposals"],
)
async def list_proposals(request: AnyRequest) -> ASGIResponse:
    """List every proposal ever made, with what became of it."""
    return json_answer(ProposalList(proposals=[_view(proposal) for proposal in _proposals(request).every()]))


@get(
    "/v1/proposals/{proposal_id:str}",
    opt={**_READ, **documented(answer=ProposalDetail)},
    operation_id="ShowProposal",
    summary="Show a proposal",
    tags=["proposals"],
)
async def show_proposal(request: AnyRequest, proposal_id: FromPath[str]) -> ASGIResponse:
    """Show a proposal: every parameter that changes, the last dry run, and the rules as text."""
    return _detail(_proposals(request).get(proposal_id))


@post(
    "/v1/proposals",
    opt={**_CHANGE, "body_max": BODY_MAX, **documented(body=NewProposal, answer=ProposalDetail)},
    status_code=200,
    operation_id="MakeProposal",
    summary="Propose other rules",
    request_max_body_size=BODY_MAX,
    tags=["proposals"],
)
async def make_proposal(request: AnyRequest) -> ASGIResponse:
    """Propose a rulebook: it is compared with the one in force and tried on a copy of the house."""
    wire = await read_body(_new_proposal, request)
    key = idempotency_key(request.headers)
    return _detail(await _proposals(request).propose(wire.rules, request.user, key))


@post(
    "/v1/proposals/{proposal_id:str}/approve",
    opt={**_CHANGE, **documented(body=Approval, answer=ProposalDetail)},
    status_code=200,
    operation_id="ApproveProposal",
    summary="Approve a proposal",
    tags=["proposals"],
)
async def approve_proposal(request: AnyRequest, proposal_id: FromPath[str]) -> ASGIResponse:
    """Approve what another person has proposed; from then on the time lock runs."""
    wire = await read_body(_approval, request)
    key = idempotency_key(request.headers)
    proposal = await _proposals(request).approve(proposal_id, request.user, key, wire.liquidatable_max)
    return _detail(proposal)


@post(
    "/v1/proposals/{proposal_id:str}/activate",
    opt={**_CHANGE, **documented(answer=ProposalDetail)},
    status_code=200,
    operation_id="ActivateProposal",
    summary="Put a proposal into force",
    tags=["proposals"],
)
async def activate_proposal(request: AnyRequest, proposal_id: FromPath[str]) -> ASGIResponse:
    """Adopt the rules of an approved proposal whose time lock has passed; nothing is activated by itself."""
    proposal, _ = await _proposals(request).activate(proposal_id, request.user)
    return _detail(proposal)


@post(
    "/v1/proposals/{proposal_id:str}/withdraw",
    opt={**_CHANGE, **documented(answer=ProposalDetail)},
    status_code=200,
    operation_id="WithdrawProposal",
    summary="Withdraw a proposal",
    tags=["proposals"],
)
async def withdraw_proposal(request: AnyRequest, proposal_id: FromPath[str]) -> ASGIResponse:
    """Take a proposal back, approved or not; any risk administrator may."""
    return _detail(await _proposals(request).withdraw(proposal_id, request.user))


def _proposals(request: AnyRequest) -> Proposals:
    proposals: Proposals = context_of(request).parts["proposals"]
    return proposals


def _view(proposal: Proposal) -> ProposalView:
    names = [name for name in ProposalView.__struct_fields__ if name != "summary"]
    return ProposalView(summary=proposal.dry_run.summary, **{name: getattr(proposal, name) for name in names})


def _detail(proposal: Proposal) -> ASGIResponse:
    detail = ProposalDetail(
        proposal=_view(proposal), changes=list(proposal.changes), dry_run=proposal.dry_run, rules=proposal.rules
    )
    return json_answer(detail)


ROUTES: Final = [
    list_proposals,
    show_proposal,
    make_proposal,
    approve_proposal,
    activate_proposal,
    withdraw_proposal,
]
