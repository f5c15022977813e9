"""The programs of docs/how-to/test.md run as printed."""

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "test.md"
FENCE = re.compile(r'^```python title="(?P<name>[^"]+)"\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL)
FILES = {match["name"]: match["code"] for match in FENCE.finditer(PAGE.read_text(encoding="utf-8"))}
SETTINGS = {"anyio": "", "asyncio": "asyncio_default_fixture_loop_scope = function\n"}


def test_every_program_has_a_file_name():
    """No program of the page is left out of the tests below."""
    assert PAGE.read_text(encoding="utf-8").count("```python") == len(FILES)


@pytest.mark.parametrize(
    ("plugin", "names", "passed"),
    [
        ("anyio", ["test_shop.py", "test_with_anyio.py", "test_roles.py", "test_faults.py", "test_plugin.py"], 15),
        ("asyncio", ["test_with_pytest_asyncio.py"], 1),
    ],
)
def test_the_programs_run(pytester, monkeypatch, plugin, names, passed):
    """Every test of the page passes, under the plugin that it is written for."""
    for name in ["shop.py", *names]:
        Path(name).write_text(FILES[name], encoding="utf-8")
    pytester.makeini("[pytest]\nfilterwarnings = error\n" + SETTINGS[plugin])
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    other = {"anyio": "asyncio", "asyncio": "anyio"}[plugin]
    result = pytester.runpytest_subprocess("--strict-markers", "-p", f"no:{other}")
    assert {"passed": passed} == result.parseoutcomes()
