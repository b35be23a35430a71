"""`marginkeep client` before a real service: humane lines, numbers, and exit codes that can be relied upon."""

import base64
import json
import subprocess
import sys
import threading
from decimal import Decimal

import pytest

from marginkeep.client.signing import Credentials
from marginkeep.service.access.scopes import Scope
from tests.service.conftest import memory_log
from tests.service.stream_world import CALLED, lever, open_market, price

MARGINKEEP = (sys.executable, "-c", "from marginkeep.cli import main; main()")


def speaker(service, folder, name, scopes, accounts):
    """Return what runs `marginkeep client` with a key of its own."""
    service.key(name, scopes, accounts)
    path = folder / f"{name}.key"
    secret = base64.b64encode(name.encode().ljust(32, b".")[:32]).decode()
    Credentials(key=name, algorithm="ed25519", secret=secret, url=service.url).save(path)

    def speak(*words, code=0):
        asked = (*MARGINKEEP, "client", "--credentials", str(path), *words)
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return speak


@pytest.fixture
def ann(running_service, client, tmp_path):
    return speaker(running_service, tmp_path, "anns", (Scope.READ, Scope.TRADE), ("ann",))


def test_a_check_is_a_verdict_with_numbers(ann):
    passes = ann("check", "buy", "2", "BTC-PERP", "at", "50000")
    assert passes == "yes: buy 2 BTC-PERP at 50000 passes; 7950 USD of initial margin would remain free\n"
    refused = ann("check", "buy", "20", "BTC-PERP", "50000", code=1)
    assert "no: buy 20 BTC-PERP at 50000 is refused: insufficient_margin" in refused
    assert "missing 37500 USD" in refused
    assert "more than ann has free: deposit at least that, or make the order smaller" in refused


def test_an_order_is_placed_shown_and_released(ann):
    assert "order o1 of ann reserved" in ann("order", "buy", "1", "BTC-PERP", "at", "49000", "--order", "o1")
    shown = ann("account")
    assert "ann (cross): healthy" in shown
    assert "order o1: buy 1 BTC-PERP at 49000" in shown
    assert "order o1 of ann: released" in ann("release", "o1")
    assert "refused, unknown_order" in ann("release", "o1", code=2)


def test_json_is_what_the_service_answered(ann):
    assert json.loads(ann("--json", "account"))["accounts"][0]["equity"] == "10000"
    assert json.loads(ann("--json", "status"))["rulebook"] == "two-markets"


def test_a_refusal_is_told_as_json_where_that_is_asked_for(ann):
    told = ann("--json", "release", "o9", code=2)
    error = json.loads(told.splitlines()[0])["error"]
    assert (error["code"], error["refusal"]) == ("rejected", "unknown_order")
    away = ann("--json", "--address", "http://127.0.0.1:9", "--retries", "0", "status", code=4)
    assert json.loads(away.splitlines()[0])["error"]["code"] == "unreachable"


def test_a_liquidation_price_is_shown_on_the_market_s_grid(ann, client):
    client.trade("BTC-PERP", "ann", "bob", "1.7", "50000")
    (line,) = [line for line in ann("account").splitlines() if "liquidation at" in line]
    price = line.partition("liquidation at ")[2].partition(",")[0]
    assert len(price.partition(".")[2]) <= 1, line
    (position,) = json.loads(ann("--json", "account"))["accounts"][0]["positions"]
    assert 0 <= Decimal(price) - Decimal(position["liquidation_price"]) < Decimal("0.1")


def test_a_what_if_shows_the_account_at_other_prices(ann, client):
    client.trade("BTC-PERP", "ann", "bob", "1", "50000")
    assert "equity 4975 USD" in ann("what-if", "BTC-PERP=45000")
    assert "no NAME=PRICE" in ann("what-if", "45000", code=2)


def test_errors_are_one_line_with_code_and_cure(ann):
    refused = ann("deposit", "1", "USD", code=2)
    assert refused.startswith("marginkeep: forbidden: ")
    assert refused.count("\n") == 1
    nowhere = ("--address", "http://127.0.0.1:9", "--retries", "0", "--account", "ann")
    away = ann(*nowhere, "order", "buy", "1", "BTC-PERP", "1", code=4)
    assert away.startswith("marginkeep: unreachable: ")
    assert "name another with --address, then try again with --key " in away
    assert "size is -1: it must be above 0" in ann("check", "buy", "-1", "BTC-PERP", "at", "50000", code=1)
    assert "use one of BTC-PERP, ETH-PERP" in ann("check", "buy", "1", "XYZ", "at", "50000", code=2)
    assert "state one price" in ann("check", "buy", "1", "BTC-PERP", "at", code=2)


@pytest.fixture
def called(start_service, tmp_path):
    service = start_service(log=memory_log(CALLED))
    open_market(service, "bob")
    lever(service, "ann", "bob")
    return service, speaker(service, tmp_path, "anns", (Scope.READ,), ("ann",))


def test_watch_tells_a_margin_call_in_plain_words_and_ends_with_it(called):
    service, ann = called
    sequence = service.context.durable.durable.sequence
    service.apply(price(48_500))
    told = ann("watch", "--until", "margin-call", "--for", "20", "--after", str(sequence))
    assert "MARGIN CALL for ann: " in told
    assert "USD missing" in told
    assert "cured by a deposit of" in told
    assert "or by selling" in told
    assert "to be cured by " in told
    standing = ann("watch", "--until", "margin-call", "--for", "20")
    assert standing.startswith("ann is called, to be cured by ")
    assert "margin call: nothing is missing any more" in ann("what-if", "BTC-PERP=50000")


def test_a_margin_call_that_comes_while_one_watches_is_seen(called):
    service, ann = called
    joined = threading.Event()
    hub = service.context.parts["stream"]
    plain = hub.join
    hub.join = lambda listener: (plain(listener), joined.set())[0]
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(ann("watch", "--until", "margin-call", "--for", "20")))
    thread.start()
    assert joined.wait(20)
    service.apply(price(48_500))
    thread.join(30)
    assert "ann" in outcome[0]


def test_watch_says_with_its_exit_code_that_nothing_came(called):
    _, ann = called
    assert ann("watch", "--for", "0.3") == ""
    ann("watch", "--until", "margin-call", "--for", "0.3", code=1)


def test_a_key_for_many_must_say_whose_account_is_meant(running_service, client, tmp_path):
    venue = speaker(running_service, tmp_path, "venues", tuple(Scope), ("*",))
    assert "done: record" in venue("--account", "ann", "deposit", "5", "USD")
    assert "name one with --account" in venue("account", code=2)


def test_help_needs_no_key_and_a_missing_one_is_named():
    def ask(*words):
        return subprocess.run((*MARGINKEEP, "client", *words), capture_output=True, text=True, timeout=60)

    assert "without placing it" in ask("check", "--help").stdout
    refused = ask("status")
    assert (refused.returncode, "--credentials is missing" in refused.stderr) == (2, True)
