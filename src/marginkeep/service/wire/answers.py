"""What a command is answered: the events that its sender may see, or why it was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar.response.base import ASGIResponse

from marginkeep.clearing.events import Event, Rejected
from marginkeep.service.wire.amounts import Units, units_of
from marginkeep.service.wire.audience import seen_by_owners
from marginkeep.service.wire.events import wire_event
from marginkeep.service.wire.problems import PROBLEM_TYPE, Problem

if TYPE_CHECKING:
    from marginkeep.clearing.commands import Command
    from marginkeep.journal.durable import Outcome
    from marginkeep.rulebook import Rulebook
    from marginkeep.service.access.scopes import Caller

SEQUENCE: Final = "marginkeep-sequence"
"""Header of an answer to one command: its record, which the request log takes from there."""

_encoder: Final = msgspec.json.Encoder()


def json_answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> ASGIResponse:
    """Return a document as JSON."""
    body = _encoder.encode(document)
    return ASGIResponse(body=body, status_code=status, media_type="application/json", headers=headers)


def problem_answer(problem: Problem) -> ASGIResponse:
    """Return a problem document."""
    body, more = _encoder.encode(problem.document()), problem.more
    headers = {SEQUENCE: str(more["sequence"])} if "sequence" in more else None
    return ASGIResponse(body=body, status_code=problem.status, media_type=PROBLEM_TYPE, headers=headers)


def command_answer(outcome: Outcome, command: Command, rulebook: Rulebook, caller: Caller) -> ASGIResponse:
    """Return the answer to one command, durable by now."""
    problem = problem_of(outcome, command, rulebook)
    if problem is not None:
        return problem_answer(problem)
    return json_answer(_accepted(outcome, rulebook, caller), headers={SEQUENCE: str(outcome.sequence)})


def command_result(outcome: Outcome, command: Command, rulebook: Rulebook, caller: Caller) -> dict[str, Any]:
    """Return the answer to one command of several, in which a refusal is a value."""
    problem = problem_of(outcome, command, rulebook)
    if problem is None:
        return {"status": "accepted", **_accepted(outcome, rulebook, caller)}
    return problem_result(problem)


def problem_result(problem: Problem) -> dict[str, Any]:
    """Return a refusal as one value of several: ``status`` is the problem's code."""
    return {"status": problem.code, "reason": problem.detail, **problem.more}


def problem_of(outcome: Outcome, command: Command, rulebook: Rulebook) -> Problem | None:
    """Return why a command was not done; None = it was."""
    if outcome.conflict:
        return Problem("key_reused", outcome.conflict, sequence=outcome.sequence)
    events = outcome.events
    if not events or not isinstance(events[0], Rejected):
        return None
    refused = refusal_problem(events[0], command, units_of(rulebook))
    stated = {"sequence": outcome.sequence, "recorded_ns": outcome.recorded_ns, "repeated": outcome.repeated}
    refused.more.update(stated)
    return refused


def refusal_problem(refused: Rejected, command: Command, units: Units) -> Problem:
    """Return the clearinghouse's refusal as a problem."""
    wire = wire_event(refused, units, command)
    return Problem("rejected", wire["reason"], refusal=refused.code, numbers=wire["numbers"], prices=wire["prices"])


def seen_by(caller: Caller, events: tuple[Event, ...]) -> list[Event]:
    """Return what a caller may see of the events that its own command has caused."""
    if caller.acts_for_all:
        return list(events)
    seen = (seen_by_owners(event, caller.accounts) for event in events)
    return [event for event in seen if event is not None]


def _accepted(outcome: Outcome, rulebook: Rulebook, caller: Caller) -> dict[str, Any]:
    units = units_of(rulebook)
    return {
        "sequence": outcome.sequence,
        "recorded_ns": outcome.recorded_ns,
        "repeated": outcome.repeated,
        "events": [wire_event(event, units) for event in seen_by(caller, outcome.events)],
    }
