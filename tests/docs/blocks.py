"""The fenced blocks of the documentation: found, run, and compared with what the page shows.

- ``console``: a line that starts with ``$ `` is a command; the lines below it, if any, are its output. A line ``...``
  stands for any number of lines. ``make`` commands are not run, since they would run these tests again; they must be
  targets of the Makefile. A command that ends with `` &`` is started and waited for until it has printed what is shown;
  ``kill %1`` ends it as SIGTERM does, and so does the end of the page.
- ``console live`` and ``text live``: the same, but each number, time, hash and key stands for any other.
- ``python``: a doctest where it has prompts, else a script; a ``text`` block right below is what it prints.
- ``toml``: a case or a rulebook, which must load; with ``# file: NAME`` on its first line it is also written there.

The blocks of one page run from top to bottom in one folder of their own, beside a copy of the examples, and share one
Python namespace, as they would for a reader who follows the page. Port 8470, which the service listens at by default,
stands for one that is free.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marginkeep.book import read_case
from marginkeep.rulebook import read_rulebook
from marginkeep.rulebook.reading import parse_text
from tests.docs.background import Background, free_port

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 120
_FENCE = re.compile(r"^```([a-z]*)( live)?\s*$")
_VARIES = re.compile(r"marginkeep-demo-\w+|[\w+/-]{40,}={0,2}|\b[0-9a-f]{8,}\b|[-+]?\d[\d,.:]*")
_PORT = "127.0.0.1:8470"


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: the page's line numbers count from 1, and `start` is that of the first line inside."""

    language: str
    start: int
    lines: tuple[str, ...]
    live: bool = False

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def end(self) -> int:
        """The line of the closing fence."""
        return self.start + len(self.lines)


@dataclass(frozen=True, slots=True)
class Shown:
    """A command and the output shown for it, with the page lines of that output: [start, end)."""

    command: str
    output: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What differs: the place, what the page shows and what was printed; for a refresh, the lines to replace."""

    line: int
    what: str
    shown: tuple[str, ...] = ()
    printed: tuple[str, ...] = ()
    start: int = 0
    end: int = 0

    def __str__(self) -> str:
        text = f"line {self.line}: {self.what}"
        if self.shown or self.printed:
            text += "\n--- shown\n" + "\n".join(self.shown) + "\n--- printed\n" + "\n".join(self.printed)
        return text


def pages() -> list[Path]:
    """Return every page whose blocks are run: the top-level ones and all of docs."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    opened: tuple[str, int, bool] | None = None
    for number, line in enumerate(lines, start=1):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        if opened is None:
            opened = fence[1], number + 1, fence[2] is not None
            continue
        language, start, live = opened
        found.append(Block(language, start, tuple(lines[start - 1 : number - 1]), live))
        opened = None
    assert opened is None, f"{page.name}: the block opened at line {opened} is not closed"
    return found


def commands_of(block: Block) -> list[Shown]:
    """Return the commands of a console block with the output shown for each."""
    starts = [index for index, line in enumerate(block.lines) if line.startswith("$ ")]
    assert starts[:1] == [0], f"line {block.start}: a console block begins with a command, '$ ...'"
    found = []
    for first, after in zip(starts, [*starts[1:], len(block.lines)], strict=True):
        output = block.lines[first + 1 : after]
        found.append(Shown(block.lines[first][2:], output, block.start + first + 1, block.start + after))
    return found


def matches(shown: tuple[str, ...], printed: tuple[str, ...], *, live: bool = False) -> bool:
    """Tell whether the printed lines are the shown ones, where a shown ``...`` stands for any lines."""
    if live:
        shown, printed = (tuple(_VARIES.sub("#", line) for line in lines) for lines in (shown, printed))
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(line) + r"\n" for line in trimmed(shown))
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in trimmed(printed))) is not None


def trimmed(lines: tuple[str, ...]) -> list[str]:
    """Return lines without what nobody sees: blanks at line ends, empty lines at the end."""
    text = [line.rstrip() for line in lines]
    while text and not text[-1]:
        text.pop()
    return text


