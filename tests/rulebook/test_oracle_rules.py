"""The oracle table of a rulebook: its defaults, its refusals, and what its hash and comparison cover."""

import copy
import hashlib
import json
from fractions import Fraction

import pytest

from marginkeep.book.case import read_case
from marginkeep.errors import RulebookError
from marginkeep.rulebook import canonical, compare, read_rulebook, rulebook_hash
from marginkeep.rulebook.durations import HOUR, MINUTE, SECOND, parse_time
from marginkeep.rulebook.lognormal import lognormal_bounds
from marginkeep.rulebook.model import Rulebook
from marginkeep.rulebook.oracle_rules import (
    ACTIONS,
    DIVERGENT,
    FACTOR_ONE,
    HALTED,
    MARKET_HALTED,
    QUALITIES,
    SOURCES_MAX,
    STALE,
    VOLATILE,
    GrowthCap,
    JumpLimit,
    SourceRules,
    VenueBreaker,
)
from tests.rulebook.house import DELETE
from tests.rulebook.oracle_house import FULL, MINIMAL, RULEBOOK, SPELLED_OUT, changed, oracle_of, refusal, table


def read(text):
    return read_rulebook(table(text))


def feed_of(oracle, name):
    return next(feed for feed in oracle.feeds if feed.name == name)


def test_a_rulebook_without_an_oracle_table_has_no_oracle():
    rulebook = read(RULEBOOK)
    assert rulebook.oracle is None
    assert Rulebook(rulebook.name, "USD", rulebook.assets, rulebook.markets) == rulebook
    assert not [path for path in canonical(rulebook) if path.startswith("oracle")]


def test_a_rulebook_without_an_oracle_keeps_the_hash_it_had_before_there_was_one():
    rulebook = read(RULEBOOK)
    body = {"parameters": canonical(rulebook), "order": [list(rulebook.assets), list(rulebook.markets)]}
    assert rulebook_hash(rulebook) == hashlib.sha256(json.dumps(body, separators=(",", ":")).encode()).hexdigest()


def test_a_case_has_no_oracle():
    case = {"assets": {"USD": {}}, "accounts": [{"id": "alice", "balances": {"USD": "1"}}]}
    read_case(case)
    with pytest.raises(RulebookError, match=r"^oracle is not a known field"):
        read_case({**case, "oracle": {"sources": ["a"], "feeds": {}}})


def test_what_is_left_out_equals_the_defaults_spelled_out():
    short, long = read(MINIMAL), read(SPELLED_OUT)
    assert short.oracle == long.oracle
    assert compare(short, long) == ()
    assert rulebook_hash(short) == rulebook_hash(long)


def test_the_parts_that_may_be_absent_are_off():
    oracle = read(RULEBOOK + '[oracle]\nsources = ["a"]\n[oracle.feeds.BTC]').oracle
    assert oracle.stable is None
    assert oracle.venue.markets == 0
    assert oracle.marks == oracle.breakers == oracle.pegs == ()
    assert feed_of(oracle, "BTC").min_sources == 1
    assert feed_of(oracle, "BTC").tick == Fraction(1, 100)


def test_a_feed_overrides_what_the_defaults_state_and_these_what_the_house_does():
    whole = changed("defaults", {"max_age": "20s", "trim": "0.1", "min_sources": 2}, MINIMAL)
    whole["oracle"]["feeds"]["BTC"] = {"max_age": "1s", "score": {"memory": 7}, "min_sources": 3}
    btc, usdc = read_rulebook(whole).oracle.feeds
    assert (btc.max_age_ns, usdc.max_age_ns) == (SECOND, 20 * SECOND)
    assert (btc.trim, usdc.trim) == (100_000_000, 100_000_000)
    assert (btc.min_sources, usdc.min_sources) == (3, 2)
    assert (btc.score.memory, usdc.score.memory, btc.score.late_after_ns) == (7, 50, 5 * SECOND)


