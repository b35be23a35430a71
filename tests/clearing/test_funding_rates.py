from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.clearing.funding_cases import paid_for, paid_on, rate

from marginkeep.book.account import Position
from marginkeep.book.fills import book_funding
from marginkeep.clearing.funding_formulas import index_move, nothing_due
from marginkeep.clearing.funding_rates import FundingMachine
from marginkeep.clearing.funding_samples import Held, PremiumSamples, middle
from marginkeep.rulebook import build_tables, read_rulebook
from marginkeep.rulebook.durations import HOUR, MINUTE, SECOND
from marginkeep.rulebook.funding_presets import PRESETS, drift, dydx, house, hyperliquid, vega
from marginkeep.units import RATE_ONE

MARKETS = {
    "LINEAR": {"settle": "USD", "lot": "0.001", "tick": "0.1"},
    "INVERSE": {"settle": "BTC", "lot": "1", "tick": "0.1", "payoff": "inverse"},
}
TIERS = [{"floor": "0", "initial": "0.02", "maintenance": "0.01"}]
HOUSE = read_rulebook(
    {
        "assets": {"USD": {"decimals": 6}, "BTC": {"decimals": 8, "tick": "0.01"}},
        "markets": {name: {**market, "tiers": TIERS} for name, market in MARKETS.items()},
    }
)
LINEAR, INVERSE = build_tables(HOUSE).markets

premiums = st.integers(-RATE_ONE // 20, RATE_ONE // 20)


# Samples --------------------------------------------------------------------------------------------------------


def test_a_missing_sample_counts_as_zero_only_where_padded():
    rules = replace(house("H"), sample_every_ns=20 * MINUTE, damping=None, interest=0, cap_of_margin=0)
    assert paid_for(rules, "0.0006", None, "0.0006").premium == rate("0.0006")
    assert paid_for(replace(rules, zero_padded=True), "0.0006", None, "0.0006").premium == rate("0.0004")
    rising = replace(rules, average="rising", zero_padded=True)
    assert paid_for(rising, "0.0006", None, "0.0006").premium == rate("0.0004")  # (1 + 3) / 6


def test_tails_are_left_out_of_the_padded_samples():
    rules = replace(house("H"), sample_every_ns=15 * MINUTE, tail=RATE_ONE // 4)
    assert paid_for(rules, "0.9", "0.0002", "0.0004", "-0.9").premium == rate("0.0003")
    assert paid_for(replace(rules, zero_padded=True), "0.9", "0.0002").premium == rate("0.0001")


def test_the_last_vote_of_a_slot_replaces_the_others():
    machine = FundingMachine(house("H"))
    machine.sample(rate("0.9"), 0)
    machine.sample(rate("0.001"), 59 * SECOND)
    assert machine.pay(HOUR).premium == rate("0.001")


def test_without_any_premium_nothing_is_paid():
    rules = house("H")
    assert paid_for(rules, None) == nothing_due(rules)
    assert paid_for(replace(rules, average="time_weighted"), None) == nothing_due(rules)
    machine = FundingMachine(vega("V"))
    machine.sample_prices(5, None, 0)
    assert machine.pay(8 * HOUR) == nothing_due(vega("V"))
    assert paid_on(vega("V"), 5, 0) == nothing_due(vega("V"))


def test_a_padded_hour_without_premiums_pays_its_interest():
    assert paid_for(replace(dydx("D"), interest=rate("0.0008"), margin_gap=rate("0.1")), None).rate == rate("0.0001")


@given(st.lists(premiums, min_size=1, max_size=30), st.randoms())
def test_the_order_of_votes_does_not_matter(votes, chance):
    shuffled = list(votes)
    chance.shuffle(shuffled)
    assert middle(votes) == middle(shuffled)
    assert middle([-vote for vote in votes]) == -middle(votes)


def brute_average(values, rules, slots):
    weights = [slot + 1 if rules.average == "rising" else 1 for slot in range(slots)]
    known = [(values[slot], weights[slot]) for slot in range(len(values)) if values[slot] is not None]
    whole = sum(weights) if rules.zero_padded else sum(weight for _, weight in known)
    return Fraction(sum(value * weight for value, weight in known), whole) if whole else None


@given(
    st.lists(st.none() | premiums, min_size=1, max_size=12),
    st.sampled_from(["mean", "rising"]),
    st.booleans(),
)
def test_averages_equal_those_over_all_samples(values, average, is_padded):
    rules = replace(house("H"), sample_every_ns=5 * MINUTE, average=average, zero_padded=is_padded)
    samples = PremiumSamples(rules, 0)
    for slot, value in enumerate(values):
        if value is not None:
            samples.add(value, slot * 5 * MINUTE + 7)
        now = slot * 5 * MINUTE + 8
        assert samples.average(now, whole=False) == brute_average(values[: slot + 1], rules, slot + 1)
    assert samples.average(HOUR, whole=True) == brute_average(values, rules, 12)


steps = st.tuples(st.integers(0, 50), st.none() | st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)))


