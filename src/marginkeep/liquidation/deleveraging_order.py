"""Rows by exact ratio: what NumPy can tell apart by integer logarithms, and exact fractions for what is close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BITS: Final = 31
"""Bits of a mantissa: the product of two fits int64."""

_CLOSE: Final = 64
"""Keys that differ by more are certainly in order.

A mantissa loses less than 2^-30 of its value, a product of two less than 2^-28, a quotient of two products less than
2^-27; one step of a key is at least 2^-31. So a key is off by less than 16 steps, and two keys by less than 32.
"""

_POWERS: Final = np.array([1 << bit for bit in range(63)], np.int64)
_LOWEST: Final = -(1 << 62)
"""The key of a ratio of 0, far below all others."""

_SHIFT: Final = 256
"""Two different ratios of products below 2^126 differ by more than 2^-252."""


def falling(numerators: Sequence[NDArray[np.int64]], denominators: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return rows by the exact ratio of a product to a product, the largest first; equal ratios in row order.

    Parameters
    ----------
    numerators : one or two int64[n], from 0 to 2^62
    denominators : one or two int64[n], from 1 to 2^62

    Returns
    -------
    int64[n], a permutation; O(n log n), and only rows whose ratios agree to about 2^-25 are compared one by one
    """
    keys = _keys(numerators, denominators)
    order = np.argsort(-keys)
    for start, end in _runs(keys[order]):
        order[start:end] = _sorted_exactly(np.sort(order[start:end]), numerators, denominators)
    return order


def _sorted_exactly(
    rows: NDArray[np.int64], numerators: Sequence[NDArray[np.int64]], denominators: Sequence[NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Return rising rows by their exact ratios, the largest first."""
    above, below = ([column[rows] for column in columns] for columns in (numerators, denominators))
    if all((column == column[0]).all() for column in (*above, *below)) or not above[0].any():
        return rows
    ratios = [(over << _SHIFT) // under for over, under in zip(_exact(above), _exact(below), strict=True)]
    return rows[sorted(range(len(ratios)), key=ratios.__getitem__, reverse=True)]


def _exact(columns: Sequence[NDArray[np.int64]]) -> list[int]:
    first: list[int] = columns[0].tolist()
    if len(columns) == 1:
        return first
    return [one * other for one, other in zip(first, columns[1].tolist(), strict=True)]


def _keys(numerators: Sequence[NDArray[np.int64]], denominators: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return a key for each row that rises with the ratio, exact to `_CLOSE`; a ratio of 0 has the lowest of all."""
    above, above_bits = _product(numerators)
    below, below_bits = _product(denominators)
    mantissa, bits = _normalised((above << _BITS) // below)
    key = (above_bits - below_bits + bits) * (1 << (_BITS - 1)) + mantissa - (1 << (_BITS - 1))
    return np.where(above == 0, np.int64(_LOWEST), key)


def _product(columns: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the product of one or two columns as (mantissa of 29 to 31 bits, bits left out); 0 stays 0."""
    mantissa, bits = _normalised(columns[0])
    if len(columns) == 1:
        return mantissa, bits
    other, other_bits = _normalised(columns[1])
    return (mantissa * other) >> _BITS, bits + other_bits + _BITS


def _normalised(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (mantissa of exactly 31 bits, exponent), rounded down; 0 gives 0."""
    shift = _bit_lengths(values) - _BITS
    return (values >> np.maximum(shift, 0)) << np.maximum(-shift, 0), shift


def _bit_lengths(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.searchsorted(_POWERS, values, side="right")


def _runs(keys: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the stretches of falling keys that are too close to trust."""
    close = keys[:-1] - keys[1:] <= _CLOSE
    edges = np.flatnonzero(np.diff(np.concatenate(([False], close, [False])).astype(np.int8)))
    return [(int(start), int(end) + 1) for start, end in edges.reshape(-1, 2)]