def test_a_feed_takes_its_sources_in_the_order_of_the_oracle_and_may_weigh_them_anew():
    oracle = oracle_of("feeds/BTC/sources", {"chain": {"weight": 9}, "binance": {}})
    binance, chain = feed_of(oracle, "BTC").sources
    assert binance == SourceRules("binance", 3, 0, "cex", 30 * SECOND)
    assert chain == SourceRules("chain", 9, 1, "dex", 90 * SECOND)
    assert feed_of(oracle, "ETH").sources[1].weight == 2
    assert [source.name for source in feed_of(oracle, "WSTETH").sources] == ["chain"]


def test_a_ratio_has_a_tick_of_its_own_and_its_cap_is_counted_in_it():
    feed = feed_of(read(FULL).oracle, "WSTETH")
    assert (feed.base, feed.tick, feed.delay_ns) == ("ETH", Fraction(1, 10**6), HOUR)
    assert feed.growth_cap == GrowthCap(1_150_000, parse_time("2026-01-01T00:00:00Z"), 96_800_000)
    assert feed.jump_limit == JumpLimit(1_250_000_000, 2 * MINUTE)
    assert refusal("feeds/WSTETH/tick", DELETE) == "oracle.feeds.WSTETH.tick is missing: add it"
    assert refusal("feeds/BTC-CEX/tick", DELETE) == "oracle.feeds.BTC-CEX.tick is missing: add it"


