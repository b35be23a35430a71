"""Changes of the rules: proposed by one person, approved by another, in force only after a time lock.

Tightening in an emergency is not exempt: whoever could skip the lock by calling a change urgent could liquidate
anybody. What may be done at once is to halt a market (`Halt`), which liquidates nobody.

An approval is for what the dry run showed the approver: when the lock has passed, the run is repeated, and a change
that would by then liquidate more accounts than were approved stays out until it is approved anew. While that last run
lasts, the book may move on; nothing after it is looked at again.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from msgspec import structs

from marginkeep.clearing import AdoptRulebook
from marginkeep.clearing.events import Rejected
from marginkeep.clearing.snapshot import capture_snapshot
from marginkeep.errors import InputError
from marginkeep.journal.durable import Outcome, Request
from marginkeep.rulebook import Difference, compare, read_rulebook, rulebook_hash
from marginkeep.rulebook.reading import parse_text
from marginkeep.service.access.audit_notes import note
from marginkeep.service.access.dry_run import DryRun, try_rules
from marginkeep.service.access.keys import ApiKey, same_person
from marginkeep.service.wire.amounts import units_of
from marginkeep.service.wire.problems import Problem
from marginkeep.service.wire.refusal_words import refusal_words

if TYPE_CHECKING:
    from marginkeep.rulebook import Rulebook
    from marginkeep.service.access.key_store import KeyStore
    from marginkeep.service.access.scopes import Caller
    from marginkeep.service.context import ServiceContext

DOCUMENT: Final = "proposal"
OPEN_MAX: Final = 32
SECOND_NS: Final = 10**9
ID_CHARACTERS: Final = 24


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter that two rulebooks state differently; None where one of them does not have it."""

    path: str
    before: str | None
    after: str | None


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A rulebook on its way into force.

    Attributes
    ----------
    before, after : SHA-256 of the rulebook in force when it was proposed, and of the one proposed
    rules : TOML text of the latter; `rules_sha256` is that of the text itself
    proposed_by, approved_by : ids of keys; the people behind them differ
    activates_ns : from when on it may be activated; 0 = not approved
    approval_key : idempotency key of the approval
    liquidatable_max : accounts that may become liquidatable by it, as approved
    sequence : of the record that adopted it
    """

    id: str
    status: Literal["proposed", "approved", "activated", "withdrawn"]
    before: str
    after: str
    rules: str
    rules_sha256: str
    changes: tuple[Change, ...]
    dry_run: DryRun
    proposed_by: str
    proposed_ns: int
    approved_by: str = ""
    approved_ns: int = 0
    activates_ns: int = 0
    approval_key: str = ""
    liquidatable_max: int = 0
    activated_ns: int = 0
    withdrawn_by: str = ""
    sequence: int = 0

    @property
    def is_open(self) -> bool:
        """Tell whether anything may still become of it."""
        return self.status in ("proposed", "approved")


class Proposals:
    """All proposals, as documents of the journal with a copy in memory; every step is noted in the chain.

    Parameters
    ----------
    keys : tell which person answers for a key
    """

    def __init__(self, context: ServiceContext, keys: KeyStore) -> None:
        self._context, self._keys = context, keys
        stored = context.log.documents(DOCUMENT).values()
        found = (msgspec.json.decode(body, type=Proposal) for body in stored)
        self._proposals = {proposal.id: proposal for proposal in found}
        self._changing = asyncio.Lock()

    def every(self) -> list[Proposal]:
        """Return all proposals, oldest first."""
        return sorted(self._proposals.values(), key=lambda proposal: (proposal.proposed_ns, proposal.id))

    def get(self, proposal_id: str) -> Proposal:
        """Return a proposal.

        Raises
        ------
        Problem : ``not_found``
        """
        found = self._proposals.get(proposal_id)
        if found is None:
            raise Problem("not_found", f"there is no proposal {proposal_id!r:.40}: list them")
        return found

    async def propose(self, rules: str, caller: Caller, key: str) -> Proposal:
        """Compare rules with those in force, try them on a copy, and keep them for approval.

        Parameters
        ----------
        key : idempotency key; the same one again returns the same proposal

        Raises
        ------
        Problem : ``bad_request`` for what is no rulebook or would be refused, ``key_reused``, ``conflict``
        """
        self._person(caller)
        async with self._changing:
            proposal_id = hashlib.sha256(f"{caller.key}\n{key}".encode()).hexdigest()[:ID_CHARACTERS]
            known = self._proposals.get(proposal_id)
            if known is not None:
                return _require_same(known, rules)
            if sum(proposal.is_open for proposal in self._proposals.values()) >= OPEN_MAX:
                raise Problem("conflict", f"{OPEN_MAX} proposals are open, which is the most: withdraw one")
            rulebook, in_force = _read(rules), self._context.rulebook
            changes = tuple(_change(difference) for difference in compare(in_force, rulebook))
            if not changes:
                raise Problem("bad_request", "no parameter differs from the rules in force: there is nothing to change")
            dry_run = await self._try(rules)
            if dry_run.refused:
                raise Problem("bad_request", dry_run.summary)
            proposal = Proposal(
                id=proposal_id,
                status="proposed",
                before=rulebook_hash(in_force),
                after=rulebook_hash(rulebook),
                rules=rules,
                rules_sha256=_digest(rules),
                changes=changes,
                dry_run=dry_run,
                proposed_by=caller.key,
                proposed_ns=self._context.clock(),
            )
            return await self._keep(proposal, "ProposalMade", caller)

    async def approve(
        self, proposal_id: str, caller: Caller, key: str, liquidatable_max: int | None = None
    ) -> Proposal:
        """Approve a proposal for the first time or anew; the time lock begins.

        Parameters
        ----------
        key : idempotency key; the same one again does not begin the lock anew
        liquidatable_max : accounts that may become liquidatable by it; None = as many as a dry run shows now

        Raises
        ------
        Problem : ``forbidden`` for the person who proposed it, ``conflict`` where it is not open
        """
        async with self._changing:
            proposal = self._require_open(proposal_id)
            if (proposal.approved_by, proposal.approval_key) == (caller.key, key):
                return proposal
            self._require_second_person(proposal, caller)
            dry_run = await self._try(proposal.rules)
            if dry_run.refused:
                raise Problem("conflict", dry_run.summary)
            now_ns = self._context.clock()
            approved = structs.replace(
                proposal,
                status="approved",
                dry_run=dry_run,
                approved_by=caller.key,
                approved_ns=now_ns,
                approval_key=key,
                activates_ns=now_ns + self._context.settings.access.time_lock_seconds * SECOND_NS,
                liquidatable_max=dry_run.liquidatable.count if liquidatable_max is None else liquidatable_max,
            )
            return await self._keep(approved, "ProposalApproved", caller)

    async def activate(self, proposal_id: str, caller: Caller) -> tuple[Proposal, Outcome | None]:
        """Put an approved proposal into force once its lock has passed.

        Returns
        -------
        The proposal and what the house answered; None where it was in force already

        Raises
        ------
        Problem : ``conflict``, which says what is in the way; ``rejected`` where the house refuses the rules after all
        """
        async with self._changing:
            proposal = self.get(proposal_id)
            if proposal.status == "activated":
                return proposal, None
            if proposal.status == "approved" and self._context.state.rulebook_hash == proposal.after:
                # Adopted, and the process ended before that was written down.
                done = structs.replace(proposal, status="activated", activated_ns=self._context.clock())
                return await self._keep(done, "ProposalActivated", caller), None
            self._require_ripe(proposal)
            dry_run = await self._try(proposal.rules)
            _require_as_approved(proposal, dry_run)
            command = AdoptRulebook(rules=proposal.rules)
            request = Request(command=command, actor=caller.key, key=f"proposal:{proposal.id}:{proposal.approved_ns}")
            (outcome,) = await self._context.writer.submit([request])
            if outcome.events and isinstance(refused := outcome.events[0], Rejected):
                words = refusal_words(refused, units_of(self._context.rulebook), command)
                raise Problem("rejected", words, refusal=refused.code, sequence=outcome.sequence)
            activated = structs.replace(
                proposal,
                status="activated",
                dry_run=dry_run,
                activated_ns=self._context.clock(),
                sequence=outcome.sequence,
            )
            return await self._keep(activated, "ProposalActivated", caller, outcome.sequence), outcome

    async def withdraw(self, proposal_id: str, caller: Caller) -> Proposal:
        """Take a proposal back; any risk administrator may, the one who approved it too."""
        async with self._changing:
            if self.get(proposal_id).status == "withdrawn":
                return self.get(proposal_id)
            proposal = self._require_open(proposal_id)
            withdrawn = structs.replace(proposal, status="withdrawn", withdrawn_by=caller.key)
            return await self._keep(withdrawn, "ProposalWithdrawn", caller)

    # Leaves ------------------------------------------------------------------------------------------------------

    def _person(self, caller: Caller) -> ApiKey:
        found = self._keys.get(caller.key)
        if found is None:
            raise Problem("forbidden", "no person answers for this key: use one that is in the list of keys")
        return found.key

    def _require_open(self, proposal_id: str) -> Proposal:
        proposal = self.get(proposal_id)
        if not proposal.is_open:
            raise Problem("conflict", f"the proposal is {proposal.status}: make a new one", status_now=proposal.status)
        if proposal.before != self._context.state.rulebook_hash:
            raise Problem("conflict", "other rules have come into force since it was proposed: propose it anew")
        return proposal

    def _require_second_person(self, proposal: Proposal, caller: Caller) -> None:
        """Refuse who proposed it; a person is told by name, whatever key is used."""
        mine, proposer = self._person(caller), self._keys.get(proposal.proposed_by)
        if proposer is None or mine.id == proposer.key.id or same_person(mine.person, proposer.key.person):
            raise Problem("forbidden", "whoever proposed a change may not approve it: ask a second person")

    def _require_ripe(self, proposal: Proposal) -> None:
        self._require_open(proposal.id)
        if proposal.status != "approved":
            raise Problem("conflict", "the proposal is not approved yet: ask a second person")
        for key_id in (proposal.proposed_by, proposal.approved_by):
            found = self._keys.get(key_id)
            if found is None or found.key.revoked_ns:
                raise Problem("conflict", f"key {key_id} was revoked since: withdraw the proposal and make a new one")
        left_ns = proposal.activates_ns - self._context.clock()
        if left_ns > 0:
            seconds = -(-left_ns // SECOND_NS)
            raise Problem("conflict", f"the time lock lasts {seconds} s more: come back then", retry_after=seconds)
        if _digest(proposal.rules) != proposal.rules_sha256 or rulebook_hash(_read(proposal.rules)) != proposal.after:
            raise Problem("conflict", "the stored rules are not those that were approved: withdraw the proposal")

    async def _try(self, rules: str) -> DryRun:
        durable, state = self._context.durable, self._context.state
        finish, sequence = capture_snapshot(self._context.house), durable.head.sequence
        dry_run = await asyncio.to_thread(try_rules, finish, state.rulebook, rules, sequence)
        await self._context.writer.settled(sequence)
        return dry_run

    async def _keep(self, proposal: Proposal, kind: str, caller: Caller, causation: int = 0) -> Proposal:
        """Note a step in the chain, then store it: the chain never knows less than the documents."""
        noted = _note(proposal, kind, caller)
        await self._context.writer.submit([structs.replace(noted, causation=causation)])
        body = msgspec.json.encode(proposal)
        await asyncio.to_thread(self._context.log.put_document, DOCUMENT, proposal.id, body)
        self._proposals[proposal.id] = proposal
        return proposal


def _note(proposal: Proposal, kind: str, caller: Caller) -> Request:
    members: dict[str, Any] = {
        "proposal": proposal.id,
        "before": proposal.before,
        "after": proposal.after,
        "rules_sha256": proposal.rules_sha256,
        "summary": proposal.dry_run.summary,
        "liquidatable": proposal.dry_run.liquidatable.count,
        "liquidatable_max": proposal.liquidatable_max,
        "activates_ns": proposal.activates_ns,
    }
    once = f"{kind}:{proposal.id}:{proposal.approved_ns}"
    return note(kind, caller.key, once, members)


def _require_same(known: Proposal, rules: str) -> Proposal:
    if known.rules != rules:
        raise Problem("key_reused", f"the idempotency key stands for proposal {known.id}: use a new one")
    return known


def _require_as_approved(proposal: Proposal, dry_run: DryRun) -> None:
    if dry_run.refused:
        raise Problem("conflict", dry_run.summary)
    count, most = dry_run.liquidatable.count, proposal.liquidatable_max
    if count > most:
        raise Problem(
            "conflict",
            f"{count} accounts would become liquidatable, {most} were approved: wait, or have it approved anew",
            liquidatable=count,
            liquidatable_max=most,
        )


def _read(rules: str) -> Rulebook:
    try:
        return read_rulebook(parse_text(rules, ".toml", "the rulebook"))
    except InputError as error:
        raise Problem("bad_request", str(error)) from error


def _change(difference: Difference) -> Change:
    return Change(path=difference.path, before=difference.before, after=difference.after)


def _digest(rules: str) -> str:
    return hashlib.sha256(rules.encode()).hexdigest()
