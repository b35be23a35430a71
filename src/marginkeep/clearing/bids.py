"""Bids in auctions: a registered liquidator takes a share of an ill account's positions, at a discount that heals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginkeep.book.account import ISOLATED
from marginkeep.clearing.auctioning import planner_of, rules_of
from marginkeep.clearing.bidding import legs_of
from marginkeep.clearing.booking import release_orders, require_as_planned
from marginkeep.clearing.events import AuctionBid, LiquidationStep, LiquidatorRegistered
from marginkeep.clearing.gates import is_ill_at_best, liquidation_gate, spend_budget
from marginkeep.clearing.position_checks import note_reaches, require_within_limits
from marginkeep.clearing.trading import require_within_limit
from marginkeep.clearing.transaction import Transaction, refuse
from marginkeep.errors import InvariantViolation
from marginkeep.liquidation.auctions import after_bid, is_over
from marginkeep.liquidation.incentive import heals
from marginkeep.liquidation.position_limits import owner_of
from marginkeep.liquidation.trial import Trial

if TYPE_CHECKING:
    from marginkeep.book.account import Account
    from marginkeep.clearing.bidding import BidLeg, BidPlanner, Offer
    from marginkeep.clearing.commands import Bid, RegisterLiquidator
    from marginkeep.clearing.gates import Seen


def register_liquidator(tx: Transaction, command: RegisterLiquidator) -> None:
    """Let an account bid in auctions from now on."""
    name = command.account
    if tx.user_account(name).mode == ISOLATED:
        refuse("isolated_account", f"{name!r} is isolated to its own market: register its owner")
    if name in tx.state.liquidators:
        refuse("duplicate_liquidator", f"{name!r} is registered already: it may bid")
    tx.state.liquidators.add(name)
    tx.events.append(LiquidatorRegistered(account=name))


def bid(tx: Transaction, command: Bid) -> None:
    """Let a liquidator take a share of every leg, or of one, at the mark less the discount of the moment.

    A share beyond what may be taken is cut down to it. Nothing moves unless the account's health factor strictly
    rises and the liquidator holds its own initial requirement afterwards.
    """
    state, name = tx.state, command.account
    rules, ill = rules_of(state), state.ill.get(name)
    account = tx.user_account(name)
    _require_bidder(tx, command)
    auction = ill.auction if ill is not None else None
    if rules is None or ill is None or auction is None or is_over(auction, rules, state.now_ns):
        refuse("no_auction", f"{name} is not being auctioned at {state.now_ns} ns: ask for the open auctions")
    market = _market_of(tx, command, account)
    release_orders(tx, name)
    gate = _require_prices(tx, name, market)
    planner = planner_of(state, account, auction, rules, gate, market)
    offer = _require_offer(planner, command, gate)
    fills = tuple(_fill(tx, command, leg) for leg in offer.legs)
    tx.post(offer.asset, name, command.liquidator, offer.reward, "reward of the first bid")
    _check_books(tx, name, planner, offer)
    tx.require_solvent(command.liquidator, f"the bid for {name}")
    for leg in offer.legs:
        spend_budget(state, leg.market, abs(leg.size))
    ill.auction = after_bid(auction, offer.value)
    if not legs_of(account, state.valuation):
        ill.due_ns = state.now_ns  # nothing is left to offer: the house sells what is held against what is owed
    tx.events.append(_bid_event(tx, command, offer, fills, gate))


def _require_bidder(tx: Transaction, command: Bid) -> None:
    bidder = command.liquidator
    if bidder not in tx.state.liquidators:
        refuse("not_a_liquidator", f"{bidder!r} is not a registered liquidator: register it first")
    if owner_of(bidder) == owner_of(command.account):
        refuse("self_bid", f"{bidder!r} bids on its own account: reduce it by trading, or add margin")
    if command.fraction <= 0:
        refuse("bad_fraction", f"fraction is {command.fraction} parts of 10^9: it must be above 0")


def _market_of(tx: Transaction, command: Bid, account: Account) -> int | None:
    if command.market is None:
        return None
    market = tx.market(command.market)
    held = account.positions.get(market.index)
    if held is None or not held.size:
        refuse("no_position", f"{command.account} holds nothing in {market.name}: bid on a leg that it holds")
    return market.index


def _require_prices(tx: Transaction, name: str, market: int | None) -> Seen:
    """Refuse a bid on prices that auctions may not use, or while a price in doubt may mean that nobody is ill."""
    state, account = tx.state, tx.account(name)
    gate = liquidation_gate(state, account, "auction")
    held = [i for i, position in account.positions.items() if position.size and market in (None, i)]
    if gate.blocked and not (is_ill_at_best(state, account) and any(gate.allowance.lots.get(i, 1) for i in held)):
        reasons = "; ".join(f"{seen.name}: {seen.blocked}" for seen in gate.prices if seen.blocked)
        refuse("price", f"the auction of {name} waits ({reasons}): bid when its prices may be used again", gate.prices)
    return gate


def _require_offer(planner: BidPlanner, command: Bid, gate: Seen) -> Offer:
    if planner.health >= 0 or not planner.legs:
        refuse("nothing_to_take", f"{command.account} needs no reduction: it is at its target", health=planner.health)
    offer = planner.offer(command.fraction)
    if offer is None:
        refuse(
            "does_not_heal",
            f"a bid for so little of {command.account} would not raise its health factor: bid for more",
            gate.prices,
            fraction=command.fraction,
            collateral=planner.before.collateral,
            requirement=planner.before.requirement,
        )
    if offer.discount < command.least_discount:
        refuse(
            "discount_too_low",
            f"the discount is {offer.discount} parts of 10^9, and {command.least_discount} was asked for: "
            f"wait, or ask for less",
            gate.prices,
            discount=offer.discount,
            asked=command.least_discount,
            curve=offer.curve,
        )
    return offer


def _fill(tx: Transaction, command: Bid, leg: BidLeg) -> LiquidationStep:
    """Trade one leg between the two accounts at one price."""
    market = tx.state.tables.markets[leg.market]
    reaches = note_reaches(tx, market, (command.account, command.liquidator))
    taken = tx.fill(command.account, market, leg.size, leg.price)
    given = tx.fill(command.liquidator, market, -leg.size, leg.price)
    tx.post_dust(market, taken.cost + given.cost)
    require_within_limit(tx, command.liquidator, market)
    require_within_limits(tx, market, reaches)
    return LiquidationStep(
        what="close",
        name=market.name,
        size=leg.size,
        price=leg.price,
        asset=market.market.settle,
        value=abs(taken.cost),
        realised=taken.realised,
        penalty=0,
        mark=tx.state.valuation.marks[leg.market],
    )


def _check_books(tx: Transaction, name: str, planner: BidPlanner, offer: Offer) -> None:
    """Halt unless the books are as planned and the account is healthier than before, or closed."""
    booked = tx.account(name)
    require_as_planned(booked, offer.account, name)
    after = Trial(booked, tx.state.valuation).settled()
    if not heals(planner.before, after):
        raise InvariantViolation(f"a bid for {name} took its settled measure from {planner.before} to {after}")


def _bid_event(
    tx: Transaction, command: Bid, offer: Offer, fills: tuple[LiquidationStep, ...], gate: Seen
) -> AuctionBid:
    return AuctionBid(
        account=command.account,
        liquidator=command.liquidator,
        asked=command.fraction,
        fraction=offer.fraction,
        discount=offer.discount,
        curve=offer.curve,
        fills=fills,
        notional=offer.value,
        reward=offer.reward,
        reward_asset=tx.state.tables.assets[offer.asset].name,
        collateral=offer.before.collateral,
        requirement=offer.before.requirement,
        collateral_after=offer.after.collateral,
        requirement_after=offer.after.requirement,
        prices=gate.prices,
        postings=tx.take_postings(),
    )
