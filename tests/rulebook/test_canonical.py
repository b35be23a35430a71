"""A rulebook's hash and comparison: every parameter counts, its spelling does not, and a change is named exactly."""

import copy
import json
import os
import subprocess
import sys
import tempfile

import pytest

from marginkeep.rulebook import Difference, canonical, compare, read_rulebook, rulebook_hash
from marginkeep.rulebook.reading import parse_text

TABLE = {
    "name": "house",
    "reporting": "USD",
    "levels": {"call": "0.25", "target": "0.5"},
    "liquidation": {"slippage": "0.001", "penalty": "0.01", "liquidator_share": "0.4"},
    "assets": {
        "USD": {"decimals": 6, "max_balance": "1000000"},
        "BTC": {
            "decimals": 8,
            "tick": "0.01",
            "weight": {"initial": "0.9", "maintenance": "0.95", "call": "0.92", "target": "0.91"},
            "debt_weight": {"initial": "1.1", "maintenance": "1.05", "call": "1.06", "target": "1.07"},
            "liquidation": {"slippage": "0.002", "penalty": "0.02", "liquidator_share": "0.3"},
            "max_price": "1000000",
            "max_balance": "1000",
        },
    },
    "markets": {
        "BTC-FUT": {
            "kind": "future",
            "payoff": "linear",
            "settle": "USD",
            "contract_size": "1",
            "lot": "0.001",
            "tick": "0.1",
            "tier_kind": "marginal",
            "tier_unit": "quote",
            "tiers": [
                {"floor": "0", "initial": "0.02", "call": "0.015", "maintenance": "0.01", "target": "0.016"},
                {"floor": "1000", "initial": "0.05", "call": "0.03", "maintenance": "0.025", "target": "0.04"},
            ],
            "maker_fee": "-0.0001",
            "taker_fee": "0.0005",
            "profit_weight": {"initial": "0.5", "call": "0.6", "maintenance": "1", "target": "0.9"},
            "liquidation": {"slippage": "0.003", "penalty": "0.03", "liquidator_share": "0.2"},
            "symbol": "BTC/USD:USD",
            "expiry": "2027-03-26T08:00:00Z",
            "max_price": "1000000",
            "min_price": "1",
            "max_position": "10",
        }
    },
}
FUT = ("markets", "BTC-FUT")
# path of a field, another value for it, and the paths that then differ
CHANGES = [
    (("name",), "other", ["name"]),
    (("assets", "USD", "max_balance"), "1000001", ["assets.USD.max_balance"]),
    (("assets", "BTC", "max_price"), "1000000.01", ["assets.BTC.max_price"]),
    (("assets", "BTC", "max_balance"), "1000.00000001", ["assets.BTC.max_balance"]),
    ((*FUT, "payoff"), "inverse", ["payoff"]),
    ((*FUT, "settle"), "BTC", ["settle"]),
    ((*FUT, "contract_size"), "1.000000001", ["contract_size"]),
    ((*FUT, "tier_kind"), "whole_position", ["tier_kind"]),
    ((*FUT, "tier_unit"), "base", ["tier_unit"]),
    ((*FUT, "maker_fee"), "-0.000100001", ["maker_fee"]),
    ((*FUT, "taker_fee"), "0.000500001", ["taker_fee"]),
    ((*FUT, "symbol"), "BTC/USDT:USDT", ["symbol"]),
    ((*FUT, "expiry"), "2027-03-26T08:00:01Z", ["expiry"]),
    ((*FUT, "max_price"), "1000000.1", ["max_price"]),
    ((*FUT, "min_price"), "1.1", ["min_price"]),
    ((*FUT, "max_position"), "10.001", ["max_position"]),
    ((*FUT, "tiers", 1, "floor"), "1000.000000001", ["tiers[1].floor"]),
]
UNITS = [
    (("assets", "BTC", "decimals"), 7, ["assets.BTC.decimals"]),
    (("assets", "BTC", "tick"), "0.02", ["assets.BTC.tick"]),
    ((*FUT, "lot"), "0.0005", ["lot"]),
    ((*FUT, "tick"), "0.05", ["tick"]),
]
CHANGES += [
    ((*path, level), value, [".".join(str(key) for key in (*path, level)).replace("markets.BTC-FUT.", "")])
    for path, values in [
        (("assets", "BTC", "weight"), ("0.900000001", "0.920000001", "0.950000001", "0.910000001")),
        (("assets", "BTC", "debt_weight"), ("1.100000001", "1.060000001", "1.050000001", "1.070000001")),
        ((*FUT, "profit_weight"), ("0.500000001", "0.600000001", "0.999999999", "0.900000001")),
    ]
    for level, value in zip(("initial", "call", "maintenance", "target"), values, strict=True)
]
CHANGES += [
    ((*FUT, "tiers", 1, level), value, [f"tiers[1].{level}"])
    for level, value in [("initial", "0.06"), ("call", "0.031"), ("maintenance", "0.026"), ("target", "0.041")]
]
CHANGES += [
    ((*owner, "liquidation", term), "0.1", [f"{stem}liquidation.{term}"])
    for owner, stem in [(("assets", "BTC"), "assets.BTC."), (FUT, "")]
    for term in ("slippage", "penalty", "liquidator_share")
]


