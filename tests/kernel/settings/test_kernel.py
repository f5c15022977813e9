"""Tests of bandmaster.kernel.settings.kernel."""

import math

import pytest
from pydantic import ValidationError

from bandmaster.kernel import KernelSettings
from bandmaster.kernel.settings.display import describe_settings
from bandmaster.kernel.settings.reading import read_settings

SECRET = "hunter2-hunter2"


def read(kind=KernelSettings):
    values, problems = read_settings([kind])
    assert not problems
    return values[kind]


def find_problems(kind=KernelSettings):
    values, problems = read_settings([kind])
    assert {} == values
    return [str(problem) for problem in problems]


@pytest.mark.requirement("FA-10", "XC-C1", "XC-C6", "CF-15", "CF-36")
@pytest.mark.parametrize("field", KernelSettings.model_fields)
def test_every_setting_is_described(field):
    """Each setting has a variable with the prefix, a type, a safe default, and a sentence."""
    (setting,) = [one for one in describe_settings(KernelSettings) if one.variable == f"BANDMASTER_{field.upper()}"]
    assert setting.description.endswith((".", "}."))
    assert setting.kind
    assert not setting.required


def test_an_empty_environment_is_enough():
    """The application can be served with the defaults."""
    settings = read()
    assert (False, False, True) == (settings.debug, settings.is_production, settings.shows_details)
    assert 20 == settings.left_for_stops


@pytest.mark.requirement("FA-11")
@pytest.mark.parametrize("environment", ["production", "prod", "PRODUCTION", " Production "])
def test_debug_is_refused_in_production(monkeypatch, environment):
    """Debug is refused in production, regardless of the environment's upper and lower case."""
    monkeypatch.setenv("BANDMASTER_ENVIRONMENT", environment)
    assert read().is_production
    assert not read().shows_details
    monkeypatch.setenv("BANDMASTER_DEBUG", "true")
    assert [
        "KernelSettings is wrong: BANDMASTER_DEBUG is refused while BANDMASTER_ENVIRONMENT is production."
    ] == find_problems()


@pytest.mark.requirement("FA-11")
def test_debug_elsewhere(monkeypatch):
    """Debug can be switched on outside of production."""
    monkeypatch.setenv("BANDMASTER_DEBUG", "1")
    assert read().debug


@pytest.mark.parametrize(("details", "expected"), [(True, True), (False, False)])
def test_health_details_can_be_set(details, expected):
    """The setting of health details is stronger than the environment."""
    assert expected == KernelSettings(environment="production", health_details=details).shows_details


@pytest.mark.requirement("FA-10")
def test_sets_are_comma_separated(monkeypatch):
    """Names stand between commas; blanks and empty names are left out."""
    monkeypatch.setenv("BANDMASTER_DISABLE", " audit, ,tracing,")
    monkeypatch.setenv("BANDMASTER_ALLOW", "")
    assert ({"audit", "tracing"}, set()) == (read().disable, read().allow)
    assert {"audit"} == KernelSettings(disable=["audit"]).disable


def test_a_set_may_be_json(monkeypatch):
    """A list in JSON is read as a list, as other programs write lists."""
    monkeypatch.setenv("BANDMASTER_DISABLE", '["audit", "tracing"]')
    assert {"audit", "tracing"} == read().disable


@pytest.mark.parametrize("value", ['["audit"', ' {"audit": 1}'])
def test_other_json_is_refused(monkeypatch, value):
    """Other JSON would be read as one name that no part has."""
    monkeypatch.setenv("BANDMASTER_DISABLE", value)
    assert [
        "BANDMASTER_DISABLE is wrong (KernelSettings): expected values with commas between them, or a list in JSON."
    ] == find_problems()


@pytest.mark.parametrize(
    ("delay", "timeout", "grace", "expected"),
    [(0, 10, 30, 20), (5, 10, 30, 15), (0, 0, 30, 30), (0, 29.5, 30, 0.5)],
)
def test_the_time_that_draining_leaves(delay, timeout, grace, expected):
    """The rest of the grace is for the stops."""
    assert expected == KernelSettings(drain_delay=delay, drain_timeout=timeout, termination_grace=grace).left_for_stops


