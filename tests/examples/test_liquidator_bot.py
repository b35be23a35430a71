"""The example of a bot does what it says: run as a user would, and asked what it did."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from marginkeep.clearing import Deposit, RegisterLiquidator, SetPrices, check_conservation, open_auctions

BOT = Path(__file__).resolve().parents[2] / "examples" / "liquidator_bot.py"


def bot_module():
    spec = importlib.util.spec_from_file_location("liquidator_bot", BOT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_bot_runs_and_says_what_it_earned():
    done = subprocess.run([sys.executable, str(BOT)], capture_output=True, text=True, timeout=60, check=True)
    *bids, summary, ill = done.stdout.splitlines()
    assert len(bids) >= 5
    assert all(" BTC at " in line for line in bids)
    assert summary.startswith(f"{len(bids)} bids, earned ")
    assert ill == "still ill: nobody"
    assert done.stderr == ""


def test_what_it_says_it_earned_is_what_its_account_has_gained():
    module = bot_module()
    house = module.made_up_house()
    house.apply(Deposit(account="bot", asset="USD", amount=500_000 * module.DOLLAR))
    house.apply(RegisterLiquidator(account="bot"))
    house.apply(SetPrices(marks={"BTC-PERP": 453_000}))
    bot = module.LiquidatorBot(house, "bot", cost=0, most_value=20_000 * module.DOLLAR)
    assert open_auctions(house.state)
    for _ in range(20):
        bot.poll()
    account = house.state.book.read(house.state.index["bot"])
    (position,) = account.positions.values()
    profit = account.balances[0] - 500_000 * module.DOLLAR + position.size * 45_300_000 - position.cost
    assert bot.bids > 5
    assert bot.earned == profit > 0
    check_conservation(house)


def test_it_does_not_bid_where_the_discount_does_not_pay():
    module = bot_module()
    house = module.made_up_house()
    house.apply(SetPrices(marks={"BTC-PERP": 453_000}))
    bot = module.LiquidatorBot(house, "bot", cost=module.RATE_ONE // 2, most_value=10**12)
    assert open_auctions(house.state)
    assert bot.poll() == []
