"""Programs with real packages that mount an app, as their documentation says. Each runs in a separate process.

The global state, the warnings and the logging of a package stay there.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).with_name("programs")
ROOT = PROGRAMS.parents[3]


def run(name, folder):
    """The lines that a program prints, without the time."""
    command = [sys.executable, "-m", f"tests.kernel.hosting.programs.{name}"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if not line.startswith("seconds")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "mcp_mounted",
            [
                "manager runs",
                "component host",
                "left to the host host.root",
                "component host.root",
                "status 200",
                "manager is over",
            ],
        ),
        (
            "nicegui_run_with",
            [
                "gui starts",
                "component host",
                "left to the host host.root",
                "component host.root",
                "component host.nicegui.ws",
                "status 200",
                "gui stops",
            ],
        ),
        ("socketio_mounted", ["pool opens", "component host", "status 200", "pool closes"]),
    ],
)
def test_a_program_starts_and_stops_once(name, expected, tmp_path):
    """Each app of a program is started once, serves, and is stopped once, without a warning, as under a server."""
    assert expected == run(name, tmp_path)
