"""perp-dex.jsonl: when an account is deleveraged, at which price, with whom, and what both have afterwards.

The source closes at the bankruptcy price, or at the index in the final settlement of a market; here the latter is a
close at the mark. It refuses a close that leaves either account riskier; here who cannot bear the price is left out
(`overlaps`), and a size that somebody does not hold is never allocated.
"""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from marginkeep.book import Account, Case, read_case
from marginkeep.book.fills import fill_position
from marginkeep.book.health import equity
from marginkeep.liquidation.deleveraging import Winners, allocate, bankruptcy_prices, haircut_per_lot, overlaps

from .reading import MARKET, NEEDS_VECTORS, Near, Vector, cases_of, disagreements, each, flat, text

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = "perp-dex"
QUANTUM: Final = Fraction(1, 10**6)
LOT: Final = Fraction(1, 10**8)
TICK: Final = Fraction(1, 10**5)
BANKRUPT: Final = "bankrupt"


def case_of(vector: Vector, price: str, holders: dict[str, dict[str, Any]]) -> Case:
    """State accounts of net collateral `cash + size * price`, their cash as cost of the position."""
    rate = Fraction(vector.inputs.get("imf", "0.2")) * Fraction(vector.inputs.get("mmf_over_imf", "0.5"))
    market = {"settle": "USD", "lot": text(LOT), "tick": text(TICK), "tiers": flat(rate)}
    rows = [
        {
            "id": name,
            "balances": {},
            "positions": [
                {"market": MARKET, "size": one["positions"][0]["size"], "cost": text(-Fraction(one["cash"]))}
            ],
        }
        for name, one in holders.items()
    ]
    table = {"assets": {"USD": {"decimals": 6}}, "markets": {MARKET: market}, "prices": {MARKET: price}}
    return read_case({"reporting": "USD", **table, "accounts": rows})


def cash_of(account: Account) -> Fraction:
    """Return cash in the source's sense: what is realised, less the cost of what is open."""
    return (sum(account.balances.values()) - sum(one.cost for one in account.positions.values())) * QUANTUM


def as_text(account: dict[str, Any]) -> str:
    """Write an account as one figure, to be compared whole."""
    return json.dumps(account, sort_keys=True)


def with_accounts_as_text(vector: Vector) -> Vector:
    """Return a vector whose figures that are accounts are text."""
    return replace(
        vector, expected={name: as_text(one) if isinstance(one, dict) else one for name, one in vector.expected.items()}
    )


def trigger(vector: Vector) -> dict[str, Any]:
    holder = {"cash": vector.inputs["cash"], "positions": [{"size": vector.inputs["size"]}]}
    case = case_of(vector, vector.inputs["index_price"], {BANKRUPT: holder})
    collateral = equity(case.accounts[BANKRUPT], case.valuation)
    return {"net_collateral": collateral * QUANTUM, "at_bankruptcy": collateral < 0}


def winners_of(case: Case, names: list[str]) -> Winners:
    """Return accounts that hold the one market alone."""
    rows = [case.accounts[name] for name in names]
    ones = np.ones(len(rows), np.int64)
    sizes = np.array([abs(one.positions[0].size) for one in rows], np.int64)
    equities = np.array([equity(one, case.valuation) for one in rows], np.int64)
    return Winners(np.arange(len(rows)), sizes, ones, equities, ones, ones)


def close_with(vector: Vector, case: Case, names: list[str], at_index: bool) -> tuple[int, list[int]]:
    """Return the price in ticks and the lots closed of each candidate."""
    market, loser = case.valuation.tables.markets[0], case.accounts[BANKRUPT]
    mark = case.valuation.marks[0]
    price = mark if at_index else bankruptcy_prices(loser, case.valuation)[0]
    assert price is not None
    winners = winners_of(case, names)
    gap = haircut_per_lot(market, loser.positions[0].size < 0, mark, price)
    lots = min(abs(int(vector.number("delta_to_bankrupt") / LOT)), abs(loser.positions[0].size))
    return price, allocate("queue", winners, lots, overlaps(winners, gap)).tolist()


def fill(vector: Vector) -> dict[str, Any]:
    holders = {name: vector.inputs[name] for name in (BANKRUPT, "counterparty")}
    case = case_of(vector, vector.inputs["index_price"], holders)
    price, (lots,) = close_with(vector, case, ["counterparty"], vector.inputs["price_mode"] == "index")
    accepted = lots == abs(vector.number("delta_to_bankrupt")) / LOT
    answers: dict[str, Any] = {"accepted": accepted, "price": price * TICK}
    if not accepted:
        return {"accepted": False, "reason": "invalid_size"} if lots else answers
    side = 1 if vector.number("delta_to_bankrupt") > 0 else -1
    for name, size in ((BANKRUPT, side * lots), ("counterparty", -side * lots)):
        account = case.accounts[name]
        before = cash_of(account)
        position = account.positions[0]
        account.balances[0] = (
            account.balances.get(0, 0) + fill_position(case.valuation.tables.markets[0], position, size, price).realised
        )
        held = [{"market": "M0", "size": text(position.size * LOT)}] if position.size else []
        answers[f"{name}_after"] = as_text({"cash": text(cash_of(account)), "positions": held})
        if name == BANKRUPT:
            # The source rounds the money of a fill for the bankrupt account, the engine against it, to the unit.
            answers["bankruptcy_quote"] = Near(cash_of(account) - before, QUANTUM)
    return {name: answers[name] for name in vector.expected}


def match(vector: Vector) -> dict[str, Any]:
    candidates = {f"c{number}": one for number, one in enumerate(vector.inputs["candidates"])}
    case = case_of(vector, vector.inputs["prices"]["M0"], {BANKRUPT: vector.inputs["bankrupt"], **candidates})
    _, closed = close_with(vector, case, list(candidates), at_index=False)
    wanted = abs(vector.number("delta_to_bankrupt"))
    sizes = [lots * LOT for lots in closed]
    return {"fill_sizes": sizes, "remaining": wanted - sum(sizes)}


CHECKS: Final[dict[str, Callable[[Vector], dict[str, Any]]]] = {
    "deleverage_trigger": trigger,
    "deleverage_fill": fill,
    "deleverage_match": match,
}

LEFT_OUT: Final[dict[str, str]] = {}
LEFT_OUT_FIGURES: Final[dict[tuple[str, str], str]] = {
    ("deleverage_trigger", "at_index"): "the final settlement of a market that is closed: the engine has none yet",
}

CASES: Final = cases_of(FILE, CHECKS, LEFT_OUT)


@NEEDS_VECTORS
@each(CASES)
def test_the_stated_deleveraging_is_met(vector: Vector) -> None:
    assert disagreements(with_accounts_as_text(vector), CHECKS[vector.family], LEFT_OUT_FIGURES) == []
