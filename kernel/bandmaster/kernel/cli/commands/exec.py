"""``bandmaster exec``: run one function inside a started plan."""

from __future__ import annotations

from typing import Annotated

import typer

from bandmaster.kernel.cli.options import WITHOUT_TARGET, AppDir, EnvFile, Format, Traceback, check_role
from bandmaster.kernel.cli.output import answering, show_line
from bandmaster.kernel.reports import MISCONFIGURED

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
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Run one function inside a started plan.

    For data fixes and cron jobs: starts the components, calls the function with the resources that it asks for, and
    stops them again. A result other than None is printed. The first SIGTERM or SIGINT (Ctrl-C) cancels an async
    function.

    Exit codes: 0 done, 70 failed, 78 wrong settings or plan, 128 + n ended early by signal n.
    """
    with answering(Format.TEXT, full=traceback, code=MISCONFIGURED):
        from bandmaster.kernel.hosting.default_target import resolve_target
        from bandmaster.kernel.hosting.targets import load_function, load_kernel
        from bandmaster.kernel.process.exit import end_process
        from bandmaster.kernel.process.function import FunctionCall, run_function

        target, app_dir = resolve_target(app, app_dir)
        call = FunctionCall(load_function(function, app_dir), function)
        kernel = load_kernel(target, app_dir, role)
        kernel.extend([call.contribution])
        code, result = run_function(kernel, call, target=target, traceback=traceback)
    if result is not None:
        show_line(str(result))
    end_process(code)
