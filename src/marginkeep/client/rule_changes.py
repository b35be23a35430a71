"""Changing the rules: propose, approve, activate, withdraw."""

from __future__ import annotations

from typing import Any

import msgspec

from marginkeep.client.calls import Call, path, reader, stated_only


class ProposalView(msgspec.Struct, frozen=True, kw_only=True):
    """How a proposal stands.

    Attributes
    ----------
    before, after : SHA-256 of the rulebooks
    activates_ns : from when it may be activated; 0 = it is not approved
    summary : what a dry run has shown, in one sentence
    """

    id: str
    status: str
    before: str
    after: str
    proposed_by: str
    proposed_ns: int
    approved_by: str = ""
    approved_ns: int = 0
    activates_ns: int = 0
    liquidatable_max: int = 0
    activated_ns: int = 0
    withdrawn_by: str = ""
    sequence: int = 0
    summary: str = ""


class ProposalDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal, every parameter that it changes, what the last dry run has shown, and the rules as text."""

    proposal: ProposalView
    changes: list[dict[str, Any]]
    dry_run: dict[str, Any]
    rules: str = ""


class ProposalList(msgspec.Struct, frozen=True, kw_only=True):
    """Every proposal, oldest first."""

    proposals: list[ProposalView]


def proposals() -> Call[ProposalList]:
    """List every proposal ever made."""
    return Call("GET", path("proposals"), reader(ProposalList))


def proposal(proposal_id: str) -> Call[ProposalDetail]:
    """Show a proposal."""
    return Call("GET", path("proposals", proposal_id), reader(ProposalDetail))


def propose(rules: str, *, key: str | None = None) -> Call[ProposalDetail]:
    """Propose a rulebook, given as TOML text: it is compared with the one in force and tried on a copy."""
    return _change(("proposals",), {"rules": rules}, key)


def approve(proposal_id: str, liquidatable_max: int | None = None, *, key: str | None = None) -> Call[ProposalDetail]:
    """Approve what another person has proposed.

    Parameters
    ----------
    liquidatable_max : accounts that may become liquidatable by it; None = as many as a dry run shows now
    """
    return _change(("proposals", proposal_id, "approve"), stated_only({"liquidatable_max": liquidatable_max}), key)


def activate(proposal_id: str, *, key: str | None = None) -> Call[ProposalDetail]:
    """Adopt the rules of an approved proposal whose time lock has passed."""
    return _change(("proposals", proposal_id, "activate"), None, key)


def withdraw_proposal(proposal_id: str, *, key: str | None = None) -> Call[ProposalDetail]:
    """Take a proposal back."""
    return _change(("proposals", proposal_id, "withdraw"), None, key)


def _change(parts: tuple[str, ...], body: dict[str, Any] | None, key: str | None) -> Call[ProposalDetail]:
    return Call("POST", path(*parts), reader(ProposalDetail), body, mutates=True, key=key)