@dataclass(slots=True)
class Reader:
    """Follows one page in a folder of its own; `mismatches` is what did not come out as the page says."""

    folder: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "page"})
    mismatches: list[Mismatch] = field(default_factory=list)
    port: int = field(default_factory=free_port)
    background: Background = field(default_factory=Background)

    def __post_init__(self) -> None:
        shutil.copytree(ROOT / "examples", self.folder / "examples")

    def follow(self, page: Path) -> list[Mismatch]:
        """Run every block of a page; return what differed."""
        try:
            self._follow(blocks_of(page))
        finally:
            self.background.end()
        return self.mismatches

    def _follow(self, blocks: list[Block]) -> None:
        for index, block in enumerate(blocks):
            if block.language == "console":
                self._run_console(block)
            elif block.language == "toml":
                self._load_toml(block)
            elif block.language == "python":
                below = blocks[index + 1] if index + 1 < len(blocks) else None
                is_output = below is not None and below.language == "text" and below.start - block.end <= 3
                self._run_python(block, below if is_output else None)

    def _run_console(self, block: Block) -> None:
        for shown in commands_of(block):
            if shown.command.startswith("make "):
                self._require_targets(shown)
                continue
            code, printed = self._run(shown, live=block.live)
            if code:
                self.mismatches.append(Mismatch(shown.start - 1, f"{shown.command}: exit code {code}", (), printed))
            elif shown.output and not matches(shown.output, printed, live=block.live):
                what = f"{shown.command}: another output"
                found = Mismatch(shown.start - 1, what, shown.output, printed, shown.start, shown.end)
                self.mismatches.append(found)

    def _run(self, shown: Shown, *, live: bool) -> tuple[int, tuple[str, ...]]:
        """Run a command, or start or end one in the background; the page's port stands for ours."""
        command, environment = shown.command.replace(_PORT, self._address), plain_environment(self.port)
        if command == "kill %1":
            return self.background.end(), ()
        if not command.endswith(" &"):
            code, printed = run_command(command, self.folder, environment)
        else:

            def is_shown(lines: list[str]) -> bool:
                return matches(shown.output, tuple(self._as_shown(line) for line in lines), live=live)

            code, printed = self.background.start(command.removesuffix(" &"), self.folder, environment, is_shown)
        return code, tuple(map(self._as_shown, printed))

    @property
    def _address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _as_shown(self, text: str) -> str:
        return text.replace(self._address, _PORT)

    def _require_targets(self, shown: Shown) -> None:
        known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        wanted = [word for word in shown.command.split("#")[0].split()[1:] if "=" not in word]
        for name in wanted:
            if name not in known:
                self.mismatches.append(Mismatch(shown.start - 1, f"make {name}: the Makefile has no such target"))

    def _load_toml(self, block: Block) -> None:
        try:
            table = parse_text(block.text, ".toml", "the block")
            if "accounts" in table:
                read_case(table)
            elif "assets" in table:
                read_rulebook(table)
        except Exception as error:
            self.mismatches.append(Mismatch(block.start, f"the block does not load: {error}"))
        name = re.match(r"# file: (\S+)", block.lines[0])
        if name is not None:
            (self.folder / name[1]).write_text(block.text, encoding="utf-8")

    def _run_python(self, block: Block, below: Block | None) -> None:
        out = io.StringIO()
        try:
            if any(line.startswith(">>> ") for line in block.lines):
                self._run_doctest(block, out)
            else:
                text = block.text.replace(_PORT, self._address)
                code = compile("\n" * (block.start - 1) + text, "page", "exec")
                with contextlib.redirect_stdout(out):
                    exec(code, self.names)
        except Exception as error:
            self.mismatches.append(Mismatch(block.start, f"the script fails: {type(error).__name__}: {error}"))
            return
        printed = tuple(self._as_shown(out.getvalue()).splitlines())
        if below is not None and not matches(below.lines, printed, live=below.live):
            found = Mismatch(below.start, "the script prints otherwise", below.lines, printed, below.start, below.end)
            self.mismatches.append(found)

    def _run_doctest(self, block: Block, out: io.StringIO) -> None:
        parsed = doctest.DocTestParser().get_doctest(block.text, self.names, "page", "page", block.start - 1)
        runner = doctest.DocTestRunner(verbose=False)
        report: list[str] = []
        runner.run(parsed, out=report.append, clear_globs=False)
        self.names.update(parsed.globs)
        if runner.failures:
            self.mismatches.append(Mismatch(block.start, "".join(report)))


def run_command(command: str, folder: Path, environment: dict[str, str]) -> tuple[int, tuple[str, ...]]:
    """Run a shown command in a folder; return its exit code and everything it printed."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    return done.returncode, tuple(done.stdout.splitlines())


def plain_environment(port: int) -> dict[str, str]:
    """Return an environment in which a program prints as on any reader's machine: 80 columns, no colour, UTF-8.

    Parameters
    ----------
    port : where a service listens that is told of none
    """
    unwanted = {"COLUMNS", "LINES", "FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"}
    ours = ("MARGINKEEP_",)
    kept = {name: value for name, value in os.environ.items() if name not in unwanted and not name.startswith(ours)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    fixed = {"PYTHONUTF8": "1", "LC_ALL": "C.UTF-8", "TERM": "dumb", "MARGINKEEP_SERVER_PORT": str(port)}
    return {**kept, "PATH": path, **fixed}


def links_of(page: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, target) of each link and picture of a page, outside its blocks."""
    inside = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("```"):
            inside = not inside
        elif not inside:
            for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", line)):
                yield number, target


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that a page's headings make."""
    found = set()
    inside = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = not inside
        elif not inside and line.startswith("#"):
            plain = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            found.add(plain.replace(" ", "-"))
    return found
