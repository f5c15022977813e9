"""Tests of bandmaster.kernel.process.systemd."""

import socket

from bandmaster.kernel.process.systemd import notify


def test_notifying_systemd(tmp_path):
    """A state is sent as a datagram; a socket at which nothing listens is no error."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        assert notify(path, "READY=1")
        assert systemd.recv(100) == b"READY=1"
    assert not notify(path, "STOPPING=1")
    assert not notify("", "READY=1")
    assert not notify("@bandmaster-nobody-listens-here", "READY=1")
