"""Tests of bandmaster.kernel.settings.kernel."""

import json
import math
import os
import traceback
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    Field,
    PostgresDsn,
    Secret,
    SecretBytes,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from bandmaster.kernel import KernelSettings, PlanError, named_settings
from bandmaster.kernel.settings.kernel import (
    MASK,
    current_value,
    describe_settings,
    read_one,
    read_settings,
    variable_of,
)

SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch):
    for variable in os.environ:
        if variable.startswith(("BANDMASTER_", "TEST_")):
            monkeypatch.delenv(variable)


def read(kind=KernelSettings):
    values, problems = read_settings([kind])
    assert not problems
    return values[kind]


def said(kind=KernelSettings):
    values, problems = read_settings([kind])
    assert {} == values
    return [str(problem) for problem in problems]


# -- the kernel's own ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("FA-10", "XC-C1", "XC-C6", "CF-15", "CF-36")
@pytest.mark.parametrize("field", KernelSettings.model_fields)
def test_every_setting_is_described(field):
    """A variable with the prefix, a type, a default that is safe, and a sentence."""
    (setting,) = [one for one in describe_settings(KernelSettings) if one.variable == f"BANDMASTER_{field.upper()}"]
    assert setting.description.endswith((".", "}."))
    assert setting.kind
    assert not setting.required


def test_an_empty_environment_is_enough():
    """Every default is one that can be served with."""
    settings = read()
    assert (False, False, True) == (settings.debug, settings.is_production, settings.shows_details)
    assert 20 == settings.left_for_stops


@pytest.mark.requirement("FA-11")
@pytest.mark.parametrize("environment", ["production", "prod", "PRODUCTION", " Production "])
def test_debug_is_refused_in_production(monkeypatch, environment):
    """However it is written."""
    monkeypatch.setenv("BANDMASTER_ENVIRONMENT", environment)
    assert read().is_production
    assert not read().shows_details
    monkeypatch.setenv("BANDMASTER_DEBUG", "true")
    assert ["KernelSettings is wrong (KernelSettings): debug: refused while environment is production."] == said()


@pytest.mark.requirement("FA-11")
def test_debug_elsewhere(monkeypatch):
    """Off unless somebody says so."""
    monkeypatch.setenv("BANDMASTER_DEBUG", "1")
    assert read().debug


@pytest.mark.parametrize(("details", "expected"), [(True, True), (False, False)])
def test_details_as_they_are_wished(details, expected):
    """A wish is stronger than the environment."""
    assert expected == KernelSettings(environment="production", health_details=details).shows_details


@pytest.mark.requirement("FA-10")
def test_sets_are_comma_separated(monkeypatch):
    """Blanks and empty names are nothing."""
    monkeypatch.setenv("BANDMASTER_DISABLE", " audit, ,tracing,")
    monkeypatch.setenv("BANDMASTER_ALLOW", "")
    assert ({"audit", "tracing"}, set()) == (read().disable, read().allow)
    assert {"audit"} == KernelSettings(disable=["audit"]).disable


@pytest.mark.parametrize("value", ['["audit"]', ' {"audit": 1}'])
def test_a_set_as_json_is_refused(monkeypatch, value):
    """It would be a name that nobody has, and so disable nothing."""
    monkeypatch.setenv("BANDMASTER_DISABLE", value)
    assert [
        "BANDMASTER_DISABLE is wrong (KernelSettings): expected names with commas between them, not JSON."
    ] == said()


@pytest.mark.parametrize(
    ("delay", "timeout", "grace", "expected"),
    [(0, 10, 30, 20), (5, 10, 30, 15), (0, 0, 30, 30), (0, 29.5, 30, 0.5)],
)
def test_what_draining_leaves(delay, timeout, grace, expected):
    """The rest of the grace is for the stops."""
    assert expected == KernelSettings(drain_delay=delay, drain_timeout=timeout, termination_grace=grace).left_for_stops


