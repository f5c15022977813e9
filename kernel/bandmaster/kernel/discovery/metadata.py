"""Find the entry points in bandmaster's groups, without importing anything."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from bandmaster.kernel.contributions.model import COMMANDS_GROUP, GROUPS, Provenance
from bandmaster.kernel.discovery.distributions import (
    MARK,
    REINSTALL,
    Reader,
    Source,
    UnreadableFile,
    decode,
    find_sources,
    normalise,
)
from bandmaster.kernel.discovery.entry_points import PREFIX, Entry, parse
from bandmaster.kernel.errors import DiscoveryError, Problem, Problems
from bandmaster.kernel.text import suggest

KERNEL = "bandmaster"
"""The kernel's own distribution; it has no parts."""
_KNOWN = (*GROUPS, COMMANDS_GROUP)


@dataclass(frozen=True, slots=True)
class Found:
    """An entry point of an installed distribution. It has not been loaded."""

    group: str
    name: str
    value: str
    provenance: Provenance
    path: str = ""
    """The directory of the distribution's metadata; else an archive or a finder."""
    problem: Problem | None = None
    """The fault of the line in entry_points.txt, if there is one."""
    reader: Reader | None = field(default=None, compare=False, repr=False)
    """Reads metadata files where ``path`` is no directory."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} ({self.provenance})"

    @property
    def kind(self) -> str:
        """The group in the singular: ``lifespan``, ``error handler``."""
        return self.group.removeprefix(PREFIX).removesuffix("s").replace("_", " ")

    @property
    def address(self) -> str:
        """Short group and name, ``lifespan:audit``; unique where the name alone may occur in several groups."""
        return f"{self.group.removeprefix(PREFIX)}:{self.name}"

    @property
    def distribution(self) -> str:
        """The distribution's normalised name (PEP 503), to compare by."""
        return normalise(self.provenance.distribution or "")

    @property
    def switch_off(self) -> str:
        """How to disable the part, as a hint in errors."""
        return f"switch it off with BANDMASTER_DISABLE={self.name} or disable={{{self.name!r}}}"

    def read(self, filename: str) -> str | None:
        """The text of one of the distribution's metadata files, ``None`` if there is none.

        Raises:
            DiscoveryError: the file is there, and can't be read.
        """
        try:
            return Source(self.path, self.reader).read_text(filename)
        except UnreadableFile as error:
            message = f"{filename} of {self.provenance} can't be read: {error} ({self.path})."
            raise DiscoveryError([Problem(message, REINSTALL)]) from error


@dataclass(frozen=True, slots=True)
class Scan:
    """The result of one search."""

    found: tuple[Found, ...] = ()
    """By group, name and distribution; those with a ``problem`` included."""
    problems: tuple[Problem, ...] = ()
    """Faults of whole distributions, rather than of one of their entries."""
    warnings: tuple[str, ...] = ()


def find(path: Sequence[str] | None = None) -> tuple[Found, ...]:
    """Every entry point in bandmaster's groups, of every distribution on ``path`` (``sys.path``).

    Raises:
        DiscoveryError: a distribution can't be read. A single bad entry has its `Found.problem` instead.
    """
    seen = scan(path)
    if seen.problems:
        raise DiscoveryError(seen.problems)
    return seen.found


def scan(path: Sequence[str] | None = None) -> Scan:
    """Read the metadata of every distribution on ``path`` (``sys.path``), each file once for all groups.

    Where a distribution is installed several times, the first on the path hides the others, even without parts.
    Directories that pip moved aside (``~name``) are passed over.
    """
    found: list[Found] = []
    problems = Problems()
    sources = find_sources(sys.path if path is None else path, problems)
    if path is None:
        _warn_without_metadata(sources, problems)
    for source in sources.values():
        try:
            data = source.read_bytes("entry_points.txt")
            if data is not None and MARK in data:
                found += _read_entries(source, decode(data), problems)
        except UnreadableFile as error:
            message = f"It can't be told what {source} brings: its entry_points.txt can't be read: {error}."
            problems.add(message, REINSTALL)
    found.sort(key=lambda f: (_KNOWN.index(f.group), f.name, f.provenance.distribution or "", f.value))
    return Scan(tuple(found), tuple(sorted(problems, key=str)), tuple(sorted(problems.warnings)))


def _warn_without_metadata(sources: Collection[str], problems: Problems) -> None:
    remedy = "the metadata of bandmaster and of each plugin"
    if getattr(sys, "frozen", False) and KERNEL not in sources:
        problems.warn(
            "this program is frozen without the metadata of bandmaster, so installed plugins can't be seen; freeze it "
            f"with {remedy} (PyInstaller: --copy-metadata), or pass the parts in code"
        )
    elif not sources:
        problems.warn(
            "no distribution on sys.path has metadata (dist-info), so installed plugins can't be seen; keep "
            f"{remedy}, or pass the parts in code"
        )


def _read_entries(source: Source, text: str, problems: Problems) -> list[Found]:
    """The parts of one distribution, by the text of its entry_points.txt."""
    entries = list(parse(text))
    if not entries:
        return []
    name, version = source.read_identity()
    if not (name and version):
        message = f"{source} brings parts, but its metadata names no distribution and version: it is half installed."
        problems.add(message, "Reinstall or remove it.")
        return []
    found: list[Found] = []
    provenance = Provenance(name, version)
    for entry in entries:
        if not entry.name:
            message = f"entry_points.txt of {provenance}, line {entry.line}: {entry.fault} ({source})."
            problems.add(message, "Mend it in the distribution's source, then reinstall it.")
        elif entry.group in _KNOWN:
            found.append(_make_found(source, entry, name, version))
        elif hint := _suggest_group(entry.group):
            problems.warn(f"{provenance} has {entry.name!r} in group {entry.group!r}, which nothing reads.{hint}")
    return found


def _make_found(source: Source, entry: Entry, distribution: str, version: str) -> Found:
    provenance = Provenance(distribution, version, entry.value)
    found = Found(entry.group, entry.name, entry.value, provenance, source.path, None, source.reader)
    if not entry.fault:
        return found
    message = f"{found} is malformed: {entry.fault} ({source}, entry_points.txt line {entry.line})."
    hint = f"Mend it in the distribution's source and reinstall it, or {found.switch_off}."
    return replace(found, problem=Problem(message, hint, entry.name))


def _suggest_group(group: str) -> str:
    # Contribs may have groups of their own under the prefix: only a near miss is worth a warning.
    return suggest(group.removeprefix(PREFIX), (known.removeprefix(PREFIX) for known in _KNOWN))
