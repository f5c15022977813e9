"""The options of a task: attempts, pauses, timeout, schedules. Opens nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bandmaster.contrib.taskiq.message_labels import RESERVED_PREFIX

if TYPE_CHECKING:
    from bandmaster.contrib.taskiq.schedules.declared_schedules import Schedule

_NAME = re.compile(r"[!-~]+")
Label = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """The options of a task's runs. None means the value of the settings. Durations are in seconds.

    Raises:
        ValueError: a value is invalid; the text names the option.
    """

    attempts: int | None = None
    """How often the task is tried, the first attempt included."""
    backoff: float | None = None
    """The pause before the second attempt, doubled for each further one."""
    longest_backoff: float | None = None
    jitter: float | None = None
    """The random part of a pause, 0 to 1."""
    timeout: float | None = None
    """How long a run may take. A run that exceeds it is cancelled and retried."""
    retry_on: tuple[type[BaseException], ...] = ()
    """Errors that are retried, beside `TransientError`."""
    schedules: tuple[Schedule, ...] = ()
    """When the scheduler sends the task."""

    def __post_init__(self) -> None:
        if self.attempts is not None and not _is_count(self.attempts):
            raise ValueError(f"attempts: expected a whole number from 1, got {self.attempts!r}")
        for name in ("backoff", "longest_backoff"):
            check_seconds(name, getattr(self, name))
        check_seconds("timeout", self.timeout, above_zero=True)
        if self.jitter is not None and not (_is_number(self.jitter) and self.jitter <= 1):
            raise ValueError(f"jitter: expected a part from 0 to 1, got {self.jitter!r}")
        if self.schedules:
            _check_schedules(self.schedules)
        for kind in self.retry_on:
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                raise ValueError(f"retry_on: expected types of exceptions, got {kind!r}")


def check_seconds(name: str, seconds: object, *, above_zero: bool = False) -> None:
    """Check that an optional duration is a finite number from 0 on, or above 0.

    Raises:
        ValueError: the duration is something else; the text begins with ``name``.
    """
    if seconds is not None and not (_is_number(seconds) and (seconds or not above_zero)):
        raise ValueError(f"{name}: expected seconds{' above 0' if above_zero else ''}, got {seconds!r}")


def check_name(name: object, option: str) -> str:
    """The name of a task or queue, if messages can contain the name.

    Raises:
        ValueError: the name isn't text, or has blanks.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{option}: expected letters, digits and signs without blanks, got {name!r}")
    return name


def merge_labels(labels: Mapping[str, Label], more: Mapping[str, Label]) -> Mapping[str, Label]:
    """Labels together with the labels that an application sets.

    Raises:
        ValueError: an application's label has an invalid value or a reserved name.
    """
    if not isinstance(more, Mapping):
        raise ValueError(f"labels: expected a mapping, got {more!r}")
    for key, value in more.items():
        if not isinstance(key, str):
            raise ValueError(f"labels: {key!r} is no text")
        if not isinstance(value, Label):
            raise ValueError(f"labels: {key} is {value!r}; expected a text, a number or a truth value")
        if key.startswith(RESERVED_PREFIX):
            raise ValueError(f"labels: {key} begins with {RESERVED_PREFIX}, which is reserved for bandmaster-taskiq")
    return MappingProxyType({**labels, **more})


def convert_label(kind: Callable[[Any], Any], value: Label | None) -> Any:
    """A label as a number, or unchanged if that fails: `TaskOptions` then refuses the value by name."""
    try:
        return None if value is None else kind(value)
    except ValueError:
        return value


def _check_schedules(schedules: Iterable[object]) -> None:
    from bandmaster.contrib.taskiq.schedules.declared_schedules import Schedule

    for schedule in schedules:
        if not isinstance(schedule, Schedule):
            raise ValueError(f"schedule: expected Schedule(cron=...) or Schedule(every=...), got {schedule!r}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
