"""Options that are prices by name."""

from __future__ import annotations

from marginkeep.errors import InputError


def parse_prices(stated: tuple[str, ...]) -> dict[str, str]:
    """Read ``NAME=PRICE`` options; the price stays a decimal string.

    Raises
    ------
    InputError : not of that form, or a name stated twice
    """
    prices: dict[str, str] = {}
    for item in stated:
        name, sign, price = item.partition("=")
        if not sign or not name or not price:
            raise InputError(f"--price {item!r}: write NAME=PRICE, as in --price BTC-PERP=45000")
        if name in prices:
            raise InputError(f"--price {name} is stated twice: state it once")
        prices[name] = price
    return prices
