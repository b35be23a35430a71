"""What is worth telling: one notice for each event that somebody should know of, in words and with a stable id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from marginkeep.clearing import events as e
from marginkeep.clearing.loss_events import Deleveraged, LossCovered, LossSocialised
from marginkeep.liquidation.position_limits import owner_of
from marginkeep.rulebook.oracle_rules import MARKET_STATES, OPEN
from marginkeep.service.access.scopes import EVERY_ACCOUNT
from marginkeep.service.notifications.templates import FIELDS
from marginkeep.service.wire.amounts import units_of
from marginkeep.service.wire.audience import accounts_in, owners_view, public_view
from marginkeep.service.wire.events import wire_event

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from marginkeep.rulebook import Rulebook
    from marginkeep.service.feed import Entry

NOBODY: Final = ""
"""Owner of a public notice."""

Severity = Literal["info", "warning", "critical"]
SEVERITIES: Final = ("info", "warning", "critical")
Kind = Literal[
    "margin_call", "call_reminder", "call_cured", "liquidation", "auction", "deleveraging", "loss", "halt", "breaker",
    "oracle", "rulebook", "health", "test",
]  # fmt: skip

_PLAIN: Final[dict[type[e.Event], tuple[Kind, Severity, str]]] = {
    e.MarginCalled: ("margin_call", "warning", "Margin call"),
    e.CallReminded: ("call_reminder", "warning", "Margin call: reminder"),
    e.CallCured: ("call_cured", "info", "Margin call cured"),
    e.Liquidated: ("liquidation", "critical", "Liquidated"),
    e.AuctionWaits: ("auction", "warning", "Auction waits for room"),
    e.AuctionOpened: ("auction", "critical", "Auction opened"),
    e.AuctionRestarted: ("auction", "warning", "Auction begun anew"),
    e.AuctionBid: ("auction", "warning", "Bid in the auction"),
    Deleveraged: ("deleveraging", "critical", "Deleveraged"),
    LossSocialised: ("loss", "critical", "Loss shared by holders"),
    LossCovered: ("loss", "critical", "Loss covered"),
    e.Halted: ("halt", "critical", "Halted by the audit of the watch"),
    e.MarketHeld: ("halt", "warning", "Market held"),
    e.PriceAnnounced: ("oracle", "info", "Price announced"),
    e.RulebookAdopted: ("rulebook", "info", "Rulebook adopted"),
}


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to tell one audience.

    Attributes
    ----------
    id : the event's: sequence and its place in the record; the same however often it is delivered
    owner : whom it is for: an owner, or `EVERY_ACCOUNT` for the venue's operators
    public : it is about the venue, for every owner
    event : as it goes over the wire; empty for a notice that no event stands behind
    """

    id: str
    sequence: int
    recorded_ns: int
    owner: str
    kind: Kind
    severity: Severity
    account: str
    title: str
    text: str
    event: dict[str, Any] = {}
    public: bool = False

    def fields(self) -> dict[str, str]:
        """Return what a template may name."""
        return {name: str(getattr(self, name)) for name in FIELDS}


def notices_of(entry: Entry, rulebook: Rulebook, listening: Collection[str]) -> list[Notice]:
    """Return what an entry gives to tell: one notice for the venue and one for each owner concerned, by event.

    Parameters
    ----------
    listening : owners (and `EVERY_ACCOUNT`) who want to be told of anything; nothing is made for the others
    """
    found: list[Notice] = []
    for number, event in enumerate(entry.events):
        label = _label(event)
        if label is not None:
            found.extend(_audiences(entry, f"{entry.sequence}-{number}", event, label, rulebook, listening))
    return found


def notice_of_trouble(words: str, owner: str, sequence: int, now_ns: int) -> Notice:
    """Return what an owner is told when nothing more is accepted; no record says so, as none can be written."""
    return Notice(
        id=f"{sequence}-halt",
        sequence=sequence,
        recorded_ns=now_ns,
        owner=owner,
        kind="halt",
        severity="critical",
        account="",
        title="Nothing new is accepted",
        text=f"{words[:1].upper()}{words[1:]}.",
    )


