"""Notices about the venue, from what happens to what arrives: halts, holds, breakers, prices in doubt; and mails."""

from __future__ import annotations

import pytest

from marginkeep.book.watch import Watch
from marginkeep.clearing import Deposit, Halt, Resume
from marginkeep.clearing.events import Halted, MarketHeld, OracleChanged, PriceAnnounced
from marginkeep.errors import InputError, JournalStalled
from marginkeep.journal.record import Genesis
from marginkeep.service.notifications.sending import mail_address
from tests.journal.houses import new_store
from tests.oracle_houses import GUARDED_AT_10, SECOND, START, at, quotes, rules_text
from tests.service.mail_receiver import MailReceiver
from tests.service.stream_world import CALLED, deposit, lever, open_market, price, reader
from tests.service.test_webhooks import ENDPOINTS, make, opened, swing
from tests.service.webhook_receiver import Receiver

pytestmark = pytest.mark.without_shadows("what the house answers is not in question here, but who is told")
HOUR = 3_600
BREAKERS = {"breakers": {"BTC-PERP": GUARDED_AT_10}, "feeds__BTC": {"volatile_band": "0"}}
DELAYED = {"feeds__BTC": {"delay": "1h", "volatile_band": "0"}}


@pytest.fixture
def told():
    """Receivers of an owner, ann, and of the venue."""
    made = Receiver(), Receiver()
    yield made
    for one in made:
        one.close()


def listening(start_service, told, genesis, kinds, *before):
    """A service whose owner ann and whose operators are told of some kinds, after some commands."""
    service = opened(start_service, new_store(genesis))
    service.apply(*before)
    reader(service, "ann")
    anns, venues = told
    make(service, anns.url, {"kinds": kinds}, owner="ann", key="ann")
    make(service, venues.url, {"kinds": kinds}, owner="*", key="venue")
    return service


def with_oracle(start_service, told, kinds, opening=START, **changes):
    """The same with an oracle that has good prices of everything."""
    genesis = Genesis(name="test.example/oracle", rules=rules_text(**changes), created_ns=1)
    return listening(start_service, told, genesis, kinds, quotes(opening, BTC=50_000, ETH=3_000, USDC=1))


def happened(service, command, *kinds):
    """Apply a command; return its events of some kinds, each with the id that its notice has."""
    (events,) = service.apply(command)
    last = service.context.feed.last
    found = {f"{last}-{number}": event for number, event in enumerate(events) if isinstance(event, kinds)}
    assert found, f"{command} gave {events}"
    return found


def arrived(told, *expected):
    """Wait until both have been told of the same notices, by their ids and in order; return the venue's and ann's."""
    anns, venues = told
    ids = [identity for events in expected for identity in events]
    for one in told:
        one.wait(lambda r: len(r.taken) >= len(ids))
        assert one.ids() == ids
    return venues.taken, anns.taken


def shown(notices):
    return [(notice["kind"], notice["severity"], notice["title"]) for notice in notices]


# Breakers and holds -------------------------------------------------------------------------------------------------


def test_a_breaker_is_told_to_everybody_when_it_closes_a_market_and_when_it_opens_again(start_service, told):
    service = with_oracle(start_service, told, ["breaker"], **BREAKERS)
    fall = happened(service, quotes(START + 1, BTC=44_000, ETH=3_000, USDC=1), OracleChanged)
    service.apply(quotes(START + 50, BTC=44_000, ETH=3_000, USDC=1))
    better = happened(service, quotes(START + 110, BTC=44_000, ETH=3_000, USDC=1), OracleChanged)
    good = happened(service, quotes(START + 180, BTC=44_000, ETH=3_000, USDC=1), OracleChanged)
    venues, anns = arrived(told, fall, better, good)
    title = "Circuit breaker: BTC-PERP"
    assert shown(anns) == [("breaker", severity, title) for severity in ("critical", "info", "info")]
    assert [notice["event"]["after"] for notice in anns] == ["guarded", "reduce_only", "open"]
    assert anns[0]["text"].startswith("BTC-PERP: market from open to guarded: price 440000 at ")
    assert shown(venues) == shown(anns)


