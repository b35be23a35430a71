"""What questions about the venue are answered: markets, assets, oracle, funds, auctions, rules. See `views`."""

from __future__ import annotations

from typing import Any

from marginkeep.client.views import View


class TierView(View, frozen=True, kw_only=True):
    """A bracket of a market's margin rates."""

    floor: str
    initial: str
    call: str
    maintenance: str
    target: str


class FundingView(View, frozen=True, kw_only=True):
    """A market's funding."""

    index: str
    index_short: str
    rate: str | None = None
    next_ns: int | None = None
    interval_ns: int | None = None


class MarketView(View, frozen=True, kw_only=True):
    """One market: its rules and where it stands."""

    market: str
    settle: str
    lot: str
    tick: str
    tiers: list[TierView]
    min_price: str
    max_price: str
    max_position: str
    state: str
    symbol: str | None = None
    kind: str = ""
    payoff: str = ""
    contract_size: str = "1"
    maker_fee: str = "0"
    taker_fee: str = "0"
    mark: str | None = None
    latest: str | None = None
    stable: str | None = None
    index: str | None = None
    quality: str | None = None
    why: str = ""
    open_interest: str = "0"
    open_interest_value: str | None = None
    funding: FundingView | None = None


class MarketList(View, frozen=True, kw_only=True):
    """All markets, in the rulebook's order."""

    sequence: int
    house_ns: int
    markets: list[MarketView]


class OneMarket(View, frozen=True, kw_only=True):
    """One market."""

    sequence: int
    house_ns: int
    market: MarketView


class AssetView(View, frozen=True, kw_only=True):
    """One asset: `weight` and `debt_weight` by margin level."""

    asset: str
    decimals: int
    tick: str
    reporting: bool
    weight: dict[str, str]
    debt_weight: dict[str, str]
    price: str | None = None
    latest: str | None = None
    quality: str | None = None
    peg: str | None = None
    why: str = ""


class AssetList(View, frozen=True, kw_only=True):
    """All assets, in the rulebook's order."""

    sequence: int
    house_ns: int
    reporting: str
    assets: list[AssetView]


class OracleView(View, frozen=True, kw_only=True):
    """The oracle: feeds with their sources, breakers and pegs, as tables."""

    sequence: int
    house_ns: int
    feeds: list[dict[str, Any]]
    breakers: list[dict[str, Any]]
    pegs: list[dict[str, Any]]


class FundView(View, frozen=True, kw_only=True):
    """An insurance fund and its caps."""

    fund: str
    markets: list[str]
    balances: dict[str, str]
    most_an_event: str | None = None
    most_a_day: str | None = None
    paid_today: str = "0"


class FundsView(View, frozen=True, kw_only=True):
    """What stands behind losses, and what nobody has paid for yet."""

    sequence: int
    funds: list[FundView]
    bad_debt: dict[str, str]
    fees: dict[str, str] | None = None


class AuctionLeg(View, frozen=True, kw_only=True):
    """What a bidder takes over of one market."""

    market: str
    size: str
    price: str


class AuctionView(View, frozen=True, kw_only=True):
    """An auction as a bid for all that may be taken would find it now."""

    account: str
    started_ns: int
    expires_ns: int
    restarts: int
    discount: str
    fraction: str
    value: str
    reward: str
    reward_asset: str | None = None
    legs: tuple[AuctionLeg, ...] = ()


class AuctionPage(View, frozen=True, kw_only=True):
    """Some of the open auctions that the key may see."""

    sequence: int
    house_ns: int
    auctions: list[AuctionView]
    next: str | None = None


class RulebookView(View, frozen=True, kw_only=True):
    """The rulebook in force."""

    name: str
    hash: str
    rules: str
