"""Read the help of a contributed command from the source, since importing the module may take seconds."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from bandmaster.kernel.imports import split_reference

_MOST_STEPS = 3
"""The most modules that are read for one command: packages import names from their modules."""


def read_command_help(reference: str) -> str | None:
    """The first line of the help of a command, named as ``module:attribute``; None if the source doesn't show it.

    The help of a function is the docstring, the help of a group is the ``help`` that the call of ``Typer`` has, or the
    docstring of the group's callback. Nothing is imported.
    """
    for _ in range(_MOST_STEPS):
        parts = split_reference(reference)
        tree = _parse_module(parts[0]) if parts else None
        if parts is None or tree is None:
            return None
        found = _find_help(tree, parts[1])
        if found is not None:
            return found.strip().partition("\n")[0] or None
        origin = _find_import(tree, *parts)
        if origin is None:
            return None
        reference = origin
    return None


def _parse_module(name: str) -> ast.Module | None:
    stem = Path(*name.split("."))
    for directory in sys.path:
        for path in (Path(directory, stem, "__init__.py"), Path(directory, f"{stem}.py")):
            try:
                return ast.parse(path.read_bytes())
            except (OSError, SyntaxError, ValueError):
                continue
    return None


def _find_help(tree: ast.Module, name: str) -> str | None:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            if node.name == name or any(_is_callback(decorator, name) for decorator in node.decorator_list):
                return ast.get_docstring(node) or ""
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            texts = {keyword.arg: keyword.value for keyword in node.value.keywords}
            given = texts.get("help")
            if _assigns(node, name) and isinstance(given, ast.Constant) and isinstance(given.value, str):
                return given.value
    return None


def _is_callback(decorator: ast.expr, name: str) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    if not (isinstance(called, ast.Attribute) and called.attr == "callback"):
        return False
    return isinstance(called.value, ast.Name) and called.value.id == name


def _assigns(node: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)


def _find_import(tree: ast.Module, module: str, name: str) -> str | None:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return f"{node.module}:{alias.name}"
    return None
