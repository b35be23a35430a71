"""Made-up prices: a random walk that is drawn back, and now and then a small crash that is made good again."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from math import exp
from random import Random
from typing import Final

BETA: Final = {"BTC": 1.0, "ETH": 1.8, "SOL": 2.7}
"""How much further than the first a crash takes each."""

FIRST_FALL: Final = 0.028
"""Enough to call "you", too little to liquidate."""

STEPS_A_SECOND: Final = 4
_FIRST_WAIT: Final = 6 * STEPS_A_SECOND
_FALLING: Final = 3 * STEPS_A_SECOND
_LYING: Final = 8 * STEPS_A_SECOND
_RISING: Final = 16 * STEPS_A_SECOND
_WAITS: Final = (8 * STEPS_A_SECOND, 20 * STEPS_A_SECOND)
_DEPTHS: Final = (0.058, 0.026, 0.04, 0.065, 0.03)
"""How deep the later crashes are, in turn; auctions and losses need the deeper ones."""

_DEPTH_SPREAD: Final = 0.05
_NOISE: Final = 0.0003
_DRAW: Final = 0.03
_QUOTE_NOISE: Final = 0.0001


class PriceWalk:
    """Prices of a few assets, one step after another; the same seed gives the same prices.

    Parameters
    ----------
    start : asset -> the price that it is drawn back to
    """

    def __init__(self, start: Mapping[str, float], random: Random) -> None:
        self._start, self._random = dict(start), random
        self._drift = dict.fromkeys(start, 0.0)
        self._step, self._begins, self._depth = 0, _FIRST_WAIT, FIRST_FALL
        self._depths = cycle(_DEPTHS)

    def step(self) -> dict[str, float]:
        """Return the next prices."""
        fallen = self._fallen()
        prices = {}
        for asset, start in self._start.items():
            drift = self._drift[asset]
            drift += self._random.gauss(0, _NOISE) - _DRAW * drift
            self._drift[asset] = drift
            prices[asset] = start * exp(drift) * (1 - fallen * BETA[asset])
        self._step += 1
        return prices

    def quoted(self, price: float) -> float:
        """Return a price as one source sees it."""
        return price * (1 + self._random.gauss(0, _QUOTE_NOISE))

    def _fallen(self) -> float:
        """Return how far the present crash has come; when it is over, choose the next."""
        since = self._step - self._begins
        if since < 0:
            return 0.0
        if since < _FALLING:
            return self._depth * since / _FALLING
        if since < _FALLING + _LYING:
            return self._depth
        left = _FALLING + _LYING + _RISING - since
        if left > 0:
            return self._depth * left / _RISING
        self._begins = self._step + self._random.randint(*_WAITS)
        self._depth = next(self._depths) * self._random.uniform(1 - _DEPTH_SPREAD, 1 + _DEPTH_SPREAD)
        return 0.0
