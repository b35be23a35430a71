"""Forgeries with every hash in order: what a false event says contradicts its postings, or what came before."""

from __future__ import annotations

import pytest

from marginkeep_verify import verify_journal
from tests.verify.journals import SIGNER
from tests.verify.lines import lines_of, rechained, with_events


@pytest.fixture(scope="module")
def lines(tmp_path_factory, journal):
    return lines_of(journal)


def posting(event, number=0, **fields):
    event["postings"][number].update(fields)


def negative(event):
    posting(event, amount=-event["postings"][0]["amount"])


def fraction(event):
    posting(event, amount=0.5)


def more_is_told(event):
    event["amount"] += 1


def more_is_posted(event):
    posting(event, amount=event["postings"][0]["amount"] + 1)


def from_nowhere(event):
    posting(event, source="fees")


def told_out(event):
    if event["what"] != "deposit":
        return False
    event["what"] = "withdrawal"
    return True


def larger_position(event):
    event["buyer"]["size"] += 1


def smaller_cost(event):
    event["seller"]["cost"] -= 1


def smaller_fee(event):
    event["buyer"]["fee"] -= 1


FORGERIES = {
    "negative": (negative, "BalanceMoved", "postings"),
    "fraction": (fraction, "BalanceMoved", "postings"),
    "more_is_told": (more_is_told, "BalanceMoved", "postings"),
    "more_is_posted": (more_is_posted, "BalanceMoved", "postings"),
    "from_nowhere": (from_nowhere, "BalanceMoved", "money"),
    "told_out": (told_out, "BalanceMoved", "money"),
    "larger_position": (larger_position, "Traded", "trades"),
    "smaller_cost": (smaller_cost, "Traded", "trades"),
    "smaller_fee": (smaller_fee, "Traded", "trades"),
}


def test_recomputed_hashes_alone_change_nothing(lines):
    assert verify_journal(rechained(lines)).ok


@pytest.mark.parametrize(("field", "value"), [("epoch", 0), ("recorded_ns", 5), ("causation", 60)])
def test_a_record_out_of_its_time_is_found_though_every_hash_is_in_order(lines, field, value):
    forged = [{**line, field: value} if line.get("sequence") == 60 and "body" in line else line for line in lines]
    findings = verify_journal(rechained(forged)).findings
    assert [(one.check, one.sequence) for one in findings] == [("order", 60)]


@pytest.mark.parametrize("name", FORGERIES)
def test_a_false_event_is_found_though_every_hash_is_in_order(lines, name):
    change, kind, check = FORGERIES[name]
    forged, sequence = with_events(lines, change, kind)
    report = verify_journal(forged)
    assert report.checks["records"].failed == report.checks["links"].failed == 0
    assert report.checks[check].failed, report.as_text()
    assert check == "money" or any(one.sequence == sequence for one in report.findings)


def test_a_refused_command_that_moves_money_is_found(lines):
    def give(event):
        event["postings"] = [{"asset": "USD", "source": "fees", "target": "ann", "amount": 5, "reason": "gift"}]

    forged, sequence = with_events(lines, give, "Rejected")
    assert [(one.check, one.sequence) for one in verify_journal(forged).findings] == [("postings", sequence)]


def test_a_forger_without_the_key_is_betrayed_by_the_checkpoints(lines):
    forged, _ = with_events(lines, lambda event: event.update(price=event["price"] + 1), "Traded")
    assert verify_journal(forged).ok, "nothing in the events contradicts another price"
    notes = [line for line in lines if line["line"] == "checkpoint"]
    report = verify_journal([*forged[:-1], notes[-1], forged[-1]], SIGNER.vkey)
    assert report.checks["roots"].failed == 1
