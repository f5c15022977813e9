"""Run one function inside a started plan, with the plan's resources: a data fix, a cron job."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import anyio

from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.factories import read_name, unwrap
from bandmaster.kernel.contributions.model import LifespanContribution, Provenance
from bandmaster.kernel.contributions.renaming import stand_in
from bandmaster.kernel.contributions.signatures import parameters
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.lifecycle.phases import Phase
from bandmaster.kernel.process.background import BackgroundProcess, read_launcher_settings
from bandmaster.kernel.process.console_logging import log_to_stderr
from bandmaster.kernel.process.process import check_may_run
from bandmaster.kernel.process.servers.settings import ServerSettings

ROLE = "exec"
"""The role of a process that runs one function: components of every role start there, and those of this role."""


class FunctionCall:
    """One call of a function with parameters that the plan fills, as for a component."""

    def __init__(self, function: Callable[..., Any], reference: str) -> None:
        self._function = function
        self._arguments: dict[str, Any] = {}
        self.contribution = LifespanContribution(
            name=ROLE,
            factory=self._make_factory(),
            band=LifespanBand.APPLICATION,
            description=f"Passes resources to {read_name(function)}.",
            provenance=Provenance(entry_point=reference),
        )
        """A component with the function's needs, so that the plan checks and orders them like any others."""
        self.has_returned = False
        self.error: BaseException | None = None
        """The failure of the process that made the call: of the function, or of a start or a stop."""

    async def run(self) -> Any:
        """Call the function and return the result. A plain function runs in a thread, so that it may block."""
        result = await self._call()
        self.has_returned = True
        return result

    async def _call(self) -> Any:
        call = functools.partial(self._function, **self._arguments)
        if inspect.iscoroutinefunction(unwrap(self._function)):
            return await call()
        result = await anyio.to_thread.run_sync(call, limiter=anyio.CapacityLimiter(1))
        return await result if inspect.isawaitable(result) else result

    def _make_factory(self) -> Callable[..., AbstractAsyncContextManager[None]]:
        def hold_arguments(**arguments: Any) -> AbstractAsyncContextManager[None]:
            self._arguments = arguments
            return nullcontext()

        signature = inspect.Signature(parameters(self._function), return_annotation=None)
        return stand_in(hold_arguments, self._function, signature)


def run_function(
    kernel: Kernel, call: FunctionCall, *, target: str | None = None, traceback: bool = False
) -> tuple[int, Any]:
    """Start a plan that contains the call's contribution, run the function, drain and stop.

    Returns the exit code and the function's result. Signals, reports of failures and exit codes are those of
    `bandmaster run`: the first SIGTERM or SIGINT cancels an async function, and waits for a plain one. ``traceback``
    shows the whole traceback of a failure, where a report would have a sentence.

    Raises:
        RuntimeError: the caller isn't the main thread, or an event loop runs there.
        PlanError: the launcher's settings can't be read.
    """
    check_may_run("run_function")
    process = FunctionProcess(kernel, read_launcher_settings(kernel), target, call, traceback=traceback)
    with log_to_stderr(kernel.settings.log_format, kernel.settings.least_log_level):
        code = process.run()
    call.error = process.error
    return code, process.result


class FunctionProcess(BackgroundProcess):
    """One run of a kernel that ends when a function has returned."""

    def __init__(
        self, kernel: Kernel, settings: ServerSettings, target: str | None, call: FunctionCall, *, traceback: bool
    ) -> None:
        super().__init__(kernel, settings, target, traceback=traceback)
        self._call = call
        self._failure: BaseException | None = None
        self.result: Any = None

    @property
    def error(self) -> BaseException | None:
        """The failure of the process."""
        return self._error

    async def _run_kernel(self) -> None:
        async with self.kernel.running():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._cancel_when_asked_to_stop, tasks.cancel_scope)
                await self._run_call(tasks.cancel_scope)
                tasks.cancel_scope.cancel()
            await self._escalation.run_until_skipped(self._drain)
            if self._failure is not None:
                raise self._failure
        self._cut_short += not self._call.has_returned

    async def _run_call(self, scope: anyio.CancelScope) -> None:
        try:
            self.result = await self._call.run()
        except anyio.get_cancelled_exc_class() as error:
            if scope.cancel_called or self.kernel.phase is not Phase.READY:
                raise  # asked to stop, or a component has crashed
            # The function's own. Another error in its place, since a cancellation means the task that raises it.
            self._failure = RuntimeError("the function was cancelled by something that it awaited")
            self._failure.__cause__ = error
        except BaseException as error:  # noqa: BLE001  # raised outside of the task group, which would make a group of it
            self._failure = error

    async def _cancel_when_asked_to_stop(self, scope: anyio.CancelScope) -> None:
        await self.kernel.wait_stop_requested()
        scope.cancel()
