"""The program: the kernel's own commands, then those that installed distributions contribute."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bandmaster.kernel.cli.commands.check import check
from bandmaster.kernel.cli.commands.config import config
from bandmaster.kernel.cli.commands.lock import lock
from bandmaster.kernel.cli.commands.plan import plan
from bandmaster.kernel.cli.commands.plugins import plugins
from bandmaster.kernel.cli.commands.run import run
from bandmaster.kernel.cli.commands.timeline import timeline
from bandmaster.kernel.cli.foreign import ForeignCommand
from bandmaster.kernel.cli.output import is_terminal
from bandmaster.kernel.contributions.model import COMMANDS_GROUP
from bandmaster.kernel.discovery.metadata import Found, scan

OWN = (plan, check, run, config, plugins, timeline, lock)


class Program(TyperGroup):
    """The kernel's commands, and behind them whatever stands in the group ``bandmaster.commands``."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The kernel's own in their order, then the others by name."""
        return [*super().list_commands(ctx), *self._foreign]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command; a contributed one is imported only when it is invoked."""
        return super().get_command(ctx, cmd_name) or self._foreign.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As the base does, with the contributed commands among those that a slip may have meant."""
        if args[0] not in self.commands:
            self.commands = {**self._foreign, **self.commands}
        return super().resolve_command(ctx, args)

    @cached_property
    def _foreign(self) -> dict[str, ForeignCommand]:
        parts: dict[str, list[Found]] = {}
        for part in scan().found:
            if part.group == COMMANDS_GROUP and part.name not in self.commands:
                parts.setdefault(part.name, []).append(part)
        return {name: ForeignCommand(found) for name, found in sorted(parts.items())}


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"bandmaster {version('bandmaster')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", help="Show the version and exit.", is_eager=True, show_default=False, callback=_print_version
    ),
]


def program() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="bandmaster",
        cls=Program,
        help="Compose the lifecycle of an ASGI application from installed parts.",
        epilog="Exit codes: 0 done, 1 a problem found, 2 wrong use; those of run are in its own help.",
        no_args_is_help=True,
        rich_markup_mode="rich" if is_terminal() else None,
        pretty_exceptions_enable=False,
        context_settings={"max_content_width": 100},
    )
    app.callback()(_options)
    for command in OWN:
        app.command()(command)
    return app


def _options(version: Version = False) -> None:
    """What stands before the command."""
