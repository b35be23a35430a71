"""What the tests of streams and notices share: a venue with margin calls, and a client that keeps a view."""

from __future__ import annotations

import json
import time

from websockets.sync.client import connect

from marginkeep.clearing import Deposit, SetPrices, Trade
from marginkeep.client.signing import sign_request
from marginkeep.journal.record import Genesis
from marginkeep.service.access.scopes import Scope
from tests.ladder_houses import rules_text

CALLS = {"deadline": "10m", "reminders": ["2m"], "volatility": "0.8", "probability": "0.99"}
CALLED_RULES = rules_text({"calls": CALLS})
CALLED = Genesis(name="test.example/calls", rules=CALLED_RULES, created_ns=1)
WAIT_SECONDS = 20
MARKET = "BTC-PERP"
ALL_CHANNELS = ["events", "calls", "accounts", "marks", "oracle", "auctions", "funds"]


def deposit(account, whole):
    return Deposit(account=account, asset="USD", amount=whole * 10**6)


def price(whole):
    return SetPrices(marks={MARKET: whole * 10})


def trade(buyer, seller, lots, whole=50_000):
    return Trade(market=MARKET, buyer=buyer, seller=seller, size=lots, price=whole * 10)


def open_market(service, *people):
    """BTC at 50,000, and everybody with 1,000,000 USD."""
    service.apply(price(50_000), *(deposit(name, 1_000_000) for name in people))


def lever(service, account, other):
    """Let an account hold one BTC on 2,600 USD: below 47,400 or so it is called."""
    service.apply(deposit(account, 2_600), trade(account, other, 1_000))


class StreamClient:
    """One socket; what it has received, as a client keeps it.

    Attributes
    ----------
    rows : channel -> first member of a row -> row, of row channels
    events : channel -> events in order of arrival, with their ids
    last : channel -> sequence of the last complete message
    raw : every message as text
    """

    def __init__(self, service, key, **options):
        self.service = service
        headers = sign_request(service._keys[key], "GET", "/v1/stream", clock=time.time_ns)
        url = service.url.replace("http", "ws", 1) + "/v1/stream"
        stated = {"compression": None, "max_size": 2**24, "max_queue": None, "close_timeout": 1, **options}
        self.socket = connect(url, legacy=True, additional_headers=headers, **stated)
        self.rows, self.events, self.last, self.raw = {}, {}, {}, []
        self.snapshots, self.resyncs, self.answers = [], [], []
        self._numbers = 0

    def send(self, **operation):
        self.socket.send(json.dumps(operation))

    def ask(self, **operation):
        """Send an operation and return its answer, taking in what comes before it."""
        self._numbers += 1
        identity = f"ask-{self._numbers}"
        self.send(id=identity, **operation)
        return self.until(lambda message: message.get("id") == identity)

    def subscribe(self, *channels, identity="s", **more):
        self.send(op="subscribe", id=identity, channels=list(channels), **more)
        return self.until(lambda message: message["type"] in ("subscribed", "error"))

    def until(self, wanted, seconds=WAIT_SECONDS):
        """Take messages in until one is wanted, and return it."""
        deadline = time.monotonic() + seconds
        while True:
            message = self.take(deadline - time.monotonic())
            if wanted(message):
                return message

    def take(self, seconds=WAIT_SECONDS):
        text = self.socket.recv(seconds)
        self.raw.append(text)
        message = json.loads(text)
        self._keep(message)
        return message

    def settle(self, holds, seconds=WAIT_SECONDS):
        """Take messages in until something holds of the client."""
        deadline = time.monotonic() + seconds
        while not holds(self):
            self.take(deadline - time.monotonic())

    def close(self):
        self.socket.close()

    def ids(self, channel):
        return [event["id"] for event in self.events.get(channel, [])]

    def _keep(self, message):
        channel = message.get("channel")
        if message["type"] == "snapshot":
            self._keep_snapshot(message, channel)
        elif message["type"] == "delta":
            assert message["previous"] == self.last[channel], "a gap that nobody told of"
            self.events.setdefault(channel, []).extend(message.get("events", ()))
            self._keep_rows(channel, message.get("rows", ()))
        elif message["type"] == "resync":
            assert message["from"] == self.last[channel]
            self.resyncs.append(message)
            return
        if channel is not None and message["complete"]:
            self.last[channel] = message["sequence"]

    def _keep_snapshot(self, message, channel):
        self.snapshots.append(message)
        if self.last.get(channel) != message["sequence"] or not message["rows"]:
            self.rows[channel] = {}
        self._keep_rows(channel, message["rows"])

    def _keep_rows(self, channel, rows):
        for row in rows:
            self.rows.setdefault(channel, {})[next(iter(row.values()))] = row


def reader(service, name, *owners, scopes=(Scope.READ, Scope.TRADE)):
    """Make a key for some owners and return its name."""
    service.key(name, scopes, owners or (name,))
    return name
