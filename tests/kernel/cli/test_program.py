"""Tests of bandmaster.kernel.cli.program."""

import contextlib
import importlib.metadata
import io
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from bandmaster.kernel import cli
from bandmaster.kernel.cli import contributed
from bandmaster.kernel.cli import program as program_module
from bandmaster.kernel.cli.commands import OWN_COMMANDS

TOOLS = """
import click
import typer
from bandmaster.kernel import PlanError, Problem

several = typer.Typer(add_completion=False)
empty = typer.Typer()

@several.command()
def up(steps: int = 1):
    print("up", steps)

@several.command()
def down():
    raise typer.Exit(7)

def hello(name: str = "you", loud: bool = False):
    '''Say hello.'''
    print("HELLO" if loud else "hello", name)

def fails():
    raise PlanError([Problem("no plan")])

@click.command()
@click.argument("words", nargs=-1)
@click.option("--x", type=int)
def clicky(words, x):
    click.echo(f"{words} {x}")

number = 3
class Thing: ...
"""
NAMES = ["several", "empty", "hello", "fails", "clicky", "number", "Thing", "missing"]


@pytest.fixture
def tools(sandbox):
    entries = "".join(f"{name.lower()} = acme_tools:{name}\n" for name in NAMES)
    sandbox.install("acme-tools", f"[bandmaster.commands]\n{entries}", "0.3", acme_tools=TOOLS)
    sandbox.install(
        "acme-bad",
        "[bandmaster.commands]\nbroken = acme_bad:x\nplan = acme_bad:plan\nodd = acme_bad\n",
        acme_bad="import reddis\n",
    )
    return sandbox


HELP = """\
Usage: bandmaster [OPTIONS] COMMAND [ARGS]...

  Compose the lifecycle of an ASGI application from installed parts.

  Most commands take the application as module:attribute, as in: bandmaster plan
  shop.main:app

Options:
  --version             Show the version and exit.
  --install-completion  Install completion for the current shell.
  --show-completion     Show completion for the current shell, to copy it or
                        customize the installation.
  --help                Show this message and exit.

Commands:
  plan      Print what would start, in which order and why.
  check     Check that all parts fit together, without starting them.
  run       Serve the application.
  exec      Run one function inside a started plan.
  config    Print every setting with its current value.
  plugins   Print every installed part with its distribution.
  timeline  Print how long each component of the last start took.
  lock      Pin the installed parts in a lock file.
  new       Write a small application to begin with.
  down      From acme-tools 0.3.
  hello     From acme-tools 0.3 and acme-twin 1.
  up        Count up. (acme-tools 0.3)

  Exit codes: 0 done, 1 problem found, 2 wrong use; for those of run, see
  bandmaster run --help.
"""


def test_help_lists_everything(sandbox):
    """The help lists the kernel's commands, then the installed ones with their own help, and imports none."""
    entries = "hello = acme_tools:hello\nup = acme_tools:up\ndown = acme_tools:down\n"
    module = "1 / 0\ndef up():\n    'Count up.'\ndef down(): ...\n"
    sandbox.install("acme-tools", f"[bandmaster.commands]\n{entries}", "0.3", acme_tools=module)
    sandbox.install("acme-twin", "[bandmaster.commands]\nhello = acme_twin:hello\n", "1", acme_twin="1 / 0")
    assert HELP == sandbox.out("--help")
    result = sandbox.run()
    assert (2, "acme_tools" in sys.modules) == (result.exit_code, False)
    assert HELP in result.output


def test_help_on_a_terminal(sandbox):
    """On a terminal the help has colours, and a panel of its own for installed commands."""
    sandbox.install("acme-tools", "[bandmaster.commands]\nhello = acme_tools:hello\n", "0.3")
    sandbox.monkeypatch.setattr(program_module, "is_terminal", lambda: True)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", sandbox.run("--help", terminal=True).stdout)
    assert "╭─ Commands of installed distributions ─" in shown
    assert "╭─ Commands ─" in shown


@pytest.mark.parametrize("command", OWN_COMMANDS)
def test_every_command_has_help(sandbox, command):
    """Every command has a help text that fits into 80 columns."""
    shown = sandbox.out(command, "--help")
    assert shown.startswith(f"Usage: bandmaster {command} [OPTIONS]")
    assert all(len(line) <= 80 for line in shown.splitlines())


@pytest.mark.requirement("FA-12")
def test_version(sandbox):
    """The version is that of the distribution."""
    assert f"bandmaster {importlib.metadata.version('bandmaster')}\n" == sandbox.out("--version")


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["hello"], 0, "hello you\n"),
        (["hello", "--name", "me", "--loud"], 0, "HELLO me\n"),
        (["several", "up", "--steps", "3"], 0, "up 3\n"),
        (["several", "down"], 7, ""),
        (["clicky", "a", "--x", "3", "--", "-b"], 0, "('a', '-b') 3\n"),
    ],
)
def test_contributed_commands(tools, arguments, code, expected):
    """Functions and commands of typer and click get all arguments, and keep their exit codes."""
    result = tools.run(*arguments)
    assert (code, expected, "") == (result.exit_code, result.stdout, result.stderr)


