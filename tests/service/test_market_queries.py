"""What everybody with a key is told of the venue: markets, assets, the oracle, funds, auctions and rules."""

from __future__ import annotations

import pytest

from marginkeep.clearing import AdvanceTime, Halt, TopUpFund
from marginkeep.journal.record import Genesis
from marginkeep.rulebook import read_rulebook, rulebook_hash
from marginkeep.rulebook.reading import parse_text
from marginkeep.service.access.scopes import Scope
from tests.ladder_houses import usd
from tests.oracle_houses import GUARDED_AT_10, PEG, START, at, quotes
from tests.oracle_houses import rules_text as oracle_text
from tests.service.conftest import memory_log
from tests.service.query_world import BTC, ask, ladder_log, marks, populate

pytestmark = pytest.mark.without_shadows("questions change nothing; what the house does is tested elsewhere")
SECOND = 10**9


@pytest.fixture
def service(start_service):
    return populate(start_service(log=ladder_log()))


@pytest.fixture
def priced(start_service):
    """A service whose prices come from an oracle."""
    rules = oracle_text(pegs={"USDC": PEG}, breakers={BTC: GUARDED_AT_10})
    service = start_service(log=memory_log(Genesis(name="test.example/oracle", rules=rules, created_ns=1)))
    service.apply(quotes(START, BTC=50_000, ETH=3_000, USDC=1))
    service.key("ann", (Scope.READ,), ("ann",))
    return service


def test_a_market_tells_its_rules_and_where_it_stands(service):
    told = ask(service, f"/v1/markets/{BTC}")["market"]
    assert (told["market"], told["mark"], told["open_interest"]) == (BTC, "50000", "1.1")
    assert told["open_interest_value"] == "55000"
    assert told["tiers"] == [{"floor": "0", "initial": "0.05", "call": "0.03", "maintenance": "0.01", "target": "0.04"}]
    assert (told["state"], told["quality"], told["index"], told["funding"]["rate"]) == ("open", None, None, None)
    assert [one["market"] for one in ask(service, "/v1/markets")["markets"]] == [BTC, "ETH-PERP"]
    assert ask(service, "/v1/markets/NONE", status=404)["code"] == "not_found"


def test_funding_is_told_once_it_has_been_paid(service):
    service.call("POST", "/v1/funding", {"market": BTC, "rate": "0.001"})
    funding = ask(service, f"/v1/markets/{BTC}")["market"]["funding"]
    assert (funding["index"], funding["index_short"]) == ("0.05", "0.05")  # settle units a lot of 0.001


def test_assets_tell_weights_and_prices(service):
    told = ask(service, "/v1/assets")
    assert told["reporting"] == "USD"
    usd_asset, btc = told["assets"]
    assert (usd_asset["price"], usd_asset["reporting"]) == ("1", True)
    assert (btc["price"], btc["weight"]["initial"], btc["weight"]["maintenance"]) == ("50000", "0.9", "0.95")


def test_the_oracle_tells_each_source_with_its_age_and_use(priced):
    priced.apply(quotes(START + 2, BTC=[50_010, None, 50_000]))
    told = ask(priced, "/v1/oracle")
    feed = next(one for one in told["feeds"] if one["feed"] == "BTC")
    assert feed["age_ns"] == 0
    by_name = {one["source"]: one for one in feed["sources"]}
    assert (by_name["okx"]["price"], by_name["okx"]["age_ns"]) == ("50000", 2 * SECOND)
    assert (by_name["binance"]["price"], by_name["binance"]["use"]) == ("50010", "used")
    assert {one["asset"] for one in told["pegs"]} == {"USDC"}
    breaker = next(one for one in told["breakers"] if one["market"] == BTC)
    assert (breaker["state"], breaker["held"], breaker["quality"]) == ("open", "open", "valid")
    market = ask(priced, f"/v1/markets/{BTC}")["market"]
    assert (market["index"], market["quality"]) == (feed["price"], "valid")


def test_a_delayed_feed_tells_what_its_sources_say_and_what_is_in_force(start_service):
    rules = oracle_text(feeds={"BTC": {"delay": "60s"}, "ETH": {}, "USDC": {}})
    service = start_service(log=memory_log(Genesis(name="test.example/delayed", rules=rules, created_ns=1)))
    service.key("ann", (Scope.READ,), ("ann",))

    def told():
        feeds = {one["feed"]: one for one in ask(service, "/v1/oracle")["feeds"]}
        return [(feeds[name]["price"], feeds[name]["in_force"]) for name in ("BTC", "ETH")]

    assert told() == [(None, None), (None, None)]
    service.apply(quotes(START, BTC=50_000, ETH=3_000, USDC=1))
    service.apply(quotes(START + 1, BTC=50_100, ETH=3_001, USDC=1))
    assert told() == [("50100", "50000"), ("3001", "3001")]


def test_a_held_market_says_so(priced):
    priced.apply(at(START + 1), Halt(market=BTC, state="guarded"))
    breaker = next(one for one in ask(priced, "/v1/oracle")["breakers"] if one["market"] == BTC)
    assert (breaker["state"], breaker["held"]) == ("guarded", "guarded")
    assert breaker["why"]
    assert ask(priced, f"/v1/markets/{BTC}")["market"]["state"] == "guarded"


def test_funds_tell_balances_caps_and_debts_and_fees_to_the_venue_alone(service):
    service.apply(TopUpFund(asset="USD", amount=usd(500)))
    told = ask(service, "/v1/funds")
    (fund,) = told["funds"]
    assert (fund["fund"], fund["balances"], fund["most_a_day"]) == ("insurance_fund", {"USD": "500"}, "100000")
    assert told["fees"] is None
    assert told["bad_debt"] == {}
    assert ask(service, "/v1/funds", key="venue")["fees"] is not None


def test_open_auctions_are_shown_to_those_who_may_bid_and_to_whom_they_are_of(service):
    service.key("liz", (Scope.READ, Scope.LIQUIDATE), ("liz",))
    service.apply(AdvanceTime(now_ns=SECOND), marks(45_250))
    service.apply(AdvanceTime(now_ns=3 * SECOND))
    (auction,) = ask(service, "/v1/auctions", key="liz")["auctions"]
    assert auction["account"] == "ann"
    assert auction["expires_ns"] == auction["started_ns"] + 30 * SECOND
    assert {leg["market"] for leg in auction["legs"]} <= {BTC, "ETH-PERP"}
    assert ask(service, "/v1/auctions", key="ann")["auctions"] == [auction]
    assert ask(service, "/v1/auctions", key="bob")["auctions"] == []
    assert ask(service, "/v1/auctions?after=ann", key="liz")["auctions"] == []


def test_the_rulebook_in_force_has_the_stated_hash(service):
    told = ask(service, "/v1/rulebook")
    assert rulebook_hash(read_rulebook(parse_text(told["rules"], ".toml", "told"))) == told["hash"]
