"""Quotes, books, time and set prices as commands: what is refused whole, what is ignored and counted, what moves."""

import pytest
from tests.oracle_houses import (
    HOUR,
    SECOND,
    START,
    at,
    buy,
    changes,
    done,
    fund,
    line,
    mark,
    new_house,
    opened,
    price,
    quote,
    quotes,
    refused,
)

from marginkeep.clearing import SetPrices, state_hash
from marginkeep.clearing.commands import ObserveBook, PublishQuotes, Quote
from marginkeep.clearing.events import OracleChanged, PricesSet, QuotesTaken
from marginkeep.units import INT64_SAFE

GOOD = quote("okx", "BTC", 51_000, START + 1)
FIELDS = {"source": "okx", "feed": "BTC", "price": 5_000_000, "source_ns": START * SECOND, "arrival_ns": START * SECOND}


def wrong(**changed) -> Quote:
    return Quote(**{**FIELDS, **changed})


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (wrong(feed="DOGE"), "unknown_feed"),
        (wrong(source="ftx"), "unknown_source"),
        (wrong(feed=""), "unknown_feed"),
        (wrong(price=5e6), "bad_number"),
        (wrong(price=True), "bad_number"),
        (wrong(price="5000000"), "bad_number"),
        (wrong(price=None), "bad_number"),
        (wrong(confidence=0.5), "bad_number"),
        (wrong(source_ns=1.5), "bad_number"),
        (wrong(arrival_ns=False), "bad_number"),
        (wrong(price=INT64_SAFE + 1), "bad_number"),
        (wrong(arrival_ns=-INT64_SAFE - 1), "bad_number"),
        (wrong(source_ns=10**40), "bad_number"),
        (wrong(feed=None), "bad_name"),
        (wrong(source=3), "bad_name"),
        ("quote", "bad_quotes"),
        (None, "bad_quotes"),
    ],
)
def test_one_impossible_quote_refuses_the_whole_batch_and_nothing_changes(bad, code):
    house = opened()
    before = house.state.oracle.save()
    answer = refused(house, PublishQuotes(quotes=(GOOD, bad)))
    assert answer.code == code
    assert house.state.oracle.save() == before
    assert house.state.now_ns == START * SECOND


@pytest.mark.parametrize("bad", [(), [GOOD], None, "quotes", (GOOD,) * 100_001])
def test_a_batch_that_is_none_is_empty_or_is_too_long_is_refused(bad):
    house = opened()
    before = house.state.oracle.save()
    assert refused(house, PublishQuotes(quotes=bad)).code == "bad_quotes"
    assert house.state.oracle.save() == before


def test_a_refused_name_is_quoted_in_short():
    answer = refused(opened(), PublishQuotes(quotes=(wrong(feed="x" * 100_000),)))
    assert len(answer.reason) < 400
    assert "BTC, ETH, USDC" in answer.reason


def test_a_house_without_an_oracle_refuses_quotes():
    from tests.houses import opened as without_oracle

    answer = refused(without_oracle(), PublishQuotes(quotes=(GOOD,)))
    assert answer.code == "no_oracle"


@pytest.mark.parametrize(
    ("strange", "counted"),
    [
        (wrong(price=0), "bad_price"),
        (wrong(price=-1), "bad_price"),
        (wrong(price=2**48 + 1), "bad_price"),
        (wrong(confidence=-1), "bad_price"),
        (wrong(price=INT64_SAFE), "bad_price"),
        (wrong(source_ns=START * SECOND + HOUR), "from_the_future"),
        (wrong(source_ns=INT64_SAFE), "from_the_future"),
        (wrong(source_ns=START * SECOND - 1), "out_of_order"),
        (wrong(source_ns=-INT64_SAFE), "out_of_order"),
        (wrong(), "duplicate"),
    ],
)
def test_a_quote_with_an_impossible_price_or_time_is_ignored_and_counted(strange, counted):
    house = opened()
    events = done(house, PublishQuotes(quotes=(strange,)))
    assert events == (QuotesTaken(taken=0, ignored={counted: 1}),)
    assert (price(house, "BTC"), mark(house, "BTC-PERP")) == (5_000_000, 500_000)


def test_ignored_quotes_are_counted_beside_those_taken():
    events = done(opened(), PublishQuotes(quotes=(wrong(price=0), GOOD, wrong(price=-5), GOOD)))
    assert events[0] == QuotesTaken(taken=1, ignored={"bad_price": 2, "duplicate": 1})


