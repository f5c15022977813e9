"""`Migrations`: the revision files of one part, which are one branch of Alembic's history."""

from __future__ import annotations

import importlib
import importlib.resources
import re
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import MetaData

from bandmaster.kernel import PermanentError

# Alembic gives '-', '+', '@' and ':' a meaning in names of revisions, and reserves these words.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = frozenset(("base", "current", "head", "heads"))
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class MigrationError(PermanentError):
    """Migrations can't be found, don't fit together, or failed; ``__cause__`` is the first error."""


@dataclass(frozen=True)
class Migrations:
    """The migrations of one part: a folder of Alembic's revision files, which are one branch.

    Raises:
        ValueError: an argument is of another form; the message names the argument.
    """

    name: str
    """The name of the part, and the label of the branch: letters, digits and ``_``."""
    location: str | Path
    """The folder of the revision files: ``package:folder``, or a path."""
    metadata: MetaData | None = field(default=None, repr=False)
    """The part's tables, for autogenerate; None: all revisions are written by hand."""
    depends_on: tuple[str, ...] = ()
    """Names of parts with tables that this part refers to. Their migrations are applied first."""

    def __post_init__(self) -> None:
        _check_name(self.name, "name")
        location: object = self.location
        if not isinstance(location, str | Path) or not str(location).strip():
            raise ValueError(f"location: expected 'package:folder' or a path, got {location!r}")
        if isinstance(self.depends_on, str):
            raise ValueError(f"depends_on: expected names of parts, got the text {self.depends_on!r}")
        object.__setattr__(self, "depends_on", tuple(self.depends_on))
        for name in self.depends_on:
            _check_name(name, "depends_on")
        metadata: object = self.metadata
        if metadata is not None and not isinstance(metadata, MetaData):
            raise ValueError(f"metadata: expected a MetaData of SQLAlchemy, got {metadata!r}")

    @property
    def folder(self) -> Path:
        """The existing folder.

        Raises:
            MigrationError: the folder doesn't exist, or its package can't be imported.
        """
        place = self.place
        if not place.is_dir():
            raise MigrationError(
                f"the migrations of {self.name!r} are to be in {str(self.location)!r}, but there is no folder {place}: "
                "make it with 'bandmaster db init', or see whether the distribution ships it"
            )
        return place

    @property
    def place(self) -> Path:
        """The path of the folder, whether or not the folder exists.

        Raises:
            MigrationError: the package can't be imported, or isn't in a directory.
        """
        package, folder = _split_location(self.location)
        if package is None:
            return Path(folder).absolute()
        try:
            return package_path(package, folder)
        except ImportError as error:
            raise MigrationError(
                f"the migrations of {self.name!r} are to be in {self.location!r}, but the package {package!r} can't be "
                f"imported: {error}"
            ) from error


def package_path(package: str, name: str) -> Path:
    """The path of a file or folder in a package, whether or not it exists.

    Raises:
        ImportError: the package can't be imported, is a module, or isn't in a directory.
    """
    module = importlib.import_module(package)
    if not hasattr(module, "__path__"):
        raise ImportError(f"{package} is a module, not a package")
    place = importlib.resources.files(module).joinpath(name)
    if not isinstance(place, Path):
        raise ImportError(f"{package} isn't in a directory but in {place}")
    return place


def _check_name(name: object, label: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _RESERVED:
        raise ValueError(
            f"{label}: expected letters, digits and '_', a letter or '_' first, and none of "
            f"{', '.join(sorted(_RESERVED))}; got {name!r}"
        )


def _split_location(location: str | Path) -> tuple[str | None, str]:
    text = str(location)
    package, colon, folder = text.partition(":")
    is_package = colon and all(map(str.isidentifier, package.split("."))) and not _DRIVE.match(text)
    if isinstance(location, Path) or not is_package:
        return None, text
    return package, folder
