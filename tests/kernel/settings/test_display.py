"""Tests of bandmaster.kernel.settings.display."""

from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic import BaseModel, Secret, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from tests.kernel.settings.examples import SECRET, URL, Inner, Part

from bandmaster.kernel.redaction.masking import MASK
from bandmaster.kernel.settings.display import current_value, describe_settings
from bandmaster.kernel.settings.secrets import hide_secrets, secret_variables

MASKED_URL = f"postgres://u:{MASK}@h/db"


def test_how_a_setting_is_described():
    """A setting has a variable, a type, a default and a description, with secrets masked."""
    described = {setting.variable: setting for setting in describe_settings(Part)}
    assert ("PostgresDsn", True, "", "Where it is.") == (
        described["TEST_URL"].kind,
        described["TEST_URL"].required,
        described["TEST_URL"].default,
        described["TEST_URL"].description,
    )
    assert {
        "TEST_INNER": ("Inner", f'{{"url": "{MASKED_URL}", "password": "{MASK}"}}', False),
        "TEST_SIZE": ("int", "5", False),
        "TEST_PASSWORD": ("SecretStr | None", "", True),
        "TEST_MANY": ("list[SecretStr] | None", "", True),
        "TEST_KEY": ("SecretBytes", MASK, True),
        "TEST_MADE": ("str", f"redis://:{MASK}@h", False),
        "TEST_PIN": ("Secret[int]", MASK, True),
        "TEST_PLAIN_TOKEN": ("str", "", True),
        "TEST_TOKEN_URL": ("str", "https://example.org", False),
        "TEST_COLOR": ("Color", "red", False),
        "TEST_NAMES": ("frozenset[str]", '["a", "b"]', False),
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
        ("url", URL, MASKED_URL),
        ("url", "postgres://h/db", "postgres://h/db"),
        ("inner", Inner(url=URL), f'{{"url": "{MASKED_URL}", "password": "{MASK}"}}'),
        ("password", SecretStr(SECRET), MASK),
        ("password", None, ""),
        ("plain_token", SECRET, MASK),
        ("plain_token", "", ""),
        ("made", URL, MASKED_URL),
        ("pin", Secret(12345), MASK),
        ("many", [SecretStr(SECRET)], f'["{MASK}"]'),
        ("path", Path("a/b"), "a/b"),
        ("size", 7, "7"),
    ],
)
def test_how_a_value_is_shown(field, value, expected):
    """A value is shown in the form of a variable, with secrets masked by type, by name and inside of URLs."""
    shown = current_value(Part(**{"url": "postgres://h/db", field: value}), field)
    assert expected == shown
    assert SECRET not in shown


class Login(BaseModel):
    user: str = "shop"
    password: str = SECRET


class Careless(BaseSettings):
    """Secrets that no type declares."""

    model_config = SettingsConfigDict(env_prefix="TEST_", env_nested_delimiter="__")

    login: Login = Login()
    mirrors: list[Login] = [Login()]
    headers: dict[str, str] = {"Authorization": f"Bearer {SECRET}", "x": "y", "api_key": SECRET}
    aws_secret_access_key: str = SECRET
    tokens: list[str] = [SECRET]
    names: set[str] = {f"a://b:{SECRET}@c"}
    dsn: str = f"host=db password={SECRET}"
    max_tokens: int = 5
    credentials: bool | None = True
    token_url: str = "https://example.org"
    code: int = 1012


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("login", f'{{"user": "shop", "password": "{MASK}"}}'),
        ("mirrors", f'[{{"user": "shop", "password": "{MASK}"}}]'),
        ("headers", f'{{"Authorization": "{MASK}", "x": "y", "api_key": "{MASK}"}}'),
        ("aws_secret_access_key", MASK),
        ("tokens", MASK),
        ("names", f'["a://b:{MASK}@c"]'),
        ("dsn", f"host=db password={MASK}"),
        ("max_tokens", "5"),
        ("credentials", "true"),
        ("token_url", "https://example.org"),
        ("code", "1012"),
    ],
)
def test_secrets_that_no_type_declares(field, expected):
    """Secrets are masked by the names of fields and keys and inside of text; other values are shown."""
    defaults = {setting.variable: setting.default for setting in describe_settings(Careless)}
    assert (expected, expected) == (current_value(Careless(), field), defaults[f"TEST_{field.upper()}"])


def test_the_fields_that_are_described_as_secret():
    """A field is secret by name. A flag isn't, and neither is a field with a secret inside of the value."""
    found = {setting.variable.removeprefix("TEST_") for setting in describe_settings(Careless) if setting.secret}
    assert {"AWS_SECRET_ACCESS_KEY", "TOKENS"} == found


class Careful(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TEST_")

    code: SecretStr = SecretStr("")
    peppers: dict[str, SecretStr] = {}


@pytest.mark.parametrize(("peppers", "expected"), [({}, "{}"), ({"2026": SECRET}, f'{{"2026": "{MASK}"}}')])
def test_secrets_among_the_values_of_a_mapping(peppers, expected):
    """The keys are shown, and a mapping that isn't set doesn't look as if it were."""
    secrets = secret_variables([Careful])
    assert "TEST_PEPPERS" in secrets
    assert expected == current_value(Careful(peppers=peppers), "peppers", secrets)


def test_a_variable_that_another_type_declares_secret():
    """The variable is masked in every type that reads it, as a value and as a default."""
    secrets = secret_variables([Careless, Careful])
    assert {"TEST_CODE", "TEST_LOGIN__PASSWORD"} <= secrets
    (code,) = [one for one in describe_settings(Careless, secrets) if one.variable == "TEST_CODE"]
    assert (MASK, True) == (code.default, code.secret)
    assert MASK == current_value(Careless(), "code", secrets)
    assert "5" == current_value(Careless(), "max_tokens", secrets)


class Login(NamedTuple):
    user: str
    password: str


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Login("shop", "hunter2"), ["shop", MASK]),
        ([("x-api-key", "hunter2"), ("accept", "json")], [["x-api-key", MASK], ["accept", "json"]]),
        ({"a://b:hunter2@c": 1}, {f"a://b:{MASK}@c": 1}),
        ("a://b:hunter two@c", f"a://b:{MASK}@c"),
    ],
)
def test_secrets_by_the_names_of_items(value, expected):
    """The items of a named tuple have names, as has a pair of name and value. Keys may hold secrets as well."""
    assert expected == hide_secrets(value)


class Tree(BaseModel):
    code: SecretStr = SecretStr("")
    below: "Tree | None" = None
    other: Inner | None = None


class Nested(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TEST_", env_nested_delimiter="__")

    tree: Tree | None = None


def test_the_variables_of_nested_secrets():
    """The secrets of optional models count, at any depth; a model inside of itself ends."""
    assert {"TEST_TREE__CODE", "TEST_TREE__OTHER__PASSWORD"} == secret_variables([Nested])
