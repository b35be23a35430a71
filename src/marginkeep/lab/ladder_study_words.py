"""What a ladder study assumes, in sentences: the same numbers that the study computes with."""

from __future__ import annotations

import re

from marginkeep.lab import ladder_study_people as people
from marginkeep.lab import ladder_study_rules as rules
from marginkeep.lab.ladder_study import CLOCK_NS
from marginkeep.units import RATE_ONE


def assumptions(seed: int, fund: str) -> tuple[str, ...]:
    """Return what holds for every rulebook alike, then what owners and bidders do.

    Parameters
    ----------
    seed : of the book and the people
    fund : what the insurance fund starts with, in words
    """
    return tuple(re.sub(r"(\d)%", r"\1 %", sentence) for sentence in _sentences(seed, fund))


def _sentences(seed: int, fund: str) -> tuple[str, ...]:
    return (
        f"The book is generated (seed {seed}), the same under each rulebook. The insurance fund starts with {fund}.",
        "Forced trades do not move the mark: market impact feeds back on nobody but who is closed.",
        (
            f"Their price is worse the more is closed: by 1 % when {_share(rules.DEPTH_OF_INTEREST)} of a market's "
            f"first open interest is closed within ten seconds. At most a quarter of that is closed in ten seconds."
        ),
        (
            "What a bankrupt account cannot pay is borne by the fund, then by winners pro rata of their profit, then "
            "by the other side of the market. No trader is asked to do anything else; nobody else trades."
        ),
        "Maintenance rates are at least 1 %, more than a forced close may cost.",
        (
            "Call rates leave room for five minutes at a yearly volatility of 200 %; initial and target rates are "
            "higher."
        ),
        f"Between two prices time goes on in steps of {CLOCK_NS // 10**9} seconds, at the last price.",
        (
            f"Owners answer {people.ANSWERING:.0%} of calls, each once, after up to {people.SLOWEST:g} times the "
            f"deadline, with what was asked for and {people.SPARE_PERCENT} % more; what comes too late is not paid in."
        ),
        (
            f"{people.BIDDERS} bidders bring {people.CAPITAL_OF_INTEREST:.1%} of open interest. In a calm market they "
            f"bid from discounts of {people.CHEAPEST:.2%} to {people.DEAREST:.2%}; when prices have fallen by "
            f"{people.DOUBLING_FALL:.0%} on average they ask twice that. Each withdraws for good once prices have "
            f"fallen by its patience, between {people.LEAST_PATIENCE:.0%} and {people.MOST_PATIENCE:.0%}."
        ),
        (
            "A discount is never more than what heals, about health factor times maintenance rate: at a health factor "
            "of 0.5 and a rate of 1 % that is 0.5 %, too little for some bidders."
        ),
        (
            f"A bidder takes over at most {people.MOST_LEVERAGE} times its capital, and at each "
            f"step of time passes on one part in {people.PASSED_ON} of it, at the mark, elsewhere."
        ),
        (
            "Time to resolution is counted from the first rung on which the house acts (soft, partial, auction or "
            "bankrupt) to healthy or closed; time on a call is not part of it."
        ),
        (
            "Trader losses are those of accounts that are not bankrupt: penalties, what forced trades were worse than "
            "the mark, and what the closed positions would have gained between their close and the last tick."
        ),
    )


def _share(rate: int) -> str:
    return f"{rate / RATE_ONE:.0%}"
