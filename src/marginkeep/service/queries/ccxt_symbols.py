"""Markets by their unified ccxt symbols: those that the rulebook states, or what follows from name and settle asset."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Final

from marginkeep.errors import RulebookError
from marginkeep.service.wire.problems import Problem
from marginkeep.venues.ccxt_symbols import Contract, read_symbol

if TYPE_CHECKING:
    from marginkeep.rulebook import Rulebook
    from marginkeep.rulebook.model import Market

DOLLAR: Final = "USD"
"""What an inverse contract is quoted in where its symbol does not say."""


class Symbols:
    """The symbols of one rulebook; two markets never share one.

    Attributes
    ----------
    contracts : market -> what its symbol says
    """

    def __init__(self, rulebook: Rulebook) -> None:
        self.rulebook = rulebook
        self.contracts: dict[str, Contract] = {}
        self._markets: dict[str, str] = {}
        stated = [market for market in rulebook.markets.values() if market.symbol is not None]
        derived = [market for market in rulebook.markets.values() if market.symbol is None]
        for market in (*stated, *derived):
            contract = _contract(market)
            if contract.symbol in self._markets:
                contract = Contract(market.name, contract.base, contract.quote, contract.settle, contract.expiry_day)
            self.contracts[market.name] = contract
            self._markets[contract.symbol] = market.name

    def market(self, symbol: str) -> str:
        """Return the market of a symbol, or of its own name.

        Raises
        ------
        Problem : ``not_found``
        """
        name = self._markets.get(symbol) or (symbol if symbol in self.contracts else None)
        if name is None:
            raise Problem("not_found", f"symbol {symbol!r:.80} is not traded here: see /v1/ccxt/fetch_markets")
        return name

    def chosen(self, symbols: str) -> list[str]:
        """Return the markets of symbols given as one text with commas between them; empty = all, in order."""
        if not symbols:
            return list(self.rulebook.markets)
        return list(dict.fromkeys(self.market(symbol) for symbol in symbols.split(",")))


def _contract(market: Market) -> Contract:
    """Return what a market's symbol says; one is made where it has none, or one that cannot be taken apart."""
    base = market.name.split("-")[0]
    quote = market.settle if market.payoff == "linear" else DOLLAR
    base = market.settle if market.payoff == "inverse" else base
    day = datetime.date.fromisoformat(market.expiry[:10]) if market.expiry else None
    ending = f"-{day:%y%m%d}" if day else ""
    for symbol in (market.symbol, f"{base}/{quote}:{market.settle}{ending}"):
        try:
            if symbol is not None:
                return read_symbol(symbol)
        except RulebookError:
            continue
    return Contract(market.name, base, quote, market.settle, day)


class _Latest:
    symbols: Symbols | None = None


def symbols_of(rulebook: Rulebook) -> Symbols:
    """Return the symbols of a rulebook, kept while the same one is asked for."""
    symbols = _Latest.symbols
    if symbols is None or symbols.rulebook is not rulebook:
        symbols = _Latest.symbols = Symbols(rulebook)
    return symbols
