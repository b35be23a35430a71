"""Feeding a funding machine, and what it then pays."""

from marginkeep.clearing.funding_rates import FundingMachine
from marginkeep.units import parse_rate


def rate(text):
    return parse_rate(text, "rate")


def paid_for(rules, *samples, at=None):
    """Feed one premium (text; None = unknown) a slot and pay, at the end of the interval unless told."""
    machine = FundingMachine(rules)
    for slot, premium in enumerate(samples):
        machine.sample(None if premium is None else rate(premium), slot * rules.sample_every_ns)
    return machine.pay(rules.interval_ns if at is None else at)


def paid_on(rules, mark, index):
    machine = FundingMachine(rules)
    machine.sample_prices(mark, index, 0)
    return machine.pay(rules.interval_ns)
