"""Tests of the option --env-file, by the commands that have it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = ["plan", "check", "config", "plugins", "timeline --start", "lock"]


@pytest.mark.parametrize("command", COMMANDS)
def test_settings_of_every_part_are_read_from_the_file(sandbox, command):
    """The settings of the kernel and of the parts are read from the file; no variable of the process is set."""
    sandbox.install_data(url=None)
    sandbox.write("shop.env", "ACME_URL=postgresql://file/shop\nBANDMASTER_DISABLE=nothing\n")
    result = sandbox.run(*command.split(), "--env-file", "shop.env")
    # The misspelt name in the file shows that the kernel has read it.
    assert (0, True) == (result.exit_code, "nothing" in result.output or command == "lock")
    assert "ACME_URL" not in os.environ


def test_the_file_ends_with_the_command(sandbox):
    """The next command in the same process has no file."""
    sandbox.install_data(url=None)
    sandbox.write("shop.env", "ACME_URL=postgresql://file/shop\n")
    assert 0 == sandbox.run("check", "--env-file", "shop.env").exit_code
    assert 1 == sandbox.run("check").exit_code


def test_the_environment_has_precedence(sandbox):
    """A variable of the process counts more than the same one of the file."""
    sandbox.install_data()
    sandbox.write("shop.env", "BANDMASTER_TITLE=file\nBANDMASTER_DRAIN_TIMEOUT=7\n")
    sandbox.setenv(BANDMASTER_TITLE="process")
    shown = sandbox.out("config", "--env-file", "shop.env")
    assert "BANDMASTER_TITLE = process" in shown
    assert "BANDMASTER_DRAIN_TIMEOUT = 7.0" in shown


@pytest.mark.parametrize("command", ["plan", "check", "config", "plugins", "timeline --start", "lock", "run"])
def test_a_file_that_cannot_be_read(sandbox, command):
    """The file is named with the reason; `run` exits with 78 as for every wrong setting."""
    result = sandbox.run(*command.split(), "--env-file", "nowhere.env")
    assert (78 if command == "run" else 1) == result.exit_code
    assert "the env file nowhere.env can't be read: No such file or directory." in result.stderr


def test_a_line_that_cannot_be_read(sandbox):
    """The line is named, and not shown."""
    sandbox.write("shop.env", "A=1\nhunter2 hunter2\n")
    code, said = sandbox.error("check", "--env-file", "shop.env")
    assert (1, True, False) == (code, "shop.env:2 can't be read" in said, "hunter2" in said)


def test_a_wrong_value_names_the_line(sandbox):
    """In text and in JSON."""
    sandbox.install_data(url=None)
    sandbox.write("shop.env", "\nACME_URL=hunter2\nBANDMASTER_SERVER_PORT=abc\n")
    code, said = sandbox.error("check", "--env-file", "shop.env")
    assert (1, False) == (code, "hunter2" in said)
    assert "  - ACME_URL is wrong (DataSettings, shop.env:2): " in said
    assert "  - BANDMASTER_SERVER_PORT is wrong (ServerSettings, shop.env:3): " in said
    told = json.loads(sandbox.run("config", "--env-file", "shop.env", "--format", "json").stdout)
    assert any("shop.env:2" in (one["problem"] or "") for group in told["groups"] for one in group["settings"])


def test_the_example_that_config_prints_can_be_read(sandbox):
    """The printed file, with every default uncommented, changes nothing."""
    sandbox.install_data()
    printed = sandbox.out("config", "--format", "env")
    lines = [line[1:] if line.startswith("#") and line[1:2] not in (" ", "") else line for line in printed.splitlines()]
    sandbox.write("shop.env", "\n".join(line for line in lines if not line.startswith("ACME_URL")))
    assert sandbox.out("config") == sandbox.out("config", "--env-file", "shop.env")


def test_the_code_may_name_a_file(sandbox):
    """`create_app(env_file=...)` reads all settings from the file, those of the launcher as well."""
    sandbox.write("code.env", "BANDMASTER_TITLE=code\nBANDMASTER_SERVER_PORT=abc\n")
    sandbox.write("command.env", "BANDMASTER_TITLE=command\n")
    sandbox.write(
        "shop.py",
        """
        from bandmaster.kernel import create_app
        def app():
            return create_app(discover=False, env_file="code.env")
        """,
    )
    code, said = sandbox.error("check", "shop:app")
    assert (1, True) == (code, "BANDMASTER_SERVER_PORT is wrong (ServerSettings, code.env:2): " in said)
    assert (78, True) == ((result := sandbox.error("run", "shop:app"))[0], "code.env:2" in result[1])
    assert "ok: shop:app" in sandbox.out("check", "shop:app", "--env-file", "command.env")


def test_settings_that_the_code_makes(sandbox):
    """Settings that a factory makes by hand are read from the file, where the code gives no value."""
    sandbox.write("shop.env", "BANDMASTER_TITLE=file\nBANDMASTER_DRAIN_TIMEOUT=7\n")
    sandbox.write(
        "shop.py",
        """
        from bandmaster.kernel import KernelSettings, create_app
        def app():
            return create_app(discover=False, settings=KernelSettings(title="code"))
        """,
    )
    shown = sandbox.out("config", "shop:app", "--env-file", "shop.env")
    assert "BANDMASTER_TITLE = code" in shown
    assert "BANDMASTER_DRAIN_TIMEOUT = 7.0" in shown


def test_the_variable_names_a_file(sandbox):
    """`BANDMASTER_ENV_FILE` serves where no command line does, such as under another server."""
    sandbox.write("shop.env", "BANDMASTER_TITLE=file\n")
    sandbox.setenv(BANDMASTER_ENV_FILE="shop.env")
    assert "BANDMASTER_TITLE = file" in sandbox.out("config")


TOOLS = """
from bandmaster.kernel import KernelSettings
from bandmaster.kernel.commands import EnvFile, Format, answering, show_line

