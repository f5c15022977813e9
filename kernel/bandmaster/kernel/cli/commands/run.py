"""``bandmaster run``: serves the application, with the kernel as the owner of the process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bandmaster.kernel.cli.options import AppDir, Format, Target, Traceback
from bandmaster.kernel.cli.output import answering, show
from bandmaster.kernel.reports import MISCONFIGURED

if TYPE_CHECKING:
    from bandmaster.kernel.hosting.application import Application

Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.", show_default="127.0.0.1")]
Port = Annotated[
    int | None, typer.Option("--port", help="Port to listen on; 0 takes any.", min=0, max=65535, show_default="8000")
]
Uds = Annotated[str | None, typer.Option("--uds", help="Unix socket to listen on instead.", metavar="PATH")]
# As ServerName, which would import pydantic for every command.
ServerChoice = Annotated[
    Literal["uvicorn", "hypercorn", "granian"] | None,
    typer.Option("--server", help="Who answers.", show_default="uvicorn"),
]
ShowPlan = Annotated[bool, typer.Option("--show-plan", help="Print the plan first.", show_default=False)]


def run(
    target: Target = None,
    host: Host = None,
    port: Port = None,
    uds: Uds = None,
    server: ServerChoice = None,
    show_plan: ShowPlan = False,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Serve the application.

    Starts the plan, runs a server, drains and stops at SIGTERM or SIGINT.

    Every option can be set in the environment as BANDMASTER_SERVER_..., as can many more; see bandmaster config.

    Exit codes: 0 asked to stop and stopped, 70 failed, 78 wrong configuration or plan, 128 + n ended by signal n.
    """
    with answering(Format.TEXT, full=traceback, code=MISCONFIGURED):
        from bandmaster.kernel.hosting.targets import load_application
        from bandmaster.kernel.process.servers.settings import make_server_settings

        options = {"host": host, "port": port, "uds": uds, "server": server}
        settings = make_server_settings(options, option_prefix="--")
        app = load_application(target, app_dir)
        if show_plan:
            _show_plan(app, target)
    from bandmaster.kernel.process.exit import end_process
    from bandmaster.kernel.process.launcher import serve

    end_process(serve(app, settings=settings, target=target))


def _show_plan(app: Application, target: str | None) -> None:
    from bandmaster.kernel.cli.planned_target import name_target
    from bandmaster.kernel.cli.views.plan_view import plan_sections

    warnings = (*app.plan.warnings, *app.warnings)
    show(plan_sections(name_target(target), app.plan, app.settings, app.kernel.discovery.left_out, (), warnings))
    typer.echo()
