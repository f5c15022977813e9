"""The command ``bandmaster scheduler``."""

from __future__ import annotations

from bandmaster.contrib.taskiq.commands.role import Health, HealthHost, compose_role, run_role
from bandmaster.kernel.commands import MISCONFIGURED, AppDir, EnvFile, Format, Target, Traceback, answering


def scheduler(
    target: Target = None,
    health_port: Health = None,
    health_host: HealthHost = "127.0.0.1",
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Send scheduled tasks at their times.

    Starts the components of the role scheduler. Several may run: each due task is sent once, by the first scheduler.

    Exit codes: 0 asked to stop and stopped, 70 failed, 78 wrong configuration or plan.
    """
    with answering(Format.TEXT, full=traceback, code=MISCONFIGURED):
        kernel = compose_role(target, app_dir, "scheduler")
    run_role(kernel, target, health_port, health_host, traceback=traceback)
