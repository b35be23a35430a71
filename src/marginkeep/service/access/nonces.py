"""Nonces that have been used, remembered for as long as a request that carries one could still be accepted."""

from __future__ import annotations

from collections import deque
from typing import Final

NONCES_MAX: Final = 1_048_576
NONCES_PER_KEY_MAX: Final = 262_144
"""Nonces remembered in all, and of one key; beyond, its requests are refused: forgetting one would let it in again."""

AHEAD_MAX_NS: Final = 10**9
"""How far a caller's clock may be ahead of ours."""


class NonceCache:
    """Which nonces each key has used.

    Requests state windows of different lengths; each nonce is kept for the longest, in order of arrival.

    Parameters
    ----------
    window_max_ns : the longest window a request may ask for
    """

    def __init__(self, window_max_ns: int, total_max: int = NONCES_MAX, per_key_max: int = NONCES_PER_KEY_MAX) -> None:
        self._kept_ns = window_max_ns + AHEAD_MAX_NS
        self._total_max, self._per_key_max = total_max, per_key_max
        self._used: dict[str, set[str]] = {}
        self._order: deque[tuple[int, str, str]] = deque()

    def __len__(self) -> int:
        return len(self._order)

    def seen(self, key: str, nonce: str) -> bool:
        """Tell whether a key has used a nonce."""
        return nonce in self._used.get(key, ())

    def has_room(self, key: str, now_ns: int) -> bool:
        """Tell whether another nonce of a key can be remembered."""
        self._forget(now_ns)
        return len(self._order) < self._total_max and len(self._used.get(key, ())) < self._per_key_max

    def add(self, key: str, nonce: str, now_ns: int) -> None:
        """Remember a nonce of a request whose signature holds, so that strangers cannot fill the memory.

        It is kept from its arrival rather than from its timestamp: longer than needed, and in order of arrival.
        """
        self._used.setdefault(key, set()).add(nonce)
        self._order.append((now_ns + self._kept_ns, key, nonce))

    def _forget(self, now_ns: int) -> None:
        while self._order and self._order[0][0] < now_ns:
            _, key, nonce = self._order.popleft()
            used = self._used[key]
            used.discard(nonce)
            if not used:
                del self._used[key]
