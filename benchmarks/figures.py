"""One measured figure beside its goal, and how to time something several times."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, its unit, and the goal it is held against; `at_least` tells which side is good."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = True

    @property
    def met(self) -> bool | None:
        """Tell whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def as_json(self) -> dict[str, Any]:
        """Return the figure with its verdict."""
        return {**asdict(self), "met": self.met}


def seconds(action: Callable[[], Any], runs: int = 5) -> float:
    """Return the shortest of several runs, after one run that is not counted."""
    action()
    return min(once(action) for _ in range(runs))


def once(action: Callable[[], Any]) -> float:
    """Return the duration of one run."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
