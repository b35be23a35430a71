"""The answers in ccxt's structures: the fields of its manual, numbers as numbers, and the values of the house."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal

import pytest

from marginkeep.rulebook import read_rulebook
from marginkeep.service.queries.ccxt_markets import leverage_tiers
from marginkeep.service.queries.ccxt_shapes import CcxtFundingRate, CcxtMarginMode, CcxtPosition, CcxtTier
from marginkeep.service.queries.ccxt_symbols import Symbols
from marginkeep.service.queries.ccxt_views import moment
from tests.houses import TIERS, rules
from tests.service.query_world import BTC, ask, ladder_log, marks, populate

pytestmark = pytest.mark.without_shadows("questions change nothing; what the house does is tested elsewhere")
SYMBOL = "BTC/USD:USD"


def names(text):
    """Field names, as a set."""
    return set(text.split())


POSITION = names(
    "info id symbol timestamp datetime lastUpdateTimestamp isolated hedged side contracts contractSize entryPrice "
    "markPrice lastPrice notional leverage collateral initialMargin initialMarginPercentage maintenanceMargin "
    "maintenanceMarginPercentage unrealizedPnl realizedPnl liquidationPrice marginMode marginRatio percentage "
    "stopLossPrice takeProfitPrice"
)
TIER = names("tier symbol currency minNotional maxNotional maintenanceMarginRate maxLeverage info")
FUNDING = names(
    "info symbol markPrice indexPrice interestRate estimatedSettlePrice timestamp datetime fundingRate "
    "fundingTimestamp fundingDatetime nextFundingRate nextFundingTimestamp nextFundingDatetime previousFundingRate "
    "previousFundingTimestamp previousFundingDatetime interval"
)
MARKET = names(
    "id symbol base quote settle baseId quoteId settleId type subType spot margin swap future option active contract "
    "linear inverse taker maker percentage tierBased feeSide contractSize expiry expiryDatetime strike optionType "
    "precision limits marginModes created info"
)


@pytest.fixture
def service(start_service):
    return populate(start_service(log=ladder_log()))


def test_positions_have_the_fields_of_the_manual_and_the_houses_numbers(service):
    service.apply(marks(49_000))
    told = ask(service, "/v1/ccxt/fetch_positions")
    assert [one["id"] for one in told] == [f"ann:{BTC}", f"ann/BTC-PERP:{BTC}"]
    for one in told:
        assert set(one) == POSITION
    cross, isolated = told
    assert (cross["symbol"], cross["side"], cross["contracts"], cross["contractSize"]) == (SYMBOL, "long", 1, 1)
    assert (cross["entryPrice"], cross["markPrice"], cross["notional"]) == (50_000, 49_000, 49_000)
    assert (cross["unrealizedPnl"], cross["collateral"]) == (-1_000, 4_000)
    assert (cross["initialMargin"], cross["maintenanceMargin"]) == (2_450, 490)
    assert (cross["initialMarginPercentage"], cross["maintenanceMarginPercentage"]) == (0.05, 0.01)
    assert (cross["leverage"], cross["marginMode"], cross["hedged"]) == (20, "cross", False)
    assert cross["liquidationPrice"] == pytest.approx(45_454.545454)
    assert (isolated["marginMode"], isolated["isolated"]) == ("isolated", True)
    assert cross["info"]["liquidation_price"].startswith("45454.5454")


def test_a_short_is_positive_in_contracts(service):
    (told,) = ask(service, f"/v1/ccxt/fetch_positions?symbols={SYMBOL}", key="bob")
    assert (told["side"], told["contracts"], told["info"]["size"]) == ("short", 1.1, "-1.1")


def test_one_position_is_the_cross_accounts_first(service):
    assert ask(service, f"/v1/ccxt/fetch_position?symbol={SYMBOL}")["marginMode"] == "cross"
    ask(service, "/v1/ccxt/fetch_position?symbol=ETH/USD:USD", status=404)
    ask(service, "/v1/ccxt/fetch_position?symbol=XRP/USD:USD", status=404)


def test_the_balance_is_free_and_used_by_asset(service):
    told = ask(service, "/v1/ccxt/fetch_balance")
    assert {"info", "timestamp", "datetime", "free", "used", "total", "debt", "USD"} == set(told)
    assert told["USD"] == {name: told[name]["USD"] for name in ("free", "used", "total", "debt")}
    # 5,000 less 5 % of 50,000 and of an order of 290; 1,000 less 5 % of 5,000
    assert told["total"]["USD"] == 6_000
    assert told["free"]["USD"] + told["used"]["USD"] == 6_000
    assert told["free"]["USD"] == pytest.approx(2_485 + 750, abs=1)


def test_what_is_free_could_be_withdrawn_and_no_more(service):
    free = Decimal(str(ask(service, "/v1/ccxt/fetch_balance", key="bob")["free"]["USD"]))
    changes = [{"type": "Withdraw", "account": "bob", "asset": "USD", "amount": str(free + Decimal("0.000001"))}]
    for expected in ("rejected", "accepted"):
        told = service.call("POST", "/v1/what-if", {"account": "bob", "changes": changes}, key="bob").json()
        assert told["results"][0]["status"] == expected
        changes[0]["amount"] = str(free)


def test_tiers_are_listed_by_symbol(service):
    told = ask(service, "/v1/ccxt/fetch_leverage_tiers")
    assert set(told) == {SYMBOL, "ETH/USD:USD"}
    (tier,) = told[SYMBOL]
    assert set(tier) == TIER
    assert (tier["tier"], tier["currency"], tier["minNotional"], tier["maxNotional"]) == (1, "USD", 0, None)
    assert (tier["maintenanceMarginRate"], tier["maxLeverage"]) == (0.01, 20)
    assert ask(service, f"/v1/ccxt/fetch_market_leverage_tiers?symbol={SYMBOL}") == [tier]


def test_funding_rates_and_margin_modes_and_markets_have_the_fields_of_the_manual(service):
    rates = ask(service, "/v1/ccxt/fetch_funding_rates")
    assert all(set(rate) == FUNDING for rate in rates.values())
    rate = ask(service, f"/v1/ccxt/fetch_funding_rate?symbol={SYMBOL}")
    assert (rate["markPrice"], rate["fundingRate"], rate["interval"]) == (50_000, None, None)
    modes = ask(service, "/v1/ccxt/fetch_margin_modes")
    assert modes[SYMBOL]["marginMode"] == "cross"
    assert all(set(mode) == {"info", "symbol", "marginMode"} for mode in modes.values())
    markets = ask(service, "/v1/ccxt/fetch_markets")
    assert all(set(market) == MARKET for market in markets)
    assert (markets[0]["type"], markets[0]["linear"], markets[0]["limits"]["leverage"]["max"]) == ("swap", True, 20)


def test_the_published_shapes_are_those_of_the_answers():
    for shape, fields in ((CcxtPosition, POSITION), (CcxtTier, TIER), (CcxtFundingRate, FUNDING)):
        assert set(shape.__struct_fields__) == fields
    assert set(CcxtMarginMode.__struct_fields__) == {"info", "symbol", "marginMode"}


def test_numbers_are_exact_decimals_of_json(service):
    text = service.call("GET", "/v1/ccxt/fetch_positions", key="bob", idempotency="").text
    (exact,) = json.loads(text, parse_float=Decimal)
    assert exact["contracts"] == Decimal("1.1")
    assert not isinstance(exact["notional"], str)


@pytest.mark.parametrize("method", ["fetch_positions", "fetch_balance", "fetch_margin_modes"])
def test_a_foreign_account_is_told_like_an_absent_one(service, method):
    foreign = ask(service, f"/v1/ccxt/{method}?account=bob", status=404)
    assert foreign == ask(service, f"/v1/ccxt/{method}?account=zed", status=404)
    assert ask(service, f"/v1/ccxt/{method}", key="venue", status=400)["code"] == "bad_request"


def test_symbols_follow_names_and_settle_assets_and_never_clash():
    known = Symbols(rules())
    assert known.contracts[BTC].symbol == SYMBOL
    assert known.contracts["BTC-INV"].symbol == "BTC/USD:BTC"
    assert known.contracts["BTC-OKX"].symbol == "BTC-OKX"
    assert len({one.symbol for one in known.contracts.values()}) == len(known.contracts)
    for name, contract in known.contracts.items():
        assert known.market(contract.symbol) == known.market(name) == name


def test_a_dated_market_and_a_stated_symbol():
    plain = {"settle": "USD", "lot": "0.001", "tick": "0.1", "max_price": "1000000", "tiers": TIERS}
    book = read_rulebook(
        {
            "assets": {"USD": {}},
            "markets": {
                "BTC-MAR": {**plain, "kind": "future", "expiry": "2027-03-26T08:00:00Z"},
                "X": {**plain, "symbol": "SOL/USD:USD"},
            },
        }
    )
    known = Symbols(book)
    assert known.contracts["BTC-MAR"].symbol == "BTC/USD:USD-270326"
    assert known.contracts["BTC-MAR"].expiry_day == datetime.date(2027, 3, 26)
    assert known.contracts["X"].symbol == "SOL/USD:USD"


def test_tiers_in_contracts_and_base_name_their_currency():
    book = rules()
    inverse, based = leverage_tiers(book, "BTC-INV"), leverage_tiers(book, "BTC-OKX")
    assert (inverse[1]["currency"], inverse[1]["minNotional"]) == ("USD", 100_000)
    assert (based[1]["currency"], based[1]["minNotional"], based[0]["maxNotional"]) == ("BTC", 5, 5)
    assert based[1]["info"]["tier_kind"] == "whole_position"


def test_moments_are_milliseconds_and_text():
    assert moment(1_700_000_000_123_456_789) == (1_700_000_000_123, "2023-11-14T22:13:20.123Z")
    assert moment(0) == moment(None) == (None, None)
    assert moment(2**62 * 4)[0] == 2**64 // 10**6
