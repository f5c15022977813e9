"""Hash the content of an installed distribution, and verify its files against their recorded hashes."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from bandmaster.kernel.discovery.metadata import Found
from bandmaster.kernel.errors import DiscoveryError, Problem

Covers: TypeAlias = Literal["files", "metadata"]


@dataclass(frozen=True, slots=True)
class Pin:
    """The version and content of one distribution when the lock was made."""

    version: str
    sha256: str
    """The hash of the content that `covers` names, and of entry_points.txt."""
    covers: Covers = "files"
    """``files``: the hash in RECORD of each file. ``metadata``: METADATA only, because the RECORD doesn't list the code
    (an editable install), or isn't there."""
    editable: bool = False
    parts: tuple[str, ...] = ()
    """The addresses of its parts, ``lifespan:audit``, sorted."""


def verify_files(found: Found) -> list[str]:
    """Compare the installed files of a part's distribution with its RECORD, and return a sentence for each difference.

    Each file that has a hash in the RECORD is read, except scripts and data files outside of the site directory. Files
    without a hash aren't noticed. (A lock compares RECORDs only, which is faster.)

    Raises:
        DiscoveryError: the RECORD can't be read.
    """
    record = found.read("RECORD")
    if record is None:
        return [f"{found.provenance}: there is no RECORD of its files"]
    if found.reader:
        return [f"{found.provenance}: it lies in {found.path}; only files in a directory can be verified"]
    root = Path(found.path).parent
    return [
        f"{found.provenance}: {name} {difference}"
        for name, expected in sorted(_read_record(found, record))
        if not _is_outside(name) and (difference := _compare(root / name, expected))
    ]


def make_pin(parts: Sequence[Found]) -> Pin:
    """Pin the distribution that all these parts come from.

    Raises:
        DiscoveryError: the distribution's metadata can't be read.
    """
    first = parts[0]
    editable = _is_editable(first)
    record = None if editable else first.read("RECORD")
    if record is None:
        content = [first.read("METADATA") or first.read("PKG-INFO") or ""]
    else:
        recorded = _read_record(first, record)
        content = sorted(f"{name} {digest}\n" for name, digest in recorded if _is_hashed(name))
    # The RECORD has the hash of entry_points.txt as it was installed; the file as it is now decides what is imported.
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


def _read_record(found: Found, record: str) -> Iterator[tuple[str, str]]:
    """The path, with slashes, and the hash of each file that has one."""
    try:
        for row in csv.reader(record.splitlines()):
            if len(row) > 1 and row[1]:
                yield posixpath.normpath(row[0].replace("\\", "/")), row[1]
    except csv.Error as error:
        problem = Problem(f"RECORD of {found.provenance} is malformed: {error} ({found.path}).", "Reinstall it.")
        raise DiscoveryError([problem]) from error


_INSTALLER_FILES = frozenset(
    ("INSTALLER", "REQUESTED", "RECORD", "RECORD.jws", "RECORD.p7s", "direct_url.json", "uv_cache.json")
)


def _is_hashed(name: str) -> bool:
    directory, _, base = name.rpartition("/")
    by_installer = directory.endswith(".dist-info") and base in _INSTALLER_FILES
    return not (by_installer or base.endswith(".pyc") or _is_outside(name))


def _is_outside(name: str) -> bool:
    # Scripts and data files hold paths of this machine, and may have been moved.
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
