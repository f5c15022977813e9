"""Read a file that another process is writing, such as a log, line by line."""

from __future__ import annotations

from pathlib import Path


def read_whole_lines(path: Path) -> list[str]:
    """The lines that have been written to their ends; none while the file doesn't exist.

    A reader may see the first half of a line, however the line is written: ``write`` isn't atomic for readers.
    """
    if not path.exists():
        return []
    # The part after the last end of a line is an unfinished line, or nothing.
    return path.read_bytes().decode("utf-8", "replace").split("\n")[:-1]


def read_first_line(path: Path) -> str:
    """The first line of a file.

    Raises:
        OSError: the line hasn't been written yet.
    """
    lines = read_whole_lines(path)
    if not lines:
        raise OSError(f"{path} has no line yet")
    return lines[0]
