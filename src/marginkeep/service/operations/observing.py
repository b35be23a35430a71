"""What the writer and the door tell whoever counts; by default nobody does."""

from __future__ import annotations

from collections.abc import Sequence

from marginkeep.journal.durable import Outcome, Request


class Observer:
    """Is told what happens, in the event loop's thread. This one forgets it all; `Metrics` counts."""

    def applied(self, requests: int, seconds: float) -> None:
        """Learn that a batch was applied in memory, and how long that took."""

    def landed(self, requests: Sequence[Request], outcomes: Sequence[Outcome], seconds: float) -> None:
        """Learn that a batch is durable, and how long that took from when it was applied."""

    def failed(self) -> None:
        """Learn that a batch could not be applied or made durable."""

    def answered(self, seconds: float) -> None:
        """Learn how long a submission took, from when it came until its answer was durable."""

    def served(self, route: str, method: str, bucket: str, status: int, seconds: float) -> None:
        """Learn that a request was answered.

        Parameters
        ----------
        route : the path as it is declared, so that there are few; empty where there is none
        bucket : of the rate limits
        """