@pytest.mark.parametrize(("delay", "timeout"), [(0, 30), (20, 10), (0, 31), (30, 0)])
def test_draining_must_leave_time_for_the_stops(monkeypatch, delay, timeout):
    """The message shows the sum of the delays and the grace."""
    monkeypatch.setenv("BANDMASTER_DRAIN_DELAY", str(delay))
    monkeypatch.setenv("BANDMASTER_DRAIN_TIMEOUT", str(timeout))
    assert [
        (
            "KernelSettings is wrong: "
            f"BANDMASTER_DRAIN_DELAY + BANDMASTER_DRAIN_TIMEOUT = {delay + timeout} s leaves nothing of "
            "BANDMASTER_TERMINATION_GRACE = 30 s for the stop; raise the grace (and the platform's), or drain for less "
            "long."
        )
    ] == find_problems()


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize("field", ["start_timeout", "stop_timeout", "abandon_after", "termination_grace"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_deadlines_are_seconds_above_zero(monkeypatch, field, value):
    """A deadline can't be 0, negative or infinite."""
    monkeypatch.setenv(f"BANDMASTER_{field.upper()}", value)
    (only,) = find_problems()
    assert only.startswith(f"BANDMASTER_{field.upper()} is wrong (KernelSettings): Input should be ")


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("drain_delay", -1),
        ("drain_timeout", math.inf),
        ("processes", 0),
        ("retry_after", 0),
        ("plugins", "some"),
        ("over_budget", "ignore"),
        ("websocket_close_code", 1000),
        ("environment", " "),
        ("limits", {"postgres": -1}),
        ("limits", {"postgres": "many"}),
    ],
)
def test_values_that_settings_refuse(field, value):
    """The ValueError names the field."""
    with pytest.raises(ValueError, match=field):
        KernelSettings(**{field: value})


@pytest.mark.requirement("FA-10")
@pytest.mark.parametrize("value", ["", " "])
@pytest.mark.parametrize("field", ["start_timeout", "stop_timeout", "limits", "debug", "websocket_close_code", "title"])
def test_an_empty_text_means_unset(monkeypatch, field, value):
    """A variable without a text isn't set, as docker compose passes one that has no value; a text may be empty."""
    default = getattr(read(), field)
    monkeypatch.setenv(f"BANDMASTER_{field.upper()}", value)
    assert default == getattr(read(), field)
    assert field not in read().model_fields_set


def test_settings_are_frozen():
    """Settings can't be changed after they have been read."""
    with pytest.raises(ValidationError, match="frozen"):
        KernelSettings().debug = True


@pytest.mark.requirement("CF-04")
def test_limits_are_json(monkeypatch):
    """A limit that isn't JSON is reported by the variable, without the value."""
    monkeypatch.setenv("BANDMASTER_LIMITS", '{"postgres": 97}')
    assert {"postgres": 97} == read().limits
    monkeypatch.setenv("BANDMASTER_LIMITS", f'{{"postgres": "{SECRET}"')
    assert ["BANDMASTER_LIMITS is wrong (KernelSettings): it isn't valid JSON."] == find_problems()


@pytest.mark.requirement("FA-7", "S-M1")
def test_two_kernels_settings_live_side_by_side():
    """Two settings share no value, not even an empty default."""
    one, two = KernelSettings(), KernelSettings(disable={"audit"})
    assert one.limits is not two.limits
    assert (set(), {"audit"}) == (one.disable, two.disable)


@pytest.mark.parametrize(("value", "expected"), [("1001", 1001), ("1012", 1012), (" 1012 ", 1012)])
def test_the_close_code_is_read_from_the_environment(monkeypatch, value, expected):
    """The text of the variable is read as a number."""
    monkeypatch.setenv("BANDMASTER_WEBSOCKET_CLOSE_CODE", value)
    assert expected == read().websocket_close_code


@pytest.mark.parametrize("value", ["1000", "1001.0", "soon"])
def test_the_close_codes_that_are_allowed_are_shown(monkeypatch, value):
    """The message names both codes, although the input may look like one of them."""
    monkeypatch.setenv("BANDMASTER_WEBSOCKET_CLOSE_CODE", value)
    expected = "BANDMASTER_WEBSOCKET_CLOSE_CODE is wrong (KernelSettings): Input should be 1001 or 1012."
    assert [expected] == find_problems()


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ({"live_path": "livez"}, "expected a path that begins with /, or nothing"),
        (
            {"ready_path": "/livez"},
            "BANDMASTER_LIVE_PATH, BANDMASTER_READY_PATH and BANDMASTER_STARTUP_PATH must differ",
        ),
    ],
)
def test_paths_of_health_checks(paths, expected):
    """A path begins with a slash, and no two checks have the same."""
    with pytest.raises(ValidationError, match=expected):
        KernelSettings(**paths)


def test_health_checks_without_a_path():
    """Several of them may be switched off."""
    settings = KernelSettings(live_path="", startup_path="")
    assert ("", "/readyz", "") == (settings.live_path, settings.ready_path, settings.startup_path)
