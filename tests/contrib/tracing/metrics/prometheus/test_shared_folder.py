"""The folder that processes share: locks, slots and sockets."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bandmaster.contrib.tracing.metrics.prometheus.file_locks import FileLock
from bandmaster.contrib.tracing.metrics.prometheus.shared_folder import SharedFolder, find_default_folder
from bandmaster.kernel.testing import guarded_process

HOLD = """
import socket, sys, time
from pathlib import Path
from bandmaster.contrib.tracing.metrics.prometheus.shared_folder import SharedFolder
slot = SharedFolder(Path(sys.argv[1]), private=False).take_slot("web")
listener = socket.socket(socket.AF_UNIX)
listener.bind(str(slot.socket))
listener.listen()
print(slot.name, flush=True)
time.sleep(1000)
"""


@pytest.fixture
def folder(tmp_path):
    return SharedFolder(tmp_path, private=False)


def test_a_lock_excludes_others(tmp_path) -> None:
    """One holder at a time, also among two in one process."""
    one, two = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert (True, True, False) == (one.try_take(), one.try_take(), two.try_take())
    one.release()
    assert two.try_take()
    two.release()
    assert [] == list(tmp_path.iterdir())


def test_a_released_lock_can_be_released_again(tmp_path) -> None:
    """A second release doesn't remove the file of the next holder."""
    one, two = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert one.try_take()
    one.release()
    assert two.try_take()
    one.release()
    assert (True, True) == (two.is_held, (tmp_path / "lock").exists())
    two.release()


def test_a_lock_on_a_removed_file_is_taken_again(tmp_path) -> None:
    """A file that its holder removes between the opening and the locking isn't what the next one locks."""
    path = tmp_path / "lock"
    one = FileLock(path)
    assert one.try_take()
    path.unlink()
    two = FileLock(path)
    assert two.try_take()  # there is a new file, so there are two holders of two files: the name decides
    three = FileLock(path)
    assert not three.try_take()
    two.release()
    one.release()


def test_slots_are_numbered_by_role(folder) -> None:
    """Each role counts for itself, and the lowest free number is next."""
    names = ["web", "web", "worker", "web"]
    slots = [folder.take_slot(name) for name in names]
    assert ["web-0", "web-1", "worker-0", "web-2"] == [slot.name for slot in slots]
    slots[1].release()
    again = folder.take_slot("web")
    assert "web-1" == again.name
    for slot in (*slots, again):
        slot.release()
    assert [] == list(folder.path.iterdir())


def test_a_role_with_odd_characters(folder) -> None:
    """A role is part of a file's name, so that only letters, digits, - and _ are in it."""
    slot = folder.take_slot("../../etc/passwd\0")
    assert folder.path == slot.socket.parent
    assert [slot.lock.path] == list(folder.path.iterdir())
    slot.release()


@pytest.mark.requirement("OBS-M1")
def test_a_killed_process_leaves_its_slot(folder, tmp_path) -> None:
    """The number of a process that was killed is free at once, and its socket is removed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with guarded_process(command, stdout=subprocess.PIPE) as process:
        assert b"web-0\n" == process.stdout.readline()
        (found,) = folder.list_sockets()
        assert not folder.remove_stale(found)  # it lives
        process.kill()
        process.wait()
        assert [found] == folder.list_sockets()
        assert folder.remove_stale(found)
        assert [] == list(tmp_path.iterdir())
        process.stdout.close()


def test_a_new_process_replaces_the_socket_of_a_killed_one(folder) -> None:
    """A socket that was left behind doesn't keep the next process from listening under the same name."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder.path / "web-0.sock"))
    slot = folder.take_slot("web")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(slot.socket))
    slot.release()


def test_the_folder_is_made_for_this_user_alone(tmp_path) -> None:
    """In a place that others may write to, nobody else may open the folder."""
    folder = SharedFolder(tmp_path / "new", private=True)
    folder.prepare()
    folder.prepare()
    assert 0o700 == stat.S_IMODE((tmp_path / "new").stat().st_mode)
    folder.remove_if_empty()
    assert not (tmp_path / "new").exists()


def test_a_folder_that_others_may_open_is_refused(tmp_path) -> None:
    """Somebody else may have made it, to listen to the metrics or to add some."""
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(PermissionError, match="only this user may open"):
        SharedFolder(tmp_path / "open", private=True).prepare()


def test_a_link_is_refused(tmp_path) -> None:
    """A link in a place that others may write to leads wherever they want."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(PermissionError):
        SharedFolder(tmp_path / "link", private=True).prepare()


def test_a_folder_in_use_stays(tmp_path) -> None:
    """The last process removes the folder, and no other does."""
    folder = SharedFolder(tmp_path / "shared", private=True)
    folder.prepare()
    slot = folder.take_slot("web")
    folder.remove_if_empty()
    assert folder.path.exists()
    slot.release()


def test_the_default_folder_depends_on_user_and_port(monkeypatch, tmp_path) -> None:
    """Processes with the same port belong together, those with another one don't."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert tmp_path / f"bandmaster-metrics-{os.getuid()}-9464" == find_default_folder(9464)
    assert find_default_folder(9464) != find_default_folder(9465)
    assert isinstance(find_default_folder(1), Path)
