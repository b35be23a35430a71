"""Loading vectors, stating them as case files, and comparing figures: the tests beside this file do nothing else.

Numbers become `Fraction` on the way in, and exact decimal text on the way into a case. A figure must be met exactly
unless the vector states a tolerance or the check says `Near`, with the reason beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from marginkeep.book import read_case, state_account
from marginkeep.units import decimals_of, format_exact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from marginkeep.book import AccountStatement, PositionStatement

VECTORS = Path(__file__).resolve().parents[2] / ".." / "shared" / "vectors"
NEEDS_VECTORS = pytest.mark.skipif(not VECTORS.is_dir(), reason=f"no vectors: {VECTORS} is absent")

RATE_STEP = Fraction(1, 10**9)
"""The engine's rate unit; a rate such as 1/3 is stated rounded up to it."""

UNIT = Fraction(1, 10**9)
"""The smallest unit of the settle asset in every case here, unless it says otherwise."""

PRINTED = Fraction(1, 10**18)
"""The last decimal in which a price or a ratio is written."""

MARKET, ACCOUNT, SETTLE, HELD = "M", "a", "SETTLE", "HELD"


@dataclass(frozen=True, slots=True)
class Vector:
    """One line of a vector file."""

    id: str
    family: str
    inputs: dict[str, Any]
    expected: dict[str, Any]
    tolerance: str
    is_relative: bool

    def number(self, name: str, default: str | None = None) -> Fraction:
        """Return an input as an exact number; a missing or null one as the default."""
        value = self.inputs.get(name)
        return Fraction(default if value is None and default is not None else str(value))

    @property
    def sign(self) -> int:
        """Return +1 for a long, -1 for a short."""
        return {"long": 1, "short": -1}[self.inputs["side"]]


class Near(NamedTuple):
    """A figure that may differ from the stated one by `within`."""

    value: Fraction
    within: Fraction


@cache
def vectors_of(file: str) -> tuple[Vector, ...]:
    """Return a file's vectors, none where the file is absent."""
    path = VECTORS / f"{file}.jsonl"
    if not path.is_file():
        return ()
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return tuple(_read(row) for row in rows if row["id"] != "meta")


def _read(row: dict[str, Any]) -> Vector:
    expected = dict(row["expected"])
    relative = expected.pop("rel_tolerance", None)
    tolerance = relative or row.get("tolerance", "0")
    is_relative = relative is not None or "relative tolerance" in row["note"]
    return Vector(row["id"], row["family"], row["inputs"], expected, tolerance, is_relative)


def cases_of(file: str, checks: Mapping[str, Any], left_out: Mapping[str, str]) -> tuple[Vector, ...]:
    """Return every case of the checked families that is not left out."""
    return tuple(vector for vector in vectors_of(file) if vector.family in checks and vector.id not in left_out)


def each(cases: tuple[Vector, ...]) -> pytest.MarkDecorator:
    """Return the parametrisation that runs a test once for each case."""
    return pytest.mark.parametrize("vector", cases, ids=[f"{vector.family}:{vector.id}" for vector in cases])


def disagreements(
    vector: Vector,
    check: Callable[[Vector], Mapping[str, Any]],
    left_out: Iterable[tuple[str, str]] = (),
) -> list[str]:
    """Return what a check's answers miss: figures not answered, figures not stated, and figures that differ."""
    answers = check(vector)
    wanted = {name for name in vector.expected if (vector.family, name) not in set(left_out)}
    wrong = [f"{name}: only on one side" for name in sorted(wanted ^ set(answers))]
    return wrong + [
        f"{name}: stated {vector.expected[name]}, got {answers[name]}"
        for name in sorted(wanted & set(answers))
        if not _agrees(vector, vector.expected[name], answers[name])
    ]


def _agrees(vector: Vector, expected: Any, got: Any) -> bool:
    if isinstance(expected, list):
        pairs = zip(expected, got, strict=False)
        return len(expected) == len(got) and all(_agrees(vector, one, other) for one, other in pairs)
    if got is None or isinstance(got, (bool, str)):
        return bool(expected == got)
    value, within = got if isinstance(got, Near) else (got, Fraction(0))
    exact = Fraction(expected)
    stated = Fraction(vector.tolerance) * (abs(exact) if vector.is_relative else 1)
    return bool(abs(value - exact) <= max(within, stated))


def half_of_last_digit(printed: str) -> Fraction:
    """Return half of the last digit's worth, for a figure that a source printed rounded."""
    return Fraction(1, 2 * 10 ** len(printed.partition(".")[2]))


