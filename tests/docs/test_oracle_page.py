"""The pages on the oracle name everything there is, and their tables say what the code does."""

from __future__ import annotations

import re
import tomllib
from typing import Any, get_args

import pytest

from marginkeep.oracle.source_rows import INTAKES, TAKEN
from marginkeep.rulebook.oracle_marks import PRESETS
from marginkeep.rulebook.oracle_reading import DEFAULT_ACTIONS
from marginkeep.rulebook.oracle_rules import ACTIONS, MARKET_STATES, QUALITIES, Aggregate, ComponentKind
from tests.docs.blocks import ROOT, blocks_of

ORACLE = ROOT / "docs" / "oracle.md"
RULEBOOK = ROOT / "docs" / "rulebook.md"


def rows_of(page: str) -> list[list[str]]:
    """Return the cells of every row of every table of a page."""
    lines = [line.strip() for line in page.splitlines() if line.lstrip().startswith("|")]
    return [[cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")] for line in lines]


def names_in(cell: str) -> list[str]:
    return re.findall(r"`([\w-]+)`", cell)


@pytest.mark.parametrize(
    ("page", "names"),
    [
        (ORACLE, QUALITIES),
        (ORACLE, MARKET_STATES),
        (ORACLE, [intake for intake in INTAKES if intake != INTAKES[TAKEN]]),
        (ORACLE, PRESETS),
        (RULEBOOK, get_args(ComponentKind)),
    ],
    ids=["qualities", "market states", "reasons of quotes not used", "presets", "components"],
)
def test_each_has_a_row_in_a_table(page, names):
    firsts = {name for row in rows_of(page.read_text("utf-8")) for name in names_in(row[0])}
    assert [name for name in names if name not in firsts] == []


def test_every_aggregate_is_named():
    assert [name for name in get_args(Aggregate) if f"`{name}`" not in ORACLE.read_text("utf-8")] == []


def test_the_table_of_actions_on_the_oracle_page_is_the_default():
    rows = rows_of(ORACLE.read_text("utf-8"))
    (header,) = [place for place, row in enumerate(rows) if row[1:2] == ["`open`, `withdraw`, `settle`"]]
    columns = [names_in(cell) for cell in rows[header][1:]]
    shown: dict[str, set[str]] = {action: set() for column in columns for action in column}
    for qualities, *cells in rows[header + 2 : header + 8]:
        for column, cell in zip(columns, cells, strict=True):
            for action in column if cell == "yes" else ():
                shown[action].update(names_in(qualities))
    assert {action: set(accepted) for action, accepted in DEFAULT_ACTIONS.items()} == shown


def test_the_table_of_actions_in_the_rulebook_is_the_default():
    rows = [
        row for row in rows_of(RULEBOOK.read_text("utf-8")) if len(row) == 2 and set(names_in(row[0])) <= {*ACTIONS}
    ]
    shown = {action: set(row[1].split(", ")) for row in rows for action in names_in(row[0])}
    wanted = {
        action: {quality.replace("_", " ") for quality in accepted} for action, accepted in DEFAULT_ACTIONS.items()
    }
    wanted["call"] = {"all"}
    assert shown == wanted


def scalars_of(table: Any) -> list[tuple[str, str]]:
    """Return (key, value as text) of everything single inside a parsed table."""
    if isinstance(table, list):
        return [pair for entry in table if isinstance(entry, dict) for pair in scalars_of(entry)]
    found = []
    for key, value in table.items():
        if isinstance(value, (dict, list)):
            found += scalars_of(value)
        else:
            found.append((key, str(value).lower() if isinstance(value, bool) else str(value)))
    return found


def test_the_default_written_out_is_the_default_of_the_table():
    (block,) = [block for block in blocks_of(RULEBOOK) if block.text.startswith("# file: long.toml")]
    oracle = tomllib.loads(block.text)["oracle"]
    stated = {
        *scalars_of({name: oracle[name] for name in ("score", "defaults", "stable", "venue_breaker")}),
        *scalars_of(oracle["breakers"]["BTC-PERP"]),
        *(pair for pair in scalars_of(oracle["sources"]) if pair[0] in {"weight", "rank"}),
    }
    shown: dict[str, list[str]] = {}
    for row in rows_of(RULEBOOK.read_text("utf-8")):
        for name in names_in(row[0]):
            shown.setdefault(name, []).extend(row[1:2])
    required = {"horizon", "fall", "rise", "markets"}
    wrong = [
        (key, value, shown[key])
        for key, value in sorted(stated)
        if key not in required and not any(re.match(rf"`?{re.escape(value)}`?(\W|$)", cell) for cell in shown[key])
    ]
    assert wrong == []
