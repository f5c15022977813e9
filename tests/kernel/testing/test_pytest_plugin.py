"""Tests of bandmaster.kernel.testing.pytest_plugin, in a pytest of its own, and of the package's exports."""

import subprocess
import sys

import anyio
import pytest
import starlette.applications

import bandmaster.kernel.hosting.targets
import bandmaster.kernel.testing
from bandmaster.kernel.testing import pytest_plugin

# pytester forgets what the inner tests have imported, but not what was there before: there must be one of each class.
THERE = [starlette.applications, bandmaster.kernel.hosting.targets]
THERE += [getattr(bandmaster.kernel.testing, name) for name in bandmaster.kernel.testing.__all__]
THERE += [getattr(bandmaster.kernel, name) for name in bandmaster.kernel.__all__]

pytest_plugins = ["pytester"]

APP = """
    from collections.abc import AsyncIterator
    from starlette.applications import Starlette
    from bandmaster.kernel import LifespanBand, create_app, lifespan

    @lifespan(band=LifespanBand.SERVICES)
    async def words() -> AsyncIterator[str]:
        yield "hello"

    def make():
        return create_app(Starlette(), contributions=[words], discover=False)
"""
INI = """
    [pytest]
    addopts = --strict-markers -p no:cacheprovider -p no:randomly -p no:asyncio
    filterwarnings = error
    anyio_mode = auto
"""


@pytest.fixture
def inner(pytester, monkeypatch):
    """A project with an application; runs tests of it."""
    pytester.makepyfile(application=APP)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run(tests, ini="", **outcomes):
        pytester.makeini(INI + ini)
        pytester.makepyfile(tests)
        result = pytester.runpytest_inprocess()
        assert outcomes == {name: number for name, number in result.parseoutcomes().items() if name != "warnings"}
        return result

    return run


def test_run(inner):
    """The fixture runs the application of the setting, on the event loop of the test."""
    inner(
        """
        import pytest

        @pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
        async def test_it(bandmaster_run, bandmaster_events, anyio_backend):
            async with bandmaster_run() as running:
                assert running.resources[str] == "hello"
                assert (await running.client.get("/readyz")).status_code == 200
            assert bandmaster_events.stop_order == ["host", "words"]
        """,
        ini="    bandmaster_app = application:make\n",
        passed=2,
    )


FIXTURES = {
    "anyio": """
        import pytest

        pytestmark = pytest.mark.anyio
        fixture = pytest.fixture

        @pytest.fixture
        def anyio_backend():
            return "asyncio"
    """,
    "pytest-asyncio": """
        import pytest
        import pytest_asyncio

        pytestmark = pytest.mark.asyncio
        fixture = pytest_asyncio.fixture
    """,
}
SETTINGS = {"anyio": "", "pytest-asyncio": "asyncio_default_fixture_loop_scope = function"}
TESTS = """
        from bandmaster.kernel.testing import connect, run

        @fixture
        async def running(bandmaster_run):
            async with bandmaster_run() as running:
                yield running
            assert running.events.stop_order == ["host", "words"]

        @fixture
        async def connection(running):
            async with connect(running.app) as connection:
                yield connection

        async def test_it_serves(running, connection):
            assert (await running.client.get("/readyz")).status_code == 200
            assert (await connection.client.get("/readyz")).status_code == 200

        async def test_a_failure(running):
            assert running.resources[str] == "bye"

        async def test_without_a_fixture_of_its_own(bandmaster_run, bandmaster_attempt):
            async with bandmaster_run() as running:
                assert running.resources[str] == "hello"
            (await bandmaster_attempt()).assert_clean()
"""


@pytest.mark.requirement("FA-9")
@pytest.mark.parametrize("plugin", FIXTURES)
def test_fixture_that_holds_a_run_open(pytester, monkeypatch, plugin):
    """A fixture may hold a run open across its yield, under anyio's plugin and under pytest-asyncio."""
    pytester.makepyfile(application=APP)
    ini = INI if plugin == "anyio" else INI.replace("-p no:asyncio", "-p no:anyio")
    pytester.makeini(ini.replace("anyio_mode = auto", SETTINGS[plugin]) + "    bandmaster_app = application:make\n")
    pytester.makepyfile(FIXTURES[plugin] + TESTS)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    result = pytester.runpytest_subprocess()
    outcomes = {name: number for name, number in result.parseoutcomes().items() if name != "warnings"}
    assert {"passed": 2, "failed": 1} == outcomes
    result.stdout.fnmatch_lines(["E *AssertionError: assert 'hello' == 'bye'"])


