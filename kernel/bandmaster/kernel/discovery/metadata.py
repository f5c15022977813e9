"""The entry points of all installed distributions, read in one pass over the path; nothing is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from bandmaster.kernel.contributions.model import COMMANDS_GROUP, GROUPS, Provenance
from bandmaster.kernel.discovery.entry_points import PREFIX, Entry, parse
from bandmaster.kernel.errors import DiscoveryError, Problem
from bandmaster.kernel.text import near

if TYPE_CHECKING:
    from importlib_metadata import DistributionFinder

Reader: TypeAlias = Callable[[str], str | None]
"""Gives the text of a metadata file by its name, ``None`` if there is none."""

_KNOWN = (*GROUPS, COMMANDS_GROUP)
_MARK = PREFIX.encode()
_SUFFIXES = (".dist-info", ".egg-info")
_CHUNK = 1 << 16
# Name and version come first in METADATA; what follows may be a long README.
_HEAD = 1 << 9
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class Found:
    """An entry point of an installed distribution. It has not been loaded."""

    group: str
    name: str
    value: str
    provenance: Provenance
    path: str = ""
    """The directory of the distribution's metadata; else the archive or the finder that it comes from."""
    problem: Problem | None = None
    """What is wrong with the entry as it is written."""
    reader: Reader | None = field(default=None, compare=False, repr=False)
    """Reads metadata files where ``path`` is no directory."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} ({self.provenance})"

    @property
    def kind(self) -> str:
        """What it is, as people say it: ``lifespan``, ``error handler``."""
        return self.group.removeprefix(PREFIX).removesuffix("s").replace("_", " ")

    @property
    def address(self) -> str:
        """Short group and name, ``lifespan:audit``: how it is told from parts of other groups."""
        return f"{self.group.removeprefix(PREFIX)}:{self.name}"

    @property
    def distribution(self) -> str:
        """The distribution's normalised name (PEP 503), to compare by."""
        return normalise(self.provenance.distribution or "")

    @property
    def switch_off(self) -> str:
        """How to run without it."""
        return f"switch it off with BANDMASTER_DISABLE={self.name} or disable={{{self.name!r}}}"

    def read(self, filename: str) -> str | None:
        """The text of one of the distribution's metadata files, ``None`` if it isn't there.

        Raises:
            DiscoveryError: it can't be read.
        """
        try:
            data = _read(_Source(self.path, self.reader), filename)
            return None if data is None else _text(data)
        except _Unreadable as error:
            message = f"{filename} of {self.provenance} can't be read: {error} ({self.path})."
            raise DiscoveryError([Problem(message, _REINSTALL)]) from error


@dataclass(frozen=True, slots=True)
class Scan:
    """All that one pass over the path has shown."""

    found: tuple[Found, ...] = ()
    """By group, name and distribution; those with a ``problem`` included."""
    problems: tuple[Problem, ...] = ()
    """What is wrong with whole distributions, rather than with one of their entries."""
    warnings: tuple[str, ...] = ()


def find(path: Sequence[str] | None = None) -> tuple[Found, ...]:
    """Every entry point in bandmaster's groups, of everything that is installed along ``path`` (``sys.path``).

    Raises:
        DiscoveryError: a distribution can't be read. A single bad entry has its `Found.problem` instead.
    """
    seen = scan(path)
    if seen.problems:
        raise DiscoveryError(seen.problems)
    return seen.found


def scan(path: Sequence[str] | None = None) -> Scan:
    """Read the metadata of everything installed along ``path`` (``sys.path``), each file once, for all groups.

    Where a distribution is there several times, the first on the path hides the others, whether it brings parts or
    not: it is the one that would be imported. What pip moved aside and left there (``~name``) is passed over.
    """
    found: list[Found] = []
    problems: list[Problem] = []
    warnings: list[str] = []
    for sources in _sources(sys.path if path is None else path, problems, warnings).values():
        source = sources[0] if len(sources) == 1 else _choose(sources, problems)
        try:
            data = _read(source, "entry_points.txt")
            if data is None or _MARK not in data:
                continue
            _note(source, list(parse(_text(data))), found, problems, warnings)
        except _Unreadable as error:
            message = f"It can't be told what {source} brings: its entry_points.txt can't be read: {error}."
            problems.append(Problem(message, _REINSTALL))
    found.sort(key=lambda f: (_KNOWN.index(f.group), f.name, f.provenance.distribution or "", f.value))
    return Scan(tuple(found), tuple(sorted(problems, key=str)), tuple(sorted(warnings)))


