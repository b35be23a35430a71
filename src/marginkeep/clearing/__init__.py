"""Commands in, events out: the clearinghouse, its ledger, and its invariants."""

from marginkeep.clearing.auctioning import open_auctions
from marginkeep.clearing.clearinghouse import Clearinghouse
from marginkeep.clearing.commands import (
    AddMargin,
    AdoptRulebook,
    AdvanceTime,
    Bid,
    ChangeMode,
    Command,
    Deposit,
    PayFunding,
    RegisterLiquidator,
    ReleaseOrder,
    RemoveMargin,
    ReserveOrder,
    SetPrices,
    TopUpFund,
    Trade,
    Transfer,
    Withdraw,
    decode_command,
    encode_command,
)
from marginkeep.clearing.conservation import check_conservation
from marginkeep.clearing.events import Event, Liquidated, Rejected, Traded
from marginkeep.clearing.snapshot import restore_snapshot, state_hash, take_snapshot

__all__ = [
    "AddMargin",
    "AdoptRulebook",
    "AdvanceTime",
    "Bid",
    "ChangeMode",
    "Clearinghouse",
    "Command",
    "Deposit",
    "Event",
    "Liquidated",
    "PayFunding",
    "RegisterLiquidator",
    "Rejected",
    "ReleaseOrder",
    "RemoveMargin",
    "ReserveOrder",
    "SetPrices",
    "TopUpFund",
    "Trade",
    "Traded",
    "Transfer",
    "Withdraw",
    "check_conservation",
    "decode_command",
    "encode_command",
    "open_auctions",
    "restore_snapshot",
    "state_hash",
    "take_snapshot",
]
