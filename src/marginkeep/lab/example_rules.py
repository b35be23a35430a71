"""A rulebook for whatever markets a price file holds: a sane starting point, written as the TOML a user would edit.

Tick and lot follow the price: five to six significant digits, and a lot worth about 1 to 10 units of the reporting
asset. Tiers come in three classes, shaped like those that large venues publish.
"""

from __future__ import annotations

from math import floor, log10
from typing import TYPE_CHECKING, Final

from marginkeep.errors import InputError
from marginkeep.rulebook.reading import parse_text, read_rulebook

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from marginkeep.rulebook import Rulebook

TIERS: Final[Mapping[str, Sequence[tuple[str, str, str]]]] = {
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


def example_rules_text(highest: Mapping[str, float]) -> str:
    """Return a rulebook as TOML for these symbols.

    Parameters
    ----------
    highest : ccxt symbol -> highest price that will be seen, quote units
    """
    chosen = chosen_symbols(list(highest))
    if not chosen:
        raise InputError(
            f"no symbol is quoted in a dollar ({', '.join(list(highest)[:8])}): write a rulebook, give it with --rules"
        )
    by_base = {base: highest[symbol] for base, symbol in chosen.items()}
    lines = [
        'name = "example"',
        "",
        "[liquidation] # what a forced close costs: price, and a penalty shared with the insurance fund",
        'slippage = "0.003"',
        'penalty = "0.005"',
        'liquidator_share = "0.5"',
        "",
        "[assets.USD] # the reporting asset: price 1",
        "decimals = 6",
    ]
    for base, (initial, maintenance) in COLLATERAL.items():
        if base in by_base:
            lines += ["", *_asset_lines(base, by_base[base], initial, maintenance)]
    for symbol in chosen.values():
        lines += ["", *_market_lines(symbol, highest[symbol])]
    return "\n".join(lines) + "\n"


def example_rulebook(highest: Mapping[str, float]) -> Rulebook:
    """Return the rulebook of `example_rules_text`."""
    return read_rulebook(parse_text(example_rules_text(highest), ".toml", "the example rulebook"))


def _asset_lines(base: str, price: float, initial: str, maintenance: str) -> list[str]:
    tick = 10 ** (floor(log10(price)) - 4)
    return [
        f"[assets.{base}]",
        "decimals = 8",
        f'tick = "{_plain(tick)}"',
        f'weight = {{ initial = "{initial}", maintenance = "{maintenance}" }}',
        f'max_price = "{_plain(_round_up(price * HEADROOM))}"',
    ]


def _market_lines(symbol: str, price: float) -> list[str]:
    base = base_of(symbol)
    size_class = "large" if base in LARGE else "middle" if base in MIDDLE else "small"
    magnitude = floor(log10(price))
    tick_exponent = magnitude - 5
    lot_exponent = max(-magnitude, -6 - tick_exponent)
    tiers = [
        f'    {{ floor = "{tier_floor}", initial = "{initial}", maintenance = "{maintenance}" }},'
        for tier_floor, initial, maintenance in TIERS[size_class]
    ]
    return [
        f"[markets.{base}-PERP]",
        f'symbol = "{symbol}"',
        'settle = "USD"',
        f'lot = "{_plain(10**lot_exponent)}"',
        f'tick = "{_plain(10**tick_exponent)}"',
        f'max_price = "{_plain(_round_up(price * HEADROOM))}"',
        'maker_fee = "0.0002"',
        'taker_fee = "0.0005"',
        "tiers = [",
        *tiers,
        "]",
    ]


def _round_up(price: float) -> float:
    """Round a limit up to one significant digit."""
    step: float = 10 ** floor(log10(price))
    return (floor(price / step) + 1) * step


def _plain(value: float) -> str:
    return f"{value:.12f}".rstrip("0").rstrip(".")
