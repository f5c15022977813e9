"""Tests of bandmaster.kernel.testing.guardian: processes and folders end with the test process, even by SIGKILL."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bandmaster.kernel.testing import guarded_folder, guarded_process

PATIENCE = 60
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], process_group=0)
print(child.pid, flush=True)
time.sleep(60)
"""
"""Ignores SIGTERM, and has a child in a process group of its own."""
POLITE = """
import signal, sys, time
def stop(number, frame):
    open(sys.argv[1], "w").write(signal.Signals(number).name)
    sys.exit()
signal.signal(signal.SIGQUIT, stop)
print("ready", flush=True)
time.sleep(60)
"""
HOLDS = """
import subprocess, sys, time
from bandmaster.kernel.testing import guarded_folder, guarded_process
with guarded_folder("guarded-") as folder, guarded_process(sys.argv[2:], stdout=subprocess.PIPE, {}) as process:
    print(folder, process.pid, process.stdout.readline().decode(), flush=True)
    time.sleep(60)
"""


def is_alive(pid):
    """Whether a process runs; a zombie doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(done):
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def killed(tmp_path):
    """A function that starts a test process with a guarded process, kills the test process, and returns its output.

    The output is a list of words.
    """

    def run(source, options=""):
        command = [sys.executable, "-c", HOLDS.format(options), "", sys.executable, "-c", source, tmp_path / "stopped"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            printed = process.stdout.readline().split()
            process.kill()
        return printed

    return run


def test_a_block_that_ends_leaves_nothing_of_the_session():
    """SIGKILL ends the process and its child, which is in another process group."""
    with guarded_process([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as process:
        child = int(process.stdout.readline())
        assert is_alive(child)
    assert -signal.SIGKILL == process.returncode
    wait_until(lambda: not is_alive(child))


def test_a_block_that_ends_removes_the_folder():
    """The files inside are removed, too."""
    with guarded_folder("guarded-") as folder:
        (folder / "data").mkdir()
        (folder / "data" / "file").write_text("text")
    assert not folder.exists()


def test_a_killed_test_process_leaves_neither_process_nor_folder(killed):
    """A process that ignores the stop signal is killed 5 seconds later with its child, and the folder is removed."""
    folder, process, child = killed(STUBBORN)
    wait_until(lambda: not (is_alive(process) or is_alive(child) or Path(folder).exists()))


def test_a_killed_test_process_has_its_processes_stopped_by_their_signal(killed, tmp_path):
    """PostgreSQL's fastest stop, which cleans up, is SIGQUIT."""
    _, process, _ = killed(POLITE, "stop_signal=3")
    wait_until(lambda: not is_alive(process))
    assert "SIGQUIT" == (tmp_path / "stopped").read_text()


def test_a_process_that_was_never_registered_does_not_begin(monkeypatch, tmp_path):
    """A SIGKILL between the start and the registration leaves no process behind: the command waits for registration."""

    def fail(line):
        raise KeyError

    monkeypatch.setattr("bandmaster.kernel.testing.guardian._notify_guardian", fail)
    began = tmp_path / "began"
    with pytest.raises(KeyError), guarded_process(["touch", began]):
        pass
    assert not began.exists()


def test_a_process_has_no_more_than_the_environment_that_it_is_given():
    """The program is found by the PATH of that environment."""
    environment = {"PATH": os.environ["PATH"], "ONLY": "this"}
    with guarded_process(["env"], environment=environment, stdout=subprocess.PIPE) as process:
        names = {line.partition(b"=")[0].decode() for line in process.stdout}
    assert {"PATH", "ONLY"} == names - {"PWD", "OLDPWD", "SHLVL", "_"}
    with pytest.raises(FileNotFoundError, match="env"), guarded_process(["env"], environment={"PATH": ""}):
        pass
