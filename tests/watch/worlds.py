"""Random books and adversarial price paths for the watch, from one seed each."""

from __future__ import annotations

import numpy as np

from marginkeep.book import columns as c
from marginkeep.book.account import CROSS, ISOLATED, SYSTEM
from marginkeep.book.columns import Book
from marginkeep.book.limits import prove_limits
from marginkeep.book.scan import below
from marginkeep.book.valuation import Valuation
from marginkeep.book.watch import Watch
from marginkeep.rulebook import CALL, MAINTENANCE, Rulebook, build_tables, read_rulebook

MARGINAL = [
    {"floor": "0", "initial": "0.04", "call": "0.025", "maintenance": "0.02"},
    {"floor": "20000", "initial": "0.1", "call": "0.06", "maintenance": "0.05"},
    {"floor": "100000", "initial": "0.3", "call": "0.2", "maintenance": "0.15"},
]


INVERSE = {
    "settle": "BTC",
    "payoff": "inverse",
    "lot": "1",
    "contract_size": "10",
    "tick": "0.5",
    "max_price": "200000",
    "min_price": "10",
    "tier_unit": "base",
}


def mixed_rules(stress: int = 0) -> Rulebook:
    """Every kind of market the engine knows: payoffs, tier kinds and units, settle assets, profit weights.

    With stress, some requirements and haircuts are higher; what they measure stays the same.
    """
    tiers = [
        {
            **MARGINAL[0],
            "call": str(round(0.025 + stress / 1000, 3)),
            "maintenance": str(round(0.02 + stress / 1000, 3)),
        },
        *MARGINAL[1:],
    ]
    linear = {"settle": "USD", "lot": "0.001", "tick": "0.1", "max_price": "200000", "tiers": MARGINAL}
    return read_rulebook(
        {
            "assets": {
                "USD": {},
                "BTC": {
                    "tick": "0.01",
                    "max_price": "200000",
                    "weight": {"initial": "0.8", "maintenance": "0.9"},
                    "debt_weight": {"initial": "1.2", "maintenance": "1.1"},
                },
                "CENT": {"decimals": 2, "tick": "1"},
                "ETH": {"tick": "0.001", "weight": {"initial": "0.7", "maintenance": "0.85"}},
            },
            "markets": {
                "LIN": linear,
                "LIN2": {**linear, "tick": "0.5", "lot": "0.01", "tiers": tiers},
                "FINE": {**linear, "lot": "0.0000001", "tick": "0.01"},
                "WEIGHED": {**linear, "profit_weight": {"initial": "0.05", "maintenance": "0.1"}},
                "CENTS": {**linear, "settle": "CENT", "max_price": "40000", "tiers": [MARGINAL[0]]},
                "JUMP": {**linear, "tier_kind": "whole_position", "tiers": tiers},
                "SIZED": {
                    **linear,
                    "tier_kind": "whole_position",
                    "tier_unit": "base",
                    "tiers": [{**row, "floor": str(i)} for i, row in enumerate(MARGINAL)],
                },
                "INV": {**INVERSE, "tiers": [{**row, "floor": str(2 * i)} for i, row in enumerate(MARGINAL)]},
                "COIN": {**linear, "settle": "ETH", "tiers": [MARGINAL[0]]},
            },
        }
    )