def _label(event: e.Event) -> tuple[Kind, Severity, str] | None:
    if isinstance(event, e.OracleChanged):
        return _oracle_label(event)
    if isinstance(event, e.MarketHeld) and event.state == MARKET_STATES[OPEN]:
        return "halt", "info", "Hold ended"
    return _PLAIN.get(type(event))


def _oracle_label(event: e.OracleChanged) -> tuple[Kind, Severity, str]:
    """Tell a circuit breaker from a price in doubt, and worse from better."""
    if event.what != "market":
        return "oracle", "warning", f"Oracle: {event.what} of {event.name}"
    better = MARKET_STATES.index(event.after) < MARKET_STATES.index(event.before)
    return "breaker", "info" if better else "critical", f"Circuit breaker: {event.name}"


def _audiences(
    entry: Entry,
    identity: str,
    event: e.Event,
    label: tuple[Kind, Severity, str],
    rulebook: Rulebook,
    listening: Collection[str],
) -> Iterator[Notice]:
    kind, severity, title = label
    units = units_of(rulebook)
    accounts = accounts_in(event)
    shown = public_view(event)

    def notice(owner: str, account: str, view: e.Event, *, public: bool = False) -> Notice:
        wire = wire_event(view, units)
        return Notice(
            id=identity,
            sequence=entry.sequence,
            recorded_ns=entry.recorded_ns,
            owner=owner,
            kind=kind,
            severity=severity,
            account=account,
            title=f"{title}: {account}" if account else title,
            text=_sentence(wire, rulebook),
            event=wire,
            public=public,
        )

    if EVERY_ACCOUNT in listening:
        yield notice(EVERY_ACCOUNT, getattr(event, "account", ""), event)
    concerned = {owner_of(name) for name in accounts}
    for owner in sorted(concerned.intersection(listening)):
        account = min(name for name in accounts if owner_of(name) == owner)
        yield notice(owner, account, owners_view(event, frozenset((owner,))))
    if shown is not None:
        yield notice(NOBODY, "", shown, public=True)


_SENTENCES: Final[dict[str, Callable[[dict[str, Any], str], str]]] = {
    "MarginCalled": lambda w, money: f"{w['account']} lacks {w['missing']} {money}: {w['because']}.{_until(w)}",
    "CallReminded": lambda w, money: f"{w['account']} still lacks {w['missing']} {money}.{_until(w)}",
    "CallCured": lambda w, _: f"The margin call of {w['account']} is cured.",
    "Liquidated": lambda w, money: (
        f"{w['account']} was reduced by force by {w['notional']} {money}, penalty {w['penalty']} {money}; "
        f"health afterwards {w['health_after']} {money} at the target level."
    ),
    "Halted": lambda w, _: f"Only commands that reduce risk are accepted: {w['report']}.",
    "MarketHeld": lambda w, _: (
        f"The operator holds {w['market'] or 'every market'} at {w['state']}."
        if w["state"] != MARKET_STATES[OPEN]
        else f"The operator no longer holds {w['market'] or 'every market'}."
    ),
    "OracleChanged": lambda w, _: f"{w['name']}: {w['what']} from {w['before']} to {w['after']}: {w['why']}.",
    "RulebookAdopted": lambda w, _: f"The rulebook with hash {w['after']} is in force.",
}


def _sentence(wire: dict[str, Any], rulebook: Rulebook) -> str:
    """Say it in words; where there are none, by the fields that are plain."""
    made = _SENTENCES.get(wire["type"])
    if made is not None:
        return made(wire, rulebook.reporting)
    plain = {name: value for name, value in wire.items() if isinstance(value, (str, int)) and name != "type"}
    return ", ".join(f"{name} {value}" for name, value in plain.items() if value != "")


def _until(wire: dict[str, Any]) -> str:
    return f" Deadline: {wire['deadline_ns']} ns since 1970, UTC." if wire["deadline_ns"] else ""