def test_help_of_contributed_commands(tools):
    """A contributed command prints help under the name that people type."""
    assert "Usage: bandmaster hello [OPTIONS]\n\n  Say hello.\n" in tools.out("hello", "--help")
    assert "Usage: bandmaster several up [OPTIONS]" in tools.out("several", "up", "--help")
    assert "Usage: bandmaster clicky [OPTIONS] [WORDS]..." in tools.out("clicky", "--help")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "broken",
            (
                "command 'broken' (acme-bad 1.2) can't be loaded: acme_bad can't be imported: ModuleNotFoundError: No "
                "module named 'reddis'"
            ),
        ),
        (
            "missing",
            "command 'missing' (acme-tools 0.3) can't be loaded: module acme_tools has no attribute 'missing'.",
        ),
        (
            "empty",
            (
                "command 'empty' (acme-tools 0.3) can't be run: acme_tools:empty is a Typer without commands. "
                "Register one "
                "with @app.command()."
            ),
        ),
        (
            "number",
            (
                "command 'number' (acme-tools 0.3) can't be run: acme_tools:number is an int. Name a typer.Typer, a "
                "click "
                "command, or a function."
            ),
        ),
        (
            "thing",
            "command 'thing' (acme-tools 0.3) can't be run: acme_tools:Thing is the class Thing. Name a typer.Typer",
        ),
        ("odd", "command 'odd' (acme-bad 1.2) is malformed: 'acme_bad' names a module but nothing in it"),
    ],
)
def test_commands_that_cannot_be_run(tools, name, expected):
    """A command that can't be run is named with its distribution and a hint."""
    code, said = tools.error(name)
    assert (1, True) == (code, said.startswith(f"1 problem with the installed parts:\n  - {expected}"))
    assert "hello you\n" == tools.out("hello")


def test_help_of_contributed_commands_on_a_terminal(tools):
    """On a terminal a contributed command keeps its own style."""
    tools.monkeypatch.setattr(contributed, "is_terminal", lambda: True)
    assert "╭─ Commands ─" in re.sub(r"\x1b\[[0-9;]*m", "", tools.run("several", "--help", terminal=True).stdout)


def test_an_error_of_the_kernel_in_a_contributed_command(tools):
    """An error of the kernel is printed as by the kernel's own commands."""
    assert (1, "1 problem in the plan:\n  - no plan\n") == tools.error("fails")


def test_a_broken_command_harms_no_other(sandbox):
    """The kernel's commands don't import contributed ones, and keep their names."""
    sandbox.install(
        "acme-bad", "[bandmaster.commands]\nbroken = acme_bad:x\nplan = acme_bad:x\n", acme_bad="import reddis"
    )
    assert "Plan of everything installed" in sandbox.out("plan")
    assert "ok: " in sandbox.out("check")
    assert "  broken    From acme-bad 1.2.\n" in sandbox.out("--help")


def test_a_misspelt_command(tools):
    """An error about a misspelt command names the nearest of all commands."""
    for typed, meant in (("helo", "hello"), ("plna", "plan")):
        code, said = tools.error(typed)
        assert (2, f"Error: No such command '{typed}'. Did you mean '{meant}'?") == (code, said.splitlines()[-1])


@pytest.mark.parametrize(
    ("command", "contrib"),
    [("worker", "taskiq"), ("scheduler", "taskiq"), ("deadletters", "taskiq"), ("db", "persistence")],
)
def test_a_command_of_a_contrib_that_is_not_installed(sandbox, command, contrib):
    """An error about a command that a contrib brings names the distribution to install."""
    code, said = sandbox.error(command, "shop:app")
    expected = f"Error: {command!r} comes with bandmaster-{contrib}: pip install 'bandmaster[{contrib}]'"
    assert (2, expected) == (code, said.splitlines()[-1])


def test_a_command_of_that_name_from_elsewhere(sandbox):
    """A command named like one of a contrib's is run, whichever distribution brings it."""
    sandbox.install("acme-tools", "[bandmaster.commands]\nworker = acme_tools:hello\n", acme_tools=TOOLS)
    assert "hello you\n" == sandbox.out("worker")


def test_commands_that_may_not_be_loaded(tools):
    """A command that the settings don't allow isn't imported, because importing runs code."""
    tools.setenv(BANDMASTER_DISABLE="hello")
    assert (
        1,
        "1 problem with the installed parts:\n  - command 'hello' (acme-tools 0.3) isn't loaded: it is disabled.\n",
    ) == (tools.error("hello"))
    tools.setenv(BANDMASTER_DISABLE="", BANDMASTER_PLUGINS="allowlist", BANDMASTER_ALLOW="acme-bad")
    assert "isn't loaded: acme-tools isn't in the allowlist.\n" in tools.error("hello")[1]
    tools.setenv(BANDMASTER_PLUGINS="locked")
    assert "There is no lock file bandmaster.lock. Make one with: bandmaster lock" in tools.error("hello")[1]