def hello(env_file: EnvFile = None, word: str = "") -> None:
    with answering(Format.TEXT):
        show_line(f"{KernelSettings().title} {word}")
"""


def test_a_contributed_command(sandbox):
    """The file decides about the command, too: which may be loaded, and with which settings."""
    sandbox.install("acme-tools", "[bandmaster.commands]\nhello = acme_tools:hello\n", acme_tools=TOOLS)
    sandbox.write("shop.env", "BANDMASTER_TITLE=file\n")
    sandbox.write("closed.env", "BANDMASTER_PLUGINS=allowlist\n")
    sandbox.write("wrong.env", "BANDMASTER_DEBUG=perhaps\n")
    assert ["file x\n", "file x\n", "None x\n"] == [
        sandbox.out("hello", *arguments, "--word", "x")
        for arguments in (["--env-file", "shop.env"], ["--env-file=shop.env"], [])
    ]
    assert (1, True) == ((result := sandbox.error("hello", "--env-file", "closed.env"))[0], "isn't loaded" in result[1])
    assert (78, True) == ((result := sandbox.error("hello", "--env-file", "wrong.env"))[0], "wrong.env:1" in result[1])
    assert 2 == sandbox.run("hello", "--", "--env-file", "shop.env").exit_code
    assert 2 == sandbox.run("hello", "--env-file").exit_code


def test_an_env_file_for_config_alone(sandbox):
    """`config` fails where a setting of the launcher is wrong, although there is a plan."""
    sandbox.write("shop.env", "BANDMASTER_SERVER_PORT=abc\n")
    result = sandbox.run("config", "--env-file", "shop.env")
    assert (1, True) == (
        result.exit_code,
        "! BANDMASTER_SERVER_PORT is wrong (ServerSettings, shop.env:1)" in result.stdout,
    )


@pytest.mark.process
@pytest.mark.parametrize("command", ["worker", "scheduler", "deadletters", "db"])
def test_contributed_commands_have_the_option(command, tmp_path):
    """The commands of the contribs read settings from the file as well."""
    (tmp_path / "shop.env").write_text("BANDMASTER_DRAIN_TIMEOUT=soon\nTASKIQ_CONCURRENCY=many\nDATABASE_URL=none\n")
    words = {"deadletters": ["deadletters", "list"], "db": ["db", "current"]}.get(command, [command])
    done = subprocess.run(
        [Path(sys.executable).parent / "bandmaster", *words, "--env-file", "shop.env"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 78 == done.returncode
    assert ", shop.env:" in done.stderr
