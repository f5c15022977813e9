"""The published list of harmless keys and values comes through a redaction unchanged."""

import re

import pytest
from tests.docs.conftest import ROOT

from bandmaster.kernel import Redactor

PAGE = (ROOT / "docs/how-to/redaction.md").read_text(encoding="utf-8")
KEYS, VALUES = (block.splitlines() for block in re.findall(r"```text\n(.*?)\n```", PAGE, re.DOTALL))


@pytest.mark.requirement("OBS-L11")
@pytest.mark.parametrize("key", KEYS)
def test_harmless_keys(key):
    """Each key of the list keeps every value of the list, in each style of writing."""
    redactor = Redactor()
    words = key.split("_")
    for name in (key, key.upper(), "-".join(words), words[0] + "".join(word.title() for word in words[1:])):
        assert not redactor.is_secret(name), name
        event = {name: VALUES, "nested": [{name: value} for value in VALUES], "text": f"{name}=value"}
        assert event == redactor.redact(event)


@pytest.mark.requirement("OBS-L11")
@pytest.mark.parametrize("value", VALUES)
def test_harmless_values(value):
    """Each value of the list stays, as a field and as a text."""
    assert value == Redactor().redact(value) == Redactor().redact_text(value)


def test_the_lists_are_long_enough():
    """The page has both lists."""
    assert (len(KEYS) > 50, len(VALUES) > 15, KEYS) == (True, True, sorted(KEYS))


def test_the_first_program_of_the_page():
    """The result below the first program is that of the program."""
    program = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    *lines, last = [line for line in program.splitlines() if line]
    names = {}
    exec("\n".join(lines[:-1]), names)
    assert eval(last.removeprefix("# ")) == eval(lines[-1], names)