@given(st.lists(steps, max_size=20), st.integers(0, 50))
def test_what_holds_is_averaged_over_the_time_it_was_known(path, rest):
    held, now, known = Held(0, 2), 0, None
    seconds = []
    for wait, values in path:
        seconds += [known] * wait
        now += wait
        held.observe(values, now)
        known = values
    seconds += [known] * rest
    covered = [pair for pair in seconds if pair is not None]
    assert held.covered_ns(now + rest) == len(covered)
    if covered:
        expected = tuple(Fraction(sum(column), len(covered)) for column in zip(*covered, strict=True))
        assert held.averages(now + rest) == expected
    else:
        assert held.averages(now + rest) == known


# Payments -------------------------------------------------------------------------------------------------------


def test_a_machine_rests_until_its_first_sample_and_pays_at_multiples_of_the_interval():
    machine = FundingMachine(house("H"))
    assert machine.due_ns is None
    assert not machine.is_due(10**20)
    assert machine.predicted(10**20) == machine.accrued(5) == nothing_due(house("H"))
    machine.sample(0, 490_000 * HOUR + 17)
    assert machine.due_ns == 490_001 * HOUR
    machine.pay(490_001 * HOUR)
    assert machine.due_ns == 490_002 * HOUR


def test_a_payment_that_waits_is_made_once_and_later_samples_count():
    rules = replace(house("H"), sample_every_ns=HOUR, interest=0, damping=None, cap_of_margin=0)
    machine = FundingMachine(rules)
    machine.sample(rate("0.008"), 0)
    machine.sample(rate("0.016"), HOUR)
    assert machine.is_due(5 * HOUR)
    assert machine.pay(5 * HOUR).rate == rate("0.0015")
    assert machine.due_ns == 6 * HOUR
    assert not machine.is_due(6 * HOUR - 1)


