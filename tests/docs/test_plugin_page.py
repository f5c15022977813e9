"""The plugin of the tutorial installs exactly as the page prints the two files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.docs.conftest import ROOT, Site


@pytest.fixture(scope="module")
def target(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the printed files under their printed names, and install them offline."""
    source = (ROOT / "docs" / "tutorial" / "plugin.md").read_text(encoding="utf-8")
    names = re.findall(r'^```\w+ title="(.+)"$', source, re.MULTILINE)
    folder, target = tmp_path_factory.mktemp("plugin"), tmp_path_factory.mktemp("target")
    for name, text in zip(names, site.page("tutorial/plugin.md").programs, strict=False):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    command = [*pip, *offline, "--target", str(target), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert 0 == done.returncode, done.stderr
    return target


def run_command(target: Path, command: str) -> dict[str, Any]:
    """Run a command of bandmaster that may load the printed plugin only, and parse the output."""
    allowed = {"BANDMASTER_PLUGINS": "allowlist", "BANDMASTER_ALLOW": "bandmaster-ratelimit"}
    env = {**os.environ, **allowed, "PYTHONPATH": str(target)}
    words = [sys.executable, "-m", "bandmaster.kernel.cli", command, "--format", "json"]
    done = subprocess.run(words, env=env, cwd=target, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def test_the_printed_plugin_is_found(target: Path) -> None:
    """`bandmaster plugins` lists both parts from the newly installed distribution."""
    parts = [part for part in run_command(target, "plugins")["parts"] if part["distribution"] == "bandmaster-ratelimit"]
    assert {"rate_limits": True, "rate_limit": True} == {part["name"]: part["admitted"] for part in parts}
    assert {target} == {Path(part["location"]).parent for part in parts}


def test_the_printed_plugin_is_planned(target: Path) -> None:
    """Installed means active: the plan has the component and the layer without any code."""
    plan = run_command(target, "plan")
    assert (True, ["rate_limits"]) == (plan["ok"], [component["name"] for component in plan["components"]])
    assert ["rate_limit"] == [layer["name"] for layer in plan["layers"]]
