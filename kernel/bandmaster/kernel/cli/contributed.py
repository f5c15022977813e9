"""Commands that installed distributions contribute. Each is imported only when called."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import typer
from typer.core import TyperCommand

from bandmaster.kernel.cli.options import Format
from bandmaster.kernel.cli.output import answering, is_terminal
from bandmaster.kernel.cli.static_help import read_command_help
from bandmaster.kernel.contributions.model import COMMANDS_GROUP
from bandmaster.kernel.errors import DiscoveryError, PlanError, Problem
from bandmaster.kernel.hosting.targets import put_first
from bandmaster.kernel.imports import describe_object
from bandmaster.kernel.reports import MISCONFIGURED

if TYPE_CHECKING:
    from bandmaster.kernel.discovery.metadata import Found


class ContributedCommand(TyperCommand):
    """The place of a contributed command in the program, until that command is called and gets all arguments."""

    def __init__(self, parts: list[Found]) -> None:
        owners = " and ".join(str(part.provenance) for part in parts)
        summary = read_command_help(parts[0].value) if len(parts) == 1 else None
        text = f"{summary} ({owners})" if summary else f"From {owners}."
        super().__init__(parts[0].name, short_help=text, add_help_option=False)
        self.rich_help_panel = "Commands of installed distributions"

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Make a context of this place; to complete a half-typed command line, of the command itself."""
        if extra.get("resilient_parsing"):
            with contextlib.suppress(Exception):  # a shell that completes can't show errors
                return self._load().make_context(info_name, args, parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Leave all arguments to the command, ``--help`` as well."""
        ctx.args = args
        return args

    def invoke(self, ctx: Any) -> Any:
        """Load and run the command."""
        from bandmaster.kernel.settings.environment import use_command_line_file

        if env_file := _find_env_file(ctx.args):
            # Which commands may be loaded is decided by the settings of the file as well.
            ctx.with_resource(use_command_line_file(env_file))
        with answering(Format.TEXT):
            self._load().main(args=ctx.args, prog_name=ctx.command_path)

    def _load(self) -> Any:
        from bandmaster.kernel.discovery.discover import load_command

        try:
            found = _find_admitted(cast("str", self.name))
        except PlanError:
            with answering(Format.TEXT, code=MISCONFIGURED):
                raise
        put_first(".")
        return _make_command(found, load_command(found))


def _find_env_file(args: Sequence[str]) -> str | None:
    """The value of ``--env-file``; None without one. The command itself parses the option again."""
    for index, argument in enumerate(args):
        if argument == "--":
            return None
        name, given, value = argument.partition("=")
        if name == "--env-file":
            return value if given else next(iter(args[index + 1 : index + 2]), None)
    return None


def _find_admitted(name: str) -> Found:
    """The entry point of a command, if the settings allow to load the command.

    Raises:
        DiscoveryError: the settings don't allow that, or the installed parts have problems.
        PlanError: the kernel's settings can't be read.
    """
    from bandmaster.kernel.cli.installed import find_installed

    installed = find_installed([COMMANDS_GROUP])
    for part in installed.admission.admitted:
        if part.name == name:
            return part
    for left in installed.admission.left_out:
        # If the lock file doesn't match, everything is left out, and the mismatch is the better explanation.
        if left.found.name == name and (installed.settings.plugins != "locked" or not installed.problems):
            raise DiscoveryError([Problem(f"{left.found} isn't loaded: {left.reason}.", subject=name)])
    about_command = [problem for problem in installed.problems if problem.subject == name]
    raise DiscoveryError(about_command or installed.problems)


def _make_command(found: Found, loaded: Any) -> Any:
    if isinstance(loaded, typer.Typer):
        if not (loaded.registered_callback or loaded.registered_groups or loaded.registered_commands):
            raise _refuse(found, "a Typer without commands", "Register one with @app.command().")
        if not is_terminal():
            loaded.rich_markup_mode = None
        return typer.main.get_command(loaded)
    # A command of click, or of typer, which has a copy of click. Neither is an instance of the other's class.
    if callable(getattr(loaded, "main", None)) and hasattr(loaded, "make_context"):
        return loaded
    if inspect.isroutine(loaded):
        app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        app.command(found.name)(loaded)
        return typer.main.get_command(app)
    raise _refuse(found, describe_object(loaded), "Name a typer.Typer, a click command, or a function.")


def _refuse(found: Found, kind: str, hint: str) -> DiscoveryError:
    return DiscoveryError([Problem(f"{found} can't be run: {found.value} is {kind}.", hint, found.name)])
