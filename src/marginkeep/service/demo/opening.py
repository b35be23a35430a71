"""``marginkeep serve --demo``: a service with a live simulated market, and keys to speak to it with.

The market is a client of the writer like any other: whatever it does is a command in the journal.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from marginkeep.clearing import Command, Liquidated
from marginkeep.clearing.events import AuctionBid
from marginkeep.clearing.loss_events import Deleveraged
from marginkeep.client.signing import ED25519, SECRET_BYTES, Credentials, Ed25519Key
from marginkeep.errors import InputError
from marginkeep.journal.command_log import CommandLog
from marginkeep.journal.durable import Request
from marginkeep.journal.opening import open_log
from marginkeep.journal.record import Genesis
from marginkeep.service.access.keys import DAY_NS, ID_BYTES, ApiKey
from marginkeep.service.access.scopes import EVERY_ACCOUNT, Scope
from marginkeep.service.context import ServiceContext
from marginkeep.service.demo.market import DemoMarket
from marginkeep.service.demo.people import YOU
from marginkeep.service.demo.prices import STEPS_A_SECOND
from marginkeep.service.demo.rules import DEMO_RULES
from marginkeep.service.operations.pulse import BackgroundTask
from marginkeep.service.wire.problems import Problem

NAME: Final = "marginkeep-demo"
ACTOR: Final = "demo-market"
CREDENTIALS: Final = "demo-credentials.toml"
VENUE_CREDENTIALS: Final = "demo-venue.toml"
ACCOUNTS_MAX: Final = 2_000
GOOD_FOR_DAYS: Final = 7
LOOPBACK: Final = ("127.0.0.0/8", "::1")
_REDUCTIONS: Final = (Liquidated, AuctionBid, Deleveraged)
REST_SHARE: Final = 4
"""The market rests at least this part of a step, however long its work took."""

_log = structlog.get_logger("marginkeep.demo")


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What may be chosen.

    Attributes
    ----------
    folder : where the credentials are written
    speed : steps of the market, compared to the usual four a second; deadlines stay as they are
    accounts : traders beside "you"
    """

    folder: Path
    speed: float = 1.0
    accounts: int = 400
    seed: int = 1


class Demo(BackgroundTask):
    """A part of the service: makes the keys and runs the market.

    Parameters
    ----------
    secret : gives as many random bytes as asked for
    """

    def __init__(
        self, context: ServiceContext, options: DemoOptions, secret: Callable[[int], bytes] = os.urandom
    ) -> None:
        super().__init__()
        if not 0 <= options.accounts <= ACCOUNTS_MAX:
            raise InputError(f"the demonstration has {options.accounts} accounts: give 0 to {ACCOUNTS_MAX}")
        self.options = options
        self._context, self._secret = context, secret
        self._market = DemoMarket(options.accounts, options.seed)
        self._credentials: dict[str, Credentials] = {}

    async def start(self) -> None:
        """Make the keys, open the market and let it run."""
        await self._make_key(CREDENTIALS, "you", (Scope.READ, Scope.TRADE), YOU)
        await self._make_key(VENUE_CREDENTIALS, "the venue", tuple(Scope), EVERY_ACCOUNT)
        for batch in self._market.open(self._context.state, self._context.clock()):
            await self._submit(batch)
        await super().start()

    def write_credentials(self, url: str) -> list[Path]:
        """Write both keys with the service's address, in the place of an earlier demonstration's."""
        paths = []
        for name, credentials in self._credentials.items():
            path = self.options.folder / name
            path.unlink(missing_ok=True)
            msgspec.structs.replace(credentials, url=url).save(path)
            paths.append(path)
        return paths

    async def _make_key(self, file: str, person: str, scopes: tuple[Scope, ...], account: str) -> None:
        identity, secret = self._secret(ID_BYTES).hex(), self._secret(SECRET_BYTES)
        now_ns = self._context.clock()
        key = ApiKey(
            id=identity,
            algorithm=ED25519,
            person=f"{person} (demonstration)",
            created_ns=now_ns,
            public=Ed25519Key(identity, secret).public,
            scopes=scopes,
            accounts=(account,),
            addresses=LOOPBACK,
            expires_ns=now_ns + GOOD_FOR_DAYS * DAY_NS,
        )
        await self._context.parts["keys"].create(key, ACTOR)
        encoded = base64.b64encode(secret).decode()
        self._credentials[file] = Credentials(key=identity, algorithm=ED25519, secret=encoded)

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        pause = 1 / (STEPS_A_SECOND * self.options.speed)
        while self._context.durable.trouble is None:
            began = clock()
            try:
                await self._submit(self._market.step(self._context.state, self._context.clock()))
            except Problem as problem:
                _log.warning("the simulated market waits", why=problem.detail)
            await asyncio.sleep(max(pause - (clock() - began), pause / REST_SHARE))

    async def _submit(self, commands: Sequence[Command]) -> None:
        outcomes = await self._context.writer.submit([Request(command=command, actor=ACTOR) for command in commands])
        if any(isinstance(event, _REDUCTIONS) and event.account == YOU for one in outcomes for event in one.events):
            self._market.note_reduction()


def demo_log(place: str, clock: Callable[[], int]) -> CommandLog:
    """Open or create the journal of a demonstration.

    Raises
    ------
    InputError : it is the journal of something else
    """
    log = open_log(place)
    genesis = log.genesis()
    if genesis is None:
        log.create(Genesis(name=NAME, rules=DEMO_RULES, created_ns=clock()))
    elif genesis.name != NAME:
        log.close()
        raise InputError(f"{place} is the journal of {genesis.name!r}, not of a demonstration: name another --journal")
    return log