def read(table):
    return read_rulebook(copy.deepcopy(table))


def changed(path, value):
    table = copy.deepcopy(TABLE)
    *outer, last = path
    inner = table
    for key in outer:
        inner = inner[key]
    inner[last] = value
    return table


def full(path):
    return path if path.startswith(("assets.", "name")) else f"markets.BTC-FUT.{path}"


def reordered(value):
    """The same content with the keys of every table in reverse, except the order of assets and markets."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("path", "value", "paths"), CHANGES, ids=lambda part: str(part)[:60])
def test_any_parameter_changes_the_hash_and_is_the_only_one_named(path, value, paths):
    before, after = read(TABLE), read(changed(path, value))
    assert rulebook_hash(before) != rulebook_hash(after)
    differences = compare(before, after)
    assert [difference.path for difference in differences] == [full(path) for path in paths]
    assert all(difference.before != difference.after for difference in differences)


@pytest.mark.parametrize(("path", "value", "paths"), UNITS, ids=lambda part: str(part)[:60])
def test_a_finer_unit_is_not_a_change_of_the_limits_stated_in_decimals(path, value, paths):
    before, after = read(TABLE), read(changed(path, value))
    assert rulebook_hash(before) != rulebook_hash(after)
    assert [difference.path for difference in compare(before, after)] == [full(path) for path in paths]


def test_every_parameter_of_the_canonical_text_is_changed_by_some_test_above():
    named = {full(path) for _, _, paths in CHANGES + UNITS for path in paths}
    others = set(canonical(read(TABLE))) - named
    # names are keys, kind and expiry go together, the rest repeat fields tried elsewhere
    assert {path for path in others if not path.endswith(".name")} == {
        "reporting",
        "markets.BTC-FUT.kind",
        "markets.BTC-FUT.tiers[0].floor",
        *(f"markets.BTC-FUT.tiers[0].{level}" for level in ("initial", "call", "maintenance", "target")),
        *(f"assets.USD.weight.{level}" for level in ("initial", "call", "maintenance", "target")),
        *(f"assets.USD.debt_weight.{level}" for level in ("initial", "call", "maintenance", "target")),
        *(f"assets.USD.liquidation.{term}" for term in ("slippage", "penalty", "liquidator_share")),
        "assets.USD.decimals",
        "assets.USD.tick",
    }


def test_formatting_and_key_order_do_not_change_the_hash():
    same = reordered(TABLE)
    same["assets"] = dict(reversed(same["assets"].items()))
    assert list(same["assets"]) == list(TABLE["assets"])
    assert list(same["markets"]["BTC-FUT"]) != list(TABLE["markets"]["BTC-FUT"])
    assert rulebook_hash(read(same)) == rulebook_hash(read(TABLE))
    indented = parse_text(json.dumps(TABLE, indent=4), ".json", "x")
    assert rulebook_hash(read(indented)) == rulebook_hash(read(TABLE))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((*FUT, "lot"), "1e-3"),
        ((*FUT, "lot"), "0.0010"),
        ((*FUT, "lot"), "+.001"),
        ((*FUT, "contract_size"), 1),
        ((*FUT, "taker_fee"), "5E-4"),
        ((*FUT, "max_position"), "10.0009"),
    ],
)
def test_another_spelling_of_the_same_value_does_not_change_the_hash(path, value):
    assert rulebook_hash(read(changed(path, value))) == rulebook_hash(read(TABLE))


def test_stating_a_default_does_not_change_the_hash():
    tier = {"floor": "0", "initial": "0.02", "maintenance": "0.01"}
    brief = {"assets": {"USD": {}}, "markets": {"M": {"settle": "USD", "lot": "1", "tick": "1", "tiers": [tier]}}}
    stated = copy.deepcopy(brief) | {"name": "rulebook", "reporting": "USD", "levels": {"call": "0.25"}}
    stated["markets"]["M"] |= {"kind": "perpetual", "payoff": "linear", "profit_weight": "1", "maker_fee": "0"}
    stated["markets"]["M"]["tiers"][0] |= {"call": "0.0125", "target": "0.015"}
    assert rulebook_hash(read(brief)) == rulebook_hash(read(stated))


def test_the_canonical_text_is_one_decimal_string_a_path():
    lines = canonical(read(TABLE))
    assert lines["markets.BTC-FUT.tiers[0].maintenance"] == "0.01"
    assert lines["markets.BTC-FUT.lot"] == "0.001"
    assert lines["assets.BTC.weight.initial"] == "0.9"
    assert all(isinstance(line, str) for line in lines.values())


def test_the_hash_is_a_sha_256_that_does_not_depend_on_the_run():
    script = (
        "import pathlib, sys; from marginkeep.rulebook import *;"
        "print(rulebook_hash(load_rulebook(pathlib.Path(sys.argv[1]))))"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(TABLE, file)
        file.flush()
        digests = {
            subprocess.run(
                [sys.executable, "-c", script, file.name],
                env={"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for seed in ("1", "2")
        }
    assert digests == {rulebook_hash(read(TABLE))}
    assert len(digests.pop()) == 64


def test_equal_rulebooks_have_no_differences():
    assert compare(read(TABLE), read(TABLE)) == ()


def test_a_change_is_listed_with_path_before_and_after():
    table = changed((*FUT, "taker_fee"), "0.0007")
    table["markets"]["BTC-FUT"]["tiers"][1]["maintenance"] = "0.0275"
    del table["markets"]["BTC-FUT"]["max_position"]
    assert set(compare(read(TABLE), read(table))) == {
        Difference("markets.BTC-FUT.taker_fee", "0.0005", "0.0007"),
        Difference("markets.BTC-FUT.tiers[1].maintenance", "0.025", "0.0275"),
        Difference("markets.BTC-FUT.max_position", "10", None),
    }


def test_an_added_tier_is_listed_with_all_its_rates():
    table = copy.deepcopy(TABLE)
    table["markets"]["BTC-FUT"]["tiers"].append(
        {"floor": "5000", "initial": "0.1", "call": "0.06", "maintenance": "0.05", "target": "0.08"}
    )
    stem = "markets.BTC-FUT.tiers[2]"
    assert compare(read(TABLE), read(table)) == (
        Difference(f"{stem}.floor", None, "5000"),
        Difference(f"{stem}.initial", None, "0.1"),
        Difference(f"{stem}.call", None, "0.06"),
        Difference(f"{stem}.maintenance", None, "0.05"),
        Difference(f"{stem}.target", None, "0.08"),
    )


def test_added_and_removed_markets_are_listed_field_by_field():
    table = copy.deepcopy(TABLE)
    table["markets"]["ETH-FUT"] = table["markets"].pop("BTC-FUT")
    differences = compare(read(TABLE), read(table))
    removed = [d for d in differences if d.after is None]
    added = [d for d in differences if d.before is None]
    assert len(removed) + len(added) == len(differences)
    assert {d.path for d in removed} == {path for path in canonical(read(TABLE)) if path.startswith("markets.")}
    assert {d.path.replace("ETH-FUT", "BTC-FUT") for d in added} == {d.path for d in removed}
    assert Difference("markets.BTC-FUT.lot", "0.001", None) in removed
    assert Difference("markets.ETH-FUT.lot", None, "0.001") in added


def swapped():
    table = copy.deepcopy(TABLE)
    table["assets"] = dict(reversed(table["assets"].items()))
    return table


def test_the_order_of_assets_is_part_of_the_hash():
    assert rulebook_hash(read(swapped())) != rulebook_hash(read(TABLE))


def test_a_changed_order_is_a_difference_too():
    assert compare(read(TABLE), read(swapped())) == (Difference("assets order", "USD, BTC", "BTC, USD"),)


def test_a_new_market_before_the_others_is_not_a_change_of_their_order():
    table = copy.deepcopy(TABLE)
    table["markets"] = {"ETH-FUT": table["markets"]["BTC-FUT"]} | table["markets"]
    assert {difference.before for difference in compare(read(TABLE), read(table))} == {None}


def test_digits_beyond_the_eighteenth_count_in_the_hash():
    fine = read(changed((*FUT, "contract_size"), "1.00000000000000000001"))
    assert rulebook_hash(fine) != rulebook_hash(read(TABLE))
    assert canonical(fine)["markets.BTC-FUT.contract_size"] == "1.00000000000000000001"


def test_a_limit_is_compared_in_the_unit_in_which_it_is_written():
    differences = compare(read(TABLE), read(changed((*FUT, "max_position"), "20")))
    assert differences == (Difference("markets.BTC-FUT.max_position", "10", "20"),)
