import pytest
from tests.houses import balance, fund, opened, position

from marginkeep.clearing import AdoptRulebook, Liquidated, PayFunding, Rejected, Trade, check_conservation, state_hash
from marginkeep.rulebook import rulebook_hash

BASE = """
name = "{name}"
[liquidation]
slippage = "0.002"
penalty = "0.003"
liquidator_share = "0.4"
[assets.USD]
[assets.BTC]
tick = "0.01"
max_price = "200000"
weight = {{ initial = "{weight}", maintenance = "0.95" }}
[markets.BTC-PERP]
settle = "USD"
lot = "{lot}"
tick = "0.1"
max_price = "{max_price}"
max_position = "{max_position}"
tiers = [{{ floor = "0", initial = "{initial}", maintenance = "{maintenance}" }}]
{more}
"""
ETH = """
[markets.ETH-PERP]
settle = "USD"
lot = "0.01"
tick = "0.01"
tiers = [{ floor = "0", initial = "0.02", maintenance = "0.01" }]
"""


def text(**changes) -> str:
    terms = {
        "name": "rules",
        "weight": "0.9",
        "lot": "0.001",
        "initial": "0.02",
        "maintenance": "0.01",
        "more": "",
        "max_price": "1000000",
        "max_position": "100",
    }
    return BASE.format(**{**terms, **changes})


def house(watched: bool):
    from marginkeep.clearing import Clearinghouse
    from marginkeep.rulebook.reading import parse_text, read_rulebook

    made = Clearinghouse(read_rulebook(parse_text(text(), ".toml", "rules")))
    made.state.watch_from = 0 if watched else 10**9
    from marginkeep.clearing import SetPrices

    made.apply(SetPrices(marks={"BTC-PERP": 500_000}, prices={"BTC": 5_000_000}))
    fund(made, "ann", 1_600)
    fund(made, "bob", 5_000)
    made.apply(Trade(market="BTC-PERP", buyer="ann", seller="bob", size=1_000, price=500_000))
    made.apply(SetPrices(marks={"BTC-PERP": 499_000}))
    return made


@pytest.mark.parametrize("watched", [True, False])
def test_adopting_higher_requirements_liquidates_who_is_below_them_at_once(watched):
    made = house(watched)
    events = made.apply(AdoptRulebook(rules=text(name="strict", initial="0.06", maintenance="0.04")))
    assert type(events[0]).__name__ == "RulebookAdopted"
    assert events[0].after == rulebook_hash(made.state.rulebook)
    liquidated = [event for event in events if isinstance(event, Liquidated)]
    assert [event.account for event in liquidated] == ["ann"]
    assert liquidated[0].rulebook == events[0].after
    check_conservation(made)


def test_watch_and_scan_agree_after_an_adoption():
    hashes = []
    for watched in (True, False):
        made = house(watched)
        made.apply(AdoptRulebook(rules=text(name="strict", initial="0.06", maintenance="0.04")))
        made.apply(PayFunding(market="BTC-PERP", rate=100_000))
        made.apply(AdoptRulebook(rules=text(name="wider", more=ETH)))
        made.apply(prices_of(498_000))
        hashes.append(state_hash(made))
    assert hashes[0] == hashes[1]


def prices_of(ticks: int):
    from marginkeep.clearing import SetPrices

    return SetPrices(marks={"BTC-PERP": ticks, "ETH-PERP": 300_000})


def test_markets_may_be_added_and_then_traded():
    made = house(False)
    made.apply(AdoptRulebook(rules=text(more=ETH)))
    made.apply(prices_of(499_000))
    traded = made.apply(Trade(market="ETH-PERP", buyer="bob", seller="external", size=10, price=300_000))
    assert not isinstance(traded[0], Rejected)
    check_conservation(made)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (text(lot="0.01"), "markets.BTC-PERP.lot may not change"),
        (text(initial="0.01", maintenance="0.02"), "maintenance"),
        ("not toml at all [", "not valid TOML"),
        ("[assets.USD]", "assets must keep their order"),
        (text(max_price="1000"), "the mark of 499000 ticks"),
        (text(max_position="0.5"), "a position of 1000 lots is open"),
        ("x" * 5_000_000, "at most"),
    ],
    ids=["lot", "rates", "malformed", "removed", "mark", "position", "huge"],
)
def test_a_rulebook_that_does_not_fit_the_house_is_refused_and_nothing_changes(rules, words):
    made = house(False)
    before, sequence = state_hash(made), made.state.sequence
    refused = made.apply(AdoptRulebook(rules=rules))[0]
    assert isinstance(refused, Rejected)
    assert words in refused.reason
    made.state.sequence = sequence
    assert state_hash(made) == before
    made.state.sequence = sequence + 1


def test_what_accounts_hold_keeps_its_meaning():
    made = house(False)
    held, cash = position(made, "ann", "BTC-PERP"), balance(made, "ann")
    made.apply(AdoptRulebook(rules=text(name="other", weight="0.8")))
    assert position(made, "ann", "BTC-PERP") == held
    assert balance(made, "ann") == cash
    assert opened().state.rulebook_hash != made.state.rulebook_hash
