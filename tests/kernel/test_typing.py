"""Tests of the types of public names, with mypy and pyright."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "typing"


def check(*command, **environment):
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_mypy_agrees():
    """Every ``assert_type`` holds, every call that is to be refused is, and the tutorial's programs are accepted."""
    done = check("mypy", "--strict", CASES, ROOT / "examples" / "tutorial")
    assert 0 == done.returncode, done.stdout


def test_pyright_agrees():
    """pyright accepts and refuses the same as mypy."""
    done = check("pyright", "--outputjson", "--pythonpath", sys.executable, "--project", CASES)
    report = json.loads(done.stdout)
    found = [f"{one['range']['start']['line'] + 1}: {one['message']}" for one in report["generalDiagnostics"]]
    assert ([], len(list(CASES.glob("*.py")))) == (found, report["summary"]["filesAnalyzed"])
