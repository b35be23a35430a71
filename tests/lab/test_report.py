from __future__ import annotations

import base64
import io
import json
import re
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from marginkeep.lab.figures import (
    HEALTH_BINS_PER_UNIT,
    HEALTH_FLOOR,
    build_charts,
    count_health,
    index_prices,
    kept_rows,
)
from marginkeep.lab.report import render_report, write_report
from marginkeep.lab.result import Bar, LiquidatedAccount, ReplayResult, Timeline
from marginkeep.lab.summary import format_amount, judge, write_summary_table

CHROMIUM = Path("/usr/bin/chromium")
needs_browser = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}: page not opened")
START = 1_584_000_000 * 10**9  # 2020-03-12T08:00:00Z
MINUTE, USD = 60 * 10**9, 10**6
SECTIONS = ["verdict", "bars", "summary", "plots", "worst", "assumptions", "repairs", "reproduce", "versions"]
NAMES = ("liquidated_accounts", "liquidated_notional", "fund_paid", "bad_debt", "price_source")


def timeline(ticks=300, markets=("BTC-PERP", "ETH-PERP"), liquidations=True):
    """A fall in the middle third, liquidations in it, and a fund that pays for them."""
    generator = np.random.default_rng(7)
    falling = (np.arange(ticks) > ticks // 3) & (np.arange(ticks) < 2 * ticks // 3)
    marks = {name: 100 * np.exp(np.cumsum(generator.normal(-0.004 * falling, 0.002))) for name in markets}
    liquidated = generator.poisson(3, ticks) * falling * liquidations
    notional = liquidated * 2_500 * USD
    return Timeline(
        times_ns=START + np.arange(ticks, dtype=np.int64) * MINUTE,
        marks=marks,
        liquidated_accounts=liquidated.astype(np.int64),
        liquidated_notional=notional,
        penalties=notional // 100,
        fund_balance=5_000_000 * USD - np.cumsum(notional // 50),
        bad_debt=np.zeros(ticks, dtype=np.int64),
        evaluations=(20 + 10 * liquidated).astype(np.int64),
    )


def indebted():
    return replace(timeline(), bad_debt=np.full(300, 7_500_000, dtype=np.int64))


def account(name, bad_debt=0):
    reasons = ("Equity was 1,204.11 USD, the requirement 1,310.90 USD.", "The mark of BTC-PERP was 4,870.10.")
    return LiquidatedAccount(name, START + 105 * MINUTE, 3, 48_250_123_456, 1_206_253_086, bad_debt, reasons)


def result(**changes):
    generator = np.random.default_rng(11)
    before = 1.05 + generator.lognormal(0.1, 0.9, 2_000)
    values = {
        "title": "Synthetic crash",
        "complete": True,
        "accounts": 20_000,
        "reporting_asset": "USD",
        "reporting_decimals": 6,
        "timeline": timeline(),
        "summary": dict(zip(NAMES, (1_234, 43_788_065_555_000, 12_345_674_999, 0, "synthetic"), strict=True)),
        "amounts": frozenset(NAMES[1:4]),
        "bars": (Bar("bad_debt>0", "0", False), Bar("liquidated_accounts>2000", "1234", False)),
        "health_before": before,
        "health_after": np.maximum(before - 0.3, 1.0),
        "worst": tuple(account(f"account-{rank:02d}") for rank in range(24)),
        "assumptions": ("The close of each minute became the mark.",),
        "repairs": ("12 missing minutes were filled.",),
        "reproduce": "marginkeep replay prices.csv --seed 7 --fail-if 'bad_debt>0'",
        "run": {"marginkeep": "0.1.0", "rulebook": {"sha256": "9f86d081884c7d65"}, "commit": None},
    }
    return ReplayResult(**(values | changes))


def calm_result(**changes):
    summary = dict.fromkeys(NAMES[:-1], 0)
    quiet = {"timeline": timeline(liquidations=False), "summary": summary, "bars": (), "worst": ()}
    return result(**(quiet | changes))


def empty_result(**changes):
    nothing = np.zeros(0)
    return calm_result(timeline=timeline(0), health_before=nothing, health_after=nothing, run={}, **changes)


class Page(HTMLParser):
    """What a browser would read: visible text by section, tags with attributes, content of scripts."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.scripts, self.texts = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append((tag, dict(attributes).get("id")))
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag, f"</{tag}> closes the wrong element"

    def handle_data(self, text):
        inside = {tag for tag, _ in self.open}
        if "script" in inside:
            self.scripts[-1] += text
        elif "style" not in inside:
            self.texts.append((text, [name for _, name in self.open if name]))

    def text(self, within=None):
        words = " ".join(text for text, names in self.texts if within is None or within in names)
        return re.sub(r"\s+", " ", words).strip()

    def attributes(self, name):
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def page_of(found):
    return Page(render_report(found))


def figures_of(found):
    return {chart.key: json.loads(chart.figure_json) for chart in build_charts(found) if chart.figure_json}


def printed(found, width):
    stream = io.StringIO()
    write_summary_table(found, Console(file=stream, width=width, color_system=None))
    return stream.getvalue()


def test_the_report_is_one_file_with_its_sections_in_order(tmp_path):
    write_report(result(), tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    ids = page.attributes("id")
    assert [name for name in ids if name in SECTIONS] == SECTIONS
    assert [name for name in ids if name.startswith("chart-")] == [
        f"chart-{key}" for key in ("price", "fund", "health", "work")
    ]
    assert len(ids) == len(set(ids))
    assert {reference.removeprefix("#") for reference in page.attributes("href")} <= set(ids)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("found", [result(), calm_result(), empty_result()], ids=["crash", "calm", "empty"])
def test_nothing_is_loaded_from_outside(found):
    html = render_report(found)
    page = Page(html)
    references = [page.attributes(name) for name in ("src", "href", "srcset", "action", "data", "poster")]
    assert all(reference.startswith("#") for group in references for reference in group)
    assert not {"link", "iframe", "object", "embed", "base", "img"} & {tag for tag, _ in page.tags}
    assert not re.search(r"@import|url\(", html.partition("<style>")[2].partition("</style>")[0])
    assert not re.search(r"https?://|\bimport\b|fetch\(|XMLHttpRequest", page.scripts[-1])


def test_the_plotting_library_is_in_the_page_once_and_only_when_something_is_plotted():
    assert sum("plotly.js v" in script for script in page_of(result()).scripts) == 1
    bare = render_report(empty_result())
    assert "plotly.js v" not in bare
    assert len(bare) < 50_000


def test_the_verdict_comes_first_with_state_in_words_and_numbers():
    page = page_of(result())
    assert page.text("verdict") == (
        "! Solvent, at the fund's cost "
        "1,234 of 20,000 accounts were liquidated; the insurance fund paid 12,345.67 USD; no bad debt."
    )
    assert page.text().index("1,234 of 20,000") < page.text().index("Bars")


@pytest.mark.parametrize(
    ("changes", "state", "label", "words"),
    [
        ({}, "warning", "Solvent, at the fund's cost", "paid 12,345.67 USD; no bad debt."),
        ({"summary": {"liquidated_accounts": 1, "fund_paid": 0}}, "good", "Solvent", "1 of 20,000 accounts was"),
        ({"summary": {"Bad debt": 1, "fund_paid": 0}}, "bad", "Bad debt", "bad debt of 0.000001 USD is left."),
        ({"bars": (Bar("fund_paid>1", "2", True),)}, "bad", "1 bar failed", "no bad debt."),
        ({"complete": False}, "warning", "Interrupted", "1,234 of 20,000"),
        ({"summary": {}}, "warning", "Solvent, at the fund's cost", "96 of 300 ticks; the insurance fund lost"),
        ({"summary": {}, "timeline": indebted()}, "bad", "Bad debt", "bad debt of 7.50 USD is left."),
        ({"accounts": 0, "summary": {"fund_paid": 0}}, "good", "Solvent", "The run had no accounts;"),
    ],
)
def test_the_verdict_names_the_worst_that_happened(changes, state, label, words):
    verdict = judge(result(**changes))
    assert (verdict.state, verdict.label) == (state, label)
    assert words in verdict.sentence


def test_an_interrupted_run_says_so_before_the_verdict():
    page = page_of(result(complete=False))
    banner = "Interrupted: this is a partial result, up to 2020-03-12 12:59:00 UTC."
    assert page.text().index(banner) < page.text().index("1,234 of 20,000")
    assert "partial result" not in page_of(result()).text()
    assert "Interrupted before the first tick" in page_of(empty_result(complete=False)).text()


def test_each_bar_is_met_or_failed_in_words():
    bars = (Bar("bad_debt>0", "1234567.5", True), Bar("fund_paid>9", "0", False))
    assert page_of(result(bars=bars)).text("bars").endswith("✕ Failed bad_debt>0 1,234,567.5 ✓ Met fund_paid>9 0")
    assert "No bar was stated" in page_of(calm_result()).text("bars")


def test_amounts_are_rounded_for_show_and_exact_in_the_title():
    page = page_of(result())
    assert "Liquidated accounts 1,234 Liquidated notional 43,788,065.56 USD" in page.text("summary")
    assert {"43788065.555 USD", "12345.674999 USD", "48250.123456 USD"} <= set(page.attributes("title"))


def test_an_amount_is_rounded_to_cents_and_never_to_nothing():
    halves = {format_amount(count, 6) for count in (0, 1_005_000, 1_015_000, -1_234_567_890, 4_999)}
    assert halves == {"0.00", "1.00", "1.02", "-1,234.57", "0.004999"}
    other_units = [format_amount(-1, 8), format_amount(1_234, 0), format_amount(1_234, 1), format_amount(2**62, 9)]
    assert other_units == ["-0.00000001", "1,234.00", "123.40", "4,611,686,018.43"]


def test_the_worst_twenty_accounts_are_listed_with_their_explanation():
    page = page_of(result())
    text = page.text("worst")
    assert "account-19 2020-03-12 09:45:00 3 48,250.12 1,206.25 0.00" in text
    assert "account-20" not in text
    assert sum(tag == "details" for tag, _ in page.tags) == 20
    assert "Equity was 1,204.11 USD, the requirement 1,310.90 USD." in text
    assert {attributes.get("scope") for tag, attributes in page.tags if tag == "th"} == {"col", "row"}


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "\"><img src=x onerror='x'>", "</script><b>", "$title"])
def test_names_from_outside_are_text_and_never_markup(name):
    hostile = result(
        title=name,
        reporting_asset=name,
        timeline=timeline(markets=(name,)),
        summary={name: name, "fund_paid": 1},
        bars=(Bar(name, name, True),),
        worst=(replace(account(name), explanation=(name,)),),
        assumptions=(name,),
        repairs=(name,),
        reproduce=name,
        run={name: {name: name}},
    )
    page, plain = page_of(hostile), page_of(result())
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags}
    assert len(page.scripts) == len(plain.scripts)
    assert "<" not in figures_of(hostile)["price"]["data"][0]["name"], "a link would come alive in the plot"
    for section in ("worst", "assumptions", "repairs", "reproduce", "versions", "bars", "summary"):
        assert name in page.text(section)


def test_half_a_character_does_not_stop_the_report(tmp_path):
    write_report(result(worst=(account("broken \ud800"),)), tmp_path / "report.html")
    assert "broken &#55296;" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_missing_numbers_are_never_shown_as_nan():
    gaps = timeline()
    gaps.marks["BTC-PERP"][:20] = np.nan
    gaps.marks["ETH-PERP"][:] = np.nan
    unknown = np.array([np.nan, np.inf, -np.inf, 0.5, 1.0])
    for found in (result(timeline=gaps, health_before=unknown, health_after=unknown), empty_result()):
        text = page_of(found).text()
        assert not re.search(r"\b(nan|inf|none)\b(?! of)", text, re.IGNORECASE)


def test_a_run_without_ticks_says_so_in_words():
    page = page_of(empty_result())
    assert "None of the 20,000 accounts was liquidated" in page.text("verdict")
    assert all("No tick was replayed" in page.text(f"chart-{key}") for key in ("price", "fund", "work"))
    assert "No account needed margin" in page.text("chart-health")
    assert not [attributes for _, attributes in page.tags if "plot" in attributes.get("class", "").split()]


def test_a_run_without_liquidations_has_no_empty_panels():
    page, figures = page_of(calm_result()), figures_of(calm_result())
    assert "No position was liquidated." in page.text("chart-price")
    assert "The fund stayed at 5,000,000.00 USD throughout, and there was no bad debt." in page.text("chart-fund")
    assert "No account was liquidated." in page.text("worst")
    assert set(figures) == {"price", "health", "work"}
    assert "yaxis2" not in figures["price"]["layout"]


def test_prices_share_their_time_axis_with_the_liquidated_notional():
    traces = figures_of(result())["price"]["data"]
    panels = [(trace["type"], trace.get("xaxis", "x"), trace.get("yaxis", "y")) for trace in traces]
    assert panels == [("scatter", "x", "y"), ("scatter", "x", "y"), ("bar", "x", "y2")]
    assert set(figures_of(result(timeline=timeline(1)))) == {"price", "health", "work"}


def test_the_markets_that_moved_most_are_drawn_and_the_others_wait_in_the_legend():
    figure = figures_of(result(timeline=timeline(markets=tuple("ABCDEFGHIJK"))))["price"]
    lines = [trace for trace in figure["data"] if trace["type"] == "scatter"]
    assert [trace.get("visible", True) for trace in lines] == [True] * 8 + ["legendonly"] * 3


def test_a_price_is_indexed_to_its_first_known_value():
    indexed = index_prices(np.array([np.nan, 0.0, 50.0, 25.0, np.inf]))
    assert np.array_equal(indexed, [np.nan, 0.0, 100.0, 50.0, np.nan], equal_nan=True)
    assert index_prices(np.array([np.nan, 0.0])) is None


@pytest.mark.parametrize("rows", [5_001, 12_345, 100_000])
def test_a_long_line_keeps_its_ends_and_extremes(rows):
    values = np.cumsum(np.random.default_rng(rows).normal(size=rows))
    values[rows // 3], values[rows // 2], values[rows // 4] = -1e9, 1e9, np.nan
    kept = kept_rows(values, 5_000)
    assert len(kept) <= 5_000
    assert np.all(np.diff(kept) > 0)
    assert np.array_equal(kept_rows(values[:5_000], 5_000), np.arange(5_000))
    assert {0, rows // 3, rows // 2, rows - 1} <= set(kept.tolist())


def test_a_long_timeline_keeps_the_page_small_and_the_highest_bar():
    long = timeline(20_000)
    long.liquidated_notional[10_000] = 999_999 * USD
    chart = build_charts(result(timeline=long), points_max=50)[0]
    assert "999,999.00 USD" in chart.finding
    bars = [trace for trace in json.loads(chart.figure_json)["data"] if trace["type"] == "bar"]
    heights = np.frombuffer(base64.b64decode(bars[0]["y"]["bdata"]))
    assert (len(heights) <= 50, heights.max()) == (True, 999_999.0)


def test_health_factors_are_counted_in_tenths_with_all_above_the_cap_together():
    counts = count_health(np.array([1.0, 0.999, 1.05, 1.1, 2.3, 5.0, 80.0, np.inf, -np.inf, -0.95, np.nan]))
    one = round((1.0 - HEALTH_FLOOR) * HEALTH_BINS_PER_UNIT)
    assert (counts[one - 1], counts[one], counts[one + 1], counts[one + 13]) == (1, 2, 1, 1)
    assert (counts[0], counts[-1], counts.sum()) == (2, 3, 10)


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_summary_fits_and_shows_its_numbers_whole(width):
    long_name = "0x" + "z" * 62
    output = printed(result(worst=(account(long_name, bad_debt=2**60), account("b"))), width)
    assert max(len(line) for line in output.splitlines()) <= width
    words = re.sub(r"\s+", " ", output)
    assert "1,234 of 20,000 accounts were liquidated; the insurance fund paid 12,345.67 USD; no bad debt." in words
    assert "1,152,921,504,606.85" in words
    assert words.count("z") == 62, "the name is folded, not cut"
    assert "met bad_debt>0 0" in words
    assert ("2020-03-12 09:45:00" in words) == (width == 120)


def test_the_terminal_summary_lists_five_accounts_and_the_bars_that_failed():
    output = printed(result(bars=(Bar("bad_debt>0", "7", True),), complete=False), 80)
    assert all(words in output for words in ("FAILED", "partial result"))
    assert ("account-04" in output, "account-05" in output) == (True, False)
    assert printed(empty_result(summary={}), 80).count("\n") == 3, "a verdict alone when there is nothing else"


def test_a_name_cannot_command_the_terminal():
    output = printed(result(title="[bold]x", worst=(account("\x1b[31mred\u202e[/]"),)), 120)
    assert not {"\x1b", "\u202e"} & set(output)
    assert all(name in output for name in ("[bold]x", "[31mred"))


def browse(path, profile):
    """Open the page as a person would and return its drawn document and the console."""
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    switches += ["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"]
    switches += [f"--user-data-dir={profile}", "--virtual-time-budget=8000", "--dump-dom", path.as_uri()]
    seen = subprocess.run([CHROMIUM, *switches], capture_output=True, text=True, timeout=120, check=True)
    return seen.stdout, [line for line in seen.stderr.splitlines() if "CONSOLE" in line]


@needs_browser
def test_a_browser_draws_every_plot_without_an_error(tmp_path):
    write_report(result(title="<script>alert(1)</script>"), tmp_path / "report.html")
    document, console = browse(tmp_path / "report.html", tmp_path / "profile")
    assert console == []
    for key in ("price", "fund", "health", "work"):
        drawn = document.partition(f'id="chart-{key}"')[2].partition("</figure>")[0]
        assert 'class="main-svg"' in drawn, f"{key} was not drawn"
        assert "modebar-btn" not in drawn, "the tool bar, which can send the figures away, is shown"


@needs_browser
def test_a_browser_refuses_a_script_that_was_put_into_the_page(tmp_path):
    write_report(empty_result(), tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    forged = html.replace("</main>", "</main><script>document.title = 'forged'</script>")
    (tmp_path / "report.html").write_text(forged, encoding="utf-8")
    document, console = browse(tmp_path / "report.html", tmp_path / "profile")
    assert "<title>forged" not in document
    assert any("Content Security Policy" in line for line in console)