def test_bounds_of_a_trigger_come_from_shares_or_from_the_log_normal_model():
    near, far = dict(read(FULL).oracle.breakers)["BTC-PERP"].triggers
    assert (near.lower, near.upper) == (FACTOR_ONE * 9 // 10, FACTOR_ONE * 12 // 10)
    assert (far.lower, far.upper) == lognormal_bounds(
        Fraction(9_999_999, 10**7), Fraction(1), Fraction(0), 3600 * SECOND
    )
    assert (far.state, far.duration_ns, far.horizon_ns) == (MARKET_HALTED, 5 * MINUTE, HOUR)
    assert read(FULL).oracle.venue == VenueBreaker(markets=2, state=2)


def test_stages_of_a_peg_have_a_weight_a_level_with_the_rulebooks_own_shares():
    (peg,) = read(FULL).oracle.pegs
    strained, broken = peg.stages
    assert (peg.asset, peg.target) == ("USDC", 10_000)
    assert strained.weight == (900_000_000, 975_000_000, 1_000_000_000, 950_000_000)
    assert broken.weight == (500_000_000,) * 4
    assert (strained.opens, broken.opens) == (True, False)
    assert (strained.after_ns, broken.after_ns) == (HOUR, 10 * MINUTE)


def test_an_action_accepts_what_its_row_says_and_a_row_replaces_the_default():
    oracle = oracle_of("actions", {"settle": ["valid", "stale"], "fund": []})
    accepted = {action: [q for n, q in enumerate(QUALITIES) if oracle.accepted(action, 1 << n)] for action in ACTIONS}
    assert accepted["settle"] == ["valid", "stale"]
    assert accepted["fund"] == []
    assert accepted["open"] == accepted["withdraw"] == ["valid"]
    assert accepted["call"] == list(QUALITIES)
    assert accepted["liquidate"] == ["valid", "stale", "uncertain", "volatile"]
    assert not any(oracle.accepted(action, 1 << HALTED) for action in ACTIONS if action != "call")


def test_an_action_must_accept_each_of_the_qualities_that_apply_at_once():
    oracle = read(MINIMAL).oracle
    assert oracle.accepted("liquidate", 1 << STALE | 1 << VOLATILE)
    assert not oracle.accepted("liquidate", 1 << DIVERGENT | 1 << VOLATILE)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sources", DELETE, "oracle.sources is missing: add it"),
        ("sources", [], "oracle.sources is empty: name who quotes"),
        ("sources", "binance", "oracle.sources is 'binance': give a list of names"),
        ("sources", ["a", "a"], "oracle.sources[1] is 'a', which stands there already"),
        ("sources/binance/weight", 0, "oracle.sources.binance.weight is 0: give a whole number from 1 to 1000"),
        ("sources/binance/weight", 1001, "oracle.sources.binance.weight is 1001: give a whole number from 1 to 1000"),
        ("sources/binance/rank", -1, "oracle.sources.binance.rank is -1: give a whole number"),
        ("sources/binance/stale_after", "0s", "oracle.sources.binance.stale_after is '0s': it must be above 0"),
        ("stale_after", "60", "oracle.stale_after is '60': give a number with its unit"),
        ("score/return_below", "0.5", "oracle.score.return_below is 0.5, not below quarantine_above 0.5"),
        ("score/return_below", "0", "oracle.score.return_below is '0': it must lie from 0.000000001 to 1"),
        ("feeds/BTC/score/return_below", "0.7", "oracle.feeds.BTC.score.return_below is 0.7, not below"),
        ("score/memory", 0, "oracle.score.memory is 0: give a whole number from 1 to"),
        ("feeds", {}, "oracle.feeds is missing: add at least one, for example [oracle.feeds.BTC]"),
        ("feeds/USD", {}, "oracle.feeds.USD is the reporting asset's, whose price is always 1: leave it out"),
        ("feeds/BTC/sources", ["kraken"], "oracle.feeds.BTC.sources is 'kraken', which is not a source of the oracle"),
        ("feeds/BTC/sources", [], "oracle.feeds.BTC.sources has 0 names: a feed has from 1 to 16 sources"),
        ("feeds/BTC/min_sources", 3, "oracle.feeds.BTC.min_sources is 3, but oracle.feeds.BTC.sources has 2:"),
        ("defaults/min_sources", 2, "oracle.defaults.min_sources is 2, but oracle.feeds.WSTETH.sources has 1:"),
        ("feeds/BTC/aggregate", "mean", "oracle.feeds.BTC.aggregate is 'mean': use one of weighted_median"),
        ("feeds/BTC/trim", "0.5", "oracle.feeds.BTC.trim is '0.5': it must lie from 0 to 0.499999999"),
        ("feeds/BTC/max_age", "0s", "oracle.feeds.BTC.max_age is '0s': it must be above 0"),
        ("feeds/BTC/max_age", "-1s", "oracle.feeds.BTC.max_age is '-1s': give a number with its unit"),
        ("feeds/BTC/average_half_life", "0s", "oracle.feeds.BTC.average_half_life is '0s': it must be above 0"),
        ("feeds/BTC/outlier_band", "0", "oracle.feeds.BTC.outlier_band is '0': it must lie from 0.000000001 to 1"),
        ("feeds/BTC/max_agee", "5s", "oracle.feeds.BTC.max_agee is not a known field: did you mean 'max_age'?"),
        ("defaults/delay", "1h", "oracle.defaults.delay is not a known field"),
        ("feeds/WSTETH/base", "SOL", "oracle.feeds.WSTETH.base is 'SOL', which is not a feed: use one of BTC, ETH"),
        ("feeds/WSTETH/base", "WSTETH", "oracle.feeds.WSTETH.base is 'WSTETH', the feed itself: use a feed that has"),
        ("feeds/BTC-CEX/base", "WSTETH", "oracle.feeds.BTC-CEX.base is 'WSTETH', a ratio to 'ETH': use a feed that"),
        ("feeds/WSTETH/growth_cap/ratio", "1.0000001", "oracle.feeds.WSTETH.growth_cap.ratio 1.0000001 is not a mult"),
        (
            "feeds/WSTETH/growth_cap/ratio",
            "-1",
            "oracle.feeds.WSTETH.growth_cap.ratio is -1: it must lie from 0.000001",
        ),
        ("feeds/WSTETH/growth_cap/ratio", "1e12", "oracle.feeds.WSTETH.growth_cap.ratio is 1000000000000: it must lie"),
        ("feeds/WSTETH/growth_cap/since", "2026", "oracle.feeds.WSTETH.growth_cap.since is '2026': give a UTC time"),
        ("feeds/WSTETH/jump_limit/ratio", "1", "oracle.feeds.WSTETH.jump_limit.ratio is '1': it must lie from 1.0"),
        ("feeds/WSTETH/jump_limit/window", "0s", "oracle.feeds.WSTETH.jump_limit.window is '0s': it must be above 0"),
        ("marks/SOL-PERP", {"index": "BTC"}, "oracle.marks.SOL-PERP is 'SOL-PERP', which is not a market: use one of"),
        ("marks/BTC-PERP/index", "SOL", "oracle.marks.BTC-PERP.index is 'SOL', which is not a feed: use one of BTC"),
        ("marks/BTC-PERP/components/1/feed", "SOL", "oracle.marks.BTC-PERP.components[1].feed is 'SOL', which is not"),
        ("marks/ETH-PERP", DELETE, "oracle.breakers.ETH-PERP is 'ETH-PERP', which is not a market with a mark: use"),
        ("breakers/BTC-PERP/triggers/1/horizon", "59s", "triggers[1].horizon is 59s, below that of the trigger before"),
        ("breakers/BTC-PERP/triggers/0/fall", "1", "triggers[0].fall is '1': it must lie from 0.000000001 to 0.999"),
        ("breakers/BTC-PERP/triggers/0/rise", "0", "triggers[0].rise is '0': it must lie from 0.000000001 to 4"),
        ("breakers/BTC-PERP/triggers/0/rise", DELETE, "triggers[0].rise is missing: add it"),
        ("breakers/BTC-PERP/triggers/0/drift", "0", "triggers[0] states fall and drift: give either fall and rise"),
        ("breakers/BTC-PERP/triggers/0", {"horizon": "1s"}, "triggers[0] states no bound: give either fall and rise"),
        ("breakers/BTC-PERP/triggers/0/state", "open", "triggers[0].state is 'open': use one of reduce_only, guarded"),
        (
            "breakers/BTC-PERP/triggers/1/probability",
            "1",
            "oracle.breakers.BTC-PERP.triggers[1]: a bound's probability",
        ),
        ("breakers/BTC-PERP/triggers/1/volatility", "0", "oracle.breakers.BTC-PERP.triggers[1]: a bound's volatility"),
        ("breakers/BTC-PERP/triggers/1/drift", "900", "oracle.breakers.BTC-PERP.triggers[1]: a bound's drift"),
        ("breakers/BTC-PERP/triggers/1/horizon", "0s", "triggers[1].horizon is '0s': it must be above 0"),
        ("breakers/BTC-PERP/liquidation_interval", "0s", "liquidation_interval is '0s': it must be above 0"),
        ("venue_breaker/markets", DELETE, "oracle.venue_breaker.markets is missing: add it"),
        ("pegs/DAI", {}, "oracle.pegs.DAI is 'DAI', which is not an asset: use one of USD, BTC"),
        ("feeds/USDC", DELETE, "oracle.pegs.USDC is 'USDC', which is not a feed: use one of BTC"),
        ("pegs/USDC/target", DELETE, "oracle.pegs.USDC.target is missing: add it"),
        ("pegs/USDC/target", "1.00001", "oracle.pegs.USDC.target 1.00001 is not a multiple of the tick 0.0001: use 1"),
        ("pegs/USDC/target", "0", "oracle.pegs.USDC.target is 0: it must lie from 0.0001 to"),
        ("pegs/USDC/stages", [], "oracle.pegs.USDC.stages is empty: give at least one stage"),
        ("pegs/USDC/stages/1/deviation", "0.005", "stages[1].deviation is 0.005, not above that of the stage before"),
        ("pegs/USDC/stages/1/weight", "0.95", "stages[1].weight.initial is 0.95, above that of the stage before, 0.9"),
        ("pegs/USDC/stages/1/weight", "1.1", "oracle.pegs.USDC.stages[1].weight is '1.1': it must lie from 0 to 1"),
        ("pegs/USDC/stages/1/weight", {"initial": "0.5", "maintenance": "0.4"}, "weight.initial is 0.5, above maint"),
        ("pegs/USDC/stages/1/name", "strained", "stages[1].name is 'strained', which an earlier stage has"),
        ("pegs/USDC/stages/1/opens", "true", "stages[1].opens is 'true': give true or false, without quotes"),
        ("actions/open", ["halted"], "oracle.actions.open[0] is 'halted': nothing but a margin call may use a halted"),
        ("actions/soft", ["fresh"], "oracle.actions.soft[0] is 'fresh': use one of valid, stale"),
        ("actions/fund", ["stale"], "oracle.actions.fund accepts 'stale' but not 'valid': add it, or accept nothing"),
        ("actions/lend", ["valid"], "oracle.actions.lend is not a known field: known: auction, call"),
        ("stable/per_second", "0", "oracle.stable.per_second is '0': it must lie from 0.000000001 to 1"),
        ("feed", {}, "oracle.feed is not a known field: did you mean 'feeds'?"),
    ],
    ids=lambda part: str(part)[:50],
)
def test_a_refusal_names_path_value_bound_and_cure(path, value, message):
    assert message in refusal(path, value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            {"open": ["valid", "divergent"]},
            "oracle.actions.liquidate does not; a suspicious price blocks opening before it blocks liquidation: take",
        ),
        (
            {"open": ["valid", "stale"], "reduce": ["valid"]},
            "oracle.actions.open accepts 'stale', which oracle.actions.reduce",
        ),
        ({"liquidate": []}, "oracle.actions.open accepts 'valid', which oracle.actions.liquidate does not"),
        (
            {"open": [], "withdraw": ["valid", "too_few_sources"]},
            "oracle.actions.liquidate does not; a suspicious price blocks withdrawals before it blocks liquidation",
        ),
    ],
)
def test_a_guard_that_is_the_wrong_way_round_is_refused(rows, message):
    assert message in refusal("actions", rows)


