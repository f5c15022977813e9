"""Revision files, read without being run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FIELDS = ("revision", "down_revision", "branch_labels", "depends_on")


@dataclass(frozen=True, slots=True)
class RevisionFile:
    """What a revision file says about itself."""

    path: Path
    revision: str
    down_revision: tuple[str, ...] = ()
    branch_labels: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()


def revision_files(folder: Path) -> Iterator[RevisionFile]:
    """The revision files of a folder, by name. What isn't one is left out, and what can't be read is left to Alembic."""
    for path in sorted(folder.glob("*.py")):
        if (found := _read(path)) is not None:
            yield found


def _read(path: Path) -> RevisionFile | None:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    said = {name: value for node in tree.body for name, value in _assigned(node) if name in _FIELDS}
    if len(said.get("revision", ())) != 1:
        return None
    fields = {name: said.get(name, ()) for name in _FIELDS[1:]}
    return RevisionFile(path, said["revision"][0], **fields)


def _assigned(node: ast.stmt) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(node, ast.Assign):
        targets, value = node.targets, node.value
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        targets, value = [node.target], node.value
    else:
        return
    words = tuple(
        part.value for part in _parts(value) if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id, words


def _parts(value: ast.expr) -> list[ast.expr]:
    return value.elts if isinstance(value, ast.Tuple | ast.List | ast.Set) else [value]
