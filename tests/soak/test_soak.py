"""Long seeded simulation; `make soak` runs it for an hour, `make test` for seconds. A failure prints its seed."""

import time

import pytest

from tests.watch.worlds import run_world


@pytest.mark.without_shadows("no clearinghouse is used")
def test_worlds_of_ever_new_seeds_never_miss_an_account(request, capsys):
    minutes = request.config.getoption("--soak-minutes", default=0.2)
    end = time.monotonic() + 60 * minutes
    seed, compared = 1_000, 0
    while time.monotonic() < end:
        compared += run_world(seed, 2_000, 150)
        seed += 1
        with capsys.disabled():
            if seed % 20 == 0:
                print(f"soak: seeds 1000 to {seed - 1}, {compared:,} account-ticks compared, none missed", flush=True)
    assert compared > 0
