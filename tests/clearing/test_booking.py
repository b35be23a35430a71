"""Holding what was booked against what was planned."""

from __future__ import annotations

import pytest

from marginkeep.book.account import Account, Position
from marginkeep.clearing.booking import require_as_planned
from marginkeep.errors import InvariantViolation

HELD = {0: Position(size=5, cost=7)}


@pytest.mark.parametrize(
    ("booked", "planned"),
    [
        ({}, {0: 0}),  # closed at exactly its cost, with no balance before: nothing is posted
        ({0: 0}, {}),
        ({0: 3, 1: 0}, {0: 3}),
    ],
)
def test_an_amount_of_nothing_is_no_difference(booked, planned):
    require_as_planned(Account(balances=booked), Account(balances=planned, positions={1: Position()}), "ann")


@pytest.mark.parametrize(
    "planned",
    [Account(balances={0: 2}, positions=HELD), Account(balances={0: 1}), Account(balances={1: 1}, positions=HELD)],
)
def test_any_other_difference_is_a_defect(planned):
    with pytest.raises(InvariantViolation, match="liquidation of ann"):
        require_as_planned(Account(balances={0: 1}, positions=HELD), planned, "ann")
