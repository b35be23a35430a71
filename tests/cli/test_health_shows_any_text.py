"""Names and numbers from files are shown as they are, however odd or large."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from marginkeep.cli import command
from marginkeep.cli.health import cents, cents_or_dash
from marginkeep.errors import InputError

TIERS = [{"floor": "0", "initial": "0.02", "maintenance": "0.01"}]


def case(name="ann", size="1", balance="5000", market="BTC-PERP"):
    return {
        "assets": {"USD": {}},
        "markets": {market: {"settle": "USD", "tiers": TIERS}},
        "prices": {market: "50000"},
        "accounts": [
            {
                "id": name,
                "balances": {"USD": balance},
                "positions": [{"market": market, "size": size, "entry": "50000"}],
            }
        ],
    }


def health_of(folder: Path, table, *words) -> str:
    path = folder / "case.json"
    path.write_text(json.dumps(table))
    result = CliRunner().invoke(command, ["health", str(path), *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("name", ["[bold]x", "a[/]b", "[/red]", "[link=http://x]y[/link]", "ends with \\"])
def test_square_brackets_in_an_id_are_no_markup(tmp_path, name):
    text = health_of(tmp_path, case(name))
    assert text.count(name) >= 3  # both tables, and the explanation
    assert f"Why {name} is healthy" in text


def test_square_brackets_in_a_market_are_no_markup(tmp_path):
    assert "[red]BTC" in health_of(tmp_path, case(market="[red]BTC"))


def test_huge_amounts_are_shown_exactly(tmp_path):
    for zeros in (30, 58):
        text = health_of(tmp_path, case(balance="1" + "0" * zeros))
        assert f"{10**zeros - 1000} USD above the initial requirement is free" in text
    assert cents("1" + "0" * 60) == f"{10**60:,}.00"
    assert cents_or_dash("1" + "0" * 60 + ".019") == f"{10**60:,}.01"


@pytest.mark.parametrize(
    ("value", "shown"),
    [("-0.001", "-0.01"), ("0.009", "0.00"), ("-1234.5", "-1,234.50"), ("1234.567", "1,234.56"), ("0", "0.00")],
)
def test_amounts_are_rounded_down_to_the_cent(value, shown):
    assert cents(value) == shown


@pytest.mark.parametrize("name", ["a\ud800b", "two\nlines", "bell\x07"])
def test_an_id_that_cannot_be_printed_is_refused_with_its_path(tmp_path, name):
    with pytest.raises(InputError, match=r"accounts\[0\]\.id is .*printable") as caught:
        health_of(tmp_path, case(name))
    str(caught.value).encode()


def test_a_market_that_cannot_be_printed_is_refused_with_its_path(tmp_path):
    with pytest.raises(InputError, match=r"a name in markets is .*printable"):
        health_of(tmp_path, case(market="BTC\ud800"))


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path):
    path = tmp_path / "case.json"
    path.write_text("\ufeff" + json.dumps(case()), encoding="utf-8")
    assert CliRunner().invoke(command, ["health", str(path)]).exit_code == 0
    rules = tmp_path / "rules.toml"
    rules.write_text("\ufeff[assets.USD]\n", encoding="utf-8")
    assert CliRunner().invoke(command, ["rules", "check", str(rules)]).exit_code == 0


def test_an_owner_without_anything_of_its_own_is_shown_by_its_isolated_accounts(tmp_path):
    table = case("dan", balance="0")
    table["accounts"][0] = {
        "id": "dan",
        "mode": "isolated",
        "positions": [{"market": "BTC-PERP", "size": "1", "entry": "50000", "margin": "5000"}],
    }
    found = json.loads(health_of(tmp_path, table, "--account", "dan", "--json"))["accounts"]
    assert [account["id"] for account in found] == ["dan/BTC-PERP"]
