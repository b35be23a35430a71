"""Auctions of ill accounts: begun under caps, begun anew or given up by the clock, shown to those who would bid.

An account whose equity is below zero is no auction's matter: the waterfall bears its loss at once. Auctions paid for
by the fund (`Auction.is_insolvent`) are never begun here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from marginkeep.clearing.auction_room import room_of, row_of
from marginkeep.clearing.bidding import BidPlanner, legs_of
from marginkeep.clearing.booking import release_orders
from marginkeep.clearing.calls import call_if_blocked
from marginkeep.clearing.events import AuctionOpened, AuctionRestarted, AuctionWaits
from marginkeep.clearing.gates import is_ill_at_best, liquidation_gate
from marginkeep.liquidation import Allowance
from marginkeep.liquidation.auctions import expires_ns, is_over, next_run, open_auction
from marginkeep.units import RATE_ONE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from marginkeep.book.account import Account
    from marginkeep.clearing.gates import Seen
    from marginkeep.clearing.ill import Ill
    from marginkeep.clearing.state import State
    from marginkeep.clearing.transaction import Transaction
    from marginkeep.liquidation.auctions import Auction
    from marginkeep.liquidation.rungs import Standing
    from marginkeep.rulebook.ladder_rules import AuctionRules


def rules_of(state: State) -> AuctionRules | None:
    """Return the rulebook's auction rules; None where it has no auctions."""
    return state.rulebook.ladder.auctions if state.rulebook.ladder else None


# Begin and end -------------------------------------------------------------------------------------------------


def begin(tx: Transaction, name: str, ill: Ill, standing: Standing) -> bool:
    """Start an account's auction if its prices and the caps allow; tell whether it has started.

    One that the caps keep waiting is tried again after a step. Who has been ill longest comes first. Where no position
    is left to offer, only debts, the auction is over as soon as it is asked after.
    """
    state = tx.state
    rules = rules_of(state)
    assert rules is not None
    if ill.due_ns > state.now_ns:
        return False
    gate = liquidation_gate(state, tx.account(name), "auction")
    if gate.blocked and not is_ill_at_best(state, tx.account(name)):
        call_if_blocked(tx, name)
        return False
    if not legs_of(tx.account(name), state.valuation):
        ill.auction, ill.due_ns = open_auction(state.index[name], state.now_ns), state.now_ns
        return True
    room, row = room_of(state, rules), row_of(state, name, tx.account(name), ill)
    if not room.enter(row):
        if not ill.due_ns:
            tx.events.append(AuctionWaits(account=name, value=row.value, running=room.running.total))
        ill.due_ns = state.now_ns + rules.step_ns
        return False
    release_orders(tx, name)
    ill.auction = open_auction(state.index[name], state.now_ns)
    ill.due_ns = expires_ns(ill.auction, rules)
    tx.events.append(_opened(tx, name, ill.auction, rules, standing, gate))
    return True


def _opened(
    tx: Transaction, name: str, auction: Auction, rules: AuctionRules, standing: Standing, gate: Seen
) -> AuctionOpened:
    state, account = tx.state, tx.account(name)
    markets = state.tables.markets
    return AuctionOpened(
        account=name,
        collateral=standing.maintenance.collateral,
        requirement=standing.maintenance.requirement,
        discount=planner_of(state, account, auction, rules, gate).curve,
        most=rules.most,
        expires_ns=expires_ns(auction, rules),
        legs={markets[leg.market].name: leg.size for leg in legs_of(account, state.valuation)},
        prices=gate.prices,
    )


def expire(tx: Transaction, name: str, ill: Ill) -> str:
    """Begin an auction anew whose time is over, or give it up; return ``running``, ``restarted`` or ``house``.

    ``house``: nobody took enough, so the house closes what is left. An auction given up stays in `ill`, where every
    later call says ``house`` again: no second auction puts the end off.
    """
    state = tx.state
    rules, auction = rules_of(state), ill.auction
    assert rules is not None
    assert auction is not None
    has_legs = bool(legs_of(tx.account(name), state.valuation))
    if has_legs and not is_over(auction, rules, state.now_ns):
        ill.due_ns = expires_ns(auction, rules)
        return "running"
    again = next_run(auction, rules, state.now_ns) if has_legs else None
    if again is None:
        return "house"
    ill.auction = again
    ill.due_ns = expires_ns(again, rules)
    tx.events.append(AuctionRestarted(account=name, restarts=again.restarts, expires_ns=ill.due_ns))
    return "restarted"


def follow_rules(state: State) -> None:
    """Let auctions in progress end when newly adopted rules say, if that is earlier."""
    rules = rules_of(state)
    for ill in state.ill.values():
        if rules is not None and ill.auction is not None:
            ill.due_ns = min(ill.due_ns, expires_ns(ill.auction, rules))


def planner_of(
    state: State, account: Account, auction: Auction, rules: AuctionRules, gate: Seen, market: int | None = None
) -> BidPlanner:
    """Return what plans bids on an account under the present rules, prices and states."""
    assert state.rulebook.ladder is not None
    allowance = Allowance(lots=gate.allowance.lots, dust=state.rulebook.ladder.dust)
    return BidPlanner(account, state.valuation, auction, rules, state.now_ns, market, allowance)


# Asking --------------------------------------------------------------------------------------------------------


class OpenAuction(NamedTuple):
    """An auction as a bidder sees it: what a bid for all that may be taken would get now.

    Attributes
    ----------
    discount, fraction : of such a bid, rates; fraction 0 = nothing can be taken at present
    value, reward : of what it takes, at the mark, in reporting units; tip and chip in units of `reward_asset`
    lots, prices : by market, what the bidder takes over (negative = short), and at which ticks
    """

    account: str
    started_ns: int
    expires_ns: int
    restarts: int
    discount: int
    fraction: int
    value: int
    reward: int
    reward_asset: str
    lots: dict[str, int]
    prices: dict[str, int]


def open_auctions(state: State, names: Iterable[str] | None = None) -> list[OpenAuction]:
    """Return the auctions in progress, in account order.

    Parameters
    ----------
    names : only of these accounts, which stand on the ladder; None = of all
    """
    rules = rules_of(state)
    found = []
    for name in sorted(state.ill if names is None else names, key=state.index.__getitem__):
        auction = state.ill[name].auction
        if rules is not None and auction is not None and not is_over(auction, rules, state.now_ns):
            found.append(_seen(state, name, auction, rules))
    return found


def _seen(state: State, name: str, auction: Auction, rules: AuctionRules) -> OpenAuction:
    account = state.book.read(state.index[name])
    for position in account.positions.values():
        position.bid_size = position.bid_cost = position.ask_size = position.ask_cost = 0
    gate = liquidation_gate(state, account, "auction")
    offer = None
    if not gate.blocked or is_ill_at_best(state, account):
        offer = planner_of(state, account, auction, rules, gate).offer(RATE_ONE)
    markets = state.tables.markets
    legs = offer.legs if offer else ()
    return OpenAuction(
        account=name,
        started_ns=auction.started_ns,
        expires_ns=expires_ns(auction, rules),
        restarts=auction.restarts,
        discount=offer.discount if offer else 0,
        fraction=offer.fraction if offer else 0,
        value=offer.value if offer else 0,
        reward=offer.reward if offer else 0,
        reward_asset=state.tables.assets[offer.asset].name if offer else "",
        lots={markets[leg.market].name: -leg.size for leg in legs},
        prices={markets[leg.market].name: leg.price for leg in legs},
    )
