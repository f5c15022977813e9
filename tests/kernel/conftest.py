"""What several of the kernel's tests need."""

import os
import signal

import pytest

from bandmaster.kernel.shutdown.stop_signals import STOP_SIGNALS


@pytest.fixture
def left_as_it_was(monkeypatch, tmp_path):
    """This process runs a kernel: nothing of the environment counts, and no signal handler stays."""
    for name in list(os.environ):
        if name.startswith(("BANDMASTER_", "NOTIFY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    assert before == {number: signal.getsignal(number) for number in before}
