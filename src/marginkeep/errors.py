"""The errors a caller can meet.

::

    MarginkeepError
    ├── InputError            bad input, rejected whole: the caller fixes it         exit code 2
    │   ├── RulebookError     a rulebook or case file that must not be used
    │   ├── PriceFileError    a price file that cannot be read or repaired
    │   └── PrecisionError    a number finer or larger than its unit allows
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


class InvariantViolation(MarginkeepError):
    """Something that cannot happen happened. A defect: stop, keep the journal, report it. Never caught."""
