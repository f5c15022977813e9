"""Report the failures and the unfinished components of a run, for a process that has to be ended."""

from __future__ import annotations

from bandmaster.kernel import events
from bandmaster.kernel.errors import DeadlineExceeded
from bandmaster.kernel.events import Event
from bandmaster.kernel.reports import render_failure
from bandmaster.kernel.text import render_duration


class StopReport:
    """Listens to a kernel, and renders the failures and the unfinished components of the last run.

    `render` may be called from another thread while the event loop is blocked.
    """

    def __init__(self) -> None:
        self.failures: list[tuple[str, str, BaseException | None]] = []
        """Component, phase and error of each failure, in order. A crash has no error until the component is exited."""
        self._unfinished: dict[str, str] = {}
        self._stacks: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Record one event."""
        match event:
            case events.KernelStarting():
                self.failures.clear()
                self._unfinished.clear()
                self._stacks.clear()
            case events.ComponentStarting(component=name):
                self._unfinished[name] = "starting"
            case events.ComponentStarted(component=name):
                self._unfinished[name] = "started"
            case events.ComponentStopping(component=name):
                self._unfinished[name] = "stopping"
            case events.ComponentOverdue(component=name, phase=phase, seconds=seconds, where=stack):
                self._stacks[name] = stack
                error = DeadlineExceeded(
                    f"didn't {phase} within {render_duration(seconds)}",
                    component=name,
                    phase=phase,
                    seconds=seconds,
                    where=stack,
                )
                self.failures.append((name, phase, error))
            case events.ComponentStartFailed(component=name, error=error):
                self._finish(name, "start", error)
            case events.ComponentStopFailed(component=name, error=error):
                self._finish(name, "stop", error)
            case events.ComponentCrashed(component=name):
                self.failures.append((name, "serving", None))
            case (
                events.ComponentStopped(component=name)
                | events.ComponentStartCancelled(component=name)
                | events.ComponentStartRetrying(component=name)
                | events.ComponentDegraded(component=name)
            ):
                self._unfinished.pop(name, None)
            case _:
                pass

    def _finish(self, name: str, phase: str, error: BaseException) -> None:
        self._unfinished.pop(name, None)
        self.failures.append((name, phase, error))

    def render(self) -> str:
        """Render the failures, the cause first, then the unfinished components with the stack of each overdue one."""
        doing = {"start": "starting", "serving": "serving", "stop": "stopping"}
        # Copies: the event loop's thread may record an event meanwhile.
        lines = [
            f"{name!r} failed while {doing[phase]}" + (f": {render_failure(error)}" if error is not None else "")
            for name, phase, error in list(self.failures)
        ]
        for name, state in list(self._unfinished.items()):
            stack = self._stacks.get(name)
            lines.append(f"{name!r} is left, {state}" + (f"; it stood at\n{stack}" if stack else ""))
        return "\n".join(lines)
