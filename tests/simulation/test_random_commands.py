"""A seeded world of traders who ask for anything; the invariants hold after every single command."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from tests.houses import opened, usd

from marginkeep.book.health import measure
from marginkeep.clearing import (
    AddMargin,
    AdvanceTime,
    ChangeMode,
    Clearinghouse,
    Command,
    Deposit,
    Liquidated,
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
)
from marginkeep.rulebook import INITIAL, MAINTENANCE

STEPS = 250
LINEAR = {"BTC-PERP": 10, "BTC-OKX": 10, "ETH-PERP": 100}


class World:
    """Draws commands from one seed; keeps only what it needs to draw sensible ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.prices = {"BTC": 50_000.0, "ETH": 3_000.0}
        self.names = [f"user{number}" for number in range(7)]
        self.orders = 0
        self.now = 0

    def command(self) -> Command:
        weighted = [
            (8, self.deposit),
            (3, self.withdraw),
            (2, self.transfer),
            (3, self.add_margin),
            (2, self.remove_margin),
            (2, self.change_mode),
            (10, self.reserve),
            (4, self.release),
            (16, self.trade),
            (3, self.funding),
            (12, self.move_prices),
            (1, self.advance),
            (1, self.top_up),
        ]
        kinds = [kind for weight, kind in weighted for _ in range(weight)]
        return self.random.choice(kinds)()

    def account(self, market: str | None = None) -> str:
        name = self.random.choice(self.names)
        return f"{name}/{market}" if market and self.random.random() < 0.3 else name

    def market(self) -> str:
        return self.random.choice(["BTC-PERP", "ETH-PERP", "BTC-INV", "BTC-OKX"])

    def near_mark(self, market: str) -> int:
        around = self.random.uniform(0.98, 1.02)
        if market == "BTC-INV":
            return int(self.prices["BTC"] * 2 * around)
        return int(self.prices[market[:3]] * LINEAR[market] * around)

    def lots(self, market: str) -> int:
        return self.random.randint(1, 80_000 if market == "BTC-INV" else 4_000)

    def deposit(self) -> Command:
        asset = self.random.choice(["USD", "USD", "BTC"])
        most = usd(20_000) if asset == "USD" else 6 * 10**7
        return Deposit(account=self.account(), asset=asset, amount=self.random.randint(1, most))

    def withdraw(self) -> Command:
        asset = self.random.choice(["USD", "BTC"])
        return Withdraw(account=self.account(), asset=asset, amount=self.random.randint(1, usd(2_000)))

    def transfer(self) -> Command:
        amount = self.random.randint(1, usd(2_000))
        return Transfer(source=self.account(), target=self.account(), asset="USD", amount=amount)

    def add_margin(self) -> Command:
        market = self.market()
        most = 10**7 if market == "BTC-INV" else usd(3_000)
        return AddMargin(account=self.account(), market=market, amount=self.random.randint(1, most))

    def remove_margin(self) -> Command:
        return RemoveMargin(account=self.account(), market=self.market(), amount=self.random.randint(1, usd(500)))

    def change_mode(self) -> Command:
        mode = self.random.choice(["cross", "isolated"])
        margin = self.random.choice([0, usd(500), usd(2_000)]) if mode == "isolated" else 0
        return ChangeMode(account=self.account(), market=self.market(), mode=mode, margin=margin)

    def reserve(self) -> Command:
        self.orders += 1
        market = self.market()
        return ReserveOrder(
            account=self.account(market),
            order=str(self.orders),
            market=market,
            side=self.random.choice(["buy", "sell"]),
            size=self.lots(market),
            price=self.near_mark(market),
        )

    def release(self) -> Command:
        return ReleaseOrder(account=self.account(), order=str(self.random.randint(1, self.orders + 1)))

    def trade(self) -> Command:
        market = self.market()
        sides = [self.account(market), self.random.choice([self.account(market), "external"])]
        self.random.shuffle(sides)
        order = str(self.random.randint(1, self.orders + 1)) if self.random.random() < 0.2 else None
        return Trade(
            market=market,
            buyer=sides[0],
            seller=sides[1],
            size=self.lots(market),
            price=self.near_mark(market),
            taker=self.random.choice(["buyer", "seller"]),
            buyer_order=order,
        )

    def funding(self) -> Command:
        return PayFunding(market=self.market(), rate=self.random.randint(-3_000_000, 3_000_000))

    def move_prices(self) -> Command:
        wild = self.random.random() < 0.05
        for name in self.prices:
            factor = self.random.uniform(0.5, 1.6) if wild else self.random.uniform(0.96, 1.04)
            self.prices[name] = min(max(self.prices[name] * factor, 500), 90_000)
        btc, eth = self.prices["BTC"], self.prices["ETH"]
        marks = {"BTC-PERP": int(btc * 10), "BTC-OKX": int(btc * 10), "BTC-INV": int(btc * 2)}
        return SetPrices(marks={**marks, "ETH-PERP": int(eth * 100)}, prices={"BTC": int(btc * 100)})

    def advance(self) -> Command:
        self.now += self.random.randint(0, 10**12)
        return AdvanceTime(now_ns=self.now)

    def top_up(self) -> Command:
        return TopUpFund(asset=self.random.choice(["USD", "BTC"]), amount=self.random.randint(1, 10**7))


def health(house: Clearinghouse, index: int, level: int) -> int:
    return measure(house.state.book.read(index), house.state.valuation, level).health


@pytest.mark.parametrize("seed", range(16))
def test_the_invariants_hold_after_every_command_of_a_seeded_world(seed):
    house, world, seen = opened(), World(seed), Counter()
    for _ in range(STEPS):
        command = world.command()
        events = house.apply(command)
        seen.update(type(event).__name__ for event in events)
        check_conservation(house)
        if isinstance(command, SetPrices | PayFunding):
            below = [i for i in range(house.state.book.count) if health(house, i, MAINTENANCE) < 0]
            assert below == [], f"seed {seed}: accounts {below} are below maintenance after a price"
        if isinstance(command, Withdraw | Transfer | RemoveMargin) and not isinstance(events[0], Rejected):
            source = getattr(command, "source", None) or command.account
            name = f"{source}/{command.market}" if isinstance(command, RemoveMargin) else source
            assert health(house, house.state.index[name], INITIAL) >= 0
    assert seen["Traded"] > 3


def test_the_seeded_worlds_reach_the_rare_events():
    seen = Counter()
    for seed in range(16):
        house, world = opened(), World(seed)
        for _ in range(STEPS):
            for event in house.apply(world.command()):
                seen[type(event).__name__] += 1
                if isinstance(event, Rejected):
                    seen[event.code] += 1
                if isinstance(event, Liquidated):
                    seen["bad debt"] += event.bad_debt > 0
                    seen["collateral sold"] += any(step.what == "sell" for step in event.steps)
    for rare in ("ModeChanged", "Liquidated", "bad debt", "collateral sold", "insufficient_margin", "unknown_order"):
        assert seen[rare] > 0, f"no {rare} in any seeded world: {seen}"
