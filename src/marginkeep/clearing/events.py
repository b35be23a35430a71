"""Everything the clearinghouse answers. Amounts are integers in smallest units of the named asset."""

from __future__ import annotations

import msgspec

from marginkeep.oracle.price_seen import PriceSeen  # noqa: TC001 - msgspec reads the annotations


class Posting(msgspec.Struct, frozen=True, gc=False):
    """One double-entry posting: `amount` >= 0 moves from `source` to `target`."""

    asset: str
    source: str
    target: str
    amount: int
    reason: str


class Event(msgspec.Struct, frozen=True, tag_field="type", tag=True, kw_only=True):
    """Base of all events; `postings` are the money the event moved."""

    postings: tuple[Posting, ...] = ()


class Rejected(Event, frozen=True, kw_only=True):
    """The command was refused and nothing changed.

    `code` is stable; `reason` is a sentence; `numbers` hold the amounts behind it (`missing` in reporting units);
    `prices` are those that blocked it.
    """

    command: str
    code: str
    reason: str
    numbers: dict[str, int]
    prices: tuple[PriceSeen, ...] = ()


class AccountOpened(Event, frozen=True, kw_only=True):
    """A new account exists."""

    account: str
    mode: str


class BalanceMoved(Event, frozen=True, kw_only=True):
    """A deposit, withdrawal, transfer, margin assignment or fund top-up was booked."""

    what: str
    asset: str
    amount: int
    source: str
    target: str


class ModeChanged(Event, frozen=True, kw_only=True):
    """A position moved between its owner's cross account and an isolated account."""

    account: str
    market: str
    mode: str
    margin: int


class OrderReserved(Event, frozen=True, kw_only=True):
    """An order passed the pre-trade check; `free` is the initial health that remains."""

    account: str
    order: str
    free: int


class OrderReleased(Event, frozen=True, kw_only=True):
    """An order no longer reserves anything."""

    account: str
    order: str
    reason: str


class TradeSide(msgspec.Struct, frozen=True):
    """One side of a trade: `size` and `cost` after it, in lots and settle units."""

    account: str
    order: str | None
    fee: int
    realised: int
    funding: int
    size: int
    cost: int


class Traded(Event, frozen=True, kw_only=True):
    """A trade was cleared on both sides."""

    market: str
    size: int
    price: int
    buyer: TradeSide
    seller: TradeSide


class PricesSet(Event, frozen=True, kw_only=True):
    """Marks and asset prices moved, in ticks."""

    marks: dict[str, int]
    prices: dict[str, int]


class QuotesTaken(Event, frozen=True, kw_only=True):
    """The oracle took quotes in; `ignored` counts those it did not use, by reason."""

    taken: int
    ignored: dict[str, int]


class BookObserved(Event, frozen=True, kw_only=True):
    """The oracle saw a market's order book."""

    market: str


class MarketHeld(Event, frozen=True, kw_only=True):
    """An operator holds a market, or all of them (None), at a state or worse; ``open`` ends the hold."""

    market: str | None
    state: str


class OracleChanged(Event, frozen=True, kw_only=True):
    """A quality, market state, peg or source changed.

    `what` is ``quality`` (of a market's mark or an asset's price), ``market`` (its state), ``peg`` (an asset's stage)
    or ``source`` (``source:feed``, trusted or quarantined).
    """

    what: str
    name: str
    before: str
    after: str
    why: str


class PriceAnnounced(Event, frozen=True, kw_only=True):
    """A delayed price that will count from `at_ns` on, in ticks."""

    asset: str
    price: int
    at_ns: int


class DepositAsked(msgspec.Struct, frozen=True):
    """A deposit of `amount` smallest units of an asset, worth `value` in reporting units."""

    asset: str
    amount: int
    value: int


class CloseAsked(msgspec.Struct, frozen=True):
    """A trade of `size` lots (negative = sell) at `price` ticks, for a fee of `cost` reporting units."""

    market: str
    size: int
    price: int
    cost: int


class MarginCalled(Event, frozen=True, kw_only=True):
    """An account must be topped up, and nothing is sold yet.

    Attributes
    ----------
    missing : what lacks in reporting units: at maintenance, or, for a call with a deadline, at call or target
    because : why it is called rather than liquidated
    prices : those behind it
    deadline_ns : until when it may be cured before forced reduction begins; 0 = as soon as prices allow
    deposits, closes : each of them cures it alone, cheapest first
    soft_cost, soft_cost_high : what soft liquidation is expected to cost, and what it costs at most in 95 % of cases
    """

    account: str
    missing: int
    because: str
    prices: tuple[PriceSeen, ...]
    deadline_ns: int = 0
    deposits: tuple[DepositAsked, ...] = ()
    closes: tuple[CloseAsked, ...] = ()
    soft_cost: int = 0
    soft_cost_high: int = 0


