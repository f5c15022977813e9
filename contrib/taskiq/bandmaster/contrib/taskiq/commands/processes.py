"""``bandmaster worker`` and ``bandmaster scheduler``: processes that run the plan of their role."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bandmaster.kernel.commands import MISCONFIGURED, AppDir, CommandError, Format, Target, Traceback, answering

if TYPE_CHECKING:
    from bandmaster.contrib.taskiq.settings import TaskIQSettings
    from bandmaster.kernel import Kernel

Health = Annotated[
    int | None,
    typer.Option(
        "--health-port",
        help="Serve /livez, /readyz and /startupz here; with several processes, the second has the next port, and so on.",
        min=0,
        max=65535,
        show_default="none",
    ),
]
HealthHost = Annotated[str, typer.Option("--health-host", help="Address to serve them on.")]


def worker(
    target: Target = None,
    processes: Annotated[int, typer.Option("--processes", "-p", help="How many processes work.", min=1)] = 1,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", "-c", help="Tasks that each runs at once.", min=1, show_default="20")
    ] = None,
    queue: Annotated[
        str | None, typer.Option("--queue", "-q", help="The queue to work at.", show_default="tasks")
    ] = None,
    health_port: Health = None,
    health_host: HealthHost = "127.0.0.1",
    app_dir: AppDir = ".",
    traceback: Traceback = False,
    one_of: Annotated[int | None, typer.Option("--one-of", hidden=True)] = None,
    parent_pipe: Annotated[int | None, typer.Option("--parent-pipe", hidden=True)] = None,
) -> None:
    """Work at the task queue.

    Starts what belongs to the role worker, runs tasks, and stops at SIGTERM or SIGINT: takes no more, hands back what
    hasn't begun, waits for what runs as long as BANDMASTER_DRAIN_TIMEOUT says, and gives the rest to others. A second
    signal doesn't wait.

    Exit codes: 0 asked to stop and stopped, 70 failed, 78 wrong configuration or plan, 128 + n ended by signal n with
    tasks cut short.
    """
    given = {"concurrency": concurrency, "queue": queue}
    chosen = {name: value for name, value in given.items() if value is not None}
    with answering(Format.TEXT, full=traceback, code=MISCONFIGURED):
        kernel = _kernel(target, app_dir, "worker", chosen, one_of or processes)
    if processes == 1:
        _run(kernel, target, health_port, health_host, parent_pipe)
    # Whatever is wrong for one is wrong for all, and was said above, once.
    from bandmaster.contrib.taskiq.commands.supervisor import supervise

    arguments = ["worker", *([target] if target else []), "--app-dir", app_dir, "--health-host", health_host]
    arguments += [f"--{name}={value}" for name, value in chosen.items()]
    raise typer.Exit(supervise([*arguments, f"--one-of={processes}"], processes, health_port))


def scheduler(
    target: Target = None,
    health_port: Health = None,
    health_host: HealthHost = "127.0.0.1",
    app_dir: AppDir = ".",
    traceback: Traceback = False,
) -> None:
    """Send tasks by the clock.

    Starts what belongs to the role scheduler. Several may run: what is due is sent once, by whoever comes first.

    Exit codes: 0 asked to stop and stopped, 70 failed, 78 wrong configuration or plan.
    """
    with answering(Format.TEXT, full=traceback, code=MISCONFIGURED):
        kernel = _kernel(target, app_dir, "scheduler", {}, 1)
    _run(kernel, target, health_port, health_host, None)


def _run(kernel: Kernel, target: str | None, port: int | None, host: str, parent_pipe: int | None) -> None:
    from bandmaster.contrib.taskiq.commands.supervisor import end_with_parent
    from bandmaster.kernel import end_process, run_process

    if parent_pipe is not None:
        end_with_parent(parent_pipe)
    end_process(run_process(kernel, target=target, health=None if port is None else (host, port)))


def _kernel(target: str | None, app_dir: str, role: str, chosen: dict[str, Any], processes: int) -> Kernel:
    from bandmaster.contrib.taskiq.settings import TaskIQSettings
    from bandmaster.kernel import load_application

    # What is installed alone is composed for the role; a target has a role of its own, the web's most often.
    kernel = load_application(target, app_dir, role="web" if target else role).kernel
    if kernel.role != role:
        kernel = kernel.for_role(role)
    settings = kernel.plan.settings_of(TaskIQSettings)
    if settings is None:
        raise CommandError(
            f"Nothing of what is to run as {role} reads the settings of a task queue.", "Is bandmaster-taskiq disabled?"
        )
    if settings.redis_url is None and settings.broker is None:
        raise CommandError(
            f"A {role} of its own needs a queue that processes share.",
            "Set TASKIQ_REDIS_URL, or TASKIQ_BROKER; without, tasks run in the process that sends them.",
        )
    if not chosen and processes == 1:
        return kernel
    return kernel.for_role(
        role,
        overrides={TaskIQSettings: _with_options(settings, chosen)},
        settings=kernel.settings.model_copy(update={"processes": processes}) if processes > 1 else None,
    )


def _with_options(settings: TaskIQSettings, chosen: dict[str, Any]) -> TaskIQSettings:
    """The settings, with options in their place."""
    from pydantic import ValidationError

    try:
        return type(settings)(**{**dict(settings), **chosen})
    except ValidationError as error:
        wrong = "; ".join(f"--{detail['loc'][0]}: {detail['msg']}" for detail in error.errors(include_input=False))
        raise CommandError(f"{wrong}.", misspelt=True) from None
