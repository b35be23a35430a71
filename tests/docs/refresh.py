"""Rewrite the outputs shown in the documentation: `python -m tests.docs.refresh [page ...]`, then read the diff.

An output that is cut with ``...`` is not rewritten but reported: somebody has chosen what it shows.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.docs.blocks import Mismatch, Reader, pages, trimmed


def refresh(page: Path) -> list[str]:
    """Rewrite one page; return what must be done by hand."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        mismatches = Reader(Path(folder)).follow(page)
        os.chdir(page.parent)
    lines = page.read_text(encoding="utf-8").splitlines()
    for mismatch in sorted((m for m in mismatches if _can_rewrite(m)), key=lambda m: -m.start):
        lines[mismatch.start - 1 : mismatch.end - 1] = trimmed(mismatch.printed)
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [f"{page}: {mismatch}" for mismatch in mismatches if not _can_rewrite(mismatch)]


def _can_rewrite(mismatch: Mismatch) -> bool:
    return bool(mismatch.start) and "..." not in mismatch.shown


if __name__ == "__main__":
    chosen = [Path(name).resolve() for name in sys.argv[1:]] or pages()
    for text in [text for page in chosen for text in refresh(page)]:
        sys.stdout.write(f"{text}\n")
