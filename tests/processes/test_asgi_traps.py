"""The ASGI traps on real servers."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.asgi_wire import PATIENCE, WIRE_CASES, start_without_headers
from tests.processes.conftest import free_port

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SERVERS = {
    "uvicorn": ["uvicorn", "stacked:app", "--port"],
    "hypercorn": ["hypercorn", "stacked:app", "-b"],
    "granian": ["granian", "--interface", "asgi", "stacked:app", "--port"],
}

pytestmark = pytest.mark.process


@pytest.fixture(scope="module", params=SERVERS)
def port(request, tmp_path_factory):
    """A server of that kind, ready to be asked."""
    number = free_port()
    address = f"127.0.0.1:{number}" if request.param == "hypercorn" else str(number)
    output = tmp_path_factory.mktemp("server") / "output"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", *SERVERS[request.param], address],
            cwd=HERE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)])},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    end = time.monotonic() + PATIENCE
    try:
        while True:
            try:
                start_without_headers(number)
                break
            except OSError:
                assert process.poll() is None, output.read_text()
                assert time.monotonic() < end, output.read_text()
                time.sleep(0.05)
        yield number
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.parametrize("case", WIRE_CASES.values(), ids=list(WIRE_CASES))
@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
def test_trap(case, port):
    """Seen from outside, the layers might as well not be there."""
    case(port)
