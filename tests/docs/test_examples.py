"""The documentation is true: every command, script, case and rulebook in it is run, and every link leads somewhere."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from marginkeep.clearing import commands, events, loss_events
from marginkeep.lab.candles import read_candles
from marginkeep.lab.crash import CrashMarket, synthesise_crash
from marginkeep.lab.outcome import FIGURES
from marginkeep.rulebook.model import LEVELS
from tests.docs.blocks import ROOT, Reader, anchors_of, links_of, matches, pages

SOURCE = ROOT / "src" / "marginkeep"
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PARTS_OF_A_DECISION = ("## Context", "## Decision", "## Consequence", "## Revisit when")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _modules_with_doctests() -> list[str]:
    files = [file for file in sorted(SOURCE.rglob("*.py")) if ">>> " in file.read_text(encoding="utf-8")]
    return [".".join(file.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__") for file in files]


def _page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_a_page_shows_what_really_happens(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mismatches = Reader(tmp_path).follow(page)
    assert not mismatches, "\n\n".join(f"{_name(page)}, {mismatch}" for mismatch in mismatches)


@pytest.mark.parametrize("name", _modules_with_doctests())
def test_examples_in_docstrings_are_true(name):
    result = doctest.testmod(importlib.import_module(name), verbose=False)
    assert result.attempted
    assert result.failed == 0


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_every_link_leads_to_a_file_and_to_a_heading_in_it(page):
    broken = []
    for line, target in links_of(page):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors_of(file)):
            broken.append(f"{_name(page)} line {line}: {target}")
    assert not broken


def test_every_page_of_the_documentation_is_on_its_map():
    linked = {
        (ROOT / "docs" / target.partition("#")[0]).resolve() for _, target in links_of(ROOT / "docs" / "index.md")
    }
    missing = [_name(page) for page in (ROOT / "docs").rglob("*.md") if page.name != "index.md" and page not in linked]
    assert not missing


@pytest.mark.parametrize("page", DECISIONS, ids=_name)
def test_a_decision_says_context_decision_consequence_and_when_to_revisit(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert tuple(line for line in lines if line.startswith("## ")) == PARTS_OF_A_DECISION
    assert 15 <= len(lines) <= 40
    assert lines[0].startswith(f"# {page.name[:4]} ")


def test_decisions_are_numbered_without_a_gap():
    assert [page.name[:4] for page in DECISIONS] == [f"{number:04}" for number in range(1, len(DECISIONS) + 1)]


def test_decisions_that_the_source_names_exist():
    named = {
        match
        for file in SOURCE.rglob("*.py")
        for match in re.findall(r"docs/decisions/(\d{4})", file.read_text("utf-8"))
    }
    assert named <= {page.name[:4] for page in DECISIONS}


def test_every_code_of_a_refusal_is_explained():
    pattern = re.compile(r'(?:refuse|Refusal)\(\s*"([a-z_]+)"')
    used = {code for file in SOURCE.rglob("*.py") for code in pattern.findall(file.read_text(encoding="utf-8"))}
    explained = set(re.findall(r"^\| `([a-z_]+)` \|", _page("clearing.md"), re.MULTILINE))
    assert used == explained


@pytest.mark.parametrize("module", [commands, events, loss_events], ids=["commands", "events", "loss events"])
def test_every_command_and_event_is_in_the_tables(module):
    kinds = [
        name
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and name not in {"Command", "Event", "Posting"}
    ]
    assert [name for name in kinds if f"`{name}`" not in _page("clearing.md")] == []


def test_every_figure_that_a_bar_can_name_is_explained():
    assert [name for name in FIGURES if f"`{name}`" not in _page("replay.md")] == []


def test_every_field_of_a_rulebook_is_in_its_table():
    methods = (
        *("take", "rate", "text", "choice", "whole", "positive", "decimal", "rows", "step", "limit"),
        *("duration", "time", "flag", "known", "names", "tables", "sub", "price", "units"),
    )
    by_method = rf'(?:row|fields|table|levels)\.(?:{"|".join(methods)})\(\s*"(\w+)"'
    by_function = r'(?:read_level_rates)\(\s*row,\s*"(\w+)"'
    files = sorted((SOURCE / "rulebook").glob("*.py"))
    used = {name for file in files for name in re.findall(f"{by_method}|{by_function}", file.read_text("utf-8"))}
    names = {name for pair in used for name in pair if name} | set(LEVELS)
    assert {"max_position", "frozen_after", "growth_cap", "since", "opens"} <= names
    assert sorted(name for name in names if f"`{name}`" not in _page("rulebook.md")) == []


def test_the_example_prices_are_what_the_crash_generator_makes():
    markets = (
        CrashMarket("BTC/USDT:USDT", 50_000.0, 0.0, 1.0, 0.02, 2e7),
        CrashMarket("ETH/USDT:USDT", 2_500.0, 0.05, 1.35, 0.06, 1e7),
    )
    crash = synthesise_crash(7, markets=markets)
    written = read_candles(ROOT / "examples" / "crash.csv")
    rows = slice(crash.trough - 120, crash.trough + 60)
    assert written.times_ns.tolist() == crash.times_ns[rows].tolist()
    for name in ("open", "high", "low", "close"):
        np.testing.assert_allclose(getattr(written, name), getattr(crash, name)[rows], rtol=1e-6)


def test_no_file_names_a_place_on_one_machine_or_a_package_registry():
    places = ["/" + name for name in ("work", "root", "home")]
    hosts = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("anaconda", "org"))]
    pattern = re.compile(rf"(?<![\w.~-])(?:{'|'.join(places)})(?![\w-])|{'|'.join(map(re.escape, hosts))}")
    found = [
        f"{_name(file)}: {match[0]}"
        for file in _files_of_the_repository()
        for match in pattern.finditer(file.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found


def test_pictures_are_small_enough_to_keep_in_git():
    pictures = list((ROOT / "docs" / "pictures").iterdir())
    assert pictures
    assert all(picture.stat().st_size < 300_000 for picture in pictures)


def _files_of_the_repository() -> list[Path]:
    """Return the files that git keeps or would keep; without git, the folders that a release holds."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        files = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        files = [file for folder in ("src", "tests", "docs", "examples") for file in (ROOT / folder).rglob("*")]
    return [file for file in files if file.is_file() and file.suffix != ".png"]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (("a", "..."), ("a", "b", "c"), True),
        (("...", "c"), ("a", "b", "c"), True),
        (("a", "...", "c"), ("a", "c"), True),
        (("a", "...", "d"), ("a", "b", "c"), False),
        (("a",), ("a   ", ""), True),
        (("a",), ("a", "b"), False),
        (("a.c",), ("abc",), False),
    ],
)
def test_an_output_is_compared_line_by_line_with_cuts_allowed(shown, printed, same):
    assert matches(shown, printed) == same


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("12:30:01  705.42 USD missing", "9:04:59  1,120 USD missing", True),
        ("record 0e8f5a77c1d2", "record 123456789abc", True),
        ("705.42 USD missing", "705.42 BTC missing", False),
        ("12:30:01  MARGIN CALL", "MARGIN CALL", False),
    ],
)
def test_in_a_live_block_numbers_and_hashes_stand_for_others_and_words_do_not(shown, printed, same):
    assert matches((shown,), (printed,), live=True) == same


@pytest.fixture
def reader(tmp_path):
    return Reader(tmp_path)


def test_a_command_in_the_background_is_waited_for_and_ended(reader, tmp_path):
    page = tmp_path / "page.md"
    waiting = "bash -c 'trap \"touch ended; exit\" TERM; echo up; while :; do sleep 0.1; done' &"
    page.write_text(f"```console\n$ {waiting}\nup\n$ echo beside it\nbeside it\n```\n", encoding="utf-8")
    assert reader.follow(page) == []
    assert (tmp_path / "ended").exists()


def test_a_command_in_the_background_that_prints_otherwise_is_reported(reader, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo down &\nup\n```\n", encoding="utf-8")
    (mismatch,) = reader.follow(page)
    assert mismatch.printed == ("down",)
