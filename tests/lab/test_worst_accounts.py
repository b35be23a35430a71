"""Which liquidated accounts are shown as the worst, and how an interrupted run is told."""

from io import StringIO

from rich.console import Console
from tests.lab.test_opening import MARKET, candles_of

from marginkeep.book.case import read_case
from marginkeep.lab.opening import open_case, price_path
from marginkeep.lab.outcome import conclude
from marginkeep.lab.replay import Replay, top_up_fund
from marginkeep.lab.report_page import worst_section
from marginkeep.lab.summary import write_summary_table


def replayed(prices, fund):
    """Replay three longs: `deep` ends below zero; `large` closes most, `loser` loses most of its own money."""
    sizes = {"deep": ("1", "700", "50000"), "large": ("10", "5750", "48200"), "loser": ("1", "12400", "60000")}
    case = read_case(
        {
            "assets": {"USD": {}},
            "markets": {"BTC-PERP": MARKET},
            "prices": {"BTC-PERP": "50000"},
            "liquidation": {"penalty": "0.005", "slippage": "0.003", "liquidator_share": "0.5"},
            "accounts": [
                {
                    "id": name,
                    "balances": {"USD": balance},
                    "positions": [{"market": "BTC-PERP", "size": size, "entry": entry}],
                }
                for name, (size, balance, entry) in sizes.items()
            ],
        }
    )
    house = open_case(case, case.rulebook)
    top_up_fund(house, fund)
    replay = Replay(house, price_path(candles_of(prices), case.rulebook, "close"))
    replay.run()
    return replay


def result_of(replay):
    texts = {"title": "t", "assumptions": (), "repairs": (), "reproduce": "", "inputs": {}}
    return conclude(replay, fund_start=0, expressions=(), **texts)


def test_the_worst_account_is_the_one_that_others_had_to_pay_for_whoever_paid():
    for fund in (0, 10**12):
        replay = replayed([50_000, 49_000, 48_000], fund)
        assert {name for name, story in replay.stories.items() if story.unpaid} == {"deep"}
        assert replay.worst()[0].account == "deep"
        assert (replay.stories["deep"].bad_debt > 0) == (fund == 0)


def test_among_those_that_paid_for_themselves_the_one_that_lost_most_is_worse_than_the_one_that_closed_most():
    replay = replayed([50_000, 49_000, 48_000], 10**12)
    large, loser = replay.stories["large"], replay.stories["loser"]
    assert large.notional > loser.notional
    assert large.lost < loser.lost
    assert [story.account for story in replay.worst()] == ["deep", "loser", "large"]


def test_the_heading_says_how_the_accounts_are_ranked():
    result = result_of(replayed([50_000, 49_000, 48_000], 0))
    written = StringIO()
    write_summary_table(result, Console(file=written, width=80))
    assert "Worst 3 accounts by shortfall, then by loss, in USD" in written.getvalue()
    assert "by shortfall (bad debt and what the fund paid), then by penalty and realised loss" in worst_section(result)


def test_the_summary_of_an_interrupted_run_says_so_once():
    replay = replayed([50_000, 50_000, 48_000], 10**12)
    replay.done = 2
    written = StringIO()
    write_summary_table(result_of(replay), Console(file=written, width=100))
    assert written.getvalue().count("Interrupted") == 1