@pytest.mark.parametrize("average", ["mean", "rising", "time_weighted"])
def test_a_payment_begins_anew_and_what_was_sampled_before_it_counts_no_more(average):
    machine = FundingMachine(replace(PULLED, average=average, interest=0, damping=None, sample_every_ns=MINUTE))
    for hour, premium, net in ((0, "0.008", 20), (1, "0.002", 5), (2, "0.004", -10)):
        machine.sample(rate(premium), hour * HOUR)
        machine.sample_balance(net, 100, hour * HOUR)
        due = machine.pay((hour + 1) * HOUR)
        assert (due.premium, due.pull) == (rate(premium), rate("0.008") * net // 100)


def test_prices_hold_on_into_the_next_time_and_their_sums_do_not():
    machine = FundingMachine(vega("V"))
    machine.sample_prices(1_080, 1_000, 0)
    machine.sample_prices(1_040, 1_000, 4 * HOUR)
    assert machine.pay(8 * HOUR).payment == 60 * RATE_ONE
    assert machine.pay(16 * HOUR).payment == 40 * RATE_ONE


def test_paying_before_it_is_due_is_a_defect():
    machine = FundingMachine(house("H"))
    machine.sample(0, 0)
    with pytest.raises(AssertionError, match="is due at"):
        machine.pay(HOUR - 1)


def test_what_is_predicted_at_the_end_is_what_is_paid():
    rules = replace(house("H"), sample_every_ns=20 * MINUTE, margin_gap=rate("0.02"))
    machine = FundingMachine(rules)
    for number in range(3):
        machine.sample(rate("0.003") * number, number * 20 * MINUTE)
    assert machine.predicted(HOUR) == machine.pay(HOUR)


def test_what_has_accrued_grows_from_nothing_to_the_payment():
    machine = FundingMachine(replace(house("H"), margin_gap=rate("0.02")))
    machine.sample(rate("0.009"), 0)
    assert machine.accrued(0).rate == 0
    assert machine.accrued(HOUR // 2).rate == machine.predicted(HOUR // 2).rate // 2
    assert machine.accrued(HOUR) == machine.predicted(HOUR)
    assert machine.accrued(3 * HOUR).rate == machine.predicted(HOUR).rate
    prices = FundingMachine(vega("V"))
    prices.sample_prices(1_008, 1_000, 0)
    assert prices.accrued(2 * HOUR).payment == 2 * RATE_ONE


def test_the_next_sample_falls_on_the_sampling_grid():
    machine = FundingMachine(house("H"))
    assert machine.next_sample_ns(0) == machine.next_sample_ns(MINUTE - 1) == MINUTE
    assert machine.next_sample_ns(MINUTE) == 2 * MINUTE


# The pull toward balance ------------------------------------------------------------------------------------------

PULLED = replace(house("H"), sample_every_ns=HOUR, imbalance_slope=rate("0.008"), imbalance_most=rate("0.004"))
PULLED = replace(PULLED, margin_gap=rate("0.5"))


def pulled(*balances, rules=PULLED):
    machine = FundingMachine(rules)
    machine.sample(0, 0)
    for number, (net, interest) in enumerate(balances):
        machine.sample_balance(net, interest, number * HOUR // len(balances))
    return machine.pay(HOUR)


def test_where_users_are_long_longs_pay_more_in_proportion_and_up_to_a_bound():
    assert pulled((0, 100)).pull == pulled((0, 0)).pull == 0
    assert pulled((25, 100)).pull == rate("0.002")
    assert pulled((100, 100)).pull == rate("0.004")
    assert pulled((-25, 100)).pull == rate("-0.002")
    assert pulled((25, 100)).rate - pulled((0, 100)).rate == rate("0.00025")


def test_an_imbalance_counts_for_as_long_as_it_lasts():
    assert pulled((40, 100), (0, 100), (0, 100), (0, 100)).pull == rate("0.0008")


def test_a_closed_book_of_users_has_no_imbalance():
    sizes = [5, -3, -2]
    assert pulled((sum(sizes), 5)).pull == 0


def test_the_pull_is_of_the_index_where_funding_is_paid_on_it():
    rules = replace(vega("V"), imbalance_slope=rate("0.01"), imbalance_most=RATE_ONE)
    machine = FundingMachine(rules)
    machine.sample_prices(1_000, 1_000, 0)
    machine.sample_balance(-50, 100, 0)
    assert machine.pay(8 * HOUR).payment == -5 * RATE_ONE


@given(st.integers(-100, 100), st.integers(-100, 100), premiums)
def test_more_users_on_one_side_never_pay_less(one, other, premium):
    low, high = sorted((one, other))
    dues = []
    for net in (low, high):
        machine = FundingMachine(PULLED)
        machine.sample(premium, 0)
        machine.sample_balance(net, 100, 0)
        dues.append(machine.pay(HOUR).rate)
    assert dues[0] <= dues[1]


# Properties -----------------------------------------------------------------------------------------------------

presets = st.sampled_from([replace(make("M"), margin_gap=rate("0.01")) for make in PRESETS.values()])
events = st.lists(st.tuples(st.integers(0, HOUR), st.none() | premiums, st.integers(-10, 10)), min_size=1, max_size=40)


def feed(machine, premium, balance, now):
    """Do as the clearinghouse does: pay what is due, then sample."""
    due = machine.pay(now) if machine.is_due(now) else None
    if machine.takes_prices:
        index = 10**6
        machine.sample_prices(None if premium is None else index + premium * index // RATE_ONE, index, now)
    else:
        machine.sample(premium, now)
    machine.sample_balance(balance, 10, now)
    return due


def run(machine, path, cut=None):
    now, answers = 0, []
    for number, (wait, premium, balance) in enumerate(path):
        if number == cut:
            restored = FundingMachine(machine.rules)
            restored.restore(machine.save())
            machine = restored
        now += wait
        answers.append((feed(machine, premium, balance, now), machine.predicted(now), machine.accrued(now)))
    return answers, machine.save()


@given(presets, events, st.integers(0, 40))
def test_restoring_and_going_on_equals_never_having_stopped(rules, path, cut):
    rules = replace(rules, imbalance_slope=rate("0.001"), imbalance_most=rate("0.001"))
    assert run(FundingMachine(rules), path, cut) == run(FundingMachine(rules), path)


@given(st.lists(premiums, min_size=1, max_size=30), st.integers(0, 30))
def test_restoring_keeps_the_samples_of_which_tails_are_left_out(values, cut):
    rules = replace(house("H"), tail=RATE_ONE // 5, votes="median")
    path = [(50 * SECOND, value, 0) for value in values]
    assert run(FundingMachine(rules), path, cut) == run(FundingMachine(rules), path)


@given(presets, events)
def test_no_payment_passes_its_bounds(rules, path):
    for due, *_ in run(FundingMachine(rules), path)[0]:
        if due is not None:
            assert rules.lowest <= due.rate <= rules.highest
            if rules.most_rate is not None:
                assert abs(due.rate) * rules.period_ns <= rules.most_rate * rules.interval_ns


@given(presets, events)
def test_the_mirrored_market_pays_the_mirrored_rate(rules, path):
    rules = replace(rules, interest=0)
    if rules.average == "prices":  # their averages are rounded down, whichever way they lie
        return
    mirrored = [(wait, None if premium is None else -premium, -balance) for wait, premium, balance in path]
    here, there = (run(FundingMachine(rules), one)[0] for one in (path, mirrored))
    assert [due and due.rate for due, *_ in here] == [due and -due.rate for due, *_ in there]


@given(
    st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=20),
    premiums,
    st.integers(1, 10**6),
    st.sampled_from([LINEAR, INVERSE]),
)
def test_what_longs_pay_is_what_shorts_receive_to_the_last_part(sizes, premium, price, market):
    sizes = [*sizes, -sum(sizes)]
    due = paid_for(replace(hyperliquid("H"), sample_every_ns=HOUR), f"{Fraction(premium, 1)}e-9")
    index = index_move(due, market, price)
    booked = [book_funding(Position(size=size), index) for size in sizes]
    assert sum(paid for paid, _ in booked) * RATE_ONE + sum(dust for _, dust in booked) == 0
    assert all(0 <= dust < RATE_ONE for _, dust in booked)


def test_a_payment_moves_the_index_by_its_share_of_a_lots_value():
    due = nothing_due(house("H"))._replace(rate=rate("0.001"))
    # 0.001 contracts at 50,000.0 are worth 50 USD: 0.05 USD = 50,000 units
    assert index_move(due, LINEAR, 500_000) == 50_000 * RATE_ONE
    assert index_move(due._replace(rate=-1), LINEAR, 1) == -100
    # 1 USD at 50,000.0 is worth 2,000 units of BTC
    assert index_move(due, INVERSE, 500_000) == 2 * RATE_ONE


def test_a_payment_in_ticks_moves_the_index_by_a_lots_value_at_that_price():
    due = nothing_due(drift("D"))._replace(payment=-4_250_000_000)
    assert index_move(due, LINEAR, 0) == -425 * RATE_ONE  # 0.425 USD for each contract, 0.000425 a lot