@pytest.mark.parametrize("count", [3, 300])
def test_the_oldest_and_the_newest_time_there_is_do_not_overflow_in_small_or_large_batches(count):
    """127 quotes go through plain Python, more through compiled columns, where an age beyond 2^63 would wrap around."""
    house = new_house()
    batch = tuple(
        wrong(source=source, price=5_000_000 + step, source_ns=-INT64_SAFE, arrival_ns=INT64_SAFE)
        for step in range(count // 3)
        for source in ("binance", "okx", "bybit")
    )
    done(house, PublishQuotes(quotes=batch))
    assert line(house, "BTC").quality == "too_few_sources"
    assert price(house, "BTC") == 0


def test_time_moves_to_the_last_arrival_and_never_back():
    house = opened()
    batch = [quote("okx", "BTC", 50_000 + i, when) for i, when in enumerate((START + 2, START + 9, START + 4))]
    done(house, PublishQuotes(quotes=tuple(batch)))
    assert house.state.now_ns == (START + 9) * SECOND
    done(house, quotes(START + 3, BTC=50_100))
    assert house.state.now_ns == (START + 9) * SECOND
    assert refused(house, at(START + 8)).code == "bad_time"
    done(house, at(START + 10))
    assert house.state.now_ns == (START + 10) * SECOND


def test_a_price_moves_every_market_and_asset_that_its_feed_makes():
    house = opened()
    events = done(house, quotes(START + 1, BTC=50_100))
    assert events[1] == PricesSet(marks={"BTC-PERP": 501_000, "BTC-INV": 100_200}, prices={"BTC": 5_010_000})
    assert (mark(house, "BTC-PERP"), price(house, "BTC"), mark(house, "ETH-PERP")) == (501_000, 5_010_000, 300_000)


def test_quotes_that_move_nothing_say_so_and_no_more():
    house = opened()
    assert done(house, quotes(START + 0.1, BTC=50_000)) == (QuotesTaken(taken=3, ignored={}),)


def test_what_the_oracle_makes_cannot_be_set_by_hand_and_the_rest_can():
    house = opened()
    for command in (
        SetPrices(marks={"BTC-PERP": 1}),
        SetPrices(prices={"BTC": 1}),
        SetPrices(marks={"COIN-PERP": 1_000, "ETH-PERP": 1}),
    ):
        before = (list(house.state.valuation.marks), list(house.state.valuation.prices))
        assert refused(house, command).code == "oracle_fed"
        assert (house.state.valuation.marks, house.state.valuation.prices) == before
    done(house, SetPrices(marks={"COIN-PERP": 1_000}, prices={"COIN": 1_000}))
    assert (mark(house, "COIN-PERP"), price(house, "COIN"), mark(house, "BTC-PERP")) == (1_000, 1_000, 500_000)


def test_a_price_beyond_what_the_books_hold_halts_the_line_and_keeps_the_old_price():
    house = opened(feeds__BTC={"volatile_band": "0"})
    events = done(house, quotes(START + 1, BTC=1_000_001))
    assert ("BTC", "valid", "halted") in changes(events, "quality")
    assert ("BTC-PERP", "valid", "halted") in changes(events, "quality")
    assert (price(house, "BTC"), mark(house, "BTC-PERP")) == (5_000_000, 500_000)
    events = done(house, quotes(START + 2, BTC=51_000))
    assert ("BTC-PERP", "halted", "valid") in changes(events, "quality")
    assert (price(house, "BTC"), mark(house, "BTC-PERP")) == (5_100_000, 510_000)


def test_a_price_too_small_for_a_tick_halts_the_asset_instead_of_leaving_its_old_price_valid():
    """A feed may be finer than the asset's tick; when a coin dies its price is not zero but less than one tick."""
    house = opened(feeds__ETH={"tick": "0.000001", "volatile_band": "0"}, at=START - 1)
    done(house, PublishQuotes(quotes=tuple(fine_eth(source, 3_000_000_000, START) for source in ("okx", "bybit"))))
    assert (line(house, "ETH").quality, price(house, "ETH")) == ("valid", 300_000)
    done(house, PublishQuotes(quotes=tuple(fine_eth(source, 9_000, START + 30) for source in ("okx", "bybit"))))
    assert line(house, "ETH").quality == "halted"
    assert line(house, "ETH").obstacle("open")
    assert line(house, "ETH").opening_prices()[0] == 0


def fine_eth(source: str, ticks: int, seconds: float) -> Quote:
    when = round(seconds * SECOND)
    return Quote(source=source, feed="ETH", price=ticks, source_ns=when, arrival_ns=when)


def test_a_source_that_prints_nonsense_is_quarantined_and_it_is_said():
    house = opened(score={"memory": 2})
    events = [event for step in range(4) for event in done(house, quotes(START + step, BTC=(50_000, 50_000, 5e8)))]
    assert ("bybit:BTC", "trusted", "quarantined") in changes(events, "source")
    assert price(house, "BTC") == 5_000_000


def test_a_snapshot_holds_an_hour_of_prices_however_large_their_sums():
    """Price times nanoseconds of an hour passes 2^64; the shadows restore this house from its snapshot on the way."""
    house = opened(btc=900_000, stable={})
    for step in range(1, 400):
        done(house, quotes(START + 10 * step, BTC=900_000, ETH=3_000, USDC=1))
    assert len(state_hash(house)) == 64


# Books -------------------------------------------------------------------------------------------------------------

HOUSE_MARK = {"index": "BTC"}


def book(**changed) -> ObserveBook:
    return ObserveBook(**{"market": "BTC-PERP", "bid": 499_000, "ask": 503_000, "at_ns": START * SECOND, **changed})


def test_an_observed_book_enters_the_mark():
    house = opened(**{"marks__BTC-PERP": HOUSE_MARK})
    events = done(house, book())
    assert mark(house, "BTC-PERP") == 501_000
    assert PricesSet(marks={"BTC-PERP": 501_000}, prices={}) in events
    assert price(house, "BTC") == 5_000_000


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"market": "DOGE-PERP"}, "unknown_market"),
        ({"market": "COIN-PERP"}, "no_mark"),
        ({"bid": -1}, "bad_price"),
        ({"ask": 10_000_001}, "bad_price"),
        ({"impact_bid": INT64_SAFE}, "bad_price"),
        ({"impact_ask": 2.5}, "bad_number"),
        ({"at_ns": None}, "bad_number"),
        ({"bid": True}, "bad_number"),
    ],
)
def test_an_impossible_book_is_refused_and_changes_nothing(changed, code):
    house = opened(**{"marks__BTC-PERP": HOUSE_MARK})
    before = house.state.oracle.save()
    assert refused(house, book(**changed)).code == code
    assert house.state.oracle.save() == before


