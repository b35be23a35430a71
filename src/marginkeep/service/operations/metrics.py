"""What Prometheus is told: counters and histograms kept as things happen, gauges read from the state when asked."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from marginkeep.clearing.events import Rejected
from marginkeep.journal.durable import Outcome, Request
from marginkeep.service.context import ServiceContext
from marginkeep.service.operations.metrics_gauges import StateCollector
from marginkeep.service.operations.observing import Observer

LATENCIES: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds in seconds; the service's stated bars, 20 ms and 50 ms, are among them."""

SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
NOTE: Final = "note"
UNMATCHED: Final = "unmatched"
TOO_MANY: Final = 429

disable_created_metrics()  # type: ignore[no-untyped-call]  # when a series began: nothing here asks for it


class Metrics(Observer):
    """The registry of one service, and what fills it.

    Attributes
    ----------
    registry : this service's own, so that two in one process do not mix
    """

    def __init__(self, context: ServiceContext) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._commands = self._counter("commands", "Commands answered", "command", "outcome")
        self._refusals = self._counter("refusals", "Commands refused by the clearinghouse", "code")
        self._events = self._counter("events", "Events of the clearinghouse", "event")
        self._records = self._counter("records", "Records made durable")
        self._failures = self._counter("failed_batches", "Batches that could not be applied or made durable")
        self._batch = self._histogram("batch_requests", "Requests in a batch", SIZES)
        self._apply = self._histogram("apply_seconds", "Applying a batch in memory", LATENCIES)
        self._commit = self._histogram("commit_seconds", "From applied to durable, a batch", LATENCIES)
        self._command = self._histogram("command_seconds", "From submitted to durable, with the queue", LATENCIES)
        self._requests = self._counter("requests", "Requests answered", "route", "method", "status")
        self._latency = self._histogram("request_seconds", "Answering a request", LATENCIES, "bucket")
        self._limited = self._counter("rate_limited", "Requests refused because a bucket was empty", "bucket")
        self.registry.register(StateCollector(context))
        ProcessCollector(registry=self.registry)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def applied(self, requests: int, seconds: float) -> None:
        """Count a batch that was applied."""
        self._batch.observe(requests)
        self._apply.observe(seconds)

    def landed(self, requests: Sequence[Request], outcomes: Sequence[Outcome], seconds: float) -> None:
        """Count a batch that is durable."""
        self._commit.observe(seconds)
        commands, refusals, events = Tally[tuple[str, str]](), Tally[str](), Tally[str]()
        for request, outcome in zip(requests, outcomes, strict=True):
            answered = () if outcome.repeated else outcome.answered or ()
            first = answered[0] if answered else None
            if isinstance(first, Rejected):
                refusals[first.code] += 1
            name = NOTE if request.command is None else type(request.command).__name__
            commands[name, _outcome_word(outcome, first)] += 1
            events.update(type(event).__name__ for event in answered)
        self._add(self._commands, commands)
        self._add(self._refusals, {(code,): count for code, count in refusals.items()})
        self._add(self._events, {(name,): count for name, count in events.items()})
        self._records.inc(sum(not outcome.repeated for outcome in outcomes))

    def failed(self) -> None:
        """Count a batch that failed."""
        self._failures.inc()

    def answered(self, seconds: float) -> None:
        """Count how long a submission took."""
        self._command.observe(seconds)

    def served(self, route: str, method: str, bucket: str, status: int, seconds: float) -> None:
        """Count a request."""
        known = method if route else "-"
        self._requests.labels(route or UNMATCHED, known, str(status)).inc()
        self._latency.labels(bucket).observe(seconds)
        if status == TOO_MANY:
            self._limited.labels(bucket).inc()

    # Leaves -------------------------------------------------------------------------------------------------------

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"marginkeep_{name}", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, bounds: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"marginkeep_{name}", meaning, labels, buckets=bounds, registry=self.registry)

    @staticmethod
    def _add(counter: Counter, counts: dict[Any, int]) -> None:
        for labels, count in counts.items():
            counter.labels(*labels).inc(count)


def _outcome_word(outcome: Outcome, first: object) -> str:
    if outcome.conflict:
        return "key_reused"
    if outcome.repeated:
        return "repeated"
    return "rejected" if isinstance(first, Rejected) else "accepted"
