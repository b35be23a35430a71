"""The same answers in ccxt's unified structures, one route for each of its methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar.params import FromQuery
from litestar.response.base import ASGIResponse

from marginkeep.book.account import ISOLATED
from marginkeep.service.access.scopes import EVERY_ACCOUNT
from marginkeep.service.queries import ccxt_markets, ccxt_views
from marginkeep.service.queries.ccxt_shapes import CcxtFundingRate, CcxtMarginMode, CcxtPosition, CcxtTier, Structures
from marginkeep.service.queries.ccxt_symbols import symbols_of
from marginkeep.service.queries.question import AnyRequest, context_of, question
from marginkeep.service.routes.accounts import accounts_of
from marginkeep.service.wire.problems import Problem

if TYPE_CHECKING:
    from marginkeep.service.context import ServiceContext

_TAGS: Final = ("ccxt",)

_encoder: Final = msgspec.json.Encoder(decimal_format="number")


async def _answer(context: ServiceContext, document: Any) -> ASGIResponse:
    body = _encoder.encode(document)
    await context.writer.settled()
    return ASGIResponse(body=body, media_type="application/json")


def _owner(request: AnyRequest, account: str) -> str:
    """Return whose accounts are asked for: the key's own where it is bound to one owner."""
    if account:
        return account
    bound: frozenset[str] = request.user.accounts
    if len(bound) != 1 or EVERY_ACCOUNT in bound:
        raise Problem("bad_request", "the key acts for several accounts: name one, as in ?account=ann")
    return next(iter(bound))


def _found_positions(request: AnyRequest, account: str, symbols: str) -> list[dict[str, Any]]:
    context = context_of(request)
    names = accounts_of(context.state, request.user, _owner(request, account))
    markets = set(symbols_of(context.rulebook).chosen(symbols))
    now_ns = context.clock()
    return [one for name in names for one in ccxt_views.positions(context.state, name, markets, now_ns)]


@question(
    "/v1/ccxt/fetch_positions",
    list[CcxtPosition],
    "ccxt fetchPositions",
    name="CcxtFetchPositions",
    tags=_TAGS,
    knows=("account", "symbols"),
)
async def fetch_positions(
    request: AnyRequest, account: FromQuery[str] = "", symbols: FromQuery[str] = ""
) -> ASGIResponse:
    """Answer the open positions of an owner's cross and isolated accounts; `symbols` with commas between them."""
    return await _answer(context_of(request), _found_positions(request, account, symbols))


@question(
    "/v1/ccxt/fetch_position",
    CcxtPosition,
    "ccxt fetchPosition",
    name="CcxtFetchPosition",
    tags=_TAGS,
    knows=("account", "symbol"),
)
async def fetch_position(request: AnyRequest, symbol: FromQuery[str], account: FromQuery[str] = "") -> ASGIResponse:
    """Answer the open position in a symbol, the cross account's before the isolated one's."""
    symbols_of(context_of(request).rulebook).market(symbol)
    found = _found_positions(request, account, symbol)
    if not found:
        raise Problem("not_found", f"there is no open position in {symbol:.80}")
    return await _answer(context_of(request), found[0])


@question(
    "/v1/ccxt/fetch_balance",
    Structures,
    "ccxt fetchBalance",
    name="CcxtFetchBalance",
    tags=_TAGS,
    knows=("account",),
)
async def fetch_balance(request: AnyRequest, account: FromQuery[str] = "") -> ASGIResponse:
    """Answer what an owner's accounts hold together, by asset."""
    context = context_of(request)
    names = accounts_of(context.state, request.user, _owner(request, account))
    return await _answer(context, ccxt_views.balance(context.state, names, context.clock()))


@question(
    "/v1/ccxt/fetch_leverage_tiers",
    dict[str, list[CcxtTier]],
    "ccxt fetchLeverageTiers",
    name="CcxtFetchLeverageTiers",
    tags=_TAGS,
    knows=("symbols",),
)
async def fetch_leverage_tiers(request: AnyRequest, symbols: FromQuery[str] = "") -> ASGIResponse:
    """Answer the tiers of markets, by symbol."""
    context = context_of(request)
    known = symbols_of(context.rulebook)
    tiers = {
        known.contracts[name].symbol: ccxt_markets.leverage_tiers(context.rulebook, name)
        for name in known.chosen(symbols)
    }
    return await _answer(context, tiers)


