"""Migrations of installed parts: each part's are a branch of their own, found in the plan without starting anything."""

from __future__ import annotations

import difflib
import importlib
import importlib.resources
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from sqlalchemy import MetaData

from bandmaster.contrib.persistence.migration.revision_files import RevisionFile, revision_files
from bandmaster.kernel import (
    LifespanBand,
    LifespanContribution,
    Named,
    PermanentError,
    PlanError,
    descriptions,
    lifespan,
)

if TYPE_CHECKING:
    from bandmaster.kernel import Plan

# Alembic gives '-', '+', '@' and ':' a meaning, and these words.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = frozenset(("base", "current", "head", "heads"))
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class MigrationError(PermanentError):
    """Migrations that can't be found, don't fit together, or fail; ``__cause__`` is what went wrong."""


@dataclass(frozen=True)
class Migrations:
    """The migrations of one part: a folder of Alembic's revision files, which are a branch of their own.

    Raises:
        ValueError: the name or the location isn't of its form; the message names the argument.
    """

    name: str
    """The part's, and its branch's label: letters, digits and ``_``."""
    location: str | Path
    """Where the revision files are: ``package:folder``, or a path."""
    metadata: MetaData | None = field(default=None, repr=False)
    """What the part's tables are to be, for autogenerate; none: its migrations are written by hand."""
    depends_on: tuple[str, ...] = ()
    """Parts whose tables it refers to: their migrations come first."""

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
        """The folder, which is there.

        Raises:
            MigrationError: it isn't, or its package can't be imported.
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
        """Where the folder is, or is to be.

        Raises:
            MigrationError: its package can't be imported, or isn't in a directory.
        """
        package, folder = _split(self.location)
        if package is None:
            return Path(folder).absolute()
        try:
            return package_path(package, folder)
        except ImportError as error:
            raise MigrationError(
                f"the migrations of {self.name!r} are to be in {self.location!r}, but the package {package!r} can't be "
                f"imported: {error}"
            ) from error


def migrations(
    name: str,
    location: str | Path,
    *,
    metadata: MetaData | None = None,
    depends_on: Iterable[str] = (),
) -> LifespanContribution:
    """A component that does nothing but bring a part's `Migrations`, ``Annotated[Migrations, Named(name)]``.

    Named by an entry point of the group ``bandmaster.lifespan``, so that trust, ``disable`` and the plan hold for
    migrations as they do for everything else. Arguments are those of `Migrations`.

    Raises:
        ValueError: an argument isn't of its form; the message names it.
    """
    described = Migrations(name, location, metadata, tuple(depends_on))

    async def bring() -> AsyncIterator[Any]:
        yield described

    bring.__annotations__ |= {"return": AsyncIterator[Annotated[Migrations, Named(name)]]}
    return lifespan(
        band=LifespanBand.PERSISTENCE,
        name=f"{name}_migrations",
        description=f"The migrations of {name!r}: {location}.",
    )(bring)


def collect(plan: Plan) -> tuple[Migrations, ...]:
    """The migrations of all parts of a plan, in its order. Nothing is started, and no database is asked.

    Raises:
        MigrationError: some can't be found, or they don't fit together; the message lists all that is wrong.
    """
    try:
        parts = descriptions(plan, Migrations)
    except PlanError as error:
        advice = "make it with bandmaster.contrib.persistence.migrations(...)"
        raise MigrationError(f"{'; '.join(problem.message for problem in error.problems)} {advice}") from error
    agree(parts)
    return parts


def agree(parts: Iterable[Migrations]) -> None:
    """See that parts fit together: each with a folder, a name and revision ids of its own.

    Raises:
        MigrationError: they don't; the message lists all that is wrong.
    """
    parts = tuple(parts)
    problems = [*_alike(parts), *_dependencies(parts)]
    files: list[tuple[Migrations, RevisionFile]] = []
    for part in parts:
        try:
            files += [(part, file) for file in revision_files(part.folder)]
        except MigrationError as error:
            problems.append(str(error))
    if not problems:
        problems += [*_clashes(files), *_strays(files)]
    if len(problems) == 1:
        raise MigrationError(problems[0])
    if problems:
        raise MigrationError(f"{len(problems)} problems with migrations:" + "".join(f"\n  - {p}" for p in problems))


def package_path(package: str, name: str) -> Path:
    """Where something in a package is, or is to be.

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


def _split(location: str | Path) -> tuple[str | None, str]:
    text = str(location)
    package, colon, folder = text.partition(":")
    is_package = colon and all(map(str.isidentifier, package.split("."))) and not _DRIVE.match(text)
    if isinstance(location, Path) or not is_package:
        return None, text
    return package, folder


def _alike(parts: tuple[Migrations, ...]) -> Iterator[str]:
    names = [part.name for part in parts]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{names.count(name)} parts call their migrations {name!r}: a branch has one owner, rename the others"
    places: dict[Path, str] = {}
    for part in parts:
        try:
            place = part.folder.resolve()
        except MigrationError:
            continue
        if places.setdefault(place, part.name) != part.name:
            yield f"{places[place]!r} and {part.name!r} have one folder, {place}: give each its own"


def _dependencies(parts: tuple[Migrations, ...]) -> Iterator[str]:
    names = {part.name for part in parts}
    for part in parts:
        for name in part.depends_on:
            if name == part.name:
                yield f"{part.name!r} depends on itself"
            elif name not in names:
                near = difflib.get_close_matches(name, names, 1)
                yield f"{part.name!r} depends on {name!r}, which brings no migrations." + (
                    f" Did you mean {near[0]!r}?" if near else ""
                )


def _clashes(files: list[tuple[Migrations, RevisionFile]]) -> Iterator[str]:
    seen: dict[str, tuple[Migrations, RevisionFile]] = {}
    for part, file in files:
        first_part, first = seen.setdefault(file.revision, (part, file))
        if first is not file:
            yield (
                f"revision {file.revision!r} is there twice: in {first_part.name!r} ({first.path}) and in "
                f"{part.name!r} ({file.path}); give one another id, and correct what follows it"
            )


def _strays(files: list[tuple[Migrations, RevisionFile]]) -> Iterator[str]:
    owners = {file.revision: part.name for part, file in files}
    for part, file in files:
        if not file.down_revision and part.name not in file.branch_labels:
            yield (
                f"revision {file.revision!r} begins the branch of {part.name!r} ({file.path}) without saying so: write "
                f"branch_labels = ({part.name!r},) in it"
            )
        for before in file.down_revision:
            if owners.get(before, part.name) != part.name:
                yield (
                    f"revision {file.revision!r} of {part.name!r} ({file.path}) follows {before!r} "
                    f"of {owners[before]!r}: name it in depends_on, not in down_revision"
                )
