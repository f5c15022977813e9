"""``bandmaster run``: serves the application, with the kernel as the owner of the process."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bandmaster.kernel.cli.options import AppDir, Format, Target, Traceback
from bandmaster.kernel.cli.output import answering, show
from bandmaster.kernel.reports import MISCONFIGURED

if TYPE_CHECKING:
    from bandmaster.kernel.hosting.application import Application
    from bandmaster.kernel.process.servers.settings import ServerSettings


class Server(StrEnum):
    """The servers that the launcher knows."""

    UVICORN = "uvicorn"
    HYPERCORN = "hypercorn"
    GRANIAN = "granian"


Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.", show_default="127.0.0.1")]
Port = Annotated[
    int | None, typer.Option("--port", help="Port to listen on; 0 takes any.", min=0, max=65535, show_default="8000")
]
Uds = Annotated[str | None, typer.Option("--uds", help="Unix socket to listen on instead.", metavar="PATH")]
ServerChoice = Annotated[Server | None, typer.Option("--server", help="Who answers.", show_default="uvicorn")]
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

        settings = _settings({"host": host, "port": port, "uds": uds, "server": server and server.value})
        app = load_application(target, app_dir)
        if show_plan:
            _show_plan(app, target)
    from bandmaster.kernel.process.launcher import launch
    from bandmaster.kernel.process.process import end_process

    end_process(launch(app, settings, target=target))


def _settings(options: dict[str, Any]) -> ServerSettings:
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from bandmaster.kernel.errors import PlanError, Problem
    from bandmaster.kernel.process.servers.settings import ServerSettings
    from bandmaster.kernel.settings.validation import Location, validation_messages
    from bandmaster.kernel.settings.variables import variable_of

    given = {name: value for name, value in options.items() if value is not None}

    def render_name(location: Location) -> str:
        field = str(location[0]) if location else ""
        if field in given:
            return f"--{field}"
        return variable_of(ServerSettings, field) if field in ServerSettings.model_fields else "the server's settings"

    try:
        return ServerSettings(**given)
    except ValidationError as error:
        raise PlanError([Problem(f"{message}.") for message in validation_messages(error, render_name)]) from error
    except SettingsError as error:
        raise PlanError([Problem(f"the server's settings can't be read: {error}.")]) from error


def _show_plan(app: Application, target: str | None) -> None:
    from bandmaster.kernel.cli.planned_target import name_target
    from bandmaster.kernel.cli.views.plan_view import plan_sections

    warnings = (*app.plan.warnings, *app.warnings)
    show(plan_sections(name_target(target), app.plan, app.settings, app.kernel.discovery.left_out, (), warnings))
    typer.echo()
