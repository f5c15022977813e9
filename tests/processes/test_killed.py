"""A test run that SIGKILL ends leaves no server behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bandmaster.kernel.testing import guarded_folder, guarded_process

ROOT = Path(__file__).parents[2]
PATIENCE = 150
"""Seconds for two xdist workers to start three servers each: less than pytest's faulthandler_timeout."""
TESTS = """
import time
import pytest
from tests.processes.server import serve

@pytest.mark.parametrize("number", [1, 2])
def test_it(number, postgres_server, redis_server, tmp_path):
    with serve("granian", "", tmp_path) as served:
        served.wait_ready()
        (tmp_path / "ready").touch()
        time.sleep(600)
"""

pytestmark = pytest.mark.process


def list_processes():
    """The parent and the program of every process that hasn't ended, by process id."""
    command = ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line.split(maxsplit=3) for line in listed.splitlines()]
    return {int(pid): (int(parent), args) for pid, parent, state, args in lines if not state.startswith("Z")}


def find_descendants(ancestor):
    """The programs of a process' children and of their descendants, by process id."""
    processes = list_processes()
    found, new = {}, {ancestor}
    while new := {pid for pid, (parent, _) in processes.items() if parent in new}:
        found |= {pid: processes[pid][1] for pid in new}
    return found


def wait_until(done, explain):
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, explain()
        time.sleep(0.1)


@pytest.fixture
def folder(postgres_server, redis_server):
    """The folder of the killed run's files. The servers skip the test where the run would have none."""
    with guarded_folder("killed-") as folder:
        # PostgreSQL has its folder in this one, and runs as another user.
        folder.chmod(0o755)
        yield folder


def test_a_killed_test_run_leaves_no_server_behind(folder):
    """PostgreSQL, Redis and the applications of two xdist workers end, and the folders of their data are removed."""
    (folder / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", "-s", "test_it.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    for name in ("POSTGRES", "REDIS"):
        environment.pop(f"BANDMASTER_TEST_{name}_URL", None)
    log = folder / "log"
    with (
        log.open("wb") as output,
        guarded_process(command, cwd=folder, environment=environment, stdout=output) as run,
    ):
        wait_until(lambda: len(list(folder.rglob("ready"))) == 2, log.read_text)
        descendants = find_descendants(run.pid)
        programs = " ".join(descendants.values())
        missing = [name for name in ("postgres", "valkey-server", "granian", "guardian.py") if name not in programs]
        assert [] == missing, programs
        workers = [pid for pid, (parent, _) in list_processes().items() if parent == run.pid]
        for pid in (run.pid, *workers):
            os.kill(pid, signal.SIGKILL)
        run.wait(PATIENCE)
        wait_until(lambda: not descendants.keys() & list_processes().keys(), list_processes)
    assert [] == list(folder.glob("postgres-*"))
