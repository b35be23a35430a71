"""A venue's matching engine beside the service: it matches, the service decides who can bear it.

Every order is reserved with the service before it enters the book, every match is reported with the orders it fills,
and what leaves the book is released. All of it goes over one WebSocket; a stream tells of margin calls, liquidations
and what the service has released by itself. Traders are made up, with a seed::

    python examples/matching_engine.py --service http://127.0.0.1:8470 --credentials venue.key --seconds 10 --seed 1

The key must act for every account and have the scopes read, trade, transfer and oracle.publish.
"""
# ruff: noqa: T201, S311 - what it prints is what it is for, and its traders only play

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING

from msgspec import structs
from order_book import Match, Order, OrderBook

from marginkeep.client import AsyncClient, commands
from marginkeep.client.errors import Refused
from marginkeep.client.events import CallCured, Liquidated, MarginCalled, OrderReleased, RungChanged
from marginkeep.client.exchange import Conduct
from marginkeep.client.stream_messages import Delta, Resync
from marginkeep.errors import MarginkeepError

if TYPE_CHECKING:
    from marginkeep.client.pipeline import Socket
    from marginkeep.client.venue_views import MarketView

PATIENT = Conduct(timeout=5.0, retries=60)
"""A restart of the service may take some time; until then everything waits, and is asked again with its own key."""

SPREAD = Decimal("0.002")


class MatchingEngine:
    """Order books, and one socket to the service.

    Parameters
    ----------
    run : names this run; all order ids and keys begin with it
    """

    def __init__(self, client: AsyncClient, socket: Socket, markets: dict[str, MarketView], run: str) -> None:
        self.client, self.socket, self.run = client, socket, run
        self.markets = markets
        self.books = {name: OrderBook() for name in markets}
        self.called: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.trade_keys: list[str] = []
        self._owners: set[str] = set()
        self._pending: set[str] = set()
        self._reports: set[asyncio.Task[None]] = set()
        self._numbers = count(1)
        self._open = asyncio.Event()
        self._open.set()
        self._reconnected = asyncio.Event()
        socket.reconnected = self._reconnected.set

    async def take(self, order: Order) -> None:
        """Take an order in: reserve it, match it, report what it traded."""
        await self._open.wait()
        self.counts["orders"] += 1
        if order.account in self.called:
            self.counts["held back"] += 1
            return
        self._pending.add(order.number)
        self._owners.add(order.account)
        try:
            stated = (order.account, order.number, order.market, order.side, order.size, order.price)
            result = await self.socket.command(commands.order(*stated, key=f"{order.number}-reserve"))
            if not result.accepted:
                self.counts["refused"] += 1
                self.counts[f"refused: {result.refusal or result.status}"] += 1
                return
            if order.account in self.called:
                await self._release(order)
                return
            self._match(order)
        finally:
            self._pending.discard(order.number)
        if self._reports:
            await asyncio.wait(set(self._reports))

    def _match(self, order: Order) -> None:
        """Match without a pause in between, so that reports go out in the order in which the book has matched."""
        left = order.size
        for match in self.books[order.market].add(order):
            left -= match.size
            self._begin(self._report(match))
        if left and order.number not in self.books[order.market].orders:
            self._begin(self._release(order))

    def _begin(self, work) -> None:  # noqa: ANN001 - a coroutine
        task = asyncio.create_task(work)
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)

    async def _report(self, match: Match) -> None:
        """Report a trade until it is answered; where a side is refused, its order cannot stay."""
        key = f"{self.run}-trade-{next(self._numbers)}"
        buyer, seller = match.buyer, match.seller
        trade = commands.trade(
            match.taker.market,
            buyer.account,
            seller.account,
            match.size,
            match.price,
            taker="buyer" if match.taker is buyer else "seller",
            buyer_order=buyer.number,
            seller_order=seller.number,
            key=key,
        )
        result = await self.socket.command(trade)
        self.counts["trades" if result.accepted else "trades refused"] += 1
        self.counts["answered again"] += result.repeated
        if result.accepted:
            self.trade_keys.append(key)
        else:
            for order in (match.maker, match.taker):
                await self._cancel(order)

    async def _cancel(self, order: Order) -> None:
        """Take an order out of the book and give back what it reserves."""
        self.books[order.market].remove(order.number)
        await self._release(order)

    async def _release(self, order: Order) -> None:
        result = await self.socket.command(commands.release(order.account, order.number, key=f"{order.number}-release"))
        self.counts["released" if result.accepted else "already gone"] += 1

    # What the service tells by itself -----------------------------------------------------------------------------

    async def listen(self) -> None:
        """Follow margin calls, liquidations and releases; after a loss of events, compare everything."""
        async for message in self.client.stream("events"):
            if isinstance(message, Resync):
                await self.resynchronise()
            elif isinstance(message, Delta):
                for happened in message.events:
                    await self._learn(happened.event)

    async def _learn(self, event: object) -> None:
        if isinstance(event, OrderReleased) and event.reason == "liquidation":
            for book in self.books.values():
                book.remove(event.order)
        elif isinstance(event, (MarginCalled, Liquidated)):
            self.counts["margin calls" if isinstance(event, MarginCalled) else "liquidations"] += 1
            self.called.add(event.account)
            for book in self.books.values():
                for order in book.of_account(event.account):
                    await self._cancel(order)
            if isinstance(event, Liquidated) and not event.health_after.startswith("-"):
                self.called.discard(event.account)
        elif isinstance(event, CallCured) or (isinstance(event, RungChanged) and event.after == "healthy"):
            self.called.discard(event.account)

    async def compare_after_losses(self) -> None:
        """Compare everything each time the connection was lost and made again."""
        while True:
            await self._reconnected.wait()
            self._reconnected.clear()
            await self.resynchronise()

    async def resynchronise(self) -> None:
        """Make the books and the service's open orders the same: the service's word counts.

        No order is taken meanwhile, and what is under way is answered first: only then can the two be compared.
        """
        self.counts["resynchronised"] += 1
        self._open.clear()
        try:
            await self.settle()
            for owner in sorted(self._owners):
                await self._compare(owner)
        finally:
            self._open.set()

    async def _compare(self, owner: str) -> None:
        there = {order.order for order in (await self.client.orders(owner)).orders}
        here = {order.number: order for book in self.books.values() for order in book.of_account(owner)}
        for number in here.keys() - there:
            self.counts["dropped, for the service has it no more"] += 1
            self.books[here[number].market].remove(number)
        for number in there - here.keys():
            if number.startswith(self.run):
                self.counts["released, for it is in no book"] += 1
                await self.socket.command(commands.release(owner, number, key=f"{number}-release"))

    async def settle(self) -> None:
        """Wait until every order and trade under way is answered."""
        while self._reports or self._pending:
            waiting = set(self._reports)
            await (asyncio.wait(waiting) if waiting else asyncio.sleep(0.001))


