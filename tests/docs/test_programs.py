"""The Python blocks of the pages parse, and import public names only."""

from __future__ import annotations

import ast
import importlib
import re

import pytest
from tests.docs.conftest import ROOT
from tests.docs.test_reference import PUBLIC

FENCE = re.compile(r"^```python[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name != "conformance.md"),
    *sorted(ROOT.glob("contrib/*/README.md")),
]
BLOCKS = [
    pytest.param(match["code"], id=f"{page.relative_to(ROOT).as_posix()}-{number}")
    for page in PAGES
    for number, match in enumerate(FENCE.finditer(page.read_text(encoding="utf-8")), 1)
    if "--8<--" not in match["code"]
]
EXAMPLES = [
    pytest.param(path.read_text(encoding="utf-8"), id=path.relative_to(ROOT).as_posix())
    for path in sorted((ROOT / "examples").rglob("*.py"))
    if path.parent.name != "migrations"  # written by Alembic from a template of bandmaster-persistence
]


def find_imports(code: str) -> list[tuple[str, str]]:
    """Each module of bandmaster that a program imports from, with the imported name."""
    nodes = list(ast.walk(ast.parse(code)))
    names = [
        (node.module or "", alias.name) for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    modules = [(alias.name, "") for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return [(module, name) for module, name in [*names, *modules] if module.partition(".")[0] == "bandmaster"]


@pytest.mark.requirement("XC-C3", "CF-24")
@pytest.mark.parametrize("code", [*BLOCKS, *EXAMPLES])
def test_a_program_imports_public_names_only(code: str) -> None:
    """Each import of a page or an example names a public module and a name of its `__all__`."""
    imports = find_imports(code)
    assert {module for module, _ in imports} <= PUBLIC
    missing = [
        (module, name) for module, name in imports if name and name not in importlib.import_module(module).__all__
    ]
    assert [] == missing


def test_there_are_programs() -> None:
    """The test above has programs to look at, and imports in them."""
    imports = [found for block in [*BLOCKS, *EXAMPLES] for found in find_imports(block.values[0])]
    assert ("bandmaster.kernel", "create_app") in imports
    assert ("bandmaster.contrib.taskiq", "TaskQueue") in imports
    assert len(BLOCKS) > 30
