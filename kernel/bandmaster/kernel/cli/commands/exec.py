"""``bandmaster exec``: run one function inside a started plan."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bandmaster.kernel.cli.options import WITHOUT_TARGET, Answer, AppDir, EnvFile, Format, Traceback, check_role
from bandmaster.kernel.cli.output import CommandError, answering, render_error_json, show_json, show_line
from bandmaster.kernel.imports import describe_object
from bandmaster.kernel.reports import FAILED, MISCONFIGURED

if TYPE_CHECKING:
    from bandmaster.kernel.process.function import FunctionCall

Function = Annotated[
    str,
    typer.Argument(
        help="The function, as module:attribute. It is async or plain, and its parameters declare the resources and "
        "settings that it needs, as those of a component do.",
        show_default=False,
        metavar="FUNCTION",
    ),
]
App = Annotated[
    str | None,
    typer.Option(
        "--app",
        help=f"The application, as module:attribute. {WITHOUT_TARGET}",
        show_default=False,
        metavar="TARGET",
    ),
]
RunRole = Annotated[
    str,
    typer.Option(
        "--role",
        help="The role of the process, which decides on the components to start.",
        metavar="ROLE",
        callback=check_role,
    ),
]


def execute(
    function: Function,
    app: App = None,
    role: RunRole = "exec",
    answer: Answer = Format.TEXT,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Run one function inside a started plan.

    For data fixes and cron jobs: starts the components, calls the function with the resources that it asks for, and
    stops them again. A result other than None is printed; json prints it as JSON, and what the function prints goes to
    stderr then. The first SIGTERM or SIGINT (Ctrl-C) cancels an async
    function.

    Exit codes: 0 done, 70 failed, 78 wrong settings or plan, 128 + n ended early by signal n.
    """
    with answering(answer, full=traceback, code=MISCONFIGURED):
        from bandmaster.kernel.hosting.default_target import resolve_target
        from bandmaster.kernel.hosting.targets import load_function, load_kernel
        from bandmaster.kernel.process.exit import end_process
        from bandmaster.kernel.process.function import FunctionCall, run_function

        target, app_dir = resolve_target(app, app_dir)
        with nullcontext() if answer is Format.TEXT else redirect_stdout(sys.stderr):
            call = FunctionCall(load_function(function, app_dir), function)
            kernel = load_kernel(target, app_dir, role)
            with nullcontext() if target is not None else _naming_app(function):
                kernel.extend([call.contribution])
            code, result = run_function(kernel, call, target=target, traceback=traceback)
    if answer is Format.JSON:
        with answering(answer, full=traceback, code=code or FAILED):
            show_json(_render_json(call, code, result))
    elif result is not None:
        show_line(str(result))
    end_process(code)


@contextmanager
def _naming_app(function: str) -> Iterator[None]:
    """Say in errors about the function's needs that no application was named.

    Raises:
        PlanError: as in the block.
    """
    from bandmaster.kernel.errors import PlanError
    from bandmaster.kernel.process.function import ROLE

    try:
        yield
    except PlanError as error:
        hint = (
            "No application was named, so the function gets only what installed parts provide. Name yours: bandmaster "
            f"exec --app module:attribute {function}"
        )
        raise PlanError(
            [
                replace(one, hint=f"{one.hint.rstrip('.')}. {hint}".lstrip(". ")) if one.subject == ROLE else one
                for one in error.problems
            ]
        ) from error


def _render_json(call: FunctionCall, code: int, result: Any) -> dict[str, Any]:
    """The result of a call as JSON for programs, or the failure, which is reported on stderr as well.

    Raises:
        CommandError: JSON can't hold the result.
    """
    data: dict[str, Any] = {"format": 1, "ok": code == 0}
    if call.error is not None:
        data = render_error_json(call.error)
    elif not call.has_returned:
        data = render_error_json(CommandError("The function was cancelled by a signal before it returned."))
    if call.has_returned:
        try:
            data["result"] = json.loads(json.dumps(result, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise CommandError(
                f"The function returned {describe_object(result)}, which JSON can't hold: {error}.",
                "Return None, text, numbers, lists and dicts of those.",
            ) from error
    return data