def test_a_worse_stage_does_not_open_what_a_milder_one_closed():
    whole = changed("pegs/USDC/stages/1/opens", True)
    whole["oracle"]["pegs"]["USDC"]["stages"][0]["opens"] = False
    with pytest.raises(RulebookError, match=r"stages\[1\]\.opens is true, but the stage before does not open"):
        read_rulebook(whole)


def test_a_feed_has_at_most_sixteen_sources_and_an_oracle_may_have_more():
    names = [f"s{number}" for number in range(SOURCES_MAX + 1)]
    whole = changed("sources", names, MINIMAL)
    for feed in ("BTC", "USDC"):
        whole["oracle"]["feeds"][feed] = {"sources": names[:SOURCES_MAX]}
    assert len(read_rulebook(whole).oracle.feeds[0].sources) == SOURCES_MAX
    del whole["oracle"]["feeds"]["USDC"]["sources"]
    with pytest.raises(RulebookError, match=r"oracle\.feeds\.USDC\.sources has 17 names: a feed has from 1 to 16"):
        read_rulebook(whole)


def test_triggers_may_share_a_horizon():
    trigger = {"horizon": "60s", "fall": "0.3", "rise": "0.4", "state": "halted"}
    assert len(dict(oracle_of("breakers/BTC-PERP/triggers/1", trigger).breakers)["BTC-PERP"].triggers) == 2


