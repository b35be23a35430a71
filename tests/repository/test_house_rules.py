"""House rules that no tool checks: the core is pure, modules and functions are small, words are the field's."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src" / "marginkeep"
MODULES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py")) + sorted((ROOT / "benchmarks").rglob("*.py"))
CORE_ROOMS = ("units.py", "errors.py", "rulebook", "oracle", "margin", "book", "liquidation", "clearing")
CORE = [path for path in sorted(SOURCE.rglob("*.py")) if path.relative_to(SOURCE).parts[0] in CORE_ROOMS]

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
CLOCKS_AND_CHANCE = {"time", "random", "secrets", "uuid", "datetime", "os", "socket", "threading", "asyncio"}
FRACTIONS_DIVIDE = {
    "threshold_prices.py",
    "tiers.py",
    "tables.py",
    "case.py",
    "reading.py",
    "fields.py",
    "units.py",
} | {"limits.py", "grid.py", "lines.py"}
"""Modules where `/` divides exact fractions; everywhere else in the core it could only make a float."""
FLOATS_PROPOSE = {"watch_lists.py", "watch_limits.py", "watch_budget.py"}
"""Modules where floats propose a bucket, a share or a trigger, and integers decide."""
BANNED_WORDS = {"utils", "util", "helper", "helpers", "manager", "data", "misc", "common"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.AST):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def body_lines(function: ast.FunctionDef) -> int:
    """Count the lines of a function without its docstring."""
    docstring = ast.get_docstring(function, clean=False)
    documented = docstring.count("\n") + 1 if docstring else 0
    return function.end_lineno - function.lineno + 1 - documented


@pytest.mark.parametrize("path", MODULES + TESTS, ids=name_of)
def test_modules_and_functions_are_small(path):
    text = path.read_text()
    assert text.count("\n") <= MODULE_LINES_MAX, f"{name_of(path)} is longer than {MODULE_LINES_MAX} lines"
    for function in functions(ast.parse(text)):
        lines = body_lines(function)
        assert lines <= FUNCTION_LINES_MAX, f"{name_of(path)}: {function.name} has {lines} lines"


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_reads_no_clock_no_chance_and_no_environment(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name.split(".")[0] not in CLOCKS_AND_CHANCE, f"{name_of(path)} imports {name}"


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_no_float_is_near_the_money(path):
    if path.name in FLOATS_PROPOSE:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        where = f"{name_of(path)}:{getattr(node, 'lineno', '')}"
        if isinstance(node, ast.Constant):
            assert not isinstance(node.value, float), f"{where}: float literal {node.value}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "float", f"{where}: float()"
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            assert path.name in FRACTIONS_DIVIDE, f"{where}: true division makes a float"


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_never_iterates_over_a_set_or_asks_for_a_hash(path):
    for node in ast.walk(ast.parse(path.read_text())):
        where = f"{name_of(path)}:{getattr(node, 'lineno', '')}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"hash", "id"}, f"{where}: {node.func.id}() differs from run to run"
        iterated = node.iter if isinstance(node, ast.For | ast.comprehension) else None
        assert not isinstance(iterated, ast.Set | ast.SetComp), f"{where}: the order of a set is not fixed"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_rooms_and_modules_are_named_for_what_they_hold(path):
    for part in path.relative_to(ROOT / "src").with_suffix("").parts:
        assert part not in BANNED_WORDS, f"{name_of(path)}: {part!r} says nothing"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_everything_public_is_documented_and_typed(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{name_of(path)} has no docstring"
    for function in functions(tree):
        assert function.returns is not None, f"{name_of(path)}: {function.name} states no return type"


def test_the_lock_files_name_no_registry():
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "--hash=sha256:" in text
