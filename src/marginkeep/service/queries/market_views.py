"""Markets and assets as people read them: their rules, and where they stand now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from marginkeep.rulebook.grid import exact_text
from marginkeep.rulebook.model import LEVELS
from marginkeep.service.wire.amounts import units_of
from marginkeep.units import format_units

if TYPE_CHECKING:
    from collections.abc import Callable

    from marginkeep.clearing.funding_rates import FundingMachine
    from marginkeep.clearing.state import State
    from marginkeep.oracle.lines import AssetLine
    from marginkeep.rulebook import AssetTable, MarketTable
    from marginkeep.rulebook.model import LevelRates, Tier

RATE_DECIMALS: Final = 9


class ByLevel(msgspec.Struct, frozen=True, kw_only=True):
    """One rate a margin level."""

    initial: str
    call: str
    maintenance: str
    target: str


class TierView(msgspec.Struct, frozen=True, kw_only=True):
    """A bracket: from `floor`, in the market's tier unit, these requirements apply."""

    floor: str
    initial: str
    call: str
    maintenance: str
    target: str


class FundingView(msgspec.Struct, frozen=True, kw_only=True):
    """A market's funding.

    Attributes
    ----------
    index, index_short : what a long contract lot has paid in all, and what a short one has received, settle units
    rate : what the next payment is if things go on as they do; None where the house does not make it
    next_ns, interval_ns : when it is due, and how often it is; None where the house does not make it
    """

    index: str
    index_short: str
    rate: str | None
    next_ns: int | None
    interval_ns: int | None


class MarketView(msgspec.Struct, frozen=True, kw_only=True):
    """One market; rates are of one, sizes contracts, None where a number does not exist.

    Attributes
    ----------
    mark : price that accounts are measured at; None before the first
    latest, stable : newest price whatever its quality, and the slow one that opening is also measured at
    index : price of the feed behind the mark
    quality, state, why : how good the price is, what is allowed in the market, and why not more
    """

    market: str
    symbol: str | None
    kind: str
    payoff: str
    settle: str
    expiry: str | None
    contract_size: str
    lot: str
    tick: str
    tier_kind: str
    tier_unit: str
    tiers: list[TierView]
    profit_weight: ByLevel
    maker_fee: str
    taker_fee: str
    min_price: str
    max_price: str
    max_position: str
    mark: str | None
    latest: str | None
    stable: str | None
    index: str | None
    quality: str | None
    state: str
    why: str
    open_interest: str
    open_interest_value: str | None
    funding: FundingView


class AssetView(msgspec.Struct, frozen=True, kw_only=True):
    """One asset.

    Attributes
    ----------
    weight, debt_weight : share of a holding that counts, and factor on a debt, with what its peg has taken off
    price : in the reporting asset; None before the first
    peg, why : stage of its peg, where it has one, and the numbers
    """

    asset: str
    decimals: int
    tick: str
    reporting: bool
    weight: ByLevel
    debt_weight: ByLevel
    price: str | None
    latest: str | None
    quality: str | None
    peg: str | None
    why: str


def market_view(state: State, market: MarketTable) -> MarketView:
    """Return a market's rules and standing."""
    rules, limits = market.market, state.limits.markets[market.index]
    line = state.oracle.markets.get(market.index) if state.oracle else None
    grid = units_of(state.rulebook).grid
    ticks, lots = grid("ticks", market.name).format, grid("lots", market.name).format
    mark = state.valuation.marks[market.index]
    return MarketView(
        market=market.name,
        **{field: getattr(rules, field) for field in _SAME},
        **{field: exact_text(getattr(rules, field)) for field in ("contract_size", "lot", "tick")},
        **{field: rate_text(getattr(rules, field)) for field in ("maker_fee", "taker_fee")},
        tiers=[_tier(tier) for tier in rules.tiers],
        profit_weight=by_level(market.profit_weight),
        min_price=ticks(limits.min_price),
        max_price=ticks(limits.max_price),
        max_position=lots(limits.max_position),
        mark=_known(ticks, mark),
        latest=_known(ticks, line.latest if line is not None else 0),
        stable=_known(ticks, line.stable.value if line is not None and line.stable is not None else 0),
        index=_known(ticks, line.source.price if line is not None else 0),
        quality=line.quality if line is not None else None,
        state=line.state_name if line is not None else "open",
        why=line.why if line is not None else "",
        open_interest=lots(state.open_interest[market.index]),
        open_interest_value=_interest_value(state, market) if mark else None,
        funding=funding_view(state, market),
    )


_SAME: Final = ("symbol", "kind", "payoff", "settle", "expiry", "tier_kind", "tier_unit")


def _known(ticks: Callable[[int], str], price: int) -> str | None:
    """Write a price; None before the first."""
    return ticks(price) if price else None


def _interest_value(state: State, market: MarketTable) -> str:
    """Return what longs hold at the mark, in settle units rounded up."""
    x, y = state.valuation.market_x[market.index], state.valuation.market_y[market.index]
    value = -(-state.open_interest[market.index] * x // y)
    return units_of(state.rulebook).grid("settle", market.name).format(value)


def funding_view(state: State, market: MarketTable) -> FundingView:
    """Return a market's funding."""
    machine: FundingMachine | None = state.funding_machines.get(market.index)
    index = units_of(state.rulebook).grid("index", market.name).format
    opened = machine is not None and machine.due_ns is not None
    return FundingView(
        index=index(state.valuation.funding[market.index]),
        index_short=index(state.valuation.funding_short[market.index]),
        rate=rate_text(machine.predicted(state.now_ns).rate) if machine is not None and opened else None,
        next_ns=machine.due_ns if machine is not None else None,
        interval_ns=machine.rules.interval_ns if machine is not None else None,
    )


def asset_view(state: State, asset: AssetTable) -> AssetView:
    """Return an asset's rules and standing; its weights are those in force."""
    line: AssetLine | None = state.oracle.assets.get(asset.index) if state.oracle else None
    peg = line.peg if line is not None else None
    ticks = units_of(state.rulebook).grid("ticks", asset.name).format
    is_reporting = asset.index == state.tables.reporting
    price = state.valuation.prices[asset.index]
    return AssetView(
        asset=asset.name,
        decimals=asset.asset.decimals,
        tick=exact_text(asset.asset.tick),
        reporting=is_reporting,
        weight=by_level(asset.weight),
        debt_weight=by_level(asset.debt_weight),
        price="1" if is_reporting else _known(ticks, price),
        latest=_known(ticks, line.latest if line is not None else 0),
        quality=line.quality if line is not None else None,
        peg=peg.stage_name if peg is not None else None,
        why=peg.why if peg is not None else "",
    )


def _tier(tier: Tier) -> TierView:
    return TierView(floor=exact_text(tier.floor), **_by_level(tier.rates))


def by_level(rates: LevelRates) -> ByLevel:
    """Return one rate a level."""
    return ByLevel(**_by_level(rates))


def _by_level(rates: LevelRates) -> dict[str, str]:
    return {level: rate_text(rate) for level, rate in zip(LEVELS, rates, strict=True)}


def rate_text(rate: int) -> str:
    """Write a rate as a decimal string: 0.01 is 1 %."""
    return format_units(rate, RATE_DECIMALS)
