"""Tests of bandmaster.kernel.settings.reading."""

import json
import traceback
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from tests.kernel.settings.examples import SECRET, URL, CaseSensitive, Part

from bandmaster.kernel import KernelSettings, PlanError, named_settings
from bandmaster.kernel.redaction.masking import MASK
from bandmaster.kernel.settings.reading import load_settings, read_settings
from bandmaster.kernel.settings.variables import variable_of


def find_problems(kind):
    values, problems = read_settings([kind])
    assert {} == values
    return [str(problem) for problem in problems]


@pytest.mark.requirement("FA-10", "XC-C6")
def test_every_problem_of_every_type(monkeypatch):
    """Missing and wrong values are reported by their variables, also inside of models and under aliases."""
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
            "Set it in the environment, or pass overrides={CaseSensitive: CaseSensitive(...)}. "
            "TEST_SIZE is set: is it misspelt?"
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


def test_a_secret_of_another_source_is_not_shown():
    """Sources other than the environment give secrets as bytes or as SecretStr."""
    assert [
        f"PASSWORD is wrong (Vault): too short: {MASK}.",
        f"KEY is wrong (Vault): too short: {MASK}.",
    ] == find_problems(Vault)


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
            f"Whole is wrong: app has password {MASK} and {MASK}.",
        ),
        (Before, {"TEST_PASSWORD": SECRET}, f"Before is wrong: odd: {{'password': '{MASK}'}}."),
    ],
)
def test_a_wrong_value_is_never_shown(monkeypatch, kind, variables, expected):
    """A wrong value may be a misplaced secret: neither text, fields nor traceback show the value."""
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
    """An error of a source names no field, and is reported for the whole type."""
    assert ["Odd can't be read: the vault is sealed."] == find_problems(Odd)


class Plain(BaseSettings):
    """Reads as plain text a variable that another type keeps secret."""

    model_config = SettingsConfigDict(env_prefix="TEST_")

    pin: str = ""

    @model_validator(mode="before")
    @classmethod
    def _agree(cls, values: Any) -> Any:
        raise ValueError(f"odd: {values}")


def test_a_secret_of_another_type_is_not_shown(monkeypatch):
    """A message about a whole model hides the variables that another type declares to be secret."""
    monkeypatch.setenv("TEST_PIN", SECRET)
    _, problems = read_settings([Whole, Plain])
    assert [f"Plain is wrong: odd: {{'pin': '{MASK}'}}."] == [str(problem) for problem in problems]


def test_one_type_is_read(monkeypatch):
    """A type is read, or all problems are raised in one error."""
    monkeypatch.setenv("BANDMASTER_DRAIN_TIMEOUT", "3")
    assert 3 == load_settings(KernelSettings).drain_timeout
    monkeypatch.setenv("BANDMASTER_DRAIN_TIMEOUT", "soon")
    monkeypatch.setenv("BANDMASTER_DEBUG", "perhaps")
    with pytest.raises(PlanError) as caught:
        load_settings(KernelSettings)
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
    """Named settings are read from variables of their own; fields and configuration are those of the base."""
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