class Traders:
    """Made-up traders: each order is at a price near the mark, of a few lots."""

    def __init__(self, names: list[str], markets: dict[str, MarketView], seed: int, run: str) -> None:
        self._names, self._markets, self._run = names, markets, run
        self._chance = random.Random(seed)
        self._numbers = count(1)

    def next_order(self) -> Order:
        """Return another order."""
        market = self._chance.choice(list(self._markets.values()))
        tick, lot, mark = Decimal(market.tick), Decimal(market.lot), Decimal(market.mark or 0)
        away = mark * SPREAD * Decimal(self._chance.randrange(-100, 101)) / 100
        price = ((mark + away) // tick) * tick
        side, account = self._chance.choice(("buy", "sell")), self._chance.choice(self._names)
        number = f"{self._run}-{next(self._numbers)}"
        return Order(number, account, market.market, side, lot * self._chance.randrange(1, 50), price)


async def prepare(client: AsyncClient, names: list[str], options: argparse.Namespace, run: str) -> dict:
    """Give traders money and markets without a mark one; return the markets that can be traded."""
    reporting = (await client.assets()).reporting
    for name in names:
        await client.deposit(name, reporting, options.deposit, key=f"{run}-deposit-{name}")
    listed = (await client.markets()).markets
    open_at = dict(options.open)
    missing = {one.market: open_at[one.market] for one in listed if one.mark is None and one.market in open_at}
    if missing:
        await client.set_prices(missing, key=f"{run}-open")
        listed = (await client.markets()).markets
    return {one.market: one for one in listed if one.mark is not None}


async def trade_for(engine: MatchingEngine, traders: Traders, seconds: float, at_once: int) -> float:
    """Let traders trade, some at once; return how long it took."""
    began = time.monotonic()

    async def one_after_another() -> None:
        while time.monotonic() - began < seconds:
            await engine.take(traders.next_order())

    await asyncio.gather(*(one_after_another() for _ in range(at_once)))
    await engine.settle()
    return time.monotonic() - began


async def move_prices(client: AsyncClient, markets: dict[str, MarketView], seed: int, every: float) -> None:
    """Walk the marks at random, as an oracle would; traders follow."""
    chance = random.Random(seed + 1)
    while True:
        await asyncio.sleep(every)
        for name, market in markets.items():
            tick = Decimal(market.tick)
            moved = Decimal(market.mark or 0) * (1 + Decimal(chance.randrange(-30, 31)) / 10_000) // tick * tick
            try:
                await client.set_prices({name: moved})
            except Refused:
                return
            markets[name] = structs.replace(market, mark=str(moved))


async def run(options: argparse.Namespace) -> dict:
    """Run the engine and return its summary."""
    name = options.run or f"run-{options.seed}-{time.time_ns():x}"
    async with AsyncClient(options.service, options.credentials, conduct=PATIENT) as client:
        names = [f"trader-{number}" for number in range(options.traders)]
        markets = await prepare(client, names, options, name)
        if not markets:
            raise SystemExit("no market has a mark: start the oracle, or give --open MARKET=PRICE")
        traders = Traders(names, markets, options.seed, name)
        async with client.socket(patience=120.0) as socket:
            engine = MatchingEngine(client, socket, markets, name)
            async with asyncio.TaskGroup() as group:  # an engine that no longer hears of margin calls must not trade on
                tasks = [group.create_task(engine.listen()), group.create_task(engine.compare_after_losses())]
                if options.move_prices:
                    moving = move_prices(client, markets, options.seed, options.move_prices)
                    tasks.append(group.create_task(moving))
                print("trading", flush=True)
                took = await trade_for(engine, traders, options.seconds, options.at_once)
                for task in tasks:
                    task.cancel()
            await engine.resynchronise()
            return summary(engine, socket, took)


def summary(engine: MatchingEngine, socket: Socket, took: float) -> dict:
    """Return what has happened, and the books as they stand."""
    resting = {number: str(order.size) for book in engine.books.values() for number, order in book.orders.items()}
    per_second = round((engine.counts["orders"] + engine.counts["trades"]) / took)
    return {
        "run": engine.run,
        "seconds": round(took, 1),
        "orders and trades a second": per_second,
        "reconnections": socket.reconnections,
        "counts": dict(sorted(engine.counts.items())),
        "resting": resting,
        "trade keys": engine.trade_keys,
    }


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--service", help="address; left out: as the credentials state")
    parser.add_argument("--credentials", required=True)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", default="", help="name of the run; left out: a new one")
    parser.add_argument("--traders", type=int, default=20)
    parser.add_argument("--deposit", default="100000", help="what each trader begins with")
    parser.add_argument("--at-once", type=int, default=32, help="orders under way at the same time")
    parser.add_argument("--open", action="append", default=[], type=lambda text: tuple(text.split("=", 1)))
    parser.add_argument("--move-prices", type=float, default=0.0, metavar="SECONDS", help="walk the marks so often")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Run, and print the summary."""
    options = read_options()
    try:
        told = asyncio.run(run(options))
    except MarginkeepError as error:
        raise SystemExit(f"matching_engine: {error}") from error
    if options.json:
        print(json.dumps(told))
        return
    counts = told["counts"]
    print(f"{told['run']}: {told['seconds']} s, {told['orders and trades a second']} orders and trades a second")
    for name, number in counts.items():
        print(f"    {number:8d} {name}")
    print(f"    {len(told['resting']):8d} orders rest; the connection was made again {told['reconnections']} times")


if __name__ == "__main__":
    main()