class World:
    """A book under watch, whose prices and accounts change as one seed says; the rescan is asked after every step."""

    def __init__(self, seed: int, accounts: int) -> None:
        self.random = np.random.Generator(np.random.PCG64(seed))
        self.tables = build_tables(mixed_rules())
        self.limits = prove_limits(self.tables)
        self.valuation = Valuation(self.tables)
        self.start = np.array([30_000, 2_000, 100, 30_000, 30_000, 30_000, 30_000, 30_000, 2_000.0])
        self.coins = np.array([30_000.0, 50_000.0, 2_000.0])
        self.prices = self.start.copy()
        self.set_prices()
        self.book = self.draw_book(accounts)
        self.watch = Watch(self.book, self.valuation)
        self.ticks = 0

    def set_prices(self) -> None:
        for table, bound in zip(self.tables.markets, self.limits.markets, strict=True):
            ticks = round(self.prices[table.index] / float(table.market.tick))
            self.valuation.set_mark(table.index, min(max(ticks, bound.min_price), bound.max_price))
        for index, price in enumerate(self.coins, start=1):
            ticks = round(price / float(self.tables.assets[index].asset.tick))
            self.valuation.set_price(index, min(max(ticks, 1), self.limits.assets[index].max_price))

    def draw_book(self, accounts: int) -> Book:
        counts = self.random.integers(0, 5, accounts)
        counts[: min(2, accounts)] = 0
        rows = np.zeros((int(counts.sum()), c.POSITION_WIDTH), np.int64)
        owners = np.repeat(np.arange(accounts), counts)
        place = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows[:, c.MARKET] = (self.random.integers(0, 9, accounts)[owners] + 4 * place) % 9
        for slot in range(len(rows)):
            rows[slot, c.SIZE], rows[slot, c.COST] = self.draw_position(int(rows[slot, c.MARKET]))
        balances = np.zeros((4 * accounts, c.BALANCE_WIDTH), np.int64)
        balances[:, c.ASSET] = np.tile(np.arange(4), accounts)
        balances[0::4, c.AMOUNT] = self.random.normal(4_000, 6_000, accounts) * 1e6
        has_coin = self.random.random((3, accounts)) < 0.3
        balances[1::4, c.AMOUNT] = np.where(has_coin[0], self.random.normal(0.05, 0.2, accounts) * 1e8, 0)
        balances[2::4, c.AMOUNT] = np.where(has_coin[1], self.random.normal(0.05, 0.2, accounts) * 1e2, 0)
        balances[3::4, c.AMOUNT] = np.where(has_coin[2], self.random.normal(1, 3, accounts) * 1e8, 0)
        modes = np.where(counts == 1, ISOLATED, CROSS)
        modes[:2] = SYSTEM
        return Book.from_rows(modes, counts, rows, balances, np.full(accounts, 4))

    def draw_position(self, market: int) -> tuple[int, int]:
        table = self.tables.markets[market]
        x, y = self.valuation.market_x[market], self.valuation.market_y[market]
        value = self.random.lognormal(np.log(15_000), 1.4)
        decimals = self.tables.assets[table.settle].asset.decimals
        unit = 10**decimals / (self.coins[table.settle - 1] if table.settle else 1)
        lots = max(1, min(int(value * unit * y / x), self.limits.markets[market].max_position))
        size = lots if self.random.random() < 0.5 else -lots
        return size, int(table.sign * size * x / y * self.random.uniform(0.9, 1.1))

    def move(self, kind: str) -> None:
        """Move the prices: calm, wild, gap, back (to the start), edge (a tick to and fro), extreme (at the bounds)."""
        if kind == "edge":
            sign = 1 if self.ticks % 2 else -1
            self.prices += sign * np.array([float(t.market.tick) for t in self.tables.markets])
        elif kind == "back":
            self.prices = self.start.copy()
        elif kind == "extreme":
            self.prices = self.start * self.random.choice([1e-9, 1.0, 1e9], len(self.start))
        elif kind == "gap":
            self.prices *= self.random.choice([0.5, 1.0, 1.5], len(self.start))
            self.coins *= self.random.choice([0.5, 1.0, 1.5], len(self.coins))
        else:
            spread = {"calm": 3e-4, "wild": 0.03}[kind]
            self.prices *= np.exp(self.random.normal(0, spread, len(self.start)))
            self.coins *= np.exp(self.random.normal(0, spread, len(self.coins)))
        self.prices = np.clip(self.prices, 1e-3, 3e5)
        self.coins = np.clip(self.coins, 1, 1e5)
        self.set_prices()

    def tick(self, kind: str) -> None:
        self.ticks += 1
        self.move(kind)
        self.watch.tick_valuation()

    def change_accounts(self, count: int) -> None:
        """Deposit, withdraw, trade and close at random, as commands would, and tell the watch."""
        touched = sorted({int(index) for index in self.random.integers(2, self.book.count, count)})
        for index in touched:
            account = self.book.read(index)
            asset = int(self.random.integers(0, 4))
            account.balances[asset] = account.balances.get(asset, 0) + int(
                self.random.normal(0, [2e9, 5e6, 5, 5e7][asset])
            )
            for market, position in list(account.positions.items()):
                if self.random.random() < 0.3:
                    del account.positions[market]
                elif self.random.random() < 0.3:
                    position.size, position.cost = self.draw_position(market)
            self.book.write(index, account)
        self.watch.update(touched)

    def pay_funding(self) -> None:
        market = int(self.random.integers(0, len(self.tables.markets)))
        x, y = self.valuation.market_x[market], self.valuation.market_y[market]
        self.valuation.funding[market] += int(self.random.normal(0, 3e6)) * x // y
        self.valuation.funding_short[market] += int(self.random.normal(0, 3e6)) * x // y
        self.watch.funding_moved(market)

    def adopt_rules(self) -> None:
        """Adopt rules that differ in some tiers and weights; prices and funding go on."""
        old = self.valuation
        self.tables = build_tables(mixed_rules(stress=int(self.random.integers(0, 5))))
        self.valuation = Valuation(self.tables)
        self.valuation.funding = list(old.funding)
        self.valuation.funding_short = list(old.funding_short)
        self.set_prices()
        self.watch.adopt(self.valuation)

    def missed(self) -> list[int]:
        """Return accounts whose status is not what a full exact rescan says; the rescan is the old, separate one."""
        called = set(below(self.book, self.valuation, CALL))
        breached = set(below(self.book, self.valuation, MAINTENANCE))
        wrong = []
        for index, status in enumerate(self.watch.statuses[: self.book.count].tolist()):
            truth = 2 if index in breached else 1 if index in called else 0
            if status != truth:
                wrong.append(index)
        return wrong


def run_world(seed: int, accounts: int, steps: int) -> int:
    """Run a world and compare with the rescan after every step; return how many account-ticks were compared."""
    world = World(seed, accounts)
    kinds = ["calm"] * 8 + ["wild"] * 6 + ["edge"] * 4 + ["gap", "back", "extreme"]
    for step in range(steps):
        kind = kinds[int(world.random.integers(0, len(kinds)))]
        action = world.random.random()
        if action < 0.15:
            world.change_accounts(5)
        elif action < 0.25:
            world.pay_funding()
        elif action < 0.28:
            world.adopt_rules()
        else:
            world.tick(kind)
        wrong = world.missed()
        assert not wrong, (
            f"seed {seed}, step {step} ({kind}, {action:.3f}): accounts {wrong[:5]} of {len(wrong)} differ"
        )
    return accounts * steps
