"""A rulebook for whatever markets a price file holds: a sane starting point, written as the TOML a user would edit.

Tick and lot follow the price: five to six significant digits at the highest price and at least three at the lowest, as
far as the proved limits of 64-bit columns allow, and a lot worth about 1 to 10 units of the reporting asset. Tiers come
in three classes, shaped like those that large venues publish.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from marginkeep.book.limits import prove_limits
from marginkeep.errors import InputError
from marginkeep.rulebook import build_tables
from marginkeep.rulebook.reading import parse_text, read_rulebook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from marginkeep.lab.candles import Candles
    from marginkeep.rulebook import Rulebook

    Tiers = Mapping[str, Sequence[tuple[str, ...]]]

TIER_FIELDS: Final = ("floor", "initial", "maintenance", "call", "target")
"""The columns of a class of tiers; a row may end after any rate."""

TIERS: Final[Tiers] = {
    "large": (
        ("0", "0.01", "0.005"),
        ("250000", "0.02", "0.01"),
        ("1000000", "0.04", "0.02"),
        ("5000000", "0.1", "0.05"),
        ("20000000", "0.2", "0.1"),
    ),
    "middle": (
        ("0", "0.02", "0.01"),
        ("100000", "0.04", "0.02"),
        ("500000", "0.1", "0.05"),
        ("2000000", "0.2", "0.1"),
    ),
    "small": (
        ("0", "0.05", "0.025"),
        ("50000", "0.1", "0.05"),
        ("250000", "0.2", "0.1"),
        ("1000000", "0.4", "0.2"),
    ),
}
"""(floor in quote, initial rate, maintenance rate) by class of market."""

LARGE: Final = ("BTC", "ETH")
MIDDLE: Final = ("SOL", "XRP", "BNB", "DOGE", "ADA", "LTC", "BCH", "LINK", "DOT", "EOS")
COLLATERAL: Final = {"BTC": ("0.90", "0.95"), "ETH": ("0.88", "0.93")}
"""Coins accepted as collateral, with their initial and maintenance weight."""

DOLLARS: Final = ("USD", "USDT", "USDC", "BUSD", "TUSD", "FDUSD", "DAI")
"""Quotes that the example takes for the reporting asset."""

HEADROOM: Final = 20
"""`max_price` as a multiple of the highest price seen."""

LOWEST_DIGITS: Final = 2
"""The lowest price has at least 10 to the power of this many ticks."""

POSITION_WORTH: Final = 10**6
"""The largest position must reach this many units of the reporting asset at the highest price seen."""

_RULES_HEAD: Final = (
    'name = "example"',
    "",
    "[liquidation] # what a forced close costs: price, and a penalty shared with the insurance fund",
    'slippage = "0.002"',
    'penalty = "0.003"',
    'liquidator_share = "0.5"',
    "",
    "[assets.USD] # the reporting asset: price 1",
    "decimals = 6",
)


def base_of(symbol: str) -> str:
    """Return the base of a ccxt symbol.

    Examples
    --------
    >>> base_of("BTC/USDT:USDT")
    'BTC'
    """
    return symbol.split("/", 1)[0]


def chosen_symbols(symbols: Sequence[str]) -> dict[str, str]:
    """Return base -> symbol: one symbol quoted in a dollar for each base, a perpetual before spot.

    Examples
    --------
    >>> chosen_symbols(["ETH/BTC", "ETH/USDT", "BTC/USDT", "BTC/USDT:USDT"])
    {'ETH': 'ETH/USDT', 'BTC': 'BTC/USDT:USDT'}
    """
    chosen: dict[str, str] = {}
    for symbol in symbols:
        quote = symbol.partition("/")[2].partition(":")[0]
        if quote and quote not in DOLLARS:
            continue
        base = base_of(symbol)
        if base not in chosen or (":" in symbol and ":" not in chosen[base]):
            chosen[base] = symbol
    return chosen


def price_ranges(candles: Candles) -> tuple[dict[str, float], dict[str, float]]:
    """Return the highest and the lowest price of each symbol, quote units."""
    highest = dict(zip(candles.symbols, candles.high.max(axis=0).tolist(), strict=True))
    return highest, dict(zip(candles.symbols, candles.low.min(axis=0).tolist(), strict=True))


def example_rules_text(
    highest: Mapping[str, float], lowest: Mapping[str, float] | None = None, tiers: Tiers = TIERS
) -> str:
    """Return a rulebook as TOML for these symbols, proved to be one that the engine can clear.

    Parameters
    ----------
    highest : ccxt symbol -> highest price that will be seen, quote units
    lowest : ccxt symbol -> lowest price that will be seen; the highest where not given
    tiers : by class of market, rows as in `TIERS`; call and target rates may follow, and are derived where they do not

    Raises
    ------
    InputError : no symbol is quoted in a dollar, or no tick and lot fit the prices of one
    """
    chosen = chosen_symbols(list(highest))
    if not chosen:
        raise InputError(
            f"no symbol is quoted in a dollar ({', '.join(list(highest)[:8])}): write a rulebook, give it with --rules"
        )
    ranges = {symbol: (highest[symbol], (lowest or highest)[symbol]) for symbol in chosen.values()}
    lines = list(_RULES_HEAD)
    for base, weights in COLLATERAL.items():
        if base in chosen:
            lines += ["", *_finest_that_fits(base, ranges[chosen[base]], _asset_writer(base, *weights), 4)]
    for symbol in chosen.values():
        lines += ["", *_finest_that_fits(symbol, ranges[symbol], _market_writer(symbol, tiers), 5)]
    text = "\n".join(lines) + "\n"
    try:
        _read(text)
    except InputError as error:
        raise _no_example(", ".join(list(chosen.values())[:8]), error) from error
    return text


def example_rulebook(highest: Mapping[str, float], lowest: Mapping[str, float] | None = None) -> Rulebook:
    """Return the rulebook of `example_rules_text`."""
    return _read(example_rules_text(highest, lowest))


def _read(text: str) -> Rulebook:
    """Read a rulebook back and prove its limits."""
    rulebook = read_rulebook(parse_text(text, ".toml", "the example rulebook"))
    prove_limits(build_tables(rulebook))
    return rulebook


def _no_example(symbol: str, error: InputError) -> InputError:
    return InputError(
        f"no example rulebook fits {symbol}: {error}; leave such symbols out (--symbols), or write a rulebook and give "
        f"it with --rules"
    )


def _finest_that_fits(
    name: str, prices: tuple[float, float], write: Callable[[Decimal, int], list[str]], digits: int
) -> list[str]:
    """Return the table with the finest useful tick that the limits allow, coarser step by step.

    Parameters
    ----------
    prices : highest and lowest
    write : (highest price, exponent of the tick) -> lines
    digits : exponent of the tick below that of the highest price, unless the lowest price needs a finer one
    """
    high, low = (Decimal(repr(price)) for price in prices)
    if not (high.is_finite() and low > 0):
        raise InputError(f"{name} has prices from {low} to {high}: they must be finite and above 0")
    coarsest = high.adjusted() - digits
    refusal = InputError("it has no tick")
    for exponent in range(min(coarsest, low.adjusted() - LOWEST_DIGITS), coarsest + 1):
        lines = write(high, exponent)
        try:
            rulebook = _read("\n".join((*_RULES_HEAD, "", *lines)))
            _require_room(rulebook, high)
        except InputError as error:
            refusal = error
            continue
        return lines
    raise _no_example(name, refusal)


def _require_room(rulebook: Rulebook, price: Decimal) -> None:
    """Refuse a tick so fine that positions would have to stay small."""
    limits = prove_limits(build_tables(rulebook)).markets
    for market, limit in zip(rulebook.markets.values(), limits, strict=True):
        if limit.max_position * float(market.lot) * float(price) < POSITION_WORTH:
            raise InputError(f"the largest position would be worth less than {POSITION_WORTH:,} USD")


def _asset_writer(base: str, initial: str, maintenance: str) -> Callable[[Decimal, int], list[str]]:
    def write(price: Decimal, tick_exponent: int) -> list[str]:
        return [
            f"[assets.{toml_key(base)}]",
            "decimals = 8",
            f'tick = "{_power(tick_exponent)}"',
            f'weight = {{ initial = "{initial}", maintenance = "{maintenance}" }}',
            f'max_price = "{_round_up(price * HEADROOM)}"',
        ]

    return write


def _market_writer(symbol: str, tiers: Tiers) -> Callable[[Decimal, int], list[str]]:
    base = base_of(symbol)
    size_class = "large" if base in LARGE else "middle" if base in MIDDLE else "small"
    rows = [f"    {{ {', '.join(map(_tier_field, TIER_FIELDS, row))} }}," for row in tiers[size_class]]

    def write(price: Decimal, tick_exponent: int) -> list[str]:
        magnitude = price.adjusted()
        # One tick of one lot is a whole smallest unit of USD, unless the tick is finer than the price is high.
        lot_exponent = max(-magnitude, -6 - max(tick_exponent, magnitude - 5))
        return [
            f"[markets.{toml_key(base + '-PERP')}]",
            f"symbol = {toml_text(symbol)}",
            'settle = "USD"',
            f'lot = "{_power(lot_exponent)}"',
            f'tick = "{_power(tick_exponent)}"',
            f'max_price = "{_round_up(price * HEADROOM)}"',
            'maker_fee = "0.0002"',
            'taker_fee = "0.0005"',
            "tiers = [",
            *rows,
            "]",
        ]

    return write


def _tier_field(name: str, rate: str) -> str:
    return f'{name} = "{rate}"'


def _round_up(price: Decimal) -> str:
    """Round a limit up to one significant digit."""
    exponent = price.adjusted()
    return f"{(int(price.scaleb(-exponent)) + 1) * Decimal(1).scaleb(exponent):f}"


def _power(exponent: int) -> str:
    """Write a power of ten as a plain decimal, exactly."""
    return f"{Decimal(1).scaleb(exponent):f}"


def toml_key(name: str) -> str:
    """Write a TOML key, in quotes where it needs them."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_text(name)


def toml_text(text: str) -> str:
    """Write a text as a TOML string."""
    return json.dumps(text, ensure_ascii=False)
