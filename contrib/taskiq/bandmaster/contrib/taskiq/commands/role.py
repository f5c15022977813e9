"""Composes and runs the plan of a role, for the commands ``worker`` and ``scheduler``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from bandmaster.kernel.commands import CommandError

if TYPE_CHECKING:
    from bandmaster.contrib.taskiq.settings import TaskIQSettings
    from bandmaster.kernel import Kernel

Health = Annotated[
    int | None,
    typer.Option(
        "--health-port",
        help="Serve /livez, /readyz and /startupz on this port; a second process gets the next port, and so on.",
        min=0,
        max=65535,
        show_default="none",
    ),
]
HealthHost = Annotated[str, typer.Option("--health-host", help="The address to serve them on.")]


def compose_role(
    target: str | None, app_dir: str, role: str, options: dict[str, Any] | None = None, processes: int = 1
) -> Kernel:
    """The kernel of a target, or of all installed parts, for a role, with command-line options in place of settings.

    Raises:
        CommandError: the role has no task queue, or an option is invalid.
        PlanError: the parts don't fit together, or a start would be refused.
    """
    from bandmaster.contrib.taskiq.settings import TaskIQSettings
    from bandmaster.kernel import load_kernel

    kernel = load_kernel(target, app_dir, role)
    settings = kernel.plan.settings_of(TaskIQSettings)
    if settings is None:
        raise CommandError(
            f"No component of the role {role} reads the settings of a task queue.", "Is bandmaster-taskiq disabled?"
        )
    if options or processes > 1:
        kernel = kernel.for_role(
            role,
            overrides={TaskIQSettings: _apply_options(settings, options or {})},
            settings=kernel.settings.model_copy(update={"processes": processes}) if processes > 1 else None,
        )
    kernel.check_start()  # once, and not in each of several processes
    return kernel


def run_role(
    kernel: Kernel,
    target: str | None,
    health_port: int | None,
    health_host: str,
    parent_pipe: int | None = None,
    *,
    traceback: bool = False,
) -> NoReturn:
    """Run a kernel until a stop is requested, and end this process with the kernel's exit code."""
    from bandmaster.contrib.taskiq.commands.supervisor import end_with_parent
    from bandmaster.kernel import end_process, run_process

    if parent_pipe is not None:
        end_with_parent(parent_pipe)
    health = None if health_port is None else (health_host, health_port)
    end_process(run_process(kernel, target=target, health=health, traceback=traceback))


def _apply_options(settings: TaskIQSettings, options: dict[str, Any]) -> TaskIQSettings:
    from pydantic import ValidationError

    from bandmaster.kernel import validation_messages

    try:
        return type(settings)(**{**dict(settings), **options})
    except ValidationError as error:
        problems = validation_messages(error, lambda location: f"--{location[0]}")
        raise CommandError(f"{'; '.join(problems)}.", misspelt=True) from None
