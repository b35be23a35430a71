"""The ladder table of a rulebook: its defaults, its refusals, and what the hash covers."""

import hashlib
import json

import pytest

from marginkeep.errors import RulebookError
from marginkeep.rulebook import canonical, compare, read_rulebook, rulebook_hash
from marginkeep.rulebook.durations import MINUTE, SECOND
from marginkeep.rulebook.ladder_calls import largest_move
from marginkeep.rulebook.ladder_reading import NO_LIMIT
from marginkeep.rulebook.ladder_rules import AuctionRules, CallRules, FundRules, ImpactRules, SoftRules
from marginkeep.units import RATE_ONE
from tests.rulebook.house import DELETE
from tests.rulebook.ladder_house import FULL, MINIMAL, RULEBOOK, changed, ladder_of, read, refusal


def test_a_rulebook_without_a_ladder_has_none_and_keeps_its_hash():
    rulebook = read(RULEBOOK)
    assert rulebook.ladder is None
    body = {"parameters": canonical(rulebook), "order": [list(rulebook.assets), list(rulebook.markets)]}
    assert not [path for path in body["parameters"] if path.startswith("ladder")]
    assert rulebook_hash(rulebook) == hashlib.sha256(json.dumps(body, separators=(",", ":")).encode()).hexdigest()


