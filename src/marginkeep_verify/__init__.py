"""A verifier of journals that shares no code with the engine: standard library, and `cryptography` for signatures."""

from marginkeep_verify.report import Check, Finding, Report
from marginkeep_verify.verifying import verify_journal

__all__ = ["Check", "Finding", "Report", "verify_journal"]
