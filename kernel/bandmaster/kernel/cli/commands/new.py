"""``bandmaster new``: write a small application, or a plugin, to begin with."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bandmaster.kernel.cli.options import Answer, Format
from bandmaster.kernel.cli.output import CommandError, answering, show_json, show_line

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Name = Annotated[
    str,
    typer.Argument(
        help="The name of the distribution and of the directory, such as box-office.",
        show_default=False,
        metavar="NAME",
    ),
]
Plugin = Annotated[
    bool,
    typer.Option(
        "--plugin", help="Write a distribution with parts for other applications instead.", show_default=False
    ),
]
Directory = Annotated[
    str, typer.Option("--in", help="The directory to make the new one in.", show_default="the current one")
]
_ENDING = ".tmpl"
_TAKEN = ("bandmaster", "test", "tests")
"""Names of packages that are taken, besides the modules of the standard library."""
_OWN_COMPONENTS = {"host": "the application's host", "exec": "the function that bandmaster exec runs"}
"""The names of components that the kernel adds to a plan."""

_NEEDS = {"bandmaster-fastapi": "bandmaster.contrib.fastapi", "bandmaster-taskiq": "bandmaster.contrib.taskiq"}
"""The distributions that a new application needs beside the kernel, each with its package."""


def new(name: Name, plugin: Plugin = False, directory: Directory = ".", answer: Answer = Format.TEXT) -> None:
    """Write a small application to begin with.

    The application has a factory, a component, a layer, routes, a task, settings, and tests that pass. No existing file
    is changed.
    """
    with answering(answer):
        package = check_name(name)
        if plugin:
            check_component(package)
        root = Path(directory, name)
        texts = {"name": name, "package": package, "prefix": package.upper()}
        kind = "plugin" if plugin else "application"
        written = {path: _fill(text, texts) for path, text in _read_templates(kind, package)}
        _write(root, written)
        if answer is Format.JSON:
            files = [path.as_posix() for path in sorted(written)]
            show_json({"format": 1, "ok": True, "directory": str(root), "files": files})
            return
        show_line(f"wrote {root}: " + ", ".join(str(path) for path in sorted(written)))
        show_line()
        show_line("Go on with:")
        if not plugin and (missing := [name for name, module in _NEEDS.items() if not _is_installed(module)]):
            show_line(f"  install {' and '.join(missing)} from a clone of bandmaster: bandmaster isn't on PyPI yet")
        show_line(f"  cd {root}")
        show_line('  pip install -e ".[test]"')
        show_line("  pytest")
        show_line("  bandmaster plan" if plugin else "  bandmaster run")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False  # not even bandmaster.contrib is there


def check_name(name: str) -> str:
    """The name of the package for a distribution of that name.

    Raises:
        CommandError: the name can't be a distribution's, or its package would hide another module.
    """
    if not re.fullmatch(r"[A-Za-z](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        raise _refuse(
            f"{name!r} can't be the name of a distribution.",
            "A name begins with a letter, and has letters, digits, '-', '_' and '.'.",
        )
    package = re.sub(r"[-._]+", "_", name).lower()
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or package in _TAKEN:
        raise _refuse(f"A package {package!r} would hide Python's own or another.")
    found = find_spec(package)
    if found is not None and found.origin is not None:  # a directory without modules has no origin
        raise _refuse(f"A package {package!r} would hide the one in {found.origin}.")
    return package


def check_component(name: str) -> None:
    """Refuse the name of a plugin's component that another component has, since no plan takes both.

    Raises:
        CommandError: the application itself, `bandmaster exec` or an installed distribution has a component so named.
    """
    from bandmaster.kernel.discovery.metadata import scan

    if name in _OWN_COMPONENTS:
        raise _refuse(f"A component {name!r} would have the name of {_OWN_COMPONENTS[name]}.")
    for found in scan().found:
        if found.group == "bandmaster.lifespan" and found.name == name:
            raise _refuse(f"A component {name!r} would have the name of the one of {found.provenance}.")


def _refuse(message: str, hint: str = "Choose another name.") -> CommandError:
    return CommandError(message, hint, misspelt=True)


def _read_templates(kind: str, package: str) -> Iterator[tuple[Path, str]]:
    from importlib.resources import files

    for path, template in _walk(files("bandmaster.kernel.cli") / "templates" / kind, Path()):
        parts = [package if part == "__package__" else part for part in path.parts]
        yield Path(*parts), template.read_text(encoding="utf-8")


def _walk(folder: Traversable, path: Path) -> Iterator[tuple[Path, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, path / entry.name)
        else:
            yield path / entry.name.removesuffix(_ENDING), entry


def _fill(text: str, texts: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: texts[match[1]], text)


def _write(root: Path, texts: dict[Path, str]) -> None:
    try:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise CommandError(f"{root} exists already, and isn't an empty directory.", "Choose another name, or --in.")
        for path, text in texts.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{root} can't be written: {error.strerror}.") from error
