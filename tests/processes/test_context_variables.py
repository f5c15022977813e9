"""The context variables of lifespans that requests see, under each server."""

import signal

import pytest
from tests.processes import server as servers
from tests.processes.server import HERE, Served, build_command, build_environment

from bandmaster.kernel.testing import free_port, guarded_process

pytestmark = pytest.mark.process


@pytest.mark.parametrize(
    "server", ["launcher", "launcher/hypercorn", "launcher/granian", "uvicorn", "hypercorn", "granian"]
)
def test_requests_see_no_context_variable_of_a_lifespan(server, tmp_path):
    """Each lifespan keeps one context from start to stop, and requests see none of these contexts."""
    served = Served(free_port(), tmp_path)
    command = [part.replace("served", "contextual") for part in build_command(server, served.port)]
    variables = build_environment(server, served.port, "", served.facts_path, {})
    with (
        served.output_path.open("wb") as output,
        guarded_process(command, cwd=HERE, environment=variables, stdout=output) as served.process,
    ):
        served.wait_ready()
        status, text = served.get("/")
        served.signal()
        seen = served.end(servers.PATIENCE)
    unset = "component=unset host=unset mounted=unset"
    own = ("component=unset host=set mounted=unset", "component=unset host=unset mounted=set")
    assert (200, " | ".join([unset, *own])) == (status, text)
    assert seen.code == (-signal.SIGTERM if server == "uvicorn" else 0)
    assert "AssertionError" not in seen.output
