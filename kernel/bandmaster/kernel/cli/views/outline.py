"""Headed lines with lines below them: what most answers for people are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text
    from rich.tree import Tree


@dataclass(frozen=True, slots=True)
class Line:
    """One line, with lines that belong below it."""

    text: str
    note: str = ""
    """Said in passing, after the text."""
    below: tuple[Line, ...] = ()
    style: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns under their names; numbers stand to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    """Which columns hold numbers."""


@dataclass(frozen=True, slots=True)
class Section:
    """Something to say under a heading."""

    heading: str
    note: str = ""
    content: tuple[Line, ...] | Table = ()
    style: str = "bold"


def plain(sections: Iterable[Section]) -> Iterator[str]:
    """Sections as lines of text, one fact per line however long it is, so that ``grep`` finds it."""
    for index, section in enumerate(sections):
        if index:
            yield ""
        yield _with_note(section.heading, section.note)
        if isinstance(section.content, Table):
            yield from (f"  {row}" for row in _columns(section.content))
        else:
            yield from _indented(section.content, "  ")


def _indented(lines: Sequence[Line], indent: str) -> Iterator[str]:
    for line in lines:
        yield f"{indent}{_with_note(line.text, line.note)}".rstrip()
        yield from _indented(line.below, f"{indent}  ")


def _with_note(text: str, note: str) -> str:
    return f"{text}  {note}" if note else text


def _columns(table: Table) -> Iterator[str]:
    rows = [table.columns, *table.rows]
    widths = [max(len(row[index]) for row in rows) for index in range(len(table.columns))]
    for row in rows:
        cells = [
            cell.rjust(width) if index in table.numbers else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def drawn(sections: Iterable[Section]) -> Iterator[RenderableType]:
    """Sections as trees and tables for a terminal."""
    from rich.padding import Padding
    from rich.text import Text
    from rich.tree import Tree

    for index, section in enumerate(sections):
        if index:
            yield ""
        heading = Text.assemble((section.heading, section.style), *_note(section.note))
        if isinstance(section.content, Table):
            yield heading
            yield Padding(_grid(section.content), (0, 0, 0, 2), expand=False)
        else:
            tree = Tree(heading, guide_style="dim")
            _grow(tree, section.content)
            yield tree


def _grow(tree: Tree, lines: Sequence[Line]) -> None:
    for line in lines:
        _grow(tree.add(_words(line)), line.below)


def _words(line: Line) -> Text:
    from rich.text import Text

    return Text.assemble((line.text, line.style), *_note(line.note))


def _note(note: str) -> list[tuple[str, str]]:
    return [(f"  {note}", "dim")] if note else []


def _grid(table: Table) -> RenderableType:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for index, column in enumerate(table.columns):
        grid.add_column(column, justify="right" if index in table.numbers else "left", overflow="fold")
    for row in table.rows:
        grid.add_row(*map(Text, row))
    return grid