@pytest.mark.parametrize(("delay", "timeout"), [(0, 30), (20, 10), (0, 31), (30, 0)])
def test_draining_must_leave_something(monkeypatch, delay, timeout):
    """The message does the sum."""
    monkeypatch.setenv("BANDMASTER_DRAIN_DELAY", str(delay))
    monkeypatch.setenv("BANDMASTER_DRAIN_TIMEOUT", str(timeout))
    assert [
        (
            f"KernelSettings is wrong (KernelSettings): termination_grace: drain_delay + drain_timeout = {delay + timeout} s "
            "leaves nothing of 30 s for the stop; raise it (and the platform's), or drain for less long."
        )
    ] == said()


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize("field", ["start_timeout", "stop_timeout", "abandon_after", "termination_grace"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon", ""])
def test_deadlines_are_seconds_above_zero(monkeypatch, field, value):
    """Not forever, and not never."""
    monkeypatch.setenv(f"BANDMASTER_{field.upper()}", value)
    (only,) = said()
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
def test_what_a_setting_can_not_be(field, value):
    """A ValueError that names the field."""
    with pytest.raises(ValueError, match=field):
        KernelSettings(**{field: value})


def test_settings_are_frozen():
    """What was read is what is served with."""
    with pytest.raises(ValidationError, match="frozen"):
        KernelSettings().debug = True


@pytest.mark.requirement("CF-04")
def test_limits_are_json(monkeypatch):
    """What isn't is told by its variable, and what came isn't shown."""
    monkeypatch.setenv("BANDMASTER_LIMITS", '{"postgres": 97}')
    assert {"postgres": 97} == read().limits
    monkeypatch.setenv("BANDMASTER_LIMITS", f'{{"postgres": "{SECRET}"')
    assert ["BANDMASTER_LIMITS is wrong (KernelSettings): it isn't valid JSON."] == said()


@pytest.mark.requirement("FA-7", "S-M1")
def test_two_kernels_settings_live_side_by_side():
    """Nothing is shared, not even what is empty by default."""
    one, two = KernelSettings(), KernelSettings(disable={"audit"})
    assert one.limits is not two.limits
    assert (set(), {"audit"}) == (one.disable, two.disable)


# -- reading ---------------------------------------------------------------------------------------------------------


class Color(Enum):
    RED = "red"


class Inner(BaseModel):
    url: str
    password: SecretStr = SecretStr(SECRET)


class Part(BaseSettings):
    """One of everything."""

    model_config = SettingsConfigDict(env_prefix="TEST_", env_nested_delimiter="__", populate_by_name=True)

    url: PostgresDsn = Field(description="Where it is.")
    inner: Inner = Inner(url="postgres://u:hunter2-hunter2@h/db")
    size: int = 5
    password: SecretStr | None = None
    many: list[SecretStr] | None = None
    key: Annotated[SecretBytes, Field(description="Signs.")] = SecretBytes(b"hunter2-hunter2")
    made: str = Field(default_factory=lambda: "redis://:hunter2-hunter2@h")
    pin: Secret[int] = Secret(5)
    plain_token: str = ""
    token_url: str = "https://example.org"
    color: Color = Color.RED
    names: frozenset[str] = frozenset({"b", "a"})
    pair: tuple[int, str] = (1, "x")
    limits: dict[str, int] = {"a": 1}
    path: Path | None = None
    on: bool = True
    aliased: int = Field(1, validation_alias="other_name")
    chosen: int = Field(1, validation_alias=AliasChoices("first_choice", "second"))
    placed: int = Field(1, validation_alias=AliasChoices(AliasPath("place", 0), "else"))


class CaseSensitive(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="test_", case_sensitive=True)

    Size: int
    other: int = Field(validation_alias="Other")


URL = f"postgres://u:{SECRET}@h/db"


@pytest.mark.parametrize(
    ("kind", "field", "expected"),
    [
        (KernelSettings, "debug", "BANDMASTER_DEBUG"),
        (Part, "size", "TEST_SIZE"),
        (Part, "aliased", "OTHER_NAME"),
        (Part, "chosen", "FIRST_CHOICE"),
        (Part, "placed", "PLACE"),
        (CaseSensitive, "Size", "test_Size"),
        (CaseSensitive, "other", "Other"),
    ],
)
def test_the_variable_of_a_setting(kind, field, expected):
    """Prefix and name, or the first alias; in capitals where case doesn't matter."""
    assert expected == variable_of(kind, field)


@pytest.mark.requirement("FA-10", "XC-C6")
def test_what_is_missing_and_what_is_wrong(monkeypatch):
    """Every problem of every type, each by its variable, also deep inside and under an alias."""
    monkeypatch.setenv("TEST_SIZE", "many")
    monkeypatch.setenv("TEST_INNER__URL", "")
    monkeypatch.setenv("TEST_INNER__PASSWORD", "[]")
    monkeypatch.setenv("TEST_LIMITS", '{"a": "b"}')
    monkeypatch.setenv("OTHER_NAME", "none")
    values, problems = read_settings([Part, CaseSensitive, KernelSettings])
    assert [KernelSettings] == list(values)
    assert [
        "TEST_URL is not set (Part needs it). Set it in the environment, or pass overrides={Part: Part(...)}.",
        "TEST_SIZE is wrong (Part): Input should be a valid integer, unable to parse string as an integer.",
        "TEST_LIMITS__A is wrong (Part): Input should be a valid integer, unable to parse string as an integer.",
        "OTHER_NAME is wrong (Part): Input should be a valid integer, unable to parse string as an integer.",
        (
            "test_Size is not set (CaseSensitive needs it). "
            "Set it in the environment, or pass overrides={CaseSensitive: CaseSensitive(...)}."
        ),
        (
            "Other is not set (CaseSensitive needs it). "
            "Set it in the environment, or pass overrides={CaseSensitive: CaseSensitive(...)}."
        ),
    ] == [str(problem) for problem in problems]
    assert ["Part"] * 4 + ["CaseSensitive"] * 2 == [problem.subject for problem in problems]


class Whole(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TEST_")

    user: str = "app"
    password: str = ""
    dsn: str = ""
    pin: SecretStr = SecretStr("")
    extra: dict[str, Any] = {}

    @field_validator("dsn")
    @classmethod
    def _check(cls, value: str) -> str:
        if value.startswith("bad"):
            raise ValueError(f"expected a URL, got {value!r}")
        return value

    @field_validator("extra")
    @classmethod
    def _check_extra(cls, value: dict[str, Any]) -> dict[str, Any]:
        for inner in value.values():
            raise ValueError(f"{inner} is no good")
        return value

    @model_validator(mode="after")
    def _agree(self) -> "Whole":
        if self.password and self.pin:
            raise ValueError(f"{self.user} has password {self.password} and {self.pin.get_secret_value()}")
        return self


class Before(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TEST_")

    password: str = ""

    @model_validator(mode="before")
    @classmethod
    def _agree(cls, values: Any) -> Any:
        if values:
            raise ValueError(f"odd: {values}")
        return values


class Vault(BaseSettings):
    password: SecretStr
    key: bytes

    @classmethod
    def settings_customise_sources(cls, *arguments: Any, **keywords: Any) -> Any:
        return (lambda: {"password": SecretStr(SECRET), "key": f"{SECRET}-key".encode()},)

    @field_validator("key", "password", mode="before")
    @classmethod
    def _check(cls, value: Any) -> Any:
        text = value.decode() if isinstance(value, bytes) else value.get_secret_value()
        raise ValueError(f"too short: {text}")


def test_a_secret_from_elsewhere_is_not_shown_either():
    """Other sources give other types than text."""
    assert [
        f"PASSWORD is wrong (Vault): too short: {MASK}.",
        f"KEY is wrong (Vault): too short: {MASK}.",
    ] == said(Vault)


@pytest.mark.requirement("XC-C6", "P-18")
@pytest.mark.parametrize(
    ("kind", "variables", "expected"),
    [
        (Part, {"TEST_URL": SECRET}, "TEST_URL is wrong (Part): Input should be a valid URL"),
        (Part, {"TEST_URL": URL, "TEST_SIZE": SECRET}, "TEST_SIZE is wrong (Part): Input should be a valid integer"),
        (Part, {"TEST_URL": URL, "TEST_PAIR": SECRET}, "TEST_PAIR is wrong (Part): it isn't valid JSON."),
        (Part, {"TEST_URL": URL, "TEST_PAIR": f'["{SECRET}", "{SECRET}"]'}, "TEST_PAIR.0 is wrong (Part): Input"),
        (Part, {"TEST_URL": URL, "TEST_COLOR": SECRET}, "TEST_COLOR is wrong (Part): Input should be 'red'."),
        (Whole, {"TEST_DSN": f"bad {SECRET}"}, f"TEST_DSN is wrong (Whole): expected a URL, got '{MASK}'."),
        (Whole, {"TEST_EXTRA": json.dumps({"a": [SECRET]})}, f"TEST_EXTRA is wrong (Whole): ['{MASK}'] is no good."),
        (
            Whole,
            {"TEST_PASSWORD": SECRET, "TEST_PIN": f"{SECRET}-longer"},
            f"Whole is wrong (Whole): app has password {MASK} and {MASK}.",
        ),
        (Before, {"TEST_PASSWORD": SECRET}, f"Before is wrong (Before): odd: {{'password': '{MASK}'}}."),
    ],
)
def test_a_wrong_value_is_never_shown(monkeypatch, kind, variables, expected):
    """It may be a secret in the wrong place: not in the text, not in the fields, not in a traceback."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    _, problems = read_settings([kind])
    error = PlanError(problems)
    assert str(problems[0]).startswith(expected)
    assert SECRET not in f"{error} {error!r} {''.join(traceback.format_exception(error))}"


class Odd(BaseSettings):
    @classmethod
    def settings_customise_sources(cls, *arguments: Any, **keywords: Any) -> Any:
        from pydantic_settings import SettingsError

        raise SettingsError("the vault is sealed")


def test_a_source_that_fails():
    """Of its own accord, and for no field."""
    assert ["Odd can't be read: the vault is sealed."] == said(Odd)


# -- showing ---------------------------------------------------------------------------------------------------------


def test_how_a_setting_is_described():
    """Variable, type, default and description, with secrets masked wherever they stand."""
    described = {setting.variable: setting for setting in describe_settings(Part)}
    assert ("PostgresDsn", True, "", "Where it is.") == (
        described["TEST_URL"].kind,
        described["TEST_URL"].required,
        described["TEST_URL"].default,
        described["TEST_URL"].description,
    )
    assert {
        "TEST_INNER": ("Inner", MASK, False),
        "TEST_SIZE": ("int", "5", False),
        "TEST_PASSWORD": ("SecretStr | None", "", True),
        "TEST_MANY": ("list[SecretStr] | None", "", True),
        "TEST_KEY": ("SecretBytes", MASK, True),
        "TEST_MADE": ("str", MASK, False),
        "TEST_PIN": ("Secret[int]", MASK, True),
        "TEST_PLAIN_TOKEN": ("str", "", True),
        "TEST_TOKEN_URL": ("str", "https://example.org", False),
        "TEST_COLOR": ("Color", "red", False),
        "TEST_NAMES": ("frozenset[str]", "a,b", False),
        "TEST_PAIR": ("tuple[int, str]", '[1, "x"]', False),
        "TEST_LIMITS": ("dict[str, int]", '{"a": 1}', False),
        "TEST_PATH": ("Path | None", "", False),
        "TEST_ON": ("bool", "true", False),
    } == {
        variable: (one.kind, one.default, one.secret)
        for variable, one in described.items()
        if variable.startswith("TEST_") and variable != "TEST_URL"
    }


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("url", URL, MASK),
        ("url", "postgres://h/db", "postgres://h/db"),
        ("inner", Inner(url=URL), MASK),
        ("password", SecretStr(SECRET), MASK),
        ("password", None, ""),
        ("plain_token", SECRET, MASK),
        ("plain_token", "", ""),
        ("made", URL, MASK),
        ("pin", Secret(12345), MASK),
        ("many", [SecretStr(SECRET)], f'["{MASK}"]'),
        ("path", Path("a/b"), "a/b"),
        ("size", 7, "7"),
    ],
)
def test_how_a_value_is_shown(field, value, expected):
    """As one would set it, but never a secret: neither by type, nor by name, nor in a URL."""
    shown = current_value(Part(**{"url": "postgres://h/db", field: value}), field)
    assert expected == shown
    assert SECRET not in shown


# -- one type alone, and another like it -------------------------------------------------------------------------------


def test_one_type_is_read(monkeypatch):
    """Or all that is wrong with it is told."""
    monkeypatch.setenv("BANDMASTER_DRAIN_TIMEOUT", "3")
    assert 3 == read_one(KernelSettings).drain_timeout
    monkeypatch.setenv("BANDMASTER_DRAIN_TIMEOUT", "soon")
    monkeypatch.setenv("BANDMASTER_DEBUG", "perhaps")
    with pytest.raises(PlanError) as caught:
        read_one(KernelSettings)
    assert ["BANDMASTER_DEBUG", "BANDMASTER_DRAIN_TIMEOUT"] == sorted(
        variable for variable in ("BANDMASTER_DEBUG", "BANDMASTER_DRAIN_TIMEOUT") if variable in str(caught.value)
    )


class StoreSettings(BaseSettings):
    """Settings of a store."""

    model_config = SettingsConfigDict(env_prefix="STORE_", frozen=True)
    url: str = "store://here"
    size: int = 1


@pytest.mark.parametrize(
    ("name", "prefix", "variable", "called"),
    [
        ("cold", None, "COLD_STORE_URL", "ColdStoreSettings"),
        ("page-cache.v2", None, "PAGE_CACHE_V2_STORE_URL", "PageCacheV2StoreSettings"),
        ("cold", "ICE_", "ICE_URL", "ColdStoreSettings"),
        ("cold", "", "URL", "ColdStoreSettings"),
    ],
)
def test_settings_of_another_component(monkeypatch, name, prefix, variable, called):
    """They are read from variables of their own, and are else as the first ones are."""
    kind = named_settings(StoreSettings, name, about="a store", prefix=prefix)
    assert (called, __name__, variable) == (kind.__name__, kind.__module__, variable_of(kind, "url"))
    assert f"Settings of a store, read from variables that begin with ``{variable[:-3]}``." == kind.__doc__
    monkeypatch.setenv("STORE_URL", "store://first")
    monkeypatch.setenv("STORE_SIZE", "7")
    monkeypatch.setenv(variable, "store://second")
    assert ("store://second", 1) == (kind().url, kind().size)
    assert "store://first" == StoreSettings().url
    with pytest.raises(ValidationError):
        kind().size = 3  # frozen, as the first ones are
