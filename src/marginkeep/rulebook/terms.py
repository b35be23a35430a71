"""Reading what a forced close costs: the `liquidation` table of a rulebook, an asset or a market."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from marginkeep.rulebook.model import LiquidationTerms
from marginkeep.units import RATE_ONE

if TYPE_CHECKING:
    from marginkeep.rulebook.fields import Fields

NO_COST: Final = LiquidationTerms(slippage=0, penalty=0, liquidator_share=RATE_ONE // 2)


def read_terms(fields: Fields, default: LiquidationTerms) -> LiquidationTerms:
    """Read a ``liquidation`` table; what it leaves out comes from the default."""
    if not fields.has("liquidation"):
        fields.take("liquidation", None)
        return default
    table = fields.sub("liquidation")
    terms = LiquidationTerms(
        table.rate("slippage", 0, RATE_ONE // 2) if table.has("slippage") else default.slippage,
        table.rate("penalty", 0, RATE_ONE // 2) if table.has("penalty") else default.penalty,
        table.rate("liquidator_share", 0, RATE_ONE) if table.has("liquidator_share") else default.liquidator_share,
    )
    for name in ("slippage", "penalty", "liquidator_share"):
        table.take(name, None)
    table.finish()
    return terms