# path of a field, another value for it, and the path of the one parameter that then differs
_BTC, _WSTETH = "feeds/BTC", "feeds/WSTETH"
_TRADES, _TRIGGER, _STAGE = "marks/BTC-PERP/components/0", "breakers/BTC-PERP/triggers/0", "pegs/USDC/stages/0"
CHANGES = [
    *((f"actions/{action}", [], f"actions.{action}") for action in ACTIONS if action not in ("liquidate", "reduce")),
    ("actions/liquidate", ["valid"], "actions.liquidate"),
    ("actions/reduce", ["valid"], "actions.reduce"),
    (f"{_BTC}/tick", "0.02", "feeds.BTC.tick"),
    (f"{_BTC}/aggregate", "trimmed_mean", "feeds.BTC.aggregate"),
    (f"{_BTC}/trim", "0.200000001", "feeds.BTC.trim"),
    (f"{_BTC}/min_sources", 1, "feeds.BTC.min_sources"),
    *(
        (f"{_BTC}/{name}", "17.000000001s", f"feeds.BTC.{name}")
        for name in ("max_age", "max_ahead", "average_half_life", "frozen_after", "delay")
    ),
    *(
        (f"{_BTC}/{name}", "0.012345678", f"feeds.BTC.{name}")
        for name in ("outlier_band", "max_confidence", "max_dispersion", "volatile_band")
    ),
    *((f"{_BTC}/score/{name}", "1.5s", f"feeds.BTC.score.{name}") for name in ("late_after", "quarantine")),
    (f"{_BTC}/score/memory", 51, "feeds.BTC.score.memory"),
    (f"{_BTC}/score/quarantine_above", "0.500000001", "feeds.BTC.score.quarantine_above"),
    (f"{_BTC}/score/return_below", "0.100000001", "feeds.BTC.score.return_below"),
    (f"{_BTC}/sources", {"binance": {"weight": 4}, "chain": {}}, "feeds.BTC.sources.binance.weight"),
    (f"{_BTC}/sources", {"binance": {"rank": 2}, "chain": {}}, "feeds.BTC.sources.binance.rank"),
    (f"{_BTC}/sources", {"binance": {"group": "x"}, "chain": {}}, "feeds.BTC.sources.binance.group"),
    (f"{_BTC}/sources", {"binance": {"stale_after": "1ns"}, "chain": {}}, "feeds.BTC.sources.binance.stale_after"),
    (f"{_WSTETH}/base", "BTC", "feeds.WSTETH.base"),
    (f"{_WSTETH}/growth_cap/ratio", "1.150001", "feeds.WSTETH.growth_cap.ratio"),
    (f"{_WSTETH}/growth_cap/since", "2026-01-01T00:00:01Z", "feeds.WSTETH.growth_cap.since"),
    (f"{_WSTETH}/growth_cap/yearly", "0.096800001", "feeds.WSTETH.growth_cap.yearly"),
    (f"{_WSTETH}/jump_limit/ratio", "1.250000001", "feeds.WSTETH.jump_limit.ratio"),
    (f"{_WSTETH}/jump_limit/window", "120001ms", "feeds.WSTETH.jump_limit.window"),
    ("marks/BTC-PERP/index", "BTC-CEX", "marks.BTC-PERP.index"),
    ("marks/BTC-PERP/method", "weighted", "marks.BTC-PERP.method"),
    ("marks/BTC-PERP/band", "0.050000001", "marks.BTC-PERP.band"),
    ("marks/BTC-PERP/components/1/feed", "BTC", "marks.BTC-PERP.components[1].feed"),
    ("marks/BTC-PERP/components/2/kind", "mean_basis", "marks.BTC-PERP.components[2].kind"),
    (f"{_TRADES}/weight", 2, "marks.BTC-PERP.components[0].weight"),
    (f"{_TRADES}/stale_after", "61s", "marks.BTC-PERP.components[0].stale_after"),
    (f"{_TRADES}/window", "121s", "marks.BTC-PERP.components[0].window"),
    (f"{_TRADES}/decay", "0.500000001", "marks.BTC-PERP.components[0].decay"),
    (f"{_TRADES}/power", 3, "marks.BTC-PERP.components[0].power"),
    (f"{_TRADES}/reserve", True, "marks.BTC-PERP.components[0].reserve"),
    ("breakers/BTC-PERP/liquidation_share", "0.03", "breakers.BTC-PERP.liquidation_share"),
    ("breakers/BTC-PERP/liquidation_interval", "11s", "breakers.BTC-PERP.liquidation_interval"),
    (f"{_TRIGGER}/horizon", "61s", "breakers.BTC-PERP.triggers[0].horizon"),
    (f"{_TRIGGER}/fall", "0.100000001", "breakers.BTC-PERP.triggers[0].lower"),
    (f"{_TRIGGER}/rise", "0.200000001", "breakers.BTC-PERP.triggers[0].upper"),
    (f"{_TRIGGER}/state", "reduce_only", "breakers.BTC-PERP.triggers[0].state"),
    (f"{_TRIGGER}/duration", "61s", "breakers.BTC-PERP.triggers[0].duration"),
    ("venue_breaker/markets", 3, "venue_breaker.markets"),
    ("venue_breaker/state", "halted", "venue_breaker.state"),
    ("pegs/USDC/target", "1.0001", "pegs.USDC.target"),
    ("pegs/USDC/dispersion", "0.010000001", "pegs.USDC.dispersion"),
    ("pegs/USDC/return_after", "7h", "pegs.USDC.return_after"),
    (f"{_STAGE}/name", "loose", "pegs.USDC.stages[0].name"),
    (f"{_STAGE}/deviation", "0.005000001", "pegs.USDC.stages[0].deviation"),
    (f"{_STAGE}/after", "2h", "pegs.USDC.stages[0].after"),
    (f"{_STAGE}/opens", False, "pegs.USDC.stages[0].opens"),
    (f"{_STAGE}/weight/call", "0.98", "pegs.USDC.stages[0].weight.call"),
    (f"{_STAGE}/weight/target", "0.98", "pegs.USDC.stages[0].weight.target"),
    ("stable/per_second", "0.000300001", "stable.per_second"),
    ("stable/delayed_per_hour", "0.060000001", "stable.delayed_per_hour"),
]


