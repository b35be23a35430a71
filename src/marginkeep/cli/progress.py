"""The bar that says on a terminal how much is done, how fast it goes and how long it will take; elsewhere, nothing."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


class Told(Protocol):
    """Takes in how much is done.

    Parameters
    ----------
    total : None = not known
    what : what is being done now; None = as before
    seen : what is said behind the rate
    """

    def __call__(self, done: int, total: int | None, *, what: str | None = None, seen: str = "") -> None:
        """Show it."""


@contextmanager
def told_progress(what: str, unit: str, every: int = 1) -> Iterator[Told]:
    """Show a bar with rate and time left as long as the context lasts.

    Parameters
    ----------
    what, unit : for example ``"replaying"`` and ``"records"``
    every : show one in so many; the bar computes its rate from all its samples, which may cost more than the work
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} " + unit + "/s{task.fields[seen]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None, rate="-", seen="", visible=False)

        def told(done: int, total: int | None, *, what: str | None = None, seen: str = "") -> None:
            if done % every and done != total:
                return
            speed = progress.tasks[0].speed
            rate = f"{speed:,.0f}" if speed else "-"
            progress.update(task, completed=done, total=total, description=what, rate=rate, seen=seen, visible=True)

        yield told
