"""Everything that can be asked of the clearinghouse. Quantities are integers: lots, ticks, smallest units, rates.

Accounts are named by text of up to 64 characters; an isolated position is the account ``owner/MARKET``. Edges convert
decimal strings with `Rulebook.lots`, `Rulebook.ticks` and `Rulebook.units`.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Command(msgspec.Struct, frozen=True, tag_field="type", tag=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all commands."""


class Deposit(Command, frozen=True, kw_only=True):
    """Bring an amount into an account; opens the account if it is new."""

    account: str
    asset: str
    amount: int


class Withdraw(Command, frozen=True, kw_only=True):
    """Take an amount out; refused if it would leave less than the initial requirement."""

    account: str
    asset: str
    amount: int


class Transfer(Command, frozen=True, kw_only=True):
    """Move an amount between two cross accounts, under the rules of a withdrawal."""

    source: str
    target: str
    asset: str
    amount: int


class AddMargin(Command, frozen=True, kw_only=True):
    """Assign collateral (settle asset) to the isolated position of a market; opens ``account/market`` if new."""

    account: str
    market: str
    amount: int


class RemoveMargin(Command, frozen=True, kw_only=True):
    """Return collateral from an isolated position to its owner, under the rules of a withdrawal."""

    account: str
    market: str
    amount: int


class ChangeMode(Command, frozen=True, kw_only=True):
    """Make a cross position isolated with `margin` of its own, or an isolated one cross again (margin 0)."""

    account: str
    market: str
    mode: Literal["cross", "isolated"]
    margin: int = 0


class ReserveOrder(Command, frozen=True, kw_only=True):
    """Check an order before it trades and hold margin for its worst-case fill until it is filled or released."""

    account: str
    order: str
    market: str
    side: Literal["buy", "sell"]
    size: int
    price: int


class ReleaseOrder(Command, frozen=True, kw_only=True):
    """Give back what an order still reserves."""

    account: str
    order: str


class Trade(Command, frozen=True, kw_only=True):
    """Clear a matched trade between two accounts; either side may be refused, then nothing moves."""

    market: str
    buyer: str
    seller: str
    size: int
    price: int
    taker: Literal["buyer", "seller"] = "buyer"
    buyer_order: str | None = None
    seller_order: str | None = None


class SetPrices(Command, frozen=True, kw_only=True):
    """Set mark prices of markets and prices of assets, in ticks, then liquidate who is below maintenance."""

    marks: dict[str, int] = {}
    prices: dict[str, int] = {}


class Quote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one source says one feed's price is.

    Attributes
    ----------
    price, confidence : ticks of the feed; the source is sure within plus or minus `confidence`
    source_ns, arrival_ns : when the source made it and when it reached the house's gateway, nanoseconds UTC
    """

    source: str
    feed: str
    price: int
    source_ns: int
    arrival_ns: int
    confidence: int = 0


class PublishQuotes(Command, frozen=True, kw_only=True):
    """Give the oracle a batch of quotes, in order of arrival; the last arrival becomes the house's time."""

    quotes: tuple[Quote, ...]


class ObserveBook(Command, frozen=True, kw_only=True):
    """Tell the oracle a market's order book: best prices and the mean prices of an impact trade, 0 = none."""

    market: str
    bid: int
    ask: int
    at_ns: int
    impact_bid: int = 0
    impact_ask: int = 0


class Halt(Command, frozen=True, kw_only=True):
    """Hold a market, or all of them, at a state or worse until resumed."""

    market: str | None = None
    state: Literal["reduce_only", "guarded", "halted"] = "halted"


class Resume(Command, frozen=True, kw_only=True):
    """End an operator's hold; what circuit breakers have done stands."""

    market: str | None = None


class PayFunding(Command, frozen=True, kw_only=True):
    """Let longs pay shorts `rate` (10^-9, negative the other way) of the value at mark; booked lazily by index."""

    market: str
    rate: int


class AdvanceTime(Command, frozen=True, kw_only=True):
    """Set the clearinghouse's time, nanoseconds UTC; it never goes back."""

    now_ns: int


class TopUpFund(Command, frozen=True, kw_only=True):
    """Bring an amount into an insurance fund of the ladder, or into the last one where none is named."""

    asset: str
    amount: int
    fund: str | None = None


class RegisterLiquidator(Command, frozen=True, kw_only=True):
    """Let an account bid in auctions."""

    account: str


class Bid(Command, frozen=True, kw_only=True):
    """Take a share of an auctioned account's positions at the mark less the discount of the moment.

    Attributes
    ----------
    account, liquidator : who is auctioned, and who bids
    fraction : share of every leg, parts per 10^9; cut down to what may be taken
    market : the one leg that is bid on; None = every leg
    least_discount : refused at a smaller discount, parts per 10^9
    """

    account: str
    liquidator: str
    fraction: int
    market: str | None = None
    least_discount: int = 0


class AdoptRulebook(Command, frozen=True, kw_only=True):
    """Replace the rulebook by another, given as TOML text; units of existing assets and markets must stay."""

    rules: str


AnyCommand = (
    Deposit
    | Withdraw
    | Transfer
    | AddMargin
    | RemoveMargin
    | ChangeMode
    | ReserveOrder
    | ReleaseOrder
    | Trade
    | SetPrices
    | PayFunding
    | AdvanceTime
    | TopUpFund
    | AdoptRulebook
    | PublishQuotes
    | ObserveBook
    | Halt
    | Resume
    | RegisterLiquidator
    | Bid
)

_decoder: msgspec.json.Decoder[AnyCommand] = msgspec.json.Decoder(AnyCommand)


def encode_command(command: Command) -> bytes:
    """Write a command as one line of JSON."""
    return msgspec.json.encode(command)


def decode_command(line: bytes | str) -> AnyCommand:
    """Read a command back.

    Raises
    ------
    msgspec.ValidationError : not a command, or a field of the wrong type
    """
    return _decoder.decode(line)
