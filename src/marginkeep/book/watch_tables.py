"""The rules as the watch's kernels read them, and which of its variables a change of rules concerns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from marginkeep.book import kernels as k
from marginkeep.book.limits import prove_limits
from marginkeep.rulebook.model import CALL, MAINTENANCE

if TYPE_CHECKING:
    from marginkeep.book.valuation import Valuation
    from marginkeep.rulebook import MarketTable


def watch_tables(valuation: Valuation) -> tuple[Any, Any]:
    """Return (levels, terms) of the current rules and prices.

    Returns
    -------
    levels : (markets, tiers, assets) at call and at maintenance, see `kernels.LevelColumns`
    terms : (payoffs, coins, reporting): int64[markets, 6], int64[assets, 4] and the reporting asset, see `watch_budget`
    """
    tables = valuation.tables
    limits = prove_limits(tables)
    rows = [
        (m.numerator, m.denominator, bound.min_price, bound.max_price, _jumps(m), _is_steep(m))
        for m, bound in zip(tables.markets, limits.markets, strict=True)
    ]
    coins = [
        (a.numerator, a.denominator, 1, bound.max_price) for a, bound in zip(tables.assets, limits.assets, strict=True)
    ]
    levels = tuple(tuple(k.level_columns(valuation, level)) for level in (CALL, MAINTENANCE))
    return levels, (np.array(rows, np.int64).reshape(-1, 6), np.array(coins, np.int64), tables.reporting)


def changed_variables(old_levels: Any, old_terms: Any, new_levels: Any, new_terms: Any) -> list[int] | None:
    """Return the markets and assets whose rules differ; None when everybody is concerned or the lists no longer fit."""
    old_payoffs, old_coins, reporting = old_terms
    payoffs, coins, _ = new_terms
    if old_payoffs.shape != payoffs.shape or old_coins.shape != coins.shape:
        return None
    if not np.array_equal(old_payoffs[:, 2:4], payoffs[:, 2:4]) or not np.array_equal(old_coins, coins):
        return None
    touched = set(np.nonzero((old_payoffs != payoffs).any(axis=1))[0].tolist())
    for (old_markets, old_tiers, old_assets), (markets, tiers, assets) in zip(old_levels, new_levels, strict=True):
        weights = np.nonzero((old_assets[:, 2:] != assets[:, 2:]).any(axis=1))[0].tolist()
        if reporting in weights:
            return None
        touched |= {len(payoffs) + asset for asset in weights}
        for market in range(len(payoffs)):
            old_rows = old_tiers[old_markets[market, k.FIRST_TIER] : old_markets[market, k.LAST_TIER] + 1]
            rows = tiers[markets[market, k.FIRST_TIER] : markets[market, k.LAST_TIER] + 1]
            same = old_markets[market, k.PROFIT_WEIGHT] == markets[market, k.PROFIT_WEIGHT]
            if not same or not np.array_equal(old_rows, rows):
                touched.add(market)
    return sorted(touched)


def _jumps(market: MarketTable) -> bool:
    return market.market.tier_kind == "whole_position" and not market.by_size and len(market.tiers[CALL]) > 1


def _is_steep(market: MarketTable) -> bool:
    """Tell whether a rate reaches what profit counts for, so that a position can lose by a move in its favour."""
    return any(row[2] >= market.profit_weight[level] for level in (CALL, MAINTENANCE) for row in market.tiers[level])