@pytest.mark.parametrize("at_ns", [-INT64_SAFE, 0, INT64_SAFE])
def test_a_book_of_any_time_is_taken_and_one_from_the_future_counts_as_now(at_ns):
    house = opened(**{"marks__BTC-PERP": HOUSE_MARK})
    done(house, book(at_ns=at_ns))
    done(house, quotes(START + 1, BTC=50_000))
    assert mark(house, "BTC-PERP") == (501_000 if at_ns == INT64_SAFE else 500_000)
    assert house.state.now_ns == (START + 1) * SECOND


def test_a_book_far_from_the_index_moves_the_mark_to_the_edge_of_its_band():
    house = opened(**{"marks__BTC-PERP": {"index": "BTC", "band": "0.01", "components": [{"kind": "mid"}]}})
    assert mark(house, "BTC-PERP") == 0
    done(house, book(bid=590_000, ask=610_000))
    assert mark(house, "BTC-PERP") == 505_000


# Time --------------------------------------------------------------------------------------------------------------


def test_time_alone_makes_prices_stale_and_then_sources_too_few():
    house = opened()
    assert changes(done(house, at(START + 15)), "quality") == []
    assert ("BTC", "valid", "stale") in changes(done(house, at(START + 16)), "quality")
    assert ("BTC", "stale", "too_few_sources") in changes(done(house, at(START + 61)), "quality")
    assert price(house, "BTC") == 5_000_000
    events = done(house, quotes(START + 62, BTC=50_000))
    assert ("BTC", "too_few_sources", "valid") in changes(events, "quality")


def test_a_change_of_quality_is_explained_with_its_numbers():
    house = opened()
    events = done(house, quotes(START + 1, BTC=(49_100, 50_000, 50_900)))
    why = next(event.why for event in events if isinstance(event, OracleChanged) and event.name == "BTC")
    assert why.startswith("divergent: 3 of 3 sources of BTC used")
    assert "dispersion 0.03" in why


def test_a_market_without_any_price_cannot_be_traded():
    house = new_house()
    fund(house, "ann", 1_000)
    assert refused(house, buy(house, "ann", "BTC-PERP", 1)).code == "no_price"
