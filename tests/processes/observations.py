"""Observe each server in each scenario once, and share the observations among all workers of a test run.

Each worker of pytest-xdist is a process of its own. They share a folder, with a lock and a result for each pair.
"""

import fcntl
import itertools
import json
import time
from contextlib import contextmanager
from dataclasses import asdict

from tests.processes.scenarios import SCENARIOS
from tests.processes.server import Observation

AT_ONCE = 4
"""Scenarios that run side by side, in all workers together: they mostly wait."""


class Observer:
    """Runs a scenario with a server, or reads the observation of another worker."""

    def __init__(self, folder):
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def observe(self, server, scenario):
        """Return the observation; run the scenario first, unless another thread or worker is ahead."""
        folder = self._find_folder(server, scenario)
        with _lock(folder / "lock"):
            return self._read_or_run(server, scenario, folder)

    def observe_ahead(self, server, scenario):
        """Run the scenario, unless another thread or worker is ahead."""
        folder = self._find_folder(server, scenario)
        with _lock(folder / "lock", wait=False) as locked:
            if locked:
                self._read_or_run(server, scenario, folder)

    def _find_folder(self, server, scenario):
        folder = self._folder / f"{server} {scenario}".replace("/", "-")
        folder.mkdir(exist_ok=True)
        return folder

    def _read_or_run(self, server, scenario, folder):
        result = folder / "result"
        if not result.exists():
            with self._hold_place():
                result.write_text(json.dumps(_run(server, scenario, folder)))
        found = json.loads(result.read_text())
        assert "failure" not in found, found["failure"]
        return Observation(**found)

    @contextmanager
    def _hold_place(self):
        for number in itertools.cycle(range(AT_ONCE)):
            with _lock(self._folder / f"place-{number}", wait=False) as locked:
                if locked:
                    yield
                    return
            time.sleep(0.02)


def _run(server, scenario, folder):
    try:
        return asdict(SCENARIOS[scenario](server, folder))
    except Exception as error:  # every test of this scenario shows the error
        return {"failure": f"the scenario {scenario!r} with {server} failed: {error!r}"}


@contextmanager
def _lock(path, *, wait=True):
    """Hold a file lock across processes and threads; yield false if another one holds the lock."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
