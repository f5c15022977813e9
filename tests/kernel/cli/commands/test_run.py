"""Tests of bandmaster.kernel.cli.commands.run."""

import sys

import pytest
from pydantic import field_validator

from bandmaster.kernel.process import exit as process_exit
from bandmaster.kernel.process import launcher
from bandmaster.kernel.process.servers import settings


class Stricter(settings.ServerSettings):
    more: dict[str, int] = {}

    @field_validator("host")
    @classmethod
    def _never(cls, value: str) -> str:
        raise ValueError("no")


APP = "from starlette.applications import Starlette\napp = Starlette()\n"


@pytest.fixture
def launched(sandbox):
    """The calls of the launcher."""
    calls = []

    def serve(app, *, settings, target, traceback):
        calls.append((app, settings, target))
        return 70

    sandbox.monkeypatch.setattr(launcher, "serve", serve)
    # The real function would end the test run.
    sandbox.monkeypatch.setattr(process_exit, "end_process", sys.exit)
    return calls


def test_options_have_precedence_over_the_environment(sandbox, launched):
    """The launcher gets the application, the settings and the target; the launcher's exit code is the command's."""
    sandbox.write("shop.py", APP)
    sandbox.setenv(BANDMASTER_SERVER_PORT="1", BANDMASTER_SERVER_KEEP_ALIVE="9")
    result = sandbox.run("run", "shop:app", "--host", "0.0.0.0", "--port", "0", "--server", "granian")
    ((app, settings, target),) = launched
    assert (70, "", "shop:app") == (result.exit_code, result.output, target)
    assert ("0.0.0.0", 0, "granian", 9) == (settings.host, settings.port, settings.server, settings.keep_alive)
    assert "web" == app.plan.role


@pytest.mark.parametrize("options", [[], ["--traceback"]])
def test_the_whole_traceback_of_a_failure(sandbox, monkeypatch, options):
    """--traceback counts for the failures of the run as well."""
    asked = []
    monkeypatch.setattr(launcher, "serve", lambda app, **given: asked.append(given["traceback"]) or 0)
    monkeypatch.setattr(process_exit, "end_process", sys.exit)
    sandbox.write("shop.py", APP)
    assert 0 == sandbox.run("run", "shop:app", *options).exit_code
    assert [bool(options)] == asked


def test_everything_installed(sandbox, launched):
    """Without target and options, everything installed runs with the settings of the environment."""
    sandbox.install_data()
    sandbox.setenv(BANDMASTER_SERVER_PORT="1")
    assert 70 == sandbox.run("run").exit_code
    ((app, settings, target),) = launched
    assert (3, 1, None) == (len(app.plan.components), settings.port, target)


def test_show_plan(sandbox, launched):
    """--show-plan prints the plan before the start."""
    sandbox.install_data()
    assert sandbox.run("run", "--show-plan").stdout.startswith(
        "Plan of everything installed for role 'web'\n  3 components in 2 stages, 2 layers"
    )
    assert 1 == len(launched)


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        (["shop:app"], {}, "There is no module 'shop'."),
        ([], {"ACME_POOL_SIZE": "0"}, "1 problem in the plan:\n  - ACME_POOL_SIZE is wrong"),
        ([], {"BANDMASTER_START_TIMEOUT": "0"}, "1 problem in the plan:\n  - BANDMASTER_START_TIMEOUT is wrong"),
        (
            [],
            {"BANDMASTER_SERVER_PORT": "http"},
            (
                "1 problem in the plan:\n  - BANDMASTER_SERVER_PORT is wrong (ServerSettings): Input should be a valid "
                "integer, unable to parse string as an integer.\n"
            ),
        ),
        (
            ["--uds", "x"],
            {"BANDMASTER_SERVER_FD": "3"},
            (
                "1 problem in the plan:\n  - ServerSettings is wrong: --uds: BANDMASTER_SERVER_FD is set, too; unset "
                "one of the two.\n"
            ),
        ),
    ],
)
def test_nothing_is_started_after_a_problem(sandbox, launched, arguments, variables, expected):
    """Wrong targets, settings and plans end with 78, before anything is started."""
    sandbox.install_data()
    sandbox.setenv(**variables)
    code, said = sandbox.error("run", *arguments)
    assert (78, True, []) == (code, said.startswith(expected), launched)


def test_an_option_that_the_settings_refuse(sandbox, launched):
    """An error about an option names the option as it is written on the command line."""
    sandbox.setenv(BANDMASTER_SERVER_LOOP="trio")
    sandbox.monkeypatch.setattr(settings, "ServerSettings", Stricter)
    assert (78, "1 problem in the plan:\n  - --host is wrong: no.\n") == sandbox.error("run", "--host", "here")


def test_settings_that_are_no_json(sandbox, launched):
    """A setting that isn't valid JSON is a problem like others."""
    sandbox.setenv(BANDMASTER_SERVER_MORE="{")
    sandbox.monkeypatch.setattr(settings, "ServerSettings", Stricter)
    code, said = sandbox.error("run")
    expected = "1 problem in the plan:\n  - BANDMASTER_SERVER_MORE is wrong (Stricter): it isn't valid JSON.\n"
    assert (78, expected) == (code, said)


def test_an_invalid_option(sandbox, launched):
    """An invalid option is wrong use, with the exit code 2."""
    code, said = sandbox.error("run", "--port", "70000")
    assert (2, True, []) == (code, "Invalid value for '--port'" in said, launched)