@pytest.mark.parametrize(("path", "value", "differs"), CHANGES, ids=lambda part: str(part)[:60])
def test_any_parameter_changes_the_hash_and_is_named(path, value, differs):
    before, after = read(FULL), read_rulebook(changed(path, value))
    assert rulebook_hash(before) != rulebook_hash(after)
    paths = [difference.path for difference in compare(before, after)]
    # another kind of component has another window unless one is stated
    if path.endswith("components/2/kind"):
        paths.remove("oracle.marks.BTC-PERP.components[2].window")
    assert paths == [f"oracle.{differs}"]


def test_every_parameter_of_the_oracle_is_changed_by_some_test_above():
    named = {differs for _, _, differs in CHANGES}
    repeated = ("feeds.ETH.", "feeds.USDC.", "feeds.BTC-CEX.", "feeds.WSTETH.", "marks.ETH-PERP.", "breakers.ETH-PERP.")
    repeated += ("marks.BTC-PERP.components[", "breakers.BTC-PERP.triggers[1]", "pegs.USDC.stages[1]")
    paths = [path.removeprefix("oracle.") for path in canonical(read(FULL)) if path.startswith("oracle.")]
    rest = {path for path in paths if path not in named and not path.startswith(repeated)}
    weights = {"pegs.USDC.stages[0].weight.initial", "pegs.USDC.stages[0].weight.maintenance"}
    sources = {f"feeds.BTC.sources.chain.{name}" for name in ("weight", "rank", "group", "stale_after")}
    assert rest == weights | sources


