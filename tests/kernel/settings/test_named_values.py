"""Tests of bandmaster.kernel.settings.named_values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import PositiveFloat
from pydantic_settings import BaseSettings, SettingsConfigDict

from bandmaster.kernel import KernelSettings
from bandmaster.kernel.settings.display import current_value, describe_settings
from bandmaster.kernel.settings.named_values import NamedValues, parse_named_values, render_named_values
from bandmaster.kernel.settings.reading import read_settings

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,12}", fullmatch=True)


class Pauses(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TEST_", hide_input_in_errors=True)

    pauses: NamedValues[PositiveFloat] = {}


def read(monkeypatch, text):
    monkeypatch.setenv("TEST_PAUSES", text)
    values, problems = read_settings([Pauses])
    return values[Pauses].pauses if values else [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("database=60,cache=5", {"database": 60, "cache": 5}),
        (" database = 60 , cache=0.5, ", {"database": 60, "cache": 0.5}),
        ("", {}),
        ("  ", {}),
        ('{"database": 60}', {"database": 60}),
    ],
)
def test_reading(monkeypatch, text, expected):
    """A list of name=value is read from a variable, with or without blanks; JSON means the same."""
    assert expected == read(monkeypatch, text)


@pytest.mark.parametrize("text", ["database", "a=1,database:60", "=60", "a=", "a=1,b=,c=2"])
def test_another_form(monkeypatch, text):
    """A text of another form is refused with the number of the entry, and isn't quoted."""
    (problem,) = read(monkeypatch, text)
    assert "TEST_PAUSES is wrong (Pauses): expected name=value with commas in between" in problem
    assert f"entry {2 if text.startswith('a=1') else 1} has another form" in problem
    assert "database:60" not in problem


@pytest.mark.parametrize("text", ["{", '{"a": }'])
def test_broken_json(monkeypatch, text):
    """Broken JSON is one problem of the variable."""
    (problem,) = read(monkeypatch, text)
    assert problem.startswith("TEST_PAUSES is wrong (Pauses): ")


def test_a_name_twice(monkeypatch):
    """A name that is given twice is refused: which of the two counts would be a guess."""
    (problem,) = read(monkeypatch, "a=1,b=2,a=3")
    assert "the name of entry 3 is given twice" in problem


@pytest.mark.parametrize("value", ["0", "-1", "soon", "60s"])
def test_a_wrong_value(monkeypatch, value):
    """A wrong value is told with the name that it stands under."""
    (problem,) = read(monkeypatch, f"a=1,b={value}")
    assert problem.startswith("TEST_PAUSES.b is wrong (Pauses): ")


def test_values_from_code():
    """A mapping that code passes is taken as it is."""
    assert {"database": 60} == Pauses(pauses={"database": 60}).pauses


@given(st.dictionaries(NAMES, st.floats(min_value=0.001, max_value=1e9) | st.integers(1, 10**6)))
def test_what_is_shown_can_be_read(values):
    """Rendered values are read as the same values."""
    read = parse_named_values(render_named_values(values))
    assert values == {name: float(value) for name, value in read.items()}


@pytest.mark.parametrize("field", ["start_timeouts", "stop_timeouts"])
def test_the_kernels_timeouts(monkeypatch, field):
    """The time-outs of single components are settings of this form, also for a component named like a secret."""
    monkeypatch.setenv(f"BANDMASTER_{field.upper()}", "database=60,token=0.5")
    values, problems = read_settings([KernelSettings])
    assert not problems
    assert {"database": 60, "token": 0.5} == getattr(values[KernelSettings], field)
    assert "database=60,token=0.5" == current_value(values[KernelSettings], field)
    (shown,) = [one for one in describe_settings(KernelSettings) if one.variable == f"BANDMASTER_{field.upper()}"]
    assert "" == shown.default
