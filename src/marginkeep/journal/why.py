"""Why something was done to an account: its way there, the prices, the rule with its numbers, and the proof.

Everything is derived from the journal by replaying it through the engine: nothing is believed that the engine does not
say again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from marginkeep.book.statement import AccountStatement, state_account
from marginkeep.clearing import decode_command
from marginkeep.clearing.commands import AnyCommand  # noqa: TC001 - msgspec reads the annotations
from marginkeep.clearing.event_codec import decode_events
from marginkeep.clearing.events import (
    AuctionBid,
    AuctionOpened,
    CallReminded,
    Event,
    Liquidated,
    MarginCalled,
    Rejected,
    RungChanged,
)
from marginkeep.clearing.loss_events import Deleveraged, LossCovered, LossSocialised
from marginkeep.errors import InputError, JournalCorrupt
from marginkeep.journal.equity_walk import EquityWalk, WalkStep, bears
from marginkeep.journal.price_origins import PriceOrigins, PriceUsed
from marginkeep.journal.replaying import start_house
from marginkeep.rulebook import Rulebook  # noqa: TC001 - msgspec reads the annotations

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.book.account import Account
    from marginkeep.book.valuation import Valuation
    from marginkeep.clearing import Clearinghouse
    from marginkeep.journal.command_log import CommandLog
    from marginkeep.journal.record import Record

DECISIONS: Final = (
    Liquidated,
    Deleveraged,
    LossCovered,
    AuctionBid,
    AuctionOpened,
    MarginCalled,
    CallReminded,
    RungChanged,
)
"""What is worth explaining, the weightiest first; then refusals of the account's own commands."""

_PARTIES: Final = ("account", "buyer", "seller", "source", "target")
"""Members of commands that name accounts: a refusal names none."""

_SPREAD: Final = b'"LossSocialised"'

NAMES_SHOWN: Final = 10
"""Accounts that a message names."""


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """An explanation.

    Attributes
    ----------
    sequence, recorded_ns, house_ns : the record, its time, and the time that the house went by
    actor, command, asked : who sent what: its kind, and all of it
    events : what the house answered that concerns the account
    since : first record of the walk
    opening, equity : where the walk begins, and the equity when the decision was made, reporting units
    walk, sums : every change of equity, and the changes by cause
    statement : what the account held before the record, at the prices by which the record decided
    prices : behind it
    decimals, reporting : of the reporting asset
    rulebook, terms : in force afterwards: its hash, and itself, to read the events by
    hash : the record's, hexadecimal
    """

    account: str
    sequence: int
    recorded_ns: int
    house_ns: int
    actor: str
    command: str
    asked: AnyCommand
    events: list[Event]
    since: int
    opening: int
    equity: int
    walk: list[WalkStep]
    sums: dict[str, int]
    statement: AccountStatement | None
    prices: list[PriceUsed]
    reporting: str
    decimals: int
    rulebook: str
    terms: Rulebook
    hash: str


def explain(
    log: CommandLog,
    account: str = "",
    sequence: int = 0,
    progress: Callable[[int, int], None] | None = None,
    *,
    from_snapshot: bool = False,
    most: int = 0,
) -> Why:
    """Explain what a record did to an account.

    Parameters
    ----------
    account : whose; may be left out where the record concerns one account alone
    sequence : the record; 0 = the last decision about the account
    from_snapshot : begin the walk at the newest snapshot before the record instead of at the start: quicker, shorter
    most : records that may be read to find the decision, and replayed to explain it; 0 = any number

    Raises
    ------
    InputError : nothing was decided about the account, the record does not concern it, or too much must be replayed
    JournalCorrupt : the engine answers a record otherwise than is recorded
    """
    head = log.head().sequence
    if not sequence:
        sequence = find_decision(log, account, head - most if most else 0)
    if not log.first() <= sequence <= head:
        raise InputError(f"{log.place} has no record {sequence}: it keeps {log.first()} to {head}")
    if not account:
        account = _only_account(log, sequence)
    _require_reachable(log, sequence, most if from_snapshot else 0)
    house, after = start_house(log, sequence if from_snapshot else 0)
    if sequence <= after:
        raise InputError(
            f"record {sequence} is older than what the journal can be replayed from, {after}: see an export"
        )
    walker = _Walker(house, account, after + 1)
    for record in log.read(after, sequence - 1):
        walker.take(record)
        if progress is not None:
            progress(record.sequence - after, sequence - after)
    return walker.explain(_record(log, sequence))


def _require_reachable(log: CommandLog, sequence: int, most: int) -> None:
    """Refuse what would take too long, before anything is restored."""
    if not most:
        return
    start = max((one.sequence for one in log.snapshots() if one.sequence < sequence), default=log.first() - 1)
    if sequence - start > most:
        raise InputError(
            f"record {sequence} is {sequence - start} records after the newest snapshot before it, at most {most} are "
            f"replayed here: use `marginkeep why` where the journal is"
        )


def _record(log: CommandLog, sequence: int) -> Record:
    for record in log.read(sequence - 1, sequence):
        if record.kind != "command":
            raise InputError(f"record {sequence} is a note: it decided nothing about an account")
        return record
    raise InputError(f"{log.place} has no record {sequence}: its last is {log.head().sequence}")


