"""Questions about the venue: markets, assets, the oracle, funds, auctions, and the rulebook in force."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from litestar.params import FromPath, FromQuery
from litestar.response.base import ASGIResponse

from marginkeep.clearing.auctioning import open_auctions
from marginkeep.service.access.scopes import Scope
from marginkeep.service.queries.market_views import AssetView, MarketView, asset_view, market_view
from marginkeep.service.queries.question import (
    PAGE_DEFAULT,
    AnyRequest,
    context_of,
    page_size,
    question,
    settled_answer,
)
from marginkeep.service.queries.venue_views import (
    AuctionView,
    FundsView,
    OracleView,
    auction_view,
    funds_view,
    oracle_view,
)
from marginkeep.service.wire.problems import Problem

_TAGS: Final = ("markets",)


class MarketList(msgspec.Struct, frozen=True, kw_only=True):
    """All markets, in the rulebook's order."""

    sequence: int
    house_ns: int
    markets: list[MarketView]


class OneMarket(msgspec.Struct, frozen=True, kw_only=True):
    """One market."""

    sequence: int
    house_ns: int
    market: MarketView


class AssetList(msgspec.Struct, frozen=True, kw_only=True):
    """All assets, in the rulebook's order."""

    sequence: int
    house_ns: int
    reporting: str
    assets: list[AssetView]


class AuctionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the open auctions that the key may see, by account; `next` is None on the last page."""

    sequence: int
    house_ns: int
    auctions: list[AuctionView]
    next: str | None


class RulesInForce(msgspec.Struct, frozen=True, kw_only=True):
    """The rulebook; `hash` is the SHA-256 of its canonical form, `rules` its TOML text."""

    name: str
    hash: str
    rules: str


@question("/v1/markets", MarketList, "List markets", name="ListMarkets", tags=_TAGS, weight=2)
async def list_markets(request: AnyRequest) -> ASGIResponse:
    """Answer the rules, mark, quality, state, open interest and funding of every market."""
    context = context_of(request)
    state, sequence = context.state, context.durable.head.sequence
    views = [market_view(state, market) for market in state.tables.markets]
    return await settled_answer(context, MarketList(sequence=sequence, house_ns=state.now_ns, markets=views), sequence)


@question("/v1/markets/{market:str}", OneMarket, "Show a market", name="ShowMarket", tags=_TAGS)
async def show_market(request: AnyRequest, market: FromPath[str]) -> ASGIResponse:
    """Answer one market."""
    context = context_of(request)
    state, sequence = context.state, context.durable.head.sequence
    index = state.tables.market_index.get(market)
    if index is None:
        raise Problem("not_found", f"market {market!r:.80} is not in the rulebook: see /v1/markets")
    view = market_view(state, state.tables.markets[index])
    return await settled_answer(context, OneMarket(sequence=sequence, house_ns=state.now_ns, market=view), sequence)


@question("/v1/assets", AssetList, "List assets", name="ListAssets", tags=_TAGS)
async def list_assets(request: AnyRequest) -> ASGIResponse:
    """Answer the weights, price, quality and peg of every asset."""
    context = context_of(request)
    state, sequence = context.state, context.durable.head.sequence
    answer = AssetList(
        sequence=sequence,
        house_ns=state.now_ns,
        reporting=state.rulebook.reporting,
        assets=[asset_view(state, asset) for asset in state.tables.assets],
    )
    return await settled_answer(context, answer, sequence)


@question("/v1/oracle", OracleView, "Show the oracle", name="ShowOracle", tags=_TAGS, weight=2)
async def show_oracle(request: AnyRequest) -> ASGIResponse:
    """Answer feeds with their sources and ages, breakers, and pegs."""
    context = context_of(request)
    sequence = context.durable.head.sequence
    return await settled_answer(context, oracle_view(context.state, sequence), sequence)


@question("/v1/funds", FundsView, "Show the insurance funds", name="ShowFunds", tags=_TAGS)
async def show_funds(request: AnyRequest) -> ASGIResponse:
    """Answer what stands behind losses: funds and their caps, and bad debt."""
    context = context_of(request)
    sequence = context.durable.head.sequence
    answer = funds_view(context.state, sequence, for_venue=request.user.acts_for_all)
    return await settled_answer(context, answer, sequence)


@question(
    "/v1/auctions",
    AuctionPage,
    "List open auctions",
    name="ListAuctions",
    tags=_TAGS,
    weight=10,
    knows=("after", "limit"),
)
async def list_auctions(
    request: AnyRequest, after: FromQuery[str] = "", limit: FromQuery[int] = PAGE_DEFAULT
) -> ASGIResponse:
    """Answer what a bid would get now: every auction to keys that may liquidate, to others their own accounts'."""
    context = context_of(request)
    rows, caller = page_size(context, limit), request.user
    sees_all = caller.acts_for_all or caller.may(Scope.LIQUIDATE)
    names = sorted(
        name
        for name, ill in context.state.ill.items()
        if ill.auction is not None and name > after and (sees_all or caller.acts_for(name))
    )
    views = []
    for name in names[:rows]:
        standing = (name,) if name in context.state.ill else ()
        views += [auction_view(context.state, found) for found in open_auctions(context.state, standing)]
        await asyncio.sleep(0)
    answer = AuctionPage(
        sequence=context.durable.head.sequence,
        house_ns=context.state.now_ns,
        auctions=views,
        next=names[rows - 1] if len(names) > rows else None,
    )
    return await settled_answer(context, answer, answer.sequence)


@question("/v1/rulebook", RulesInForce, "Show the rulebook", name="ShowRulebook", tags=_TAGS, weight=2)
async def show_rulebook(request: AnyRequest) -> ASGIResponse:
    """Answer the rulebook in force as TOML text."""
    context = context_of(request)
    state = context.state
    answer = RulesInForce(name=state.rulebook.name, hash=state.rulebook_hash, rules=context.durable.rules)
    return await settled_answer(context, answer)


ROUTES: Final = [list_markets, show_market, list_assets, show_oracle, show_funds, list_auctions, show_rulebook]
