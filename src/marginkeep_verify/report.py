"""What a verification found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

CHECKS = {
    "genesis": "the first record continues the genesis",
    "records": "each record is what its hash says",
    "sequence": "no record is missing or out of place",
    "links": "each record names the hash of the one before",
    "order": "epochs and times never fall, answers follow what they answer to",
    "tiles": "stored tiles of the tree are those of the records",
    "roots": "checkpoints state the root of the records they cover",
    "signatures": "checkpoints are signed with the key",
    "keys": "a record with an idempotency key is what a database finds by it",
    "personal": "payloads kept apart are those that records name",
    "snapshots": "snapshots are whole and stand where they say",
    "head": "the stated end is the last record",
    "postings": "money only moves: no amount below zero, what is told is what is posted",
    "money": "all balances sum to zero, deposits less withdrawals are what is inside",
    "trades": "sizes after a trade follow from those before, costs are mirrored in settlement",
}
NOT_COVERED = (
    "whether each answer follows from its command, the rules and the prices: only --replay derives that anew",
    "positions and open costs that no trade has stated yet, in a journal that does not begin empty",
    "records cut off the end together with the stated head: keep checkpoints elsewhere to see that",
)


@dataclass(slots=True)
class Check:
    """How often one thing was looked at."""

    passed: int = 0
    failed: int = 0
    unchecked: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: in which check, at which record (0 = none in particular), and what differs."""

    check: str
    sequence: int
    text: str


@dataclass(slots=True)
class Report:
    """The result.

    Attributes
    ----------
    findings : the first `most` of them; `found` counts all
    remarks : what could not be looked at, and why
    interrupted : it was stopped before the end
    """

    place: str
    most: int = 20
    first: int = 0
    last: int = 0
    hash: str = ""
    checks: dict[str, Check] = field(default_factory=lambda: {name: Check() for name in CHECKS})
    findings: list[Finding] = field(default_factory=list)
    found: int = 0
    remarks: list[str] = field(default_factory=list)
    not_covered: tuple[str, ...] = NOT_COVERED
    interrupted: bool = False

    @property
    def ok(self) -> bool:
        """Whether everything that was looked at is right, to the end."""
        return not self.found and not self.interrupted

    def note(self, check: str, sequence: int, holds: bool, text: str) -> bool:
        """Count one look; where it failed, keep the finding."""
        if holds:
            self.checks[check].passed += 1
            return True
        self.checks[check].failed += 1
        self.found += 1
        if len(self.findings) < self.most:
            self.findings.append(Finding(check, sequence, text))
        return False

    def remark(self, text: str) -> None:
        """Keep what could not be looked at, once."""
        if text not in self.remarks:
            self.remarks.append(text)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"ok": self.ok, **asdict(self)}

    def as_text(self) -> str:
        """Return it as a page of text."""
        lines = [f"{self.place}: records {self.first} to {self.last}"]
        for name, check in self.checks.items():
            unchecked = f", {check.unchecked} not checked" if check.unchecked else ""
            mark = "FAIL" if check.failed else "ok" if check.passed else "-"
            lines.append(f"{mark:>4}  {name:<10} {check.passed:>9}  {CHECKS[name]}{unchecked}")
        lines += [f"found: record {one.sequence or '-'}: {one.text} ({one.check})" for one in self.findings]
        if self.found > len(self.findings):
            lines.append(f"and {self.found - len(self.findings)} more findings")
        lines += [f"note: {text}" for text in self.remarks]
        lines += [f"not covered: {text}" for text in self.not_covered]
        state = (
            "stopped before the end" if self.interrupted else "sound" if self.ok else f"NOT SOUND: {self.found} found"
        )
        return "\n".join([*lines, f"{state}; last hash {self.hash}"])
