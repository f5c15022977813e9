"""Decide which installed parts may be loaded. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from bandmaster.kernel.discovery.disabling import describe_unknown, list_addresses, parse_names
from bandmaster.kernel.discovery.distributions import normalise
from bandmaster.kernel.discovery.metadata import KERNEL, Found
from bandmaster.kernel.errors import Problem
from bandmaster.kernel.text import list_names, suggest

if TYPE_CHECKING:
    from bandmaster.kernel.discovery.lockfile import Lock

Mode: TypeAlias = Literal["auto", "allowlist", "locked"]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A part that isn't loaded, with the reason."""

    found: Found
    reason: str

    def __str__(self) -> str:
        return f"{self.found}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Admission:
    """The parts that may be loaded, and the problems of others."""

    admitted: tuple[Found, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()


def admit(
    found: Sequence[Found],
    *,
    mode: Mode = "auto",
    allow: Iterable[str] = (),
    disable: Iterable[str] = (),
    lock: Lock | None = None,
    installed: Lock | None = None,
    groups: Collection[str] | None = None,
    elsewhere: Iterable[str] = (),
) -> Admission:
    """Decide which parts may be loaded.

    ``auto`` admits all. ``allowlist`` admits the parts of the distributions in ``allow``; the plan lists the others as
    left out. A distribution in ``allow`` without parts is a problem, not a warning: a misspelt name would leave out the
    part that guards the door. ``locked`` admits all if ``installed`` equals the ``lock`` in distributions, versions and
    contents, and no part otherwise.

    ``disable`` names parts that are left out, in every group (``audit``) or in one (``lifespan:audit``,
    ``bandmaster.lifespan:audit``); ``elsewhere`` are the names of parts that didn't come from entry points, which
    ``disable`` may mean as well. ``groups`` restricts the parts that are judged, by `Found.group`; ``allow`` and
    ``lock`` are compared with all distributions.

    Raises:
        ValueError: an unknown mode, or ``locked`` without both locks.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode: expected {' or '.join(map(repr, get_args(Mode)))}, got {mode!r}")
    allowed = {normalise(name): name for name in sorted(parse_names(allow, "allow"))}
    disabled = parse_names(disable)
    problems = [*_find_missing(found, allowed)] if mode == "allowlist" else []
    warnings = (
        describe_unknown(disabled, ((part.group, part.name) for part in found), tuple(elsewhere)) if disabled else []
    )
    if allowed and mode != "allowlist":
        warnings.append(
            f"allow names {list_names(allowed.values())}, but is only read with BANDMASTER_PLUGINS=allowlist"
        )
    if mode == "locked":
        if lock is None or installed is None:
            raise ValueError("lock: mode 'locked' compares lock with installed; give both")
        warnings += installed.loose()
        problems += _find_drift(lock, installed)
    admitted: list[Found] = []
    left_out: list[LeftOut] = []
    for part in found:
        if groups is not None and part.group not in groups:
            continue
        if disabled & list_addresses(part.group, part.name):
            left_out.append(LeftOut(part, "it is disabled"))
        elif mode == "allowlist" and part.distribution not in allowed:
            left_out.append(LeftOut(part, f"{part.provenance.distribution} isn't in the allowlist"))
        elif mode == "locked" and problems:
            left_out.append(LeftOut(part, "what is installed isn't what is locked"))
        else:
            admitted.append(part)
    problems += [part.problem for part in admitted if part.problem]
    clashes = _find_clashes(admitted)
    problems += map(_describe_clash, clashes)
    clashing = {part for clash in clashes for part in clash}
    sound = tuple(part for part in admitted if part not in clashing and not part.problem)
    return Admission(sound, tuple(left_out), tuple(problems), tuple(warnings))


def _find_missing(found: Sequence[Found], allowed: dict[str, str]) -> Iterator[Problem]:
    there = {part.distribution: part.provenance.distribution or "" for part in found}
    for key, name in allowed.items():
        # The kernel has no parts, and may be in the list nevertheless.
        if key not in there and key != KERNEL:
            message = f"The allowlist names {name!r}, which isn't installed or brings no parts."
            others = (text for other, text in there.items() if other not in allowed)
            yield Problem(message, f"Install it, or take it off the list.{suggest(name, others)}", name)


def _find_drift(lock: Lock, installed: Lock) -> Iterator[Problem]:
    if lines := lock.drift(installed):
        message = "".join(f"\n      {line}" for line in lines)
        hint = "\n    If that is what you want to run, look the changes over, then run: bandmaster lock"
        yield Problem(f"What is installed isn't what is locked:{message}{hint}")


def _find_clashes(parts: Sequence[Found]) -> list[list[Found]]:
    groups: dict[tuple[str, str], list[Found]] = {}
    for part in parts:
        groups.setdefault((part.group, part.name), []).append(part)
    return [group for group in groups.values() if len({part.distribution for part in group}) > 1]


def _describe_clash(parts: Sequence[Found]) -> Problem:
    first = parts[0]
    owners = " and ".join(f"{part.provenance}" for part in parts)
    message = f"{first.kind} {first.name!r} comes from {owners}; names are unique within a group."
    hint = f"Uninstall all but one: to disable {first.name!r} would leave out every one of them."
    return Problem(message, hint, first.name)
