"""Reading peg watches: what an asset should be worth, and its stages when it is not."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from marginkeep.errors import RulebookError
from marginkeep.rulebook.fields import require_name
from marginkeep.rulebook.levels import check_shares, level_paths, read_level_rates
from marginkeep.rulebook.model import LEVELS
from marginkeep.rulebook.oracle_rules import FEED_PRICE_MAX, PegRules, PegStage
from marginkeep.units import RATE_ONE, format_units

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from marginkeep.rulebook.fields import Fields
    from marginkeep.rulebook.model import Asset

_STAGE: Final = '{ name = "strained", deviation = "0.005", after = "1h", weight = "0.9" }'


def read_pegs(
    fields: Fields, assets: Mapping[str, Asset], feeds: Collection[str], shares: tuple[int, int]
) -> tuple[PegRules, ...]:
    """Read ``pegs``, one table an asset; `shares` place the levels that a stage's weight leaves out."""
    pegs = []
    for name, row in fields.tables("pegs"):
        require_name(name, row.path, assets, "asset")
        require_name(name, row.path, feeds, "feed")
        pegs.append(_read_peg(row, assets[name], shares))
        row.finish()
    return tuple(pegs)


def _read_peg(row: Fields, asset: Asset, shares: tuple[int, int]) -> PegRules:
    stages = tuple(_read_stage(stage, shares) for stage in row.rows("stages"))
    _check_stages(row, stages)
    return PegRules(
        asset=asset.name,
        target=row.price("target", asset.tick, FEED_PRICE_MAX),
        dispersion=row.rate("dispersion", 0, RATE_ONE, "0.01"),
        return_after_ns=row.duration("return_after", "6h"),
        stages=stages,
    )


def _read_stage(row: Fields, shares: tuple[int, int]) -> PegStage:
    weight = read_level_rates(row, "weight", 0, RATE_ONE, shares)
    check_shares(level_paths(row, "weight"), weight, "collateral counts least when opening")
    stage = PegStage(
        name=row.text("name"),
        deviation=row.rate("deviation", 1, RATE_ONE - 1),
        after_ns=row.duration("after", "1h"),
        weight=weight,
        opens=row.flag("opens", False),
    )
    row.finish()
    return stage


def _check_stages(row: Fields, stages: tuple[PegStage, ...]) -> None:
    if not stages:
        raise RulebookError(f"{row.at('stages')} is empty: give at least one stage, as in {_STAGE}")
    for index, (milder, stage) in enumerate(pairwise(stages), start=1):
        path = f"{row.at('stages')}[{index}]"
        if stage.name in [earlier.name for earlier in stages[:index]]:
            raise RulebookError(f"{path}.name is {stage.name!r}, which an earlier stage has: rename one of them")
        if stage.deviation <= milder.deviation:
            raise RulebookError(
                f"{path}.deviation is {format_units(stage.deviation, 9)}, not above that of the stage before, "
                f"{format_units(milder.deviation, 9)}: put the mildest stage first"
            )
        _check_severity(path, milder, stage)


def _check_severity(path: str, milder: PegStage, stage: PegStage) -> None:
    """Refuse a stage that gives back what a milder one took away."""
    for level, before, after in zip(LEVELS, milder.weight, stage.weight, strict=True):
        if after > before:
            raise RulebookError(
                f"{path}.weight.{level} is {format_units(after, 9)}, above that of the stage before, "
                f"{format_units(before, 9)}: a worse stage must not weigh more, so lower it"
            )
    if stage.opens and not milder.opens:
        raise RulebookError(f"{path}.opens is true, but the stage before does not open: a worse stage must not either")
