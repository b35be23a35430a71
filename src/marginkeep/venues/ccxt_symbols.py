"""The unified symbols of ccxt: ``BASE/QUOTE:SETTLE`` for a perpetual, ``BASE/QUOTE:SETTLE-YYMMDD`` for a future."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Literal

from marginkeep.errors import RulebookError

_PATTERN = re.compile(r"([^/:\s-]+)/([^/:\s-]+)(?::([^/:\s-]+)(?:-([0-9]{6})(-.+)?)?)?\Z")


@dataclass(frozen=True, slots=True)
class Contract:
    """What a unified symbol says of a derivative; `expiry_day` is None for a perpetual."""

    symbol: str
    base: str
    quote: str
    settle: str
    expiry_day: datetime.date | None

    @property
    def kind(self) -> Literal["perpetual", "future"]:
        """A dated contract is a future."""
        return "perpetual" if self.expiry_day is None else "future"

    @property
    def payoff(self) -> Literal["linear", "inverse"]:
        """Settled in what it is quoted in: linear; settled in what it is written on: inverse."""
        return "linear" if self.settle == self.quote else "inverse"


def read_symbol(symbol: str) -> Contract:
    """Take a unified symbol apart.

    Raises
    ------
    RulebookError : malformed, spot, an option, a day that does not exist, or settled in a third asset

    Examples
    --------
    >>> contract = read_symbol("BTC/USD:BTC-250328")
    >>> contract.payoff, contract.kind, contract.settle
    ('inverse', 'future', 'BTC')
    """
    match = _PATTERN.match(symbol)
    if match is None:
        raise RulebookError(
            f"symbol {symbol!r} is not a unified symbol: write BASE/QUOTE:SETTLE or BASE/QUOTE:SETTLE-YYMMDD, "
            f'for example "BTC/USDT:USDT"'
        )
    base, quote, settle, day, option = match.groups()
    if settle is None:
        raise RulebookError(
            f"symbol {symbol!r} is a spot market, which has no margin tiers: name the contract, as in "
            f"'{symbol}:{quote}'"
        )
    if option is not None:
        raise RulebookError(f"symbol {symbol!r} is an option: only perpetuals and dated futures have tier tables here")
    if base == quote or settle not in (base, quote):
        raise RulebookError(
            f"symbol {symbol!r} settles in {settle!r}: it must be either the quote {quote!r} (linear) or the base "
            f"{base!r} (inverse), and these two must differ; a contract settled in a third asset cannot be cleared"
        )
    return Contract(symbol, base, quote, settle, None if day is None else _read_day(symbol, day))


def _read_day(symbol: str, day: str) -> datetime.date:
    try:
        return datetime.date(2000 + int(day[:2]), int(day[2:4]), int(day[4:]))
    except ValueError:
        raise RulebookError(
            f"symbol {symbol!r} expires on {day!r}, which is not a day: write year, month, day as YYMMDD, as in 250328"
        ) from None