@question(
    "/v1/ccxt/fetch_market_leverage_tiers",
    list[CcxtTier],
    "ccxt fetchMarketLeverageTiers",
    name="CcxtFetchMarketLeverageTiers",
    tags=_TAGS,
    knows=("symbol",),
)
async def fetch_market_leverage_tiers(request: AnyRequest, symbol: FromQuery[str]) -> ASGIResponse:
    """Answer the tiers of one market."""
    context = context_of(request)
    market = symbols_of(context.rulebook).market(symbol)
    return await _answer(context, ccxt_markets.leverage_tiers(context.rulebook, market))


@question(
    "/v1/ccxt/fetch_funding_rate",
    CcxtFundingRate,
    "ccxt fetchFundingRate",
    name="CcxtFetchFundingRate",
    tags=_TAGS,
    knows=("symbol",),
)
async def fetch_funding_rate(request: AnyRequest, symbol: FromQuery[str]) -> ASGIResponse:
    """Answer the funding of one market."""
    context = context_of(request)
    state, name = context.state, symbols_of(context.rulebook).market(symbol)
    table = state.tables.markets[state.tables.market_index[name]]
    return await _answer(context, ccxt_views.funding_rate(state, table, context.clock()))


@question(
    "/v1/ccxt/fetch_funding_rates",
    dict[str, CcxtFundingRate],
    "ccxt fetchFundingRates",
    name="CcxtFetchFundingRates",
    tags=_TAGS,
    knows=("symbols",),
)
async def fetch_funding_rates(request: AnyRequest, symbols: FromQuery[str] = "") -> ASGIResponse:
    """Answer the funding of perpetual markets, by symbol."""
    context = context_of(request)
    state, known, now_ns = context.state, symbols_of(context.rulebook), context.clock()
    tables = [state.tables.markets[state.tables.market_index[name]] for name in known.chosen(symbols)]
    rates = [ccxt_views.funding_rate(state, one, now_ns) for one in tables if one.market.kind == "perpetual"]
    return await _answer(context, {rate["symbol"]: rate for rate in rates})


@question(
    "/v1/ccxt/fetch_margin_modes",
    dict[str, CcxtMarginMode],
    "ccxt fetchMarginModes",
    name="CcxtFetchMarginModes",
    tags=_TAGS,
    knows=("account", "symbols"),
)
async def fetch_margin_modes(
    request: AnyRequest, account: FromQuery[str] = "", symbols: FromQuery[str] = ""
) -> ASGIResponse:
    """Answer by symbol in which mode an owner holds a market: isolated where only the isolated account holds it."""
    context = context_of(request)
    state, known = context.state, symbols_of(context.rulebook)
    held: dict[str, str] = {}
    for name in accounts_of(state, request.user, _owner(request, account)):
        stated = state.book.read(state.index[name])
        for index, position in stated.positions.items():
            market = state.tables.markets[index].name
            if position.size and held.get(market) != "cross":
                held[market] = "isolated" if stated.mode == ISOLATED else "cross"
    modes = {
        known.contracts[name].symbol: ccxt_markets.margin_mode(context.rulebook, name, held.get(name, "cross"))
        for name in known.chosen(symbols)
    }
    return await _answer(context, modes)


@question(
    "/v1/ccxt/fetch_markets", list[Structures], "ccxt fetchMarkets", name="CcxtFetchMarkets", tags=_TAGS, weight=2
)
async def fetch_markets(request: AnyRequest) -> ASGIResponse:
    """Answer all markets."""
    context = context_of(request)
    markets = [ccxt_markets.market(context.state, table) for table in context.state.tables.markets]
    return await _answer(context, markets)


ROUTES: Final = [
    fetch_positions,
    fetch_position,
    fetch_balance,
    fetch_leverage_tiers,
    fetch_market_leverage_tiers,
    fetch_funding_rate,
    fetch_funding_rates,
    fetch_margin_modes,
    fetch_markets,
]
