"""How an account below maintenance is reduced. Pure: a plan goes in and out, the clearing floor books it."""

from marginkeep.liquidation.reduction import EVERYTHING, Allowance, Close, Plan, Sale, plan_reduction

__all__ = ["EVERYTHING", "Allowance", "Close", "Plan", "Sale", "plan_reduction"]