def test_rates_are_shown_as_decimals_durations_in_seconds_and_qualities_by_name():
    lines = canonical(read(FULL))
    assert lines["oracle.feeds.BTC.outlier_band"] == "0.02"
    assert lines["oracle.feeds.BTC.average_half_life"] == "300s"
    assert lines["oracle.feeds.WSTETH.growth_cap.ratio"] == "1.15"
    assert lines["oracle.feeds.WSTETH.growth_cap.since"] == "2026-01-01T00:00:00Z"
    assert lines["oracle.actions.fund"] == "valid, uncertain, volatile"
    assert lines["oracle.breakers.BTC-PERP.triggers[0].upper"] == "1.2"
    assert lines["oracle.pegs.USDC.target"] == "1"


def test_the_order_of_feeds_and_sources_is_part_of_the_hash_and_named():
    whole = table(FULL)
    turned = copy.deepcopy(whole)
    for name in ("feeds", "sources"):
        turned["oracle"][name] = dict(reversed(whole["oracle"][name].items()))
    before, after = read_rulebook(whole), read_rulebook(turned)
    assert canonical(before) == canonical(after)
    assert rulebook_hash(before) != rulebook_hash(after)
    paths = [difference.path for difference in compare(before, after)]
    assert paths[0] == "oracle.feeds order"
    assert "oracle.feeds.BTC.sources order" in paths


def test_an_oracle_that_comes_or_goes_is_a_difference_of_every_line_of_it():
    without, with_one = read(RULEBOOK), read(MINIMAL)
    lines = [path for path in canonical(with_one) if path.startswith("oracle.")]
    assert [difference.path for difference in compare(without, with_one)] == lines
    assert [difference.path for difference in compare(with_one, without)] == lines
    assert rulebook_hash(without) != rulebook_hash(with_one)
