"""When a price is worth publishing: a move, a silence that has lasted too long, or a change of confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marginkeep.errors import InputError
from marginkeep.units import RATE_ONE, rate_floor


@dataclass(frozen=True, slots=True)
class UpdatePolicy:
    """Which of the prices offered are published; the first always is.

    Attributes
    ----------
    deviation : published when further than this share from the published price; 0 = at every change. Rate, 0 to 1
    heartbeat_ns : published when the last publication is at least this old; 0 = every price
    confidence : published when the confidence crosses this share of the price, either way; 0 = not looked at

    Raises
    ------
    InputError : a number outside these bounds
    """

    deviation: int
    heartbeat_ns: int
    confidence: int = 0

    def __post_init__(self) -> None:
        for name in ("deviation", "confidence"):
            rate = getattr(self, name)
            if not 0 <= rate <= RATE_ONE:
                raise InputError(f"{name} is {rate} parts per 10^9: give 0 to {RATE_ONE}, which is 100 %")
        if self.heartbeat_ns < 0:
            raise InputError(f"heartbeat_ns is {self.heartbeat_ns}: give 0, for every price, or more nanoseconds")


class Publisher:
    """Decides for one price, offer by offer, and knows what is published.

    Attributes
    ----------
    published, published_ns : last price published, ticks, and when; None before the first
    count : how many publications
    """

    __slots__ = ("_uncertain", "count", "policy", "published", "published_ns")

    def __init__(self, policy: UpdatePolicy) -> None:
        self.policy = policy
        self.published: int | None = None
        self.published_ns: int | None = None
        self.count = 0
        self._uncertain = False

    def offer(self, price: int, now_ns: int, confidence: int = 0) -> bool:
        """Publish the price if the policy asks for it; tell whether it was.

        Parameters
        ----------
        price : ticks, at least 1
        now_ns : a time before the last publication counts as that moment, so `published_ns` never goes back
        confidence : half-width of the price's confidence interval, ticks; the sign does not matter

        Raises
        ------
        InputError : a price below one tick
        """
        if price < 1:
            raise InputError(f"price is {price} ticks: a price that can be published has at least 1")
        uncertain = self._is_uncertain(price, confidence)
        if not self._is_due(price, now_ns, uncertain):
            return False
        self.published = price
        self.published_ns = now_ns if self.published_ns is None else max(now_ns, self.published_ns)
        self._uncertain = uncertain
        self.count += 1
        return True

    def _is_uncertain(self, price: int, confidence: int) -> bool:
        share = self.policy.confidence
        return share > 0 and abs(confidence) > rate_floor(price, share)

    def _is_due(self, price: int, now_ns: int, uncertain: bool) -> bool:
        if self.published is None or self.published_ns is None:
            return True
        # A whole number exceeds a fraction exactly when it exceeds the fraction rounded down.
        moved = abs(price - self.published) > rate_floor(self.published, self.policy.deviation)
        silent = max(0, now_ns - self.published_ns) >= self.policy.heartbeat_ns
        return moved or silent or uncertain != self._uncertain

    def save(self) -> list[Any]:
        """Return the state as plain values; the policy is not in it."""
        return [self.published, self.published_ns, self.count, int(self._uncertain)]

    def restore(self, saved: list[Any]) -> None:
        """Take the state that `save` has returned."""
        self.published, self.published_ns, self.count = saved[:3]
        self._uncertain = bool(saved[3])
