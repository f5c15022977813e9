"""The command ``bandmaster worker``."""

from __future__ import annotations

from typing import Annotated

import typer

from bandmaster.contrib.taskiq.commands.role import Health, HealthHost, compose_role, run_role
from bandmaster.kernel.commands import MISCONFIGURED, AppDir, EnvFile, Format, Target, Traceback, answering


def worker(
    target: Target = None,
    processes: Annotated[int, typer.Option("--processes", "-p", help="The number of worker processes.", min=1)] = 1,
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", "-c", help="Tasks that each process runs at once.", min=1, show_default="20"),
    ] = None,
    queue: Annotated[
        str | None, typer.Option("--queue", "-q", help="The queue to consume.", show_default="tasks")
    ] = None,
    health_port: Health = None,
    health_host: HealthHost = "127.0.0.1",
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    traceback: Traceback = False,
    one_of: Annotated[int | None, typer.Option("--one-of", hidden=True)] = None,
    parent_pipe: Annotated[int | None, typer.Option("--parent-pipe", hidden=True)] = None,
) -> None:
    """Run the tasks of the queue.

    Starts the components of the role worker and runs tasks until SIGTERM or SIGINT. Then the worker stops
    receiving, releases the messages whose tasks haven't begun, waits for running tasks as long as
    BANDMASTER_DRAIN_TIMEOUT, and releases the rest. A second signal ends the wait.

    Exit codes: 0 asked to stop and stopped, 70 failed, 78 wrong configuration or plan, 128 + n ended by signal n with
    tasks cut short.
    """
    given = {"concurrency": concurrency, "queue": queue}
    options = {name: value for name, value in given.items() if value is not None}
    with answering(Format.TEXT, full=traceback, code=MISCONFIGURED):
        kernel = compose_role(target, app_dir, "worker", options, one_of or processes)
    if processes == 1:
        run_role(kernel, target, health_port, health_host, parent_pipe, traceback=traceback)
    # The kernel was composed in this process too, so that a wrong configuration is reported once and not by each child.
    from bandmaster.contrib.taskiq.commands.supervisor import supervise

    arguments = ["worker", *([target] if target else []), "--app-dir", app_dir, "--health-host", health_host]
    arguments += [f"--{name}={value}" for name, value in options.items()]
    arguments += [] if env_file is None else ["--env-file", env_file]
    arguments += ["--traceback"] if traceback else []
    raise typer.Exit(supervise([*arguments, f"--one-of={processes}"], processes, health_port))