def normalise(name: str) -> str:
    """A distribution's name in the one form to compare by (PEP 503)."""
    name = name.lower().replace("_", "-").replace(".", "-")
    while "--" in name:
        name = name.replace("--", "-")
    return name


_REINSTALL = "Reinstall or remove it, or mend the file's permissions."


class _Source(NamedTuple):
    """Where the metadata of one distribution is read from."""

    path: str
    reader: Reader | None = None

    def __str__(self) -> str:
        return self.path


class _Unreadable(Exception):
    """A metadata file is there and can't be read; the text says why."""


_Sources: TypeAlias = dict[str, list[_Source]]


def _sources(path: Iterable[str], problems: list[Problem], warnings: list[str]) -> _Sources:
    # The order of sys.meta_path counts as it does for imports: a finder that stands before the path's goes first.
    sources: _Sources = {}
    on_path = False
    for finder in (*sys.meta_path, PathFinder):
        if finder is PathFinder:
            if not on_path:
                _search(path, sources, problems, warnings)
            on_path = True
        elif hasattr(finder, "find_distributions") and not _is_standard(finder):
            _ask(finder, path, sources, problems)
    return sources


def _is_standard(finder: Any) -> bool:
    kind = finder if isinstance(finder, type) else type(finder)
    return kind.__module__ in ("importlib.metadata", "importlib_metadata")


def _search(path: Iterable[str], sources: _Sources, problems: list[Problem], warnings: list[str]) -> None:
    searched: set[str] = set()
    for entry in [os.fspath(entry) for entry in path if isinstance(entry, (str, os.PathLike))]:
        try:
            directory = os.path.abspath(entry)  # noqa: PTH100 – '' means the working directory
            if directory in searched:
                continue
            searched.add(directory)
            children = os.listdir(directory)  # noqa: PTH208 – names are all that is needed, and this is the hot path
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            _ask(_Archive(), [entry], sources, problems)
            continue
        except OSError as error:
            # Imports pass over it as well, so it is no error: under sudo the working directory is often such a one.
            warnings.append(f"{entry or 'the working directory'} is on sys.path and can't be read: {error.strerror}")
            continue
        # Most children are packages: `in` sorts them out at a third of what a method call costs.
        for child in [child for child in children if "-info" in child]:
            if child.endswith(_SUFFIXES) and child[0] != "~":
                name = normalise(child.rpartition(".")[0].partition("-")[0])
                sources.setdefault(name, []).append(_Source(f"{directory}{os.sep}{child}"))
        if directory.endswith(".egg") and "EGG-INFO" in children:
            name = normalise(directory.rpartition(os.sep)[2].partition("-")[0].removesuffix(".egg"))
            sources.setdefault(name, []).append(_Source(f"{directory}{os.sep}EGG-INFO"))


class _Archive:
    """The finder for zip files, which are rare enough to be left to importlib_metadata."""

    def find_distributions(self, context: DistributionFinder.Context) -> Iterable[Any]:
        from importlib_metadata import MetadataPathFinder

        return MetadataPathFinder.find_distributions(context)


def _ask(finder: Any, path: Iterable[str], sources: _Sources, problems: list[Problem]) -> None:
    from importlib_metadata import DistributionFinder

    places = list(path)
    where = places[0] if isinstance(finder, _Archive) else f"{type(finder).__module__}.{type(finder).__qualname__}"
    try:
        context = DistributionFinder.Context(path=places)  # type: ignore[no-untyped-call]
        for distribution in finder.find_distributions(context):
            source = _Source(where, distribution.read_text)
            # Without a name there is nothing to hide or to be hidden by.
            name, _ = _identity(source)
            sources.setdefault(normalise(name) or f"{where}#{len(sources)}", []).append(source)
    except Exception as error:  # noqa: BLE001 – a finder is foreign code
        message = f"{where} can't say which distributions it has: {type(error).__name__}: {error}."
        problems.append(Problem(message, "Mend it, or take it off sys.path or sys.meta_path."))


