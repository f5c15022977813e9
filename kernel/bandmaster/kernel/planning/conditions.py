"""Ask each part with a condition, ``when=``, whether it is in the plan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bandmaster.kernel.contributions.factories import unwrap
from bandmaster.kernel.contributions.keys import Key, type_name
from bandmaster.kernel.contributions.model import Contribution, ValueContribution
from bandmaster.kernel.contributions.signatures import Kind, read_needs
from bandmaster.kernel.errors import Problem, Problems, SignatureError
from bandmaster.kernel.planning.parts import Omission, describe_part
from bandmaster.kernel.settings.error_messages import describe_error
from bandmaster.kernel.tracebacks import find_frames

SettingsReader = Callable[[Iterable[type[Any]]], tuple[Mapping[type[Any], Any], Sequence[Problem]]]
"""Makes settings of their types, and tells the problems of those that can't be made."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """The answers of all conditions, and the settings that were read for them."""

    omitted: tuple[Omission, ...]
    """The parts with a condition that says no."""
    undecided: frozenset[str]
    """The names of parts that stay in the plan although their condition has no answer: there are no settings."""
    settings: Mapping[type[Any], Any]
    """The settings that were read, or overridden."""
    read: frozenset[type[Any]]
    """The settings types that were read, those with problems included."""
    problems: tuple[Problem, ...]
    """The problems of settings that can't be read."""
    readers: Mapping[type[Any], tuple[Contribution, ...]]
    """The parts with conditions that read a settings type."""


def evaluate_conditions(
    parts: Iterable[Contribution],
    values: Iterable[ValueContribution],
    overrides: Mapping[Key, Any],
    read_settings: SettingsReader,
    problems: Problems,
) -> Conditions:
    """Call the condition of each part once.

    Settings come from where the part itself would get them: an override, a value, else ``read_settings``. A value that
    has a condition itself is no source.
    """
    wanted: dict[int, dict[str, type[Any]]] = {}
    asked = [part for part in parts if part.when is not None]
    for number, part in enumerate(asked):
        try:
            wanted[number] = _read_parameters(part.when)
        except SignatureError as error:
            problems.add(f"{describe_part(part)}: its when= can't be called: {error}.", subject=part.name)
    readers: dict[type[Any], list[Contribution]] = {}
    for number, kinds in wanted.items():
        for kind in kinds.values():
            readers.setdefault(kind, []).append(asked[number])
    given = {kind: overrides[Key(kind)] for kind in readers if Key(kind) in overrides}
    ready = _find_values(values, readers.keys() - given.keys())
    missing = sorted(
        readers.keys() - given.keys() - ready.keys(), key=lambda kind: (kind.__module__, kind.__qualname__)
    )
    read, found = read_settings(missing) if missing else ({}, ())
    settings = {**read, **ready, **given}
    omitted: list[Omission] = []
    undecided: set[str] = set()
    for number, kinds in wanted.items():
        part = asked[number]
        if any(kind not in settings for kind in kinds.values()):
            undecided.add(part.name)
        elif not _ask(part, {name: settings[kind] for name, kind in kinds.items()}, problems):
            omitted.append(Omission(part, _describe_answer(kinds.values()), tuple(kinds.values())))
    return Conditions(
        tuple(omitted),
        frozenset(undecided),
        {**read, **given},
        frozenset(missing),
        tuple(found),
        {kind: tuple(parts) for kind, parts in readers.items()},
    )


def _read_parameters(condition: Any) -> dict[str, type[Any]]:
    """The settings type of each parameter of a condition."""
    needs = read_needs(condition)
    for need in needs:
        if need.kind is not Kind.SETTINGS and not need.has_default:
            raise SignatureError(
                f"parameter {need.parameter!r} has the type {type_name(need.key.type)}, which is no settings type; "
                "nothing else is there while the plan is made"
            )
    return {need.parameter: need.key.type for need in needs if need.kind is Kind.SETTINGS}


def _find_values(values: Iterable[ValueContribution], kinds: Collection[type[Any]]) -> dict[type[Any], Any]:
    """The settings that values provide."""
    found: dict[type[Any], list[Any]] = {}
    for part in values:
        for key in part.provides:
            if part.when is None and key.type in kinds:
                found.setdefault(key.type, []).append(part.value)
    return {kind: given[0] for kind, given in found.items() if len(given) == 1}


def _ask(part: Contribution, settings: Mapping[str, Any], problems: Problems) -> bool:
    """The answer of a condition; a condition without an answer is a problem, and keeps the part in the plan."""
    assert part.when is not None
    try:
        answer: object = part.when(**settings)
    except Exception as error:  # noqa: BLE001  # a part's own function; its error is one problem of several
        frames = find_frames(error)
        place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else _find_place(part.when)
        problems.add(
            f"{describe_part(part)}: its when= raised {describe_error(error).rstrip('.')}{place}.", "", part.name
        )
        return True
    if not isinstance(answer, bool):
        message = (
            f"{describe_part(part)}: its when= returned {answer!r}, neither True nor False{_find_place(part.when)}."
        )
        problems.add(message, subject=part.name)
        return True
    return answer


def _describe_answer(kinds: Iterable[type[Any]]) -> str:
    names = list(dict.fromkeys(map(type_name, kinds)))
    return f"its when= says no to {' and '.join(names)}" if names else "its when= says no"


def _find_place(function: Any) -> str:
    code = getattr(unwrap(function), "__code__", None)
    return f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
