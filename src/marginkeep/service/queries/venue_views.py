"""The venue as a whole: what stands behind its prices, what its funds hold, and which auctions are open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from marginkeep.clearing.funds import ledger_of
from marginkeep.clearing.state import BAD_DEBT, FEES, FUND, INSURANCE_FUND
from marginkeep.oracle.aggregation import DISPERSION, FLAGS, INDEX, NEWEST_NS, SPREAD, USED
from marginkeep.rulebook.grid import exact_text
from marginkeep.rulebook.oracle_rules import MARKET_STATES, QUALITIES
from marginkeep.service.queries.market_views import rate_text
from marginkeep.service.wire.amounts import units_of
from marginkeep.units import INT64_SAFE

if TYPE_CHECKING:
    from marginkeep.clearing.auctioning import OpenAuction
    from marginkeep.clearing.state import State
    from marginkeep.oracle.oracle import Oracle


class SourceView(msgspec.Struct, frozen=True, kw_only=True):
    """How one source stands in a feed: its quote, how old that is by its own time, and whether it is used."""

    source: str
    price: str | None
    age_ns: int
    use: str
    weight: int
    rank: int


class FeedView(msgspec.Struct, frozen=True, kw_only=True):
    """One feed: what its sources come to.

    Attributes
    ----------
    price : of the sources together, before delays and limits; of a ratio without its base. None before the first
    in_force : what the house takes it to be: after growth cap, jump limit and delay, in the reporting asset
    qualities : all that apply
    age_ns : of the newest quote in it; None before the first
    used : sources that count
    spread, dispersion : confidence, and distance of the sources, as shares of the price
    """

    feed: str
    base: str | None
    tick: str
    aggregate: str
    min_sources: int
    price: str | None
    in_force: str | None
    qualities: list[str]
    age_ns: int | None
    used: int
    spread: str
    dispersion: str
    sources: list[SourceView]


class BreakerView(msgspec.Struct, frozen=True, kw_only=True):
    """What a market's breaker and operator allow in it, and why not more; `held` is the operator's part."""

    market: str
    state: str
    held: str
    quality: str
    why: str


class PegView(msgspec.Struct, frozen=True, kw_only=True):
    """How an asset keeps its peg; `opens` = new exposure to it is accepted."""

    asset: str
    stage: str
    opens: bool
    why: str


class OracleView(msgspec.Struct, frozen=True, kw_only=True):
    """The whole oracle; empty where prices come from outside as they are."""

    sequence: int
    house_ns: int
    feeds: list[FeedView]
    breakers: list[BreakerView]
    pegs: list[PegView]


class FundView(msgspec.Struct, frozen=True, kw_only=True):
    """An insurance fund.

    Attributes
    ----------
    markets : its pool; empty = the last fund, for all
    most_an_event, most_a_day, paid_today : caps and what counts toward them, reporting asset; None = unbounded
    """

    fund: str
    markets: list[str]
    balances: dict[str, str]
    most_an_event: str | None
    most_a_day: str | None
    paid_today: str


class FundsView(msgspec.Struct, frozen=True, kw_only=True):
    """What stands behind losses; amounts by asset.

    Attributes
    ----------
    bad_debt : what nobody has paid for
    fees : taken in so far; shown to the venue alone
    """

    sequence: int
    funds: list[FundView]
    bad_debt: dict[str, str]
    fees: dict[str, str] | None


class LegView(msgspec.Struct, frozen=True, kw_only=True):
    """What a bidder takes over of one market: contracts, negative = short, at this price."""

    market: str
    size: str
    price: str


class AuctionView(msgspec.Struct, frozen=True, kw_only=True):
    """An auction as a bid for all that may be taken would find it now.

    Attributes
    ----------
    fraction : of the account that such a bid takes; 0 = nothing can be taken at present
    value : of that, at the mark, reporting asset
    reward : beside the discount, in `reward_asset`
    """

    account: str
    started_ns: int
    expires_ns: int
    restarts: int
    discount: str
    fraction: str
    value: str
    reward: str
    reward_asset: str | None
    legs: list[LegView]


def oracle_view(state: State, sequence: int) -> OracleView:
    """Return feeds, breakers and pegs."""
    oracle = state.oracle
    if oracle is None:
        return OracleView(sequence=sequence, house_ns=state.now_ns, feeds=[], breakers=[], pegs=[])
    return OracleView(
        sequence=sequence,
        house_ns=state.now_ns,
        feeds=[_feed(state, oracle, number) for number in range(len(oracle.rules.feeds))],
        breakers=[
            BreakerView(
                market=line.name,
                state=line.state_name,
                held=MARKET_STATES[line.breaker.manual],
                quality=line.quality,
                why=line.why,
            )
            for line in oracle.markets.values()
        ],
        pegs=[
            PegView(asset=line.name, stage=line.peg.stage_name, opens=line.peg.opens, why=line.peg.why)
            for line in oracle.assets.values()
            if line.peg is not None
        ],
    )


def _feed(state: State, oracle: Oracle, number: int) -> FeedView:
    rules, row = oracle.rules.feeds[number], oracle.feeds.feeds[number].tolist()
    ticks = units_of(state.rulebook).grid("feed", rules.name).format
    seen, in_force = oracle.feeds.seen(number, state.now_ns), oracle.price_of(number)
    return FeedView(
        feed=rules.name,
        base=rules.base,
        tick=exact_text(rules.tick),
        aggregate=rules.aggregate,
        min_sources=rules.min_sources,
        price=ticks(row[INDEX]) if row[INDEX] else None,
        in_force=exact_text(in_force) if in_force else None,
        qualities=[name for bit, name in enumerate(QUALITIES) if row[FLAGS] >> bit & 1],
        age_ns=state.now_ns - row[NEWEST_NS] if row[NEWEST_NS] else None,
        used=row[USED],
        spread=rate_text(row[SPREAD]),
        dispersion=rate_text(row[DISPERSION]),
        sources=[
            SourceView(
                source=one.source,
                price=ticks(one.price) if one.price else None,
                age_ns=one.age_ns,
                use=one.use,
                weight=source.weight,
                rank=source.rank,
            )
            for one, source in zip(seen, rules.sources, strict=True)
        ],
    )


def funds_view(state: State, sequence: int, *, for_venue: bool) -> FundsView:
    """Return the funds, the last one at the end, with what each may pay."""
    ladder = state.rulebook.ladder
    rules = {ledger_of(one): one for one in (ladder.funds if ladder else ())}
    held = sorted({name for name, _ in state.ledger if name.startswith(FUND)} | rules.keys() - {INSURANCE_FUND})
    money = units_of(state.rulebook).grid("reporting", "").format
    funds = []
    for name in (*held, INSURANCE_FUND):
        one = rules.get(name)
        paid = state.funds[name].paid_today(state.now_ns) if name in state.funds else 0
        funds.append(
            FundView(
                fund=name,
                markets=list(one.markets) if one else [],
                balances=_balances(state, name),
                most_an_event=money(one.most_an_event) if one and one.most_an_event < INT64_SAFE else None,
                most_a_day=money(one.most_a_day) if one and one.most_a_day < INT64_SAFE else None,
                paid_today=money(paid),
            )
        )
    owed = _balances(state, BAD_DEBT, sign=-1)
    return FundsView(sequence=sequence, funds=funds, bad_debt=owed, fees=_balances(state, FEES) if for_venue else None)


def _balances(state: State, ledger: str, sign: int = 1) -> dict[str, str]:
    grid = units_of(state.rulebook).grid
    found = {}
    for asset in state.tables.assets:
        amount = state.ledger.get((ledger, asset.index), 0)
        if amount:
            found[asset.name] = grid("amount", asset.name).format(sign * amount)
    return found


def auction_view(state: State, found: OpenAuction) -> AuctionView:
    """Return an auction in whole units."""
    grid = units_of(state.rulebook).grid
    return AuctionView(
        account=found.account,
        started_ns=found.started_ns,
        expires_ns=found.expires_ns,
        restarts=found.restarts,
        discount=rate_text(found.discount),
        fraction=rate_text(found.fraction),
        value=grid("reporting", "").format(found.value),
        reward=grid("amount", found.reward_asset).format(found.reward) if found.reward_asset else "0",
        reward_asset=found.reward_asset or None,
        legs=[
            LegView(
                market=market,
                size=grid("lots", market).format(lots),
                price=grid("ticks", market).format(found.prices[market]),
            )
            for market, lots in found.lots.items()
        ],
    )