@pytest.mark.parametrize(("market", "name"), [("BTC-PERP", "BTC-PERP"), (None, "every market")], ids=["one", "all"])
def test_a_hold_is_told_to_everybody_and_so_is_its_end(start_service, told, market, name):
    service = with_oracle(start_service, told, ["halt"])
    held = happened(service, Halt(market=market, state="halted"), MarketHeld)
    ended = happened(service, Resume(market=market), MarketHeld)
    venues, anns = arrived(told, held, ended)
    assert shown(anns) == [("halt", "warning", "Market held"), ("halt", "info", "Hold ended")]
    assert [notice["text"] for notice in anns] == [
        f"The operator holds {name} at halted.",
        f"The operator no longer holds {name}.",
    ]
    assert shown(venues) == shown(anns)


# The oracle ---------------------------------------------------------------------------------------------------------


def test_a_price_that_goes_stale_is_told_to_everybody_and_so_is_a_good_one(start_service, told):
    service = with_oracle(start_service, told, ["oracle"])
    doubted = happened(service, at(START + 200), OracleChanged)
    trusted = happened(service, quotes(START + 201, BTC=50_000, ETH=3_000, USDC=1), OracleChanged)
    venues, anns = arrived(told, doubted, trusted)
    of_btc = [notice for notice in anns if notice["event"]["name"] == "BTC"]
    assert shown(of_btc) == 2 * [("oracle", "warning", "Oracle: quality of BTC")]
    assert [notice["event"]["after"] for notice in of_btc] == ["too_few_sources", "valid"]
    assert of_btc[0]["text"].startswith("BTC: quality from valid to too_few_sources: stale and too_few_sources: 0 of 3")
    assert shown(venues) == shown(anns)


def test_an_announced_price_is_told_to_everybody(start_service, told):
    service = with_oracle(start_service, told, ["oracle"], opening=HOUR - 1, **DELAYED)
    announced = happened(service, quotes(HOUR, BTC=30_000, ETH=3_000, USDC=1), PriceAnnounced)
    venues, anns = arrived(told, announced)
    assert shown(anns) == [("oracle", "info", "Price announced")]
    assert anns[0]["text"] == f"asset BTC, price 30000, at_ns {2 * HOUR * SECOND}"
    assert shown(venues) == shown(anns)


# Halts --------------------------------------------------------------------------------------------------------------


def spoil_watch(service, status=1):
    """Let a watch believe something wrong of ann, who is healthy."""

    async def spoil():
        state = service.context.state
        state.watch = Watch(state.book, state.valuation)
        state.watch.statuses[state.index["ann"]] = status

    service.on_loop(spoil())


def test_a_watch_that_contradicts_itself_is_told_to_everybody_and_to_the_venue_in_full(start_service, told):
    service = listening(start_service, told, CALLED, ["halt"])
    open_market(service, "ann", "bob")
    spoil_watch(service)
    halted = happened(service, price(50_001), Halted)
    venues, anns = arrived(told, halted)
    assert shown(anns) == shown(venues) == [("halt", "critical", "Halted by the audit of the watch")]
    (report,) = (event.report for event in halted.values())
    assert venues[0]["text"] == f"Only commands that reduce risk are accepted: {report}."
    assert "balances" in report, "the report says what somebody has"
    assert (
        anns[0]["text"] == "Only commands that reduce risk are accepted: the audit of the watch found a contradiction."
    )
    assert report not in str(anns)


def test_a_contradiction_that_no_record_can_tell_of_is_told_all_the_same(start_service, told):
    service = listening(start_service, told, CALLED, ["halt"])
    service.apply(Deposit(account="ann", asset="USD", amount=10**9))

    async def spoil():
        service.context.state.open_interest[0] += 1

    service.on_loop(spoil())
    last = service.context.feed.last
    assert service.on_loop(service.context.parts["self_check"].check())
    venues, anns = arrived(told, [f"{last}-halt"])
    assert shown(anns) == shown(venues) == [("halt", "critical", "Nothing new is accepted")]
    assert anns[0]["text"] == (
        "The self-check has found a contradiction, and nothing new is accepted: tell the operator."
    )


