"""A running service with keys of every kind, and clients that sign: what the tests of access share."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager

import httpx

from marginkeep.client.signing import Ed25519Key, sign_request
from marginkeep.journal.memory_log import MemoryLog
from marginkeep.journal.record import Genesis
from marginkeep.service.access.key_store import DOCUMENT
from marginkeep.service.access.keys import DAY_NS, ApiKey, encode_key
from marginkeep.service.access.scopes import Scope
from marginkeep.service.operations.settings import AccessSettings, JournalSettings, ServerSettings, Settings
from marginkeep.service.running import close_context, open_context
from marginkeep.service.server import server_for

BOUND_S = 20
RULES = """
name = "{name}"

[assets.USD]

[markets.BTC-PERP]
settle = "USD"
lot = "0.001"
tick = "0.1"
max_price = "1000000"
taker_fee = "0.0005"
tiers = [{{floor = "0", initial = "{initial}", maintenance = "{maintenance}"}}]
"""


def rules(name="first", initial="0.02", maintenance="0.01"):
    return RULES.format(name=name, initial=initial, maintenance=maintenance)


class Clock:
    """The real time, put forward by hand."""

    def __init__(self):
        self.ahead_ns = 0

    def __call__(self):
        return time.time_ns() + self.ahead_ns

    def advance(self, seconds):
        self.ahead_ns += seconds * 10**9


def private_key(name):
    """A key pair whose seed is made from its name, so that it is the same in every run."""
    return Ed25519Key(name, name.encode().ljust(32, b".")[:32])


def api_key(name, *scopes, accounts=("*",), person=None, now_ns=None, **changes):
    now_ns = time.time_ns() if now_ns is None else now_ns
    stated = {
        "id": name,
        "algorithm": "ed25519",
        "person": person or f"Person of {name}",
        "public": private_key(name).public,
        "scopes": scopes or (Scope.READ,),
        "accounts": accounts,
        "addresses": ("127.0.0.1", "::1"),
        "created_ns": now_ns,
        "expires_ns": now_ns + 30 * DAY_NS,
    }
    return ApiKey(**{**stated, **changes})


class World:
    """A service at work.

    Attributes
    ----------
    context : the service's; touch it from its own thread alone, save for reading
    """

    def __init__(self, context, clock, server):
        self.context, self.clock = context, clock
        self.port = server.servers[0].sockets[0].getsockname()[1]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=BOUND_S)

    def send(self, credential, method, path, document=None, *, headers=None, key=None, **signing):
        """Send a signed request; a credential of None sends it unsigned."""
        content = b"" if document is None else json.dumps(document).encode()
        request = self.client.build_request(method, path, content=content)
        signing.setdefault("clock", self.clock)
        if credential is not None:
            target = request.url.raw_path.decode()
            signing.setdefault("idempotency_key", key or "")
            request.headers.update(sign_request(credential, method, target, content, **signing))
        elif key is not None:
            request.headers["Idempotency-Key"] = key
        request.headers.update(headers or {})
        return self.client.send(request)

    def notes(self, kind):
        """The notes of a kind in the journal, with what was kept apart of them."""
        found = []
        for record in self.context.log.read():
            body = json.loads(record.body)
            if record.kind == "note" and body["type"] == kind:
                personal = self.context.log.personal(record.sequence)
                found.append((record, body, json.loads(personal.payload) if personal else None))
        return found


def settings(**access):
    return Settings(
        journal=JournalSettings(snapshot_records=0),
        server=ServerSettings(port=0, tick_seconds=0),
        access=AccessSettings(**access),
    )


def memory_log(**stated):
    log = MemoryLog()
    log.create(Genesis(name="test", rules=rules(**stated), created_ns=1))
    return log


@contextmanager
def running(*keys, prepare=None, **access):
    """Run a service with some keys on a port of its own, and stop it in the end."""
    clock = Clock()
    context = open_context(settings(**access), clock=clock, log=memory_log())
    for key in keys:
        context.log.put_document(DOCUMENT, key.id, encode_key(key))
    context.parts["keys"].load()
    if prepare is not None:
        prepare(context)
    listens = threading.Event()
    server = server_for(context, lambda _: listens.set())
    thread = threading.Thread(target=server.run, name="service under test")
    thread.start()
    try:
        assert listens.wait(BOUND_S), "the service did not start"
        world = World(context, clock, server)
        yield world
        world.client.close()
    finally:
        server.should_exit = True
        thread.join(BOUND_S)
        close_context(context)
    assert not thread.is_alive()
