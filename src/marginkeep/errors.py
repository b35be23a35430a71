"""The errors a caller can meet.

::

    MarginkeepError
    ├── InputError            bad input, rejected whole: the caller fixes it         exit code 2
    │   ├── RulebookError     a rulebook or case file that must not be used
    │   ├── PriceFileError    a price file that cannot be read or repaired
    │   ├── PrecisionError    a number finer or larger than its unit allows
    │   └── KeyReused         an idempotency key that stands for another command
    ├── JournalError          the journal cannot be trusted or written: new commands stop   exit code 4
    │   ├── JournalCorrupt    a record, snapshot or checkpoint is damaged or out of place
    │   ├── FencedOut         another writer has taken the journal over
    │   └── JournalStalled    a write could not be made durable (lost server, failed sync)
    │       └── JournalFull   for want of room on a disk
    └── InvariantViolation    an impossible state: a defect, never caught, halts     exit code 3

Expected refusals (too little margin, an unknown order) are not errors: the clearinghouse answers them with
`Rejected` events, values with numbers.
"""


class MarginkeepError(Exception):
    """Base of every error this package raises on purpose."""


class InputError(MarginkeepError):
    """The input is wrong; nothing was applied. Handled by: the caller. Retry: after fixing the input."""


class RulebookError(InputError):
    """A rulebook or case file breaks a rule. The message names path, value, bound and cure."""


class PriceFileError(InputError):
    """A price file cannot be read, or not repaired safely. Handled by: whoever made the file."""


class PrecisionError(InputError):
    """A number is finer or larger than its unit allows. Handled by: the caller, with a coarser number."""


class KeyReused(InputError):
    """An idempotency key was used before with another command. Handled by: the caller, with a new key."""


class JournalError(MarginkeepError):
    """The journal cannot be used: nothing more is acknowledged until somebody has looked. Handled by: the operator."""


class JournalCorrupt(JournalError):
    """Something in the journal is damaged, missing or out of place; the message names it. Retry: never."""


class FencedOut(JournalError):
    """Another writer owns the journal now. Handled by: stopping; whoever took over goes on. Retry: never."""


class JournalStalled(JournalError):
    """A batch could not be made durable. Retry: after a restart, which recovers what is durable."""


class JournalFull(JournalStalled):
    """There was no room for a batch. Handled by: the operator. Retry: after a restart, once there is room."""


class InvariantViolation(MarginkeepError):
    """Something that cannot happen happened. A defect: stop, keep the journal, report it. Never caught."""
