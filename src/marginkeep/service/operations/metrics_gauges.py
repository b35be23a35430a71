"""Gauges read from the running service at the moment of a scrape; between two scrapes they cost nothing."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from fractions import Fraction

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from marginkeep import __version__
from marginkeep.clearing.state import BAD_DEBT, FUND, INSURANCE_FUND
from marginkeep.rulebook.ladder_rules import RUNGS
from marginkeep.rulebook.oracle_rules import MARKET_STATES, QUALITIES
from marginkeep.service.context import ServiceContext

_Rows = Iterable[tuple[tuple[str, ...], float]]


class StateCollector(Collector):
    """Reads a service; to be called in its event loop's thread."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def collect(self) -> Iterator[Metric]:
        """Yield every gauge, those without a value now as well."""
        yield from self._journal()
        yield from self._door()
        yield from self._house()
        yield from self._markets()
        yield from self._funds()
        yield from self._notices()

    def _journal(self) -> Iterator[Metric]:
        durable, writer = self._context.durable, self._context.writer
        yield _gauge("sequence", "Last record applied", durable.head.sequence)
        yield _gauge("durable_sequence", "Last record that is durable", durable.durable.sequence)
        yield _gauge("epoch", "Epoch of the writer: rises with every start", durable.head.epoch)
        yield _gauge("journal_trouble", "1 = the journal accepts nothing more", durable.trouble is not None)
        yield _gauge("queue_requests", "Requests that wait for the writer", writer.waiting_requests)
        yield _gauge("queue_requests_max", "Requests that may wait", writer.queue_max)
        check = self._context.parts.get("self_check")
        failed = check is not None and bool(check.found)
        yield _gauge("self_check_failed", "1 = the full check of the books has found a contradiction", failed)
        yield _gauge("self_check_sequence", "Last record up to which it found none", check.sequence if check else 0)
        yield from self._snapshots()

    def _snapshots(self) -> Iterator[Metric]:
        snapshots = self._context.parts.get("snapshots")
        ages: list[tuple[tuple[str, ...], float]] = []
        durations: list[tuple[tuple[str, ...], float]] = []
        if snapshots is not None and snapshots.taken_ns:
            ages.append(((), _seconds(self._context.clock() - snapshots.taken_ns)))
            durations.append(((), snapshots.seconds))
        yield _table("snapshot_age_seconds", "Since the last snapshot", [], ages)
        yield _table("snapshot_duration_seconds", "How long the last one of this run took", [], durations)
        yield _gauge("snapshot_sequence", "Record that the last snapshot covers", snapshots.last if snapshots else 0)

    def _door(self) -> Iterator[Metric]:
        parts = self._context.parts
        hub, access = parts.get("stream"), parts.get("access")
        yield _gauge("stream_connections", "Sockets that are open", hub.connections if hub else 0)
        yield _gauge("stream_listeners", "Sockets with subscriptions", len(hub.listeners) if hub else 0)
        yield _counter("stream_resyncs", "Times that a listener was too far behind", hub.resyncs if hub else 0)
        yield _counter(
            "sign_ins_refused", "Requests whose signature did not hold", access.sign_ins.total if access else 0
        )

    def _house(self) -> Iterator[Metric]:
        state = self._context.state
        labels = ["version", "rulebook", "rulebook_hash"]
        stated = (__version__, state.rulebook.name, state.rulebook_hash)
        yield _table("build", "What runs", labels, [(stated, 1)])
        yield _gauge("halted", "1 = the audit of the watch has found a contradiction", bool(state.halted))
        yield _gauge("house_time_seconds", "The house's time, Unix", _seconds(state.now_ns))
        yield _gauge("accounts", "Accounts", len(state.names))
        rungs = Tally(ill.rung for ill in state.ill.values())
        rows = [((RUNGS[rung],), float(rungs[rung])) for rung in range(1, len(RUNGS))]
        yield _table("ill_accounts", "Accounts on the ladder, by rung", ["rung"], rows)
        waiting = "Accounts below maintenance that wait for a price or a state"
        yield _gauge("waiting_accounts", waiting, len(state.called))
        auctions = sum(ill.auction is not None for ill in state.ill.values())
        yield _gauge("open_auctions", "Auctions in progress", auctions)
        yield _gauge("reserved_orders", "Orders that hold margin", sum(map(len, state.orders.values())))

    def _markets(self) -> Iterator[Metric]:
        state = self._context.state
        interest, marks = [], []
        for table in state.tables.markets:
            name, market = (table.name,), table.market
            interest.append((name, _units(state.open_interest[table.index], market.lot)))
            marks.append((name, _units(state.valuation.marks[table.index], market.tick)))
        yield _table("open_interest", "What longs hold, in contracts", ["market"], interest)
        yield _table("mark_price", "Mark, in the settle asset", ["market"], marks)
        lines = state.oracle.markets.values() if state.oracle else ()
        states = [((line.name, word), float(line.state_name == word)) for line in lines for word in MARKET_STATES]
        yield _table("market_state", "1 = the market is in this state", ["market", "state"], states)
        worst = [((line.name, word), float(_worst(line.flags) == word)) for line in lines for word in QUALITIES]
        yield _table("price_quality", "1 = the worst quality of the market's price", ["market", "quality"], worst)

    def _funds(self) -> Iterator[Metric]:
        state = self._context.state
        funds, debts = [], []
        for (name, index), balance in sorted(state.ledger.items()):
            asset = state.tables.assets[index].asset
            if name == INSURANCE_FUND or name.startswith(FUND):
                funds.append(((name, asset.name), _units(balance, asset.unit)))
            elif name == BAD_DEBT:
                debts.append(((asset.name,), _units(-balance, asset.unit)))
        yield _table("fund_balance", "What an insurance fund holds", ["fund", "asset"], funds)
        yield _table("bad_debt", "Losses that nobody has paid yet", ["asset"], debts)

    def _notices(self) -> Iterator[Metric]:
        room = self._context.parts.get("notifications")
        deliveries = list(room.deliveries.values()) if room else []
        states = Tally("failing" if one.failing else "behind" if one.behind else "serving" for one in deliveries)
        rows = [((word,), float(states[word])) for word in ("serving", "behind", "failing")]
        yield _table("endpoints", "Endpoints of notifications, by state", ["state"], rows)
        yield _counter("notices_delivered", "Notices delivered", sum(one.delivered for one in deliveries))
        yield _gauge("dead_letters", "Notices that could not be delivered", len(room.dead) if room else 0)


# Leaves --------------------------------------------------------------------------------------------------------------


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"marginkeep_{name}", meaning, value=float(value))


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(f"marginkeep_{name}", meaning, value=float(value))


def _table(name: str, meaning: str, labels: list[str], rows: _Rows) -> Metric:
    family = GaugeMetricFamily(f"marginkeep_{name}", meaning, labels=labels)
    for values, number in rows:
        family.add_metric(values, float(number))
    return family


def _worst(flags: int) -> str:
    """Return the quality that people are shown: the worst of those that apply."""
    return QUALITIES[max(flags.bit_length() - 1, 0)]


def _units(count: int, unit: Fraction) -> float:
    """Return a count in whole units, for a chart: what is exact is told by the queries."""
    return float(count * unit)


def _seconds(nanoseconds: int) -> float:
    return nanoseconds / 10**9
