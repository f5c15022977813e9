"""Commands that installed distributions contribute, imported when they are called."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

import typer
from typer.core import TyperCommand

from bandmaster.kernel.cli.options import Format
from bandmaster.kernel.cli.output import answering, is_terminal
from bandmaster.kernel.contributions.model import COMMANDS_GROUP
from bandmaster.kernel.errors import DiscoveryError, Problem
from bandmaster.kernel.hosting.targets import put_first, what_is

if TYPE_CHECKING:
    from bandmaster.kernel.discovery.metadata import Found


class ForeignCommand(TyperCommand):
    """Stands for a contributed command until it is called; then hands all arguments on as they are."""

    def __init__(self, parts: list[Found]) -> None:
        owners = " and ".join(str(part.provenance) for part in parts)
        super().__init__(parts[0].name, short_help=f"From {owners}.", add_help_option=False)
        self.rich_help_panel = "Commands of installed distributions"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Leave everything to the command itself, ``--help`` as well."""
        ctx.args = args
        return args

    def invoke(self, ctx: Any) -> Any:
        """Load the command, and run it."""
        with answering(Format.TEXT):
            from bandmaster.kernel.discovery.discover import load_command

            found = _admitted(cast("str", self.name))
            put_first(".")
            command = _runnable(found, load_command(found))
            command.main(args=ctx.args, prog_name=ctx.command_path)


def _admitted(name: str) -> Found:
    """The entry point of a command, if it may be loaded.

    Raises:
        DiscoveryError: it may not.
        PlanError: the kernel's settings, which decide it, can't be read.
    """
    from bandmaster.kernel.cli.installed import look

    installed = look([COMMANDS_GROUP])
    for part in installed.admission.admitted:
        if part.name == name:
            return part
    for left in installed.admission.left_out:
        # While the lock isn't met, all are left out: what it isn't met in says more.
        if left.found.name == name and (installed.settings.plugins != "locked" or not installed.problems):
            raise DiscoveryError([Problem(f"{left.found} isn't loaded: {left.reason}.", subject=name)])
    about_it = [problem for problem in installed.problems if problem.subject == name]
    raise DiscoveryError(about_it or installed.problems)


def _runnable(found: Found, loaded: Any) -> Any:
    if isinstance(loaded, typer.Typer):
        if not (loaded.registered_callback or loaded.registered_groups or loaded.registered_commands):
            raise _refused(found, "a Typer without commands", "Register one with @app.command().")
        if not is_terminal():
            loaded.rich_markup_mode = None
        return typer.main.get_command(loaded)
    # Commands of click, and of typer, which has a click of its own.
    if callable(getattr(loaded, "main", None)) and hasattr(loaded, "make_context"):
        return loaded
    if inspect.isroutine(loaded):
        app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        app.command(found.name)(loaded)
        return typer.main.get_command(app)
    raise _refused(found, what_is(loaded), "Name a typer.Typer, a click command, or a function.")


def _refused(found: Found, kind: str, hint: str) -> DiscoveryError:
    return DiscoveryError([Problem(f"{found} can't be run: {found.value} is {kind}.", hint, found.name)])
