"""The decaying mean of a market's own trades over a window, in bounded memory and constant time."""

from __future__ import annotations

from collections import deque
from math import comb
from typing import Any, Final

from marginkeep.units import RATE_ONE

SLOTS: Final = 256
"""Trades closer together than a window's 256th part may share a slot, and with it the time of the slot's first."""


class TradeWindow:
    """Mean of the trades of the last `window_ns`, each of weight `size * (1 - decay * (age / window) ^ power)`.

    The sums over trades are kept as moments in time (sum of size * t^k, sum of size * price * t^k), exact integers, so
    that asking costs the same for one trade as for a million. Formula: Vega's price from trades.

    Parameters
    ----------
    window_ns : 1 or more; a trade of exactly this age still counts
    decay : rate from 0 to `RATE_ONE`; 0 = all trades of the window weigh alike
    power : 0 or more; 0 = no decay
    """

    __slots__ = ("_decay", "_power", "_signed", "_sizes", "_slots", "_span_ns", "_unit", "_values", "_window_ns")

    def __init__(self, window_ns: int, decay: int, power: int) -> None:
        self._window_ns = window_ns
        self._span_ns = max(1, window_ns // SLOTS)
        self._decay = decay if power else 0
        self._power = power if decay else 0
        self._unit: int = RATE_ONE * window_ns**self._power
        self._signed = tuple((-1) ** k * comb(self._power, k) for k in range(self._power + 1))
        self._slots: deque[list[int]] = deque()
        self._forget()

    def observe(self, price: int, size: int, at_ns: int) -> None:
        """Add a trade; the caller keeps them in order of time.

        Parameters
        ----------
        price, size : ticks and lots, both positive
        """
        slots = self._slots
        if not slots or slots[-1][0] // self._span_ns != at_ns // self._span_ns:
            self._expire(at_ns)
            slots.append([at_ns, 0, 0])
        slot = slots[-1]
        slot[1] += size
        slot[2] += size * price
        self._add(slot[0], size, size * price)

    def value(self, now_ns: int) -> int | None:
        """Return the mean price in ticks, rounded down; None when no trade of the window has any weight.

        A `now_ns` before the newest trade counts as that trade's time.
        """
        self._expire(now_ns)
        if self._slots:
            now_ns = max(now_ns, self._slots[-1][0])
        total = self._weigh(self._sizes, now_ns)
        if total <= 0:
            return None
        return self._weigh(self._values, now_ns) // total

    def next_exit_ns(self) -> int:
        """Return when the oldest trade leaves the window, 0 when there is none."""
        return self._slots[0][0] + self._window_ns + (self._decay < RATE_ONE) if self._slots else 0

    def drifts(self) -> bool:
        """Tell whether the mean may move while no trade leaves: two trades of different age, and a decay."""
        return self._decay > 0 and len(self._slots) > 1

    def save(self) -> list[Any]:
        """Return the state for a snapshot."""
        return [list(slot) for slot in self._slots]

    def restore(self, saved: list[Any]) -> None:
        """Take over a saved state."""
        self._slots = deque(list(slot) for slot in saved)
        self._forget()
        for slot in self._slots:
            self._add(*slot)

    def _forget(self) -> None:
        self._sizes = [0] * (self._power + 1)
        self._values = [0] * (self._power + 1)

    def _add(self, at_ns: int, size: int, value: int) -> None:
        for k in range(self._power + 1):
            self._sizes[k] += size
            self._values[k] += value
            size, value = size * at_ns, value * at_ns

    def _expire(self, now_ns: int) -> None:
        slots, oldest = self._slots, now_ns - self._window_ns
        while slots and slots[0][0] < oldest:
            at_ns, size, value = slots.popleft()
            self._add(at_ns, -size, -value)

    def _weigh(self, moments: list[int], now_ns: int) -> int:
        """Return the sum of moment * weight: `unit * m0 - decay * sum of m * (now - t)^power`, by the binomials."""
        weighed = self._unit * moments[0]
        if self._decay:
            aged = 0
            for signed, moment in zip(self._signed, moments, strict=True):
                aged = aged * now_ns + signed * moment
            weighed -= self._decay * aged
        return weighed
