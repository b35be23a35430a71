"""A seeded world whose prices come from quotes, good and bad: whatever happens, nobody in need is forgotten."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest
from tests.oracle_houses import GUARDED_AT_10, PEG, SECOND, SOURCES, START, STETH, TICKS, line, new_house, rules_text

from marginkeep.book.health import measure
from marginkeep.clearing import (
    AddMargin,
    AdoptRulebook,
    AdvanceTime,
    ChangeMode,
    Clearinghouse,
    Command,
    Deposit,
    PayFunding,
    Rejected,
    ReleaseOrder,
    RemoveMargin,
    ReserveOrder,
    SetPrices,
    TopUpFund,
    Trade,
    Transfer,
    Withdraw,
    check_conservation,
    state_hash,
)
from marginkeep.clearing.calls import latest_prices
from marginkeep.clearing.commands import Halt, ObserveBook, PublishQuotes, Quote, Resume
from marginkeep.rulebook import MAINTENANCE

STEPS = 250
MARKETS = {"BTC-PERP": ("BTC", 10), "ETH-PERP": ("ETH", 100), "BTC-INV": ("BTC", 2), "ETH-USDC": ("ETH", 100)}
LOTS = {"BTC-PERP": 4_000, "ETH-PERP": 6_000, "BTC-INV": 80_000, "ETH-USDC": 6_000, "COIN-PERP": 100_000}
SEEDS = range(10)

RULES = {
    "stable": {},
    "feeds": {"BTC": {}, "ETH": {}, "USDC": {}, "WSTETH": {**STETH, "delay": "10m", "max_age": "1m"}},
    "marks__BTC-PERP": {"index": "BTC"},
    "breakers": {"BTC-PERP": GUARDED_AT_10, "ETH-PERP": GUARDED_AT_10},
    "venue_breaker": {"markets": 2, "state": "guarded"},
    "pegs": {"USDC": PEG},
}


class World:
    """Draws commands from one seed; keeps only what it needs to draw sensible ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.prices = {"BTC": 50_000.0, "ETH": 3_000.0, "USDC": 1.0, "WSTETH": 1.2, "COIN": 10.0}
        self.names = [f"user{number}" for number in range(5)]
        self.first = [self.coin, *[self.newcomer] * len(self.names)]
        self.orders = 0
        self.now = START * SECOND
        self.silent: set[str] = set()

    def command(self) -> Command:
        if self.first:
            return self.first.pop(0)()
        weighted = [
            (30, self.quotes),
            (2, self.fault),
            (3, self.time),
            (3, self.book),
            (1, self.halt),
            (2, self.resume),
            (1, self.silence),
            (2, self.coin),
            (5, self.deposit),
            (3, self.withdraw),
            (1, self.transfer),
            (2, self.add_margin),
            (1, self.remove_margin),
            (1, self.change_mode),
            (4, self.reserve),
            (2, self.release),
            (20, self.trade),
            (2, self.funding),
            (1, self.top_up),
            (1, self.adopt),
        ]
        kinds = [kind for weight, kind in weighted for _ in range(weight)]
        return self.random.choice(kinds)()

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    # Prices --------------------------------------------------------------------------------------------------------

    def quotes(self) -> Command:
        self.now += self.random.choice([0, SECOND // 10, SECOND, SECOND, 3 * SECOND, 20 * SECOND])
        wild = self.chance(0.08)
        for name in self.prices:
            near = {"USDC": (0.998, 1.002), "WSTETH": (0.999, 1.001)}.get(name, (0.996, 1.004))
            far = {"USDC": (0.95, 1.03), "WSTETH": (0.9, 1.02)}.get(name, (0.7, 1.4))
            self.prices[name] *= self.random.uniform(*(far if wild and self.chance(0.6) else near))
        self.prices["USDC"] += (1 - self.prices["USDC"]) * 0.3
        self.prices["BTC"] = min(max(self.prices["BTC"], 500), 200_000)
        self.prices["ETH"] = min(max(self.prices["ETH"], 50), 20_000)
        self.prices["COIN"] = min(max(self.prices["COIN"], 0.5), 500)
        self.prices["WSTETH"] = min(max(self.prices["WSTETH"], 0.8), 1.5)
        feeds = [name for name in ("BTC", "ETH", "USDC", "WSTETH") if self.chance(0.7)] or ["BTC"]
        return PublishQuotes(quotes=tuple(self.quote(s, f) for f in feeds for s in SOURCES if s not in self.silent))

    def quote(self, source: str, feed: str, factor: float = 1, **more: int) -> Quote:
        ticks = int(self.prices[feed] * TICKS[feed] * factor * self.random.uniform(0.9995, 1.0005))
        made = self.now - self.random.choice([0, 0, 0, SECOND // 2, 8 * SECOND])
        times = {"source_ns": made, "arrival_ns": self.now}
        return Quote(source=source, feed=feed, **{"price": ticks, **times, **more})

    def fault(self) -> Command:
        """One bad print, one source's clock wrong, a frozen price, or prices that no book can hold."""
        feed, source = self.random.choice(["BTC", "ETH", "USDC", "WSTETH"]), self.random.choice(SOURCES)
        kind = self.random.randrange(6)
        if kind == 0:
            bad = [self.quote(source, feed, self.random.choice([0, 0.01, 10, 100]))]
        elif kind == 1:
            bad = [self.quote(source, feed, source_ns=self.now + self.random.choice([-1, 1]) * 10**12)]
        elif kind == 2:
            bad = [self.quote(s, feed, self.random.choice([0.01, 100, 10**5])) for s in SOURCES]
        elif kind == 3:
            bad = [self.quote(source, feed, confidence=10**9)]
        elif kind == 4:
            bad = [self.quote(s, feed, arrival_ns=self.now - 10**11) for s in SOURCES]
        else:
            bad = [self.quote(s, feed, price=self.random.choice([-1, 0, 1, 2**48, 2**62])) for s in SOURCES]
        return PublishQuotes(quotes=tuple(bad))

    def silence(self) -> Command:
        self.silent = set(self.random.sample(SOURCES, self.random.choice([0, 0, 1, 2])))
        return self.quotes()

    def time(self) -> Command:
        jump = self.random.choice([SECOND, 30 * SECOND, 90 * SECOND, 700 * SECOND, 7_200 * SECOND, -SECOND])
        self.now += max(0, jump)
        return AdvanceTime(now_ns=self.now + min(0, jump))

    def book(self) -> Command:
        middle = int(self.prices["BTC"] * 10 * self.random.uniform(0.97, 1.03))
        bid, ask = middle - self.random.randint(0, 50), middle + self.random.randint(-10, 50)
        if self.chance(0.2):
            bid = 0
        return ObserveBook(market="BTC-PERP", bid=bid, ask=ask, at_ns=self.now)

    def halt(self) -> Command:
        market = self.random.choice([None, "BTC-PERP", "ETH-PERP", "BTC-INV"])
        return Halt(market=market, state=self.random.choice(["reduce_only", "guarded", "halted"]))

    def resume(self) -> Command:
        return Resume(market=self.random.choice([None, None, "BTC-PERP", "ETH-PERP", "BTC-INV"]))

    def coin(self) -> Command:
        ticks = int(self.prices["COIN"] * 100)
        if self.chance(0.1):
            return SetPrices(marks={"BTC-PERP": 500_000})
        return SetPrices(marks={"COIN-PERP": ticks}, prices={"COIN": ticks})

    def adopt(self) -> Command:
        """Change the oracle of the house, or take it away and bring it back."""
        kinds = [
            {},
            {"stable": {"per_second": "0.001"}},
            {"actions": {"open": ["valid", "volatile"]}},
            {"pegs": {}},
            {"breakers": {}},
            {"defaults": {"max_age": "30s"}},
        ]
        if self.chance(0.1):
            return AdoptRulebook(rules=rules_text(oracle=False))
        return AdoptRulebook(rules=rules_text(**{**RULES, **self.random.choice(kinds)}))

    # Accounts ------------------------------------------------------------------------------------------------------

    def account(self, market: str | None = None) -> str:
        name = self.random.choice(self.names)
        return f"{name}/{market}" if market and self.chance(0.2) else name

    def market(self) -> str:
        return self.random.choice(list(LOTS))

    def near_mark(self, market: str) -> int:
        asset, ticks = MARKETS.get(market, ("COIN", 100))
        return max(1, int(self.prices[asset] * ticks * self.random.uniform(0.99, 1.01)))

    def newcomer(self) -> Command:
        name = self.names[len(self.first) % len(self.names)]
        return Deposit(account=name, asset="USD", amount=self.random.randint(1, 8 * 10**9))

    def deposit(self) -> Command:
        asset, most = self.random.choice(
            [("USD", 10**9), ("USD", 10**9), ("BTC", 10**7), ("USDC", 2 * 10**11), ("WSTETH", 10**8)]
        )
        if self.chance(0.1):
            asset, most = "COIN", 10**10
        return Deposit(account=self.account(), asset=asset, amount=self.random.randint(1, most))

    def amount(self) -> int:
        return self.random.randint(1, 2 * 10**9)

    def withdraw(self) -> Command:
        asset = self.random.choice(["USD", "BTC", "USDC", "WSTETH", "COIN"])
        return Withdraw(account=self.account(), asset=asset, amount=self.amount())

    def transfer(self) -> Command:
        return Transfer(source=self.account(), target=self.account(), asset="USD", amount=self.amount())

    def add_margin(self) -> Command:
        return AddMargin(account=self.account(), market=self.market(), amount=self.amount())

    def remove_margin(self) -> Command:
        return RemoveMargin(account=self.account(), market=self.market(), amount=self.amount())

    def change_mode(self) -> Command:
        mode = self.random.choice(["cross", "isolated"])
        margin = self.random.choice([0, 10**9]) if mode == "isolated" else 0
        return ChangeMode(account=self.account(), market=self.market(), mode=mode, margin=margin)

    def reserve(self) -> Command:
        self.orders += 1
        market = self.market()
        side = self.random.choice(["buy", "sell"])
        size = self.random.randint(1, LOTS[market])
        order = {"order": str(self.orders), "side": side, "size": size, "price": self.near_mark(market)}
        return ReserveOrder(account=self.account(market), market=market, **order)

    def release(self) -> Command:
        return ReleaseOrder(account=self.account(), order=str(self.random.randint(1, self.orders + 1)))

    def trade(self) -> Command:
        market = self.market()
        sides = [self.account(market), self.random.choice([self.account(market), "external", "external"])]
        self.random.shuffle(sides)
        size = self.random.randint(1, LOTS[market])
        return Trade(market=market, buyer=sides[0], seller=sides[1], size=size, price=self.near_mark(market))

    def funding(self) -> Command:
        return PayFunding(market=self.market(), rate=self.random.randint(-3_000_000, 3_000_000))

    def top_up(self) -> Command:
        return TopUpFund(asset=self.random.choice(["USD", "BTC", "USDC"]), amount=self.random.randint(1, 10**7))


def in_need(house: Clearinghouse, valuation) -> set[str]:
    book = house.state.book
    healths = {
        name: measure(book.read(index), valuation, MAINTENANCE).health for name, index in house.state.index.items()
    }
    return {name for name, health in healths.items() if health < 0}


def check_house(house: Clearinghouse) -> None:
    """The books balance; below maintenance means called; called means below maintenance, if at the latest prices."""
    check_conservation(house)
    below = in_need(house, house.state.valuation)
    called = set(house.state.called)
    assert below <= called, f"{below - called} are below maintenance, and neither liquidated nor called"
    latest = latest_prices(house.state)
    assert called <= below | (in_need(house, latest) if latest else set()), f"{called} are called for no reason"
    if house.state.oracle is not None:
        for one in (*house.state.oracle.markets.values(), *house.state.oracle.assets.values()):
            assert one.latest == 0 or one.bounds[0] <= one.latest <= one.bounds[1]


def may_have_left(house: Clearinghouse, name: str) -> bool:
    """Whether every mark that an account depends on lets money leave."""
    held = house.state.book.read(house.state.index[name]).positions
    names = [house.state.tables.markets[index].name for index, p in held.items() if not p.is_empty]
    return all(not line(house, market).obstacle("withdraw") for market in names if market != "COIN-PERP")


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_in_need_is_forgotten_in_a_seeded_world_of_quotes(seed):
    house, world, seen = new_house(**RULES), World(seed), Counter()
    for _ in range(STEPS):
        command = world.command()
        if isinstance(command, Withdraw | Transfer) and house.state.oracle is not None:
            name = getattr(command, "source", None) or command.account
            may = name not in house.state.index or may_have_left(house, name)
            events = house.apply(command)
            assert may or isinstance(events[0], Rejected)
        else:
            events = house.apply(command)
        seen.update(type(event).__name__ for event in events)
        check_house(house)
    assert seen["Traded"] > 0


def outcomes(seed: int) -> Counter:
    house, world, seen = new_house(**RULES), World(seed), Counter()
    for _ in range(STEPS):
        for event in house.apply(world.command()):
            seen[type(event).__name__] += 1
            seen[getattr(event, "code", "")] += 1
            seen[getattr(event, "after", "")] += 1
            seen.update(getattr(event, "ignored", ()))
    return seen


@pytest.mark.without_shadows("the same worlds have shadows in the test before")
def test_the_seeded_worlds_reach_the_rare_events():
    seen = sum((outcomes(seed) for seed in SEEDS), Counter())
    states = {"reduce_only", "guarded", "halted", "volatile", "divergent", "stale", "too_few_sources", "strained"}
    events = {"Liquidated", "MarginCalled", "PriceAnnounced", "BookObserved", "RulebookAdopted", "FundingPaid"}
    refusals = {"price", "oracle_fed", "insufficient_margin", "bad_time"}
    intakes = {"bad_price", "from_the_future", "out_of_order", "duplicate"}
    missing = [name for name in states | events | refusals | intakes if not seen[name]]
    assert missing == []


@pytest.mark.parametrize("seed", SEEDS)
def test_watch_and_scan_see_the_same_under_random_quotes(seed):
    watched, scanned = new_house(**RULES), new_house(**RULES)
    watched.state.watch_from = 0
    world = World(seed)
    for step in range(STEPS):
        command = world.command()
        answers = [msgspec.json.encode(house.apply(command)) for house in (watched, scanned)]
        assert answers[0] == answers[1], f"seed {seed}, step {step}: {command}"
    assert watched.state.watch is not None
    assert scanned.state.watch is None
    assert state_hash(watched) == state_hash(scanned)
