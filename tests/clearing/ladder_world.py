"""A house with every rung, seeded traders who fall ill on it, and what must hold after each command."""

from __future__ import annotations

import random
from itertools import pairwise

from tests.ladder_houses import check_books, opened, prices, rules_text, usd

from marginkeep.clearing import (
    AdoptRulebook,
    AdvanceTime,
    Bid,
    Clearinghouse,
    Command,
    Deposit,
    Event,
    Liquidated,
    PayFunding,
    RegisterLiquidator,
    ReserveOrder,
    TopUpFund,
    Trade,
    Transfer,
    Withdraw,
)
from marginkeep.clearing.events import RungChanged
from marginkeep.liquidation.rungs import LEGAL
from marginkeep.rulebook.ladder_rules import RUNGS

SECOND = 10**9

CALLS = {"deadline": "10m", "volatility": "1", "reminders": ["5m", "1m"]}
SOFT = {"step": "10s", "duration": "60s", "initial_share": "0.1", "penalty": "0.001", "hard_factor": "0.7"}
AUCTIONS = {"below_factor": "0.4", "duration": "30s", "step": "5s", "start": "0", "most": "0.02", "restarts": 1}
IMPACT = {
    "BTC-PERP": {"depth": "10", "impact": "0.005", "share": "0.1", "interval": "10s"},
    "ETH-PERP": {"depth": "100", "impact": "0.005", "share": "0.2", "interval": "10s"},
}
FULL = {
    "calls": CALLS,
    "soft": SOFT,
    "auctions": AUCTIONS,
    "impact": IMPACT,
    "dust": "20",
    "house_share": "0.1",
    "policy": "pro_rata",
    "socialise": "side",
    "funds": {"last": {"most_a_day": "100000"}},
}
"""Every rung: calls, pacing, auctions, budgets, funds, deleveraging and socialised loss."""

LADDERS = [
    FULL,
    None,
    {key: FULL[key] for key in ("soft", "impact", "dust")},
    {key: FULL[key] for key in ("calls", "auctions")},
    {key: FULL[key] for key in ("impact", "dust")} | {"policy": "queue", "socialise": "market"},
]


