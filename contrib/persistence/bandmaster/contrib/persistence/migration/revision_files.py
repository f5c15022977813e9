"""Revision files, parsed without being run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FIELDS = ("revision", "down_revision", "branch_labels", "depends_on")


@dataclass(frozen=True, slots=True)
class RevisionFile:
    """The ids that a revision file declares at its top."""

    path: Path
    revision: str
    down_revision: tuple[str, ...] = ()
    branch_labels: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()


def revision_files(folder: Path) -> Iterator[RevisionFile]:
    """The revision files of a folder, sorted by name.

    Other Python files are left out, and so are files that can't be parsed: Alembic reports those.
    """
    for path in sorted(folder.glob("*.py")):
        if (found := _parse_file(path)) is not None:
            yield found


def _parse_file(path: Path) -> RevisionFile | None:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    values = {name: value for node in tree.body for name, value in _find_assignments(node) if name in _FIELDS}
    if len(values.get("revision", ())) != 1:
        return None
    fields = {name: values.get(name, ()) for name in _FIELDS[1:]}
    return RevisionFile(path, values["revision"][0], **fields)


def _find_assignments(node: ast.stmt) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(node, ast.Assign):
        targets, value = node.targets, node.value
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        targets, value = [node.target], node.value
    else:
        return
    items = value.elts if isinstance(value, ast.Tuple | ast.List | ast.Set) else [value]
    texts = tuple(item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str))
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id, texts