def test_own_app(inner):
    """The fixture bandmaster_app can be overridden, and an app can be passed."""
    inner(
        """
        import pytest
        from application import make, words

        @pytest.fixture
        def bandmaster_app():
            return make()

        @pytest.mark.anyio
        async def test_overridden(bandmaster_run, bandmaster_app):
            async with bandmaster_run(timeout=3) as running:
                assert running.app is bandmaster_app
                assert running.client.timeout.read == 3

        @pytest.mark.anyio
        async def test_passed(bandmaster_run):
            told = []
            async with bandmaster_run(None, contributions=[words], listeners=[told.append]) as running:
                assert running.events.start_order == ["words"]
            assert told == list(running.events)

        @pytest.mark.anyio
        async def test_attempt(bandmaster_attempt):
            from bandmaster.kernel.testing import fail

            outcome = await bandmaster_attempt(faults=[fail("words")])
            outcome.assert_failed(component="words")

        @pytest.fixture
        def anyio_backend():
            return "asyncio"
        """,
        passed=3,
    )


def test_nothing_named(inner):
    """Without a setting the fixture runs an empty application."""
    inner(
        """
        import asyncio

        def test_it(bandmaster_run):
            async def main():
                async with bandmaster_run() as running:
                    assert list(running.plan) == []
            asyncio.run(main())
        """,
        passed=1,
    )


def test_marker(inner):
    """The marker has options; the nearest marker wins, and the arguments of the test win over the marker."""
    inner(
        """
        import pytest
        from application import words

        pytestmark = [pytest.mark.bandmaster(contributions=[words], timeout=7)]

        async def test_module(bandmaster_run, anyio_backend):
            async with bandmaster_run() as running:
                assert (running.events.start_order, running.client.timeout.read) == (["words"], 7)

        @pytest.mark.bandmaster(timeout=8)
        async def test_function(bandmaster_run, anyio_backend):
            async with bandmaster_run(role=None) as running:
                assert (running.events.start_order, running.client.timeout.read) == (["words"], 8)
            async with bandmaster_run(timeout=9) as running:
                assert running.client.timeout.read == 9

        async def test_attempt(bandmaster_attempt, anyio_backend):
            assert (await bandmaster_attempt()).start_order == ["words"]

        @pytest.fixture
        def anyio_backend():
            return "asyncio"
        """,
        ini="    bandmaster_timeout = 6\n",
        passed=3,
    )


def test_timeout_setting(inner):
    """The setting gives the timeout."""
    inner(
        """
        async def test_it(bandmaster_run):
            async with bandmaster_run() as running:
                assert running.client.timeout.read == 6
        """,
        ini="    bandmaster_timeout = 6\n",
        passed=len(anyio.get_available_backends()),
    )


def test_environment(inner, monkeypatch):
    """No variable of the developer's reaches a test, and none of a test's the next."""
    monkeypatch.setenv("BANDMASTER_TITLE", "the developer's")
    inner(
        """
        import os
        from bandmaster.kernel import KernelSettings

        def test_it(bandmaster_run, bandmaster_environment):
            assert KernelSettings().title is None
            bandmaster_environment.setenv("BANDMASTER_TITLE", "the test's")
            assert KernelSettings().title == "the test's"

        def test_afterwards():
            assert os.environ["BANDMASTER_TITLE"] == "the developer's"
        """,
        passed=2,
    )


def test_wrong_target(inner):
    """A setting that names nothing is an error of the fixture's."""
    result = inner("def test_it(bandmaster_app): ...", ini="    bandmaster_app = application:mak\n", errors=1)
    result.stdout.fnmatch_lines(["*TargetError: *mak*"])


def test_fixtures_are_documented(pytester):
    """``pytest --fixtures`` and ``--markers`` list the fixtures and the marker."""
    pytester.runpytest_inprocess("--fixtures", "-p", "no:asyncio").stdout.fnmatch_lines_random(
        [f"{name} -- *" for name in ("bandmaster_run", "bandmaster_attempt", "bandmaster_events", "bandmaster_app")]
    )
    pytester.runpytest_inprocess("--markers", "-p", "no:asyncio").stdout.fnmatch_lines(["@pytest.mark.bandmaster(*"])


def test_costs_nothing():
    """The plugin imports nothing heavy, since pytest loads the plugin at every start."""
    code = (
        "import sys, pytest; before = set(sys.modules); import bandmaster.kernel.testing.pytest_plugin\n"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        "['bandmaster', 'bandmaster.kernel', 'bandmaster.kernel.lazy', 'bandmaster.kernel.testing', "
        "'bandmaster.kernel.testing.pytest_plugin']" == done.stdout.strip()
    )
    assert "bandmaster" in sys.modules
    assert pytest_plugin.PREFIX == "BANDMASTER_"
