"""Find the metadata of the installed distributions.

Directories on ``sys.path`` are listed here, because importlib.metadata passes over directories and files that can't be
read, and doesn't show where the metadata is, or that a distribution is there twice. importlib.metadata reads archives
and asks unusual finders. Speed doesn't decide between the two: with either, a whole start over 400 distributions takes
the same time within 1 % (``benchmarks/bench_discovery.py``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from bandmaster.kernel.discovery.entry_points import PREFIX
from bandmaster.kernel.errors import Problems

if TYPE_CHECKING:
    from importlib.metadata import DistributionFinder

Reader: TypeAlias = Callable[[str], str | None]
"""Returns the text of a metadata file by its name, ``None`` if there is none."""

MARK = PREFIX.encode()
"""Stands in each entry_points.txt with parts; other files aren't parsed."""
REINSTALL = "Reinstall or remove it, or mend the file's permissions."
_SUFFIXES = (".dist-info", ".egg-info")


class UnreadableFile(Exception):
    """A metadata file is there and can't be read; the text is the reason."""


class Source(NamedTuple):
    """The metadata of one distribution."""

    path: str
    """The directory of the metadata; else the archive or the finder that the distribution comes from."""
    reader: Reader | None = None
    """Reads metadata files where ``path`` is no directory."""

    def __str__(self) -> str:
        return self.path

    def read_bytes(self, filename: str) -> bytes | None:
        """The content of a metadata file, ``None`` if there is none.

        Raises:
            UnreadableFile: the file is there, and can't be read.
        """
        if self.reader:
            try:
                text = self.reader(filename)
            except Exception as error:
                raise UnreadableFile(f"{type(error).__name__}: {error}") from error
            return None if text is None else text.encode()
        try:
            with open(f"{self.path}{os.sep}{filename}", "rb") as file:  # noqa: PTH123 – a Path for each costs more
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UnreadableFile(error.strerror) from error

    def read_text(self, filename: str) -> str | None:
        """The text of a metadata file, ``None`` if there is none.

        Raises:
            UnreadableFile: the file is there, and can't be read or isn't UTF-8.
        """
        data = self.read_bytes(filename)
        return None if data is None else decode(data)

    def read_identity(self) -> tuple[str, str]:
        """Name and version as the distribution writes them, empty if either is missing."""
        for filename in ("METADATA", "PKG-INFO"):
            try:
                name, version = _parse_identity(self.read_bytes(filename) or b"")
            except UnreadableFile:
                continue
            if name and version:
                return name, version
        return "", ""


def find_sources(path: Iterable[str], problems: Problems) -> dict[str, Source]:
    """The metadata of each distribution, by its normalised name.

    Where a distribution is installed several times, the first on the path counts, as for imports.
    Directories that pip moved aside (``~name``) are passed over.
    """
    sources: dict[str, list[Source]] = {}
    on_path = False
    # The order of sys.meta_path counts, as for imports: a finder that stands before the path's goes first.
    for finder in (*sys.meta_path, PathFinder):
        if finder is PathFinder:
            if not on_path:
                _search_path(path, sources, problems)
            on_path = True
        elif hasattr(finder, "find_distributions") and not _is_standard(finder):
            _ask_finder(finder, path, sources, problems)
    return {
        name: rivals[0] if len(rivals) == 1 else _choose_source(rivals, problems) for name, rivals in sources.items()
    }


def normalise(name: str) -> str:
    """A distribution's name in the one form to compare by (PEP 503)."""
    name = name.lower().replace("_", "-").replace(".", "-")
    while "--" in name:
        name = name.replace("--", "-")
    return name


