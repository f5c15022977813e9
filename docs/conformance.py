"""Write docs/conformance.md: the tests that prove each requirement and each law."""

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

`python docs/conformance.py` generates this page from the markers of the tests. Each row names the tests that would fail
without the property.
"""


def main() -> int:
    """Write the page. With --check, compare the page with the tests and write nothing."""
    page = render_page(collect_markers(ROOT / "tests"))
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print("docs/conformance.md is out of date; run: python docs/conformance.py", file=sys.stderr)  # noqa: T201
    return 1


def collect_markers(folder: Path) -> dict[str, dict[str, list[str]]]:
    """Read the tests that name each id, by marker and id."""
    found: dict[str, dict[str, list[str]]] = {marker: defaultdict(list) for marker in MARKERS}
    for path in sorted(folder.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        of_module = [value for name, value in _find_assignments(tree) if name == "pytestmark"]
        for name, decorators in _find_tests(tree):
            place = f"{path.relative_to(ROOT).as_posix()}::{name}"
            for marker, ids in _find_markers([*of_module, *decorators]):
                for identifier in ids:
                    found[marker][identifier].append(place)
    return found


def render_page(found: dict[str, dict[str, list[str]]]) -> str:
    """Render a table for each marker."""
    lines = [HEAD]
    for marker, title in MARKERS.items():
        lines += [f"## {title}", "", "| id | proven by |", "|---|---|"]
        for identifier in sorted(found[marker], key=_split_number):
            tests = "<br>".join(f"`{test}`" for test in dict.fromkeys(found[marker][identifier]))
            lines.append(f"| {identifier} | {tests} |")
        lines.append("")
    return "\n".join(lines)


def _find_assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def _find_tests(tree: ast.Module) -> Iterator[tuple[str, list[ast.expr]]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and inner.name.startswith("test"):
                    yield f"{node.name}::{inner.name}", [*node.decorator_list, *inner.decorator_list]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            yield node.name, list(node.decorator_list)


def _find_markers(expressions: list[ast.expr]) -> Iterator[tuple[str, list[str]]]:
    for expression in expressions:
        for node in ast.walk(expression):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MARKERS:
                yield node.func.attr, [arg.value for arg in node.args if isinstance(arg, ast.Constant)]


def _split_number(identifier: str) -> tuple[str, int, str]:
    # By number, so that PE-9 stands before PE-10.
    head = identifier.rstrip("0123456789")
    digits = identifier[len(head) :]
    return head, int(digits or 0), identifier


if __name__ == "__main__":
    sys.exit(main())
