"""Parse the text of an entry_points.txt. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

PREFIX = "bandmaster."


class Entry(NamedTuple):
    """One line of a group with a name that begins with ``bandmaster.``."""

    group: str
    name: str
    value: str
    line: int
    fault: str = ""
    """The fault of the line; empty without one."""


def parse(text: str) -> Iterator[Entry]:
    """The lines of bandmaster's groups, in their order; other groups are passed over.

    Comments begin with ``#`` or ``;``, and white space around names and values is ignored, as the packaging
    specification "Entry points" says. A fault without a name concerns the file, not one of its entries.
    """
    group: str | None = None
    names: set[tuple[str, str]] = set()
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            group = line[1:-1].strip() if line[-1] == "]" else ""
            if not group and PREFIX in line:
                yield Entry("", "", "", number, f"{line!r} isn't a group in brackets")
        elif group is None:
            yield Entry("", "", "", number, f"{line!r} stands before any [group]")
        elif group.startswith(PREFIX):
            name, equals, value = line.partition("=")
            name, value = name.rstrip(), value.lstrip()
            fault = _find_fault(name, equals, value, twice=(group, name) in names)
            names.add((group, name))
            yield Entry(group, name, value, number, fault)


def split(value: str) -> tuple[str, str]:
    """Module and attribute of a value, each empty if there is none; extras in brackets are dropped."""
    module, _, attribute = value.partition("[")[0].partition(":")
    return module.strip(), attribute.strip()


def _find_fault(name: str, equals: str, value: str, *, twice: bool) -> str:
    if not name:
        return f"there is no name before '=' in {f'= {value}'!r}"
    if not equals or not value:
        return "it has no value; write name = module:attribute"
    if twice:
        return "the name is given twice in one group"
    module, attribute = split(value)
    if _is_dotted(module) and _is_dotted(attribute):
        return ""
    if not attribute and _is_dotted(module):
        return f"{value!r} names a module but nothing in it; write {module}:attribute"
    return f"{value!r} isn't of the form module:attribute"


def _is_dotted(name: str) -> bool:
    return name.isidentifier() or all(map(str.isidentifier, name.split(".")))
