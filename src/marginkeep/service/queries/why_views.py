"""An explanation on the wire: in decimals, with what belongs to others taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from marginkeep.clearing.events import Rejected
from marginkeep.service.wire.amounts import units_of
from marginkeep.service.wire.audience import seen_by_owners
from marginkeep.service.wire.event_schemas import AnyEvent
from marginkeep.service.wire.events import wire_event
from marginkeep.units import format_units

if TYPE_CHECKING:
    from marginkeep.clearing.events import Event
    from marginkeep.journal.why import Why
    from marginkeep.rulebook import Rulebook
    from marginkeep.service.access.scopes import Caller


class StepView(msgspec.Struct, frozen=True, kw_only=True):
    """One cause of a change of equity, and the record behind it."""

    sequence: int
    cause: str
    amount: str


class PriceView(msgspec.Struct, frozen=True, kw_only=True):
    """A price behind a decision.

    Attributes
    ----------
    set_by, actor : the record that set it, 0 = it was there when the walk began; who sent that, for the venue alone
    """

    name: str
    price: str
    set_by: int
    actor: str
    age_ns: int
    quality: str
    state: str
    blocked: str
    sources: list[dict[str, Any]]


class WhyView(msgspec.Struct, frozen=True, kw_only=True):
    """Why something was done to an account; amounts in the reporting asset.

    Attributes
    ----------
    since : first record of the walk; `opening` is the equity before it
    equity : when it was decided; `opening` and all steps add up to it
    sums : the steps by cause, largest first
    statement : what the account held, at the prices that decided
    hash : of the record; /v1/records/{sequence} proves it
    """

    account: str
    sequence: int
    recorded_ns: int
    house_ns: int
    actor: str
    command: str
    events: list[AnyEvent]
    since: int
    opening: str
    equity: str
    sums: dict[str, str]
    walk: list[StepView]
    statement: dict[str, Any] | None
    prices: list[PriceView]
    reporting: str
    rulebook: str
    hash: str


def why_view(found: Why, caller: Caller, rulebook: Rulebook) -> WhyView | None:
    """Return an explanation as its caller may see it; None where nothing of it is the caller's."""
    units = units_of(rulebook)
    events = [one for event in found.events if (one := _seen(event, found, caller)) is not None]
    if not events:
        return None

    def money(amount: int) -> str:
        return format_units(amount, found.decimals)

    same = ("account", "sequence", "recorded_ns", "house_ns", "command", "since", "reporting", "rulebook", "hash")
    return WhyView(
        **{name: getattr(found, name) for name in same},
        actor=found.actor if caller.acts_for_all or found.actor == caller.key else "",
        events=[wire_event(event, units, found.asked) for event in events],
        opening=money(found.opening),
        equity=money(found.equity),
        sums={cause: money(amount) for cause, amount in found.sums.items()},
        walk=[StepView(sequence=one.sequence, cause=one.cause, amount=money(one.amount)) for one in found.walk],
        statement=None if found.statement is None else msgspec.to_builtins(found.statement),
        prices=[
            PriceView(
                name=one.name,
                price=one.price,
                set_by=one.set_by,
                actor=one.actor if caller.acts_for_all else "",
                age_ns=one.age_ns,
                quality=one.quality,
                state=one.state,
                blocked=one.blocked,
                sources=[
                    {"source": seen.source, "price": _source_price(units, one.name, seen.price), "age_ns": seen.age_ns}
                    | {"use": seen.use}
                    for seen in one.sources
                ],
            )
            for one in found.prices
        ],
    )


def _source_price(units: Any, name: str, ticks: int) -> str:
    text: str = units.grid("source", name).format(ticks)
    return text


def _seen(event: Event, found: Why, caller: Caller) -> Event | None:
    """Return what a caller may see: a refusal is told to the key that asked alone."""
    if caller.acts_for_all:
        return event
    if isinstance(event, Rejected):
        return event if found.actor == caller.key else None
    return seen_by_owners(event, caller.accounts)
