"""Sections of lines and tables, of which the answers for people consist, and how they are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bandmaster.kernel.redaction.masking import masked

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text
    from rich.tree import Tree


@dataclass(frozen=True, slots=True)
class Line:
    """One line, and the indented lines below."""

    text: str
    note: str = ""
    """A remark after the text, in less prominent colour."""
    below: tuple[Line, ...] = ()
    style: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under the names of their columns; numbers are aligned to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    """The indices of the columns that hold numbers."""


@dataclass(frozen=True, slots=True)
class Section:
    """Lines or a table under a heading."""

    heading: str
    note: str = ""
    content: tuple[Line, ...] | Table = ()
    style: str = "bold"


def describe_findings(heading: str, findings: Iterable[str], style: str) -> Section:
    """A section with one line for each problem or warning, in which secrets are masked.

    Everything else in sections is made of names and numbers, or of values that `current_value` has masked. A rule for
    free text would take the name of a component, such as ``api-key``, for the name of a secret.
    """
    return Section(heading, content=tuple(Line(masked(finding)) for finding in findings), style=style)


def render_lines(sections: Iterable[Section]) -> Iterator[str]:
    """Sections as lines of text, one fact per line however long it is, so that ``grep`` finds it."""
    for index, section in enumerate(sections):
        if index:
            yield ""
        yield _append_note(section.heading, section.note)
        if isinstance(section.content, Table):
            yield from (f"  {row}" for row in _align_columns(section.content))
        else:
            yield from _indent_lines(section.content, "  ")


def _indent_lines(lines: Sequence[Line], indent: str) -> Iterator[str]:
    for line in lines:
        yield f"{indent}{_append_note(line.text, line.note)}".rstrip()
        yield from _indent_lines(line.below, f"{indent}  ")


def _append_note(text: str, note: str) -> str:
    return f"{text}  {note}" if note else text


def _align_columns(table: Table) -> Iterator[str]:
    rows = [table.columns, *table.rows]
    widths = [max(len(row[index]) for row in rows) for index in range(len(table.columns))]
    for row in rows:
        cells = [
            cell.rjust(width) if index in table.numbers else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def render_trees(sections: Iterable[Section]) -> Iterator[RenderableType]:
    """Sections as trees and tables for a terminal."""
    from rich.padding import Padding
    from rich.text import Text
    from rich.tree import Tree

    for index, section in enumerate(sections):
        if index:
            yield ""
        heading = Text.assemble((section.heading, section.style), *_style_note(section.note))
        if isinstance(section.content, Table):
            yield heading
            yield Padding(_make_grid(section.content), (0, 0, 0, 2), expand=False)
        else:
            tree = Tree(heading, guide_style="dim")
            _add_lines(tree, section.content)
            yield tree


def _add_lines(tree: Tree, lines: Sequence[Line]) -> None:
    for line in lines:
        _add_lines(tree.add(_style_line(line)), line.below)


def _style_line(line: Line) -> Text:
    from rich.text import Text

    return Text.assemble((line.text, line.style), *_style_note(line.note))


def _style_note(note: str) -> list[tuple[str, str]]:
    return [(f"  {note}", "dim")] if note else []


def _make_grid(table: Table) -> RenderableType:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for index, column in enumerate(table.columns):
        grid.add_column(column, justify="right" if index in table.numbers else "left", overflow="fold")
    for row in table.rows:
        grid.add_row(*map(Text, row))
    return grid
