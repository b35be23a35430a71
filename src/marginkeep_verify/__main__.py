"""`python -m marginkeep_verify JOURNAL`. Exit codes: 0 sound, 1 something was found, 2 wrong usage."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from marginkeep_verify.verifying import verify_journal


def main(arguments: list[str] | None = None) -> int:
    """Verify the named journal and print the report."""
    parser = argparse.ArgumentParser(prog="marginkeep_verify", description="Verify a journal without its engine.")
    parser.add_argument("journal", help="an SQLite file, an export (.jsonl, .jsonl.gz) or postgresql://...")
    parser.add_argument("--key", help="public key of the checkpoints: its text, or a file that holds it")
    parser.add_argument("--findings", type=int, default=20, help="how many findings to list")
    parser.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args(arguments)
    try:
        key = Path(chosen.key).read_text() if chosen.key and "+" not in chosen.key else chosen.key
        report = verify_journal(chosen.journal, key, chosen.findings)
    except (OSError, ValueError, ImportError) as error:
        sys.stderr.write(f"marginkeep_verify: {error}\n")
        return 2
    sys.stdout.write((json.dumps(report.as_dict(), indent=2) if chosen.json else report.as_text()) + "\n")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
