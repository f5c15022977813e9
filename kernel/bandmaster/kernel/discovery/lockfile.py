"""The lock file: which distributions brought which parts, with what content, in what order."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import unified_diff
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from bandmaster.kernel.discovery.metadata import Found
from bandmaster.kernel.errors import DiscoveryError, Problem

LOCK_FILE = "bandmaster.lock"
FORMAT = 1

Covers: TypeAlias = Literal["files", "metadata"]


@dataclass(frozen=True, slots=True)
class Pin:
    """One distribution as it was when the lock was made."""

    version: str
    sha256: str
    """Over what `covers` says, and over entry_points.txt as it stands."""
    covers: Covers = "files"
    """``files``: the hashes that its RECORD has of every file. ``metadata``: METADATA only, for its RECORD says
    nothing of the code (an editable install) or isn't there."""
    editable: bool = False
    parts: tuple[str, ...] = ()
    """What it brings, as ``lifespan:audit``, sorted."""


@dataclass(frozen=True, slots=True)
class Lock:
    """Distributions by their normalised names, and the order of the plan by group."""

    distributions: Mapping[str, Pin] = field(default_factory=dict[str, Pin])
    order: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, "tuple[str, ...]"])

    @classmethod
    def of(cls, found: Iterable[Found], order: Mapping[str, Sequence[str]] | None = None) -> Lock:
        """The lock of what is installed, with the order that a plan has given it.

        What differs between machines though nothing was changed isn't hashed: who installed it and from where,
        scripts, byte code.

        Raises:
            DiscoveryError: the metadata of a distribution can't be read.
        """
        parts: dict[str, list[Found]] = {}
        for part in found:
            parts.setdefault(part.distribution, []).append(part)
        pins = {name: _pin(parts[name]) for name in sorted(parts)}
        return cls(pins, {group: tuple(names) for group, names in sorted((order or {}).items())})

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Lock:
        """The lock that a file holds.

        Raises:
            DiscoveryError: there is no such file, or it is none that `write` has made.
        """
        try:
            return cls.parse(Path(path).read_bytes().decode("utf-8-sig"))
        except FileNotFoundError as error:
            problem = Problem(f"There is no lock file {os.fspath(path)}.", "Make one with: bandmaster lock")
            raise DiscoveryError([problem]) from error
        except (OSError, ValueError) as error:
            message = f"The lock file {os.fspath(path)} can't be read: {_said(error)}."
            raise DiscoveryError([Problem(message, "Restore it, or make it anew with: bandmaster lock")]) from error

    @classmethod
    def parse(cls, text: str) -> Lock:
        """The lock that `text` has written.

        Raises:
            ValueError: it isn't of that form; the message says where.
        """
        data = _object(json.loads(text), "the file")
        if (version := data.get("format")) != FORMAT:
            raise ValueError(f"format: this bandmaster reads {FORMAT}, got {version!r}")
        pins = _object(data.get("distributions"), "distributions")
        order = _object(data.get("order"), "order")
        return cls(
            {name: _parse_pin(pin, f"distributions.{name}") for name, pin in pins.items()},
            {group: _texts(names, f"order.{group}") for group, names in order.items()},
        )

    def text(self) -> str:
        """The same text for the same lock, one fact per line."""
        data = {
            "format": FORMAT,
            "distributions": {name: asdict(pin) for name, pin in sorted(self.distributions.items())},
            "order": dict(sorted(self.order.items())),
        }
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"

    def write(self, path: str | os.PathLike[str]) -> None:
        """Put it into a file, whole or not at all.

        Raises:
            OSError: the file can't be written; what was there before still is.
        """
        target = Path(path).resolve()
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with draft.open("w", encoding="utf-8", newline="\n") as file:
                file.write(self.text())
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    def drift(self, other: Lock) -> list[str]:
        """What is different in ``other``, line by line; empty if nothing is.

        Orders are compared for the groups in which both have one: what is installed has none before it is planned.
        """
        lines: list[str] = []
        for name in sorted({*self.distributions, *other.distributions}):
            mine, others = self.distributions.get(name), other.distributions.get(name)
            if mine is None:
                lines.append(f"+ {name} {cast('Pin', others).version} is installed, but isn't in the lock")
            elif others is None:
                lines.append(f"- {name} {mine.version} is in the lock, but isn't installed")
            elif mine != others:
                lines += _changes(name, mine, others)
        for group in sorted(self.order.keys() & other.order.keys()):
            lines += _reordered(group, self.order[group], other.order[group])
        return lines

    def loose(self) -> list[str]:
        """A sentence for each distribution whose code the lock can't vouch for."""
        return [
            f"{name} {pin.version} is locked by its metadata alone: "
            f"{'it is an editable install' if pin.editable else 'it has no RECORD of its files'}"
            for name, pin in sorted(self.distributions.items())
            if pin.covers == "metadata"
        ]


def verify_files(found: Found) -> list[str]:
    """What is wrong with the installed files of a part's distribution, held against its RECORD; empty if nothing is.

    A lock compares what RECORDs say; this reads every file beside the RECORD that has a hash in it. Files that nobody
    recorded aren't noticed; scripts aren't read.

    Raises:
        DiscoveryError: its RECORD can't be read.
    """
    record = found.read("RECORD")
    if record is None:
        return [f"{found.provenance}: there is no RECORD of its files"]
    if found.reader:
        return [f"{found.provenance}: it lies in {found.path}; only files in a directory can be verified"]
    root = Path(found.path).parent
    return [
        f"{found.provenance}: {name} {wrong}"
        for name, expected in sorted(_recorded(found, record))
        if not _is_outside(name) and (wrong := _compare(root / name, expected))
    ]


