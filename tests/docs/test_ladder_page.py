"""The pages on the ladder name everything there is, and their tables say what the code does."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from typing import Any, get_args

import pytest

from marginkeep.liquidation.position_limits import CODES
from marginkeep.liquidation.rungs import LEGAL
from marginkeep.rulebook import read_rulebook
from marginkeep.rulebook.durations import parse_duration
from marginkeep.rulebook.funding_presets import PRESETS
from marginkeep.rulebook.funding_rules import Accrual, Average, FundingRules, PaidOn, Votes
from marginkeep.rulebook.ladder_reading import CURVES, NO_LIMIT, POLICIES, SPREADS
from marginkeep.rulebook.ladder_rules import RUNGS
from marginkeep.units import RATE_ONE, parse_rate
from tests.docs.blocks import ROOT
from tests.docs.test_oracle_page import names_in, rows_of

LADDER = (ROOT / "docs" / "ladder.md").read_text("utf-8")
RULEBOOK = (ROOT / "docs" / "rulebook.md").read_text("utf-8")
BARE = """
[assets.USD]
[markets.M]
settle = "USD"
lot = "1"
tick = "1"
tiers = [{ floor = "0", initial = "0.5", maintenance = "0.1" }]
"""


def part(page: str, heading: str) -> str:
    """Return what stands under a heading, up to the next of its depth or less."""
    depth = len(heading) - len(heading.lstrip("#"))
    _, _, below = page.partition(f"\n{heading}\n")
    assert below, f"no heading {heading!r}"
    return re.split(rf"^#{{1,{depth}}} ", below, maxsplit=1, flags=re.MULTILINE)[0]


def first_names(page: str) -> set[str]:
    return {name for row in rows_of(page) for name in names_in(row[0])}


@pytest.mark.parametrize(
    ("page", "names"),
    [
        (part(LADDER, "## The way down"), RUNGS),
        (part(LADDER, "## Auctions"), CURVES),
        (part(LADDER, "### Deleveraging"), POLICIES),
        (part(LADDER, "### What the venues document"), PRESETS),
        (part(RULEBOOK, "## Funding"), get_args(Average)),
    ],
    ids=["rungs", "curves", "policies", "presets", "averages"],
)
def test_each_has_a_row_in_a_table(page, names):
    assert [name for name in names if name not in first_names(page)] == []


@pytest.mark.parametrize(
    ("page", "names"),
    [
        (LADDER, [name for name in SPREADS if name != "none"]),
        (LADDER, get_args(Accrual)),
        (LADDER, CODES),
        (RULEBOOK, [*SPREADS, *get_args(Accrual), *get_args(PaidOn), *get_args(Votes), *POLICIES, *CURVES, *PRESETS]),
    ],
    ids=["spreads", "accruals", "limits", "choices"],
)
def test_each_is_named(page, names):
    assert [name for name in names if f"`{name}`" not in page and f'"{name}"' not in page] == []


def test_the_table_of_transitions_is_the_law():
    shown = {
        names_in(row[0])[0]: names_in(row[1])
        for row in rows_of(part(LADDER, "## The way down"))
        if len(row) == 2
        if names_in(row[0])
    }
    assert shown == {RUNGS[rung]: [RUNGS[after] for after in legal] for rung, legal in enumerate(LEGAL)}


def defaults() -> dict[str, Any]:
    """Return what empty tables of a ladder are read as, by the heading of their table in the rulebook's page."""
    text = f"{BARE}\n[ladder]\ncalls = {{}}\nsoft = {{}}\nauctions = {{}}\nfunds.all = {{}}\nimpact.M.depth = '100'\n"
    ladder = read_rulebook(tomllib.loads(text)).ladder
    assert ladder is not None
    return {
        "## Ladder": ladder,
        "### Calls": ladder.calls,
        "### Soft": ladder.soft,
        "### Auctions": ladder.auctions,
        "### Funds": ladder.funds[0],
        "### Impact": ladder.impacts[0],
    }


