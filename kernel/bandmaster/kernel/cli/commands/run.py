"""``bandmaster run``: serve an application in a process that the kernel owns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bandmaster.kernel.cli.options import AppDir, EnvFile, Format, Target, Traceback
from bandmaster.kernel.cli.output import answering, show, show_line
from bandmaster.kernel.reports import MISCONFIGURED

if TYPE_CHECKING:
    from bandmaster.kernel.hosting.application import Application

Host = Annotated[str | None, typer.Option("--host", help="The address to listen on.", show_default="127.0.0.1")]
Port = Annotated[
    int | None,
    typer.Option("--port", help="The port to listen on; 0 takes any free one.", min=0, max=65535, show_default="8000"),
]
Uds = Annotated[
    str | None,
    typer.Option("--uds", help="A Unix socket to listen on, in place of host and port.", metavar="PATH"),
]
# The same as ServerName, whose module imports pydantic: too slow for commands that need no settings.
ServerOption = Annotated[
    Literal["uvicorn", "hypercorn", "granian"] | None,
    typer.Option("--server", help="The server that runs the application.", show_default="uvicorn"),
]
ShowPlan = Annotated[bool, typer.Option("--show-plan", help="Print the plan before the start.", show_default=False)]


def run(
    target: Target = None,
    host: Host = None,
    port: Port = None,
    uds: Uds = None,
    server: ServerOption = None,
    show_plan: ShowPlan = False,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Serve the application.

    Starts the plan, then the server. Drains and stops at SIGTERM or SIGINT (Ctrl-C).

    The environment sets the same options as BANDMASTER_SERVER_..., and many more: bandmaster config lists them.

    Exit codes: 0 stopped as asked to, 70 failed, 78 wrong settings or plan, 128 + n ended early by signal n.
    """
    with answering(Format.TEXT, full=traceback, code=MISCONFIGURED):
        from bandmaster.kernel.hosting.default_target import resolve_target
        from bandmaster.kernel.hosting.targets import load_application
        from bandmaster.kernel.process.servers.settings import make_server_settings

        options = {"host": host, "port": port, "uds": uds, "server": server}
        target, app_dir = resolve_target(target, app_dir)
        app = load_application(target, app_dir)
        with app.kernel.use_environment():
            settings = make_server_settings(options, option_prefix="--")
        if show_plan:
            _show_plan(app, target)
    from bandmaster.kernel.process.exit import end_process
    from bandmaster.kernel.process.launcher import serve

    end_process(serve(app, settings=settings, target=target, traceback=traceback))


def _show_plan(app: Application, target: str | None) -> None:
    from bandmaster.kernel.cli.planned_target import name_target
    from bandmaster.kernel.cli.views.plan_text import render_plan_text

    warnings = (*app.plan.warnings, *app.warnings)
    show(render_plan_text(name_target(target), app.plan, app.settings, app.kernel.discovery.left_out, (), warnings))
    show_line()
