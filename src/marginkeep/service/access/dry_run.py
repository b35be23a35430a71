"""What other rules would do to the house as it stands: tried on a copy, counted, and thrown away."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

from marginkeep.book.health import measure
from marginkeep.book.scan import below
from marginkeep.clearing import AdoptRulebook, restore_snapshot
from marginkeep.clearing.enforcement import enforce
from marginkeep.clearing.events import Rejected
from marginkeep.clearing.governance import adopt_rulebook
from marginkeep.clearing.transaction import Refusal, Transaction
from marginkeep.rulebook.model import CALL, MAINTENANCE
from marginkeep.service.wire.amounts import units_of
from marginkeep.service.wire.refusal_words import refusal_words
from marginkeep.units import format_units

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.clearing.state import State
    from marginkeep.rulebook import Rulebook

WORST_TOLD: Final = 20
"""Accounts that a report names, those that lack most."""


class Lacking(msgspec.Struct, frozen=True, kw_only=True):
    """An account that the new rules put below a level, and what it lacks there, in units of the reporting asset."""

    account: str
    missing: str


class Fallen(msgspec.Struct, frozen=True, kw_only=True):
    """Those that the new rules put below a level and the old ones do not.

    Attributes
    ----------
    count, missing : how many, and what they lack together
    worst : those that lack most
    """

    count: int = 0
    missing: str = "0"
    worst: tuple[Lacking, ...] = ()


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """What adopting a rulebook would do.

    Attributes
    ----------
    summary : in one sentence
    sequence : of the last record the copy takes in
    accounts : how many it holds
    refused : why the house would not adopt it; empty = it would
    liquidatable, called : below maintenance, and below the call level, because of the new rules
    healed : no longer below maintenance
    events : what the house would do at once, by kind
    """

    summary: str
    sequence: int
    accounts: int
    refused: str = ""
    liquidatable: Fallen = Fallen()
    called: Fallen = Fallen()
    healed: int = 0
    events: dict[str, int] = {}


def try_rules(finish: Callable[[], bytes], rulebook: Rulebook, rules: str, sequence: int) -> DryRun:
    """Adopt rules on a copy of the house and tell what came of it. Takes as long as a full scan; not for the loop.

    Parameters
    ----------
    finish : from `capture_snapshot`, taken where the house does not change
    rulebook : in force when it was taken
    rules : TOML text
    """
    state = restore_snapshot(rulebook, finish()).state
    before = {level: set(below(state.book, state.valuation, level)) for level in (MAINTENANCE, CALL)}
    command = AdoptRulebook(rules=rules)
    transaction = Transaction(state)
    try:
        adopt_rulebook(transaction, command)
    except Refusal as refusal:
        refused = Rejected(command="AdoptRulebook", code=refusal.code, reason=refusal.reason, numbers={})
        reason = refusal_words(refused, units_of(rulebook), command)
        return DryRun(
            summary=f"the house refuses it: {reason}",
            sequence=sequence,
            accounts=state.book.count,
            refused=reason,
        )
    adopted = transaction.commit()
    now_ill = below(state.book, state.valuation, MAINTENANCE)
    liquidatable = _fallen(state, MAINTENANCE, now_ill, before[MAINTENANCE])
    called = _fallen(state, CALL, below(state.book, state.valuation, CALL), before[CALL])
    healed = len(before[MAINTENANCE] - set(now_ill))
    events = Counter(type(event).__name__ for event in (*adopted, *enforce(state, command)))
    return DryRun(
        summary=_summary(liquidatable, called, healed),
        sequence=sequence,
        accounts=state.book.count,
        liquidatable=liquidatable,
        called=called,
        healed=healed,
        events=dict(sorted(events.items())),
    )


def _fallen(state: State, level: int, now: list[int], before: set[int]) -> Fallen:
    fallen = [index for index in now if index not in before]
    lacking = [
        (-measure(state.book.read(index), state.valuation, level).health, state.names[index]) for index in fallen
    ]
    decimals = state.rulebook.assets[state.rulebook.reporting].decimals
    worst = sorted(lacking, key=lambda one: (-one[0], one[1]))[:WORST_TOLD]
    return Fallen(
        count=len(fallen),
        missing=format_units(sum(missing for missing, _ in lacking), decimals),
        worst=tuple(Lacking(account=name, missing=format_units(missing, decimals)) for missing, name in worst),
    )


def _summary(liquidatable: Fallen, called: Fallen, healed: int) -> str:
    return (
        f"{_accounts(liquidatable.count)} liquidatable (together {liquidatable.missing} short), "
        f"{_accounts(called.count)} subject to a margin call, {healed} leave liquidation"
    )


def _accounts(count: int) -> str:
    return f"{count} account becomes" if count == 1 else f"{count} accounts become"
