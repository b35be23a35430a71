"""The depeg of USDC in March 2023, replayed as quotes: stages, weights, refusals, and who is liquidated."""

from itertools import pairwise

import pyarrow.parquet as parquet
import pytest
from tests.drills import MINUTE, at

from marginkeep.book.health import measure
from marginkeep.clearing import AdvanceTime, Clearinghouse, Deposit, Liquidated, Rejected, Trade
from marginkeep.clearing.commands import PublishQuotes, Quote
from marginkeep.clearing.events import OracleChanged
from marginkeep.rulebook import MAINTENANCE, read_rulebook
from marginkeep.rulebook.reading import parse_text
from marginkeep.units import RATE_ONE

START, END = at("2023-03-09T06:00"), at("2023-03-16T00:00")
STEP = 5 * MINUTE
PARITY = 10_000
MAKER = "maker"
DOLLARS = {"dollar-btc-7x": ("BTC-PERP", 7), "dollar-eth-5x": ("ETH-PERP", 5), "dollar-short-3x": ("BTC-PERP", -3)}
COINS = {"coin-btc-7x": ("BTC-PERP", 7), "coin-btc-1x": ("BTC-PERP", 1)}
HOLDER = "holder"
STAKE = 10_000

MARKET = """
[markets.{name}]
settle = "{settle}"
lot = "{lot}"
tick = "{tick}"
max_price = "200000"
tiers = [{{ floor = "0", initial = "0.02", maintenance = "0.01" }}]
"""
RULES = (
    """
[liquidation]
slippage = "0.002"
penalty = "0.003"
[assets.USD]
[assets.USDC]
decimals = 6
tick = "0.0001"
weight = { initial = "0.95", maintenance = "0.97" }
max_price = "2"
"""
    + MARKET.format(name="BTC-PERP", settle="USD", lot="0.001", tick="0.1")
    + MARKET.format(name="ETH-PERP", settle="USD", lot="0.01", tick="0.01")
    + MARKET.format(name="BTC-USDC", settle="USDC", lot="0.001", tick="0.1")
    + """
[oracle]
sources = ["perpetual", "spot", "pool", "book"]
stale_after = "10m"
[oracle.feeds.BTC]
tick = "0.1"
sources = ["perpetual", "spot"]
[oracle.feeds.ETH]
tick = "0.01"
sources = ["perpetual", "spot"]
[oracle.feeds.USDC]
sources = { pool = { stale_after = "2h" }, book = { stale_after = "2h" } }
min_sources = 1
max_age = "2h"
outlier_band = "0.03"
max_dispersion = "0.03"
[oracle.marks.BTC-PERP]
index = "BTC"
preset = "index"
[oracle.marks.ETH-PERP]
index = "ETH"
preset = "index"
[oracle.marks.BTC-USDC]
index = "BTC"
preset = "index"
[oracle.pegs.USDC]
target = "1"
dispersion = "0.02"
return_after = "6h"
stages = [
    { name = "strained", deviation = "0.01", after = "1h", weight = "0.9" },
    { name = "broken", deviation = "0.05", after = "15m", weight = "0.5" },
]
"""
)
FACTORS = {"pegged": RATE_ONE, "strained": 9 * RATE_ONE // 10, "broken": RATE_ONE // 2}
LINES = (
    ("BTC", "perpetual", "restricted", "BTC/USDT:USDT", "binanceusdm", 5, 10),
    ("BTC", "spot", "open", "BTC/USDT", "binance", 5, 10),
    ("ETH", "perpetual", "restricted", "ETH/USDT:USDT", "binanceusdm", 5, 100),
    ("ETH", "spot", "open", "ETH/USDT", "binance", 5, 100),
    ("USDC", "pool", "restricted", "USDC/USD", "dex-unnamed", 15, PARITY),
    ("USDC", "book", "restricted", "USDC/USDT", "binance", 60, PARITY),
)
"""Feed, source, folder, symbol, venue, minutes of a bar, ticks in 1."""


def closes(shared, folder, symbol, venue, minutes):
    """When each bar of a series closed, and at what price."""
    table = parquet.read_table(shared / "data" / folder / "ohlcv" / "2023-03_usdc_depeg_5m.parquet")
    rows = zip(*(table[name].to_pylist() for name in ("symbol", "venue", "ts", "close")), strict=True)
    return {
        int(opened.timestamp()) * 10**9 + minutes * MINUTE: close
        for name, where, opened, close in rows
        if (name, where) == (symbol, venue)
    }


class Depeg:
    """The replay, and what was seen of it after each step."""

    def __init__(self, shared):
        self.house = Clearinghouse(read_rulebook(parse_text(RULES, ".toml", "depeg")))
        self.series = [
            (feed, source, closes(shared, folder, symbol, venue, minutes), ticks)
            for feed, source, folder, symbol, venue, minutes, ticks in LINES
        ]
        self.liquidated = []
        self.stages = []
        self.seen = []
        self.trials = []
        self.said = {}
        self.now_ns = START

    def step(self):
        quotes = tuple(
            Quote(source=source, feed=feed, price=round(prices[self.now_ns] * ticks), **self.times())
            for feed, source, prices, ticks in self.series
            if self.now_ns in prices
        )
        self.said.update({quote.source: quote for quote in quotes if quote.feed == "USDC"})
        for event in self.apply(PublishQuotes(quotes=quotes) if quotes else AdvanceTime(now_ns=self.now_ns)):
            if isinstance(event, Liquidated):
                self.liquidated.append(event)
            if isinstance(event, OracleChanged) and event.what == "peg":
                self.stages.append((event.before, event.after))
        self.note()
        self.now_ns += STEP

    def times(self):
        return {"source_ns": self.now_ns, "arrival_ns": self.now_ns}

    def apply(self, command):
        events = self.house.apply(command)
        assert not isinstance(events[0], Rejected), events[0]
        return events

    def note(self):
        state = self.house.state
        usdc = state.tables.asset_index["USDC"]
        holder = measure(state.book.read(state.index[HOLDER]), state.valuation, MAINTENANCE).collateral
        line = state.oracle.assets[usdc]
        weight = state.tables.assets[usdc].weight[MAINTENANCE]
        said = [quote.price for quote in self.said.values() if self.now_ns - quote.source_ns <= 120 * MINUTE]
        bounds = (min(said), max(said)) if said and line.quality == "valid" else (0, PARITY * 2)
        self.seen.append((self.now_ns, state.valuation.prices[usdc], line.state_name, weight, holder, bounds))

    def open_accounts(self):
        """Give everybody the same stake, in dollars or in coins worth a dollar then, and its position."""
        self.apply(Deposit(account=MAKER, asset="USD", amount=10**13))
        for asset, names in (("USD", DOLLARS), ("USDC", COINS)):
            for name, (market, leverage) in names.items():
                self.apply(Deposit(account=name, asset=asset, amount=STAKE * 10**6))
                self.trade(market, name, leverage * STAKE)

    def trade(self, market, name, worth):
        """Let an account buy (or sell) this much from the maker at the mark; return the answer."""
        state = self.house.state
        index = state.tables.market_index[market]
        rules, mark = state.rulebook.markets[market], state.valuation.marks[index]
        size = int(abs(worth) / (mark * rules.tick * rules.lot))
        buyer, seller = (name, MAKER) if worth > 0 else (MAKER, name)
        return self.house.apply(Trade(market=market, buyer=buyer, seller=seller, size=size, price=mark))[0]

    def try_to_open(self):
        """Open and close again a small position in each market, and note what was answered."""
        stage = self.seen[-1][2]
        for market in ("BTC-USDC", "BTC-PERP"):
            answer = self.trade(market, "trader", 100)
            self.trials.append((market, stage, answer))
            if not isinstance(answer, Rejected):
                assert not isinstance(self.trade(market, "trader", -100), Rejected)


@pytest.fixture(scope="module")
def depeg(shared):
    replay = Depeg(shared)
    replay.house.apply(Deposit(account=HOLDER, asset="USDC", amount=STAKE * 10**6))
    replay.house.apply(Deposit(account="trader", asset="USD", amount=10**10))
    for _ in range(12):
        replay.step()
    replay.open_accounts()
    while replay.now_ns < END:
        replay.step()
        if replay.now_ns % (60 * MINUTE) == 0:
            replay.try_to_open()
    return replay


def test_the_stages_are_entered_and_left_one_by_one_and_the_peg_returns(depeg):
    order = ["pegged", "strained", "broken"]
    assert depeg.stages[0] == ("pegged", "strained")
    assert depeg.stages[-1] == ("strained", "pegged")
    assert ("strained", "broken") in depeg.stages
    assert ("broken", "strained") in depeg.stages
    for before, after in depeg.stages:
        assert abs(order.index(before) - order.index(after)) == 1
    for (_, left), (entered, _) in pairwise(depeg.stages):
        assert left == entered


def test_the_first_stage_comes_with_the_fall_and_the_last_goes_days_after(depeg):
    strained = [now_ns for now_ns, _, stage, *_ in depeg.seen if stage != "pegged"]
    assert at("2023-03-11T02:00") < strained[0] < at("2023-03-11T06:00")
    assert at("2023-03-13T12:00") < strained[-1] < at("2023-03-14T06:00")
    assert depeg.seen[-1][2] == "pegged"


def test_the_collateral_weight_falls_with_each_stage_and_returns_whole(depeg):
    whole = depeg.house.state.rulebook.assets["USDC"].weight[MAINTENANCE]
    for _, _, stage, weight, _, _ in depeg.seen:
        assert weight == whole * FACTORS[stage] // RATE_ONE
    assert {stage for _, _, stage, *_ in depeg.seen} == set(FACTORS)
    assert depeg.seen[-1][3] == whole


def test_coins_are_valued_at_what_the_sources_say_and_never_at_par(depeg):
    prices = [price for _, price, *_ in depeg.seen]
    assert min(prices) < 9_100
    assert prices.count(PARITY) < len(prices) // 50
    for _, price, _, weight, holder, (lowest, highest) in depeg.seen[1:]:
        assert abs(holder - STAKE * 10**6 * price * weight // (PARITY * RATE_ONE)) <= 1
        assert lowest <= price <= highest
    assert sum(highest < 2 * PARITY for *_, (_, highest) in depeg.seen) > len(depeg.seen) // 2
    fallen = [one for one in depeg.seen if at("2023-03-11T08:00") <= one[0] <= at("2023-03-12T20:00")]
    assert all(price < 9_800 for _, price, *_ in fallen)
    assert max(holder for *_, holder, _ in fallen) < 0.98 * 0.9 * STAKE * 10**6


def test_opening_in_the_market_settled_in_coins_is_refused_while_the_peg_is_lost(depeg):
    tried = {(market, stage): [] for market in ("BTC-USDC", "BTC-PERP") for stage in FACTORS}
    for market, stage, answer in depeg.trials:
        tried[market, stage].append(answer)
    for stage in ("strained", "broken"):
        answers = tried["BTC-USDC", stage]
        assert len(answers) > 10
        for answer in answers:
            assert isinstance(answer, Rejected)
            assert answer.code == "price"
            assert f"its peg is {stage}" in answer.reason
        assert not any(isinstance(answer, Rejected) for answer in tried["BTC-PERP", stage])
    assert not any(isinstance(answer, Rejected) for answer in tried["BTC-USDC", "pegged"][:20])
    assert not isinstance(depeg.trials[-2][2], Rejected)


def test_nobody_who_holds_dollars_only_is_liquidated_not_even_on_the_same_leverage(depeg):
    assert {event.account for event in depeg.liquidated} == {"coin-btc-7x"}
    state = depeg.house.state
    for name, (market, leverage) in DOLLARS.items():
        position = state.book.read(state.index[name]).positions[state.tables.market_index[market]]
        assert position.size * leverage > 0


def test_the_liquidation_names_the_price_and_the_stage_of_the_coin(depeg):
    first = depeg.liquidated[0]
    seen = {price.name: price for price in first.prices}
    assert seen["USDC"].price < 9_700
    assert seen["USDC"].state in ("strained", "broken")
    assert seen["BTC-PERP"].quality == "valid"
    assert {source.source for source in seen["USDC"].sources} == {"pool", "book"}
