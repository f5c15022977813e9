"""Find the installed parts, decide which may be loaded, and load those."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

from bandmaster.kernel.contributions.model import COMMANDS_GROUP, GROUPS, Contribution
from bandmaster.kernel.discovery.distributions import normalise
from bandmaster.kernel.discovery.entry_points import PREFIX
from bandmaster.kernel.discovery.loading import load, load_command
from bandmaster.kernel.discovery.metadata import Found, Scan, find, scan
from bandmaster.kernel.discovery.trust import Admission, LeftOut, Mode, admit
from bandmaster.kernel.errors import DiscoveryError
from bandmaster.kernel.text import suggest

if TYPE_CHECKING:
    from bandmaster.kernel.discovery.lockfile import Lock

__all__ = [
    "Admission",
    "Discovery",
    "Found",
    "LeftOut",
    "Mode",
    "Scan",
    "admit",
    "discover",
    "find",
    "load",
    "load_command",
    "normalise",
    "scan",
]


@dataclass(frozen=True, slots=True)
class Discovery:
    """The parts of the installed distributions."""

    contributions: tuple[Contribution, ...] = ()
    """By group and name."""
    commands: tuple[Found, ...] = ()
    """Commands that may be loaded; the command line loads them."""
    found: tuple[Found, ...] = ()
    """Each part in the groups asked for, whether loaded or left out."""
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()


def discover(
    *,
    mode: Mode = "auto",
    allow: Iterable[str] = (),
    disable: Iterable[str] = (),
    lock: Lock | str | PathLike[str] | None = None,
    path: Sequence[str] | None = None,
    groups: Iterable[str] | None = None,
    elsewhere: Iterable[str] = (),
) -> Discovery:
    """Find the installed parts, decide which may be loaded, load those.

    ``mode``, ``allow``, ``disable`` and ``elsewhere`` are those of `trust.admit`. ``lock`` is read with mode
    ``locked`` only; None means ``bandmaster.lock`` in the working directory. ``groups`` (``lifespan`` or
    ``bandmaster.lifespan``) restricts the parts that are loaded and reported; trust is decided over all. Commands are
    found and judged like everything else, but not imported.

    Raises:
        DiscoveryError: with all problems at once; ``__cause__`` is the first failure of an import.
        ValueError: an unknown mode or group.
    """
    wanted = _check_groups(groups)
    seen = scan(path)
    problems = list(seen.problems)
    cause: BaseException | None = None
    try:
        expected, installed = _read_locks(lock, seen.found) if mode == "locked" else (None, None)
        admission = admit(
            seen.found,
            mode=mode,
            allow=allow,
            disable=disable,
            lock=expected,
            installed=installed,
            groups=wanted,
            elsewhere=elsewhere,
        )
    except DiscoveryError as error:
        raise DiscoveryError([*problems, *error.problems]) from error.__cause__
    problems += admission.problems
    if mode == "locked" and problems:
        # A part that differs from the lock isn't trusted, and importing it runs its code.
        raise DiscoveryError(problems)
    contributions: list[Contribution] = []
    for part in admission.admitted:
        try:
            if part.group != COMMANDS_GROUP:
                contributions.append(load(part))
        except DiscoveryError as error:
            problems += error.problems
            cause = cause or error.__cause__
    if problems:
        raise DiscoveryError(problems) from cause
    return Discovery(
        contributions=tuple(contributions),
        commands=tuple(part for part in admission.admitted if part.group == COMMANDS_GROUP),
        found=tuple(part for part in seen.found if part.group in wanted),
        left_out=admission.left_out,
        warnings=seen.warnings + admission.warnings,
    )


def _check_groups(groups: Iterable[str] | None) -> tuple[str, ...]:
    every = (*GROUPS, COMMANDS_GROUP)
    if groups is None:
        return every
    wanted = {group if group.startswith(PREFIX) else f"{PREFIX}{group}" for group in groups}
    for group in sorted(wanted.difference(every)):
        raise ValueError(f"groups: {group!r} isn't one of bandmaster's.{suggest(group, every)}")
    return tuple(group for group in every if group in wanted)


def _read_locks(lock: Lock | str | PathLike[str] | None, found: Sequence[Found]) -> tuple[Lock, Lock]:
    # Hashes and JSON are needed in this mode only.
    from bandmaster.kernel.discovery.lockfile import LOCK_FILE, Lock

    expected = lock if isinstance(lock, Lock) else Lock.read(LOCK_FILE if lock is None else lock)
    return expected, Lock.of(found)
