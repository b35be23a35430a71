"""The shapes of ccxt's unified structures, for the published schema."""

from __future__ import annotations

from typing import Any

import msgspec

Number = float | None


class CcxtPosition(msgspec.Struct, frozen=True, kw_only=True):
    """A position as ccxt has it."""

    info: dict[str, Any]
    id: str
    symbol: str
    timestamp: int | None
    datetime: str | None
    lastUpdateTimestamp: int | None  # noqa: N815 - ccxt's name
    isolated: bool
    hedged: bool
    side: str
    contracts: float
    contractSize: float  # noqa: N815
    entryPrice: Number  # noqa: N815
    markPrice: Number  # noqa: N815
    lastPrice: Number  # noqa: N815
    notional: Number
    leverage: Number
    collateral: Number
    initialMargin: Number  # noqa: N815
    initialMarginPercentage: Number  # noqa: N815
    maintenanceMargin: Number  # noqa: N815
    maintenanceMarginPercentage: Number  # noqa: N815
    unrealizedPnl: Number  # noqa: N815
    realizedPnl: Number  # noqa: N815
    liquidationPrice: Number  # noqa: N815
    marginMode: str  # noqa: N815
    marginRatio: Number  # noqa: N815
    percentage: Number
    stopLossPrice: Number  # noqa: N815
    takeProfitPrice: Number  # noqa: N815


class CcxtTier(msgspec.Struct, frozen=True, kw_only=True):
    """A leverage tier as ccxt has it."""

    tier: int
    symbol: str
    currency: str
    minNotional: float  # noqa: N815
    maxNotional: Number  # noqa: N815
    maintenanceMarginRate: float  # noqa: N815
    maxLeverage: Number  # noqa: N815
    info: dict[str, Any]


class CcxtFundingRate(msgspec.Struct, frozen=True, kw_only=True):
    """A funding rate as ccxt has it."""

    info: dict[str, Any]
    symbol: str
    markPrice: Number  # noqa: N815
    indexPrice: Number  # noqa: N815
    interestRate: Number  # noqa: N815
    estimatedSettlePrice: Number  # noqa: N815
    timestamp: int | None
    datetime: str | None
    fundingRate: Number  # noqa: N815
    fundingTimestamp: int | None  # noqa: N815
    fundingDatetime: str | None  # noqa: N815
    nextFundingRate: Number  # noqa: N815
    nextFundingTimestamp: int | None  # noqa: N815
    nextFundingDatetime: str | None  # noqa: N815
    previousFundingRate: Number  # noqa: N815
    previousFundingTimestamp: int | None  # noqa: N815
    previousFundingDatetime: str | None  # noqa: N815
    interval: str | None


class CcxtMarginMode(msgspec.Struct, frozen=True, kw_only=True):
    """A margin mode as ccxt has it."""

    info: dict[str, Any]
    symbol: str
    marginMode: str  # noqa: N815


Structures = dict[str, Any]
"""A structure with members that depend on the venue: balances by asset, markets."""
