"""Weighted token buckets in integers: what a key may spend on each kind of call, what an address may fail.

Buckets are apart: deposits, added margin and cancels (``safety``) never wait because new risk (``risk``) has used its
share up.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Literal

import msgspec

Bucket = Literal["read", "risk", "safety", "oracle", "admin", "public", "failures"]

BUCKETS_MAX: Final = 65_536
"""Buckets remembered; the one used longest ago is forgotten first, and is full again when it comes back."""

SECOND_NS: Final = 10**9


class Spent(msgspec.Struct, frozen=True, gc=False):
    """What a bucket says to a request.

    Attributes
    ----------
    granted : the request may go on
    limit, remaining : weight that a full bucket holds, and what is left
    reset_seconds : until it is full again
    retry_seconds : until this weight would be granted; 0 = it was
    """

    granted: bool
    limit: int
    remaining: int
    reset_seconds: int
    retry_seconds: int = 0

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the response's headers."""
        stated = [
            (b"ratelimit-limit", self.limit),
            (b"ratelimit-remaining", self.remaining),
            (b"ratelimit-reset", self.reset_seconds),
        ]
        if not self.granted:
            stated.append((b"retry-after", self.retry_seconds))
        return [(name, str(number).encode()) for name, number in stated]


class RateLimits:
    """Buckets by who spends and on what.

    Parameters
    ----------
    rate : weight a second that flows into each bucket
    burst : weight that a full one holds
    """

    def __init__(self, rate: int, burst: int, buckets_max: int = BUCKETS_MAX) -> None:
        self.rate, self.burst = rate, burst
        self._full = burst * SECOND_NS
        self._buckets_max = buckets_max
        self._buckets: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()
        """Level in weight times 10^-9, and when it was that."""

    def __len__(self) -> int:
        return len(self._buckets)

    def spend(self, who: str, bucket: str, weight: int, now_ns: int) -> Spent:
        """Take a weight out of a bucket, or nothing where it does not hold it.

        A weight above the burst counts as the burst: such a request waits for a full bucket, not for ever.
        """
        level = self._level(who, bucket, now_ns)
        asked = min(max(weight, 0), self.burst) * SECOND_NS
        granted = asked <= level
        left = level - asked if granted else level
        self._keep(who, bucket, left, now_ns)
        retry = 0 if granted else self._seconds(asked - level)
        return Spent(granted, self.burst, left // SECOND_NS, self._seconds(self._full - left), retry)

    def look(self, who: str, bucket: str, now_ns: int) -> int:
        """Return the weight that a bucket holds, and take none."""
        return self._level(who, bucket, now_ns) // SECOND_NS

    def _level(self, who: str, bucket: str, now_ns: int) -> int:
        level, at_ns = self._buckets.get((who, bucket), (self._full, now_ns))
        return min(self._full, level + max(now_ns - at_ns, 0) * self.rate)

    def _keep(self, who: str, bucket: str, level: int, now_ns: int) -> None:
        self._buckets[who, bucket] = (level, now_ns)
        self._buckets.move_to_end((who, bucket))
        if len(self._buckets) > self._buckets_max:
            self._buckets.popitem(last=False)

    def _seconds(self, amount: int) -> int:
        """Return in how many whole seconds an amount flows in, rounded up."""
        return -(-amount // (self.rate * SECOND_NS))
