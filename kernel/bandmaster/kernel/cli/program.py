"""The program ``bandmaster``: the kernel's own commands, then those of installed distributions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bandmaster.kernel.cli.commands.check import check
from bandmaster.kernel.cli.commands.config import config
from bandmaster.kernel.cli.commands.exec import execute
from bandmaster.kernel.cli.commands.lock import lock
from bandmaster.kernel.cli.commands.new import new
from bandmaster.kernel.cli.commands.plan import plan
from bandmaster.kernel.cli.commands.plugins import plugins
from bandmaster.kernel.cli.commands.run import run
from bandmaster.kernel.cli.commands.timeline import timeline
from bandmaster.kernel.cli.contributed import ContributedCommand
from bandmaster.kernel.cli.output import is_terminal
from bandmaster.kernel.contribs import COMMANDS, describe_source
from bandmaster.kernel.contributions.model import COMMANDS_GROUP
from bandmaster.kernel.discovery.metadata import Found, scan

OWN: dict[str, Callable[..., None]] = {
    "plan": plan,
    "check": check,
    "run": run,
    "exec": execute,
    "config": config,
    "plugins": plugins,
    "timeline": timeline,
    "lock": lock,
    "new": new,
}


class Program(TyperGroup):
    """The kernel's commands, then those of the entry point group ``bandmaster.commands``."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the kernel's commands in their order, then of the others in alphabetical order."""
        return [*super().list_commands(ctx), *self._contributed]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by its name. A contributed command is imported only when invoked."""
        return super().get_command(ctx, cmd_name) or self._contributed.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command by the arguments. An error about a misspelt name suggests contributed commands, too."""
        name = args[0]
        if name not in self.commands:
            self.commands = {**self._contributed, **self.commands}
        if name not in self.commands and name in COMMANDS:
            ctx.fail(f"{name!r} comes with {describe_source(COMMANDS[name])}")
        return super().resolve_command(ctx, args)

    @cached_property
    def _contributed(self) -> dict[str, ContributedCommand]:
        parts: dict[str, list[Found]] = {}
        for part in scan().found:
            if part.group == COMMANDS_GROUP and part.name not in self.commands:
                parts.setdefault(part.name, []).append(part)
        return {name: ContributedCommand(found) for name, found in sorted(parts.items())}


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from bandmaster.kernel.discovery.distributions import render_version

        typer.echo(render_version("bandmaster"))
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", help="Show the version and exit.", is_eager=True, show_default=False, callback=_print_version
    ),
]


def program() -> typer.Typer:
    """The command line with all commands."""
    app = typer.Typer(
        name="bandmaster",
        cls=Program,
        help="Compose the lifecycle of an ASGI application from installed parts.\n\n"
        "Most commands take the application as module:attribute, as in: bandmaster plan shop.main:app",
        epilog="Exit codes: 0 done, 1 problem found, 2 wrong use; for those of run, see bandmaster run --help.",
        no_args_is_help=True,
        rich_markup_mode="rich" if is_terminal() else None,
        pretty_exceptions_enable=False,
        context_settings={"max_content_width": 100},
    )
    app.callback()(_options)
    for name, command in OWN.items():
        app.command(name)(command)
    return app


def _options(version: Version = False) -> None:
    """Options before the command."""