class World:
    """Draws commands from one seed; prices and time of its own."""

    def __init__(self, seed: int, adopts: bool = True) -> None:
        self.random = random.Random(seed)
        self.btc, self.eth, self.now, self.orders, self.adopts = 50_000.0, 3_000.0, 0, 0, adopts
        self.names = [f"user{number}" for number in range(8)]

    def begin(self, house: Clearinghouse) -> None:
        """Fund everybody, and let some bid."""
        for name in self.names:
            house.apply(Deposit(account=name, asset="USD", amount=usd(self.random.randint(500, 9_000))))
        for name in self.names[:2]:
            house.apply(Deposit(account=name, asset="USD", amount=usd(50_000)))
            house.apply(RegisterLiquidator(account=name))
        for name in self.names[2:4]:
            house.apply(Deposit(account=name, asset="BTC", amount=self.random.randint(1, 2 * 10**7)))
        for _ in range(25):
            house.apply(self.trade())

    def command(self, house: Clearinghouse) -> Command:
        """Draw the next one."""
        weighted = [
            (5, self.deposit),
            (3, self.withdraw),
            (2, self.transfer),
            (4, self.reserve),
            (14, self.trade),
            (3, self.funding),
            (14, self.move),
            (12, self.advance),
            (1, self.top_up),
            *([(1, self.adopt)] if self.adopts else []),
        ]
        auctioned = [name for name, ill in house.state.ill.items() if ill.auction is not None]
        if auctioned and self.random.random() < 0.3:
            return self.bid(self.random.choice(sorted(auctioned)))
        return self.random.choice([kind for weight, kind in weighted for _ in range(weight)])()

    def account(self) -> str:
        return self.random.choice(self.names)

    def deposit(self) -> Command:
        asset, most = self.random.choice([("USD", usd(1_500)), ("BTC", 10**6)])
        return Deposit(account=self.account(), asset=asset, amount=self.random.randint(1, most))

    def withdraw(self) -> Command:
        return Withdraw(account=self.account(), asset="USD", amount=self.random.randint(1, usd(3_000)))

    def transfer(self) -> Command:
        amount = self.random.randint(1, usd(1_000))
        return Transfer(source=self.account(), target=self.account(), asset="USD", amount=amount)

    def reserve(self) -> Command:
        self.orders += 1
        side = self.random.choice(["buy", "sell"])
        price = round(self.btc * 10 * self.random.uniform(0.99, 1.01))
        size = self.random.randint(1, 2_000)
        return ReserveOrder(
            account=self.account(), order=str(self.orders), market="BTC-PERP", side=side, size=size, price=price
        )

    def trade(self) -> Command:
        market = self.random.choice(["BTC-PERP", "ETH-PERP"])
        mark, most = (self.btc * 10, 3_000) if market == "BTC-PERP" else (self.eth * 100, 4_000)
        price = max(1, round(mark * self.random.uniform(0.995, 1.005)))
        size = int(most ** self.random.uniform(0.4, 1))
        return Trade(market=market, buyer=self.account(), seller=self.account(), size=size, price=price)

    def funding(self) -> Command:
        market = self.random.choice(["BTC-PERP", "ETH-PERP"])
        return PayFunding(market=market, rate=self.random.randint(-2_000_000, 2_000_000))

    def move(self) -> Command:
        scale = self.random.choice([0.005, 0.01, 0.02, 0.06])
        self.btc = min(max(self.btc * (1 + self.random.gauss(0, scale)), 20_000), 120_000)
        self.eth = min(max(self.eth * (1 + self.random.gauss(0, scale)), 1_000), 9_000)
        return prices(self.btc, self.eth)

    def advance(self) -> Command:
        self.now += self.random.choice([1, 5, 10, 10, 30, 120, 400]) * SECOND
        return AdvanceTime(now_ns=self.now)

    def top_up(self) -> Command:
        return TopUpFund(asset="USD", amount=self.random.randint(1, usd(300)))

    def adopt(self) -> Command:
        return AdoptRulebook(rules=rules_text(self.random.choice(LADDERS)))

    def bid(self, name: str) -> Command:
        share = self.random.choice([10**8, 5 * 10**8, 10**9])
        return Bid(account=name, liquidator=self.names[self.random.randint(0, 1)], fraction=share)


def watched(house: Clearinghouse) -> Clearinghouse:
    """The same house with a watch from its first account on."""
    house.state.watch_from = 0
    return house


def check_path(events: tuple[Event, ...]) -> None:
    """Every change of rung is legal, and of one account each begins where the last ended."""
    paths: dict[str, list[RungChanged]] = {}
    for event in events:
        if isinstance(event, RungChanged):
            paths.setdefault(event.account, []).append(event)
    for path in paths.values():
        for change in path:
            before, after = RUNGS.index(change.before), RUNGS.index(change.after)
            assert after in LEGAL[before] or (after == 0 and not before), change
        assert all(before.after == after.before for before, after in pairwise(path))


def check_all(house: Clearinghouse, events: tuple[Event, ...]) -> None:
    """Books, legal paths; nobody who is below maintenance is forgotten where there is a ladder."""
    if house.state.rulebook.ladder is not None:
        check_books(house)
    check_path(events)


def lots_closed(events: tuple[Event, ...], market: str = "BTC-PERP", rungs: tuple[str, ...] = ()) -> int:
    """Lots that liquidations have closed."""
    found = [event for event in events if isinstance(event, Liquidated) and (not rungs or event.rung in rungs)]
    return sum(abs(step.size) for event in found for step in event.steps if step.name == market)


def new_house(ladder: dict | None = FULL, **changes) -> Clearinghouse:
    """Opened at 50,000 and 3,000."""
    return opened(ladder, **changes)
