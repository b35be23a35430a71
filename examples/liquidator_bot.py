"""A liquidator's bot: it watches the open auctions of a house and bids when the discount pays for its cost.

Run it with ``python examples/liquidator_bot.py``: it plays a made-up crash and prints what the bot earned. It hedges
nothing; what it earned is the value of what it took over at the marks, less what it paid, plus rewards.
"""
# ruff: noqa: T201 - what it prints is what it is for

from __future__ import annotations

from dataclasses import dataclass

from marginkeep.clearing import (
    AdvanceTime,
    Bid,
    Clearinghouse,
    Deposit,
    RegisterLiquidator,
    Rejected,
    SetPrices,
    Trade,
    check_conservation,
    open_auctions,
)
from marginkeep.clearing.events import AuctionBid
from marginkeep.rulebook import read_rulebook

SECOND = 10**9
RATE_ONE = 10**9
DOLLAR = 10**6

RULES = {
    "assets": {"USD": {}},
    "liquidation": {"slippage": "0.002", "penalty": "0.005", "liquidator_share": "0.5"},
    "markets": {
        "BTC-PERP": {
            "settle": "USD",
            "lot": "0.001",
            "tick": "0.1",
            "max_price": "1000000",
            "tiers": [{"floor": "0", "initial": "0.1", "maintenance": "0.05"}],
        }
    },
    "ladder": {
        "auctions": {
            "below_factor": "0.9",
            "start": "0.001",
            "most": "0.05",
            "duration": "60s",
            "step": "5s",
            "tip": "2",
            "most_debt": "400000",
        }
    },
}
"""Health below nine tenths is auctioned, at most 400,000 dollars at once; the discount grows 0.08 % a second,
and with illness."""


@dataclass
class LiquidatorBot:
    """Bids in one house.

    Attributes
    ----------
    name : its account, registered as a liquidator
    cost : what a position costs it to unwind, parts per 10^9 of its value
    most_value : the most it takes in one bid, smallest units of the reporting asset
    """

    house: Clearinghouse
    name: str
    cost: int
    most_value: int
    earned: int = 0
    bids: int = 0

    def poll(self) -> list[AuctionBid]:
        """Look at every open auction, bid on those that pay, and return the bids that were taken."""
        taken = []
        for auction in open_auctions(self.house.state):
            if not auction.fraction or auction.discount <= self.cost:
                continue
            fraction = min(auction.fraction, auction.fraction * self.most_value // auction.value)
            if fraction == 0:
                continue
            taken += self._bid(auction.account, fraction)
        return taken

    def _bid(self, account: str, fraction: int) -> list[AuctionBid]:
        command = Bid(account=account, liquidator=self.name, fraction=fraction, least_discount=self.cost + 1)
        events = self.house.apply(command)
        if isinstance(events[0], Rejected):
            print(f"  refused: {events[0].reason}")
            return []
        taken = [event for event in events if isinstance(event, AuctionBid)]
        for event in taken:
            self.bids += 1
            self.earned += self._gain(event)
        return taken

    def _gain(self, event: AuctionBid) -> int:
        """Return what a bid is worth at the marks; this house's only market and its rewards settle in dollars."""
        lot_ticks = DOLLAR // 10_000  # a lot of 0.001 at a tick of 0.1 dollars
        gain = event.reward
        for fill in event.fills:
            gain += -fill.size * (fill.mark - fill.price) * lot_ticks
        return gain


def made_up_house() -> Clearinghouse:
    """Return a house in which six traders with high leverage have bought bitcoin at 50,000 dollars."""
    house = Clearinghouse(read_rulebook(RULES))
    house.apply(AdvanceTime(now_ns=SECOND))
    house.apply(SetPrices(marks={"BTC-PERP": 500_000}))
    house.apply(Deposit(account="maker", asset="USD", amount=10**8 * DOLLAR))
    for number in range(6):
        trader, btc = f"trader-{number}", 2 + number
        house.apply(Deposit(account=trader, asset="USD", amount=btc * (6_000 + 160 * number) * DOLLAR))
        house.apply(Trade(market="BTC-PERP", buyer=trader, seller="maker", size=btc * 1_000, price=500_000))
    return house


def crash() -> tuple[int, ...]:
    """Return the marks of the made-up crash, in ticks, one every ten seconds: down by a tenth, then still."""
    return (490_000, 476_000, 459_000, 453_000) + (453_000,) * 16


def main() -> None:
    """Play the crash and say what the bot earned."""
    house = made_up_house()
    house.apply(Deposit(account="bot", asset="USD", amount=500_000 * DOLLAR))
    house.apply(RegisterLiquidator(account="bot"))
    bot = LiquidatorBot(house, "bot", cost=RATE_ONE // 200, most_value=150_000 * DOLLAR)
    for step, mark in enumerate(crash()):
        house.apply(SetPrices(marks={"BTC-PERP": mark}))
        for second in range(0, 10, 2):
            house.apply(AdvanceTime(now_ns=(2 + 10 * step + second) * SECOND))
            for event in bot.poll():
                lots = sum(-fill.size for fill in event.fills)
                print(
                    f"{10 * step + second:4d} s  {event.account}: {lots / 1_000:.3f} BTC "
                    f"at {event.discount / 10**7:.2f} % below {mark / 10:.1f}, reward {event.reward / DOLLAR:.2f}"
                )
    check_conservation(house)
    print(f"{bot.bids} bids, earned {bot.earned / DOLLAR:.2f} USD at the marks of the bids")
    print(f"still ill: {', '.join(house.state.ill) or 'nobody'}")


if __name__ == "__main__":
    main()
