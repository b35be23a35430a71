"""The four rulebooks of a ladder study, as TOML: one base for the file's markets, and what each adds to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from marginkeep.lab.example_rules import TIERS, example_rules_text, price_ranges, toml_key
from marginkeep.rulebook.durations import parse_duration
from marginkeep.rulebook.grid import exact_text
from marginkeep.rulebook.ladder_calls import largest_move
from marginkeep.units import RATE_ONE, ceil_div, format_units, rate_ceil, rate_floor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from marginkeep.lab.candles import Candles
    from marginkeep.rulebook import Rulebook

DEADLINE: Final = "5m"
VOLATILITY: Final = 2 * RATE_ONE
PROBABILITY: Final = RATE_ONE * 99 // 100
"""Margin calls: how long they run, and what the price may do meanwhile; see `marginkeep.rulebook.ladder_calls`."""

CLOSING_COST: Final = RATE_ONE * 8 // 1000
"""At least what a forced close may cost: slippage and penalty of the example, and the impact of `IMPACT_LINES`."""

LEAST_MAINTENANCE: Final = RATE_ONE // 100
"""Lower maintenance rates of the example are raised to this: they would not pay for closing with impact."""

TARGET_OF_CALL: Final = RATE_ONE * 12 // 10
INITIAL_OF_CALL: Final = RATE_ONE * 15 // 10
"""Target and initial rates as multiples of the call rate; a stricter initial rate of the example stays."""

DEPTH_OF_INTEREST: Final = RATE_ONE * 4 // 100
"""A market's price moves by 1 % when this share of its first open interest is closed at once."""

MOST_OF_DEPTH: Final = RATE_ONE // 4
FEWEST_LOTS: Final = ceil_div(RATE_ONE, MOST_OF_DEPTH)
"""A depth of fewer lots would not let a single lot be closed in an interval."""

NO_REMAINDER: Final = "4"
"""The strictest target rate there is: an account may keep what is worth a quarter of its equity, and no more."""

WHOLE_POSITION: Final = "1000000000"
"""With dust so large, a position that is reduced at all is closed whole."""

_STEP: Final = RATE_ONE // 1_000
_SPARE: Final = RATE_ONE // 1_000
"""Call rates are whole tenths of a percent, with one to spare: a move may end in the next tier."""

_DUST: Final = "10"
_HEAD: Final = ("", "[ladder] # what happens to an ill account")
_LOSSES: Final = ('policy = "pro_rata"', 'socialise = "side"')

_SOFT: Final = (
    "",
    "[ladder.soft] # below maintenance, paced",
    'step = "10s"',
    'duration = "3m"',
    'initial_share = "0.1"',
    'penalty = "0.001"',
    'hard_factor = "0.8"',
)
_CALLS: Final = (
    "",
    "[ladder.calls] # above maintenance, time to add collateral",
    f'deadline = "{DEADLINE}"',
    f'volatility = "{format_units(VOLATILITY, 9)}"',
    f'probability = "{format_units(PROBABILITY, 9)}"',
    'reminders = ["1m"]',
)
_AUCTIONS: Final = (
    "",
    "[ladder.auctions] # far below maintenance: bidders instead of the market",
    'below_factor = "0.5"',
    'curve = "linear"',
    'start = "0"',
    'most = "0.05"',
    'illness = "0.02"',
    'duration = "60s"',
    'step = "10s"',
    "restarts = 1",
)


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the rulebooks that are compared.

    Attributes
    ----------
    key : name of its file
    label, words : for people
    tables : what it adds to the base
    whole : accounts are closed whole
    """

    key: str
    label: str
    words: str
    tables: tuple[str, ...]
    whole: bool = False


VARIANTS: Final = (
    Variant(
        "no_partial",
        "no partial",
        "An account below maintenance is closed position by position, each whole, until what is left is worth no more "
        "than a quarter of its equity.",
        (),
        whole=True,
    ),
    Variant("partial", "partial", "It is reduced at once, by the smallest closes that bring it to its target.", ()),
    Variant(
        "soft_partial",
        "soft + partial",
        "It is reduced step by step over three minutes at a lower penalty; below a health factor of 0.8 at once.",
        _SOFT,
    ),
    Variant(
        "full_ladder",
        "full ladder",
        "It is called first, above maintenance, and has five minutes to add collateral; then soft and partial steps as "
        "before; below a health factor of 0.5 its positions are auctioned.",
        (*_CALLS, *_SOFT, *_AUCTIONS),
    ),
)


def base_rules_text(candles: Candles) -> str:
    """Return the rulebook that all four share, without a ladder: the example with call rates that leave time.

    Raises
    ------
    InputError : no example rulebook fits the prices
    """
    return example_rules_text(*price_ranges(candles), widened_tiers())


def widened_tiers() -> Mapping[str, Sequence[tuple[str, ...]]]:
    """Return the example's tiers with maintenance that pays for closing, and other rates safe for the deadline."""
    deadline = parse_duration(DEADLINE, "deadline")
    move = largest_move(deadline, VOLATILITY, PROBABILITY)
    return {name: [_widened(rows, index, move) for index in range(len(rows))] for name, rows in TIERS.items()}


def _widened(rows: Sequence[tuple[str, ...]], index: int, move: int) -> tuple[str, ...]:
    """Return a row with a call rate that a move leaves enough of, also where it ends in the next tier."""
    floor, initial, _ = rows[index]
    ends = [rows[min(place, len(rows) - 1)][2] for place in (index, index + 1)]
    here, there = (max(LEAST_MAINTENANCE, _rate(rate)) for rate in ends)
    call = move + rate_ceil(RATE_ONE + move, max(here, CLOSING_COST)) + rate_ceil(move, there - here)
    call = ceil_div(call + _SPARE, _STEP) * _STEP
    rates = (max(_rate(initial), rate_ceil(call, INITIAL_OF_CALL)), here, call, rate_ceil(call, TARGET_OF_CALL))
    return floor, *(format_units(rate, 9) for rate in rates)


def _rate(text: str) -> int:
    return int(Fraction(text) * RATE_ONE)


def depths_of(rulebook: Rulebook, open_interest: Sequence[int]) -> dict[str, Fraction]:
    """Return by market how much moves its price by 1 %, in its units.

    Parameters
    ----------
    open_interest : lots that longs hold at the start, in the order of the markets
    """
    return {
        market.name: max(FEWEST_LOTS, rate_floor(lots, DEPTH_OF_INTEREST)) * market.lot
        for market, lots in zip(rulebook.markets.values(), open_interest, strict=True)
    }


def variant_text(base: str, variant: Variant, depths: Mapping[str, Fraction]) -> str:
    """Return a variant's rulebook.

    Parameters
    ----------
    base : see `base_rules_text`
    depths : see `depths_of`
    """
    dust = WHOLE_POSITION if variant.whole else _DUST
    lines = [*_HEAD, f'dust = "{dust}"', *_LOSSES]
    for market, depth in depths.items():
        lines += ["", f"[ladder.impact.{toml_key(market)}]", f'depth = "{exact_text(depth)}"', 'impact = "0.01"']
        lines += [f'share = "{format_units(MOST_OF_DEPTH, 9)}"', 'interval = "10s"']
    if variant.whole:
        base = re.sub(r'target = "[^"]*"', f'target = "{NO_REMAINDER}"', base)
    text = base.replace('name = "example"', f'name = "{variant.key}"', 1)
    return text + "\n".join((*lines, *variant.tables)) + "\n"
