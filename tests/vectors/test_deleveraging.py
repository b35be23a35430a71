"""lending-liquidation.jsonl: deleveraging: what is needed and taken, who bears it under a queue and pro rata.

Sizes are stated in lots, money in units of 10^-9 where prices make it, and in profit space, where what is shared is
profit itself, a lot is 10^-15 of a unit of profit: shares that have no decimal end are then within one such lot.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from marginkeep.book import read_case
from marginkeep.liquidation.deleveraging import Deleveraged, Winners, allocate, audit, haircut_per_lot
from marginkeep.liquidation.deleveraging_filling import water_fill
from marginkeep.liquidation.deleveraging_policies import hyperliquid_index

from .reading import NEEDS_VECTORS, PRINTED, Near, Vector, cases_of, disagreements, each, flat, one_position

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from marginkeep.rulebook import MarketTable

FILE: Final = "lending-liquidation"
SHARE: Final = Fraction(1, 10**15)
"""A lot of profit space; the sums stay below 2^62."""

MONEY: Final = 10**9
TICKS: Final = 100


def market_of(price: Fraction) -> MarketTable:
    """Return a linear market with a tick of 0.01 and lots of one."""
    case = read_case(one_position(flat("0.1"), Fraction(1), price, lot="1", tick="0.01"))
    return case.valuation.tables.markets[0]


def haircut(mark: Fraction, price: Fraction, is_long: bool) -> Fraction:
    """Return what a winner gives up for one contract, in units of the settle asset."""
    ticks = [int(value * TICKS) for value in (mark, price)]
    return haircut_per_lot(market_of(mark), is_long, *ticks) / MONEY


def execution_cost(vector: Vector) -> dict[str, Any]:
    """Split the haircut against a later mark into the part of the execution and that of the waiting."""
    size = vector.number("Q")
    executed, first, last = (vector.number(name) for name in ("p_exec", "mark0", "mark_horizon"))
    gaps = (haircut(mark, price, size > 0) for mark, price in ((first, executed), (last, first), (last, executed)))
    return dict(zip(("c_imm", "c_opp", "c_tot"), (abs(size) * gap for gap in gaps), strict=True))


def one_wave(vector: Vector) -> dict[str, Any]:
    """Audit a bankrupt long: winners are short, and buy at the bankruptcy price above the market."""
    bankruptcy, market, estimate = (vector.number(name) for name in ("p_bk", "p_exec", "p_exec_estimate"))
    needed, taken = (haircut(mark, bankruptcy, is_long=False) for mark in (market, estimate))
    lots = int(vector.number("q"))
    figures = audit([Deleveraged(lots, np.array([0]), np.array([lots]), needed, taken, market)])
    return {
        "needed": Fraction(figures.needed),
        "needed_estimate": Fraction(figures.taken),
        "under_coverage": Fraction(figures.under),
    }


def contracts_queue(vector: Vector) -> dict[str, Any]:
    """Close the top account for its size; what it loses is its part of the contracts, not its equity."""
    lots, own = int(vector.number("bad_short_eth")), int(vector.number("top_long_eth"))
    equity = int(vector.number("top_long_equity_usd"))
    space = winners_of([own, lots], [2, 1], equity)
    closed = allocate("queue", space, lots)
    a_lot = vector.number("deficit_usd") / lots
    figures = audit([Deleveraged(lots, space.accounts, closed, a_lot, a_lot, Fraction(1))])
    return {
        "top_account_loss_usd": Fraction(int(figures.haircuts[0])),
        "remaining_loss_usd": Fraction(figures.needed - int(figures.haircuts[0])),
    }


def winners_of(sizes: Sequence[int], profits: Sequence[int], equity: int = 1) -> Winners:
    """Return winners who differ in size and profit alone."""
    columns = [np.array(column, np.int64) for column in (sizes, profits)]
    same = np.full(len(sizes), equity, np.int64)
    return Winners(np.arange(len(sizes)), *columns, same, same, np.zeros(len(sizes), np.int64))


def in_shares(values: Sequence[str], factors: Sequence[str] | None = None) -> list[int]:
    """Return amounts, or parts of them, in lots of profit space."""
    parts = factors or ["1"] * len(values)
    exact = [Fraction(value) * Fraction(part) / SHARE for value, part in zip(values, parts, strict=True)]
    assert all(one.denominator == 1 for one in exact)
    return [int(one) for one in exact]


def capped_pro_rata(vector: Vector) -> dict[str, Any]:
    """Fill in profit space: weights are profits, caps the part of each that may be taken."""
    profits, caps = vector.inputs["profits"], vector.inputs["caps"]
    weights, most = (np.array(column, np.int64) for column in (in_shares(profits), in_shares(profits, caps)))
    (budget,) = in_shares([vector.inputs["budget"]])
    taken = [int(lots) * SHARE for lots in water_fill(weights, most, budget)]
    assert sum(taken) == vector.number("budget")
    fractions = [lots / Fraction(profit) for lots, profit in zip(taken, profits, strict=True)]
    level = max(fractions)
    return {
        "level": Near(level, SHARE),
        "haircut_fraction": [Near(fraction, SHARE) for fraction in fractions],
        "haircut_usd": [Near(amount, SHARE) for amount in taken],
    }


def queue_and_pro_rata(vector: Vector) -> dict[str, Any]:
    """Share a budget in profit space; the gap of the top winner is that of the identity too."""
    profits = in_shares(vector.inputs["profits"])
    (budget,) = in_shares([vector.inputs["budget"]])
    space = winners_of(profits, profits)
    queue, pro_rata = ([int(lots) * SHARE for lots in allocate(policy, space, budget)] for policy in POLICIES)
    gap = vector.number("budget") * (1 - Fraction(profits[0], sum(profits)))
    assert abs(queue[0] - pro_rata[0] - gap) <= SHARE
    return {
        "queue_usd": queue,
        "prorata_usd": [Near(share, SHARE) for share in pro_rata],
        "top_winner_gap": Near(queue[0] - pro_rata[0], SHARE),
    }


POLICIES: Final = ("queue", "pro_rata")


def queue_index(vector: Vector) -> dict[str, Any]:
    mark, entry, notional, equity = (
        int(vector.inputs[name]) for name in ("mark", "entry", "notional", "account_value")
    )
    return {
        "index_as_printed": Near(hyperliquid_index(mark, entry, notional, equity), PRINTED),
        "index_profit_oriented_short": Near(hyperliquid_index(entry, mark, notional, equity), PRINTED),
    }


BY_INPUT: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {
    "mark_horizon": execution_cost,
    "p_bk": one_wave,
    "bad_short_eth": contracts_queue,
    "caps": capped_pro_rata,
    "profits": queue_and_pro_rata,
    "account_value": queue_index,
}
"""The cases of the family state different things; each is told by an input that only it has, the first that fits."""


def deleveraging(vector: Vector) -> dict[str, Any]:
    return next(check for name, check in BY_INPUT.items() if name in vector.inputs)(vector)


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {"adl": deleveraging}

LEFT_OUT: Final[dict[str, str]] = {}
LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_deleveraging_is_met(vector: Vector) -> None:
    assert disagreements(vector, CHECKS[vector.family], LEFT_OUT_FIGURES) == []