def test_who_does_not_want_to_hear_of_halts_is_not_told_of_trouble(start_service, told):
    anns, venues = told
    service = listening(start_service, told, CALLED, ["margin_call"])
    make(service, venues.url, {"kinds": ["halt"]}, owner="*", key="venue")

    async def stop_all():
        service.context.writer.halt(InputError("something is wrong"))

    service.on_loop(stop_all())
    venues.wait(lambda r: len(r.taken) == 1)
    assert anns.seen == []


def kinds_by_id(receiver):
    return {one["id"]: one["kind"] for one in receiver.taken}


@pytest.mark.parametrize("failures", [0, 2], ids=["at once", "after failures"])
def test_more_at_once_than_is_kept_in_memory_is_delivered_from_the_journal(start_service, told, monkeypatch, failures):
    anns, _ = told
    service = listening(start_service, told, CALLED, ["margin_call", "call_cured"])
    open_market(service, "bob")
    lever(service, "ann", "bob")
    swing(service, 1)
    anns.wait(lambda r: len(kinds_by_id(r)) == 2)
    service.context.feed._entries_max = 1
    log, missing = service.context.log, [JournalStalled("the server is gone") for _ in range(failures)]
    read = log.read

    def read_at_last(*stated):
        if missing:
            raise missing.pop()
        return read(*stated)

    monkeypatch.setattr(log, "read", read_at_last)
    service.apply(price(48_500), *(deposit("bob", 1) for _ in range(20)))
    anns.wait(lambda r: len(kinds_by_id(r)) == 3)  # what was on its way when it fell behind may come twice
    assert list(kinds_by_id(anns).values()) == ["margin_call", "call_cured", "margin_call"]
    assert missing == []


# Mail ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def post():
    made = MailReceiver()
    yield made
    made.close()


def with_mail(start_service, post, **changes):
    """A service that sends carl, who is levered, mails of margin calls."""
    server = f"mailto://127.0.0.1:{post.port}/?from=venue@example.org&mode=insecure"
    service = opened(start_service, new_store(CALLED), mail=server, **changes)
    open_market(service, "bob")
    lever(service, "carl", "bob")
    reader(service, "carl")
    document = {"owner": "carl", "kind": "mail", "target": "carl+calls@example.org"}
    answer = service.call("POST", ENDPOINTS, {**document, "preferences": {"kinds": ["margin_call"]}}, key="carl")
    assert (answer.status_code, answer.json()["secret"]) == (201, ""), answer.text
    return service


def test_a_margin_call_arrives_by_mail(start_service, post):
    service = with_mail(start_service, post)
    called, _ = swing(service, 1)
    post.wait(lambda p: len(p.taken) == 1)
    ((sender, recipients, message),) = post.taken
    assert (sender, recipients) == ("venue@example.org", ["carl+calls@example.org"])
    assert message["Subject"] == "Margin call: carl"
    text = message.get_body(("plain",)).get_content()
    assert "carl lacks " in text
    assert f"warning, id {called}" in text


def test_a_mail_that_is_refused_is_sent_again(start_service, post):
    post.refuses = True
    service = with_mail(start_service, post, attempts_max=1_000)
    called, _ = swing(service, 1)
    post.wait(lambda p: len(p.refused) >= 2)
    post.refuses = False
    post.wait(lambda p: len(p.taken) == 1)
    assert called in post.taken[0][2].get_body(("plain",)).get_content()


def test_a_mail_goes_to_its_recipient_alone_whatever_the_address_of_the_server_has():
    assert mail_address("mailto://mx", "a+b@x.org") == "mailto://mx?to=a%2Bb%40x.org"
    assert mail_address("mailto://mx?from=v@x.org", "a@x.org") == "mailto://mx?from=v@x.org&to=a%40x.org"
