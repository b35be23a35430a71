"""The product's main job: a crash day of minutes over a hundred thousand accounts."""

from __future__ import annotations

from benchmarks.figures import Figure, once
from marginkeep.cli.demo import made_up_candles
from marginkeep.cli.session import generated_house
from marginkeep.lab.example_rules import example_rulebook
from marginkeep.lab.opening import price_path
from marginkeep.lab.replay import Replay, open_interest, top_up_fund

ACCOUNTS = 100_000
SEED = 7


def measure_replay() -> list[Figure]:
    """Replay the demo's day over more accounts."""
    candles = made_up_candles(SEED, "flash_cascade")
    rulebook = example_rulebook(dict(zip(candles.symbols, candles.high.max(axis=0).tolist(), strict=True)))
    path = price_path(candles, rulebook, "close")
    house = generated_house(rulebook, path, ACCOUNTS, SEED)
    top_up_fund(house, open_interest(house) // 50)
    replay = Replay(house, path)
    duration = once(replay.run)
    return [
        Figure(f"replay of {len(path.times_ns):,} minutes over {ACCOUNTS:,} accounts", duration, "s", 60, False),
        Figure("of which liquidations", replay.liquidations, "in number"),
    ]
