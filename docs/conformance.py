"""Writes docs/conformance.md: which test proves which requirement and which law."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "conformance.md"
MARKERS = {"requirement": "Requirements", "law": "Laws of the lifecycle"}
HEAD = """\
# Conformance

Made by `python docs/conformance.py` from the markers of the tests. A row is there because a test names it; the test
would fail without the property.
"""


def main() -> int:
    """Write the page, or with --check say whether it is up to date."""
    page = render(collect(ROOT / "tests"))
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print("docs/conformance.md is out of date; run: python docs/conformance.py", file=sys.stderr)  # noqa: T201
    return 1


def collect(folder: Path) -> dict[str, dict[str, list[str]]]:
    """For each marker and id, the tests that name it."""
    found: dict[str, dict[str, list[str]]] = {marker: defaultdict(list) for marker in MARKERS}
    for path in sorted(folder.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        everywhere = [value for name, value in _assigned(tree) if name == "pytestmark"]
        for name, node in _tests(tree):
            place = f"{path.relative_to(ROOT).as_posix()}::{name}"
            for marker, ids in _marks([*everywhere, *node]):
                for one in ids:
                    found[marker][one].append(place)
    return found


def render(found: dict[str, dict[str, list[str]]]) -> str:
    """The page."""
    lines = [HEAD]
    for marker, title in MARKERS.items():
        lines += [f"## {title}", "", "| id | proven by |", "|---|---|"]
        for one in sorted(found[marker], key=_natural):
            tests = "<br>".join(f"`{test}`" for test in dict.fromkeys(found[marker][one]))
            lines.append(f"| {one} | {tests} |")
        lines.append("")
    return "\n".join(lines)


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def _tests(tree: ast.Module) -> Iterator[tuple[str, list[ast.expr]]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and inner.name.startswith("test"):
                    yield f"{node.name}::{inner.name}", [*node.decorator_list, *inner.decorator_list]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            yield node.name, list(node.decorator_list)


def _marks(expressions: list[ast.expr]) -> Iterator[tuple[str, list[str]]]:
    for expression in expressions:
        for node in ast.walk(expression):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MARKERS:
                yield node.func.attr, [arg.value for arg in node.args if isinstance(arg, ast.Constant)]


def _natural(text: str) -> tuple[str, int, str]:
    head = text.rstrip("0123456789")
    digits = text[len(head) :]
    return head, int(digits or 0), text


if __name__ == "__main__":
    sys.exit(main())