class CallReminded(Event, frozen=True, kw_only=True):
    """The deadline of a margin call comes near."""

    account: str
    missing: int
    deadline_ns: int


class CallCured(Event, frozen=True, kw_only=True):
    """A margin call is cured: its account holds its call and its target level again."""

    account: str


class RungChanged(Event, frozen=True, kw_only=True):
    """An account moved on the ladder; a call has an event of its own."""

    account: str
    before: str
    after: str


class FundingPaid(Event, frozen=True, kw_only=True):
    """A market's cumulative funding index moved by `paid` (10^-9 settle units a lot) to `index`.

    Attributes
    ----------
    premium, interest, pull, uncapped : where the house makes the rate, what it comes from: average premium (None =
        nothing was known), interest part, pull of an unbalanced book, and the rate of a period before any cap
    accrued : a part of the next payment, booked before it is due
    """

    market: str
    rate: int
    paid: int
    index: int
    premium: int | None = None
    interest: int = 0
    pull: int = 0
    uncapped: int = 0
    accrued: bool = False


class TimeAdvanced(Event, frozen=True, kw_only=True):
    """The clearinghouse's time moved."""

    now_ns: int


class RulebookAdopted(Event, frozen=True, kw_only=True):
    """Another rulebook is in force; both are named by their SHA-256."""

    before: str
    after: str


class Halted(Event, frozen=True, kw_only=True):
    """The audit of the watch found a contradiction: from now on only commands that reduce risk are accepted."""

    report: str


class LiquidationStep(msgspec.Struct, frozen=True, gc=False):
    """One forced close or sale.

    Attributes
    ----------
    what : ``close`` (market, lots, ticks) or ``sell`` (asset, smallest units, ticks)
    value : what was closed or sold, in settle (close) or proceeds (sell) units of `asset`
    """

    what: str
    name: str
    size: int
    price: int
    asset: str
    value: int
    realised: int
    penalty: int
    mark: int


class Liquidated(Event, frozen=True, kw_only=True):
    """An account was reduced by force: what was seen, what was done, what was left.

    Attributes
    ----------
    collateral, requirement : at maintenance before, in reporting units; collateral < requirement is the reason, save on
        the ladder's soft rung, where it may be a call that nobody has cured
    health_target : what lacked at the target level before
    health_after : health at the target level afterwards
    notional, penalty : sums over the steps, in reporting units
    fund_paid, bad_debt : what the insurance fund paid and what nobody paid, in reporting units
    marks : market -> mark in ticks of every position held
    rung : of the ladder, ``partial`` where the rulebook has none
    prices : where an oracle prices them: quality, sources and ages of what was seen, and what blocked a leg
    """

    account: str
    collateral: int
    requirement: int
    health_target: int
    health_after: int
    notional: int
    penalty: int
    fund_paid: int
    bad_debt: int
    marks: dict[str, int]
    steps: tuple[LiquidationStep, ...]
    rulebook: str
    prices: tuple[PriceSeen, ...] = ()
    rung: str = "partial"


class LiquidatorRegistered(Event, frozen=True, kw_only=True):
    """An account may bid in auctions."""

    account: str


class AuctionWaits(Event, frozen=True, kw_only=True):
    """An auction of `value` must wait for room under the caps: `running` is on offer before it; reporting units."""

    account: str
    value: int
    running: int


class AuctionOpened(Event, frozen=True, kw_only=True):
    """An account's positions are on offer.

    Attributes
    ----------
    collateral, requirement : at maintenance, in reporting units
    discount, most : where the discount begins, and the most it becomes, rates; a bid never gets more than what heals
    legs : market -> lots, negative = short
    """

    account: str
    collateral: int
    requirement: int
    discount: int
    most: int
    expires_ns: int
    legs: dict[str, int]
    prices: tuple[PriceSeen, ...] = ()


class AuctionRestarted(Event, frozen=True, kw_only=True):
    """An auction has begun anew, at its first discount."""

    account: str
    restarts: int
    expires_ns: int


class AuctionBid(Event, frozen=True, kw_only=True):
    """A liquidator took a share of an auctioned account.

    Attributes
    ----------
    asked, fraction : the share that was bid for, and what was taken of it: no more than reaches the target
    discount, curve : the discount given, and what time and illness alone would have given; less where that heals
    fills : what the account traded, `price` on both sides
    notional : value of the fills at the marks, in reporting units
    reward : tip and chip, in units of `reward_asset`
    collateral, requirement, collateral_after, requirement_after : at maintenance, profits counted as booked
    """

    account: str
    liquidator: str
    asked: int
    fraction: int
    discount: int
    curve: int
    fills: tuple[LiquidationStep, ...]
    notional: int
    reward: int
    reward_asset: str
    collateral: int
    requirement: int
    collateral_after: int
    requirement_after: int
    prices: tuple[PriceSeen, ...] = ()