def test_what_is_left_out_has_its_default():
    rules = read(MINIMAL).ladder
    move = largest_move(10 * MINUTE, RATE_ONE, 990_000_000)
    assert rules.calls == CallRules(10 * MINUTE, (5 * MINUTE, MINUTE), RATE_ONE, 990_000_000, move)
    assert rules.soft == SoftRules(10 * SECOND, 60 * SECOND, RATE_ONE // 10, 0, 800_000_000)
    assert rules.auctions == AuctionRules(
        *(RATE_ONE // 2, "linear", 0, RATE_ONE // 10, RATE_ONE // 10, 60 * SECOND, 5 * SECOND, 990_000_000, 1, 0, 0),
        *(NO_LIMIT, NO_LIMIT),
    )
    assert rules.funds == (FundRules("all", (), NO_LIMIT, NO_LIMIT),)
    assert rules.impacts == (ImpactRules("BTC-PERP", 100_000, 10_000_000, RATE_ONE // 10, 10 * SECOND),)
    assert (rules.dust, rules.house_share, rules.policy, rules.socialise) == (0, 0, "pro_rata", "side")


def test_rungs_whose_tables_are_missing_are_left_out():
    rules = read(RULEBOOK + '[ladder]\npolicy = "none"\nsocialise = "none"').ladder
    assert (rules.calls, rules.soft, rules.auctions, rules.policy, rules.socialise) == (None,) * 5
    assert (rules.funds, rules.impacts) == ((), ())


def test_amounts_are_in_the_reporting_asset_and_depth_in_contracts():
    rules = read(FULL).ladder
    assert (rules.dust, rules.auctions.tip, rules.auctions.most_debt) == (10_000_000, 1_000_000, 10**12)
    assert rules.funds == (
        FundRules("major", ("BTC-PERP",), 10**9, 5 * 10**9),
        FundRules("last", (), NO_LIMIT, NO_LIMIT),
    )
    assert [impact.depth for impact in rules.impacts] == [100_000, 100_000]


def test_a_fund_pays_for_one_event_at_most_what_it_pays_in_a_day_unless_stated_lower():
    rules = ladder_of("funds/major/most_an_event", DELETE)
    assert rules.funds[0].most_an_event == 5 * 10**9


REFUSED = [
    ("calls/deadline", "0s", "ladder.calls.deadline is '0s': it must be above 0"),
    ("calls/deadline", "3650d", "ladder.calls.deadline is 3650d: in that time a price may move by"),
    ("calls/volatility", "0", "ladder.calls.volatility is '0': it must lie from 0.000000001 to 10"),
    ("calls/probability", "1", "ladder.calls.probability is '1': it must lie from 0.000000001 to 0.999999999"),
    ("calls/reminders", "5m", "ladder.calls.reminders is '5m': give a list of durations"),
    ("calls/reminders", ["5"], "ladder.calls.reminders[0] is '5': give a number with its unit"),
    ("calls/reminders", ["10m"], "ladder.calls.reminders[0] is 10m: it is a time left, above 0 and below the deadline"),
    ("calls/reminders", ["1m", "5m"], "ladder.calls.reminders[1] is 5m: it is a time left, above 0 and below the rem"),
    ("calls/reminders", ["0s"], "ladder.calls.reminders[0] is 0s"),
    ("soft/step", "61s", "ladder.soft.step is 61s, above duration 1m"),
    ("soft/initial_share", "1.1", "ladder.soft.initial_share is '1.1': it must lie from 0 to 1"),
    ("soft/pace", "1", "ladder.soft.pace is not a known field"),
    ("soft/hard_factor", "0.4", "ladder.auctions.below_factor is 0.5, above ladder.soft.hard_factor 0.4"),
    ("auctions/curve", "cubic", "ladder.auctions.curve is 'cubic': use one of linear, stairstep, exponential"),
    ("auctions/start", "0.2", "ladder.auctions.start is 0.2, above most 0.1"),
    ("auctions/cut", "1", "ladder.auctions.cut is '1': it must lie from 0.000000001 to 0.999999999"),
    ("auctions/step", "2m", "ladder.auctions.step is 2m, above duration 1m"),
    ("auctions/restarts", -1, "ladder.auctions.restarts is -1: give a whole number from 0 to 1000"),
    ("auctions/tip", "0.0000001", "ladder.auctions.tip 0.0000001 is not a multiple of the smallest unit 0.000001"),
    ("auctions/tip", "-1", "ladder.auctions.tip is -1: it must lie from 0 to 4611686018427.387904"),
    ("auctions/chip", "0.6", "ladder.auctions.chip is '0.6': it must lie from 0 to 0.5"),
    ("auctions/lots", 1, "ladder.auctions.lots is not a known field"),
    ("funds/major/markets", ["SOL-PERP"], "ladder.funds.major.markets[0] is 'SOL-PERP', which is not a market"),
    ("funds/major/most_an_event", "5001", "ladder.funds.major.most_an_event is 5001, above most_a_day 5000"),
    ("funds/other", {}, "ladder.funds.other.markets is empty, as is that of last"),
    ("funds/other", {"markets": ["BTC-PERP"]}, "ladder.funds.other.markets[0] is 'BTC-PERP', for which major answers"),
    ("funds/major/name", "x", "ladder.funds.major.name is not a known field"),
    ("impact/SOL-PERP", {"depth": "1"}, "ladder.impact.SOL-PERP is 'SOL-PERP', which is not a market"),
    ("impact/BTC-PERP/depth", DELETE, "ladder.impact.BTC-PERP.depth is missing: add it"),
    ("impact/BTC-PERP/depth", "0.0005", "ladder.impact.BTC-PERP.depth 0.0005 is not a multiple of the lot 0.001"),
    ("impact/BTC-PERP/depth", "0.009", "ladder.impact.BTC-PERP.share is 0.1: of depth 0.009 that is less than one lot"),
    ("impact/BTC-PERP/impact", "0.51", "ladder.impact.BTC-PERP.impact is '0.51': it must lie from 0 to 0.5"),
    ("impact/BTC-PERP/interval", "0s", "ladder.impact.BTC-PERP.interval is '0s': it must be above 0"),
    ("dust", "-1", "ladder.dust is -1: it must lie from 0"),
    ("house_share", "2", "ladder.house_share is '2': it must lie from 0 to 1"),
    ("policy", "fair", "ladder.policy is 'fair': use one of queue, pro_rata, risk_aware, portfolio_aware, none"),
    ("socialise", "all", "ladder.socialise is 'all': use one of side, market, none"),
    ("rungs", 7, "ladder.rungs is not a known field"),
]


@pytest.mark.parametrize(("path", "value", "words"), REFUSED, ids=lambda part: str(part)[:40])
def test_what_breaks_a_bound_is_refused_with_path_value_bound_and_cure(path, value, words):
    assert words in refusal(f"ladder/{path}", value)


def test_an_impact_that_moves_the_price_by_half_is_refused():
    whole = changed("ladder/impact/BTC-PERP/impact", "0.5")
    whole["ladder"]["impact"]["BTC-PERP"]["share"] = "1"
    whole["liquidation"] = {"slippage": "0.001"}
    with pytest.raises(RulebookError, match=r"ladder\.impact\.BTC-PERP\.impact is 0\.5: with share and"):
        read_rulebook(whole)


CHANGES = [
    ("dust", "11", "dust"),
    ("house_share", "0.050000001", "house_share"),
    ("policy", "none", "policy"),
    ("socialise", "side", "socialise"),
    ("calls/deadline", "599s", "calls.deadline"),
    ("calls/reminders", ["5m"], "calls.reminders"),
    ("calls/volatility", "0.999999999", "calls.volatility"),
    ("calls/probability", "0.989999999", "calls.probability"),
    ("soft/step", "9s", "soft.step"),
    ("soft/duration", "61s", "soft.duration"),
    ("soft/initial_share", "0.100000001", "soft.initial_share"),
    ("soft/penalty", "0.001000001", "soft.penalty"),
    ("soft/hard_factor", "0.800000001", "soft.hard_factor"),
    ("auctions/below_factor", "0.500000001", "auctions.below_factor"),
    ("auctions/curve", "linear", "auctions.curve"),
    ("auctions/start", "0.010000001", "auctions.start"),
    ("auctions/most", "0.100000001", "auctions.most"),
    ("auctions/illness", "0.100000001", "auctions.illness"),
    ("auctions/duration", "61s", "auctions.duration"),
    ("auctions/step", "6s", "auctions.step"),
    ("auctions/cut", "0.990000001", "auctions.cut"),
    ("auctions/restarts", 2, "auctions.restarts"),
    ("auctions/tip", "1.000001", "auctions.tip"),
    ("auctions/chip", "0.001000001", "auctions.chip"),
    ("auctions/most_debt", DELETE, "auctions.most_debt"),
    ("auctions/most_debt_of_market", "500000.000001", "auctions.most_debt_of_market"),
    ("funds/major/markets", ["BTC-PERP", "ETH-PERP"], "funds.major.markets"),
    ("funds/major/most_an_event", "1000.000001", "funds.major.most_an_event"),
    ("funds/major/most_a_day", "5000.000001", "funds.major.most_a_day"),
    ("impact/BTC-PERP/depth", "100.001", "impact.BTC-PERP.depth"),
    ("impact/BTC-PERP/impact", "0.010000001", "impact.BTC-PERP.impact"),
    ("impact/BTC-PERP/share", "0.100000001", "impact.BTC-PERP.share"),
    ("impact/BTC-PERP/interval", "11s", "impact.BTC-PERP.interval"),
]


@pytest.mark.parametrize(("path", "value", "differs"), CHANGES, ids=lambda part: str(part)[:40])
def test_any_parameter_changes_the_hash_and_is_named(path, value, differs):
    before, after = read(FULL), read_rulebook(changed(f"ladder/{path}", value))
    assert rulebook_hash(before) != rulebook_hash(after)
    assert [difference.path for difference in compare(before, after)] == [f"ladder.{differs}"]


def test_every_parameter_of_the_ladder_is_changed_by_some_test_above():
    named = {f"ladder.{differs}" for _, _, differs in CHANGES}
    paths = {path for path in canonical(read(FULL)) if path.startswith("ladder.")}
    repeated = {path for path in paths if path.startswith(("ladder.funds.last.", "ladder.impact.ETH-PERP."))}
    assert paths - repeated == named


def test_canonical_text_is_in_decimals_seconds_and_names():
    lines = canonical(read(FULL))
    assert lines["ladder.dust"] == "10"
    assert lines["ladder.calls.reminders"] == "300s, 60s"
    assert lines["ladder.funds.major.markets"] == "BTC-PERP"
    assert (lines["ladder.funds.last.markets"], lines["ladder.funds.last.most_a_day"]) == ("all", "unlimited")
    assert lines["ladder.impact.BTC-PERP.depth"] == "100"
    bare = canonical(read(RULEBOOK + '[ladder]\npolicy = "none"'))
    assert {path: text for path, text in bare.items() if path.startswith("ladder")} == {
        "ladder.dust": "0",
        "ladder.house_share": "0",
        "ladder.policy": "none",
        "ladder.socialise": "side",
    }


def test_the_order_of_funds_is_part_of_the_hash_and_named():
    whole = changed("ladder/dust", "10")
    whole["ladder"]["funds"] = dict(reversed(whole["ladder"]["funds"].items()))
    before, after = read(FULL), read_rulebook(whole)
    assert canonical(before) == canonical(after)
    assert rulebook_hash(before) != rulebook_hash(after)
    assert [difference.path for difference in compare(before, after)] == ["ladder.funds order"]
