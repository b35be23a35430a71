"""What every test gets: shadow replicas of every clearinghouse it uses, and the way to the shared material."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import msgspec
import pytest

from marginkeep.clearing import Clearinghouse, take_snapshot
from tests.shadows import OtherProcess, Recording, check_shadows

# A slow machine is no failure: no test here is about how long an example takes.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material beside the repository; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"no shared material at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def other_process():
    process = OtherProcess()
    yield process
    process.close()


@pytest.fixture(autouse=True)
def shadows(request, monkeypatch, other_process):
    """Record what every clearinghouse of the test was asked and answered; afterwards replay it in four other ways."""
    if request.node.get_closest_marker("without_shadows"):
        yield
        return
    recordings: dict[int, Recording] = {}
    plain_apply = Clearinghouse.apply

    def recorded_apply(house, command):
        recording = recordings.get(id(house))
        if recording is None:
            recording = recordings[id(house)] = Recording(house, house.state.rulebook, take_snapshot(house))
        events = plain_apply(house, command)
        if isinstance(command, msgspec.Struct):
            recording.commands.append(command)
            recording.events.append(msgspec.json.encode(events))
        return events

    monkeypatch.setattr(Clearinghouse, "apply", recorded_apply)
    yield
    monkeypatch.undo()
    if request.node.stash.get(FAILED, False):
        return
    for recording in recordings.values():
        if recording.commands:
            check_shadows(recording, other_process)


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    """Remember a failed call, so that its shadows do not bury the first error under a second."""
    report = yield
    if call.when == "call":
        item.stash[FAILED] = report.failed
    return report
