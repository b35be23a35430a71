"""Records for tests of the journal's homes: a chain of scripted commands, without a house."""

from __future__ import annotations

import hashlib

from marginkeep.journal.command_log import Batch, Head
from marginkeep.journal.record import Genesis, make_record

GENESIS = Genesis(name="example.org/house", rules='name = "test"\n', created_ns=10**18)


def key_of(number: int) -> str:
    return hashlib.sha256(b"key %d" % number).hexdigest()[:32]


def chain(head: Head, count: int, *, keyed: bool = True, size: int = 250, **fields) -> list:
    """Return records that continue a head; each depends on nothing but its number and the head's epoch."""
    records, previous = [], head.hash
    for sequence in range(head.sequence + 1, head.sequence + count + 1):
        record = make_record(
            sequence=sequence,
            epoch=head.epoch,
            recorded_ns=10**18 + sequence,
            previous=previous,
            body=b'{"type":"tick","number":%d,"fill":"%s"}' % (sequence, b"b" * size),
            events=b"[]",
            key=key_of(sequence) if keyed else "",
            **fields,
        )
        records.append(record)
        previous = record.hash
    return records


def head_after(head: Head, records: list) -> Head:
    return Head(head.epoch, records[-1].sequence, records[-1].hash) if records else head


def extend(log, head: Head, count: int, **fields) -> Head:
    """Append a batch of records and return the head after it."""
    records = chain(head, count, **fields)
    log.append(Batch(before=head, records=records))
    return head_after(head, records)


def begin(log) -> Head:
    """Make a journal and acquire it."""
    log.create(GENESIS)
    return log.acquire()
