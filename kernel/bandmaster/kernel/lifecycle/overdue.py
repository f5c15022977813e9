"""Describe a component that has missed a deadline, with the other components that wait meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bandmaster.kernel.errors import DeadlineExceeded
from bandmaster.kernel.lifecycle.component_task import ComponentTask, TaskState
from bandmaster.kernel.lifecycle.coroutine_stacks import render_coroutine_stack
from bandmaster.kernel.lifecycle.outcome import describe_component
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.text import list_names, render_duration

_MOST_WAITING = 20
"""The most waiting components that one report lists."""


def make_deadline_error(
    task: ComponentTask, now: float, *, rollback_began: float | None, waiting: tuple[str, ...]
) -> DeadlineExceeded:
    """Make the error of a start or stop that has reached its deadline.

    ``rollback_began`` is the time at which a start under way was cancelled: undoing half a start is a stop, with the
    deadline of a stop.
    """
    phase, deed, began = task.state.value, task.state.value, task.phase_began
    if rollback_began is not None:
        phase, deed, began = "stop", "clean up after its cancelled start", rollback_began
    seconds = now - began
    within = render_duration(seconds) + (f", in {task.attempt} tries" if task.attempt > 1 and phase == "start" else "")
    stack = render_coroutine_stack(task.pending if task.pending is not None else task.manager)
    message = f"{describe_component(task.component)} didn't {deed} within {within}"
    message += f"; it stood at\n{stack}" if stack else ""
    message += "".join(f"\n  {line}" for line in ("still waiting:", *waiting)) if waiting else ""
    error = DeadlineExceeded(message, component=task.name, phase=phase, seconds=seconds, where=stack)
    error.__cause__ = task.earlier_error
    return error


def list_waiting(plan: Plan, tasks: Mapping[str, ComponentTask], laggard: ComponentTask) -> tuple[str, ...]:
    """List every other component that hasn't started, with a place in the code or with the names that are missing."""
    waiting = tuple(_describe_waiting(plan, tasks, laggard))
    if len(waiting) > _MOST_WAITING:
        return (*waiting[:_MOST_WAITING], f"and {len(waiting) - _MOST_WAITING} more")
    return waiting


def _describe_waiting(plan: Plan, tasks: Mapping[str, ComponentTask], laggard: ComponentTask) -> Iterator[str]:
    for component in plan.components:
        task = tasks.get(component.name)
        if task is None:
            awaited = [edge.to for edge in component.waits_for if not _has_started(tasks.get(edge.to))]
            yield f"{component.name!r} waits for {list_names(awaited) if awaited else 'the stage before its own'}"
        elif task is not laggard and task.state is TaskState.STARTING:
            # The innermost frame, on one line.
            place = render_coroutine_stack(task.pending).rstrip().rpartition("\n  File ")[2].replace("\n   ", ":")
            yield f"{component.name!r} is starting" + (f", at {place}" if place else "")


def _has_started(task: ComponentTask | None) -> bool:
    return task is not None and task.state in (TaskState.STARTED, TaskState.DEGRADED)