def _pin(parts: Sequence[Found]) -> Pin:
    first = parts[0]
    editable = _is_editable(first)
    record = None if editable else first.read("RECORD")
    if record is None:
        content = [first.read("METADATA") or first.read("PKG-INFO") or ""]
    else:
        recorded = _recorded(first, record)
        content = sorted(f"{name} {digest}\n" for name, digest in recorded if _is_content(name))
    # RECORD tells what entry_points.txt was; what it is now decides what is imported.
    content.append(first.read("entry_points.txt") or "")
    return Pin(
        version=first.provenance.version or "",
        sha256=hashlib.sha256("\0".join(content).encode()).hexdigest(),
        covers="metadata" if record is None else "files",
        editable=editable,
        parts=tuple(sorted(part.address for part in parts)),
    )


def _is_editable(found: Found) -> bool:
    if found.path.endswith(".egg-info") and not found.reader:
        # Development eggs stand beside their source, without a version in their name.
        return "-" not in Path(found.path).name.removesuffix(".egg-info")
    try:
        origin = json.loads(found.read("direct_url.json") or "{}")
        return bool(origin.get("dir_info", {}).get("editable"))
    except (ValueError, AttributeError) as error:
        problem = Problem(
            f"direct_url.json of {found.provenance} isn't what PEP 610 says ({found.path}).", "Reinstall it."
        )
        raise DiscoveryError([problem]) from error


def _recorded(found: Found, record: str) -> Iterator[tuple[str, str]]:
    """Path and hash of each file that has a hash, paths with slashes."""
    try:
        for row in csv.reader(record.splitlines()):
            if len(row) > 1 and row[1]:
                yield posixpath.normpath(row[0].replace("\\", "/")), row[1]
    except csv.Error as error:
        problem = Problem(f"RECORD of {found.provenance} is malformed: {error} ({found.path}).", "Reinstall it.")
        raise DiscoveryError([problem]) from error


_OF_THE_MACHINE = frozenset(
    ("INSTALLER", "REQUESTED", "RECORD", "RECORD.jws", "RECORD.p7s", "direct_url.json", "uv_cache.json")
)


def _is_content(name: str) -> bool:
    directory, _, base = name.rpartition("/")
    of_the_machine = directory.endswith(".dist-info") and base in _OF_THE_MACHINE
    return not (of_the_machine or base.endswith(".pyc") or _is_outside(name))


def _is_outside(name: str) -> bool:
    # Scripts and data files: they hold paths of this machine, and may have been moved on.
    return name.startswith(("../", "/")) or name[1:3] == ":/"


def _compare(file: Path, expected: str) -> str:
    algorithm, _, value = expected.partition("=")
    if algorithm not in ("sha256", "sha384", "sha512"):
        return f"can't be verified: its hash is {algorithm!r}"
    try:
        digest = hashlib.new(algorithm, file.read_bytes()).digest()
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"can't be read: {error.strerror}"
    actual = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return "" if actual == value.rstrip("=") else "was changed after it was installed"


def _changes(name: str, mine: Pin, others: Pin) -> Iterator[str]:
    if mine.version != others.version:
        yield f"~ {name} {mine.version} → {others.version}"
    elif mine.covers != others.covers or mine.editable != others.editable:
        yield f"~ {name} {mine.version}: {_installation(mine)} → {_installation(others)}"
    elif mine.sha256 != others.sha256:
        yield f"~ {name} {mine.version}: other content under the same version, {mine.sha256:.12}… → {others.sha256:.12}…"
    yield from (f"~ {name}: no longer brings {part}" for part in mine.parts if part not in others.parts)
    yield from (f"~ {name}: now brings {part}" for part in others.parts if part not in mine.parts)


def _installation(pin: Pin) -> str:
    return "editable install" if pin.editable else "with RECORD" if pin.covers == "files" else "without RECORD"


def _reordered(group: str, mine: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    changes = list(unified_diff(mine, others, n=1, lineterm=""))
    if changes:
        yield f"~ order of {group}:"
        # The first two lines name files, as patches do.
        yield from (f"    {'…' if line.startswith('@@') else line}" for line in changes[2:])


def _said(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, column {error.colno}: {error.msg}"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected an object, got {value!r}")
    return cast("Mapping[str, Any]", value)


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{where}: expected a list of names, got {value!r}")
    return tuple(cast("list[str]", value))


def _parse_pin(value: Any, where: str) -> Pin:
    pin = _object(value, where)
    for key in ("version", "sha256"):
        if not isinstance(pin.get(key), str):
            raise ValueError(f"{where}.{key}: expected text, got {pin.get(key)!r}")
    if pin.get("covers") not in ("files", "metadata"):
        raise ValueError(f"{where}.covers: expected 'files' or 'metadata', got {pin.get('covers')!r}")
    if not isinstance(pin.get("editable"), bool):
        raise ValueError(f"{where}.editable: expected true or false, got {pin.get('editable')!r}")
    return Pin(
        pin["version"], pin["sha256"], pin["covers"], pin["editable"], _texts(pin.get("parts"), f"{where}.parts")
    )
