"""The layers of the kernel's stack on real servers, against the cases in which ASGI middleware often fails."""

import os
import sys
from pathlib import Path

import pytest
from tests.asgi_wire import WIRE_CASES, start_without_headers
from tests.processes.conftest import running, until_answered

from bandmaster.kernel.testing import free_port

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
    """The port of a server that answers requests."""
    number = free_port()
    address = f"127.0.0.1:{number}" if request.param == "hypercorn" else str(number)
    output = tmp_path_factory.mktemp("server") / "output"
    command = [sys.executable, "-W", "ignore", "-m", *SERVERS[request.param], address]
    path = os.pathsep.join([str(HERE), str(ROOT)])
    with running(command, output, cwd=HERE, PYTHONPATH=path) as process:
        until_answered(lambda: start_without_headers(number), process, output)
        yield number


@pytest.mark.parametrize("case", WIRE_CASES.values(), ids=list(WIRE_CASES))
@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
def test_trap(case, port):
    """A client sees the same with and without the layers."""
    case(port)
