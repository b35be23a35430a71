"""A service under mixed load, killed and started again; `make soak-service` runs it for half an hour.

The run of a few seconds that is part of `make test` says less: below one minute a run without a single notice passes,
and below sixteen (twice `JUDGED_SECONDS`) the growth of memory is not judged at all. Every run judges that nothing
acknowledged is lost, that the journal is sound and replays, and that streams tell something.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from benchmarks.service_book import called_house, make_journal
from benchmarks.service_host import JOURNAL, LOG, start_host, wait_until_ready

from marginkeep.journal.sqlite_log import SqliteLog
from tests.service.webhook_receiver import Receiver
from tests.soak.service_clients import KEY, Connection, World, listener, prices, slow_reader, trader

ACCOUNTS = 2_000
TRADERS, LISTENERS, SLOW_READERS = 6, 4, 2
KILLS = (0.1, 0.2)
"""When the service is killed, as shares of the whole time; memory is judged over the second half."""

GROWTH_KIB_A_MINUTE = 1_024
"""The resident memory may grow by this much a minute over the second half of a soak: half an hour would cost 15 MiB."""

JUDGED_SECONDS = 480
"""A second half that is shorter says nothing: for some minutes after a start, rings and page caches are filling."""

STOP_SECONDS = 60


class Service:
    """The service's process, and what its memory has been since it was last started."""

    def __init__(self, folder):
        self.folder, self.process, self.url, self.samples = folder, None, "", []

    async def start(self):
        self.process = start_host(self.folder)
        self.url = (await asyncio.to_thread(wait_until_ready, self.folder, self.process)).url

    async def kill(self):
        self.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(self.process.wait, STOP_SECONDS)

    async def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(self.process.wait, STOP_SECONDS) == 0, (self.folder / LOG).read_text()[-2_000:]

    def leave_nothing_running(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOP_SECONDS)

    def sample(self, seconds):
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        self.samples.append((seconds, pages * os.sysconf("SC_PAGE_SIZE") // 1024))

    def growth(self, since):
        """Return KiB a minute by least squares, from a second on."""
        times, sizes = zip(*[one for one in self.samples if one[0] >= since], strict=True)
        return float(np.polyfit(times, sizes, 1)[0]) * 60


@pytest.mark.without_shadows("the house is in another process")
def test_a_service_under_mixed_load_keeps_its_memory_and_every_acknowledged_command(request, tmp_path, capsys):
    minutes = request.config.getoption("--soak-minutes", default=0.2)
    make_journal(tmp_path / JOURNAL, called_house(ACCOUNTS))
    receiver = Receiver()
    service = Service(tmp_path)
    try:
        world = asyncio.run(soak(service, 60 * minutes, receiver, capsys))
    finally:
        service.leave_nothing_running()
        receiver.close()
    verify(tmp_path / JOURNAL)
    assert world.acknowledged == recorded(tmp_path / JOURNAL)
    assert world.heard["delta"]
    # In a few seconds with two restarts, a slow machine may not come to send any notice.
    assert receiver.taken or minutes < 1
    since = 60 * minutes / 2
    if since >= JUDGED_SECONDS:
        growth = service.growth(since)
        assert growth <= GROWTH_KIB_A_MINUTE, (
            f"the service grows by {growth:,.0f} KiB a minute: {service.samples[::30]}"
        )


async def soak(service, seconds, receiver, capsys):
    """Run every client for the time given, with two kills; return what they have seen."""
    await service.start()
    world = World(service.url, [f"user-{number:06d}" for number in range(ACCOUNTS)])
    await listen_to_everybody(world, receiver)
    clients = [
        asyncio.create_task(job)
        for job in (
            prices(world),
            *(trader(world, seed) for seed in range(TRADERS)),
            *(listener(world, seed) for seed in range(LISTENERS)),
            *(slow_reader(world, seed) for seed in range(SLOW_READERS)),
        )
    ]
    await attend(service, world, seconds, capsys, clients)
    world.stopping.set()
    await asyncio.gather(*clients)
    await service.stop()
    return world


async def attend(service, world, seconds, capsys, clients):
    """Sample the memory each second, and kill the service when it is time."""
    began, kills, told = time.monotonic(), [share * seconds for share in KILLS], 0.0
    while (now := time.monotonic() - began) < seconds:
        for failed in (one for one in clients if one.done()):
            failed.result()
        if kills and now >= kills[0]:
            kills.pop(0)
            await service.kill()
            await service.start()
            world.url = service.url
        service.sample(now)
        if now >= told + 60:
            told = now
            with capsys.disabled():
                size, known = service.samples[-1][1], len(world.acknowledged)
                print(f"soak: {now / 60:.0f} min, {size / 1024:,.0f} MiB, {known:,} commands acknowledged", flush=True)
        await asyncio.sleep(1)


async def listen_to_everybody(world, receiver):
    """Have some people told of their margin calls by a webhook."""
    connection = Connection(world)
    for owner in world.people[:200]:
        endpoint = {"owner": owner, "kind": "webhook", "target": receiver.url}
        status, answer = await connection.ask("/v1/notifications/endpoints", endpoint)
        assert status == 201, answer
    connection.close()


def recorded(path):
    """Return idempotency key -> sequence of everything that the clients have asked."""
    log = SqliteLog(path, read_only=True)
    found = {record.key: record.sequence for record in log.read() if record.actor == KEY.key and record.key}
    log.close()
    return found


def verify(path):
    """Have the journal verified and every decision made again, conservation included."""
    done = subprocess.run(
        [sys.executable, "-m", "marginkeep", "verify", str(path), "--replay", "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout[-3_000:]}{done.stderr[-3_000:]}"
    assert json.loads(done.stdout)["replay"]["ok"]