def _only_account(log: CommandLog, sequence: int) -> str:
    """Return whom a record decided about, where that is one account alone."""
    record = _record(log, sequence)
    events = decode_events(record.events)
    names = sorted({getattr(event, "account", "") for event in events if isinstance(event, DECISIONS)})
    if any(isinstance(event, Rejected) for event in events):
        command = _command_in(record)
        names = sorted({getattr(command, part) for part in _PARTIES if hasattr(command, part)})
    if len(names) != 1:
        shown = ", ".join(names[:NAMES_SHOWN]) or "nobody"
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        raise InputError(
            f"record {sequence} decided about {len(names)} accounts ({shown}{more}): "
            f"name one that it concerns, and the record with --at"
        )
    return names[0]


def find_decision(log: CommandLog, account: str, after: int = 0) -> int:
    """Return the last record that decided something about an account, or else the last that refused it something.

    Parameters
    ----------
    after : look at later records only

    Raises
    ------
    InputError : there is none
    """
    decided = refused = 0
    mark = msgspec.json.encode(account)
    after = max(after, log.first() - 1)
    for record in log.read(after):
        if mark in record.events and any(_decides(event, account) for event in decode_events(record.events)):
            decided = record.sequence
        elif mark in record.body and b'"Rejected"' in record.events:
            refused = record.sequence
    if not decided and not refused:
        raise InputError(
            f"nothing was decided about {account!r} in {log.place} since record {after + 1}: it was not called, sold "
            f"or refused; name a record to have it explained"
        )
    return decided or refused


def _decides(event: Event, account: str) -> bool:
    if isinstance(event, Deleveraged):
        return account in (event.account, *(fill.account for fill in event.fills))
    if isinstance(event, AuctionBid):
        return account in (event.account, event.liquidator)
    return isinstance(event, DECISIONS) and account == event.account


class _Walker:
    """A replay that follows one account."""

    def __init__(self, house: Clearinghouse, account: str, since: int) -> None:
        self._house, self._since = house, since
        self._name, self._mark = account, msgspec.json.encode(account)
        self._walk = EquityWalk(account, house.state)
        self._origins = PriceOrigins(house.state)

    def take(self, record: Record) -> None:
        """Apply a record, noting what it did to the account and to prices."""
        if record.kind != "command":
            return
        state, sequence = self._house.state, record.sequence
        if self._mark in record.events:
            held = self._held()
            self._walk.before(sequence, state)
            self._walk.after(sequence, state, held, self._apply(record))
        elif _SPREAD in record.events:
            self._walk.before(sequence, state)
            self._walk.bear(sequence, state, self._apply(record))
        else:
            self._apply(record)

    def explain(self, record: Record) -> Why:
        """Apply the record in question and say what it did."""
        held = self._held()
        self._walk.before(record.sequence, self._house.state)
        events = self._apply(record)
        return self._why(record, held, events)

    def _apply(self, record: Record) -> tuple[Event, ...]:
        events = self._house.apply(_command_in(record))
        if msgspec.json.encode(events) != record.events:
            raise JournalCorrupt(
                f"record {record.sequence} is answered differently by this engine: see `marginkeep verify --replay`"
            )
        self._origins.note(record, self._house.state)
        return events

    def _concerns(self, event: Event, held: Account | None, record: Record) -> bool:
        """Tell whether an event is about the account.

        A refusal names nobody, the refused command does; a loss spread over holders concerns them all.
        """
        if isinstance(event, Rejected):
            return self._mark in record.body
        if isinstance(event, LossSocialised) and held is not None:
            return event.account == self._name or bears(event, held, self._house.state.valuation)
        return self._mark in msgspec.json.encode(event)

    def _held(self) -> Account | None:
        state = self._house.state
        index = state.index.get(self._name)
        return None if index is None else state.book.read(index)

    def _why(self, record: Record, held: Account | None, events: tuple[Event, ...]) -> Why:
        state, walk, statement = self._house.state, self._walk, None
        mine = [event for event in events if self._concerns(event, held, record)]
        if not mine:
            raise InputError(
                f"record {record.sequence} does not concern {self._name!r}: name another, or none for the last decision"
            )
        if held is not None:
            walk.revalue(record.sequence, held, state.valuation, events)
            statement = state_account(self._name, held, _deciding(state.valuation, events, mine[0]))
        reporting = state.tables.assets[state.tables.reporting].asset
        command = _command_in(record)
        return Why(
            account=self._name,
            sequence=record.sequence,
            recorded_ns=record.recorded_ns,
            house_ns=state.now_ns,
            actor=record.actor,
            command=type(command).__name__,
            asked=command,
            events=mine,
            since=self._since,
            opening=walk.opening,
            equity=walk.equity,
            walk=walk.steps,
            sums=walk.sums(),
            statement=statement,
            prices=self._origins.used(record, held, state, mine),
            reporting=reporting.name,
            decimals=reporting.decimals,
            rulebook=state.rulebook_hash,
            terms=state.rulebook,
            hash=record.hash.hex(),
        )


def _command_in(record: Record) -> AnyCommand:
    try:
        return decode_command(record.body)
    except msgspec.DecodeError as error:
        raise JournalCorrupt(f"record {record.sequence} holds no command ({error}): see `marginkeep verify`") from error


def _deciding(valuation: Valuation, events: tuple[Event, ...], decision: Event) -> Valuation:
    """Return the prices and funding that a decision went by: losses that were spread after it are taken back."""
    later = events[events.index(decision) :]
    spread = [event for event in later if isinstance(event, LossSocialised)]
    if not spread:
        return valuation
    before = valuation.copy()
    for event in spread:
        market = valuation.tables.market_index[event.market]
        if event.side != "short":
            before.funding[market] -= event.index_move
        if event.side != "long":
            before.funding_short[market] += event.index_move
    return before
