"""`marginkeep serve`: what it prints, how it ends, and what it says when it cannot."""

from __future__ import annotations

import json
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from marginkeep.cli import command
from marginkeep.client.signing import Credentials, sign_request
from marginkeep.journal.checkpoint import verify_note
from marginkeep.journal.opening import open_log
from marginkeep.service.operations.settings_reading import settings_fields
from marginkeep.service.operations.supervision import tell_supervisor
from tests.service.access_world import rules
from tests.service.serving import BOUND_S, Serving, ended_at_once


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "rules.toml").write_text(rules())
    return tmp_path


def make_key(folder):
    """Make a key on the host and return what signs with it."""
    stated = ["--journal", folder / "keep.db", "--person", "Ann", "--account", "ann", "--output", folder / "ann.toml"]
    done = CliRunner().invoke(command, ["keys", "create", *map(str, stated)])
    assert done.exit_code == 0, done.output
    return Credentials.load(folder / "ann.toml").credential()


def explained(*arguments, environment=None) -> dict:
    done = CliRunner().invoke(command, ["serve", "--explain", *map(str, arguments)], env=environment or {})
    assert done.exit_code == 0, done.output
    return done


def test_explain_prints_every_setting_where_it_comes_from_and_its_meaning(tmp_path):
    file = tmp_path / "keep.toml"
    file.write_text("[server]\nqueue_max = 5\n")
    done = explained("--config", file, "--port", 9, "--json", environment={"MARGINKEEP_LOGS_LEVEL": "error"})
    found = {one["name"]: one for one in json.loads(done.output)["settings"]}
    assert list(found) == list(settings_fields())
    assert (found["server.queue_max"]["value"], found["server.queue_max"]["place"]) == (5, str(file))
    assert (found["server.port"]["value"], found["server.port"]["source"]) == (9, "flag")
    assert found["logs.level"]["place"] == "MARGINKEEP_LOGS_LEVEL"
    assert found["server.host"]["source"] == "default"
    assert all(one["meaning"] for one in found.values())
    table = explained("--config", file).output
    assert all(name in table for name in found)


def test_explain_shows_no_password():
    place = "postgresql://keeper:hunter2@db/keep"
    for arguments in ((), ("--json",)):
        shown = explained("--journal", place, *arguments).output
        assert "hunter2" not in shown
        assert "keeper:***@db" in shown


def test_a_new_journal_without_rules_is_refused(tmp_path):
    code, _, errors = ended_at_once("--journal", "keep.db", folder=tmp_path)
    assert code == 2
    assert "name the rulebook file" in errors
    assert "Traceback" not in errors


def test_an_unknown_setting_is_refused_before_anything_is_made(folder):
    code, _, errors = ended_at_once("--rules", "rules.toml", folder=folder, environment={"MARGINKEEP_SERVER_PROT": "1"})
    assert code == 2
    assert "did you mean MARGINKEEP_SERVER_PORT" in errors
    assert sorted(path.name for path in folder.iterdir()) == ["rules.toml"]


def test_listening_beyond_this_machine_without_tls_is_refused(folder):
    code, _, errors = ended_at_once("--rules", "rules.toml", "--host", "0.0.0.0", folder=folder)
    assert code == 2
    assert "server.behind_tls" in errors


def test_an_address_that_is_taken_is_named(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, errors = ended_at_once("--rules", "rules.toml", "--port", port, folder=folder)
    assert code == 2
    assert f"cannot listen at 127.0.0.1:{port}" in errors
    assert "Traceback" not in errors


def test_options_of_the_demonstration_need_it(folder):
    code, _, errors = ended_at_once("--demo-speed", "2", folder=folder)
    assert (code, "--demo-speed says something only together with --demo" in errors) == (2, True)
    code, _, errors = ended_at_once("--demo", "--rules", "rules.toml", folder=folder)
    assert (code, "--demo brings its own rulebook" in errors) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_in_order_with_a_sealed_journal(folder, number):
    make_key(folder)
    with Serving("--rules", "rules.toml", "--journal", "keep.db", folder=folder) as serving:
        told = serving.told
        assert httpx.get(told["url"] + "/v1/ready", timeout=BOUND_S).status_code == 200
        assert (told["journal"], told["record"] > 0) == ("keep.db", True)
        assert "marginkeep keys create --journal keep.db" in told["make_a_key"]
        serving.signal(number)
        assert serving.ended() == 0, serving.logged()
        lines = [json.loads(line) for line in serving.logged().splitlines()]
    assert lines[-1]["event"] == "the service has stopped, and its journal is in order"
    log = open_log(str(folder / "keep.db"), read_only=True)
    try:
        sealed = log.last_checkpoint()
        assert verify_note(sealed.note, told["verifying_key"]).size == sealed.size == log.head().sequence
    finally:
        log.close()


def test_a_restart_goes_on_where_it_ended_and_a_second_writer_is_refused(folder):
    arguments = ("--rules", "rules.toml", "--journal", "keep.db")
    with Serving(*arguments, folder=folder) as first:
        code, _, errors = ended_at_once(*arguments, "--port", "0", folder=folder)
        assert code == 4, errors
        assert "Traceback" not in errors
        first.signal(signal.SIGKILL)
        first.ended()
    with Serving("--journal", "keep.db", folder=folder) as second:
        assert second.told["epoch"] > first.told["epoch"]
        assert second.told["verifying_key"] == first.told["verifying_key"]
        second.signal(signal.SIGTERM)
        assert second.ended() == 0


def test_a_key_made_on_the_host_is_good_for_a_service_that_runs_or_starts_later(folder):
    credential = make_key(folder)
    with Serving("--rules", "rules.toml", "--journal", "keep.db", folder=folder) as serving:
        headers = sign_request(credential, "GET", "/v1/status", clock=time.time_ns)
        assert httpx.get(serving.told["url"] + "/v1/status", headers=headers, timeout=BOUND_S).status_code == 200


def test_a_second_signal_ends_it_at_once(folder):
    with Serving("--rules", "rules.toml", "--journal", "keep.db", folder=folder) as serving:
        host, port = serving.told["url"].removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), BOUND_S) as slow:
            # A request that never ends keeps the first signal's graceful end waiting.
            slow.sendall(b"POST /v1/deposits HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
            serving.signal(signal.SIGTERM)
            _wait_until_refused(host, int(port))
            serving.signal(signal.SIGTERM)
            assert serving.ended() == -signal.SIGTERM


def _wait_until_refused(host: str, port: int) -> None:
    """Wait until nothing listens any more: the first signal has been taken."""
    until = time.monotonic() + BOUND_S
    while time.monotonic() < until:
        try:
            with socket.create_connection((host, port), 1):
                pass
        except OSError:
            return
    raise TimeoutError("it still listens")


def test_a_supervisor_is_told_when_the_service_is_ready(folder):
    address = folder / "supervisor"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(address))
        supervisor.settimeout(BOUND_S)
        environment = {"NOTIFY_SOCKET": str(address)}
        with Serving("--rules", "rules.toml", folder=folder, environment=environment) as serving:
            assert supervisor.recv(100) == b"READY=1"
            serving.signal(signal.SIGTERM)
            assert supervisor.recv(100) == b"STOPPING=1"
            assert serving.ended() == 0


def test_without_a_supervisor_nothing_is_told():
    assert not tell_supervisor("READY=1", {})
    assert not tell_supervisor("READY=1", {"NOTIFY_SOCKET": "/nowhere/at/all"})
