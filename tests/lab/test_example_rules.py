"""The example rulebook: whatever it prints, it can read back and clear exactly."""

import pytest

from marginkeep.book.limits import prove_limits
from marginkeep.errors import InputError
from marginkeep.lab.example_rules import example_rulebook, example_rules_text
from marginkeep.rulebook import build_tables, read_rulebook
from marginkeep.rulebook.reading import parse_text


def read_back(text):
    rulebook = read_rulebook(parse_text(text, ".toml", "the example"))
    prove_limits(build_tables(rulebook))
    return rulebook


@pytest.mark.parametrize("price", [1e-7, 9.99e-5, 0.001, 1.0, 119.18, 1000.0, 69_000.0, 1e7])
@pytest.mark.parametrize("fall", [1, 10, 1e4])
def test_every_usual_price_gets_rules_that_read_back(price, fall):
    text = example_rules_text({"X/USDT": price}, {"X/USDT": price / fall})
    market = read_back(text).markets["X-PERP"]
    assert market.tick <= price / 10**5 * 1.001
    assert market.max_price >= 20 * price / market.tick * 0.999


def test_a_range_beyond_the_limits_gets_the_finest_tick_that_they_allow():
    market = example_rulebook({"X/USDT": 10_000.0}, {"X/USDT": 1e-12}).markets["X-PERP"]
    assert 10**-12 < market.tick < 0.1
    finer = example_rules_text({"X/USDT": 10_000.0}).replace('tick = "0.1"', 'tick = "0.00000000000001"')
    with pytest.raises(InputError):
        read_back(finer)


@pytest.mark.parametrize("price", [1e-13, 1e-16, 1e-25])
def test_a_tick_below_a_millionth_of_a_millionth_is_printed_exactly(price):
    text = example_rules_text({"X/USDT": price})
    assert 'tick = "0"' not in text
    assert 0 < read_back(text).markets["X-PERP"].tick <= price


def test_a_price_too_small_to_be_written_is_refused_by_name():
    with pytest.raises(InputError, match=r"no example rulebook fits X/USDT: .*--rules"):
        example_rules_text({"X/USDT": 1e-70})


@pytest.mark.parametrize("base", ["U.S", "1000 SATS", 'a"b', "a#b", "ünï", "a\\b", "a=b"])
def test_an_odd_symbol_is_quoted(base):
    symbol = f"{base}/USDT"
    rulebook = read_back(example_rules_text({symbol: 5.0}))
    assert rulebook.markets[f"{base}-PERP"].symbol == symbol


@pytest.mark.parametrize("base", ["a\nb", "a\x7fb", "a\ud800b"])
def test_a_symbol_that_cannot_be_read_back_is_refused(base):
    with pytest.raises(InputError, match="no example rulebook fits"):
        example_rules_text({f"{base}/USDT": 5.0})


@pytest.mark.parametrize("price", [0.0, -1.0, float("nan"), float("inf")])
def test_a_price_that_is_none_is_refused(price):
    with pytest.raises(InputError, match="finite and above 0"):
        example_rules_text({"X/USDT": price})
