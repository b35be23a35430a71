"""Whether an asset is worth what it promises: stages that lower its collateral weight and stop new exposure.

A stage is entered when a deviation has lasted, and left when its absence has lasted: depth says how bad, time says
how sure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from marginkeep.units import RATE_ONE, format_ratio, format_units

if TYPE_CHECKING:
    from marginkeep.rulebook.oracle_rules import PegRules

PEGGED: Final = -1
"""The stage of an asset that holds its peg: whole weights, open for new exposure."""

SHOWN_DECIMALS: Final = 6


class PegWatch:
    """The stage of one pegged asset.

    A price above the target counts like one below: who owes the asset owes more than its peg says, whatever is
    settled in it is worth less of it, and a market that pays 1.15 for a dollar shows that conversion at par is closed.

    A price stands until the next one is observed, so silence does not interrupt a deviation. How often `advance` is
    called does not matter: what time alone brings happens at `until_ns`, also when it is noticed later.

    Attributes
    ----------
    rules : target, stages by rising deviation, time before a return
    stage : index into `rules.stages`, or `PEGGED`
    """

    __slots__ = ("_depth", "_dispersion", "_price", "_since", "rules", "stage")

    def __init__(self, rules: PegRules) -> None:
        self.rules = rules
        self.stage = PEGGED
        self._price: int | None = None
        self._dispersion = 0
        self._depth = PEGGED
        self._since = [0] * len(rules.stages)

    def observe(self, price: int, dispersion: int, now_ns: int) -> bool:
        """Take note of a price and of how far apart its sources are; tell whether the stage changed.

        Parameters
        ----------
        price : ticks of the asset
        dispersion : distance of the sources' prices, a rate
        now_ns : a time before the last change of depth counts as that change's
        """
        before = self.stage
        self.advance(now_ns)
        now_ns = self._not_before_known(now_ns)
        depth = self._depth_of(price, dispersion)
        if self._price is None:
            self._since = [now_ns] * len(self._since)
        for stage in range(min(depth, self._depth) + 1, max(depth, self._depth) + 1):
            self._since[stage] = now_ns
        self._price, self._dispersion, self._depth = price, dispersion, depth
        self._settle(now_ns)
        return self.stage != before

    def advance(self, now_ns: int) -> bool:
        """Let time pass; tell whether the stage changed."""
        before = self.stage
        if self._price is not None:
            self._settle(self._not_before_known(now_ns))
        return self.stage != before

    def _not_before_known(self, now_ns: int) -> int:
        """Hold a clock that went back at the newest time on record, so that no duration grows by it."""
        return max(now_ns, max(self._since, default=now_ns))

    def _depth_of(self, price: int, dispersion: int) -> int:
        """Return the deepest stage whose deviation is reached; it counts for every milder one.

        Sources too far apart count as the first stage's deviation: then nobody knows how far off the price is.
        """
        rules = self.rules
        distance = abs(price - rules.target) * RATE_ONE
        for stage in range(len(rules.stages) - 1, PEGGED, -1):
            if distance >= rules.stages[stage].deviation * rules.target:
                return stage
        apart = bool(rules.stages) and 0 < rules.dispersion <= dispersion
        return 0 if apart else PEGGED

    def _settle(self, now_ns: int) -> None:
        """Enter the deepest stage that has lasted, or return as far as its absence has lasted."""
        stages = self.rules.stages
        for stage in range(self._depth, self.stage, -1):
            if now_ns - self._since[stage] >= stages[stage].after_ns:
                self.stage = stage
                return
        while self.stage > self._depth and now_ns - self._since[self.stage] >= self.rules.return_after_ns:
            self.stage -= 1

    @property
    def until_ns(self) -> int:
        """When time alone may change the stage; 0 = never."""
        if self.stage > self._depth:
            return self._since[self.stage] + self.rules.return_after_ns
        ahead = range(self.stage + 1, self._depth + 1)
        return min((self._since[stage] + self.rules.stages[stage].after_ns for stage in ahead), default=0)

    def weight(self, level: int) -> int:
        """Return the factor on the asset's collateral weight at a level, a rate."""
        return RATE_ONE if self.stage == PEGGED else self.rules.stages[self.stage].weight[level]

    @property
    def opens(self) -> bool:
        """Whether new exposure to the asset is accepted."""
        return self.stage == PEGGED or self.rules.stages[self.stage].opens

    @property
    def stage_name(self) -> str:
        """The stage in words: ``pegged`` or the rulebook's name."""
        return "pegged" if self.stage == PEGGED else self.rules.stages[self.stage].name

    @property
    def why(self) -> str:
        """One sentence: price and target in ticks, the deviation as a share, and since when it has lasted."""
        head = f"{self.rules.asset} is {self.stage_name}"
        if self._price is None:
            return f"{head}: no price seen yet"
        offset = self._price - self.rules.target
        share = format_ratio(abs(offset), self.rules.target, SHOWN_DECIMALS)
        side = "above" if offset > 0 else "below"
        return f"{head}: price {self._price} is {share} {side} its target {self.rules.target}{self._lasting()}"

    def _lasting(self) -> str:
        """Say since when which deviation has been reached, or missed, and what comes of it when."""
        stages = self.rules.stages
        if self.stage > self._depth:
            bound, since = stages[self.stage].deviation, self._since[self.stage]
            return f", less than {format_units(bound, 9)} since {since} ns; it returns at {self.until_ns} ns"
        if self._depth == PEGGED:
            return ""
        deepest, since = stages[self._depth], self._since[self._depth]
        reached = f"{format_units(deepest.deviation, 9)} or more"
        if self._is_apart_only():
            reached = f"its sources {format_units(self._dispersion, 9)} apart"
        ahead = f"; it is {deepest.name} from {since + deepest.after_ns} ns on" if self.stage < self._depth else ""
        return f", {reached} since {since} ns{ahead}"

    def _is_apart_only(self) -> bool:
        return self._price is not None and self._depth_of(self._price, 0) == PEGGED

    def save(self) -> list[Any]:
        """Return the state for a snapshot."""
        return [self.stage, self._price, self._dispersion, list(self._since)]

    def restore(self, saved: list[Any]) -> None:
        """Take over a state that `save` returned, under the same rules."""
        self.stage, self._price, self._dispersion, since = saved
        self._since = list(since)
        self._depth = PEGGED if self._price is None else self._depth_of(self._price, self._dispersion)