def decode(data: bytes) -> str:
    """The text of a metadata file.

    Raises:
        UnreadableFile: the bytes aren't UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"byte {error.start} isn't UTF-8") from error


def render_version(distribution: str) -> str:
    """Name and version, ``uvicorn 0.35.0``; the name alone where the metadata has none, as in a frozen program."""
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        found = metadata(distribution)
    except PackageNotFoundError:
        return distribution
    return f"{distribution} {found['Version']}" if "Version" in found else distribution


def _parse_identity(data: bytes) -> tuple[str, str]:
    # Not the parser of e-mail, which importlib.metadata uses: its import would make `bandmaster --help` slower.
    name = version = ""
    for line in data.decode("utf-8-sig", "replace").splitlines():
        if not line or (name and version):
            break
        key, _, value = line.partition(":")
        if key.lower() == "name":
            name = value.strip()
        elif key.lower() == "version":
            version = value.strip()
    return name, version


def _is_standard(finder: Any) -> bool:
    kind = finder if isinstance(finder, type) else type(finder)
    return kind.__module__ in ("importlib.metadata", "importlib_metadata")


def _search_path(path: Iterable[str], sources: dict[str, list[Source]], problems: Problems) -> None:
    searched: set[str] = set()
    for entry in [os.fspath(entry) for entry in path if isinstance(entry, (str, os.PathLike))]:
        try:
            directory = os.path.abspath(entry)  # noqa: PTH100 – '' means the working directory
            if directory in searched:
                continue
            searched.add(directory)
            children = os.listdir(directory)  # noqa: PTH208 – the names are enough
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            _ask_finder(_Archives(), [entry], sources, problems)
            continue
        except OSError as error:
            # No error, since imports pass over the directory: under sudo the working directory often can't be read.
            problems.warn(f"{entry or 'the working directory'} is on sys.path and can't be read: {error.strerror}")
            continue
        for child in children:
            if child.endswith(_SUFFIXES) and child[0] != "~":
                name = normalise(child.rpartition(".")[0].partition("-")[0])
                sources.setdefault(name, []).append(Source(f"{directory}{os.sep}{child}"))
        if directory.endswith(".egg") and "EGG-INFO" in children:
            name = normalise(directory.rpartition(os.sep)[2].partition("-")[0].removesuffix(".egg"))
            sources.setdefault(name, []).append(Source(f"{directory}{os.sep}EGG-INFO"))


class _Archives:
    """The finder for wheels and zip files."""

    def find_distributions(self, context: DistributionFinder.Context) -> Iterable[Any]:
        from importlib.metadata import MetadataPathFinder

        return MetadataPathFinder.find_distributions(context)


def _ask_finder(finder: Any, path: Iterable[str], sources: dict[str, list[Source]], problems: Problems) -> None:
    from importlib.metadata import DistributionFinder

    places = list(path)
    where = places[0] if isinstance(finder, _Archives) else f"{type(finder).__module__}.{type(finder).__qualname__}"
    try:
        for distribution in finder.find_distributions(DistributionFinder.Context(path=places)):
            source = Source(where, distribution.read_text)
            # Without a name there is nothing to hide or to be hidden by.
            name = normalise(source.read_identity()[0]) or f"{where}#{len(sources)}"
            sources.setdefault(name, []).append(source)
    except Exception as error:  # noqa: BLE001 – a finder is foreign code
        message = f"{where} can't say which distributions it has: {type(error).__name__}: {error}."
        problems.add(message, "Mend it, or take it off sys.path or sys.meta_path.")


def _choose_source(sources: list[Source], problems: Problems) -> Source:
    """The first whole one; beside an egg-info of a build, the dist-info in the same directory."""
    whole = [source for source in sources if source.reader or any(source.read_identity())] or sources
    first = whole[0]
    if first.reader:
        return first
    directory = first.path.rpartition(os.sep)[0]
    rivals = [source for source in whole if not source.reader and source.path.rpartition(os.sep)[0] == directory]
    rivals = sorted([rival for rival in rivals if rival.path.endswith(".dist-info")] or rivals)
    if len(rivals) > 1 and any(map(_may_have_parts, rivals)):
        names = " and ".join(rival.path.rpartition(os.sep)[2] for rival in rivals)
        problems.add(
            f"One distribution is installed several times in {directory}: {names}.",
            "An installation was interrupted: uninstall until it is gone, then reinstall.",
        )
    return rivals[0]


def _may_have_parts(source: Source) -> bool:
    try:
        return MARK in (source.read_bytes("entry_points.txt") or b"")
    except UnreadableFile:
        return True
