"""How an account's equity came to be what it is: every change, by its cause, adding up exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from marginkeep.book.health import equity, profit_at, unrealised_profit
from marginkeep.clearing.loss_events import LossSocialised
from marginkeep.margin.tiered import convert_floor
from marginkeep.units import rate_floor

if TYPE_CHECKING:
    from marginkeep.book.account import Account
    from marginkeep.book.valuation import Valuation
    from marginkeep.clearing.events import Event
    from marginkeep.clearing.state import State

TRADED = "fills against the mark"
ROUNDING = "rounding"
FUNDING_CAUSE = "funding of "
_INSIDE = ("realised profit", "rounding of a trade")
"""Reasons of postings that only move profit from open to booked: what a fill gained or lost shows in the remainder."""


class WalkStep(msgspec.Struct, frozen=True):
    """One cause of a change between two records, in smallest units of the reporting asset.

    Attributes
    ----------
    sequence : the record; for price moves, the one up to which they were summed
    cause : ``price of NAME``, ``funding of MARKET``, ``socialised loss in MARKET``, the reason of a posting
        (``deposit``, ``fee``, ...), `TRADED` or `ROUNDING`
    """

    sequence: int
    cause: str
    amount: int


class EquityWalk:
    """Follows one account through a replay. Call `before` and `after` around the records that concern it.

    Attributes
    ----------
    opening : equity where the walk begins
    equity : where it has come to
    steps : all changes so far; `opening + sum(amounts) = equity`, always
    """

    def __init__(self, name: str, state: State) -> None:
        self.name = name
        self.steps: list[WalkStep] = []
        account = _account(state, name)
        self._worth = _worth(account, state.valuation) if account else {}
        self.opening = self.equity = equity(account, state.valuation) if account else 0

    def before(self, sequence: int, state: State) -> None:
        """Book what prices did since the last record that concerned the account."""
        account = _account(state, self.name)
        if account is not None:
            self.revalue(sequence, account, state.valuation)

    def after(self, sequence: int, state: State, held: Account | None, events: tuple[Event, ...]) -> None:
        """Book what a record did to the account: prices first, then postings, and what fills gained or lost.

        Parameters
        ----------
        held : the account as it was before the record; None where it did not exist
        """
        account = _account(state, self.name)
        if account is None:
            return
        if held is not None:
            self.revalue(sequence, held, state.valuation, events)
        reached = equity(account, state.valuation)
        rest = reached - self.equity
        for reason, amount in self._flows(state, events).items():
            self._add(sequence, reason, amount)
            rest -= amount
        self._add(sequence, TRADED if abs(rest) > len(account.positions) + len(account.balances) else ROUNDING, rest)
        self._worth = _worth(account, state.valuation)

    def bear(self, sequence: int, state: State, events: tuple[Event, ...]) -> None:
        """Book what losses of others, spread by a record, have cost the account, which they do not name."""
        account = _account(state, self.name)
        if account is not None:
            self.revalue(sequence, account, state.valuation, events)

    def sums(self) -> dict[str, int]:
        """Return the changes summed by cause, largest first."""
        sums: dict[str, int] = {}
        for step in self.steps:
            sums[step.cause] = sums.get(step.cause, 0) + step.amount
        return dict(sorted(((c, a) for c, a in sums.items() if a), key=lambda item: (-abs(item[1]), item[0])))

    def revalue(self, sequence: int, account: Account, valuation: Valuation, events: tuple[Event, ...] = ()) -> None:
        """Book what new prices and funding have made of what an account holds.

        Parameters
        ----------
        events : of the record; losses spread over holders are told apart from funding
        """
        worth = _worth(account, valuation)
        borne = _borne(account, valuation, events)
        for cause, amount in borne.items():
            self._add(sequence, f"socialised loss in {cause}", amount)
        for cause, amount in worth.items():
            moved = amount - self._worth.get(cause, amount)
            self._add(sequence, cause, moved - borne.get(cause.removeprefix(FUNDING_CAUSE), 0))
        self._worth = worth
        self._add(sequence, ROUNDING, equity(account, valuation) - self.equity)

    def _flows(self, state: State, events: tuple[Event, ...]) -> dict[str, int]:
        """Return what was posted to and from the account by reason, at present prices."""
        flows: dict[str, int] = {}
        for event in events:
            for posting in event.postings:
                sign = (posting.target == self.name) - (posting.source == self.name)
                if not sign or posting.reason in _INSIDE:
                    continue
                index = state.tables.asset_index[posting.asset]
                x, y = state.valuation.asset_x[index], state.valuation.asset_y[index]
                flows[posting.reason] = flows.get(posting.reason, 0) + convert_floor(sign * posting.amount, x, y)
        return flows

    def _add(self, sequence: int, cause: str, amount: int) -> None:
        if amount:
            self.steps.append(WalkStep(sequence, cause, amount))
            self.equity += amount


def _account(state: State, name: str) -> Account | None:
    index = state.index.get(name)
    return None if index is None else state.book.read(index)


def _worth(account: Account, valuation: Valuation) -> dict[str, int]:
    """Return what an account's equity depends on, by cause of change, in reporting units.

    Of each position the open profit and, apart from it, the funding that is not booked yet; of each balance its value.
    """
    tables, worth = valuation.tables, {}
    for index, position in sorted(account.positions.items()):
        market = tables.markets[index]
        x, y = valuation.asset_x[market.settle], valuation.asset_y[market.settle]
        pair = valuation.market_x[index], valuation.market_y[index]
        price = convert_floor(profit_at(market, position, *pair, position.funding_entry), x, y)
        worth[f"price of {market.name}"] = price
        worth[FUNDING_CAUSE + market.name] = convert_floor(unrealised_profit(market, position, valuation), x, y) - price
    for index, amount in sorted(account.balances.items()):
        value = convert_floor(amount, valuation.asset_x[index], valuation.asset_y[index])
        worth[f"price of {tables.assets[index].name}"] = value
    return worth


def _borne(account: Account, valuation: Valuation, events: tuple[Event, ...]) -> dict[str, int]:
    """Return what spread losses have cost an account, by market, in reporting units; each is 0 or negative."""
    borne: dict[str, int] = {}
    for event in events:
        if isinstance(event, LossSocialised) and bears(event, account, valuation):
            market = valuation.tables.markets[valuation.tables.market_index[event.market]]
            x, y = valuation.asset_x[market.settle], valuation.asset_y[market.settle]
            lots = abs(account.positions[market.index].size)
            cost = convert_floor(rate_floor(-lots, event.index_move), x, y)
            borne[event.market] = borne.get(event.market, 0) + cost
    return borne


def bears(event: LossSocialised, account: Account, valuation: Valuation) -> bool:
    """Tell whether an account holds a market on the side over which a loss was spread."""
    index = valuation.tables.market_index.get(event.market)
    position = account.positions.get(index) if index is not None else None
    if position is None or not position.size:
        return False
    return event.side in ("both", "long" if position.size > 0 else "short")
