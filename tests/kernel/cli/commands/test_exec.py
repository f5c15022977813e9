"""Tests of bandmaster.kernel.cli.commands.exec."""

import json
import sys

import pytest

from bandmaster.kernel.process import exit as process_exit

SHOP = """
import threading
from collections.abc import AsyncIterator
from typing import Annotated
from pydantic_settings import BaseSettings
from bandmaster.kernel import Application, LifespanBand, Named, create_app, lifespan

log = []

class Database:
    def __init__(self, name):
        self.name = name

class FixSettings(BaseSettings):
    fix_limit: int = 3

@lifespan(band=LifespanBand.PERSISTENCE)
async def database() -> AsyncIterator[Database]:
    log.append("start")
    yield Database("shop")
    log.append("stop")

@lifespan(band=LifespanBand.SERVICES, roles={"worker"})
async def consumer() -> AsyncIterator[None]:
    log.append("consumer")
    yield

def app() -> Application:
    return create_app(contributions=[database, consumer], discover=False)

async def mend(database: Database, settings: FixSettings) -> str:
    log.append("mend")
    return f"{database.name} {settings.fix_limit}"

def block(database: "Database") -> int:
    log.append(threading.current_thread() is threading.main_thread())
    return 7

def silent() -> None: ...

def count(database: Database) -> dict[str, object]:
    print("counting")
    return {"rows": [1, 2.5, None], "name": database.name}

def makes() -> object:
    return Database("shop")

def divides() -> float:
    return float("nan")

async def interrupted() -> None:
    import anyio, os, signal
    os.kill(os.getpid(), signal.SIGTERM)
    await anyio.sleep_forever()

async def fails(database: Database) -> None:
    raise LookupError("no such row")

async def needs(cache: Exception) -> None: ...

async def stream():
    yield 1

class Thing: ...
"""


@pytest.fixture
def shop(sandbox):
    sandbox.write("shop.py", SHOP)
    sandbox.monkeypatch.setattr(process_exit, "end_process", sys.exit)  # the real function would end the test run
    sandbox.setenv(BANDMASTER_APP="shop:app")
    return sandbox


def test_an_async_function(shop):
    """The function gets resources and settings by type between the start and the stop; the result is printed."""
    result = shop.run("exec", "shop:mend")
    assert (0, "shop 3\n") == (result.exit_code, result.stdout)
    assert ["start", "mend", "stop"] == sys.modules["shop"].log


def test_a_plain_function(shop):
    """A plain function runs in another thread, where blocking is allowed."""
    result = shop.run("exec", "shop:block", "--app", "shop:app")
    assert (0, "7\n") == (result.exit_code, result.stdout)
    assert ["start", False, "stop"] == sys.modules["shop"].log


def test_no_result(shop):
    """None isn't printed."""
    result = shop.run("exec", "shop:silent")
    assert (0, "") == (result.exit_code, result.stdout)


def test_another_role(shop):
    """``--role`` starts the components of that role."""
    assert 0 == shop.run("exec", "shop:silent", "--role", "worker").exit_code
    assert ["start", "consumer", "stop"] == sys.modules["shop"].log


def test_an_env_file(shop):
    """Settings of the function, and those of the launcher, are read from the file, too."""
    shop.write("shop.env", "FIX_LIMIT=8\nBANDMASTER_APP=shop:app\n")
    shop.monkeypatch.delenv("BANDMASTER_APP")
    assert "shop 8\n" == shop.run("exec", "shop:mend", "--env-file", "shop.env").stdout
    shop.write("shop.env", "BANDMASTER_APP=shop:app\nBANDMASTER_SERVER_PORT=x\n")
    result = shop.run("exec", "shop:mend", "--env-file", "shop.env")
    assert (78, True) == (
        result.exit_code,
        "BANDMASTER_SERVER_PORT is wrong (ServerSettings, shop.env:2)" in result.stderr,
    )


