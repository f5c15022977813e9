"""The option --env-file of `bandmaster worker`, with several processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SHOP = """
import sys
from taskiq import InMemoryBroker
from bandmaster.kernel import KernelSettings, create_app

if any(argument.startswith("--one-of") for argument in sys.argv):
    with open("seen", "a") as file:
        file.write(f"{KernelSettings().title}\\n")
    raise SystemExit("seen")

def make(settings):
    return InMemoryBroker()

def app():
    return create_app()
"""


@pytest.mark.process
def test_every_process_reads_the_file(tmp_path: Path) -> None:
    """Each of several worker processes reads the same file, although its path is relative."""
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    (tmp_path / "shop.env").write_text("BANDMASTER_TITLE=file\nTASKIQ_BROKER=shop:make\n", encoding="utf-8")
    command = [Path(sys.executable).parent / "bandmaster", "worker", "shop:app", "--processes", "2"]
    done = subprocess.run(
        [*command, "--env-file", "shop.env"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert 78 == done.returncode, done.stderr
    assert {"file"} == set((tmp_path / "seen").read_text(encoding="utf-8").split())
