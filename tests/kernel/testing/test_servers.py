"""Tests of bandmaster.kernel.testing.servers."""

import signal
import socket
import sys
import time

import pytest

from bandmaster.kernel.testing import ServerUnavailable, free_port, server_process, skip_or_fail

LISTEN = """
import socket, sys, time
print("coming up", flush=True)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(60)
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\n" + LISTEN


def make_probe(port):
    def connect():
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True

    return connect


def start(tmp_path, source, port, **options):
    command = [sys.executable, "-c", source, str(port)]
    options = {"ready": make_probe(port), **options}
    return server_process(command, name="the server", log=tmp_path / "log", **options)


def test_a_server_is_ready_inside_the_block_and_has_ended_after_it(tmp_path):
    """The block begins when the server answers, and leaves no process behind."""
    port = free_port()
    with start(tmp_path, LISTEN, port) as process:
        assert make_probe(port)()
    assert -signal.SIGTERM == process.returncode
    with pytest.raises(ConnectionRefusedError):
        make_probe(port)()


def test_an_exception_ends_the_server(tmp_path):
    """A server doesn't outlive a test that fails inside the block."""
    with pytest.raises(KeyError), start(tmp_path, LISTEN, free_port()) as process:
        raise KeyError
    assert process.returncode is not None


def test_a_server_that_ignores_the_signal_is_killed(tmp_path):
    """SIGKILL ends a server that still runs after the timeout."""
    with start(tmp_path, STUBBORN, free_port(), timeout=3) as process:
        pass
    assert -signal.SIGKILL == process.returncode


def test_a_server_that_ends_at_once_shows_its_output(tmp_path):
    """The error contains the exit status and the server's own output."""
    with pytest.raises(ServerUnavailable, match="the server ended with 3 before it was ready:\nno disk"):
        with start(tmp_path, "import sys; print('no disk'); sys.exit(3)", free_port()):
            pass


def test_a_server_that_never_answers_is_given_up_and_ended(tmp_path):
    """The error names the time that has passed."""
    began = time.monotonic()
    with pytest.raises(ServerUnavailable, match=r"isn't ready after 0\.5 s"):
        with start(tmp_path, "import time; time.sleep(60)", free_port(), timeout=0.5):
            pass
    assert time.monotonic() - began < 10


def test_a_program_that_is_not_there_is_named(tmp_path):
    """The error names the missing program, without a traceback of subprocess."""
    with pytest.raises(ServerUnavailable, match=r"the server can't be started: .*nosuchprogram"):
        with server_process(["nosuchprogram"], name="the server", log=tmp_path / "log", ready=lambda: True):
            pass


@pytest.mark.parametrize(("required", "outcome"), [("0", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_a_missing_server_skips_or_fails(bandmaster_environment, required, outcome):
    """Where services are required, a skip would hide that nothing was tested."""
    bandmaster_environment.setenv("BANDMASTER_TEST_SERVICES_REQUIRED", required)
    with pytest.raises(outcome, match="no such server"):
        skip_or_fail(ServerUnavailable("no such server"))