def _choose(sources: list[_Source], problems: list[Problem]) -> _Source:
    """The one of several sources of a distribution that counts."""
    whole = [source for source in sources if source.reader or any(_identity(source))] or sources
    first = whole[0]
    if first.reader:
        return first
    directory = first.path.rpartition(os.sep)[0]
    rivals = [source for source in whole if not source.reader and source.path.rpartition(os.sep)[0] == directory]
    rivals = sorted([rival for rival in rivals if rival.path.endswith(".dist-info")] or rivals)
    if len(rivals) > 1 and any(_is_marked(rival) for rival in rivals):
        names = " and ".join(rival.path.rpartition(os.sep)[2] for rival in rivals)
        message = f"One distribution is installed several times in {directory}: {names}."
        problems.append(
            Problem(message, "An installation was interrupted: uninstall until it is gone, then reinstall.")
        )
    return rivals[0]


def _is_marked(source: _Source) -> bool:
    try:
        return _MARK in (_read(source, "entry_points.txt") or b"")
    except _Unreadable:
        return True


def _identity(source: _Source) -> tuple[str, str]:
    """Name and version as the distribution writes them; empty where it doesn't."""
    for filename in ("METADATA", "PKG-INFO"):
        for limit in (_HEAD, None):
            try:
                name, version = _headers(_read(source, filename, limit) or b"", limit)
            except _Unreadable:
                break
            if name and version:
                return name, version
    return "", ""


def _headers(data: bytes, limit: int | None) -> tuple[str, str]:
    if len(data) == limit:
        data = data.rpartition(b"\n")[0]
    name = version = ""
    for line in data.decode("utf-8", "replace").removeprefix("\ufeff").splitlines():
        if not line or (name and version):
            break
        key, _, value = line.partition(":")
        if key.lower() == "name":
            name = value.strip()
        elif key.lower() == "version":
            version = value.strip()
    return name, version


def _read(source: _Source, filename: str, limit: int | None = None) -> bytes | None:
    if source.reader:
        try:
            text = source.reader(filename)
        except Exception as error:
            raise _Unreadable(f"{type(error).__name__}: {error}") from error
        return None if text is None else text.encode()
    try:
        # A third of the price of open(), which stats the file and makes a buffer.
        descriptor = os.open(f"{source.path}{os.sep}{filename}", _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _Unreadable(error.strerror) from error
    try:
        data = chunk = os.read(descriptor, limit or _CHUNK)
        while limit is None and len(chunk) == _CHUNK:
            chunk = os.read(descriptor, _CHUNK)
            data += chunk
    except OSError as error:
        raise _Unreadable(error.strerror) from error
    finally:
        os.close(descriptor)
    return data


def _text(data: bytes) -> str:
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise _Unreadable(f"byte {error.start} isn't UTF-8") from error


def _note(
    source: _Source, entries: Sequence[Entry], found: list[Found], problems: list[Problem], warnings: list[str]
) -> None:
    """Put each entry of one distribution where it belongs."""
    if not entries:
        return
    name, version = _identity(source)
    if not (name and version):
        message = f"{source} brings parts, but its metadata names no distribution and version: it is half installed."
        problems.append(Problem(message, "Reinstall or remove it."))
        return
    provenance = Provenance(name, version)
    for entry in entries:
        if not entry.name:
            message = f"entry_points.txt of {provenance}, line {entry.line}: {entry.fault} ({source})."
            problems.append(Problem(message, "Mend it in the distribution's source, then reinstall it."))
        elif entry.group in GROUPS or entry.group == COMMANDS_GROUP:
            found.append(_found(source, entry, name, version))
        elif hint := _near_group(entry.group):
            warnings.append(f"{provenance} has {entry.name!r} in group {entry.group!r}, which nothing reads.{hint}")


def _found(source: _Source, entry: Entry, distribution: str, version: str) -> Found:
    provenance = Provenance(distribution, version, entry.value)
    found = Found(entry.group, entry.name, entry.value, provenance, source.path, None, source.reader)
    if not entry.fault:
        return found
    message = f"{found} is malformed: {entry.fault} ({source}, entry_points.txt line {entry.line})."
    hint = f"Mend it in the distribution's source and reinstall it, or {found.switch_off}."
    return replace(found, problem=Problem(message, hint, entry.name))


def _near_group(group: str) -> str:
    # Contribs may have groups of their own under the prefix: only what looks like a slip is worth a word.
    return near(group.removeprefix(PREFIX), (known.removeprefix(PREFIX) for known in _KNOWN))