def test_everything_installed(shop):
    """Without an application, everything installed is started."""
    shop.install_data()
    shop.monkeypatch.delenv("BANDMASTER_APP")
    shop.write("fixes.py", "from acme_data import Broker\nasync def fix(broker: Broker) -> str:\n    return 'fixed'\n")
    result = shop.run("exec", "fixes:fix")
    assert (0, "fixed\n") == (result.exit_code, result.stdout)


def test_a_function_that_fails(shop):
    """The exception of the function is reported with the traceback, after everything has been stopped."""
    shop.setenv(BANDMASTER_LOG_FORMAT="console")
    result = shop.run("exec", "shop:fails")
    assert (70, "") == (result.exit_code, result.stdout)
    reported = result.stderr
    assert "LookupError: no such row" in reported
    assert 'raise LookupError("no such row")' in reported
    assert ["start", "stop"] == sys.modules["shop"].log


def test_a_missing_resource(shop):
    """A parameter that nothing provides is a problem of the plan, and nothing is started."""
    result = shop.run("exec", "shop:needs")
    assert 78 == result.exit_code
    assert "'exec' (APPLICATION, in code, shop:needs) needs an Exception, which nothing provides" in result.stderr
    assert [] == sys.modules["shop"].log
    assert "--app" not in result.stderr


def test_a_missing_resource_without_an_application(shop):
    """Who forgets the application is told how to name it."""
    shop.monkeypatch.delenv("BANDMASTER_APP")
    result = shop.run("exec", "shop:needs")
    assert 78 == result.exit_code
    assert "Name yours: bandmaster exec --app module:attribute shop:needs" in result.stderr


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("shop:mnd", "module shop has no attribute 'mnd'. Did you mean 'mend'?"),
        ("shop", "'shop' isn't of the form module:attribute."),
        ("shop:Thing", "shop:Thing is the class Thing; expected a function, async or plain."),
        (
            "shop:stream",
            "expected a function, async or plain. A function with yield is a component: pass it to create_app.",
        ),
        ("shop:log", "shop:log is a list; expected a function, async or plain."),
    ],
)
def test_a_wrong_function(shop, function, expected):
    """A misspelt function, or something else than a function, is refused before anything starts."""
    result = shop.run("exec", function)
    assert 78 == result.exit_code
    assert expected in result.stderr


def test_a_result_as_json(shop):
    """One object is on stdout, with the result in it, whatever the function prints."""
    result = shop.run("exec", "shop:count", "--format", "json")
    assert 0 == result.exit_code
    assert {"format": 1, "ok": True, "result": {"rows": [1, 2.5, None], "name": "shop"}} == json.loads(result.stdout)
    assert "counting\n" in result.stderr
    silent = shop.run("exec", "shop:silent", "--format", "json")
    assert {"format": 1, "ok": True, "result": None} == json.loads(silent.stdout)


@pytest.mark.parametrize(
    ("function", "code", "error", "message"),
    [
        ("shop:fails", 70, "LookupError", "LookupError: no such row"),
        ("shop:mnd", 78, "TargetError", "module shop has no attribute 'mnd'."),
        ("shop:needs", 78, "PlanError", "needs an Exception, which nothing provides"),
        ("shop:makes", 70, "CommandError", "The function returned a Database, which JSON can't hold: "),
        ("shop:divides", 70, "CommandError", "The function returned a float, which JSON can't hold: "),
        ("shop:interrupted", 143, "CommandError", "The function was cancelled by a signal before it returned."),
    ],
)
def test_a_failure_as_json(shop, function, code, error, message):
    """A failure has the fields that other commands have for theirs, and the exit code that it has as text."""
    result = shop.run("exec", function, "--format", "json")
    told = json.loads(result.stdout)
    assert (code, False, error) == (result.exit_code, told["ok"], told["error"])
    assert message in told["problems"][0]["message"]
