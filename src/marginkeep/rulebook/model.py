"""The rulebook: every static parameter of the house, immutable and hashed.

Quantities are already in engine units here: prices in ticks, sizes in lots, amounts in smallest units, rates in
10^-9. `Fraction` fields hold the definition of those units themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from marginkeep.errors import InputError
from marginkeep.units import RATE_ONE, to_units

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marginkeep.rulebook.funding_rules import FundingRules
    from marginkeep.rulebook.ladder_rules import LadderRules
    from marginkeep.rulebook.limit_rules import PositionRules
    from marginkeep.rulebook.oracle_rules import OracleRules

INITIAL: Final = 0
CALL: Final = 1
MAINTENANCE: Final = 2
TARGET: Final = 3
LEVELS: Final = ("initial", "call", "maintenance", "target")
"""The four margin levels, in the order in which every per-level tuple holds them."""

RATE_MAX: Final = 4 * RATE_ONE
"""Highest requirement rate (400 %): leaves room for rate products in int64."""

_Named = TypeVar("_Named")

LevelRates = tuple[int, int, int, int]
"""One rate (10^-9) a level, indexed by `INITIAL`, `CALL`, `MAINTENANCE`, `TARGET`."""


@dataclass(frozen=True, slots=True)
class LiquidationTerms:
    """What a forced close costs: price slippage, and a penalty shared by liquidator and insurance fund (rates)."""

    slippage: int
    penalty: int
    liquidator_share: int


@dataclass(frozen=True, slots=True)
class Asset:
    """Anything held in balances.

    Attributes
    ----------
    decimals : the smallest unit is 10^-decimals
    tick : smallest step of its price in the reporting asset
    weight : share of a holding's value that counts as collateral, per level (1 - haircut)
    debt_weight : factor on a debt's value in the requirement, per level, >= 1
    """

    name: str
    decimals: int
    tick: Fraction
    weight: LevelRates
    debt_weight: LevelRates
    liquidation: LiquidationTerms
    max_price: int | None = None
    max_balance: int | None = None

    @property
    def unit(self) -> Fraction:
        """The smallest amount, as a fraction of one whole."""
        return Fraction(1, 10**self.decimals)


@dataclass(frozen=True, slots=True)
class Tier:
    """One bracket of a tier table: from `floor` (in the market's tier unit) on, these rates apply."""

    floor: Fraction
    rates: LevelRates


@dataclass(frozen=True, slots=True)
class Market:
    """An instrument traded with leverage.

    Attributes
    ----------
    payoff : ``linear`` (value = size * price) or ``inverse`` (value = -size / price, in coin)
    contract_size : base units a contract (linear) or quote units a contract (inverse)
    lot, tick : smallest steps of size (in contracts) and price
    tier_kind : ``marginal`` (each slice at its own rate) or ``whole_position`` (all of it at one rate)
    tier_unit : what tier floors measure: ``quote``, ``base`` or ``contracts``
    maker_fee, taker_fee : rates of the traded value; a maker fee may be negative, a rebate
    profit_weight : share of unrealised profit that counts, per level; losses always count in full
    max_price, min_price, max_position : limits in ticks and lots; None takes a default that int64 columns can hold
    """

    name: str
    kind: Literal["perpetual", "future"]
    payoff: Literal["linear", "inverse"]
    settle: str
    contract_size: Fraction
    lot: Fraction
    tick: Fraction
    tier_kind: Literal["marginal", "whole_position"]
    tier_unit: Literal["quote", "base", "contracts"]
    tiers: tuple[Tier, ...]
    maker_fee: int
    taker_fee: int
    profit_weight: LevelRates
    liquidation: LiquidationTerms
    symbol: str | None = None
    expiry: str | None = None
    max_price: int | None = None
    min_price: int | None = None
    max_position: int | None = None


@dataclass(frozen=True, slots=True)
class Rulebook:
    """All assets and markets, the asset in which accounts are reported, and the rules of prices and of ill accounts.

    Attributes
    ----------
    oracle : None where prices come from outside, as they are
    ladder : None where an account below maintenance is reduced at once, and one fund without limits bears losses
    funding : of markets whose funding the house makes itself; the others are funded by commands alone
    limits : of the size of positions, by market
    """

    name: str
    reporting: str
    assets: Mapping[str, Asset]
    markets: Mapping[str, Market]
    oracle: OracleRules | None = None
    ladder: LadderRules | None = None
    funding: tuple[FundingRules, ...] = ()
    limits: tuple[PositionRules, ...] = ()

    def asset(self, name: str) -> Asset:
        """Return an asset, or raise `InputError` naming those that exist."""
        return _named(self.assets, name, "asset")

    def market(self, name: str) -> Market:
        """Return a market, or raise `InputError` naming those that exist."""
        return _named(self.markets, name, "market")

    def units(self, asset: str, amount: str) -> int:
        """Convert a decimal amount of an asset to its smallest units.

        Raises
        ------
        InputError : unknown asset, or more decimals than the asset has
        """
        return to_units(amount, self.asset(asset).unit, f"amount of {asset}", "smallest unit")

    def lots(self, market: str, size: str) -> int:
        """Convert a decimal size (contracts) to lots."""
        return to_units(size, self.market(market).lot, f"size in {market}", "lot")

    def ticks(self, name: str, price: str) -> int:
        """Convert a decimal price of a market or of an asset to ticks."""
        owner = self.markets.get(name) or self.assets.get(name)
        if owner is None:
            owner = self.market(name)
        return to_units(price, owner.tick, f"price of {name}", "tick")


def _named(table: Mapping[str, _Named], name: str, what: str) -> _Named:
    try:
        return table[name]
    except KeyError:
        known = ", ".join(list(table)[:8]) + (", ..." if len(table) > 8 else "")
        raise InputError(f"{what} {name!r} is not in the rulebook: use one of {known}") from None