NOT_DEFAULTS = {"calls", "soft", "auctions", "funds", "impact", "reminders", "markets", "depth", "most_an_event"}
"""Whose cell says something else than a value."""


@pytest.mark.parametrize("heading", ["## Ladder", "### Calls", "### Soft", "### Auctions", "### Funds", "### Impact"])
def test_the_defaults_of_the_ladder_are_those_of_its_tables(heading):
    page = part(RULEBOOK, "## Ladder")
    page = page.partition("\n### ")[0] if heading == "## Ladder" else part(f"\n{page}", heading)
    rules = defaults()[heading]
    wrong = []
    for row in rows_of(page):
        names, cells = names_in(row[0]), row[1].split(", ") if len(row) > 1 else []
        for name, cell in zip(names, cells * (len(names) if len(cells) == 1 else 1), strict=False):
            if name not in NOT_DEFAULTS and value_of(rules, name) != stated(name, cell, rules):
                wrong.append((name, cell, value_of(rules, name)))
    assert wrong == []


def value_of(rules: Any, name: str) -> Any:
    return getattr(rules, name if hasattr(rules, name) else f"{name}_ns")


def stated(name: str, cell: str, rules: Any) -> Any:
    """Return a cell of a table as the rules have it."""
    text = cell.strip("`")
    if text == "unlimited":
        return NO_LIMIT
    if hasattr(rules, f"{name}_ns"):
        return parse_duration(text, name)
    if isinstance(value_of(rules, name), str):
        return text
    if name in {"dust", "tip", "restarts"}:
        return int(text)
    return parse_rate(text, name)


def test_every_rule_of_the_ladder_has_a_row():
    names = first_names(part(RULEBOOK, "## Ladder"))
    known = {item.name.removesuffix("_ns") for rules in defaults().values() for item in fields(rules)}
    assert known - {"move", "name", "market", "impacts"} <= names


SHOWN = ("interval", "period", "sample_every", "average", "interest", "interest_period", "damping", "cap_of_margin")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_what_the_table_says(preset):
    rules = PRESETS[preset]("M")
    tables = rows_of(part(RULEBOOK, "## Funding"))
    if preset == "house":
        column = {name: row[1] for row in tables for name in names_in(row[0]) if len(row) == 4}
    else:
        (header,) = [row for row in tables if "`binance`" in row[1:]]
        place = header.index(f"`{preset}`")
        column = {names_in(row[0])[0]: row[place] for row in tables if len(row) == len(header) and names_in(row[0])}
    assert {name: funding_cell(name, rules) for name in (*SHOWN, "paid_on", "most")} == {
        name: funding_stated(name, column[name]) for name in (*SHOWN, "paid_on", "most")
    }


def funding_cell(name: str, rules: FundingRules) -> Any:
    if name == "most":
        assert rules.lowest == -rules.highest
        return rules.highest
    if name == "damping":
        return rules.damping and rules.damping[1]
    return value_of(rules, name)


def funding_stated(name: str, cell: str) -> Any:
    text = cell.strip("`")
    if name in {"average", "paid_on"}:
        return text
    if name == "damping":
        return None if text == "false" else parse_rate(text, name)
    return (
        parse_duration(text, name)
        if name in {"interval", "period", "sample_every", "interest_period"}
        else (parse_rate(text, name) if "." in text else int(text) * RATE_ONE)
    )


def test_what_presets_state_besides_is_said():
    """Whatever a preset changes of the house's rules is named in its row or in the last one."""
    (last,) = [row for row in rows_of(part(RULEBOOK, "## Funding")) if row[0] == "else"]
    changed = {
        item.name
        for preset in PRESETS.values()
        for item in fields(FundingRules)
        if getattr(preset("M"), item.name) != getattr(PRESETS["house"]("M"), item.name)
    }
    besides = {name.removesuffix("_ns") for name in changed} - {*SHOWN, "paid_on", "lowest", "highest"}
    assert besides == {name for cell in last for name in names_in(cell) if name not in get_args(Votes)}
