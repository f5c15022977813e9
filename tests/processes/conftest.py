"""Fixtures for real server processes on loopback, which tests observe from outside."""

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
from tests.leftovers import SCENARIO_THREADS
from tests.processes.observations import AT_ONCE, Observer
from tests.processes.server import PATIENCE

from bandmaster.kernel.testing import free_port as free_port  # for the tests in a browser
from bandmaster.kernel.testing import guarded_process


@contextmanager
def running(command, log, *, cwd=None, **environment):
    """Run a process, with its output in a file, until the block ends: then SIGTERM, and SIGKILL after `PATIENCE`."""
    with (
        log.open("wb") as output,
        guarded_process(command, cwd=cwd, environment={**os.environ, **environment}, stdout=output) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)


def until_answered(ask, process, log):
    """Call ``ask`` until a server answers; fail when the process has ended, or after `PATIENCE`."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)


@pytest.fixture(scope="session")
def observe(request, tmp_path_factory):
    """A function that returns the observation of a server in a scenario.

    All scenarios that the session needs run side by side, each once.
    """
    wanted = dict.fromkeys(
        (item.callspec.params["server"], marker.args[0])
        for item in request.session.items
        for marker in item.iter_markers("scenario")
    )
    # The longest scenarios mostly wait, so they come first, and the others run meanwhile.
    wanted = sorted(
        wanted, key=lambda pair: pair[1] not in ("blocking stop", "two ints", "term and int", "term while starting")
    )
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        folder = folder.parent  # all workers share this folder
    observer = Observer(folder / "observations")
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=SCENARIO_THREADS)
    try:
        for server, scenario in wanted:
            pool.submit(observer.observe_ahead, server, scenario)
        # The pool's threads end after the last scenario; until then no test is checked for leftovers.
        pool.shutdown(wait=False)
        yield observer.observe
    finally:
        pool.shutdown(cancel_futures=True)


def pytest_configure(config):
    config.addinivalue_line("markers", "scenario(name): the scenario that the server of the test has run through")
