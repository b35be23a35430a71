"""A real service on a port of this machine, in a thread of its own, with keys to sign with."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from itertools import count

import httpx
import pytest

from marginkeep.client.signing import Ed25519Key, sign_request
from marginkeep.journal.durable import Request
from marginkeep.journal.memory_log import MemoryLog
from marginkeep.service.access.keys import ApiKey
from marginkeep.service.access.scopes import Scope
from marginkeep.service.operations.settings import ServerSettings, Settings
from marginkeep.service.running import close_context, open_context
from marginkeep.service.server import server_for
from tests.journal.houses import GENESIS

WAIT_SECONDS = 30
LOOPBACK = ("127.0.0.0/8",)
VENUE = "venue"


class RunningService:
    """One service. `call` sends a signed request; `apply` goes to the writer directly; `stop` ends it gracefully.

    Attributes
    ----------
    url : where it listens
    context : of the service; to be touched in its own loop, see `on_loop`
    """

    def __init__(self, context):
        self.context = context
        self.url = ""
        self._listens = threading.Event()
        self._server = server_for(context, self._told)
        self._thread = threading.Thread(target=self._server.run, name="service", daemon=True)
        self._thread.start()
        if not self._listens.wait(WAIT_SECONDS):
            raise TimeoutError("the service does not listen")
        self._numbers = count(1)
        self._keys: dict[str, Ed25519Key] = {}
        self.http = httpx.Client(base_url=self.url, timeout=WAIT_SECONDS)
        self.key(VENUE, tuple(Scope), ("*",))

    def _told(self, url):
        self.url = url
        self.loop = asyncio.get_running_loop()
        self._listens.set()

    def on_loop(self, coroutine):
        """Run a coroutine in the service's loop and return what it gives."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(WAIT_SECONDS)

    def key(self, name, scopes, accounts):
        """Make a key, from loopback alone, and return its credential; `call` knows it by its name."""
        credential = Ed25519Key(name, name.encode().ljust(32, b".")[:32])
        made = ApiKey(
            id=name,
            algorithm="ed25519",
            person=name,
            created_ns=1,
            public=credential.public,
            scopes=tuple(scopes),
            accounts=tuple(accounts),
            addresses=LOOPBACK,
        )
        self.on_loop(self.context.parts["keys"].create(made, "test"))
        self._keys[name] = credential
        return credential

    def call(self, method, path, document=None, *, key=VENUE, idempotency=None, content=None, headers=None):
        """Send a signed request; `idempotency` None = a new one, empty = none."""
        body = content if content is not None else b"" if document is None else json.dumps(document).encode()
        stated = dict(headers or {})
        chosen = f"{key}-{next(self._numbers)}" if idempotency is None else idempotency
        if key is not None:
            stated |= sign_request(self._keys[key], method, path, body, clock=time.time_ns, idempotency_key=chosen)
        elif chosen:
            stated["Idempotency-Key"] = chosen
        return self.http.request(method, path, content=body, headers=stated)

    def apply(self, *commands, actor="test"):
        """Apply commands and return their events."""
        requests = [Request(command=command, actor=actor) for command in commands]
        return [outcome.events for outcome in self.on_loop(self.context.writer.submit(requests))]

    def stop(self):
        """Stop gracefully."""
        self.http.close()
        self._server.should_exit = True
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive(), "the service does not stop"
        close_context(self.context)


def memory_log(genesis=GENESIS):
    """A new journal in memory, with the example rulebook."""
    log = MemoryLog()
    log.create(genesis)
    return log


def settings(**server):
    """Settings of a service on any free port that does nothing by itself."""
    return Settings(server=ServerSettings(**{"port": 0, "tick_seconds": 0, **server}))


@pytest.fixture
def start_service():
    """A callable that starts a service, with settings and a log of the test's choice; all are stopped at the end."""
    started = []

    def start(chosen=None, log=None):
        context = open_context(chosen or settings(), log=log or memory_log())
        started.append(RunningService(context))
        return started[-1]

    yield start
    for service in started:
        if service._thread.is_alive():
            service.stop()


@pytest.fixture
def running_service(start_service):
    """A service with a journal in memory and the example rulebook."""
    return start_service()
