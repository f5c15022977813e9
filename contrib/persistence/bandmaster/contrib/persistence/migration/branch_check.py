"""Check that the migrations of all parts fit together in one history."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from bandmaster.contrib.persistence.migration.branches import MigrationError, Migrations
from bandmaster.contrib.persistence.migration.revision_files import RevisionFile, revision_files

_Files: TypeAlias = list[tuple[Migrations, RevisionFile]]


def check_branches(parts: Iterable[Migrations]) -> None:
    """Check that each part has a folder, a name and revision ids of its own, and that all dependencies exist.

    Raises:
        MigrationError: the message lists every problem.
    """
    parts = tuple(parts)
    problems = [*_find_duplicates(parts), *_find_bad_dependencies(parts)]
    files: _Files = []
    for part in parts:
        try:
            files += [(part, file) for file in revision_files(part.folder)]
        except MigrationError as error:
            problems.append(str(error))
    if not problems:
        problems += [*_find_duplicate_ids(files), *_find_misplaced_revisions(files)]
    if len(problems) == 1:
        raise MigrationError(problems[0])
    if problems:
        raise MigrationError(f"{len(problems)} problems with migrations:" + "".join(f"\n  - {p}" for p in problems))


def _find_duplicates(parts: tuple[Migrations, ...]) -> Iterator[str]:
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


def _find_bad_dependencies(parts: tuple[Migrations, ...]) -> Iterator[str]:
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


def _find_duplicate_ids(files: _Files) -> Iterator[str]:
    seen: dict[str, tuple[Migrations, RevisionFile]] = {}
    for part, file in files:
        first_part, first = seen.setdefault(file.revision, (part, file))
        if first is not file:
            yield (
                f"revision {file.revision!r} is there twice: in {first_part.name!r} ({first.path}) and in "
                f"{part.name!r} ({file.path}); give one another id, and correct what follows it"
            )


def _find_misplaced_revisions(files: _Files) -> Iterator[str]:
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