def test_two_commands_of_one_name(sandbox):
    """Two commands of one name are both refused."""
    for name in ("acme-one", "acme-two"):
        sandbox.install(name, "[bandmaster.commands]\nhello = acme_one:hello\n")
    assert "command 'hello' comes from acme-one 1.2 and acme-two 1.2" in sandbox.error("hello")[1]


def test_the_working_directory_is_on_the_path(sandbox):
    """A contributed command can import an application from the working directory."""
    sandbox.install(
        "acme-tools",
        "[bandmaster.commands]\nshow = acme_tools:show\n",
        acme_tools="import importlib\ndef show(name: str):\n    print(importlib.import_module(name).said)\n",
    )
    sandbox.write("shop.py", "said = 'hi'\n")
    assert "hi\n" == sandbox.out("show", "shop")


def test_main_exits_with_the_code(sandbox, capsys):
    """`main` exits with the code of the command."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["check", "nothing:app"])
    assert 2 == caught.value.code
    assert "There is no module 'nothing'." in capsys.readouterr().err


def test_a_bug_is_reported_without_secrets(sandbox, monkeypatch, capsys):
    """An exception that no part of bandmaster raises is printed with a traceback, in which secrets are masked."""

    def fail():
        raise OSError("no route to postgresql://app:pa/ss@word@db/x")

    monkeypatch.setattr(program_module, "program", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    error = capsys.readouterr().err
    assert (1, True) == (caught.value.code, error.startswith("Traceback (most recent call last):\n"))
    assert error.endswith("OSError: no route to postgresql://app:**********@db/x\n")


def test_an_old_encoding(sandbox, monkeypatch):
    """Characters that the encoding lacks become question marks."""
    sandbox.install_data()
    out = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with pytest.raises(SystemExit) as caught:
        cli.main(["plan"])
    out.flush()
    assert (0, True) == (caught.value.code, b"jobs 2.5 s ? cache" in out.buffer.getvalue())


def test_as_a_module_of_this_process(sandbox, monkeypatch, capsys):
    """The module of the command line runs the same program as the script."""
    monkeypatch.setattr(sys, "argv", ["bandmaster", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(Path(cli.__file__).with_name("__main__.py")), run_name="__main__")
    assert (0, True) == (caught.value.code, capsys.readouterr().out.startswith("bandmaster "))


def python(sandbox, code, *arguments):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*sys.path, str(sandbox.site)]),
        "PYTHONWARNINGS": "error",
    }
    environment |= {"BANDMASTER_PLUGINS": "allowlist"}
    return subprocess.run(
        [sys.executable, *code, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=sandbox.work,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("module", ["bandmaster.kernel", "bandmaster.kernel.cli"])
def test_as_a_module(sandbox, module):
    """``python -m bandmaster.kernel`` is the command line, too."""
    result = python(sandbox, ["-m", module], "--version")
    assert (0, f"bandmaster {importlib.metadata.version('bandmaster')}\n", "") == (
        result.returncode,
        result.stdout,
        result.stderr,
    )
    sandbox.write("shop.py", "from bandmaster.kernel import Kernel\napp = Kernel(discover=False)\n")
    result = python(sandbox, ["-m", module], "check", "shop:app")
    assert (0, "ok: shop:app fits together (no components, no layers)\n") == (result.returncode, result.stdout)
    result = python(sandbox, ["-m", module], "check", "shop:ap")
    assert (2, "module shop has no attribute 'ap'. Did you mean 'app'?\n") == (result.returncode, result.stderr)


def test_help_imports_little(sandbox):
    """The help needs neither the web framework nor pydantic nor an event loop."""
    code = (
        "import sys\nfrom bandmaster.kernel.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'starlette', 'pydantic', 'pydantic_settings', 'anyio', 'rich', 'structlog', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    result = python(sandbox, ["-c", code])
    assert (0, "[]\n") == (result.returncode, result.stderr)


def test_the_names_of_the_kernels_commands():
    """The names that contributed commands can't have are those of the kernel's commands."""
    assert OWN_COMMANDS == tuple(program_module.OWN)


def complete(sandbox, words: str) -> list[str]:
    """The completions that the program offers to bash for a line with the cursor at the end."""
    sandbox.setenv(_BANDMASTER_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1))
    with pytest.raises(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:
        cli.main([])
    return out.getvalue().split()


def test_a_shell_completes(tools):
    """A shell completes the kernel's commands, installed ones with their options, and the names of parts."""
    assert {"plan", "plugins"} == set(complete(tools, "bandmaster pl"))
    assert ["hello"] == complete(tools, "bandmaster hel")
    assert {"--name", "--loud", "--no-loud"} <= set(complete(tools, "bandmaster hello --"))
    assert ["up"] == complete(tools, "bandmaster several u")
    assert [] == complete(tools, "bandmaster broken --x")


def test_a_shell_completes_names_of_parts(sandbox):
    """A shell completes the names of the parts of a plan, and nothing where there is no plan."""
    sandbox.install_data()
    assert ["database"] == complete(sandbox, "bandmaster plan --explain da")
    assert [] == complete(sandbox, "bandmaster plan no:such --explain da")
