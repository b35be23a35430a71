"""Which vector families the product covers, and why the others wait: one honest line each.

The table must name exactly the families in the files, and the covered ones are exactly those that a test beside this
one asserts, case by case; a case or a figure left out of a covered family is named with its reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from . import (
    test_auctions,
    test_auctions_portfolio,
    test_composite_prices,
    test_deleveraging,
    test_deleveraging_fills,
    test_disposal,
    test_funding,
    test_funding_derive,
    test_funding_vega,
    test_insurance,
    test_lending,
    test_liquidation_sizes,
    test_losses,
    test_losses_derive,
    test_losses_vega,
    test_oracle_averages,
    test_oracle_guards,
    test_oracle_stable,
    test_perp_dex,
    test_price_monitoring,
    test_vega,
    test_venues_margins,
    test_venues_prices,
    test_venues_tiers,
)
from .reading import NEEDS_VECTORS, VECTORS, vectors_of

if TYPE_CHECKING:
    from types import ModuleType

COVERED: Final = "covered"
BACKSTOP: Final = "insurance fund, deleveraging, socialised loss: a later issue"
INTEREST: Final = "interest on loans: a later issue"
LADDER: Final = "the ladder of liquidation, its incentives and pacing: a later issue"
LENDING: Final = "a protocol's own close factor, bonus and write-off: a later issue, the ladder and lending presets"
MODELS: Final = "a risk model beyond tiers: a later issue"
OPTIONS: Final = "options and scenario margin: a later issue"
SIZE: Final = "a rate or weight that changes with size or open interest: a later issue"
TUNING: Final = "the lab's back-tests and tuning: a later issue"
SOFT: Final = "soft liquidation inside a price band, another protocol's mechanism: a later issue, the lab"

FAMILIES: Final[dict[str, dict[str, str]]] = {
    "venues": {
        **dict.fromkeys((*test_venues_prices.CHECKS, *test_venues_tiers.CHECKS, *test_venues_margins.CHECKS), COVERED),
        "haircut.okx.tiers": SIZE,
        "loan.interest.binance": INTEREST,
        "loan.interest.kraken": INTEREST,
        "margin.deribit.linear": SIZE,
        "order.cost.binance": "the price a venue assumes for a short order: the engine reserves its worst fill instead",
    },
    "perp-dex": {
        **dict.fromkeys(test_funding.CHECKS, COVERED),
        **dict.fromkeys(test_insurance.CHECKS, COVERED),
        **dict.fromkeys((*test_liquidation_sizes.CHECKS, *test_losses.CHECKS), COVERED),
        **dict.fromkeys((*test_perp_dex.CHECKS, *test_oracle_stable.CHECKS), COVERED),
        **dict.fromkeys(test_deleveraging_fills.CHECKS, COVERED),
        "collateral_scaling": SIZE,
        "open_order_margin": "orders of a spot asset, reserved against balances: the engine reserves orders of markets",
        "perp_bankruptcy": BACKSTOP,
        "perp_liquidation_steps": LADDER,
        "size_weight": SIZE,
        "token_liquidation_size": "capped by what a liquidator brings, and by perpetual profit: a later issue",
        "weight_shift": "a parameter that moves with time: a later issue, adopting rulebooks with notice",
        "weighted_health": "weighs a perpetual's result inside a token's balance, beside spot orders: another formula",
    },
    "lending-liquidation": {
        **dict.fromkeys(test_auctions.CHECKS, COVERED),
        **dict.fromkeys((*test_lending.CHECKS, *test_oracle_guards.CHECKS), COVERED),
        **dict.fromkeys(test_deleveraging.CHECKS, COVERED),
        "aave_index": INTEREST,
        "aave_liquidation": LENDING,
        "aave_math": "a venue's 27-digit fixed point, used for its interest: a later issue",
        "aave_rates": INTEREST,
        "compound_index": INTEREST,
        "compound_liquidation": LENDING,
        "euler_index": INTEREST,
        "liquity_liquidation": LENDING,
        "llamma_band": SOFT,
        "llamma_health": SOFT,
        "llamma_softliq": SOFT,
        "maker_index": INTEREST,
        "morpho_liquidation": LENDING,
    },
    "portfolio-margin": {
        **dict.fromkeys(test_funding_derive.CHECKS, COVERED),
        **dict.fromkeys(test_auctions_portfolio.CHECKS, COVERED),
        **dict.fromkeys(test_losses_derive.CHECKS, COVERED),
        "anti_procyclicality": TUNING,
        "backtest_christoffersen": TUNING,
        "backtest_kupiec": TUNING,
        "backtest_traffic_light": TUNING,
        "black76": OPTIONS,
        "deribit_pme": OPTIONS,
        "exchange_scenario": OPTIONS,
        "exchange_short_option": OPTIONS,
        "fhs_var_es": MODELS,
        "interest_rate_model": INTEREST,
        "naked_option_reg_t": OPTIONS,
        "okx_min_charge": OPTIONS,
        "pmrm_v1": OPTIONS,
        "pmrm_v1_portfolio": OPTIONS,
        "pmrm_v2": OPTIONS,
        "srm_margin": OPTIONS,
        "srm_portfolio": OPTIONS,
        "svi": OPTIONS,
    },
    "vega": {
        **dict.fromkeys(test_funding_vega.CHECKS, COVERED),
        **dict.fromkeys((*test_vega.CHECKS, *test_price_monitoring.CHECKS, *test_oracle_averages.CHECKS), COVERED),
        **dict.fromkeys(test_composite_prices.CHECKS, COVERED),
        **dict.fromkeys((*test_disposal.CHECKS, *test_losses_vega.CHECKS), COVERED),
        "isolated_margin_on_trade": "margin moved by each trade of an isolated position: a venue's flow, no preset yet",
        "isolated_order_margin": test_vega.KEPT_APART,
        "isolated_switch": "a venue's own test for switching: the engine asks for the initial requirement",
        "liquidation_price_with_orders": "a price that fills resting orders on the way: the engine holds orders apart",
        "lognormal_risk_factor": MODELS,
        "margin_zone": "collateral pulled in and pushed out between levels: a venue's flow, no preset yet",
    },
}

MODULES: Final[tuple[ModuleType, ...]] = (
    test_venues_prices,
    test_venues_tiers,
    test_venues_margins,
    test_perp_dex,
    test_lending,
    test_oracle_guards,
    test_vega,
    test_price_monitoring,
    test_composite_prices,
    test_oracle_averages,
    test_oracle_stable,
    test_auctions,
    test_auctions_portfolio,
    test_insurance,
    test_liquidation_sizes,
    test_losses,
    test_losses_derive,
    test_losses_vega,
    test_disposal,
    test_deleveraging,
    test_deleveraging_fills,
    test_funding,
    test_funding_derive,
    test_funding_vega,
)


def families_in(file: str) -> set[str]:
    return {vector.family for vector in vectors_of(file)}


@NEEDS_VECTORS
def test_the_table_names_every_vector_file() -> None:
    assert set(FAMILIES) == {path.stem for path in VECTORS.glob("*.jsonl")}


@NEEDS_VECTORS
@pytest.mark.parametrize("file", sorted(FAMILIES))
def test_the_table_names_exactly_the_families_of_a_file(file: str) -> None:
    assert set(FAMILIES[file]) == families_in(file)


@pytest.mark.parametrize("file", sorted(FAMILIES))
def test_covered_is_what_a_test_asserts_and_the_rest_has_a_reason(file: str) -> None:
    asserted = [family for module in MODULES if file == module.FILE for family in module.CHECKS]
    assert len(asserted) == len(set(asserted))
    assert {family for family, status in FAMILIES[file].items() if status == COVERED} == set(asserted)
    assert all(len(reason) > 10 for reason in FAMILIES[file].values() if reason != COVERED)


@NEEDS_VECTORS
@pytest.mark.parametrize("file", sorted(FAMILIES))
def test_every_case_of_a_covered_family_is_asserted_or_named_with_its_reason(file: str) -> None:
    covered = {vector.id for vector in vectors_of(file) if FAMILIES[file][vector.family] == COVERED}
    modules = [module for module in MODULES if file == module.FILE]
    asserted = [vector.id for module in modules for vector in module.CASES]
    left_out = {key for module in modules for key in module.LEFT_OUT}
    assert len(asserted) == len(set(asserted))
    assert not set(asserted) & left_out
    assert set(asserted) | left_out == covered


@NEEDS_VECTORS
@pytest.mark.parametrize("module", MODULES, ids=[module.__name__.rpartition(".")[2] for module in MODULES])
def test_a_figure_left_out_is_one_that_its_family_states(module: ModuleType) -> None:
    stated = {(vector.family, name) for vector in vectors_of(module.FILE) for name in vector.expected}
    assert set(module.LEFT_OUT_FIGURES) <= stated
    assert {family for family, _ in module.LEFT_OUT_FIGURES} <= set(module.CHECKS)
