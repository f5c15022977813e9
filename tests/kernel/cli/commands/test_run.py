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
def launched(house):
    """What the launcher was asked to do."""
    calls = []

    def serve(app, *, settings, target):
        calls.append((app, settings, target))
        return 70

    house.monkeypatch.setattr(launcher, "serve", serve)
    # The real function would end the test run.
    house.monkeypatch.setattr(process_exit, "end_process", sys.exit)
    return calls


def test_options_go_before_the_environment(house, launched):
    """The launcher gets the application, the settings and the target; its code is the command's."""
    house.write("shop.py", APP)
    house.setenv(BANDMASTER_SERVER_PORT="1", BANDMASTER_SERVER_KEEP_ALIVE="9")
    result = house.run("run", "shop:app", "--host", "0.0.0.0", "--port", "0", "--server", "granian")
    ((app, settings, target),) = launched
    assert (70, "", "shop:app") == (result.exit_code, result.output, target)
    assert ("0.0.0.0", 0, "granian", 9) == (settings.host, settings.port, settings.server, settings.keep_alive)
    assert "web" == app.plan.role


def test_everything_installed_from_the_environment(house, launched):
    """Without target and options."""
    house.install_data()
    house.setenv(BANDMASTER_SERVER_PORT="1")
    assert 70 == house.run("run").exit_code
    ((app, settings, target),) = launched
    assert (3, 1, None) == (len(app.plan.components), settings.port, target)


def test_the_plan_first(house, launched):
    """--show-plan prints what is about to start."""
    house.install_data()
    assert house.run("run", "--show-plan").stdout.startswith(
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
            "1 problem in the plan:\n  - the server's settings are wrong: uds: fd is set, too; unset one of the two.\n",
        ),
    ],
)
def test_what_cannot_be_served(house, launched, arguments, variables, expected):
    """Wrong targets, settings and plans end with 78, before anything is started."""
    house.install_data()
    house.setenv(**variables)
    code, said = house.error("run", *arguments)
    assert (78, True, []) == (code, said.startswith(expected), launched)


def test_an_option_that_the_settings_refuse(house, launched):
    """It is named as it was written."""
    house.setenv(BANDMASTER_SERVER_LOOP="trio")
    house.monkeypatch.setattr(settings, "ServerSettings", Stricter)
    assert (78, "1 problem in the plan:\n  - --host is wrong: no.\n") == house.error("run", "--host", "here")


def test_settings_that_are_no_json(house, launched):
    """What can't be taken apart is a problem like others."""
    house.setenv(BANDMASTER_SERVER_MORE="{")
    house.monkeypatch.setattr(settings, "ServerSettings", Stricter)
    code, said = house.error("run")
    assert (78, True) == (code, "the server's settings can't be read: " in said)


def test_an_option_that_makes_no_sense(house, launched):
    """Wrong use is 2, as everywhere."""
    code, said = house.error("run", "--port", "70000")
    assert (2, True, []) == (code, "Invalid value for '--port'" in said, launched)