def text(value: Fraction | int | str) -> str:
    """Write a number as exact decimal text; refuse one that has none."""
    exact = Fraction(value)
    return format_exact(exact, decimals_of(exact))


def rate_up(rate: Fraction) -> Fraction:
    """Round a rate up to the engine's rate unit."""
    return -(-rate // RATE_STEP) * RATE_STEP


def one_step(notional: Fraction, rate: Fraction) -> Fraction:
    """Return what rounding a rate up, and then the requirement, can add; a unit where the rate is exact."""
    return notional * (rate_up(rate) - rate) + UNIT


def whole(leverage: Fraction) -> int:
    """Return a factor on the size that makes `value / leverage` a decimal; rules linear in size allow it."""
    return leverage.numerator


def flat(rate: Fraction | str, initial: Fraction | str | None = None) -> list[dict[str, str]]:
    """Return a table of one tier; initial equals maintenance where it does not matter."""
    return [{"floor": "0", "initial": text(rate if initial is None else initial), "maintenance": text(rate)}]


def less_amount(rate: Fraction, amount: Fraction) -> list[dict[str, str]]:
    """Return a marginal table whose upper tier requires `value * rate - amount`, a venue's maintenance amount.

    The lower tier starts at 0 and ends at `amount / step`, its rate `step` lower; the step is the whole rate, or the
    largest 1, 2 or 5 times a power of ten below it, so that the floor is a decimal.
    """
    if amount == 0:
        return flat(rate)
    steps = [rate, *(Fraction(digit, 10**power) for power in range(1, 10) for digit in (5, 2, 1))]
    step = next(step for step in steps if step <= rate and _is_decimal(amount / step))
    return [
        {"floor": "0", "initial": text(rate - step), "maintenance": text(rate - step)},
        {"floor": text(amount / step), "initial": text(rate), "maintenance": text(rate)},
    ]


def _is_decimal(value: Fraction) -> bool:
    denominator = value.denominator
    for factor in (2, 5):
        while denominator % factor == 0:
            denominator //= factor
    return denominator == 1


def one_position(
    tiers: list[dict[str, str]],
    size: Fraction,
    mark: Fraction,
    margin: Fraction = Fraction(0),
    held: Fraction = Fraction(0),
    entry: Fraction | None = None,
    cost: Fraction | None = None,
    decimals: int = 9,
    **terms: str,
) -> dict[str, Any]:
    """Return a case file with one isolated account that holds one position.

    Parameters
    ----------
    size, mark : in contracts, negative when short; the price at which all is measured
    margin : balance of the settle asset
    held : further collateral that counts in equity but not at maintenance (an asset of weight 0). It states a
        maintenance margin fixed when the position was opened, which venues quote for isolated positions: with
        maintenance rate 0, the liquidation price is where what is left of the margin equals `held`
    entry, cost : the average price, or the cost itself; entry at mark when neither is given
    terms : further fields of the market
    """
    position = {"market": MARKET, "size": text(size)}
    if cost is None:
        position["entry"] = text(mark if entry is None else entry)
    else:
        position["cost"] = text(cost)
    balances = {SETTLE: text(margin)}
    account = {"id": ACCOUNT, "mode": "isolated", "balances": balances, "positions": [position]}
    case: dict[str, Any] = {
        "reporting": SETTLE,
        "assets": {SETTLE: {"decimals": decimals}},
        "markets": {MARKET: {"settle": SETTLE, "tiers": tiers, **terms}},
        "prices": {MARKET: text(mark)},
        "accounts": [account],
    }
    if held:
        case["assets"][HELD] = {"decimals": decimals, "price": "1", "weight": "0"}
        balances[HELD] = text(held)
    return case


def state(case: dict[str, Any]) -> dict[str, AccountStatement]:
    """Evaluate a case as `marginkeep health CASE --json` does."""
    read = read_case(case)
    return {name: state_account(name, account, read.valuation) for name, account in read.accounts.items()}


def state_one(case: dict[str, Any]) -> tuple[AccountStatement, PositionStatement]:
    """Evaluate a case of one account with one position."""
    account = state(case)[ACCOUNT]
    return account, account.positions[0]


def price_of(written: str | None) -> Fraction | None:
    """Read a price that may not exist."""
    return None if written is None else Fraction(written)


def to_tick(price: Fraction, tick: Fraction, up: bool) -> Fraction:
    """Round a price to a venue's tick; the product states the exact root."""
    return -(-price // tick) * tick if up else price // tick * tick
